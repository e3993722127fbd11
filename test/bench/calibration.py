"""Inputs to calibrate on, and what is left to judge by.

No input is in both. Where the data folder has training data, that is it; else
the first part of the test data is for calibration, and a folder without it is
made for the metric."""
import os
import re
import subprocess
import sys

import numpy as np

from measure import Failed, shared

IMAGES, WORDS = 128, 200  # of the test data, that calibrate


def load(*path):
    return np.load(os.path.join(shared(), "models", *path))


def mnist_cnn(_):
    x = load("mnist", "train.npz")["x"][:512, None].astype(np.float32)
    return {"image": ((x / 255 - .1307) / .3081).astype(np.float32)}


def resnet20(_):
    x = load("cifar10", "train.npz")["x"][:512].astype(np.float32) / 255
    x = (x - np.float32([.485, .456, .406])) / np.float32([.229, .224, .225])
    return {"image": np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)}


def resnet8(_):
    x = load("cifar10", "train.npz")["x"][:512]
    return {"input_1": x.astype(np.float32)}


def chargpt(_):
    x = load("chargpt", "train.npz")["x"][:512 * 64].reshape(512, 64)
    return {"input_ids": x.astype(np.int64)}


def stories(_):
    return {"input_ids": load("llama2c", "calib.npz")["ids"].astype(np.int64)}


def minilm(_):
    ids = load("minilm", "calib_train2000.npz")["a"][:256].astype(np.int64)
    ids = ids[:, :(ids > 0).sum(1).max()]
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64),
            "token_type_ids": np.zeros_like(ids)}


def crops(folder):
    path = os.path.join(folder, "crops")
    return [os.path.join(path, n) for n in sorted(os.listdir(path))]


def efficientnet(folder):
    from PIL import Image
    x = np.stack([np.asarray(Image.open(n).convert("RGB"))
                  for n in crops(folder)[:IMAGES]])
    x = (x.astype(np.float32) - 127) / 128
    return {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}


def kws(_):
    x = load("speech", "kws_test.npz")["x"][:WORDS].astype(np.float32)
    return {"serving_default_input_1:0":
            ((x - 83) * np.float32(.5847029089927673))[..., None]}


INPUTS = {"MNIST CNN": mnist_cnn, "ResNet-20": resnet20, "ResNet-8": resnet8,
          "char-GPT": chargpt, "stories260K": stories,
          "all-MiniLM-L6-v2": minilm, "EfficientNet-Lite0": efficientnet,
          "keyword spotter": kws}


def inputs(model):
    """Inputs by name, all samples in one array each."""
    return INPUTS[model.name](model.folder)


def write(model, folder, size=32):
    """A folder with the inputs in batches of SIZE."""
    made = os.path.join(folder, "inputs")
    os.makedirs(made, exist_ok=True)
    feeds = inputs(model)
    count = len(next(iter(feeds.values())))
    for at in range(0, count, size):
        np.savez(os.path.join(made, f"{at:05}.npz"),
                 **{k: v[at:at + size] for k, v in feeds.items()})
    return made


def left(model, folder):
    """The folder of data to judge by."""
    made = os.path.join(folder, "judged")
    if model.name == "EfficientNet-Lite0":
        os.makedirs(os.path.join(made, "crops"), exist_ok=True)
        for path in crops(model.folder)[IMAGES:]:
            to = os.path.join(made, "crops", os.path.basename(path))
            if not os.path.exists(to):
                os.symlink(path, to)
        return made
    if model.name == "keyword spotter":
        os.makedirs(made, exist_ok=True)
        all_of_it = load("speech", "kws_test.npz")
        np.savez(os.path.join(made, "kws_test.npz"),
                 **{k: v[WORDS:] for k, v in all_of_it.items()})
        return made
    return model.folder


def judge(model, path, folder):
    """The metric of the model at PATH on what is left, as (words, number)."""
    script = os.path.join(shared(), "models", "scripts", "eval.py")
    command = [sys.executable, script, model.metric[0], path,
               left(model, folder), "--threads", "2"]
    if len(model.metric) > 1:
        command += ["--file", model.metric[1]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^(\S+) ([-\d.e]+|nan)", run.stdout)
    if not found:
        lines = run.stderr.strip().splitlines() or ["no output"]
        raise Failed(f"evaluation of {model.name}: {lines[-1]}")
    return found[1], float(found[2])
