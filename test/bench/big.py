"""Memory and time of prune-opt on a model of BERT-base's size (434 MB)."""
import os

import numpy as np
import onnx

from measure import MB, best, copy_seconds, scratch, stamp, table, tool, verdict
from make_minilm import Bert  # measure says where

HIDDEN, HEADS, LAYERS, INNER, WORDS, PLACES = 768, 12, 12, 3072, 30522, 512
PRUNE = ("--score-magnitude", "--select-nm=n=2,m=4")
LARGEST = WORDS * HIDDEN * 4


def tensors():
    rng = np.random.default_rng(0)

    def noise(*dims):
        return (rng.standard_normal(dims, np.float32) * 0.02)
    t = {"embeddings.position_ids": np.arange(PLACES, dtype=np.int64)[None]}

    def linear(name, out, inner):
        t[name + ".weight"], t[name + ".bias"] = noise(out, inner), noise(out)

    def norm(name):
        t[name + ".weight"] = np.ones(HIDDEN, np.float32)
        t[name + ".bias"] = noise(HIDDEN)
    for name, rows in (("word", WORDS), ("position", PLACES),
                       ("token_type", 2)):
        t[f"embeddings.{name}_embeddings.weight"] = noise(rows, HIDDEN)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            linear(layer + "attention." + name, HIDDEN, HIDDEN)
        linear(layer + "intermediate.dense", INNER, HIDDEN)
        linear(layer + "output.dense", HIDDEN, INNER)
        norm(layer + "attention.output.LayerNorm")
        norm(layer + "output.LayerNorm")
    return t


def make(folder):
    """The same model twice: in one file, and with its weights beside it."""
    model = Bert("bert-base", tensors(), HEADS).build()
    one, two = (os.path.join(folder, n) for n in ("one.onnx", "two.onnx"))
    onnx.save(model, one)
    onnx.save(model, two, save_as_external_data=True, location="two.bin")
    return {"one file": (one, one),
            "external data": (two, os.path.join(folder, "two.bin"))}


def main():
    goal = 64 * MB + 2 * LARGEST
    print(f"## A model of 434 MB\n\n{stamp()}. BERT-base's shape with random "
          f"weights. Private memory is anonymous memory, sampled every "
          f"millisecond; its goal is 64 MB and twice the largest tensor. `cp` "
          f"is the copy of the weights on the same disk in the same minute, "
          f"each the least of three.\n")
    rows = [("command", "model", "private MB", "seconds", "CPU seconds",
             "times `cp`")]
    with scratch() as folder:
        out = os.path.join(folder, "out.onnx")
        for kind, (model, weights) in make(folder).items():
            for passes in (PRUNE, ()):
                runs, copies = [], []
                for _ in range(3):
                    for name in (out, out + ".data"):  # neither replaces
                        if os.path.exists(name):
                            os.remove(name)
                    copies.append(copy_seconds(weights, out))
                    runs.append(tool("prune-opt", model, *passes, "-o",
                                     out if passes else "-"))
                run = best(runs)
                private = max(r.private for r in runs) / MB
                copy = min(copies)
                name = " ".join(passes) or "parse and print"
                if passes:
                    rows.append((name, kind, verdict(private, goal / MB),
                                 f"{run.seconds:.3f}", f"{run.cpu:.3f}",
                                 verdict(run.seconds / copy, 2.5)))
                else:
                    rows.append((name, kind, verdict(private, 8),
                                 verdict(run.seconds, 0.05),
                                 f"{run.cpu:.3f}",
                                 f"{run.seconds / copy:.2f}"))
    print(table(rows))


if __name__ == "__main__":
    main()
