"""Operators that draw at random: the distribution, and that it is the same
every time.

usage: draws.py FOLDER

Samples are compared with the distribution that ONNX names by the largest
difference of the distribution functions (Kolmogorov and Smirnov), which is
above 2.5 / sqrt(n) once in 3e5 times; the generator is fixed, so it is once or
never."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper

N = 100000


def model(path, nodes, inputs=(), outputs=("y",), types=None):
    types = types or {}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(n, t, s)
                     for n, t, s in inputs],
        [helper.make_tensor_value_info(o, types.get(o, TensorProto.FLOAT), None)
         for o in outputs])
    onnx.save(helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10),
        path)


def run(path, feed=None, *more):
    folder = path.parent
    args = ["prune-run", path, "--outputs", folder / "out.npz", *more]
    if feed:
        np.savez(folder / "in.npz", **feed)
        args += ["--inputs", folder / "in.npz"]
    subprocess.run([str(a) for a in args], check=True)
    return dict(np.load(folder / "out.npz"))


def distance(sample, cdf):
    x = np.sort(np.asarray(sample, np.float64).ravel())
    at = np.arange(1, x.size + 1) / x.size
    c = cdf(x)
    return max(np.abs(at - c).max(), np.abs(at - 1 / x.size - c).max())


def check(what, ok, said=""):
    print(f"{what}: {said}")
    if not ok:
        sys.exit(f"{what}: wrong")


def follows(what, sample, cdf):
    d = distance(sample, cdf)
    check(what, d < 2.5 / np.sqrt(np.size(sample)), f"differs by {d:.4f}")


def normal(x):
    from math import erf
    return np.array([0.5 * (1 + erf(v / 2 ** 0.5)) for v in x])


def numbers(folder):
    path = folder / "numbers.onnx"
    made = helper.make_node
    model(path, [
        made("RandomUniform", [], ["u"], shape=[N], low=-2.0, high=3.0),
        made("RandomNormal", [], ["n"], shape=[N], mean=1.0, scale=2.0),
        made("RandomUniform", [], ["a"], shape=[2, 500], seed=7.0),
        made("RandomUniform", [], ["b"], shape=[2, 500], seed=7.0),
        made("RandomUniform", [], ["c"], shape=[2, 500]),
        made("RandomNormalLike", ["x"], ["d"], dtype=TensorProto.DOUBLE),
        made("RandomUniformLike", ["x"], ["h"], dtype=TensorProto.FLOAT16)],
        [("x", TensorProto.FLOAT, ["n", 40])],
        ["u", "n", "a", "b", "c", "d", "h"],
        {"d": TensorProto.DOUBLE, "h": TensorProto.FLOAT16})
    feed = {"x": np.zeros((1000, 40), np.float32)}
    out = run(path, feed)
    check("range", out["u"].min() >= -2 and out["u"].max() < 3)
    follows("uniform", out["u"], lambda x: (x + 2) / 5)
    follows("normal", out["n"], lambda x: normal((x - 1) / 2))
    follows("normal, double", out["d"], normal)
    follows("uniform, half", out["h"], lambda x: x)
    check("one seed", np.array_equal(out["a"], out["b"]))
    check("no seed", not np.array_equal(out["a"], out["c"])
          and abs(np.corrcoef(out["a"].ravel(), out["c"].ravel())[0, 1]) < 0.15)
    check("neighbours", abs(np.corrcoef(out["u"][1:], out["u"][:-1])[0, 1])
          < 0.015)
    again = run(path, feed, "--threads=2")
    check("again", all(np.array_equal(out[k], again[k]) for k in out))


def choices(folder):
    path = folder / "choices.onnx"
    made = helper.make_node
    one = onnx.numpy_helper.from_array
    model(path, [
        made("Bernoulli", ["p"], ["b"], dtype=TensorProto.INT32),
        made("Multinomial", ["l"], ["m"], sample_size=N,
             dtype=TensorProto.INT64),
        made("Constant", [], ["r"], value=one(np.float32(0.3))),
        made("Constant", [], ["t"], value=one(np.array(True))),
        made("Dropout", ["p", "r", "t"], ["y", "mask"], seed=3)],
        [("p", TensorProto.FLOAT, ["n"]), ("l", TensorProto.FLOAT, [2, 3])],
        ["b", "m", "y", "mask"],
        {"b": TensorProto.INT32, "m": TensorProto.INT64,
         "mask": TensorProto.BOOL})
    p = np.repeat(np.array([0, 0.25, 0.9, 1], np.float32), N)
    weights = np.array([[0.2, 0.5, 0.3], [0.7, 0.0, 0.3]], np.float32)
    with np.errstate(divide="ignore"):
        out = run(path, {"p": p, "l": np.log(weights)})
    share = out["b"].reshape(4, N).mean(axis=1)
    check("Bernoulli", np.abs(share - [0, 0.25, 0.9, 1]).max() < 0.006
          and share[0] == 0 and share[3] == 1, share)
    drawn = np.array([np.bincount(row, minlength=3) / N for row in out["m"]])
    check("Multinomial", np.abs(drawn - weights).max() < 0.006
          and drawn[1, 1] == 0, drawn)
    mask = out["mask"]
    check("Dropout", abs(mask.mean() - 0.7) < 0.004, mask.mean())
    check("kept", np.allclose(out["y"], np.where(mask, p / 0.7, 0), 1e-6))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    numbers(folder)
    choices(folder)


if __name__ == "__main__":
    main()
