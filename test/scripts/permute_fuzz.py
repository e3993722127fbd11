#!/usr/bin/env python3
"""Permutation of channels in random graphs: outputs stay what they are.

    permute_fuzz.py FOLDER [--seed S] [--count N] [--first I]

Case I of seed S is a graph of shrink_graphs.py. Of pairs of channels one is
kept, so that nearly every group of channels has an order to look for. A failure
prints the seed, and is saved as FOLDER/S-I.onnx with its inputs."""
import argparse
import collections
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from shrink_fuzz import Failure, Refused, case_of, compare, opt, outputs


def weights(path):
    return {t.name: numpy_helper.to_array(t)
            for t in onnx.load(path).graph.initializer}


def trial(folder, model, feed, way):
    """Returns whether weights changed places."""
    base, permuted = folder / "base.onnx", folder / "permuted.onnx"
    opt(model, *way["before"], "-o", base)
    opt(base, "--infer-shapes", "--score-magnitude",
        "--permute-channels=n=1,m=2", "-o", permuted)
    compare(base, permuted, feed, False)
    old, new = weights(base), weights(permuted)
    return any(k in old and not np.array_equal(v, old[k])
               for k, v in new.items())


def run(args, index, counts):
    model, feed, way = case_of(args.seed, index)
    path = args.folder / "model.onnx"
    onnx.save(model, path)
    try:
        outputs(path, feed)
    except Exception:  # pylint: disable=broad-except
        counts["invalid"] += 1
        return
    try:
        moved = trial(args.folder, path, feed, way)
        counts["permuted" if moved else "kept"] += 1
    except Refused:
        counts["refused"] += 1
    except (Failure, subprocess.TimeoutExpired) as e:
        counts["failed"] += 1
        name = args.folder / f"{args.seed}-{index}.onnx"
        onnx.save(model, name)
        np.savez(name.with_suffix(".npz"), **feed)
        print(f"{args.seed}-{index} fails: {e}\n  {name}: {way['before']}",
              flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    counts = collections.Counter()
    for index in range(args.first, args.first + args.count):
        run(args, index, counts)
    print(f"seed {args.seed}: " + ", ".join(
        f"{counts[k]} {k}" for k in ("permuted", "kept", "refused", "invalid",
                                     "failed")))
    return counts["failed"] > 0


if __name__ == "__main__":
    sys.exit(main())
