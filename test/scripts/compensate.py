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

from im2col import im2col, window_of
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


def strided(n):
    """A convolution with everything."""
    x = n.input(6, 4, 9, 8)
    return n.op("Conv", x, n.weight(5, 4, 3, 2), n.weight(5), strides=[2, 1],
                dilations=[1, 2], pads=[1, 0, 2, 1]), (6, 4, 9, 8)


def same_groups(n):
    x = n.input(6, 6, 7, 7)
    return n.op("Conv", x, n.weight(4, 3, 3, 3), group=2, strides=[2, 2],
                auto_pad="SAME_UPPER"), (6, 6, 7, 7)


def depthwise(n):
    x = n.input(6, 5, 7, 7)
    return n.op("Conv", x, n.weight(5, 1, 3, 3), group=5,
                pads=[1] * 4), (6, 5, 7, 7)


def point_strided(n):
    x = n.input(6, 5, 9, 9)
    return n.op("Conv", x, n.weight(4, 5, 1, 1), strides=[3, 3]), (6, 5, 9, 9)


def turned(n):
    """Stored as [height, width, inputs, outputs]."""
    x = n.input(6, 4, 7, 7)
    w = n.op("Transpose", n.weight(3, 3, 4, 5), perm=[3, 2, 0, 1])
    return n.op("Conv", x, w), (6, 4, 7, 7)


def tied(n):
    """One weight, which sees two inputs through different windows."""
    x = n.input(6, 4, 9, 9)
    w = n.weight(5, 4, 3, 3)
    return n.op("Concat", n.op("Conv", x, w),
                n.op("Conv", n.op("Relu", x), w, strides=[2, 1],
                     pads=[1, 0, 0, 0]), axis=2), (6, 4, 9, 9)


# How a case sees its inputs: [(what of x, window)], and the weight as OIHW.
CONVS = {
    strided: ([(lambda x: x, window_of((3, 2), (2, 1), (1, 2),
                                       (1, 0, 2, 1)))], None),
    same_groups: ([(lambda x: x, window_of((3, 3), (2, 2), same=1,
                                           groups=2))], None),
    depthwise: ([(lambda x: x, window_of((3, 3), pads=(1,) * 4,
                                         groups=5))], None),
    point_strided: ([(lambda x: x, window_of((1, 1), (3, 3)))], None),
    turned: ([(lambda x: x, window_of((3, 3)))], (3, 2, 0, 1)),
    tied: ([(lambda x: x, window_of((3, 3))),
            (lambda x: np.maximum(x, 0),
             window_of((3, 3), (2, 1), pads=(1, 0, 0, 0)))], None),
}


def run(path, x):
    session = onnxruntime.InferenceSession(
        path, providers=["CPUExecutionProvider"])
    return session.run(None, {"in0": x})[0].astype(np.float64)


def opt(*args):
    subprocess.run(["prune-opt", *map(str, args)], check=True)


def check_means(folder, make, *options):
    """Exact in padding too, where windows were observed."""
    net, rng = Net(), np.random.default_rng(2)
    out, shape = make(net)
    model = folder / f"{make.__name__}.onnx"
    net.save(model, out)
    x = (rng.standard_normal(shape) + 1.5).astype(np.float32)
    np.savez(folder / "in.npz", in0=x)
    profile, masked = folder / "p.prof", folder / "masked.onnx"
    subprocess.run(["prune-run", model, "--inputs", folder / "in.npz",
                    "--profile-out", profile, *options], check=True)
    opt(model, "--infer-shapes", f"--profile={profile}",
        "--score-magnitude=depthwise",
        "--select-unstructured=sparsity=0.5,scope=row", "--compensate-bias",
        "-o", masked)
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


def images(rng, shape):
    """Neighbours and channels depend on each other."""
    x = rng.standard_normal(shape)
    x[..., 1:] += x[..., :-1]
    x = np.einsum("nchw,cd->ndhw", x, rng.standard_normal((shape[1],) * 2))
    return (x + 0.7).astype(np.float32)


def check_conv(folder, make, means):
    """Against least squares on numpy's own im2col."""
    net, rng = Net(), np.random.default_rng(6)
    out, shape = make(net)
    model = folder / f"{make.__name__}.onnx"
    net.save(model, out)
    x = images(rng, shape)
    np.savez(folder / "in.npz", in0=x)
    profile, fitted = folder / "p.prof", folder / "fitted.onnx"
    subprocess.run(["prune-run", model, "--inputs", folder / "in.npz",
                    "--profile-moments=full", "--profile-out", profile],
                   check=True)
    opt(model, "--infer-shapes", f"--profile={profile}",
        "--score-magnitude=depthwise", "--select-unstructured=sparsity=0.5",
        f"--compensate-refit=damping=1e-12,means={means}", "-o", fitted)
    looks, perm = CONVS[make]
    w, now = ({t.name: numpy_helper.to_array(t).astype(np.float64)
               for t in onnx.load(m).graph.initializer}["c1"]
              for m in (model, fitted))
    if perm:
        w, now = w.transpose(perm), now.transpose(perm)
    groups = looks[0][1][-1]
    a = np.vstack([im2col(look(x.astype(np.float64)), window)
                   for look, window in looks])
    parts = np.split(a, groups, 1)
    w, now = w.reshape(len(w), -1), now.reshape(len(w), -1)
    best = ours = 0
    for o in range(len(w)):
        part = parts[o // (len(w) // groups)]
        lost, mask = part @ (w[o] - now[o]), (now[o] != 0)[:, None]
        if means == "true":
            lost -= lost.mean()
        ours += (lost ** 2).sum()
        best += closest(part, (part @ w[o])[:, None], mask, means == "true")
    good = 0.3 < (now != 0).mean() < 0.7 and ours <= best * (1 + 1e-4) + 1e-6
    return good, f"refit, means {means}: {ours:.6f}, at best {best:.6f}"


def two_products(n):
    h = n.op("Relu", n.linear(n.input(60, 9), 9, 11))
    return n.op("MatMul", h, n.weight(11, 7)), (60, 9), ("c1", "c6"), None


def two_convs(n):
    h = n.op("Relu", n.conv(n.input(5, 4, 8, 8), 4, 6, 3))
    return (n.op("Conv", h, n.weight(4, 3, 3, 3), group=2, pads=[1] * 4),
            (5, 4, 8, 8), ("c1", "c5"),
            window_of((3, 3), pads=(1,) * 4, groups=2))


def two_layers(folder, make, seed):
    """The model, the name of what becomes of it, its input, the names of its
    weights, and the window."""
    net, rng = Net(), np.random.default_rng(seed)
    out, shape, names, window = make(net)
    model = folder / f"{make.__name__}.onnx"
    net.save(model, out)
    x = (images(rng, shape) if window else
         rng.standard_normal(shape).astype(np.float32))
    np.savez(folder / "in.npz", in0=x)
    return model, folder / "fitted.onnx", x, names, window


def check_inputs(folder, make, biases, damping=0.05):
    """Weights behind a pruned one against numpy's solution, the first of which
    has lost half its entries and nothing else."""
    model, fitted, x, (first, second), window = two_layers(folder, make, 8)
    opt(model, "--infer-shapes", f"--calibration={folder / 'in.npz'}",
        f"--pass-pipeline=prune-sequential{{compensate-inputs{{"
        f"damping={damping} biases={biases}}},sites(\"{first}\"){{score-magnitude,"
        "select-unstructured{sparsity=0.5}}}", "-o", fitted)
    old, new = ({t.name: numpy_helper.to_array(t).astype(np.float64)
                 for t in onnx.load(m).graph.initializer}
                for m in (model, fitted))
    kept = new[first] != 0
    unchanged = np.abs((new[first] - old[first])[kept]).max()
    before, now = (hidden(m, x) for m in (model, fitted))
    if window:
        before, now = im2col(before, window), im2col(now, window)
    groups = window[-1] if window else 1
    w, got = ((t[second].reshape(len(t[second]), -1) if window else
               t[second].T) for t in (old, new))
    error = 0
    for g, (b, n) in enumerate(zip(np.split(before, groups, 1),
                                   np.split(now, groups, 1))):
        rows = slice(g * len(w) // groups, (g + 1) * len(w) // groups)
        if biases == "add":
            b, n = b - b.mean(0), n - n.mean(0)
        c, d = n.T @ n / len(n), b.T @ n / len(n)
        hold = damping * np.trace(c) / len(c) * np.eye(len(c))
        want = w[rows] @ (d + hold) @ np.linalg.inv(c + hold)
        error = max(error, np.abs(got[rows] - want).max() / np.abs(want).max())
    mean = (run(model, x) - run(fitted, x)).mean((0, 2, 3) if window else 0)
    good = (0.3 < kept.mean() < 0.7 and unchanged < 1e-6 and error < 1e-4 and
            np.abs(got - w).max() > 0.01 and
            (np.abs(mean).max() < 1e-5) == (biases == "add"))
    return good, (f"{biases}: differs by {error:.1e}, "
                  f"the mean by {np.abs(mean).max():.1e}")


def check_reference(folder, make):
    """Both weights are masked; what the second gives must be as close to what
    it gave in the dense model as least squares come."""
    model, fitted, x, (_, second), window = two_layers(folder, make, 9)
    opt(model, "--infer-shapes", f"--calibration={folder / 'in.npz'}",
        "--pass-pipeline=score-magnitude,select-unstructured{sparsity=0.4},"
        "prune-sequential(reference){compensate-refit{reference "
        "damping=1e-12}}", "-o", fitted)
    w = next(numpy_helper.to_array(t)
             for t in onnx.load(fitted).graph.initializer if t.name == second)
    mask = (w.reshape(len(w), -1) if window else w.T) != 0
    now, want = hidden(fitted, x), run(model, x)
    ours = ((run(fitted, x) - want) ** 2).sum()
    groups = window[-1] if window else 1
    if window:
        now = im2col(now, window)
        want = want.transpose(0, 2, 3, 1).reshape(-1, want.shape[1])
    best = sum(closest(np.split(now, groups, 1)[o * groups // len(mask)],
                       want[:, o:o + 1], mask[o][:, None], True)
               for o in range(len(mask)))
    return (ours <= best * (1 + 1e-4) + 1e-6 and 0.4 < mask.mean() < 0.8,
            f"reference: {ours:.6f}, at best {best:.6f}")


def hidden(path, x):
    """What the Relu gives."""
    shown = onnx.load(path)
    name = next(n.output[0] for n in shown.graph.node if n.op_type == "Relu")
    shown.graph.output.insert(0, onnx.helper.make_tensor_value_info(
        name, onnx.TensorProto.FLOAT, None))
    return run(shown.SerializeToString(), x)


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
    results += [(make.__name__,
                 *check_means(folder, make, "--profile-moments=full"))
                for make in (strided, same_groups, depthwise, turned)]
    results += [(make.__name__, *check_refit(folder, make, means))
                for make in (matmul, matmul_add) for means in ("true", "false")]
    results += [(make.__name__, *check_conv(folder, make, means))
                for make in CONVS for means in ("true", "false")]
    results += [(make.__name__, *check_inputs(folder, make, biases))
                for make in (two_products, two_convs)
                for biases in ("add", "keep", "none")]
    results += [(make.__name__, *check_reference(folder, make))
                for make in (two_products, two_convs)]
    results += [("scores", *r) for r in check_scores(folder)]
    for name, good, text in results:
        print(f"{name}: {text}{'' if good else ': wrong'}")
    print(f"{sum(not good for _, good, _ in results)} wrong")


if __name__ == "__main__":
    main()
