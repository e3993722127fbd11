"""Models for cpu.py: the shapes of models in use with random weights, since
only time is asked for, and with zeros in the patterns that pruning leaves.

PATTERNS say where the zeros of a weight seen as [out, in] are: `dense`; `u90`,
90 % anywhere; `24`, two of four along in; `4x1-90`, 90 % of the blocks of four
neighbouring outputs times one input; `1x4-80`, the same along in. The first
layer of a convolutional network and depthwise layers stay dense, as pruners
leave them. Every graph is what exporters write, with all sizes fixed."""
import json
import os
import re
import sys
from dataclasses import dataclass, field

import numpy as np
from onnx import save

from measure import ROOT  # says where onnx_graph is

sys.path.append(os.path.join(ROOT, "scripts"))
from onnx_graph import Graph  # noqa: E402

PATTERNS = ("dense", "u50", "u70", "u80", "u90", "u95", "24", "4x1-90",
            "16x1-90")


def mask(out, inner, pattern, rng):
    """True where a weight stays."""
    if pattern == "dense":
        return np.ones((out, inner), bool)
    if pattern == "24":
        rank = rng.random((out, inner // 4, 4), np.float32).argsort(-1)
        return (rank.argsort(-1) < 2).reshape(out, inner)
    plain = re.fullmatch(r"u(\d+)", pattern)
    if plain:
        return rng.random((out, inner), np.float32) >= int(plain[1]) / 100
    rows, columns, share = map(int, re.fullmatch(r"(\d+)x(\d+)-(\d+)",
                                                 pattern).groups())
    blocks = rng.random((out // rows, inner // columns), np.float32)
    keep = blocks >= share / 100
    return keep.repeat(rows, axis=0).repeat(columns, axis=1)


class Net(Graph):
    """A graph with random weights; `flops` are those of the dense products."""

    def __init__(self, name, pattern, seed, quantized=False):
        super().__init__(name)
        self.pattern, self.quantized = pattern, quantized
        self.rng = np.random.default_rng(seed)
        self.flops = self.kept = self.total = 0

    def noise(self, *dims, scale=1.0):
        return (self.rng.standard_normal(dims, np.float32)
                * np.float32(scale))

    def values(self, out, inner, gain=1.0, pattern=None):
        keep = mask(out, inner, pattern or self.pattern, self.rng)
        scale = gain / np.sqrt(inner * max(keep.mean(), 1e-3))
        self.kept += int(keep.sum())
        self.total += keep.size
        return np.where(keep, self.noise(out, inner, scale=scale), 0)

    def new(self, array, kind="w"):
        return self.weight(f"{kind}{len(self.weights)}",
                           array.astype(np.float32, copy=False))

    def linear(self, x, inner, out, rows, bias=True, gain=1.0):
        values = self.values(out, inner, gain)
        self.flops += 2 * rows * inner * out
        if self.quantized:
            x = self.requantize(x)
            weight = self.quantized_weight(values)
        else:
            weight = self.new(values.T)
        y = self.op("MatMul", x, weight)
        if not bias:
            return y
        return self.op("Add", self.new(self.noise(out, scale=.02), "b"), y)

    def requantize(self, x, step=8 / 255):
        """x in unsigned bytes about 128 and back, as quantisers leave it."""
        scale, zero = self.const(step), self.const(128, np.uint8)
        q = self.op("QuantizeLinear", x, scale, zero)
        return self.op("DequantizeLinear", q, scale, zero)

    def quantized_weight(self, values):
        """[in, out] in signed bytes, one scale an output."""
        step = np.abs(values).max(1) / 127 + np.float32(1e-12)
        q = np.rint(values / step[:, None]).astype(np.int8)
        n = len(self.weights)
        return self.op("DequantizeLinear", self.weight(f"q{n}", q.T),
                       self.weight(f"s{n}", step),
                       self.weight(f"z{n}", np.zeros(len(step), np.int8)),
                       axis=1)

    def conv(self, x, cin, cout, size, kernel=1, stride=1, group=1,
             gain=2 ** .5, pattern=None):
        """size: height and width of x, both."""
        inner = cin // group * kernel * kernel
        w = self.values(cout, inner, gain,
                        "dense" if group > 1 else pattern)
        out = (size + stride - 1) // stride
        self.flops += 2 * w.size * out * out
        pad = (kernel - 1) // 2
        return self.op("Conv", x,
                       self.new(w.reshape(cout, -1, kernel, kernel)),
                       self.new(self.noise(cout, scale=.02), "b"),
                       kernel_shape=[kernel] * 2, strides=[stride] * 2,
                       pads=[pad] * 4, dilations=[1, 1], group=group), out

    def rename_last(self, name):
        self.nodes[-1].output[0] = name
        return name


# ---- one product, chains of products ----

def products(net, rows, sizes):
    """MatMuls one after another: each [K, N] is a matrix of its own."""
    x = net.input("x", "float", [rows, sizes[0][0]])
    for k, n in sizes:
        x = net.linear(x, k, n, rows, bias=False)
    net.output(net.rename_last("y"), "float", [rows, sizes[-1][1]])


BERT_LAYER = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]


def rotation(net, rows=128):
    """36 matrices of BERT-base, 170 MB: none is in a cache when it is met."""
    products(net, rows, BERT_LAYER * 6)


def one_row(net):
    products(net, 1, [(4096, 4096)] * 4)


# ---- convolutions ----

def convolution(net, cin, cout, kernel, size):
    x = net.input("x", "float", [1, cin, size, size])
    net.conv(x, cin, cout, size, kernel)
    net.output(net.rename_last("y"), "float", [1, cout, size, size])


def convolution_chain(net, wide, narrow, kernel, size):
    """Eight with ReLU, so that conversions at the edges count little."""
    x = net.input("x", "float", [1, wide, size, size])
    for _ in range(4):
        for a, b in ((wide, narrow), (narrow, wide)):
            x = net.op("Relu", net.conv(x, a, b, size, kernel)[0])
    net.output(net.rename_last("y"), "float", [1, wide, size, size])


def depthwise(net, channels, size):
    x = net.input("x", "float", [1, channels, size, size])
    net.conv(x, channels, channels, size, 3, group=channels)
    net.output(net.rename_last("y"), "float", [1, channels, size, size])


# ---- whole models ----

def encoder(net, layers=12, hidden=768, heads=12, inner=3072, tokens=128,
            words=30522):
    size = hidden // heads
    ids = net.input("input_ids", "int64", [1, tokens])
    table = net.weight("words", net.noise(words, hidden))
    x = net.op("Gather", table, ids)
    x = net.op("Add", x, net.new(net.noise(1, tokens, hidden), "p"))

    def norm(t):
        return net.layer_norm(t, net.new(np.ones(hidden), "g"),
                              net.new(np.zeros(hidden), "b"), 1e-12)

    def split(t, perm):
        return net.op("Transpose", net.reshape(t, [1, tokens, heads, size]),
                      perm=perm)
    x = norm(x)
    for i in range(layers):
        with net.scope(f"layer.{i}"):
            q, k, v = (split(net.linear(x, hidden, hidden, tokens), perm)
                       for perm in ([0, 2, 1, 3], [0, 2, 3, 1],
                                    [0, 2, 1, 3]))
            score = net.op("Div", net.op("MatMul", q, k),
                           net.const(np.sqrt(size)))
            mixed = net.op("MatMul", net.op("Softmax", score, axis=-1), v)
            mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
            joined = net.reshape(mixed, [1, tokens, hidden])
            x = norm(net.op("Add", net.linear(joined, hidden, hidden, tokens),
                            x))
            y = net.gelu(net.linear(x, hidden, inner, tokens))
            x = norm(net.op("Add", net.linear(y, inner, hidden, tokens), x))
    net.output(net.rename_last("y"), "float", [1, tokens, hidden])


def resnet50(net):
    relu = lambda t: net.op("Relu", t)  # noqa: E731
    x = net.input("x", "float", [1, 3, 224, 224])
    y, size = net.conv(x, 3, 64, 224, 7, stride=2, pattern="dense")
    y = net.op("MaxPool", relu(y), kernel_shape=[3, 3], strides=[2, 2],
               pads=[1] * 4)
    size, channels = size // 2, 64
    for mid, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2),
                               (512, 3, 2)):
        for b in range(blocks):
            stride = first if b == 0 else 1
            z = relu(net.conv(y, channels, mid, size)[0])
            z, out = net.conv(z, mid, mid, size, 3, stride)
            z, _ = net.conv(relu(z), mid, mid * 4, out, gain=.5)
            if b == 0:
                y, _ = net.conv(y, channels, mid * 4, size, stride=stride,
                                gain=1)
            y, size, channels = relu(net.op("Add", z, y)), out, mid * 4
    classify(net, y, channels)


def classify(net, y, channels, pattern=None):
    y = net.op("Flatten", net.op("GlobalAveragePool", y), axis=1)
    w = net.values(1000, channels, pattern=pattern)
    net.flops += 2 * w.size
    net.op("Gemm", y, net.new(w), net.new(np.zeros(1000), "b"), transB=1)
    net.output(net.rename_last("y"), "float", [1, 1000])


MOBILE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
          (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet2(net):
    def relu6(t):
        return net.op("Clip", t, net.const(0), net.const(6))
    x = net.input("x", "float", [1, 3, 224, 224])
    y, size = net.conv(x, 3, 32, 224, 3, stride=2, pattern="dense")
    y, channels = relu6(y), 32
    for expand, out, blocks, first in MOBILE:
        for b in range(blocks):
            stride, wide, z = first if b == 0 else 1, channels * expand, y
            if expand > 1:
                z = relu6(net.conv(z, channels, wide, size)[0])
            z, small = net.conv(z, wide, wide, size, 3, stride, group=wide)
            z, _ = net.conv(relu6(z), wide, out, small, gain=1)
            same = stride == 1 and channels == out
            y = net.op("Add", z, y) if same else z
            size, channels = small, out
    y = relu6(net.conv(y, channels, 1280, size)[0])
    classify(net, y, 1280, "dense")


def decode_step(net, layers=4, hidden=2048, heads=16, inner=5632, past=128):
    """One token through layers of Llama's shape, keys and values of `past`
    tokens given; without rotary positions, which cost nothing here."""
    size = hidden // heads
    x = net.input("x", "float", [1, 1, hidden])

    def rms(t):
        square = net.op("ReduceMean", net.op("Pow", t, net.const(2)),
                        axes=[-1])
        root = net.op("Sqrt", net.op("Add", square, net.const(1e-6)))
        return net.op("Mul", net.op("Div", t, root),
                      net.new(np.ones(hidden), "g"))

    def split(t, perm):
        return net.op("Transpose", net.reshape(t, [1, 1, heads, size]),
                      perm=perm)

    def linear(t, k, n):
        return net.linear(t, k, n, 1, bias=False)
    for i in range(layers):
        keys = net.input(f"keys.{i}", "float", [1, heads, size, past])
        values = net.input(f"values.{i}", "float", [1, heads, past, size])
        with net.scope(f"layer.{i}"):
            h = rms(x)
            q, k, v = (linear(h, hidden, hidden) for _ in range(3))
            k = net.op("Concat", keys, split(k, [0, 2, 3, 1]), axis=3)
            v = net.op("Concat", values, split(v, [0, 2, 1, 3]), axis=2)
            score = net.op("Mul", net.op("MatMul", split(q, [0, 2, 1, 3]), k),
                           net.const(size ** -.5))
            mixed = net.op("MatMul", net.op("Softmax", score, axis=-1), v)
            mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
            x = net.op("Add", x, linear(net.reshape(mixed, [1, 1, hidden]),
                                        hidden, hidden))
            h = rms(x)
            gate, up = (linear(h, hidden, inner) for _ in range(2))
            gate = net.op("Mul", gate, net.op("Sigmoid", gate))
            x = net.op("Add", x, linear(net.op("Mul", gate, up), inner,
                                        hidden))
    net.output(net.rename_last("y"), "float", [1, 1, hidden])


# ---- the list ----

@dataclass
class Case:
    """One model in several patterns. `own`: its goals are over our own dense
    program, not over ONNX Runtime's."""
    name: str
    title: str
    build: object
    args: dict = field(default_factory=dict)
    patterns: tuple = ("dense",)
    quantized: tuple = ()  # patterns that also come with bytes for weights
    seed: int = 1


def single(rows, k, n):
    wide = ("dense", "u50", "u80", "u90", "u95", "24", "4x1-90", "16x1-90")
    short = ("dense", "u80", "u90", "24", "16x1-90")
    return Case(f"mm-{rows}-{k}-{n}", f"{rows} rows, {k} × {n}", products,
                {"rows": rows, "sizes": [(k, n)]},
                wide if (k, n) == (768, 3072) else short, seed=k * 7 + n)


def conv(kernel, cin, cout, size):
    return Case(f"conv{kernel}x{kernel}-{cin}-{cout}-{size}",
                f"{kernel}×{kernel} convolution, {cin} → {cout}, {size}²",
                convolution, {"kernel": kernel, "cin": cin, "cout": cout,
                              "size": size},
                ("dense", "u80", "u90", "u95"), seed=cin + cout)


def chain(kernel, wide, narrow, size):
    return Case(f"chain{kernel}x{kernel}-{wide}-{narrow}-{size}",
                f"eight {kernel}×{kernel} convolutions, {wide} ↔ {narrow}, "
                f"{size}²", convolution_chain,
                {"kernel": kernel, "wide": wide, "narrow": narrow,
                 "size": size},
                ("dense", "u80", "u90", "u95"), seed=wide + narrow)


CASES = [
    Case("rotation", "36 distinct matrices of BERT-base, 128 rows", rotation,
         {}, PATTERNS),
    Case("rotation16", "36 distinct matrices of BERT-base, 16 rows", rotation,
         {"rows": 16}, ("dense", "u50", "u80", "u90", "24", "16x1-90")),
    Case("row", "four distinct matrices of 4096², one row", one_row, {},
         ("dense", "u50", "u80", "u90", "24", "16x1-90")),
    *(single(rows, k, n) for rows in (1, 16, 128, 512)
      for k, n in ((768, 768), (768, 3072), (3072, 768), (4096, 4096))),
    conv(1, 256, 64, 56), conv(1, 64, 256, 56), conv(1, 512, 128, 28),
    conv(1, 1024, 256, 14), conv(3, 64, 64, 56), conv(3, 256, 256, 14),
    Case("depthwise", "3×3 depthwise convolution, 192, 28²", depthwise,
         {"channels": 192, "size": 28}),
    chain(1, 256, 64, 56), chain(1, 512, 128, 28), chain(1, 1024, 256, 14),
    chain(3, 64, 64, 56), chain(3, 256, 256, 14),
    Case("bert", "BERT-base, 128 tokens", encoder, {},
         ("dense", "u50", "u80", "u90", "24", "4x1-90"), ("dense", "1x4-80")),
    Case("minilm", "all-MiniLM-L6-v2's shape, 128 tokens", encoder,
         {"layers": 6, "hidden": 384, "inner": 1536},
         ("dense", "u50", "u80", "u90", "24")),
    Case("resnet50", "ResNet-50, 224²", resnet50, {},
         ("dense", "u80", "u90", "u95"), seed=2),
    Case("mobilenet2", "MobileNetV2, 224²", mobilenet2, {},
         ("dense", "u80", "u90"), seed=3),
    Case("decode", "a decode step of Llama's shape, 822 MB", decode_step, {},
         ("dense", "u50", "u80", "24"), seed=4),
    Case("decode-small", "a decode step of Llama's shape, 205 MB",
         decode_step, {"layers": 1}, ("dense", "u50", "u80", "24"), seed=4),
]


def random_inputs(net):
    """Standard normal, or numbers of words."""
    rng = np.random.default_rng(0)
    for value in net.inputs:
        kind = value.type.tensor_type
        dims = [d.dim_value for d in kind.shape.dim]
        yield value.name, (rng.integers(0, 30000, dims)
                           if kind.elem_type == 7
                           else rng.standard_normal(dims, np.float32))


def make(case, pattern, quantized, folder):
    """Writes NAME.onnx, NAME.npz (inputs) and NAME.json (facts) unless they
    are there; returns the path without ending."""
    base = os.path.join(folder, f"{case.name}-{pattern}"
                        + ("-int8" if quantized else ""))
    if os.path.exists(base + ".json"):
        return base
    net = Net(case.name, pattern, case.seed, quantized)
    case.build(net, **case.args)
    save(net.model(opset=13, producer="prune bench"), base + ".onnx")
    np.savez(base + ".npz", **dict(random_inputs(net)))
    with open(base + ".new", "w", encoding="utf-8") as f:
        json.dump({"flops": net.flops, "density": net.kept / net.total}, f)
    os.replace(base + ".new", base + ".json")  # the last: all is there
    return base
