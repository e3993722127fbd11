"""What it costs to observe a model, beside running it, and what memory pruning
in one shot takes.

    observe.py [MODEL …] [--rounds N]

Times are of the processor, one thread, on the inputs that calibrate, in equal
batches: what more passes over the same inputs add, so that neither start-up nor
compilation counts. Needs the data folder."""
import argparse
import json
import os
import statistics
import sys
import time

import numpy as np

import calibration
from measure import scratch, shared, stamp, table, tool, verdict
from oneshot import passes
from ort_compare import session
from shrink import PREPARE
from zoo import MODELS, source

TIMED = ("all-MiniLM-L6-v2", "stories260K", "char-GPT")
LANGUAGE = ("stories260K", "char-GPT")  # that the goal is for
LIMIT = 3.0
BATCH, SECONDS = 8, 1.5
HEAVY = "all-MiniLM-L6-v2"
PRUNED = ("magnitude", "Wanda", "SparseGPT", "ALPS")


class Case:
    def __init__(self, model, folder):
        self.base = os.path.join(folder, "base.onnx")
        self.profile = os.path.join(folder, "p.prof")
        tool("prune-opt", source(model, folder), *PREPARE, "-o", self.base,
             poll=0)
        feeds = calibration.inputs(model)
        self.samples = len(next(iter(feeds.values())))
        self.inputs = calibration.write(model, folder, BATCH)
        self.files = [os.path.join(self.inputs, f)
                      for f in sorted(os.listdir(self.inputs))]
        self.shape = next(iter(feeds.values())).shape[1:]
        self.copies = 1

    def observing(self, moments, copies, poll=0):
        return tool("prune-run", self.base, *["--inputs", self.inputs] * copies,
                    f"--profile-moments={moments}", "--profile-out",
                    self.profile, poll=poll)

    def observed(self, moments):
        """Seconds a sample."""
        more = (self.observing(moments, 1 + self.copies).cpu
                - self.observing(moments, 1).cpu)
        return more / (self.copies * self.samples)

    def benched(self, seconds):
        run = tool("prune-run", self.base, "--inputs", self.files[0],
                   f"--bench={seconds}", "--json", poll=0)
        return run.cpu, json.loads(run.out)["runs"]

    def alone(self):
        (less, few), (more, many) = (self.benched(s * SECONDS)
                                     for s in (0.2, 1.2))
        return (more - less) / ((many - few) * BATCH)

    def theirs(self):
        run, feed = session(self.base), dict(np.load(self.files[0]))
        run.run(None, feed)
        start, end, n = time.process_time(), time.perf_counter() + SECONDS, 0
        while time.perf_counter() < end:
            run.run(None, feed)
            n += 1
        return (time.process_time() - start) / (n * BATCH)

    def enough(self):
        """So many copies of the inputs that they take a while to run."""
        self.copies = max(1, round(SECONDS / (self.alone() * self.samples)))


WAYS = {"alone": Case.alone, "ONNX Runtime": Case.theirs,
        "diagonal": lambda case: case.observed("diagonal"),
        "full": lambda case: case.observed("full")}


def timed(model, rounds):
    with scratch() as folder:
        case = Case(model, folder)
        case.enough()
        found = {way: [] for way in WAYS}
        for _ in range(rounds):  # in turns
            for way, run in WAYS.items():
                found[way].append(run(case) * 1e3)
        print(f"{model.name}: {found}", file=sys.stderr)
    ms = {way: statistics.median(f) for way, f in found.items()}
    ratios = [ms[m] / ms["alone"] for m in ("diagonal", "full")]
    return (f"{model.name}, {' × '.join(map(str, case.shape))}",
            f"{ms['ONNX Runtime']:.3f}", f"{ms['alone']:.3f}",
            f"{ms['diagonal']:.3f}", f"{ms['full']:.3f}",
            *(verdict(r, LIMIT) if model.name in LANGUAGE else f"{r:.3g}"
              for r in ratios))


def mb(size):
    return f"{size / 1e6:.0f}"


def memory(model):
    rows = [("", "peak, MB", "of it private, MB", "seconds of processor time")]

    def add(what, run):
        print(f"{what}: {mb(run.peak)} MB", file=sys.stderr)
        rows.append((what, mb(run.peak), mb(run.private), f"{run.cpu:.1f}"))
    with scratch() as folder:
        case = Case(model, folder)
        for moments in ("diagonal", "full"):
            add(f"prune-run, {moments} moments",
                case.observing(moments, 1, poll=0.005))
        for method in PRUNED:
            add(f"prune-opt, {method}", tool(
                "prune-opt", case.base, "--infer-shapes",
                f"--profile={case.profile}", "--threads=2",
                f"--pass-pipeline={passes(method, 'u50')}", "-o",
                os.path.join(folder, "o.onnx"), poll=0.005))
        sizes = [os.path.getsize(p) for p in (case.base, case.profile)]
    return rows, sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if not shared():
        raise SystemExit("PRUNE_SHARED is not set: no models")
    wanted = [m for m in MODELS if m.name in (args.models or TIMED)]
    rows = [("model, a sample", "ONNX Runtime, ms", "run alone, ms",
             "diagonal, ms", "full, ms", "diagonal / alone", "full / alone")]
    rows += [timed(model, args.rounds) for model in wanted]
    print(f"## Observing\n\n{stamp()}. Processor time for a sample, one "
          f"thread, in batches of {BATCH} of the inputs that calibrate: what "
          "more passes over the same inputs add, without start-up and "
          f"compilation; medians of {args.rounds} rounds in turns.\n")
    print(table(rows))
    heavy = next((m for m in wanted if m.name == HEAVY), None)
    if heavy:
        rows, (model, profile) = memory(heavy)
        print(f"Half of {HEAVY} ({mb(model)} MB) in one shot, with a profile "
              f"of full moments ({mb(profile)} MB). Memory that is not private "
              "is mapped from files.\n")
        print(table(rows))


if __name__ == "__main__":
    sys.exit(main())
