"""Functions with a better replacement, and paths of one machine."""
import re

from common import code_only, files, read, report

# pattern of a call, folders where it is allowed, what to use
CALLS = [
    (r"(strcpy|strcat|stpcpy|gets)", (), "copies without a bound"),
    (r"(sprintf|vsprintf)", (), "writes without a bound: use snprintf"),
    (r"(strtok|strtok_r)", (), "changes its input: use prn_strv"),
    (r"(malloc|calloc|realloc|strdup|strndup|alloca)",
     ("ir/support", "test"), "use prn_alloc or an arena"),
    (r"(exit|_exit|quick_exit)", ("tools", "test"), "return a status"),
    (r"(abort)", ("ir/support", "test"), "return a status or assert"),
    (r"(atoi|atol|atof)", (), "cannot report an error"),
    (r"(rand|srand)", (), "not the same everywhere"),
]
MACHINE = re.compile(r"/(?:work|root|farm|home|tmp)/[a-z]")
TEXT = (".c", ".h", ".def", ".py", ".sh", ".md", ".txt", ".test", ".prn",
        ".cmake", ".in", ".yaml", "run", "demo", "check")
# A path that only looks like one of a machine: why it may stay.
MACHINE_OK = {"test/lint/banned.py": "the pattern itself"}


def compiled():
    return [(re.compile(r"(?<![\w.>])" + p + r"\s*\("), ok, why)
            for p, ok, why in CALLS]


def main():
    bad = []
    for name in files(".c", ".h"):
        text = code_only(read(name))
        for pattern, allowed, why in compiled():
            if name.startswith(tuple(a + "/" for a in allowed)):
                continue
            for m in pattern.finditer(text):
                line = text.count("\n", 0, m.start()) + 1
                bad.append((name, line, f"{m[1]}: {why}"))
    names = files(*TEXT)
    for name in names:
        if name in MACHINE_OK:
            continue
        for i, row in enumerate(read(name).split("\n"), 1):
            m = MACHINE.search(row)
            if m:
                bad.append((name, i, f"a path of one machine: {m[0]}…"))
    report(len(names), bad)


if __name__ == "__main__":
    main()
