"""Random graphs through the CUDA backend, emulated.

    cuda_fuzz.py --mocks=DIR --emulator=DIR [--seed=S] [--first=I] [--count=N]

Case I of seed S is a graph of shrink_graphs.py: compiled in f32, run, and
compared with ONNX Runtime. Those that ONNX Runtime or prunec refuses are
counted; a failure prints the seed and the number."""
import argparse
import pathlib
import sys
import tempfile

SKIPPED = 77  # ctest: SKIP_RETURN_CODE
try:
    import numpy as np
    import onnx

    import cuda
    import shrink_fuzz
    from pipeline_fuzz import LIMITS
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def trial(model, feed, folder, args):
    path = pathlib.Path(folder) / "model.onnx"
    onnx.save(model, path)
    try:
        want, _ = shrink_fuzz.outputs(path, feed)
    except Exception:  # pylint: disable=broad-except
        return "invalid", ""
    made = cuda.Artefact(path, f"{folder}/out", args.mocks, args.emulator,
                         "f32", optimise="-O0")
    got, _ = made.run([feed[i.name] for i in model.graph.input
                       if i.name in feed], want)
    for x, y in zip(want, got):
        limit = LIMITS.get(x.dtype, 0)
        x, y = x.astype(np.float64), y.astype(np.float64)
        if not np.isfinite(x).all() or not x.size:
            continue
        error = np.abs(x - y).max() / (np.abs(x).max() + 1e-6)
        if not error <= limit:
            return "failed", f"wrong by {error:.1e}"
    return "same", ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mocks", required=True)
    p.add_argument("--emulator", required=True)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--count", type=int, default=20)
    args = p.parse_args()
    counts = dict.fromkeys(("same", "refused", "invalid", "failed"), 0)
    for i in range(args.first, args.first + args.count):
        model, feed, _ = shrink_fuzz.case_of(args.seed, i)
        with tempfile.TemporaryDirectory() as folder:
            try:
                what, why = trial(model, feed, folder, args)
            except SystemExit as e:
                why = str(e)
                what = ("refused" if why.startswith("prunec failed (1)")
                        else "failed")
        counts[what] += 1
        if what in ("failed", "refused"):
            print(f"{args.seed}-{i} {what}: {why[:500]}", flush=True)
    print(", ".join(f"{n} {what}" for what, n in counts.items()))
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main()
