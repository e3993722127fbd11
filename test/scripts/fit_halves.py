#!/usr/bin/env python3
"""Weights of 16 bits are fitted as those of 32 are.

    fit_halves.py FOLDER

The same layer, with numbers that 16 bits hold, in float32 and in float16: what
passes make of the second must be what they make of the first (which other tests
check against numpy), rounded, with a bias of 16 bits where one is added; and
ONNX Runtime must run it."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from compensate import conv, gemm, matmul, strided
from shrink_models import Net

FLOAT16 = TensorProto.FLOAT16
PASSES = {
    "obs": "prune-obs{sparsity=0.5}",
    "admm": "prune-admm{sparsity=0.5}",
    "bias": "score-magnitude,select-unstructured{sparsity=0.5},compensate-bias",
    "refit": "score-magnitude,select-unstructured{sparsity=0.5},"
             "compensate-refit",
    "swap": "score-wanda,select-unstructured{sparsity=0.5},compensate-swap",
}
ROUNDING = 2 ** -10


def rounded(a):
    """What float16 holds of float32."""
    return a.astype(np.float16).astype(np.float32)


def write(net, path, out, kind):
    """A model whose floats are of a kind."""
    net.save(path, out)
    model = onnx.load(path)
    for t in model.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            a = numpy_helper.to_array(t)
            t.CopyFrom(helper.make_tensor(t.name, kind, a.shape, a.ravel()))
    for v in (*model.graph.input, *model.graph.output):
        v.type.tensor_type.elem_type = kind
    onnx.save(model, path)


def floats(path):
    return {t.name: numpy_helper.to_array(t).astype(np.float32)
            for t in onnx.load(path).graph.initializer
            if t.data_type not in (TensorProto.INT64,)}


def prune(model, profile, passes, out):
    subprocess.run(["prune-opt", model, "--infer-shapes",
                    f"--profile={profile}", f"--pass-pipeline={passes}",
                    "-o", out], check=True, stderr=subprocess.DEVNULL)
    return floats(out)


def run(path, x):
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"])
    return session.run(None, {"in0": x})[0].astype(np.float64)


def observe(model, data, profile):
    subprocess.run(["prune-run", model, "--inputs", data,
                    "--profile-moments=full", "--profile-out", profile],
                   check=True, stdout=subprocess.DEVNULL)


class Case:
    def __init__(self, folder, make):
        net, rng, self.folder = Net(), np.random.default_rng(3), folder
        out, shape = make(net)
        net.consts = {k: rounded(v) for k, v in net.consts.items()}
        self.x = rounded(rng.standard_normal(shape) + .5)
        self.narrow, self.wide = folder / "narrow.onnx", folder / "wide.onnx"
        for path, kind, dtype in ((self.wide, TensorProto.FLOAT, np.float32),
                                  (self.narrow, FLOAT16, np.float16)):
            write(net, path, out, kind)
            np.savez(folder / "in.npz", in0=self.x.astype(dtype))
            observe(path, folder / "in.npz", path.with_suffix(".prof"))

    def check(self, passes):
        want = prune(self.wide, self.wide.with_suffix(".prof"), passes,
                     self.folder / "w.onnx")
        got = prune(self.narrow, self.narrow.with_suffix(".prof"), passes,
                    self.folder / "n.onnx")
        worst, good = 0, len(want) == len(got)
        for (_, a), (_, b) in zip(sorted(want.items()), sorted(got.items())):
            good = good and a.shape == b.shape and np.array_equal(a == 0, b == 0)
            worst = max(worst, np.abs(a - b).max() / np.abs(a).max())
        good = good and worst <= ROUNDING
        types = {t.data_type for t in onnx.load(self.folder / "n.onnx")
                 .graph.initializer} - {TensorProto.INT64}
        good = good and types == {FLOAT16}
        y = run(self.folder / "n.onnx", self.x.astype(np.float16))
        z = run(self.folder / "w.onnx", self.x)
        far = np.abs(y - z).max() / np.abs(z).max()
        return good and far < 4e-3, worst, far


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for make in (matmul, gemm, conv, strided):
        case = Case(folder, make)
        for name, passes in PASSES.items():
            good, worst, far = case.check(passes)
            wrong += not good
            print(f"{'' if good else 'wrong: '}{make.__name__}, {name}: weights "
                  f"{worst:.1e}, outputs {far:.1e}")
    print(f"{wrong} wrong")


if __name__ == "__main__":
    sys.exit(main())
