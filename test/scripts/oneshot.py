#!/usr/bin/env python3
"""One-shot pruning of layers of every shape, on their outputs.

    oneshot.py FOLDER

What a pass says that a layer's outputs lose must be what they lose in ONNX
Runtime; it must be less than with magnitude, with prune-admm no more than with
prune-obs, and with more effort no more than with less."""
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from compensate import (conv, conv_groups, gemm, matmul, point_strided, run,
                        same_groups, strided, tied, turned)
from shrink_models import Net

LAYERS = (matmul, gemm, conv, conv_groups, strided, same_groups, point_strided,
          turned, tied)
DAMPING = "damping=1e-6"


def four(n):
    """Groups of four channels in windows."""
    x = n.input(6, 8, 7, 7)
    return n.op("Conv", x, n.weight(6, 8, 3, 3), pads=[1] * 4), (6, 8, 7, 7)


class Case:
    def __init__(self, folder, make):
        net, rng = Net(), np.random.default_rng(4)
        out, shape = make(net)
        self.folder, self.model = folder, folder / f"{make.__name__}.onnx"
        net.save(self.model, out)
        mix = rng.standard_normal((shape[1],) * 2)
        self.x = np.moveaxis(np.moveaxis(rng.standard_normal(shape), 1, -1)
                             @ mix + 1, -1, 1).astype(np.float32)
        np.savez(folder / "in.npz", in0=self.x)
        self.profile = folder / "p.prof"
        subprocess.run(["prune-run", self.model, "--inputs", folder / "in.npz",
                        "--profile-moments=full", "--profile-out",
                        self.profile], check=True, stderr=subprocess.DEVNULL)
        self.want = run(self.model, self.x)
        model = onnx.load(self.model)
        for t in model.graph.initializer:
            if t.name == "c1":  # the weight: what is left is its bias
                t.CopyFrom(numpy_helper.from_array(
                    numpy_helper.to_array(t) * 0, t.name))
        onnx.save(model, folder / "none.onnx")
        self.all = self.want - run(folder / "none.onnx", self.x)

    def lose(self, *passes):
        """Shares of the outputs' squares or variance: measured, and as the
        pass says."""
        out, remarks = self.folder / "out.onnx", self.folder / "remarks.yaml"
        subprocess.run(["prune-opt", self.model, "--infer-shapes",
                        f"--profile={self.profile}", *passes,
                        f"--remarks={remarks}", "-o", out], check=True,
                       stderr=subprocess.DEVNULL)
        told = re.search(r"and ([0-9.e+-]+) of its *outputs' *([a-z]+)",
                         remarks.read_text().replace("''", "'"))
        dense, axes = self.all, tuple(i for i in range(self.all.ndim) if i != 1)
        if told and told[2] == "variance":  # biases take the means
            dense = dense - dense.mean(axes, keepdims=True)
        lost = ((run(out, self.x) - self.want) ** 2).sum() / (dense ** 2).sum()
        return lost, float(told[1]) if told else None


def check(folder, make, budget, select):
    case = Case(folder, make)
    magnitude, _ = case.lose("--score-magnitude", f"--{select}")
    found = {"magnitude": magnitude}
    good = True
    for name in ("obs", "admm,effort=1", "admm,effort=3", "admm,effort=4"):
        method, *options = name.split(",")
        lost, told = case.lose(f"--prune-{method}=" +
                               ",".join([budget, DAMPING, *options]))
        limit = 1.001 * min(found.values())
        if name == "admm,effort=1":
            limit = 1.001 * found["obs"]
        found[name] = lost
        good = good and abs(told - lost) <= 1e-3 * lost + 1e-6 and lost <= limit
    swapped, _ = case.lose("--score-magnitude", f"--{select}",
                           f"--compensate-swap={DAMPING}")
    good = good and swapped < magnitude
    found["swap"] = swapped
    return good, ", ".join(f"{k} {v:.4f}" for k, v in found.items())


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    cases = [(make, "sparsity=0.5,scope=row",
              "select-unstructured=sparsity=0.5,scope=row") for make in LAYERS]
    cases += [(make, "n=2,m=4", "select-nm=n=2,m=4")
              for make in (matmul, gemm, four)]
    for make, budget, select in cases:
        good, text = check(folder, make, budget, select)
        print(f"{'' if good else 'wrong: '}{make.__name__} {budget}: {text}")
        bad += not good
    print(f"{bad} wrong")


if __name__ == "__main__":
    main()
