"""Clean-up leaves what real models compute untouched.

usage: check_models.py SCRATCH_FOLDER MODEL...

Runs infer-shapes, canonicalize, fold-constants, cse and dce, and compares
outputs bit by bit with ONNX Runtime's optimiser off. What ONNX Runtime cannot
load, or cannot run on random inputs, is left out and counted."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..",
                                "scripts"))
import ort_same  # noqa: E402

PASSES = ["--infer-shapes", "--canonicalize", "--fold-constants", "--cse",
          "--dce", "--canonicalize", "--infer-shapes"]


def runs(path):
    try:
        ort_same.difference(path, path, seeds=(0,), odd=(False,))
        return True
    except Exception:  # pylint: disable=broad-except
        return False  # any of ONNX Runtime's own


def check(path, result):
    run = subprocess.run(["prune-opt", path, *PASSES, "-o", result],
                         capture_output=True, text=True, check=False)
    if run.returncode:
        return run.stderr
    if not runs(path):
        return "skip"
    try:
        return ort_same.difference(path, result, odd=(False,))
    except Exception as e:  # pylint: disable=broad-except
        return str(e)


def models(paths):
    for p in paths:
        if os.path.isdir(p):
            for folder, _, names in sorted(os.walk(p)):
                yield from (os.path.join(folder, n) for n in sorted(names)
                            if n.endswith(".onnx"))
        else:
            yield p


def main():
    scratch = sys.argv[1]
    os.makedirs(scratch, exist_ok=True)
    good = bad = skipped = 0
    for path in models(sys.argv[2:]):
        what = check(path, os.path.join(scratch, "out.onnx"))
        good += what is None
        skipped += what == "skip"
        if what not in (None, "skip"):
            bad += 1
            print(f"{path}: {what}")
    print(f"{good} passed, {bad} failed, {skipped} skipped")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
