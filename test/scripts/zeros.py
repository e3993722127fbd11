"""Count the zeros of a model's matrices (initializers of rank 2 or more).

usage: zeros.py MODEL.onnx"""
import sys

import numpy as np
import onnx
from onnx import numpy_helper


def main():
    zero = size = 0
    for tensor in onnx.load(sys.argv[1]).graph.initializer:
        a = numpy_helper.to_array(tensor)
        if a.ndim < 2:
            continue
        n = a.size - np.count_nonzero(a)
        zero, size = zero + n, size + a.size
        print(f"{tensor.name}: {n} of {a.size} zero")
    print(f"all: {zero} of {size} zero")


if __name__ == "__main__":
    main()
