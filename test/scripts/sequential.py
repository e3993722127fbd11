#!/usr/bin/env python3
"""prune-sequential against pruning on one profile of the dense model.

    sequential.py MODELS FOLDER

On half of each model's data weights are chosen and fitted; on the other half
the outputs must be closer to those of the dense model when every block is
pruned on what the pruned ones before it give, and much closer when weights make
up for that first. Two runs give the same bytes. The
last line says how many checks failed."""
import pathlib
import subprocess
import sys

import numpy as np
import onnxruntime

MODELS = ("mlp", "cnn", "transformer")
CHANNELS = "score-magnitude{metric=l2},select-channels{ratio=0.4},"
PASSES = "score-wanda,select-unstructured{sparsity=0.7},compensate-refit"


def split(path, folder):
    """Every other sample; returns the two files."""
    data, parts = dict(np.load(path)), []
    for i, name in enumerate(("calibration", "held-out")):
        parts.append(folder / f"{name}.npz")
        np.savez(parts[-1], **{k: v[i::2] for k, v in data.items()})
    return parts


def opt(model, out, pipeline, *options):
    subprocess.run(["prune-opt", model, "--infer-shapes", *options,
                    f"--pass-pipeline={pipeline}", "-o", out], check=True,
                   stderr=subprocess.DEVNULL)


def outputs(model, data):
    run = onnxruntime.InferenceSession(model,
                                       providers=["CPUExecutionProvider"])
    return run.run(None, dict(np.load(data)))[0].astype(np.float64)


def main():
    models, folder = map(pathlib.Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    bad = 0
    for name in MODELS:
        model = models / f"{name}.onnx"
        data, held = split(models / f"{name}.npz", folder)
        profile, pruned = folder / "p.prof", folder / "pruned.onnx"
        subprocess.run(["prune-run", model, "--inputs", data,
                        "--profile-moments=full", "--profile-out", profile],
                       check=True, stdout=subprocess.DEVNULL)
        want, error = outputs(model, held), {}
        opt(model, pruned, PASSES, f"--profile={profile}")
        error["once"] = np.linalg.norm(outputs(pruned, held) - want)
        for group in ("input", "layer"):
            for first in ("", "compensate-inputs,"):
                passes = f"prune-sequential(group={group}){{{first}{PASSES}}}"
                again = folder / "again.onnx"
                for out in (pruned, again):
                    opt(model, out, passes, f"--calibration={data}")
                key = group + (" with inputs" if first else "")
                error[key] = np.linalg.norm(outputs(pruned, held) - want)
                # few layers lose little that the next could see
                best = first or name == "transformer"
                bad += not (error[key] < (1 if best else 1.1) * error["once"]
                            and pruned.read_bytes() == again.read_bytes())
        # channels of the whole model first, then what makes up for them
        opt(model, pruned, CHANNELS + "compensate-refit,compact-channels",
            f"--profile={profile}")
        once = np.linalg.norm(outputs(pruned, held) - want)
        opt(model, pruned, CHANNELS + "prune-sequential(reference){"
            "compensate-refit{reference}},compact-channels",
            f"--calibration={data}")
        ours = np.linalg.norm(outputs(pruned, held) - want)
        bad += not ours < once
        error |= {"channels": once, "with reference": ours}
        print(name + ":", ", ".join(f"{k} {v / np.linalg.norm(want):.4f}"
                             for k, v in error.items()))
    print(f"{bad} wrong")


main()
