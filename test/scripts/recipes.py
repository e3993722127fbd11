#!/usr/bin/env python3
"""Every recipe that is shipped, on a transformer's layer and a convolution net.

    recipes.py FOLDER

What comes out must run in ONNX Runtime, with as many zeros, or as much smaller,
as the recipe says; those that look at data must lose less than those that
don't."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from shrink_models import Net, attention, conv_bn_relu_conv

# Recipe: (share of zeros in weights, share of parameters that stay at most).
# 2:4 leaves weights of 3 channels alone.
EXPECTED = {
    "alps": (.6, 1), "best": (.6, 1), "magnitude": (.6, 1),
    "magnitude-global": (.6, 1), "owl-sparsegpt": (.6, 1),
    "owl-wanda": (.6, 1), "ria": (.6, 1), "sparsegpt": (.6, 1),
    "wanda": (.6, 1), "two-four-magnitude": (.5, 1),
    "two-four-tensorrt": (.5, 1), "two-four-permuted": (.5, 1), "channels": (0, .8), "flap": (0, .8),
    "heads": (0, .95), "layers": (0, .95),
}
ELSEWHERE = {"heads": "conv_bn_relu_conv", "layers": "conv_bn_relu_conv"}
VARIABLE = {"channels": "ratio=0.4", "flap": "ratio=0.4", "heads": "ratio=0.5",
            "layers": "ratio=0.5 span=1", "two-four-magnitude": "layers=*",
            "two-four-tensorrt": "effort=3", "two-four-permuted": "effort=3"}


def opt(*args):
    return subprocess.run(["prune-opt", *args], check=True, text=True,
                          capture_output=True).stdout


def run(path, feeds):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, f)[0] for f in feeds])


def weights(path):
    return [numpy_helper.to_array(t)
            for t in onnx.load(path).graph.initializer
            if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]


class Case:
    def __init__(self, folder, make):
        self.name = make.__name__
        self.folder = folder / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = self.folder / "m.onnx"
        net = Net()
        net.save(self.model, make(net))
        self.feeds = self.inputs(net)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        for i, f in enumerate(self.feeds):
            np.savez(data / f"{i:03}.npz", **f)
        self.profile = self.folder / "p.prof"
        subprocess.run(["prune-run", self.model, "--inputs", data,
                        "--profile-moments=full", "--profile-layers",
                        "--profile-out", self.profile], check=True,
                       capture_output=True)
        self.data = data
        self.want = run(self.model, self.feeds)
        self.size = sum(w.size for w in weights(self.model))

    @staticmethod
    def inputs(net):
        """Channels mixed, as real ones are."""
        rng = np.random.default_rng(7)
        shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim]
        axis = 1 if len(shape) == 4 else len(shape) - 1
        mix = rng.standard_normal((shape[axis],) * 2)
        return [{"in0": np.moveaxis(np.moveaxis(rng.standard_normal(shape),
                                                axis, -1) @ mix, -1, axis)
                 .astype(np.float32)} for _ in range(64)]

    def loss(self, recipe):
        out = self.folder / f"{recipe}.onnx"
        opt(self.model, "--infer-shapes", f"--recipe={recipe}",
            f"--profile={self.profile}", f"--calibration={self.data}", "-o", out,
            *(f"-D{v}" for v in VARIABLE.get(recipe, "sparsity=0.6").split()))
        left = weights(out)
        wide = [w for w in left if w.shape[1] > 3 or "four" not in recipe]
        zeros = sum((w == 0).sum() for w in wide) / sum(w.size for w in wide)
        share, stays = EXPECTED[recipe]
        got = run(out, self.feeds)
        lost = ((got - self.want) ** 2).sum() / (self.want ** 2).sum()
        small = sum(w.size for w in left) <= stays * self.size
        good = zeros > share - .02 and small and np.isfinite(lost)
        return lost if good else np.nan


def check(folder, make, names):
    case, bad = Case(folder, make), 0
    lost = {n: case.loss(n) for n in names
            if ELSEWHERE.get(n) != make.__name__}
    order = (("best", "alps", "sparsegpt", "wanda"),
             ("two-four-tensorrt", "two-four-magnitude"),
             ("two-four-permuted", "two-four-magnitude"))
    for names in order:
        for less, more in zip(names, names[1:]):
            if not lost[less] < lost[more]:
                bad += 1
                print(f"wrong: {case.name}: {less} does not beat {more}")
    for name, value in lost.items():
        good = np.isfinite(value)
        bad += not good
        print(f"{'' if good else 'wrong: '}{case.name} {name}: {value:.4f}")
    return bad


def main():
    folder = pathlib.Path(sys.argv[1])
    names = [line.split()[0] for line in opt("--list-recipes").splitlines()]
    if sorted(names) != sorted(EXPECTED):
        sys.exit(f"wrong: recipes are {names}")
    bad = sum(check(folder, make, names)
              for make in (attention, conv_bn_relu_conv))
    print(f"{bad} wrong")


if __name__ == "__main__":
    main()
