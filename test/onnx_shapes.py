"""Inferred types against the shapes that really come out.

usage: onnx_shapes.py BIN [--kind nodes|shared] [MODEL.onnx...]

Models are run by ONNX Runtime at several sizes of their open dimensions, with
every intermediate value as an output. Wherever the type that `prune-opt
--infer-shapes` gives says a rank, a size or an element type, the array must
agree, and every value must be known in terms of the inputs' symbols. `shared`
are models of $PRUNE_SHARED, `nodes` the cases that onnx generates for its
backend tests, whose expected outputs are the arrays; inference must find no
fault with them. Closes with the number of values known whole, and `N passed, N
failed`."""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "scripts"))
SKIPPED = 77  # ctest: SKIP_RETURN_CODE

try:
    import numpy as np
    import onnx
    import onnxruntime as ort
    from onnx_cases import node_cases
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)

MODELS = ("chargpt/chargpt-trained-here", "llama2c/stories260K",
          "imagenet/efficientnet-lite0", "imagenet/mobilenetv2-qdq",
          "cifar10/resnet20", "cifar10/resnet8-mlperf",
          "cifar10/resnet8-mlperf-qdq", "mnist/mnist-8",
          "mnist/mnist-cnn-trained-here", "digits/mlp-digits-skl2onnx",
          "speech/silero_vad_16k_sequence", "speech/kws-dscnn",
          "speech/kws-dscnn-qdq", "importer/chargpt_dynamic_int8",
          "importer/chargpt_opset18", "importer/cnn_qoperator_uint8",
          "importer/cnn_torch_opset7", "importer/coupled_channels",
          "importer/einsum_attention", "importer/gru_lstm_rnn",
          "importer/local_functions", "importer/loop_recurrent",
          "importer/opset23_attention_block", "importer/scan_rnn",
          "importer/real_pytorch12_ultraface-rfb-320",
          "importer/onnxwheel_light_shufflenet")
NAMES = {"f32": np.float32, "f64": np.float64, "f16": np.float16,
         "i64": np.int64, "i32": np.int32, "i16": np.int16, "i8": np.int8,
         "ui64": np.uint64, "ui32": np.uint32, "ui16": np.uint16,
         "ui8": np.uint8, "i1": np.bool_}
VALUE = r'(?:%(?:"(?:[^"\\]|\\.)*"|[^\s,():]+)|_)'
RESULTS = re.compile(rf"\s*({VALUE}(?:, {VALUE})*) = ")
ARG = re.compile(rf"({VALUE}): ")


def unquote(name):
    name = name[1:]
    if not name.startswith('"'):
        return name
    body = re.sub(r"\\(n|t|\"|\\|[0-9a-f]{2})", lambda m: {
        "n": "\n", "t": "\t", '"': '"', "\\": "\\"}.get(m[1]) or
        chr(int(m[1], 16)), name[1:-1])
    return body


def split_types(text):
    """The types of a list, at its top level."""
    depth, start, quoted = 0, 0, False
    for i, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif c in "<(":
            depth += 1
        elif c in ">)":
            depth -= 1
        elif c == "," and depth == 0:
            yield text[start:i].strip()
            start = i + 1
    yield text[start:].strip()


def types_of(text):
    """Value name -> type text, for the top level of the graph."""
    types, open_ops, function = {}, [], False
    for line in text.splitlines():
        if line.lstrip().startswith(("onnx.function", "onnx.graph")):
            function = "onnx.function" in line
        if function:
            continue
        if line.lstrip().startswith("^(") and not open_ops:
            inside = line[line.index("(") + 1:line.rindex(")")]
            for part in split_types(inside):
                m = ARG.match(part)
                if m:
                    types[unquote(m[1])] = part[m.end():]
        m = RESULTS.match(line)
        names = [unquote(n) for n in re.findall(VALUE, m[1])] if m else None
        if line.endswith(" {") and not line.lstrip().startswith("}"):
            if not line.lstrip().startswith(("module", "onnx.graph",
                                             "onnx.function")):
                open_ops.append(names)
            continue
        if line.lstrip().startswith("} :") and open_ops:
            names = open_ops.pop()
            m = True
        elif line.strip() == "}" and open_ops:
            open_ops.pop()
            continue
        if m and names and not open_ops and " : " in line:
            found = list(split_types(line[line.rindex(" : ") + 3:]))
            types.update(zip(names, found))
    return types


def parse(text):
    """(list of dims, element type) of a tensor type, or None."""
    m = re.match(r"tensor<(.*?)(, #sparse<.*>)?>$", text)
    if not m:
        return None
    body, dims, i = m[1], [], 0
    while True:
        if body[i] == "(":
            depth, j, quoted = 0, i, False
            while True:
                quoted ^= body[j] == '"'
                depth += 0 if quoted else (body[j] == "(") - (body[j] == ")")
                if depth == 0:
                    break
                j += 1
            dims.append(body[i + 1:j])
            i = j + 2
            continue
        m = re.match(r"(\d+|\?|\*)x", body[i:])
        if not m:
            return dims, body[i:]
        dims.append(m[1])
        i += m.end()


def evaluate(dim, symbols):
    if dim == "?":
        return None
    text = re.sub(r'"[^"]*"|\b[A-Za-z_]\w*\b', lambda m: m[0]
                  if m[0] in ("floordiv", "mod", "min", "max")
                  else str(symbols[m[0].strip('"')]), dim)
    return eval(text, {"floordiv": lambda a, b: a // b, "min": min,
                       "mod": lambda a, b: a % b, "max": max})


def infer(tool, path):
    """Types by value name, or what prune-opt said instead. print-relations
    fails where types contradict the tables' dimension relations."""
    with tempfile.NamedTemporaryFile(suffix=".prn") as out:
        run = subprocess.run(
            [tool, path, "--infer-shapes=assign-symbols=true",
             "--print-relations", "-o", out.name],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            check=False)
        if run.returncode:
            return None, run.stderr.strip()
        with open(out.name, encoding="utf-8") as f:
            return types_of(f.read()), ""


def feeds_for(model, types, size):
    """Random inputs whose open dimensions are SIZE, and the symbols."""
    random = np.random.RandomState(size)
    given = {i.name for i in model.graph.initializer}
    feeds, symbols = {}, {}
    for value in model.graph.input:
        if value.name in given:
            continue
        dims, _ = parse(types[value.name])
        shape = [int(d) if d.isdigit() else size for d in dims]
        symbols.update({d.strip('"'): size for d in dims if not d.isdigit()})
        kind = onnx.helper.tensor_dtype_to_np_dtype(
            value.type.tensor_type.elem_type)
        data = random.randint(0, 2, shape) if kind.kind in "iub" \
            else random.rand(*shape)
        feeds[value.name] = np.asarray(data).astype(kind)
    return feeds, symbols


def compare(name, text, array, symbols, count):
    known = parse(text)
    if not known:
        count["no tensor"] += 1
        return []
    dims, kind = known
    if kind in NAMES and array.dtype != NAMES[kind]:
        return [f"{name}: {text}, but the array is {array.dtype}"]
    if dims[:1] == ["*"]:
        count["unranked"] += 1
        return []
    sizes = [evaluate(d, symbols) for d in dims]
    if len(sizes) != array.ndim or any(
            s is not None and s != n for s, n in zip(sizes, array.shape)):
        return [f"{name}: {text} is {sizes}, but the array {array.shape}"]
    count["partly" if None in sizes else "whole"] += 1
    return []


def with_all_outputs(path):
    model = onnx.load(path)
    have = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in have:
                have.add(name)
                model.graph.output.append(
                    onnx.helper.make_empty_tensor_value_info(name))
    return model


def check_model(tool, path):
    types, said = infer(tool, path)
    if types is None:
        return [said], 0
    model = with_all_outputs(path)
    options = ort.SessionOptions()
    options.graph_optimization_level = \
        ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options,
                                   providers=["CPUExecutionProvider"])
    count, bad = collections.Counter(), []
    for size in (1, 2, 5):
        feeds, symbols = feeds_for(model, types, size)
        for out, array in zip(session.get_outputs(),
                              session.run(None, feeds)):
            if isinstance(array, np.ndarray):
                bad += compare(out.name, types.get(out.name, "any"), array,
                               symbols, count)
    if set(count) - {"whole"}:
        bad.append(f"not every value is known: {dict(count)}")
    return bad, count["whole"]


def check_cases(tool):
    """(faults by case, how well outputs are known)"""
    count, bad = collections.Counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.onnx")
        for case in node_cases():
            for value in case.model.graph.output:
                if value.type.WhichOneof("value") == "tensor_type":
                    value.type.tensor_type.ClearField("shape")
            onnx.save(case.model, path)
            types, said = infer(tool, path)
            bad[case.name] = [said] if types is None else sum(
                (check_case(types.get(value.name, "any"), shape, count)
                 for value, shape in zip(case.model.graph.output,
                                         outputs(case))), [])
    return bad, count


def outputs(case):
    """The shape of each expected output; None for containers."""
    return [a.shape if hasattr(a, "shape") else
            tuple(a.dims) if hasattr(a, "dims") else None
            for a in case.data_sets[0][1]]


def check_case(text, shape, count):
    known = parse(text)
    if known is None or shape is None:
        count["no tensor"] += 1
        return []
    dims = known[0]
    if dims[:1] == ["*"]:
        count["unranked"] += 1
        return []
    open_dims = [d for d in dims if not d.lstrip("-").isdigit()]
    wrong = len(dims) != len(shape) or any(
        d.isdigit() and int(d) != n for d, n in zip(dims, shape))
    if wrong:
        return [f"inferred {text}, but the output has {shape}"]
    count["partly" if open_dims else "whole"] += 1
    return []


def shared():
    root = os.environ.get("PRUNE_SHARED")
    if not root:
        print("skipped: PRUNE_SHARED is not set")
        sys.exit(SKIPPED)
    return [os.path.join(root, "models", m + ".onnx") for m in MODELS]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bin")
    parser.add_argument("models", nargs="*")
    parser.add_argument("--kind", choices=("nodes", "shared"))
    args = parser.parse_args()
    tool = os.path.join(args.bin, "prune-opt")
    bad = {}
    if args.kind == "nodes":
        bad, count = check_cases(tool)
        print("outputs: " + ", ".join(
            f"{n} {k}" for k, n in sorted(count.items())))
    for path in args.models + (shared() if args.kind == "shared" else []):
        bad[path], whole = check_model(tool, path)
        print(f"{os.path.basename(path)}: {whole} whole")
    for name, faults in bad.items():
        for fault in faults[:5]:
            print(f"{name}: {fault}")
    failed = sum(1 for faults in bad.values() if faults)
    print(f"{len(bad) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
