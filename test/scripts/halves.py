#!/usr/bin/env python3
"""A model of 16-bit floats with and without zeros, against float64.

    halves.py FOLDER [PRUNE-RUN OPTION...]

Rows of a table are normalised, multiplied by two matrices with a GELU between
them, and seen as an image by two convolutions, by a window and by pixels. All
tensors are f16. What is computed must be as good as f32 rounded to f16 once:
the reference is float64, and the error allowed one unit in the last place of
the largest element. Prints a line for each share of zeros."""
import math
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HALF, I64 = TensorProto.FLOAT16, TensorProto.INT64
RNG = np.random.default_rng(3)
SIZE, WIDE, SIDE = 64, 96, 8


def weights(zeros, *shape):
    w = RNG.standard_normal(shape) / math.sqrt(np.prod(shape[1:]))
    w[RNG.random(shape) < zeros] = 0
    return w.astype(np.float16)


def constants(zeros):
    return {"table": weights(0, 50, SIZE), "scale": weights(0, SIZE),
            "shift": weights(0, SIZE), "w1": weights(zeros, SIZE, WIDE),
            "b1": weights(0, WIDE), "w2": weights(zeros, WIDE, SIZE),
            "shape": np.array([1, SIDE, 2 * SIDE, 2 * SIDE]),
            "k3": weights(zeros, 16, SIDE, 3, 3), "k1": weights(zeros, 24, 16, 1, 1),
            "root": np.array(math.sqrt(0.5), np.float16),
            "one": np.array(1, np.float16), "half": np.array(0.5, np.float16)}


def model(consts):
    node = helper.make_node
    nodes = [node("Gather", ["table", "ids"], ["rows"]),
             node("LayerNormalization", ["rows", "scale", "shift"], ["x"]),
             node("MatMul", ["x", "w1"], ["p"]), node("Add", ["p", "b1"], ["a"]),
             node("Mul", ["a", "root"], ["r"]), node("Erf", ["r"], ["e"]),
             node("Add", ["e", "one"], ["e1"]), node("Mul", ["a", "e1"], ["g"]),
             node("Mul", ["g", "half"], ["h"]), node("MatMul", ["h", "w2"], ["q"]),
             node("Reshape", ["q", "shape"], ["image"]),
             node("Conv", ["image", "k3"], ["c"], pads=[1, 1, 1, 1]),
             node("Relu", ["c"], ["d"]), node("Conv", ["d", "k1"], ["y"])]
    graph = helper.make_graph(
        nodes, "halves", [helper.make_tensor_value_info("ids", I64, [32])],
        [helper.make_tensor_value_info("y", HALF, [1, 24, 2 * SIDE, 2 * SIDE])],
        [numpy_helper.from_array(v, k) for k, v in consts.items()])
    return helper.make_model(graph, ir_version=9,
                             opset_imports=[helper.make_opsetid("", 17)])


def reference(consts, ids):
    c = {k: v.astype(np.float64) for k, v in consts.items()}
    x = c["table"][ids]
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    a = (x * c["scale"] + c["shift"]) @ c["w1"] + c["b1"]
    h = a * (np.vectorize(math.erf)(a * c["root"]) + 1) / 2
    image = (h @ c["w2"]).reshape(SIDE, 2 * SIDE, 2 * SIDE)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    d = np.maximum(np.einsum("chwij,ocij->ohw", seen, c["k3"]), 0)
    return np.einsum("chw,oc->ohw", d, c["k1"][:, :, 0, 0])[None]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for zeros in (0, 0.5, 0.9):
        consts = constants(zeros)
        ids = RNG.integers(0, 50, 32)
        path = folder / f"halves-{zeros}.onnx"
        onnx.save(model(consts), path)
        np.savez(folder / "in.npz", ids=ids)
        subprocess.run(["prune-run", str(path), f"--inputs={folder / 'in.npz'}",
                        f"--outputs={folder / 'out.npz'}", *sys.argv[2:]], check=True)
        got, want = np.load(folder / "out.npz")["y"], reference(consts, ids)
        assert got.dtype == np.float16 and got.shape == want.shape
        error = np.abs(got - want).max()
        allowed = float(np.spacing(np.float16(np.abs(want).max())))
        good = error <= allowed
        wrong += not good
        print(f"{zeros:4.0%} zeros: error {error:.2e}, allowed {allowed:.2e}"
              f"{'' if good else ': wrong'}")
    print(f"{wrong} models wrong")


main()
