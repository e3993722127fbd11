#!/usr/bin/env python3
"""Writes a model of two products of float8e4m3fn, as quantisers write it.

    float8.py OUT.onnx

x is float [rows, 200]; both products are of QuantizeLinear and DequantizeLinear
on either side, the first by 2:4 weights with a scale each result. Scales are
powers of two, so that sums are exact in f32.
"""
import sys

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

RNG = np.random.default_rng(5)
TYPE = TensorProto.FLOAT8E4M3FN


def tensor(name, values):
    bits = np.asarray(values).astype(ml_dtypes.float8_e4m3fn)
    return helper.make_tensor(name, TYPE, bits.shape, bits.tobytes(), raw=True)


def floats(name, values):
    values = np.asarray(values, np.float32)
    return helper.make_tensor(name, TensorProto.FLOAT, values.shape,
                              values.tobytes(), raw=True)


def two_of_four(w):
    """Zeroes two random ones of every four along k."""
    groups = w.reshape(w.shape[0] // 4, 4, w.shape[1])
    order = RNG.random(groups.shape).argsort(axis=1)
    return np.where(order < 2, groups, 0).reshape(w.shape)


def product(x, w, y, axis):
    more = {"axis": axis} if axis is not None else {}
    return [
        helper.make_node("QuantizeLinear", [x, x + "_scale", "zero"],
                         [x + "_8"]),
        helper.make_node("DequantizeLinear", [x + "_8", x + "_scale", "zero"],
                         [x + "_d"]),
        helper.make_node("DequantizeLinear", [w, w + "_scale"], [w + "_d"],
                         **more),
        helper.make_node("MatMul", [x + "_d", w + "_d"], [y]),
    ]


def main():
    consts = [
        tensor("w", two_of_four(RNG.standard_normal((200, 72)) * 8)),
        tensor("v", RNG.standard_normal((72, 33)) * 8),
        floats("w_scale", 0.5 ** RNG.integers(6, 10, 72)),
        floats("v_scale", 1 / 64), floats("x_scale", 1 / 32),
        floats("h_scale", 1 / 4), tensor("zero", 0.0),
    ]
    nodes = product("x", "w", "h", 1) + product("h", "v", "y", None)
    graph = helper.make_graph(
        nodes, "float8",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 200])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 33])],
        consts)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[1])


if __name__ == "__main__":
    main()
