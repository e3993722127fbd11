"""Models of gigabytes with external data, through import, print and export:
time and private memory must grow with the size and no faster."""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper

from measure import MB, best, copy_seconds, scratch, stamp, table, tool, verdict

SIDE, LAYERS = 4096, (12, 24, 48)  # of 67 MB each
GOAL_MB = 64


def make(folder, layers):
    """A chain of products; returns its path, that of the data, and its size."""
    data, size = os.path.join(folder, "w.data"), SIDE * SIDE * 4
    rng = np.random.default_rng(0)
    weights, nodes, x = [], [], "x"
    with open(data, "wb") as out:
        for i in range(layers):
            w = TensorProto(name=f"w{i}", data_type=TensorProto.FLOAT,
                            dims=[SIDE, SIDE],
                            data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "w.data"), ("offset", i * size),
                               ("length", size)):
                w.external_data.add(key=key, value=str(value))
            weights.append(w)
            out.write(rng.standard_normal((SIDE, SIDE), np.float32).tobytes())
            y = "y" if i == layers - 1 else f"v{i}"
            nodes.append(helper.make_node("MatMul", [x, f"w{i}"], [y]))
            x = y
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT,
                                           ["batch", SIDE]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], weights)
    path = os.path.join(folder, "m.onnx")
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid("", 17)]), path)
    return path, data, layers * size


def main():
    print(f"## Gigabytes of external data\n\n{stamp()}. A chain of MatMul by "
          f"{SIDE} x {SIDE}. Private memory is anonymous memory; its goal is "
          f"{GOAL_MB} MB whatever the size. `cp` copies the weights on the same "
          f"disk in the same minute.\n")
    rows = [("GB", "command", "private MB", "seconds", "a GB", "times `cp`")]
    for layers in LAYERS:
        with scratch() as folder:
            model, data, size = make(folder, layers)
            out = os.path.join(folder, "out.onnx")
            copy = copy_seconds(data, os.path.join(folder, "copy"))
            for name, args in (("parse and print", ["-o", "-"]),
                               ("parse and export",
                                ["--data=external", "-o", out])):
                run = best([tool("prune-opt", model, *args)])
                rows.append((f"{size / 1e9:.1f}", name,
                             verdict(run.private / MB, GOAL_MB),
                             f"{run.seconds:.2f}",
                             f"{run.seconds / size * 1e9:.2f}",
                             f"{run.seconds / copy:.2f}"))
    print(table(rows))


if __name__ == "__main__":
    main()
