#!/usr/bin/env python3
"""Small models the way exporters write them, against ONNX Runtime.

    exported.py FOLDER [NAME PART…]

Each is written to FOLDER, run as it is and compiled to a library with the
sizes of CASES fixed (none: open sizes), on inputs of sizes that the model
leaves open. Prints a line for each, and how many are wrong."""
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import onnx.parser

from ort_compare import error, session

RNG = np.random.default_rng(11)
CASES = {}


def case(**dims):
    """Registers a maker, which returns text and the inputs to run on."""
    def register(make):
        CASES[make.__name__.replace("_", "-")] = (make, dims)
        return make
    return register


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def constant(name, array):
    array = np.asarray(array)
    kind = {"float32": "float"}.get(str(array.dtype), str(array.dtype))
    numbers = ", ".join(repr(v) for v in array.ravel().tolist())
    dims = ",".join(map(str, array.shape))
    dims = f"[{dims}]" if array.ndim else ""
    return f"{kind}{dims} {name} = {{{numbers}}}"


def model(signature, constants, body, version=17):
    weights = ", ".join(constant(k, v) for k, v in constants.items())
    return (f'<ir_version: 8, opset_import: ["": {version}]>\n'
            f"g {signature}\n<{weights}>\n{{{body}}}")


# ---- recurrence ----

def cell(op, gates, extra=""):
    """Its initial state is one number for all of an open batch."""
    state = "h, h" if op == "LSTM" else "h"
    return model(
        "(float[t,b,3] x) => (float[t,1,b,4] y)",
        {"w": floats(1, gates * 4, 3), "r": floats(1, gates * 4, 4),
         "bias": floats(1, 8 * gates), "half": np.float32([0.5]),
         "one": np.int64([1]), "four": np.int64([4]), "at": np.int64([1])},
        f"""s = Shape(x)
        b = Gather(s, at)
        dims = Concat <axis = 0> (one, b, four)
        h = Expand(half, dims)
        y = {op} <hidden_size = 4{extra}> (x, w, r, bias, , {state})""")


@case()
def lstm_state_of_one_number():
    return cell("LSTM", 4), {"x": floats(5, 3, 3)}


@case()
def gru_state_of_one_number():
    return cell("GRU", 3), {"x": floats(5, 3, 3)}


@case()
def rnn_state_of_one_number():
    return cell("RNN", 1, ', activations = ["Relu"]'), {"x": floats(5, 3, 3)}


# ---- loops ----

@case()
def loop_for():
    """A trip count, a condition that is passed on, a value of outside."""
    return model(
        "(float[n,4] x) => (float[n,4] y, float[3,n,4] all)",
        {"w": floats(4, 4)},
        """trips = Constant <value_int = 3> ()
        go = Constant <value = bool {1}> ()
        y, all = Loop (trips, go, x) <body = b (int64 i, bool c, float[n,4] s)
            => (bool next, float[n,4] t, float[n,4] row) {
          m = MatMul(s, w)
          k = Cast <to = 1> (i)
          p = Add(m, k)
          t = Tanh(p)
          row = Add(t, x)
          next = Identity(c)
        }>"""), {"x": floats(2, 4)}


@case()
def loop_without_condition():
    return model(
        "(float[n,4] x) => (float[n,4] y)", {},
        """trips = Constant <value_int = 4> ()
        y = Loop (trips, , x) <body = b (int64 i, bool c, float[n,4] s)
            => (bool c2, float[n,4] t) {
          t = Add(s, s)
          c2 = Identity(c)
        }>"""), {"x": floats(2, 4)}


@case(t=4)
def loop_by_size():
    """As often as an input is long, which fixing its size decides."""
    return model(
        "(float[t,4] x) => (float[4] y)",
        {"zero": np.zeros(4, np.float32), "at": np.int64([0])},
        """s = Shape(x)
        n = Gather(s, at)
        trips = Squeeze(n)
        go = Constant <value = bool {1}> ()
        y = Loop (trips, go, zero) <body = b (int64 i, bool c, float[4] s0)
            => (bool c2, float[4] s1) {
          row = Gather(x, i)
          m = Add(s0, row)
          s1 = Tanh(m)
          c2 = Identity(c)
        }>"""), {"x": floats(4, 4)}


@case()
def loop_in_loop():
    return model(
        "(float[n,4] x) => (float[n,4] y)", {},
        """outer = Constant <value_int = 3> ()
        go = Constant <value = bool {1}> ()
        y = Loop (outer, go, x) <body = b (int64 i, bool c, float[n,4] s)
            => (bool c2, float[n,4] t) {
          c2 = Identity(c)
          t = Loop (i, c, s) <body = d (int64 j, bool e, float[n,4] u)
              => (bool e2, float[n,4] v) {
            p = Add(u, x)
            v = Tanh(p)
            e2 = Identity(e)
          }>
        }>"""), {"x": floats(2, 4)}


@case()
def scan_both_ways():
    return model(
        "(float[2,5,n] x) => (float[n] last, float[n,5] ys, float[5,n] zs)",
        {"w": floats(1)},
        """shape = Shape <start = 2> (x)
        h0 = ConstantOfShape(shape)
        first = Constant <value_int = 0> ()
        second = Constant <value_int = 1> ()
        a = Gather(x, first)
        b = Gather(x, second)
        last, ys, zs = Scan <num_scan_inputs = 2,
            scan_input_directions = [0, 1], scan_output_axes = [-1, 0],
            scan_output_directions = [0, 1], body = c (float[n] h, float[n] p,
            float[n] q) => (float[n] h2, float[n] y, float[n] z) {
          hw = Mul(h, w)
          hp = Add(hw, p)
          h2 = Tanh(hp)
          y = Add(h2, q)
          z = Sub(h2, q)
        }> (h0, a, b)"""), {"x": floats(2, 5, 3)}


# ---- sequences ----

@case()
def sequence_of_parts():
    return model(
        "(float[n,7] x) => (float[n,3] y, float[n,4] z, int64 size)",
        {"sizes": np.int64([3, 4])},
        """s = SplitToSequence <axis = -1> (x, sizes)
        zero = Constant <value_int = 0> ()
        minus = Constant <value_int = -1> ()
        y = SequenceAt(s, zero)
        z = SequenceAt(s, minus)
        size = SequenceLength(s)"""), {"x": floats(2, 7)}


@case()
def sequence_of_rows():
    """Cut in uneven parts and in single rows, which lose their axis."""
    return model(
        "(float[5,n] x) => (float[5,n] y, float[n,5] z)", {},
        """two = Constant <value_int = 2> ()
        parts = SplitToSequence(x, two)
        y = ConcatFromSequence <axis = 0> (parts)
        rows = SplitToSequence <keepdims = 0> (x)
        z = ConcatFromSequence <axis = -1, new_axis = 1> (rows)"""
    ), {"x": floats(5, 3)}


@case()
def sequence_edited():
    return model(
        "(float[n] a, float[n] b, float[n] c) => (float[m] y)", {},
        """minus = Constant <value_int = -1> ()
        s0 = SequenceConstruct(a, b)
        s1 = SequenceInsert(s0, c, minus)
        s2 = SequenceInsert(s1, a)
        s3 = SequenceErase(s2, minus)
        s4 = SequenceErase(s3)
        y = ConcatFromSequence <axis = 0> (s4)"""
    ), {k: floats(3) for k in "abc"}


@case()
def sequence_made_by_loop():
    return model(
        "(float[n,4] x) => (float[m,4] y)", {},
        """empty = SequenceEmpty()
        trips = Constant <value_int = 3> ()
        go = Constant <value = bool {1}> ()
        s, v = Loop (trips, go, empty, x) <body = b (int64 i, bool c,
            seq(float[n,4]) q, float[n,4] u) => (bool c2, seq(float[n,4]) r,
            float[n,4] w) {
          w = Tanh(u)
          r = SequenceInsert(q, w)
          c2 = Identity(c)
        }>
        y = ConcatFromSequence <axis = 0> (s)"""), {"x": floats(2, 4)}


# ---- outputs ----

@case()
def output_twice():
    """Under the same name: the second was never written."""
    text, inputs = model("(float[n] x) => (float[n] y, float[n] z)", {},
                         "y = Tanh(x)\nz = Relu(x)"), {"x": floats(3)}
    m = onnx.parser.parse_model(text)
    m.graph.output.append(m.graph.output[0])
    return m, inputs


# ---- sizes ----

@case()
def sizes_without_names():
    """Two open sizes that are both called "?" need not be equal."""
    text, inputs = model("(float[p,3,q,r] x) => (float[p,2,q,r] y)",
                         {"w": floats(2, 3, 1, 1)}, "y = Conv(x, w)"), {
                             "x": floats(1, 3, 4, 6)}
    m = onnx.parser.parse_model(text)
    for value in (*m.graph.input, *m.graph.output):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param:
                d.dim_param = "?"
    return m, inputs


# ---- running ----

def run(what, given, out):
    subprocess.run(["prune-run", what, "--inputs", given, "--outputs", out],
                   check=True, stdout=subprocess.DEVNULL)
    with np.load(out) as f:
        return dict(f)


def check(name, make, dims, folder):
    m, inputs = make()
    if isinstance(m, str):
        m = onnx.parser.parse_model(m)
    path = str(folder / f"{name}.onnx")
    onnx.save(m, path)
    np.savez(folder / "in.npz", **inputs)
    ort = session(path)
    names = [o.name for o in ort.get_outputs()]
    wants = dict(zip(names, ort.run(names, inputs)))
    library = str(folder / f"{name}.so")
    subprocess.run(["prunec", path, "-o", library,
                    *(f"--dim={k}={v}" for k, v in dims.items())], check=True)
    worst = 0.0
    for what in (path, library):
        got = run(what, folder / "in.npz", folder / "out.npz")
        for k, want in wants.items():
            if (got[k].shape, got[k].dtype) != (want.shape, want.dtype):
                return f"{k} is {got[k].dtype}{list(got[k].shape)}"
            worst = max(worst, error(got[k], want))
    return "" if worst <= 1e-5 else f"off by {worst:.1e}"


def report(cases, good):
    """Runs `(name, check, …)` as check(name, …, FOLDER), those that the command
    line names or all; prints what each finds, or `good`. 1 when one did."""
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name, check_one, *more in cases:
        if sys.argv[2:] and not any(a in name for a in sys.argv[2:]):
            continue
        try:
            found = check_one(name, *more, folder)
        except subprocess.CalledProcessError as failed:
            found = f"{failed.cmd[0]} ends with {failed.returncode}"
        print(f"{name}: {found or good}")
        wrong += bool(found)
    print(f"{wrong} wrong")
    return wrong > 0


def main():
    return report([(k, check, *c) for k, c in CASES.items()], "same")


if __name__ == "__main__":
    sys.exit(main())
