/* mem.linear: items, epilogue, and the table of families; see linear.h.
 *
 * Items run through the column blocks of a range of rows before the next
 * range, so that the range's weights are read from far away once. */
#include "backends/llvm/linear.h"

#include "backends/llvm/emit.h"
#include "ir/op.h"

enum { X, W, OUT, EXTRAS };

static const prn_linear_family *const families[] = {
    &prn_linear_rows, &prn_linear_rows2,  &prn_linear_rows4,
    &prn_linear_srt,  &prn_linear_blocks, NULL, /* ends the table */
};

const prn_linear_family *prn_linear_find(prn_str pack) {
  for (unsigned i = 0; families[i]; i++)
    if (prn_str_is(pack, families[i]->pack)) return families[i];
  return NULL;
}

static const prn_linear_family *family_of(const prn_op *op) {
  const prn_op *c = prn_view_constant(prn_op_operand(op, W));
  return c ? prn_linear_find(prn_op_string(c, "pack", "dense")) : NULL;
}

static unsigned rank(const prn_op *op) {
  return (unsigned)prn_op_operand(op, OUT)->type->rank;
}

/* Neighbours along the last dimension are side by side. */
static bool unit(const prn_type *t) {
  return prn_dim_is(t->strides[t->rank - 1], 1) ||
         prn_dim_is(t->dims[t->rank - 1], 1);
}

/* Of the columns and the sums, for weights of this type. */
static prn_dtype x_type(const prn_op *op) {
  return prn_op_operand(op, W)->type->dtype == PRN_I8 ? PRN_U8 : PRN_F32;
}

static prn_dtype sum_type(const prn_op *op) {
  return prn_op_operand(op, W)->type->dtype == PRN_I8 ? PRN_I32 : PRN_F32;
}

/* Sums that are kept somewhere can be kept where the result goes: they are of
 * one width. */
static bool direct(const prn_op *op) {
  return !family_of(op)->partial ||
         prn_dtype_bits(prn_op_operand(op, OUT)->type->dtype) == 32;
}

static prn_status check(const prn_op *op) {
  const prn_type *x = prn_op_operand(op, X)->type;
  const prn_type *out = prn_op_operand(op, OUT)->type;
  const prn_type *w = prn_op_operand(op, W)->type;
  if (!family_of(op))
    return prn_op_error(op, "no kernel takes weights in this packing");
  if (out->rank < 2 || x->rank != out->rank || w->rank != 2)
    return prn_op_error(op, "expected operands of one rank, at least 2, and "
                            "weights that are a matrix");
  if (x->dims[x->rank - 2] != w->dims[0] ||
      out->dims[out->rank - 2] != w->dims[1])
    return prn_op_error(op, "expected sizes that fit the weights");
  if (!unit(x) || !unit(out))
    return prn_op_error(op, "expected unit strides along the last dimension");
  if (x->dtype != x_type(op))
    return prn_op_error(op, "expected %s columns for these weights",
                        prn_dtype_name(x_type(op)));
  if (!prn_op_block(op, "body") && out->dtype != sum_type(op))
    return prn_op_error(op, "expected a result of type %s",
                        prn_dtype_name(sum_type(op)));
  return prn_body_check(op, prn_op_block(op, "body"));
}

/* ---- shape ---- */

typedef struct shape {
  const prn_linear_family *family;
  prn_packing pack;
  int64_t columns, rows;
  prn_v m, column_blocks, row_blocks, batches;
} shape;

static shape shape_of(prn_kernel *k) {
  prn_cg *g = k->g;
  unsigned r = rank(k->op);
  const prn_type *out = prn_op_operand(k->op, OUT)->type;
  int64_t m = -1;
  (void)prn_dim_is_const(out->dims[r - 1], &m);
  shape s = {.family = family_of(k->op),
             .pack =
                 prn_packing_of(prn_view_constant(prn_op_operand(k->op, W)))};
  s.columns = s.family->columns(g->target, &s.pack, m);
  s.rows = s.family->rows(g->target, &s.pack);
  s.m = k->v[OUT].dims[r - 1];
  s.column_blocks = prn_cg_ceildiv(g, s.m, cg_i64(g, s.columns));
  s.row_blocks = cg_i64(g, (s.pack.n + s.rows - 1) / s.rows);
  s.batches = cg_i64(g, 1);
  for (unsigned i = 0; i + 2 < r; i++)
    s.batches = prn_cg_mul(g, s.batches, k->v[OUT].dims[i]);
  return s;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  shape s = shape_of(k);
  int64_t each = s.pack.k * s.pack.n / (int64_t)g->target->lanes;
  *work = prn_cg_mul(g, prn_cg_mul(g, s.m, s.batches), cg_i64(g, each + 1));
  return prn_cg_mul(g, prn_cg_mul(g, s.batches, s.row_blocks), s.column_blocks);
}

/* ---- epilogue ---- */

typedef struct block {
  prn_kernel *k;
  prn_v base[PRN_KERNEL_MAX]; /* of this batch */
  prn_v row[PRN_KERNEL_MAX];  /* of the row being finished */
  prn_dtype sum;
  prn_v sums; /* of that row */
} block;

static prn_v stride(const prn_kernel *k, unsigned operand, unsigned from_end) {
  return k->v[operand].strides[rank(k->op) - from_end];
}

/* Addresses of row n, from column m0 on. */
static void locate(prn_cg *g, block *b, prn_v n, prn_v m0) {
  prn_kernel *k = b->k;
  for (unsigned x = OUT; x < k->n; x++) {
    prn_v at = prn_cg_add(g, prn_cg_mul(g, n, stride(k, x, 2)),
                          prn_cg_mul(g, m0, stride(k, x, 1)));
    b->row[x] = prn_elem_at(g, k->v[x].type->dtype, b->base[x], at);
  }
}

/* out = body(sum, extras), `lanes` columns from i on in the located row. */
static void finish_at(prn_cg *g, const block *b, prn_v sum, prn_v i,
                      unsigned lanes, prn_v mask) {
  prn_kernel *k = b->k;
  prn_v args[PRN_KERNEL_MAX], result, one = cg_i64(g, 1);
  prn_dtype out = k->v[OUT].type->dtype;
  args[0] = sum;
  for (unsigned x = EXTRAS; x < k->n; x++) {
    prn_dtype t = k->v[x].type->dtype;
    prn_v s = stride(k, x, 1);
    prn_v at = prn_elem_at(g, t, b->row[x], prn_cg_mul(g, i, s));
    args[1 + x - EXTRAS] = prn_elem_load(g, t, at, s, lanes, mask);
  }
  prn_body_emit(k->e, prn_op_block(k->op, "body"), args, lanes, NULL, NULL,
                &result);
  prn_elem_store(g, out, result, prn_elem_at(g, out, b->row[OUT], i), one,
                 lanes, mask);
}

static void finish(prn_cg *g, void *user, prn_v n, prn_v m0, const prn_v *sums,
                   unsigned vectors, prn_v mask) {
  block *b = user;
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(sums[0]));
  locate(g, b, n, m0);
  for (unsigned v = 0; v < vectors; v++)
    finish_at(g, b, sums[v], cg_i64(g, (int64_t)v * lanes), lanes,
              v + 1 == vectors ? mask : NULL);
}

static void done_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  block *b = user;
  prn_v p = prn_elem_at(g, b->sum, b->sums, i);
  prn_v sum = prn_elem_load(g, b->sum, p, cg_i64(g, 1), lanes, mask);
  finish_at(g, b, sum, i, lanes, mask);
}

static void done(prn_cg *g, void *user, prn_v n0, prn_v rows, prn_v m0,
                 prn_v cols, prn_v sums, prn_v pitch) {
  block *b = user;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, NULL, 0);
  locate(g, b, prn_cg_add(g, n0, l.iv), m0);
  b->sums = prn_elem_at(g, b->sum, sums, prn_cg_mul(g, l.iv, pitch));
  prn_cg_vloop(g, cols, g->target->lanes, done_step, b);
  prn_loop_end(g, &l);
}

/* ---- items ---- */

/* Offset of batch `item` in view v. */
static prn_v batch_offset(prn_kernel *k, const prn_view *v, prn_v item) {
  prn_cg *g = k->g;
  prn_v at = cg_i64(g, 0);
  for (unsigned i = rank(k->op) - 2; i-- > 0;) {
    prn_v d = k->v[OUT].dims[i];
    prn_v index = i ? prn_cg_mod(g, item, d) : item;
    if (i) item = prn_cg_div(g, item, d);
    at = prn_cg_add(g, at, prn_cg_mul(g, index, v->strides[i]));
  }
  return at;
}

static bool anywhere(const prn_op *op) {
  return !prn_view_in_lines(op->module->ctx, prn_op_operand(op, X));
}

/* Bytes of scratch the family has, a multiple of a cache line. */
static size_t family_scratch(const prn_op *op, const prn_target *t,
                             const prn_packing *p) {
  const prn_linear_family *f = family_of(op);
  return f->scratch ? (f->scratch(t, p, anywhere(op)) + 63) / 64 * 64 : 0;
}

/* Sums of an item behind the family's scratch: row n0, column m0 of c is its
 * first element. */
static void sums_in_scratch(const prn_kernel *k, const shape *s, prn_linear *d,
                            prn_v n0, prn_v m0) {
  prn_cg *g = k->g;
  int64_t at = (int64_t)family_scratch(k->op, g->target, &s->pack);
  prn_v first = cg_at(g, g->i8, d->scratch, cg_i64(g, at));
  d->c_row = cg_i64(g, s->columns);
  prn_v back = prn_cg_sub(g, cg_i64(g, 0),
                          prn_cg_add(g, prn_cg_mul(g, n0, d->c_row), m0));
  d->c = LLVMBuildGEP2(g->b, g->i32, first, &back, 1, "");
}

static void one_item(prn_kernel *k, const shape *s, prn_v item) {
  prn_cg *g = k->g;
  block b = {.k = k};
  prn_v column = prn_cg_mod(g, item, s->column_blocks);
  prn_v rest = prn_cg_div(g, item, s->column_blocks);
  prn_v row = prn_cg_mod(g, rest, s->row_blocks);
  prn_v batch = prn_cg_div(g, rest, s->row_blocks);
  for (unsigned x = 0; x < k->n; x++)
    b.base[x] = x == W ? k->v[x].base
                       : prn_elem_at(g, k->v[x].type->dtype, k->v[x].base,
                                     batch_offset(k, &k->v[x], batch));
  bool body = prn_op_block(k->op, "body") != NULL;
  prn_linear d = {.pack = s->pack,
                  .w = b.base[W],
                  .m = s->m,
                  .x = b.base[X],
                  .x_row = stride(k, X, 2),
                  .anywhere = anywhere(k->op),
                  .c = b.base[OUT],
                  .c_row = stride(k, OUT, 2),
                  .done = body ? done : NULL,
                  .finish = body ? finish : NULL,
                  .user = &b};
  b.sum = sum_type(k->op);
  if (family_scratch(k->op, g->target, &s->pack) || !direct(k->op))
    d.scratch = prn_kernel_scratch(k);
  prn_v m0 = prn_cg_mul(g, column, cg_i64(g, s->columns));
  prn_v n0 = prn_cg_mul(g, row, cg_i64(g, s->rows));
  prn_v n1 = prn_cg_min(g, prn_cg_add(g, n0, cg_i64(g, s->rows)),
                        cg_i64(g, s->pack.n));
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, s->m, m0), cg_i64(g, s->columns));
  if (!direct(k->op)) sums_in_scratch(k, s, &d, n0, m0);
  s->family->item(g, &d, s->columns, n0, n1, m0, cols);
}

static void body(prn_kernel *k) {
  shape s = shape_of(k);
  prn_loop l;
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  one_item(k, &s, l.iv);
  prn_loop_end(k->g, &l);
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  const prn_linear_family *f = family_of(op);
  prn_packing p = prn_packing_of(prn_view_constant(prn_op_operand(op, W)));
  size_t family = family_scratch(op, t, &p);
  if (direct(op)) return family;
  int64_t tile = f->columns(t, &p, -1) * f->rows(t, &p);
  return family + (size_t)tile * 4;
}

const prn_kernel_kind prn_kernel_linear = {check, items, body, scratch};
