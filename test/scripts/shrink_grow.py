"""Whole graphs of the steps of shrink_layers.py and shrink_moves.py."""
import numpy as np

import shrink_graphs
import shrink_layers
import shrink_moves  # noqa: F401 (its steps)

# ---- whole graphs ----

def project(g, x):
    """Ends in few numbers, so that what comes before can shrink."""
    if x.rank == 4 and g.dtype == "f4" and g.chance(0.5):
        return g.op("Conv", x, g.weight(2, x.shape[1], 1, 1), g.weight(2))
    if x.rank == 2 and g.chance(0.5):
        return g.op("Gemm", x, g.weight(3, x.shape[1]), g.weight(3), transB=1)
    if x.rank > 2 and g.chance(0.4):
        n = int(np.prod(x.shape[1:]))
        f = g.op("Flatten", x) if g.chance(0.5) else g.op(
            "Reshape", x, g.ints([x.shape[0], -1]))
        return g.op("MatMul", f, g.weight(n, 3))
    if x.rank > 1:
        return g.op("MatMul", x, g.weight(x.shape[-1], 3))
    return x.name


def grow(rng, opset, dtype, is_open, steps):
    """A graph with that many steps; None where nothing came of it."""
    g = shrink_graphs.Graph(rng, opset, dtype, is_open)
    rank = g.pick([4, 4, 3, 2]) if dtype == "f4" else g.pick([3, 2])
    shapes = {4: (g.size(1, 2), 3, g.size(2, 5), g.size(2, 5)),
              3: (2, g.size(2, 4), g.size(2, 5)), 2: (g.size(1, 3), 4)}
    g.input(*shapes[rank])
    (shrink_layers.conv if rank == 4 else shrink_layers.linear)(g)
    some = [s for s in shrink_graphs.STEPS if s[1] <= opset]
    p = np.array([s[0] for s in some])
    for _ in range(steps):
        at = rng.choice(len(some), p=p / p.sum())
        some[at][2](g)
        g.values = [v for v in g.values
                    if v.rank and np.prod(v.shape) <= 3000]
    used = {i for n in g.nodes for i in n.input}
    ends = [v for v in g.values if v.name not in used and v.name[0] == "v"]
    for v in ends[-4:]:
        g.outputs.append(project(g, v))
    if g.chance(0.15):
        extra = g.value()
        if extra.name not in g.outputs and extra.name[0] == "v":
            g.outputs.append(extra.name)
    return g if g.outputs else None
