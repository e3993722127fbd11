"""Compare two ONNX models field by field.

usage: onnx_compare.py A.onnx B.onnx [--data]

Both are parsed and written again in protobuf's own order, which settles packed
against unpacked and the order of fields; what is then still different is shown
as a path. Presence counts: an empty doc_string is not a missing one. Unknown
fields count. With --data the location, offset and length of external data may
differ, and the bytes they lead to are compared instead."""
import os
import sys

import onnx
from google.protobuf import unknown_fields

PLACE = ("location", "offset", "length")


def load(path):
    """The model as it is in the file, external data not loaded."""
    with open(path, "rb") as f:
        return onnx.ModelProto.FromString(f.read())


def unknown(message):
    return [(f.field_number, f.wire_type, f.data)
            for f in unknown_fields.UnknownFieldSet(message)]


def same_scalar(a, b):
    return a == b or (a != a and b != b)


def differences(a, b, path=""):
    """Yields 'path: a is not b' for each difference."""
    if unknown(a) != unknown(b):
        yield f"{path}: unknown fields {unknown(a)} and {unknown(b)}"
    for field in a.DESCRIPTOR.fields:
        where = f"{path}.{field.name}" if path else field.name
        is_message = field.message_type is not None
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.is_repeated:
            if len(x) != len(y):
                yield f"{where}: {len(x)} and {len(y)} entries"
            for i, (p, q) in enumerate(zip(x, y)):
                if is_message:
                    yield from differences(p, q, f"{where}[{i}]")
                elif not same_scalar(p, q):
                    yield f"{where}[{i}]: {str(p)[:60]} and {str(q)[:60]}"
        elif a.HasField(field.name) != b.HasField(field.name):
            state = ("absent", "present")
            yield (f"{where}: {state[a.HasField(field.name)]} and "
                   f"{state[b.HasField(field.name)]}")
        elif is_message:
            if a.HasField(field.name):
                yield from differences(x, y, where)
        elif not same_scalar(x, y):
            yield f"{where}: {str(x)[:60]} and {str(y)[:60]}"


def tensors(message):
    """Every TensorProto in message."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for m in value if field.is_repeated else [value]:
            yield from tensors(m)


def take_place(tensor, folder):
    """The bytes of an external tensor; its place is removed."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    info = {e.key: e.value for e in tensor.external_data}
    kept = [e for e in tensor.external_data if e.key not in PLACE]
    del tensor.external_data[:]
    tensor.external_data.extend(kept)
    with open(os.path.join(folder, info["location"]), "rb") as f:
        f.seek(int(info.get("offset", 0)))
        return f.read(int(info["length"])) if "length" in info else f.read()


def compare(path_a, path_b, data=False):
    """The list of differences."""
    a, b = load(path_a), load(path_b)
    found = []
    if data:
        for p, q in zip(tensors(a), tensors(b)):
            if (take_place(p, os.path.dirname(path_a)) !=
                    take_place(q, os.path.dirname(path_b))):
                found.append(f"the data of '{p.name}' differs")
    if not found and (a.SerializeToString(deterministic=True) ==
                      b.SerializeToString(deterministic=True)):
        return []
    found += differences(a, b)
    return found or ["the messages differ, but no field does"]


def main():
    args = [a for a in sys.argv[1:] if a != "--data"]
    found = compare(args[0], args[1], "--data" in sys.argv)
    for line in found[:50]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
