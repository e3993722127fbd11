/* Picking elements by index lists or conditions. */
#include "ir/onnx/shape.h"

prn_status prn_infer_gather_elements(prn_infer *env, prn_op *op) {
  prn_shape data = prn_shape_of(env, op, 0), idx = prn_shape_of(env, op, 1);
  int32_t axis;
  if (data.rank >= 0 && idx.rank >= 0 && data.rank != idx.rank)
    return prn_op_error(op, "data of rank %d and indices of rank %d",
                        (int)data.rank, (int)idx.rank);
  if (data.rank >= 0)
    PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), data.rank,
                           &axis));
  idx.dtype = data.dtype;
  return prn_shape_result(env, op, 0, idx);
}

/* data [batch, i0.., rest], indices [batch, where, k]: the result is
 * [batch, where, rest] with k axes of data picked. */
prn_status prn_infer_gather_nd(prn_infer *env, prn_op *op) {
  prn_shape data = prn_shape_of(env, op, 0), idx = prn_shape_of(env, op, 1);
  int64_t batch = prn_op_int(op, "batch_dims", 0), k;
  if (data.rank < 0 || idx.rank < 0)
    return prn_shape_dtype_only(env, op, 0, data.dtype);
  if (batch < 0 || batch >= idx.rank || batch > data.rank)
    return prn_op_error(op,
                        "batch_dims is %lld for data of rank %d and "
                        "indices of rank %d",
                        (long long)batch, (int)data.rank, (int)idx.rank);
  if (!prn_dim_is_const(idx.dims[idx.rank - 1], &k))
    return prn_shape_dtype_only(env, op, 0, data.dtype);
  if (k < 1 || k > data.rank - batch)
    return prn_op_error(op, "indices name %lld axes, but data has %lld",
                        (long long)k, (long long)(data.rank - batch));
  int32_t picked = (int32_t)(batch + k), lead = idx.rank - 1;
  prn_shape out =
      prn_shape_new(env, data.dtype, (int64_t)lead + data.rank - picked);
  for (int32_t i = 0; i < lead; i++)
    out.dims[i] = idx.dims[i];
  for (int32_t i = picked; i < data.rank; i++)
    out.dims[lead + i - picked] = data.dims[i];
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_compress(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_dim count = prn_dim_unknown(prn_infer_ctx(env));
  int32_t axis;
  size_t n;
  int64_t v, kept = 0;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 1), &n);
  for (size_t i = 0; c && i < n; i++) {
    if (!prn_dim_is_const(c[i], &v)) {
      c = NULL;
      break;
    }
    kept += v != 0;
  }
  if (c) count = prn_shape_const(env, kept);
  if (!prn_op_attr(op, "axis")) {
    prn_shape out = prn_shape_new(env, x.dtype, 1);
    out.dims[0] = count;
    return prn_shape_result(env, op, 0, out);
  }
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), x.rank, &axis));
  x.dims[axis] = count;
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_nonzero(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_shape out = prn_shape_new(env, PRN_I64, 2);
  if (x.rank >= 0) out.dims[0] = prn_shape_const(env, x.rank);
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_one_hot(prn_infer *env, prn_op *op) {
  prn_shape idx = prn_shape_of(env, op, 0);
  prn_dtype dtype = prn_shape_of(env, op, 2).dtype;
  int32_t axis;
  size_t n;
  const prn_dim *depth = prn_infer_content(env, prn_shape_in(op, 1), &n);
  if (idx.rank < 0) return prn_shape_dtype_only(env, op, 0, dtype);
  PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", -1),
                         (int64_t)idx.rank + 1, &axis));
  prn_shape out = prn_shape_new(env, dtype, (int64_t)idx.rank + 1);
  for (int32_t i = 0; i < out.rank; i++)
    if (i != axis) out.dims[i] = idx.dims[i - (i > axis)];
  if (depth && n == 1) out.dims[axis] = depth[0];
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_unique(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_shape flat = prn_shape_new(env, PRN_I64, 1);
  int32_t axis;
  prn_shape out = prn_shape_new(env, x.dtype, 1);
  prn_shape inverse = flat;
  if (prn_op_attr(op, "axis")) {
    out = prn_shape_unranked(x.dtype);
    if (x.rank >= 0) {
      PRN_TRY(
          prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), x.rank, &axis));
      inverse = prn_shape_new(env, PRN_I64, 1);
      inverse.dims[0] = x.dims[axis];
      x.dims[axis] = prn_dim_unknown(prn_infer_ctx(env));
      out = x;
    }
  } else if (x.rank >= 0) {
    inverse = prn_shape_new(env, PRN_I64, 1);
    inverse.dims[0] = prn_shape_product(env, x, 0, x.rank);
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  PRN_TRY(prn_shape_result(env, op, 1, flat));
  PRN_TRY(prn_shape_result(env, op, 2, inverse));
  return prn_shape_result(env, op, 3, flat);
}

prn_status prn_infer_nms(prn_infer *env, prn_op *op) {
  prn_shape out = prn_shape_new(env, PRN_I64, 2);
  out.dims[1] = prn_shape_const(env, 3);
  return prn_shape_result(env, op, 0, out);
}

/* ---- losses ---- */

/* The loss is shaped like the labels unless it is reduced to a scalar. */
static prn_status loss(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), y = prn_shape_of(env, op, 1);
  bool none = prn_str_is(prn_op_string(op, "reduction", "mean"), "none");
  y.dtype = x.dtype;
  if (!none) y = prn_shape_new(env, x.dtype, 0);
  return prn_shape_result(env, op, 0, y);
}

prn_status prn_infer_nll_loss(prn_infer *env, prn_op *op) {
  return loss(env, op);
}

prn_status prn_infer_softmax_loss(prn_infer *env, prn_op *op) {
  PRN_TRY(loss(env, op));
  return prn_shape_result(env, op, 1, prn_shape_of(env, op, 0));
}
