/* Normalisation across lanes that are rows; see columns.h.
 *
 * An item is VECTORS vectors of neighbouring rows. It is read two or three
 * times, each time from the first position to the last: what one item reads
 * stays in the second-level cache for the next pass. Every row is added up in
 * the order of its positions. */
#include "backends/llvm/columns.h"

#include <math.h>

#include "backends/llvm/vecmath.h"

enum { VECTORS = 2 };

static unsigned rank(const prn_kernel *k) {
  return (unsigned)k->v[PRN_ROWS_OUT].type->rank;
}

static bool present(const prn_kernel *k, unsigned operand) {
  return operand < k->n && k->v[operand].type;
}

/* The normalised dimension is the nest's last, the rows the one before. The
 * output is the nest's last view, so x and out change places. */
static prn_nest nest_of(const prn_kernel *k) {
  const prn_type *types[4];
  unsigned n = 0;
  prn_nest nest;
  for (unsigned o = PRN_ROWS_SCALE; o < k->n; o++)
    if (present(k, o)) types[n++] = k->v[o].type;
  types[n++] = k->v[PRN_ROWS_X].type;
  types[n++] = k->v[PRN_ROWS_OUT].type;
  uint32_t last = UINT32_C(1) << (rank(k) - 1);
  prn_nest_init(k->e->ctx, &nest, types, n, last, last);
  return nest;
}

/* The nest's view of an operand. */
static unsigned view(const prn_kernel *k, const prn_nest *n, unsigned operand) {
  if (operand == PRN_ROWS_OUT) return n->views - 1;
  if (operand == PRN_ROWS_X) return n->views - 2;
  return operand == PRN_ROWS_BIAS && present(k, PRN_ROWS_SCALE);
}

bool prn_columns_fit(const prn_kernel *k) {
  if (rank(k) < 2) return false;
  prn_nest n = nest_of(k);
  unsigned last = n.rank - 1;
  const prn_dim *x = n.strides[n.views - 2], *out = n.strides[n.views - 1];
  if (n.rank < 2 || n.axis[last] != (int)rank(k) - 1) return false;
  return prn_dim_is(x[last - 1], 1) && prn_dim_is(out[last - 1], 1) &&
         !prn_dim_is(x[last], 1);
}

/* ---- items ---- */

static prn_v blocks(prn_kernel *k, const prn_nest *n) {
  return prn_cg_ceildiv(k->g, prn_emit_dim(k->e, n->dims[n->rank - 2]),
                        cg_i64(k->g, VECTORS * k->g->target->lanes));
}

prn_v prn_columns_items(prn_kernel *k, prn_v *work, unsigned cost) {
  prn_cg *g = k->g;
  prn_nest n = nest_of(k);
  prn_v items = blocks(k, &n);
  for (unsigned i = 0; i + 2 < n.rank; i++)
    items = prn_cg_mul(g, items, prn_emit_dim(k->e, n.dims[i]));
  prn_v length = prn_emit_dim(k->e, n.dims[n.rank - 1]);
  *work = prn_cg_mul(g, prn_cg_mul(g, items, length),
                     cg_i64(g, (int64_t)cost * VECTORS));
  return items;
}

/* ---- the rows of one pass ---- */

typedef struct columns {
  prn_kernel *k;
  prn_cg *g;
  const prn_nest *nest;
  prn_v base[4];  /* of every operand, at the first row */
  prn_v step[4];  /* from one position to the next */
  prn_v cross[4]; /* from one row to the next */
  prn_v length;
  unsigned n, lanes; /* vectors, and rows in one of them */
  prn_v first, mask; /* row of lane 0 of vector 0 */
  prn_v max[VECTORS], mean[VECTORS], scale[VECTORS];
  bool log;
} columns;

static prn_dtype dtype(const columns *c) {
  return c->k->v[PRN_ROWS_X].type->dtype;
}

static prn_t type_of(const columns *c) {
  return prn_cg_vec(prn_elem_value(c->g, dtype(c)), c->lanes);
}

static prn_v address(const columns *c, unsigned operand, prn_v i, unsigned v) {
  prn_cg *g = c->g;
  prn_v row = prn_cg_add(g, c->first, cg_i64(g, (int64_t)v * c->lanes));
  prn_v at = prn_cg_add(g, prn_cg_mul(g, i, c->step[operand]),
                        prn_cg_mul(g, row, c->cross[operand]));
  return prn_elem_at(g, dtype(c), c->base[operand], at);
}

static prn_v load(const columns *c, unsigned operand, prn_v i, unsigned v) {
  return prn_elem_load(c->g, dtype(c), address(c, operand, i, v),
                       c->cross[operand], c->lanes, c->mask);
}

static void store(const columns *c, prn_v x, prn_v i, unsigned v) {
  prn_elem_store(c->g, dtype(c), x, address(c, PRN_ROWS_OUT, i, v),
                 c->cross[PRN_ROWS_OUT], c->lanes, c->mask);
}

/* What one position adds to the accumulator of vector v. */
typedef prn_v step_fn(const columns *c, prn_v i, unsigned v, prn_v acc);

static void pass(const columns *c, step_fn *step, double start, prn_v *acc) {
  prn_loop l;
  for (unsigned v = 0; v < c->n; v++)
    acc[v] = prn_cg_fconst(type_of(c), start);
  prn_loop_begin(c->g, &l, cg_i64(c->g, 0), c->length, 1, acc, c->n);
  for (unsigned v = 0; v < c->n; v++)
    l.next[v] = step(c, l.iv, v, l.cur[v]);
  prn_loop_end(c->g, &l);
  for (unsigned v = 0; v < c->n; v++)
    acc[v] = l.out[v];
}

/* ---- softmax ---- */

static prn_v larger(const columns *c, prn_v i, unsigned v, prn_v acc) {
  return prn_vm_max(c->g, load(c, PRN_ROWS_X, i, v), acc);
}

/* exp(x - max), kept in out when that is what out needs. */
static prn_v add_exp(const columns *c, prn_v i, unsigned v, prn_v acc) {
  prn_v x = cg_fsub(c->g, load(c, PRN_ROWS_X, i, v), c->max[v]);
  x = prn_vm_exp(c->g, x);
  if (!c->log) store(c, x, i, v);
  return cg_fadd(c->g, acc, x);
}

static prn_v finish_softmax(const columns *c, prn_v i, unsigned v, prn_v acc) {
  prn_cg *g = c->g;
  prn_v x = load(c, c->log ? PRN_ROWS_X : PRN_ROWS_OUT, i, v);
  x = c->log ? cg_fsub(g, cg_fsub(g, x, c->max[v]), c->scale[v])
             : cg_fmul(g, x, c->scale[v]);
  store(c, x, i, v);
  return acc;
}

static void softmax(columns *c) {
  prn_v sum[VECTORS], none[VECTORS];
  pass(c, larger, -(double)INFINITY, c->max);
  pass(c, add_exp, 0, sum);
  for (unsigned v = 0; v < c->n; v++)
    c->scale[v] =
        c->log ? prn_vm_log(c->g, sum[v]) : prn_vm_reciprocal(c->g, sum[v]);
  pass(c, finish_softmax, 0, none);
}

/* ---- layer and RMS normalisation ---- */

static prn_v centred(const columns *c, prn_v i, unsigned v) {
  prn_v x = load(c, PRN_ROWS_X, i, v);
  return c->mean[v] ? cg_fsub(c->g, x, c->mean[v]) : x;
}

static prn_v add_x(const columns *c, prn_v i, unsigned v, prn_v acc) {
  return cg_fadd(c->g, acc, load(c, PRN_ROWS_X, i, v));
}

static prn_v add_square(const columns *c, prn_v i, unsigned v, prn_v acc) {
  prn_v x = centred(c, i, v);
  return prn_cg_fma(c->g, x, x, acc);
}

static prn_v finish_norm(const columns *c, prn_v i, unsigned v, prn_v acc) {
  prn_cg *g = c->g;
  prn_v y = cg_fmul(g, centred(c, i, v), c->scale[v]);
  if (present(c->k, PRN_ROWS_SCALE))
    y = cg_fmul(g, y, load(c, PRN_ROWS_SCALE, i, v));
  if (present(c->k, PRN_ROWS_BIAS))
    y = cg_fadd(g, y, load(c, PRN_ROWS_BIAS, i, v));
  store(c, y, i, v);
  return acc;
}

static void norm(columns *c) {
  prn_cg *g = c->g;
  bool rms = prn_op_int(c->k->op, "rms", 0) != 0;
  double epsilon = (double)prn_op_float(c->k->op, "epsilon", 0);
  prn_t t = type_of(c);
  prn_v n = LLVMBuildSIToFP(g->b, c->length, prn_cg_elem(t), "");
  prn_v acc[VECTORS] = {NULL};
  n = prn_cg_splat(g, n, c->lanes);
  if (!rms) pass(c, add_x, 0, acc);
  for (unsigned v = 0; v < c->n; v++)
    c->mean[v] = rms ? NULL : cg_fdiv(g, acc[v], n);
  pass(c, add_square, 0, acc);
  for (unsigned v = 0; v < c->n; v++) {
    prn_v var = cg_fdiv(g, acc[v], n);
    c->scale[v] = prn_vm_rsqrt(g, cg_fadd(g, var, prn_cg_fconst(t, epsilon)));
  }
  pass(c, finish_norm, 0, acc);
}

/* ---- items ---- */

typedef struct walk {
  columns c;
  void (*rows)(columns *c);
} walk;

static void tail_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  const walk *w = user;
  columns c = w->c;
  c.first = prn_cg_add(g, c.first, i);
  c.n = 1;
  c.lanes = lanes;
  c.mask = mask;
  w->rows(&c);
}

/* Addresses of the item's first row; returns its number of rows. */
static prn_v locate(columns *c, prn_v item) {
  prn_kernel *k = c->k;
  prn_cg *g = c->g;
  const prn_nest *n = c->nest;
  int64_t width = VECTORS * (int64_t)g->target->lanes, known;
  prn_v per = blocks(k, n), rows = prn_emit_dim(k->e, n->dims[n->rank - 2]);
  prn_v at[4], index[PRN_EMIT_RANK];
  c->first = prn_cg_mul(g, prn_cg_mod(g, item, per), cg_i64(g, width));
  item = prn_cg_div(g, item, per);
  for (unsigned a = n->rank - 2; a-- > 0;) {
    prn_v d = prn_emit_dim(k->e, n->dims[a]);
    index[a] = a ? prn_cg_mod(g, item, d) : item;
    if (a) item = prn_cg_div(g, item, d);
  }
  for (unsigned o = 0; o < 4; o++) {
    if (!present(k, o)) continue;
    const prn_dim *s = n->strides[view(k, n, o)];
    at[o] = cg_i64(g, 0);
    for (unsigned a = 0; a + 2 < n->rank; a++)
      at[o] = prn_cg_add(g, at[o],
                         prn_cg_mul(g, index[a], prn_emit_dim(k->e, s[a])));
    c->base[o] = prn_elem_at(g, dtype(c), k->v[o].base, at[o]);
    c->cross[o] = prn_emit_dim(k->e, s[n->rank - 2]);
    c->step[o] = prn_emit_dim(k->e, s[n->rank - 1]);
  }
  if (prn_cg_is_const(rows, &known) && known % width == 0)
    return cg_i64(g, width);
  return prn_cg_min(g, prn_cg_sub(g, rows, c->first), cg_i64(g, width));
}

/* All vectors of a whole block at once, those of a part one by one. */
static void each_item(prn_kernel *k, void (*rows)(columns *c)) {
  prn_cg *g = k->g;
  prn_nest nest = nest_of(k);
  walk w = {.rows = rows};
  w.c = (columns){.k = k, .g = g, .nest = &nest};
  w.c.log = prn_op_int(k->op, "log", 0) != 0;
  w.c.length = prn_emit_dim(k->e, nest.dims[nest.rank - 1]);
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  prn_v count = locate(&w.c, l.iv);
  LLVMBasicBlockRef whole = prn_cg_block(g, "whole"),
                    part = prn_cg_block(g, "part"),
                    join = prn_cg_block(g, "join");
  prn_v width = cg_i64(g, VECTORS * (int64_t)g->target->lanes);
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntEQ, count, width), whole, part);
  LLVMPositionBuilderAtEnd(g->b, whole);
  columns c = w.c;
  c.n = VECTORS;
  c.lanes = g->target->lanes;
  rows(&c);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, part);
  prn_cg_vloop(g, count, g->target->lanes, tail_step, &w);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, join);
  prn_loop_end(g, &l);
}

void prn_columns_softmax(prn_kernel *k) { each_item(k, softmax); }

void prn_columns_norm(prn_kernel *k) { each_item(k, norm); }
