"""Every real model, dense and pruned, against ONNX Runtime.

usage: agreement.py [--metrics] [MODEL NAME PART…]

For each model: the largest relative L2 error of any output, of our compiled
code against ONNX Runtime on the same .onnx file, for the model as it came and
for our own pruned files (2:4, 80 % unstructured, half the heads). With
--metrics also the model's own metric, which ONNX Runtime computes on the
pruned file. Fails where an error misses the goal."""
import argparse
import os
import sys

import numpy as np

from measure import Failed, scratch, stamp, table, tool
from ort_compare import error, session
from zoo import MODELS, metric, source

SCORE = "--score-magnitude"
VARIANTS = [
    ("dense", None),
    ("2:4", (SCORE, "--select-nm=n=2,m=4")),
    ("80 %", (SCORE, "--select-unstructured=sparsity=0.8,scope=tensor")),
    ("half the heads", (SCORE, "--select-heads=ratio=0.5")),
]
TOLERANCE = 1e-5


def worst(model, inputs, folder):
    """Largest error of any output; both run the same file."""
    given, got = (os.path.join(folder, n) for n in ("in.npz", "out.npz"))
    np.savez(given, **inputs)
    tool("prune-run", model, "--inputs", given, "--outputs", got, poll=0)
    ort = session(model)
    names = [o.name for o in ort.get_outputs()]
    wants = dict(zip(names, ort.run(names, inputs)))
    errors = []
    with np.load(got) as ours:
        for name, want in wants.items():
            have = ours[name]
            if have.shape != want.shape:
                raise Failed(f"{name} has shape {list(have.shape)} instead "
                             f"of {list(want.shape)}")
            errors.append(error(have, want))
    return max(errors)


class Notes:
    """What went wrong, for below the tables."""

    def __init__(self):
        self.lines = []

    def cell(self, where, step):
        try:
            return step()
        except Failed as failed:
            self.lines.append(f"- {where}: {failed}")
            return "**failed**"

    def __str__(self):
        return "\n".join(self.lines) + "\n" if self.lines else ""


def pruned(dense, passes, folder):
    if not passes:
        return dense
    out = os.path.join(folder, "pruned.onnx")
    if os.path.exists(out):
        os.remove(out)
    tool("prune-opt", dense, *passes, "-o", out, poll=0)
    return out


def goal(value):
    return f"{value:.1e}" if value <= TOLERANCE else f"**{value:.1e}**"


def number(found):
    if not found:
        return "–"
    return f"{found[0].replace('|', ' ').strip()} {found[1]:.4f}"


def rows_of(model, metrics, folder, notes):
    dense = source(model, folder)
    inputs = model.real_inputs()
    errors, values = [model.name], [model.name]
    for name, passes in VARIANTS:
        if "heads" in name and not model.heads:
            errors.append("–")
            values.append("–")
            continue
        state = {}

        def measure(passes=passes, state=state):
            state["path"] = pruned(dense, passes, folder)
            return goal(worst(state["path"], inputs, folder))
        where = f"{model.name}, {name}"
        errors.append(notes.cell(where, measure))
        if metrics:
            values.append(notes.cell(where, lambda state=state: number(
                metric(model, state["path"]))) if "path" in state
                else "**failed**")
    return errors, values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    head = ("model", *(name for name, _ in VARIANTS))
    errors, values, notes = [head], [head], Notes()
    with scratch() as folder:
        for model in MODELS:
            if args.models and not any(m.lower() in model.name.lower()
                                       for m in args.models):
                continue
            e, v = rows_of(model, args.metrics, folder, notes)
            errors.append(e)
            values.append(v)
    print(f"## Agreement with ONNX Runtime\n\n{stamp()}. Largest relative L2 "
          f"error of any output on real inputs; both run the same .onnx "
          f"file. The goal is {TOLERANCE:g}; what misses it is bold.\n")
    print(table(errors))
    print(notes)
    if args.metrics:
        print("## The models' own metrics\n\nPruned by magnitude in one shot, "
              "with no data and no training: what the formats cost, not what "
              "pruning can reach. ONNX Runtime runs our pruned file.\n")
        print(table(values))
    return any(str(c).startswith("**") for row in errors for c in row)


if __name__ == "__main__":
    sys.exit(main())
