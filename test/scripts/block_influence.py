#!/usr/bin/env python3
"""Residual layers: their influence against numpy in float64, and what is left
when they go against ONNX Runtime.

    block_influence.py FOLDER

A pyramid of residual branches, of images and of tokens, in versions with axes
as attributes and as operands."""
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort

from shrink_models import Net

PAIR = re.compile(r"the layer that ends here has an influence of (\S+?)'")


def images(n, x):
    """Three branches that are added in a row, of different strength."""
    ends = []
    for strength in (0.1, 1, 0.3):
        y = n.op("Relu", n.norm(n.conv(x, 8, 12), 12))
        y = n.conv(y, 12, 8)
        y = n.op("Mul", y, n.const(np.full((8, 1, 1), strength, "f4")))
        x = n.op("Add", x, y)
        ends.append(x)
    return ends


def tokens(n, x):
    """Normalised behind every addition, as in BERT."""
    ends = []
    for strength in (0.5, 0.05, 2):
        y = n.linear(n.op("Relu", n.linear(x, 16, 24)), 24, 16)
        y = n.op("Mul", y, n.const(np.full(16, strength, "f4")))
        x = n.op("Add", x, y)
        x = n.op("Softsign", x)
        ends.append(x)
    return ends


def cosine(x, y, axis):
    x, y = x.astype("f8"), y.astype("f8")
    norm = np.linalg.norm(x, axis=axis) * np.linalg.norm(y, axis=axis)
    return ((x * y).sum(axis) / norm).mean()


def run(path, feeds, outputs=None):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


def with_outputs(path, names):
    m = onnx.load(path)
    for name in names:
        m.graph.output.append(onnx.ValueInfoProto(name=name))
    return m.SerializeToString()


def influences(path, folder, span):
    subprocess.run(
        ["prune-opt", path, "--profile", folder / "p.prof",
         f"--score-block-influence=span={span}",
         "--remarks", folder / "r.yaml", "-o", folder / "scored.prn"],
        check=True)
    return [float(v) for v in PAIR.findall((folder / "r.yaml").read_text())]


def check(make, shape, axis, opset, folder):
    net = Net(opset)
    x = net.input(*shape)
    ends = make(net, x)
    path = folder / f"{make.__name__}{opset}.onnx"
    net.save(path, ends[-1])
    feeds = {x: np.random.default_rng(2).standard_normal(shape).astype("f4")}
    np.savez(folder / "in.npz", **feeds)
    subprocess.run(["prune-run", path, "--inputs", folder / "in.npz",
                    "--profile-layers", "--profile-out", folder / "p.prof"],
                   check=True, stdout=subprocess.DEVNULL)
    stream = [feeds[x]] + run(with_outputs(path, ends[:-1]), feeds,
                              ends[:-1] + [ends[-1]])
    last = len(ends)
    if make is tokens:  # nothing follows the last addition: it is its end
        added = [n.output[0] for n in onnx.load(path).graph.node
                 if n.op_type == "Add"][-1]
        stream[last] = run(with_outputs(path, [added]), feeds, [added])[0]
    wrong = 0
    for span in (1, 2, 3):
        want = [1 - cosine(stream[i], stream[i + span], axis)
                for i in range(0, last - span + 1, span)]
        got = influences(path, folder, span)
        good = len(got) == len(want) and np.allclose(got, want, rtol=2e-3)
        wrong += not good
        print(path.name, span, got, "" if good else f"wrong: {want}")
    least = int(np.argmin([1 - cosine(stream[i], stream[i + 1], axis)
                           for i in range(last)]))
    for tail, out in (("", "masked"), (",compact-layers", "small")):
        subprocess.run(
            ["prune-opt", path, "--profile", folder / "p.prof",
             "--pass-pipeline=score-block-influence,select-layers{count=1}"
             + tail, "-o", folder / f"{out}.onnx"], check=True)
    masked, small = (run(folder / f"{k}.onnx", feeds)[0]
                     for k in ("masked", "small"))
    adds = [sum(n.op_type == "Mul" for n in onnx.load(m).graph.node)
            for m in (path, folder / "small.onnx")]
    weights = {t.name for t in onnx.load(folder / "small.onnx").graph.initializer}
    scales = [n.input[1] for n in onnx.load(path).graph.node
              if n.op_type == "Mul"]
    gone = [i for i, s in enumerate(scales) if s not in weights]
    good = (np.abs(masked - small).max() <= 1e-6 and adds[0] == adds[1] + 1
            and gone == [least])
    wrong += not good
    print(path.name, "gone", gone, "" if good else f"wrong: {least} {adds}")
    return wrong


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for opset in (11, 17):
        wrong += check(images, (2, 8, 6, 6), 1, opset, folder)
        wrong += check(tokens, (2, 7, 16), -1, opset, folder)
    print(f"{wrong} wrong")


main()
