"""Attention as compiled against double precision.

    attention.py [--march=CPU,...] [--threads=N] [--seed=N] [--every=N]
                 [--match=TEXT]

Models in the forms that exporters write: where the scale is, how masks come,
which heads are shared, how tensors lie. Sizes are constants or symbols. Every
model must hold one nn.attention after nn-fuse, except those that say they
must not. Ends with `N passed, N failed`."""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto as tp
from onnx import helper as h
from onnx import numpy_helper as nh

INF = np.inf


class Model:
    def __init__(self, name, opset=17):
        self.name, self.opset = name, opset
        self.nodes, self.given, self.shapes, self.constants = [], {}, {}, []
        self.fused, self.limit, self.domains = 1, 2e-6, set()
        self.shared = False

    def input(self, name, array, *dims):
        self.given[name] = array
        self.shapes[name] = dims or array.shape
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(nh.from_array(np.asarray(array), name))
        return name

    def number(self, v):
        return self.constant(np.float32(v))

    def node(self, op, *ins, **attrs):
        name = f"v{len(self.nodes)}"
        domain = attrs.pop("domain", "")
        self.domains.add(domain)
        self.nodes.append(h.make_node(op, ins, [name], domain=domain, **attrs))
        return name

    def save(self, path, out):
        kinds = {np.dtype(np.float32): tp.FLOAT, np.dtype(bool): tp.BOOL,
                 np.dtype(np.int64): tp.INT64}
        ins = [h.make_tensor_value_info(n, kinds[a.dtype], self.shapes[n])
               for n, a in self.given.items()]
        outs = [h.make_tensor_value_info(n, tp.FLOAT, None) for n in out]
        graph = h.make_graph(self.nodes, "g", ins, outs, self.constants)
        onnx.save(h.make_model(graph, ir_version=10, opset_imports=[
            h.make_opsetid(d, self.opset if not d else 1)
            for d in self.domains | {""}]), path)


def attend(q, k, v, scale, bias=0.0, cap=0.0, zero=False):
    """In double precision; heads of k and v repeat."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
    s = np.einsum("bhid,bhjd->bhij", q, k) * scale
    if cap:
        s = cap * np.tanh(s / cap)
    s = s + bias
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
    if zero:
        p = np.where(np.isnan(p), 0, p)
    return np.einsum("bhij,bhjd->bhid", p, v)


def tensors(rng, b, heads, kv, s, t, d, e):
    return (rng.standard_normal((b, heads, s, d)).astype(np.float32),
            rng.standard_normal((b, kv, t, d)).astype(np.float32),
            rng.standard_normal((b, kv, t, e)).astype(np.float32))


def flat(x):
    """[batch, heads, seq, size] as [batch, seq, heads*size]."""
    b, n, s, d = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(b, s, n * d)


def heads_of(m, x, n, d):
    shape = m.constant(np.array([0, 0, n, d]))
    return m.node("Transpose", m.node("Reshape", x, shape), perm=[0, 2, 1, 3])


def merged(m, y, n, e):
    y = m.node("Transpose", y, perm=[0, 2, 1, 3])
    return m.node("Reshape", y, m.constant(np.array([0, 0, n * e])))


def last_two(m, x):
    return m.node("Transpose", x, perm=[0, 1, 3, 2])


# ---- one form a function: returns the output's name and what it should be ----

def plain(m, rng, z):
    """Heads as they come, scale after the product."""
    q, k, v = tensors(rng, **z)
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "t", z["d"]),
         m.input("v", v, "b", z["heads"], "t", z["e"])]
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Div", s, m.number(np.sqrt(z["d"])))
    p = m.node("Softmax", s, axis=-1)
    return m.node("MatMul", p, n[2]), attend(q, k, v, z["d"] ** -0.5)


def bert(m, rng, z):
    """Heads cut out of rows of features, an additive mask of keys."""
    q, k, v = tensors(rng, **z)
    mask = np.zeros((z["b"], 1, 1, z["t"]), np.float32)
    for i in range(z["b"]):
        mask[i, 0, 0, max(1, z["t"] - 3 * i - 1):] = -10000
    n = [heads_of(m, m.input("q", flat(q), "b", "s", z["heads"] * z["d"]),
                  z["heads"], z["d"]),
         heads_of(m, m.input("k", flat(k), "b", "t", z["heads"] * z["d"]),
                  z["heads"], z["d"]),
         heads_of(m, m.input("v", flat(v), "b", "t", z["heads"] * z["e"]),
                  z["heads"], z["e"])]
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Div", s, m.number(np.sqrt(z["d"])))
    s = m.node("Add", s, m.input("mask", mask, "b", 1, 1, "t"))
    y = m.node("MatMul", m.node("Softmax", s, axis=-1), n[2])
    return merged(m, y, z["heads"], z["e"]), \
        flat(attend(q, k, v, z["d"] ** -0.5, mask))


def torch_scaled(m, rng, z):
    """The root of the scale on both operands, a full additive mask."""
    q, k, v = tensors(rng, **z)
    mask = rng.standard_normal((z["b"], 1, z["s"], z["t"])).astype(np.float32)
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "t", z["d"]),
         m.input("v", v, "b", z["heads"], "t", z["e"])]
    root = m.number(z["d"] ** -0.25)
    s = m.node("MatMul", m.node("Mul", n[0], root),
               m.node("Mul", last_two(m, n[1]), root))
    s = m.node("Add", s, m.input("mask", mask, "b", 1, "s", "t"))
    return m.node("MatMul", m.node("Softmax", s, axis=-1), n[2]), \
        attend(q, k, v, z["d"] ** -0.5, mask)


def where_masked(m, rng, z):
    """Where(mask, scores, -inf): some queries see no key and give NaN."""
    q, k, v = tensors(rng, **z)
    mask = rng.integers(0, 2, (z["b"], 1, z["s"], z["t"])).astype(bool)
    mask[:, :, z["s"] // 2] = False
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "t", z["d"]),
         m.input("v", v, "b", z["heads"], "t", z["e"])]
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Where", m.input("mask", mask, "b", 1, "s", "t"), s,
               m.number(-INF))
    return m.node("MatMul", m.node("Softmax", s, axis=-1), n[2]), \
        attend(q, k, v, 1, np.where(mask, 0, -INF))


def guarded(m, rng, z):
    """NaN of queries that see no key is made 0."""
    q, k, v = tensors(rng, **z)
    mask = np.where(rng.integers(0, 2, (z["s"], z["t"])), 0, -INF)
    mask[z["s"] // 2] = -INF
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "t", z["d"]),
         m.input("v", v, "b", z["heads"], "t", z["e"])]
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Add", s, m.input("mask", mask.astype(np.float32), "s", "t"))
    p = m.node("Softmax", s, axis=-1)
    p = m.node("Where", m.node("IsNaN", p), m.number(0), p)
    return m.node("MatMul", p, n[2]), attend(q, k, v, 1, mask, zero=True)


def tril(m, rng, z):
    """Causal by a constant triangle that is cut to size; s = t."""
    z = dict(z, t=z["s"])
    q, k, v = tensors(rng, **z)
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "s", z["d"]),
         m.input("v", v, "b", z["heads"], "s", z["e"])]
    low = m.constant(np.tril(np.ones((1, 1, 256, 256), bool)))
    size = m.node("Slice", m.node("Shape", n[0]), m.constant(np.array([2])),
                  m.constant(np.array([3])))
    zero = m.constant(np.array([0]))
    low = m.node("Slice", low, zero, size, m.constant(np.array([2])))
    low = m.node("Slice", low, zero, size, m.constant(np.array([3])))
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Where", low, m.node("Mul", s, m.number(z["d"] ** -0.5)),
               m.number(-INF))
    bias = np.where(np.tril(np.ones((z["s"], z["s"]))), 0, -INF)
    return m.node("MatMul", m.node("Softmax", s, axis=-1), n[2]), \
        attend(q, k, v, z["d"] ** -0.5, bias)


def spread(m, rng, z):
    """Scores so far apart that blocks of keys outdo each other."""
    q, k, v = tensors(rng, **z)
    k *= np.float32(20) * np.linspace(0.1, 1, z["t"], dtype=np.float32)[
        None, None, :, None]
    m.limit = 3e-5
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", z["heads"], "t", z["d"]),
         m.input("v", v, "b", z["heads"], "t", z["e"])]
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    return m.node("MatMul", m.node("Softmax", s, axis=-1), n[2]), \
        attend(q, k, v, 1)


def sideways(m, rng, z):
    """Keys and values with their tokens side by side, as caches have them."""
    q, k, v = tensors(rng, **z)
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k.transpose(0, 1, 3, 2), "b", z["heads"], z["d"], "t"),
         m.input("v", v.transpose(0, 1, 3, 2), "b", z["heads"], z["e"], "t")]
    s = m.node("Mul", m.node("MatMul", n[0], n[1]), m.number(0.25))
    return m.node("MatMul", m.node("Softmax", s, axis=-1),
                  last_two(m, n[2])), attend(q, k, v, 0.25)


def repeated(m, rng, z):
    """Heads of keys and values that are repeated for two of queries each."""
    kv = z["heads"] // 2
    q, k, v = tensors(rng, **dict(z, kv=kv))
    bias = rng.standard_normal((1, 1, z["s"], z["t"])).astype(np.float32)
    n = [m.input("q", q, "b", z["heads"], "s", z["d"]),
         m.input("k", k, "b", kv, "t", z["d"]),
         m.input("v", v, "b", kv, "t", z["e"])]
    for i, x in enumerate((k, v), 1):
        y = m.node("Unsqueeze", n[i], m.constant(np.array([2])))
        y = m.node("Expand", y, m.constant(np.array([1, 1, 2, 1, 1])))
        n[i] = m.node("Reshape", y, m.constant(
            np.array([0, z["heads"], -1, x.shape[3]])))
    s = m.node("MatMul", n[0], last_two(m, n[1]))
    s = m.node("Add", m.node("Mul", s, m.number(0.2)),
               m.input("bias", bias, 1, 1, "s", "t"))
    m.shared = True
    return m.node("MatMul", m.node("Softmax", s, axis=-1), n[2]), \
        attend(q, k, v, 0.2, bias)


def weights_used(m, rng, z):
    """The probabilities are an output: nothing is fused."""
    y, want = plain(m, rng, z)
    m.fused = 0
    return (y, m.nodes[-2].output[0]), want


def operator(m, rng, z, **attrs):
    """The operator of ONNX 23 and later."""
    m.opset = 23
    q, k, v = tensors(rng, **z)
    names = ["q", "k", "v"]
    for n, a in zip(names, (q, k, v)):
        m.input(n, flat(a), "b", "s" if n == "q" else "t",
                flat(a).shape[2])
    kv = k.shape[1]
    bias, mask = 0, attrs.pop("mask", None)
    if mask is not None:
        names.append(m.input("mask", mask, *(
            d for d in (("b", 1, "s", "t")[4 - mask.ndim:]))))
        bias = np.where(mask, 0, -INF) if mask.dtype == bool else mask
    if attrs.get("is_causal"):
        causal = np.arange(z["t"])[None] <= np.arange(z["s"])[:, None]
        bias = bias + np.where(causal, 0, -INF)
    y = m.node("Attention", *names, q_num_heads=z["heads"], kv_num_heads=kv,
               **attrs)
    return y, flat(attend(q, k, v, attrs.get("scale", z["d"] ** -0.5), bias,
                          attrs.get("softcap", 0), True))


def op_plain(m, rng, z):
    return operator(m, rng, z)


def op_causal(m, rng, z):
    return operator(m, rng, z, is_causal=1)


def op_capped(m, rng, z):
    return operator(m, rng, z, softcap=2.5, scale=0.3)


def op_hidden(m, rng, z):
    mask = rng.integers(0, 2, (z["s"], z["t"])).astype(bool)
    mask[z["s"] // 3] = False
    return operator(m, rng, z, mask=mask)


def op_grouped(m, rng, z):
    z = dict(z, kv=1)
    return operator(m, rng, z, is_causal=1)


FORMS = [plain, bert, torch_scaled, where_masked, guarded, tril, spread,
         sideways, repeated, weights_used, op_plain, op_causal, op_capped,
         op_hidden, op_grouped]
SIZES = [dict(b=2, heads=2, s=5, t=7, d=8, e=8),
         dict(b=1, heads=2, s=1, t=1, d=16, e=16),
         dict(b=1, heads=4, s=1, t=130, d=64, e=64),
         dict(b=2, heads=2, s=1, t=1100, d=40, e=150),
         dict(b=1, heads=2, s=64, t=64, d=64, e=64),
         dict(b=2, heads=2, s=80, t=80, d=32, e=32),
         dict(b=1, heads=2, s=129, t=67, d=80, e=80),
         dict(b=3, heads=2, s=33, t=193, d=7, e=21)]


def difference(got, want, limit):
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    hidden = np.isnan(want)
    if (np.isnan(got) != hidden).any():
        return "NaN in other places"
    got, want = np.where(hidden, 0, got), np.where(hidden, 0, want)
    error = np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)
    return "" if error <= limit else f"relative error {error:.2g}"


def run(m, out, want, opened, march, threads, folder):
    paths = [os.path.join(folder, n) for n in ("m.onnx", "i.npz", "o.npz")]
    outs = out if isinstance(out, tuple) else (out,)
    if not opened:
        m.shapes = {n: a.shape for n, a in m.given.items()}
    m.save(paths[0], outs)
    np.savez(paths[1], **m.given)
    r = subprocess.run(
        ["prune-opt", paths[0], "--lower-onnx-to-nn", "--nn-simplify",
         "--nn-fuse"], capture_output=True, text=True)
    found = r.stdout.count("nn.attention")
    if r.returncode or found != m.fused:
        return f"nn.attention {found} times {r.stderr[:300]}"
    if m.shared and "nn.broadcast" in r.stdout:
        return "heads of keys and values are repeated"
    command = ["prune-run", paths[0], "--inputs", paths[1], "--outputs",
               paths[2], f"--threads={threads}"]
    if march:
        command.append(f"--march={march}")
    r = subprocess.run(command, capture_output=True, text=True)
    if r.returncode:
        return f"exit code {r.returncode}: {r.stderr[:300]}"
    return difference(np.load(paths[2])[outs[0]], want, m.limit)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--march", default="")
    p.add_argument("--threads", default="1")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--every", type=int, default=1)
    p.add_argument("--match", default="")
    o = p.parse_args()
    passed = failed = number = 0
    with tempfile.TemporaryDirectory() as folder:
        for make in FORMS:
            for i, z in enumerate(SIZES):
                z = dict(z, kv=z["heads"])
                number += 1
                if number % o.every or o.match not in make.__name__:
                    continue
                for march in o.march.split(","):
                    for opened in (False, True):
                        m = Model(make.__name__)
                        out, want = make(m, np.random.default_rng(o.seed), z)
                        problem = run(m, out, want, opened, march, o.threads,
                                      folder)
                        passed, failed = passed + (not problem), \
                            failed + bool(problem)
                        if problem:
                            print(f"{m.name} {i} {march} "
                                  f"{'open' if opened else 'static'}: "
                                  f"{problem}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
