"""A model file of 2.4 GB, all holes, for huge.test: huge.py OUT.onnx."""
import sys

import onnx
from onnx import TensorProto as T
from onnx import helper as h

DIMS, COUNT = (50000, 3000), 4


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


size = DIMS[0] * DIMS[1] * 4
x = h.make_tensor_value_info("x", T.FLOAT, [1, DIMS[0]])
y = h.make_tensor_value_info("y", T.FLOAT, [1, DIMS[1]])
graph = h.make_graph([h.make_node("MatMul", ["x", "w3"], ["y"])], "g", [x],
                     [y]).SerializeToString()
model = onnx.ModelProto(ir_version=8, opset_import=[h.make_opsetid("", 17)])
heads = []
for i in range(COUNT):
    t = T(name=f"w{i}", data_type=T.FLOAT, dims=DIMS).SerializeToString()
    head = t + b"\x4a" + varint(size)  # raw_data
    heads.append(b"\x2a" + varint(len(head) + size) + head)  # initializer
total = len(graph) + sum(map(len, heads)) + COUNT * size
with open(sys.argv[1], "wb") as f:
    f.write(model.SerializeToString() + b"\x3a" + varint(total) + graph)
    for head in heads:
        f.write(head)
        f.seek(size, 1)
    f.truncate()
