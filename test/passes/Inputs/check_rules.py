"""Both sides of every rewrite rule, run by ONNX Runtime.

usage: check_rules.py SCRATCH_FOLDER [RULE...]

For each rule there are models that it must rewrite and models that look alike
and must be left alone; in both cases the outputs stay the same, bit by bit,
for ordinary numbers and for zeros of both signs, infinities and NaN. A rule
without a model fails the test. (ONNX Runtime's Where turns -0 into +0.)"""
import json
import os
import re
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..",
                                "scripts"))
import ort_same  # noqa: E402

F, D, H, I, L, B = (T.FLOAT, T.DOUBLE, T.FLOAT16, T.INT32, T.INT64, T.BOOL)


def model(nodes, inputs, consts=(), opset=17, out="y"):
    """inputs: name -> (dtype, shape); consts: name -> array."""
    ins = [h.make_tensor_value_info(k, d, s) for k, (d, s) in inputs.items()]
    inits = [nh.from_array(np.asarray(v), k) for k, v in dict(consts).items()]
    graph = h.make_graph(nodes, "g", ins, [onnx.ValueInfoProto(name=out)],
                         inits)
    return h.make_model(graph, ir_version=8,
                        opset_imports=[h.make_opsetid("", opset)])


def n(op, ins, out="y", **attrs):
    return h.make_node(op, ins if isinstance(ins, list) else [ins],
                       out if isinstance(out, list) else [out], **attrs)


X23 = {"x": (F, [2, 3])}
XI = {"x": (L, [2, 3])}
XB = {"x": (B, [2, 3])}
F1 = np.float32


def unary_twice(op, inputs=None, opset=17):
    inputs = inputs or X23
    p = n("Flatten", "x", "p", axis=0)
    return [model([p, n(op, "p", "a"), n(op, "a")], inputs, opset=opset),
            model([p, n(op, "p", "a"), n(op, "a", "b"), n(op, "b")], inputs,
                  opset=opset)]


def with_const(op, good, bad, x=None, dtype=F1, swap=False):
    """good and bad values of the constant, scalars or arrays."""
    x = x or X23
    node = n(op, ["c", "p"]) if swap else n(op, ["p", "c"])
    pre = n("Neg", "x", "p") if x != XB else n("Not", "x", "p")

    def make(v):
        return model([pre, node], x, {"c": np.asarray(v, dtype)})
    return [make(v) for v in good], [make(v) for v in bad]


def variadic_one(op):
    return ([model([n("Neg", "x", "p"), n(op, "p")], X23)],
            [model([n("Neg", "x", "p"), n(op, ["p", "x"])], X23)])


def both_same(op, x=X23, pre="Neg"):
    return ([model([n(pre, "x", "p"), n(op, ["p", "p"])], x)],
            [model([n(pre, "x", "p"), n(op, ["p", "x"])], x)])


def ints(*v):
    return np.array(v, np.int64)


def view(nodes, consts=(), x=(2, 3), opset=17):
    return model([n("Neg", "x", "p")] + nodes, {"x": (F, list(x))}, consts,
                 opset)


def cast(*types, x=F, shape=(3, 4)):
    """From p, which is x in another shape: not an input."""
    names = ["p"] + [f"c{i}" for i in range(len(types) - 1)] + ["y"]
    return model([n("Flatten", "x", "p", axis=0)]
                 + [n("Cast", a, b, to=t)
                    for a, b, t in zip(names, names[1:], types)],
                 {"x": (x, list(shape))})


CASES = {
    "identity": ([view([n("Identity", "p", "q"), n("Relu", "q")])],
                 [model([n("Identity", "x")], X23)]),
    "dropout": (
        [view([n("Dropout", "p", "q"), n("Relu", "q")]),
         view([n("Dropout", ["p", "r", "t"], "q"), n("Relu", "q")],
              {"r": F1(.5), "t": np.array(False)}),
         view([n("Dropout", "p", "q", ratio=0.3), n("Relu", "q")], opset=10)],
        [view([n("Dropout", "p", ["q", "m"]), n("Cast", "m", "f", to=F),
               n("Add", ["q", "f"])])]),
    "concat-one": ([view([n("Concat", "p", axis=1)])],
                   [view([n("Concat", ["p", "p"], axis=1)])]),
    "split-one": ([view([n("Split", "p", axis=1)])],
                  [view([n("Split", "p", ["a", "b"], axis=0),
                         n("Add", ["a", "b"])])]),
    "reshape-same": (
        [view([n("Reshape", ["p", "s"])], {"s": ints(2, 3)}),
         view([n("Reshape", ["p", "s"])], {"s": ints(0, -1)}),
         view([n("Reshape", ["p", "s"])], {"s": ints("0", 3)}, x=("b", 3))],
        [view([n("Reshape", ["p", "s"])], {"s": ints(3, 2)}),
         view([n("Reshape", ["p", "s"])], {"s": ints(-1, 3)}, x=(None, 3))]),
    "flatten-same": ([view([n("Flatten", "p")])],
                     [view([n("Flatten", "p", axis=0)])]),
    "expand-same": ([view([n("Expand", ["p", "s"])], {"s": ints(2, 1)}),
                     view([n("Expand", ["p", "s"])], {"s": ints(3)})],
                    [view([n("Expand", ["p", "s"])], {"s": ints(4, 2, 1)})]),
    "tile-same": ([view([n("Tile", ["p", "s"])], {"s": ints(1, 1)})],
                  [view([n("Tile", ["p", "s"])], {"s": ints(1, 2)})]),
    "slice-whole": (
        [view([n("Slice", ["p", "s", "e", "a"])],
              {"s": ints(0), "e": ints(2**62), "a": ints(1)}),
         view([n("Slice", ["p", "s", "e", "a", "t"])],
              {"s": ints(0, -2), "e": ints(3, 9), "a": ints(1, 0),
               "t": ints(1, 1)}),
         view([n("Slice", ["p", "s", "e", "a", "t"])],
              {"s": ints(0), "e": ints(9), "a": ints(1), "t": ints(5)},
              x=(2, 1)),
         view([n("Slice", "p", starts=[0], ends=[3], axes=[1])], opset=9)],
        [view([n("Slice", ["p", "s", "e", "a", "t"])],
              {"s": ints(-1), "e": ints(-9), "a": ints(1), "t": ints(-1)}),
         view([n("Slice", ["p", "s", "e", "a"])],
              {"s": ints(1), "e": ints(3), "a": ints(1)})]),
    "pad-none": (
        [view([n("Pad", ["p", "s"])], {"s": ints(0, 0, 0, 0)}),
         view([n("Pad", "p", pads=[0, 0, 0, 0])], opset=10),
         view([n("Pad", ["p", "s", "", "a"], mode="edge")],
              {"s": ints(0, 0), "a": ints(1)}, opset=18)],
        [view([n("Pad", ["p", "s"])], {"s": ints(0, 0, 1, 0)}),
         view([n("Pad", ["p", "s"])], {"s": ints(0, 0, -1, 0)})]),
    "transpose-none": ([view([n("Transpose", "p", perm=[0, 1])])],
                       [view([n("Transpose", "p", perm=[1, 0])]),
                        view([n("Transpose", "p")])]),
    "squeeze-unsqueeze": (
        [view([n("Unsqueeze", ["p", "a"], "q"), n("Squeeze", ["q", "b"])],
              {"a": ints(0, 3), "b": ints(3, 0)}),
         view([n("Unsqueeze", "p", "q", axes=[1]),
               n("Squeeze", "q", axes=[1])], opset=11)],
        [view([n("Unsqueeze", ["p", "a"], "q"), n("Squeeze", ["q", "b"])],
              {"a": ints(0), "b": ints(1)}, x=(1, 3)),
         view([n("Unsqueeze", ["p", "a"], "q"), n("Squeeze", ["q"])],
              {"a": ints(0)}, x=(1, 3))]),
    "unsqueeze-squeeze": (
        [view([n("Squeeze", ["p", "a"], "q"), n("Unsqueeze", ["q", "a"])],
              {"a": ints(0, 2)}, x=(1, 3, 1))],
        [view([n("Squeeze", ["p", "a"], "q"), n("Unsqueeze", ["q", "b"])],
              {"a": ints(0), "b": ints(1)}, x=(1, 3, 2))]),
    "transpose-transpose": (
        [view([n("Transpose", "p", "q", perm=[2, 0, 1]),
               n("Transpose", "q", perm=[1, 0, 2])], x=(2, 3, 4)),
         view([n("Transpose", "p", "q", perm=[2, 0, 1]), n("Transpose", "q")],
              x=(2, 3, 4)),
         view([n("Transpose", "p", "q"), n("Transpose", "q", "r"),
               n("Transpose", "r")], x=(2, 3, 4))],
        [view([n("Transpose", "p", "q"), n("Relu", "q", "r"),
               n("Transpose", "r")])]),
    "reshape-reshape": (
        [view([n("Reshape", ["p", "s"], "q"), n("Reshape", ["q", "t"])],
              {"s": ints(6), "t": ints(3, -1)}),
         view([n("Reshape", ["p", "s"], "q"),
               n("Reshape", ["q", "t"], allowzero=1)],
              {"s": ints(0, 0), "t": ints(0, 5)}, x=(0, 3))],
        [view([n("Reshape", ["p", "s"], "q"), n("Reshape", ["q", "t"])],
              {"s": ints(3, 2), "t": ints(0, -1)})]),
    "reshape-flatten": (
        [view([n("Flatten", "p", "q"), n("Reshape", ["q", "t"])],
              {"t": ints(4, 6)}, x=(2, 3, 4))],
        [view([n("Flatten", "p", "q"), n("Reshape", ["q", "t"])],
              {"t": ints(0, 3, 4)}, x=(2, 3, 4))]),
    "reshape-squeeze": (
        [view([n("Squeeze", "p", "q"), n("Reshape", ["q", "t"])],
              {"t": ints(3, 2)}, x=(1, 2, 3))],
        [view([n("Squeeze", "p", "q"), n("Reshape", ["q", "t"])],
              {"t": ints(0, 3, 1)}, x=(1, 2, 3))]),
    "reshape-unsqueeze": (
        [view([n("Unsqueeze", ["p", "a"], "q"), n("Reshape", ["q", "t"])],
              {"a": ints(1), "t": ints(3, 2)})],
        [view([n("Unsqueeze", ["p", "a"], "q"), n("Reshape", ["q", "t"])],
              {"a": ints(0), "t": ints(0, -1)})]),
    "cast-same": ([cast(F)], [cast(D)]),
    "cast-like-same": (
        [model([n("Neg", "x", "p"), n("CastLike", ["p", "z"])],
               {"x": (F, [2]), "z": (F, [1])})],
        [model([n("CastLike", ["x", "z"])], {"x": (F, [2]), "z": (I, [1])})]),
    "cast-cast": (
        [cast(D, F), cast(D, H), cast(F, D, x=H), cast(L, I, x=I),
         cast(I, T.INT8, x=T.UINT8), cast(I, B, x=B), cast(F, T.INT8,
                                                         x=T.INT8),
         cast(L, T.UINT16, x=I), cast(F, B, x=B)],
        [cast(H, F), cast(I, F), cast(F, I, x=L), cast(D, I, x=F),
         cast(B, F), cast(F, D, x=L), cast(T.UINT8, I, x=T.INT8)]),
    "mul-one": tuple(map(list.__add__, with_const(
        "Mul", [1, [1], [1, 1, 1], [[1, 1, 1]]],
        [2, [1, 1, 2], [[[1]]], [[[1]], [[1]]]]),
        with_const("Mul", [1], [2], swap=True))),
    "div-one": with_const("Div", [1, [[1]]], [2, -1]),
    "pow-one": with_const("Pow", [1], [2]),
    "sub-zero": with_const("Sub", [0, [0, 0, 0]], [-0.0, 1]),
    "add-zero": tuple(map(list.__add__, with_const("Add", [-0.0], [0, 1]),
                          with_const("Add", [0], [1], XI, np.int64))),
    "and-true": with_const("And", [True], [False], XB, np.bool_),
    "or-false": with_const("Or", [False], [True], XB, np.bool_),
    "relu-relu": (unary_twice("Relu"), [model(
        [n("Relu", "x", "a"), n("Abs", "a")], X23)]),
    "abs-abs": (unary_twice("Abs") + unary_twice("Abs", XI), []),
    "floor-floor": (unary_twice("Floor"), []),
    "ceil-ceil": (unary_twice("Ceil"), []),
    "round-round": (unary_twice("Round"), []),
    "sign-sign": (unary_twice("Sign"), []),
    "not-not": (unary_twice("Not", XB), []),
    "neg-neg": (unary_twice("Neg") + unary_twice("Neg", XI), []),
    "bitwise-not-not": (unary_twice("BitwiseNot", XI, 18), []),
    "sum-one": variadic_one("Sum"),
    "mean-one": variadic_one("Mean"),
    "max-one": variadic_one("Max"),
    "min-one": variadic_one("Min"),
    "max-same": both_same("Max"),
    "min-same": both_same("Min"),
    "and-same": both_same("And", XB, "Not"),
    "or-same": both_same("Or", XB, "Not"),
    "clip-open": ([model([n("Neg", "x", "p"), n("Clip", "p")], XI)],
                  [view([n("Clip", "p")]), view([n("Clip", "p")], opset=10),
                   model([n("Neg", "x", "p"), n("Clip", ["p", "c"])], XI,
                         {"c": np.int64(0)})]),
    "where-true": (
        [view([n("Where", ["c", "p", "x"])], {"c": np.array([True])})],
        [view([n("Where", ["c", "p", "x"])], {"c": np.array([True, False,
                                                             True])}),
         view([n("Where", ["c", "p", "x"])], {"c": np.full((2, 2, 3),
                                                           True)})]),
    "where-false": (
        [view([n("Where", ["c", "x", "p"])], {"c": np.array([False] * 3)})],
        [view([n("Where", ["c", "x", "p"])], {"c": np.array([True] * 3)})]),
    "where-same": (
        [model([n("Neg", "x", "p"), n("Where", ["k", "p", "p"])],
               {"x": (F, [2, 3]), "k": (B, [3])})],
        [model([n("Neg", "x", "p"), n("Where", ["k", "p", "p"])],
               {"x": (F, [2, 3]), "k": (B, [2, 2, 3])})]),
}


def rules():
    text = subprocess.run(["prune-opt", "--emit-docs=rules"],
                          capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\| `([a-z-]+)` \|", text, re.M)


def check(rule, proto, must, scratch):
    """What is wrong with the rule on this model, or None."""
    source = os.path.join(scratch, "in.onnx")
    result = os.path.join(scratch, "out.onnx")
    onnx.save(proto, source)
    run = subprocess.run(
        ["prune-opt", source, "--infer-shapes",
         f"--canonicalize=only=[{rule}]", "--stats=json", "-o", result],
        capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr
    times = json.loads(run.stderr)[1]["stats"]["rewrites"]
    if (times > 0) != must:
        return f"applied {times} times"
    return ort_same.difference(source, result,
                               zeros=not rule.startswith("where-"))


def main():
    scratch, chosen = sys.argv[1], sys.argv[2:]
    os.makedirs(scratch, exist_ok=True)
    bad = count = 0
    for rule in rules():
        if chosen and rule not in chosen:
            continue
        good, alike = CASES.get(rule, ([], []))
        if not good:
            print(f"{rule}: no model tests it")
            bad += 1
        for must, models in ((True, good), (False, alike)):
            for i, proto in enumerate(models):
                count += 1
                what = check(rule, proto, must, scratch)
                if what:
                    bad += 1
                    kind = "rewrite" if must else "leave"
                    print(f"{rule}, model {i} to {kind}: {what}")
    print(f"{count - bad} passed, {bad} failed")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
