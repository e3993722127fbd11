"""Failing calls: a clean error, and files that are whole or as they were.

usage: sweep.py BIN LIBRARY {alloc,io,space} [--every] [--only COMMAND]

Runs each of some commands of the tools with its N-th allocation failing, for
many N (all of them with --every): once alone, once with all that follow. Or
its N-th call on an output file, or with a disk that is full after N bytes. What
must hold:

  - it ends with 0 and the outputs that it gives without the fault, or with 1
    and a message;
  - with 1 the outputs that were there before are what they were;
  - the folder has no other files than before."""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "fuzzers"))
import make_seeds  # noqa: E402

TEXT = """module attributes {ir_version = 8, opset_import = \
list[{domain = "", version = 17}]} {
  onnx.graph {name = "g", body = region<0>, outputs = ["y"]} {
  ^(%x: tensor<(n)x8xf32>):
    %a = onnx.initializer {value = dense<VALUES>} : tensor<8x64xf32>
    %b = onnx.initializer {value = dense<VALUES>} : tensor<64x4xf32>
    %s = onnx.Constant {value = dense<[-1, 64]>} : tensor<2xi64>
    %h = onnx.MatMul(%x, %a) : tensor<*xf32>
    %i = onnx.Reshape(%h, %s) : tensor<*xf32>
    %r = onnx.Relu(%i) : tensor<*xf32>
    %y = onnx.MatMul(%r, %b) : tensor<*xf32>
    onnx.return(%y)
  }
}
"""
LOWERING = ("--infer-shapes", "--canonicalize", "--fold-constants", "--cse",
            "--dce", "--lower-onnx-to-nn", "--nn-widen", "--nn-simplify",
            "--nn-fuse", "--nn-plan", "--lower-nn-to-mem", "--plan-memory")
FIRST, SOME = 60, 40  # faults of a kind that are tried


def dense(shape):
    values = np.random.default_rng(1).standard_normal(shape).round(3)
    return str(values.tolist())


def commands(tool):
    """Arguments; what begins with out is an output that is there before."""
    opt, profdata = tool("prune-opt"), tool("prune-profdata")
    native = {"compile": [tool("prunec"), "in.onnx", "-o", "out.o"],
              "cuda": [tool("prunec"), "in.onnx", "-o", "out.cu"]}
    return {
        "prune": [opt, "in.onnx", "--infer-shapes", "--score-magnitude",
                  "--select-nm=n=2,m=4", "-o", "out.onnx"],
        "external": [opt, "in.onnx", "--score-magnitude",
                     "--select-nm=n=2,m=4", "--data=external", "-o",
                     "out.onnx"],
        "shrink": [opt, "in.prn", "--infer-shapes", "--fold-constants",
                   "--canonicalize", "--score-magnitude",
                   "--select-channels=ratio=0.5", "--compact-channels",
                   "--report=out.json", "--remarks=out.yaml", "-o", "out.prn"],
        "lower": [opt, "in.prn", *LOWERING, "-o", "out.prn"],
        "rows": [opt, "in.onnx", "--score-magnitude",
                 "--permute-channels=n=2,m=4",
                 "--select-unstructured=sparsity=0.5,scope=row", "-o",
                 "out.onnx"],
        "merge": [profdata, "merge", "in.prof", "in.prof", "-o", "out.prof"],
        **(native if os.path.exists(tool("prunec")) else {}),
    }


def prepare(folder, tool):
    text = TEXT
    for shape in ((8, 64), (64, 4)):
        text = text.replace("VALUES", dense(shape), 1)
    (folder / "in.prn").write_text(text)
    subprocess.run([tool("prune-opt"), "in.prn", "-o", "in.onnx"], cwd=folder,
                   check=True)
    make_seeds.profiles(folder)
    (folder / "profile" / "plain").rename(folder / "in.prof")
    shutil.rmtree(folder / "profile")


class Sweep:
    def __init__(self, folder, library, argv):
        self.folder, self.library, self.argv = folder, library, argv
        self.counts = folder.parent / "counts"
        self.failures = self.runs = self.errors = 0

    def run(self, fault):
        env = dict(os.environ, LD_PRELOAD=self.library, PRUNE_FAULT=fault,
                   PRUNE_FAULT_COUNT=str(self.counts))
        done = subprocess.run(self.argv, cwd=self.folder, env=env, text=True,
                              capture_output=True, check=False, timeout=60)
        self.runs += 1
        return done.returncode, done.stderr

    def files(self):
        """Reports tell times: their numbers do not count."""
        return {p.name: re.sub(rb"[0-9.e+-]+", b"0", p.read_bytes())
                if p.suffix == ".json" else p.read_bytes()
                for p in self.folder.iterdir()}

    def first(self):
        """Without a fault; then the outputs are something else."""
        code, err = self.run("none:0")
        if code:
            sys.exit(f"fails without a fault: {err}")
        self.good = self.files()
        self.total = [int(n) for n in self.counts.read_text().split()]
        self.reset()

    def reset(self):
        for path in self.folder.iterdir():
            if path.name not in self.good:
                path.unlink()
        for name in self.good:
            if name.startswith("out."):
                (self.folder / name).write_bytes(b"old " + name.encode())
        self.before = self.files()

    def may_change(self, touched, now, fault):
        """Remarks also tell of what failed; a report comes after the output;
        and nobody can rename two files at once."""
        whole = all(now.get(n) == self.good[n] for n in touched - {"out.yaml"})
        last = fault.endswith(f":{self.total[1]}") and fault.startswith("io")
        allowed = {"out.yaml"}
        if "out.json" in self.good and "out.json" not in touched:
            allowed.add("out.prn")
        if last:
            allowed.add("out.onnx.data")
        return whole and touched <= allowed

    def check(self, fault):
        code, err = self.run(fault)
        now, bad = self.files(), []
        if code == 0 and now != self.good:
            bad.append("succeeds with other outputs")
        touched = {n for n in {*now, *self.before}
                   if now.get(n) != self.before.get(n)}
        if code == 1 and not self.may_change(touched, now, fault):
            bad.append(f"fails, but touched {sorted(touched)}")
        if code == 1 and "error: " not in err:
            bad.append("fails without a message")
        if code not in (0, 1):
            bad.append(f"ends with {code}: {err[-300:]}")
        self.errors += code == 1
        if bad:
            self.failures += 1
            print(f"  {fault}: {'; '.join(bad)}", flush=True)
        if now != self.before:
            self.reset()

    def points(self, kind, every):
        n = self.total[("alloc", "io", "space").index(kind)]
        if every or n <= FIRST + SOME:
            return range(1, n + 1)
        rest = np.linspace(FIRST + 1, n, SOME).astype(int)
        return sorted({*range(1, FIRST + 1), *rest.tolist()})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("library")
    parser.add_argument("kind", choices=("alloc", "io", "space"))
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--only")
    args = parser.parse_args()
    failed = 0

    def tool(name):
        return os.path.join(os.path.abspath(args.bin), name)

    for name, argv in commands(tool).items():
        if args.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch) / "work"
            folder.mkdir()
            prepare(folder, tool)
            sweep = Sweep(folder, os.path.abspath(args.library), argv)
            sweep.first()
            for n in sweep.points(args.kind, args.every):
                sweep.check(f"{args.kind}:{n}")
                if args.kind == "alloc":
                    sweep.check(f"{args.kind}:{n}+")
            failed += sweep.failures
            print(f"{name}: {sweep.total} allocations, calls, bytes; "
                  f"{sweep.runs} runs, {sweep.errors} errors, "
                  f"{sweep.failures} wrong", flush=True)
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
