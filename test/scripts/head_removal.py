"""Remove half the heads of small attentions as exporters write them, and check
that the right ones went, wholly.

usage: head_removal.py FOLDER [PRUNE_OPT]

For each way to write an attention: prune-opt --score-magnitude
--select-heads; the heads that stay must be those with the largest sum of
absolute weights, as numpy finds them, and ONNX Runtime must compute from the
result what it computes from the original with the other heads multiplied by
zero. One line for each way; the last line counts."""
import os
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ort_compare import error, session

B, S, H, D = 2, 5, 4, 3
E = H * D


class Writer:
    """A graph x[B,S,E] -> y[B,S,E] under construction."""

    def __init__(self, mask, opset=17):
        self.nodes, self.tensors, self.mask = [], {}, mask
        self.rng = np.random.default_rng(1)
        self.opset, self.slices = opset, {}

    def op(self, kind, *inputs, outputs=1, domain="", **attrs):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names,
                                           domain=domain, **attrs))
        return names[0] if outputs == 1 else names

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def const(self, array, name=None):
        name = name or f"c{len(self.tensors)}"
        self.tensors[name] = array
        return name

    def weight(self, name, *dims):
        return self.const(self.rng.normal(size=dims).astype(np.float32), name)

    def linear(self, name, x, inner, out, bias=True):
        y = self.op("MatMul", x, self.weight(name, inner, out))
        if bias:
            y = self.op("Add", self.weight(name + ".b", out), y)
        return y

    def heads(self, name, indices):
        """Head h of weight `name` is array[indices(h)]."""
        self.slices[name] = indices

    def keep(self, context, *shape):
        """The context [.., H, ..] with the heads that shall go at zero."""
        if self.mask is None:
            return context
        mask = np.broadcast_to(self.mask.reshape(shape), shape)
        return self.op("Mul", context, self.const(mask.astype(np.float32)))

    def columns(self, name, start=0, step=D):
        self.heads(name, lambda h: np.s_[:, start + step * h:
                                         start + step * h + D])

    def output(self, context):
        """Projects [B,S,E]."""
        self.heads("o", lambda h: np.s_[D * h:D * h + D])
        return self.linear("o", context, E, E)

    def split_heads(self, x, heads=H):
        x = self.op("Reshape", x, self.ints(0, 0, heads, D))
        return self.op("Transpose", x, perm=[0, 2, 1, 3])

    def core(self, q, k, v):
        """softmax(q k') v of [B,H,S,D], projected."""
        k = self.op("Transpose", k, perm=[0, 1, 3, 2])
        p = self.op("Softmax", self.op("Div", self.op("MatMul", q, k),
                                       self.const(np.float32(2))))
        c = self.keep(self.op("MatMul", p, v), 1, H, 1, 1)
        c = self.op("Transpose", c, perm=[0, 2, 1, 3])
        return self.output(self.op("Reshape", c, self.ints(0, 0, E)))

    def model(self, y, batch):
        self.nodes[-1].output[0] = "y" if y == self.nodes[-1].output[0] else y
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                                [batch, "seq", E])]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT,
                                                 None)]
        tensors = [numpy_helper.from_array(a, n)
                   for n, a in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, tensors)
        opsets = [helper.make_opsetid("", self.opset),
                  helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, ir_version=9, opset_imports=opsets)


def qkv(w, heads=H):
    for name in "qkv":
        w.columns(name)
    return [w.linear("q", "x", E, E)] + [w.linear(n, "x", E, heads * D)
                                         for n in "kv"]


def plain(w):
    return w.core(*(w.split_heads(x) for x in qkv(w)))


def fused(w):
    for i, name in enumerate("qkv"):
        w.heads(f"{name}", lambda h, i=i: np.s_[:, E * i + D * h:
                                                E * i + D * h + D])
    y = w.linear("qkv", "x", E, 3 * E)
    w.slices = {"qkv:" + n: s for n, s in w.slices.items()}
    parts = w.op("Split", y, w.ints(E, E, E), outputs=3, axis=2)
    return w.core(*(w.split_heads(x) for x in parts))


def packed(w):
    """[.., 3, H, D], as vision transformers have it."""
    y = w.linear("qkv", "x", E, 3 * E)
    for i in range(3):
        w.heads(f"qkv:{i}", lambda h, i=i: np.s_[:, E * i + D * h:
                                                 E * i + D * h + D])
    y = w.op("Reshape", y, w.ints(0, 0, 3, H, D))
    y = w.op("Transpose", y, perm=[2, 0, 3, 1, 4])
    return w.core(*(w.op("Gather", y, w.const(np.int64(i)), axis=0)
                    for i in range(3)))


def interleaved(w):
    """[.., H, 3, D]: each head has its query, key and value together."""
    y = w.linear("qkv", "x", E, 3 * E)
    w.heads("qkv:all", lambda h: np.s_[:, 3 * D * h:3 * D * h + 3 * D])
    y = w.op("Reshape", y, w.ints(0, 0, H, 3, D))
    y = w.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    parts = w.op("Split", y, w.ints(1, 1, 1), outputs=3, axis=3)
    return w.core(*(w.op("Squeeze", x, w.ints(3)) for x in parts))


def grouped(w):
    """Two query heads for each key and value head."""
    q, k, v = qkv(w, H // 2)
    for n in "kv":
        w.heads(n, lambda h: np.s_[:, D * (h // 2):D * (h // 2) + D])
    q, k, v = w.split_heads(q), w.split_heads(k, 2), w.split_heads(v, 2)
    repeated = []
    for x in (k, v):
        x = w.op("Expand", w.op("Unsqueeze", x, w.ints(2)),
                 w.ints(1, 1, 2, 1, 1))
        repeated.append(w.op("Reshape", x, w.ints(0, H, -1, D)))
    return w.core(q, *repeated)


def one_key(w):
    """All query heads share one key and value head."""
    q, k, v = qkv(w, 1)
    for n in "kv":
        del w.slices[n]
    return w.core(w.split_heads(q), w.split_heads(k, 1), w.split_heads(v, 1))


def rotary(w):
    """Halves turned, as in Llama: x*cos + cat(-x2, x1)*sin; D must be even
    there, so the first entry passes here."""
    def turn(x):
        a = w.op("Slice", x, w.ints(0), w.ints(1), w.ints(3))
        b = w.op("Slice", x, w.ints(1), w.ints(2), w.ints(3))
        c = w.op("Slice", x, w.ints(2), w.ints(D), w.ints(3))
        y = w.op("Concat", a, w.op("Neg", c), b, axis=-1)
        cos, sin = (w.const(np.linspace(*r, D, dtype=np.float32))
                    for r in ((0.5, 1), (-1, 0.5)))
        return w.op("Add", w.op("Mul", x, cos), w.op("Mul", y, sin))
    q, k, v = (w.split_heads(x) for x in qkv(w))
    return w.core(turn(q), turn(k), v)


def batched(w, batch):
    """[batch*heads, S, D], as PyTorch's bmm wants it."""
    parts = []
    for x in qkv(w):
        x = w.op("Transpose", x, perm=[1, 0, 2])
        x = w.op("Reshape", x, w.ints(0, -1, D))
        parts.append(w.op("Transpose", x, perm=[1, 0, 2]))
    q, k, v = parts
    p = w.op("MatMul", q, w.op("Transpose", k, perm=[0, 2, 1]))
    c = w.op("MatMul", w.op("Softmax", p), v)
    if w.mask is not None:
        c = w.op("Reshape", c, w.ints(-1, H, S, D))
        c = w.op("Reshape", w.keep(c, 1, H, 1, 1), w.ints(-1, S, D))
    c = w.op("Transpose", c, perm=[1, 0, 2])
    c = w.op("Reshape", c, w.ints(0, batch, E))
    return w.output(w.op("Transpose", c, perm=[1, 0, 2]))


def gemm(w):
    """Projections on [B*S, E] with weights [outputs, inputs]."""
    rows = w.op("Reshape", "x", w.ints(-1, E))
    parts = []
    for n in "qkv":
        w.heads(n, lambda h: np.s_[D * h:D * h + D])
        y = w.op("Gemm", rows, w.weight(n, E, E), w.weight(n + ".b", E),
                 transB=1)
        y = w.op("Reshape", y, w.ints(B, -1, H, D))
        parts.append(w.op("Transpose", y, perm=[0, 2, 1, 3]))
    return w.core(*parts)


def einsum(w):
    for n in "qkv":
        w.heads(n, lambda h: np.s_[:, h])
    q, k, v = (w.op("Einsum", "x", w.weight(n, E, H, D),
                    equation="bse,ehd->bhsd") for n in "qkv")
    p = w.op("Softmax", w.op("Einsum", q, k, equation="bhsd,bhtd->bhst"))
    c = w.keep(w.op("Einsum", p, v, equation="bhst,bhtd->bshd"), 1, 1, H, 1)
    w.heads("o", lambda h: np.s_[h])
    return w.op("Einsum", c, w.weight("o", H, D, E),
                equation="bshd,hde->bse")


def whole(w, kind, domain="", **attrs):
    """The operator that is an attention; its result is [B,S,E]."""
    c = w.op(kind, *qkv(w), domain=domain, **attrs)
    c = w.keep(w.op("Reshape", c, w.ints(0, 0, H, D)), 1, 1, H, 1) \
        if w.mask is not None else c
    if w.mask is not None:
        c = w.op("Reshape", c, w.ints(0, 0, E))
    return w.output(c)


def standard(w):
    return whole(w, "Attention", q_num_heads=H, kv_num_heads=H)


def microsoft(w):
    return whole(w, "MultiHeadAttention", "com.microsoft", num_heads=H)


def microsoft_packed(w):
    for i in range(3):
        w.heads(f"qkv:{i}", lambda h, i=i: np.s_[:, E * i + D * h:
                                                 E * i + D * h + D])
    c = w.op("Attention", "x", w.weight("qkv", E, 3 * E),
             w.weight("qkv.b", 3 * E), domain="com.microsoft", num_heads=H)
    if w.mask is not None:
        c = w.keep(w.op("Reshape", c, w.ints(0, 0, H, D)), 1, 1, H, 1)
        c = w.op("Reshape", c, w.ints(0, 0, E))
    return w.output(c)


WAYS = {
    "plain": (plain, "batch", 17, 1),
    "fused": (fused, "batch", 17, 1),
    "packed": (packed, "batch", 17, 1),
    "interleaved": (interleaved, "batch", 17, 1),
    "grouped": (grouped, "batch", 17, 2),
    "one key": (one_key, "batch", 17, 1),
    "rotary": (rotary, "batch", 17, 1),
    "batched": (lambda w: batched(w, -1), "batch", 17, 1),
    "batched, fixed": (lambda w: batched(w, B), B, 17, 1),
    "gemm": (gemm, B, 17, 1),
    "einsum": (einsum, "batch", 17, 1),
    "Attention": (standard, "batch", 23, 1),
    "MultiHeadAttention": (microsoft, "batch", 17, 1),
    "com.microsoft.Attention": (microsoft_packed, "batch", 17, 1),
}


def best_half(w, together):
    """0 for the heads that should go; `together` heads are one unit."""
    scores = np.zeros(H // together)
    for unit in range(H // together):
        for name, index in w.slices.items():
            array = w.tensors[name.split(":")[0]]
            picked = np.zeros(array.shape, bool)
            for h in range(unit * together, (unit + 1) * together):
                picked[index(h)] = True
            scores[unit] += np.abs(array[picked]).sum(dtype=np.float64)
    keep = np.zeros(H // together, np.float32)
    keep[np.argsort(scores)[len(scores) // 2:]] = 1
    return np.repeat(keep, together)


def check(folder, tool, name, way):
    build, batch, opset, together = way
    before, after = (os.path.join(folder, n) for n in ("a.onnx", "b.onnx"))
    w = Writer(None, opset)
    onnx.save(w.model(build(w), batch), before)
    subprocess.run([tool, before, "--score-magnitude", "--select-heads",
                    "-o", after], check=True)
    want = best_half(w, together)
    pruned = {t.name: numpy_helper.to_array(t)
              for t in onnx.load(after).graph.initializer}
    for h in range(H):
        if pruned["o"][w.slices["o"](h)].any() != (want[h] != 0):
            return f"{name}: head {h} should " + ("stay" if want[h] else "go")
    masked = Writer(want, opset)
    model = masked.model(build(masked), batch).SerializeToString()
    x = {"x": np.random.default_rng(2).normal(size=(B, S, E))
         .astype(np.float32)}
    reference = session(model).run(None, x)[0]
    dense = session(before).run(None, x)[0]
    got = session(after).run(None, x)[0]
    wrong = error(got, reference)
    if error(dense, reference) < 0.01:
        return f"{name}: the heads do not matter"
    if wrong > 1e-6:
        return f"{name}: differs by {wrong:.2g}"
    return None


def main():
    folder = sys.argv[1]
    tool = sys.argv[2] if len(sys.argv) > 2 else "prune-opt"
    os.makedirs(folder, exist_ok=True)
    bad = 0
    for name, way in WAYS.items():
        problem = check(folder, tool, name, way)
        print(problem or f"{name}: right")
        bad += problem is not None
    print(f"{len(WAYS) - bad} of {len(WAYS)} ways are right")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
