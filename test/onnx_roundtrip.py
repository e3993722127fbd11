"""Models come out as they went in, every field.

usage: onnx_roundtrip.py BIN [--kind nodes|odd|shared] [--only SUBSTRING]
                         [--keep FOLDER] [--jobs N]

Each model is imported and exported, imported, printed, parsed and exported,
and compared field by field (scripts/onnx_compare.py). `nodes` are the cases
that onnx generates for its backend tests, `odd` the models of
scripts/onnx_odd.py, `shared` all models under $PRUNE_SHARED/models. Closes with
`N passed, N failed`."""
import argparse
import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "scripts"))
SKIPPED = 77  # ctest: SKIP_RETURN_CODE

try:
    import onnx
    from onnx_cases import node_cases, write_model
    from onnx_compare import compare, load
    from onnx_odd import write as write_odd
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)


def write_nodes(folder):
    """One model for each backend node case."""
    paths = []
    for case in node_cases():
        paths.append(os.path.join(folder, case.name + ".onnx"))
        write_model(case, paths[-1])
    return paths


def shared():
    root = os.environ.get("PRUNE_SHARED")
    if not root:
        print("skipped: PRUNE_SHARED is not set")
        sys.exit(SKIPPED)
    return sorted(glob.glob(os.path.join(root, "models", "**", "*.onnx"),
                            recursive=True))


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          errors="replace", check=False)
    return None if done.returncode == 0 else (
        f"exit code {done.returncode}: {done.stdout.strip()[:500]}")


def round_trip(tool, path, folder):
    """What is wrong with the trip of one model; [] when nothing is."""
    name = os.path.basename(path)
    direct, text, parsed = (os.path.join(folder, d, name)
                            for d in ("direct", "text", "parsed"))
    text = text[:-len("onnx")] + "prn"
    for p in (direct, text, parsed):
        os.makedirs(os.path.dirname(p), exist_ok=True)
    found = []
    for way, steps, out in (
            ("direct", [[path, "-o", direct]], direct),
            ("text", [[path, "-o", text], [text, "-o", parsed]], parsed)):
        wrong = None
        for step in steps:
            wrong = wrong or run([tool, *step])
        if wrong:
            found.append(f"{way}: {wrong}")
            continue
        wrong = compare(path, out)
        if wrong and "external_data" in " ".join(wrong):
            wrong = compare(path, out, data=True)
        found += [f"{way}: {line}" for line in wrong[:5]]
    for p in (direct, text, parsed):
        if not found and os.path.exists(p):
            os.remove(p)
    return found


def main():
    args = argparse.ArgumentParser()
    args.add_argument("bin")
    args.add_argument("--kind", default="odd",
                      choices=("nodes", "odd", "shared"))
    args.add_argument("--only", default="")
    args.add_argument("--keep")
    args.add_argument("--jobs", type=int, default=2)
    args = args.parse_args()
    tool = os.path.join(args.bin, "prune-opt")
    folder = args.keep or tempfile.mkdtemp()
    models = os.path.join(folder, "models")
    os.makedirs(models, exist_ok=True)
    paths = {"nodes": lambda: write_nodes(models),
             "odd": lambda: write_odd(models), "shared": shared}[args.kind]()
    paths = [p for p in paths if args.only in p]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        trips = [pool.submit(round_trip, tool, p, os.path.join(folder, str(i)))
                 for i, p in enumerate(paths)]
        for path, trip in zip(paths, trips):
            for line in trip.result():
                print(f"{os.path.basename(path)}: {line}")
            failed += bool(trip.result())
    if not args.keep:
        shutil.rmtree(folder)
    print(f"{len(paths) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    assert onnx and load
    sys.exit(main())
