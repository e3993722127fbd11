#!/usr/bin/env python3
"""The losses that prune-opt --sensitivity shows, against SparseGPT in numpy.

    sensitivity.py FOLDER

SparseGPT is written again here in float64, its moments made of the data itself.
What a layer loses with its weights must be what the pass says, in ONNX Runtime.
With a measured sensitivity the loss at the share where that was measured must be
what the model's outputs lose. The table and the plot must say what JSON does.
The last line says how many checks failed."""
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from compensate import (CONVS, conv, conv_groups, depthwise, gemm, images,
                        matmul, run, two_convs, two_products)
from im2col import im2col, window_of
from shrink_models import Net

DAMPING, BLOCK = 0.01, 128


def wide(n):
    """More inputs than SparseGPT takes at a time, one of which is always 0."""
    return n.op("MatMul", n.input(700, 300), n.weight(300, 20)), (700, 300)


def plain(window=None):
    return [(lambda x: x, window)]


# What the inputs of a layer are, and how its weight becomes rows of outputs.
LAYERS = {
    matmul: (plain(), (1, 0)),
    wide: (plain(), (1, 0)),
    gemm: (plain(), None),
    conv: (plain(window_of((1, 1))), None),
    conv_groups: (plain(window_of((1, 1), groups=2)), None),
    **{make: how for make, how in CONVS.items() if make is not depthwise},
}
# The same of the first of two.
FIRST = {
    two_products: (plain(), (1, 0)),
    two_convs: (plain(window_of((3, 3), pads=(1,) * 4)), None),
}


def sparsegpt(w, x, prune):
    """w [rows, cols] on inputs x [vectors, cols], without `prune` entries."""
    w, cols = w.copy(), w.shape[1]
    h = x.T @ x / len(x)
    mean, dead = np.trace(h) / cols, np.diag(h) == 0
    w[:, dead] = 0
    h[dead, dead] = mean / (1 + DAMPING)
    h += np.diag(np.where(dead, DAMPING / (1 + DAMPING), DAMPING) * mean)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    gone = 0
    for begin in range(0, cols, BLOCK):
        end = min(begin + BLOCK, cols)
        due = round(prune * end / cols) - gone
        score = np.abs(w[:, begin:end] / np.diag(u)[begin:end])
        first = np.argsort(score, axis=None, kind="stable")[:due]
        keep = np.ones(score.size, bool)
        keep[first] = False
        keep = keep.reshape(score.shape)
        gone += due
        for c in range(begin, end):
            error = np.where(keep[:, c - begin], 0, w[:, c] / u[c, c])
            w[:, c:] -= np.outer(error, u[c, c:])
            w[~keep[:, c - begin], c] = 0
    return w


def told(model, *options, text=False):
    out = subprocess.run(
        ["prune-opt", model, *options[:-1],
         f"--sensitivity={'' if text else 'format=json,'}{options[-1]}"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        encoding="ascii").stdout
    return out if text else json.loads(out)


def replaced(model, name, value, out):
    m = onnx.load(model)
    for t in m.graph.initializer:
        if t.name == name:
            t.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    onnx.save(m, out)
    return out


class Case:
    def __init__(self, folder, make):
        net, rng = Net(), np.random.default_rng(4)
        made = make(net)
        self.folder, self.model = folder, folder / f"{make.__name__}.onnx"
        net.save(self.model, made[0])
        shape = made[1]
        self.x = (images(rng, shape) if len(shape) == 4 else
                  (rng.standard_normal(shape) @ rng.standard_normal(
                      (shape[1],) * 2) + 1).astype(np.float32))
        if make is wide:
            self.x[:, 17] = 0
        self.data, self.profile = folder / "in.npz", folder / "p.prof"
        np.savez(self.data, in0=self.x)
        subprocess.run(["prune-run", self.model, "--inputs", self.data,
                        "--profile-moments=full", "--profile-out",
                        self.profile], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        self.weights = {t.name: numpy_helper.to_array(t)
                        for t in onnx.load(self.model).graph.initializer}

    def lost(self, name, value):
        """What is gone of the outputs, as a sum of squares."""
        out = replaced(self.model, name, value, self.folder / "out.onnx")
        want, got = run(self.model, self.x), run(out, self.x)
        return ((got - want) ** 2).sum()

    def pruned(self, make, share):
        """Weights by SparseGPT, in the constant's own shape."""
        looks, perm = (LAYERS | FIRST)[make]
        w = self.weights["c1"].astype(np.float64)
        perm = perm or range(w.ndim)
        # columns are settled in the order of the constant's memory
        places = np.arange(w.size).reshape(w.shape).transpose(perm)
        order = np.argsort(places[0], axis=None)
        w = w.transpose(perm)
        groups = looks[0][1][-1] if looks[0][1] else 1
        seen = [look(self.x.astype(np.float64)) for look, _ in looks]
        x = np.vstack([im2col(s, window) if window else s
                       for s, (_, window) in zip(seen, looks)])
        parts = [sparsegpt(g[:, order], p[:, order], g.size * share // 100)
                 for g, p in zip(np.split(w.reshape(len(w), -1), groups),
                                 np.split(x, groups, 1))]
        out = np.vstack(parts)[:, np.argsort(order)].reshape(w.shape)
        return out.transpose(np.argsort(perm))


def check_losses(folder, make):
    case = Case(folder, make)
    got = told(case.model, f"--profile={case.profile}",
               f"damping={DAMPING},step=15,from=30")
    row = next(w for w in got["weights"] if w["name"] == "c1")
    whole = case.lost("c1", case.weights["c1"] * 0)
    want = [case.lost("c1", case.pruned(make, round(100 * s))) / whole
            for s in got["shares"]]
    error = np.abs(np.array(row["loss"]) / want - 1).max()
    good = error < 1e-3 and len(want) == 6 and row["weighted"] == row["loss"]
    return good, f"losses differ by {error:.1e}, the last is {want[-1]:.3f}"


def check_sensitivity(folder, make, share=60):
    """Of the first of two layers; and of both that losses are multiplied."""
    case, names = Case(folder, make), make(Net())[2]
    got = told(case.model, f"--profile={case.profile}",
               f"--calibration={case.data}",
               f"--measure-sensitivity=share={share / 100},damping={DAMPING}",
               f"damping={DAMPING}")
    rows = {w["name"]: w for w in got["weights"]}
    lost = case.lost(names[0], case.pruned(make, share))
    want = lost / (run(case.model, case.x) ** 2).sum()
    at = got["shares"].index(share / 100)
    error = abs(rows[names[0]]["weighted"][at] / want - 1)
    times = max(abs(l * rows[n]["sensitivity"] - w) / w for n in names
                for l, w in zip(rows[n]["loss"], rows[n]["weighted"]))
    return (error < 1e-3 and times < 1e-12,
            f"outputs' loss {want:.4f} differs by {error:.1e}")


def check_text(folder, make, options):
    """Table and plot against JSON."""
    case = Case(folder, make)
    profile = f"--profile={case.profile}"
    rows = told(case.model, profile, options)
    first = [i for i, s in enumerate(rows["shares"]) if s >= 0.5]
    text = told(case.model, profile, options, text=True)
    table, _, axis_and_lines = text.partition("\nA loss")
    plot = axis_and_lines.split("\n\n")[1].split("\n")
    ticks = {int(m[1] or 0): m.start() for m in
             re.finditer(r"(?<= )1(?:e(-?\d+))?(?= |$)", plot[0])}
    low = min(ticks)
    cell = ticks[low + 1] - ticks[low]
    bad = 0
    for row in rows["weights"]:
        line = next(l for l in table.split("\n") if l.startswith(row["name"]))
        shown = line.split()[-len(first):]
        bad += shown != [f"{row['weighted'][i]:.3g}" for i in first]
        line = next(l for l in plot if l.startswith(row["name"]))
        want = list(line[:ticks[low]].ljust(ticks[low]) +
                    "".join("|".ljust(cell) for _ in ticks).rstrip())
        for s, l in zip(rows["shares"], row["weighted"]):
            at = max(np.floor((np.log10(l) - low) * cell), 0)
            tens = round(100 * s) / 10
            want[ticks[low] + int(at)] = str(int(tens)) if tens % 1 == 0 else "+"
        bad += line != "".join(want)
    return not bad and len(ticks) > 2, f"{options}: {bad} lines differ"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    results = [(make, *check_losses(folder, make)) for make in LAYERS]
    results += [(make, *check_text(folder, make, options))
                for make in FIRST
                for options in ("step=10", "step=5,sort=loss")]
    results += [(make, *check_sensitivity(folder, make)) for make in FIRST]
    for make, good, text in results:
        print(f"{'' if good else 'wrong: '}{make.__name__}: {text}")
    print(f"{sum(not r[1] for r in results)} wrong")


if __name__ == "__main__":
    main()
