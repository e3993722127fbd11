#!/usr/bin/env python3
"""Folds of the data hold fits back where there is little of it.

    held_out.py FOLDER

A layer is pruned on few inputs and on many, with `calibrate{folds}` and with
every damping that this chooses from. On inputs that nothing was fitted on, what
is chosen must lose about as little as the best of these."""
import pathlib
import re
import subprocess
import sys

import numpy as np

from compensate import run
from shrink_models import Net

INPUTS, OUTPUTS, HELD = 64, 24, 4000
DAMPINGS = [0.01 * 10 ** (i / 2) for i in range(5)]


def data(rng, mix, count):
    x = rng.standard_normal((count, INPUTS)) @ mix
    return (x + 0.3 * rng.standard_normal(x.shape)).astype(np.float32)


class Case:
    def __init__(self, folder, count):
        rng, net = np.random.default_rng(count), Net()
        self.folder, self.model = folder, folder / "m.onnx"
        out = net.op("MatMul", net.input("n", INPUTS),
                     net.weight(INPUTS, OUTPUTS))
        net.save(self.model, out)
        mix = rng.standard_normal((INPUTS, INPUTS)) * \
            np.geomspace(1, 0.05, INPUTS)[:, None]
        np.savez(folder / "in.npz", in0=data(rng, mix, count))
        self.held = data(rng, mix, HELD)
        self.want = run(self.model, self.held)

    def lose(self, passes):
        """The share of the outputs' squares, and the damping that is told."""
        out, remarks = self.folder / "o.onnx", self.folder / "remarks.yaml"
        subprocess.run(["prune-opt", self.model, "--infer-shapes",
                        f"--calibration={self.folder / 'in.npz'}",
                        f"--pass-pipeline={passes}", f"--remarks={remarks}",
                        "-o", out], check=True, stderr=subprocess.DEVNULL)
        told = re.search(r"with a damping *of ([0-9.e+-]+)",
                         remarks.read_text().replace("\n", " "))
        lost = ((run(out, self.held) - self.want) ** 2).sum()
        return lost / (self.want ** 2).sum(), float(told[1]) if told else 0.01


def check(folder, count, prune):
    case = Case(folder, count)
    by_hand = [case.lose(f"calibrate,{prune.format(f',damping={d}')}")[0]
               for d in DAMPINGS]
    lost, damping = case.lose(f"calibrate{{folds=4}},{prune.format('')}")
    block, chosen = case.lose(
        f"prune-sequential(folds=4){{{prune.format('')}}}")
    good = lost <= 1.08 * min(by_hand) and block == lost and chosen == damping
    print(f"{'' if good else 'wrong: '}{prune.split('{')[0]}, {count} inputs: "
          f"damping {damping}, loses {lost:.4f}, by hand "
          + " ".join(f"{x:.4f}" for x in by_hand))
    return good


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    refit = ("score-magnitude,select-unstructured{{sparsity=0.6}},"
             "compensate-refit{{means=false{}}}")
    wrong = sum(not check(folder, count, prune) for count in (80, 20000)
                for prune in ("prune-obs{{sparsity=0.6{}}}",
                              "prune-admm{{sparsity=0.6{}}}", refit))
    print(f"{wrong} wrong")


if __name__ == "__main__":
    sys.exit(main())
