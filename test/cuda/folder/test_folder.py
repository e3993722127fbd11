"""Folders of CUDA programs: their kernels are compiled by nvcc, by NVRTC and by
nobody; their CMakeLists.txt and Makefile build them with and without nvcc; a
program that links such a library runs on the mocks, and says so where there is
no driver. Usage: test_folder.py BUILD SOURCE. What needs nvcc or NVRTC is left
out, and said so, where they are not there; a stand-in for nvcc always runs."""
import glob
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

BUILD, SOURCE = (os.path.abspath(a) for a in sys.argv[1:3])
HERE = os.path.join(SOURCE, "test/cuda/folder")
CUDA = os.path.join(SOURCE, "backends/cuda")
MOCKS = os.path.join(BUILD, "test/cuda/mock")
FATBIN = bytes([0x50, 0xed, 0x55, 0xba])
WEIGHTS = struct.pack("<4f", 0.5, 1.5, 2.5, 3.5)
OUTPUT = "0.5 2.5 4.5 6.5 4.5 6.5 8.5 10.5 8.5 10.5"
M = (1 << 64) - 1


def xxh64(data):
    """After the specification; for less than 32 bytes, which is all there is."""
    p1, p2, p3, p4, p5 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F,
                          0x165667B19E3779F9, 0x85EBCA77C2B2AE63,
                          0x27D4EB2F165667C5)

    def rot(v, n):
        return (v << n | v >> (64 - n)) & M

    h = (p5 + len(data)) & M
    while len(data) >= 8:
        k = rot(int.from_bytes(data[:8], "little") * p2 & M, 31) * p1 & M
        h = (rot(h ^ k, 27) * p1 + p4) & M
        data = data[8:]
    if len(data) >= 4:
        h ^= int.from_bytes(data[:4], "little") * p1 & M
        h = (rot(h, 23) * p2 + p3) & M
        data = data[4:]
    for b in data:
        h = rot(h ^ b * p5 & M, 11) * p1 & M
    h = (h ^ h >> 33) * p2 & M
    h = (h ^ h >> 29) * p3 & M
    return h ^ h >> 32


def blob():
    head = struct.pack("<8sIIQQQ", b"PRUNECU", 1, 1, 256, len(WEIGHTS),
                       xxh64(WEIGHTS))
    record = struct.pack("<QiiqqQQ", xxh64(b"w"), 0, 1, 0, 4, 0, 16)
    return (head + record).ljust(256, b"\0") + WEIGHTS


def make_folder(path):
    """What the compiler writes for the model add."""
    os.mkdir(path)
    for name in (glob.glob(CUDA + "/device/*") + glob.glob(CUDA + "/host/*")
                 + [HERE + "/add.h.in", HERE + "/add_host.c",
                    HERE + "/add_kernels.cu"]):
        with open(name, encoding="utf-8") as f:
            text = f.read().replace("@NAME@", "add")
        target = os.path.basename(name)
        target = target[:-3] if target.endswith(".in") else target
        with open(os.path.join(path, target), "w", encoding="utf-8") as f:
            f.write(text)
    with open(os.path.join(path, "add.blob"), "wb") as f:
        f.write(blob())


def call(*args, env=None, ok=True, cwd=None):
    run = subprocess.run(args, capture_output=True, text=True, cwd=cwd,
                         env=dict(os.environ, **(env or {})), check=False)
    if ok is not None and (run.returncode == 0) != ok:
        sys.exit(f"{' '.join(args)}: {run.returncode}\n"
                 f"{run.stdout}{run.stderr}")
    return run


def stand_in(work, text):
    """A folder with an nvcc that does what text says."""
    home = tempfile.mkdtemp(dir=work)
    os.mkdir(home + "/bin")
    with open(home + "/bin/nvcc", "w", encoding="utf-8") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(home + "/bin/nvcc", 0o755)
    return home


GOOD = (r"""for a; do o=$a; done; printf '\120\355\125\272' >"$o"; """
        r"""printf '%s\n' "$@" >"${0%/*}/arguments" """)


def check(what, got):
    print(("ok   " if got else "FAIL ") + what)
    if not got:
        check.failed += 1


check.failed = 0


def compile_kernels(folder, env, ok=True):
    return call(os.path.join(BUILD, "test/cuda/compile_kernels"), folder,
                "add", env=env, ok=ok)


def run_program(folder, library, work):
    """Links main.c with the library, and runs it with and without a driver."""
    program = os.path.join(work, "program")
    call("cc", "-std=c11", "-I" + folder, HERE + "/main.c", library, "-ldl",
         "-o", program)
    kernels = os.path.join(work, "add_kernels.so")
    if not os.path.exists(kernels):
        call("g++", "-std=c++17", "-O1", "-DPMK_CPU", "-fPIC", "-shared",
             "-fvisibility=hidden", "-I" + CUDA + "/device",
             "-I" + SOURCE + "/test/cuda/emulator", "-x", "c++",
             HERE + "/add_kernels.cu", "-o", kernels)
    arguments = [program, os.path.join(folder, "add.blob"), "10"]
    run = call(*arguments, ok=None,
               env={"LD_LIBRARY_PATH": MOCKS, "PRUNE_MOCK_KERNELS": kernels})
    if run.returncode or OUTPUT not in run.stdout:
        print(run.stdout, run.stderr)
        return False
    have = subprocess.run("ldconfig -p | grep -q libcuda.so.1", shell=True,
                          check=False).returncode == 0
    if have:
        return True
    run = call(*arguments, ok=False)
    return run.stdout == "there is no CUDA driver, or it is too old\n"


def cmake(folder, work, *options):
    build = tempfile.mkdtemp(dir=work)
    call("cmake", "-S", folder, "-B", build, *options)
    call("cmake", "--build", build)
    return os.path.join(build, "libadd.a")


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupting(folder, nothing, work):
    """Ctrl-C while nvcc runs: it ends as well, and what it wrote is gone."""
    slow = stand_in(work, 'for a; do o=$a; done; echo half >"$o"\n'
                          'echo $$ >"${0%/*}/pid"; exec /bin/sleep 60\n')
    for sig in (signal.SIGINT, signal.SIGTERM):
        run = subprocess.Popen(
            [os.path.join(BUILD, "test/cuda/compile_kernels"), folder, "add"],
            env=dict(os.environ, CUDA_HOME=slow, PATH=nothing),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = slow + "/bin/pid"
        while not (os.path.exists(pid) and os.path.getsize(pid)):
            time.sleep(0.01)
        with open(pid, encoding="utf-8") as f:
            child = int(f.read())
        os.remove(pid)
        run.send_signal(sig)
        run.wait(timeout=20)
        check(f"ended by {sig.name}", run.returncode == -sig)
        check("and nvcc with it", not is_there(child))
        check("which leaves nothing", not glob.glob(folder + "/.add*")
              and not os.path.exists(folder + "/add_kernels.fatbin"))


def test_compiling(folder, nothing, work):
    fatbin = os.path.join(folder, "add_kernels.fatbin")
    home = stand_in(work, GOOD)
    run = compile_kernels(folder, {"CUDA_HOME": home, "PATH": nothing})
    with open(fatbin, "rb") as f:
        check("nvcc of CUDA_HOME", f.read() == FATBIN and "nvcc" in run.stdout)
    with open(home + "/bin/arguments", encoding="utf-8") as f:
        arguments = f.read()
    check("for all architectures",
          all(f"code={a}\n" in arguments for a in
              ("sm_80", "sm_90a", "sm_100a", "compute_80")))
    check("kernels that are compiled need no nvcc",
          run_program(folder, cmake(folder, work, "-DNVCC=NVCC-NOTFOUND"),
                      work))
    call("make", "-s", cwd=folder, env={"NVCC": "false"})
    check("nor in make", run_program(folder, folder + "/libadd.a", work))
    call("make", "-s", "clean", cwd=folder)
    bad = stand_in(work, "echo 'error: no such thing' >&2; exit 2")
    run = compile_kernels(folder, {"CUDA_HOME": bad, "PATH": nothing}, ok=False)
    check("nvcc that fails", run.returncode == 1
          and "no such thing" in run.stderr and "nvcc failed" in run.stderr)
    check("leaves nothing", not os.path.exists(fatbin)
          and not glob.glob(folder + "/.add*"))
    run = compile_kernels(folder, {"CUDA_HOME": nothing, "PATH": nothing,
                                   "LD_LIBRARY_PATH": nothing})
    check("neither is there", "not compiled" in run.stdout
          or "NVRTC" in run.stdout)


def test_headers(folder):
    """They are for C++ as well."""
    for name in ("add.h", "prune_cuda_model.h"):
        call("g++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
             "-fsyntax-only", "-x", "c++", "-include", name, "-I" + folder,
             "/dev/null")
    check("headers are for C++, too", True)


def test_building(folder, work):
    home = stand_in(work, GOOD)
    nvcc = home + "/bin/nvcc"
    for name in glob.glob(folder + "/add_images.inc"):
        os.remove(name)
    check("cmake calls nvcc",
          run_program(folder, cmake(folder, work, "-DNVCC=" + nvcc), work))
    check("outside the sources",
          not os.path.exists(folder + "/add_kernels.fatbin"))
    call("make", "-s", "NVCC=" + nvcc, cwd=folder)
    check("make calls nvcc", run_program(folder, folder + "/libadd.a", work))
    call("make", "-s", "clean", cwd=folder)
    os.remove(folder + "/add_kernels.fatbin")


def test_real(folder, work, nothing):
    """With what NVIDIA ships, where it is there."""
    if shutil.which("nvcc"):
        compile_kernels(folder, {})
        with open(folder + "/add_kernels.fatbin", "rb") as f:
            check("nvcc itself", f.read(4) == FATBIN)
        check("its fatbin in a library",
              run_program(folder, cmake(folder, work), work))
    else:
        print("left out: nvcc is not there")
    run = compile_kernels(folder, {"CUDA_HOME": nothing, "PATH": nothing})
    if "NVRTC" not in run.stdout:
        print("left out: NVRTC is not there")
        return
    with open(folder + "/add_images.inc", encoding="utf-8") as f:
        listed = f.read()
    check("NVRTC lists its code", 'image "add_sm_80.cubin", 80' in listed
          and 'image "add_compute_80.ptx", 0' in listed)
    with open(folder + "/add_sm_90a.cubin", "rb") as f:
        check("of each device", f.read(4) == b"\x7fELF")
    check("its images in a library",
          run_program(folder, cmake(folder, work), work))
    with open(folder + "/add_kernels.cu", "a", encoding="utf-8") as f:
        f.write("no such thing;\n")
    run = compile_kernels(folder, {"CUDA_HOME": nothing, "PATH": nothing},
                          ok=False)
    check("NVRTC that fails says why", run.returncode == 1
          and "no such thing" in run.stderr and "NVRTC failed" in run.stderr)


def main():
    with tempfile.TemporaryDirectory() as work:
        folder, nothing = work + "/folder", work + "/nothing"
        make_folder(folder)
        os.mkdir(nothing)
        test_headers(folder)
        test_compiling(folder, nothing, work)
        test_interrupting(folder, nothing, work)
        test_building(folder, work)
        test_real(folder, work, nothing)
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
