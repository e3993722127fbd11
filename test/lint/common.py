"""What the lint scripts share: the list of source files and the report."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def files(*suffixes):
    """Project files, tracked or new, whose names end in one of suffixes."""
    git = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = git.stdout.split("\n")
    else:  # a tarball
        names = [os.path.relpath(os.path.join(d, f), ROOT)
                 for d, _, fs in os.walk(ROOT) for f in fs
                 if "/build" not in d and "/.git" not in d]
    return sorted(n for n in names if n.endswith(suffixes)
                  and os.path.isfile(os.path.join(ROOT, n)))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8",
              errors="replace") as f:
        return f.read()


TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'
                    r"'(?:\\.|[^'\\\n])*'", re.S)


def code_only(text):
    """C text without comments and literals; lines keep their numbers."""
    def blank(m):
        return '""' if m[0][0] == '"' else "\n" * m[0].count("\n") or " "
    return TOKENS.sub(blank, text)


def report(checked, offences):
    """Print and exit: offences is a list of (file, line or 0, what)."""
    bad = set()
    for name, line, what in offences:
        bad.add(name)
        print(f"{name}:{line}: {what}" if line else f"{name}: {what}")
    print(f"{checked - len(bad)} passed, {len(bad)} failed")
    sys.exit(1 if bad else 0)
