"""How long the tools take to say their version."""
import os

from measure import BIN, Run, stamp, table, tool, verdict

ROUNDS = 30
LIMIT_MS = 10


def main():
    print(f"## Start-up\n\n{stamp()}. Least of {ROUNDS} runs, in ms.\n")
    rows = [("command", "ms")]
    for name in ("prune-opt", "prune-translate", "prunec", "prune-run"):
        if not os.path.exists(os.path.join(BIN, name)):
            continue
        tool(name, "--version")
        times = [Run([os.path.join(BIN, name), "--version"], poll=0).seconds
                 for _ in range(ROUNDS)]
        ms = min(times) * 1e3
        rows.append((f"{name} --version", verdict(ms, LIMIT_MS)
                     if name == "prune-opt" else f"{ms:.3g}"))
    print(table(rows))


if __name__ == "__main__":
    main()
