"""A model with external data, for external.test: external.py OUT_FOLDER."""
import os
import sys

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h

x = h.make_tensor_value_info("x", T.FLOAT, [1, 64])
y = h.make_tensor_value_info("y", T.FLOAT, [1, 32])
tensors = []
for i in range(3):
    t = T(name=f"w{i}", data_type=T.FLOAT, dims=[64, 32],
          data_location=T.EXTERNAL)
    # the third is the first again: tied weights
    for key, value in (("location", "m.bin"), ("offset", str(i % 2 * 12288)),
                       ("length", "8192"), ("checksum", "abc")):
        t.external_data.add(key=key, value=value)
    tensors.append(t)
nodes = [h.make_node("MatMul", ["x", f"w{i}"], [f"m{i}"]) for i in range(3)]
nodes.append(h.make_node("Sum", ["m0", "m1", "m2"], ["y"]))
m = h.make_model(h.make_graph(nodes, "g", [x], [y], tensors),
                 opset_imports=[h.make_opsetid("", 17)])
folder = sys.argv[1]
data = np.random.default_rng(0).standard_normal(5120, np.float32)
data[2048:3072] = 0  # what lies between tensors is not kept
data.tofile(os.path.join(folder, "m.bin"))
with open(os.path.join(folder, "m.onnx"), "wb") as f:
    f.write(m.SerializeToString())
