"""Memory of a run, without weights and the inputs' and outputs' own: the arena
that our library asks for, and what ONNX Runtime's arena grows to.

ONNX Runtime tells of every extension of its arena in its log; weights are kept
outside. By default the arena grows in powers of two. The largest single request
is the block that it plans after the first run; what lives outside that block
comes on top."""
import os
import re
import subprocess
import sys

from cpu_models import CASES, make
from measure import BIN, scratch, stamp, table, tool, verdict

NAMES = ("bert", "minilm", "resnet50", "mobilenet2", "decode-small")
ORT = """
import sys, numpy as np, onnxruntime as o
o.set_default_logger_severity(0)
s = o.SessionOptions()
s.intra_op_num_threads, s.log_severity_level = 1, 0
s.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
s = o.InferenceSession(sys.argv[1], s, providers=["CPUExecutionProvider"])
x = dict(np.load(sys.argv[2]))
for _ in range(3):
    s.run(None, x)
"""


def theirs(base):
    run = subprocess.run(
        [sys.executable, "-c", ORT, base + ".onnx", base + ".npz"], check=True,
        capture_output=True, text=True)
    log = run.stderr + run.stdout
    grown = re.findall(r"Extended allocation by (\d+) bytes", log)
    asked = re.findall(r"\(requested\) num_bytes: (\d+)", log)
    return sum(map(int, grown)), max(map(int, asked))


def ours(base, folder):
    library = os.path.join(folder, "m.so")
    run = tool("prunec", base + ".onnx", "-o", library)
    text = tool("prune-run", library, "--inputs", base + ".npz",
                "--bench=0.01", poll=0).out
    os.unlink(library)
    return int(re.search(r"arena (\d+) bytes", text)[1]), run.private


def main():
    cache = os.environ.get("PRUNE_BENCH_CACHE")
    rows = [("model, dense", "ours, MB", "ONNX Runtime, MB", "ratio",
             "its largest request, MB", "private memory of prunec, MB")]
    with scratch() as folder:
        for name in NAMES:
            case = next(c for c in CASES if c.name == name)
            base = make(case, "dense", False, cache or folder)
            arena, private = ours(base, folder)
            peer, block = theirs(base)
            rows.append((case.title, f"{arena / 1e6:.2f}", f"{peer / 1e6:.2f}",
                         verdict(arena / peer, 1.0), f"{block / 1e6:.2f}",
                         verdict(private / 1e6, 150)))
    print(f"## Memory of a run\n\n{stamp()}. {' '.join(__doc__.split())}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
