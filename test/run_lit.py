"""Run one folder of lit tests and close with `N passed, N failed, N skipped`.

usage: run_lit.py LIT BUILD_TEST_DIR FOLDER

ctest shows one line for each folder; the count of this script's last line is
what says how many tests there were. The results stay in
BUILD_TEST_DIR/FOLDER.json, where ./check adds them up."""
import json
import os
import subprocess
import sys

GOOD = ("PASS", "XFAIL", "FLAKYPASS")
SKIPPED = ("UNSUPPORTED", "SKIPPED", "EXCLUDED")


def main():
    lit, build, folder = sys.argv[1:]
    out = os.path.join(build, folder + ".json")
    if os.path.exists(out):
        os.remove(out)
    run = subprocess.run([sys.executable, lit, "-sv", "--order=lexical",
                          "--output", out, os.path.join(build, folder)],
                         check=False)
    if not os.path.exists(out):
        sys.exit("lit wrote no results")
    with open(out, encoding="utf-8") as f:
        tests = json.load(f)["tests"]
    skipped = [t for t in tests if t["code"] in SKIPPED]
    good = sum(t["code"] in GOOD for t in tests)
    for t in skipped:
        print("skipped:", t["name"], t["output"].strip())
    failed = len(tests) - good - len(skipped)
    print(f"{good} passed, {failed} failed, {len(skipped)} skipped")
    return run.returncode or failed != 0 or good + len(skipped) == 0


if __name__ == "__main__":
    sys.exit(main())
