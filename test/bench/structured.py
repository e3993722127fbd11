"""Structured pruning: what can shrink, whether that is exact, what is left
beside other tools, how much faster it runs, and what it costs in quality.

    structured.py [SECTION …] [--peer PYTHON]

Sections: coverage, peers, speed, quality, time. --peer: a Python that has
onnxsim 0.8, which prunes the same files in the same run. Torch-Pruning's numbers
are of its own pruned models in the data folder. Needs the data folder."""
import argparse
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import onnx

import calibration
from measure import Failed, scratch, shared, stamp, table, tool
from shrink import PREPARE, difference, elements, session
from zoo import MODELS, metric, source

RATIOS = (0.1, 0.3, 0.5, 0.7)
SIZES = {"seq": 16, "sequence": 16, "batch": 2}
INPUTS = {"sr": 16000}


def prepared(model, folder):
    path = os.path.join(folder, "prepared.onnx")
    tool("prune-opt", model, *PREPARE, "-o", path, poll=0)
    return path


# ---- what can shrink ----

PRODUCTS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN",
            "Einsum"}


def weights_of(path):
    """Elements by name of what products multiply by."""
    model = onnx.load(path)
    made_by = {o: n for n in model.graph.node for o in n.output}
    sizes = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer}
    sizes |= {n.output[0]: int(np.prod(a.t.dims)) for n in model.graph.node
              for a in n.attribute
              if n.op_type == "Constant" and a.name == "value"}
    found = {}
    for node in model.graph.node:
        for name in node.input if node.op_type in PRODUCTS else ():
            if name in made_by and made_by[name].op_type == "Transpose":
                name = made_by[name].input[0]
            if name in sizes:
                found[name] = sizes[name]
    return found


def coverage_of(path):
    text = tool("prune-opt", path, "--infer-shapes", "--print-groups", "-o",
                os.devnull, poll=0).out
    free = set()
    for group in re.split(r"^group ", text, flags=re.M)[1:]:
        if "\n  frozen: " not in group:
            free |= {n.strip("'") for n in
                     re.findall(r"^  (\S+) axis ", group, re.M)}
    weights = weights_of(path)
    if not weights:
        return "all in branches"
    free = sum(n for k, n in weights.items() if k in free)
    return f"{free / sum(weights.values()):.1%}"


def exactness(base, folder, ratio):
    masked, small = (os.path.join(folder, n) for n in ("masked.onnx",
                                                       "small.onnx"))
    tool("prune-opt", base, "--infer-shapes", "--score-magnitude",
         f"--select-channels=ratio={ratio},units=all", "-o", masked, poll=0)
    tool("prune-opt", masked, "--infer-shapes", "--compact-channels", "-o",
         small, poll=0)
    return (elements(masked), elements(small),
            difference(masked, small, SIZES, INPUTS))


def coverage(folder):
    rows = [("model", "in groups that can shrink", "elements",
             *(f"left at {r:.0%}" for r in RATIOS), "largest error")]
    for model in MODELS:
        base = prepared(source(model, folder), folder)
        sizes = {k: v for k, v in (d.replace("[", ".").replace("]", "")
                                   .split("=") for d in model.dims)}
        SIZES.update({k: int(v) for k, v in sizes.items()})
        found = [exactness(base, folder, r) for r in RATIOS]
        rows.append((model.name, coverage_of(base), found[0][0],
                     *(f[1] for f in found),
                     f"{max(f[2] for f in found):.1e}"))
    print("## What can shrink, and that it is exact\n\n"
          f"{stamp()}. The share of elements of what products multiply by "
          "that is in a group that can shrink; elements left when that share of the indices of "
          "every group, heads and their elements included, is removed; the "
          "largest difference to the model with zeros in their place, over "
          "its largest output, in ONNX Runtime.\n")
    print(table(rows))


# ---- beside others ----

ONNXSIM = """
import sys, onnx, onnxsim, onnxsim.pruning as p
m = onnx.load(sys.argv[1])
try:
    m, _ = onnxsim.simplify(m)
except Exception:
    pass
m = p.apply_structured_pruning(m, sparsity=0.5)
try:
    m = p.apply_attention_head_pruning(m, sparsity=0.5)
except Exception:
    pass
onnx.save(m, sys.argv[2])
"""


def theirs(peer, model, folder):
    out = os.path.join(folder, "onnxsim.onnx")
    run = subprocess.run([peer, "-c", ONNXSIM, model, out],
                         capture_output=True, text=True, check=False)
    if run.returncode:
        return "fails"
    try:
        session(out)
    except Exception:  # pylint: disable=broad-except
        return "invalid model"
    return trained(out)


def trained(path):
    """Elements, without the statistics of normalisations."""
    model = onnx.load(path)
    gone = {n.input[i] for n in model.graph.node for i in (3, 4)
            if n.op_type == "BatchNormalization"}
    used = {i for n in model.graph.node for i in n.input} - gone
    sizes = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer
             if t.data_type == onnx.TensorProto.FLOAT}
    sizes |= {n.output[0]: int(np.prod(a.t.dims)) for n in model.graph.node
              for a in n.attribute if n.op_type == "Constant"
              and a.name == "value" and a.t.data_type == onnx.TensorProto.FLOAT
              and len(a.t.dims)}
    return sum(n for k, n in sizes.items() if k in used)


def ours(model, folder, *options):
    out = os.path.join(folder, "ours.onnx")
    select = []
    for units in ("channels", "elements"):
        select += ["--score-magnitude=metric=l2",
                   f"--select-channels=ratio=0.5,units={units}{options[0]}"]
    tool("prune-opt", model, "--infer-shapes", "--fold-constants", "--dce",
         *select, f"--compact-channels={options[1]}", "-o", out, poll=0)
    session(out)
    return trained(out)


def peers(folder, peer):
    import shrink_models
    golden = os.path.join(shared(), "..", "shared", "oracle", "depgraph")
    if not os.path.isdir(golden):
        golden = os.path.join(shared(), "oracle", "depgraph")
    rows = [("network", "elements", "Torch-Pruning 1.6", "onnxsim 0.8",
             "ours", "ours, width too")]
    nets = [(n, os.path.join(golden, f"{n}.onnx"))
            for n in ("miniresnet", "flatten", "tiny_mha", "concat_group_dw")]
    for make in shrink_models.NETS[:3] + [shrink_models.attention]:
        net, path = shrink_models.Net(), os.path.join(folder, "net.onnx")
        path = os.path.join(folder, f"{make.__name__}.onnx")
        import pathlib
        net.save(pathlib.Path(path), make(net))
        nets.append((make.__name__, path))
    for name, path in nets:
        shapes = os.path.join(golden, f"{name}.pruned_shapes.json")
        torch = "–"
        if name == "concat_group_dw":
            torch = "crashes"
        elif os.path.exists(shapes):
            with open(shapes, encoding="utf-8") as f:
                torch = sum(int(np.prod(v)) for k, v in json.load(f).items()
                            if "running" not in k and "tracked" not in k)
        rows.append((name, trained(path), torch,
                     theirs(peer, path, folder) if peer else "–",
                     ours(path, folder, "", "mixed=false"),
                     ours(path, folder, ",mixed", "mixed=true")))
    print(f"## Half of every group, beside others\n\n{stamp()}. Trained "
          "elements left; all results load in ONNX Runtime unless said.\n")
    print(table(rows))


# ---- speed ----

def best_ms(run, seconds=2.0):
    best, end = 1e9, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best * 1e3


def speed(folder):
    from cpu_engines import Ort
    from cpu_models import CASES, make
    rows = [("model", "elements", "left", "ONNX Runtime, ms", "half, ms", "×",
             "ours, ms", "half, ms", "×")]
    cache = os.environ.get("PRUNE_BENCH_CACHE", folder)
    for name in ("bert", "minilm"):
        case = next(c for c in CASES if c.name == name)
        dense = os.path.join(cache, f"{name}-dense.onnx")
        if not os.path.exists(dense):
            make(case, "dense", cache)
        half = os.path.join(folder, f"{name}-half.onnx")
        tool("prune-opt", dense, "--infer-shapes", "--fold-constants",
             "--score-magnitude=metric=l2", "--select-heads=ratio=0.5",
             "--score-magnitude=metric=l2", "--select-channels=ratio=0.5",
             "--compact-channels", "-o", half, poll=0)
        cells = []
        for path in (dense, half):
            s = session_one_thread(path)
            feed = feed_of(s)
            cells.append((best_ms(lambda s=s, f=feed: s.run(None, f)),
                          native_ms(path)))
        rows.append((name, elements(dense), elements(half),
                     f"{cells[0][0]:.2f}", f"{cells[1][0]:.2f}",
                     f"{cells[0][0] / cells[1][0]:.2f}",
                     f"{cells[0][1]:.2f}", f"{cells[1][1]:.2f}",
                     f"{cells[0][1] / cells[1][1]:.2f}"))
    print(f"## Half the heads and half of every FFN\n\n{stamp()}. 128 tokens, "
          "one thread.\n")
    print(table(rows))


def session_one_thread(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options,
                                        ["CPUExecutionProvider"])


def feed_of(s):
    rng = np.random.default_rng(0)
    return {i.name: rng.standard_normal(i.shape).astype(np.float32)
            if "float" in i.type else np.ones(i.shape, np.int64)
            for i in s.get_inputs()}


def native_ms(path):
    text = tool("prune-run", path, "--bench=2", "--json", poll=0).out
    return json.loads(text)["min_ms"]


# ---- quality ----

def select(scope, normalise):
    return (f"--select-channels=ratio=0.3,of=flops,units=all,scope={scope},"
            f"normalise={normalise}")


L2, SEEN = "--score-magnitude=metric=l2", "--score-activation"
METHODS = {
    "L2, every group alike": (L2, select("tensor", "mean")),
    "DepGraph": (L2, select("global", "mean")),
    "FLAP": (SEEN, select("global", "standard"), "--compensate-bias"),
    "DepGraph, biases": (L2, select("global", "mean"), "--compensate-bias"),
    "fluctuation, biases": (SEEN, select("global", "mean"),
                            "--compensate-bias"),
    "fluctuation, refit": (SEEN, select("global", "mean"),
                           "--compensate-refit", "--compensate-bias"),
    "fluctuation, block by block": (
        SEEN, select("global", "mean"), "--pass-pipeline=prune-sequential("
        "reference){compensate-refit{reference}}", "--compensate-bias"),
}
JUDGED = ("MNIST CNN", "ResNet-20", "ResNet-8", "char-GPT", "stories260K",
          "all-MiniLM-L6-v2")


def quality(folder):
    rows = [("model", "dense", *METHODS)]
    for model in MODELS:
        if model.name not in JUDGED:
            continue
        base = prepared(source(model, folder), folder)
        profile, out = (os.path.join(folder, n) for n in ("p.prof",
                                                          "out.onnx"))
        given = calibration.write(model, os.path.join(folder, model.name))
        tool("prune-run", base, "--inputs", given, "--profile-moments=full",
             "--profile-out", profile, poll=0)
        cells = [metric(model, base)]
        for passes in METHODS.values():
            tool("prune-opt", base, "--infer-shapes", f"--profile={profile}",
                 f"--calibration={given}", *passes, "--compact-channels", "-o",
                 out, poll=0)
            cells.append(metric(model, out))
        rows.append((f"{model.name}, {cells[0][0]}",
                     *(f"{c[1]:.4f}" for c in cells)))
    print(f"## A third of the FLOPs\n\n{stamp()}. 30 % of the FLOPs of "
          "products removed in one shot, no training; what was seen in up to "
          "512 inputs that the metric is not computed on. Less is better for "
          "nll, more elsewhere.\n")
    print(table(rows))


# ---- time ----

def chain(n, path):
    from onnx import helper, numpy_helper
    nodes, weights, x = [], [], "x"
    for i in range(n // 3):
        weights.append(numpy_helper.from_array(
            np.ones((4, 4, 1, 1), np.float32), f"w{i}"))
        nodes += [helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"]),
                  helper.make_node("Relu", [f"c{i}"], [f"r{i}"]),
                  helper.make_node("Add", [f"r{i}", x], [f"a{i}"])]
        x = f"a{i}"
    kind = [helper.make_tensor_value_info(v, 1, [1, 4, 2, 2])
            for v in ("x", x)]
    graph = helper.make_graph(nodes, "chain", kind[:1], kind[1:], weights)
    onnx.save(helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        path)


def times(folder):
    rows = [("nodes", "seconds", "µs a node")]
    path = os.path.join(folder, "chain.onnx")
    for n in (1000, 3000, 10000, 100000):
        chain(n, path)
        least = 1e9
        for _ in range(3):
            text = tool("prune-opt", path, "--infer-shapes", "--print-groups",
                        "-o", os.devnull, "--time-passes", poll=0).err
            least = min(least, float(re.search(
                r"([\d.]+)\s.*print-groups", text)[1]) / 1e3)
        rows.append((f"{n:,}", f"{least:.4f}", f"{least / n * 1e6:.1f}"))
    print(f"## Finding groups\n\n{stamp()}. Residual convolutions; "
          "print-groups with its analysis, least of three.\n")
    print(table(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--peer", metavar="PYTHON")
    args = parser.parse_args()
    if not shared():
        raise SystemExit("PRUNE_SHARED is not set: no models")
    sections = {"coverage": coverage, "speed": speed, "quality": quality,
                "time": times,
                "peers": lambda folder: peers(folder, args.peer)}
    failed = False
    for name in args.sections or ("coverage", "peers", "speed", "quality",
                                  "time"):
        with scratch() as folder:
            try:
                sections[name](folder)
            except Failed as e:
                failed = True
                print(f"**{name} failed: {e}**\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
