"""Run one folder of lit tests and close with `N passed, N failed, N skipped`.

usage: run_lit.py LIT BUILD_TEST_DIR FOLDER

ctest shows one line for each folder; the count of this script's last line is
what says how many tests there were. The results stay in
BUILD_TEST_DIR/FOLDER.json, where summary.py adds them up."""
import json
import os
import subprocess
import sys
from collections import Counter

GOOD = ("PASS", "XFAIL", "FLAKYPASS")
SKIPPED = ("UNSUPPORTED", "SKIPPED", "EXCLUDED")


def tally(tests):
    """Counts of passed, failed, skipped; and the tests skipped."""
    skipped = [t for t in tests if t["code"] in SKIPPED]
    good = sum(t["code"] in GOOD for t in tests)
    return Counter(passed=good, skipped=len(skipped),
                   failed=len(tests) - good - len(skipped)), skipped


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
        counts, skipped = tally(json.load(f)["tests"])
    for t in skipped:
        print("skipped:", t["name"], t["output"].strip())
    print(f"{counts['passed']} passed, {counts['failed']} failed, "
          f"{counts['skipped']} skipped")
    return run.returncode or counts["failed"] != 0 or not sum(counts.values())


if __name__ == "__main__":
    sys.exit(main())
