"""Compare outputs with ONNX Runtime's on the same model and inputs.

usage: ort_compare.py MODEL.onnx INPUTS.npz OUTPUTS.npz [TOLERANCE]

Prints the relative L2 error of each output; fails above TOLERANCE (1e-5), and
where names, shapes or types differ."""
import sys

import numpy as np
import onnxruntime


def error(got, want):
    """Relative L2 error in double precision; equal NaN and Inf count as
    equal."""
    if got.dtype.kind not in "fc":
        return float(not np.array_equal(got, want))
    got, want = got.astype(np.float64), want.astype(np.float64)
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    norm = np.linalg.norm(want[np.isfinite(want)])
    return np.linalg.norm((got - want)[~same]) / (norm or 1.0)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options,
                                        ["CPUExecutionProvider"])


def main():
    model, inputs, outputs = sys.argv[1:4]
    tolerance = float(sys.argv[4]) if len(sys.argv) > 4 else 1e-5
    run = session(model)
    names = [o.name for o in run.get_outputs()]
    wants = dict(zip(names, run.run(names, dict(np.load(inputs)))))
    gots = dict(np.load(outputs))
    if set(gots) != set(wants):
        sys.exit(f"outputs {sorted(gots)} instead of {sorted(wants)}")
    bad = False
    for name in names:
        got, want = gots[name], wants[name]
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            sys.exit(f"{name}: {got.dtype}{list(got.shape)} instead of "
                     f"{want.dtype}{list(want.shape)}")
        e = error(got, want)
        bad |= not e <= tolerance
        print(f"{name}: relative error {e:.3g}")
    sys.exit(bad)


if __name__ == "__main__":
    main()
