"""Whole models for the benchmark of the CUDA backend: compiled, linked, with
inputs and with what ONNX Runtime makes of them.

    models.py TOOLS DIR [--emulator=DIR]

The encoder of all-MiniLM-L6-v2's shape, 128 tokens, random weights, dense and
2:4, with few words: how many there are takes space and no time. MobileNetV2,
dense, for the convolutions. With --emulator, small ones, their kernels compiled
for the emulator.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.append(str(HERE.parent))
from cpu_models import (Net, convolution_chain, encoder,  # noqa: E402
                        mobilenet2)

LARGE = {"layers": 6, "hidden": 384, "heads": 12, "inner": 1536, "tokens": 128,
         "words": 1000}
SMALL = {"layers": 1, "hidden": 64, "heads": 2, "inner": 128, "tokens": 32,
         "words": 50}
IMAGE = ('#include "prune_cuda_model.h"\n'
         "static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};\n"
         "const prune_cuda_image NAME_images[] = {{image, sizeof image, 0},"
         " {0, 0, 0}};\n")


def call(*command):
    done = subprocess.run([str(c) for c in command], text=True,
                          capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed ({done.returncode}):\n{done.stdout}"
                 f"{done.stderr}")


def sentence(net, sizes):
    encoder(net, **sizes)
    return np.random.default_rng(0).integers(
        0, sizes["words"], (1, sizes["tokens"])).astype(np.int64)


def image(net, small):
    if small:
        convolution_chain(net, 16, 8, 3, 12)
    else:
        mobilenet2(net)
    value = net.inputs[0].type.tensor_type.shape.dim
    return np.random.default_rng(0).standard_normal(
        [d.dim_value for d in value]).astype(np.float32)


def make(pattern, small, path):
    """The model, and files of what goes in and comes out, beside it."""
    net = Net(path.stem, pattern, 1)
    if path.stem.startswith("minilm"):
        fed = sentence(net, SMALL if small else LARGE)
    else:
        fed = image(net, small)
    onnx.save(net.model(opset=13, producer="prune bench"), path)
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"])
    out, = session.run(None, {session.get_inputs()[0].name: fed})
    path.with_suffix(".in.bin").write_bytes(fed.tobytes())
    path.with_suffix(".out.bin").write_bytes(out.astype(np.float32).tobytes())


def link(name, folder, program, emulator):
    """The folder's own runtime and tables, and model.c."""
    sources = sorted(folder.glob("prune_cuda*.c")) + [
        folder / f"{name}_host.c", HERE / "model.c", HERE / "device.c"]
    if emulator:
        image = folder / "image.c"
        image.write_text(IMAGE.replace("NAME", name))
        sources.append(image)
    else:
        sources.append(folder / "image.S")
    call(os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O2", "-s",
         f"-DBENCH_MODEL={name}_cuda", f"-I{ROOT}", f"-I{folder}",
         f"-Wa,-I{folder}", *sources, "-o", program, "-ldl", "-lm")


def build(tools, name, pattern, out, emulator):
    onnx_file = out / f"{name}.onnx"
    make(pattern, bool(emulator), onnx_file)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / name
        call(tools / "prunec", onnx_file, "-o", folder, "--target=cuda",
             f"--prefix={name}",
             f"--kernels={'source' if emulator else 'compile'}")
        if not emulator and not list(folder.glob(f"{name}_kernels.fatbin")):
            sys.exit("prunec found no nvcc")
        link(name, folder, out / f"{name}-bench", emulator)
        (folder / f"{name}.blob").rename(out / f"{name}.blob")
        if emulator:
            call(os.environ.get("CXX", "g++"), "-std=c++17", "-O1",
                 "-DPMK_CPU", f"-I{emulator}", f"-I{folder}", "-shared",
                 "-fPIC", "-x", "c++", folder / f"{name}_kernels.cu", "-o",
                 out / f"{name}.so")
    onnx_file.unlink()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tools", type=pathlib.Path)
    p.add_argument("dir", type=pathlib.Path)
    p.add_argument("--emulator")
    known = p.parse_args()
    known.dir.mkdir(parents=True, exist_ok=True)
    for name, pattern in (("minilm_24", "24"), ("minilm_dense", "dense"),
                          ("mobilenet", "dense")):
        if not known.emulator or name != "minilm_dense":
            build(known.tools.resolve(), name, pattern, known.dir.resolve(),
                  known.emulator)


if __name__ == "__main__":
    main()
