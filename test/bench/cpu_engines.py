"""One engine in a process of its own, for cpu.py: requests and answers are
lines of JSON.

usage: cpu_engines.py ENGINE THREADS
       cpu_engines.py --list         engines that can be imported here

{"load": KEY, "base": PATH, "library": SO}   -> {"seconds", "error"}
{"time": KEY, "seconds": S}                  -> {"wall", "cpu"}: ms of each run
{"drop": null}                               -> {}

PATH.onnx is the model, PATH.npz its inputs; `error` is the relative L2 error
against PATH.npy, which ONNX Runtime writes. Needs numpy and the engine."""
import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import time

import numpy as np

MODULES = {"ort": "onnxruntime", "openvino": "openvino",
           "openvino-bf16": "openvino", "deepsparse": "deepsparse",
           "mnn": "MNN"}
THREADS = 1


# ---- ours, through the C interface of backends/llvm/abi.h ----

POINTER, SIZE, I64 = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64


class Tensor(ctypes.Structure):
    _fields_ = [("data", POINTER), ("size", SIZE),
                ("dims", ctypes.POINTER(I64))]


class Call(ctypes.Structure):
    _fields_ = [("inputs", ctypes.POINTER(Tensor)),
                ("outputs", ctypes.POINTER(Tensor)), ("arena", POINTER),
                ("arena_size", SIZE), ("weights", POINTER), ("workers", I64),
                ("parallel_for", POINTER), ("pool", POINTER)]


class Value(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("type", ctypes.c_int32),
                ("rank", ctypes.c_int32), ("dims", ctypes.POINTER(I64)),
                ("dim_names", POINTER)]


class Model(ctypes.Structure):
    _fields_ = [("abi", ctypes.c_uint32), ("num_inputs", ctypes.c_uint32),
                ("num_outputs", ctypes.c_uint32),
                ("inputs", ctypes.POINTER(Value)),
                ("outputs", ctypes.POINTER(Value)),
                ("weights_size", ctypes.c_uint64), ("weights", POINTER),
                ("plan", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Call),
                                          ctypes.POINTER(SIZE))),
                ("run", ctypes.CFUNCTYPE(ctypes.c_int,
                                         ctypes.POINTER(Call)))]


def tensor(array, dims):
    return Tensor(array.ctypes.data if array is not None else None,
                  array.nbytes if array is not None else 0, dims)


def aligned(size):
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start:start + size]


class Ours:
    def __init__(self, request, inputs):
        library = ctypes.CDLL(request["library"])
        entry = library.bench_model
        entry.restype = ctypes.POINTER(Model)
        self.model = m = entry().contents
        names = [m.inputs[i].name.decode() for i in range(m.num_inputs)]
        self.arrays = [np.ascontiguousarray(inputs[n]) for n in names]
        dims = [(I64 * max(a.ndim, 1))(*a.shape) for a in self.arrays]
        ins = (Tensor * len(dims))(*map(tensor, self.arrays, dims))
        shapes = [(I64 * max(m.outputs[i].rank, 1))()
                  for i in range(m.num_outputs)]
        outs = (Tensor * len(shapes))(*(tensor(None, s) for s in shapes))
        self.call = Call(inputs=ins, outputs=outs, weights=m.weights,
                         workers=1)
        need = SIZE()
        self.check(m.plan(ctypes.byref(self.call), ctypes.byref(need)))
        self.arena = aligned(max(need.value, 64))
        self.call.arena = self.arena.ctypes.data
        self.call.arena_size = need.value
        self.results = [aligned(4 * int(np.prod(s[:m.outputs[i].rank])))
                        .view(np.float32) for i, s in enumerate(shapes)]
        for i, (result, shape) in enumerate(zip(self.results, shapes)):
            outs[i] = tensor(result, shape)
        self.keep = dims, ins, outs, shapes

    @staticmethod
    def check(status):
        if status:
            raise RuntimeError(f"the library reports status {status}")

    def __call__(self):
        self.check(self.model.run(ctypes.byref(self.call)))

    def output(self):
        return self.results[0]

    def facts(self):
        return {"arena": self.arena.nbytes}


class OursThreads:
    """prune-run has a pool of threads, which Python could not be."""

    def __init__(self, request, _):
        self.command = [request["runner"], request["library"], "--inputs",
                        request["base"] + ".npz", f"--threads={THREADS}"]
        self.file = request["library"] + ".npz"
        subprocess.run(self.command + ["-o", self.file], check=True)

    def __call__(self):
        pass

    def output(self):
        values = np.load(self.file)
        return values[values.files[0]]

    def times(self, seconds):
        out = subprocess.run(
            self.command + ["--json", f"--bench={seconds}"], check=True,
            capture_output=True, text=True).stdout
        return [json.loads(out)["min_ms"]]


# ---- the others ----

class Ort:
    def __init__(self, request, inputs):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            request["base"] + ".onnx", options, ["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.inputs = inputs
        for name, array in inputs.items():
            self.binding.bind_cpu_input(name, array)
        name = self.session.get_outputs()[0].name
        self.binding.bind_output(name)
        self()
        self.result = self.binding.copy_outputs_to_cpu()[0]
        self.binding.bind_output(name, "cpu", 0, np.float32,
                                 self.result.shape, self.result.ctypes.data)
        want = request["base"] + ".npy"
        if not os.path.exists(want):
            with open(want + ".new", "wb") as f:
                np.save(f, self.result)
            os.replace(want + ".new", want)

    def __call__(self):
        self.session.run_with_iobinding(self.binding)

    def output(self):
        return self.result


class OpenVino:
    hints = {"INFERENCE_PRECISION_HINT": "f32"}

    def __init__(self, request, inputs):
        import openvino
        core = openvino.Core()
        self.model = core.compile_model(
            core.read_model(request["base"] + ".onnx"), "CPU",
            {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY",
             **self.hints})
        self.request = self.model.create_infer_request()
        self.inputs = inputs
        for name, array in inputs.items():
            self.request.set_tensor(name, openvino.Tensor(array))

    def __call__(self):
        self.request.infer()

    def output(self):
        return self.request.get_output_tensor(0).data


class OpenVinoDefault(OpenVino):
    hints = {}


class DeepSparse:
    def __init__(self, request, inputs):
        from deepsparse import Engine
        self.inputs = list(inputs.values())
        self.engine = Engine(request["base"] + ".onnx", num_cores=THREADS,
                             batch_size=self.inputs[0].shape[0])

    def __call__(self):
        self.result = self.engine.run(self.inputs, val_inp=False)

    def output(self):
        return self.result[0]


class Mnn:
    """With its conversion for sparse weights. (MNN.tools must not be
    imported: it installs packages by itself.)"""

    def __init__(self, request, inputs):
        import MNN
        import _tools
        self.mnn, file = MNN, request["base"] + ".mnn"
        if not os.path.exists(file):
            _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile",
                               request["base"] + ".onnx", "--MNNModel", file,
                               "--bizCode", "x", "--detectSparseSpeedUp"])
        self.net = MNN.Interpreter(file)
        self.session = self.net.createSession(
            {"numThread": THREADS, "precision": "high", "backend": "CPU"})
        self.shape = np.load(request["base"] + ".npy", mmap_mode="r").shape
        for name, array in inputs.items():
            self.give(name, array)

    def give(self, name, array):
        to = self.net.getSessionInput(self.session, name)
        if tuple(to.getShape()) != array.shape:
            self.net.resizeTensor(to, array.shape)
            self.net.resizeSession(self.session)
        kind = (self.mnn.Halide_Type_Float if array.dtype == np.float32
                else self.mnn.Halide_Type_Int)
        if array.dtype != np.float32:
            array = array.astype(np.int32)
        to.copyFrom(self.mnn.Tensor(array.shape, kind, array,
                                    self.mnn.Tensor_DimensionType_Caffe))

    def __call__(self):
        self.net.runSession(self.session)

    def output(self):
        host = self.mnn.Tensor(self.shape, self.mnn.Halide_Type_Float,
                               np.zeros(self.shape, np.float32),
                               self.mnn.Tensor_DimensionType_Caffe)
        self.net.getSessionOutput(self.session).copyToHostTensor(host)
        return np.array(host.getNumpyData())


ENGINES = {"ours": Ours, "ort": Ort, "openvino": OpenVino,
           "openvino-bf16": OpenVinoDefault, "deepsparse": DeepSparse,
           "mnn": Mnn}


# ---- requests ----

def times(run, seconds):
    """Wall and CPU milliseconds of runs that fill `seconds`, at least one."""
    wall, cpu = [], []
    end = time.perf_counter() + seconds
    while True:
        start, before = time.perf_counter(), time.process_time()
        run()
        cpu.append((time.process_time() - before) * 1e3)
        now = time.perf_counter()
        wall.append((now - start) * 1e3)
        if now >= end:
            return wall, cpu


def error(got, want):
    got, want = (np.asarray(a, np.float64).ravel() for a in (got, want))
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def answer(engine, loaded, request):
    if "load" in request:
        start = time.perf_counter()
        with np.load(request["base"] + ".npz") as f:
            inputs = {name: f[name] for name in f.files}
        run = engine(request, inputs)
        run()
        loaded[request["load"]] = run
        facts = run.facts() if hasattr(run, "facts") else {}
        return {"seconds": time.perf_counter() - start, **facts,
                "error": error(run.output(),
                               np.load(request["base"] + ".npy"))}
    if "time" in request:
        run = loaded[request["time"]]
        if hasattr(run, "times"):
            wall = run.times(request["seconds"])
            return {"wall": wall, "cpu": wall}
        wall, cpu = times(run, request["seconds"])
        return {"wall": wall, "cpu": cpu}
    loaded.clear()
    return {}


def serve(name):
    engine = ENGINES[name]
    if name == "ours" and THREADS > 1:
        engine = OursThreads
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what engines print is not an answer
    loaded = {}
    for line in sys.stdin:
        try:
            reply = answer(engine, loaded, json.loads(line))
        except Exception as e:  # pylint: disable=broad-except
            reply = {"failed": f"{type(e).__name__}: {e}"[:300]}
        out.write(json.dumps(reply) + "\n")
        out.flush()


def main():
    global THREADS
    if sys.argv[1] == "--list":
        print(*(name for name, module in MODULES.items()
                if importlib.util.find_spec(module)))
        return
    THREADS = int(sys.argv[2])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS",
                 "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(THREADS)
    os.environ["NM_DISABLE_ANALYTICS"] = "1"
    serve(sys.argv[1])


if __name__ == "__main__":
    main()
