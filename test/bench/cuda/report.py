"""Tables and goals from what the benchmark of the CUDA backend measured.

    report.py FILE.jsonl…

Times are of one product, in graphs that are replayed. Goals are ratios of times
on the same machine: the geometric mean over the shapes and numbers of rows, and
the least of them (the floor).
"""
import json
import math
import sys

FEW = 16              # rows up to which models take kernels for few rows
SPARSE_LIBRARY = 256  # from which on they take cuSPARSELt for 2:4
BITMAP = 64           # beyond which they keep weights without structure dense
LARGE_TILE = 128      # of large kernels, rows and columns
BLOCK_TILE = (256, 64)  # rows and columns of the one for blocks
WRONG = 1e-2          # relative L2 error of what does not count
LT, SLT = "cuBLASLt", "cuSPARSELt"
SLT_RUN = "cuSPARSELt by the runtime"
SP_RUN = "cuSPARSE by the runtime"


def read(names):
    rows = []
    for name in names:
        with open(name, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                try:
                    rows.append(json.loads(line))
                except ValueError:  # the last one, of a part that was stopped
                    print(f"{name}:{number}: no row", file=sys.stderr)
    return rows


class Products:
    """Times in microseconds, by type, format (of blocks with their size),
    zeros, shape, rows and way."""

    def __init__(self, rows):
        self.rows = [r for r in rows if r["row"] == "product"]
        self.us = {self.key(r) + (r["way"],): r["us"]
                   for r in self.rows if "us" in r and r["error"] <= WRONG}
        self.shapes = sorted({(r["n"], r["k"]) for r in self.rows})
        self.ms = sorted({r["m"] for r in self.rows})

    @staticmethod
    def key(r):
        form = f"{r['format']}{r.get('block') or ''}"
        return (r["type"], form, r["zeros"], (r["n"], r["k"]), r["m"])

    def dense(self, kind, shape, m):
        return self.us.get((kind, "nk", 0, shape, m, LT))

    def way(self, kind, form, zeros, shape, m, way):
        return self.us.get((kind, form, zeros, shape, m, way))

    def own(self, kind, form, zeros, shape, m):
        """The fastest kernel of ours."""
        found = [us for (*key, way), us in self.us.items()
                 if key == [kind, form, zeros, shape, m]
                 and not way.startswith("cu")]
        return min(found, default=None)

    def best(self, kind, form, zeros, shape, m):
        """The fastest that a model can do, its tuning included."""
        found = [self.own(kind, form, zeros, shape, m),
                 self.way(kind, form, zeros, shape, m, SLT_RUN)]
        return min((us for us in found if us), default=None)

    def planned(self, kind, form, zeros, shape, m, processors):
        """What a model does that was not tuned, as backends/cuda/product.c and
        nn-plan-cuda have it; what is missing is done by the next. (Of
        cuSPARSELt the time is known after tuning only.)"""
        blocks = form.startswith("bsr")
        rows, columns = BLOCK_TILE if blocks else (LARGE_TILE, LARGE_TILE)
        small = processors // -(-shape[0] // columns) * rows
        if m <= FEW:
            ways = ["few_bsr" if blocks else f"few_{form}"]
        elif blocks:
            ways = ["linear_bsr_small"] * (m <= small) + ["linear_bsr"]
        elif form == "bitmap":
            ways = ["linear_bitmap"] if m <= BITMAP else []
        elif form == "nk":
            return self.dense(kind, shape, m)
        else:
            ways = [SLT_RUN] * (m >= SPARSE_LIBRARY)
            ways += ["linear_nm24_small"] * (m <= small)
            ways += ["linear_nm24_sm90", "linear_nm24"]
        for way in ways:
            us = self.way(kind, form, zeros, shape, m, way)
            if us:
                return us
        return None if form != "bitmap" or m <= BITMAP else \
            self.dense(kind, shape, m)


def ratios(over, under):
    return [a / b for a, b in zip(over, under) if a and b]


def goals(p, kind, processors):
    """(id, what, goal, floor, ratios)."""
    def each(ms, over, under):
        pairs = [(over(s, m), under(s, m)) for s in p.shapes for m in ms]
        return ratios(*zip(*pairs)) if pairs else []

    def dense(s, m):
        return p.dense(kind, s, m)

    def nm24(get):
        return lambda s, m: get(kind, "nm24", 50, s, m)

    def by(form, zeros, way):
        return lambda s, m: p.way(kind, form, zeros, s, m, way)

    def bits(zeros):
        return lambda s, m: p.own(kind, "bitmap", zeros, s, m)

    def blocks(zeros, side):
        return lambda s, m: p.own(kind, f"bsr{side}", zeros, s, m)

    slt = by("nm24", 50, SLT)
    middle = [m for m in p.ms if 16 <= m <= 128]
    yield ("G1", "cuSPARSELt itself / by the runtime, M=512,2048", 0.98, 0.95,
           each([512, 2048], slt, by("nm24", 50, SLT_RUN)))
    yield ("G2", "cuBLASLt / 2:4, M=2048", 1.45, 1.25,
           each([2048], dense, nm24(p.best)))
    yield ("G4", "cuSPARSELt / our 2:4, M=2048", 0.80, 0.70,
           each([2048], slt, nm24(p.own)))
    yield ("G5", "cuBLASLt / our 2:4, M=1,16", 1.45, 1.30,
           each([1, 16], dense, nm24(p.own)))
    yield ("G6", "cuSPARSELt / our 2:4, M=16..128", 1.20, 1.00,
           each(middle, slt, nm24(p.own)))
    yield ("G7", "cuBLASLt / our 50 %, M=1,16", 1.25, 1.10,
           each([1, 16], dense, bits(50)))
    for zeros, goal, floor in ((60, 1.45, 1.2), (70, 1.75, 1.4),
                               (90, 2.5, 2.0)):
        yield ("G8", f"cuBLASLt / our {zeros} %, M=16", goal, floor,
               each([16], dense, bits(zeros)))
    for side in (64, 32):
        for zeros, goal, floor in ((80, 2.5, 2.0), (90, 4.0, 3.2)):
            yield ("G10", f"cuBLASLt / our {zeros} % in blocks of {side}, M=2048",
                   goal, floor, each([2048], dense, blocks(zeros, side)))
    library, own = [], []
    for side in (64, 32):
        for zeros in (80, 90):
            pairs = [(p.way(kind, f"bsr{side}", zeros, s, 2048, SP_RUN),
                      p.own(kind, f"bsr{side}", zeros, s, 2048))
                     for s in p.shapes]
            library += [a for a, _ in pairs]
            own += [b for _, b in pairs]
    yield ("G10", "cuSPARSE / our blocks, M=2048", 1.0, 1.0,
           ratios(library, own))
    every = []
    for form, zeros in ([("nk", 0), ("nm24", 50)]
                        + [("bitmap", z) for z in (50, 60, 70, 90)]
                        + [(f"bsr{b}", z) for b in (64, 32) for z in (80, 90)]):
        every += each(p.ms, dense, lambda s, m, f=form, z=zeros: p.planned(
            kind, f, z, s, m, processors))
    yield ("G11", "cuBLASLt / what is planned, any row", 0.98, 0.95, every)


def print_goals(p, processors):
    print("\nGoals: geometric mean and least of the ratios")
    print(f"{'':5}{'type':6}{'':48}{'mean':>7}{'goal':>7}{'least':>7}"
          f"{'floor':>7}{'of':>4}")
    for kind in ("bf16", "f16"):
        for name, what, goal, floor, found in goals(p, kind, processors):
            head = f"{name:5}{kind:6}{what:48}"
            if not found:
                print(f"{head}{'-':>7}{goal:7.2f}{'-':>7}{floor:7.2f}   0  "
                      "not measured")
                continue
            mean = math.exp(sum(map(math.log, found)) / len(found))
            # The mean of what never is slower says little: the least does.
            met = min(found) >= floor and mean >= goal
            print(f"{head}{mean:7.3f}{goal:7.2f}{min(found):7.3f}{floor:7.2f}"
                  f"{len(found):4}  {'met' if met else 'MISSED'}")


def print_products(p):
    for kind in ("bf16", "f16"):
        rows = [r for r in p.rows if r["type"] == kind]
        if not rows:
            continue
        print(f"\nProducts, {kind}: us of one, spread (10 to 90 %), times as "
              "fast as the libraries")
        print(f"{'n x k':>12}{'m':>6} {'format':11}{'way':27}{'us':>10}"
              f"{'spread':>8}{'TFLOP/s':>9}{'GB/s':>7}{'cuBLASLt':>10}"
              f"{'cuSPARSELt':>11}{'MHz':>6}")
        for r in sorted(rows, key=Products.key):
            print_product(p, r)


def print_product(p, r):
    kind, form, zeros, shape, m = Products.key(r)
    name = (f"{zeros} %" if form == "bitmap"
            else f"{form} {zeros} %" if form.startswith("bsr") else form)
    head = (f"{f'{shape[0]}x{shape[1]}':>12}{m:6} {name:11}"
            f"{r['way']:27}")
    if "us" not in r:
        print(f"{head}{'-':>10}  not done: reason {r['skipped']}, "
              f"code {r['code']}")
        return
    us = r["us"]
    flops = 2 * shape[0] * shape[1] * m / us / 1e6
    moved = (r["bytes"] + 2 * m * (shape[0] + shape[1])) / us / 1e3
    others = [p.dense(kind, shape, m), p.way(kind, "nm24", 50, shape, m, SLT)]
    text = [f"{t / us:.2f}" if t else "-" for t in others]
    print(f"{head}{us:10.2f}{r['spread']:8.1%}{flops:9.1f}{moved:7.0f}"
          f"{text[0]:>10}{text[1]:>11}{r['mhz']:6}"
          f"{'' if r['error'] <= WRONG else '  WRONG'}")


def print_machine(rows):
    for r in rows:
        if r["row"] in ("machine", "copy", "dense", "library", "late"):
            print("  ".join(f"{k} {v}" for k, v in r.items() if k != "row"))


def print_checks(rows):
    checks = [r for r in rows if r["row"] == "check"]
    if not checks:
        return
    done = [r for r in checks if "ok" in r]
    bad = [r for r in done if not r["ok"]]
    print(f"\nChecks: {len(done)} products against sums in double precision, "
          f"{len(bad)} wrong, {len(checks) - len(done)} not done")
    for r in bad:
        print(f"  WRONG: {r}")
    for way in sorted({r["way"] for r in checks}):
        worst = [r["worst"] for r in done if r["way"] == way]
        left = sum(1 for r in checks if r["way"] == way and "ok" not in r)
        print(f"  {way:28} largest error {max(worst, default=0):.3f} of what "
              f"is allowed; {len(worst)} done, {left} not")


def print_models(rows):
    models = [r for r in rows if r["row"] == "model"]
    for r in models:
        print(f"\n{r['model']}: {r['us']:.1f} us as planned, spread "
              f"{r['spread']:.1%}, {r['tuned_us']:.1f} tuned; {r['steps']} "
              f"steps, {r['kernels_us']:.1f} us by themselves; "
              f"{r['own_us']:.1f} us by our kernels alone, tuned; relative L2 "
              f"error {r['error']}, tuned {r['tuned_error']}, alone "
              f"{r['own_error']}; {r['mhz']} MHz"
              f"{'' if r['ok'] else '; WRONG'}")
        ratio = r["tuned_us"] / r["kernels_us"]
        print(f"G12  {'a run / the sum of its kernels':40}{ratio:7.3f}"
              f"   1.03  {'met' if ratio <= 1.03 else 'MISSED'}")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    rows = read(sys.argv[1:])
    print_machine(rows)
    print_checks(rows)
    print_models(rows)
    p = Products(rows)
    if p.rows:
        machine = next((r for r in rows if r["row"] == "machine"), {})
        print_products(p)
        print_goals(p, machine.get("multiprocessors") or 132)


if __name__ == "__main__":
    main()
