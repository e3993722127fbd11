"""Folded constants are what ONNX Runtime computes.

usage: check_folds.py SCRATCH_FOLDER

One model for each operator and set of constants; the operator must become a
constant (or must stay), and the outputs are the same, bit by bit."""
import json
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import helper as h
from onnx import numpy_helper as nh

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..",
                                "scripts"))
import ort_same  # noqa: E402

RNG = np.random.default_rng(5)
I8, I32, I64, U8 = np.int8, np.int32, np.int64, np.uint8
F32, F64 = np.float32, np.float64


def model(op, *consts, opset=17, outputs=1, **attrs):
    """The operator on constants, its results behind Identity: an output."""
    names, inits = [], []
    for i, c in enumerate(consts):
        names.append("" if c is None else f"c{i}")
        if c is not None:
            inits.append(nh.from_array(np.asarray(c), f"c{i}"))
    outs = [f"r{i}" for i in range(outputs)]
    nodes = [h.make_node(op, names, outs, **attrs)]
    nodes += [h.make_node("Identity", [o], [f"y{i}"])
              for i, o in enumerate(outs)]
    graph = h.make_graph(nodes, "g", [], [onnx.ValueInfoProto(name=f"y{i}")
                                          for i in range(outputs)], inits)
    return h.make_model(graph, ir_version=8,
                        opset_imports=[h.make_opsetid("", opset)])


def ints(*v, dtype=I64):
    return np.array(v, dtype)


def rand(*shape, dtype=F32):
    if np.dtype(dtype).kind == "f":
        return RNG.standard_normal(shape).astype(dtype)
    if dtype == np.bool_:
        return RNG.random(shape) < 0.5
    return RNG.integers(0 if np.dtype(dtype).kind == "u" else -9, 9,
                        shape).astype(dtype)


def fold():
    """Models to fold."""
    x = rand(2, 3, 4)
    for op in ("Add", "Sub", "Mul", "Div"):
        yield model(op, rand(2, 3), rand(3))
        yield model(op, rand(2, 1, dtype=F64), rand(1, 3, dtype=F64))
    for op in ("Add", "Sub", "Mul"):
        for t in (I32, I64):
            yield model(op, rand(4, 1, dtype=t), rand(3, dtype=t))
    yield model("Mul", F32([1e-30, 1e30]), F32([1e-30, 1e30]))
    yield model("Div", F32([1, 1e-38, 3]), F32([0, 1e5, 7]))
    yield model("Div", ints(7, -8, 9, 7), ints(2, -3, 3, -2))
    yield model("Mod", ints(7, -7, 7, -7), ints(3, 3, -3, -3))
    yield model("Mod", ints(7, -7, 7, -7), ints(3, 3, -3, -3), fmod=1)
    for op in ("Min", "Max"):
        yield model(op, rand(5, dtype=I64), rand(5, dtype=I64))
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        yield model(op, ints(1, 2, 3), ints(2, 2, 2))
        yield model(op, F32([1, np.nan, 0.0]), F32([1, np.nan, -0.0]))
    for op in ("And", "Or", "Xor"):
        yield model(op, rand(4, dtype=np.bool_), rand(4, dtype=np.bool_))
    yield model("Not", rand(4, dtype=np.bool_))
    yield model("Neg", ints(1, -2, 0, dtype=I32))
    yield model("Abs", ints(1, -2, 0))
    yield model("Sqrt", np.abs(rand(7)))
    yield model("Cast", rand(5), to=onnx.TensorProto.DOUBLE)
    yield model("Cast", rand(5), to=onnx.TensorProto.FLOAT16)
    yield model("Cast", F32([1.5, -2.9, 0]), to=onnx.TensorProto.INT64)
    yield model("Cast", ints(1, -2, 1 << 40), to=onnx.TensorProto.FLOAT)
    yield model("Cast", ints(0, 5), to=onnx.TensorProto.BOOL)
    yield model("Cast", np.array([True, False]), to=onnx.TensorProto.INT32)
    yield model("Reshape", x, ints(4, -1))
    yield model("Reshape", x, ints(0, 0, 2, 2))
    yield model("Flatten", x, axis=2)
    yield model("Flatten", x, axis=-1)
    yield model("Squeeze", rand(1, 2, 1))
    yield model("Squeeze", rand(1, 2, 1), ints(-1))
    yield model("Squeeze", rand(1, 2, 1), opset=11, axes=[0])
    yield model("Unsqueeze", x, ints(0, -1))
    yield model("Transpose", x)
    yield model("Transpose", x, perm=[1, 2, 0])
    yield model("Slice", x, ints(1), ints(1 << 62), ints(2))
    yield model("Slice", x, ints(-1, 0), ints(-9, 9), ints(2, 1), ints(-2, 2))
    yield model("Slice", x, starts=[0, -2], ends=[1, 9], axes=[0, 2], opset=9)
    yield model("Gather", x, ints(1, -1), axis=1)
    yield model("Gather", ints(5, 6, 7), np.array(2, I64))
    yield model("Concat", rand(2, 3), rand(2, 1), axis=-1)
    yield model("Split", rand(6, 2), outputs=2, axis=0)
    yield model("Split", rand(6, 2), ints(1, 5), outputs=2, axis=0)
    yield model("Expand", rand(3, 1), ints(2, 1, 4))
    yield model("Tile", rand(2, 3), ints(2, 3))
    yield model("Where", rand(3, dtype=np.bool_), rand(2, 3, dtype=I64),
                rand(3, dtype=I64))
    yield model("ConstantOfShape", ints(2, 3))
    yield model("ConstantOfShape", ints(2, 0),
                value=nh.from_array(ints(7)))
    yield model("Range", np.array(3, I64), np.array(-8, I64),
                np.array(-2, I64))
    yield model("Range", np.array(3, I32), np.array(2, I32), np.array(1, I32))
    yield model("ReduceSum", ints(1, 2, 3), ints(0), keepdims=0)
    yield model("ReduceProd", ints(4, 5, 6), keepdims=1)
    yield model("ReduceMin", ints(4, 5, 6), keepdims=0)
    yield model("ReduceMax", ints(4, 5, 6, dtype=I32), keepdims=0)
    yield model("Shape", x)
    yield model("Shape", x, start=1, opset=17)
    yield model("Size", x)


def leave():
    """Models to leave: the runtime's choice, or too big."""
    yield model("Add", F32([np.inf]), F32([-np.inf]))
    yield model("Cast", F32([3e9]), to=onnx.TensorProto.INT32)
    yield model("Exp", rand(3))
    yield model("Sqrt", F32([-1.0]))
    yield model("ConstantOfShape", ints(100, 100))
    yield model("Expand", rand(1), ints(1000))
    yield model("Tile", rand(2), ints(1000))
    yield model("Range", np.array(0, I64), np.array(10000, I64),
                np.array(1, I64))


def check(proto, must, scratch):
    source = os.path.join(scratch, "in.onnx")
    result = os.path.join(scratch, "out.onnx")
    onnx.save(proto, source)
    run = subprocess.run(["prune-opt", source, "--fold-constants", "--dce",
                          "--stats=json", "-o", result],
                         capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr
    folded = json.loads(run.stderr)[0]["stats"]["folded"] > 0
    if folded != must:
        return "was folded" if folded else "was not folded"
    return ort_same.difference(source, result, odd=(False,))


def main():
    scratch = sys.argv[1]
    os.makedirs(scratch, exist_ok=True)
    bad = count = 0
    for must, models in ((True, fold()), (False, leave())):
        for proto in models:
            count += 1
            what = check(proto, must, scratch)
            if what:
                bad += 1
                print(onnx.printer.to_text(proto.graph.node[0]), what)
    print(f"{count - bad} passed, {bad} failed")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
