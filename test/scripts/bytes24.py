#!/usr/bin/env python3
"""Writes a model of two products of bytes: one by 2:4 weights, one by dense.

    bytes24.py OUT.onnx

x is uint8 [rows, 200]; QLinearMatMul gives uint8 [rows, 72], MatMulInteger of
that int32 [rows, 33].
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(5)


def weights(k, n):
    return RNG.integers(-128, 128, (k, n)).astype(np.int8)


def two_of_four(w):
    """Zeroes two random ones of every four along k."""
    groups = w.reshape(w.shape[0] // 4, 4, w.shape[1])
    order = RNG.random(groups.shape).argsort(axis=1)
    return np.where(order < 2, groups, 0).reshape(w.shape).astype(w.dtype)


def main():
    consts = {
        "w": two_of_four(weights(200, 72)), "v": weights(72, 33),
        "x_scale": np.float32(0.02), "x_zero": np.uint8(120),
        "w_scale": np.float32(0.01), "w_zero": np.int8(0),
        "y_scale": np.float32(0.4), "y_zero": np.uint8(131),
    }
    nodes = [
        helper.make_node("QLinearMatMul",
                         ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero",
                          "y_scale", "y_zero"], ["h"]),
        helper.make_node("MatMulInteger", ["h", "v", "y_zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "bytes",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["rows", 200])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["rows", 33])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in consts.items()])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[1])


if __name__ == "__main__":
    main()
