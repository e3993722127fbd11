#!/usr/bin/env python3
"""Writes a model of two products, of a kind that GPUs have kernels for.

    gpu_models.py bytes|float8|blocks OUT.onnx

x is [rows, 200].
  bytes   QLinearMatMul of uint8 by 2:4 weights, MatMulInteger of what it gives
  float8  both of QuantizeLinear and DequantizeLinear of float8e4m3fn on either
          side, the first by 2:4 weights with a scale for each result; scales are
          powers of two, so that sums are exact in f32
  blocks  of f32: pruning by blocks leaves of the weights some of every row of
          blocks, none of some, and such at the edges
"""
import sys

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, UINT8, INT32, FLOAT8 = (TensorProto.FLOAT, TensorProto.UINT8,
                               TensorProto.INT32, TensorProto.FLOAT8E4M3FN)
RNG = np.random.default_rng(5)


def two_of_four(w):
    """Zeroes two random ones of every four along k."""
    groups = w.reshape(w.shape[0] // 4, 4, w.shape[1])
    order = RNG.random(groups.shape).argsort(axis=1)
    return np.where(order < 2, groups, 0).reshape(w.shape).astype(w.dtype)


def constants(values):
    return [numpy_helper.from_array(np.asarray(v), k)
            for k, v in values.items()]


# ---- each kind: nodes, constants, types of x and y, results ----

def of_bytes():
    def weights(k, n):
        return RNG.integers(-128, 128, (k, n)).astype(np.int8)

    nodes = [
        helper.make_node("QLinearMatMul",
                         ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero",
                          "y_scale", "y_zero"], ["h"]),
        helper.make_node("MatMulInteger", ["h", "v", "y_zero"], ["y"]),
    ]
    return nodes, constants({
        "w": two_of_four(weights(200, 72)), "v": weights(72, 33),
        "x_scale": np.float32(0.02), "x_zero": np.uint8(120),
        "w_scale": np.float32(0.01), "w_zero": np.int8(0),
        "y_scale": np.float32(0.4), "y_zero": np.uint8(131),
    }), UINT8, INT32, 33


def of_float8():
    def tensor(name, values):
        bits = np.asarray(values).astype(ml_dtypes.float8_e4m3fn)
        return helper.make_tensor(name, FLOAT8, bits.shape, bits.tobytes(),
                                  raw=True)

    def product(x, w, y, **axis):
        scale = [x + "_scale", "zero"]
        return [
            helper.make_node("QuantizeLinear", [x, *scale], [x + "_8"]),
            helper.make_node("DequantizeLinear", [x + "_8", *scale],
                             [x + "_d"]),
            helper.make_node("DequantizeLinear", [w, w + "_scale"], [w + "_d"],
                             **axis),
            helper.make_node("MatMul", [x + "_d", w + "_d"], [y]),
        ]

    scales = constants({
        "w_scale": (0.5 ** RNG.integers(6, 10, 72)).astype(np.float32),
        "v_scale": np.float32(1 / 64), "x_scale": np.float32(1 / 32),
        "h_scale": np.float32(1 / 4)})
    weights = [tensor("w", two_of_four(RNG.standard_normal((200, 72)) * 8)),
               tensor("v", RNG.standard_normal((72, 33)) * 8),
               tensor("zero", 0.0)]
    return (product("x", "w", "h", axis=1) + product("h", "v", "y"),
            weights + scales, FLOAT, FLOAT, 33)


def of_blocks():
    def weights(k, n):
        """Blocks of 32 along k by 64 are larger or smaller, a few half as
        wide, and every third row of blocks is small."""
        w = RNG.standard_normal((k, n)) / np.sqrt(k)
        down, across = -(-k // 32), -(-n // 64)
        size = RNG.random((down, across)) * ((np.arange(across) + 1) % 3)
        size = np.repeat(size, 2, axis=1)
        size[1::5, ::2] = 0
        return (w * np.kron(size, np.ones((32, 32)))[:k, :n]).astype(np.float32)

    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    return nodes, constants({
        "w": weights(200, 330), "v": weights(330, 64),
        "b": RNG.standard_normal(330).astype(np.float32),
    }), FLOAT, FLOAT, 64


def main():
    kinds = {"bytes": of_bytes, "float8": of_float8, "blocks": of_blocks}
    nodes, consts, x, y, n = kinds[sys.argv[1]]()
    graph = helper.make_graph(
        nodes, sys.argv[1],
        [helper.make_tensor_value_info("x", x, ["rows", 200])],
        [helper.make_tensor_value_info("y", y, ["rows", n])], consts)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()
