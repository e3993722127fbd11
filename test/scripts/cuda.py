"""Compiles models for CUDA, builds what comes out without a GPU, and compares
what it computes with ONNX Runtime.

    cuda.py --mocks=DIR --emulator=DIR [options] MODEL [INPUTS.npz]
      --precision=T    of prunec (f16)
      --tolerance=E    relative L2 error that is allowed (1e-2, 1e-4 for f32)
      --arch=N         compute capability that the mock driver says it has (90)
      --dim=NAME=N     for prunec, and for random inputs
      --size=NAME=N    for random inputs
      --explain        shows how each step was done
      -- ARGS          more arguments for prunec

The kernels are compiled from the very text that nvcc would get, for the
emulator; the host program is the artefact's own run.c, unchanged, under a
driver and libraries that are mocked (test/cuda/mock). Random inputs where none
are given.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

import ort_compare

WARN = ["-Wall", "-Wextra", "-Wno-unused-variable", "-Wno-unused-parameter"]


def call(*command, **more):
    done = subprocess.run([str(c) for c in command], text=True,
                          capture_output=True, check=False, **more)
    if done.returncode:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stderr}"
                 f"{done.stdout}")
    return done.stdout + done.stderr


class Artefact:
    """A folder that prunec wrote, built for the emulator."""

    def __init__(self, model, folder, mocks, emulator, precision="f16",
                 more=(), optimise="-O2"):
        self.folder, self.mocks = pathlib.Path(folder), mocks
        self.said = call("prunec", model, "-o", self.folder, "--target=cuda",
                         "--prefix=model", f"--precision={precision}",
                         "--kernels=source", *more)
        self.kernels = self.folder / "kernels.so"
        call(os.environ.get("CXX", "g++"), "-std=c++17", optimise, *WARN,
             "-Werror", "-DPMK_CPU", f"-I{emulator}",
             f"-I{self.folder}", "-shared", "-fPIC",
             "-x", "c++", self.folder / "model_kernels.cu", "-o", self.kernels)
        # The mock driver wants an image that begins as one does.
        (self.folder / "image.c").write_text(
            '#include "prune_cuda_model.h"\n'
            "static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};\n"
            "const prune_cuda_image model_images[] = {{image, sizeof image, 0},"
            " {NULL, 0, 0}};\n")
        sources = [p for p in sorted(self.folder.glob("*.c"))]
        self.program = self.folder / "model-run"
        call(os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O1",
             "-Wall", "-Wextra", "-Werror", *sources, "-o", self.program,
             "-ldl", "-lm")

    def run(self, feeds, outputs, arch=90, more=()):
        """Arrays by position, and what the program printed."""
        arguments = []
        for i, x in enumerate(feeds):
            path = self.folder / f"in{i}.bin"
            path.write_bytes(np.ascontiguousarray(x).tobytes())
            arguments.append(f"{path}:{'x'.join(map(str, x.shape))}")
        environment = dict(os.environ, LD_LIBRARY_PATH=str(self.mocks),
                           PRUNE_MOCK_KERNELS=str(self.kernels),
                           PRUNE_MOCK_ARCH=str(arch))
        said = call(self.program, self.folder / "model.blob", *arguments, "-o",
                    self.folder, *more, env=environment)
        found = []
        for i, want in enumerate(outputs):
            raw = (self.folder / f"{i}.bin").read_bytes()
            found.append(np.frombuffer(raw, want.dtype).reshape(want.shape))
        return found, said


def random_feeds(session, sizes, seed=0):
    rng = np.random.default_rng(seed)
    feeds = {}
    for v in session.get_inputs():
        shape = [d if isinstance(d, int) else sizes.get(d, 2) for d in v.shape]
        if "float" in v.type or "double" in v.type:
            kind = {"tensor(float16)": np.float16,
                    "tensor(double)": np.float64}.get(v.type, np.float32)
            feeds[v.name] = rng.standard_normal(shape).astype(kind)
        elif v.type in ("tensor(int8)", "tensor(uint8)"):
            kind = v.type[7:-1]
            low, high = np.iinfo(kind).min, np.iinfo(kind).max + 1
            feeds[v.name] = rng.integers(low, high, shape).astype(kind)
        elif v.type == "tensor(bool)":
            feeds[v.name] = rng.random(shape) < 0.5
        elif "mask" in v.name:
            feeds[v.name] = np.ones(shape, np.int64)
        else:
            feeds[v.name] = rng.integers(0, 2 if "type" in v.name else 50,
                                         shape)
    return feeds


def error(got, want):
    if want.dtype.itemsize == 1 and want.dtype.kind in "iu":  # quantised
        got, want = got.astype(np.float32), want.astype(np.float32)
    return ort_compare.error(got, want)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("inputs", nargs="?")
    p.add_argument("--mocks", required=True)
    p.add_argument("--emulator", required=True)
    p.add_argument("--precision", default="f16")
    p.add_argument("--tolerance", type=float)
    p.add_argument("--arch", type=int, default=90)
    p.add_argument("--dim", action="append", default=[])
    p.add_argument("--size", action="append", default=[])
    p.add_argument("--explain", action="store_true")
    p.add_argument("--keep")
    known, more = p.parse_known_args()
    sizes = {k: int(v) for k, v in
             (d.split("=") for d in known.dim + known.size)}
    session = ort_compare.session(known.model)
    feeds = random_feeds(session, sizes)
    if known.inputs:
        given = np.load(known.inputs)
        feeds = {v.name: given[v.name] for v in session.get_inputs()}
    want = session.run(None, feeds)
    tolerance = known.tolerance
    if tolerance is None:
        tolerance = 1e-4 if known.precision == "f32" else 1e-2
    with tempfile.TemporaryDirectory() as folder:
        made = Artefact(known.model, known.keep or folder, known.mocks,
                        known.emulator, known.precision,
                        [f"--dim={d}" for d in known.dim]
                        + [m for m in more if m != "--"])
        got, said = made.run(list(feeds.values()), want, known.arch,
                             ["-e"] if known.explain else [])
    if known.explain:
        print(said)
    worst = max((error(g, w) for g, w in zip(got, want)), default=0.0)
    print(f"{known.model}: {known.precision}, relative L2 error {worst:.2e}")
    if not worst <= tolerance:
        sys.exit(f"more than {tolerance:g}")


if __name__ == "__main__":
    main()
