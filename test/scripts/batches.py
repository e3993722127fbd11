"""Write the first N rows of every array of an .npz file.

usage: batches.py ALL.npz BASE N…      writes BASE.N.npz"""
import sys

import numpy as np


def main():
    everything, base, *sizes = sys.argv[1:]
    arrays = dict(np.load(everything))
    for n in sizes:
        np.savez(f"{base}.{n}.npz",
                 **{k: v[:int(n)] for k, v in arrays.items()})


if __name__ == "__main__":
    main()
