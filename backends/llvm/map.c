/* mem.map: elementwise code over strided views, vectorised along the last
 * dimension of the nest. */
#include "backends/llvm/emit.h"

enum { CHUNK = 4096 }; /* elements of the last dimension in one item */

static unsigned num_ins(const prn_op *op) {
  return (unsigned)prn_op_int(op, "ins", 0);
}

static prn_nest nest_of(const prn_kernel *k) {
  const prn_type *types[PRN_KERNEL_MAX];
  prn_nest n;
  for (unsigned i = 0; i < k->n; i++)
    types[i] = k->v[i].type;
  prn_nest_init(k->e->ctx, &n, types, k->n,
                prn_body_indices(prn_op_block(k->op, "body")), 0);
  return n;
}

static prn_status check(const prn_op *op) {
  return prn_body_check(op, prn_op_block(op, "body"));
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_nest n = nest_of(k);
  prn_v rows = cg_i64(g, 1);
  for (unsigned i = 0; i + 1 < n.rank; i++)
    rows = prn_cg_mul(g, rows, prn_emit_dim(k->e, n.dims[i]));
  prn_v cols = prn_emit_dim(k->e, n.dims[n.rank - 1]);
  const prn_block *b = prn_op_block(k->op, "body");
  unsigned cost = k->n;
  PRN_EACH_OP(op, b)
    cost += prn_op_is(op, PRN_OP_nn_unary) ? 10 : 1;
  prn_v vectors = prn_cg_add(
      g, prn_cg_div(g, cols, cg_i64(g, g->target->lanes)), cg_i64(g, 1));
  *work = prn_cg_mul(g, prn_cg_mul(g, rows, vectors), cg_i64(g, cost));
  return prn_cg_mul(g, rows, prn_cg_ceildiv(g, cols, cg_i64(g, CHUNK)));
}

/* One row, or chunk of it. */
typedef struct row {
  prn_kernel *k;
  const prn_nest *nest;
  prn_v base[PRN_KERNEL_MAX];   /* of every operand, at this row */
  prn_v step[PRN_KERNEL_MAX];   /* its stride along the row */
  prn_v repeat[PRN_KERNEL_MAX]; /* the value of an input that repeats */
  prn_v index[PRN_EMIT_RANK];   /* position, the last being the row's start */
} row;

typedef struct index_env {
  const row *r;
  prn_v i;
} index_env;

/* nn.index: the dimensions it asks for were kept apart by the nest. */
static prn_v index_value(prn_emit *e, void *user, int64_t dim, unsigned lanes) {
  const index_env *env = user;
  const prn_nest *n = env->r->nest;
  for (unsigned a = 0; a < n->rank; a++) {
    if (n->axis[a] != dim) continue;
    if (a + 1 < n->rank) return prn_cg_splat(e->g, env->r->index[a], lanes);
    return prn_elem_iota(e->g, prn_cg_add(e->g, env->r->index[a], env->i),
                         lanes);
  }
  return prn_cg_splat(e->g, cg_i64(e->g, 0), lanes);
}

static bool repeats(prn_v stride) {
  int64_t s;
  return prn_cg_is_const(stride, &s) && s == 0;
}

static void row_body(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  row *r = user;
  prn_kernel *k = r->k;
  prn_v args[PRN_KERNEL_MAX], outs[PRN_KERNEL_MAX];
  unsigned ins = num_ins(k->op);
  for (unsigned o = 0; o < ins; o++) {
    prn_dtype t = k->v[o].type->dtype;
    prn_v p = prn_elem_at(g, t, r->base[o], prn_cg_mul(g, i, r->step[o]));
    args[o] = r->repeat[o] ? prn_cg_splat(g, r->repeat[o], lanes)
                           : prn_elem_load(g, t, p, r->step[o], lanes, mask);
  }
  index_env env = {r, i};
  prn_body_emit(k->e, prn_op_block(k->op, "body"), args, lanes, index_value,
                &env, outs);
  for (unsigned o = ins; o < k->n; o++) {
    prn_dtype t = k->v[o].type->dtype;
    prn_v p = prn_elem_at(g, t, r->base[o], prn_cg_mul(g, i, r->step[o]));
    prn_elem_store(g, t, outs[o - ins], p, r->step[o], lanes, mask);
  }
}

/* Splits an item number into the position of its row and its chunk. */
static void locate(prn_kernel *k, const prn_nest *n, prn_v item, prn_v *index,
                   prn_v *chunk) {
  prn_cg *g = k->g;
  prn_v cols = prn_emit_dim(k->e, n->dims[n->rank - 1]);
  prn_v chunks = prn_cg_ceildiv(g, cols, cg_i64(g, CHUNK));
  int64_t one;
  *chunk = cg_i64(g, 0);
  if (!prn_cg_is_const(chunks, &one) || one != 1) {
    *chunk = prn_cg_mod(g, item, chunks);
    item = prn_cg_div(g, item, chunks);
  }
  for (unsigned a = n->rank - 1; a-- > 0;) {
    prn_v d = prn_emit_dim(k->e, n->dims[a]);
    index[a] = a ? prn_cg_mod(g, item, d) : item;
    if (a) item = prn_cg_div(g, item, d);
  }
}

static void body(prn_kernel *k) {
  prn_cg *g = k->g;
  prn_nest n = nest_of(k);
  row r = {.k = k, .nest = &n};
  unsigned last = n.rank - 1, ins = num_ins(k->op);
  prn_v cols = prn_emit_dim(k->e, n.dims[last]), chunk;
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  locate(k, &n, l.iv, r.index, &chunk);
  prn_v start = prn_cg_mul(g, chunk, cg_i64(g, CHUNK));
  prn_v count = prn_cg_min(g, prn_cg_sub(g, cols, start), cg_i64(g, CHUNK));
  int64_t c;
  if (prn_cg_is_const(cols, &c) && c <= CHUNK) count = cols;
  r.index[last] = start;
  for (unsigned o = 0; o < k->n; o++) {
    prn_v at = cg_i64(g, 0);
    for (unsigned a = 0; a < n.rank; a++)
      at = prn_cg_add(
          g, at,
          prn_cg_mul(g, r.index[a], prn_emit_dim(k->e, n.strides[o][a])));
    prn_dtype t = k->v[o].type->dtype;
    r.base[o] = prn_elem_at(g, t, k->v[o].base, at);
    r.step[o] = prn_emit_dim(k->e, n.strides[o][last]);
    r.repeat[o] = NULL;
    if (o < ins && repeats(r.step[o]))
      r.repeat[o] = prn_elem_load(g, t, r.base[o], r.step[o], 1, NULL);
  }
  prn_cg_vloop(g, count, g->target->lanes, row_body, &r);
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_map = {check, items, body, NULL};
