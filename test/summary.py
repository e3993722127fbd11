"""Add up the lit results that the last ctest run left, and say what was
skipped for want of what.

usage: summary.py BUILD_TEST_DIR"""
import glob
import json
import os
import sys
from collections import Counter

from run_lit import tally


def main():
    total, reasons = Counter(), Counter()
    for name in sorted(glob.glob(os.path.join(sys.argv[1], "*.json"))):
        with open(name, encoding="utf-8") as f:
            counts, skipped = tally(json.load(f)["tests"])
        total += counts
        reasons.update(t["output"].strip() or "no reason" for t in skipped)
    for reason, n in sorted(reasons.items()):
        print(f"skipped {n}: {reason}")
    print(f"lit: {total['passed']} passed, {total['failed']} failed, "
          f"{total['skipped']} skipped")
    return total["failed"] != 0


if __name__ == "__main__":
    sys.exit(main())
