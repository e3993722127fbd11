/* mem.map: elementwise code over strided views, vectorised along the last
 * dimension of the nest.
 *
 * An input whose elements lie side by side along another dimension than the
 * output's is read in square tiles that are transposed in registers into a
 * tile on the stack; the code then reads its rows there. */
#include "backends/llvm/emit.h"

enum {
  CHUNK = 4096, /* elements of the last dimension in one item */
  MAX_TURNED = 4
};

static unsigned num_ins(const prn_op *op) {
  return (unsigned)prn_op_int(op, "ins", 0);
}

/* The input is read in tiles along dimension a. */
static bool turned(const prn_kernel *k, const prn_nest *n, unsigned input,
                   unsigned a) {
  const prn_dim *s = n->strides[input], last = s[n->rank - 1];
  prn_t t = prn_elem_memory(k->g, k->v[input].type->dtype);
  return prn_dim_is(s[a], 1) && !prn_dim_is(last, 1) && !prn_dim_is(last, 0) &&
         LLVMABISizeOfType(k->g->target->layout, t) == 4;
}

/* Moves the dimension along which most inputs lie, where the output lies along
 * the last, in front of it; false when there is none. */
static bool tile(const prn_kernel *k, prn_nest *n) {
  unsigned ins = num_ins(k->op), best = n->rank, most = 0;
  if (n->rank < 2 || k->g->target->lanes < 2 ||
      !prn_dim_is(n->strides[n->views - 1][n->rank - 1], 1))
    return false;
  for (unsigned a = 0; a + 1 < n->rank; a++) {
    unsigned count = 0;
    for (unsigned o = 0; o < ins; o++)
      count += turned(k, n, o, a);
    if (count > most && count <= MAX_TURNED) {
      best = a;
      most = count;
    }
  }
  if (best == n->rank) return false;
  prn_nest_move(n, best, n->rank - 2);
  return true;
}

static prn_nest nest_of(const prn_kernel *k) {
  const prn_type *types[PRN_KERNEL_MAX];
  prn_nest n;
  for (unsigned i = 0; i < k->n; i++)
    types[i] = k->v[i].type;
  prn_nest_init(k->e->ctx, &n, types, k->n,
                prn_nest_indices(prn_op_block(k->op, "body")), 0);
  return n;
}

static prn_status check(const prn_op *op) {
  return prn_body_check(op, prn_op_block(op, "body"));
}

/* Items along dimension a: strips of rows where there are tiles. */
static prn_v along(prn_kernel *k, const prn_nest *n, unsigned a, bool tiles) {
  prn_v d = prn_emit_dim(k->e, n->dims[a]);
  if (!tiles || a + 2 != n->rank) return d;
  return prn_cg_ceildiv(k->g, d, cg_i64(k->g, k->g->target->lanes));
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_nest n = nest_of(k);
  bool tiles = tile(k, &n);
  prn_v rows = cg_i64(g, 1), strips = rows;
  for (unsigned i = 0; i + 1 < n.rank; i++)
    rows = prn_cg_mul(g, rows, prn_emit_dim(k->e, n.dims[i]));
  for (unsigned i = 0; i + 1 < n.rank; i++)
    strips = prn_cg_mul(g, strips, along(k, &n, i, tiles));
  prn_v cols = prn_emit_dim(k->e, n.dims[n.rank - 1]);
  const prn_block *b = prn_op_block(k->op, "body");
  unsigned cost = k->n;
  PRN_EACH_OP(op, b)
    cost += prn_op_is(op, PRN_OP_nn_unary) ? 10 : 1;
  prn_v vectors = prn_cg_add(
      g, prn_cg_div(g, cols, cg_i64(g, g->target->lanes)), cg_i64(g, 1));
  *work = prn_cg_mul(g, prn_cg_mul(g, rows, vectors), cg_i64(g, cost));
  return prn_cg_mul(g, strips, prn_cg_ceildiv(g, cols, cg_i64(g, CHUNK)));
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
static void locate(prn_kernel *k, const prn_nest *n, bool tiles, prn_v item,
                   prn_v *index, prn_v *chunk) {
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
    prn_v d = along(k, n, a, tiles);
    index[a] = a ? prn_cg_mod(g, item, d) : item;
    if (a) item = prn_cg_div(g, item, d);
  }
}

/* Addresses at r->index, for positions counted from `i` along the last. */
static void start_row(row *r, prn_v i) {
  prn_kernel *k = r->k;
  prn_cg *g = k->g;
  const prn_nest *n = r->nest;
  for (unsigned o = 0; o < k->n; o++) {
    prn_v at = prn_cg_mul(g, i, prn_emit_dim(k->e, n->strides[o][n->rank - 1]));
    for (unsigned a = 0; a < n->rank; a++)
      at = prn_cg_add(
          g, at,
          prn_cg_mul(g, r->index[a], prn_emit_dim(k->e, n->strides[o][a])));
    prn_dtype t = k->v[o].type->dtype;
    r->base[o] = prn_elem_at(g, t, k->v[o].base, at);
    r->step[o] = prn_emit_dim(k->e, n->strides[o][n->rank - 1]);
    r->repeat[o] = NULL;
    if (o < num_ins(k->op) && repeats(r->step[o]))
      r->repeat[o] = prn_elem_load(g, t, r->base[o], r->step[o], 1, NULL);
  }
}

/* ---- tiles ---- */

/* Reads the tile of input o at r's row and position i, and writes it to `to`
 * with lanes along the last dimension. */
static void turn(row *r, unsigned o, prn_v i, prn_v to) {
  prn_kernel *k = r->k;
  prn_cg *g = k->g;
  const prn_nest *n = r->nest;
  unsigned lanes = g->target->lanes;
  prn_dtype d = k->v[o].type->dtype;
  prn_t t = prn_cg_vec(prn_elem_memory(g, d), lanes);
  prn_v rows[64], at = cg_i64(g, 0), step;
  for (unsigned a = 0; a < n->rank; a++)
    at = prn_cg_add(
        g, at,
        prn_cg_mul(g, r->index[a], prn_emit_dim(k->e, n->strides[o][a])));
  step = prn_emit_dim(k->e, n->strides[o][n->rank - 1]);
  at = prn_cg_add(g, at, prn_cg_mul(g, i, step));
  prn_v from = prn_elem_at(g, d, k->v[o].base, at);
  for (unsigned c = 0; c < lanes; c++)
    rows[c] = prn_cg_load(
        g, t, prn_elem_at(g, d, from, prn_cg_mul(g, step, cg_i64(g, c))));
  prn_cg_transpose(g, rows, lanes);
  for (unsigned c = 0; c < lanes; c++)
    prn_cg_store(g, rows[c], prn_elem_at(g, d, to, cg_i64(g, c * lanes)));
}

/* Rows [from, to) of a strip, one at a time, from position `start` on. */
static void plain_rows(row *r, prn_v from, prn_v to, prn_v start, prn_v count) {
  prn_cg *g = r->k->g;
  unsigned a = r->nest->rank - 2;
  prn_v strip = r->index[a], chunk = r->index[a + 1];
  prn_loop l;
  prn_loop_begin(g, &l, from, to, 1, NULL, 0);
  r->index[a] = l.iv;
  r->index[a + 1] = prn_cg_add(g, chunk, start);
  start_row(r, cg_i64(g, 0));
  prn_cg_vloop(g, prn_cg_sub(g, count, start), g->target->lanes, row_body, r);
  prn_loop_end(g, &l);
  r->index[a] = strip;
  r->index[a + 1] = chunk;
}

/* The tile of one strip at position i: the turned inputs first, then the code
 * row by row. */
static void one_tile(row *r, prn_v i, const prn_v *buffers) {
  prn_kernel *k = r->k;
  prn_cg *g = k->g;
  unsigned a = r->nest->rank - 2, lanes = g->target->lanes;
  prn_v strip = r->index[a];
  for (unsigned o = 0; o < num_ins(k->op); o++)
    if (buffers[o]) turn(r, o, i, buffers[o]);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cg_i64(g, lanes), 1, NULL, 0);
  r->index[a] = prn_cg_add(g, strip, l.iv);
  start_row(r, i);
  for (unsigned o = 0; o < num_ins(k->op); o++) {
    if (!buffers[o]) continue;
    r->base[o] = prn_elem_at(g, k->v[o].type->dtype, buffers[o],
                             prn_cg_mul(g, l.iv, cg_i64(g, lanes)));
    r->step[o] = cg_i64(g, 1);
  }
  prn_v chunk = r->index[a + 1];
  r->index[a + 1] = prn_cg_add(g, chunk, i);
  row_body(g, cg_i64(g, 0), lanes, NULL, r);
  r->index[a + 1] = chunk;
  prn_loop_end(g, &l);
  r->index[a] = strip;
}

/* `lanes` rows: tiles while they are whole, the rest row by row. */
static void strip(row *r, prn_v count) {
  prn_kernel *k = r->k;
  prn_cg *g = k->g;
  unsigned a = r->nest->rank - 2;
  int64_t lanes = g->target->lanes, known;
  prn_v buffers[PRN_KERNEL_MAX] = {NULL}, zero = cg_i64(g, 0);
  for (unsigned o = 0; o < num_ins(k->op); o++)
    if (turned(k, r->nest, o, a))
      buffers[o] = prn_cg_alloca(
          g, LLVMArrayType2(g->i32, (uint64_t)(lanes * lanes)), 64);
  prn_v rows = prn_emit_dim(k->e, r->nest->dims[a]);
  r->index[a] = prn_cg_mul(g, r->index[a], cg_i64(g, lanes));
  prn_v end = prn_cg_min(g, rows, prn_cg_add(g, r->index[a], cg_i64(g, lanes)));
  prn_v height = prn_cg_sub(g, end, r->index[a]);
  prn_v width =
      prn_cg_mul(g, prn_cg_div(g, count, cg_i64(g, lanes)), cg_i64(g, lanes));
  if (!prn_cg_is_const(rows, &known) || known % lanes != 0)
    width = cg_select(g, cg_lt(g, height, cg_i64(g, lanes)), zero, width);
  prn_loop l;
  prn_loop_begin(g, &l, zero, width, lanes, NULL, 0);
  one_tile(r, l.iv, buffers);
  prn_loop_end(g, &l);
  prn_v rest = prn_cg_sub(g, count, width);
  if (prn_cg_is_const(rest, &known) && known == 0) return;
  prn_if some = prn_if_begin(g, cg_lt(g, width, count));
  plain_rows(r, r->index[a], end, width, count);
  prn_if_end(g, some);
}

static void body(prn_kernel *k) {
  prn_cg *g = k->g;
  prn_nest n = nest_of(k);
  bool tiles = tile(k, &n);
  row r = {.k = k, .nest = &n};
  unsigned last = n.rank - 1;
  prn_v cols = prn_emit_dim(k->e, n.dims[last]), chunk;
  prn_loop l;
  prn_loop_begin(g, &l, k->begin, k->end, 1, NULL, 0);
  locate(k, &n, tiles, l.iv, r.index, &chunk);
  prn_v start = prn_cg_mul(g, chunk, cg_i64(g, CHUNK));
  prn_v count = prn_cg_min(g, prn_cg_sub(g, cols, start), cg_i64(g, CHUNK));
  int64_t c;
  if (prn_cg_is_const(cols, &c) && c <= CHUNK) count = cols;
  r.index[last] = start;
  if (tiles) {
    strip(&r, count);
  } else {
    start_row(&r, cg_i64(g, 0));
    prn_cg_vloop(g, count, g->target->lanes, row_body, &r);
  }
  prn_loop_end(g, &l);
}

const prn_kernel_kind prn_kernel_map = {check, items, body, NULL};
