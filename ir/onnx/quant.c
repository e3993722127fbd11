/* Quantised tensors. */
#include <math.h>

#include "ir/onnx/shape.h"

/* The scale is one number, one for each entry along the axis, or one for each
 * block of block_size entries. */
static prn_status check_scale(prn_infer *env, const prn_op *op, prn_shape x) {
  prn_shape s = prn_shape_of(env, op, 1);
  int64_t block = prn_op_int(op, "block_size", 0), d, n;
  int32_t axis;
  if (s.rank < 0 || x.rank < 0 || s.rank == 0 || prn_shape_small(s) == 1)
    return PRN_OK;
  PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", 1), x.rank, &axis));
  if (s.rank == 1 && prn_dim_is_const(x.dims[axis], &d) &&
      prn_dim_is_const(s.dims[0], &n) && block == 0 && n != d)
    return prn_op_error(op, "%lld scales for %lld entries along axis %d",
                        (long long)n, (long long)d, (int)axis);
  if (block && s.rank != x.rank)
    return prn_op_error(op, "scales of rank %d for blocks of rank %d",
                        (int)s.rank, (int)x.rank);
  return PRN_OK;
}

prn_status prn_infer_quantize(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), zero = prn_shape_of(env, op, 2);
  int64_t given = prn_op_int(op, "output_dtype", 0);
  PRN_TRY(check_scale(env, op, x));
  x.dtype = PRN_U8;
  if (prn_shape_in(op, 2)) x.dtype = zero.dtype;
  if (given) x.dtype = prn_shape_dtype_attr(op, "output_dtype", PRN_U8);
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_dequantize(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t given = prn_op_int(op, "output_dtype", 0);
  PRN_TRY(check_scale(env, op, x));
  x.dtype = prn_shape_of(env, op, 1).dtype;
  if (given) x.dtype = prn_shape_dtype_attr(op, "output_dtype", PRN_F32);
  return prn_shape_result(env, op, 0, x);
}

/* A scale that is a constant must be a positive number. */
prn_status prn_verify_scale(prn_op *op) {
  const prn_tensor *t = prn_value_constant(prn_op_operand(op, 1));
  double v[256];
  if (!t || !t->data) return PRN_OK;
  int64_t n = prn_tensor_count(t);
  for (int64_t at = 0; at < n; at += (int64_t)PRN_COUNT(v)) {
    int64_t k = n - at < (int64_t)PRN_COUNT(v) ? n - at : (int64_t)PRN_COUNT(v);
    prn_tensor_read_f64(t, at, k, v);
    for (int64_t i = 0; i < k; i++)
      if (!(v[i] > 0) || isinf(v[i]))
        return prn_op_error(op, "scale %lld is %g, expected a positive number",
                            (long long)(at + i), v[i]);
  }
  return PRN_OK;
}

prn_status prn_infer_dynamic_quantize(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  x.dtype = PRN_U8;
  PRN_TRY(prn_shape_result(env, op, 0, x));
  PRN_TRY(prn_shape_result(env, op, 1, prn_shape_new(env, PRN_F32, 0)));
  return prn_shape_result(env, op, 2, prn_shape_new(env, PRN_U8, 0));
}
