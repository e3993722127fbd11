#!/usr/bin/env python3
"""Structured pruning of whole models: what can shrink, and whether removing
what a mask zeroed changes anything.

    shrink.py FOLDER MODEL... [--ratio R ...] [--units U] [--dim NAME=SIZE ...]
           [--input NAME=VALUE ...]

Each model is selected from at every ratio, once left with zeros and once
compacted; ONNX Runtime must say the same of both (1e-5 of the largest output,
for sums are taken in another order). Prints a line for each:
elements of weights before and after, and the error."""
import argparse
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime

PREPARE = ("--infer-shapes", "--fold-constants", "--canonicalize", "--dce")


def opt(*args):
    run = subprocess.run(["prune-opt", *map(str, args)], text=True,
                         capture_output=True, check=False)
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[0])
    return run.stdout + run.stderr


def elements(path):
    """Of the tensors that are not sizes or positions."""
    model = onnx.load(path)
    tensors = list(model.graph.initializer)
    tensors += [a.t for n in model.graph.node for a in n.attribute
                if n.op_type == "Constant" and a.name == "value"]
    return sum(int(np.prod(t.dims)) for t in tensors
               if t.data_type not in (onnx.TensorProto.INT64,
                                      onnx.TensorProto.INT32,
                                      onnx.TensorProto.BOOL))


def inputs_of(session, sizes, values):
    rng = np.random.default_rng(1)
    kinds = {"float": np.float32, "float16": np.float16, "double": np.float64}
    feed = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else
                 sizes.get(d, sizes.get(f"{i.name}.{k}", 2))
                 for k, d in enumerate(i.shape)]
        kind = i.type[len("tensor("):-1]
        feed[i.name] = (rng.standard_normal(shape).astype(kinds[kind])
                        if kind in kinds else
                        rng.integers(0, 2, shape).astype(
                            "bool" if kind == "bool" else kind))
        if i.name in values:
            feed[i.name] = np.full(shape, values[i.name], feed[i.name].dtype)
    return feed


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC)
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def difference(masked, small, sizes, values):
    a, b = session(masked), session(small)
    feed = inputs_of(a, sizes, values)
    worst = 0
    for x, y in zip(a.run(None, feed), b.run(None, feed)):
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
            continue
        x, y = x.astype(np.float64), y.astype(np.float64)
        if x.shape != y.shape or (x.size and not x.any()):
            return float("inf")
        if x.size:
            worst = max(worst, np.abs(x - y).max() / (np.abs(x).max() + 1e-9))
    return worst


def one(folder, model, ratio, units, sizes, values):
    masked, small = folder / "masked.onnx", folder / "small.onnx"
    opt(model, *PREPARE, "--score-magnitude",
        f"--select-channels=ratio={ratio},units={units}", "-o", masked)
    opt(masked, "--infer-shapes", "--compact-channels", "-o", small)
    onnx.checker.check_model(small)
    error = difference(masked, small, sizes, values)
    return elements(masked), elements(small), error


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--ratio", type=float, action="append")
    parser.add_argument("--units", default="all")
    parser.add_argument("--dim", action="append", default=[],
                        help="of an open dimension, or INPUT.AXIS=SIZE")
    parser.add_argument("--input", action="append", default=[])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    sizes = {k: int(v) for k, v in (d.split("=") for d in args.dim)}
    values = {k: float(v) for k, v in (d.split("=") for d in args.input)}
    wrong = 0
    for model in args.models:
        for ratio in args.ratio or (0.1, 0.3, 0.5, 0.7):
            name = pathlib.Path(model).name
            try:
                before, after, error = one(args.folder, model, ratio,
                                           args.units, sizes, values)
            except Exception as e:  # pylint: disable=broad-except
                wrong += 1
                print(f"{name} {ratio:.0%}: fails: {str(e)[:160]}", flush=True)
                continue
            bad = not error <= 1e-5
            wrong += bad
            print(f"{name} {ratio:.0%}: {before} -> {after} elements, "
                  f"error {error:.1e}{': wrong' if bad else ''}", flush=True)
    print(f"{wrong} wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
