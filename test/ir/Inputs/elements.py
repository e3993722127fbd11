"""Texts with elements of all types, and what they must print as.

usage: elements.py decode|encode OUT | check-decode|check-encode IN

decode: bit patterns (all of 8 bits and less), sixteen to a tensor. They must print as the
values that numpy and ml_dtypes read from the same bytes. encode: decimals
between representable values. They must print as a decimal of the value that
numpy or ml_dtypes rounds them to."""
import re
import sys
from decimal import Decimal

import ml_dtypes
import numpy as np

FLOATS = {
    "f16": np.float16, "bf16": ml_dtypes.bfloat16,
    "f8E4M3FN": ml_dtypes.float8_e4m3fn,
    "f8E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "f8E5M2": ml_dtypes.float8_e5m2, "f8E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "f8E8M0": ml_dtypes.float8_e8m0fnu, "f32": np.float32, "f64": np.float64,
}
INTS = {"i8": np.int8, "ui8": np.uint8, "i16": np.int16, "ui16": np.uint16,
        "i32": np.int32, "ui32": np.uint32, "i64": np.int64, "ui64": np.uint64}
SMALL = {"i4": ml_dtypes.int4, "ui4": ml_dtypes.uint4, "i2": ml_dtypes.int2,
         "ui2": ml_dtypes.uint2, "f4E2M1": ml_dtypes.float4_e2m1fn}
BITS = {"i4": 4, "ui4": 4, "i2": 2, "ui2": 2, "f4E2M1": 4}
# ml_dtypes rounds all that is above the smallest f8E8M0 up, however little.
TINY = 2.0 ** -127
LINE = re.compile(r"value = dense<\[?([^\]>]*)\]?>} : tensor<\d+x(\w+)>")


def samples(dtype):
    """Bit patterns: all of them, every fifth of 16 bits, else a thousand."""
    size = np.dtype(dtype).itemsize
    if size <= 2:
        codes = np.arange(0, 256 ** size, 1 if size == 1 else 5)
        return codes.astype(f"<u{size}").view(dtype)
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, 16 * 64 * size, dtype=np.uint8).view(dtype)


def pack(codes, bits):
    """Elements from the low bits up, as ONNX packs them."""
    out = np.zeros((len(codes) * bits + 7) // 8, dtype=np.uint8)
    for i, c in enumerate(codes):
        out[i * bits // 8] |= c << (i * bits % 8)
    return out.tobytes()


def all_tensors():
    """(type, bytes, values) sixteen elements at a time."""
    for name, dtype in (FLOATS | INTS).items():
        all_values = samples(dtype)
        for i in range(0, len(all_values), 16):
            part = all_values[i:i + 16]
            yield name, part.tobytes(), part
    for name, dtype in SMALL.items():
        for step in (1, 3, 7):
            codes = np.arange(15, dtype=np.uint8) * step % 2 ** BITS[name]
            yield name, pack(codes, BITS[name]), codes.view(dtype)


def decimals(dtype):
    """Doubles around and between the values of a float type."""
    rng = np.random.default_rng(2)
    with np.errstate(invalid="ignore"):
        values = np.unique(np.abs(samples(dtype).astype(np.float64)))
    values = values[np.isfinite(values)]
    if len(values) > 500:
        values = rng.choice(values, 500, replace=False)
    values = np.sort(values)
    middle = (values[1:] + values[:-1]) / 2
    if np.dtype(dtype).itemsize < 4:  # ml_dtypes rounds to f32 first
        middle = middle.astype(np.float32)
    every = np.concatenate([values, middle, np.nextafter(middle, 0),
                            np.nextafter(middle, middle.dtype.type(np.inf))])
    if dtype is not ml_dtypes.float8_e8m0fnu:
        every = np.concatenate([every, -every])
    # what would overflow is refused
    ok = np.isfinite(every.astype(dtype).astype(np.float64)) & (every != 0)
    if dtype is ml_dtypes.float8_e8m0fnu:
        ok &= every >= 2 * TINY
    return every[ok]


def encodings():
    for name, dtype in (FLOATS | {"f4E2M1": ml_dtypes.float4_e2m1fn}).items():
        values = decimals(dtype) if name != "f4E2M1" else np.array(
            [0.2, 0.25, 0.3, 0.75, 1.2, 1.25, 1.75, 2.5, 3.5, 4.9, 5, 5.1, -5])
        for i in range(0, len(values), 16):
            part = values[i:i + 16]
            if len(part) > 1:
                yield name, part, part.astype(dtype)


def write(path, lines, resources):
    with open(path, "w", encoding="utf-8") as f:
        f.write("onnx.graph {body = region<0>} {\n")
        f.write("".join(f"  {line}\n" for line in lines))
        f.write("  onnx.return(%v0)\n}\n")
        if resources:
            f.write("{-# resources\n" + "".join(resources) + "#-}\n")


def decode(path):
    lines, resources = [], []
    for i, (name, data, values) in enumerate(all_tensors()):
        lines.append(f"%v{i} = onnx.initializer {{value = resource<r{i}>}} : "
                     f"tensor<{len(values)}x{name}>")
        resources.append(f'  r{i} = hex "{data.hex()}"\n')
    write(path, lines, resources)


def exact(v):
    """All digits: shorter text may lie on the other side of a tie."""
    text = str(Decimal(float(v))).lower()
    return text if "." in text or "e" in text else text + ".0"


def encode(path):
    write(path, [
        f"%v{i} = onnx.initializer {{value = dense<"
        f"[{', '.join(map(exact, part))}]>}} : "
        f"tensor<{len(part)}x{name}>"
        for i, (name, part, _) in enumerate(encodings())], [])


def equal(text, value, name):
    """Whether the text is a decimal of the value."""
    if name in INTS or name.startswith(("i", "ui")):
        return int(text) == int(value)
    with np.errstate(invalid="ignore"):
        nan = bool(np.isnan(value))
    if text.startswith("0x"):  # a NaN that is not the usual one
        return nan
    if nan:
        return text in ("nan", "-nan")
    if name == "f8E8M0" and float(value) == TINY:
        return abs(float(text) / TINY - 1) < 0.25
    back = np.float64(text).astype(value.dtype)
    return back.tobytes() == np.asarray(value).tobytes()


def check(path, expected):
    with open(path, encoding="utf-8") as f:
        found = [m for m in map(LINE.search, f) if m]
    bad = count = 0
    expected = list(expected)
    if len(found) != len(expected):
        sys.exit(f"{len(found)} tensors, expected {len(expected)}")
    for m, (name, values) in zip(found, expected):
        texts = m[1].split(", ")
        if len(texts) == 1:  # one value repeated
            texts *= len(values)
        if m[2] != name or len(texts) != len(values):
            sys.exit(f"{m[0]}: expected {len(values)} of {name}")
        for text, value in zip(texts, values):
            count += 1
            if not equal(text, value, name):
                bad += 1
                print(f"{name}: {text}, expected {value}")
    print(f"{count} elements, {bad} wrong")
    sys.exit(bad > 0)


def main():
    what, path = sys.argv[1:]
    if what == "decode":
        decode(path)
    elif what == "encode":
        encode(path)
    elif what == "check-decode":
        check(path, ((n, v) for n, _, v in all_tensors()))
    else:
        check(path, ((n, v) for n, _, v in encodings()))


main()
