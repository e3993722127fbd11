#!/usr/bin/env python3
"""Random graphs of the operators that networks are made of, for shrink_fuzz.py.

A graph grows from its inputs by steps: each takes values that are there and
adds an operator or a few. Sizes are tiny, so that they meet by chance, and
what a step needs that is not there is a constant, new or one that has been used
before. Whoever builds a model gets the sizes that its inputs are to have."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOATS = {"f4": TensorProto.FLOAT, "f2": TensorProto.FLOAT16,
          "f8": TensorProto.DOUBLE}
STEPS = []  # (weight, least opset, function)


def step(weight=1, since=1):
    def add(f):
        STEPS.append((weight, since, f))
        return f
    return add


class Value:
    def __init__(self, name, shape):
        self.name, self.shape = name, tuple(int(d) for d in shape)

    @property
    def rank(self):
        return len(self.shape)


class Graph:
    def __init__(self, rng, opset, dtype="f4", is_open=False):
        self.rng, self.opset, self.dtype, self.is_open = rng, opset, dtype, is_open
        self.nodes, self.consts, self.inputs, self.values = [], {}, [], []
        self.feed, self.n, self.outputs = {}, 0, []

    # ---- choices ----

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, items):
        return items[int(self.rng.integers(len(items)))]

    def size(self, low=2, high=6):
        return int(self.rng.integers(low, high + 1))

    def value(self, *ranks):
        """One of the values, of the later ones more likely."""
        fits = [v for v in self.values
                if (not ranks or v.rank in ranks) and np.prod(v.shape) <= 3000]
        if not fits:
            return None
        at = int(len(fits) * (1 - self.rng.random() ** 2))
        return fits[min(at, len(fits) - 1)]

    # ---- making ----

    def name(self, prefix):
        self.n += 1
        return f"{prefix}{self.n}"

    def const(self, array, shared=0.3):
        """An initializer or a Constant; equal ones may be the same."""
        array = np.asarray(array)
        for name, old in self.consts.items():
            if (old.dtype == array.dtype and old.shape == array.shape and
                    np.array_equal(old, array) and self.chance(shared)):
                return name
        name = self.name("c")
        self.consts[name] = array
        return name

    def weight(self, *shape, positive=False):
        if not positive and self.chance(0.12):
            same = [k for k, a in self.consts.items()
                    if a.shape == shape and a.dtype == np.dtype(self.dtype)
                    and a.size > 1]
            if same:
                return self.pick(same)
        scale = 1 / np.sqrt(max(1, np.prod(shape[1:])))
        array = self.rng.standard_normal(shape) * scale
        if len(shape) < 2:
            array = self.rng.uniform(0.3, 1.2, shape)
            if not positive:
                array *= self.rng.choice([-1, 1], shape)
        if positive:
            array = np.abs(array) + 0.5
        return self.const(array.astype(self.dtype))

    def ints(self, values):
        return self.const(np.array(values, np.int64))

    def op(self, kind, *inputs, outputs=1, **attrs):
        names = [self.name("v") for _ in range(outputs)]
        self.nodes.append(helper.make_node(
            kind, [i.name if isinstance(i, Value) else i for i in inputs],
            names, name=self.name(kind), **attrs))
        return names[0] if outputs == 1 else names

    def out(self, name, shape):
        v = Value(name, shape)
        self.values.append(v)
        return v

    def input(self, *shape):
        name = f"in{len(self.inputs)}"
        declared = list(shape)
        if self.is_open and len(shape) > 1:
            declared[0] = "batch"
            if len(shape) == 3:
                declared[1] = "seq"
        self.inputs.append(helper.make_tensor_value_info(
            name, FLOATS[self.dtype], declared))
        self.feed[name] = self.rng.standard_normal(shape).astype(self.dtype)
        return self.out(name, shape)

    def axes(self, kind, x, axes, **attrs):
        """Squeeze and Unsqueeze have axes as attribute before opset 13."""
        if self.opset < 13:
            return self.op(kind, x, axes=axes, **attrs)
        return self.op(kind, x, self.ints(axes), **attrs)

    def model(self):
        consts, nodes, more = [], [], []
        for name, array in self.consts.items():
            t = numpy_helper.from_array(array, name)
            if self.chance(0.25):
                nodes.append(helper.make_node("Constant", [], [name], value=t))
                continue
            consts.append(t)
            if self.chance(0.03):
                more.append(helper.make_tensor_value_info(
                    name, t.data_type, array.shape))
        graph = helper.make_graph(
            nodes + self.nodes, "g", self.inputs + more,
            [helper.make_tensor_value_info(o, FLOATS[self.dtype], None)
             for o in self.outputs], consts)
        return helper.make_model(
            graph, ir_version=8,
            opset_imports=[helper.make_opsetid("", self.opset)])


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
    y, last = g.op(kind, x, g.weight(d, gates * h, i), g.weight(d, gates * h, h),
                   *more, outputs=2, **attrs)
    if not both and g.chance(0.7):
        g.out(g.axes("Squeeze", y, [1]), (s, b, h))
    elif g.chance(0.6):
        t = g.op("Transpose", y, perm=[0, 2, 1, 3])
        g.out(g.op("Reshape", t, g.ints([0, 0, -1])), (s, b, d * h))
    g.out(last, (d, b, h))


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
    if not x or g.dtype == "f2":
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


# ---- moving ----

@step(4)
def concat(g):
    x = g.value()
    axis = int(g.rng.integers(x.rank))
    fits = [v for v in g.values if v.rank == x.rank and
            v.shape[:axis] + v.shape[axis + 1:] ==
            x.shape[:axis] + x.shape[axis + 1:]]
    parts = [g.pick(fits) for _ in range(g.size(1, 3))]
    names = [p.name for p in parts]
    total = sum(p.shape[axis] for p in parts)
    if g.chance(0.15):
        shape = list(x.shape)
        shape[axis] = g.size(1, 3)
        names.append(g.weight(*shape))
        total += shape[axis]
    y = g.op("Concat", *names, axis=axis - (x.rank if g.chance(0.3) else 0))
    g.out(y, x.shape[:axis] + (total,) + x.shape[axis + 1:])


@step(4)
def split(g):
    x = g.value()
    axis = int(g.rng.integers(x.rank))
    n = x.shape[axis]
    if n < 2:
        return
    parts = g.pick([d for d in range(2, n + 1) if n % d == 0])
    sizes, attrs, more = [n // parts] * parts, {}, []
    given = g.chance(0.6)
    if given and g.chance(0.6):
        cut = int(g.rng.integers(1, n))
        sizes = [cut, n - cut]
    if given and g.opset < 13:
        attrs["split"] = sizes
    elif given:
        more = [g.ints(sizes)]
    elif g.opset >= 18:
        attrs["num_outputs"] = len(sizes)
    names = g.op("Split", x, *more, outputs=len(sizes),
                 axis=axis - (x.rank if g.chance(0.3) else 0), **attrs)
    for name, s in zip(names, sizes):
        if g.chance(0.85):
            g.out(name, x.shape[:axis] + (s,) + x.shape[axis + 1:])


@step(1, 18)
def split_uneven(g):
    """num_outputs that do not divide: the last one is smaller."""
    x = g.value()
    axis = int(g.rng.integers(x.rank))
    n = x.shape[axis]
    if n < 3:
        return
    parts = g.size(2, 3)
    each = -(-n // parts)
    sizes = [min(each, n - i * each) for i in range(parts)]
    if min(sizes) < 1:
        return
    names = g.op("Split", x, outputs=parts, axis=axis, num_outputs=parts)
    for name, s in zip(names, sizes):
        g.out(name, x.shape[:axis] + (s,) + x.shape[axis + 1:])


@step(4)
def slices(g):
    x = g.value()
    count = min(x.rank, g.pick([1, 1, 1, 2, 3]))
    axes = [int(a) for a in g.rng.permutation(x.rank)[:count]]
    shape, starts, ends, steps = list(x.shape), [], [], []
    for a in axes:
        n = x.shape[a]
        s, e = sorted(int(v) for v in g.rng.integers(0, n + 1, 2))
        if s == e:
            s, e = 0, n
        by = 1
        if g.opset >= 10 and g.chance(0.25):
            by = g.pick([2, -1, -2])
        size = len(range(s, e, abs(by)))
        if by < 0:  # from the last one down
            s, e = e - 1, s - 1
            e = e if e >= 0 else -n - 1
        else:
            e = g.pick([e, e - n if e < n else 2 ** 31 - 1, e])
            s = g.pick([s, s - n])
        shape[a] = size
        starts.append(s), ends.append(e), steps.append(by)
    axes = [a - x.rank if g.opset >= 11 and g.chance(0.3) else a for a in axes]
    if g.opset < 10:
        y = g.op("Slice", x, axes=axes, starts=starts, ends=ends)
    else:
        more = [g.ints(axes)]
        if any(b != 1 for b in steps) or g.chance(0.3):
            more.append(g.ints(steps))
        y = g.op("Slice", x, g.ints(starts), g.ints(ends), *more)
    g.out(y, shape)


@step(1.5)
def pad(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    before = [g.size(0, 1) if g.chance(0.4) else 0 for _ in x.shape]
    after = [g.size(0, 2) if g.chance(0.3) else 0 for _ in x.shape]
    if g.chance(0.2) and x.shape[-1] > 2:
        before[-1] = -1
    mode = g.pick(["constant", "constant", "edge"])
    if min(before) < 0:
        mode = "constant"
    shape = [b + d + a for b, d, a in zip(before, x.shape, after)]
    if g.opset < 11:
        if g.dtype == "f4":
            g.out(g.op("Pad", x, pads=before + after, mode=mode), shape)
        return
    more = []
    if mode == "constant" and g.chance(0.5):
        more = [g.const(np.array(0.5, g.dtype))]
    g.out(g.op("Pad", x, g.ints(before + after), *more, mode=mode), shape)


@step(3)
def gather(g):
    x = g.value()
    axis = int(g.rng.integers(x.rank))
    n = x.shape[axis]
    which = np.array(g.pick([0, -1, n - 1, [n - 1, 0], [0], [0, 1, -1],
                             [[0, 1], [1, -1]]]), np.int64)
    if n < 2:
        which = np.array(0, np.int64)
    if x.rank - 1 + which.ndim > 5:
        return
    y = g.op("Gather", x, g.const(which), axis=axis)
    g.out(y, x.shape[:axis] + which.shape + x.shape[axis + 1:])


def regroup(g, shape):
    """Another way to write as many elements."""
    shape = list(shape)
    for _ in range(g.size(1, 3)):
        if len(shape) > 1 and g.chance(0.5):
            at = int(g.rng.integers(len(shape) - 1))
            shape[at:at + 2] = [shape[at] * shape[at + 1]]
        elif len(shape) < 5:
            at = int(g.rng.integers(len(shape)))
            d = g.pick([k for k in range(1, shape[at] + 1)
                        if shape[at] % k == 0])
            shape[at:at + 1] = [d, shape[at] // d]
    return shape


@step(7)
def reshape(g):
    x = g.value()
    shape = regroup(g, x.shape)
    if g.chance(0.1):
        shape = list(x.shape)[::-1]
    to = list(shape)
    for i, d in enumerate(shape):
        if i < x.rank and d == x.shape[i] and g.chance(0.5):
            to[i] = 0
    if g.chance(0.5):
        to[int(g.rng.integers(len(to)))] = -1
    attrs = {}
    if g.opset >= 14 and 0 not in to and g.chance(0.2):
        attrs["allowzero"] = 1
    if g.chance(0.25) and 0 not in to:
        g.out(g.op("Reshape", x, computed(g, x, shape)), shape)
        return
    g.out(g.op("Reshape", x, g.ints(to), **attrs), shape)


def computed(g, x, shape):
    """A shape put together at run time, from x's where that has the size."""
    whole, parts = g.op("Shape", x), []
    for d in shape:
        if d in x.shape and g.chance(0.7):
            at = x.shape.index(d)
            if g.chance(0.7):
                one = g.op("Gather", whole, g.const(np.int64(at)))
                one = g.axes("Unsqueeze", one, [0])
            elif g.opset >= 10:
                one = g.op("Slice", whole, g.ints([at]), g.ints([at + 1]))
            else:
                one = g.op("Slice", whole, starts=[at], ends=[at + 1])
            parts.append(one)
        else:
            parts.append(g.ints([d]))
    return g.op("Concat", *parts, axis=0)


@step(3)
def flatten(g):
    x = g.value(2, 3, 4)
    if not x:
        return
    axis = int(g.rng.integers(x.rank + 1)) if g.chance(0.3) else 1
    a, b = int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))
    g.out(g.op("Flatten", x, axis=axis), (a, b))


@step(5)
def transpose(g):
    x = g.value()
    perm = [int(i) for i in g.rng.permutation(x.rank)]
    if g.chance(0.1):
        g.out(g.op("Transpose", x), x.shape[::-1])
        return
    g.out(g.op("Transpose", x, perm=perm), [x.shape[i] for i in perm])


@step(3)
def squeeze(g):
    x = g.value()
    ones = [i for i, d in enumerate(x.shape) if d == 1]
    if ones and x.rank > 1 and g.chance(0.6):
        a = g.pick(ones)
        g.out(g.axes("Squeeze", x, [a]), x.shape[:a] + x.shape[a + 1:])
    elif x.rank < 5:
        a = int(g.rng.integers(x.rank + 1))
        g.out(g.axes("Unsqueeze", x, [a]), x.shape[:a] + (1,) + x.shape[a:])


@step(2.5)
def expand(g):
    x = g.value()
    to = [g.pick([d, g.size(2, 3)]) if d == 1 else g.pick([d, d, 1])
          for d in x.shape]
    shape = [max(a, b) for a, b in zip(to, x.shape)]
    if g.chance(0.3) and x.rank < 4:
        k = g.size(1, 3)
        to, shape = [k] + to, [k] + shape
    elif g.chance(0.2):
        while to and to[0] == 1:
            to = to[1:]
    if not to:
        return
    if g.chance(0.3):
        g.out(g.op("Expand", x, computed(g, x, to)), shape)
        return
    g.out(g.op("Expand", x, g.ints(to)), shape)


@step(1.5)
def tile(g):
    x = g.value()
    by = [g.pick([1, 1, 1, 2]) for _ in x.shape]
    g.out(g.op("Tile", x, g.ints(by)), [a * b for a, b in zip(x.shape, by)])


@step(2)
def depth_to_space(g):
    x = g.value(4)
    if not x or g.dtype == "f2":
        return
    n, c, h, w = x.shape
    if c % 4 == 0 and g.chance(0.7):
        attrs = {"blocksize": 2}
        if g.opset >= 11 and g.chance(0.5):
            attrs["mode"] = "CRD"
        g.out(g.op("DepthToSpace", x, **attrs), (n, c // 4, 2 * h, 2 * w))
    elif h % 2 == 0 and w % 2 == 0 and g.dtype == "f4":
        g.out(g.op("SpaceToDepth", x, blocksize=2), (n, 4 * c, h // 2, w // 2))


@step(1.5, 11)
def resize(g):
    x = g.value(4)
    if not x or g.dtype != "f4":
        return
    n, c, h, w = x.shape
    attrs = {"mode": g.pick(["nearest", "linear"])}
    if g.chance(0.2):
        c2 = c if g.chance(0.5) else 2 * c
        attrs["mode"] = "nearest"
        g.out(g.op("Resize", x, "", "", g.ints([n, c2, h, w]), **attrs),
              (n, c2, h, w))
    elif g.chance(0.6):
        g.out(g.op("Resize", x, "", "", g.ints([n, c, 2 * h, 2 * w]), **attrs),
              (n, c, 2 * h, 2 * w))
    else:
        s = g.const(np.array([1, 1, 2, 2], "f4"))
        g.out(g.op("Resize", x, "", s, **attrs), (n, c, 2 * h, 2 * w))


# ---- over axes ----

@step(2)
def pool(g):
    x = g.value(4)
    if not x or g.dtype == "f8" or min(x.shape[2:]) < 2:
        return
    n, c, h, w = x.shape
    kind = g.pick(["MaxPool", "AveragePool", "LpPool"])
    if g.dtype == "f2":
        kind = "MaxPool"
    y = g.op(kind, x, kernel_shape=[2, 2], strides=[2, 2])
    g.out(y, (n, c, h // 2, w // 2))


@step(2)
def global_pool(g):
    x = g.value(4)
    if not x or g.dtype == "f2":
        return
    kind = g.pick(["GlobalAveragePool", "GlobalMaxPool"])
    g.out(g.op(kind, x), x.shape[:2] + (1, 1))


@step(4)
def reduce(g):
    x = g.value()
    kind = g.pick(["ReduceSum", "ReduceSum", "ReduceMean", "ReduceMax",
                   "ReduceL1", "ReduceL2", "ReduceSumSquare"])
    if g.dtype == "f2":
        kind = g.pick(["ReduceSum", "ReduceMean"])
    axes = sorted(int(a) for a in
                  g.rng.permutation(x.rank)[:g.size(1, min(2, x.rank))])
    keep = g.chance(0.5) or len(axes) == x.rank
    shape = [1 if i in axes else d for i, d in enumerate(x.shape)
             if keep or i not in axes]
    if g.opset >= 11 and g.chance(0.3):
        axes = [a - x.rank for a in axes]
    since = 13 if kind == "ReduceSum" else 18
    if g.opset >= since:
        y = g.op(kind, x, g.ints(axes), keepdims=int(keep))
    else:
        y = g.op(kind, x, axes=axes, keepdims=int(keep))
    g.out(y, shape)


@step(2)
def softmax(g):
    x = g.value()
    axis = int(g.rng.integers(x.rank))
    kind = g.pick(["Softmax", "Softmax", "LogSoftmax"])
    if g.dtype == "f2":
        return
    g.out(g.op(kind, x, axis=axis), x.shape)


@step(2, 17)
def layer_norm(g):
    x = g.value(2, 3, 4)
    if not x or x.shape[-1] < 2:
        return
    axis = -1 if g.chance(0.7) else x.rank - 2
    shape = x.shape[axis:]
    g.out(g.op("LayerNormalization", x, g.weight(*shape), g.weight(*shape),
               axis=axis), x.shape)


@step(1)
def lp_norm(g):
    x = g.value(2, 3, 4)
    if not x or g.dtype == "f2":
        return
    g.out(g.op("LpNormalization", x, axis=int(g.rng.integers(x.rank)),
               p=g.size(1, 2)), x.shape)


@step(1.5)
def instance_norm(g):
    x = g.value(4)
    if not x or g.dtype != "f4" or x.shape[2] * x.shape[3] < 4:
        return
    c = x.shape[1]
    g.out(g.op("InstanceNormalization", x, g.weight(c), g.weight(c)), x.shape)


@step(1.5, 21)
def group_norm(g):
    x = g.value(4)
    if not x or g.dtype != "f4" or x.shape[2] * x.shape[3] < 4:
        return
    c = x.shape[1]
    groups = g.pick([d for d in range(1, c + 1) if c % d == 0])
    g.out(g.op("GroupNormalization", x, g.weight(c), g.weight(c),
               num_groups=groups), x.shape)


@step(0.7, 14)
def odd(g):
    """Operators that are seldom used, or that see positions."""
    x = g.value(2, 3)
    if not x or g.dtype != "f4":
        return
    kind = g.pick(["CumSum", "Trilu", "ArgMax", "GatherElements", "OneHot"])
    axis = int(g.rng.integers(x.rank))
    if kind == "CumSum":
        g.out(g.op(kind, x, g.const(np.int64(axis))), x.shape)
    elif kind == "Trilu":
        g.out(g.op(kind, x, upper=g.size(0, 1)), x.shape)
    elif kind == "ArgMax":
        y = g.op("Cast", g.op(kind, x, axis=axis), to=TensorProto.FLOAT)
        g.out(y, x.shape[:axis] + (1,) + x.shape[axis + 1:])
    elif kind == "GatherElements":
        at = g.rng.integers(0, x.shape[axis], x.shape)
        g.out(g.op(kind, x, g.const(at.astype("i8")), axis=axis), x.shape)


@step(1.5)
def attention(g):
    """Heads as exporters write them."""
    x = g.value(3)
    if not x:
        return
    b, s, w = x.shape
    h, d = g.size(2, 3), g.size(2, 3)

    def split_heads():
        y = g.op("MatMul", x, g.weight(w, h * d))
        if g.chance(0.5):
            y = g.op("Add", y, g.weight(h * d))
        to = g.pick([[0, 0, h, d], [b, s, h, d], [0, -1, h, d], [0, 0, h, -1]])
        y = g.op("Reshape", y, g.ints(to))
        return g.op("Transpose", y, perm=[0, 2, 1, 3])

    q, k, v = split_heads(), split_heads(), split_heads()
    a = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]))
    if g.dtype != "f2":
        a = g.op("Softmax", a, axis=3)
    o = g.op("Transpose", g.op("MatMul", a, v), perm=[0, 2, 1, 3])
    o = g.op("Reshape", o, g.ints(g.pick([[0, 0, h * d], [0, 0, -1],
                                          [b, s, h * d]])))
    g.out(g.op("MatMul", o, g.weight(h * d, w)), x.shape)


# ---- whole graphs ----

def project(g, x):
    """Ends in few numbers, so that what comes before can shrink."""
    if x.rank == 4 and g.dtype == "f4" and g.chance(0.5):
        return g.op("Conv", x, g.weight(2, x.shape[1], 1, 1), g.weight(2))
    if x.rank == 2 and g.chance(0.5):
        return g.op("Gemm", x, g.weight(3, x.shape[1]), g.weight(3), transB=1)
    if x.rank > 2 and g.chance(0.4):
        n = int(np.prod(x.shape[1:]))
        f = g.op("Flatten", x) if g.chance(0.5) else g.op(
            "Reshape", x, g.ints([x.shape[0], -1]))
        return g.op("MatMul", f, g.weight(n, 3))
    if x.rank > 1:
        return g.op("MatMul", x, g.weight(x.shape[-1], 3))
    return x.name


def grow(rng, opset, dtype, is_open, steps):
    """A graph with that many steps; None where nothing came of it."""
    g = Graph(rng, opset, dtype, is_open)
    rank = g.pick([4, 4, 3, 2]) if dtype == "f4" else g.pick([3, 2])
    shapes = {4: (g.size(1, 2), 3, g.size(2, 5), g.size(2, 5)),
              3: (2, g.size(2, 4), g.size(2, 5)), 2: (g.size(1, 3), 4)}
    g.input(*shapes[rank])
    (conv if rank == 4 else linear)(g)
    some = [s for s in STEPS if s[1] <= opset]
    p = np.array([s[0] for s in some])
    for _ in range(steps):
        at = rng.choice(len(some), p=p / p.sum())
        some[at][2](g)
        g.values = [v for v in g.values
                    if v.rank and np.prod(v.shape) <= 3000]
    used = {i for n in g.nodes for i in n.input}
    ends = [v for v in g.values if v.name not in used and v.name[0] == "v"]
    for v in ends[-4:]:
        g.outputs.append(project(g, v))
    if g.chance(0.15):
        extra = g.value()
        if extra.name not in g.outputs and extra.name[0] == "v":
            g.outputs.append(extra.name)
    return g if g.outputs else None


def check(model):
    onnx.checker.check_model(model)
