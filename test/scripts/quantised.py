#!/usr/bin/env python3
"""Quantised products in every form that models use, against numpy.

    quantised.py FOLDER [PRUNE-RUN OPTION...]

Random bytes, scales and zero points go through QLinearMatMul, MatMulInteger,
QLinearConv, ConvInteger, and MatMul, Gemm and Conv of dequantised operands.
The reference is integer arithmetic in int64 and then float64: integers must
agree exactly, floats to 1e-6, and requantised bytes may differ by one where
rounding is that close. Prints a line for each form.
"""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, U8, I8, I32 = (TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8,
                      TensorProto.INT32)
RNG = np.random.default_rng(7)


def integers(dtype, *shape):
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max + 1, shape).astype(dtype)


def scales(n):
    return (RNG.random(n) * 0.02 + 0.001).astype(np.float32)


class Case:
    """A model under construction and the operands of its product."""

    def __init__(self, name, a_type, w_type, zeros="fit", conv=None):
        self.name, self.conv, self.nodes, self.consts = name, conv, [], {}
        self.shape = None  # of the result, when it is not the product's
        self.a = integers(a_type, *((2, 12, 5, 7) if conv else (9, 37)))
        if conv:
            group, kernel = conv
            self.w = integers(w_type, 8, 12 // group, kernel, kernel)
            self.n, self.axis = 8, 0
        else:
            self.w = integers(w_type, 37, 19)
            self.n, self.axis = 19, 1
        self.w[RNG.random(self.w.shape) < 0.6] = 0
        self.a_zero = integers(a_type)
        middle = 128 if w_type == np.uint8 else 0
        if zeros == "fit":
            self.w_zero = np.full(self.n, middle).astype(w_type)
        else:
            self.w_zero = integers(w_type, self.n)
        self.a_scale, self.w_scale = scales(1)[0], scales(self.n)

    def const(self, name, value):
        self.consts[name] = np.asarray(value)
        return name

    def op(self, kind, *inputs, domain="", **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name],
                                           domain=domain, **attributes))
        return name

    def sums(self):
        """The product of the integers without their zero points, int64."""
        a = self.a.astype(np.int64) - int(self.a_zero)
        shape = (-1, 1, 1, 1) if self.conv else (1, -1)
        w = self.w.astype(np.int64) - self.w_zero.astype(np.int64).reshape(shape)
        if not self.conv:
            return a @ w
        group, kernel = self.conv
        pad = kernel // 2
        a = np.pad(a, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        y = np.zeros((2, 8, 5, 7), np.int64)
        for g in range(group):
            x = a[:, g * 12 // group:(g + 1) * 12 // group]
            f = w[g * 8 // group:(g + 1) * 8 // group]
            for i in range(kernel):
                for j in range(kernel):
                    y[:, g * 8 // group:(g + 1) * 8 // group] += np.einsum(
                        "nchw,oc->nohw", x[:, :, i:i + 5, j:j + 7], f[:, :, i, j])
        return y

    def scaled(self):
        s = (self.w_scale.astype(np.float64) * np.float64(self.a_scale))
        return self.sums() * (s.reshape(1, -1, 1, 1) if self.conv else s)

    def window(self):
        if not self.conv:
            return {}
        group, kernel = self.conv
        return dict(group=group, kernel_shape=[kernel] * 2,
                    pads=[kernel // 2] * 4)

    def parameters(self):
        return (self.const("a_scale", self.a_scale),
                self.const("a_zero", self.a_zero), self.const("w", self.w),
                self.const("w_scale", self.w_scale),
                self.const("w_zero", self.w_zero))

    def model(self, result, dtype):
        shapes = list(self.a.shape), list(self.shape or self.sums().shape)
        graph = helper.make_graph(
            self.nodes, self.name,
            [helper.make_tensor_value_info(
                "a", helper.np_dtype_to_tensor_dtype(self.a.dtype), shapes[0])],
            [helper.make_tensor_value_info(result, dtype, shapes[1])],
            [numpy_helper.from_array(v, k) for k, v in self.consts.items()])
        return helper.make_model(
            graph, ir_version=8,
            opset_imports=[helper.make_opsetid("", 13),
                           helper.make_opsetid("com.microsoft", 1)])


def integer(c):
    _, a_zero, w, _, w_zero = c.parameters()
    if not c.conv:
        return c.op("MatMulInteger", "a", w, a_zero, w_zero), I32, c.sums()
    c.w_zero[:] = c.w_zero[0]
    zero = c.const("one_zero", c.w_zero[0])
    y = c.op("ConvInteger", "a", w, a_zero, zero, **c.window())
    return y, I32, c.sums()


def requantised(c, want, dtype, scale, zero):
    info = np.iinfo(dtype)
    want = np.rint(want / np.float64(scale)) + zero
    return np.clip(want, info.min, info.max)


def qlinear(c):
    a_scale, a_zero, w, w_scale, w_zero = c.parameters()
    scale, zero = np.float32(0.37), c.a.dtype.type(11)
    more = [c.const("y_scale", scale), c.const("y_zero", zero)]
    want = c.scaled()
    kind = "QLinearConv" if c.conv else "QLinearMatMul"
    if c.conv:
        bias = RNG.integers(-3000, 3000, c.n).astype(np.int32)
        more.append(c.const("bias", bias))
        s = c.w_scale.astype(np.float64) * np.float64(c.a_scale)
        want = want + (bias * s).reshape(1, -1, 1, 1)
    y = c.op(kind, "a", a_scale, a_zero, w, w_scale, w_zero, *more,
             **c.window())
    return (y, helper.np_dtype_to_tensor_dtype(c.a.dtype),
            requantised(c, want, c.a.dtype, scale, 11))


def dequantised(c):
    a_scale, a_zero, w, w_scale, w_zero = c.parameters()
    a = c.op("DequantizeLinear", "a", a_scale, a_zero)
    w = c.op("DequantizeLinear", w, w_scale, w_zero, axis=c.axis)
    bias = RNG.standard_normal(c.n).astype(np.float32)
    if c.conv:
        y = c.op("Conv", a, w, c.const("bias", bias), **c.window())
        return y, FLOAT, c.scaled() + bias.reshape(1, -1, 1, 1)
    y = c.op("MatMul", a, w)
    return c.op("Add", y, c.const("bias", bias)), FLOAT, c.scaled() + bias


def gemm(c):
    a_scale, a_zero, _, w_scale, w_zero = c.parameters()
    a = c.op("DequantizeLinear", "a", a_scale, a_zero)
    w = c.op("DequantizeLinear", c.const("w", c.w.T.copy()), w_scale, w_zero,
             axis=0)
    bias = RNG.standard_normal(c.n).astype(np.float32)
    y = c.op("Gemm", a, w, c.const("bias", bias), transB=1, alpha=0.5)
    return y, FLOAT, c.scaled() * 0.5 + bias


def qgemm(c):
    a_scale, a_zero, _, w_scale, w_zero = c.parameters()
    bias = RNG.integers(-3000, 3000, c.n).astype(np.int32)
    y = c.op("QGemm", "a", a_scale, a_zero, c.const("w", c.w.T.copy()), w_scale,
             w_zero, c.const("bias", bias), domain="com.microsoft", transB=1)
    s = c.w_scale.astype(np.float64) * np.float64(c.a_scale)
    return y, FLOAT, c.scaled() + bias * s


def pointwise(kind):
    """An operator of one quantised tensor; the product is unused."""
    def make(c):
        a_scale, a_zero = c.parameters()[:2]
        x = (c.a.astype(np.float64) - int(c.a_zero)) * np.float64(c.a_scale)
        more = [c.const("y_scale", np.float32(0.02)),
                c.const("y_zero", c.a.dtype.type(7))]
        if kind == "Concat":
            other = c.const("other", integers(c.a.dtype, *c.a.shape))
            z = (c.consts["other"].astype(np.float64) - 3) * 0.5
            y = c.op("QLinearConcat", *more, "a", a_scale, a_zero, other,
                     c.const("half", np.float32(0.5)),
                     c.const("three", c.a.dtype.type(3)), axis=1,
                     domain="com.microsoft")
            want = np.concatenate([x, z], 1)
        else:
            y = c.op(f"QLinear{kind}", "a", a_scale, a_zero, *more,
                     domain="com.microsoft")
            want = {"Sigmoid": lambda: 1 / (1 + np.exp(-x)),
                    "LeakyRelu": lambda: np.where(x > 0, x, 0.01 * x),
                    "GlobalAveragePool": lambda: x.mean((2, 3), keepdims=True)
                    }[kind]()
        c.shape = want.shape
        return (y, helper.np_dtype_to_tensor_dtype(c.a.dtype),
                requantised(c, want, c.a.dtype, np.float32(0.02), 7))
    make.__name__ = kind
    return make


def forms():
    u8, i8 = np.uint8, np.int8
    for a in (u8, i8):
        for kind in ("Sigmoid", "LeakyRelu", "GlobalAveragePool", "Concat"):
            make = pointwise(kind)
            yield f"{kind} {np.dtype(a).name}", make, Case(kind, a, i8,
                                                           conv=(1, 1))
    for a, w in ((u8, i8), (i8, i8), (u8, u8), (i8, u8)):
        for zeros in ("fit", "any"):
            tag = f"{np.dtype(a).name} x {np.dtype(w).name}, {zeros}"
            for make in (integer, qlinear, dequantised, gemm, qgemm):
                yield f"{make.__name__} {tag}", make, Case(tag, a, w, zeros)
            for conv in ((1, 1), (1, 3), (4, 1), (2, 3)):
                name = f"g{conv[0]} {conv[1]}x{conv[1]} {tag}"
                for make in (integer, qlinear, dequantised):
                    yield (f"{make.__name__} {name}", make,
                           Case(tag, a, w, zeros, conv))


def compare(got, want, dtype):
    """None, or what is wrong."""
    if got.shape != want.shape:
        return f"shape {got.shape}, not {want.shape}"
    wrong = np.abs(got.astype(np.float64) - want)
    if dtype == I32:
        return None if wrong.max() == 0 else f"off by {wrong.max():g}"
    if dtype == FLOAT:
        error = np.linalg.norm(wrong) / np.linalg.norm(want)
        return None if error <= 1e-6 else f"error {error:.2g}"
    share = (wrong > 0).mean()
    if wrong.max() > 1 or share > 0.02:
        return f"{100 * share:.2g} % of the bytes, off by up to {wrong.max():g}"
    return None


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, make, case in forms():
        result, dtype, want = make(case)
        onnx.save(case.model(result, dtype), folder / "m.onnx")
        np.savez(folder / "a.npz", a=case.a)
        run = subprocess.run(
            ["prune-run", folder / "m.onnx", "-i", folder / "a.npz", "-o",
             folder / "y.npz", *sys.argv[2:]], check=False,
            capture_output=True, text=True)
        wrong = run.stderr.strip() or "fails" if run.returncode else compare(
            np.load(folder / "y.npz")[result], want, dtype)
        failed += wrong is not None
        if wrong:
            print(f"{name}: {wrong}")
    print(f"{failed} forms wrong")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
