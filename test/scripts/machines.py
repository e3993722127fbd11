"""Machines whose code tests run under qemu: compile with prunec, run through
test/cross/call.c.

    machines.py MACHINE MODEL.onnx INPUTS.npz [LIMIT [OPTION OF PRUNEC]...]

compiles a model for the machine, runs it with several numbers of workers, and
compares with ONNX Runtime here; with --against=OTHER.onnx, with that model.
Prints the largest relative L2 error."""
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
ARM = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]
X86 = ["qemu-x86_64-static", "-cpu"]
# name: options of prunec, C compiler, how to run, options of the caller. An
# emulated CPU stops at an instruction that it does not have.
MACHINES = {
    "aarch64": (["--target=aarch64-linux-gnu"], "aarch64-linux-gnu-gcc", ARM,
                []),
    "x86-64-v2": (["--march=x86-64-v2"], "cc", X86 + ["Nehalem"], []),
    "x86-64-v3": (["--march=x86-64-v3"], "cc", X86 + ["Haswell"], ["--room"]),
    "here": ([], "cc", [], []),
}
WORKERS = ["1", "2", "3", "7"]


class Failed(Exception):
    pass


def command(args):
    r = subprocess.run(args, capture_output=True, text=True)
    if r.returncode:
        raise Failed(f"{args[0]}: exit code {r.returncode}: {r.stderr[-300:]}")
    return r.stdout


class Machine:
    """One of MACHINES; files go to folder."""

    def __init__(self, name, folder):
        self.options, compiler, runner, more = MACHINES[name]
        self.folder, self.name = folder, name
        caller = self.path("call")
        command([compiler, "-std=gnu11", "-O1", f"-I{ROOT}",
                 f"{ROOT}/test/cross/call.c", "-o", caller, "-ldl"])
        self.caller = [*runner, caller, *more]

    def path(self, name):
        return os.path.join(self.folder, f"{self.name}-{name}")

    def compile(self, model, options=()):
        library = self.path("model.so")
        command(["prunec", model, "-o", library, "--prefix=m", *self.options,
                 *options])
        return library

    def run(self, library, inputs, types, workers=WORKERS):
        """Arrays in, arrays out; types: those of the outputs."""
        with open(self.path("in"), "wb") as f:
            for a in inputs:
                f.write(np.array([a.nbytes, a.ndim, *a.shape],
                                 dtype="<i8").tobytes())
                f.write(np.ascontiguousarray(a).tobytes())
        command([*self.caller, library, "m_model",
                 self.path("in"), self.path("out"), *workers])
        with open(self.path("out"), "rb") as f:
            data = f.read()
        outputs = []
        for t in types:
            size, rank = np.frombuffer(data[:16], dtype="<i8")
            dims = np.frombuffer(data[16:16 + 8 * rank], dtype="<i8")
            data = data[16 + 8 * int(rank):]
            outputs.append(np.frombuffer(data[:size], dtype=t).reshape(dims))
            data = data[size:]
        return outputs


def relative(got, want):
    if got.shape != want.shape:
        raise Failed(f"shape {got.shape}, expected {want.shape}")
    a, b = got.astype(np.float64), want.astype(np.float64)
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))


def main():
    import onnxruntime as ort
    args = [a for a in sys.argv[1:] if not a.startswith("--against=")]
    against = [a[10:] for a in sys.argv[1:] if a.startswith("--against=")]
    name, model, npz = args[:3]
    limit = float(args[3]) if len(args) > 3 else 1e-5
    session = ort.InferenceSession((against or [model])[0],
                                   providers=["CPUExecutionProvider"])
    arrays = dict(np.load(npz))
    names = [i.name for i in session.get_inputs()]
    want = session.run(None, {n: arrays[n] for n in names})
    with tempfile.TemporaryDirectory() as folder:
        m = Machine(name, folder)
        try:
            got = m.run(m.compile(model, args[4:]),
                        [arrays[n] for n in names], [w.dtype for w in want])
            worst = max(relative(g, w) for g, w in zip(got, want))
        except Failed as e:
            sys.exit(f"{name}: {e}")
    print(f"{name}: relative L2 error {worst:.1e}")
    sys.exit(not worst <= limit)


if __name__ == "__main__":
    main()
