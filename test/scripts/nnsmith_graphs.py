"""Graphs that NNSmith draws, as ONNX models.

NNSmith (PyPI: nnsmith, 0.1.0; Liu et al., ASPLOS 2023) draws graphs whose
operators' sizes and attributes its solver makes fit. Its own ONNX output needs
PyTorch; here a row of ROWS says what each of its operators is in ONNX."""
import multiprocessing
import random
import warnings

import numpy as np
import onnx
from onnx import helper as h
from onnx import numpy_helper as nh

# Inputs of the operators are of these; others of NNSmith's have too few kernels
# in ONNX Runtime.
DTYPES = ("float32", "float64", "int32", "int64", "bool")
# Of these it has kernels for float alone.
SINGLE = ("Asin", "Acos", "Tan", "Atan", "GELU", "LeakyReLU", "NearestInterp",
          "LinearInterp", "BilinearInterp", "TrilinearInterp", "BicubicInterp",
          "AvgPool2d")
OPSET, IR_VERSION = 20, 9
SECONDS = 20  # for a graph
SAME = {
    "ReLU": "Relu", "GELU": "Gelu", **{n: n for n in (
        "Sigmoid", "Sin", "Cos", "Asin", "Acos", "Tan", "Atan", "Abs", "Floor",
        "Ceil", "Round", "Sqrt", "Neg", "Where", "Add", "Sub", "Mul", "Div",
        "Max", "Min", "Equal", "Greater", "Less", "And", "Or", "Xor", "Pow",
        "MatMul")}}


class Maker:
    """One model that grows: what is known of NNSmith's values, and nodes."""

    def __init__(self, ir, rng):
        self.rng, self.types = rng, ir.vars
        self.tame, self.open = rng.random() < 0.6, rng.random() < 0.3
        self.nodes, self.weights, self.inputs, self.feed = [], [], [], {}
        for inst in ir.insts:
            self.op, self.args = inst.iexpr.op, list(inst.iexpr.args)
            self.out = inst.retvals()[0]
            self.more = self.op.extra_attrs
            ROWS[type(self.op).__name__](self)

    def dtype(self, name):
        return np.dtype(self.types[name].dtype.numpy())

    def shape(self, name):
        return [int(d) for d in self.types[name].shape]

    def const(self, value, dtype=np.int64, name=None):
        name = name or f"c{len(self.weights)}"
        array = np.asarray(value).astype(dtype)
        self.weights.append(nh.from_array(array, name))
        return name

    def draw(self, shape, dtype):
        """Small numbers, whole ones and zeros among them; in a tame model
        those that roots, logarithms and arcs are made for."""
        x = self.rng.standard_normal(shape) * 2
        if dtype == np.bool_:
            return np.asarray(x > 0)
        if self.tame:
            return np.asarray(0.05 + 0.9 * self.rng.random(shape) if
                              dtype.kind == "f" else abs(x)).astype(dtype)
        return np.where(self.rng.random(shape) < 0.2, np.round(x),
                        x).astype(dtype)

    def weight(self, *shape):
        return self.const(
            self.rng.standard_normal([int(d) for d in shape]) * 0.3,
            self.dtype(self.args[0]))

    def node(self, kind, *more, outputs=None, **attrs):
        self.nodes.append(h.make_node(
            kind, self.args[:1] + list(more) if more else self.args,
            outputs or [self.out], name=f"n{len(self.nodes)}", **attrs))

    def model(self):
        used = {i for n in self.nodes for i in n.input}
        outs = [o for n in self.nodes for o in n.output if o not in used]
        graph = h.make_graph(self.nodes, "g", [self.info(i) for i in
                                               self.inputs],
                             [self.info(o) for o in outs], self.weights)
        if self.open:
            leave_open(graph)
        return h.make_model(graph, ir_version=IR_VERSION,
                            opset_imports=[h.make_opsetid("", OPSET)])

    def info(self, name):
        return h.make_tensor_value_info(
            name, h.np_dtype_to_tensor_dtype(self.dtype(name)),
            self.shape(name))


def leave_open(graph):
    """Sizes of inputs have names, and those of outputs follow."""
    for value in graph.input:
        for i, d in enumerate(value.type.tensor_type.shape.dim):
            d.dim_param = f"{value.name}_{i}"
    for value in graph.output:
        for d in value.type.tensor_type.shape.dim:
            d.Clear()


# ---- operators ----

def given(m):
    m.inputs.append(m.out)
    m.feed[m.out] = m.draw(m.shape(m.out), m.dtype(m.out))


def constant(m):
    m.const(m.draw(m.shape(m.out), m.dtype(m.out)), m.dtype(m.out), m.out)


def clip(m):
    dtype = m.dtype(m.args[0])
    m.node("Clip", m.const(-1.5, dtype), m.const(1.5, dtype))


def leaky(m):
    m.node("LeakyRelu", alpha=0.01)


def prelu(m):
    m.node("PRelu", m.const(0.25, m.dtype(m.args[0])))


def log2(m):
    out = m.out
    m.node("Log", outputs=[out + "_e"])
    m.args = [out + "_e"]
    m.node("Mul", m.const(1 / np.log(2), m.dtype(out)))


def softmax(m):
    m.node("Softmax", axis=int(m.op.dim))


def cut(m):
    """Ends may be counted from behind, or lie past the end."""
    size = m.shape(m.args[0])[m.more["axis"]]
    start, end = int(m.op.start), int(m.op.end)
    if m.more["region"] != "right":
        start -= size
    if m.more["region"] == "left" and end < size:
        end -= size
    m.node("Slice", *(m.const([v]) for v in (
        start, end, m.more["axis"], int(m.op.step))))


def pad(m):
    """NNSmith's list has (before, after) of the last axis first."""
    rank, size = len(m.shape(m.args[0])), m.op.padding_list
    mode = {"constant": "constant", "replicate": "edge",
            "reflect": "reflect"}[m.more["type"]]
    pads = [0] * (2 * rank)
    for i, v in enumerate(size):
        pads[rank - 1 - i // 2 + (i % 2) * rank] = int(v)
    fill = [m.const(0.5, m.dtype(m.args[0]))] if mode == "constant" else []
    m.node("Pad", m.const(pads), *fill, mode=mode)


def expand(m):
    m.node("Expand", m.const(m.shape(m.out)))


def reshape(m):
    m.node("Reshape", m.const([int(d) for d in m.op.target_shape]))


def transpose(m):
    perm = list(range(len(m.shape(m.args[0]))))
    a, b = m.more["dim0"], m.more["dim1"]
    perm[a], perm[b] = perm[b], perm[a]
    m.node("Transpose", perm=perm)


def squeeze(m):
    axis = m.more["reduce_dim"]
    m.node("Squeeze", *([] if axis is None else [m.const([axis])]))


def reduced(m):
    axis, name = m.more["reduce_dim"], type(m.op).__name__
    m.node(name, *([] if axis is None else [m.const([axis])]), keepdims=0)


def arg(m):
    axis, name, out = m.more["reduce_dim"], type(m.op).__name__, m.out
    if axis is None:
        m.node("Reshape", m.const([-1]), outputs=[out + "_flat"])
        m.args = [out + "_flat"]
    m.node(name, axis=axis or 0, keepdims=0)


def concat(m):
    m.node("Concat", axis=int(m.more["axis"]))


def cast(m):
    m.node("Cast", to=h.np_dtype_to_tensor_dtype(m.dtype(m.out)))


def conv2d(m):
    o = m.op
    m.node("Conv", m.weight(o.out_channels, o.in_channels, o.kernel_h_size,
                            o.kernel_w_size), m.weight(o.out_channels),
           strides=[int(o.stride)] * 2, pads=[int(o.padding)] * 4,
           dilations=[int(o.dilation_h), int(o.dilation_w)])


def conv1d(m):
    o = m.op
    m.node("Conv", m.weight(o.out_channels, o.in_channels, o.kernel_size),
           m.weight(o.out_channels), strides=[int(o.stride)],
           pads=[int(o.padding)] * 2, dilations=[int(o.dilation)])


def pool(m):
    o, more = m.op, {}
    kind = {"MaxPool2d": "MaxPool", "AvgPool2d": "AveragePool"}[
        type(o).__name__]
    if kind == "AveragePool":
        more["count_include_pad"] = 1
    m.node(kind, kernel_shape=[int(o.kernel_h_size), int(o.kernel_w_size)],
           strides=[int(o.stride)] * 2, pads=[int(o.padding)] * 4, **more)


def batch_norm(m):
    n, dtype = int(m.op.nfeat), m.dtype(m.args[0])
    m.node("BatchNormalization", m.weight(n), m.weight(n), m.weight(n),
           m.const(0.5 + m.rng.random(n), dtype))


def triangle(m):
    m.node("Trilu", m.const(int(m.op.diagonal)),
           upper=int(type(m.op).__name__ == "Triu"))


def resize(m):
    mode = {"Nearest": "nearest", "Bicubic": "cubic"}.get(
        type(m.op).__name__[:-len("Interp")], "linear")
    m.node("Resize", "", "", m.const(m.shape(m.out)), mode=mode,
           coordinate_transformation_mode="asymmetric" if mode == "nearest"
           else "half_pixel", nearest_mode="floor")


ROWS = {
    "Input": given, "Constant": constant, "Clip": clip, "LeakyReLU": leaky,
    "PReLU": prelu, "Log2": log2, "Softmax": softmax, "Slice": cut,
    "Reshape": reshape, "Transpose": transpose, "Squeeze": squeeze,
    "NCHWConv2d": conv2d, "Conv1d": conv1d, "MaxPool2d": pool,
    "AvgPool2d": pool, "BatchNorm2d": batch_norm,
    **{n: lambda m, kind=kind: m.node(kind) for n, kind in SAME.items()},
    **{n + "Pad": pad for n in ("Const", "Reflect", "Replicate")},
    **{f"ExpandLast{i}": expand for i in range(1, 5)},
    **{f"Concat{i}": concat for i in range(1, 6)},
    **{"Reduce" + n: reduced for n in ("Sum", "Min", "Max", "Mean", "Prod")},
    **{"Arg" + n: arg for n in ("Min", "Max")},
    **{"Cast" + n: cast for n in ("F32", "F64", "I32", "I64", "Bool")},
    **{n + "Interp": resize for n in ("Nearest", "Linear", "Bilinear",
                                      "Trilinear", "Bicubic")},
    **{n: triangle for n in ("Tril", "Triu")},
}


def operators():
    """NNSmith's that have a row, with the types of DTYPES."""
    from nnsmith.abstract import op as every
    kinds = [*every.FULL_OPERATOR_SETS["core"], every.MatMul]
    found = []
    for kind in kinds:
        if kind.__name__ not in ROWS:
            continue
        known = ("float32",) if kind.__name__ in SINGLE else DTYPES
        for side in ("in_dtypes", "out_dtypes"):
            setattr(kind, side, [t for t in getattr(kind, side) or () if all(
                str(d) in known for d in t)])
        if kind.in_dtypes and kind.out_dtypes:
            found.append(kind)
    return found


def made(kinds, seed, nodes):
    from nnsmith.graph_gen import model_gen
    random.seed(seed)
    np.random.seed(seed % 2**32)
    warnings.simplefilter("ignore")
    try:
        ir = model_gen(opset=kinds, method="symbolic-cinit", seed=seed % 2**31,
                       max_nodes=nodes, timeout_ms=5000).make_concrete()
    except Exception:  # pylint: disable=broad-except
        return None
    maker = Maker(ir, np.random.default_rng(seed))
    if not maker.nodes:
        return None
    return maker.model().SerializeToString(), maker.feed


def draw(kinds, seed, nodes):
    """A model and its inputs; None when the solver finds no graph in time. In a
    process of its own: what the solver says depends on what it was asked
    before."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            found = pool.apply_async(made, (kinds, seed, nodes)).get(SECONDS)
        except multiprocessing.TimeoutError:
            found = None
    return found and (onnx.ModelProto.FromString(found[0]), found[1])
