"""Files stay below 800 lines and functions below 60."""
import shutil
import subprocess
import sys

from common import ROOT, files, read, report

FILE_LINES = 800
FUNCTION_LINES = 60


def long_functions(names):
    tags = subprocess.run(
        ["ctags", "-f", "-", "--fields=+ne", "--c-kinds=f",
         "--c++-kinds=f", "-L", "-"],
        input="\n".join(names), capture_output=True, text=True, check=True,
        cwd=ROOT)
    for row in tags.stdout.splitlines():
        cells = row.split("\t")
        fields = dict(c.split(":", 1) for c in cells[3:] if ":" in c)
        first, last = int(fields["line"]), int(fields.get("end", 0))
        if last - first + 1 > FUNCTION_LINES:
            yield cells[1], first, (f"{cells[0]} has {last - first + 1} lines;"
                                    f" the limit is {FUNCTION_LINES}")


def main():
    names = files(".c", ".h", ".py", ".sh")
    if not shutil.which("ctags"):
        sys.exit("ctags is missing (Debian: universal-ctags)")
    bad = []
    for name in names:
        lines = read(name).count("\n")
        if lines > FILE_LINES:
            bad.append((name, 0, f"{lines} lines; the limit is {FILE_LINES}"))
    c = [n for n in names if n.endswith(".c") or
         n.startswith(("backends/cuda/device", "test/cuda"))]
    bad += long_functions(c)
    total = sum(read(n).count("\n") for n in names
                if n.endswith((".c", ".h")) and not n.startswith("test"))
    print(f"{total} lines of C (without tests)")
    report(len(names), bad)


if __name__ == "__main__":
    main()
