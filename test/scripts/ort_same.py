"""Two models compute the same bits.

usage: ort_same.py A.onnx B.onnx [SYMBOL=SIZE...]

Runs both with ONNX Runtime, its own optimiser off, on random inputs and
compares every output bit by bit (any NaN equals any NaN). Open sizes are 2
unless told."""
import sys

import numpy as np
import onnxruntime

DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64,
          "tensor(float16)": np.float16, "tensor(int64)": np.int64,
          "tensor(int32)": np.int32, "tensor(int16)": np.int16,
          "tensor(int8)": np.int8, "tensor(uint8)": np.uint8,
          "tensor(uint16)": np.uint16, "tensor(uint32)": np.uint32,
          "tensor(uint64)": np.uint64, "tensor(bool)": np.bool_}
ODD = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-40)


def session(model):
    """model: a path or bytes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = \
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options,
                                        ["CPUExecutionProvider"])


def random_input(rng, dtype, shape, odd):
    """Odd ones begin with zeros of both signs, infinities and NaN."""
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        low, high = (0, 4) if not odd else (0, np.iinfo(dtype).max)
        return rng.integers(low, high, shape, dtype, endpoint=True)
    x = np.asarray(rng.standard_normal(shape), dtype)
    if odd and x.size:
        with np.errstate(over="ignore"):
            x.flat[:len(ODD)] = np.array(ODD).astype(dtype)[:x.size]
    return x


def inputs_of(run, sizes, rng, odd=False):
    shapes = {}
    for i in run.get_inputs():
        shape = [d if isinstance(d, int) else sizes.get(d, 2)
                 for d in i.shape]
        shapes[i.name] = random_input(rng, DTYPES[i.type], shape, odd)
    return shapes


def same(a, b, zeros=True):
    """Any NaN equals any NaN; zeros: their signs count."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    nan = np.isnan(a) & np.isnan(b)
    if not zeros:
        nan |= (a == 0) & (b == 0)
    bits = np.dtype(f"u{a.dtype.itemsize}")
    return bool(np.all(nan | (np.ascontiguousarray(a).view(bits)
                              == np.ascontiguousarray(b).view(bits))))


def difference(first, second, sizes=None, seeds=(0, 1), odd=(False, True),
               zeros=True):
    """What differs, or None."""
    one, two = session(first), session(second)
    names = [o.name for o in one.get_outputs()]
    if [o.name for o in two.get_outputs()] != names:
        return f"outputs {[o.name for o in two.get_outputs()]}, not {names}"
    if [i.name for i in one.get_inputs()] != [i.name for i in
                                              two.get_inputs()]:
        return "the inputs differ"
    for seed in seeds:
        for strange in odd:
            feed = inputs_of(one, sizes or {}, np.random.default_rng(seed),
                             strange)
            want, got = one.run(None, feed), two.run(None, feed)
            for name, a, b in zip(names, want, got):
                if not same(a, b, zeros):
                    return f"output {name!r} differs: {a} and {b}"
    return None


def main():
    sizes = dict(a.split("=") for a in sys.argv[3:])
    sizes = {k: int(v) for k, v in sizes.items()}
    what = difference(sys.argv[1], sys.argv[2], sizes, odd=(False,))
    if what:
        sys.exit(what)
    print("same outputs, bit by bit")


if __name__ == "__main__":
    main()
