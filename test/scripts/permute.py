#!/usr/bin/env python3
"""Permutation of channels, against ONNX Runtime and numpy.

    permute.py FOLDER

Outputs must stay what they are, whatever is coupled how. What n of m neighbours
keep, worked out from the weights alone, must not fall, must grow where there is
something to choose from, and must be what the pass says. Scores and profiles
must follow channels: masks are those that numpy makes from the permuted weights
and from what they are multiplied with, and weights are fitted as with a profile
of the permuted model."""
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import shrink_models
from shrink import inputs_of, session
from shrink_models import Net


def mlp(n):
    x = n.op("Relu", n.linear(n.input(64, 24), 24, 64))
    return n.linear(n.op("Relu", n.linear(x, 64, 48)), 48, 10)


def convs(n):
    """Groups, and a normalisation between them."""
    x = n.op("Relu", n.norm(n.conv(n.input(4, 3, 9, 9), 3, 16), 16))
    x = n.op("Relu", n.conv(x, 16, 24, group=2))
    return n.conv(x, 24, 8, 1)


def flat(n):
    """Nine places of each channel: neighbours are of several channels."""
    x = n.op("Relu", n.conv(n.input(3, 4, 3, 3), 4, 16))
    return n.linear(n.op("Flatten", n.conv(x, 16, 12)), 108, 10)


def ends(n):
    """18 channels: two stay behind the last group of four or eight."""
    return n.linear(n.op("Tanh", n.linear(n.input(30, 10), 10, 18)), 18, 6)


def joined(n):
    """Parts that begin within a group of four."""
    x = n.input(20, 8)
    x = n.op("Concat", n.linear(x, 8, 6), n.linear(x, 8, 16), axis=1)
    return n.linear(n.op("Relu", x), 22, 9)


def running(n):
    """A sum that runs along the channels."""
    x = n.op("CumSum", n.linear(n.input(9, 8), 8, 16), n.const(np.int64(1)))
    return n.linear(x, 16, 8)


def neighbours(n):
    x = n.op("LRN", n.conv(n.input(1, 3, 5, 5), 3, 16), size=3, alpha=.5)
    return n.conv(x, 16, 8, 1)


def biased_heads(n, heads=32, size=1):
    """Every head has a bias of its own (ALiBi), which the operator is given."""
    width, seq = heads * size, 5
    x = n.input(1, seq, width)
    q, k, v = (n.op("MatMul", x, n.weight(width, width)) for _ in range(3))
    y = n.op("MultiHeadAttention", q, k, v, "", "",
             n.weight(1, heads, seq, seq), num_heads=heads)
    n.nodes[-1].domain = "com.microsoft"
    return n.linear(y, width, width)


def causal(n, seq=8, width=16):
    """Weights along time, before an attention that looks back only."""
    x = n.op("MatMul", n.weight(seq, seq), n.input(1, seq, width))
    x = n.op("MatMul", n.weight(seq, seq), x)
    y = n.op("MultiHeadAttention", x, x, x, num_heads=2, unidirectional=1)
    n.nodes[-1].domain = "com.microsoft"
    y = n.op("MatMul", n.weight(seq, seq), y)
    return n.op("MatMul", n.weight(4, seq), y)


NETS = shrink_models.NETS + [mlp, convs, flat, ends, joined, running,
                             neighbours, biased_heads, causal]
GROW = {"mlp": .01, "convs": .003, "ends": .005, "joined": .003,
        "attention": .003, "residual": .003, "rope_gqa": .003}

KEEP = ("running", "neighbours", "biased_heads")  # an order that counts


def opt(*args):
    run = subprocess.run(["prune-opt", *map(str, args)], text=True,
                         capture_output=True, check=False)
    return run.returncode, run.stdout + run.stderr


def must(*args):
    code, text = opt(*args)
    if code:
        raise RuntimeError(text.strip().splitlines()[-1])
    return text


def observe(model, data, out):
    subprocess.run(["prune-run", model, "--inputs", data,
                    "--profile-moments=full", "--profile-out", out], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def output_error(a, b):
    a, b = session(str(a)), session(str(b))
    feed = inputs_of(a, {"batch": 2, "seq": 3}, {})
    return max(np.abs(x - y).max() / (np.abs(x).max() + 1e-9)
               for x, y in zip(a.run(None, feed), b.run(None, feed)))


# ---- n:m by numpy ----

def sites(path):
    """Of each weight a view with inputs last, its name, and its input."""
    model = onnx.load(path)
    consts = {t.name: numpy_helper.to_array(t)
              for t in model.graph.initializer}
    for node in model.graph.node:
        if len(node.input) < 2 or node.input[1] not in consts:
            continue
        w = consts[node.input[1]]
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Conv" and w.shape[1] > 1:
            yield node.input[1], np.moveaxis(w, 1, -1), node.input[0], \
                attrs.get("group", 1)
        elif node.op_type == "MatMul" and w.ndim == 2:
            yield node.input[1], w.T, node.input[0], 1
        elif node.op_type == "Gemm":
            yield node.input[1], w if attrs.get("transB") else w.T, \
                node.input[0], 1


def keep_mask(score, n, m):
    """The n largest of m neighbours; what is left at the end stays."""
    keep = np.ones(score.shape, bool)
    whole = score.shape[-1] // m * m
    if whole == 0:
        return keep
    groups = score[..., :whole].reshape(*score.shape[:-1], -1, m)
    rank = np.argsort(np.argsort(groups, -1, kind="stable"), -1)
    keep[..., :whole] = (rank >= m - n).reshape(*score.shape[:-1], whole)
    return keep


def kept(path, n, m):
    """The share of |w| that stays, and what there is."""
    stays = whole = 0
    for _, w, _, _ in sites(path):
        if w.shape[-1] < m:
            continue
        w = np.abs(w.astype(np.float64))
        stays += w[keep_mask(w, n, m)].sum()
        whole += w.sum()
    return stays / whole if whole else 0


def norms(path, data):
    """Root mean squares of the channels of every site's input."""
    model = onnx.load(path)
    names = list(dict.fromkeys(x for _, _, x, _ in sites(path)))
    for name in names:
        if name not in ("in0",):
            model.graph.output.append(helper.make_tensor_value_info(
                name, TensorProto.FLOAT, None))
    extended = path.with_suffix(".all.onnx")
    onnx.save(model, extended)
    run = session(str(extended))
    wanted = [o.name for o in run.get_outputs()]
    found = dict(zip(wanted, run.run(None, {"in0": data})), in0=data)
    out = {}
    for name in names:
        x = found[name].astype(np.float64)
        axis = 1 if x.ndim == 4 else -1
        x = np.moveaxis(x, axis, -1)
        out[name] = np.sqrt((x ** 2).mean(tuple(range(x.ndim - 1))))
    return out


def scores(path, method, data):
    seen = norms(path, data)
    for name, w, x, groups in sites(path):
        w = np.abs(w.astype(np.float64))
        outs = w.shape[0] // groups
        norm = seen[x].reshape(groups, -1).repeat(outs, 0)
        norm = norm.reshape(w.shape[0], *[1] * (w.ndim - 2), w.shape[-1])
        if method == "wanda":
            yield name, w, w * norm
        else:
            row = w.sum(tuple(range(1, w.ndim)), keepdims=True)
            col = w.sum(0, keepdims=True)
            yield name, w, (w / row + w / col) * np.sqrt(norm)


# ---- checks ----

def check_outputs(folder, make, n, m):
    name = make.__name__
    net = Net(25 if make is running else 17)
    out = make(net)
    raw, base, moved = (folder / f"{k}.onnx" for k in ("raw", "base", "moved"))
    net.save(raw, out)
    must(raw, "--infer-shapes", "--fold-constants", "--canonicalize", "--dce",
         "-o", base)
    text = must(base, "--infer-shapes", "--score-magnitude",
                f"--permute-channels=n={n},m={m}", "--stats", "-o", moved)
    error, before, after = output_error(base, moved), kept(base, n, m), \
        kept(moved, n, m)
    sets = int(re.search(r"(\d+)  permute-channels.groups", text)[1])
    bad = not error <= 1e-5 or after < before - 1e-9
    if m == 4:
        bad = bad or after < before + GROW.get(name, 0) or (
            name in KEEP and sets > 0)
    if name == "mlp":
        said = [int(re.search(rf"(\d+)  permute-channels.kept_{k}", text)[1])
                for k in ("before", "after")]
        mine = [kept_of_read(p, n, m) for p in (base, moved)]
        bad = bad or np.abs(np.array(said) / 1e6 - mine).max() > 2e-6
    print(f"{name} {n}:{m}: {sets} sets, {before:.4f} -> {after:.4f}, error "
          f"{error:.0e}{' wrong' if bad else ''}")
    return bad


def kept_of_read(path, n, m):
    """Of the MLP's weights that read permuted channels: not the first."""
    stays = whole = 0
    for _, w, x, _ in sites(path):
        if x == "in0":
            continue
        w = np.abs(w.astype(np.float64))
        stays += w[keep_mask(w, n, m)].sum()
        whole += w.sum()
    return stays / whole


def check_masks(folder, make, method, pipeline):
    """One pipeline on a profile of the model as it was."""
    net = Net()
    out = make(net)
    base, moved, masked, data, profile = (
        folder / k for k in ("base.onnx", "moved.onnx", "masked.onnx",
                             "in.npz", "old.prof"))
    net.save(base, out)
    shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(shape) * np.exp(
        rng.standard_normal(shape[1])).reshape(-1, *[1] * (len(shape) - 2))
         ).astype(np.float32)
    np.savez(data, in0=x)
    observe(base, data, profile)
    common = (base, "--infer-shapes", f"--profile={profile}")
    steps = pipeline.format(score=f"score-{method}")
    must(*common, f"--pass-pipeline={steps}", "-o", moved)
    must(*common, f"--pass-pipeline={steps},select-nm", "-o", masked)
    wrong = entries = 0
    zeros = {name: w == 0 for name, w, _, _ in sites(masked)}
    for name, _, score in scores(moved, method, x):
        gone = ~keep_mask(score, 2, 4)
        if score.shape[-1] >= 4:
            wrong += (gone != zeros[name]).sum()
        entries += score.size
    same = output_error(base, moved)
    bad = wrong > 2 + entries // 2000 or not same <= 1e-5  # ties in float
    print(f"{make.__name__} {steps}: {wrong} of {entries} entries differ"
          f"{' wrong' if bad else ''}")
    return bad


def check_moments(folder, make):
    """Moments that followed against those of the permuted model."""
    net = Net()
    out = make(net)
    base, moved, one, two, data, old, new = (
        folder / k for k in ("base.onnx", "moved.onnx", "one.onnx", "two.onnx",
                             "in.npz", "old.prof", "new.prof"))
    net.save(base, out)
    shape = [d.dim_value for d in net.inputs[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    np.savez(data, in0=x)
    observe(base, data, old)
    permute = "score-magnitude,permute-channels"
    must(base, "--infer-shapes", f"--pass-pipeline={permute}", "-o", moved)
    observe(moved, data, new)
    prune = "prune-obs{n=2,m=4,damping=0.1}"
    must(base, "--infer-shapes", f"--profile={old}",
         f"--pass-pipeline={permute},{prune}", "-o", one)
    must(moved, "--infer-shapes", f"--profile={new}",
         f"--pass-pipeline={prune}", "-o", two)
    error = max(np.abs(a - b).max() for (_, a, _, _), (_, b, _, _)
                in zip(sites(one), sites(two)))
    code, text = opt(moved, "--infer-shapes", f"--profile={old}",
                     "--score-wanda")
    stale = code == 0 or "the profile is of another model" not in text
    bad = not error <= 1e-4 or stale
    print(f"{make.__name__} moments: {error:.0e}"
          f"{' a stale profile was taken' if stale else ''}"
          f"{' wrong' if bad else ''}")
    return bad


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    for make in NETS:
        for n, m in ((2, 4), (1, 2), (4, 8)):
            bad += check_outputs(folder, make, n, m)
    for make in (mlp, convs, ends, joined):
        for method in ("wanda", "ria"):
            for pipeline in ("{score},permute-channels",
                             "score-magnitude,permute-channels,{score}"):
                bad += check_masks(folder, make, method, pipeline)
        bad += check_moments(folder, make)
    print(f"{bad} wrong")
    return 0


if __name__ == "__main__":
    sys.exit(main())
