/* lower-nn-to-mem: products with constant weights.
 *
 * out[n, m] = sum over k of w[k, n] x[k, m], with m (tokens, pixels) side by
 * side in memory: mem.linear. A matrix product merges all dimensions but the
 * features into m; a 1x1 convolution is one as its tensors lie. Products of a
 * few rows stay row-major (mem.matmul), because there vectors must run along
 * n; which it is follows from the packing that was planned, and without a plan
 * from the number of rows. */
#include <string.h>

#include "ir/pack/pack.h"
#include "passes/lower/nn_to_mem.h"

enum { MAX_EXTRAS = 32, FEW_ROWS = 12 };

/* ---- weights ---- */

const prn_tensor *prn_to_mem_matrix(const prn_value *v, bool *transposed) {
  const prn_tensor *t = prn_value_constant(v);
  *transposed = false;
  if (!t && v->def && prn_op_is(v->def, PRN_OP_nn_transpose)) {
    t = prn_value_constant(prn_op_operand(v->def, 0));
    *transposed = true;
  }
  bool fits = t && t->type->rank == 2 && t->type->dtype == PRN_F32 &&
              prn_tensor_count(t) > 0;
  return fits ? t : NULL;
}

/* Weights of this type can be multiplied by activations of that type. */
static bool multiply(prn_dtype x, prn_dtype w) {
  if (x == PRN_F16 || x == PRN_BF16) return w == x || w == PRN_F32;
  if (x == PRN_F32) return w == PRN_F32 || w == PRN_F16 || w == PRN_BF16;
  if (prn_dtype_is_ofp8(x)) return w == x;
  return x == PRN_U8 && w == PRN_I8;
}

const prn_tensor *prn_to_mem_weights(const prn_op *op, bool *transposed) {
  const prn_value *v = prn_op_operand(op, 1);
  const prn_tensor *t = prn_value_constant(v);
  *transposed = false;
  if (!t && v->def && prn_op_is(v->def, PRN_OP_nn_transpose)) {
    t = prn_value_constant(prn_op_operand(v->def, 0));
    *transposed = true;
  }
  bool fits = t && t->type->rank == 2 && prn_tensor_count(t) > 0 &&
              multiply(prn_op_operand(op, 0)->type->dtype, t->type->dtype);
  return fits ? t : NULL;
}

prn_dtype prn_to_mem_storage(const prn_op *op, prn_dtype t) {
  prn_str wanted = prn_op_string(op, "precision", "");
  if (prn_op_int(op, "pack_wide", 0)) return PRN_F32;
  if (t != PRN_F32) return t;
  if (prn_str_is(wanted, "f16")) return PRN_F16;
  return prn_str_is(wanted, "bf16") ? PRN_BF16 : PRN_F32;
}

/* In which type a format keeps the weights of op (NULL: as they are). */
static prn_dtype storage(const prn_op *op, const prn_tensor *t,
                         const char *format) {
  prn_dtype as = t->type->dtype;
  if (op) as = prn_to_mem_storage(op, as);
  return as == PRN_F32 && prn_str_is(PRN_STR("rows2"), format) ? PRN_BF16 : as;
}

prn_op *prn_to_mem_packed(prn_to_mem *s, const prn_op *op, const prn_tensor *t,
                          bool nk, const char *format) {
  const prn_dim *d = t->type->dims;
  prn_dim flat = prn_dim_const(s->ctx, 1);
  for (int32_t i = 1; i < t->type->rank; i++)
    flat = prn_dim_mul(s->ctx, flat, d[i]);
  prn_dim dims[2] = {nk ? flat : d[0], nk ? d[0] : flat};
  prn_op *c = prn_to_mem_op(
      s, PRN_OP_mem_constant, NULL, 0,
      prn_type_view_dense(s->ctx, storage(op, t, format), 2, dims));
  prn_op_set_attr(c, "value", prn_attr_tensor(s->ctx, t));
  prn_op_set_attr(c, "pack", prn_attr_string(s->ctx, prn_str_from(format)));
  if (nk) prn_op_set_attr(c, "stored", prn_attr_string(s->ctx, PRN_STR("nk")));
  if (!prn_pack_find(prn_str_from(format))->along_m &&
      !prn_str_is(PRN_STR("dense"), format))
    prn_op_set_attr(c, "nr", prn_attr_int(s->ctx, s->target->nr));
  if (strncmp(format, "rows", 4) == 0)
    prn_op_set_attr(c, "group", prn_attr_int(s->ctx, s->target->mr));
  static const char *const names[][2] = {{"pack_group", "group"},
                                         {"pack_depth", "depth"},
                                         {"pack_nr", "nr"},
                                         {"pack_vectors", "vectors"}};
  for (size_t i = 0; op && i < PRN_COUNT(names); i++) {
    const prn_attr *a = prn_op_attr(op, names[i][0]);
    if (a) prn_op_set_attr(c, names[i][1], a);
  }
  return c;
}

/* ---- which products are linear ---- */

const prn_tensor *prn_to_mem_filter(const prn_op *op) {
  const prn_tensor *t = prn_value_constant(prn_op_operand(op, 1));
  bool fits = t && prn_tensor_count(t) > 0 &&
              multiply(prn_op_operand(op, 0)->type->dtype, t->type->dtype);
  return fits ? t : NULL;
}

const prn_tensor *prn_to_mem_pointwise(const prn_op *op) {
  const prn_tensor *w = prn_to_mem_filter(op);
  const prn_type *x = prn_op_operand(op, 0)->type;
  const prn_type *out = prn_op_result(op, 0)->type;
  if (!w || prn_op_int(op, "group", 1) != 1) return NULL;
  const prn_attr *pads = prn_op_attr(op, "pads");
  size_t n;
  const int64_t *strides = prn_op_ints(op, "strides", &n);
  for (int32_t i = 2; i < x->rank; i++)
    if (!prn_dim_is(w->type->dims[i], 1) || strides[i - 2] != 1 ||
        !prn_dim_is(pads->list[i - 2]->dim, 0) || x->dims[i] != out->dims[i])
      return NULL;
  return x->rank > 2 ? w : NULL;
}

/* Elements of dimensions [from, to). */
static prn_dim count(const prn_to_mem *s, const prn_type *t, int32_t from,
                     int32_t to) {
  prn_dim n = prn_dim_const(s->ctx, 1);
  for (int32_t i = from; i < to; i++)
    n = prn_dim_mul(s->ctx, n, t->dims[i]);
  return n;
}

static bool few(prn_dim m) {
  int64_t v;
  return prn_dim_is_const(m, &v) && v < FEW_ROWS;
}

/* The planned format, or the default for m columns. */
static const prn_pack_format *format_of(const prn_op *op, prn_dim m) {
  prn_dtype w = prn_op_operand(op, 1)->type->dtype;
  bool narrow = prn_to_mem_storage(op, w) != PRN_F32;
  const char *usual = w == PRN_I8 ? "rows4"
                      : few(m)    ? "panels"
                      : narrow    ? "rows2"
                                  : "rows";
  return prn_pack_find(prn_op_string(op, "pack", usual));
}

bool prn_to_mem_is_linear(const prn_to_mem *s, const prn_op *op) {
  const prn_type *t = prn_op_result(op, 0)->type;
  bool transposed, conv = prn_op_is(op, PRN_OP_nn_conv);
  if (s->target->rows) return false;
  if (op->num_operands - 2 > MAX_EXTRAS) return false;
  if (conv ? !prn_to_mem_pointwise(op) : !prn_to_mem_weights(op, &transposed))
    return false;
  const prn_pack_format *f = format_of(op, conv ? count(s, t, 2, t->rank)
                                                : count(s, t, 0, t->rank - 1));
  return f && f->along_m;
}

/* ---- the product ---- */

/* Operand i laid out in rows; when it had to be copied, later readers get the
 * copy too. */
static prn_value *operand_rows(prn_to_mem *s, const prn_op *op, uint32_t i,
                               uint32_t rows) {
  prn_value *x = prn_to_mem_operand(s, op, i);
  prn_value *laid = prn_to_mem_as_rows(s, x, rows);
  if (laid != x && s->depth == 1)
    prn_to_mem_set(s, prn_op_operand(op, i), laid);
  return laid;
}

/* x as [rows..., columns]: the dimensions outside the mask `rows`, which
 * merge, become one. */
static prn_value *as_matrix(prn_to_mem *s, prn_value *x, uint32_t rows) {
  const prn_type *t = x->type;
  prn_dim dims[PRN_VIEW_MAX_RANK], strides[PRN_VIEW_MAX_RANK];
  prn_dim columns = prn_dim_const(s->ctx, 1), step = columns;
  int32_t n = 0;
  for (int32_t i = 0; i < t->rank; i++) {
    if (rows >> i & 1) {
      dims[n] = t->dims[i];
      strides[n++] = t->strides[i];
    } else {
      columns = prn_dim_mul(s->ctx, columns, t->dims[i]);
      if (!prn_dim_is(t->dims[i], 1)) step = t->strides[i];
    }
  }
  dims[n] = columns;
  strides[n++] = step;
  return prn_to_mem_view(
      s, x, prn_type_view(s->ctx, t->dtype, n, dims, strides, t->offset));
}

/* Steps of 0 along all columns. */
static bool repeats(const prn_type *t, uint32_t rows) {
  for (int32_t i = 0; i < t->rank; i++)
    if (!(rows >> i & 1) && !prn_dim_is(t->dims[i], 1) &&
        !prn_dim_is(t->strides[i], 0))
      return false;
  return true;
}

static prn_value *extra(prn_to_mem *s, prn_op *op, uint32_t i, uint32_t rows) {
  const prn_type *t = prn_op_result(op, 0)->type;
  const prn_type *have = prn_op_operand(op, i)->type;
  bool whole = have->rank == t->rank;
  for (int32_t k = 0; whole && k < t->rank; k++)
    whole = have->dims[k] == t->dims[k];
  prn_value *x =
      whole ? operand_rows(s, op, i, rows) : prn_to_mem_operand(s, op, i);
  x = prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
  if (!x) return NULL;
  if (!repeats(x->type, rows)) x = prn_to_mem_as_rows(s, x, rows);
  return as_matrix(s, x, rows);
}

static prn_status linear(prn_to_mem *s, prn_op *op, prn_value *w, uint32_t rows,
                         prn_value *out) {
  prn_value *views[MAX_EXTRAS + 3];
  uint32_t n = 0;
  views[n++] = as_matrix(s, operand_rows(s, op, 0, rows), rows);
  views[n++] = w;
  views[n++] = as_matrix(s, out, rows);
  for (uint32_t i = 2; i < op->num_operands; i++) {
    views[n] = extra(s, op, i, rows);
    if (!views[n++]) return PRN_FAIL;
  }
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_linear, views, n, NULL);
  prn_to_mem_body(s, op, r, "body");
  prn_to_mem_set(s, prn_op_result(op, 0), out);
  return PRN_OK;
}

prn_status prn_to_mem_linear(prn_to_mem *s, prn_op *op) {
  bool transposed;
  const prn_tensor *t = prn_to_mem_weights(op, &transposed);
  const prn_type *r = prn_op_result(op, 0)->type;
  uint32_t rows = 1u << (r->rank - 1);
  const prn_pack_format *format = format_of(op, count(s, r, 0, r->rank - 1));
  prn_op *w = prn_to_mem_packed(s, op, t, transposed, format->name);
  /* An output of the function is row-major; it is copied in the end. */
  prn_value *out = prn_to_mem_alloc_rows(s, r->dtype, r->rank, r->dims, rows);
  return linear(s, op, prn_op_result(w, 0), rows, out);
}

prn_status prn_to_mem_linear_conv(prn_to_mem *s, prn_op *op) {
  const prn_type *r = prn_op_result(op, 0)->type;
  uint32_t rows = 3; /* image and channel */
  const prn_pack_format *format = format_of(op, count(s, r, 2, r->rank));
  prn_op *w =
      prn_to_mem_packed(s, op, prn_to_mem_filter(op), true, format->name);
  prn_value *out = prn_to_mem_result_rows(s, prn_op_result(op, 0), rows);
  return linear(s, op, prn_op_result(w, 0), rows, out);
}
