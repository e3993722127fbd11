#!/usr/bin/env python3
"""Which channels select-channels takes, against numpy in float64.

    channel_scores.py FOLDER

One group: sixteen channels between two convolutions, with a normalisation."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from shrink_models import Net, conv_bn_relu_conv


def slices(w, axis):
    w = np.moveaxis(w.astype(np.float64), axis, 0)
    return w.reshape(len(w), -1)


def fpgm(w, axis):
    s = slices(w, axis)
    return np.linalg.norm(s[:, None] - s[None], axis=2).sum(1)


def lamp(scores):
    order = np.argsort(scores, kind="stable")
    rest = np.cumsum(scores[order][::-1])[::-1]
    out = np.empty_like(scores)
    out[order] = scores[order] / rest
    return out


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    net = Net()
    net.save(folder / "m.onnx", conv_bn_relu_conv(net))
    c = {t.name: numpy_helper.to_array(t)
         for t in onnx.load(folder / "m.onnx").graph.initializer}
    first, second, scale = (c[k] for k in ("c1", "c10", "c5"))
    l1 = (np.abs(slices(first, 0)).sum(1) + np.abs(slices(second, 1)).sum(1)
          + np.abs(scale.astype(np.float64))) / 3
    l2 = ((slices(first, 0) ** 2).sum(1) + (slices(second, 1) ** 2).sum(1)
          + scale.astype(np.float64) ** 2) / 3
    cases = {"score-magnitude": l1, "score-magnitude{metric=l2}": l2,
             "score-fpgm": (fpgm(first, 0) + fpgm(second, 1)) / 2,
             "score-norm-scale": np.abs(scale)}
    wrong = 0
    for score, want in cases.items():
        for normalise in ("mean", "max", "lamp", "none"):
            subprocess.run(
                ["prune-opt", folder / "m.onnx", "--infer-shapes",
                 f"--pass-pipeline={score},select-channels{{ratio=0.4,"
                 f"normalise={normalise}}}", "-o", folder / "out.onnx"],
                check=True)
            got = next(numpy_helper.to_array(t)
                       for t in onnx.load(folder / "out.onnx").graph.initializer
                       if t.name == "c1")
            gone = set(np.flatnonzero(~slices(got, 0).any(1)))
            scores = lamp(want) if normalise == "lamp" else want
            good = gone == set(np.argsort(scores, kind="stable")[:len(gone)])
            good = good and len(gone) == 6
            wrong += not good
            print(f"{score} {normalise}: {sorted(map(int, gone))}"
                  f"{'' if good else ': wrong'}")
    print(f"{wrong} wrong")


main()
