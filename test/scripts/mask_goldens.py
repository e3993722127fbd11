"""Compare our masks, bit for bit, with those of official pruning code.

usage: mask_goldens.py ORACLE_FOLDER [PRUNE_OPT]

Builds small ONNX models around the reference weights, as Gemm, MatMul and
Conv, prunes them with prune-opt, and reads the masks off the zeros of what
comes out. One line for each reference mask that differs; the last line says
how many agree."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CASES = ("a64x128", "b96x256", "c40x200", "d48x192rd", "e128x512",
         "r_pprec_360x120")
# The references prune what is at most entry int(n * s) of the sorted scores.
PATTERNS = {
    "u50": "--select-unstructured=sparsity=0.5,ties=le",
    "u60": "--select-unstructured=sparsity=0.6,ties=le",
    "u70": "--select-unstructured=sparsity=0.7,ties=le",
    "n24": "--select-nm=n=2,m=4",
    "n48": "--select-nm=n=4,m=8",
}
NORMS = {"n1": "l1", "n2": "l2", "ninf": "linf", "n-inf": "min"}


def node(i, kind, w):
    """The nodes that use weight w [outputs, inputs, ...], how it is stored,
    and the shape of their input."""
    x, y, name = f"x{i}", f"y{i}", f"w{i}"
    shape = [1, w.shape[1]] + [8] * (w.ndim - 2)
    if kind == "conv":
        return [helper.make_node("Conv", [x, name], [y])], w, shape
    if kind == "gemm":
        return [helper.make_node("Gemm", [x, name], [y], transB=1)], w, shape
    if kind == "matmul":
        return [helper.make_node("MatMul", [x, name], [y])], w.T, shape
    turned = helper.make_node("Transpose", [name], [name + "t"], perm=[1, 0])
    return ([turned, helper.make_node("MatMul", [x, name + "t"], [y])], w,
            shape)


def model(weights, kinds):
    nodes, tensors, inputs, outputs = [], [], [], []
    for i, (kind, w) in enumerate(zip(kinds, weights)):
        more, stored, shape = node(i, kind, w)
        nodes += more
        tensors.append(numpy_helper.from_array(
            np.ascontiguousarray(stored), f"w{i}"))
        inputs.append(helper.make_tensor_value_info(
            f"x{i}", TensorProto.FLOAT, shape))
        outputs.append(helper.make_tensor_value_info(
            f"y{i}", TensorProto.FLOAT, None))
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, ir_version=8,
                             opset_imports=[helper.make_opsetid("", 17)])


class Goldens:
    def __init__(self, oracle, tool, folder):
        self.oracle, self.tool, self.folder = oracle, tool, folder
        self.total = self.bad = 0

    def load(self, name):
        return np.load(os.path.join(self.oracle, name))

    def masks(self, weights, kinds, passes):
        """What stays of each weight after the passes."""
        before, after = (os.path.join(self.folder, n)
                         for n in ("in.onnx", "out.onnx"))
        onnx.save(model(weights, kinds), before)
        subprocess.run([self.tool, before, *passes, "-o", after], check=True)
        pruned = {t.name: numpy_helper.to_array(t)
                  for t in onnx.load(after).graph.initializer}
        masks = []
        for i, (kind, w) in enumerate(zip(kinds, weights)):
            got = pruned[f"w{i}"].T if kind == "matmul" else pruned[f"w{i}"]
            kept = got != 0
            if not np.array_equal(got[kept], w[kept]) or (w == 0).any():
                sys.exit("what stays of a weight has changed")
            masks.append(kept)
        return masks

    def check(self, what, got, want):
        self.total += 1
        if np.array_equal(got, want.astype(bool)):
            return
        self.bad += 1
        print(f"{what}: {np.count_nonzero(got != want)} of {want.size} differ;"
              f" {np.count_nonzero(got)} stay instead of "
              f"{np.count_nonzero(want)}")

    def one(self, what, w, kind, passes, want):
        self.check(f"{what} ({kind})", self.masks([w], [kind], passes)[0],
                   want)

    def magnitude(self):
        for case in CASES:
            w = self.load(f"{case}/W.npy")
            for pattern, select in PATTERNS.items():
                name = f"{case}/magnitude.{pattern}.mask.npy"
                pruned = np.unpackbits(self.load(name), axis=1)
                want = pruned[:, :w.shape[1]] == 0
                for kind in ("gemm", "matmul", "transposed"):
                    self.one(name, w, kind, ["--score-magnitude", select],
                             want)

    def torch(self):
        weights = {n: self.load(f"torch/{n}.W.npy")
                   for n in ("conv", "fc", "fc2")}
        for n, w in weights.items():
            kinds = ["conv"] if w.ndim == 4 else ["gemm", "matmul"]
            for amount in ("0.25", "0.5", "0.9", "7"):
                name = f"torch/{n}.l1_unstructured.{amount}.npy"
                how = "sparsity" if "." in amount else "count"
                for kind in kinds:
                    self.one(name, w, kind, [
                        "--score-magnitude",
                        f"--select-unstructured={how}={amount}"],
                        self.load(name))
            self.torch_structured(n, w, kinds)
        names = list(weights)
        got = self.masks(weights.values(),
                         ["conv" if w.ndim == 4 else "gemm"
                          for w in weights.values()],
                         ["--score-magnitude",
                          "--select-unstructured=sparsity=0.37,scope=global"])
        for n, mask in zip(names, got):
            name = f"torch/global_l1_0.37.{n}.npy"
            self.check(name, mask, self.load(name))
        again = ["--score-magnitude",
                 "--select-unstructured=sparsity=0.2,of=remaining"] * 3
        name = "torch/fc.l1_iter3x0.2.npy"
        self.one(name, weights["fc"], "matmul", again, self.load(name))

    def torch_structured(self, n, w, kinds):
        for norm, metric in NORMS.items():
            for dim, axis in enumerate(("out", "in")):
                for amount in ("0.3", "0.5", "3"):
                    name = f"torch/{n}.ln_structured.{norm}.dim{dim}.{amount}"
                    how = "sparsity" if "." in amount else "count"
                    for kind in kinds:
                        self.one(name, w, kind, [
                            f"--score-magnitude=metric={metric}",
                            f"--select-vectors=axis={axis},{how}={amount}"],
                            self.load(name + ".npy"))

    def asp(self):
        for n in ("lin32x64", "conv16x32x3x3", "conv1d8x16x5"):
            w, want = (self.load(f"asp/{n}.{end}.npy")
                       for end in ("W", "m4n2_1d"))
            for kind in ["conv"] if w.ndim > 2 else ["gemm", "matmul"]:
                self.one(f"asp/{n}", w, kind,
                         ["--score-magnitude", "--select-nm"], want)


def main():
    tool = sys.argv[2] if len(sys.argv) > 2 else "prune-opt"
    with tempfile.TemporaryDirectory() as folder:
        goldens = Goldens(sys.argv[1], tool, folder)
        goldens.magnitude()
        goldens.torch()
        goldens.asp()
    print(f"{goldens.total - goldens.bad} of {goldens.total} masks agree")
    return goldens.bad != 0


if __name__ == "__main__":
    sys.exit(main())
