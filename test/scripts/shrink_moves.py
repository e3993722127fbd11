"""Steps of shrink_graphs.py: what moves elements, and what runs over axes."""
import numpy as np
from onnx import TensorProto, numpy_helper

from shrink_graphs import FLOATS, step

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
    roi = none = ""
    if g.opset == 11:
        roi = none = g.const(np.zeros(0, "f4"))
    if g.chance(0.2):
        c2 = c if g.chance(0.5) else 2 * c
        attrs["mode"] = "nearest"
        g.out(g.op("Resize", x, roi, none, g.ints([n, c2, h, w]), **attrs),
              (n, c2, h, w))
    elif g.chance(0.6):
        g.out(g.op("Resize", x, roi, none, g.ints([n, c, 2 * h, 2 * w]), **attrs),
              (n, c, 2 * h, 2 * w))
    else:
        s = g.const(np.array([1, 1, 2, 2], "f4"))
        g.out(g.op("Resize", x, roi, s, **attrs), (n, c, 2 * h, 2 * w))


@step(0.8)
def top_k(g):
    x = g.value()
    if g.opset < 11 or g.dtype == "f2":
        return
    axis = int(g.rng.integers(x.rank))
    k = g.size(1, x.shape[axis])
    y, _ = g.op("TopK", x, g.ints([k]), outputs=2, axis=axis)
    g.out(y, x.shape[:axis] + (k,) + x.shape[axis + 1:])


@step(1, 9)
def filled(g):
    """Zeros or ones of a shape that is computed."""
    x = g.value()
    t = numpy_helper.from_array(np.array([g.pick([0, 1])], g.dtype))
    shape = g.op("Shape", x) if g.chance(0.5) else g.ints(x.shape)
    y = g.op("ConstantOfShape", shape, value=t)
    g.out(g.op(g.pick(["Add", "Mul"]), x, y), x.shape)


@step(0.7, 9)
def sized(g):
    """A number that is computed from a size: 1 / sqrt(d)."""
    x = g.value()
    at = int(g.rng.integers(x.rank))
    n = g.op("Gather", g.op("Shape", x), g.const(np.int64(at)))
    n = g.op("Cast", n, to=FLOATS[g.dtype])
    g.out(g.op("Div", x, n), x.shape)


@step(1, 13)
def scatter(g):
    x = g.value(2, 3)
    if not x or g.dtype == "f2":
        return
    if g.chance(0.5):
        at = np.array([[0], [x.shape[0] - 1]][:1], np.int64)
        g.out(g.op("ScatterND", x, g.const(at), g.weight(1, *x.shape[1:])),
              x.shape)
    else:
        at = np.array([[0, 0], [x.shape[0] - 1, 1 % x.shape[1]]], np.int64)
        g.out(g.op("GatherND", x, g.const(at)), (2,) + x.shape[2:])


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


@step(0.5)
def pool_indices(g):
    """Where elements were: numbers that count channels."""
    x = g.value(4)
    if not x or g.dtype != "f4" or min(x.shape[2:]) < 2:
        return
    n, c, h, w = x.shape
    y, at = g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], outputs=2)
    g.out(y, (n, c, h // 2, w // 2))
    at = g.op("Cast", at, to=TensorProto.FLOAT)
    g.out(g.op("Sin", at), (n, c, h // 2, w // 2))


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
