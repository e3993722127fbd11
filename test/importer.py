"""Every model of $PRUNE_SHARED, all the way through.

usage: importer.py [--jobs N] [MODEL NAME PART…]

For each model below $PRUNE_SHARED/models: out as it came in, field by field;
compiled to a library and run, against ONNX Runtime on the same file and the
outputs stored beside it; pruned 2:4 by magnitude, where every entry that
changed must be zero in the file, as many of them as prune-opt says; and the
pruned file run in process, against ONNX Runtime. Fails where an output is
further off than TOLERANCE. LIMITS has what cannot be had, and why: that must
fail, with these words."""
import argparse
import concurrent.futures
import glob
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path += [os.path.join(HERE, "bench"), os.path.join(HERE, "scripts")]

import numpy as np
import onnx

import zoo
from measure import BIN, Failed, scratch, shared, stamp, table, tool
from onnx_compare import tensors
from onnx_roundtrip import round_trip
from ort_compare import error, session

TOLERANCE = 1e-4
# A sum that is off in its last bit rounds to another byte, or half, once in a
# while, and the layers after it see a whole step.
ROUNDED = {"importer/cnn_fp16.onnx": 1e-3,
           "importer/chargpt_dynamic_int8.onnx": 2e-2,
           "cifar10/resnet8-mlperf-qdq.onnx": 8e-3}
SEED = 3
PRUNE = ("--score-magnitude", "--select-nm=n=2,m=4")
HEAD = ("model", "round trip", "compiled", "stored", "weights pruned",
        "entries", "pruned")
FIXED = {"importer/real_paddle_ppocr-cls.onnx": ("x[0]=1", "x[2]=48",
                                                 "x[3]=192"),
         "importer/real_snips_qlstm-scan.onnx": ("input[0]=3",)}
LIMITS = {"importer/real_skl_logreg-iris.onnx": "operator ai.onnx.ml.",
          "importer/skl_forest_ai_onnx_ml.onnx": "operator ai.onnx.ml."}


def bytes_of(folder):
    return zoo.data(folder)["x"][:16]


# Real inputs of quantised models: with others most of them saturate.
REAL = {
    "cifar10/resnet8-mlperf-qdq.onnx": lambda folder: {
        "input_1_int8": (bytes_of(folder).astype(int) - 128).astype(np.int8)},
    "imagenet/mobilenetv2-qdq.onnx": lambda folder: {
        "input": np.round(zoo.efficientnet(folder)["images"][:1]
                          .transpose(0, 2, 3, 1) * 128 + 127)
        .astype(np.uint8)},
    "speech/kws-dscnn-qdq.onnx": lambda folder: {
        "input_1": zoo.data(folder, "kws_test.npz")["x"][:32, ..., None]},
}


def models():
    """Paths below models/, sorted."""
    root = os.path.join(shared(), "models")
    return sorted(os.path.relpath(p, root) for p in
                  glob.glob(os.path.join(root, "**", "*.onnx"),
                            recursive=True))


def stored(path):
    """The arrays beside the model: (inputs, outputs) by name, or None."""
    beside = path[:-len("onnx")] + "io.npz"
    if not os.path.exists(beside):
        return None
    with np.load(beside) as f:
        return tuple({k[len(p):]: f[k] for k in f.files if k.startswith(p)}
                     for p in ("in_", "out_"))


def random_inputs(ort):
    """Standard normal, or whole numbers of all of a byte's range, or 0 and 1;
    2 for sizes that are open."""
    rng, arrays = np.random.default_rng(SEED), {}
    for i in ort.get_inputs():
        dims = [d if isinstance(d, int) else 2 for d in i.shape]
        kind = i.type[len("tensor("):-1]
        kind = np.dtype({"float": "float32", "double": "float64",
                         "bool": "bool"}.get(kind, kind))
        if kind.kind == "f":
            arrays[i.name] = rng.standard_normal(dims).astype(kind)
        elif kind.itemsize == 1 and kind.kind in "iu":
            low, high = np.iinfo(kind).min, np.iinfo(kind).max + 1
            arrays[i.name] = rng.integers(low, high, dims).astype(kind)
        else:
            arrays[i.name] = rng.integers(0, 2, dims).astype(kind)
    return arrays


class Model:
    """A model, what it is run on and what should come out."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.path = os.path.join(shared(), "models", name)
        known = [m for m in zoo.MODELS if m.path == name]
        kept = stored(self.path)
        self.want = kept[1] if kept else None
        self.dims = known[0].dims if known else FIXED.get(name, ())
        self.tolerance = ROUNDED.get(name, TOLERANCE)
        try:
            ort = session(self.path)
        except Exception:  # what ONNX Runtime does not know, has many names
            if kept or known:  # it did run this one
                raise
            self.inputs = None
            return
        folder_of = os.path.dirname(self.path)
        self.inputs = (kept[0] if kept else known[0].real_inputs() if known
                       else REAL[name](folder_of) if name in REAL
                       else random_inputs(ort))
        self.given = os.path.join(folder, "in.npz")
        np.savez(self.given, **self.inputs)

    def reference(self, path):
        """What ONNX Runtime gives for tensors; sequences are left out."""
        ort = session(path)
        names = [o.name for o in ort.get_outputs()
                 if o.type.startswith("tensor")]
        return dict(zip(names, ort.run(names, self.inputs)))

    def run(self, what):
        out = os.path.join(self.folder, "out.npz")
        tool("prune-run", what, "--inputs", self.given, "--outputs", out,
             poll=0)
        with np.load(out) as f:
            return {k: f[k] for k in f.files}


def distance(got, want):
    """Bytes by their steps, of 256."""
    if got.dtype.itemsize == 1 and got.dtype.kind in "iu":
        steps = np.abs(got.astype(int) - want.astype(int))
        return float(steps.max(initial=0)) / 256
    return error(got, want)


def off(model, want):
    """The largest error of any output; there may be more outputs."""
    errors, got = [0.0], model.got
    for name, array in want.items():
        if name not in got:
            raise Failed(f"there is no output {name}")
        have = got[name]
        if (have.shape, have.dtype) != (array.shape, array.dtype):
            raise Failed(f"{name} is {have.dtype}{list(have.shape)}, not "
                         f"{array.dtype}{list(array.shape)}")
        errors.append(distance(have, array))
    if not max(errors) <= model.tolerance:
        raise Failed(f"off by {max(errors):.1e}")
    return f"{max(errors):.1e}"


def trip(model):
    wrong = round_trip(os.path.join(BIN, "prune-opt"), model.path,
                       os.path.join(model.folder, "trip"))
    if wrong:
        raise Failed(wrong[0])
    return "same"


def compiled(model):
    library = os.path.join(model.folder, "model.so")
    tool("prunec", model.path, "-o", library,
         *(f"--dim={d}" for d in model.dims), poll=0)
    model.got = model.run(library)
    return off(model, model.reference(model.path))


def as_stored(model):
    """Names of files have no slashes."""
    model.got = {k.replace("/", "_"): v for k, v in model.got.items()}
    return off(model, model.want)


def zeroed(before, after):
    """How many tensors changed and how many entries: all to zero."""
    pairs = list(zip(*(tensors(onnx.load(p)) for p in (before, after))))
    changed = entries = 0
    for a, b in pairs:
        if a == b:
            continue
        old, new = map(onnx.numpy_helper.to_array, (a, b))
        if old.shape != new.shape or old.dtype != new.dtype:
            raise Failed(f"{a.name} is no longer {old.dtype}"
                         f"{list(old.shape)}")
        other = old.view(f"u{old.itemsize}") != new.view(f"u{new.itemsize}")
        if np.any(new[other] != 0):
            raise Failed(f"{a.name} changed to something other than zero")
        changed += 1
        entries += int(np.count_nonzero(other & (old != 0)))
    return changed, entries


def prune(model):
    """Prunes; the weights and entries it says it pruned, checked."""
    model.pruned = os.path.join(model.folder, "pruned.onnx")
    report = os.path.join(model.folder, "report.json")
    tool("prune-opt", model.path, *PRUNE, "-o", model.pruned,
         f"--report={report}", poll=0)
    with open(report, encoding="utf-8") as f:
        said = json.load(f)
    stats = said["passes"][-1]["stats"]
    gone = said["before"]["nonzero"] - said["after"]["nonzero"]
    found = zeroed(model.path, model.pruned)
    if found != (stats["weights"], gone):
        raise Failed(f"{stats['weights']} weights and {gone} entries were to "
                     f"become zero, {found[0]} and {found[1]} have")
    return stats["weights"], f"{gone / max(1, said['before']['entries']):.0%}"


def pruned(model):
    model.got = model.run(model.pruned)
    return off(model, model.reference(model.pruned))


def outcome(step, model):
    """What the step gives, or '–' where a known limit is what stops it."""
    limit = LIMITS.get(model.name)
    try:
        found = step(model)
    except Failed as failed:
        if limit and limit in str(failed):
            return "–"
        raise
    if limit and step is compiled:
        raise Failed(f"works, although it is said to fail with '{limit}'")
    return found


def row_of(name):
    """The row of a model's table, and what went wrong."""
    row, notes = [name], []

    def cells(step, n=1):
        try:
            found = outcome(step, model)
        except Failed as failed:
            notes.append(f"- {name}, {HEAD[len(row)]}: {failed}")
            found = ("**failed**",) * n if n > 1 else "**failed**"
        row.extend(found if n > 1 else [found])
        return found

    with scratch() as folder:
        model = Model(name, folder)
        cells(trip)
        runs = model.inputs is not None
        if runs:
            runs = cells(compiled)[0].isdigit()
        else:
            row.append("–")
        if runs and model.want:
            cells(as_stored)
        else:
            row.append("–")
        counts = cells(prune, 2)
        if runs and isinstance(counts[0], int):
            cells(pruned)
        else:
            row.append("–")
    return row, notes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("models", nargs="*")
    args = parser.parse_args()
    if not shared():
        print("skipped: PRUNE_SHARED names no folder with models")
        return 77
    names = [m for m in models()
             if not args.models or any(a in m for a in args.models)]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(row_of, names))
    print(f"## Every model\n\n{stamp()}. Largest relative L2 error of any "
          f"output, of bytes in steps of 1/256.\n")
    print(table([HEAD, *(row for row, _ in done)]))
    notes = [note for _, lines in done for note in lines]
    print("\n".join([*notes, f"{len(done)} models, {len(notes)} failures"]))
    return bool(notes)


if __name__ == "__main__":
    sys.exit(main())
