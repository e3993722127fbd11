"""Models with faults, for errors.test: broken.py OUT_FOLDER."""
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh


def value(name, dims=(4, 3), dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, dims)


def model(nodes, inputs=(), outputs=(), initializers=(), opset=17):
    graph = h.make_graph(list(nodes), "g", list(inputs), list(outputs),
                         list(initializers))
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)])


def node(op, ins, outs, name="", **attrs):
    return h.make_node(op, ins, outs, name=name, **attrs)


def many():
    short = T(name="w", dims=[4, 3], data_type=T.FLOAT, raw_data=bytes(44))
    both = T(name="v", dims=[1], data_type=T.FLOAT, raw_data=bytes(4),
             float_data=[0])
    attrs = node("Elu", ["x"], ["e"], "attrs")
    attrs.attribute.extend([h.make_attribute("alpha", 1.0)] * 2)
    attrs.attribute.add(name="beta", type=2, f=1)
    attrs.attribute.add(name="gamma", type=2, f=1, i=1)
    return model(
        [node("Relu", ["x"], ["a"]), node("Relu", ["x"], ["a"], "twice"),
         node("Add", ["a", "nowhere"], ["b"], "lost"),
         node("Foo", ["a"], ["c"], "foreign", domain="far.away"), attrs],
        [value("x")], [value("a"), value("missing")],
        [short, both, nh.from_array(np.ones(2), "w"),
         nh.from_array(np.ones(2), "")])


def cycle():
    return model([node("Add", ["x", "b"], ["a"], "a"),
                  node("Relu", ["a"], ["b"], "b"),
                  node("Relu", ["s"], ["s"], "self")],
                 [value("x")], [value("b")])


def unsorted():
    branch = h.make_graph([node("Neg", ["a"], ["n"])], "b", [], [value("n")])
    return model([node("Add", ["i", "a"], ["b"]),
                  node("If", ["c"], ["i"], then_branch=branch,
                       else_branch=branch), node("Relu", ["x"], ["a"])],
                 [value("x"), value("c", [], T.BOOL)], [value("b")])


def recursive():
    def function(name, callee):
        return h.make_function("l", name, ["a"], ["b"],
                               [node(callee, ["a"], ["b"], domain="l")],
                               [h.make_opsetid("l", 1)])
    m = model([], [value("x")], [value("x")])
    m.functions.extend([function("F", "G"), function("G", "F"),
                        function("H", "F"), function("H", "G")])
    return m


def opsets():
    m = model([], [value("x")], [value("x")], opset=1000)
    m.opset_import.extend([h.make_opsetid("d", 1), h.make_opsetid("d", 2),
                           h.make_opsetid("e", -1)])
    return m


def old():
    return model([node("Relu", ["x"], ["y"], "r")], [value("x")],
                 [value("y")], opset=6)


def tensors():
    def sparse(name, index):
        return onnx.SparseTensorProto(
            values=nh.from_array(np.ones(2, np.float32), name),
            indices=nh.from_array(np.array(index)), dims=[2, 3])
    bad = [T(data_type=99), T(data_type=1, dims=[2, -2]),
           T(data_type=1, dims=[2**33, 2**33]), T(data_type=1, dims=[2**40]),
           T(data_type=1, dims=[1], int64_data=[1]),
           T(data_type=2, dims=[2], int32_data=[1, 300]),
           T(data_type=10, dims=[1], int32_data=[-1]),
           T(data_type=1, dims=[2], float_data=[1, 2, 3]),
           T(data_type=8, dims=[1], raw_data=b"a"),
           T(data_type=1, dims=[1] * 300, raw_data=bytes(4))]
    for i, t in enumerate(bad):
        t.name = f"t{i}"
    m = model([], [value("x")], [value("x")], bad)
    m.graph.sparse_initializer.extend(
        [sparse("s0", [0, 6]), sparse("s1", [4, 4]), sparse("s2", [0, 1, 2])])
    return m


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    files = {f.__name__: f().SerializeToString(deterministic=True)
             for f in (many, cycle, unsorted, recursive, opsets, old, tensors)}
    files["empty"] = b""
    files["cut"] = files["unsorted"][:60]
    for name, data in files.items():
        with open(os.path.join(folder, name + ".onnx"), "wb") as f:
            f.write(data)


main()
