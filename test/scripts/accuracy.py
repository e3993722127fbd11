"""Share of rows whose largest logit is that of the label.

usage: accuracy.py OUTPUTS.npz LABELS.npz"""
import sys

import numpy as np


def main():
    logits = np.load(sys.argv[1])["logits"]
    labels = np.load(sys.argv[2])["labels"]
    print(f"accuracy {(logits.argmax(1) == labels).mean():.4f}")


if __name__ == "__main__":
    main()
