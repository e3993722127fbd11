"""Ensembles of random trees against ONNX Runtime.

    trees.py [--seed=N] [--cases=N]

Trees of any shape, with every kind of test, sets, missing values, and each way
of joining them. What is done to the sums is computed here: ONNX Runtime numbers
SOFTMAX and LOGISTIC the other way round than the standard. Ends with
`N passed, N failed`."""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as tp
from onnx import helper as h
from onnx import numpy_helper as nh

LIMIT = 1e-6
FEATURES, MEMBER = 4, 6


class Forest:
    """The attributes of a TreeEnsemble, grown tree by tree."""

    def __init__(self, rng, targets, modes):
        self.rng, self.targets, self.modes = rng, targets, modes
        self.nodes, self.leaves, self.roots = [], [], []
        self.sets = {}

    def leaf(self):
        self.leaves.append((int(self.rng.integers(self.targets)),
                            self.rng.standard_normal()))
        return 1, len(self.leaves) - 1

    def node(self, depth):
        """(is a leaf, its place)."""
        at = len(self.nodes)
        mode = int(self.rng.choice(self.modes))
        node = [mode, int(self.rng.integers(FEATURES)),
                float(self.rng.integers(-3, 4)), int(self.rng.integers(2))]
        self.nodes.append(node)
        if mode == MEMBER:
            self.sets[at] = self.rng.choice(7, self.rng.integers(1, 4)) - 3.0
        for _ in range(2):
            grow = depth > 1 and self.rng.random() < 0.8
            node.extend(self.node(depth - 1) if grow else self.leaf())
        return 0, at

    def add(self, depth):
        self.roots.append(self.node(depth)[1])

    def attributes(self, dtype, missing):
        column = lambda k: [n[k] for n in self.nodes]
        tensor = lambda name, v, t: nh.from_array(np.array(v, t), name)
        attrs = {
            "tree_roots": self.roots, "n_targets": self.targets,
            "nodes_modes": tensor("m", column(0), np.uint8),
            "nodes_featureids": column(1),
            "nodes_splits": tensor("s", column(2), dtype),
            "nodes_trueleafs": column(4), "nodes_truenodeids": column(5),
            "nodes_falseleafs": column(6), "nodes_falsenodeids": column(7),
            "leaf_targetids": [t for t, _ in self.leaves],
            "leaf_weights": tensor("w", [w for _, w in self.leaves], dtype)}
        if missing:
            attrs["nodes_missing_value_tracks_true"] = column(3)
        if self.sets:
            sets = [[*self.sets[at], np.nan] for at in sorted(self.sets)]
            attrs["membership_values"] = tensor("v", sum(sets, []), dtype)
        return attrs


def transformed(y, post):
    """NONE, SOFTMAX or LOGISTIC."""
    if post == 1:
        e = np.exp(y - y.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-y)) if post == 2 else y


def make_case(rng, i):
    """A model without what is done to the sums, its input, and that. All trees give to all targets where the least or
    the largest is wanted: what a target without any gets differs."""
    dtype = (np.float32, np.float64)[i % 2]
    joined = int(rng.integers(4))
    post = int(rng.integers(3)) if joined < 2 else 0
    targets = 1 if joined >= 2 else int(rng.integers(1, 4))
    some = [[0], [int(rng.integers(6))], list(range(6)), list(range(7)), [6]]
    forest = Forest(rng, targets, some[int(rng.integers(len(some)))])
    for _ in range(int(rng.integers(1, 6))):
        forest.add(int(rng.integers(1, 7)))
    missing = bool(rng.integers(2))
    node = h.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml",
                       aggregate_function=joined,
                       **forest.attributes(dtype, missing))
    kind = tp.FLOAT if dtype == np.float32 else tp.DOUBLE
    graph = h.make_graph(
        [node], "g", [h.make_tensor_value_info("x", kind, ["n", FEATURES])],
        [h.make_tensor_value_info("y", kind, ["n", targets])])
    model = h.make_model(graph, ir_version=10, opset_imports=[
        h.make_opsetid("", 21), h.make_opsetid("ai.onnx.ml", 5)])
    x = rng.integers(-4, 5, (50, FEATURES)).astype(dtype)
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return model, x, post


def run_case(model, x, post, folder):
    session = ort.InferenceSession(model.SerializeToString())
    want = session.run(None, {"x": x})[0].astype(np.float64)
    want = transformed(want, post)
    attribute = h.make_attribute("post_transform", post)
    model.graph.node[0].attribute.append(attribute)
    path = os.path.join(folder, "m.onnx")
    onnx.save(model, path)
    np.savez(os.path.join(folder, "in.npz"), x=x)
    done = subprocess.run(
        ["prune-run", path, "--inputs", os.path.join(folder, "in.npz"),
         "--outputs", os.path.join(folder, "out.npz")],
        capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip()
    got = np.load(os.path.join(folder, "out.npz"))["y"]
    error = np.abs(got - want).max()
    return "" if error <= LIMIT * max(1, np.abs(want).max()) else \
        f"differs by {error}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=60)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.cases):
            rng = np.random.default_rng([args.seed, i])
            why = run_case(*make_case(rng, i), folder)
            failed += bool(why)
            if why:
                print(f"case {i}: {why}")
    print(f"{args.cases - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
