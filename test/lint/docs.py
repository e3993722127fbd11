"""The generated pages of docs/ are what the tool writes today.

usage: docs.py BUILD [--write]

--write brings the pages up to date."""
import difflib
import os
import subprocess
import sys

from common import ROOT, read, report

PAGES = ("passes", "ops", "operators", "rules")
CASES = "test/onnx_nodes.cases"


def with_cases(text):
    """The operators' table with one column more: node cases that pass."""
    cases = dict(line.split(" ", 1) for line in read(CASES).splitlines()
                 if not line.startswith("#"))
    lines, domain = [], ""
    for line in text.splitlines():
        if line.startswith("## "):
            domain = "" if line == "## ai.onnx" else line[3:] + "."
        if line.startswith("| operator"):
            line += " node cases |"
        elif line.startswith("|---"):
            line += "---|"
        elif line.startswith("| `"):
            count = cases.get(domain + line.split("`")[1], "")
            line += f" {count.replace(' ', ' of ')} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def offence(tool, page, name, write):
    """What is wrong with file NAME, which should hold the tool's PAGE."""
    run = subprocess.run([tool, f"--emit-docs={page}"], capture_output=True,
                         text=True, check=False)
    if run.returncode:
        return run.stderr.strip()
    if page == "operators":
        run.stdout = with_cases(run.stdout)
    if write:
        with open(os.path.join(ROOT, name), "w", encoding="utf-8") as f:
            f.write(run.stdout)
    diff = list(difflib.unified_diff(
        read(name).splitlines(), run.stdout.splitlines(), name, "the tool",
        lineterm="", n=0))
    if not diff:
        return None
    return ("out of date; `test/lint/docs.py BUILD --write` mends it\n"
            + "\n".join(diff[:20]))


def main():
    tool = os.path.join(sys.argv[1], "bin", "prune-opt")
    names = {p: f"docs/{p}.md" for p in PAGES}
    have = [p for p in PAGES if os.path.exists(os.path.join(ROOT, names[p]))]
    found = [(names[p], 0, offence(tool, p, names[p], "--write" in sys.argv))
             for p in have]
    report(len(have), [f for f in found if f[2]])


if __name__ == "__main__":
    main()
