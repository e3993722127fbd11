"""What the lint scripts share: the list of source files and the report."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def files(*suffixes):
    """The project's files whose names end in one of suffixes. Build folders
    and hidden ones are left out, as .gitignore has it."""
    names = []
    for folder, subfolders, members in os.walk(ROOT):
        subfolders[:] = [d for d in subfolders if d != "__pycache__" and
                         not d.startswith((".", "build", "out"))]
        names += [os.path.relpath(os.path.join(folder, m), ROOT)
                  for m in members if m.endswith(suffixes)]
    return sorted(names)


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
