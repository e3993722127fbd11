"""Includes go downward only: check every #include against layers.txt."""
import os
import re

from common import files, read, report

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def rules():
    table = {}
    for line in read("test/lint/layers.txt").split("\n"):
        line = line.split("#")[0].strip()
        if line:
            folder, allowed = line.split(":")
            table[folder] = allowed.split()
    return table


def within(path, folder):
    return path == folder or path.startswith(folder + "/")


def offence(table, name, bracket, target):
    """Why NAME may not include TARGET, or None."""
    fits = [d for d in table if within(name, d)]
    if not fits:
        return "no line of layers.txt covers this folder"
    allowed = table[max(fits, key=len)]
    if bracket == "<":
        fenced = {a[1:] for row in table.values() for a in row if a[0] == "<"}
        for prefix in fenced:
            if target.startswith(prefix) and "<" + prefix not in allowed:
                return f"may not include <{target}>"
        return None
    if "/" not in target:  # beside the file, or generated for its folder
        target = os.path.join(os.path.dirname(name), target)
    if any(within(target, a) for a in allowed if a[0] != "<"):
        return None
    return f'may not include "{target}"'


def main():
    table = rules()
    names = files(".c", ".h", ".def")
    bad = []
    for name in names:
        text = read(name)
        for m in INCLUDE.finditer(text):
            why = offence(table, name, m[1], m[2])
            if why:
                bad.append((name, text.count("\n", 0, m.start(2)) + 1, why))
    report(len(names), bad)


if __name__ == "__main__":
    main()
