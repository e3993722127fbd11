"""A small builder of ONNX graphs for our model-making scripts.

Names follow what PyTorch's exporter writes: a node is called by the path of
its module and its operator (/encoder/layer.0/attention/self/MatMul_1), its
output by the node with _output_0, and small constants are Constant nodes. So
the models made here look to the compiler like models from the field."""
from collections import Counter
from contextlib import contextmanager

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

DTYPES = {"float": TensorProto.FLOAT, "int64": TensorProto.INT64}


class Graph:
    def __init__(self, name):
        self.name = name
        self.nodes, self.weights, self.inputs, self.outputs = [], {}, [], []
        self.path = ""
        self.counts = Counter()

    @contextmanager
    def scope(self, name):
        """Nodes made inside belong to module NAME."""
        outer, self.path = self.path, f"{self.path}/{name}"
        yield
        self.path = outer

    def input(self, name, dtype, dims):
        self.inputs.append(helper.make_tensor_value_info(
            name, DTYPES[dtype], dims))
        return name

    def output(self, name, dtype, dims):
        self.outputs.append(helper.make_tensor_value_info(
            name, DTYPES[dtype], dims))

    def op(self, kind, *inputs, out=None, **attributes):
        """Append a node and return its output; OUT names it."""
        base = f"{self.path}/{kind}"
        count = self.counts[base]
        self.counts[base] += 1
        name = f"{base}_{count}" if count else base
        out = out or name + "_output_0"
        self.nodes.append(helper.make_node(
            kind, list(inputs), [out], name=name, **attributes))
        return out

    def const(self, value, dtype=np.float32):
        array = np.asarray(value, dtype)
        return self.op("Constant", value=numpy_helper.from_array(array))

    def weight(self, name, array):
        """A named initializer."""
        self.weights[name] = numpy_helper.from_array(
            np.ascontiguousarray(array), name)
        return name

    def dim(self, x, axis):
        """Dimension AXIS of X as a one-element tensor."""
        size = self.op("Gather", self.op("Shape", x),
                       self.const(axis, np.int64), axis=0)
        return self.op("Unsqueeze", size, self.const([0], np.int64))

    def reshape(self, x, dims):
        """Reshape to DIMS, where a name stands for a tensor from dim()."""
        dims = [d if isinstance(d, str) else self.const([d], np.int64)
                for d in dims]
        return self.op("Reshape", x, self.op("Concat", *dims, axis=0))

    def layer_norm(self, x, weight, bias, epsilon, out=None):
        """As exporters write it below opset 17: nine nodes."""
        centred = self.op("Sub", x, self.op("ReduceMean", x, axes=[-1]))
        square = self.op("Pow", centred, self.const(2))
        variance = self.op("ReduceMean", square, axes=[-1])
        root = self.op("Sqrt", self.op("Add", variance, self.const(epsilon)))
        scaled = self.op("Mul", self.op("Div", centred, root), weight)
        return self.op("Add", scaled, bias, out=out)

    def gelu(self, x):
        """x (1 + erf(x / sqrt 2)) / 2."""
        erf = self.op("Erf", self.op("Div", x, self.const(np.sqrt(2))))
        both = self.op("Mul", x, self.op("Add", erf, self.const(1)))
        return self.op("Mul", both, self.const(0.5))

    def model(self, opset, producer):
        graph = helper.make_graph(self.nodes, self.name, self.inputs,
                                  self.outputs, list(self.weights.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)],
            producer_name=producer, ir_version=8)
        checker.check_model(model, full_check=True)
        return model
