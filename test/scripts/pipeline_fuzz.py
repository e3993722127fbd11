#!/usr/bin/env python3
"""Random pipelines on random graphs: what is compiled, what is exported and
what the model was say the same.

    pipeline_fuzz.py FOLDER [--seed S] [--count N] [--first I] [--verbose]

Case I of seed S is a graph of shrink_graphs.py and four pipelines drawn for it:
one that changes nothing, a selection, one that removes what it left and changes
nothing else, and one more that changes nothing. ONNX Runtime must say the same
before and after each but the selection; and prune-run, of the last model, what
ONNX Runtime says of it, or refuse with an error. A failure prints the seed, and
is saved as FOLDER/S-I.onnx with its inputs."""
import subprocess
import sys

import numpy as np
import onnx

import shrink_fuzz
from shrink_fuzz import (Failure, Invalid, Refused, campaign, compare, keep,
                         opt, outputs)

# Passes after which outputs are what they were, up to the order of sums.
EXACT = ("--infer-shapes", "--fold-constants", "--canonicalize", "--cse",
         "--dce", "--fold-batch-norm", "--strip-names=docs-only",
         "--canonicalize", "--score-magnitude")
SELECT = (
    ("--select-nm=n=2,m=4",),
    ("--select-nm=n=1,m=4", "--score-magnitude", "--select-channels=ratio=0.3"),
    ("--select-unstructured=sparsity=0.6,scope=tensor",),
    ("--select-unstructured=sparsity=0.5,scope=row",),
    ("--select-unstructured=sparsity=0.7,scope=global",),
    ("--select-block=rows=2,cols=1,sparsity=0.5",),
    ("--select-vectors=sparsity=0.5",),
    ("--select-channels=ratio=0.5",),
    ("--select-channels=ratio=0.3,units=all",),
    ("--select-heads=ratio=0.5",),
)
# Sums in another order and fused operations; of the largest output.
LIMITS = {np.dtype("f4"): 1e-4, np.dtype("f2"): 2e-2, np.dtype("f8"): 1e-4}


def exact(rng):
    n = int(rng.integers(0, 5))
    return [EXACT[i] for i in rng.integers(0, len(EXACT), n)]


def way_of(rng):
    permute = ["--score-magnitude", "--permute-channels=n=2,m=4"]
    compact = [["--compact-channels"], ["--compact-heads"],
               ["--compact-channels", "--compact-layers"]][rng.integers(3)]
    return {
        "first": ["--infer-shapes", *exact(rng),
                  *(permute if rng.random() < 0.3 else [])],
        "select": ["--score-magnitude", *SELECT[rng.integers(len(SELECT))]],
        "remove": ["--infer-shapes", *exact(rng), *compact, *exact(rng)],
        "last": ["--infer-shapes", *exact(rng)],
    }


def case_of(seed, index):
    rng = np.random.default_rng([seed, index, 7])
    model, feed, _ = shrink_fuzz.case_of(seed, index)
    return model, feed, way_of(rng)


def run_compiled(folder, path, feed):
    """What prune-run computes; None when it refuses."""
    inputs, out = folder / "in.npz", folder / "out.npz"
    np.savez(inputs, **feed)
    done = subprocess.run(["prune-run", path, "--inputs", inputs, "--outputs",
                           out], text=True, capture_output=True, check=False,
                          timeout=120)
    lines = [x for x in done.stderr.splitlines() if "error:" in x]
    if done.returncode == 1 and lines:
        return None, lines[0]
    if done.returncode:
        raise Failure("crash", f"prune-run: {done.returncode}: "
                               f"{done.stderr[-2000:]}")
    return dict(np.load(out)), None


def compare_compiled(folder, path, feed):
    """Returns why prune-run refused, or None."""
    got, why = run_compiled(folder, path, feed)
    if why:
        return why
    names = [o.name for o in onnx.load(path).graph.output]
    want, _ = outputs(path, feed)
    for name, x in zip(names, want):
        y = got[name]
        if x.shape != y.shape or x.dtype != y.dtype:
            raise Failure("shape", f"prune-run: {name}: {x.shape} {x.dtype}, "
                                   f"{y.shape} {y.dtype}")
        limit = LIMITS[x.dtype]
        x, y = x.astype(np.float64), y.astype(np.float64)
        if not np.isfinite(x).all() or not x.size:
            continue
        error = np.abs(x - y).max() / (np.abs(x).max() + 1e-6)
        if not error <= limit:
            raise Failure("wrong", f"prune-run: {name} by {error:.1e}")
    return None


def trial(folder, model, feed, way):
    try:
        outputs(model, feed)
    except Exception as e:  # pylint: disable=broad-except
        raise Invalid(str(e)[:300]) from e
    first, masked = folder / "first.onnx", folder / "masked.onnx"
    small, last = folder / "small.onnx", folder / "last.onnx"
    opt(model, *way["first"], "-o", first)
    compare(model, first, feed, False)
    opt(first, *way["select"], "-o", masked)
    opt(masked, *way["remove"], "-o", small)
    compare(masked, small, feed, False)
    opt(small, *way["last"], "-o", last)
    compare(small, last, feed, False)
    return compare_compiled(folder, last, feed)


def run(args, index, counts):
    model, feed, way = case_of(args.seed, index)
    path = args.folder / "model.onnx"
    onnx.save(model, path)
    why = None
    try:
        why = trial(args.folder, path, feed, way)
        counts["not compiled" if why else "same"] += 1
    except Refused as e:
        why = e
        counts["refused"] += 1
    except Invalid as e:
        why = e
        counts["invalid"] += 1
    except (Failure, subprocess.TimeoutExpired) as e:
        counts["failed"] += 1
        name = keep(args, index, model, feed)
        print(f"{args.seed}-{index} fails: {e}\n  {name}: {way}", flush=True)
    if why and args.verbose:
        print(f"{args.seed}-{index}: {why}", flush=True)


def main():
    return campaign(run, ("same", "not compiled", "refused", "invalid",
                          "failed"), "--verbose")


if __name__ == "__main__":
    sys.exit(main())
