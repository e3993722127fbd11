"""Node cases of onnx through the CUDA backend, emulated.

    cuda_nodes.py --mocks=DIR --emulator=DIR [--every=N] [--from=N]
                  [--only=TEXT,...] [--show]

Every Nth case whose inputs and outputs are tensors of numbers, but for those
that stand in onnx_nodes.expect: compiled with prunec --target=cuda
--precision=f32, run, and compared with the outputs that onnx stored. Cases that
prunec refuses are counted, and shown with --show.
"""
import argparse
import pathlib
import sys
import tempfile

SKIPPED = 77  # ctest: SKIP_RETURN_CODE
try:
    import numpy as np

    import cuda
    import ort_compare
    from onnx_cases import node_cases, write_model
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)

TOLERANCE = {np.dtype(np.float16): 2e-3}


def expected():
    """Names of the cases that do not pass on CPUs."""
    path = pathlib.Path(__file__).parent.parent / "onnx_nodes.expect"
    lines = path.read_text().splitlines()
    return {x.split(":")[0] for x in lines if x and not x.startswith("#")}


def is_plain(case):
    return all(isinstance(x, np.ndarray) and x.dtype.kind in "biuf"
               and x.dtype.names is None
               for data in case.data_sets for values in data for x in values)


def trial(case, folder, args):
    path = f"{folder}/model.onnx"
    write_model(case, path)
    made = cuda.Artefact(path, f"{folder}/out", args.mocks, args.emulator,
                         "f32", optimise="-O0")
    for feeds, want in case.data_sets:
        got, _ = made.run(feeds, want)
        for g, w in zip(got, want):
            e = ort_compare.error(g, w)
            if not e <= TOLERANCE.get(w.dtype, 1e-3):
                return f"relative error {e:.2e}"
    return ""


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mocks", required=True)
    p.add_argument("--emulator", required=True)
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--from", type=int, default=0, dest="first")
    p.add_argument("--only", default="")
    p.add_argument("--show", action="store_true")
    args = p.parse_args()
    cases = [c for c in node_cases()
             if any(text in c.name for text in args.only.split(","))]
    without = expected()
    cases = [c for c in cases[args.first::args.every]
             if is_plain(c) and c.name not in without]
    passed, refused, failed = 0, 0, []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                bad = trial(case, folder, args)
            except SystemExit as e:
                bad = str(e)
        if not bad:
            passed += 1
        elif bad.startswith("prunec failed (1)"):
            refused += 1
            if args.show:
                print(f"refused: {case.name}: {bad.splitlines()[1]}")
        else:
            failed.append(case.name)
            print(f"FAIL: {case.name}: {bad[:600]}", flush=True)
    print(f"{passed} passed, {refused} refused, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
