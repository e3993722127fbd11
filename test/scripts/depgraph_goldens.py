#!/usr/bin/env python3
"""Coupling groups and pruned models against Torch-Pruning's (DepGraph).

    depgraph_goldens.py FOLDER GOLDENS

Every group of Torch-Pruning is one of ours, or several whose members together
are its: it ties the queries, keys and values of attention, which nothing needs.
Of cnn networks the same channels go, and outputs agree."""
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime

PREPARE = "--infer-shapes"


def opt(*args):
    return subprocess.run(["prune-opt", *map(str, args)], text=True, check=True,
                          capture_output=True).stdout


def our_groups(model):
    text = opt(model, PREPARE, "--print-groups", "-o", "/dev/null")
    return [{(n.strip("'"), int(a))
             for n, a in re.findall(r"^  (\S+) axis (\d+):", g, re.M)}
            for g in re.split(r"^group ", text, flags=re.M)[1:]]


def their_groups(path, weights):
    for group in json.loads(path.read_text()):
        members = set()
        for name, fn, *_ in group["members"]:
            weight = name + ".weight"
            if weight in weights:
                out = fn == "prune_out_channels" or len(weights[weight]) == 1
                members.add((weight, 0 if out else 1))
        yield group["root"], members


def compare_groups(model, goldens):
    weights = {t.name: t.dims for t in onnx.load(model).graph.initializer}
    ours = our_groups(model)
    for root, members in their_groups(goldens, weights):
        named = {m for m in members if m[0] in weights}
        parts = [g & named for g in ours if g & named]
        extra = {m for g in ours if g & named for m in g - named
                 if m[0].endswith(".weight") and m[0] in weights}
        exact = set().union(*parts) == named and not extra
        print(f"{model.stem}: {root}: {len(named)} weights, "
              f"{len(parts)} of our groups: {'same' if exact else 'differs'}")


def compare_pruned(folder, goldens, name, mixed):
    small = folder / f"{name}.onnx"
    select = []
    for units in ("channels", "elements"):
        select += ["--score-magnitude=metric=l2",
                   f"--select-channels=ratio=0.5,units={units},mixed={mixed}"]
    opt(goldens / f"{name}.onnx", PREPARE, *select,
        f"--compact-channels=mixed={mixed}", "-o", small)
    shapes = {t.name: list(t.dims)
              for t in onnx.load(small).graph.initializer}
    want = json.loads((goldens / f"{name}.pruned_shapes.json").read_text())
    wrong = [k for k, v in want.items() if shapes.get(k, v) != v]
    run = onnxruntime.InferenceSession(small, providers=["CPUExecutionProvider"])
    x = np.load(goldens / f"{name}.x.npy")
    y = run.run(None, {run.get_inputs()[0].name: x})[0]
    error = np.abs(y - np.load(goldens / f"{name}.pruned_y.npy")).max()
    text = f"{name}: {len(want) - len(wrong)} of {len(want)} shapes"
    print(text if mixed == "true" else f"{text}, outputs "
          f"{'agree' if error <= 1e-6 else f'differ by {error:.1e}'}")


def main():
    folder, goldens = map(pathlib.Path, sys.argv[1:3])
    folder.mkdir(parents=True, exist_ok=True)
    onnxruntime.set_default_logger_severity(4)
    for name in ("flatten", "miniresnet", "tiny_mha"):
        compare_groups(goldens / f"{name}.onnx", goldens / f"{name}.groups.json")
    compare_pruned(folder, goldens, "flatten", "false")
    compare_pruned(folder, goldens, "miniresnet", "false")
    compare_pruned(folder, goldens, "tiny_mha", "true")


main()
