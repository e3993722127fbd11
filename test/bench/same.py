"""The same bytes from two runs, with one thread and two, with and without
address randomisation, for every real model."""
import hashlib
import os

from measure import BIN, Failed, Run, first_error, scratch, stamp, table
from zoo import MODELS, source

WAYS = {
    "again": (),
    "2 threads": ("--threads=2",),
    "no ASLR": (),
}
JOBS = {
    "prune 2:4": ("prune-opt", "--score-magnitude", "--select-nm=n=2,m=4",
                  ".onnx"),
    "prune global": ("prune-opt", "--score-magnitude",
                     "--select-unstructured=sparsity=0.8,scope=global",
                     ".onnx"),
    "text": ("prune-opt", ".prn"),
    "library": ("prunec", ".so"),
}


def digest(job, path, model, way, folder):
    name, *passes, suffix = JOBS[job]
    out = os.path.join(folder, "out" + suffix)
    command = [os.path.join(BIN, name), path, *passes, *WAYS.get(way, ()),
               "-o", out]
    if job == "library":
        command += [f"--dim={d}" for d in model.dims]
    if way == "no ASLR":
        command = ["setarch", "-R", *command]
    run = Run(command, poll=0)
    if run.code:
        raise Failed(first_error(run.err))
    with open(out, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def main():
    print(f"## Same bytes\n\n{stamp()}. Each job against a first run: run "
          f"again, with two threads, without address randomisation.\n")
    rows, notes = [("model", *JOBS)], []
    with scratch() as folder:
        for model in MODELS:
            path, row = source(model, folder), [model.name]
            for job in JOBS:
                try:
                    first = digest(job, path, model, "", folder)
                    bad = [w for w in WAYS
                           if digest(job, path, model, w, folder) != first]
                    row.append("**differs**: " + ", ".join(bad)
                               if bad else "same")
                except Failed as failed:
                    notes.append(f"- {model.name}, {job}: {failed}")
                    row.append("**failed**")
            rows.append(row)
    print(table(rows))
    print("\n".join(notes))


if __name__ == "__main__":
    main()
