"""Every header compiles alone, with the flags of its folder's sources; those
of CUDA kernels as C++, in the emulator that they are tested with."""
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from common import ROOT, files, report

DEVICE = ("backends/cuda/device", "test/cuda/emulator", "test/cuda/kernels")
KEEP = ("-I", "-D", "-std=", "-isystem")


def folder_flags(build):
    """Folder -> the flags that its first source is compiled with."""
    flags = {}
    with open(os.path.join(build, "compile_commands.json"),
              encoding="utf-8") as f:
        for entry in json.load(f):
            args = shlex.split(entry["command"])
            keep = []
            for arg, after in zip(args, args[1:]):
                if arg == "-isystem":
                    keep += [arg, after]
                elif arg.startswith(KEEP):
                    keep.append(arg)
            folder = os.path.relpath(os.path.dirname(entry["file"]), ROOT)
            flags.setdefault(folder, [args[0]] + keep)
    return flags


def nearest(flags, folder):
    while folder and folder not in flags:
        folder = os.path.dirname(folder)
    return flags.get(folder) or next(iter(flags.values()))


def main():
    flags = folder_flags(sys.argv[1])

    def check(name):
        if name.startswith(DEVICE):
            if name.endswith(("_ptx.h", "_wgmma.h")) or not shutil.which("g++"):
                return None  # parts of pmk.h, or what only nvcc reads
            command = ["g++", "-std=c++17", "-DPMK_CPU",
                       *("-I" + os.path.join(ROOT, d) for d in DEVICE),
                       "-I" + ROOT, "-Wno-unused"]
            language = "c++"
        else:
            command = nearest(flags, os.path.dirname(name))
            language = "c"
        run = subprocess.run(
            command
            + ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-x", language,
               "-include", os.path.join(ROOT, name), "/dev/null"],
            cwd=sys.argv[1], capture_output=True, text=True, check=False)
        return (name, 0, run.stderr.strip()) if run.returncode else None

    names = files(".h")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = [b for b in pool.map(check, names) if b]
    report(len(names), bad)


if __name__ == "__main__":
    main()
