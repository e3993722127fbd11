"""The templates of kernels compiled for GPUs: nothing spills, registers leave
room for the blocks that tiles.def promises, products are not serialised, and
the instructions are those of (sparse) tensor cores.

Needs nvcc (PRUNE_NVCC, PATH or /usr/local/cuda/bin). Instructions are read from
the machine code with nvdisasm (PRUNE_NVDISASM or PATH), else from PTX."""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
DEVICE = os.path.join(ROOT, "backends", "cuda", "device")
REGISTERS = 65536  # of a multiprocessor
SKIPPED = 77

# Kernels by name -> what must be among their instructions: machine code, PTX.
SPARSE = ("HMMA.SP.16832", r"mma\.sp::ordered_metadata")
DENSE = ("HMMA.16816", r"mma\.sync\.aligned\.m16n8k16")
SPARSE_BYTES = ("IMMA.SP.16864",
                r"mma\.sp::ordered_metadata\.sync\.aligned\.m16n8k64")
DENSE_BYTES = ("IMMA.16832", r"mma\.sync\.aligned\.m16n8k32")
WANTED = [
    (r"linear_nm24_sm90_", ("HGMMA.SP.64x128x32", r"wgmma\.mma_async\.sp")),
    (r"(few|linear)_nm24_(small_)?i8", SPARSE_BYTES),
    (r"(few|linear)_nk_(small_)?i8|gemm_mma_[iu]8", DENSE_BYTES),
    (r"(few|linear)_nm24_", SPARSE),
    (r"(few|linear)_(nk|bitmap|bsr)_|gemm_mma_|attention_b?f16", DENSE),
    (r"linear_|few_nm24|few_bitmap", ("LDGSTS", r"cp\.async")),
    (r"few_(nk|bsr)_", ("LDG.E.128", r"ld\.global\.nc.*v4")),
]


def find(variable, name, folder=None):
    return (os.environ.get(variable) or shutil.which(name)
            or (folder and shutil.which(name, path=folder)))


def tiles():
    """Kernel -> (threads, blocks), by the longest name that fits."""
    with open(os.path.join(DEVICE, "tiles.def"), encoding="utf-8") as f:
        rows = re.findall(r"^TILE\((\w+), (\d+), (\d+), (\d+), (\d+), (\d+)\)",
                          f.read(), re.M)
    return {r[0]: (int(r[3]), int(r[5])) for r in rows}


def tile_of(kernel, table):
    if kernel == "attention_float":
        return table["attention_f32"]
    if kernel.startswith("attention_"):
        return table["attention_mma"]
    return table[max((t for t in table if kernel.startswith(t)), key=len)]


def usage(log):
    """Kernel -> (registers, bytes spilled), from ptxas -v."""
    out = {}
    for part in log.split("Compiling entry function '")[1:]:
        spills = sum(map(int, re.findall(r"(\d+) bytes spill", part)))
        out[part.split("'")[0]] = (
            int(re.search(r"Used (\d+) registers", part)[1]), spills)
    return out


def bodies(text, pattern):
    parts = re.split(pattern, text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


class Check:
    def __init__(self, nvcc, nvdisasm, folder):
        self.nvcc, self.nvdisasm, self.folder = nvcc, nvdisasm, folder
        self.count = collections.Counter()

    def expect(self, good, what):
        self.count[bool(good)] += 1
        if not good:
            print(what)

    def compile(self, arch, kind):
        out = os.path.join(self.folder, f"{arch}.{kind}")
        run = subprocess.run(
            [self.nvcc, "-std=c++17", "-I" + DEVICE, "-arch=" + arch,
             "-Xptxas", "-v", "-" + kind, "-o", out,
             os.path.join(HERE, "templates.cu")],
            capture_output=True, text=True, check=False)
        if run.returncode:
            sys.exit(f"{arch}: {run.stderr}")
        return out, run.stderr

    def code(self, arch, cubin):
        """Kernel -> its instructions as text."""
        if self.nvdisasm:
            text = subprocess.run([self.nvdisasm, "-c", cubin], check=True,
                                  capture_output=True, text=True).stdout
            return bodies(text, r"^\.text\.(\w+):")
        with open(self.compile(arch, "ptx")[0], encoding="utf-8") as f:
            return bodies(f.read(), r"^\.visible \.entry (\w+)\(")

    def instructions(self, arch, kernel, text):
        if "_sm90_" in kernel and arch != "sm_90a":
            return  # empty there
        for pattern, (sass, ptx) in WANTED:
            if not re.match(pattern, kernel):
                continue
            there = (sass in text) if self.nvdisasm else re.search(ptx, text)
            self.expect(there, f"{arch}: {kernel} has no "
                        f"{sass if self.nvdisasm else ptx}")
            if sass not in ("LDGSTS", "LDG.E.128"):
                break  # one product each

    def architecture(self, arch):
        table = tiles()
        cubin, log = self.compile(arch, "cubin")
        self.expect("serialized" not in log,
                    f"{arch}: products are serialised:\n{log[-500:]}")
        for kernel, (registers, spilled) in usage(log).items():
            threads, blocks = tile_of(kernel, table)
            self.expect(spilled == 0,
                        f"{arch}: {kernel} spills {spilled} bytes")
            self.expect(-(-registers // 8) * 8 * threads * blocks <= REGISTERS,
                        f"{arch}: {kernel} has {registers} registers")
        for kernel, text in self.code(arch, cubin).items():
            self.instructions(arch, kernel, text)


def main():
    nvcc = find("PRUNE_NVCC", "nvcc", "/usr/local/cuda/bin")
    if not nvcc:
        print("no nvcc: kernels are not compiled for GPUs")
        sys.exit(SKIPPED)
    nvdisasm = find("PRUNE_NVDISASM", "nvdisasm")
    if not nvdisasm:
        print("no nvdisasm: looking at PTX, not at machine code")
    with tempfile.TemporaryDirectory() as folder:
        check = Check(nvcc, nvdisasm, folder)
        for arch in ("sm_80", "sm_90a", "sm_100a"):
            check.architecture(arch)
    print(f"{check.count[True]} passed, {check.count[False]} failed")
    sys.exit(1 if check.count[False] else 0)


if __name__ == "__main__":
    main()
