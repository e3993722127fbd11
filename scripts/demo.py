"""The main job on a real transformer, checked against ONNX Runtime.

usage: demo.py --bin BUILD/bin --out FOLDER

Makes all-MiniLM-L6-v2 as ONNX, prunes it in several ways with prune-opt,
compiles every variant with prunec, embeds sentences with the compiled
libraries through prune-run, and compares each with ONNX Runtime on the same
ONNX file. Ends with an error where they disagree by more than 1e-5."""
import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime
from scipy.stats import spearmanr

from make_minilm import package_folder
from wordpiece import WordPiece

TOLERANCE = 1e-5  # relative L2 error of an output
SCORE = "--score-magnitude"
VARIANTS = [  # name, what prune-opt does, in words
    ("dense", None, "as it came"),
    ("2to4", [SCORE, "--select-nm=n=2,m=4"], "2 of every 4 weights"),
    ("half", [SCORE, "--select-unstructured=sparsity=0.5,scope=tensor"],
     "half of every matrix"),
    ("80pc", [SCORE, "--select-unstructured=sparsity=0.8,scope=tensor"],
     "80 % of every matrix"),
    ("heads", ["--infer-shapes", "--fold-constants", SCORE,
               "--select-heads=ratio=0.25", "--compact-heads"],
     "a quarter of the heads"),
    ("seen", ["--infer-shapes", "--fold-constants", "--profile=PROFILE",
              "--score-activation",
              "--select-channels=ratio=0.25,of=flops,units=all,scope=global",
              "--compensate-bias", "--compact-channels"],
     "25 % of FLOPs, by data"),
]
CALIBRATION = 200  # sentences of this project's own documentation
PAIRS = [
    ("A man is playing a guitar on the street.",
     "Somebody makes music outdoors."),
    ("The train to Vienna leaves at seven in the morning.",
     "At 7 a.m. there is a departure for Vienna."),
    ("She forgot her umbrella and got soaked.",
     "Because she had no umbrella, the rain drenched her."),
    ("The central bank raised interest rates again.",
     "Borrowing money has become more expensive."),
    ("Our cat sleeps on the warm radiator all winter.",
     "The kitten naps where it is warm."),
    ("Water boils at one hundred degrees Celsius.",
     "The recipe calls for two eggs and a cup of flour."),
    ("The referee stopped the match after the injury.",
     "Photosynthesis turns light into chemical energy."),
    ("How do I reset my password?",
     "I cannot log in to my account any more."),
]
BENCH_SECONDS = 1.0
BENCH_ROUNDS = 3
BENCH_TOKENS = 128


class Failed(Exception):
    pass


class Demo:
    def __init__(self, args):
        self.args = args
        self.step_number = args.step
        os.makedirs(args.out, exist_ok=True)

    def step(self, title):
        print(f"[{self.step_number}/{self.args.steps}] {title}", flush=True)
        self.step_number += 1

    def path(self, name):
        return os.path.join(self.args.out, name)

    def tool(self, name, *args):
        """Run one of our tools; returns its output and the seconds taken."""
        command = [os.path.join(self.args.bin, name), *args]
        start = time.monotonic()
        try:
            run = subprocess.run(command, capture_output=True, text=True,
                                 check=False)
        except OSError as error:
            raise Failed(f"{name}: {error.strerror}") from error
        if run.returncode:
            raise Failed(f"{' '.join(command)}\n{run.stderr.strip()}")
        return run.stdout, time.monotonic() - start

    def make_model(self):
        out = self.path("minilm-dense.onnx")
        script = os.path.join(os.path.dirname(__file__), "make_minilm.py")
        subprocess.run([sys.executable, script, out], check=True)

    def prune(self, name, options):
        if not options:
            return 0
        options = [o.replace("PROFILE", self.path("calib.prof"))
                   for o in options]
        _, seconds = self.tool(
            "prune-opt", self.path("minilm-dense.onnx"), *options, "-o",
            self.path(f"minilm-{name}.onnx"))
        return seconds

    def observe(self, inputs):
        """Sentences of one length together: padding is not to be seen."""
        folder = self.path("calibration")
        os.makedirs(folder, exist_ok=True)
        lengths = inputs["attention_mask"].sum(1)
        for n in np.unique(lengths):
            np.savez(os.path.join(folder, f"{n}.npz"),
                     **{k: v[lengths == n, :n] for k, v in inputs.items()})
        self.tool("prune-run", self.path("minilm-dense.onnx"), "--inputs",
                  folder, f"--profile-out={self.path('calib.prof')}")

    def compile(self, name):
        base = self.path(f"minilm-{name}")
        _, seconds = self.tool("prunec", base + ".onnx", "-o", base + ".so",
                               f"--header={base}.h")
        return seconds

    def run(self, name, inputs):
        given, got = self.path("inputs.npz"), self.path("outputs.npz")
        np.savez(given, **inputs)
        self.tool("prune-run", self.path(f"minilm-{name}.so"), "--inputs",
                  given, "--outputs", got, "--threads=1")
        with np.load(got) as file:
            return dict(file)

    def bench(self, name, inputs):
        """Milliseconds of the compiled library and of ONNX Runtime, measured
        in turns, so that a slow moment of the machine hits both."""
        given = self.path("bench.npz")
        np.savez(given, **inputs)
        session = ort_session(self.path(f"minilm-{name}.onnx"))
        ours, theirs = [], []
        for _ in range(BENCH_ROUNDS):
            out, _ = self.tool(
                "prune-run", self.path(f"minilm-{name}.so"), "--inputs",
                given, f"--bench={BENCH_SECONDS}", "--json", "--threads=1")
            ours.append(json.loads(out)["min_ms"])
            end = time.monotonic() + BENCH_SECONDS
            while time.monotonic() < end:
                start = time.perf_counter()
                session.run(None, inputs)
                theirs.append((time.perf_counter() - start) * 1e3)
        return min(ours), min(theirs)


def ort_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options,
                                        ["CPUExecutionProvider"])


def ort_run(path, inputs):
    session = ort_session(path)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def worst_error(ours, theirs):
    """Largest relative L2 error of any output."""
    if set(ours) != set(theirs):
        raise Failed(f"outputs {sorted(ours)} instead of {sorted(theirs)}")
    worst = 0.0
    for name, want in theirs.items():
        got = ours[name]
        if got.shape != want.shape:
            raise Failed(f"{name}: shape {got.shape} instead of {want.shape}")
        want = want.astype(np.float64)
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def zeros(path):
    """Share of zeros in the matrices that MatMul multiplies by."""
    graph = onnx.load(path).graph
    used = {n.input[1] for n in graph.node if n.op_type == "MatMul"}
    weights = [onnx.numpy_helper.to_array(w) for w in graph.initializer
               if w.name in used]
    weights += [onnx.numpy_helper.to_array(a.t) for n in graph.node
                if n.op_type == "Constant" and n.output[0] in used
                for a in n.attribute if a.name == "value"]
    return 1 - (sum(np.count_nonzero(w) for w in weights)
                / sum(w.size for w in weights))


def similarity(embedding):
    """Cosine of each pair; rows are unit vectors, first all left sides."""
    n = len(PAIRS)
    return (embedding[:n] * embedding[n:]).sum(1)


def order(embedding, before):
    """Rank correlation of all sentences' similarities with those BEFORE."""
    above = np.triu_indices(len(embedding), 1)
    return spearmanr((embedding @ embedding.T)[above],
                     (before @ before.T)[above])[0]


def megabytes(*paths):
    return sum(os.path.getsize(p) for p in paths if os.path.exists(p)) / 1e6


def print_table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [c.ljust(w) if i == 0 else c.rjust(w)
                 for i, (c, w) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())


def print_results(results):
    rows = [("removed", "zeros", ".onnx", ".so", "prune", "compile",
             "error", "cosine", "order", "ours", "ORT")]
    for name, _, words in VARIANTS:
        r = results[name]
        rows.append((words, f"{r['zeros']:.1%}", f"{r['onnx']:.1f} MB",
                     f"{r['so']:.1f} MB", f"{r['prune']:.2f} s",
                     f"{r['compile']:.2f} s", f"{r['error']:.1e}",
                     f"{r['cosine']:.2f}", f"{r['order']:.2f}",
                     f"{r['ours']:.1f} ms",
                     f"{r['ort']:.1f} ms"))
    print_table(rows)
    print(f"""
  zeros   share of zeros in the weight matrices
  error   largest relative L2 error of any output of the compiled library,
          against ONNX Runtime on the same .onnx file
  cosine  mean cosine of a sentence's embedding with the one before pruning
  order   rank correlation of the similarities of all pairs of sentences with
          those before pruning: what a search would notice
  ours    the compiled library, one sentence of {BENCH_TOKENS} tokens, one thread
  ORT     ONNX Runtime {onnxruntime.__version__}, the same""")


def print_pairs(results):
    names = [name for name, _, _ in VARIANTS]
    rows = [("how alike two sentences are", *names)]
    columns = [similarity(results[name]["embedding"]) for name in names]
    for i, pair in enumerate(PAIRS):
        rows.append((pair[0], *("" for _ in names)))
        rows.append((pair[1], *(f"{c[i]:.2f}" for c in columns)))
    print_table(rows)


def prose():
    """Sentences of the documentation: data that the results are not judged
    by."""
    docs = os.path.join(os.path.dirname(__file__), "..", "docs")
    text = ""
    for name in ("architecture.md", "pruning.md", "pass-manager.md"):
        with open(os.path.join(docs, name), encoding="utf-8") as file:
            text += file.read()
    text = " ".join(line for line in text.splitlines()
                    if not line.startswith((" ", "#", "|", "`")))
    found = [s.strip() + "." for s in text.split(". ") if len(s.split()) > 6]
    return found[:CALIBRATION]


def demo(d):
    d.step("Making all-MiniLM-L6-v2 as ONNX from the package's weights")
    d.make_model()
    words = WordPiece(os.path.join(package_folder(), "vocab.txt"))
    texts = [a for a, _ in PAIRS] + [b for _, b in PAIRS]
    inputs = words.batch(texts)
    single = words.batch(texts[:1])
    long = words.batch([" ".join(texts)])
    long = {k: v[:, :BENCH_TOKENS] for k, v in long.items()}

    seen = words.batch(prose())
    seen = {k: v[:, :BENCH_TOKENS] for k, v in seen.items()}

    results = {name: {} for name, _, _ in VARIANTS}
    d.step("Pruning with prune-opt")
    d.observe(seen)
    for name, options, _ in VARIANTS:
        results[name]["prune"] = d.prune(name, options)
    d.step("Compiling with prunec")
    for name in results:
        results[name]["compile"] = d.compile(name)
    d.step("Embedding sentences, and comparing with ONNX Runtime")
    for name, _, words in VARIANTS:
        print(f"      {words}", flush=True)
        r, path = results[name], d.path(f"minilm-{name}.onnx")
        got = d.run(name, inputs)
        r["error"] = max(worst_error(got, ort_run(path, inputs)),
                         worst_error(d.run(name, single),
                                     ort_run(path, single)))
        r["embedding"] = got["sentence_embedding"]
        before = results["dense"]["embedding"]
        r["cosine"] = (r["embedding"] * before).sum(1).mean()
        r["order"] = order(r["embedding"], before)
        r["zeros"] = zeros(path)
        r["onnx"] = megabytes(path)
        r["so"] = megabytes(d.path(f"minilm-{name}.so"))
        r["ours"], r["ort"] = d.bench(name, long)
    print()
    print_results(results)
    print()
    print_pairs(results)
    print(f"\nThe models, libraries and headers are in {d.args.out}.")
    bad = [n for n in results if not results[n]["error"] <= TOLERANCE]
    if bad:
        raise Failed(f"error above {TOLERANCE} for: {', '.join(bad)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", required=True, help="folder of the tools")
    parser.add_argument("--out", required=True, help="folder for the results")
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    try:
        demo(Demo(parser.parse_args()))
    except Failed as failed:
        sys.exit(f"error: {failed}")
    except KeyboardInterrupt:
        sys.exit("\nstopped")


if __name__ == "__main__":
    main()
