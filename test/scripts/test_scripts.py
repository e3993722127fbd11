"""The scripts that make models: the BERT they write against numpy, and the
tokenizer against words worked out by hand."""
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [HERE, os.path.join(HERE, "..", "..", "scripts")]

try:
    import numpy as np
    import onnxruntime
    from scipy.special import erf

    from make_minilm import Bert
    from ort_compare import error
    from wordpiece import WordPiece, words
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

HIDDEN, INNER, HEADS, LAYERS, WORDS, PLACES = 12, 20, 3, 2, 30, 16


def tensors():
    rng = np.random.default_rng(5)
    t = {"embeddings.position_ids": np.arange(PLACES)[None]}

    def put(name, *dims):
        t[name] = rng.normal(0, 0.5, dims).astype(np.float32)

    def linear(name, out, inner):
        put(name + ".weight", out, inner)
        put(name + ".bias", out)

    def norm(name):
        put(name + ".weight", HIDDEN)
        put(name + ".bias", HIDDEN)
    for name, rows in (("word", WORDS), ("position", PLACES),
                       ("token_type", 2)):
        put(f"embeddings.{name}_embeddings.weight", rows, HIDDEN)
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


class Reference:
    """BERT in numpy and double precision, written from the paper."""

    def __init__(self, t):
        self.t = {k: v.astype(np.float64) for k, v in t.items()}

    def linear(self, name, x):
        return x @ self.t[name + ".weight"].T + self.t[name + ".bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        return x * self.t[name + ".weight"] + self.t[name + ".bias"]

    def attention(self, name, x, mask):
        n, length, _ = x.shape
        q, k, v = (self.linear(f"{name}.self.{p}", x)
                   .reshape(n, length, HEADS, -1)
                   for p in ("query", "key", "value"))
        score = np.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(HIDDEN // HEADS)
        score = np.exp(score + (1 - mask)[:, None, None, :] * -10000.0)
        score /= score.sum(-1, keepdims=True)
        mixed = np.einsum("nhqk,nkhd->nqhd", score, v)
        y = self.linear(name + ".output.dense", mixed.reshape(x.shape))
        return self.norm(name + ".output.LayerNorm", x + y)

    def run(self, ids, mask, types):
        e = "embeddings.{}_embeddings.weight"
        x = (self.t[e.format("word")][ids] + self.t[e.format("token_type")][
            types] + self.t[e.format("position")][:ids.shape[1]])
        x = self.norm("embeddings.LayerNorm", x)
        for i in range(LAYERS):
            layer = f"encoder.layer.{i}."
            x = self.attention(layer + "attention", x, mask)
            y = self.linear(layer + "intermediate.dense", x)
            y = y * (1 + erf(y / np.sqrt(2))) / 2
            x = self.norm(layer + "output.LayerNorm",
                          x + self.linear(layer + "output.dense", y))
        share = mask[..., None]
        mean = (x * share).sum(1) / share.sum(1)
        return x, mean / np.linalg.norm(mean, axis=1, keepdims=True)


class Scripts(unittest.TestCase):
    def test_bert(self):
        t = tensors()
        model = Bert("tiny", t, HEADS).build().SerializeToString()
        session = onnxruntime.InferenceSession(model)
        rng = np.random.default_rng(6)
        for batch, length in ((1, 1), (2, 7), (3, PLACES)):
            ids = rng.integers(0, WORDS, (batch, length))
            types = rng.integers(0, 2, (batch, length))
            mask = np.ones((batch, length), np.int64)
            mask[-1, length // 2 + 1:] = 0
            got = session.run(None, {"input_ids": ids, "attention_mask": mask,
                                     "token_type_ids": types})
            for have, want in zip(got, Reference(t).run(ids, mask, types)):
                self.assertEqual(have.shape, want.shape)
                self.assertLess(error(have, want), 2e-6)

    def test_words(self):
        self.assertEqual(words("Café, NAÏVE\tco-op!"),
                         ["cafe", ",", "naive", "co", "-", "op", "!"])
        self.assertEqual(words("a\u200db 東京"), ["ab", "東", "京"])

    def test_wordpiece(self):
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able",
                  "##a", "run"]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as f:
            f.write("\n".join(pieces) + "\n")
            f.flush()
            w = WordPiece(f.name)
        self.assertEqual(w.encode("Unaffable run"), [2, 4, 5, 6, 8, 3])
        self.assertEqual(w.encode("unx"), [2, 1, 3])
        self.assertEqual(w.encode("run " * 9, longest=4), [2, 8, 8, 3])
        batch = w.batch(["run", "unaffable"])
        self.assertEqual(batch["input_ids"].tolist(),
                         [[2, 8, 3, 0, 0], [2, 4, 5, 6, 3]])
        self.assertEqual(batch["attention_mask"].tolist(),
                         [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])

    def test_error(self):
        a = np.array([3.0, 4.0], np.float32)
        self.assertEqual(error(a, a), 0)
        self.assertAlmostEqual(error(np.array([3.0, 4.5]), a), 0.1)
        nan = np.array([np.nan, 1], np.float32)
        self.assertEqual(error(nan, nan), 0)
        self.assertFalse(error(a, nan) <= 1)
        self.assertEqual(error(np.array([1]), np.array([2])), 1)


if __name__ == "__main__":
    unittest.main()
