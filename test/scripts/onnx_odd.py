"""ONNX models with everything that exporters seldom write.

usage: onnx_odd.py OUT_FOLDER

Each is legal, and each must come out of the compiler as it went in."""
import os
import sys

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh


def value(name, dims=(2, 3), dtype=T.FLOAT):
    return h.make_tensor_value_info(name, dtype, dims)


def model(nodes, inputs=(), outputs=(), initializers=(), opset=21, **more):
    graph = h.make_graph(list(nodes), "g", list(inputs), list(outputs),
                         list(initializers))
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)],
                        **more)


def relu():
    return model([h.make_node("Relu", ["x"], ["y"])], [value("x")],
                 [value("y")])


def unknown_bytes(number, payload=b"hi"):
    """A field that no ONNX message has."""
    tag = number << 3 | 2
    out = b""
    while tag >= 0x80:
        out += bytes([tag & 0x7f | 0x80])
        tag >>= 7
    return out + bytes([tag, len(payload)]) + payload


def strange(message, number=1234):
    message.MergeFromString(unknown_bytes(number))


def texts():
    """Every doc string, metadata entry, denotation and empty field."""
    m = relu()
    m.doc_string, m.domain, m.producer_version = "model", "org.example", ""
    m.model_version = 0
    m.producer_name = 'quotes " and \\ and\nlines'
    h.set_model_props(m, {"author": "nobody", "empty": ""})
    g = m.graph
    g.doc_string = ""
    n = g.node[0]
    n.name, n.doc_string, n.domain = "", "node", "ai.onnx"
    p = n.metadata_props.add()
    p.key, p.value = "namespace", ": a/b"
    p = g.metadata_props.add()
    p.key = "key alone"
    for v in (g.input[0], g.output[0]):
        v.doc_string = "value"
        v.type.denotation = "IMAGE"
        v.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
        p = v.metadata_props.add()
        p.key, p.value = "k", "v"
    g.value_info.append(value("nobody", (9,)))
    g.value_info.append(value("x"))
    return m


def metadata():
    """Entries that no dictionary holds: a key twice, one without a value."""
    m = relu()
    for key, value in (("prune.order", "0123456789abcdef"), ("a", "1"),
                       ("a", "2"), ("b", None), ("c", "3")):
        p = m.metadata_props.add()
        p.key = key
        if value:
            p.value = value
    return m


def unknown_fields():
    """An unknown field in every message there is."""
    m = relu()
    g = m.graph
    g.initializer.append(nh.from_array(np.ones(2, np.float32), "w"))
    a = h.make_attribute("alpha", 0.5)
    g.node[0].op_type = "Elu"
    strange(a)
    g.node[0].attribute.append(a)
    for entry in (m.metadata_props.add(), g.node[0].metadata_props.add()):
        entry.key = "k"
        strange(entry)
    for x in (m, g, g.node[0], g.input[0], g.input[0].type, g.output[0],
              g.input[0].type.tensor_type, g.initializer[0],
              m.opset_import[0]):
        strange(x)
    annotation = g.quantization_annotation.add()
    annotation.tensor_name = "w"
    strange(annotation)
    return m


def types():
    """Dimensions and types of all kinds."""
    tensor = h.make_tensor_type_proto
    kinds = {
        "rank0": tensor(T.FLOAT, []), "unranked": tensor(T.FLOAT, None),
        "sym": tensor(T.INT64, ["batch", None, 3, "odd name", "2*a+1"]),
        "zero": tensor(T.BOOL, [0, 7]), "minus": tensor(T.FLOAT, [-1]),
        "seq": h.make_sequence_type_proto(tensor(T.STRING, [None])),
        "opt": h.make_optional_type_proto(
            h.make_sequence_type_proto(tensor(T.BFLOAT16, None))),
        "map": h.make_map_type_proto(T.INT64, tensor(T.FLOAT, [1])),
        "sparse": h.make_sparse_tensor_type_proto(T.FLOAT, [3, "n"]),
        "none": onnx.TypeProto(), "elemless": onnx.TypeProto(),
        "opaque": onnx.TypeProto(), "emptysym": tensor(T.FLOAT, [1]),
        "emptyseq": onnx.TypeProto(), "newer": tensor(99, [1]),
    }
    kinds["elemless"].tensor_type.shape.dim.add().dim_value = 4
    kinds["opaque"].opaque_type.domain = "d"
    kinds["opaque"].opaque_type.name = "n"
    kinds["emptysym"].tensor_type.shape.dim[0].dim_param = ""
    kinds["emptyseq"].sequence_type.SetInParent()
    m = relu()
    for name, kind in kinds.items():
        m.graph.input.append(h.make_value_info(name, kind))
        m.graph.value_info.append(h.make_value_info("info_" + name, kind))
    m.graph.input.append(onnx.ValueInfoProto(name="typeless"))
    return m


def tensor_kinds():
    """Every element type, raw and typed, empty and scalar."""
    m = relu()
    rng = np.random.default_rng(3)
    for code in range(1, 29):
        name = T.DataType.Name(code)
        if code == T.STRING:
            typed = h.make_tensor("strings", code, [3], [b"", b"a\0b", b"\xff"])
            m.graph.initializer.append(typed)
            continue
        dtype = h.tensor_dtype_to_np_dtype(code)
        if np.issubdtype(dtype, np.complexfloating):
            data = (rng.normal(size=5) + 1j * rng.normal(size=5)).astype(dtype)
        else:
            data = np.array([0, 1, 1, 0, 1]).astype(dtype)
            if np.issubdtype(dtype, np.signedinteger):
                data = np.array([0, -1, 1, -2, 1]).astype(dtype)
        raw = nh.from_array(data, f"raw_{name}")
        if not raw.HasField("raw_data"):
            raise AssertionError(name)
        typed = h.make_tensor(f"typed_{name}", code, [5], data)
        empty = h.make_tensor(f"empty_{name}", code, [3, 0], [])
        raw0 = onnx.TensorProto(name=f"raw0_{name}", data_type=code,
                                dims=[0], raw_data=b"")
        m.graph.initializer.extend([raw, typed, empty, raw0])
        if name in ("INT2", "UINT4"):  # bits that belong to no element
            last = bytes([raw.raw_data[-1] | 0xc0])
            m.graph.initializer.append(onnx.TensorProto(
                name=f"padded_{name}", data_type=code, dims=[5],
                raw_data=raw.raw_data[:-1] + last))
    m.graph.initializer.append(nh.from_array(np.array(4.0), "scalar"))
    odd = nh.from_array(np.full((2, 2), np.nan, np.float32), "odd")
    odd.doc_string = ""
    odd.data_location = T.DEFAULT
    odd.segment.begin, odd.segment.end = 0, 4
    p = odd.metadata_props.add()
    p.key, p.value = "k", "v"
    m.graph.initializer.append(odd)
    big = rng.integers(-2**40, 2**40, 5000)
    m.graph.initializer.append(
        h.make_tensor("big_typed", T.INT64, [50, 100], big))
    m.graph.initializer.append(
        h.make_tensor("big_floats", T.FLOAT, [5000], rng.normal(size=5000)))
    return m


def attributes():
    """Attributes of every type on an operator of an unknown domain."""
    tensor = nh.from_array(np.ones((2, 2), np.float32), "t")
    bare = nh.from_array(np.ones(1, np.int8))
    sparse = onnx.SparseTensorProto(
        values=nh.from_array(np.ones(2, np.float32)),
        indices=nh.from_array(np.array([1, 3])), dims=[2, 2])
    sub = h.make_graph([h.make_node("Neg", ["x"], ["inner"])], "sub", [],
                       [value("inner")])
    kind = h.make_tensor_type_proto(T.FLOAT, ["n"])
    odd_kind = onnx.TypeProto(denotation="TEXT")
    node = h.make_node("Foo", ["x", "", "x", ""], ["y", "", "z", ""],
                       domain="org.example", name="foo", i=-3, f=1e-45,
                       s="text", ints=[1, -2], floats=[0.5, float("nan")],
                       strings=[b"a", b"\xff\0"], t=tensor, ts=[tensor, bare],
                       g=sub, gs=[sub, sub], sp=sparse, sps=[sparse, sparse])
    node.attribute.extend([
        h.make_attribute("tp", kind), h.make_attribute("tps", [kind, odd_kind]),
        h.make_attribute("odd_tp", odd_kind), h.make_attribute("$name", "mine"),
        h.make_attribute("$regions", 7), h.make_attribute("a b/c", 1)])
    for name, code in (("no_ints", 7), ("no_floats", 6), ("no_strings", 8),
                       ("no_tensors", 9), ("no_graphs", 10), ("no_sparse", 12),
                       ("no_types", 14), ("no_i", 2), ("no_f", 1), ("no_s", 3)):
        node.attribute.add(name=name, type=code)
    node.attribute.add(name="untyped", i=4)
    node.attribute.add(name="undefined", ints=[1, 2]).type = 0
    node.attribute.add(name="documented", i=4, type=2, doc_string="why")
    node.attribute.add(name="overflow", f=float("inf"), type=1)
    other = h.make_node("Relu", ["y"], ["r"], domain="onnx", name="foreign")
    third = h.make_node("Bar", ["y"], ["b"], domain="$x.y", overload="two")
    m = model([node, other, third], [value("x")], [value("r"), value("b")])
    m.opset_import.extend([h.make_opsetid("org.example", 1),
                           h.make_opsetid("onnx", 1),
                           h.make_opsetid("$x.y", 3)])
    return m


def functions():
    """Local functions with references, defaults, overloads, a graph default."""
    ref = h.make_node("Elu", ["a"], ["b"])
    ref.attribute.add(name="alpha", ref_attr_name="alpha", type=1)
    untyped = h.make_node("Concat", ["b", "b"], ["c"])
    untyped.attribute.add(name="axis", ref_attr_name="axis")
    f = h.make_function("local", "F", ["a"], ["c"], [ref, untyped],
                        [h.make_opsetid("", 21)], ["axis"],
                        [h.make_attribute("alpha", 0.25)])
    f.doc_string = "does things"
    f.value_info.append(value("a"))
    f.value_info.append(value("b"))
    p = f.metadata_props.add()
    p.key, p.value = "k", "v"
    strange(f)
    twin = h.make_function("local", "F", ["a", "s"], ["a"], [],
                           [h.make_opsetid("", 21)])
    twin.overload = "two"
    call = h.make_node("F", ["x"], ["y"], domain="local", axis=0)
    again = h.make_node("F", ["y", ""], ["z"], domain="local", overload="two")
    m = model([call, again], [value("x")], [value("z", None)],
              functions=[f, twin])
    m.opset_import.append(h.make_opsetid("local", 1))
    return m


def subgraphs():
    """If, Loop and Scan inside each other, with names from outside."""
    inner = h.make_graph(
        [h.make_node("Add", ["x", "w"], ["s"], name="add")], "inner", [],
        [value("s")], [nh.from_array(np.ones((2, 3), np.float32), "local")],
        doc_string="then", value_info=[value("s")])
    other = h.make_graph([h.make_node("Neg", ["x"], ["s"])], "other", [],
                         [onnx.ValueInfoProto(name="s")])
    branch = h.make_graph(
        [h.make_node("If", ["c"], ["t"], then_branch=inner,
                     else_branch=other)], "b", [], [value("t")])
    plain = h.make_graph([h.make_node("Identity", ["x"], ["u"])], "p", [],
                         [value("u")])
    body = h.make_graph(
        [h.make_node("Identity", ["cond"], ["go"]),
         h.make_node("Add", ["acc", "y"], ["sum"])], "body",
        [value("i", [], T.INT64), value("cond", [], T.BOOL), value("acc")],
        [value("go", [], T.BOOL), value("sum"), value("acc")])
    nodes = [h.make_node("If", ["c"], ["y"], then_branch=branch,
                         else_branch=plain),
             h.make_node("Loop", ["n", "", "y"], ["", "scan"], body=body)]
    return model(nodes, [value("x"), value("c", [], T.BOOL)],
                 [value("scan", None), value("x")],
                 [nh.from_array(np.ones((2, 3), np.float32), "w"),
                  nh.from_array(np.array(3), "n")])


def defaults():
    """IR version 3: every initializer is an input as well, mixed in."""
    w = [nh.from_array(np.ones((2, 3), np.float32), f"w{i}") for i in range(4)]
    nodes = [h.make_node("Add", ["x", "w0"], ["a"]),
             h.make_node("Add", ["a", "w2"], ["b"]),
             h.make_node("Add", ["b", "z"], ["y"])]
    m = model(nodes, [value("w2"), value("x"), value("w0", ["n", 3]),
                      value("z"), value("w1")], [value("y"), value("w3")],
              [w[1], w[0], w[3], w[2]], opset=8)
    m.ir_version = 3
    m.graph.input[2].doc_string = "a weight"
    return m


def sparse():
    """Sparse initializers: linear and coordinate indices, one an input."""
    m = model([h.make_node("Add", ["s", "c"], ["y"])], [value("c")],
              [value("y")])
    for name, index in (("s", np.array([0, 5])),
                        ("c", np.array([[0, 1], [1, 2]]))):
        s = m.graph.sparse_initializer.add()
        s.values.CopyFrom(nh.from_array(np.ones(2, np.float32), name))
        s.indices.CopyFrom(nh.from_array(index))
        s.dims.extend([2, 3])
        strange(s)
    return m


def training():
    """Training information and device configurations."""
    m = relu()
    m.ir_version = 11
    t = m.training_info.add()
    t.algorithm.name = "a"
    t.algorithm.initializer.append(
        nh.from_array(np.ones(300, np.float32), "rate"))
    t.initialization.name = "i"
    b = t.update_binding.add()
    b.key, b.value = "w", "w_new"
    c = m.configuration.add(name="two", num_devices=2)
    c.device.extend(["a", "b"])
    d = m.graph.node[0].device_configurations.add(configuration_id="two",
                                                  pipeline_stage=1)
    s = d.sharding_spec.add(tensor_name="x")
    s.device.extend([0, 1])
    s.sharded_dim.add(axis=0).simple_sharding.add(num_shards=2)
    a = m.graph.quantization_annotation.add(tensor_name="x")
    q = a.quant_parameter_tensor_names.add()
    q.key, q.value = "SCALE_TENSOR", "scale"
    return m


def names():
    """Names that are no identifiers, and names that repeat inside."""
    odd = ["a b", "1", "%", 'q"uote', "back\\slash", "new\nline", "*/", "é",
           "x:0", "a/b.c-d", "#", "{-#", "_", "->", "//", "^bb"]
    nodes = [h.make_node("Relu", [a], [b], name=a)
             for a, b in zip(odd, odd[1:])]
    branch = h.make_graph([h.make_node("Relu", [odd[3]], [odd[2]])], "shadow",
                          [], [value(odd[2])])
    nodes.append(h.make_node("If", ["c"], ["end"], then_branch=branch,
                             else_branch=branch))
    m = model(nodes, [value(odd[0]), value("c", [], T.BOOL)],
              [value("end", None), value(odd[4])])
    m.graph.name = ""
    return m


def foreign_only():
    """No operator of the standard domain, which is not imported either."""
    m = model([h.make_node("Foo", ["x"], ["y"], domain="d")], [value("x")],
              [value("y")])
    del m.opset_import[:]
    m.opset_import.append(h.make_opsetid("d", 2))
    m.opset_import.append(h.make_opsetid("ai.onnx.ml", 3))
    return m


def empty_graph():
    """Nothing but an input that is an output, twice."""
    return model([], [value("x")], [value("x"), value("x")])


MODELS = (texts, metadata, unknown_fields, types, tensor_kinds, attributes, functions,
          subgraphs, defaults, sparse, training, names, foreign_only,
          empty_graph)


def write(folder):
    """Writes them all; returns their paths."""
    os.makedirs(folder, exist_ok=True)
    paths = []
    for make in MODELS:
        path = os.path.join(folder, f"odd_{make.__name__}.onnx")
        with open(path, "wb") as f:
            f.write(make().SerializeToString(deterministic=True))
        paths.append(path)
    return paths


if __name__ == "__main__":
    assert ml_dtypes
    print("\n".join(write(sys.argv[1])))
