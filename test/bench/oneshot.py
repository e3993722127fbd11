"""Calibrated pruning in one shot: what is left of each model's metric, and how
far its predictions go from the dense model's.

    oneshot.py [MODEL …] [--peer PYTHON] [--patterns u50,u60,u70,2:4]

All methods see the same calibration inputs, of which none is judged by. --peer:
a Python that has onnxsim 0.8, whose Wanda and SparseGPT see them too. Needs the
data folder."""
import argparse
import os
import subprocess
import sys
import time

import numpy as np
import onnx
from onnx import numpy_helper

import calibration
from measure import Failed, scratch, shared, stamp, table, tool
from shrink import PREPARE
from zoo import MODELS, source

# {u}: sparsity=F or n=N,m=M
METHODS = {
    "magnitude": "score-magnitude,{select}",
    "Wanda": "score-wanda,{select}",
    "SparseGPT": "prune-obs{{{budget}}}",
    "SparseGPT, sequential": "prune-sequential{{prune-obs{{{budget}}}}}",
    "ALPS": "prune-admm{{{budget},effort=3}}",
    "best, uniform": "prune-sequential(folds=4){{compensate-inputs,"
                     "prune-admm{{{budget},effort=4}}}}",
    "best": "calibrate{{folds=4}},measure-sensitivity{{share={share}}},"
            "allocate-loss{{sparsity={share}}},prune-sequential(folds=4)"
            "{{compensate-inputs,prune-admm{{effort=4}}}}",
}
# n:m leaves no zeros to share out, but channels to put in order.
BEST_NM = ("score-wanda{{unobserved=skip}},permute-channels{{{budget}}},"
           "prune-sequential(folds=4){{compensate-inputs,"
           "prune-admm{{{budget},effort=4}}}}")

# Only where --methods names them.
MORE = {
    "RIA": "score-ria,{select}",
    "magnitude, permuted": "score-magnitude,{permute}{select}",
    "Wanda, permuted": "score-wanda,{permute}{select}",
    "RIA, permuted": "score-ria,{permute}{select}",
    "ALPS, damping 0.1": "prune-admm{{{budget},effort=3,damping=0.1}}",
    "ALPS, damping 1": "prune-admm{{{budget},effort=3,damping=1}}",
    "SparseGPT, folds": "calibrate{{folds=4}},prune-obs{{{budget}}}",
    "ALPS, folds": "calibrate{{folds=4}},prune-admm{{{budget},effort=3}}",
    "RIA, refit": "score-ria,{select},compensate-refit",
    "RIA, permuted, refit": "score-ria,{permute}{select},compensate-refit",
    "SparseGPT, permuted": "score-wanda,{permute}prune-obs{{{budget}}}",
    "ALPS, permuted": "score-wanda,{permute}prune-admm{{{budget},effort=3}}",
}

ONNXSIM = """
import os, sys, numpy as np, onnx, onnxsim.pruning as p
m = onnx.load(sys.argv[1])
data = [dict(np.load(os.path.join(sys.argv[3], f)))
        for f in sorted(os.listdir(sys.argv[3]))]
how = {"wanda": p.apply_wanda_pruning, "sparsegpt": p.apply_sparsegpt_pruning}
how = how[sys.argv[4]]
u = eval("dict(" + sys.argv[5] + ")")
onnx.save(how(m, calibration_data=data, **u), sys.argv[2])
"""
PEERS = {"onnxsim Wanda": "wanda", "onnxsim SparseGPT": "sparsegpt"}
LESS_IS_BETTER = ("char-GPT", "stories260K")


def budget(pattern):
    if pattern.startswith("u"):
        return f"sparsity={int(pattern[1:]) / 100}"
    n, m = pattern.split(":")
    return f"n={n},m={m}"


def passes(method, pattern):
    how = budget(pattern)
    rank = "row" if method == "Wanda" else "tensor"
    select = (f"select-unstructured{{{how},scope={rank}}}"
              if pattern.startswith("u") else f"select-nm{{{how}}}")
    share = how.split("=")[1] if pattern.startswith("u") else "0.5"
    permute = "" if pattern.startswith("u") else f"permute-channels{{{how}}},"
    text = (METHODS | MORE)[method]
    if method == "best" and ":" in pattern:
        text = BEST_NM
    return text.format(select=select, budget=how, share=share,
                       permute=permute)


def constants(path):
    """The arrays of a model, by name."""
    model = onnx.load(path)
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for n in model.graph.node:
        if n.op_type == "Constant" and n.attribute[0].name == "value":
            found[n.output[0]] = numpy_helper.to_array(n.attribute[0].t)
    return found


def zeros(path, dense):
    """The share of zeros in the weights that have new ones."""
    before, after = constants(dense), constants(path)
    gone = count = 0
    for name, w in after.items():
        if name in before and before[name].shape == w.shape and w.ndim > 1:
            new = np.sum((w == 0) & (before[name] != 0))
            gone += new
            count += w.size if new else 0
    return gone / count if count else 0


def prune(method, pattern, base, profile, inputs, out, peer):
    if method in PEERS:
        run = subprocess.run([peer, "-c", ONNXSIM, base, out, inputs,
                              PEERS[method], budget(pattern)],
                             capture_output=True, text=True, check=False)
        if run.returncode:
            lines = run.stderr.strip().splitlines() or ["no output"]
            raise Failed(lines[-1])
        return
    tool("prune-opt", base, "--infer-shapes", f"--profile={profile}",
         f"--calibration={inputs}", "--threads=2",
         f"--pass-pipeline={passes(method, pattern)}", "-o", out, poll=0)


def attempt(method, pattern, base, folder, inputs, peer, judge):
    """(metric, share lost), or NaNs."""
    none = float("nan"), float("nan")
    profile, out = (os.path.join(folder, n) for n in ("p.prof", "o.onnx"))
    start = time.perf_counter()
    try:
        prune(method, pattern, base, profile, inputs, out, peer)
        took = time.perf_counter() - start
        found = judge(out)
        print(f"  {pattern} {method}: {found[0]:.4f}, loses {found[1]:.4f}, "
              f"{zeros(out, base):.1%} zeros, {took:.1f} s", file=sys.stderr)
        return found
    except Failed as e:
        print(f"  {pattern} {method}: {e}", file=sys.stderr)
        return none


def judged(model, patterns, methods, peer):
    """Rows of both tables."""
    rows = [], []
    with scratch() as folder:
        base = os.path.join(folder, "base.onnx")
        tool("prune-opt", source(model, folder), *PREPARE, "-o", base, poll=0)
        inputs = calibration.write(model, folder)
        start = time.perf_counter()
        tool("prune-run", base, "--inputs", inputs, "--profile-moments=full",
             "--threads=2", "--profile-out", os.path.join(folder, "p.prof"),
             poll=0)
        words, dense = calibration.judge(model, base, folder)
        held = calibration.Held(model, base)
        print(f"{model.name}: {words} {dense:.4f}, observed in "
              f"{time.perf_counter() - start:.1f} s", file=sys.stderr)

        def judge(path):
            return calibration.judge(model, path, folder)[1], held.lost(path)
        for pattern in patterns:
            cells = [attempt(m, pattern, base, folder, inputs, peer, judge)
                     for m in methods]
            rows[0].append(row((f"{model.name}, {words}", f"{dense:.4f}",
                                pattern), [c[0] for c in cells],
                               model.name in LESS_IS_BETTER))
            rows[1].append(row((model.name, pattern), [c[1] for c in cells],
                               True))
    return rows


def row(head, cells, less):
    best = (np.nanmin if less else np.nanmax)(cells)
    return (*head, *("–" if np.isnan(c) else f"**{c:.4f}**" if c == best
                     else f"{c:.4f}" for c in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--peer", metavar="PYTHON")
    parser.add_argument("--patterns", default="u50,u60,u70,2:4")
    parser.add_argument("--methods", default=";".join(METHODS),
                        help="separated by ';'")
    args = parser.parse_args()
    if not shared():
        raise SystemExit("PRUNE_SHARED is not set: no models")
    methods = args.methods.split(";") + (list(PEERS) if args.peer else [])
    metrics = [("model", "dense", "zeros", *methods)]
    losses = [("model", "zeros", *methods)]
    for model in MODELS:
        if (model.name in (args.models or calibration.INPUTS)
                and model.name in calibration.INPUTS):
            found = judged(model, args.patterns.split(","), methods, args.peer)
            metrics += found[0]
            losses += found[1]
    print(f"## In one shot\n\n{stamp()}. No training. Calibrated on inputs "
          "that are not judged by; the best of a row is bold. Less is better "
          "for nll, more elsewhere.\n")
    print(table(metrics))
    print("\nWhat predictions lose on inputs held out: the mean divergence of "
          "Kullback and Leibler from the dense model's, in nats; of MiniLM the "
          "share of the embeddings' squares.\n")
    print(table(losses))


if __name__ == "__main__":
    sys.exit(main())
