"""Steps of shrink_graphs.py: layers, and what works on elements."""
import numpy as np
from onnx import TensorProto

from shrink_graphs import FLOATS, Value, step

# ---- layers ----

@step(10)
def conv(g):
    x = g.value(4)
    if not x or g.dtype == "f8":
        return
    n, c, h, w = x.shape
    group = g.pick([d for d in range(1, c + 1) if c % d == 0] + [1, 1, c])
    o = group * g.size(1, max(1, 8 // group))
    k = g.pick([1, 1, 3])
    s = g.pick([1, 1, 2]) if min(h, w) > 2 else 1
    bias = [g.weight(o)] if g.chance(0.6) else []
    y = g.op("Conv", x, g.weight(o, c // group, k, k), *bias, group=group,
             pads=[k // 2] * 4, strides=[s, s])
    g.out(y, (n, o, (h - 1) // s + 1, (w - 1) // s + 1))


@step(2)
def conv_transpose(g):
    x = g.value(4)
    if not x or g.dtype != "f4" or max(x.shape[2:]) > 5:
        return
    n, c, h, w = x.shape
    group = g.pick([d for d in range(1, c + 1) if c % d == 0] + [1, 1])
    o = g.size(1, 4)
    bias = [g.weight(o * group)] if g.chance(0.6) else []
    y = g.op("ConvTranspose", x, g.weight(c, o, 2, 2), *bias, group=group,
             strides=[2, 2])
    g.out(y, (n, o * group, 2 * h, 2 * w))


@step(2)
def conv1d(g):
    x = g.value(3)
    if not x or g.dtype == "f8":
        return
    n, c, h = x.shape
    o = g.size()
    y = g.op("Conv", x, g.weight(o, c, 3), g.weight(o), pads=[1, 1])
    g.out(y, (n, o, h))


@step(4)
def batch_norm(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    c = x.shape[1]
    y = g.op("BatchNormalization", x, g.weight(c), g.weight(c), g.weight(c),
             g.weight(c, positive=True))
    g.out(y, x.shape)


@step(5)
def linear(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    i, o = x.shape[-1], g.size(2, 8)
    y = g.op("MatMul", x, g.weight(i, o))
    if g.chance(0.5):
        y = g.op("Add", *g.pick([(y, g.weight(o)), (g.weight(o), y)]))
    g.out(y, x.shape[:-1] + (o,))


@step(2)
def matmul_left(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    m, o = x.shape[-2], g.size(2, 8)
    y = g.op("MatMul", g.weight(o, m), x)
    g.out(y, x.shape[:-2] + (o, x.shape[-1]))


@step(2)
def matmul_batched(g):
    x = g.value(3, 4)
    if not x:
        return
    i, o = x.shape[-1], g.size()
    lead = [d if g.chance(0.7) else 1 for d in x.shape[:-2]]
    lead = lead[int(g.rng.integers(len(lead))):]
    g.out(g.op("MatMul", x, g.weight(*lead, i, o)), x.shape[:-1] + (o,))


@step(2)
def matmul_vector(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    if g.chance(0.6):
        g.out(g.op("MatMul", x, g.weight(x.shape[-1])), x.shape[:-1])
    else:
        g.out(g.op("MatMul", g.weight(x.shape[-2]), x),
              x.shape[:-2] + x.shape[-1:])


@step(4)
def gemm(g):
    x = g.value(2)
    if not x:
        return
    o, a, b = g.size(2, 8), int(g.chance(0.3)), int(g.chance(0.5))
    m, k = x.shape[::-1] if a else x.shape
    left = g.chance(0.2)
    attrs = {"transA": a, "transB": b}
    if g.chance(0.3):
        attrs["alpha"], attrs["beta"] = 0.5, 1.5
    bias = [g.weight(*g.pick([(o,), (1, o), (m, 1), (1,), (), (m, o)]))]
    if g.opset < 11 or g.chance(0.5):
        bias = [g.weight(o)]
    if left:  # the constant is A
        m, k, o = o, x.shape[1 if b else 0], x.shape[0 if b else 1]
        w = g.weight(*((k, m) if a else (m, k)))
        y = g.op("Gemm", w, x, g.weight(o), **attrs)
    else:
        y = g.op("Gemm", x, g.weight(*((o, k) if b else (k, o))), *bias,
                 **attrs)
    g.out(y, (m, o))


@step(2)
def matmul_values(g):
    """Both sides computed: queries and keys."""
    x, y = g.value(2, 3, 4), g.value(2, 3, 4)
    if not x or not y or x.rank != y.rank or x.shape[:-2] != y.shape[:-2]:
        return
    if x.shape[-1] == y.shape[-2]:
        g.out(g.op("MatMul", x, y), x.shape[:-1] + y.shape[-1:])
    elif x.shape[-1] == y.shape[-1]:
        perm = list(range(x.rank - 2)) + [x.rank - 1, x.rank - 2]
        t = g.op("Transpose", y, perm=perm)
        g.out(g.op("MatMul", x, t), x.shape[:-1] + y.shape[-2:-1])


@step(1)
def product_of_one(g):
    """A product of two views of one value."""
    x = g.value(2, 3)
    if not x:
        return
    perm = list(range(x.rank - 2)) + [x.rank - 1, x.rank - 2]
    other = x
    if g.chance(0.5):
        other = g.op(g.pick(["Sigmoid", "Exp", "Relu"]), x)
    y = g.op("MatMul", x, g.op("Transpose", other, perm=perm))
    g.out(g.op("Tanh", y), x.shape[:-1] + x.shape[-2:-1])


@step(1.5, 12)
def einsum(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    letters = "abcd"[:x.rank]
    if g.chance(0.3):
        keep = [i for i in range(x.rank) if g.chance(0.6)] or [0]
        g.rng.shuffle(keep)
        out = "".join(letters[i] for i in keep)
        g.out(g.op("Einsum", x, equation=f"{letters}->{out}"),
              [x.shape[i] for i in keep])
        return
    at = int(g.rng.integers(x.rank))
    o = g.size()
    e = f"{letters}, {letters[at]}z->{letters.replace(letters[at], 'z')}"
    shape = list(x.shape)
    shape[at] = o
    g.out(g.op("Einsum", x, g.weight(x.shape[at], o), equation=e), shape)


@step(1.5, 9)
def recurrent(g):
    x = g.value(3)
    if not x or g.dtype != "f4":
        return
    s, b, i = x.shape
    kind, gates = g.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    h, both = g.size(2, 5), g.chance(0.3)
    d = 2 if both else 1
    attrs = {"hidden_size": h}
    if both:
        attrs["direction"] = "bidirectional"
    if kind == "GRU" and g.chance(0.5):
        attrs["linear_before_reset"] = 1
    more = [g.weight(d, 2 * gates * h)] if g.chance(0.7) else []
    if more and g.chance(0.3):
        more += ["", g.weight(d, b, h)]
        if kind == "LSTM":
            more += [g.weight(d, b, h), g.weight(d, 3 * h)][:g.size(0, 2)]
    y, last = g.op(kind, x, g.weight(d, gates * h, i), g.weight(d, gates * h, h),
                   *more, outputs=2, **attrs)
    if not both and g.chance(0.7):
        g.out(g.axes("Squeeze", y, [1]), (s, b, h))
    elif g.chance(0.6):
        t = g.op("Transpose", y, perm=[0, 2, 1, 3])
        g.out(g.op("Reshape", t, g.ints([0, 0, -1])), (s, b, d * h))
    g.out(last, (d, b, h))


@step(1.5, 13)
def quantised(g):
    """A weight of 8 bits."""
    x = g.value(2, 3, 4)
    if not x or g.dtype != "f4":
        return
    image = x.rank == 4 and g.chance(0.5)
    i, o = x.shape[1 if image else -1], g.size(2, 8)
    shape, axis = ((o, i, 1, 1), 0) if image else ((i, o), 1)
    w = g.const(g.rng.integers(-100, 100, shape).astype(np.int8))
    if g.chance(0.6):
        scale = g.const(g.rng.uniform(0.01, 0.02, o).astype("f4"))
        zero = [g.const(g.rng.integers(-3, 3, o).astype(np.int8))]
    else:
        scale, zero = g.const(np.float32(0.01)), [g.const(np.int8(2))]
    w = g.op("DequantizeLinear", w, scale, *(zero if g.chance(0.5) else []),
             axis=axis)
    if image:
        bias = [g.weight(o)] if g.chance(0.5) else []
        g.out(g.op("Conv", x, w, *bias),
              (x.shape[0], o) + x.shape[2:])
    else:
        y = g.op("MatMul", x, w)
        if g.chance(0.5):
            y = g.op("Add", y, g.weight(o))
        g.out(y, x.shape[:-1] + (o,))


# ---- elementwise ----

def activate(g, x):
    names = ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Softplus", "Exp", "Elu",
             "HardSigmoid", "Neg", "Abs", "Cos", "Identity", "Selu", "Erf",
             "Sqrt", "Reciprocal", "Dropout", "Not"]
    kind = g.pick(names)
    if g.dtype != "f4" and kind in ("Selu", "Elu", "LeakyRelu", "Cos",
                                    "HardSigmoid", "Softplus", "Erf"):
        kind = "Relu"
    if kind == "Exp":
        x = g.op("Tanh", x)
    if kind in ("Sqrt", "Reciprocal"):
        x = g.op("Exp", g.op("Tanh", x))
    if kind == "Not":
        return g.op("Cast", g.op("Not", g.op("Cast", x, to=TensorProto.BOOL)),
                    to=FLOATS[g.dtype])
    return g.op(kind, x)


@step(8)
def activation(g):
    x = g.value()
    g.out(activate(g, x), x.shape)


@step(1, 10)
def clip(g):
    x = g.value()
    low, high = g.pick([(-0.5, 0.5), (0.1, 1.0), (0.0, 6.0)])
    if g.opset < 11:
        if g.dtype == "f4":
            g.out(g.op("Clip", x, min=low, max=high), x.shape)
        return
    c = [g.const(np.array(v, g.dtype)) for v in (low, high)]
    g.out(g.op("Clip", x, *c), x.shape)


@step(1.5)
def prelu(g):
    x = g.value(2, 3, 4)
    if not x or g.dtype != "f4":
        return
    shape = g.pick([(x.shape[1],) + (1,) * (x.rank - 2), (1,), x.shape[-1:]])
    g.out(g.op("PRelu", x, g.weight(*shape)), x.shape)


@step(6)
def with_constant(g):
    x = g.value()
    kind = g.pick(["Add", "Mul", "Sub", "Div", "Max", "Pow"])
    shape = [d if g.chance(0.5) else 1 for d in x.shape]
    shape = shape[int(g.rng.integers(len(shape) + 1)):]
    if x.rank > 2 and g.chance(0.4):
        shape = [x.shape[1]] + [1] * (x.rank - 2)
    c = g.weight(*shape, positive=kind in ("Div", "Pow"))
    if kind == "Pow":
        x = Value(g.op("Abs", x), x.shape)
        if g.dtype == "f2":
            return
    args = (x, c)
    if kind in ("Add", "Mul", "Sub") and g.chance(0.4):
        args = (c, x)
    if kind == "Div" and g.chance(0.3):
        args = (c, g.op("Exp", g.op("Tanh", x)))
    g.out(g.op(kind, *args), x.shape)


@step(7)
def branches(g):
    x = g.value()
    fits = [v for v in g.values if v.rank <= x.rank and v is not x and
            all(a in (1, b) for a, b in
                zip(v.shape[::-1], x.shape[::-1]))]
    if not fits:
        return
    y = g.pick(fits)
    kind = g.pick(["Add", "Add", "Mul", "Mul", "Sub", "Div", "Max"])
    if kind == "Div":
        y = g.op("Exp", g.op("Tanh", y))
    args = (y, x) if kind != "Div" and g.chance(0.5) else (x, y)
    g.out(g.op(kind, *args), x.shape)


@step(2)
def gate(g):
    """Squeeze and excite, or a gate of another activation."""
    x = g.value(4)
    if not x:
        return
    y = g.op("GlobalAveragePool", x)
    if g.chance(0.5) and g.dtype == "f4":
        o, c = g.size(), x.shape[1]
        y = g.op("Conv", y, g.weight(o, c, 1, 1), g.weight(o))
        y = g.op("Conv", g.op("Relu", y), g.weight(c, o, 1, 1), g.weight(c))
    g.out(g.op("Mul", x, g.op("Sigmoid", y)), x.shape)


@step(1.5, 9)
def where(g):
    x = g.value()
    shape = [d if g.chance(0.5) else 1 for d in x.shape]
    mask = g.const(g.rng.random(shape) < 0.5)
    other = g.const(np.array(g.pick([0, 0.5, -1]), g.dtype))
    same = [v for v in g.values if v.shape == x.shape]
    if g.chance(0.4):
        other = g.pick(same)
    if g.chance(0.3):
        mask = g.op("Cast", g.op("Relu", x), to=TensorProto.BOOL)
    args = (x, other) if g.chance(0.5) else (other, x)
    g.out(g.op("Where", mask, *args), x.shape)


# ---- ONNX Runtime's ----

@step(1.5, 17)
def fused_matmul(g):
    x = g.value(2, 3)
    if not x or g.dtype != "f4":
        return
    a, b, o = int(g.chance(0.3)), int(g.chance(0.5)), g.size()
    m, k = x.shape[-2:][::-1] if a else x.shape[-2:]
    w = g.weight(*((o, k) if b else (k, o)))
    if g.chance(0.3) and not a:  # with itself
        g.out(g.op("Tanh", g.microsoft("FusedMatMul", x, x, transB=1)),
              x.shape[:-1] + x.shape[-2:-1])
        return
    g.out(g.microsoft("FusedMatMul", x, w, transA=a, transB=b, alpha=0.5),
          x.shape[:-2] + (m, o))


@step(1.5, 17)
def multi_head(g):
    x, z = g.value(3), g.value(3)
    if not x or g.dtype != "f4":
        return
    if z.shape[0] != x.shape[0]:
        z = x
    h, d, e = g.size(2, 3), g.size(2, 3), g.size(2, 3)

    def project(v, o):
        y = g.op("MatMul", v, g.weight(v.shape[-1], o))
        return g.op("Add", y, g.weight(o)) if g.chance(0.5) else y

    attrs = {"scale": 0.5} if g.chance(0.3) else {}
    e = d if g.chance(0.7) else e
    y = g.microsoft("MultiHeadAttention", project(x, h * d), project(z, h * d),
                    project(z, h * e), num_heads=h, **attrs)
    g.out(y, x.shape[:-1] + (h * e,))


@step(1, 17)
def packed_attention(g):
    x = g.value(3)
    if not x or g.dtype != "f4":
        return
    h, d = g.size(2, 3), g.size(2, 3)
    y = g.microsoft("Attention", x, g.weight(x.shape[-1], 3 * h * d),
                    g.weight(3 * h * d), num_heads=h)
    g.out(y, x.shape[:-1] + (h * d,))


@step(1, 17)
def bias_gelu(g):
    x = g.value(2, 3)
    if not x or g.dtype != "f4":
        return
    n = x.shape[-1]
    if g.chance(0.6) or x.rank < 3 or n < 2:
        kind = g.pick(["BiasGelu", "FastGelu"])
        g.out(g.microsoft(kind, x, g.weight(n)), x.shape)
    else:
        same = [v for v in g.values if v.shape == x.shape]
        g.out(g.microsoft("SkipLayerNormalization", x, g.pick(same),
                          g.weight(n), g.weight(n)), x.shape)
