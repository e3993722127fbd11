/* onnx -> nn: operators that address elements, and rearrangements that are
 * reshapes and transposes. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* Negative indices count from `size`. */
static prn_value *wrapped(prn_o2n *e, prn_value *i, prn_dim size) {
  prn_value *n = prn_nn_size(&e->b, size, i->type->dtype);
  prn_value *below = prn_nn_with(&e->b, PRN_SCALAR_lt, i, 0);
  return prn_nn_select(&e->b, below, binary(e, PRN_SCALAR_add, i, n), i);
}

/* ---- depth and space ---- */

/* [n, c, h, w] cut to six dimensions, permuted, joined again. */
static prn_status lower_depth_space(prn_o2n *e, prn_op *op) {
  static const int64_t dcr[6] = {0, 3, 4, 1, 5, 2};
  static const int64_t crd[6] = {0, 1, 4, 2, 5, 3};
  static const int64_t back[6] = {0, 3, 5, 1, 2, 4};
  static const int64_t back_crd[6] = {0, 1, 3, 5, 2, 4};
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_dim *d = x->type->dims;
  int64_t size = prn_op_int(op, "blocksize", 0);
  bool to_space = prn_str_is(op->opname->name, "DepthToSpace");
  bool columns = prn_str_is(prn_op_string(op, "mode", "DCR"), "CRD");
  if (x->type->rank != 4 || size < 1)
    return prn_op_error(op, "expects x[n, c, h, w] and a positive blocksize");
  prn_dim b = prn_dim_const(e->ctx, size), bb = prn_dim_mul(e->ctx, b, b);
  prn_dim c = prn_dim_floordiv(e->ctx, d[1], bb);
  prn_dim rows[6] = {d[0], b, b, c, d[2], d[3]};
  prn_dim inner[6] = {d[0], c, b, b, d[2], d[3]};
  prn_dim space[6] = {d[0],
                      d[1],
                      prn_dim_floordiv(e->ctx, d[2], b),
                      b,
                      prn_dim_floordiv(e->ctx, d[3], b),
                      b};
  x = prn_nn_reshape_dims(&e->b, x, 6,
                          !to_space ? space : (columns ? inner : rows));
  x = prn_nn_transpose(
      &e->b, x, to_space ? (columns ? crd : dcr) : (columns ? back_crd : back));
  return prn_o2n_set_shape(e, op, 0, x);
}

/* ---- OneHot ---- */

static prn_status lower_one_hot(prn_o2n *e, prn_op *op) {
  prn_value *i = prn_o2n_in(e, op, 0), *values = prn_o2n_in(e, op, 2);
  const prn_type *type = prn_o2n_out(e, op, 0);
  prn_dim dims[MAX_RANK];
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", -1, type->rank, &axis));
  for (int32_t k = 0; k < type->rank; k++)
    dims[k] = k == axis ? prn_dim_const(e->ctx, 1) : type->dims[k];
  i = prn_nn_cast(&e->b, i, PRN_I64);
  i = wrapped(e, prn_nn_reshape_dims(&e->b, i, type->rank, dims),
              type->dims[axis]);
  for (int32_t k = 0; k < type->rank; k++)
    dims[k] = k == axis ? type->dims[k] : prn_dim_const(e->ctx, 1);
  prn_value *at =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, type->rank, dims),
                  axis, NULL, NULL);
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_value *off =
      prn_nn_slice_axis(&e->b, values, 0, prn_dim_const(e->ctx, 0), one);
  prn_value *on = prn_nn_slice_axis(&e->b, values, 0, one, one);
  prn_value *hit = binary(e, PRN_SCALAR_eq, i, at);
  return prn_o2n_set(e, op, 0,
                     prn_nn_select(&e->b, hit,
                                   prn_nn_reshape_dims(&e->b, on, 0, NULL),
                                   prn_nn_reshape_dims(&e->b, off, 0, NULL)));
}

/* ---- GatherND ---- */

/* Element j of the last dimension of the indices, without it. */
static prn_value *component(prn_o2n *e, prn_value *i, int64_t j) {
  int32_t last = i->type->rank - 1;
  prn_value *c = prn_nn_slice_axis(&e->b, i, last, prn_dim_const(e->ctx, j),
                                   prn_dim_const(e->ctx, 1));
  return prn_nn_reshape_dims(&e->b, c, last, i->type->dims);
}

/* Data as rows and one row number for each tuple of indices. */
static prn_status lower_gather_nd(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *i = prn_o2n_in(e, op, 1);
  const prn_type *t = x->type, *ti = i->type;
  int64_t batch = prn_op_int(op, "batch_dims", 0), k;
  if (ti->rank < 1 || !prn_dim_is_const(ti->dims[ti->rank - 1], &k) ||
      batch < 0 || batch >= ti->rank || batch + k > t->rank)
    return prn_op_error(op, "expects tuples of at most %d indices",
                        (int)t->rank);
  prn_dim rows = prn_dim_const(e->ctx, 1), rest = rows;
  prn_value *at = NULL;
  for (int64_t d = 0; d < t->rank; d++) {
    prn_dim *size = d < batch + k ? &rows : &rest;
    *size = prn_dim_mul(e->ctx, *size, t->dims[d]);
    if (d >= batch + k) continue;
    prn_value *n = prn_nn_size(&e->b, t->dims[d], PRN_I64), *c;
    if (d < batch) {
      prn_dim dims[MAX_RANK];
      for (int32_t j = 0; j < ti->rank - 1; j++)
        dims[j] = j == d ? t->dims[d] : prn_dim_const(e->ctx, 1);
      c = prn_nn_iota(&e->b,
                      prn_type_tensor(e->ctx, PRN_I64, ti->rank - 1, dims),
                      (int32_t)d, NULL, NULL);
    } else {
      c = wrapped(e, component(e, i, d - batch), t->dims[d]);
    }
    at =
        at ? binary(e, PRN_SCALAR_add, binary(e, PRN_SCALAR_mul, at, n), c) : c;
  }
  if (!at) return prn_o2n_unsupported(op, "empty tuples");
  prn_dim flat[2] = {rows, rest}, dims[MAX_RANK];
  int32_t rank = ti->rank - 1;
  for (int32_t j = 0; j < rank; j++)
    dims[j] = ti->dims[j];
  at =
      prn_nn_broadcast(&e->b, at, prn_type_tensor(e->ctx, PRN_I64, rank, dims));
  dims[rank] = rest;
  prn_value *in[2] = {prn_nn_reshape_dims(&e->b, x, 2, flat), at};
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2,
                             prn_nn_type(e->ctx, t, rank + 1, dims));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, 0));
  return prn_o2n_set_shape(e, op, 0, r);
}

/* ---- ReverseSequence ---- */

/* y[i] = x[len - 1 - i] for i < len, x[i] otherwise. */
static prn_status lower_reverse_sequence(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *len = prn_o2n_in(e, op, 1);
  const prn_type *t = x->type;
  prn_dim one = prn_dim_const(e->ctx, 1), dims[MAX_RANK], along[MAX_RANK];
  int32_t time, batch;
  PRN_TRY(prn_o2n_axis(op, "time_axis", 0, t->rank, &time));
  PRN_TRY(prn_o2n_axis(op, "batch_axis", 1, t->rank, &batch));
  for (int32_t i = 0; i < t->rank; i++) {
    dims[i] = i == batch ? t->dims[i] : one;
    along[i] = i == time ? t->dims[i] : one;
  }
  len = prn_nn_reshape_dims(&e->b, len, t->rank, dims);
  prn_value *at =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, t->rank, along), time,
                  NULL, NULL);
  prn_value *back =
      binary(e, PRN_SCALAR_sub, prn_nn_with(&e->b, PRN_SCALAR_sub, len, 1), at);
  prn_value *turn = binary(e, PRN_SCALAR_lt, at, len);
  at = prn_nn_select(&e->b, turn, back, at);
  at = prn_nn_broadcast(&e->b, at,
                        prn_type_tensor(e->ctx, PRN_I64, t->rank, t->dims));
  prn_value *in[2] = {x, at};
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather_elements, in, 2,
                             prn_nn_plain(e->ctx, t));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, time));
  return prn_o2n_set(e, op, 0, r);
}

/* ---- CenterCropPad ---- */

/* Crops and pads around the middle; one of the two along each axis. */
static prn_status lower_center_crop_pad(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  prn_dim starts[MAX_RANK], lows[MAX_RANK], cut[MAX_RANK];
  int64_t steps[MAX_RANK], in, out;
  for (int32_t i = 0; i < type->rank; i++) {
    prn_dim zero = prn_dim_const(e->ctx, 0), d = x->type->dims[i];
    bool same = d == type->dims[i];
    if (!same &&
        (!prn_dim_is_const(d, &in) || !prn_dim_is_const(type->dims[i], &out)))
      return prn_o2n_unsupported(op, "sizes that are not constant");
    if (same) in = out = 0;
    steps[i] = 1;
    starts[i] = in > out ? prn_dim_const(e->ctx, (in - out) / 2) : zero;
    lows[i] = in < out ? prn_dim_const(e->ctx, (out - in) / 2) : zero;
    cut[i] = in > out ? type->dims[i] : d;
  }
  const prn_type *smaller = prn_nn_type(e->ctx, x->type, type->rank, cut);
  x = prn_nn_slice(&e->b, x, smaller, starts, steps);
  if (x->type != type) x = prn_nn_pad(&e->b, x, NULL, type, lows, "constant");
  return prn_o2n_set(e, op, 0, x);
}

const prn_o2n_row prn_o2n_index[] = {
    {"DepthToSpace", lower_depth_space, 0, 0},
    {"SpaceToDepth", lower_depth_space, 0, 0},
    {"OneHot", lower_one_hot, 2, 0},
    {"GatherND", lower_gather_nd, 0, 0},
    {"com.microsoft:GatherND", lower_gather_nd, 0, 0},
    {"ReverseSequence", lower_reverse_sequence, 0, 0},
    {"CenterCropPad", lower_center_crop_pad, 2, 0},
    {NULL, NULL, 0, 0},
};
