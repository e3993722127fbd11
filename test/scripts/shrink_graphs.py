#!/usr/bin/env python3
"""Random graphs of the operators that networks are made of, for shrink_fuzz.py:
what they are put together with. The steps are in shrink_layers.py and
shrink_moves.py, whole graphs in shrink_grow.py.

A graph grows from its inputs by steps: each takes values that are there and
adds an operator or a few. Sizes are tiny, so that they meet by chance, and
what a step needs that is not there is a constant, new or one that has been used
before. Whoever builds a model gets the sizes that its inputs are to have."""
import numpy as np
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

    def microsoft(self, kind, *inputs, outputs=1, **attrs):
        names = self.op(kind, *inputs, outputs=outputs, **attrs)
        self.nodes[-1].domain = "com.microsoft"
        return names

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
            if array.ndim == 1 and self.opset >= 12 and self.chance(0.1):
                kind = {"f": "value_floats", "i": "value_ints"}.get(
                    array.dtype.kind if array.itemsize * 2 ** (
                        array.dtype.kind == "f") == 8 else "")
                if kind:
                    nodes.append(helper.make_node("Constant", [], [name],
                                                  **{kind: array.tolist()}))
                    continue
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
            opset_imports=[helper.make_opsetid("", self.opset),
                           helper.make_opsetid("com.microsoft", 1)])
