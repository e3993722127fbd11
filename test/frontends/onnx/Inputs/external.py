"""Models with external data, for external.test: external.py OUT_FOLDER."""
import os
import shutil
import sys

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h

FOLDER = os.path.join(sys.argv[1], "good")


def tensor(name, *entries, dtype=T.FLOAT, **more):
    t = T(name=name, data_type=dtype, dims=[2, 3], data_location=T.EXTERNAL,
          **more)
    for key, value in entries:
        t.external_data.add(key=key, value=value)
    return t


def save(name, tensors):
    x = h.make_tensor_value_info("x", T.FLOAT, [2, 3])
    g = h.make_graph([], "g", [x], [x], tensors)
    m = h.make_model(g, opset_imports=[h.make_opsetid("", 17)])
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(m.SerializeToString(deterministic=True))


def place(location, offset="0", length="24"):
    return (("location", location), ("offset", offset), ("length", length))


os.makedirs(os.path.join(FOLDER, "sub"))
np.arange(-2, 6, dtype=np.float32).tofile(os.path.join(FOLDER, "w.bin"))
shutil.copy(os.path.join(FOLDER, "w.bin"), os.path.join(FOLDER, "..", "w.bin"))
os.link(os.path.join(FOLDER, "..", "w.bin"), os.path.join(FOLDER, "hard.bin"))
os.symlink("w.bin", os.path.join(FOLDER, "link.bin"))
os.mkfifo(os.path.join(FOLDER, "pipe"))
save("m.onnx", [tensor("w", *place("w.bin", "8"))])
BAD = [tensor("", ("offset", "0")), tensor("", *place("../w.bin")),
       tensor("", *place(os.path.join(FOLDER, "w.bin"))),
       tensor("", *place("a\\w.bin")), tensor("", *place("link.bin")),
       tensor("", *place("sub")), tensor("", *place("pipe")),
       tensor("", *place("none.bin")), tensor("", *place("w.bin", str(10**12))),
       tensor("", *place("w.bin", "0", "20")),
       tensor("", *place("w.bin", "16")), tensor("", *place("w.bin", "-8")),
       tensor("", *place("w.bin", "0", "24 ")),
       tensor("", *place("w.bin"), ("offset", "4")),
       tensor("", *place("w.bin"), raw_data=bytes(24)),
       tensor("", *place("w.bin"), dtype=T.STRING),
       tensor("", ("location", "w.bin")), tensor("", *place("hard.bin"))]
for i, t in enumerate(BAD):
    t.name = f"t{i}"
save("bad.onnx", BAD)
