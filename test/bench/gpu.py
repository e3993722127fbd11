"""The section of docs/performance.md about GPUs: how to measure there, and what
was measured: PRUNE_GPU names the folder that `test/bench/cuda.sh run` filled,
all parts of a series together."""
import os
import pathlib
import subprocess
import sys

HOW = """\
## On a GPU

Products of the CUDA backend by each of its kernels, by cuBLASLt (the best of 32
algorithms), cuSPARSELt (the best of all) and cuSPARSE, whole models, and goals. Build
where there is nvcc; the folder (40 MB) is all that the machine with the GPU needs,
beside a driver, python3 and the libraries as pip has them:

    test/bench/cuda.sh prepare DIR
    for part in 1 2 3 4; do DIR/cuda.sh run DIR $part; done

Part 1 checks every kernel against sums in double precision, and writes down what
the libraries say, for `test/cuda/calibrate.py`; part 2 is the table; part 3 are
whole models; part 4 is the table of weights in blocks. Each ends within nine
minutes.
"""


def main():
    print(HOW)
    folder = os.environ.get("PRUNE_GPU")
    if not folder:
        print("Nothing was measured yet. `ctest -R cuda.bench` runs all of it "
              "on the mocks.\n")
        return
    report = pathlib.Path(__file__).with_name("cuda") / "report.py"
    rows = sorted(pathlib.Path(folder).glob("**/*.jsonl"))
    print("```", flush=True)
    subprocess.run([sys.executable, report, *rows], check=True)
    print("```\n")


if __name__ == "__main__":
    main()
