"""Writes the inputs of an .npz file again in other forms.

usage: sample_files.py INPUT.npz NAME FOLDER

FOLDER/all.npy the array NAME; one/ a folder of .npz files of one entry each;
more/test_data_set_*/ the same as ONNX tensors without names; pb/ the first; and
deep.npz, where each entry is a sample."""
import pathlib
import sys

import numpy as np
from onnx import numpy_helper

data, name, folder = sys.argv[1:]
folder, x = pathlib.Path(folder), np.load(data)[name]
for f in ("one", "pb", "more"):
    (folder / f).mkdir(parents=True, exist_ok=True)
np.save(folder / "all.npy", x)
np.savez(folder / "deep.npz", **{name: x[:, None]})
for i in range(len(x)):
    np.savez(folder / "one" / f"{i:04}.npz", **{name: x[i:i + 1]})
    part = folder / "more" / f"test_data_set_{i}"
    part.mkdir(exist_ok=True)
    for to in (part, folder / "pb") if i == 0 else (part,):
        (to / "input_0.pb").write_bytes(
            numpy_helper.from_array(x[i:i + 1]).SerializeToString())
