"""3x3 convolutions by minimal filtering: ours against ONNX Runtime's dense
ones, in turns, one thread, and how far each is from float64.

    winograd.py                           the shapes of ResNet
    winograd.py 64x56 256x14:2            channels x size[: tile]

Each shape runs as one convolution with bias and ReLU, whose weights stay in
the caches, and as a chain of six, whose weights come from where they fit. A
figure is the least CPU time of many runs; `of peak` counts the multiply-adds
of the definition. Needs onnxruntime and numpy."""
import argparse
import os
import re
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
from onnx import load, numpy_helper, save  # noqa: E402

from cpu import Peak  # noqa: E402
from cpu_engines import Ort, Ours, error  # noqa: E402
from cpu_models import Net  # noqa: E402
from measure import scratch, stamp, table, tool  # noqa: E402

SHAPES = ("64x56", "128x28", "256x14", "512x7:2")
LOWER = ("--infer-shapes", "--canonicalize", "--fold-constants", "--cse",
         "--dce", "--lower-onnx-to-nn", "--nn-simplify", "--nn-fuse")
CHAIN = 6


def model(base, channels, size, length):
    """Writes BASE.onnx; returns its input and its multiply-adds."""
    net = Net("chain", "dense", channels)
    x = net.input("x", "float", [1, channels, size, size])
    for _ in range(length):
        x = net.op("Relu", net.conv(x, channels, channels, size, 3)[0])
    net.output(net.rename_last("y"), "float", [1, channels, size, size])
    save(net.model(opset=13, producer="prune bench"), base + ".onnx")
    x = np.random.default_rng(0).standard_normal(
        (1, channels, size, size), np.float32)
    return x, net.flops / 2


def library(base, tile):
    """Compiles BASE.onnx with the plan that tile says; 0: none."""
    plan = f'pack = "winograd", pack_tile = {tile}, ' if tile else ""
    text, out = f"{base}-{tile}.prn", f"{base}-{tile}.so"
    tool("prune-opt", base + ".onnx", *LOWER, "-o", text)
    with open(text, encoding="utf-8") as f:
        module = f.read()
    with open(text, "w", encoding="utf-8") as f:
        f.write(module.replace("group = 1, body", f"group = 1, {plan}body"))
    tool("prunec", text, "-o", out, "--prefix=bench")
    return {"library": out}


def reference(path, x):
    """The model in double precision."""
    values = {t.name: numpy_helper.to_array(t).astype(np.float64)
              for t in load(path).graph.initializer}
    for node in load(path).graph.node:
        if node.op_type == "Relu":
            x = np.maximum(x, 0)
            continue
        w, bias = (values[n] for n in node.input[1:])
        height, width = x.shape[2:]
        padded = np.pad(x.astype(np.float64),
                        ((0, 0), (0, 0), (1, 1), (1, 1)))
        x = bias.reshape(1, -1, 1, 1) + sum(
            np.einsum("oc,nchw->nohw", w[:, :, i, j],
                      padded[:, :, i:i + height, j:j + width], optimize=True)
            for i in range(3) for j in range(3))
    return x


def least(run, seconds):
    """Milliseconds of CPU time."""
    best, stop = float("inf"), time.perf_counter() + seconds
    run()
    while time.perf_counter() < stop:
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best * 1e3


def measure(args, folder, peak, channels, size, tile, length):
    base = os.path.join(folder, f"c{channels}-{size}-{length}")
    x, work = model(base, channels, size, length)
    engines = [Ort({"base": base}, {"x": x}),
               Ours(library(base, 0), {"x": x}),
               Ours(library(base, tile), {"x": x})]
    best = [float("inf")] * len(engines)
    for _ in range(args.rounds):
        peak.measure()
        for i, run in enumerate(engines):
            best[i] = min(best[i], least(run, args.seconds))
    want = reference(base + ".onnx", x)
    wrong = [f"{error(e.output(), want):.1e}" for e in engines]
    ort, direct, ours = best
    return (f"{channels} → {channels}, {size}²",
            "one" if length == 1 else length, tile, f"{ort:.4f}",
            f"{work / ort / 5e5 / peak.best:.2f}", f"{direct:.4f}",
            f"{ours:.4f}", f"{work / ours / 5e5 / peak.best:.2f}",
            f"{ort / ours:.2f}", wrong[0], wrong[2])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shapes", nargs="*", default=SHAPES)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=.1)
    args = parser.parse_args()
    rows = [("convolution", "layers", "tile", "ONNX Runtime ms", "of peak",
             "ours, direct ms", "ours ms", "of peak", "times faster",
             "its error", "our error")]
    with scratch() as folder:
        peak = Peak(folder)
        for text in args.shapes:
            shape = re.fullmatch(r"(\d+)x(\d+)(?::([24]))?", text)
            if not shape:
                parser.error(f"{text}: expected CHANNELSxSIZE[:TILE]")
            channels, size, tile = (int(n or 4) for n in shape.groups())
            for length in (1, CHAIN):
                rows.append(measure(args, folder, peak, channels, size, tile,
                                    length))
    print(f"{stamp()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
