"""Zeros that pay: our programs and the peers on the same models, zeros and
inputs, in turns; every output is compared with ONNX Runtime's.

    cpu.py --only bert --zeros 'dense|u90' --rounds 3      while developing
    cpu.py --peers PYTHON --peers PYTHON                    for the record

Each engine is a process of its own (cpu_engines.py); only one works at a time.
A figure is the least of its runs: with one thread of their CPU time, so that
other work on the machine matters little, with more of their wall time. Models
are made once, in the folder given by --cache or PRUNE_BENCH_CACHE (20 GB for
all of them). Other Pythons may know engines that the running one does not."""
import argparse
import ctypes
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time

from cpu_goals import PEAK_GOAL, goal_of
from cpu_models import CASES, make
from measure import BIN, Failed, scratch, stamp, table, tool

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINES = os.path.join(HERE, "cpu_engines.py")
TITLES = {"ours": "ours", "ort": "ONNX Runtime", "openvino": "OpenVINO fp32",
          "openvino-bf16": "OpenVINO default", "deepsparse": "DeepSparse",
          "mnn": "MNN sparse"}
BLIND = ("ort", "openvino", "openvino-bf16")  # gain nothing from zeros
PATIENCE = 300  # seconds for one answer


class Worker:
    """An engine's process; started again when it died."""

    def __init__(self, python, engine, threads, log):
        self.command = [python, ENGINES, engine, str(threads)]
        self.log = log
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, text=True, bufsize=1)

    def ask(self, **request):
        p = self.process
        try:
            p.stdin.write(json.dumps(request) + "\n")
            p.stdin.flush()
            if not select.select([p.stdout], [], [], PATIENCE)[0]:
                raise OSError(f"no answer in {PATIENCE} s")
            line = p.stdout.readline()
            if not line:
                raise OSError(f"ended with code {p.wait()}")
            return json.loads(line)
        except OSError as e:
            p.kill()
            p.wait()
            self.start()
            return {"failed": str(e)}

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peak:
    """FMA peak of one core in GFLOP/s, measured in between."""

    def __init__(self, folder):
        library = os.path.join(folder, "peak.so")
        subprocess.run(["cc", "-O3", "-march=native", "-ffp-contract=fast",
                        "-shared", "-fPIC", "-o", library,
                        os.path.join(HERE, "peak.c")], check=True)
        self.loop = ctypes.CDLL(library).prn_bench_peak
        self.loop.argtypes = [ctypes.c_long]
        self.loop.restype = ctypes.c_float
        self.best = 0.0

    def measure(self, steps=100000):
        for _ in range(10):
            start = time.process_time()
            self.loop(steps)
            seconds = time.process_time() - start
            self.best = max(self.best, 2 * 16 * 16 * steps / seconds / 1e9)


class Bench:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        self.clock = "cpu" if args.threads == 1 else "wall"
        self.log = tempfile.TemporaryFile(dir=folder)
        self.peak = Peak(folder)
        pythons = {"ours": sys.executable}
        for python in [sys.executable, *args.peers]:
            names = subprocess.run([python, ENGINES, "--list"], check=True,
                                   capture_output=True, text=True).stdout
            for name in names.split():
                pythons.setdefault(name, python)
        wanted = re.compile(args.engines)
        self.workers = {
            name: Worker(pythons[name], name, args.threads, self.log)
            for name in TITLES if name in pythons
            and (name in ("ours", "ort") or wanted.search(name))}

    def close(self):
        for worker in self.workers.values():
            worker.close()

    def compile(self, base):
        library = os.path.join(self.folder, os.path.basename(base) + ".so")
        run = tool("prunec", base + ".onnx", "-o", library, "--prefix=bench",
                   *self.args.prunec)
        return library, run

    def load(self, row, name):
        request = {"load": row["key"], "base": row["base"]}
        if name == "ours":
            try:
                request["library"], run = self.compile(row["base"])
            except Failed as e:
                return {"failed": str(e)}
            request["runner"] = os.path.join(BIN, "prune-run")
            row["library"] = os.path.getsize(request["library"])
            row["compile"], row["private"] = run.seconds, run.private
        return self.workers[name].ask(**request)

    def prepare(self, row):
        """Loads the row's model into the engines that are to be timed; ONNX
        Runtime comes first, for it says what is right."""
        blind = row["zeros"] != "dense"
        for name in ("ort", *(n for n in self.workers if n != "ort")):
            if name in BLIND[1:] and blind:
                continue
            if name == "ort" and blind and os.path.exists(
                    row["base"] + ".npy"):
                continue
            reply = self.load(row, name)
            if "failed" in reply:
                row["failed"][name] = reply["failed"]
                print(f"{row['key']}: {name}: {reply['failed']}",
                      file=sys.stderr)
                continue
            row["error"][name] = reply["error"]
            row["arena"] = reply.get("arena", row.get("arena"))
            if name == "ort" and blind:
                self.workers[name].ask(drop=None)
                self.load(self.dense, name)
            else:
                row["times"][name] = []

    def rows(self, case):
        wanted = re.compile(self.args.zeros)
        names = [(p, False) for p in case.patterns]
        names += [(p, True) for p in case.quantized]
        for zeros, quantized in names:
            key = zeros + (" int8" if quantized else "")
            if zeros != "dense" and not wanted.fullmatch(key):
                continue
            if quantized and not wanted.fullmatch(key):
                continue
            base = make(case, zeros, quantized, self.args.cache)
            with open(base + ".json", encoding="utf-8") as f:
                facts = json.load(f)
            yield {"key": key, "zeros": zeros, "quantized": quantized,
                   "base": base, "times": {}, "error": {}, "failed": {},
                   **facts}

    def run(self, case):
        rows = list(self.rows(case))
        self.dense = rows[0]
        for row in rows:
            self.prepare(row)
        for _ in range(self.args.rounds):
            self.peak.measure()
            for row in rows:
                for name, times in row["times"].items():
                    reply = self.workers[name].ask(
                        time=row["key"], seconds=self.args.seconds)
                    if "failed" in reply:
                        row["failed"][name] = reply["failed"]
                    else:
                        times += reply[self.clock]
        for worker in self.workers.values():
            worker.ask(drop=None)
        for row in rows:
            row["best"] = {n: min(t) for n, t in row["times"].items() if t}
        return rows


# ---- what is printed ----

def cell(row, name):
    """A peer's time, and how many times longer than ours it is."""
    if name in row["failed"]:
        return "fails"
    if name not in row["best"]:
        return ""
    ms, ours = row["best"][name], row["best"].get("ours")
    text = f"{ms:.3g}" + (f" ({ms / ours:.2f} ×)" if ours else "")
    wrong = row["error"][name] > 0.05
    return text + (", wrong" if wrong else "")


def our_cells(row, dense, case, peak):
    if "ours" not in row["best"]:
        return ["fails", "", "", "", "", ""]
    ms = row["best"]["ours"]
    rate = row["flops"] / ms / 1e6
    own = dense["best"].get("ours", float("nan")) / ms
    over = dense["best"].get("ort", float("nan")) / ms
    goal = goal_of(case.name, row["key"])
    share = rate * (row["density"] if not row["quantized"] else 1) / peak
    text = ""
    if goal:
        value = own if goal.own else over
        word = "met" if value >= goal.value else "**missed**"
        text = f"{value:.2f} ≥ {goal.value:g}: {word}"
    elif case.name in PEAK_GOAL and row["key"] == "dense":
        word = "met" if share >= PEAK_GOAL[case.name] else "**missed**"
        text = f"{share:.2f} of peak ≥ {PEAK_GOAL[case.name]:g}: {word}"
    return [f"{ms:.4g}", f"{rate:.0f}", f"{share:.2f}", f"{own:.2f}",
            f"{over:.2f}", text]


def report(case, rows, bench):
    engines = [n for n in bench.workers if n != "ours"
               and any(n in r["best"] or n in r["failed"] for r in rows)]
    print(f"### {case.title}\n\n{rows[0]['flops'] / 1e9:.3g} GFLOP dense, "
          f"FMA peak {bench.peak.best:.0f} GFLOP/s a core.\n")
    lines = [("zeros", "density", "ours, ms", "GFLOP/s", "of peak",
              "× own dense", "× ONNX Runtime", "goal",
              *(TITLES[n] + ", ms" for n in engines), "error", "library, MB",
              "arena, MB", "compile, s")]
    for row in rows:
        lines.append((
            row["key"], f"{row['density']:.3f}",
            *our_cells(row, rows[0], case, bench.peak.best),
            *(cell(row, n) for n in engines),
            f"{row['error'].get('ours', float('nan')):.1e}",
            f"{row.get('library', 0) / 1e6:.1f}",
            f"{row['arena'] / 1e6:.2f}" if row.get("arena") else "",
            f"{row.get('compile', 0):.2f}"))
    print(table(lines), flush=True)


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=".", metavar="REGEX",
                        help="cases whose whole name matches")
    parser.add_argument("--zeros", default=".*", metavar="REGEX",
                        help="patterns of zeros; dense always runs")
    parser.add_argument("--engines", default=".", metavar="REGEX",
                        help="peers besides ONNX Runtime")
    parser.add_argument("--peers", action="append", default=[],
                        metavar="PYTHON", help="a Python with peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2,
                        help="of each engine and model in a round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prunec", action="append", default=[],
                        metavar="OPTION", help="an option for prunec")
    parser.add_argument("--cache", metavar="FOLDER", default=os.environ.get(
        "PRUNE_BENCH_CACHE", os.path.join(tempfile.gettempdir(),
                                          "prune-bench-models")))
    parser.add_argument("--json", metavar="FILE", help="all figures, too")
    parser.add_argument("--list", action="store_true", help="name the cases")
    return parser.parse_args()


def main():
    args = options()
    whole = re.compile(f"(?:{args.only})" + ("" if args.only == "."
                                             else r"\Z"))
    cases = [c for c in CASES if whole.match(c.name)]
    if args.list:
        print(*(f"{c.name}: {', '.join(c.patterns)}" for c in cases),
              sep="\n")
        return
    os.makedirs(args.cache, exist_ok=True)
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    options = "".join(f", `{o}`" for o in args.prunec)
    print(f"## Zeros that pay, {threads}{options}\n\n{stamp()}. {args.rounds} rounds "
          f"of {args.seconds:g} s in turns, least "
          f"{'CPU' if args.threads == 1 else 'wall'} time. In brackets: over "
          f"ours with the same zeros. Error: relative L2 against ONNX "
          f"Runtime.\n")
    everything = {}
    for case in cases:
        with scratch() as folder:
            bench = Bench(args, folder)
            try:
                rows = bench.run(case)
                report(case, rows, bench)
            finally:
                bench.close()
            everything[case.name] = {
                row["key"]: {k: row.get(k) for k in (
                    "best", "error", "failed", "flops", "density", "library",
                    "arena", "compile", "private")} for row in rows}
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(everything, f, indent=1)


if __name__ == "__main__":
    main()
