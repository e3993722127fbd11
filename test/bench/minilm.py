"""all-MiniLM-L6-v2, dense, one thread, one sentence of 128 tokens: compile
time, and the compiled library's time against ONNX Runtime's, in turns."""
import json
import os
import time

import numpy as np

from measure import scratch, stamp, table, tool, verdict
from ort_compare import session
from zoo import MODELS, source

ROUNDS, SECONDS, TOKENS = 5, 1.0, 128
LIMIT_RATIO, LIMIT_COMPILE = 1.3, 5.0


def main():
    model = next(m for m in MODELS if "MiniLM" in m.name)
    ids = np.random.default_rng(0).integers(1000, 30000, (1, TOKENS))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids),
              "token_type_ids": np.zeros_like(ids)}
    with scratch() as folder:
        dense = source(model, folder)
        library, given = (os.path.join(folder, n) for n in ("m.so", "in.npz"))
        np.savez(given, **inputs)
        compiled = min(tool("prunec", dense, "-o", library).seconds
                       for _ in range(3))
        size = os.path.getsize(library)
        ort = session(dense)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            run = tool("prune-run", library, "--inputs", given, "--threads=1",
                       f"--bench={SECONDS}", "--json", poll=0)
            ours.append(json.loads(run.out))
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                start = time.perf_counter()
                ort.run(None, inputs)
                theirs.append((time.perf_counter() - start) * 1e3)
    our_min = min(o["min_ms"] for o in ours)
    our_median = np.median([o["median_ms"] for o in ours])
    print(f"## all-MiniLM-L6-v2, dense\n\n{stamp()}. One thread, batch 1 × "
          f"{TOKENS} tokens; {ROUNDS} rounds of {SECONDS:g} s each, in "
          f"turns.\n")
    print(table([
        ("", "ours", "ONNX Runtime", "ratio"),
        ("least, ms", f"{our_min:.2f}", f"{min(theirs):.2f}",
         verdict(our_min / min(theirs), LIMIT_RATIO)),
        ("median, ms", f"{our_median:.2f}", f"{np.median(theirs):.2f}",
         f"{our_median / np.median(theirs):.3g}"),
        ("arena, MB", f"{ours[0]['arena_bytes'] / 1e6:.1f}", "", ""),
        ("library, MB", f"{size / 1e6:.1f}", "", ""),
        ("compile to .so, s", verdict(compiled, LIMIT_COMPILE), "", ""),
    ]))


if __name__ == "__main__":
    main()
