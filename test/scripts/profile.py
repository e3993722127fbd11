"""Check calibration profiles, and what wanda makes of them, against numpy.

usage: profile.py [ORACLE_FOLDER]

Builds a small network with every way in which a weight meets its input, runs it
on random data in ONNX Runtime and in prune-run, and compares every statistic
with numpy's in double precision; then the profiles of shards, merged, with that
of all; then masks. With a folder of reference masks (PRUNE_SHARED/oracle) also
those of the official Wanda code. The last line says how many checks passed."""
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

BATCHES = (3, 1, 4)  # sizes of the shards
WIDE = 150  # more channels than moments are computed of at a time
CASES = ("a64x128", "b96x256", "c40x200", "d48x192rd", "e128x512",
         "r_pprec_360x120")
SHARE = {"u50": 0.5, "u60": 0.6, "u70": 0.7}
GROUPS = {"n24": (2, 4), "n48": (4, 8)}


def read_profile(path):
    """(value, axis) -> (vectors, [mean, variance, |x|, x > 0], moments)."""
    data = open(path, "rb").read()
    magic, version, n = struct.unpack_from("<8sII", data)
    assert (magic, version) == (b"PRNPROF\n", 1)
    at, found = 24, {}
    for _ in range(n):
        size, axis, c, count, flags, _ = struct.unpack_from("<IiQQII", data, at)
        name = data[at + 32:at + 32 + size].decode()
        at += 32 + (size + 7) // 8 * 8
        four = np.frombuffer(data, "<f8", 4 * c, at).reshape(4, c)
        at += four.nbytes
        moments = None
        if flags & 1:
            moments = np.frombuffer(data, "<f8", c * c, at).reshape(c, c)
            at += moments.nbytes
        found[name, axis] = count, four, moments
    assert at + 8 == len(data)
    return found


def vectors(x, axis):
    """[vectors, channels] in double precision."""
    x = np.moveaxis(np.asarray(x, np.float64), axis, -1)
    return x.reshape(-1, x.shape[-1])


def statistics(x):
    return np.stack([x.mean(0), x.var(0), np.abs(x).mean(0), (x > 0).mean(0)])


def network(rng):
    """The model, its weights, and for each weight: the value it is multiplied
    with, the axis of the channels, and how to see it as [outputs, inputs]."""
    weights, nodes, uses = {}, [], {}

    def weight(name, *dims):
        weights[name] = rng.normal(0, 0.3, dims).astype(np.float32)
        return name

    def op(kind, inputs, out, **attributes):
        nodes.append(helper.make_node(kind, inputs, [out], name=out + "_node",
                                      **attributes))
        return out

    def use(name, value, axis):
        uses[name] = value, axis

    op("Conv", ["x", weight("conv", 8, 3, 3, 3)], "c0", pads=[1] * 4)
    use("conv", "x", 1)
    op("Relu", ["c0"], "r0")
    op("Conv", ["r0", weight("grouped", 12, 2, 3, 3)], "c1", group=4)
    use("grouped", "r0", 1)
    op("Add", ["c1", weight("shift", 12, 1, 1)], "shifted")
    op("ConvTranspose", ["shifted", weight("turned", 12, 3, 2, 2)], "c2",
       group=2)
    use("turned", "shifted", 1)
    op("Sigmoid", ["c2"], "s2")
    op("GlobalAveragePool", ["s2"], "pool")
    op("Flatten", ["pool"], "flat")
    op("Gemm", ["flat", weight("gemm", WIDE, 6)], "g0", transB=1)
    use("gemm", "flat", -1)
    op("MatMul", ["flat", weight("matmul", 6, WIDE)], "m0")
    use("matmul", "flat", -1)
    op("Add", ["g0", "m0"], "sum")
    op("Relu", ["sum"], "hidden")
    op("Transpose", [weight("stored", 5, WIDE)], "stored_t", perm=[1, 0])
    op("MatMul", ["hidden", "stored_t"], "m1")
    use("stored", "hidden", -1)
    op("Transpose", ["hidden"], "columns", perm=[1, 0])
    op("MatMul", [weight("left", 7, WIDE), "columns"], "m2")
    use("left", "columns", -2)
    op("Gemm", ["columns", weight("turned_input", WIDE, 4)], "m3", transA=1)
    use("turned_input", "columns", -2)
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None)
               for n in ("m1", "m2", "m3")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                            ["batch", 3, 9, 9])]
    tensors = [numpy_helper.from_array(w, n) for n, w in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors), ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)])
    return model, weights, uses


def channels_of(name, w):
    """The channel of every entry of a weight."""
    i = np.indices(w.shape)
    return {"conv": lambda: i[1],
            "grouped": lambda: i[1] + 2 * (i[0] // 3),
            "turned": lambda: i[0],
            "gemm": lambda: i[1], "matmul": lambda: i[0],
            "stored": lambda: i[1], "left": lambda: i[1],
            "turned_input": lambda: i[0]}[name]()


class Checks:
    def __init__(self, folder):
        self.folder = folder
        self.total = self.bad = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def check(self, what, good):
        self.total += 1
        if not good:
            self.bad += 1
            print("wrong:", what)

    def near(self, what, got, want, rtol=1e-5):
        """Of what single precision computed; the statistics themselves are
        in double precision."""
        error = np.abs(got - want).max() / (np.abs(want).max() or 1)
        self.check(f"{what}: {error:.3g}", got.shape == want.shape and
                   error <= rtol)

    def profile(self, name, model, inputs, *options):
        path = self.path(name)
        subprocess.run(["prune-run", model, "--profile-out", path, *options,
                        *(a for i in inputs for a in ("--inputs", i))],
                       check=True, stdout=subprocess.DEVNULL)
        return path

    def masks(self, model, profile, *passes):
        out = self.path("pruned.onnx")
        subprocess.run(["prune-opt", model, f"--profile={profile}", *passes,
                        "-o", out], check=True)
        return {t.name: numpy_helper.to_array(t) != 0
                for t in onnx.load(out).graph.initializer}

    # ---- statistics ----

    def activations(self, model, names, inputs):
        """ONNX Runtime's values, joined over all inputs as vectors."""
        shown = onnx.load(model)
        have = {o.name for o in shown.graph.output}
        for n in {n for n, _ in names} - have - {"x"}:
            shown.graph.output.append(
                helper.make_tensor_value_info(n, TensorProto.FLOAT, None))
        run = onnxruntime.InferenceSession(shown.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
        outputs = [o.name for o in run.get_outputs()]
        parts = {key: [] for key in names}
        for path in inputs:
            feed = dict(np.load(path))
            values = dict(zip(outputs, run.run(outputs, feed))) | feed
            for n, axis in names:
                parts[n, axis].append(vectors(values[n], axis))
        return {key: np.concatenate(p) for key, p in parts.items()}

    def compare(self, what, got, want):
        self.check(f"{what}: what is observed", set(got) == set(want))
        for key in set(got) & set(want):
            count, four, moments = got[key]
            x = want[key]
            self.check(f"{what}: {key} vectors", count == len(x))
            for n, g, w in zip(("mean", "variance", "absolute"), four,
                               statistics(x)):
                self.near(f"{what}: {key} {n}", g, w)
            # near 0 single precision decides the sign
            self.check(f"{what}: {key} positive",
                       np.abs(four[3] - statistics(x)[3]).max() <= 2 / len(x))
            if moments is not None:
                self.near(f"{what}: {key} moments", moments, x.T @ x / len(x))

    def same(self, what, a, b):
        """But for rounding in double precision."""
        self.check(f"{what}: values", set(a) == set(b))
        for key in a:
            self.check(f"{what}: {key} vectors", a[key][0] == b[key][0])
            self.near(f"{what}: {key}", a[key][1], b[key][1], 1e-13)
            if a[key][2] is not None:
                self.near(f"{what}: {key} moments", a[key][2], b[key][2],
                          1e-13)

    def network(self, rng):
        model, weights, uses = network(rng)
        path = self.path("model.onnx")
        onnx.save(model, path)
        os.mkdir(self.path("data"))
        inputs = []
        for i, n in enumerate(BATCHES):
            inputs.append(self.path(f"data/{i}.npz"))
            np.savez(inputs[-1],
                     x=rng.normal(0.5, 2, (n, 3, 9, 9)).astype(np.float32))
        want = self.activations(path, set(uses.values()), inputs)
        files = {}
        for moments in ("diagonal", "full"):
            option = f"--profile-moments={moments}"
            whole = self.profile(f"{moments}.prof", path, inputs, option)
            files[moments] = whole
            self.compare(moments, read_profile(whole), want)
            parts = [self.profile(f"{moments}{i}.prof", path, [p], option,
                                  "--threads=2")
                     for i, p in enumerate(inputs)]
            merged = self.path("merged.prof")
            subprocess.run(["prune-profdata", "merge", *parts, "-o", merged],
                           check=True)
            self.same(f"{moments} merged", read_profile(merged),
                      read_profile(whole))
        folder = self.profile("folder.prof", path, [self.path("data")])
        self.check("a folder is its files",
                   open(folder, "rb").read() ==
                   open(files["diagonal"], "rb").read())
        self.wanda(path, files["full"], weights, uses)

    # ---- masks ----

    def wanda(self, model, profile, weights, uses):
        """Half of all entries of each weight, by numpy's scores."""
        found = read_profile(profile)
        got = self.masks(model, profile, "--score-wanda",
                         "--select-unstructured=sparsity=0.5")
        for name, key in uses.items():
            _, (mean, variance, _, _), _ = found[key]
            norms = np.sqrt(variance + mean * mean).astype(np.float32)
            w = weights[name]
            score = np.abs(w) * norms[channels_of(name, w)]
            order = np.argsort(score.ravel(), kind="stable")
            keep = np.ones(w.size, bool)
            keep[order[:round(w.size / 2)]] = False
            self.check(f"wanda: {name}",
                       np.array_equal(got[name].ravel(), keep))

    def official(self, oracle, case):
        """Masks of the authors' code."""
        w, x = (np.load(os.path.join(oracle, case, f)) for f in
                ("W.npy", "X.npy"))
        path, data = self.path(f"{case}.onnx"), self.path(f"{case}.npz")
        graph = helper.make_graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                           ["n", w.shape[1]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(w, "w")])
        onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[
            helper.make_opsetid("", 17)]), path)
        np.savez(data, x=x.reshape(-1, w.shape[1]))
        profile = self.profile(f"{case}.prof", path, [data])
        for pattern in (*SHARE, *GROUPS):
            if pattern in SHARE:
                k = int(w.shape[1] * SHARE[pattern])
                select = f"--select-unstructured=count={k},scope=row"
            else:
                select = "--select-nm=n={},m={}".format(*GROUPS[pattern])
            got = self.masks(path, profile, "--score-wanda", select)["w"]
            bits = np.load(os.path.join(oracle, case,
                                        f"wanda.{pattern}.mask.npy"))
            pruned = np.unpackbits(bits, axis=1)[:, :w.shape[1]] == 1
            differ = np.count_nonzero(got == pruned)
            self.check(f"{case} {pattern}: {differ} of {w.size} differ",
                       differ == 0)


def main():
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(folder)
        if len(sys.argv) > 1:
            for case in CASES:
                checks.official(sys.argv[1], case)
        else:
            checks.network(np.random.default_rng(5))
    print(f"{checks.total - checks.bad} of {checks.total} checks passed")
    return checks.bad != 0


if __name__ == "__main__":
    sys.exit(main())
