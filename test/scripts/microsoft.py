#!/usr/bin/env python3
"""Operators of com.microsoft against ONNX Runtime.

    microsoft.py FOLDER [NAME PART…]

One node each, with the attributes, optional operands and forms of masks that
exporters use, on open sizes. Prints a line for each that is wrong, and how
many are right."""
import itertools
import math
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto as tp
from onnx import helper as h
from onnx import numpy_helper as nh

from ort_compare import error, session

RNG = np.random.default_rng(23)
ERF = np.vectorize(math.erf)
KINDS = {"f": tp.FLOAT, "i4": tp.INT32, "i8": tp.INT64, "u1": tp.UINT8,
         "i1": tp.INT8, "b1": tp.BOOL}


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Case:
    def __init__(self, name, op, outputs=1, result="f", **attrs):
        self.name, self.op, self.outputs = name, op, outputs
        self.result = result
        self.attrs, self.ins = attrs, []
        self.given, self.constants = {}, []

    def none(self):
        self.ins.append("")
        return self

    def input(self, array):
        self.ins.append(f"x{len(self.ins)}")
        self.given[self.ins[-1]] = array
        return self

    def const(self, array):
        self.ins.append(f"c{len(self.ins)}")
        self.constants.append(nh.from_array(np.asarray(array), self.ins[-1]))
        return self

    def save(self, path):
        outs = [f"y{i}" for i in range(self.outputs)]
        ins = [h.make_tensor_value_info(
            k, KINDS[v.dtype.str[1:] if v.dtype.kind != "f" else "f"],
            [f"{k}_{i}" if self.named(i) else d
             for i, d in enumerate(v.shape)]) for k, v in self.given.items()]
        while self.ins and not self.ins[-1]:
            self.ins.pop()
        node = h.make_node(self.op, self.ins, outs, domain="com.microsoft",
                           **self.attrs)
        graph = h.make_graph([node], "g", ins, [
            h.make_tensor_value_info(o, self.kind(i), None)
            for i, o in enumerate(outs)], self.constants)
        onnx.save(h.make_model(graph, ir_version=8, opset_imports=[
            h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]), path)

    def named(self, axis):
        """Whether the axis is left open: in cases with one input."""
        return len(self.given) == 1 and axis == 0

    def kind(self, i):
        if self.op == "EmbedLayerNormalization" and i == 1:
            return tp.INT32
        return KINDS[self.result]


def masks(batch, seq, keys):
    """In every form that there is."""
    yield "none", None
    yield "ends", np.int32([keys - 1, keys])[:batch]
    yield "ends-starts", np.int32([keys - 1, keys, 1, 0])
    keep = (RNG.random((batch, keys)) < 0.7).astype(np.int32)
    keep[:, 0] = 1
    yield "keys", keep
    pairs = (RNG.random((batch, seq, keys)) < 0.7).astype(np.int32)
    pairs[:, :, 0] = 1
    yield "pairs", pairs


def attention():
    b, s, n, d = 2, 5, 3, 8
    for (mask, m), causal, past in itertools.product(
            masks(b, s, s), (0, 1), (0, 4)):
        if past and mask not in ("none", "keys"):
            continue
        c = Case(f"attention-{mask}-{causal}-{past}", "Attention",
                 2 if past else 1, num_heads=n, unidirectional=causal)
        c.input(floats(b, s, 12)).const(floats(12, 3 * n * d) * 0.3)
        c.const(floats(3 * n * d))
        if past and m is not None:
            m = np.concatenate([np.ones((b, past), np.int32), m], 1)
        c.none() if m is None else c.input(m)
        if past:
            c.input(floats(2, b, n, past, d))
        yield c
    yield (Case("attention-sizes", "Attention", num_heads=2, scale=0.2,
                qkv_hidden_sizes=[8, 8, 12])
           .input(floats(b, s, 12)).const(floats(12, 28)).const(floats(28)))
    yield (Case("attention-added", "Attention", num_heads=n)
           .input(floats(b, s, 12)).const(floats(12, 3 * n * d))
           .const(floats(3 * n * d)).none().none().input(floats(1, n, s, s)))


def multi_head():
    b, s, n, d = 2, 5, 3, 8
    for (mask, m), bias, keys in itertools.product(
            masks(b, s, 7), (0, 1), (7,)):
        if mask in ("ends", "pairs") and bias:
            continue
        c = Case(f"mha-{mask}-{bias}", "MultiHeadAttention", num_heads=n)
        for t in (s, keys, keys):
            c.input(floats(b, t, n * d))
        c.const(floats(3 * n * d)) if bias else c.none()
        if mask == "ends-starts":
            continue
        yield c.none() if m is None else c.input(m)
    yield (Case("mha-cross", "MultiHeadAttention", num_heads=n)
           .input(floats(b, s, n * d)).input(floats(b, n, 7, d))
           .input(floats(b, n, 7, d)))
    for causal in (0, 1):
        yield (Case(f"mha-past-{causal}", "MultiHeadAttention", 3,
                    num_heads=n, unidirectional=causal)
               .input(floats(b, s, n * d)).input(floats(b, s, n * d))
               .input(floats(b, s, n * d)).none().none()
               .input(floats(1, n, s, s + 4))
               .input(floats(b, n, 4, d)).input(floats(b, n, 4, d)))


def grouped():
    s, n, kv, d = 5, 4, 2, 16
    angles = RNG.random((32, d // 2)) * 6
    caches = [np.cos(angles).astype(np.float32),
              np.sin(angles).astype(np.float32)]
    for packed, past, turn, window, cap in itertools.product(
            (0, 1), (0, 6), (0, 1), (-1, 3), (0.0, 5.0)):
        b = 1 if past else 2
        c = Case(f"gqa-{packed}-{past}-{turn}-{window}-{cap}",
                 "GroupQueryAttention", 3, num_heads=n, kv_num_heads=kv,
                 do_rotary=turn, local_window_size=window, softcap=cap,
                 rotary_interleaved=packed)
        if packed:
            c.input(floats(b, s, (n + 2 * kv) * d)).none().none()
        else:
            c.input(floats(b, s, n * d))
            c.input(floats(b, s, kv * d)).input(floats(b, s, kv * d))
        if past:
            c.input(floats(b, kv, past, d)).input(floats(b, kv, past, d))
        else:
            c.none().none()
        c.input(np.full(b, past + s - 1, np.int32))
        c.const(np.array(past + s, np.int32))
        yield c.const(caches[0]).const(caches[1]) if turn else c
    yield (Case("gqa-added", "GroupQueryAttention", 3, num_heads=n,
                kv_num_heads=kv, scale=0.4)
           .input(floats(2, s, n * d)).input(floats(2, s, kv * d))
           .input(floats(2, s, kv * d)).none().none()
           .input(np.full(2, s - 1, np.int32)).const(np.array(s, np.int32))
           .none().none().none().input(floats(1, 1, s, s)))


def rotary():
    angles = RNG.random((16, 4)) * 6
    caches = [np.cos(angles).astype(np.float32),
              np.sin(angles).astype(np.float32)]
    for mixed, flat, one in itertools.product((0, 1), (0, 1), (0, 1)):
        x = floats(2, 5, 24) if flat else floats(2, 3, 5, 8)
        at = np.int64([3]) if one else RNG.integers(0, 16, (2, 5))
        c = Case(f"rotary-{mixed}-{flat}-{one}", "RotaryEmbedding",
                 interleaved=mixed)
        yield c.input(x).input(at).const(caches[0]).const(caches[1])
    yield (Case("rotary-part", "RotaryEmbedding", num_heads=2,
                rotary_embedding_dim=8)
           .input(floats(2, 5, 24)).input(RNG.integers(0, 16, (2, 5)))
           .const(caches[0]).const(caches[1]))


def norms():
    for op, rms in (("SkipLayerNormalization", 0),
                    ("SkipSimplifiedLayerNormalization", 1)):
        for bias, total in itertools.product((0, 1), (0, 1)):
            c = Case(f"{op}-{bias}-{total}", op, epsilon=1e-4)
            c.input(floats(2, 5, 8)).input(floats(2, 5, 8)).const(floats(8))
            if not rms:
                c.const(floats(8))
            if bias:
                c.const(floats(8))
            yield c
        # Of rows so flat that what is added to the variance by default counts.
        c = Case(f"{op}-default-epsilon", op).input(floats(2, 5, 8) * 1e-3)
        yield c.input(floats(2, 5, 8) * 1e-3).const(floats(8))
    for segments, at, mask in itertools.product((0, 1), (0, 1), (0, 1)):
        c = Case(f"embed-{segments}-{at}-{mask}", "EmbedLayerNormalization",
                 3 if mask else 2)
        c.input(RNG.integers(0, 9, (2, 5)).astype(np.int32))
        if segments:
            c.input(RNG.integers(0, 2, (2, 5)).astype(np.int32))
        else:
            c.none()
        c.const(floats(9, 8)).const(floats(6, 8))
        c.const(floats(2, 8)) if segments else c.none()
        c.const(floats(8)).const(floats(8))
        c.input(np.int32([[1, 1, 1, 0, 0], [1] * 5])) if mask else c.none()
        if at:
            c.input(RNG.integers(0, 6, (2, 5)).astype(np.int32))
        yield c


def products():
    for ta, tb, alpha in itertools.product((0, 1), (0, 1), (1.0, 0.5)):
        yield (Case(f"fused-{ta}-{tb}-{alpha}", "FusedMatMul", transA=ta,
                    transB=tb, alpha=alpha)
               .input(floats(*((2, 6, 4) if ta else (2, 4, 6))))
               .const(floats(*((5, 6) if tb else (6, 5)))))
        yield (Case(f"transposed-{ta}-{tb}-{alpha}", "TransposeMatMul",
                    transA=ta, transB=tb, alpha=alpha)
               .input(floats(*((2, 6, 4) if ta else (2, 4, 6))))
               .const(floats(*((5, 6) if tb else (6, 5)))))
    for bits, block, k, zeros, bias in itertools.product(
            (2, 4, 8), (16, 32), (32, 40), (0, 1), (0, 1)):
        blocks, n = -(-k // block), 6
        c = Case(f"nbits-{bits}-{block}-{k}-{zeros}-{bias}", "MatMulNBits",
                 K=k, N=n, bits=bits, block_size=block)
        c.input(floats(3, k))
        c.const(RNG.integers(0, 256, (n, blocks, block * bits // 8))
                .astype(np.uint8))
        c.const((RNG.random(n * blocks) * 0.1).astype(np.float32))
        if zeros:
            c.const(RNG.integers(0, 256, n * (-(-blocks * bits // 8)))
                    .astype(np.uint8))
        else:
            c.none()
        yield c.none().const(floats(n)) if bias else c
    for columns, zero, bias in itertools.product((0, 1), (0, 1), (0, 1)):
        scale = (RNG.random(6 if columns else 1) * 0.05).astype(np.float32)
        zeros = np.zeros(scale.shape, np.int8)
        c = Case(f"dynamic-{columns}-{zero}-{bias}", "DynamicQuantizeMatMul")
        c.input(floats(3, 32))
        c.const(RNG.integers(-128, 128, (32, 6)).astype(np.int8))
        c.const(scale if columns else scale.reshape(()))
        c.const(zeros if columns else zeros.reshape(())) if zero else c.none()
        yield c.const(floats(6)) if bias else c
        c = Case(f"to-float-{columns}-{zero}-{bias}", "MatMulIntegerToFloat")
        c.input(RNG.integers(0, 256, (3, 32)).astype(np.uint8))
        c.const(RNG.integers(-128, 128, (32, 6)).astype(np.int8))
        c.const(np.float32(0.03))
        c.const(scale if columns else scale.reshape(()))
        c.const(np.uint8(120)) if zero else c.none()
        c.const(zeros if columns else zeros.reshape(())) if zero else c.none()
        yield c.const(floats(6)) if bias else c


class Bytes:
    """Tensors of bytes with their scale and zero point."""

    def __init__(self, kind):
        self.kind, self.dtype = kind, np.dtype(kind)

    def draw(self, *shape):
        info = np.iinfo(self.dtype)
        return RNG.integers(info.min, info.max + 1, shape).astype(self.dtype)

    def params(self, case, scale=None):
        case.const(np.float32(scale or RNG.random() * 0.05 + 0.01))
        return case.const(self.draw())

    def add(self, case, *shape, fixed=False):
        (case.const if fixed else case.input)(self.draw(*shape))
        return self.params(case)


def quantised():
    for kind in ("u1", "i1"):
        b = Bytes(kind)
        for op, shape in itertools.product(("QLinearAdd", "QLinearMul"), (
                (2, 3, 5), (5,), (2, 1, 1), ())):
            c = Case(f"{op}-{kind}-{len(shape)}", op, result=kind)
            yield b.params(b.add(b.add(c, 2, 3, 5), *shape, fixed=True), 0.04)
        for op, more in (("QLinearSigmoid", {}), ("QLinearLeakyRelu",
                                                  {"alpha": 0.1})):
            c = Case(f"{op}-{kind}", op, result=kind, **more)
            yield b.params(b.add(c, 3, 7), 1 / 256)
        for axis, opset in itertools.product((-1, 1, 2), (11, 13)):
            if opset == 11 and axis == -1:
                continue
            c = Case(f"QLinearSoftmax-{kind}-{axis}-{opset}",
                     "QLinearSoftmax", result=kind, axis=axis, opset=opset)
            b.add(c, 2, 3, 5)
            yield c.const(np.float32(1 / 256)).const(np.array(0, b.dtype))
        for axis in (0, 2):
            c = Case(f"QLinearConcat-{kind}-{axis}", "QLinearConcat",
                     result=kind, axis=axis)
            b.params(c)
            for _ in range(3):
                b.add(c, 2, 3, 5)
            yield c
        c = Case(f"QLinearWhere-{kind}", "QLinearWhere", result=kind)
        c.input(RNG.random((3, 1)) < 0.5)
        yield b.params(b.add(b.add(c, 3, 7), 7))
        yield from quantised_windows(b, kind)
        for ta, tb, floats_out in itertools.product((0, 1), (0, 1), (0, 1)):
            c = Case(f"QGemm-{kind}-{ta}-{tb}-{floats_out}", "QGemm",
                     result="f" if floats_out else kind, transA=ta, transB=tb)
            b.add(c, *((16, 3) if ta else (3, 16)))
            Bytes("i1").add(c, *((6, 16) if tb else (16, 6)), fixed=True)
            c.const(RNG.integers(-99, 99, 6).astype(np.int32))
            yield c if floats_out else b.params(c, 0.5)


def quantised_windows(b, kind):
    for last in (0, 1):
        shape = (2, 6, 7, 4) if last else (2, 4, 6, 7)
        c = Case(f"QLinearGlobalAveragePool-{kind}-{last}",
                 "QLinearGlobalAveragePool", result=kind, channels_last=last)
        yield b.params(b.add(c, *shape))
        # With both, ONNX Runtime counts what lies past the padding: here alone,
        # not in AveragePool.
        for count, ceil in ((0, 0), (0, 1), (1, 0)):
            c = Case(f"QLinearAveragePool-{kind}-{last}-{count}-{ceil}",
                     "QLinearAveragePool", result=kind, channels_last=last,
                     kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1],
                     count_include_pad=count, ceil_mode=ceil)
            yield b.params(b.add(c, *shape))
        c = Case(f"QLinearConv-{kind}-{last}", "QLinearConv", result=kind,
                 channels_last=last, pads=[1, 1, 1, 1], strides=[2, 1])
        b.add(c, *shape).const(RNG.integers(-127, 128, (5, 4, 3, 3))
                               .astype(np.int8))
        c.const((RNG.random(5) * 0.02 + 0.01).astype(np.float32))
        c.const(np.zeros(5, np.int8))
        b.params(c, 1.5).const(RNG.integers(-999, 999, 5).astype(np.int32))
        yield c
    yield (Case(f"NhwcMaxPool-{kind}", "NhwcMaxPool", result=kind,
                kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 0, 1])
           .input(b.draw(2, 6, 7, 4)))


def quantised_attention():
    b, s, n, d = 2, 5, 3, 8
    for (mask, m), columns, causal, past in itertools.product(
            masks(b, s, s), (0, 1), (0, 1), (0, 4)):
        if (past and mask not in ("none", "keys")) or (columns and causal):
            continue
        c = Case(f"qattention-{mask}-{columns}-{causal}-{past}", "QAttention",
                 2 if past else 1, num_heads=n, unidirectional=causal)
        c.input(Bytes("u1").draw(b, s, 12))
        c.const(Bytes("i1").draw(12, 3 * n * d)).const(floats(3 * n * d))
        c.const(np.float32(0.02)).const(
            (RNG.random(3 * n * d if columns else ()) * 0.02 + 0.01)
            .astype(np.float32))
        if past and m is not None:
            m = np.concatenate([np.ones((b, past), np.int32), m], 1)
        c.none() if m is None else c.input(m)
        c.const(np.uint8(120)).const(np.int8(0))
        yield c.input(floats(2, b, n, past, d)) if past else c


def unlike_runtime():
    """Operators that ONNX Runtime has on GPUs alone: their definition, in
    double precision, is the reference."""
    x, bias = floats(2, 3, 16), floats(16)
    halves = np.split(x.astype(np.float64) + bias, 2, 2)
    yield (Case("split-gelu", "BiasSplitGelu").input(x).const(bias),
           halves[0] * halves[1] * 0.5 * (1 + ERF(halves[1] / 2 ** 0.5)))
    for last, silu, sizes in itertools.product((0, 1), (0, 1), ((5, 4), (6,))):
        x = floats(2, *sizes, 8) if last else floats(2, 8, *sizes)
        gamma, beta = floats(8), floats(8)
        y = x.astype(np.float64)
        if last:
            y = np.moveaxis(y, -1, 1)
        groups = y.reshape(2, 4, -1)
        groups = ((groups - groups.mean(2, keepdims=True)) /
                  np.sqrt(groups.var(2, keepdims=True) + 1e-3))
        y = np.moveaxis(groups.reshape(y.shape), 1, -1) * gamma + beta
        if silu:
            y = y / (1 + np.exp(-y))
        yield (Case(f"group-{last}-{silu}-{len(sizes)}", "GroupNorm", groups=4,
                    activation=silu, channels_last=last, epsilon=1e-3)
               .input(x).const(gamma).const(beta),
               y if last else np.moveaxis(y, -1, 1))


def activations():
    yield Case("quick", "QuickGelu", alpha=1.5).input(floats(3, 7))
    yield Case("gelu", "Gelu").input(floats(3, 7))
    yield Case("fast", "FastGelu").input(floats(3, 7))
    yield Case("fast-bias", "FastGelu").input(floats(3, 7)).const(floats(7))
    yield Case("bias", "BiasGelu").input(floats(3, 7)).const(floats(7))
    for act, more in (("Relu", {}), ("Sigmoid", {}), ("Tanh", {}),
                      ("LeakyRelu", {"activation_params": [0.1]}),
                      ("Clip", {"activation_params": [-0.5, 0.5]}),
                      ("HardSigmoid", {"activation_params": [0.2, 0.5]})):
        yield (Case(f"conv-{act}", "FusedConv", activation=act,
                    pads=[1, 1, 1, 1], **more)
               .input(floats(1, 3, 6, 6)).const(floats(4, 3, 3, 3))
               .const(floats(4)))


GROUPS = (attention, multi_head, grouped, rotary, norms, products, quantised,
          quantised_attention, activations)


def off(have, want):
    """How far an output is off, if that is too much."""
    if (have.shape, have.dtype) != (want.shape, want.dtype):
        return f"is {have.dtype}{list(have.shape)}"
    if want.dtype.itemsize == 1 and want.dtype.kind in "iu":
        # A last bit decides which way half a step rounds.
        steps = np.abs(have.astype(int) - want.astype(int))
        return (f"is off by {steps.max()}, {np.count_nonzero(steps)} times"
                if steps.max() > 1 or np.mean(steps) > 0.02 else "")
    e = error(have, want)
    return "" if e <= 1e-5 else f"is off by {e:.1e}"


def check(case, want, folder):
    path = str(folder / f"{case.name}.onnx")
    case.save(path)
    if want is None:
        want = session(path).run(None, case.given)
    np.savez(folder / "in.npz", **case.given)
    run = subprocess.run(["prune-run", path, "--inputs", folder / "in.npz",
                          "--outputs", folder / "out.npz"], check=False,
                         capture_output=True, text=True)
    if run.returncode:
        return run.stderr.strip()[-300:]
    with np.load(folder / "out.npz") as got:
        for i, array in enumerate(want):
            found = off(got[f"y{i}"], array)
            if found:
                return f"y{i} {found}"
    return ""


def cases():
    for case in itertools.chain(*(g() for g in GROUPS)):
        yield case, None
    for case, want in unlike_runtime():
        yield case, [want.astype(np.float32)]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    right = wrong = 0
    for case, want in cases():
        if sys.argv[2:] and not any(a in case.name for a in sys.argv[2:]):
            continue
        try:
            found = check(case, want, folder)
        except Exception as failed:  # of many classes: ONNX Runtime's
            found = f"no reference: {str(failed)[:300]}"
        if found:
            print(f"{case.name}: {found}")
        right, wrong = right + (not found), wrong + bool(found)
    print(f"{right} right, {wrong} wrong")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
