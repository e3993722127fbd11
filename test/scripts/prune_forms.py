#!/usr/bin/env python3
"""Weights in every form that exporters give them, pruned.

    prune_forms.py FOLDER [NAME PART…]

Each model of FORMS has its weight behind or inside something. It is pruned 2:4
and 80 % unstructured by magnitude; the weight that the operator sees, which
ONNX Runtime gives as an output, must have so many zeros, and our compiled model
must agree with ONNX Runtime. Of each model of REFUSED nothing may change, and
a remark must name the weight and say why. Prints a line for each, and how many
are wrong."""
import re
import subprocess
import sys

import numpy as np
import onnx
import onnx.parser

from exported import constant, floats, model, report
from onnx_compare import tensors
from ort_compare import error, session

RUNS = {"2:4": (("--score-magnitude", "--select-nm=n=2,m=4"), 0.5),
        "80 %": (("--score-magnitude",
                  "--select-unstructured=sparsity=0.8,scope=tensor"), 0.8)}
FORMS, REFUSED = {}, {}


def form(make):
    """A maker of (text, names of the weights that operators see)."""
    FORMS[make.__name__.replace("_", "-")] = make
    return make


def refused(*words):
    """A maker of text; the remark says these words."""
    def register(make):
        REFUSED[make.__name__.replace("_", "-")] = (make, words)
        return make
    return register


W = floats(8, 16)
X = "(float[n,8] x) => (float[n,16] y)"


def behind(body, weight=W, **more):
    """y = x * seen, where body makes `seen` of `w`."""
    return model(X, {"w": weight, **more},
                 body + "\ny = MatMul(x, seen)"), ["seen"]


# ---- behind something ----

@form
def identity():
    return behind("seen = Identity(w)")


@form
def transpose():
    return behind("seen = Transpose <perm = [1, 0]> (w)", W.T.copy())


@form
def transpose_twice():
    return behind("t = Transpose(w)\nseen = Transpose(t)")


@form
def reshape():
    return behind("seen = Reshape(w, to)", W.reshape(4, 2, 16),
                  to=np.int64([8, 16]))


@form
def squeeze():
    return behind("seen = Squeeze(w, at)", W[None], at=np.int64([0]))


@form
def cast():
    return behind("h = Cast <to = 10> (w)\nseen = Cast <to = 1> (h)")


@form
def constant_node():
    numbers = constant("", W)
    return model(X, {}, f"seen = Constant <value = {numbers}> ()\n"
                        "y = MatMul(x, seen)"), ["seen"]


@form
def fake_quantised():
    """As training with quantisation exports it: the weight is still float."""
    return behind("q = QuantizeLinear(w, scale, zero)\n"
                  "seen = DequantizeLinear(q, scale, zero)",
                  scale=np.float32(0.02), zero=np.int8(0))


@form
def fake_quantised_by_channel():
    return behind("""q = QuantizeLinear <axis = 0> (w, scale, zero)
                  d = DequantizeLinear <axis = 0> (q, scale, zero)
                  seen = Transpose(d)""", W.T.copy(),
                  scale=(np.arange(16) * 0.001 + 0.02).astype(np.float32),
                  zero=np.zeros(16, np.int8))


# ---- shared ----

@form
def shared():
    return model("(float[n,8] x) => (float[n,16] y)",
                 {"w": W, "v": floats(16, 8)},
                 """a = MatMul(x, w)
                 b = MatMul(a, v)
                 y = MatMul(b, w)"""), ["w"]


@form
def shared_and_transposed():
    return model("(float[n,8] x) => (float[n,8] y)", {"w": W},
                 """a = MatMul(x, w)
                 seen = Transpose(w)
                 y = MatMul(a, seen)"""), ["seen"]


# ---- inside something ----

FUNCTIONS = '<ir_version: 8, opset_import: ["": 17, "f": 1]>\n'


def calling(body, functions, constants):
    weights = ", ".join(constant(k, v) for k, v in constants.items())
    return f"{FUNCTIONS}g {X}\n<{weights}>\n{{{body}}}\n" + functions


@form
def function_argument():
    return calling("y = f.linear(x, w)", """
        <domain: "f", opset_import: ["": 17]> linear (a, b) => (c)
        { c = MatMul(a, b) }""", {"w": W}), ["w"]


@form
def function_result():
    """A function that only transposes, as PyTorch's aten_t does."""
    return calling("seen = f.t(w)\ny = MatMul(x, seen)", """
        <domain: "f", opset_import: ["": 17]> t (a) => (b)
        { b = Transpose <perm = [1, 0]> (a) }""", {"w": W.T.copy()}), ["seen"]


@form
def function_called_twice():
    """And calls another one."""
    return calling("""s = f.t(w)
        a = MatMul(x, s)
        seen = f.t(w)
        b = MatMul(x, seen)
        y = Add(a, b)""", """
        <domain: "f", opset_import: ["": 17, "f": 1]> t (a) => (b)
        { b = f.u(a) }
        <domain: "f", opset_import: ["": 17]> u (a) => (b)
        { b = Transpose <perm = [1, 0]> (a) }""", {"w": W.T.copy()}), ["seen"]


@form
def function_constant():
    numbers = constant("", W)
    return calling("y = f.layer(x)", f"""
        <domain: "f", opset_import: ["": 17]> layer (a) => (c)
        {{ b = Constant <value = {numbers}> ()
           c = MatMul(a, b) }}""", {}), []


@form
def branches():
    """A weight in each branch, and one from outside in both."""
    numbers = constant("", floats(16, 16))
    return model("(float[n,8] x, bool[1] c) => (float[n,16] y)", {"w": W},
                 f"""seen = Identity(w)
                 y = If (c) <then_branch = t () => (float[n,16] a) {{
                   k = Constant <value = {numbers}> ()
                   b = MatMul(x, w)
                   a = MatMul(b, k)
                 }}, else_branch = e () => (float[n,16] d) {{
                   d = MatMul(x, w)
                 }}>"""), ["seen"]


@form
def chosen_by_branch():
    """Of two weights only the run knows which."""
    return model("(float[n,8] x, bool[1] c) => (float[n,16] y)",
                 {"w": W, "v": floats(8, 16)},
                 """seen = If (c) <then_branch = t () => (float[8,16] a) {
                   a = Identity(w)
                 }, else_branch = e () => (float[8,16] b) {
                   b = Identity(v)
                 }>
                 y = MatMul(x, seen)"""), ["seen"]


@form
def loop_body():
    return model("(float[n,8] x) => (float[n,16] y)",
                 {"w": W, "v": floats(16, 8)},
                 """trips = Constant <value_int = 2> ()
                 go = Constant <value = bool {1}> ()
                 z = Loop (trips, go, x) <body = b (int64 i, bool c,
                     float[n,8] s) => (bool d, float[n,8] t) {
                   a = MatMul(s, w)
                   t = MatMul(a, v)
                   d = Identity(c)
                 }>
                 y = MatMul(z, w)"""), ["w"]


# ---- out of reach ----

@refused("'w' is not scored", "stored quantised")
def stored_quantised():
    return model(X, {"w": (W * 50).astype(np.int8), "scale": np.float32(0.02)},
                 "seen = DequantizeLinear(w, scale)\ny = MatMul(x, seen)")


@refused("'w' is not scored", "computed from the constant", "(Mul)")
def computed():
    return model(X, {"w": W, "k": np.float32(2)},
                 "seen = Mul(w, k)\ny = MatMul(x, seen)")


@refused("'w' is not scored", "more than a weight", "(Add)")
def used_elsewhere():
    return model("(float[8,8] x) => (float[8,16] y)", {"w": W},
                 "a = MatMul(x, w)\ny = Add(a, w)")


@refused("'w' is no weight of an operator")
def carried():
    return model("(float[n,8] x) => (float[n,16] y)",
                 {"w": W},
                 """trips = Constant <value_int = 2> ()
                 go = Constant <value = bool {1}> ()
                 s = Loop (trips, go, w) <body = b (int64 i, bool c,
                     float[8,16] u) => (bool d, float[8,16] v) {
                   v = Neg(u)
                   d = Identity(c)
                 }>
                 y = MatMul(x, s)""")


# ---- running ----

def inputs_of(m):
    rng, arrays = np.random.default_rng(5), {}
    for i in m.graph.input:
        t = i.type.tensor_type
        dims = [d.dim_value or 3 for d in t.shape.dim]
        arrays[i.name] = (np.ones(dims, bool) if t.elem_type == 9 else
                          rng.standard_normal(dims).astype(np.float32))
    return arrays


def outputs(path, inputs, more=()):
    """ONNX Runtime's outputs, and the values `more`."""
    m = onnx.load(path)
    have = {o.name for o in m.graph.output}
    for name in more:
        if name not in have:
            m.graph.output.append(onnx.ValueInfoProto(name=name))
    beside = str(path)[:-len("onnx")] + "seen.onnx"
    onnx.save(m, beside)
    ort = session(beside)
    names = [o.name for o in ort.get_outputs()]
    return dict(zip(names, ort.run(names, inputs)))


def inside(m):
    """The matrices in the file, wherever."""
    arrays = map(onnx.numpy_helper.to_array, tensors(m))
    return {f"matrix {i}": a for i, a in enumerate(arrays) if a.ndim == 2}


def ours(path, inputs, folder):
    np.savez(folder / "in.npz", **inputs)
    subprocess.run(["prune-run", path, "--inputs", folder / "in.npz",
                    "--outputs", folder / "out.npz"], check=True,
                   stdout=subprocess.DEVNULL)
    with np.load(folder / "out.npz") as f:
        return dict(f)


def pruned(path, passes, folder):
    """The pruned file and the remarks."""
    out, remarks = folder / "pruned.onnx", folder / "remarks.yaml"
    subprocess.run(["prune-opt", path, *passes, "-o", out,
                    f"--remarks={remarks}"], check=True,
                   stderr=subprocess.DEVNULL)
    return out, remarks.read_text(encoding="utf-8").replace("''", "'")


def check_form(name, text, seen, folder):
    m = onnx.parser.parse_model(text)
    path, inputs = folder / f"{name}.onnx", inputs_of(m)
    onnx.save(m, path)
    for what, (passes, share) in RUNS.items():
        out, _ = pruned(path, passes, folder)
        want = outputs(out, inputs, seen)
        got = ours(out, inputs, folder)
        weights = {k: want[k] for k in seen} or inside(onnx.load(out))
        for weight, array in weights.items():
            zeros = float(np.mean(array == 0))
            if not abs(zeros - share) < 0.02:
                return f"{what}: {zeros:.0%} of {weight} are zero"
        for o in m.graph.output:
            e = error(got[o.name], want[o.name])
            if not e <= 1e-5:
                return f"{what}: {o.name} is off by {e:.1e}"
    return ""


def check_refused(name, text, words, folder):
    m = onnx.parser.parse_model(text)
    path = folder / f"{name}.onnx"
    onnx.save(m, path)
    out, remarks = pruned(path, RUNS["2:4"][0], folder)
    for a, b in zip(onnx.load(path).graph.initializer,
                    onnx.load(out).graph.initializer):
        if a != b and a.name == "w":
            return f"{a.name} has changed"
    said = re.findall(r"Reason: +'(.*)'\n", remarks)
    if not any(all(w in line for w in words) for line in said):
        return f"no remark has {words}: {said}"
    return ""


def main():
    checks = [(k, check_form, *f()) for k, f in FORMS.items()]
    checks += [(k, check_refused, f(), w) for k, (f, w) in REFUSED.items()]
    return report(checks, "right")


if __name__ == "__main__":
    sys.exit(main())
