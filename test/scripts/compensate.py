#!/usr/bin/env python3
"""Compensation and score-activation against numpy in float64.

    compensate.py FOLDER

After compensate-bias the mean of what a layer gives over the calibration data
must be what it was, whatever was masked; after compensate-refit no weights on
the same places are closer to it than numpy's least squares; and the channels
that go by activations are those that numpy says."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from shrink_models import Net


def matmul(n):
    return n.op("MatMul", n.input(40, 12), n.weight(12, 7)), (40, 12)


def matmul_add(n):
    return n.linear(n.input(40, 12), 12, 7), (40, 12)


def gemm(n):
    x = n.input(40, 12)
    return n.op("Gemm", x, n.weight(7, 12), n.weight(7), transB=1), (40, 12)


def conv(n):
    return n.conv(n.input(9, 6, 5, 5), 6, 8, 1), (9, 6, 5, 5)


def conv_groups(n):
    x = n.input(9, 6, 5, 5)
    return n.op("Conv", x, n.weight(8, 3, 1, 1), group=2), (9, 6, 5, 5)


def run(path, x):
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"])
    return session.run(None, {"in0": x})[0].astype(np.float64)


def opt(*args):
    subprocess.run(["prune-opt", *map(str, args)], check=True)


def check_means(folder, make):
    net, rng = Net(), np.random.default_rng(2)
    out, shape = make(net)
    model = folder / f"{make.__name__}.onnx"
    net.save(model, out)
    x = (rng.standard_normal(shape) + 1.5).astype(np.float32)
    np.savez(folder / "in.npz", in0=x)
    profile, masked = folder / "p.prof", folder / "masked.onnx"
    subprocess.run(["prune-run", model, "--inputs", folder / "in.npz",
                    "--profile-out", profile], check=True)
    opt(model, "--infer-shapes", f"--profile={profile}", "--score-magnitude",
        "--select-unstructured=sparsity=0.5,scope=row", "--compensate-bias", "-o", masked)
    axes = (0, 2, 3) if len(shape) == 4 else 0
    want, got = run(model, x).mean(axes), run(masked, x).mean(axes)
    error = np.abs(want - got).max() / np.abs(want).max()
    return error <= 1e-5, f"mean differs by {error:.1e}"


def closest(x, y, mask, means):
    """Sum of squares that is left at best, output by output."""
    left = 0
    ones = np.ones((len(x), 1))
    for o in range(y.shape[1]):
        columns = x[:, mask[:, o]]
        a = np.hstack([columns, ones]) if means else columns
        w = np.linalg.lstsq(a, y[:, o], rcond=None)[0]
        left += ((a @ w - y[:, o]) ** 2).sum()
    return left


def check_refit(folder, make, means):
    """Correlated inputs, so that others can make up for what is gone."""
    net, rng = Net(), np.random.default_rng(4)
    out, shape = make(net)
    model = folder / f"{make.__name__}.onnx"
    net.save(model, out)
    x = rng.standard_normal(shape) @ rng.standard_normal((shape[1],) * 2) + 1
    x = x.astype(np.float32)
    np.savez(folder / "in.npz", in0=x)
    profile, fitted = folder / "p.prof", folder / "fitted.onnx"
    subprocess.run(["prune-run", model, "--inputs", folder / "in.npz",
                    "--profile-moments=full", "--profile-out", profile],
                   check=True)
    opt(model, "--infer-shapes", f"--profile={profile}", "--score-magnitude",
        "--select-unstructured=sparsity=0.5,scope=row",
        f"--compensate-refit=damping=1e-12,means={means}", "-o", fitted)
    w = next(numpy_helper.to_array(t)
             for t in onnx.load(fitted).graph.initializer if t.name == "c1")
    mask = (w if w.shape[0] == shape[1] else w.T) != 0
    want, got = run(model, x), run(fitted, x)
    bias = 0 if means == "true" else got.mean(0) * 0
    c = {t.name: numpy_helper.to_array(t)
         for t in onnx.load(model).graph.initializer}
    own = c["c3"] if means == "false" and "c3" in c else bias
    best = closest(x.astype(np.float64), want - own, mask, means == "true")
    ours = ((got - want) ** 2).sum()
    return (ours <= best * (1 + 1e-4) + 1e-6,
            f"refit, means {means}: {ours:.6f}, at best {best:.6f}")


def check_scores(folder):
    """Three layers; the hidden channels of the first are chosen from."""
    net, rng = Net(), np.random.default_rng(3)
    h = net.op("Relu", net.linear(net.input(64, 10), 10, 16))
    model = folder / "scores.onnx"
    net.save(model, net.linear(h, 16, 5))
    c = {t.name: numpy_helper.to_array(t).astype(np.float64)
         for t in onnx.load(model).graph.initializer}
    first, bias, second = c["c1"], c["c3"], c["c6"]
    x = rng.standard_normal((64, 10)).astype(np.float32)
    np.savez(folder / "in.npz", in0=x)
    subprocess.run(["prune-run", model, "--inputs", folder / "in.npz",
                    "--profile-out", folder / "p.prof"], check=True)
    hidden = np.maximum(x.astype(np.float64) @ first + bias, 0)
    cases = {"mean": np.abs(hidden).mean(0),
             "positive": (hidden > 0).mean(0),
             "fluctuation": hidden.var(0) * (second ** 2).sum(1)}
    for by, want in cases.items():
        opt(model, "--infer-shapes", f"--profile={folder / 'p.prof'}",
            f"--score-activation=by={by}", "--select-channels=ratio=0.5",
            "-o", folder / "out.onnx")
        got = next(numpy_helper.to_array(t)
                   for t in onnx.load(folder / "out.onnx").graph.initializer
                   if t.name == "c1")
        gone = np.flatnonzero(~got.any(0))
        good = set(gone) == set(np.argsort(want, kind="stable")[:8])
        yield good, f"{by}: {sorted(map(int, gone))}"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    results = [(make.__name__, *check_means(folder, make))
               for make in (matmul, matmul_add, gemm, conv, conv_groups)]
    results += [(make.__name__, *check_refit(folder, make, means))
                for make in (matmul, matmul_add) for means in ("true", "false")]
    results += [("scores", *r) for r in check_scores(folder)]
    for name, good, text in results:
        print(f"{name}: {text}{'' if good else ': wrong'}")
    print(f"{sum(not good for _, good, _ in results)} wrong")


main()
