"""What pruning in one shot does to each layer, ours and onnxsim's.

    peer_layers.py [MODEL …] [--peer PYTHON]

Half of every weight goes, by the same calibration inputs. Masks are compared
with those of magnitude and of Wanda, which numpy computes in double precision
from what ONNX Runtime says the weights are multiplied with; what the outputs of
a layer lose is measured on inputs that nothing was calibrated on. --peer: a
Python that has onnxsim 0.8. Needs the data folder."""
import argparse
import os
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import onnx

import calibration
from im2col import im2col, window_of
from measure import Failed, scratch, shared, stamp, table, tool
from oneshot import constants, prune
from ort_compare import session
from shrink import PREPARE
from zoo import MODELS, source

OURS = ("magnitude", "Wanda", "SparseGPT", "ALPS")
THEIRS = ("onnxsim Wanda", "onnxsim SparseGPT")
DEFAULT = ("ResNet-20", "all-MiniLM-L6-v2")
BATCH = 32
ALIKE = 0.005  # shares of zeros that may be compared
EXAMPLES = 3  # layers of a model that are shown one by one


# ---- layers ----

@dataclass
class Layer:
    kind: str
    weight: str
    value: str  # what it is multiplied with
    bias: str = ""
    turned: bool = False  # outputs are the last axis
    window: tuple = ()
    zeros: dict = field(default_factory=dict)  # shares by method
    masks: dict = field(default_factory=dict)
    lost: dict = field(default_factory=dict)

    @property
    def key(self):
        return self.value, self.window

    def rows(self, w):
        """[outputs, inputs] in double precision."""
        w = w.astype(np.float64)
        return w.T if self.turned else w.reshape(len(w), -1)

    def vectors(self, x):
        x = x.astype(np.float64)
        return (im2col(x, self.window) if self.window
                else x.reshape(-1, x.shape[-1]))


def convolution(node, layer, weight):
    """False for what is not understood."""
    a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
    if a.get("group", 1) != 1 or a.get("auto_pad", b"NOTSET") != b"NOTSET":
        return False
    layer.window = window_of(
        weight.shape[2:], tuple(a.get("strides", ())) or None,
        tuple(a.get("dilations", ())) or None, tuple(a.get("pads", ())) or None)
    return True


def layers_of(path):
    graph, known, found = onnx.load(path).graph, constants(path), []
    for n in graph.node:
        if (n.op_type not in ("MatMul", "Gemm", "Conv")
                or known.get(n.input[1], np.empty(0)).ndim < 2):
            continue
        layer = Layer(n.op_type, n.input[1], n.input[0])
        a = {x.name: onnx.helper.get_attribute_value(x) for x in n.attribute}
        layer.turned = n.op_type == "MatMul" or (
            n.op_type == "Gemm" and not a.get("transB"))
        if n.op_type == "Conv" and not convolution(n, layer,
                                                   known[layer.weight]):
            continue
        sums = [u.input for u in graph.node
                if u.op_type == "Add" and n.output[0] in u.input]
        of = n.input[2:] if n.op_type != "MatMul" else sums[0] if sums else ()
        layer.bias = next((b for b in of if b in known), "")
        found.append(layer)
    return found


# ---- what they see ----

@dataclass
class Seen:
    """Sums over vectors; products only where they are asked for."""
    rank: int = 0
    count: int = 0
    sums: np.ndarray = 0
    squares: np.ndarray = 0
    products: np.ndarray = 0

    def add(self, x, products):
        self.count += len(x)
        self.sums = self.sums + x.sum(0)
        self.squares = self.squares + np.square(x).sum(0)
        if products:
            self.products = self.products + x.T @ x


def observe(path, layers, inputs, products):
    """What ONNX Runtime multiplies weights with, by value and window."""
    model = onnx.load(path)
    given = {i.name for i in model.graph.input}
    have = {o.name for o in model.graph.output} | given
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None)
        for n in sorted({la.value for la in layers} - have))
    run = session(model.SerializeToString())
    names = [o.name for o in run.get_outputs()]
    seen, by_key = {}, {la.key: la for la in layers}
    for _, feed in calibration.batches(inputs, BATCH):
        values = dict(zip(names, run.run(names, feed))) | feed
        for key, layer in by_key.items():
            found = seen.setdefault(key, Seen(values[key[0]].ndim))
            found.add(layer.vectors(values[key[0]]), products)
    return seen


# ---- what they lose ----

def lowest(scores, counts):
    """Masks of so many lowest of each row."""
    places = np.argsort(np.argsort(scores, 1, kind="stable"), 1)
    return places < np.asarray(counts)[:, None]


def agreement(w, pruned, seen):
    """Shares of entries in which a mask is the one that magnitude makes with
    as many zeros in each row, in the tensor; and that Wanda makes."""
    gone, size = (pruned == 0) & (w != 0), np.abs(w)
    counts, norms = gone.sum(1), np.sqrt(seen.squares / seen.count)
    tensor = lowest(size.reshape(1, -1), [gone.sum()]).reshape(w.shape)
    return tuple(np.mean(gone == m) for m in (
        lowest(size, counts), tensor, lowest(size * norms, counts)))


def loss(w, pruned, shift, seen):
    """The share of the outputs' squares; SHIFT is what biases got."""
    g, mean, d = seen.products / seen.count, seen.sums / seen.count, pruned - w
    lost = (np.einsum("ij,jk,ik", d, g, d, optimize=True)
            + 2 * shift @ (d @ mean) + shift @ shift)
    return lost / np.einsum("ij,jk,ik", w, g, w, optimize=True)


def judge(method, base, out, layers, seen, held):
    dense, after = constants(base), constants(out)
    for layer in layers:
        w, pruned = (layer.rows(c[layer.weight]) for c in (dense, after))
        if np.array_equal(w, pruned):
            raise Failed(f"{layer.weight} was left alone")
        shift = np.zeros(len(w))
        if layer.bias:
            shift = (after[layer.bias].astype(np.float64)
                     - dense[layer.bias]).reshape(-1)
        layer.zeros[method] = np.mean(pruned == 0)
        if "Wanda" in method:
            layer.masks[method] = agreement(w, pruned, seen[layer.key])
        layer.lost[method] = loss(w, pruned, shift, held[layer.key])


def measured(model, methods, peer):
    """The layers of MODEL, each with what every method does to it."""
    with scratch() as folder:
        base, profile, out = (os.path.join(folder, n) for n in (
            "base.onnx", "p.prof", "o.onnx"))
        tool("prune-opt", source(model, folder), *PREPARE, "-o", base, poll=0)
        inputs = calibration.write(model, folder)
        tool("prune-run", base, "--inputs", inputs, "--profile-moments=full",
             "--threads=2", "--profile-out", profile, poll=0)
        layers = layers_of(base)
        seen, held = (observe(base, layers, calibration.inputs(model, h), h)
                      for h in (False, True))
        for layer in layers:
            layer.kind += f", rank {seen[layer.key].rank}"
        for method in methods:
            start = time.perf_counter()
            prune(method, "u50", base, profile, inputs, out, peer)
            judge(method, base, out, layers, seen, held)
            print(f"{model.name} {method}: "
                  f"{time.perf_counter() - start:.1f} s", file=sys.stderr)
    return layers


# ---- tables ----

def by_kind(layers):
    kinds = {}
    for layer in layers:
        kinds.setdefault(layer.kind, []).append(layer)
    return kinds.items()


def mask_rows(name, layers, methods):
    for kind, group in by_kind(layers):
        for method in methods:
            shares = np.array([la.masks[method] for la in group])
            same = np.sum(shares[:, 0] == 1)
            cells = [f"{100 * np.median(s):.1f} / {100 * s.min():.1f} %"
                     for s in shares.T]
            yield (name, kind, len(group), method, *cells, same)


def alike(layers):
    """Those of which every method leaves as much."""
    return [la for la in layers if np.ptp(list(la.zeros.values())) < ALIKE]


def loss_rows(name, layers, methods):
    for kind, group in by_kind(alike(layers)):
        ratios = [np.log([la.lost[m] / la.lost["SparseGPT"] for la in group])
                  for m in methods]
        yield (name, kind, len(group),
               *(f"{np.exp(r.mean()):.2f}" for r in ratios))


def example_rows(name, layers, methods):
    layers = alike(layers)
    last = len(layers) - 1
    for i in sorted({last * k // (EXAMPLES - 1) for k in range(EXAMPLES)}):
        layer = layers[i]
        yield (name, f"`{layer.weight}`",
               *(f"{layer.lost[m]:.5f}" for m in methods))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--peer", metavar="PYTHON")
    args = parser.parse_args()
    if not shared():
        raise SystemExit("PRUNE_SHARED is not set: no models")
    methods = OURS + (THEIRS if args.peer else ())
    masks = [("model", "layers", "", "mask of", "is magnitude's, by row",
              "by tensor", "is Wanda's", "exactly magnitude's, by row")]
    losses = [("model", "layers", "", *methods)]
    examples = [("model", "weight", *methods)]
    for model in MODELS:
        if model.name not in (args.models or DEFAULT):
            continue
        layers = measured(model, methods, args.peer)
        masks += mask_rows(model.name, layers,
                           [m for m in methods if "Wanda" in m])
        losses += loss_rows(model.name, layers, methods)
        examples += example_rows(model.name, layers, methods)
    print(f"## Layer by layer\n\n{stamp()}. Half of every weight. The share of "
          "entries in which a mask is that of magnitude or of Wanda, the "
          "latter in double precision, with as many zeros in each row or in "
          "the tensor: median / least of the layers. Rank: of what the weight "
          "is multiplied with.\n")
    print(table(masks))
    print("What the layers' outputs lose on inputs that nothing was "
          "calibrated on, over what SparseGPT (`prune-obs`) loses; geometric "
          "mean. ALPS fits biases, too, where there are some. Without layers "
          "of an odd number of inputs, half of which some round up and others "
          "down.\n")
    print(table(losses))
    print("Some of the layers: the share of the outputs' squares.\n")
    print(table(examples))


if __name__ == "__main__":
    sys.exit(main())
