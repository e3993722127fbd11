"""Every node case of onnx through the compiled path.

usage: onnx_nodes.py BIN [--only SUBSTRING] [--every N] [--keep FOLDER]
                     [--jobs N] [--write]

The cases that onnx generates for its backend tests are written out and run by
`prune-run --onnx-test`, which compiles each and compares with the outputs that
onnx stored. Those that may fail stand in onnx_nodes.expect, each with the
reason: it is an error when one of them passes, fails for another reason, or
another fails; crashing and hanging is always an error. --every N takes each
Nth case; --write, with all cases, brings the list up to date, and the counts
that docs/operators.md shows. Closes with `N passed, N failed`."""
import argparse
import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "scripts"))
SKIPPED = 77  # ctest: SKIP_RETURN_CODE
EXPECTED = os.path.join(HERE, "onnx_nodes.expect")
CASES = os.path.join(HERE, "onnx_nodes.cases")
BATCH, SECONDS = 40, 30  # cases in a process, time for one that hangs
# What onnx itself allows is rtol 1e-3, atol 1e-7, element by element.
RTOL = "1e-3"

try:
    from onnx_cases import node_cases, write_case
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def reason(text):
    """The first error of a case: the operator, and what was said about it."""
    m = re.search(r"(?:\((\w+)\): )?error: (.*)", text)
    if not m:
        return "no diagnostic"
    what = re.sub(r"^not supported by the compiler: ", "", m[2])
    return f"{m[1]}: {what}" if m[1] else what


def split(folders, out, err):
    """Case -> "" when it passed, or what was said; cases that did not end are
    left out."""
    said = collections.defaultdict(str)
    for line in err.splitlines():
        where = re.search(r"/(test_\w+)(?:/|:)", line)
        if where:
            said[where[1]] += line + "\n"
    found = {}
    for m in re.finditer(r"^(PASS|FAIL): (.*)$", out, re.M):
        name = os.path.basename(m[2])
        found[name] = "" if m[1] == "PASS" else reason(said[name])
    return found


def run(tool, folders):
    """One process. A case that ends it is found by what is missing, and the
    others go on in the next."""
    found, left = {}, list(folders)
    while left:
        try:
            done = subprocess.run(
                [tool, "--onnx-test", f"--rtol={RTOL}", *left],
                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", check=False, timeout=SECONDS + len(left))
            out, err, code = done.stdout, done.stderr, done.returncode
        except subprocess.TimeoutExpired as late:
            out, err = ((s or b"").decode(errors="replace")
                        for s in (late.stdout, late.stderr))
            code = "timeout"
        found.update(split(left, out, err))
        left = [f for f in left if os.path.basename(f) not in found]
        if left:
            found[os.path.basename(left[0])] = \
                "hangs" if code == "timeout" else f"crashes: exit code {code}"
            left = left[1:]
    return found


def read_expected():
    """Case -> reason."""
    if not os.path.exists(EXPECTED):
        return {}
    with open(EXPECTED, encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(": ", 1) for line in f
                    if line.strip() and not line.startswith("#"))


def write_expected(failing):
    with open(EXPECTED, "w", encoding="utf-8") as f:
        f.write("# Node cases of onnx that do not pass, and why. Generated:\n"
                "# test/onnx_nodes.py BIN --write\n")
        for name, why in sorted(failing.items()):
            f.write(f"{name}: {why}\n")


def operators(case):
    """The operators of a case's graph, other domains in front."""
    return {(f"{n.domain}." if n.domain not in ("", "ai.onnx") else "") +
            n.op_type for n in case.model.graph.node}


def write_cases(cases, failing):
    """How many cases of each operator pass, of how many: for the docs."""
    count = collections.defaultdict(lambda: [0, 0])
    for case in cases:
        for name in operators(case):
            count[name][0] += case.name not in failing
            count[name][1] += 1
    with open(CASES, "w", encoding="utf-8") as f:
        f.write("# Node cases of onnx by operator: how many pass, of how many. "
                "Generated:\n# test/onnx_nodes.py BIN --write\n")
        for name, (good, all_of_it) in sorted(count.items()):
            f.write(f"{name} {good} {all_of_it}\n")


def fatal(why):
    return why.startswith(("hangs", "crashes", "no diagnostic"))


def compare(failing, expected, names):
    """What is not as the list has it."""
    bad = [f"{n}: {why}" for n, why in failing.items() if fatal(why)]
    bad += [f"{n}: fails, but is not listed: {why}"
            for n, why in failing.items() if n not in expected]
    bad += [f"{n}: listed, but passes" for n in expected
            if n in names and n not in failing]
    bad += [f"{n}: fails for another reason: {failing[n]}" for n in expected
            if n in failing and failing[n] != expected[n]]
    return sorted(bad)


def table(failing):
    """Reasons by frequency, names of values and numbers left out."""
    kinds = collections.Counter(
        re.sub(r"%(\"[^\"]*\"|[\w.]+)|\d[\w.e+-]*|'[^']*'", "_", why)
        for why in failing.values())
    for why, n in kinds.most_common():
        print(f"{n:5} {why}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--only", default="")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--keep")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    tool = os.path.join(args.bin, "prune-run")
    start = time.monotonic()
    cases = [c for c in node_cases() if args.only in c.name][::args.every]
    root = args.keep or tempfile.mkdtemp()
    for case in cases:
        write_case(case, os.path.join(root, case.name))
    folders = [os.path.join(root, case.name) for case in cases]
    found = {}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for batch in pool.map(lambda i: run(tool, folders[i:i + BATCH]),
                              range(0, len(folders), BATCH)):
            found.update(batch)
    if not args.keep:
        shutil.rmtree(root)
    failing = {n: why for n, why in found.items() if why}
    table(failing)
    print(f"{len(found) - len(failing)} of {len(found)} cases pass, "
          f"{time.monotonic() - start:.0f} s")
    if args.write:
        write_expected(failing)
        write_cases(cases, failing)
    bad = compare(failing, read_expected(), set(found))
    print("".join(f"{line}\n" for line in bad), end="")
    wrong = {line.split(":")[0] for line in bad}
    print(f"{len(found) - len(wrong)} passed, {len(wrong)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
