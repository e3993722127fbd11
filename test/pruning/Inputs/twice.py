"""Gives a model a metadata key twice, before what it has: twice.py IN OUT."""
import sys

import onnx

model = onnx.load(sys.argv[1])
old = [(p.key, p.value) for p in model.metadata_props]
del model.metadata_props[:]
for key, value in [("key", "1"), ("key", "2"), *old]:
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value
onnx.save(model, sys.argv[2])
