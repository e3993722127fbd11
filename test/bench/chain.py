"""A long chain of nodes through shape inference, CSE, DCE, canonicalisation
and export; the time must grow with the length and no faster."""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from measure import best, scratch, stamp, table, tool, verdict

LENGTHS = (1_000, 10_000, 100_000)
LIMIT_SECONDS = 1.0
PASSES = ("--infer-shapes", "--cse", "--dce", "--canonicalize")
KINDS = {
    "Relu": "folds into one node",
    "Relu, Neg, Add a weight": "nothing to remove",
}


def chain(length, folds):
    nodes, weights, x = [], [], "x"
    for i in range(length):
        y = "y" if i == length - 1 else f"v{i}"
        if folds or i % 3 == 0:
            nodes.append(helper.make_node("Relu", [x], [y], name=f"n{i}"))
        elif i % 3 == 1:
            nodes.append(helper.make_node("Neg", [x], [y], name=f"n{i}"))
        else:
            weights.append(numpy_helper.from_array(
                np.arange(4, dtype=np.float32) + i, f"w{i}"))
            nodes.append(helper.make_node("Add", [x, f"w{i}"], [y],
                                          name=f"n{i}"))
        x = y
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 4])
             for n in ("x", "y")]
    graph = helper.make_graph(nodes, "chain", value[:1], value[1:], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17)])


def main():
    print(f"## A chain of nodes\n\n{stamp()}. `prune-opt in.onnx "
          f"{' '.join(PASSES)} -o out.onnx`, least of three, with start-up.\n")
    rows = [("chain of", "nodes", "seconds", "CPU seconds",
             "CPU ns a node", "peak MB")]
    with scratch() as folder:
        source = os.path.join(folder, "in.onnx")
        for kind, what in KINDS.items():
            for length in LENGTHS:
                onnx.save(chain(length, kind == "Relu"), source)
                run = best([tool("prune-opt", source, *PASSES, "-o",
                                 os.path.join(folder, "out.onnx"))
                            for _ in range(3)])
                seconds = (verdict(run.seconds, LIMIT_SECONDS)
                           if length == LENGTHS[-1] else f"{run.seconds:.3g}")
                rows.append((f"{kind} ({what})", f"{length:,}", seconds,
                             f"{run.cpu:.3g}",
                             f"{run.cpu / length * 1e9:,.0f}",
                             f"{run.peak / 1e6:.0f}"))
    print(table(rows))


if __name__ == "__main__":
    main()
