"""The real models, real inputs for each, and each one's own metric.

The models and their data are in $PRUNE_SHARED/models; all-MiniLM-L6-v2 is made
from its PyPI package. The first entry of `metric` is the task of the data
folder's own evaluation script."""
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Callable

import numpy as np

from measure import Failed, shared


@dataclass
class Model:
    name: str
    path: str  # below models/
    inputs: Callable  # folder of the data -> inputs by name
    metric: tuple = ()  # task, file
    heads: bool = False
    dims: tuple = ()  # sizes that have to be fixed to compile a library

    @property
    def folder(self):
        return os.path.join(shared(), "models", os.path.dirname(self.path))

    @property
    def file(self):
        return os.path.join(shared(), "models", self.path)

    def real_inputs(self):
        return self.inputs(self.folder)


def data(folder, name="test.npz"):
    return np.load(os.path.join(folder, name))


def mnist8(folder):
    return {"Input3": data(folder)["x"][:1, None].astype(np.float32)}


def mnist_cnn(folder):
    x = data(folder)["x"][:32, None].astype(np.float32)
    return {"image": ((x / 255 - .1307) / .3081).astype(np.float32)}


def resnet20(folder):
    x = data(folder)["x"][:16].astype(np.float32) / 255
    x = (x - np.float32([.485, .456, .406])) / np.float32([.229, .224, .225])
    return {"image": np.ascontiguousarray(x.transpose(0, 3, 1, 2),
                                          np.float32)}


def resnet8(folder):
    return {"input_1": data(folder)["x"][:16].astype(np.float32)}


def efficientnet(folder):
    from PIL import Image
    crops = os.path.join(folder, "crops")
    names = sorted(os.listdir(crops))[:4]
    x = np.stack([np.asarray(Image.open(os.path.join(crops, n))
                             .convert("RGB")) for n in names])
    x = (x.astype(np.float32) - 127) / 128
    return {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}


def minilm(folder):
    ids = data(folder)["a"][:16].astype(np.int64)
    ids = ids[:, :(ids > 0).sum(1).max()]
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64),
            "token_type_ids": np.zeros_like(ids)}


def llama(folder):
    return {"input_ids": data(folder)["ids"][:4].astype(np.int64)}


def chargpt(folder):
    x = data(folder)["x"][:4 * 64].reshape(4, 64)
    return {"input_ids": x.astype(np.int64)}


def kws(folder):
    x = data(folder, "kws_test.npz")["x"][:32].astype(np.float32)
    return {"serving_default_input_1:0":
            ((x - 83) * np.float32(.5847029089927673))[..., None]}


def vad_sequence(folder):
    frames = data(folder, "vad_test.npz")["frames"][:100]
    zero = np.zeros((1, 1, 128), np.float32)
    return {"input": frames.astype(np.float32), "h": zero, "c": zero}


def vad(folder):
    frames = data(folder, "vad_test.npz")["frames"][40:41]
    return {"input": frames.astype(np.float32),
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array(16000, np.int64)}


MODELS = [
    Model("mnist-8", "mnist/mnist-8.onnx", mnist8, ("mnist8",)),
    Model("MNIST CNN", "mnist/mnist-cnn-trained-here.onnx", mnist_cnn,
          ("mnistcnn",)),
    Model("ResNet-20", "cifar10/resnet20.onnx", resnet20, ("cifar-torch",)),
    Model("ResNet-8", "cifar10/resnet8-mlperf.onnx", resnet8, ("cifar-tf",)),
    Model("EfficientNet-Lite0", "imagenet/efficientnet-lite0.onnx",
          efficientnet, ("imagenet-lite",)),
    Model("all-MiniLM-L6-v2", "minilm/all-MiniLM-L6-v2.onnx", minilm,
          ("sts",), heads=True),
    Model("stories260K", "llama2c/stories260K.onnx", llama, ("llama2c",),
          heads=True),
    Model("char-GPT", "chargpt/chargpt-trained-here.onnx", chargpt,
          ("charlm",), heads=True),
    Model("keyword spotter", "speech/kws-dscnn.onnx", kws,
          ("kws", "kws_test.npz")),
    Model("silero-vad", "speech/silero_vad_16k_sequence.onnx", vad_sequence,
          ("vad", "vad_test.npz")),
    Model("silero-vad (If)", "speech/silero_vad.onnx", vad,
          dims=("input[0]=1", "input[1]=576", "state[1]=1")),
]


def source(model, scratch):
    """The file of MODEL; MiniLM is made when the data does not hold it."""
    if os.path.exists(model.file):
        return model.file
    if "MiniLM" not in model.name:
        raise Failed(f"{model.path} is missing")
    made = os.path.join(scratch, "minilm.onnx")
    if not os.path.exists(made):
        import make_minilm
        subprocess.run([sys.executable, make_minilm.__file__, made],
                       check=True)
    return made


def metric(model, path, folder=None):
    """What the model is judged by, as (words, number), higher is better or
    not as the task has it; None where there is no labelled data. On the data
    of its own folder, or another."""
    if not model.metric:
        return None
    script = os.path.join(shared(), "models", "scripts", "eval.py")
    command = [sys.executable, script, model.metric[0], path,
               folder or model.folder]
    if len(model.metric) > 1:
        command += ["--file", model.metric[1]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^(\S+) ([-\d.e]+|nan)", run.stdout)
    if not found:
        lines = run.stderr.strip().splitlines() or ["no output"]
        raise Failed(f"evaluation of {model.name}: {lines[-1]}")
    return found[1], float(found[2])
