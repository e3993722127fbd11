"""BERT's uncased WordPiece tokenizer: text in, token ids out."""
import unicodedata

import numpy as np

LONGEST_WORD = 100


def is_punctuation(c):
    return (33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96
            or 123 <= ord(c) <= 126 or unicodedata.category(c)[0] == "P")


def is_cjk(c):
    return (0x4E00 <= ord(c) <= 0x9FFF or 0x3400 <= ord(c) <= 0x4DBF
            or 0xF900 <= ord(c) <= 0xFAFF or 0x20000 <= ord(c) <= 0x2FA1F)


def words(text):
    """Lower-case words without accents; punctuation and CJK stand alone."""
    text = unicodedata.normalize("NFD", text.lower())
    out = []
    for c in text:
        if c.isspace():
            out.append(" ")
        elif unicodedata.category(c) in ("Mn", "Cc", "Cf") or c == "\ufffd":
            continue
        elif is_punctuation(c) or is_cjk(c):
            out.append(f" {c} ")
        else:
            out.append(c)
    return "".join(out).split()


class WordPiece:
    def __init__(self, vocabulary):
        with open(vocabulary, encoding="utf-8") as f:
            self.ids = {line.rstrip("\n"): i for i, line in enumerate(f)}

    def pieces(self, word):
        """Longest pieces first, from the left; [UNK] where none fits."""
        unknown = [self.ids["[UNK]"]]
        if len(word) > LONGEST_WORD:
            return unknown
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.ids:
                    break
            else:
                return unknown
            found.append(self.ids[piece])
            start = end
        return found

    def encode(self, text, longest=512):
        body = [i for w in words(text) for i in self.pieces(w)]
        return ([self.ids["[CLS]"]] + body[:longest - 2] + [self.ids["[SEP]"]])

    def batch(self, texts):
        """The three inputs of a BERT, padded to the longest text."""
        rows = [self.encode(t) for t in texts]
        ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for i, row in enumerate(rows):
            ids[i, :len(row)] = row
        return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64),
                "token_type_ids": np.zeros_like(ids)}
