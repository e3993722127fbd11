"""Inputs to calibrate on, and what is left to judge by.

No input is in both. Where the data folder has training data, that is it; else
the first part of the test data is for calibration, and a folder without it is
made for the metric."""
import os

import numpy as np
import onnxruntime

import zoo
from measure import shared

IMAGES, WORDS = 128, 200  # of the test data, that calibrate


def part(held, count):
    return slice(count, 2 * count) if held else slice(count)


def load(*path):
    return np.load(os.path.join(shared(), "models", *path))


def mnist_cnn(_, held):
    x = load("mnist", "train.npz")["x"][part(held, 512), None]
    return {"image": ((x.astype(np.float32) / 255 - .1307) / .3081
                      ).astype(np.float32)}


def resnet20(_, held):
    x = load("cifar10", "train.npz")["x"][part(held, 512)]
    x = (x.astype(np.float32) / 255 - np.float32([.485, .456, .406])
         ) / np.float32([.229, .224, .225])
    return {"image": np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)}


def resnet8(_, held):
    x = load("cifar10", "train.npz")["x"][part(held, 512)]
    return {"input_1": x.astype(np.float32)}


def chargpt(_, held):
    x = load("chargpt", "train.npz")["x"][:1024 * 64].reshape(1024, 64)
    return {"input_ids": x[part(held, 512)].astype(np.int64)}


def stories(_, held):
    ids = load("llama2c", "test.npz" if held else "calib.npz")["ids"]
    return {"input_ids": ids.astype(np.int64)}


def minilm(_, held):
    ids = load("minilm", "calib_train2000.npz")["a"][part(held, 256)]
    ids = ids[:, :(ids > 0).sum(1).max()].astype(np.int64)
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64),
            "token_type_ids": np.zeros_like(ids)}


def crops(folder):
    path = os.path.join(folder, "crops")
    return [os.path.join(path, n) for n in sorted(os.listdir(path))]


def efficientnet(folder, held):
    from PIL import Image
    names = crops(folder)[IMAGES:] if held else crops(folder)[:IMAGES]
    x = np.stack([np.asarray(Image.open(n).convert("RGB")) for n in names])
    x = (x.astype(np.float32) - 127) / 128
    return {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}


def kws(_, held):
    x = load("speech", "kws_test.npz")["x"]
    x = (x[WORDS:] if held else x[:WORDS]).astype(np.float32)
    return {"serving_default_input_1:0":
            ((x - 83) * np.float32(.5847029089927673))[..., None]}


INPUTS = {"MNIST CNN": mnist_cnn, "ResNet-20": resnet20, "ResNet-8": resnet8,
          "char-GPT": chargpt, "stories260K": stories,
          "all-MiniLM-L6-v2": minilm, "EfficientNet-Lite0": efficientnet,
          "keyword spotter": kws}


def inputs(model, held=False):
    """Inputs by name, all samples in one array each; or held: others."""
    return INPUTS[model.name](model.folder, held)


def batches(feeds, size):
    for at in range(0, len(next(iter(feeds.values()))), size):
        yield at, {k: v[at:at + size] for k, v in feeds.items()}


def write(model, folder, size=32):
    """A folder with the inputs in batches of SIZE."""
    made = os.path.join(folder, "inputs")
    os.makedirs(made, exist_ok=True)
    for at, feed in batches(inputs(model), size):
        np.savez(os.path.join(made, f"{at:05}.npz"), **feed)
    return made


def predictions(y):
    """Probabilities, of these or of logits."""
    if np.all(y >= 0) and np.allclose(y.sum(-1), 1, atol=1e-3):
        return np.maximum(y, 1e-12)
    e = np.exp(y - y.max(-1, keepdims=True))
    return np.maximum(e / e.sum(-1, keepdims=True), 1e-12)


class Held:
    """The dense model's outputs on inputs that are held out."""

    def __init__(self, model, dense):
        self.embeds = model.name == "all-MiniLM-L6-v2"
        self.feeds = [f for _, f in batches(inputs(model, held=True), 32)]
        self.want = list(self.run(dense))

    def run(self, path):
        session = onnxruntime.InferenceSession(
            path, providers=["CPUExecutionProvider"])
        for f in self.feeds:
            y = session.run(None, f)[0]
            yield y if self.embeds else predictions(y).astype(np.float32)

    def lost(self, path):
        """What the model at PATH loses: of embeddings the share of their
        squares, else the mean divergence of Kullback and Leibler, in nats,
        of predictions from the dense model's."""
        lost = whole = 0
        for got, want in zip(self.run(path), self.want):
            p, q = want.astype(np.float64), got.astype(np.float64)
            lost += (((q - p) ** 2).sum() if self.embeds
                     else (p * np.log(p / q)).sum())
            whole += (p ** 2).sum() if self.embeds else p[..., 0].size
        return float(lost / whole)


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
    return zoo.metric(model, path, left(model, folder))
