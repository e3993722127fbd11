"""Half the time: what is left of the metric when zeros are shared out by
estimated time, and when all weights get as many.

    latency.py [MODEL …]

Both are pruned by the same method until the compiled model takes half of what
the dense one takes. Needs the data folder."""
import argparse
import json
import os
import sys

import calibration
from measure import scratch, shared, stamp, table, tool
from shrink import PREPARE
from zoo import MODELS, source

DIMS = {"ResNet-20": ("batch=1",),
        "char-GPT": ("batch=8", "seq=64"),
        "all-MiniLM-L6-v2": ("batch=1", "sequence=128")}
ROWS = {"ResNet-20": 1024, "char-GPT": 512, "all-MiniLM-L6-v2": 128}
STEPS = 6  # of bisection


def milliseconds(path, dims):
    """The least of three runs."""
    return min(json.loads(tool(
        "prune-run", path, *(f"--dim={d}" for d in dims), "--bench=0.7",
        "--json", poll=0).out)["min_ms"] for _ in range(3))


def prune(base, profile, how, out):
    tool("prune-opt", base, f"--profile={profile}", "--threads=2",
         f"--pass-pipeline={how}", "-o", out, poll=0)


def half(model, base, profile, inputs, folder, dense):
    """(share, ms, metric) of both ways."""
    known = os.path.join(folder, "known.prn")
    tool("prune-opt", base, "--infer-shapes", f"--profile={profile}",
         f"--calibration={inputs}", "--threads=2",
         "--measure-sensitivity=share=0.7", "-o", known, poll=0)
    machine = os.environ.get("PRUNE_MACHINE", "x86-64-v4")
    ways = {
        "all alike": "prune-admm{{sparsity={0}}}",
        "by time": "allocate-loss{{of=latency,sparsity={0},least=0.2,"
                   f"rows={ROWS[model.name]},machine={machine}}}}},prune-admm"}
    for name, how in ways.items():
        low, high, best = 0.2, 0.98, None
        for _ in range(STEPS):
            share = (low + high) / 2
            out = os.path.join(folder, "o.onnx")
            prune(known, profile, how.format(share), out)
            ms = milliseconds(out, DIMS[model.name])
            print(f"{model.name} {name} {share:.3f}: {ms:.3f} ms",
                  file=sys.stderr)
            if ms > dense / 2:
                low = share
                continue
            high = share
            best = share, ms, calibration.judge(model, out, folder)[1]
        yield name, best


def rows_of(model):
    with scratch() as folder:
        base, profile = (os.path.join(folder, n) for n in ("base.onnx",
                                                           "p.prof"))
        tool("prune-opt", source(model, folder), *PREPARE, "-o", base, poll=0)
        inputs = calibration.write(model, folder)
        tool("prune-run", base, "--inputs", inputs, "--profile-moments=full",
             "--threads=2", "--profile-out", profile, poll=0)
        dense = milliseconds(base, DIMS[model.name])
        words, metric = calibration.judge(model, base, folder)
        yield (f"{model.name}, {words}", "dense", "–", f"{dense:.3f}",
               f"{metric:.4f}")
        for name, best in half(model, base, profile, inputs, folder, dense):
            yield ("", name, *((f"{best[0]:.3f}", f"{best[1]:.3f}",
                                f"{best[2]:.4f}") if best
                               else ("–", "not reached", "–")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    if not shared():
        raise SystemExit("PRUNE_SHARED is not set: no models")
    rows = [("model", "zeros", "asked for", "ms", "metric")]
    for model in MODELS:
        if model.name in (args.models or DIMS):
            rows += rows_of(model)
    print(f"## Half the time\n\n{stamp()}. One thread; the share of entries, "
          "or of estimated time, that was asked for to get there.\n")
    print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
