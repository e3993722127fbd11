"""Ctrl-C at any time leaves the old output or the new one, and nothing else.

usage: interrupt.py FOLDER"""
import os
import signal
import subprocess
import sys
import time

OPS = 20000


def make(path):
    lines = ['module attributes {ir_version = 8, opset_import = '
             'list[{domain = "", version = 17}]} {',
             'onnx.graph {name = "g", body = region<0>} {',
             '^(%x: tensor<2xf32>):', '%v0 = onnx.Relu(%x)']
    lines += [f"%v{i} = onnx.Sigmoid(%v{i - 1})" for i in range(1, OPS)]
    lines += [f"onnx.return(%v{OPS - 1})", "}", "}"]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def heed():
    """A background job may have inherited that Ctrl-C is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main():
    folder = sys.argv[1]
    os.makedirs(folder)
    source, out = (os.path.join(folder, n) for n in ("in.prn", "out.onnx"))
    make(source)
    command = ["prune-opt", source, "--infer-shapes", "-o", out]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    whole = time.perf_counter() - start
    with open(out, "rb") as f:
        new = f.read()
    stopped = 0
    for i in range(24):
        with open(out, "wb") as f:
            f.write(b"old")
        run = subprocess.Popen(command, preexec_fn=heed)
        time.sleep(whole * i / 20)
        run.send_signal(signal.SIGINT)
        stopped += run.wait() != 0
        with open(out, "rb") as f:
            assert f.read() in (b"old", new), "half a file"
        names = sorted(os.listdir(folder))
        assert names == ["in.prn", "out.onnx"], names
    assert stopped, "no run was interrupted"
    print("nothing left behind")


if __name__ == "__main__":
    main()
