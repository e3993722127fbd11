"""Reverse-mode differentiation over numpy, as much as the test models need."""
import numpy as np
from scipy.special import erf


class Var:
    """A value, its gradient, and how to pass the gradient on."""

    def __init__(self, value, parents=(), back=None):
        self.value = np.asarray(value, np.float32)
        self.parents, self.back = parents, back
        self.grad = None

    def __add__(self, other):
        return Var(self.value + other.value, (self, other),
                   lambda g: (g, g))

    def __mul__(self, other):
        return Var(self.value * other.value, (self, other),
                   lambda g: (g * other.value, g * self.value))

    def __matmul__(self, other):
        a, b = self.value, other.value
        return Var(a @ b, (self, other),
                   lambda g: (g @ b.swapaxes(-1, -2), a.swapaxes(-1, -2) @ g))

    def reshape(self, *dims):
        shape = self.value.shape
        return Var(self.value.reshape(dims), (self,),
                   lambda g: (g.reshape(shape),))

    def transpose(self, *perm):
        return Var(self.value.transpose(perm), (self,),
                   lambda g: (g.transpose(np.argsort(perm)),))

    def backward(self):
        order, seen = [], set()

        def visit(v):
            if id(v) not in seen:
                seen.add(id(v))
                for p in v.parents:
                    visit(p)
                order.append(v)
        visit(self)
        for v in order:
            v.grad = np.zeros_like(v.value)
        self.grad = np.ones_like(self.value)
        for v in reversed(order):
            if v.back:
                for p, g in zip(v.parents, v.back(v.grad)):
                    p.grad += unbroadcast(g, p.value.shape)


def unbroadcast(g, shape):
    """Sum G over the axes along which a value of SHAPE was repeated."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 != g.shape[i])
    return g.sum(axis=axes, keepdims=True)


def const(value):
    return Var(value)


def mean(x, axes):
    count = np.prod([x.value.shape[a] for a in axes])
    return Var(x.value.mean(axis=axes, keepdims=True), (x,),
               lambda g: (np.broadcast_to(g / count, x.value.shape),))


def power(x, p):
    return Var(x.value ** p, (x,), lambda g: (g * p * x.value ** (p - 1),))


def relu(x):
    return Var(np.maximum(x.value, 0), (x,), lambda g: (g * (x.value > 0),))


def gelu(x):
    half = 0.5 * (1 + erf(x.value / np.sqrt(2)))
    slope = half + x.value * np.exp(-x.value ** 2 / 2) / np.sqrt(2 * np.pi)
    return Var(x.value * half, (x,), lambda g: (g * slope,))


def softmax(x):
    e = np.exp(x.value - x.value.max(-1, keepdims=True))
    s = e / e.sum(-1, keepdims=True)
    return Var(s, (x,), lambda g: (s * (g - (g * s).sum(-1, keepdims=True)),))


def normalise(x, axes, scale, shift, epsilon=1e-5):
    """(x - mean) / sqrt(variance), scaled and shifted."""
    centred = x + mean(x, axes) * const(-1)
    spread = mean(centred * centred, axes) + const(epsilon)
    return centred * power(spread, -0.5) * scale + shift


def windows(x, size):
    """Patches of size × size around every pixel of [n,c,h,w], as rows."""
    n, c, h, w = x.value.shape
    pad = size // 2
    wide = np.pad(x.value, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    patches = np.lib.stride_tricks.sliding_window_view(
        wide, (size, size), axis=(2, 3))
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1)

    def back(g):
        g = g.reshape(n, h, w, c, size, size)
        out = np.zeros_like(wide)
        for i in range(size):
            for j in range(size):
                out[:, :, i:i + h, j:j + w] += (
                    g[..., i, j].transpose(0, 3, 1, 2))
        return (out[:, :, pad:pad + h, pad:pad + w],)
    return Var(rows, (x,), back)


def conv(x, w):
    """Same-size convolution of [n,c,h,w] with [o,c,k,k]."""
    n, _, h, wide = x.value.shape
    o, c, k, _ = w.value.shape
    rows = windows(x, k) @ w.reshape(o, c * k * k).transpose(1, 0)
    return rows.reshape(n, h, wide, o).transpose(0, 3, 1, 2)


def max_pool(x):
    """2 × 2 maxima; where two are equal the gradient goes to both."""
    n, c, h, w = x.value.shape
    cells = x.value.reshape(n, c, h // 2, 2, w // 2, 2)
    top = cells.max(axis=(3, 5), keepdims=True)
    return Var(top.reshape(n, c, h // 2, w // 2), (x,), lambda g: (
        ((cells == top) * g.reshape(top.shape)).reshape(x.value.shape),))


def cross_entropy(logits, labels):
    s = softmax(logits).value
    rows = np.arange(len(labels))

    def back(g):
        d = s.copy()
        d[rows, labels] -= 1
        return (g * d / len(labels),)
    return Var(-np.log(s[rows, labels] + 1e-12).mean(), (logits,), back)


class Adam:
    def __init__(self, params, rate):
        self.params, self.rate, self.t = params, rate, 0
        self.m = [np.zeros_like(p.value) for p in params]
        self.v = [np.zeros_like(p.value) for p in params]

    def step(self):
        self.t += 1
        for i, p in enumerate(self.params):
            self.m[i] = 0.9 * self.m[i] + 0.1 * p.grad
            self.v[i] = 0.999 * self.v[i] + 0.001 * p.grad ** 2
            m = self.m[i] / (1 - 0.9 ** self.t)
            v = self.v[i] / (1 - 0.999 ** self.t)
            p.value = p.value - np.float32(self.rate) * m / (np.sqrt(v) + 1e-8)
