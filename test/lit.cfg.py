# lit configuration. Run through ctest, or by hand:
#   lit.py -v build/test/passes
#
# Substitutions beside lit's own (%s, %S, %t):
#   %python    the Python that has onnx and onnxruntime
#   %models    cnn.onnx, mlp.onnx, transformer.onnx, each with inputs in
#              NAME.npz, made by test/models/make_models.py (REQUIRES: onnx)
#   %scripts   test/scripts, helpers for comparing
#   %bin       folder of the tools, for who runs them by path
#   %plugins   folder of test_plugin.so and others, from test/plugin
#   %shared    the folder that PRUNE_SHARED names (REQUIRES: shared)
#   %mocks, %emulator   what programs for CUDA are run with (REQUIRES: mocks)
# Features: llvm, sanitized, x86, shared, mocks, onnx (%python has the packages of
# scripts/requirements.txt), qemu (other CPUs: what test/scripts/machines.py
# needs to compile and run for them).
import os
import platform
import shutil
import subprocess

import lit.formats

config.name = "prune"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".test", ".prn"]
config.excludes = ["Inputs", "unit", "lint", "models", "bench", "scripts",
                   "plugin", "fuzz"]
config.test_source_root = os.path.join(config.source_dir, "test")
config.test_exec_root = os.path.join(config.build_dir, "test")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.build_dir, "bin"), config.llvm_tools,
     os.environ.get("PATH", "")])
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --dump-input=fail"
# A sanitizer's finding must not look like a diagnosed error, which exits
# with 1.
defaults = {"ASAN_OPTIONS": "abort_on_error=1:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "abort_on_error=1:print_stacktrace=1",
            "LSAN_OPTIONS": "", "PRUNE_SHARED": ""}
for name, value in defaults.items():
    config.environment[name] = os.environ.get(name, value)

models = os.path.join(config.build_dir, "test", "models")
shared = os.environ.get("PRUNE_SHARED", "")
config.substitutions += [
    ("%python", config.python),
    ("%models", models),
    ("%scripts", os.path.join(config.test_source_root, "scripts")),
    ("%bin", os.path.join(config.build_dir, "bin")),
    ("%plugins", os.path.join(config.build_dir, "test", "plugin")),
    ("%shared", shared),
    ("%mocks", os.path.join(config.build_dir, "test", "cuda", "mock")),
    ("%emulator", os.path.join(config.test_source_root, "cuda", "emulator")),
]

have_onnx = subprocess.run(
    [config.python, "-c", "import importlib.util as u, sys; sys.exit(not all("
     "u.find_spec(m) for m in ('numpy', 'onnx', 'onnxruntime', 'sklearn')))"],
    check=False).returncode == 0
features = {
    "llvm": config.have_llvm,
    "sanitized": config.sanitized,
    "x86": platform.machine() in ("x86_64", "AMD64"),
    "onnx": have_onnx,
    "shared": os.path.isdir(shared),
    # Without sanitizers: what is loaded by programs that have none.
    "mocks": not config.sanitized and os.path.exists(os.path.join(
        config.build_dir, "test", "cuda", "mock", "libcuda.so.1")),
    "qemu": all(map(shutil.which, (
        "qemu-aarch64-static", "qemu-x86_64-static", "aarch64-linux-gnu-gcc"))),
}
config.available_features |= {name for name, have in features.items() if have}
