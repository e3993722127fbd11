#!/usr/bin/env python3
"""Structured pruning of random graphs: compaction keeps what the masks left.

    shrink_fuzz.py FOLDER [--seed S] [--count N] [--first I] [--verbose]
    shrink_fuzz.py FOLDER --model FILE --ways TEXT [--reduce]

Case I of seed S is a graph of shrink_graphs.py and a way to prune it. The
masked and the compacted model must say the same in ONNX Runtime, or prune-opt
must refuse with an error that names an operator. The compacted model is pruned
once more. A failure prints the seed, and is saved as FOLDER/S-I.onnx with its
inputs; --reduce makes a smaller model of one that fails alike."""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper

import shrink_graphs
import shrink_grow

LIMITS = {"tensor(float)": 1e-5, "tensor(float16)": 1e-2,
          "tensor(double)": 1e-9}
REFUSAL = re.compile("error: .*(cannot shrink|no weight has a score)")


class Failure(Exception):
    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Refused(Exception):
    pass


class Invalid(Exception):
    """The graph itself, before anything was done to it."""


def opt(*args):
    run = subprocess.run(["prune-opt", *map(str, args)], text=True,
                         capture_output=True, check=False, timeout=60)
    if run.returncode == 0:
        return
    lines = [x for x in run.stderr.splitlines() if "error:" in x]
    text = lines[0] if lines else run.stderr[-300:]
    if run.returncode != 1:
        raise Failure("crash", f"{run.returncode}: {run.stderr[-2000:]}")
    if REFUSAL.search(text):
        raise Refused(text)
    raise Failure("error", text)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    return onnxruntime.InferenceSession(str(path), options,
                                        ["CPUExecutionProvider"])


def outputs(path, feed):
    s = session(path)
    return s.run(None, feed), [o.type for o in s.get_outputs()]


def is_checked(path):
    """Outputs whose rank nobody knows are none to onnx.checker."""
    return all(o.type.tensor_type.HasField("shape")
               for o in onnx.load(path).graph.output)


def compare(masked, small, feed, changes):
    want, kinds = outputs(masked, feed)
    try:
        if is_checked(masked):
            onnx.checker.check_model(str(small))
        got, _ = outputs(small, feed)
    except Exception as e:  # pylint: disable=broad-except
        raise Failure("invalid", str(e).strip().splitlines()[-1][:300]) from e
    for x, y, kind in zip(want, got, kinds):
        if x.shape != y.shape or x.dtype != y.dtype:
            raise Failure("shape", f"{x.shape} {x.dtype}, {y.shape} {y.dtype}")
        x, y = x.astype(np.float64), y.astype(np.float64)
        if changes or not np.isfinite(x).all() or not x.size:
            continue
        error = np.abs(x - y).max() / (np.abs(x).max() + 1e-9)
        if not error <= LIMITS[kind]:
            raise Failure("wrong", f"by {error:.1e}")


def prune(folder, model, feed, way):
    """Once; the folder then has masked.onnx and small.onnx."""
    masked, small = folder / "masked.onnx", folder / "small.onnx"
    opt(model, *way["before"], *way["select"], "-o", masked)
    opt(masked, "--infer-shapes", *way["compact"], "-o", small)
    compare(masked, small, feed, way["mixed"])
    return masked, small


def elements(path):
    """How many there are in weights."""
    return sum(np.prod(t.dims) for t in onnx.load(path).graph.initializer
               if t.data_type in shrink_graphs.FLOATS.values())


def trial(folder, model, feed, way):
    """Returns whether anything shrank."""
    try:
        outputs(model, feed)
    except Exception as e:  # pylint: disable=broad-except
        raise Invalid(str(e)[:300]) from e
    masked, small = prune(folder, model, feed, way)
    shrank = elements(small) < elements(masked)
    if way["again"] and shrank:
        once = folder / "once.onnx"
        small.rename(once)
        prune(folder, once, feed, way)
    return shrank


def way_of(rng):
    ratio = [0.2, 0.4, 0.6, 0.9][rng.integers(4)]
    units = ["", ",units=all"][rng.integers(2)]
    more = ["", "", ",round-to=2", ",scope=global", ",of=params",
            ",of=flops,scope=global"][rng.integers(6)]
    folding = [("--infer-shapes",),
               ("--infer-shapes", "--fold-constants"),
               ("--infer-shapes", "--fold-constants", "--canonicalize",
                "--dce")][rng.integers(3)]
    select = f"--select-channels=ratio={ratio}{units}{more}"
    compact = "--compact-channels"
    mixed = bool(rng.random() < 0.06)
    if mixed:
        select, compact = select + ",mixed", compact + "=mixed"
    elif rng.random() < 0.12:
        select, compact = "--select-heads=ratio=0.5", "--compact-heads"
    return {"before": folding, "select": ("--score-magnitude", select),
            "compact": (compact,), "again": bool(rng.random() < 0.3),
            "mixed": mixed}


def case_of(seed, index):
    """A model, what it is run on and how it is pruned."""
    rng = np.random.default_rng([seed, index])
    way = way_of(rng)
    opset = [9, 11, 13, 17, 18, 21][rng.integers(6)]
    dtype = ["f4"] * 8 + ["f2", "f8"]
    dtype = dtype[rng.integers(len(dtype))]
    while True:
        graph = shrink_grow.grow(rng, opset, dtype, rng.random() < 0.3,
                                   int(rng.integers(2, [8, 14, 14, 25][index % 4])))
        if graph:
            return graph.model(), graph.feed, way


# ---- smaller failures ----

def without_dead(model):
    used = {o.name for o in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):
        if any(o in used for o in node.output):
            nodes.insert(0, node)
            used.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for field in (model.graph.initializer, model.graph.input):
        kept = [x for x in field if x.name in used]
        del field[:]
        field.extend(kept)
    return model


def smaller(model, feed):
    """Models with less in them, each with its inputs."""
    kind = model.graph.output[0].type.tensor_type.elem_type
    names = [o.name for o in model.graph.output]
    for name in names[1:] and names:
        m = onnx.ModelProto.FromString(model.SerializeToString())
        kept = [o for o in m.graph.output if o.name != name]
        del m.graph.output[:]
        m.graph.output.extend(kept)
        yield without_dead(m), feed
    everything = onnx.ModelProto.FromString(model.SerializeToString())
    made = [o for n in model.graph.node for o in n.output if o]
    for name in made:
        if name not in names:
            everything.graph.output.append(helper.make_empty_tensor_value_info(
                name))
    s = session_of(everything)
    values = dict(zip([o.name for o in s.get_outputs()], s.run(None, {
        k: v for k, v in feed.items() if k in {i.name for i in s.get_inputs()}
    })))
    for node in model.graph.node[::-1]:
        for out in node.output:
            if out not in values or not isinstance(values[out], np.ndarray):
                continue
            like = [i for i in node.input if i in values and values[i].shape
                    == values[out].shape and values[i].dtype ==
                    values[out].dtype] if out not in names else []
            for instead in like + [None]:
                m = onnx.ModelProto.FromString(model.SerializeToString())
                more = dict(feed)
                name = instead
                if not instead:
                    if out in names or not node.input:
                        continue
                    name = "in_" + out
                    m.graph.input.append(helper.make_tensor_value_info(
                        name, helper.np_dtype_to_tensor_dtype(
                            values[out].dtype), values[out].shape))
                    more[name] = values[out]
                for n in m.graph.node:
                    for i, x in enumerate(n.input):
                        if x == out:
                            n.input[i] = name
                yield without_dead(m), more
    for node in model.graph.node:  # ends earlier
        for out in node.output:
            if out in names or out not in values:
                continue
            if values[out].dtype != helper.tensor_dtype_to_np_dtype(kind):
                continue
            m = onnx.ModelProto.FromString(model.SerializeToString())
            del m.graph.output[:]
            m.graph.output.append(helper.make_tensor_value_info(
                out, kind, None))
            yield without_dead(m), feed


def session_of(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                        ["CPUExecutionProvider"])


def fails(folder, model, feed, way):
    path = folder / "smaller.onnx"
    onnx.save(model, path)
    names = {i.name for i in model.graph.input}
    try:
        trial(folder, path, {k: v for k, v in feed.items() if k in names}, way)
    except Failure as e:
        return e.kind
    except Exception:  # pylint: disable=broad-except
        return None
    return None


def reduce(folder, model, feed, way, kind):
    found = True
    while found:
        found = False
        for m, more in smaller(model, feed):
            if len(m.graph.node) + len(m.graph.output) < len(
                    model.graph.node) + len(model.graph.output) and fails(
                        folder, m, more, way) == kind:
                model, feed, found = m, more, True
                break
    return model, feed


# ---- ----

def keep(args, index, model, feed):
    """Saves a case that failed; its path."""
    name = args.folder / f"{args.seed}-{index}.onnx"
    onnx.save(model, name)
    np.savez(name.with_suffix(".npz"), **feed)
    return name


def run(args, index, counts):
    seed = args.seed
    model, feed, way = case_of(seed, index)
    path = args.folder / "model.onnx"
    onnx.save(model, path)
    try:
        shrank = trial(args.folder, path, feed, way)
        counts["shrank" if shrank else "kept"] += 1
    except Refused as e:
        counts["refused"] += 1
        if args.verbose:
            print(f"{seed}-{index} refused: {e}", flush=True)
    except Invalid as e:
        counts["invalid"] += 1
        if args.verbose:
            print(f"{seed}-{index} invalid: {e}", flush=True)
    except (Failure, subprocess.TimeoutExpired) as e:
        counts["failed"] += 1
        print(f"{seed}-{index} fails: {e}", flush=True)
        if args.reduce and isinstance(e, Failure):
            model, feed = reduce(args.folder, model, feed, way, e.kind)
        name = keep(args, index, model, feed)
        print(f"  {name}: {len(model.graph.node)} nodes, {way}", flush=True)
        if args.reduce:
            for n in model.graph.node:
                print("   ", n.op_type, list(n.input), list(n.output),
                      [helper.printable_attribute(a) for a in n.attribute
                       if n.op_type != "Constant"])


def campaign(run, kinds, *flags):
    """Cases of a seed, one after the other, each `run(args, index, counts)`;
    prints how many ended in which way. 1 when one failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    counts = collections.Counter()
    for index in range(args.first, args.first + args.count):
        run(args, index, counts)
    print(f"seed {args.seed}: " + ", ".join(f"{counts[k]} {k}" for k in kinds))
    return counts["failed"] > 0


def main():
    return campaign(run, ("shrank", "kept", "refused", "invalid", "failed"),
                    "--reduce", "--verbose")


if __name__ == "__main__":
    sys.exit(main())
