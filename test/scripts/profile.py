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

from im2col import im2col, window_of

BATCHES = (3, 1, 4)  # sizes of the shards
WIDE = 150  # more channels than moments are computed of at a time
CASES = ("a64x128", "b96x256", "c40x200", "d48x192rd", "e128x512",
         "r_pprec_360x120")
SHARE = {"u50": 0.5, "u60": 0.6, "u70": 0.7}
GROUPS = {"n24": (2, 4), "n48": (4, 8)}


def read_profile(path):
    """(value, axis, window) -> (vectors, [mean, variance, |x|, x > 0], blocks of
    moments, mean before, blocks of cross moments)."""
    data = open(path, "rb").read()
    magic, version, n = struct.unpack_from("<8sII", data)
    assert (magic, version) == (b"PRNPROF\n", 2)
    at, found = 32, {}
    for _ in range(n):
        size, axis, c, count, block, axes, same, paired, _ = \
            struct.unpack_from("<IiQQQIIII", data, at)
        at += 48
        window, groups = None, 1
        if axes:
            groups, *rest = struct.unpack_from(f"<{1 + 5 * axes}q", data, at)
            at += 8 * (1 + 5 * axes)
            lists = [tuple(rest[i * axes:(i + 1) * axes]) for i in range(5)]
            window = (*lists, same, groups)
        name = data[at:at + size].decode()
        at += (size + 7) // 8 * 8
        four = np.frombuffer(data, "<f8", 4 * c, at).reshape(4, c)
        at += four.nbytes
        sides = runs(c // groups, block) * groups if block else []
        moments, at = squares(data, sides, at)
        before, cross = None, []
        if paired:
            before = np.frombuffer(data, "<f8", c, at)
            cross, at = squares(data, sides, at + before.nbytes)
        found[name, axis, window] = count, four, moments, before, cross
    assert at + 8 == len(data)
    return found


def squares(data, sides, at):
    found = []
    for n in sides:
        found.append(np.frombuffer(data, "<f8", n * n, at).reshape(n, n))
        at += found[-1].nbytes
    return found, at


def runs(n, block):
    """Sizes of the blocks of n channels."""
    return [min(block, n - i) for i in range(0, n, block)]


def vectors(x, axis, window):
    """[vectors, channels] in double precision."""
    x = np.asarray(x, np.float64)
    if window:
        return im2col(x, window)
    x = np.moveaxis(x, axis, -1)
    return x.reshape(-1, x.shape[-1])


def statistics(x):
    return np.stack([x.mean(0), x.var(0), np.abs(x).mean(0), (x > 0).mean(0)])


def blocks_of(x, y, block, window):
    """Means of x'y for the runs of every group."""
    found, groups = [], window[-1] if window else 1
    for a, b in zip(np.split(x, groups, 1), np.split(y, groups, 1)):
        at = 0
        for run in runs(a.shape[1], min(block, a.shape[1])):
            cut = slice(at, at + run)
            found.append(a[:, cut].T @ b[:, cut] / len(x))
            at += run
    return found


def network(rng):
    """The model, its weights, for each weight the value it is multiplied with
    and the axis of the channels, and all windows: [(value, window)]."""
    weights, nodes, uses, windows = {}, [], {}, []

    def weight(name, *dims):
        weights[name] = rng.normal(0, 0.3, dims).astype(np.float32)
        return name

    def op(kind, inputs, out, **attributes):
        nodes.append(helper.make_node(kind, inputs, [out], name=out + "_node",
                                      **attributes))
        return out

    def constant(name, v):
        weights[name] = np.array(v, np.int64)
        return name

    def use(name, value, axis):
        uses[name] = value, axis

    def look(value, w, window, out, **attributes):
        """A convolution and what it sees; None: the value as it is."""
        op("Conv", [value, w], out, **attributes)
        if w not in uses:
            use(w, value, 1)
        if window:
            windows.append((value, window))

    look("x", weight("conv", 8, 3, 3, 3), window_of((3, 3), pads=(1,) * 4),
         "c0", pads=[1] * 4)
    op("Relu", ["c0"], "r0")
    look("r0", weight("grouped", 12, 2, 3, 3),
         window_of((3, 3), groups=4), "c1", group=4)
    # the same window twice, once by name; and once more through another
    look("r0", weight("wide", 5, 8, 3, 2),
         window_of((3, 2), pads=(1, 0, 1, 1)), "w0", auto_pad="SAME_UPPER")
    look("r0", weight("wide2", 5, 8, 3, 2),
         window_of((3, 2), pads=(1, 0, 1, 1)), "w1", pads=[1, 0, 1, 1])
    look("r0", "wide", window_of((3, 2), (2, 3), (2, 1), (0, 2, 3, 1)), "w2",
         strides=[2, 3], dilations=[2, 1], pads=[0, 2, 3, 1])
    look("r0", weight("same", 3, 8, 4, 3), window_of((4, 3), (2, 2), same=1),
         "w3", auto_pad="SAME_UPPER", strides=[2, 2])
    look("r0", "same", window_of((4, 3), (2, 3), same=2), "w4",
         auto_pad="SAME_LOWER", strides=[2, 3])
    look("r0", weight("depthwise", 8, 1, 3, 3),
         window_of((3, 3), pads=(1,) * 4, groups=8), "w5", group=8,
         pads=[1] * 4)
    look("r0", weight("point", 4, 8, 1, 1), None, "w6", auto_pad="VALID",
         dilations=[2, 2])
    look("r0", "point", window_of((1, 1), (2, 2)), "w7", strides=[2, 2])
    op("Reshape", ["r0", constant("line", [0, 8, 81])], "rows")
    look("rows", weight("one", 4, 8, 5), window_of((5,), (2,), (1,), (4, 1)),
         "w8", strides=[2], pads=[4, 1])
    op("Reshape", ["r0", constant("volume", [0, 4, 2, 9, 9])], "cubes")
    look("cubes", weight("three", 4, 2, 2, 3, 3),
         window_of((2, 3, 3), (1, 2, 1), pads=(1, 1, 0, 0, 1, 2), groups=2),
         "w9", strides=[1, 2, 1], pads=[1, 1, 0, 0, 1, 2], group=2)
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
               for n in ("m1", "m2", "m3", *(f"w{i}" for i in range(10)))]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT,
                                            ["batch", 3, 9, 9])]
    tensors = [numpy_helper.from_array(w, n) for n, w in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors), ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)])
    return model, weights, uses, windows


def channels_of(name, w):
    """The channel of every entry of a weight."""
    i = np.indices(w.shape)
    return {"grouped": lambda: i[1] + 2 * (i[0] // 3),
            "three": lambda: i[1] + 2 * (i[0] // 2),
            "depthwise": lambda: i[0],
            "turned": lambda: i[0], "matmul": lambda: i[0],
            "left": lambda: i[1], "turned_input": lambda: i[0],
            }.get(name, lambda: i[1])()


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
        for n in {n for n, _, _ in names} - have - {"x"}:
            shown.graph.output.append(
                helper.make_tensor_value_info(n, TensorProto.FLOAT, None))
        run = onnxruntime.InferenceSession(shown.SerializeToString(),
                                           providers=["CPUExecutionProvider"])
        outputs = [o.name for o in run.get_outputs()]
        parts = {key: [] for key in names}
        for path in inputs:
            feed = dict(np.load(path))
            values = dict(zip(outputs, run.run(outputs, feed))) | feed
            for n, axis, window in names:
                parts[n, axis, window].append(vectors(values[n], axis, window))
        return {key: np.concatenate(p) for key, p in parts.items()}

    def compare(self, what, got, want, block, convs):
        """convs: values that convolutions see through windows only."""
        self.check(f"{what}: what is observed", set(got) == set(want))
        for key in set(got) & set(want):
            count, four, moments, _, _ = got[key]
            x = want[key]
            self.check(f"{what}: {key} vectors", count == len(x))
            for n, g, w in zip(("mean", "variance", "absolute"), four,
                               statistics(x)):
                self.near(f"{what}: {key} {n}", g, w)
            # near 0 single precision decides the sign
            self.check(f"{what}: {key} positive",
                       np.abs(four[3] - statistics(x)[3]).max() <= 2 / len(x))
            if not block or (key[2] is None and key[0] in convs):
                self.check(f"{what}: {key} has no moments", not moments)
                continue
            moments_of = blocks_of(x, x, block, key[2])
            self.check(f"{what}: {key} blocks",
                       len(moments) == len(moments_of))
            for g, w in zip(moments, moments_of):
                self.near(f"{what}: {key} moments", g, w)

    def pairs(self, path, inputs, now, rng):
        """What values were in a model with another first weight."""
        model = onnx.load(path)
        first = next(t for t in model.graph.initializer if t.name == "conv")
        w = numpy_helper.to_array(first)
        w = w + rng.normal(0, 0.1, w.shape).astype(np.float32)
        first.CopyFrom(numpy_helper.from_array(w, "conv"))
        reference = self.path("reference.onnx")
        onnx.save(model, reference)
        was = self.activations(reference, set(now), inputs)
        for moments, block in (("full", 1 << 62), ("block:20", 20)):
            option = (f"--profile-moments={moments}", "--reference", reference)
            whole = read_profile(self.profile("pair.prof", path, inputs,
                                              *option, "--threads=2"))
            for key, (_, _, blocks, before, cross) in whole.items():
                self.check(f"pairs: {key}", len(blocks) == len(cross))
                if not blocks:
                    continue
                self.near(f"pairs: {key} before", before, was[key].mean(0))
                for g, w in zip(cross, blocks_of(was[key], now[key], block,
                                                 key[2])):
                    self.near(f"pairs: {key} cross", g, w)

    def same(self, what, a, b):
        """But for rounding in double precision."""
        self.check(f"{what}: values", set(a) == set(b))
        for key in a:
            self.check(f"{what}: {key} vectors", a[key][0] == b[key][0])
            self.near(f"{what}: {key}", a[key][1], b[key][1], 1e-13)
            for x, y in zip(a[key][2], b[key][2]):
                self.near(f"{what}: {key} moments", x, y, 1e-13)

    def network(self, rng):
        model, weights, uses, windows = network(rng)
        path = self.path("model.onnx")
        onnx.save(model, path)
        os.mkdir(self.path("data"))
        inputs = []
        for i, n in enumerate(BATCHES):
            inputs.append(self.path(f"data/{i}.npz"))
            np.savez(inputs[-1],
                     x=rng.normal(0.5, 2, (n, 3, 9, 9)).astype(np.float32))
        plain = {(n, axis, None) for n, axis in uses.values()}
        seen = {(n, 1, window) for n, window in windows}
        want = self.activations(path, plain | seen, inputs)
        files = {}
        for moments, block in (("diagonal", 0), ("full", 1 << 62),
                               ("block:20", 20)):
            option = f"--profile-moments={moments}"
            whole = self.profile(f"{moments}.prof", path, inputs, option)
            files[moments] = whole
            self.compare(moments, read_profile(whole),
                         {k: v for k, v in want.items() if block or not k[2]},
                         block, {"x", "rows", "cubes"})
            parts = [self.profile(f"{moments}{i}.prof", path, [p], option,
                                  "--threads=2")
                     for i, p in enumerate(inputs)]
            merged = self.path("merged.prof")
            subprocess.run(["prune-profdata", "merge", *parts, "-o", merged],
                           check=True)
            self.same(f"{moments} merged", read_profile(merged),
                      read_profile(whole))
        self.pairs(path, inputs, want, rng)
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
            if name == "depthwise":
                continue  # left alone unless asked for
            mean, variance = found[*key, None][1][:2]
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
