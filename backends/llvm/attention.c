/* mem.attention: softmax(body(q k', extras)) v without the scores in memory.
 *
 * An item is a block of queries of one head. Its queries are packed with the
 * lanes along them, so that scores lie as P[key][query]: no operation goes
 * across lanes, and keys and values are read by broadcast, whatever their
 * strides. Keys come in blocks; the largest score and the sum of each query
 * are kept up to date and what is summed so far is rescaled when its largest
 * score grows. Reference: Milakov, Gimelshein, "Online normalizer calculation
 * for softmax" (2018); Dao et al., "FlashAttention" (2022).
 *
 * The order of all additions depends on the sizes and the target alone. */
#include <math.h>

#include "backends/llvm/attention_row.h"
#include "backends/llvm/emit.h"
#include "backends/llvm/gemm.h"
#include "backends/llvm/vecmath.h"

enum {
  Q = PRN_ATTENTION_Q,
  K = PRN_ATTENTION_K,
  V = PRN_ATTENTION_V,
  OUT = PRN_ATTENTION_OUT,
  EXTRAS = PRN_ATTENTION_EXTRAS
};
enum { KEYS = 64 }; /* of a block */

static unsigned rank(const prn_op *op) {
  return (unsigned)prn_op_operand(op, OUT)->type->rank;
}

static int64_t last_size(const prn_op *op, unsigned operand) {
  const prn_type *t = prn_op_operand(op, operand)->type;
  int64_t n;
  return prn_dim_is_const(t->dims[t->rank - 1], &n) ? n : -1;
}

static prn_status check(const prn_op *op) {
  const prn_block *b = prn_op_block(op, "body");
  int32_t r = prn_op_operand(op, OUT)->type->rank;
  if (r < 2) return prn_op_error(op, "expected a result of rank 2 or more");
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_type *t = prn_op_operand(op, i)->type;
    if (t->rank != r) return prn_op_error(op, "expected operands of one rank");
    if (i < EXTRAS && t->dtype != PRN_F32)
      return prn_op_error(op, "expected f32 queries, keys and values");
  }
  if (last_size(op, Q) < 0 || last_size(op, V) < 0)
    return prn_op_error(op, "expected constant sizes of heads");
  if (!b && op->num_operands > EXTRAS)
    return prn_op_error(op, "has extra operands but no body");
  return prn_body_check(op, b);
}

/* ---- scratch: floats from its start ---- */

typedef struct layout {
  int64_t q, p, o, max, sum, factor, size;
  int64_t turned[PRN_KERNEL_MAX]; /* an extra's block of scores, or 0 */
} layout;

/* An extra whose neighbours are keys: its blocks are transposed, because
 * lanes are queries. */
static bool is_turned(const prn_op *op, unsigned x) {
  const prn_type *t = prn_op_operand(op, x)->type;
  int64_t q, k;
  if (!prn_dim_is_const(t->strides[t->rank - 1], &k) || k != 1) return false;
  return !prn_dim_is_const(t->strides[t->rank - 2], &q) || q > 1 || q < 0;
}

static layout layout_of(const prn_target *t, const prn_op *op) {
  int64_t nr = prn_target_nr(t);
  layout s = {.q = 0};
  s.p = nr * last_size(op, Q);
  s.o = s.p + nr * KEYS;
  s.max = s.o + nr * last_size(op, V);
  s.sum = s.max + nr;
  s.factor = s.sum + nr;
  s.size = s.factor + nr;
  for (unsigned x = EXTRAS; x < op->num_operands; x++) {
    if (!is_turned(op, x)) continue;
    s.turned[x] = s.size;
    prn_dtype d = prn_op_operand(op, x)->type->dtype;
    s.size += nr * KEYS * (prn_dtype_bits(d) > 32 ? 2 : 1);
  }
  return s;
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  if (prn_attention_row_fit(op))
    return (size_t)prn_attention_row_scratch(t, op) * sizeof(float);
  return (size_t)layout_of(t, op).size * sizeof(float);
}

/* ---- the state while one item is emitted ---- */

typedef struct item {
  prn_kernel *k;
  prn_cg *g;
  unsigned r;                 /* rank */
  int64_t nr;                 /* queries of a block */
  prn_v base[PRN_KERNEL_MAX]; /* of every operand, at this head */
  prn_v lead[PRN_EMIT_RANK];  /* the head's position */
  prn_v q, p, o, max, sum, factor;
  prn_v turned[PRN_KERNEL_MAX]; /* or NULL */
  prn_v i0, cols, width; /* first query, queries, rounded up to vectors */
  prn_v j0, keys;        /* block of keys */
} item;

static prn_v stride(const item *t, unsigned operand, unsigned from_end) {
  return t->k->v[operand].strides[t->r - from_end];
}

static prn_v at(const item *t, prn_v base, prn_v row, prn_v col) {
  prn_cg *g = t->g;
  prn_v i = prn_cg_add(g, prn_cg_mul(g, row, cg_i64(g, t->nr)), col);
  return cg_at(g, g->f32, base, i);
}

static prn_v blocks(prn_kernel *k) {
  prn_cg *g = k->g;
  prn_v queries = k->v[OUT].dims[rank(k->op) - 2];
  return prn_cg_ceildiv(g, queries, cg_i64(g, prn_target_nr(g->target)));
}

static prn_v heads(prn_kernel *k) {
  prn_v n = cg_i64(k->g, 1);
  for (unsigned i = 0; i + 2 < rank(k->op); i++)
    n = prn_cg_mul(k->g, n, k->v[OUT].dims[i]);
  return n;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  unsigned r = rank(k->op);
  prn_v keys = k->v[K].dims[r - 2];
  int64_t depth = last_size(k->op, Q) + last_size(k->op, V) + 32;
  prn_v n = prn_cg_mul(g, heads(k), blocks(k));
  *work =
      prn_cg_mul(g, prn_cg_mul(g, n, keys), cg_i64(g, depth * g->target->nv));
  return n;
}

/* ---- softmax of a block ---- */

typedef struct group {
  item *t;
  unsigned n; /* vectors */
  prn_v i;    /* first query, from the block's start */
  prn_v mask; /* queries that exist; NULL: all */
  prn_v j;    /* key, from the block's start */
  unsigned v; /* vector being emitted */
} group;

static prn_v lane(const group *s, unsigned v) {
  prn_cg *g = s->t->g;
  return prn_cg_add(g, s->i, cg_i64(g, (int64_t)v * g->target->lanes));
}

static prn_v index_value(prn_emit *e, void *user, int64_t dim, unsigned lanes) {
  const group *s = user;
  const item *t = s->t;
  if (dim + 1 == t->r)
    return prn_cg_splat(e->g, prn_cg_add(e->g, t->j0, s->j), lanes);
  if (dim + 2 == t->r)
    return prn_elem_iota(e->g, prn_cg_add(e->g, t->i0, lane(s, s->v)), lanes);
  return prn_cg_splat(e->g, t->lead[dim], lanes);
}

/* An extra's values for vector s->v of key s->j. */
static prn_v extra(group *s, unsigned x) {
  item *t = s->t;
  prn_cg *g = t->g;
  prn_dtype d = t->k->v[x].type->dtype;
  if (t->turned[x]) {
    prn_v at =
        prn_cg_add(g, prn_cg_mul(g, s->j, cg_i64(g, t->nr)), lane(s, s->v));
    return prn_elem_load(g, d, prn_elem_at(g, d, t->turned[x], at),
                         cg_i64(g, 1), g->target->lanes, NULL);
  }
  prn_v along = stride(t, x, 2);
  prn_v i = prn_cg_add(g, t->i0, lane(s, s->v));
  prn_v j = prn_cg_add(g, t->j0, s->j);
  prn_v at =
      prn_cg_add(g, prn_cg_mul(g, i, along), prn_cg_mul(g, j, stride(t, x, 1)));
  return prn_elem_load(g, d, prn_elem_at(g, d, t->base[x], at), along,
                       g->target->lanes, s->mask);
}

/* body(score, extras) for vector s->v of key s->j. */
static prn_v scored(group *s, prn_v score) {
  item *t = s->t;
  prn_cg *g = t->g;
  const prn_block *b = prn_op_block(t->k->op, "body");
  prn_v args[PRN_KERNEL_MAX] = {score}, out;
  if (!b) return score;
  for (unsigned x = EXTRAS; x < t->k->n; x++)
    args[1 + x - EXTRAS] = extra(s, x);
  prn_body_emit(t->k->e, b, args, g->target->lanes, index_value, s, &out);
  return out;
}

/* The scores after the body, and the largest of each query. */
static void find_largest(group *s, prn_v *max) {
  item *t = s->t;
  prn_cg *g = t->g;
  bool changes = prn_op_block(t->k->op, "body") != NULL;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), t->keys, 1, max, s->n);
  s->j = l.iv;
  for (s->v = 0; s->v < s->n; s->v++) {
    prn_v p = at(t, t->p, l.iv, lane(s, s->v));
    prn_v x = scored(s, prn_cg_load(g, g->vf, p));
    if (changes) prn_cg_store(g, x, p);
    prn_v more = cg_fcmp(g, LLVMRealOGT, x, l.cur[s->v]);
    l.next[s->v] = cg_select(g, more, x, l.cur[s->v]);
  }
  prn_loop_end(g, &l);
  for (unsigned v = 0; v < s->n; v++)
    max[v] = l.out[v];
}

/* exp(score - largest) in place, and added to the sums. */
static void exponentials(group *s, const prn_v *max, prn_v *sum) {
  item *t = s->t;
  prn_cg *g = t->g;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), t->keys, 1, sum, s->n);
  for (unsigned v = 0; v < s->n; v++) {
    prn_v p = at(t, t->p, l.iv, lane(s, v));
    prn_v x = cg_fsub(g, prn_cg_load(g, g->vf, p), max[v]);
    x = prn_vm_exp_down(g, x);
    prn_cg_store(g, x, p);
    l.next[v] = cg_fadd(g, l.cur[v], x);
  }
  prn_loop_end(g, &l);
  for (unsigned v = 0; v < s->n; v++)
    sum[v] = l.out[v];
}

/* Turns the scores of s->n vectors of queries into exponentials. A largest
 * score of -infinity, no key seen yet, is taken for 0: all are then exp(-inf),
 * where their difference would be NaN. */
static void soften(group *s) {
  item *t = s->t;
  prn_cg *g = t->g;
  prn_v max[PRN_LOOP_MAX], sum[PRN_LOOP_MAX], old[PRN_LOOP_MAX];
  for (unsigned v = 0; v < s->n; v++)
    max[v] = old[v] =
        prn_cg_load(g, g->vf, cg_at(g, g->f32, t->max, lane(s, v)));
  find_largest(s, max);
  for (unsigned v = 0; v < s->n; v++) {
    prn_v i = lane(s, v), none = prn_cg_fconst(g->vf, -(double)INFINITY);
    prn_cg_store(g, max[v], cg_at(g, g->f32, t->max, i));
    max[v] = cg_select(g, cg_fcmp(g, LLVMRealOEQ, max[v], none),
                       LLVMConstNull(g->vf), max[v]);
    prn_v f = prn_vm_exp_down(g, cg_fsub(g, old[v], max[v]));
    prn_cg_store(g, f, cg_at(g, g->f32, t->factor, i));
    sum[v] = prn_cg_load(g, g->vf, cg_at(g, g->f32, t->sum, i));
    sum[v] = cg_fmul(g, sum[v], f);
  }
  exponentials(s, max, sum);
  for (unsigned v = 0; v < s->n; v++)
    prn_cg_store(g, sum[v], cg_at(g, g->f32, t->sum, lane(s, v)));
}

/* ---- extras whose neighbours are keys ---- */

/* Address of element (query i of the block, key j of the block). */
static prn_v extra_at(const item *t, unsigned x, prn_v i, prn_v j) {
  prn_cg *g = t->g;
  prn_v at = prn_cg_mul(g, prn_cg_add(g, t->i0, i), stride(t, x, 2));
  at = prn_cg_add(g, at, prn_cg_add(g, t->j0, j));
  return prn_elem_at(g, t->k->v[x].type->dtype, t->base[x], at);
}

static prn_v turned_at(const item *t, unsigned x, prn_v i, prn_v j) {
  prn_cg *g = t->g;
  return prn_elem_at(g, t->k->v[x].type->dtype, t->turned[x],
                     prn_cg_add(g, prn_cg_mul(g, j, cg_i64(g, t->nr)), i));
}

/* A square of lanes x lanes; queries that do not exist are the last again. */
static void turn_square(const item *t, unsigned x, prn_v i, prn_v j) {
  prn_cg *g = t->g;
  unsigned lanes = g->target->lanes;
  prn_v rows[64], last = prn_cg_sub(g, t->cols, cg_i64(g, 1));
  prn_t type = prn_cg_vec(prn_elem_memory(g, t->k->v[x].type->dtype), lanes);
  for (unsigned r = 0; r < lanes; r++) {
    prn_v row = prn_cg_min(g, prn_cg_add(g, i, cg_i64(g, r)), last);
    rows[r] = prn_cg_load(g, type, extra_at(t, x, row, j));
  }
  prn_cg_transpose(g, rows, lanes);
  for (unsigned r = 0; r < lanes; r++)
    prn_cg_store(g, rows[r],
                 turned_at(t, x, i, prn_cg_add(g, j, cg_i64(g, r))));
}

/* The block of extra x, keys past whole vectors one by one. */
static void turn(const item *t, unsigned x) {
  prn_cg *g = t->g;
  int64_t lanes = g->target->lanes;
  prn_v zero = cg_i64(g, 0);
  prn_t type = prn_elem_memory(g, t->k->v[x].type->dtype);
  prn_v whole =
      prn_cg_sub(g, t->keys, prn_cg_mod(g, t->keys, cg_i64(g, lanes)));
  prn_loop i, j;
  prn_loop_begin(g, &j, zero, whole, lanes, NULL, 0);
  prn_loop_begin(g, &i, zero, t->width, lanes, NULL, 0);
  turn_square(t, x, i.iv, j.iv);
  prn_loop_end(g, &i);
  prn_loop_end(g, &j);
  prn_loop_begin(g, &j, whole, t->keys, 1, NULL, 0);
  prn_loop_begin(g, &i, zero, t->cols, 1, NULL, 0);
  prn_cg_store(g, prn_cg_load(g, type, extra_at(t, x, i.iv, j.iv)),
               turned_at(t, x, i.iv, j.iv));
  prn_loop_end(g, &i);
  prn_loop_end(g, &j);
}

/* All vectors at once in a whole block of queries, else one by one. */
static void soften_block(item *t) {
  prn_cg *g = t->g;
  unsigned lanes = g->target->lanes;
  prn_v full = cg_cmp(g, LLVMIntEQ, t->cols, cg_i64(g, t->nr));
  LLVMBasicBlockRef whole = prn_cg_block(g, "whole"),
                    part = prn_cg_block(g, "part"),
                    join = prn_cg_block(g, "join");
  LLVMBuildCondBr(g->b, full, whole, part);
  LLVMPositionBuilderAtEnd(g->b, whole);
  group s = {.t = t, .n = g->target->nv, .i = cg_i64(g, 0)};
  soften(&s);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, part);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), t->width, lanes, NULL, 0);
  s = (group){.t = t, .n = 1, .i = l.iv};
  if (lanes > 1)
    s.mask = prn_cg_tail_mask(g, lanes, prn_cg_sub(g, t->cols, l.iv));
  soften(&s);
  prn_loop_end(g, &l);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, join);
}

/* ---- the sums ---- */

/* o *= factor, unless every factor is 1. */
static void rescale(item *t) {
  prn_cg *g = t->g;
  unsigned lanes = g->target->lanes;
  prn_t one_bit = g->i1;
  prn_v changed = LLVMConstInt(one_bit, 0, 0);
  prn_loop l, m;
  prn_loop_begin(g, &l, cg_i64(g, 0), t->width, lanes, &changed, 1);
  prn_v f = prn_cg_load(g, g->vf, cg_at(g, g->f32, t->factor, l.iv));
  prn_v differs = cg_fcmp(g, LLVMRealUNE, f, prn_cg_fconst(g->vf, 1));
  if (lanes > 1)
    differs = prn_cg_intrinsic(g, "llvm.vector.reduce.or", LLVMTypeOf(differs),
                               &differs, 1);
  l.next[0] = LLVMBuildOr(g->b, l.cur[0], differs, "");
  prn_loop_end(g, &l);
  prn_if some = prn_if_begin(g, l.out[0]);
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, last_size(t->k->op, V)), 1,
                 NULL, 0);
  prn_loop_begin(g, &m, cg_i64(g, 0), t->width, lanes, NULL, 0);
  prn_v p = at(t, t->o, l.iv, m.iv);
  f = prn_cg_load(g, g->vf, cg_at(g, g->f32, t->factor, m.iv));
  prn_cg_store(g, cg_fmul(g, prn_cg_load(g, g->vf, p), f), p);
  prn_loop_end(g, &m);
  prn_loop_end(g, &l);
  prn_if_end(g, some);
}

/* factor = 1 / sum. Without keys the result is 0; where all keys of a query
 * are hidden it is NaN, or 0 when the operation says so. */
static void invert(item *t) {
  prn_cg *g = t->g;
  prn_t vf = g->vf;
  bool zero = prn_op_int(t->k->op, "zero_hidden", 0) != 0;
  prn_v n = t->k->v[K].dims[t->r - 2];
  prn_v empty = cg_cmp(g, LLVMIntEQ, n, cg_i64(g, 0));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), t->width, g->target->lanes, NULL, 0);
  prn_v s = prn_cg_load(g, vf, cg_at(g, g->f32, t->sum, l.iv));
  prn_v f = cg_fdiv(g, prn_cg_fconst(vf, 1), s), none = LLVMConstNull(vf);
  if (zero) f = cg_select(g, cg_fcmp(g, LLVMRealOEQ, s, none), none, f);
  f = cg_select(g, empty, none, f);
  prn_cg_store(g, f, cg_at(g, g->f32, t->factor, l.iv));
  prn_loop_end(g, &l);
}

typedef struct writer {
  item *t;
  prn_v e; /* feature */
} writer;

static void write_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  const writer *w = user;
  item *t = w->t;
  prn_v along = stride(t, OUT, 2), one = cg_i64(g, 1);
  prn_v x = prn_elem_load(g, PRN_F32, at(t, t->o, w->e, i), one, lanes, mask);
  prn_v f = prn_elem_load(g, PRN_F32, cg_at(g, g->f32, t->factor, i), one,
                          lanes, mask);
  prn_v to = prn_cg_mul(g, prn_cg_add(g, t->i0, i), along);
  to = prn_cg_add(g, to, prn_cg_mul(g, w->e, stride(t, OUT, 1)));
  prn_dtype d = t->k->v[OUT].type->dtype;
  prn_elem_store(g, d, cg_fmul(g, x, f), prn_elem_at(g, d, t->base[OUT], to),
                 along, lanes, mask);
}

static void write(item *t) {
  prn_cg *g = t->g;
  writer w = {.t = t};
  prn_loop l;
  invert(t);
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, last_size(t->k->op, V)), 1,
                 NULL, 0);
  w.e = l.iv;
  prn_cg_vloop(g, t->cols, g->target->lanes, write_step, &w);
  prn_loop_end(g, &l);
}

/* ---- one item ---- */

static void multiply_keys(item *t) {
  prn_cg *g = t->g;
  prn_v row = stride(t, K, 2);
  prn_gemm_panel_args p = {
      .m = t->keys,
      .k = cg_i64(g, last_size(t->k->op, Q)),
      .a = cg_at(g, g->f32, t->base[K], prn_cg_mul(g, t->j0, row)),
      .a_row = row,
      .a_col = stride(t, K, 1),
      .b = t->q,
      .c = t->p,
      .c_row = cg_i64(g, t->nr),
      .cols = t->width,
      .acc = LLVMConstInt(g->i1, 0, 0),
  };
  prn_gemm_panel(g, &p);
}

static void multiply_values(item *t) {
  prn_cg *g = t->g;
  prn_v col = stride(t, V, 2);
  prn_v later = cg_cmp(g, LLVMIntNE, t->j0, cg_i64(g, 0));
  prn_if again = prn_if_begin(g, later);
  rescale(t);
  prn_if_end(g, again);
  prn_gemm_panel_args p = {
      .m = cg_i64(g, last_size(t->k->op, V)),
      .k = t->keys,
      .a = cg_at(g, g->f32, t->base[V], prn_cg_mul(g, t->j0, col)),
      .a_row = stride(t, V, 1),
      .a_col = col,
      .b = t->p,
      .c = t->o,
      .c_row = cg_i64(g, t->nr),
      .cols = t->width,
      .acc = later,
  };
  prn_gemm_panel(g, &p);
}

/* Bases of all operands at head number `head`. */
static void locate(item *t, prn_v head) {
  prn_kernel *k = t->k;
  prn_cg *g = t->g;
  prn_v from[PRN_KERNEL_MAX];
  for (unsigned o = 0; o < k->n; o++)
    from[o] = cg_i64(g, 0);
  for (unsigned i = t->r - 2; i-- > 0;) {
    prn_v d = k->v[OUT].dims[i];
    t->lead[i] = i ? prn_cg_mod(g, head, d) : head;
    if (i) head = prn_cg_div(g, head, d);
    for (unsigned o = 0; o < k->n; o++)
      from[o] =
          prn_cg_add(g, from[o], prn_cg_mul(g, t->lead[i], k->v[o].strides[i]));
  }
  for (unsigned o = 0; o < k->n; o++)
    t->base[o] = prn_elem_at(g, k->v[o].type->dtype, k->v[o].base, from[o]);
}

static void begin_item(item *t, prn_v number) {
  prn_kernel *k = t->k;
  prn_cg *g = t->g;
  prn_v per = blocks(k), nr = cg_i64(g, t->nr),
        queries = k->v[OUT].dims[t->r - 2];
  int64_t n;
  locate(t, prn_cg_div(g, number, per));
  t->i0 = prn_cg_mul(g, prn_cg_mod(g, number, per), nr);
  t->cols = prn_cg_min(g, prn_cg_sub(g, queries, t->i0), nr);
  if (prn_cg_is_const(queries, &n) && n % t->nr == 0) t->cols = nr;
  t->width = prn_cg_round_up(g, t->cols, g->target->lanes);
  prn_v from =
      cg_at(g, g->f32, t->base[Q], prn_cg_mul(g, t->i0, stride(t, Q, 2)));
  prn_gemm_pack(g, from, cg_i64(g, last_size(k->op, Q)), t->cols,
                stride(t, Q, 1), stride(t, Q, 2), t->q);
  for (unsigned v = 0; v < g->target->nv; v++) {
    prn_v i = cg_i64(g, (int64_t)v * g->target->lanes);
    prn_cg_store(g, prn_cg_fconst(g->vf, -(double)INFINITY),
                 cg_at(g, g->f32, t->max, i));
    prn_cg_store(g, LLVMConstNull(g->vf), cg_at(g, g->f32, t->sum, i));
  }
}

static void emit_item(item *t, prn_v number) {
  prn_cg *g = t->g;
  prn_v n = t->k->v[K].dims[t->r - 2], block = cg_i64(g, KEYS);
  begin_item(t, number);
  prn_loop l;
  /* At least one round, which without keys makes the sums 0. */
  prn_loop_begin(g, &l, cg_i64(g, 0), prn_cg_max(g, n, cg_i64(g, 1)), KEYS,
                 NULL, 0);
  int64_t c;
  t->j0 = l.iv;
  t->keys = prn_cg_min(g, prn_cg_sub(g, n, l.iv), block);
  if (prn_cg_is_const(n, &c) && c % KEYS == 0 && c) t->keys = block;
  multiply_keys(t);
  for (unsigned x = EXTRAS; x < t->k->n; x++)
    if (t->turned[x]) turn(t, x);
  soften_block(t);
  multiply_values(t);
  prn_loop_end(g, &l);
  write(t);
}

static void row_items(item *t, prn_v scratch_base) {
  prn_kernel *k = t->k;
  prn_loop l;
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  locate(t, l.iv);
  prn_attention_row(k, t->base, t->lead, scratch_base);
  prn_loop_end(k->g, &l);
}

static void body(prn_kernel *k) {
  prn_cg *g = k->g;
  layout s = layout_of(g->target, k->op);
  prn_v base = prn_kernel_scratch(k);
  item t = {.k = k, .g = g, .r = rank(k->op), .nr = prn_target_nr(g->target)};
  if (prn_attention_row_fit(k->op)) {
    row_items(&t, base);
    return;
  }
  t.q = cg_at(g, g->f32, base, cg_i64(g, s.q));
  t.p = cg_at(g, g->f32, base, cg_i64(g, s.p));
  t.o = cg_at(g, g->f32, base, cg_i64(g, s.o));
  t.max = cg_at(g, g->f32, base, cg_i64(g, s.max));
  t.sum = cg_at(g, g->f32, base, cg_i64(g, s.sum));
  t.factor = cg_at(g, g->f32, base, cg_i64(g, s.factor));
  for (unsigned x = EXTRAS; x < k->n; x++)
    if (s.turned[x])
      t.turned[x] = cg_at(g, g->f32, base, cg_i64(g, s.turned[x]));
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  emit_item(&t, l.iv);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_attention = {check, items, body, scratch};
