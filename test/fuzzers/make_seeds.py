"""Small inputs of every kind for the fuzzers to begin with.

usage: make_seeds.py FOLDER

Writes FOLDER/NAME/* for the fuzzer prn-fuzz-NAME: models of onnx_odd.py and of
shrink_fuzz.py, parts of lit tests, recipes, arrays, and profiles and other
files by their formats. Models are left out when there is no onnx."""
import io
import pathlib
import shutil
import struct
import sys

import numpy as np

TEST = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TEST / "scripts"))


def write(folder, name, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes)
                                else data.encode())


def texts(folder):
    """The parts of lit tests; what is lowered is in a folder of its own."""
    for path in sorted(TEST.rglob("*.prn")):
        lowered = "lower" in path.parts or "backends" in path.parts
        for i, part in enumerate(path.read_text().split("// -----\n")):
            lines = [x for x in part.splitlines(True)
                     if not x.lstrip().startswith("//")]
            name = f"{path.stem}-{i}"
            write(folder / "text", name, "".join(lines))
            if lowered and "onnx." in part:
                write(folder / "lower", name, "".join(lines))


def recipes(folder):
    for path in sorted((TEST.parent / "passes" / "recipes").glob("*.prune")):
        write(folder / "pipeline", path.stem, path.read_text())
    write(folder / "pipeline", "odd",
          'sites("a*" "b[0-9]?" ){score-magnitude{metric=l2},'
          'select-nm{n=2 m=4}} # comment\n// comment\n'
          'select-channels{ratio=${ratio:0.5}, units=all},bind-dims'
          '{dims=["batch=1", seq<=512]},${sparsity}')


def arrays(folder):
    folder = folder / "arrays"
    kinds = [np.arange(6, dtype=t).reshape(2, 3)
             for t in ("f4", "i8", "u1", "f2", "c8")]
    for save, name in ((np.savez, "stored"), (np.savez_compressed, "deflated")):
        out = io.BytesIO()
        save(out, x=kinds[0], y=kinds[1], empty=np.zeros((0, 3)))
        write(folder, name, out.getvalue())
    for a in [*kinds, np.float32(3), np.zeros(4, bool)]:
        out = io.BytesIO()
        np.save(out, a)
        write(folder, f"{a.dtype}-{a.ndim}", out.getvalue())


def xxh64(data):
    """ir/support/xxh64.h, with seed 0."""
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F,
                          0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                          0x27D4EB2F165667C5)
    top = 2**64 - 1

    def turn(v, n):
        return (v << n | v >> 64 - n) & top

    def mix(lane, word):
        return turn(lane + word * p2 & top, 31) * p1 & top

    words = struct.unpack(f"<{len(data) // 8}Q", data[:len(data) // 8 * 8])
    stripes = len(data) // 32 * 4
    h = p5
    if stripes:
        lanes = [p1 + p2 & top, p2, 0, -p1 & top]
        for i in range(stripes):
            lanes[i % 4] = mix(lanes[i % 4], words[i])
        h = sum(turn(v, n) for v, n in zip(lanes, (1, 7, 12, 18))) & top
        for v in lanes:
            h = ((h ^ mix(0, v)) * p1 + p4) & top
    h = h + len(data) & top
    for word in words[stripes:]:
        h = turn(h ^ mix(0, word), 27) * p1 + p4 & top
    rest = data[len(words) * 8:]
    if len(rest) >= 4:
        h ^= int.from_bytes(rest[:4], "little") * p1 & top
        h, rest = turn(h, 23) * p2 + p3 & top, rest[4:]
    for byte in rest:
        h = turn(h ^ byte * p5 & top, 11) * p1 & top
    for shift, by in ((33, p2), (29, p3), (32, 1)):
        h = (h ^ h >> shift) * by & top
    return h


def observation(name, axis, n, moments=0, window=(), paired=False):
    """As ir/profile.h has version 2; window: groups, then lists of one axis."""
    text = name.encode()
    axes = len(window) // 5
    b = struct.pack("<IiQQQIIII", len(text), axis, n, 7, moments, axes, 0,
                    int(paired), 0)
    b += struct.pack(f"<{len(window)}q", *window)
    b += text + bytes(-len(text) % 8)
    numbers = [0.5] * n + [1.0] * n + [0.25] * n + [0.125] * n
    groups = window[0] if window else 1
    left, blocks = n // groups, []
    while moments and left:
        blocks.append(min(moments, left))
        left -= blocks[-1]
    square = [1.0] * (groups * sum(k * k for k in blocks))
    numbers += square
    if paired:
        numbers += [0.5] * n + square
    return b + struct.pack(f"<{len(numbers)}d", *numbers)


def profiles(folder):
    folder = folder / "profile"

    def profile(block, *observations):
        return summed(struct.pack("<8sIIQQ", b"PRNPROF\n", 2,
                                  len(observations), 99, block) +
                      b"".join(observations))

    def summed(data):
        return data + struct.pack("<Q", xxh64(data))

    full = 2**63 - 1
    write(folder, "plain", profile(0, observation("a", -1, 3)))
    write(folder, "full", profile(full, observation("a", -1, 3, 3),
                                  observation("second", 1, 2, 2)))
    write(folder, "blocks", profile(2, observation("a", -1, 5, 2)))
    write(folder, "paired", profile(full, observation("a", 0, 2, 2,
                                                      paired=True)))
    write(folder, "window", profile(full, observation(
        "image", 1, 6, 6, (1, 3, 1, 1, 1, 1))))
    write(folder, "groups", profile(full, observation(
        "image", 1, 6, 3, (2, 3, 1, 1, 0, 0))))
    old = struct.pack("<IiQQII", 1, -1, 2, 5, 1, 0) + b"a" + bytes(7)
    old += struct.pack("<12d", *[0.5] * 12)
    write(folder, "old",
          summed(struct.pack("<8sIIQ", b"PRNPROF\n", 1, 1, 99) + old))


def tables(folder):
    folder = folder / "tables"
    write(folder, "tuned",
          "# found\n0123456789abcdef srt group=4 depth=128 ns=12 dense=30 # a\n"
          "fedcba9876543210 dense\n")
    write(folder, "costs", "machine=x86-64-v4\nrows=1.2/1.1/1.03/1.02 # why\n"
          "srt-step=1/1/1/1/1/1,byte=0.2\n")
    write(folder, "reproducer",
          "// prune reproducer 1\n// run: prune-opt\n// version: 0.1.0\n"
          '// plugin: "p.so"\n// profile: "a.prof"\n'
          '// pipeline: infer-shapes,cse\n// pass: 1\n// input: "m.prn" 4\n'
          "abcd")


def tensors(folder):
    from onnx import (OptionalProto, SequenceProto, TensorProto, helper,
                      numpy_helper)
    rng = np.random.default_rng(1)
    for name, kind in sorted(TensorProto.DataType.items()):
        if name in ("UNDEFINED", "STRING"):
            continue
        values = np.asarray(rng.integers(0, 2, (2, 3)), np.float32)
        for raw in (False, True):
            try:
                t = helper.make_tensor("t", kind, (2, 3), values)
                if raw:
                    t = numpy_helper.from_array(numpy_helper.to_array(t), "t")
            except (TypeError, ValueError, KeyError):
                continue
            write(folder / "tensor", f"{name}{'-raw' * raw}",
                  t.SerializeToString())
    t = helper.make_tensor("t", TensorProto.STRING, (2,), [b"a", b"bc"])
    write(folder / "tensor", "STRING", t.SerializeToString())
    t = TensorProto(data_type=1, dims=[1], data_location=1)
    for key, value in (("location", "w.bin"), ("offset", "0"), ("length", "4")):
        entry = t.external_data.add()
        entry.key, entry.value = key, value
    write(folder / "tensor", "external", t.SerializeToString())
    values = helper.make_sequence("s", SequenceProto.TENSOR, [
        helper.make_tensor("a", TensorProto.FLOAT, (2,), [1, 2]),
        helper.make_tensor("b", TensorProto.FLOAT, (), [3])])
    write(folder / "tensor", "sequence", values.SerializeToString())
    for name, optional in (
            ("optional", helper.make_optional(
                "o", OptionalProto.TENSOR,
                helper.make_tensor("a", TensorProto.INT64, (1,), [1]))),
            ("optional-sequence", helper.make_optional(
                "o", OptionalProto.SEQUENCE, values)),
            ("absent", helper.make_optional("o", OptionalProto.UNDEFINED,
                                            None))):
        write(folder / "tensor", name, optional.SerializeToString())


def models(folder):
    import onnx_odd
    import shrink_fuzz
    for make in onnx_odd.MODELS:
        write(folder / "onnx", make.__name__,
              make().SerializeToString(deterministic=True))
    for index in range(24):
        data = shrink_fuzz.case_of(1, index)[0].SerializeToString()
        for name in ("onnx", "prune"):
            if len(data) < 16384:
                write(folder / name, f"graph-{index}", data)


def main():
    folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    for make in (texts, recipes, arrays, profiles, tables):
        make(folder)
    try:
        import onnx as _
    except ImportError:
        print("no onnx: no models")
        return
    tensors(folder)
    models(folder)


if __name__ == "__main__":
    main()
