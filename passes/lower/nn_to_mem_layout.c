/* lower-nn-to-mem: where the elements of results lie.
 *
 * A tensor is row-major unless something is gained by another order. Linear
 * products want the columns they share (tokens, pixels) side by side and what
 * they sum over in rows; what is computed from such a tensor element by element
 * keeps its order, so that copies remain at the edges only. */
#include "passes/lower/nn_to_mem.h"

prn_dim prn_to_mem_pitch(prn_ctx *ctx, prn_dim columns) {
  /* 16 * (2 * floor((columns + 15) / 32) + 1) */
  prn_dim lines =
      prn_dim_floordiv(ctx, prn_dim_add(ctx, columns, prn_dim_const(ctx, 15)),
                       prn_dim_const(ctx, 32));
  return prn_dim_add(ctx, prn_dim_mul(ctx, lines, prn_dim_const(ctx, 32)),
                     prn_dim_const(ctx, 16));
}

static bool is_row(uint32_t rows, int32_t i) { return rows >> i & 1; }

prn_value *prn_to_mem_alloc_rows(prn_to_mem *s, prn_dtype dtype, int32_t rank,
                                 const prn_dim *dims, uint32_t rows) {
  prn_dim strides[PRN_VIEW_MAX_RANK], step = prn_dim_const(s->ctx, 1);
  for (int32_t i = rank; i-- > 0;) {
    if (is_row(rows, i)) continue;
    strides[i] = step;
    step = prn_dim_mul(s->ctx, step, dims[i]);
  }
  step = prn_to_mem_pitch(s->ctx, step);
  for (int32_t i = rank; i-- > 0;) {
    if (!is_row(rows, i)) continue;
    strides[i] = step;
    step = prn_dim_mul(s->ctx, step, dims[i]);
  }
  const prn_type *t = prn_type_view(s->ctx, dtype, rank, dims, strides,
                                    prn_dim_const(s->ctx, 0));
  prn_op *op = prn_to_mem_op(s, PRN_OP_mem_alloc, NULL, 0, t);
  prn_op_set_attr(op, "elements", prn_attr_dim(s->ctx, step));
  return prn_op_result(op, 0);
}

prn_value *prn_to_mem_result_rows(prn_to_mem *s, const prn_value *v,
                                  uint32_t rows) {
  const prn_type *t = v->type;
  if (prn_ptrmap_has(&s->targets, v)) return prn_to_mem_result(s, v);
  prn_value *out = prn_to_mem_alloc_rows(s, t->dtype, t->rank, t->dims, rows);
  prn_to_mem_set(s, v, out);
  return out;
}

/* ---- results in the order of their operands ---- */

/* Rows of side-by-side columns, as prn_to_mem_alloc_rows makes them: what a
 * row-major order would be but for the pitch, or columns before rows. */
static bool in_rows(const prn_to_mem *s, const prn_type *t) {
  prn_dim step = prn_dim_const(s->ctx, 1);
  bool last = true, pitched = false;
  for (int32_t i = t->rank; i-- > 0;) {
    int64_t stride;
    if (prn_dim_is(t->dims[i], 1)) continue;
    if (prn_dim_is_const(t->strides[i], &stride) && stride <= 0) return false;
    if (last && t->strides[i] != step) return true;
    last = false;
    if (t->strides[i] != step) {
      if (pitched || t->strides[i] != prn_to_mem_pitch(s->ctx, step))
        return false;
      pitched = true;
    }
    step = prn_dim_mul(s->ctx, t->strides[i], t->dims[i]);
  }
  return pitched;
}

/* A view of t's shape whose order its results take. */
static bool is_model(const prn_to_mem *s, const prn_type *x,
                     const prn_type *t) {
  bool unit = false;
  if (x->rank != t->rank) return false;
  for (int32_t i = 0; i < t->rank; i++) {
    int64_t stride;
    if (x->dims[i] != t->dims[i]) return false;
    if (prn_dim_is(t->dims[i], 1) || !prn_dim_is_const(x->strides[i], &stride))
      continue;
    if (stride <= 0) return false;
    unit = unit || stride == 1;
  }
  return unit && in_rows(s, x);
}

/* Elements between the first and the last, both included. */
static prn_dim span(prn_ctx *ctx, const prn_type *t) {
  prn_dim one = prn_dim_const(ctx, 1), n = one;
  for (int32_t i = 0; i < t->rank; i++)
    n = prn_dim_add(
        ctx, n,
        prn_dim_mul(ctx, prn_dim_sub(ctx, t->dims[i], one), t->strides[i]));
  return n;
}

prn_value *prn_to_mem_result_like(prn_to_mem *s, const prn_value *v,
                                  prn_value *const *views, uint32_t n) {
  const prn_type *t = v->type;
  for (uint32_t i = 0; i < n; i++) {
    const prn_type *x = views[i] ? views[i]->type : NULL;
    if (!x || !is_model(s, x, t)) continue;
    const prn_type *r = prn_type_view(s->ctx, t->dtype, t->rank, t->dims,
                                      x->strides, prn_dim_const(s->ctx, 0));
    prn_op *op = prn_to_mem_op(s, PRN_OP_mem_alloc, NULL, 0, r);
    prn_op_set_attr(op, "elements", prn_attr_dim(s->ctx, span(s->ctx, r)));
    prn_to_mem_set(s, v, prn_op_result(op, 0));
    return prn_op_result(op, 0);
  }
  return prn_to_mem_result(s, v);
}

/* The dimensions that are not rows step through memory one by one. */
static bool columns_merge(const prn_to_mem *s, const prn_type *t,
                          uint32_t rows) {
  prn_dim step = prn_dim_const(s->ctx, 1);
  for (int32_t i = t->rank; i-- > 0;) {
    if (is_row(rows, i) || prn_dim_is(t->dims[i], 1)) continue;
    if (t->strides[i] != step) return false;
    step = prn_dim_mul(s->ctx, step, t->dims[i]);
  }
  return true;
}

prn_value *prn_to_mem_as_rows(prn_to_mem *s, prn_value *x, uint32_t rows) {
  const prn_type *t = x->type;
  if (columns_merge(s, t, rows)) return x;
  prn_value *copy = prn_to_mem_alloc_rows(s, t->dtype, t->rank, t->dims, rows);
  prn_to_mem_copy(s, x, copy);
  return copy;
}
