"""usage: sequences.py FOLDER [WHAT]

Inputs of the model of prune-run-sequences.test: without WHAT, arrays and data
sets; two or three: compares out.npz with what those arrays give; otherwise a
data set that is wrong in some way."""
import os
import sys

import numpy as np
from onnx import numpy_helper

FOLDER = sys.argv[1]
WHAT = sys.argv[2] if len(sys.argv) > 2 else ""
TWO = [np.array([1, 2, 3], "f4"), np.array([4, 5, 6, 7], "f4")]
THREE = [np.array([1, 2], "f4"), np.arange(5, dtype="f4"),
         np.array([[8, 9]], "f4")]
OPT = np.array([3, 1], "f4")


def results(s, opt):
    """What the model gives, as ONNX has it."""
    y = [2 * v for v in s]
    return y, y[-1], opt


def write_set(k, s, opt, outputs):
    """test_data_set_K."""
    where = os.path.join(FOLDER, f"test_data_set_{k}")
    os.makedirs(where)
    y, last, same = outputs
    for name, proto in (("input_0", numpy_helper.from_list(s)),
                        ("input_1", numpy_helper.from_optional(opt)),
                        ("output_0", numpy_helper.from_list(y)),
                        ("output_1", numpy_helper.from_array(last)),
                        ("output_2", numpy_helper.from_optional(same))):
        with open(os.path.join(where, name + ".pb"), "wb") as f:
            f.write(proto.SerializeToString())


def arrays(s, opt):
    named = {f"s[{i}]": v for i, v in enumerate(s)}
    return named if opt is None else {**named, "opt": opt}


def compare(s, opt):
    y, last, same = results(s, opt)
    want = {f"y[{i}]": v for i, v in enumerate(y)}
    want["last"] = last
    if same is not None:
        want["same"] = same
    got = dict(np.load(os.path.join(FOLDER, "out.npz")))
    assert sorted(got) == sorted(want), sorted(got)
    for name, v in want.items():
        np.testing.assert_array_equal(got[name], v)


CASES = {"two": (TWO, OPT), "three": (THREE, None)}
if not WHAT:
    for i, (name, case) in enumerate(CASES.items()):
        np.savez(os.path.join(FOLDER, name), **arrays(*case))
        write_set(i, *case, results(*case))
    np.savez(os.path.join(FOLDER, "ints"),
             **arrays([v.astype("i8") for v in TWO], OPT))
elif WHAT in CASES:
    compare(*CASES[WHAT])
else:
    y, last, _ = results(TWO, None)
    if WHAT == "wrong":
        y[1][0] += 1
    if WHAT == "short":
        y = y[:1]
    write_set(0, [TWO, TWO] if WHAT == "nested" else TWO, None,
              (y, last.copy(), None))
