"""What pruning one layer takes beside what SparseGPT and its dense algebra do.

    solve_cost.py [SIZE [THREADS [EFFORTS]]]

Processor time of prn-bench-solve on a square layer at 50 %. The goals are for
the default size, 4096; efforts are those of prune-admm, 23 by default."""
import argparse
import re
import sys

from measure import stamp, table, tool, verdict

SIZE = 4096
LIMITS = {"SparseGPT": 1.5, "effort 3": 5.0}  # over LAPACK, over SparseGPT
ALGEBRA = ("factor", "inverse", "updates")


def parse(text):
    """(wall, processor time, loss or "") by name, and the peak in MB."""
    found = {}
    for name, wall, cpu, loss in re.findall(
            r"^(\S+(?: \d)?)(?: \(.*\))? +([\d.]+) s +([\d.]+) s cpu *([\d.]*)",
            text, re.M):
        found[name] = float(wall), float(cpu), loss
    return found, int(re.search(r"at most (\d+) MB", text)[1])


def against(cpu, base, limit):
    if not base:  # too small a layer for the clock
        return "–"
    return verdict(cpu / base, limit) if limit else f"{cpu / base:.3g}"


def rows_of(found, limits):
    alone = [sum(found[a][i] for a in ALGEBRA) for i in (0, 1)]
    obs = found["SparseGPT"][1]
    yield ("", "wall, s", "processor, s", "over its dense algebra",
           "over SparseGPT", "what is lost, over SparseGPT")
    yield (f"dense algebra alone ({', '.join(ALGEBRA)})",
           *(f"{s:.2f}" for s in alone), "1", "–", "–")
    for name, (wall, cpu, loss) in found.items():
        if name in ALGEBRA:
            continue
        first = name == "SparseGPT"
        yield (name, f"{wall:.2f}", f"{cpu:.2f}",
               against(cpu, alone[1], limits.get(name) if first else None),
               "1" if first else against(cpu, obs, limits.get(name)), loss)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("size", nargs="?", type=int, default=SIZE)
    parser.add_argument("threads", nargs="?", type=int, default=2)
    parser.add_argument("efforts", nargs="?", default="23")
    args = parser.parse_args()
    run = tool("prn-bench-solve", args.size, args.size, args.threads, "0.5",
               args.efforts, poll=0)
    print(run.out, file=sys.stderr)
    found, peak = parse(run.out)
    print(f"## Pruning a layer of {args.size} × {args.size}\n\n{stamp()}. "
          f"50 %, {args.threads} threads, at most {peak} MB.\n")
    print(table(rows_of(found, LIMITS if args.size == SIZE else {})))


if __name__ == "__main__":
    sys.exit(main())
