#!/usr/bin/env python3
"""Permutation of channels in random graphs: outputs stay what they are.

    permute_fuzz.py FOLDER [--seed S] [--count N] [--first I]

Case I of seed S is a graph of shrink_graphs.py. Of pairs of channels one is
kept, so that nearly every group of channels has an order to look for. A failure
prints the seed, and is saved as FOLDER/S-I.onnx with its inputs."""
import subprocess
import sys

import numpy as np
import onnx
from onnx import numpy_helper

from shrink_fuzz import (Failure, Refused, campaign, case_of, compare, keep,
                         opt, outputs)


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
        name = keep(args, index, model, feed)
        print(f"{args.seed}-{index} fails: {e}\n  {name}: {way['before']}",
              flush=True)


def main():
    return campaign(run, ("permuted", "kept", "refused", "invalid", "failed"))


if __name__ == "__main__":
    sys.exit(main())
