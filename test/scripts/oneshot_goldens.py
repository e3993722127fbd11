#!/usr/bin/env python3
"""One-shot pruning against the authors' codes.

    oneshot_goldens.py FOLDER ORACLE

Of each layer of the oracle (weights, activations, and what official codes made
of them) a model with one product is profiled and pruned. Masks of magnitude,
Wanda and RIA must be theirs bit for bit, those of prune-obs theirs but for 0.1 %, with an
error within 1 %; prune-admm must come as close to the outputs as ALPS, lose no
more than SparseGPT in the damped error, and less than a share of what SparseGPT
loses, on the calibration data and on data it has not seen. The last line says
how many checks failed."""
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CASES = ("a64x128", "b96x256", "c40x200", "d48x192rd", "e128x512",
         "r_pprec_360x120")
SHARE = {"u50": 0.5, "u60": 0.6, "u70": 0.7}
GROUPS = {"n24": (2, 4), "n48": (4, 8)}
PATTERNS = (*SHARE, *GROUPS)
# Of SparseGPT's error: calibration, other data.
GOALS = {"u50": (0.60, 0.75), "u60": (0.60, 0.75), "u70": (0.60, 0.75),
         "n24": (0.65, 0.80)}
DAMPING = 0.01


class Layer:
    """A layer of the oracle as a model, in a folder of its own."""

    def __init__(self, folder, oracle, case):
        self.case, self.golden = case, oracle / case
        self.folder = folder / case
        self.folder.mkdir(parents=True, exist_ok=True)
        self.w = np.load(self.golden / "W.npy")
        self.x = np.load(self.golden / "X.npy")
        graph = helper.make_graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                           ["n", self.w.shape[1]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(self.w, "w")])
        self.model = self.folder / "model.onnx"
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[
            helper.make_opsetid("", 17)]), self.model)
        self.profile = self.profiled("all", self.x)

    def profiled(self, name, x):
        data, out = self.folder / f"{name}.npz", self.folder / f"{name}.prof"
        np.savez(data, x=x.reshape(-1, self.w.shape[1]))
        subprocess.run(["prune-run", self.model, "--inputs", data,
                        "--profile-moments=full", "--profile-out", out],
                       check=True, stderr=subprocess.DEVNULL)
        return out

    def prune(self, *passes, profile=None):
        out = self.folder / "out.onnx"
        subprocess.run(["prune-opt", self.model, "--infer-shapes",
                        f"--profile={profile or self.profile}", *passes, "-o",
                        out], check=True, stderr=subprocess.PIPE)
        return numpy_helper.to_array(onnx.load(out).graph.initializer[0])

    def mask(self, name):
        """True where the authors' code prunes; None when there is none."""
        path = self.golden / f"{name}.mask.npy"
        if not path.exists():
            return None
        return np.unpackbits(np.load(path), axis=1)[:, :self.w.shape[1]] == 1

    def weights(self, name):
        path = self.golden / f"{name}.W.npy"
        return np.load(path) if path.exists() else None

    def moments(self, x=None):
        x = (self.x if x is None else x).reshape(-1, self.w.shape[1])
        x = x.astype(np.float64)
        return x.T @ x / len(x)

    def error(self, w, g):
        """Share of the outputs' squares that is lost."""
        d, all_of = w.astype(np.float64) - self.w, self.w.astype(np.float64)
        return np.einsum("ij,jk,ik", d, g, d) / np.einsum("ij,jk,ik", all_of,
                                                          g, all_of)

    def damped(self, w):
        """What each row loses, damping included."""
        g = self.moments()
        g += np.eye(len(g)) * DAMPING * np.diag(g).mean()
        d = w.astype(np.float64) - self.w
        return np.einsum("ij,jk,ik->i", d, g, d)


def budget(pattern):
    if pattern in SHARE:
        return f"sparsity={SHARE[pattern]},scope=tensor"
    return "n={},m={}".format(*GROUPS[pattern])


class Checks:
    def __init__(self):
        self.bad = self.total = 0
        self.ratios = {}

    def check(self, what, good):
        self.total += 1
        if not good or os.environ.get("VERBOSE"):
            print("good:" if good else "wrong:", what)
        self.bad += not good

    def masks(self, layer, score, name, row):
        """Of scores that choose, bit for bit."""
        for pattern in PATTERNS:
            want = layer.mask(f"{name}.{pattern}")
            if want is None:
                continue
            if pattern in GROUPS:
                select = "--select-nm=n={},m={}".format(*GROUPS[pattern])
            elif row:
                k = int(layer.w.shape[1] * SHARE[pattern])
                select = f"--select-unstructured=count={k},scope=row"
            else:
                select = (f"--select-unstructured=sparsity={SHARE[pattern]},"
                          "ties=le")
            got = layer.prune(score, select) == 0
            differ = np.count_nonzero(got != want)
            self.check(f"{layer.case} {name}.{pattern}: {differ} of "
                       f"{got.size} differ", differ == 0)

    def obs(self, layer, pattern):
        want = layer.mask(f"sparsegpt.{pattern}")
        got = layer.prune(f"--prune-obs={budget(pattern)},ties=le")
        share = np.mean((got == 0) != want)
        self.check(f"{layer.case} obs {pattern}: {share:.5f} of the mask "
                   "differ", share <= 1e-3)
        w, g = layer.weights(f"sparsegpt.{pattern}"), layer.moments()
        if w is not None:
            ratio = layer.error(got, g) / layer.error(w, g)
            self.check(f"{layer.case} obs {pattern}: {ratio:.4f} of the error",
                       abs(ratio - 1) <= 0.01)

    def admm(self, layer, pattern):
        g, obs = layer.moments(), layer.prune(f"--prune-obs={budget(pattern)}")
        alps = layer.weights(f"alps.{pattern}")
        for effort in (1, 2, 3, 4):
            got = layer.prune(f"--prune-admm={budget(pattern)},effort={effort}")
            name = f"{layer.case} admm {pattern} effort {effort}"
            ours, theirs = layer.damped(got), layer.damped(obs)
            if pattern in SHARE:
                ours, theirs = ours.sum(), theirs.sum()
            self.check(f"{name}: damped, {np.max(ours / theirs):.4f} of "
                       "SparseGPT's", np.all(ours <= theirs * (1 + 1e-5)))
            self.check(f"{name}: as many zeros",
                       np.count_nonzero(got) <= np.count_nonzero(obs))
            if alps is not None and effort >= 3:
                ratio = layer.error(got, g) / layer.error(alps, g)
                self.check(f"{name}: {ratio:.4f} of ALPS's error",
                           ratio <= 1.02)
            key = "calibration", pattern, effort
            self.ratios.setdefault(key, []).append(
                layer.error(got, g) / layer.error(obs, g))

    def held_out(self, layer, pattern):
        """Pruned on the first half of the sequences, measured on the rest."""
        half = len(layer.x) // 2
        profile = layer.folder / "half.prof"
        if not profile.exists():
            layer.profiled("half", layer.x[:half])
        g = layer.moments(layer.x[half:])
        obs = layer.prune(f"--prune-obs={budget(pattern)}", profile=profile)
        for effort in (3, 4):
            got = layer.prune(f"--prune-admm={budget(pattern)},"
                              f"effort={effort}", profile=profile)
            self.ratios.setdefault(("other data", pattern, effort), []).append(
                layer.error(got, g) / layer.error(obs, g))

    def summary(self):
        for (where, pattern, effort), ratios in sorted(self.ratios.items()):
            mean = np.exp(np.mean(np.log(ratios)))
            what = (f"{where} {pattern} effort {effort}: {mean:.3f} of "
                    f"SparseGPT's error, at worst {max(ratios):.3f}")
            print(what)
            if effort >= 3 and pattern in GOALS:
                goal = GOALS[pattern][where != "calibration"]
                self.check(f"{what}, not {goal}", mean <= goal)


def main():
    folder, oracle = map(pathlib.Path, sys.argv[1:3])
    checks = Checks()
    for case in sys.argv[3:] or CASES:
        layer = Layer(folder, oracle, case)
        checks.masks(layer, "--score-magnitude", "magnitude", False)
        checks.masks(layer, "--score-wanda", "wanda", True)
        checks.masks(layer, "--score-ria", "ria", False)
        checks.masks(layer, "--score-ria", "ria_perout", True)
        for pattern in PATTERNS:
            checks.obs(layer, pattern)
            checks.admm(layer, pattern)
            if pattern in GOALS:
                checks.held_out(layer, pattern)
    checks.summary()
    print(f"{checks.bad} of {checks.total} wrong")


if __name__ == "__main__":
    main()
