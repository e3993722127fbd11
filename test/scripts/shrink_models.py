#!/usr/bin/env python3
"""Small networks whose dimensions are coupled in every way that matters.

    shrink_models.py FOLDER

Writes NAME.onnx with random weights for each function below."""
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Net:
    """A graph under construction; every method returns a value's name."""

    def __init__(self, opset=17):
        self.opset, self.nodes, self.consts, self.n = opset, [], {}, 0
        self.inputs, self.rng = [], np.random.default_rng(5)

    def input(self, *shape, kind=TensorProto.FLOAT):
        name = f"in{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def const(self, value):
        self.n += 1
        self.consts[f"c{self.n}"] = np.asarray(value)
        return f"c{self.n}"

    def weight(self, *shape):
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        return self.const((self.rng.standard_normal(shape) * scale).astype("f4"))

    def op(self, kind, *inputs, outputs=1, **attrs):
        self.n += 1
        names = [f"v{self.n}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names,
                                           name=f"{kind}{self.n}", **attrs))
        return names[0] if outputs == 1 else names

    def conv(self, x, i, o, k=3, group=1, **attrs):
        return self.op("Conv", x, self.weight(o, i // group, k, k),
                       self.weight(o), group=group, pads=[k // 2] * 4, **attrs)

    def norm(self, x, n):
        var = self.const(self.rng.random(n).astype("f4") + 0.5)
        return self.op("BatchNormalization", x, self.weight(n), self.weight(n),
                       self.weight(n), var)

    def linear(self, x, i, o):
        return self.op("Add", self.op("MatMul", x, self.weight(i, o)),
                       self.weight(o))

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.const(np.array(shape)))

    def save(self, path, *outputs):
        graph = helper.make_graph(
            self.nodes, path.stem, self.inputs,
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None)
             for o in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.consts.items()])
        onnx.save(helper.make_model(
            graph, ir_version=9,
            opset_imports=[helper.make_opsetid("", self.opset),
                           helper.make_opsetid("com.microsoft", 1)]), path)


def conv_bn_relu_conv(n):
    x = n.op("Relu", n.norm(n.conv(n.input(1, 3, 8, 8), 3, 16), 16))
    return n.conv(x, 16, 8)


def conv_flatten_gemm(n):
    x = n.op("Relu", n.conv(n.input(2, 3, 6, 6), 3, 8))
    x = n.op("Flatten", n.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    return n.op("Gemm", x, n.weight(5, 72), n.weight(5), transB=1)


def conv_split_mul_conv(n):
    x = n.conv(n.input(1, 3, 8, 8), 3, 16)
    a, b = n.op("Split", x, outputs=2, axis=1)
    return n.conv(n.op("Mul", a, n.op("Sigmoid", b)), 8, 4)


def residual(n):
    x = n.op("Relu", n.norm(n.conv(n.input(1, 3, 8, 8), 3, 12), 12))
    for _ in range(2):
        y = n.op("Relu", n.norm(n.conv(x, 12, 20), 20))
        x = n.op("Relu", n.op("Add", x, n.norm(n.conv(y, 20, 12), 12)))
    x = n.op("GlobalAveragePool", x)
    return n.op("Gemm", n.op("Flatten", x), n.weight(5, 12), transB=1)


def concat_groups(n):
    """Groups of three take from both of eight and four channels."""
    x = n.input(1, 3, 6, 6)
    x = n.op("Concat", n.conv(x, 3, 8), n.conv(x, 3, 4), axis=1)
    x = n.op("Relu", n.conv(n.norm(x, 12), 12, 12, group=4))
    return n.conv(n.conv(x, 12, 12, group=12), 12, 6, 1)


def shuffle(n):
    """Channels of groups change places (ShuffleNet)."""
    x = n.conv(n.input(1, 3, 6, 6), 3, 12, 1)
    x = n.conv(x, 12, 12, 1, group=3)
    x = n.op("Transpose", n.reshape(x, 1, 3, 4, 6, 6), perm=[0, 2, 1, 3, 4])
    x = n.conv(n.reshape(x, 1, 12, 6, 6), 12, 12, 3, group=12)
    return n.conv(x, 12, 5, 1)


def squeeze_excite(n):
    x = n.conv(n.input(1, 3, 8, 8), 3, 16)
    s = n.op("GlobalAveragePool", x)
    s = n.op("Relu", n.conv(s, 16, 6, 1))
    s = n.op("Sigmoid", n.conv(s, 6, 16, 1))
    return n.conv(n.op("Mul", x, s), 16, 4)


def upsample(n):
    x = n.conv(n.input(1, 3, 4, 4), 3, 16)
    sizes = n.const(np.array([1, 16, 8, 8]))
    y = n.op("Resize", x, "", "", sizes, mode="nearest")
    z = n.op("DepthToSpace", n.conv(x, 16, 32, 1), blocksize=2)
    t = n.op("ConvTranspose", x, n.weight(16, 6, 2, 2), strides=[2, 2])
    return n.conv(n.op("Concat", y, z, t, axis=1), 30, 3)


def attention(n, heads=4, size=8, ffn=64):
    """As PyTorch exports it: decomposed, with scale, bias and GELU."""
    width, seq = heads * size, 6
    x = n.input(2, seq, width)

    def split(y):
        y = n.reshape(y, 2, seq, heads, size)
        return n.op("Transpose", y, perm=[0, 2, 1, 3])

    h = n.op("LayerNormalization", x, n.weight(width), n.weight(width))
    q, k, v = (split(n.linear(h, width, width)) for _ in range(3))
    s = n.op("MatMul", q, n.op("Transpose", k, perm=[0, 1, 3, 2]))
    s = n.op("Softmax", n.op("Div", s, n.const(np.float32(size ** 0.5))),
             axis=-1)
    o = n.op("Transpose", n.op("MatMul", s, v), perm=[0, 2, 1, 3])
    x = n.op("Add", x, n.linear(n.reshape(o, 2, seq, width), width, width))
    h = n.op("LayerNormalization", x, n.weight(width), n.weight(width))
    h = n.linear(h, width, ffn)
    e = n.op("Erf", n.op("Div", h, n.const(np.float32(2 ** 0.5))))
    e = n.op("Mul", h, n.op("Add", e, n.const(np.float32(1))))
    return n.op("Add", x, n.linear(e, ffn, width))


def packed_qkv(n, heads=4, size=8):
    """One weight for queries, keys and values, cut by a Split or by indices."""
    width, seq = heads * size, 5
    x = n.input(1, seq, width)
    y = n.reshape(n.linear(x, width, 3 * width), 1, seq, 3, heads, size)
    y = n.op("Transpose", y, perm=[2, 0, 3, 1, 4])
    q, k, v = (n.op("Gather", y, n.const(np.int64(i)), axis=0)
               for i in range(3))
    s = n.op("Softmax", n.op("MatMul", q, n.op("Transpose", k,
                                               perm=[0, 1, 3, 2])), axis=-1)
    o = n.op("Transpose", n.op("MatMul", s, v), perm=[0, 2, 1, 3])
    return n.linear(n.reshape(o, 1, seq, width), width, width)


def rope_gqa(n, heads=6, groups=2, size=8):
    """Rotary halves, and keys and values repeated for groups of queries."""
    width, seq, rep = heads * size, 5, heads // groups
    x = n.input(1, seq, width)
    half = n.const((n.rng.random((seq, size // 2)) * 6).astype("f4"))
    angle = n.op("Concat", half, half, axis=-1)
    cos, sin = n.op("Cos", angle), n.op("Sin", angle)

    def split(y, count):
        y = n.reshape(y, 1, seq, count, size)
        return n.op("Transpose", y, perm=[0, 2, 1, 3])

    def rotate(y):
        a, b = n.op("Split", y, outputs=2, axis=-1)
        turned = n.op("Concat", n.op("Neg", b), a, axis=-1)
        return n.op("Add", n.op("Mul", y, cos), n.op("Mul", turned, sin))

    def repeat(y):
        y = n.op("Unsqueeze", y, n.const(np.array([2])))
        y = n.op("Expand", y, n.const(np.array([1, groups, rep, seq, size])))
        return n.reshape(y, 1, heads, seq, size)

    q = rotate(split(n.op("MatMul", x, n.weight(width, width)), heads))
    k = rotate(split(n.op("MatMul", x, n.weight(width, groups * size)), groups))
    v = split(n.op("MatMul", x, n.weight(width, groups * size)), groups)
    s = n.op("MatMul", q, n.op("Transpose", repeat(k), perm=[0, 1, 3, 2]))
    o = n.op("MatMul", n.op("Softmax", s, axis=-1), repeat(v))
    o = n.reshape(n.op("Transpose", o, perm=[0, 2, 1, 3]), 1, seq, width)
    h = n.op("MatMul", o, n.weight(width, width))
    gate = n.op("MatMul", h, n.weight(width, 40))
    gate = n.op("Mul", gate, n.op("Sigmoid", gate))
    h = n.op("Mul", gate, n.op("MatMul", h, n.weight(width, 40)))
    return n.op("MatMul", h, n.weight(40, width))


def fused_attention(n, heads=4, size=8):
    """ONNX Runtime's operators, whose attributes count heads."""
    width, seq = heads * size, 5
    x = n.input(1, seq, width)
    a = n.op("Attention", x, n.weight(width, 3 * width), n.weight(3 * width),
             num_heads=heads)
    n.nodes[-1].domain = "com.microsoft"
    a = n.linear(a, width, width)
    q, k, v = (n.op("MatMul", a, n.weight(width, width)) for _ in range(3))
    m = n.op("MultiHeadAttention", q, k, v, n.weight(3 * width),
             num_heads=heads)
    n.nodes[-1].domain = "com.microsoft"
    return n.linear(m, width, width)


def tied_embedding(n):
    """One table looks up and classifies."""
    table = n.weight(30, 16)
    x = n.op("Gather", table, n.input(1, 4, kind=TensorProto.INT64))
    x = n.op("Relu", n.linear(x, 16, 24))
    x = n.op("MatMul", x, n.weight(24, 16))
    return n.op("MatMul", x, n.op("Transpose", table, perm=[1, 0]))


def experts(n, count=4, width=12, hidden=20):
    """All experts run; a router weighs them (dense mixture)."""
    x = n.input(1, 5, width)
    g = n.op("Softmax", n.op("MatMul", x, n.weight(width, count)), axis=-1)
    h = n.op("MatMul", n.op("Unsqueeze", x, n.const(np.array([1]))),
             n.weight(1, count, width, hidden))
    y = n.op("MatMul", n.op("Relu", h), n.weight(1, count, hidden, width))
    g = n.op("Unsqueeze", n.op("Transpose", g, perm=[0, 2, 1]),
             n.const(np.array([-1])))
    return n.op("ReduceSum", n.op("Mul", y, g), n.const(np.array([1])),
                keepdims=0)


def recurrent(n, hidden=12):
    x = n.input(4, 1, 6)
    y, _, _ = n.op("LSTM", x, n.weight(1, 4 * hidden, 6),
                   n.weight(1, 4 * hidden, hidden), n.weight(1, 8 * hidden),
                   outputs=3, hidden_size=hidden)
    y = n.op("Squeeze", y, n.const(np.array([1])))
    z, _ = n.op("GRU", y, n.weight(2, 3 * hidden, hidden),
                n.weight(2, 3 * hidden, hidden), n.weight(2, 6 * hidden),
                outputs=2, hidden_size=hidden, direction="bidirectional")
    z = n.reshape(n.op("Transpose", z, perm=[0, 2, 1, 3]), 4, 1, 2 * hidden)
    return n.linear(z, 2 * hidden, 3)


def open_sizes(n, heads=3, size=4):
    """Batch and length are open; shapes are computed from shapes."""
    width = heads * size
    x = n.input("batch", "seq", width)
    shape = n.op("Shape", x)
    sizes = [n.op("Unsqueeze", n.op("Gather", shape, n.const(np.int64(i))),
                  n.const(np.array([0]))) for i in range(2)]
    to = n.op("Concat", *sizes, n.const(np.array([heads])),
              n.const(np.array([size])), axis=0)
    y = n.op("Reshape", n.linear(x, width, width), to)
    y = n.op("Relu", n.op("Transpose", y, perm=[0, 2, 1, 3]))
    back = n.op("Concat", *sizes, n.const(np.array([width])), axis=0)
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1, 3]), back)
    return n.linear(y, width, 5)


NETS = [conv_bn_relu_conv, conv_flatten_gemm, conv_split_mul_conv, residual,
        concat_groups, shuffle, squeeze_excite, upsample, attention, packed_qkv,
        rope_gqa, fused_attention, tied_embedding, experts, recurrent,
        open_sizes]


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for make in NETS:
        net = Net()
        out = make(net)
        net.save(folder / f"{make.__name__}.onnx", out)


if __name__ == "__main__":
    main()
