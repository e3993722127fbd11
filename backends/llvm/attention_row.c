/* Attention of one query; see attention_row.h. Keys come in blocks, as in
 * attention.c; the largest score and the sum are scalars here. */
#include "backends/llvm/attention_row.h"

#include <math.h>

#include "backends/llvm/vecmath.h"

enum {
  Q = PRN_ATTENTION_Q,
  K = PRN_ATTENTION_K,
  V = PRN_ATTENTION_V,
  OUT = PRN_ATTENTION_OUT,
  EXTRAS = PRN_ATTENTION_EXTRAS
};
enum { KEYS = 512, WIDE = 8 }; /* keys of a block; vectors at once */

static int64_t last_size(const prn_op *op, unsigned operand) {
  const prn_type *t = prn_op_operand(op, operand)->type;
  int64_t n;
  return prn_dim_is_const(t->dims[t->rank - 1], &n) ? n : -1;
}

bool prn_attention_row_fit(const prn_op *op) {
  const prn_type *out = prn_op_operand(op, OUT)->type;
  if (!prn_dim_is(out->dims[out->rank - 2], 1)) return false;
  for (unsigned o = K; o <= V; o++) {
    const prn_type *t = prn_op_operand(op, o)->type;
    if (!prn_dim_is(t->strides[t->rank - 1], 1) &&
        !prn_dim_is(t->strides[t->rank - 2], 1))
      return false;
  }
  return true;
}

static int64_t rounded(const prn_target *t, int64_t n) {
  return (n + t->lanes - 1) / t->lanes * t->lanes;
}

int64_t prn_attention_row_scratch(const prn_target *t, const prn_op *op) {
  return rounded(t, last_size(op, Q)) + rounded(t, last_size(op, V)) + KEYS;
}

typedef struct line {
  prn_kernel *k;
  prn_cg *g;
  unsigned r, lanes;
  const prn_v *base, *lead;
  prn_v q, p, o;          /* scratch */
  prn_v j0, keys;         /* the block */
  prn_v vector, scalar;   /* accumulators in memory */
  prn_v max, sum, factor; /* of all blocks so far; scalars */
} line;

static prn_v stride(const line *t, unsigned operand, unsigned from_end) {
  return t->k->v[operand].strides[t->r - from_end];
}

static bool unit(const line *t, unsigned operand, unsigned from_end) {
  int64_t s;
  return prn_cg_is_const(stride(t, operand, from_end), &s) && s == 1;
}

/* Address of row `row` of K or V, counted from the block's first key. */
static prn_v row_at(const line *t, unsigned operand, prn_v key, prn_v col) {
  prn_cg *g = t->g;
  prn_v at = prn_cg_mul(g, prn_cg_add(g, t->j0, key), stride(t, operand, 2));
  at = prn_cg_add(g, at, prn_cg_mul(g, col, stride(t, operand, 1)));
  return cg_at(g, g->f32, t->base[operand], at);
}

/* ---- folding into accumulators in memory ---- */

static prn_v larger(prn_cg *g, prn_v a, prn_v b, void *user) {
  (void)user;
  return cg_select(g, cg_fcmp(g, LLVMRealOGT, a, b), a, b);
}

static prn_v sum_of(prn_cg *g, prn_v a, prn_v b, void *user) {
  (void)user;
  return cg_fadd(g, a, b);
}

static void reset(const line *t, double neutral) {
  LLVMBuildStore(t->g->b, prn_cg_fconst(t->g->vf, neutral), t->vector);
  LLVMBuildStore(t->g->b, prn_cg_fconst(t->g->f32, neutral), t->scalar);
}

static void accumulate(const line *t, prn_fold_fn *fold, prn_v x, prn_v mask,
                       double neutral) {
  prn_cg *g = t->g;
  prn_t type = LLVMTypeOf(x);
  prn_v at = prn_cg_lanes(type) == 1 ? t->scalar : t->vector;
  if (mask) x = cg_select(g, mask, x, prn_cg_fconst(type, neutral));
  LLVMBuildStore(g->b, fold(g, x, LLVMBuildLoad2(g->b, type, at, ""), NULL),
                 at);
}

static prn_v folded(const line *t, prn_fold_fn *fold) {
  prn_cg *g = t->g;
  prn_v v = LLVMBuildLoad2(g->b, g->vf, t->vector, "");
  return fold(g, prn_fold_lanes(g, fold, NULL, v),
              LLVMBuildLoad2(g->b, g->f32, t->scalar, ""), NULL);
}

/* ---- products ---- */

typedef struct dot {
  line *t;
  prn_v a, b;
} dot;

static void dot_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  const dot *d = user;
  prn_t type = prn_cg_vec(g->f32, lanes);
  prn_v a = prn_cg_load_masked(g, type, cg_at(g, g->f32, d->a, i), mask);
  prn_v b = prn_cg_load_masked(g, type, cg_at(g, g->f32, d->b, i), mask);
  prn_v at = lanes == 1 ? d->t->scalar : d->t->vector;
  prn_v old = LLVMBuildLoad2(g->b, type, at, "");
  LLVMBuildStore(g->b, prn_cg_fma(g, a, b, old), at);
}

/* Sum over i < n of a[i] b[i]. */
static prn_v product(line *t, prn_v a, prn_v b, prn_v n) {
  dot d = {t, a, b};
  reset(t, 0);
  prn_cg_vloop(t->g, n, t->lanes, dot_step, &d);
  return folded(t, sum_of);
}

/* c[i..] = start + sum over r < rows of s[r] b[r * pitch + i..], for n
 * vectors. */
static void columns(line *t, prn_v s, prn_v b, prn_v pitch, prn_v rows, prn_v c,
                    prn_v factor, prn_v i, unsigned n, unsigned lanes,
                    prn_v mask) {
  prn_cg *g = t->g;
  prn_t type = prn_cg_vec(g->f32, lanes);
  prn_v acc[WIDE], at[WIDE];
  for (unsigned v = 0; v < n; v++) {
    at[v] = prn_cg_add(g, i, cg_i64(g, (int64_t)v * lanes));
    acc[v] = LLVMConstNull(type);
    if (factor)
      acc[v] = cg_fmul(
          g, prn_cg_splat(g, factor, lanes),
          prn_cg_load_masked(g, type, cg_at(g, g->f32, c, at[v]), mask));
  }
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, acc, n);
  prn_v x = prn_cg_load(g, g->f32, cg_at(g, g->f32, s, l.iv));
  prn_v row = cg_at(g, g->f32, b, prn_cg_mul(g, l.iv, pitch));
  x = prn_cg_splat(g, x, lanes);
  for (unsigned v = 0; v < n; v++)
    l.next[v] = prn_cg_fma(
        g, x, prn_cg_load_masked(g, type, cg_at(g, g->f32, row, at[v]), mask),
        l.cur[v]);
  prn_loop_end(g, &l);
  for (unsigned v = 0; v < n; v++)
    prn_cg_store_masked(g, l.out[v], cg_at(g, g->f32, c, at[v]), mask);
}

typedef struct table {
  line *t;
  prn_v s, b, pitch, rows, c, factor, begin;
} table;

static void columns_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                         void *user) {
  const table *m = user;
  columns(m->t, m->s, m->b, m->pitch, m->rows, m->c, m->factor,
          prn_cg_add(g, m->begin, i), 1, lanes, mask);
}

/* The same for n columns: WIDE vectors at a time, the rest one by one. */
static void all_columns(table m, prn_v n) {
  line *t = m.t;
  prn_cg *g = t->g;
  int64_t wide = WIDE * (int64_t)t->lanes;
  prn_v whole =
      prn_cg_mul(g, prn_cg_div(g, n, cg_i64(g, wide)), cg_i64(g, wide));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), whole, wide, NULL, 0);
  columns(t, m.s, m.b, m.pitch, m.rows, m.c, m.factor, l.iv, WIDE, t->lanes,
          NULL);
  prn_loop_end(g, &l);
  m.begin = whole;
  prn_cg_vloop(g, prn_cg_sub(g, n, whole), t->lanes, columns_step, &m);
}

/* ---- one block of keys ---- */

static void scores(line *t) {
  prn_cg *g = t->g;
  prn_v zero = cg_i64(g, 0), depth = cg_i64(g, last_size(t->k->op, Q));
  if (unit(t, K, 2)) {
    all_columns((table){.t = t,
                        .s = t->q,
                        .b = row_at(t, K, zero, zero),
                        .pitch = stride(t, K, 1),
                        .rows = depth,
                        .c = t->p},
                t->keys);
    return;
  }
  prn_loop l;
  prn_loop_begin(g, &l, zero, t->keys, 1, NULL, 0);
  prn_v x = product(t, t->q, row_at(t, K, l.iv, zero), depth);
  prn_cg_store(g, x, cg_at(g, g->f32, t->p, l.iv));
  prn_loop_end(g, &l);
}

static void weighted(line *t) {
  prn_cg *g = t->g;
  prn_v zero = cg_i64(g, 0), size = cg_i64(g, last_size(t->k->op, V));
  if (unit(t, V, 1)) {
    all_columns((table){.t = t,
                        .s = t->p,
                        .b = row_at(t, V, zero, zero),
                        .pitch = stride(t, V, 2),
                        .rows = t->keys,
                        .c = t->o,
                        .factor = t->factor},
                size);
    return;
  }
  prn_loop l;
  prn_loop_begin(g, &l, zero, size, 1, NULL, 0);
  prn_v x = product(t, t->p, row_at(t, V, zero, l.iv), t->keys);
  prn_v at = cg_at(g, g->f32, t->o, l.iv);
  prn_v old = cg_fmul(g, prn_cg_load(g, g->f32, at), t->factor);
  prn_cg_store(g, cg_fadd(g, old, x), at);
  prn_loop_end(g, &l);
}

typedef struct position {
  const line *t;
  prn_v i; /* key, from the block's first */
} position;

static prn_v index_value(prn_emit *e, void *user, int64_t dim, unsigned lanes) {
  const position *p = user;
  const line *t = p->t;
  if (dim + 1 == t->r)
    return prn_elem_iota(e->g, prn_cg_add(e->g, t->j0, p->i), lanes);
  if (dim + 2 == t->r) return prn_cg_splat(e->g, cg_i64(e->g, 0), lanes);
  return prn_cg_splat(e->g, t->lead[dim], lanes);
}

/* The body, and the largest score. */
static void score_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  line *t = user;
  const prn_block *b = prn_op_block(t->k->op, "body");
  prn_v args[PRN_KERNEL_MAX], at = cg_at(g, g->f32, t->p, i), out;
  out = args[0] = prn_cg_load_masked(g, prn_cg_vec(g->f32, lanes), at, mask);
  if (b) {
    for (unsigned x = EXTRAS; x < t->k->n; x++) {
      prn_dtype d = t->k->v[x].type->dtype;
      prn_v j = prn_cg_mul(g, prn_cg_add(g, t->j0, i), stride(t, x, 1));
      args[1 + x - EXTRAS] = prn_elem_load(
          g, d, prn_elem_at(g, d, t->base[x], j), stride(t, x, 1), lanes, mask);
    }
    position p = {t, i};
    prn_body_emit(t->k->e, b, args, lanes, index_value, &p, &out);
    prn_cg_store_masked(g, out, at, mask);
  }
  accumulate(t, larger, out, mask, -(double)INFINITY);
}

static void exp_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  line *t = user;
  prn_v at = cg_at(g, g->f32, t->p, i);
  prn_v x = prn_cg_load_masked(g, prn_cg_vec(g->f32, lanes), at, mask);
  x = prn_vm_exp_down(g, cg_fsub(g, x, prn_cg_splat(g, t->max, lanes)));
  prn_cg_store_masked(g, x, at, mask);
  accumulate(t, sum_of, x, mask, 0);
}

/* As in attention.c: a largest score of -infinity counts as 0. */
static void soften(line *t, prn_v old_max, prn_v old_sum, prn_v *max) {
  prn_cg *g = t->g;
  prn_v none = prn_cg_fconst(g->f32, -(double)INFINITY);
  reset(t, -(double)INFINITY);
  prn_cg_vloop(g, t->keys, t->lanes, score_step, t);
  *max = larger(g, folded(t, larger), old_max, NULL);
  t->max = cg_select(g, cg_fcmp(g, LLVMRealOEQ, *max, none),
                     LLVMConstNull(g->f32), *max);
  t->factor = prn_vm_exp_down(g, cg_fsub(g, old_max, t->max));
  reset(t, 0);
  prn_cg_vloop(g, t->keys, t->lanes, exp_step, t);
  t->sum = prn_cg_fma(g, old_sum, t->factor, folded(t, sum_of));
}

/* ---- the head ---- */

static void copy_query(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  const line *t = user;
  prn_v s = stride(t, Q, 1);
  prn_v from = cg_at(g, g->f32, t->base[Q], prn_cg_mul(g, i, s));
  prn_v x = prn_elem_load(g, PRN_F32, from, s, lanes, mask);
  prn_cg_store_masked(g, x, cg_at(g, g->f32, t->q, i), mask);
}

static void clear(prn_cg *g, prn_v i, unsigned lanes, prn_v mask, void *user) {
  const line *t = user;
  prn_cg_store_masked(g, LLVMConstNull(prn_cg_vec(g->f32, lanes)),
                      cg_at(g, g->f32, t->o, i), mask);
}

static void write_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  const line *t = user;
  prn_v s = stride(t, OUT, 1);
  prn_v x = prn_cg_load_masked(g, prn_cg_vec(g->f32, lanes),
                               cg_at(g, g->f32, t->o, i), mask);
  x = cg_fmul(g, x, prn_cg_splat(g, t->factor, lanes));
  prn_elem_store(g, PRN_F32, x,
                 cg_at(g, g->f32, t->base[OUT], prn_cg_mul(g, i, s)), s, lanes,
                 mask);
}

static void write(line *t) {
  prn_cg *g = t->g;
  prn_v n = t->k->v[K].dims[t->r - 2], none = LLVMConstNull(g->f32);
  t->factor = cg_fdiv(g, prn_cg_fconst(g->f32, 1), t->sum);
  if (prn_op_int(t->k->op, "zero_hidden", 0) != 0)
    t->factor =
        cg_select(g, cg_fcmp(g, LLVMRealOEQ, t->sum, none), none, t->factor);
  t->factor =
      cg_select(g, cg_cmp(g, LLVMIntEQ, n, cg_i64(g, 0)), none, t->factor);
  prn_cg_vloop(g, cg_i64(g, last_size(t->k->op, V)), t->lanes, write_step, t);
}

void prn_attention_row(prn_kernel *k, const prn_v *base, const prn_v *lead,
                       prn_v scratch) {
  prn_cg *g = k->g;
  int64_t depth = last_size(k->op, Q), size = last_size(k->op, V);
  line t = {.k = k,
            .g = g,
            .lanes = g->target->lanes,
            .base = base,
            .lead = lead,
            .r = (unsigned)k->v[OUT].type->rank};
  t.p = scratch;
  t.q = cg_at(g, g->f32, t.p, cg_i64(g, KEYS));
  t.o = cg_at(g, g->f32, t.q, cg_i64(g, rounded(g->target, depth)));
  t.vector = prn_cg_alloca(g, g->vf, 64);
  t.scalar = prn_cg_alloca(g, g->f32, 8);
  prn_cg_vloop(g, cg_i64(g, depth), t.lanes, copy_query, &t);
  prn_cg_vloop(g, cg_i64(g, size), t.lanes, clear, &t);
  prn_v n = k->v[K].dims[t.r - 2];
  prn_v init[2] = {prn_cg_fconst(g->f32, -(double)INFINITY),
                   LLVMConstNull(g->f32)};
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), n, KEYS, init, 2);
  t.j0 = l.iv;
  t.keys = prn_cg_min(g, prn_cg_sub(g, n, l.iv), cg_i64(g, KEYS));
  scores(&t);
  soften(&t, l.cur[0], l.cur[1], &l.next[0]);
  weighted(&t);
  l.next[1] = t.sum;
  prn_loop_end(g, &l);
  t.sum = l.out[1];
  write(&t);
}
