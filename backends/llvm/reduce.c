/* mem.reduce: sums, products, maxima and minima along some dimensions.
 *
 * The nest has the kept dimensions first. When the elements of one result lie
 * side by side, vectors run along the reduction and are folded at its end;
 * otherwise they run along the last kept dimension and every lane is a result
 * of its own. Either way the order of the additions depends on the shape and
 * the vector width, never on the number of workers. */
#include <math.h>

#include "backends/llvm/emit.h"

enum { CHUNK = 256 }; /* results of one item, when they are the lanes */

typedef struct plan {
  prn_nest nest;
  unsigned kept; /* dimensions in front */
  bool across;   /* lanes are results */
} plan;

static plan plan_of(const prn_kernel *k) {
  const prn_type *types[PRN_KERNEL_MAX];
  plan p = {.kept = 0};
  uint32_t axes = prn_nest_axes(k->op);
  for (unsigned i = 0; i < k->n; i++)
    types[i] = k->v[i].type;
  prn_nest_init(k->e->ctx, &p.nest, types, k->n, 0, axes);
  const prn_nest *n = &p.nest;
  /* A scalar, or a nest whose only dimension was kept from being dropped. */
  while (p.kept < n->rank && !(axes >> n->axis[p.kept] & 1))
    p.kept++;
  const prn_dim *in = n->strides[0];
  bool side_by_side = p.kept < n->rank && prn_dim_is(in[n->rank - 1], 1);
  p.across = p.kept > 0 && !side_by_side && prn_dim_is(in[p.kept - 1], 1);
  return p;
}

static prn_dtype dtype(const prn_kernel *k) {
  return k->v[k->n - 1].type->dtype;
}

static prn_scalar fn_of(const prn_op *op) {
  prn_str fn = prn_op_string(op, "fn", "");
  return prn_str_is(fn, "sum")    ? PRN_SCALAR_add
         : prn_str_is(fn, "prod") ? PRN_SCALAR_mul
                                  : prn_scalar_find(fn);
}

static prn_status check(const prn_op *op) {
  const prn_block *b = prn_op_block(op, "body");
  const prn_value *out = prn_op_operand(op, op->num_operands - 1);
  prn_scalar f = fn_of(op);
  if (f != PRN_SCALAR_add && f != PRN_SCALAR_mul && f != PRN_SCALAR_max &&
      f != PRN_SCALAR_min)
    return prn_op_error(op, "expected fn sum, prod, max or min");
  if (op->num_operands < 2 || (!b && op->num_operands != 2))
    return prn_op_error(op, "expected one input, or a body");
  if (!b && prn_op_operand(op, 0)->type->dtype != out->type->dtype)
    return prn_op_error(op, "expected input and result of one element type");
  if (prn_nest_indices(b))
    return prn_op_error(op, "the body of a reduction has no positions");
  return prn_body_check(op, b);
}

/* The neutral element, as a vector. */
static prn_v neutral(prn_kernel *k, unsigned lanes) {
  prn_dtype d = dtype(k);
  prn_t t = prn_cg_vec(prn_elem_value(k->g, d), lanes);
  prn_scalar f = fn_of(k->op);
  bool max = f == PRN_SCALAR_max, extremum = max || f == PRN_SCALAR_min;
  if (prn_dtype_is_float(d)) {
    double inf = (double)INFINITY;
    return prn_cg_fconst(t, extremum ? max ? -inf : inf : f == PRN_SCALAR_mul);
  }
  if (!extremum) return prn_cg_iconst(t, f == PRN_SCALAR_mul);
  bool sign = d == PRN_I8 || d == PRN_I16 || d == PRN_I32 || d == PRN_I64;
  if (!sign) return prn_cg_iconst(t, max ? 0 : -1);
  int64_t low = -(INT64_C(1) << (prn_dtype_bits(d) - 2)) * 2;
  return prn_cg_iconst(t, max ? low : -(low + 1));
}

/* ---- items ---- */

static prn_v product(prn_kernel *k, const plan *p, unsigned begin,
                     unsigned end) {
  prn_v n = cg_i64(k->g, 1);
  for (unsigned i = begin; i < end; i++)
    n = prn_cg_mul(k->g, n, prn_emit_dim(k->e, p->nest.dims[i]));
  return n;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  plan p = plan_of(k);
  prn_v all = product(k, &p, 0, p.nest.rank);
  *work = prn_cg_mul(g, prn_cg_div(g, all, cg_i64(g, g->target->lanes)),
                     cg_i64(g, 4));
  if (!p.across) return product(k, &p, 0, p.kept);
  prn_v last = prn_emit_dim(k->e, p.nest.dims[p.kept - 1]);
  return prn_cg_mul(g, product(k, &p, 0, p.kept - 1),
                    prn_cg_ceildiv(g, last, cg_i64(g, CHUNK)));
}

/* ---- bodies ---- */

typedef struct state {
  prn_kernel *k;
  plan p;
  prn_v index[PRN_EMIT_RANK];
  prn_v vector, scalar; /* accumulators in memory */
  unsigned lanes;       /* of the chunk being reduced, across */
  prn_v mask;
} state;

static prn_v fold(prn_cg *g, prn_v a, prn_v b, void *user) {
  const state *s = user;
  return prn_body_apply(g, fn_of(s->k->op), dtype(s->k), a, b);
}

static prn_v address(state *s, unsigned operand) {
  prn_kernel *k = s->k;
  prn_cg *g = k->g;
  prn_v at = cg_i64(g, 0);
  for (unsigned i = 0; i < s->p.nest.rank; i++)
    if (s->index[i])
      at = prn_cg_add(
          g, at,
          prn_cg_mul(g, s->index[i],
                     prn_emit_dim(k->e, s->p.nest.strides[operand][i])));
  return prn_elem_at(g, k->v[operand].type->dtype, k->v[operand].base, at);
}

/* body(ins) at the current position, lanes along dimension `axis`. */
static prn_v value(state *s, unsigned axis, unsigned lanes, prn_v mask) {
  prn_kernel *k = s->k;
  prn_v args[PRN_KERNEL_MAX], out;
  const prn_block *b = prn_op_block(k->op, "body");
  for (unsigned i = 0; i + 1 < k->n; i++) {
    prn_v step = prn_emit_dim(k->e, s->p.nest.strides[i][axis]);
    args[i] = prn_elem_load(k->g, k->v[i].type->dtype, address(s, i), step,
                            lanes, mask);
  }
  if (!b) return args[0];
  prn_body_emit(k->e, b, args, lanes, NULL, NULL, &out);
  return out;
}

static void accumulate(state *s, prn_v v, prn_v at) {
  prn_cg *g = s->k->g;
  prn_v old = LLVMBuildLoad2(g->b, LLVMTypeOf(v), at, "");
  LLVMBuildStore(g->b, fold(g, old, v, s), at);
}

static void along_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  state *s = user;
  unsigned last = s->p.nest.rank - 1;
  s->index[last] = i;
  prn_v v = value(s, last, lanes, mask);
  if (mask) v = cg_select(g, mask, v, neutral(s->k, lanes));
  accumulate(s, v, lanes == 1 ? s->scalar : s->vector);
}

/* Loops over the reduced dimensions from `axis` on. */
static void reduce_from(state *s, unsigned axis) {
  prn_kernel *k = s->k;
  prn_cg *g = k->g;
  if (axis == s->p.nest.rank) {
    accumulate(s, value(s, s->p.across ? s->p.kept - 1 : 0, s->lanes, s->mask),
               s->lanes == 1 ? s->scalar : s->vector);
    return;
  }
  prn_v n = prn_emit_dim(k->e, s->p.nest.dims[axis]);
  if (!s->p.across && axis + 1 == s->p.nest.rank) {
    prn_cg_vloop(g, n, g->target->lanes, along_step, s);
    return;
  }
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), n, 1, NULL, 0);
  s->index[axis] = l.iv;
  reduce_from(s, axis + 1);
  prn_loop_end(g, &l);
}

static void reset(state *s, unsigned lanes) {
  prn_cg *g = s->k->g;
  LLVMBuildStore(g->b, neutral(s->k, lanes),
                 lanes == 1 ? s->scalar : s->vector);
}

static void forget_reduced(state *s) {
  for (unsigned i = s->p.kept; i < s->p.nest.rank; i++)
    s->index[i] = NULL;
}

static void across_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                        void *user) {
  state *s = user;
  unsigned last = s->p.kept - 1;
  prn_v start = s->index[last];
  s->index[last] = prn_cg_add(g, start, i);
  s->lanes = lanes;
  s->mask = mask;
  reset(s, lanes);
  reduce_from(s, s->p.kept);
  forget_reduced(s);
  unsigned out = s->k->n - 1;
  prn_t t = prn_cg_vec(prn_elem_value(g, dtype(s->k)), lanes);
  prn_v v = LLVMBuildLoad2(g->b, t, lanes == 1 ? s->scalar : s->vector, "");
  prn_v step = prn_emit_dim(s->k->e, s->p.nest.strides[out][last]);
  prn_elem_store(g, dtype(s->k), v, address(s, out), step, lanes, mask);
  s->index[last] = start;
}

/* Splits an item into the kept indices; across: the last one is a start. */
static void locate(state *s, prn_v item) {
  prn_kernel *k = s->k;
  prn_cg *g = k->g;
  unsigned n = s->p.kept;
  if (s->p.across) {
    prn_v last = prn_emit_dim(k->e, s->p.nest.dims[n - 1]);
    prn_v chunks = prn_cg_ceildiv(g, last, cg_i64(g, CHUNK));
    s->index[n - 1] =
        prn_cg_mul(g, prn_cg_mod(g, item, chunks), cg_i64(g, CHUNK));
    item = prn_cg_div(g, item, chunks);
    n--;
  }
  for (unsigned i = n; i-- > 0;) {
    prn_v d = prn_emit_dim(k->e, s->p.nest.dims[i]);
    s->index[i] = i ? prn_cg_mod(g, item, d) : item;
    if (i) item = prn_cg_div(g, item, d);
  }
}

static void body(prn_kernel *k) {
  prn_cg *g = k->g;
  state s = {.k = k, .p = plan_of(k), .lanes = 1};
  prn_t e = prn_elem_value(g, dtype(k));
  prn_t v = prn_cg_vec(e, g->target->lanes);
  s.scalar = prn_cg_alloca(g, e, 8);
  s.vector = prn_cg_alloca(g, v, 64);
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  locate(&s, l.iv);
  if (s.p.across) {
    unsigned last = s.p.kept - 1;
    prn_v n =
        prn_cg_sub(g, prn_emit_dim(k->e, s.p.nest.dims[last]), s.index[last]);
    prn_cg_vloop(g, prn_cg_min(g, n, cg_i64(g, CHUNK)), g->target->lanes,
                 across_step, &s);
  } else {
    reset(&s, 1);
    reset(&s, g->target->lanes);
    reduce_from(&s, s.p.kept);
    forget_reduced(&s);
    prn_v whole =
        prn_fold_lanes(g, fold, &s, LLVMBuildLoad2(g->b, v, s.vector, ""));
    whole = fold(g, whole, LLVMBuildLoad2(g->b, e, s.scalar, ""), &s);
    prn_elem_store(g, dtype(k), whole, address(&s, k->n - 1), cg_i64(g, 1), 1,
                   NULL);
  }
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_reduce = {check, items, body, NULL};
