"""Hostile ONNX files: a diagnostic and exit code 1, or correct work.

usage: malformed.py BIN [--all]

Runs prune-opt on every file of $PRUNE_SHARED/malformed, first to the text
form, then through a pipeline that folds and simplifies. Each file marked
`reject` must be refused: exit code 1, a diagnostic that names the file, and no
output file. No file may crash, take over 2 s or over 200 MB. --all lists the
good ones as well."""
import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

SECONDS, MEGABYTES = 2.0, 200
SKIPPED = 77  # ctest: SKIP_RETURN_CODE
PIPELINES = ([], ["--infer-shapes", "--fold-constants", "--canonicalize",
                  "--cse", "--dce"])


def limits():
    """A runaway is stopped long before it hurts the machine. Address space
    cannot be limited: sanitizers reserve terabytes."""
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def run(command):
    """Exit code, stderr, seconds and peak megabytes of COMMAND."""
    with tempfile.TemporaryFile() as err:
        start = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=err,
                                 preexec_fn=limits)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.monotonic() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        err.seek(0)
        text = err.read().decode(errors="replace")
    return child.returncode, text, seconds, usage.ru_maxrss / 1024


def offences(tool, path, expect, passes, out):
    """What is wrong with how TOOL treats PATH, and what it said."""
    code, text, seconds, peak = run([tool, path, *passes, "-o", out])
    bad = []
    if code not in (0, 1):
        bad.append(f"exit code {code}")
    if expect == "reject" and not passes and code == 0:
        bad.append("accepted")
    if code == 1 and f"{os.path.basename(path)}:" not in text:
        bad.append("the diagnostic does not name the file")
    if code == 1 and "error: " not in text:
        bad.append("no error is reported")
    if code == 1 and os.path.exists(out):
        bad.append("an output was left")
    if seconds > SECONDS:
        bad.append(f"{seconds:.1f} s")
    if peak > MEGABYTES:
        bad.append(f"{peak:.0f} MB")
    if os.path.exists(out):
        os.remove(out)
    return bad, code, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bin")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    data = os.path.join(os.environ.get("PRUNE_SHARED", ""), "malformed")
    if not os.environ.get("PRUNE_SHARED") or not os.path.isdir(data):
        print("skipped: PRUNE_SHARED names no folder with malformed/")
        return SKIPPED
    tool = os.path.join(args.bin, "prune-opt")
    failed = passed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = os.path.join(scratch, "malformed")
        shutil.copytree(data, work)
        link = os.path.join(work, "link_out.bin")
        if not os.path.lexists(link):
            os.symlink("/etc/hostname", link)
        with open(os.path.join(work, "EXPECT.tsv"), encoding="utf-8") as f:
            rows = list(csv.DictReader(f, delimiter="\t"))
        for row in rows:
            path = os.path.join(work, row["file"])
            said = []
            for passes in PIPELINES:
                bad, code, text = offences(tool, path, row["expect"], passes,
                                           os.path.join(scratch, "out.prn"))
                said += [f"{' '.join(passes) or 'import'}: {b}" for b in bad]
                if code == 1:
                    break
            failed, passed = failed + bool(said), passed + (not said)
            if said or args.all:
                print(f"{row['file']} ({row['expect']}: {row['what']}):",
                      "; ".join(said) or "ok")
                print("   ", text.strip().replace(work + "/", "")[:600]
                      .replace("\n", "\n    "))
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
