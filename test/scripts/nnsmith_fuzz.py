#!/usr/bin/env python3
"""Graphs that NNSmith draws, all the way through the compiler.

    nnsmith_fuzz.py FOLDER [--seed S] [--count N] [--first I] [--verbose]

Case I of seed S is a graph of nnsmith_graphs.py. It must come out as it went
in, field by field; prune-run must say what ONNX Runtime says; 2:4 pruned by
magnitude, only entries that became zero may differ, and prune-run must say of
the pruned model what ONNX Runtime does. prune-run may refuse with an error. A
failure prints the seed, and is saved as FOLDER/S-I.onnx with its inputs.

Random graphs round, compare and divide by what a sum left of nothing: elements
on which ONNX Runtime itself changes its mind when every value in the graph is a
few units in the last place off are not compared. Nor are those where it
disagrees with the reference implementation of onnx, nor graphs that do with NaN
and infinity what is not defined.

NNSmith is not among the requirements, and no test needs it. To have it, in an
environment of its own, with prune's tools in PATH:

    python3 -m venv nnsmith && nnsmith/bin/pip install nnsmith==0.1.0 \\
        onnx==1.23.2 onnxruntime==1.32.0
    nnsmith/bin/python test/scripts/nnsmith_fuzz.py FOLDER --count 1000
"""
import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import nnsmith_graphs
from pipeline_fuzz import run_compiled
from shrink_fuzz import (Failure, Invalid, Refused, campaign, keep, opt,
                         outputs, session_of)

sys.path.append(os.path.join(os.path.dirname(__file__), ".."))
from onnx_roundtrip import round_trip

NODES = 10
PRUNE = ("--score-magnitude", "--select-nm=n=2,m=4")
# Largest error of an element, of itself and of a twentieth of the largest.
LIMITS = {np.dtype("f4"): 1e-4, np.dtype("f8"): 1e-5}
STEP = {np.dtype("f4"): 3e-6, np.dtype("f8"): 1e-7}  # how far values are off
DRAWS = 40
UNDEFINED = ("Cast", "Resize", "Gelu", "MaxPool", "ReduceMax", "ReduceMin",
             "ArgMax", "ArgMin")


def far(x, y):
    """Which elements differ by more than sums in another order explain."""
    if x.dtype.kind != "f":
        return x != y
    with np.errstate(all="ignore"):
        a, b = x.astype(np.float64), y.astype(np.float64)
        size = np.abs(a[np.isfinite(a)])
        size = size.max() if size.size else 0
        limit = LIMITS[x.dtype] * (np.abs(a) + 5e-2 * size + 1e-6)
        same = (a == b) | (np.isnan(a) & np.isnan(b)) | (
            np.abs(a - b) <= limit)
    return ~same


def everything(path, feed):
    """All values of the graph, by name."""
    model = onnx.load(path)
    have = {o.name for o in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(o) for n in model.graph.node
        for o in n.output if o not in have)
    names = [o.name for o in model.graph.output]
    s = session_of(model)
    weights = {t.name: numpy_helper.to_array(t) for t in
               model.graph.initializer}
    return {**feed, **weights, **dict(zip(names, s.run(names, feed)))}


def noise(node, values, rng):
    """What to multiply the node's result with, and to add: more where sums
    have many terms."""
    x = values[node.output[0]]
    near = values[node.input[0]] if node.op_type == "Gelu" else x  # 1 + erf
    finite = np.abs(near[np.isfinite(near)])
    terms = sum(values[i].size for i in node.input if i in values) / x.size
    size = (finite.max() if finite.size else 1) * max(1, terms) ** 0.5
    with np.errstate(over="ignore"):
        return [np.asarray(v).astype(x.dtype) for v in (
            1 + STEP[x.dtype] * rng.uniform(-1, 1, x.shape),
            STEP[x.dtype] * 0.1 * size * rng.uniform(-1, 1, x.shape))]


def shaken(path, values, rng):
    """The model with every float value of a node a little off."""
    model = onnx.load(path)
    graph, nodes = model.graph, list(model.graph.node)
    del graph.node[:]
    for node in nodes:
        out = node.output[0]
        graph.node.append(node)
        if values[out].dtype not in STEP or not values[out].size:
            continue
        graph.node[-1].output[0] = out + "_exact"
        parts = [out + "_exact", out + "_by", out + "_scaled", out + "_plus"]
        for name, array in zip(parts[1::2], noise(node, values, rng)):
            graph.initializer.append(numpy_helper.from_array(array, name))
        graph.node.append(onnx.helper.make_node("Mul", parts[:2], parts[2:3]))
        graph.node.append(onnx.helper.make_node("Add", parts[2:], [out]))
    return model


def loose(path, feed, want, rng):
    """Which elements of each output say nothing."""
    found = [np.zeros(np.shape(x), bool) for x in want]
    values = everything(path, feed)
    others = [session_of(shaken(path, values, rng)).run(None, feed)
              for _ in range(DRAWS)]
    try:
        with np.errstate(all="ignore"):
            others.append(ReferenceEvaluator(str(path)).run(None, feed))
    except Exception:  # pylint: disable=broad-except
        pass  # it does not know all operators of all types
    for other in others:
        for mask, x, y in zip(found, want, other):
            if np.shape(x) == np.shape(y):
                mask |= far(x, y)
    return found


def check_defined(path, feed):
    """Numbers that no integer is are converted to anything, and the largest of
    numbers and NaN, or infinity times the weight 0, is this or that."""
    nodes = [n for n in onnx.load(path).graph.node if n.op_type in UNDEFINED]
    values = everything(path, feed) if nodes else {}
    for n in nodes:
        x, y = values.get(n.input[0]), values[n.output[0]]
        if x is None or x.dtype.kind != "f":
            continue
        ok = ~np.isnan(x)
        if n.op_type in ("Resize", "Gelu"):
            ok = np.isfinite(x)
        elif n.op_type == "Cast":
            ok = (np.abs(x) < 2.0 ** (8 * y.dtype.itemsize - 1)
                  if y.dtype.kind == "i" else True)
        if not np.all(ok):
            raise Invalid(f"{n.op_type} of what it is not defined for")


def compare(path, folder, feed, rng):
    """Returns why prune-run refused, or None."""
    got, why = run_compiled(folder, path, feed)
    if why and "not supported by the compiler" not in why:
        raise Failure("error", why)
    if why:
        return why
    want, _ = outputs(path, feed)
    names = [o.name for o in onnx.load(path).graph.output]
    wrong = {}
    for i, (name, x) in enumerate(zip(names, want)):
        y = got[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            raise Failure("shape", f"{name}: {x.shape} {x.dtype}, "
                                   f"{y.shape} {y.dtype}")
        if np.any(far(x, y)):
            wrong[i] = far(x, y)
    masks = loose(path, feed, want, rng) if wrong else None
    for i, mask in wrong.items():
        mask &= ~masks[i]
        if mask.any():
            x, y = want[i][mask].flat[0], got[names[i]][mask].flat[0]
            raise Failure("wrong", f"{names[i]}: {mask.sum()} elements, "
                                   f"{y} instead of {x}")
    return None


def zeroed(before, after):
    """All that changed in a weight must be zero."""
    old = {t.name: numpy_helper.to_array(t)
           for t in onnx.load(before).graph.initializer}
    for t in onnx.load(after).graph.initializer:
        x, y = old[t.name], numpy_helper.to_array(t)
        if x.shape != y.shape or x.dtype != y.dtype or np.any(
                (x != y) & (y != 0)):
            raise Failure("pruned", f"{t.name} is more than masked")


def trial(folder, path, feed, rng):
    """Returns why something was refused, or None."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        outputs(path, feed)
        check_defined(path, feed)
    except Exception as e:  # pylint: disable=broad-except
        raise Invalid(str(e).strip().splitlines()[-1][:300]) from e
    found = round_trip(shutil.which("prune-opt"), str(path), str(folder))
    if found:
        raise Failure("round trip", found[0])
    why = compare(path, folder, feed, rng)
    if why:
        return why
    pruned = folder / "pruned.onnx"
    opt(path, *PRUNE, "-o", pruned)
    zeroed(path, pruned)
    return compare(pruned, folder, feed, rng)


def run(args, index, counts, kinds=[]):  # the kinds are made once
    if not kinds:
        kinds += nnsmith_graphs.operators()
    case = nnsmith_graphs.draw(kinds, args.seed * 1000003 + index, NODES)
    if not case:
        counts["none"] += 1
        return
    model, feed = case
    path = args.folder / "model.onnx"
    onnx.save(model, path)
    why = None
    try:
        why = trial(args.folder, path, feed, np.random.default_rng(index))
        counts["not compiled" if why else "same"] += 1
    except Refused:
        counts["nothing to prune"] += 1
    except Invalid as e:
        why = e
        counts["invalid"] += 1
    except (Failure, subprocess.TimeoutExpired) as e:
        counts["failed"] += 1
        print(f"{args.seed}-{index} fails: {e}\n  "
              f"{keep(args, index, model, feed)}", flush=True)
    if why and args.verbose:
        print(f"{args.seed}-{index}: {why}", flush=True)


def main():
    if not importlib.util.find_spec("nnsmith"):
        print("skipped: there is no nnsmith (see the head of the script)")
        return 77
    return campaign(run, ("same", "nothing to prune", "not compiled",
                          "invalid", "none", "failed"), "--verbose")


if __name__ == "__main__":
    sys.exit(main())
