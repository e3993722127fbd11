#!/usr/bin/env python3
"""Writes a model of two products of f32: pruning by blocks leaves of its weights
some of every row of blocks, none of some, and such at the edges.

    blocks.py OUT.onnx

x is [rows, 200]; relu(x w + b) is [rows, 330], that times v [rows, 64].
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(7)


def weights(k, n):
    """Blocks of 32 along k by 64 are larger or smaller, a few half as wide,
    and every third row of blocks is small."""
    w = RNG.standard_normal((k, n)) / np.sqrt(k)
    down, across = -(-k // 32), -(-n // 64)
    size = RNG.random((down, across)) * ((np.arange(across) + 1) % 3)
    size = np.repeat(size, 2, axis=1)
    size[1::5, ::2] = 0
    return (w * np.kron(size, np.ones((32, 32)))[:k, :n]).astype(np.float32)


def main():
    consts = {"w": weights(200, 330), "v": weights(330, 64),
              "b": RNG.standard_normal(330).astype(np.float32)}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "blocks",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 200])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 64])],
        [numpy_helper.from_array(v, k) for k, v in consts.items()])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[1])


if __name__ == "__main__":
    main()
