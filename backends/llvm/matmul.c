/* mem.matmul: batches of matrix products with an epilogue.
 *
 * f32 goes through the register-tiled product (gemm.h); the epilogue runs
 * over a block of C as soon as it is complete, while it is in the first-level
 * cache. Other element types take a plain loop, a row of C at a time. */
#include "backends/llvm/gemm.h"

#include "backends/llvm/emit.h"
#include "backends/llvm/few.h"
#include "ir/op.h"

enum { A, B, OUT, EXTRAS };

static unsigned rank(const prn_kernel *k) {
  return (unsigned)k->v[OUT].type->rank;
}

static prn_dtype dtype(const prn_op *op, unsigned i) {
  return prn_op_operand(op, i)->type->dtype;
}

/* The packed-panel product, which multiplies f32. */
static bool tiled(const prn_op *op) {
  return dtype(op, A) == PRN_F32 && dtype(op, B) == PRN_F32 &&
         (dtype(op, OUT) == PRN_F32 || prn_op_block(op, "body"));
}

/* C can be computed in place. */
static bool direct(const prn_op *op) {
  const prn_type *t = prn_op_operand(op, OUT)->type;
  return t->dtype == PRN_F32 && prn_dim_is(t->strides[t->rank - 1], 1);
}

/* The family for weights with zeros, or NULL. */
static const prn_few_family *few_of(const prn_op *op) {
  const prn_op *c = prn_view_constant(prn_op_operand(op, B));
  return c ? prn_few_find(prn_op_string(c, "pack", "dense")) : NULL;
}

/* The rows, when they are known and few; else 0. */
static int64_t few_rows(const prn_op *op) {
  const prn_type *t = prn_op_operand(op, OUT)->type;
  int64_t m;
  bool few = prn_dim_is_const(t->dims[t->rank - 2], &m) && m <= PRN_FEW_ROWS;
  return few && m > 0 ? m : 0;
}

static prn_packing packing_of(const prn_op *op) {
  return prn_packing_of(prn_view_constant(prn_op_operand(op, B)));
}

static prn_status check_packing(const prn_op *op) {
  const prn_op *c = prn_view_constant(prn_op_operand(op, B));
  prn_str pack = prn_op_string(c, "pack", "dense");
  if (few_of(op)) {
    if (!few_rows(op))
      return prn_op_error(op,
                          "weights packed as '%.*s' need a known number of "
                          "rows from 1 to %d",
                          PRN_STR_ARG(pack), PRN_FEW_ROWS);
  } else if (!prn_str_is(pack, "panels")) {
    return prn_op_error(op, "no kernel takes weights packed as '%.*s'",
                        PRN_STR_ARG(pack));
  }
  return PRN_OK;
}

static prn_status check(const prn_op *op) {
  const prn_type *b = prn_op_operand(op, B)->type;
  const prn_type *o = prn_op_operand(op, OUT)->type;
  if (o->rank < 2 || b->rank != o->rank ||
      prn_op_operand(op, A)->type->rank != o->rank)
    return prn_op_error(op, "expected operands of one rank, at least 2");
  if (prn_view_packed(prn_op_operand(op, B))) {
    if (!tiled(op)) return prn_op_error(op, "packed weights need f32 operands");
    PRN_TRY(check_packing(op));
    for (int32_t i = 0; i + 2 < b->rank; i++)
      if (!prn_dim_is(b->strides[i], 0) && !prn_dim_is(b->dims[i], 1))
        return prn_op_error(op, "batches of packed weights are not supported");
  }
  if (!prn_op_block(op, "body") && dtype(op, A) != dtype(op, OUT))
    return prn_op_error(op, "expected a result of the operands' type");
  return prn_body_check(op, prn_op_block(op, "body"));
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  if (!tiled(op)) return 0;
  const prn_few_family *few = few_of(op);
  if (few) {
    prn_packing p = packing_of(op);
    size_t row = (size_t)few->width(t, &p) * sizeof(float);
    return direct(op) ? 0 : (size_t)few_rows(op) * row;
  }
  bool packed = prn_view_packed(prn_op_operand(op, B));
  return prn_gemm_scratch(t, packed, direct(op)) * sizeof(float);
}

/* ---- shape ---- */

/* Offset of batch `item` in view v. */
static prn_v batch_offset(prn_kernel *k, const prn_view *v, prn_v item) {
  prn_cg *g = k->g;
  prn_v at = cg_i64(g, 0);
  for (unsigned i = rank(k) - 2; i-- > 0;) {
    prn_v d = k->v[OUT].dims[i];
    prn_v index = i ? prn_cg_mod(g, item, d) : item;
    if (i) item = prn_cg_div(g, item, d);
    at = prn_cg_add(g, at, prn_cg_mul(g, index, v->strides[i]));
  }
  return at;
}

static prn_v batches(prn_kernel *k) {
  prn_v n = cg_i64(k->g, 1);
  for (unsigned i = 0; i + 2 < rank(k); i++)
    n = prn_cg_mul(k->g, n, k->v[OUT].dims[i]);
  return n;
}

static prn_gemm gemm_shape(prn_kernel *k) {
  unsigned r = rank(k);
  return (prn_gemm){.m = k->v[OUT].dims[r - 2],
                    .n = k->v[OUT].dims[r - 1],
                    .k = k->v[A].dims[r - 1]};
}

static prn_v few_items(prn_kernel *k, const prn_few_family *f) {
  prn_packing p = packing_of(k->op);
  int64_t width = f->width(k->g->target, &p);
  return cg_i64(k->g, (p.n + width - 1) / width);
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_gemm d = gemm_shape(k);
  prn_v n = batches(k);
  prn_v macs = prn_cg_mul(g, prn_cg_mul(g, d.m, d.n), prn_cg_mul(g, d.k, n));
  *work = prn_cg_div(g, macs, cg_i64(g, g->target->lanes));
  const prn_few_family *few = few_of(k->op);
  if (few) return prn_cg_mul(g, n, few_items(k, few));
  return prn_cg_mul(g, n, tiled(k->op) ? prn_gemm_items(g, &d) : d.m);
}

/* ---- epilogue ---- */

typedef struct block {
  prn_kernel *k;
  prn_v base[PRN_KERNEL_MAX]; /* out and extras, at this batch */
  /* the row being written */
  prn_v tile;
  prn_v row[PRN_KERNEL_MAX];
} block;

static prn_v col_stride(const prn_kernel *k, unsigned operand) {
  return k->v[operand].strides[rank(k) - 1];
}

/* out[i..] = body(product, extras) */
static void finish(prn_cg *g, block *b, prn_v product, prn_v i, unsigned lanes,
                   prn_v mask) {
  prn_kernel *k = b->k;
  const prn_block *body = prn_op_block(k->op, "body");
  prn_v args[PRN_KERNEL_MAX], out = product;
  args[0] = product;
  for (unsigned x = EXTRAS; x < k->n; x++) {
    prn_dtype t = k->v[x].type->dtype;
    prn_v s = col_stride(k, x);
    prn_v p = prn_elem_at(g, t, b->row[x], prn_cg_mul(g, i, s));
    args[1 + x - EXTRAS] = prn_elem_load(g, t, p, s, lanes, mask);
  }
  if (body) prn_body_emit(k->e, body, args, lanes, NULL, NULL, &out);
  prn_dtype t = k->v[OUT].type->dtype;
  prn_v s = col_stride(k, OUT);
  prn_v p = prn_elem_at(g, t, b->row[OUT], prn_cg_mul(g, i, s));
  prn_elem_store(g, t, out, p, s, lanes, mask);
}

static void tile_row(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  block *b = user;
  prn_v p = cg_at(g, g->f32, b->tile, i);
  prn_v x = prn_elem_load(g, PRN_F32, p, cg_i64(g, 1), lanes, mask);
  finish(g, b, x, i, lanes, mask);
}

/* Addresses of row m0 + r, from column n0 on. */
static void locate_row(prn_cg *g, block *b, prn_v m, prn_v n0) {
  prn_kernel *k = b->k;
  for (unsigned x = OUT; x < k->n; x++) {
    prn_v at = prn_cg_add(g, prn_cg_mul(g, m, k->v[x].strides[rank(k) - 2]),
                          prn_cg_mul(g, n0, col_stride(k, x)));
    b->row[x] = prn_elem_at(g, k->v[x].type->dtype, b->base[x], at);
  }
}

static void epilogue(prn_cg *g, void *user, prn_v tile, prn_v pitch, prn_v m0,
                     prn_v rows, prn_v n0, prn_v cols) {
  block *b = user;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, NULL, 0);
  b->tile = cg_at(g, g->f32, tile, prn_cg_mul(g, l.iv, pitch));
  locate_row(g, b, prn_cg_add(g, m0, l.iv), n0);
  prn_cg_vloop(g, cols, g->target->lanes, tile_row, b);
  prn_loop_end(g, &l);
}

/* ---- f32 ---- */

static void locate_batch(prn_kernel *k, block *b, prn_v batch) {
  for (unsigned x = 0; x < k->n; x++)
    b->base[x] = prn_elem_at(k->g, k->v[x].type->dtype, k->v[x].base,
                             batch_offset(k, &k->v[x], batch));
}

static void tiled_item(prn_kernel *k, prn_v item) {
  prn_cg *g = k->g;
  unsigned r = rank(k);
  prn_gemm d = gemm_shape(k);
  block b = {.k = k};
  prn_v per = prn_gemm_items(g, &d), batch = cg_i64(g, 0);
  if (r > 2) {
    batch = prn_cg_div(g, item, per);
    item = prn_cg_mod(g, item, per);
  }
  locate_batch(k, &b, batch);
  d.a = b.base[A];
  d.a_row = k->v[A].strides[r - 2];
  d.a_col = k->v[A].strides[r - 1];
  d.b = b.base[B];
  if (!k->v[B].packed) {
    d.b_row = k->v[B].strides[r - 2];
    d.b_col = k->v[B].strides[r - 1];
  }
  if (direct(k->op)) {
    d.c = b.base[OUT];
    d.c_row = k->v[OUT].strides[r - 2];
  }
  if (!d.c || d.b_row) d.scratch = prn_kernel_scratch(k);
  if (!d.c || prn_op_block(k->op, "body")) d.epilogue = epilogue;
  d.user = &b;
  prn_gemm_item(g, &d, item);
}

/* ---- a few rows by weights with zeros ---- */

static void few_item(prn_kernel *k, const prn_few_family *f, prn_v item) {
  prn_cg *g = k->g;
  unsigned r = rank(k);
  block b = {.k = k};
  prn_few d = {.pack = packing_of(k->op), .m = few_rows(k->op)};
  int64_t width = f->width(g->target, &d.pack);
  prn_v per = few_items(k, f), batch = cg_i64(g, 0), zero = batch;
  if (r > 2) {
    batch = prn_cg_div(g, item, per);
    item = prn_cg_mod(g, item, per);
  }
  locate_batch(k, &b, batch);
  d.w = b.base[B];
  d.a = b.base[A];
  d.a_row = k->v[A].strides[r - 2];
  d.a_col = k->v[A].strides[r - 1];
  prn_v n0 = prn_cg_mul(g, item, cg_i64(g, width));
  prn_v cols =
      prn_cg_min(g, prn_cg_sub(g, cg_i64(g, d.pack.n), n0), cg_i64(g, width));
  if (direct(k->op)) {
    d.c = cg_at(g, g->f32, b.base[OUT], n0);
    d.c_row = k->v[OUT].strides[r - 2];
  } else {
    d.c = prn_kernel_scratch(k);
    d.c_row = cg_i64(g, width);
  }
  f->item(g, &d, n0, cols);
  if (!direct(k->op) || prn_op_block(k->op, "body"))
    epilogue(g, &b, d.c, d.c_row, zero, cg_i64(g, d.m), n0, cols);
}

/* ---- other types ---- */

typedef struct plain {
  block b;
  prn_v a, b_base;
} plain;

/* lanes columns of one row: the sum over k, one product at a time. */
static void plain_row(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  plain *p = user;
  prn_kernel *k = p->b.k;
  unsigned r = rank(k);
  prn_dtype t = k->v[A].type->dtype, bt = k->v[B].type->dtype;
  prn_v col = col_stride(k, B);
  prn_v b = prn_elem_at(g, bt, p->b_base, prn_cg_mul(g, i, col));
  prn_v sum = LLVMConstNull(prn_cg_vec(prn_elem_value(g, t), lanes));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), k->v[A].dims[r - 1], 1, &sum, 1);
  prn_v pa = prn_elem_at(g, t, p->a, prn_cg_mul(g, l.iv, col_stride(k, A)));
  prn_v pb = prn_elem_at(g, bt, b, prn_cg_mul(g, l.iv, k->v[B].strides[r - 2]));
  prn_v x =
      prn_cg_splat(g, prn_elem_load(g, t, pa, cg_i64(g, 1), 1, NULL), lanes);
  prn_v y = prn_elem_cast(g, prn_elem_load(g, bt, pb, col, lanes, mask), bt, t);
  l.next[0] =
      prn_dtype_is_float(t)
          ? prn_cg_fma(g, x, y, l.cur[0])
          : LLVMBuildAdd(g->b, LLVMBuildMul(g->b, x, y, ""), l.cur[0], "");
  prn_loop_end(g, &l);
  finish(g, &p->b, l.out[0], i, lanes, mask);
}

static void plain_item(prn_kernel *k, prn_v item) {
  prn_cg *g = k->g;
  unsigned r = rank(k);
  plain p = {.b.k = k};
  prn_v m = k->v[OUT].dims[r - 2], row = item, batch = cg_i64(g, 0);
  if (r > 2) {
    batch = prn_cg_div(g, item, m);
    row = prn_cg_mod(g, item, m);
  }
  locate_batch(k, &p.b, batch);
  locate_row(g, &p.b, row, cg_i64(g, 0));
  p.a = prn_elem_at(g, k->v[A].type->dtype, p.b.base[A],
                    prn_cg_mul(g, row, k->v[A].strides[r - 2]));
  p.b_base = p.b.base[B];
  prn_cg_vloop(g, k->v[OUT].dims[r - 1], g->target->lanes, plain_row, &p);
}

static void body(prn_kernel *k) {
  prn_loop l;
  const prn_few_family *few = few_of(k->op);
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  if (few)
    few_item(k, few, l.iv);
  else if (tiled(k->op))
    tiled_item(k, l.iv);
  else
    plain_item(k, l.iv);
  prn_loop_end(k->g, &l);
}

const prn_kernel_kind prn_kernel_matmul = {check, items, body, scratch};
