"""Compiled kernels against ONNX Runtime.

    kernels.py [--march=CPU,...] [--threads=N] [--seed=N] [--every=N]
               [--match=TEXT] [--machine=NAME] [GROUP...]

Makes one small model for every case (shapes, strides, padding, types; sizes of
the inputs left open), runs it through prune-run and through ONNX Runtime, and
compares: integers and bools exactly, floats by relative L2 error. With
--machine (of machines.py) cases are compiled by prunec and run under qemu.
Ends with `N passed, N failed`."""
import argparse
import itertools
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as tp
from onnx import helper as h
from onnx import numpy_helper as nh

import machines

OPSET = 17
TYPES = {np.dtype(np.float32): tp.FLOAT, np.dtype(np.float64): tp.DOUBLE,
         np.dtype(np.int32): tp.INT32, np.dtype(np.int64): tp.INT64,
         np.dtype(np.bool_): tp.BOOL, np.dtype(np.uint8): tp.UINT8,
         np.dtype(np.int8): tp.INT8, np.dtype(np.float16): tp.FLOAT16}


class Case:
    """A graph of nodes; inputs are dynamic, constants are initializers."""

    def __init__(self, group, name):
        self.group, self.name = group, name
        self.nodes, self.inputs, self.constants = [], {}, {}
        self.outputs = []
        self.limit = 1e-5

    def input(self, array, name=None):
        name = name or f"x{len(self.inputs)}"
        self.inputs[name] = np.ascontiguousarray(array)
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def node(self, op, *ins, outputs=1, **attrs):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        domain = "" if "domain" not in attrs else attrs.pop("domain")
        self.nodes.append(h.make_node(op, ins, names, domain=domain, **attrs))
        return names[0] if outputs == 1 else names

    def output(self, name, dtype):
        self.outputs.append((name, np.dtype(dtype)))
        return self

    def model(self, opened):
        graph_in = []
        for name, a in self.inputs.items():
            dims = [f"{name}_{i}" if opened else d
                    for i, d in enumerate(a.shape)]
            graph_in.append(h.make_tensor_value_info(name, TYPES[a.dtype],
                                                     dims))
        graph_out = [h.make_tensor_value_info(n, TYPES[t], None)
                     for n, t in self.outputs]
        constants = [nh.from_array(a, n) for n, a in self.constants.items()]
        graph = h.make_graph(self.nodes, "g", graph_in, graph_out, constants)
        return h.make_model(graph, ir_version=8,
                            opset_imports=[h.make_opsetid("", OPSET)])


def floats(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


# ---- cases ----

def elementwise(rng):
    unary = ("Exp Log Sqrt Erf Tanh Sigmoid Sin Cos Tan Atan Abs Neg Floor "
             "Ceil Round Sign Relu Softplus Softsign Reciprocal Sinh Cosh "
             "Asinh HardSigmoid HardSwish Elu Selu Celu LeakyRelu").split()
    for op in unary:
        c = Case("elementwise", op)
        x = floats(rng, 3, 37)
        x = np.abs(x) + 0.1 if op in ("Log", "Sqrt", "Reciprocal") else x
        yield c.output(c.node(op, c.input(x)), np.float32)
    for op, kind in itertools.product(("Add", "Sub", "Mul", "Div", "Max",
                                       "Min", "Pow"), range(4)):
        c = Case("elementwise", f"{op}-{kind}")
        a, b = [((2, 5, 33), (33,)), ((2, 5, 33), (5, 1)), ((4, 1), (1, 70)),
                ((3,), (2, 5, 3))][kind]
        a, b = np.abs(floats(rng, *a)) + 0.2, floats(rng, *b)
        yield c.output(c.node(op, c.input(a), c.input(b)), np.float32)
    for dtype, op in itertools.product(
            (np.int32, np.int64, np.float64),
            ("Add", "Sub", "Mul", "Div", "Less", "Equal", "Greater")):
        c = Case("elementwise", f"{op}-{np.dtype(dtype)}")
        a = rng.integers(-9, 9, (4, 19)).astype(dtype)
        b = rng.integers(1, 5, (19,)).astype(dtype)
        out = np.bool_ if op in ("Less", "Equal", "Greater") else dtype
        yield c.output(c.node(op, c.input(a), c.input(b)), out)
    kinds = (np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_)
    for a, b in itertools.product(kinds, kinds):
        c = Case("elementwise", f"cast-{np.dtype(a)}-{np.dtype(b)}")
        x = c.input((rng.integers(0, 100, (5, 21)) * 0.5).astype(a))
        yield c.output(c.node("Cast", x, to=TYPES[np.dtype(b)]), b)
    c = Case("elementwise", "where")
    m = c.input(rng.integers(0, 2, (5, 1, 20)).astype(np.bool_))
    x, y = c.input(floats(rng, 3, 20)), c.input(floats(rng, 1))
    yield c.output(c.node("Where", m, x, y), np.float32)
    for perm in itertools.permutations(range(3)):
        c = Case("elementwise", "transpose-" + "".join(map(str, perm)))
        t = c.node("Transpose", c.input(floats(rng, 5, 18, 35)), perm=perm)
        yield c.output(c.node("Exp", t), np.float32)
    for a, b in itertools.product((16, 32, 45), (16, 48, 67)):
        c = Case("elementwise", f"transpose-{a}-{b}")
        t = c.node("Transpose", c.input(floats(rng, 3, a, b)), perm=(0, 2, 1))
        y = c.node("Add", c.input(floats(rng, 3, b, a)), t)
        yield c.output(c.node("Mul", y, c.input(floats(rng, b, 1))),
                       np.float32)
    c = Case("elementwise", "transpose-i32")
    x = rng.integers(-9, 9, (20, 50)).astype(np.int32)
    yield c.output(c.node("Transpose", c.input(x), perm=(1, 0)), np.int32)
    c = Case("elementwise", "transpose-i64")
    x = rng.integers(-9, 9, (20, 50))
    yield c.output(c.node("Transpose", c.input(x), perm=(1, 0)), np.int64)


def movement(rng):
    for axis, n in ((0, 3), (1, 5), (2, 7)):
        c = Case("movement", f"gather-{axis}")
        i = c.input(rng.integers(-2, n, (2, 3)))
        x = c.input(floats(rng, 5, 6, 20))
        yield c.output(c.node("Gather", x, i, axis=axis), np.float32)
        c = Case("movement", f"gather_elements-{axis}")
        i = c.input(rng.integers(-3, 5, (5, 6, 20)))
        x = c.input(floats(rng, 5, 6, 20))
        yield c.output(c.node("GatherElements", x, i, axis=axis), np.float32)
        c = Case("movement", f"concat-{axis}")
        parts = []
        for k in range(3):
            shape = [4, 5, 9]
            shape[axis] += k
            parts.append(c.input(floats(rng, *shape)))
        yield c.output(c.node("Concat", *parts, axis=axis), np.float32)
        for flags in ((0, 0), (1, 0), (0, 1), (1, 1)):
            c = Case("movement", f"cumsum-{axis}-{flags}")
            yield c.output(
                c.node("CumSum", c.input(floats(rng, 4, 5, 9)),
                       c.constant(np.int64(axis)), exclusive=flags[0],
                       reverse=flags[1]), np.float32)
        for op, keep, last in itertools.product(("ArgMax", "ArgMin"), (0, 1),
                                                (0, 1)):
            c = Case("movement", f"{op}-{axis}-{keep}-{last}")
            x = c.input(rng.integers(0, 4, (6, 7, 8)).astype(np.float32))
            yield c.output(c.node(op, x, axis=axis, keepdims=keep,
                                  select_last_index=last), np.int64)
    for mode in ("constant", "reflect", "edge"):
        for pads in ((0, 1, 2, 0, 1, 2), (1, 0, 3, 0, 2, 0)):
            c = Case("movement", f"pad-{mode}-{pads}")
            x = c.input(floats(rng, 3, 4, 33))
            args = [x, c.constant(np.array(pads))]
            if mode == "constant":
                args.append(c.constant(np.float32(1.5)))
            yield c.output(c.node("Pad", *args, mode=mode), np.float32)
    c = Case("movement", "pad-negative")
    yield c.output(c.node("Pad", c.input(floats(rng, 6, 40)),
                          c.constant(np.array([-1, 2, 1, -3]))), np.float32)
    for steps in ((1, 1), (2, 3), (-1, -2)):
        c = Case("movement", f"slice-{steps}")
        big, lo = (20, 50), (0, 0)
        ends = [b if s > 0 else -b - 1 for b, s in zip(big, steps)]
        starts = [o if s > 0 else b for o, b, s in zip(lo, big, steps)]
        yield c.output(
            c.node("Slice", c.input(floats(rng, *big)),
                   c.constant(np.array(starts)), c.constant(np.array(ends)),
                   c.constant(np.array([0, 1])), c.constant(np.array(steps))),
            np.float32)


def reductions(rng):
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
               "ReduceProd", "ReduceL2", "ReduceLogSumExp"):
        for axes in ((0,), (1,), (2,), (0, 2), (1, 2), (0, 1), (0, 1, 2)):
            c = Case("reductions", f"{op}-{axes}")
            x = c.input(floats(rng, 5, 17, 37))
            keep = int(rng.integers(0, 2))
            if op == "ReduceSum":
                y = c.node(op, x, c.constant(np.array(axes)), keepdims=keep)
            else:
                y = c.node(op, x, axes=axes, keepdims=keep)
            yield c.output(y, np.float32)
    for axis in range(3):
        for op in ("Softmax", "LogSoftmax"):
            c = Case("reductions", f"{op}-{axis}")
            yield c.output(c.node(op, c.input(floats(rng, 4, 19, 37) * 4),
                                  axis=axis), np.float32)
    for n in (1, 5, 16, 100, 384):
        c = Case("reductions", f"LayerNormalization-{n}")
        x = c.input(floats(rng, 3, 4, n) * 3 + 1)
        y = c.node("LayerNormalization", x, c.constant(floats(rng, n)),
                   c.constant(floats(rng, n)), axis=-1)
        yield c.output(y, np.float32)
    # After a product of many rows these lie side by side.
    for rows, n in itertools.product((12, 16, 37, 64, 130), (1, 24, 96)):
        for op in ("LayerNormalization", "plain", "Softmax", "LogSoftmax"):
            c = Case("reductions", f"{op}-product-{rows}-{n}")
            x = c.node("MatMul", c.input(floats(rng, 2, rows, 7)),
                       c.constant(floats(rng, 7, n) + 1))
            if op == "LayerNormalization":
                y = c.node(op, x, c.constant(floats(rng, n)),
                           c.constant(floats(rng, n)), axis=-1)
            elif op == "plain":
                y = c.node("LayerNormalization", x,
                           c.constant(np.ones(n, np.float32)), axis=-1)
            else:
                y = c.node(op, x, axis=-1)
            c.limit = 3e-5 if n == 1 else 1e-5
            yield c.output(c.node("Exp", y), np.float32)


def products(rng):
    shapes = [(m, n, k) for m in (1, 2, 5, 7, 13) for n in (1, 16, 50, 65, 128)
              for k in (1, 3, 40)]
    shapes += [(97, 200, 1000), (193, 64, 769), (6, 64, 768)]
    for m, n, k in shapes:
        for weights in (True, False):
            c = Case("products", f"{m}x{n}x{k}-{weights}")
            b = floats(rng, k, n)
            b = c.constant(b) if weights else c.input(b)
            y = c.node("MatMul", c.input(floats(rng, m, k)), b)
            y = c.node("Add", y, c.constant(floats(rng, n)))
            yield c.output(c.node("Tanh", y), np.float32)
    for ta, tb in itertools.product((0, 1), (0, 1)):
        c = Case("products", f"gemm-{ta}{tb}")
        a, b = floats(rng, 21, 70), floats(rng, 70, 45)
        y = c.node("Gemm", c.input(a.T if ta else a), c.input(b.T if tb else b),
                   c.input(floats(rng, 45)), transA=ta, transB=tb, alpha=0.5,
                   beta=2.0)
        yield c.output(y, np.float32)
    c = Case("products", "batch")
    a = c.node("Transpose", c.input(floats(rng, 2, 9, 3, 20)),
               perm=(0, 2, 1, 3))
    b = c.node("Transpose", c.input(floats(rng, 2, 11, 3, 20)),
               perm=(0, 2, 3, 1))
    yield c.output(c.node("MatMul", a, b), np.float32)
    c = Case("products", "broadcast")
    yield c.output(c.node("MatMul", c.input(floats(rng, 3, 1, 8, 17)),
                          c.input(floats(rng, 5, 17, 33))), np.float32)
    for dtype in (np.float64, np.int32):
        c = Case("products", f"{np.dtype(dtype)}")
        a = rng.integers(-5, 5, (7, 13)).astype(dtype)
        b = rng.integers(-5, 5, (13, 21)).astype(dtype)
        yield c.output(c.node("MatMul", c.input(a), c.input(b)), dtype)


def conv_case(rng, x, w, **attrs):
    text = "-".join(f"{k}{v}" for k, v in attrs.items())
    c = Case("windows", f"conv{x}{w}{text}".replace(" ", ""))
    y = c.node("Conv", c.input(floats(rng, *x)), c.constant(floats(rng, *w)),
               c.constant(floats(rng, w[0])), **attrs)
    return c.output(c.node("Relu", y), np.float32)


def fixed_conv(rng, x, w, residual=False, zeros=0.0, **attrs):
    """All sizes known, so that ways with a plan are taken."""
    text = "-".join(f"{k}{v}" for k, v in attrs.items())
    text += f"-{zeros}" * (zeros > 0) + "-residual" * residual
    c = Case("convolutions", f"{x}{w}{text}".replace(" ", ""))
    weights = floats(rng, *w) * (rng.random(w) >= zeros).astype(np.float32)
    a = c.input(floats(rng, *x))
    y = c.node("Conv", a, c.constant(weights), c.constant(floats(rng, w[0])),
               **attrs)
    if residual:
        y = c.node("Add", y, c.node("Conv", a, c.constant(
            floats(rng, w[0], x[1], 1, 1)), pads=[0, 0, 0, 0]))
    c.closed = True
    return c.output(c.node("Relu", y), np.float32)


def conv_with(rng, kind, x, w, zeros=0.0, stride=1, group=1):
    """A product with what is repeated along some of the spatial dimensions
    only, or has them in another order."""
    pad, out = w[2] // 2, [(d - 1) // stride + 1 for d in x[2:]]
    c = Case("convolutions", f"with-{kind}-{x}{w}{zeros}".replace(" ", ""))
    weights = floats(rng, *w) * (rng.random(w) >= zeros).astype(np.float32)
    shape = {"row": (out[1],), "column": (out[0], 1), "image": tuple(out),
             "turned": (w[0], out[1], out[0])}[kind]
    e = c.input(floats(rng, 1, *(1,) * (3 - len(shape)), *shape))
    if kind == "turned":
        e = c.node("Transpose", e, perm=[0, 1, 3, 2])
    y = c.node("Conv", c.input(floats(rng, *x)), c.constant(weights),
               strides=[stride] * 2, pads=[pad] * 4, group=group)
    c.closed = True
    return c.output(c.node("Mul", y, e), np.float32)


def convolutions(rng):
    for kind in ("row", "column", "image", "turned"):
        yield conv_with(rng, kind, (1, 3, 12, 9), (22, 3, 3, 3), stride=2)
        for zeros in (0, 0.9):
            yield conv_with(rng, kind, (1, 32, 12, 9), (24, 32, 3, 3), zeros)
        yield conv_with(rng, kind, (2, 32, 12, 9), (24, 32, 1, 1))
        yield conv_with(rng, kind, (1, 8, 12, 9), (8, 1, 3, 3), group=8)
    sizes = ((7, 7), (14, 14), (15, 33), (28, 30), (1, 5), (3, 64), (57, 9))
    for (h, w), k, s in itertools.product(sizes, (3, 5), (1, 2)):
        p = k // 2
        yield fixed_conv(rng, (2, 5, h, w), (5, 1, k, k), strides=[s, s],
                         pads=[p] * 4, group=5)
    for s, d, p in (([2, 1], [1, 1], [1, 0, 1, 2]),
                    ([1, 2], [2, 3], [2, 3, 0, 4]),
                    ([1, 1], [2, 1], [0, 0, 3, 0])):
        yield fixed_conv(rng, (2, 4, 21, 40), (8, 1, 3, 3), strides=s,
                         dilations=d, pads=p, group=4)
    yield fixed_conv(rng, (2, 6, 70), (6, 1, 7), strides=[2], pads=[3, 3],
                     group=6)
    sizes = ((4, 4), (5, 6), (7, 7), (14, 14), (13, 28), (30, 17), (9, 70),
             (20, 57))
    for n, (h, w) in enumerate(sizes):
        c, o = ((8, 8), (5, 33), (64, 20), (16, 16))[n % 4]
        p = ([1] * 4, [0] * 4, [0, 1, 1, 0], [1] * 4)[n % 4]
        yield fixed_conv(rng, (1 + n % 2, c, h, w), (o, c, 3, 3), pads=p,
                         residual=p == [1] * 4)
    for n, (h, w) in enumerate(sizes[1:]):
        c, o = ((8, 8), (5, 33), (64, 20), (3, 16))[n % 4]
        for k, z in ((1, 0), (3, 0.8), (3, 0), (5, 0.5), (7, 0)):
            p = k // 2
            yield fixed_conv(rng, (1 + n % 2, c, h, w), (o, c, k, k),
                             zeros=z, strides=[2, 2], pads=[p] * 4)
        yield fixed_conv(rng, (1 + n % 2, c, h, w), (o, c, 3, 3), zeros=0.85,
                         pads=[1] * 4, residual=n % 2 == 0)
    yield fixed_conv(rng, (1, 24, 12, 14), (36, 6, 3, 3), group=4,
                     pads=[1] * 4)
    yield fixed_conv(rng, (2, 16, 40), (24, 16, 5), zeros=0.7, pads=[2, 2],
                     dilations=[1])


def windows(rng):
    for s, d, p in itertools.product((1, 2, 3), (1, 2), (0, 1)):
        pads = [p, 2 * p, 0, p]
        yield conv_case(rng, (2, 5, 19, 23), (7, 5, 3, 3), strides=[s, s],
                        dilations=[d, d], pads=pads)
        yield conv_case(rng, (2, 6, 19, 40), (6, 1, 3, 3), strides=[s, s],
                        dilations=[d, d], pads=pads, group=6)
        yield conv_case(rng, (2, 6, 19, 7), (12, 1, 5, 3), strides=[s, s],
                        dilations=[d, 1], pads=pads, group=6)
    yield conv_case(rng, (1, 70, 9, 11), (33, 70, 1, 1))
    yield conv_case(rng, (1, 900, 5, 5), (200, 900, 1, 1))
    yield conv_case(rng, (1, 70, 9, 11), (33, 70, 1, 1), strides=[2, 2])
    yield conv_case(rng, (2, 8, 15, 15), (12, 4, 3, 3), group=2,
                    pads=[1, 1, 1, 1])
    yield conv_case(rng, (2, 3, 50), (8, 3, 5), pads=[2, 2], strides=[2])
    yield conv_case(rng, (1, 3, 6, 7, 8), (4, 3, 3, 2, 3),
                    pads=[1, 0, 1, 1, 1, 1])
    yield conv_case(rng, (1, 3, 64, 64), (8, 3, 32, 32), strides=[32, 32])
    for op, size, s in itertools.product(("MaxPool", "AveragePool"), (2, 3),
                                         (1, 2)):
        for p, extra in itertools.product((0, 1), (0, 1)):
            c = Case("windows", f"{op}-{size}-{s}-{p}-{extra}")
            attrs = {"ceil_mode": extra}
            if op == "AveragePool":
                attrs["count_include_pad"] = extra
            y = c.node(op, c.input(floats(rng, 2, 3, 17, 37)),
                       kernel_shape=[size, size], strides=[s, s],
                       pads=[p, 0, 0, p], **attrs)
            yield c.output(y, np.float32)
    c = Case("windows", "GlobalAveragePool")
    yield c.output(c.node("GlobalAveragePool",
                          c.input(floats(rng, 2, 5, 7, 7))), np.float32)


def recurrent(rng):
    for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        for hidden, batch, way in itertools.product(
                (5, 16, 40), (1, 3), ("forward", "reverse", "bidirectional")):
            for state, linear in itertools.product((0, 1), (0, 1)):
                if op == "LSTM" and linear:
                    continue
                c = Case("recurrent", f"{op}-{hidden}-{batch}-{way}-{state}"
                                      f"-{linear}")
                d = 2 if way == "bidirectional" else 1
                x = c.input(floats(rng, 6, batch, 9))
                w = c.constant(floats(rng, d, gates * hidden, 9) * 0.4)
                r = c.constant(floats(rng, d, gates * hidden, hidden) * 0.4)
                b = c.constant(floats(rng, d, 2 * gates * hidden))
                args = [x, w, r, b]
                if state:
                    args += ["", c.input(floats(rng, d, batch, hidden))]
                    if op == "LSTM":
                        args.append(c.input(floats(rng, d, batch, hidden)))
                attrs = {"hidden_size": hidden, "direction": way}
                if op == "RNN" and linear:
                    attrs["activations"] = ["Relu", "Sigmoid"][:d]
                if op == "GRU":
                    attrs["linear_before_reset"] = linear
                ys = c.node(op, *args, outputs=3 if op == "LSTM" else 2,
                            **attrs)
                for y in ys:
                    c.output(y, np.float32)
                c.closed = True
                yield c


GROUPS = [elementwise, movement, reductions, products, windows, convolutions,
          recurrent]


# ---- running ----

def reference(model, inputs):
    o = ort.SessionOptions()
    o.log_severity_level = 4
    o.intra_op_num_threads = 1
    s = ort.InferenceSession(model.SerializeToString(), o,
                             providers=["CPUExecutionProvider"])
    return s.run(None, inputs)


def difference(got, want, limit):
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if got.dtype != want.dtype:
        return f"type {got.dtype}, expected {want.dtype}"
    if want.dtype.kind in "biu":
        return "" if np.array_equal(got, want) else "differs"
    same = np.isfinite(want) == np.isfinite(got)
    if not same.all():
        return "infinities or NaN differ"
    fin = np.isfinite(want)
    a, b = got[fin].astype(np.float64), want[fin].astype(np.float64)
    err = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
    return f"relative L2 error {err:.1e}" if err > limit else ""


def runs_here(march):
    need = {"x86-64-v3": ("avx2", "fma", "f16c"),
            "x86-64-v4": ("avx512f", "avx512bw", "avx512dq", "avx512vl")}
    try:
        with open("/proc/cpuinfo") as f:
            flags = next((r for r in f if r.startswith("flags")), "").split()
    except OSError:
        flags = []
    return all(n in flags for n in need.get(march, ()))


def run_elsewhere(case, machine, path):
    try:
        return machine.run(machine.compile(path), list(case.inputs.values()),
                           [t for _, t in case.outputs])
    except machines.Failed as e:
        return str(e)


def run_here(case, march, threads, path, folder):
    np.savez(os.path.join(folder, "i.npz"), **case.inputs)
    command = ["prune-run", path, "--inputs", os.path.join(folder, "i.npz"),
               "--outputs", os.path.join(folder, "o.npz"),
               f"--threads={threads}"]
    if march:
        command.append(f"--march={march}")
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        return f"exit code {r.returncode}: {r.stderr[:300]}"
    got = np.load(os.path.join(folder, "o.npz"))
    return [got[name] for name, _ in case.outputs]


def run(case, opened, march, o, machine, folder):
    model = case.model(opened)
    want = reference(model, case.inputs)
    path = os.path.join(folder, "m.onnx")
    onnx.save(model, path)
    got = (run_elsewhere(case, machine, path) if machine
           else run_here(case, march, o.threads, path, folder))
    if isinstance(got, str):
        return got
    for (name, _), g, w in zip(case.outputs, got, want):
        problem = difference(g, np.asarray(w), case.limit)
        if problem:
            return f"{name}: {problem}"
    return ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--march", default="")
    p.add_argument("--threads", default="1")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", type=int, default=1,
                   help="run only every N-th case")
    p.add_argument("--match", default="", help="only names that contain it")
    p.add_argument("--machine", default="")
    p.add_argument("groups", nargs="*")
    o = p.parse_args()
    passed = failed = number = 0
    marches = [m for m in o.march.split(",") if runs_here(m)]
    for m in o.march.split(","):
        if m not in marches:
            print(f"{m}: this machine cannot run it, skipped")
    with tempfile.TemporaryDirectory() as folder:
        machine = o.machine and machines.Machine(o.machine, folder)
        for make in GROUPS:
            if o.groups and make.__name__ not in o.groups:
                continue
            for case in make(np.random.default_rng(o.seed)):
                number += 1
                if number % o.every or o.match not in case.name:
                    continue
                for march in marches:
                    # prune-run compiles again where open sizes are too few
                    # facts; prunec does not.
                    opened = (number % 2 == 0 and not machine and
                              not hasattr(case, "closed"))
                    problem = run(case, opened, march, o, machine, folder)
                    if problem:
                        print(f"{case.group} {case.name} {o.machine or march} "
                              f"{'open' if opened else 'static'}: {problem}",
                              flush=True)
                    passed, failed = passed + (not problem), \
                        failed + bool(problem)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
