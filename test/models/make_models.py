"""Small models trained on scikit-learn's digits, with numpy alone.

usage: make_models.py OUT_FOLDER

Makes mlp.onnx, cnn.onnx and transformer.onnx, each with NAME.npz (inputs of
the test set, by input name) and all of them with digits.npz (the labels).
Does nothing where the folder already holds what these scripts make."""
import gzip
import hashlib
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "scripts"))

try:
    import numpy as np
    import onnx
    import onnxruntime
    import autograd as ag
    from onnx_graph import Graph
    if not importlib.util.find_spec("sklearn"):
        raise ImportError("no module named 'sklearn'")
except ImportError as missing:
    print(f"skipped: {missing}; the tests that need the models are, too")
    sys.exit(0)

TRAIN = 1447  # of 1797; the rest is the test set
BATCH = 48


def digits():
    """Images [n,8,8] in 0..1 and labels. Only scikit-learn's data is read:
    its code wants more packages than we install."""
    folder = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    path = os.path.join(folder, "datasets", "data", "digits.csv.gz")
    with gzip.open(path, "rt") as f:
        rows = np.loadtxt(f, delimiter=",", dtype=np.float32)
    order = np.random.default_rng(7).permutation(len(rows))
    return (rows[order, :64].reshape(-1, 8, 8) / 16,
            rows[order, 64].astype(np.int64))


class Net:
    """Parameters by name; forward() builds the graph to differentiate, and
    export() the same one in ONNX."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.params = {}

    def param(self, name, *dims, fan=None, fill=None):
        value = (np.full(dims, fill) if fan is None
                 else self.rng.normal(0, np.sqrt(2 / fan), dims))
        self.params[name] = ag.Var(value)

    def __getitem__(self, name):
        return self.params[name]

    def train(self, images, labels, epochs, rate):
        adam = ag.Adam(list(self.params.values()), rate)
        for epoch in range(epochs):
            adam.rate = rate * (1 - epoch / epochs)
            order = self.rng.permutation(len(images))
            for start in range(0, len(order), BATCH):
                pick = order[start:start + BATCH]
                loss = ag.cross_entropy(self.forward(images[pick]),
                                        labels[pick])
                loss.backward()
                adam.step()

    def weight(self, g, name):
        return g.weight(name, self[name].value)


class MLP(Net):
    SIZES = (64, 48, 32, 10)
    INPUT = (64,)

    def __init__(self):
        super().__init__(seed=1)
        for i, (a, b) in enumerate(zip(self.SIZES, self.SIZES[1:])):
            self.param(f"fc{i}.weight", b, a, fan=a)
            self.param(f"fc{i}.bias", b, fill=0)

    def forward(self, images):
        x = ag.const(images.reshape(len(images), 64))
        for i in range(3):
            x = (x @ self[f"fc{i}.weight"].transpose(1, 0)
                 + self[f"fc{i}.bias"])
            x = ag.relu(x) if i < 2 else x
        return x

    def export(self, g, x):
        for i in range(3):
            with g.scope(f"fc{i}"):
                x = g.op("Gemm", x, self.weight(g, f"fc{i}.weight"),
                         self.weight(g, f"fc{i}.bias"), transB=1,
                         out="logits" if i == 2 else None)
                x = g.op("Relu", x) if i < 2 else x


class CNN(Net):
    """Three convolutions, the last one with a residual, so that the channels
    of two of them can only be removed together."""
    CHANNELS = ((1, 8), (8, 16), (16, 16))
    INPUT = (1, 8, 8)

    def __init__(self):
        super().__init__(seed=2)
        for i, (a, b) in enumerate(self.CHANNELS):
            self.param(f"conv{i}.weight", b, a, 3, 3, fan=9 * a)
            self.param(f"bn{i}.weight", 1, b, 1, 1, fill=1)
            self.param(f"bn{i}.bias", 1, b, 1, 1, fill=0)
        self.param("fc.weight", 10, 64, fan=64)
        self.param("fc.bias", 10, fill=0)
        self.seen = {}

    def block(self, i, x):
        x = ag.conv(x, self[f"conv{i}.weight"])
        self.seen[i] = x.value
        return ag.relu(ag.normalise(x, (0, 2, 3), self[f"bn{i}.weight"],
                                    self[f"bn{i}.bias"]))

    def forward(self, images):
        x = ag.const(images[:, None])
        x = ag.max_pool(self.block(0, x))
        x = self.block(1, x)
        x = ag.max_pool(x + self.block(2, x))
        return (x.reshape(len(images), 64)
                @ self["fc.weight"].transpose(1, 0) + self["fc.bias"])

    def export_block(self, g, i, x):
        seen = self.seen[i]
        with g.scope(f"block{i}"):
            x = g.op("Conv", x, self.weight(g, f"conv{i}.weight"),
                     kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
            stats = [self[f"bn{i}.weight"].value.ravel(),
                     self[f"bn{i}.bias"].value.ravel(),
                     seen.mean((0, 2, 3)), seen.var((0, 2, 3))]
            names = ("weight", "bias", "running_mean", "running_var")
            x = g.op("BatchNormalization", x,
                     *(g.weight(f"bn{i}.{n}", s)
                       for n, s in zip(names, stats)), epsilon=1e-5)
            return g.op("Relu", x)

    def export(self, g, x):
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        self.forward(self.images)  # BatchNormalization's constants
        x = g.op("MaxPool", self.export_block(g, 0, x), **pool)
        x = self.export_block(g, 1, x)
        x = g.op("Add", x, self.export_block(g, 2, x))
        x = g.op("Flatten", g.op("MaxPool", x, **pool), axis=1)
        g.op("Gemm", x, self.weight(g, "fc.weight"),
             self.weight(g, "fc.bias"), transB=1, out="logits")

    def train(self, images, labels, epochs, rate):
        self.images = images
        super().train(images, labels, epochs, rate)


class Transformer(Net):
    """Rows of the image are tokens; two layers of four heads, as an exporter
    writes them."""
    WIDTH, HEADS, HIDDEN, LAYERS = 32, 4, 64, 2
    INPUT = (8, 8)

    def __init__(self):
        super().__init__(seed=3)
        w = self.WIDTH
        self.linear_params("embed", 8, w)
        self.param("positions", 8, w, fan=2 * w)
        for i in range(self.LAYERS):
            for name in ("query", "key", "value", "out"):
                self.linear_params(f"layer{i}.{name}", w, w)
            self.linear_params(f"layer{i}.up", w, self.HIDDEN)
            self.linear_params(f"layer{i}.down", self.HIDDEN, w)
            for name in ("norm1", "norm2"):
                self.param(f"layer{i}.{name}.weight", w, fill=1)
                self.param(f"layer{i}.{name}.bias", w, fill=0)
        self.linear_params("classifier", w, 10)

    def linear_params(self, name, a, b):
        self.param(name + ".weight", a, b, fan=2 * a)
        self.param(name + ".bias", b, fill=0)

    def linear(self, name, x):
        return x @ self[name + ".weight"] + self[name + ".bias"]

    def norm(self, name, x):
        return ag.normalise(x, (2,), self[name + ".weight"],
                            self[name + ".bias"])

    def attention(self, layer, x):
        n, size = len(x.value), self.WIDTH // self.HEADS

        def heads(name, *perm):
            y = self.linear(f"{layer}.{name}", x)
            return y.reshape(n, 8, self.HEADS, size).transpose(*perm)
        score = heads("query", 0, 2, 1, 3) @ heads("key", 0, 2, 3, 1)
        share = ag.softmax(score * ag.const(1 / np.sqrt(size)))
        mixed = (share @ heads("value", 0, 2, 1, 3)).transpose(0, 2, 1, 3)
        return self.linear(layer + ".out", mixed.reshape(n, 8, self.WIDTH))

    def forward(self, images):
        x = self.linear("embed", ag.const(images)) + self["positions"]
        for i in range(self.LAYERS):
            layer = f"layer{i}"
            x = self.norm(layer + ".norm1", x + self.attention(layer, x))
            y = ag.gelu(self.linear(layer + ".up", x))
            x = self.norm(layer + ".norm2", x + self.linear(layer + ".down",
                                                            y))
        x = ag.mean(x, (1,)).reshape(len(images), self.WIDTH)
        return self.linear("classifier", x)

    def export_linear(self, g, name, x, out=None):
        with g.scope(name.split(".")[-1]):
            x = g.op("MatMul", x, self.weight(g, name + ".weight"))
            return g.op("Add", x, self.weight(g, name + ".bias"), out=out)

    def export_norm(self, g, name, x):
        with g.scope(name.split(".")[-1]):
            return g.layer_norm(x, self.weight(g, name + ".weight"),
                                self.weight(g, name + ".bias"), 1e-5)

    def export_attention(self, g, layer, x):
        size = self.WIDTH // self.HEADS

        def heads(name, *perm):
            y = self.export_linear(g, f"{layer}.{name}", x)
            split = g.reshape(y, [g.dim(y, 0), g.dim(y, 1), self.HEADS, size])
            return g.op("Transpose", split, perm=list(perm))
        q, k = heads("query", 0, 2, 1, 3), heads("key", 0, 2, 3, 1)
        v = heads("value", 0, 2, 1, 3)
        score = g.op("Div", g.op("MatMul", q, k), g.const(np.sqrt(size)))
        mixed = g.op("MatMul", g.op("Softmax", score, axis=-1), v)
        mixed = g.op("Transpose", mixed, perm=[0, 2, 1, 3])
        joined = g.reshape(mixed, [g.dim(mixed, 0), g.dim(mixed, 1),
                                   self.WIDTH])
        return self.export_linear(g, layer + ".out", joined)

    def export(self, g, x):
        x = self.export_linear(g, "embed", x)
        x = g.op("Add", x, self.weight(g, "positions"))
        for i in range(self.LAYERS):
            layer = f"layer{i}"
            with g.scope(layer):
                y = g.op("Add", x, self.export_attention(g, layer, x))
                x = self.export_norm(g, layer + ".norm1", y)
                y = g.gelu(self.export_linear(g, layer + ".up", x))
                y = self.export_linear(g, layer + ".down", y)
                x = self.export_norm(g, layer + ".norm2", g.op("Add", x, y))
        x = g.op("ReduceMean", x, axes=[1], keepdims=0)
        self.export_linear(g, "classifier", x, out="logits")


def stamp():
    digest = hashlib.sha256()
    for name in ("make_models.py", "autograd.py",
                 "../../scripts/onnx_graph.py"):
        with open(os.path.join(HERE, name), "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()


def make(net, name, out, images, labels, epochs, rate):
    net.train(images[:TRAIN], labels[:TRAIN], epochs, rate)
    g = Graph(name)
    x = g.input("image", "float", ["batch", *net.INPUT])
    net.export(g, x)
    g.output("logits", "float", ["batch", 10])
    model = g.model(opset=14, producer="prune scripts")
    onnx.save(model, os.path.join(out, name + ".onnx"))
    inputs = images[TRAIN:].reshape(-1, *net.INPUT)
    np.savez(os.path.join(out, name + ".npz"), image=inputs)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    logits = session.run(None, {"image": inputs})[0]
    accuracy = (logits.argmax(1) == labels[TRAIN:]).mean()
    print(f"{name}: {accuracy:.1%} of {len(inputs)} digits")
    if accuracy < 0.93:
        sys.exit(f"{name} did not learn")


def main():
    out = sys.argv[1]
    done = os.path.join(out, "stamp")
    os.makedirs(out, exist_ok=True)
    if os.path.exists(done):
        with open(done, encoding="utf-8") as f:
            if f.read() == stamp():
                return
    images, labels = digits()
    np.savez(os.path.join(out, "digits.npz"), labels=labels[TRAIN:])
    make(MLP(), "mlp", out, images, labels, epochs=30, rate=3e-3)
    make(CNN(), "cnn", out, images, labels, epochs=10, rate=4e-3)
    make(Transformer(), "transformer", out, images, labels, epochs=20,
         rate=4e-3)
    with open(done, "w", encoding="utf-8") as f:
        f.write(stamp())


if __name__ == "__main__":
    main()
