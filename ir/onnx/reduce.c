/* Reductions, and what works along one axis. */
#include "ir/onnx/shape.h"

static prn_dim reduce_elems(prn_infer *env, prn_opcode code, const prn_dim *c,
                            size_t n) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim acc = c[0];
  for (size_t i = 1; i < n; i++)
    switch (code) {
    case PRN_OP_onnx_ReduceProd:
      acc = prn_dim_mul(ctx, acc, c[i]);
      break;
    case PRN_OP_onnx_ReduceSum:
      acc = prn_dim_add(ctx, acc, c[i]);
      break;
    case PRN_OP_onnx_ReduceMin:
      acc = prn_dim_min(ctx, acc, c[i]);
      break;
    case PRN_OP_onnx_ReduceMax:
      acc = prn_dim_max(ctx, acc, c[i]);
      break;
    default:
      return prn_dim_unknown(ctx);
    }
  return acc;
}

static prn_shape reduced(prn_infer *env, prn_shape in, const bool *axes,
                         bool keep) {
  prn_shape out = prn_shape_new(env, in.dtype, in.rank);
  out.rank = 0;
  for (int32_t i = 0; i < in.rank; i++)
    if (!axes[i])
      out.dims[out.rank++] = in.dims[i];
    else if (keep)
      out.dims[out.rank++] = prn_shape_const(env, 1);
  return out;
}

prn_status prn_infer_reduce(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_int_list axes = prn_shape_ints(env, op, "axes", 1);
  bool keep = prn_op_int(op, "keepdims", 1) == 1, known, *flags;
  bool noop = prn_op_int(op, "noop_with_empty_axes", 0) == 1;
  size_t n;
  if (in.rank < 0) return prn_shape_dtype_only(env, op, 0, in.dtype);
  if (axes.n == 0) axes.given = false;
  if (!axes.given && noop) return prn_shape_result(env, op, 0, in);
  PRN_TRY(prn_shape_axes(env, op, axes, in.rank, &known, &flags));
  if (!known) {
    if (keep)
      return prn_shape_result(env, op, 0,
                              prn_shape_new(env, in.dtype, in.rank));
    if (axes.n < 0 || axes.n > in.rank)
      return prn_shape_dtype_only(env, op, 0, in.dtype);
    return prn_shape_result(env, op, 0,
                            prn_shape_new(env, in.dtype, in.rank - axes.n));
  }
  for (int32_t i = 0; !axes.given && i < in.rank; i++)
    flags[i] = true;
  PRN_TRY(prn_shape_result(env, op, 0, reduced(env, in, flags, keep)));
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (c && n && in.rank == 1) {
    prn_dim v = reduce_elems(env, prn_op_code(op), c, n);
    prn_infer_set_content(env, op, 0, &v, 1);
  }
  return PRN_OK;
}

prn_status prn_infer_arg_reduce(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  int32_t axis;
  if (in.rank < 0) return prn_shape_dtype_only(env, op, 0, PRN_I64);
  in.dtype = PRN_I64;
  PRN_TRY(
      prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), in.rank, &axis));
  bool *flags = PRN_ARENA_ARRAY(prn_infer_scratch(env), bool, in.rank);
  flags[axis] = true;
  bool keep = prn_op_int(op, "keepdims", 1) == 1;
  return prn_shape_result(env, op, 0, reduced(env, in, flags, keep));
}

/* Softmax and its kin: the shape stays, the axis must exist. Up to opset 12
 * the axis may equal the rank. */
prn_status prn_infer_along_axis(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  int64_t opset = prn_op_opset(op);
  bool old = opset > 0 && opset < 13;
  int64_t axis = prn_op_int(op, "axis", old ? 1 : -1);
  int32_t at;
  PRN_TRY(prn_shape_result(env, op, 0, in));
  if (in.rank < 0 || (old && axis == in.rank)) return PRN_OK;
  if (in.rank == 0 && (axis == 0 || axis == -1)) return PRN_OK;
  return prn_shape_axis(op, "axis", axis, in.rank, &at);
}

prn_status prn_infer_topk(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  int32_t axis;
  size_t n;
  prn_shape out = in;
  const prn_dim *k = prn_infer_content(env, prn_shape_in(op, 1), &n);
  if (in.rank >= 0) {
    PRN_TRY(
        prn_shape_axis(op, "axis", prn_op_int(op, "axis", -1), in.rank, &axis));
    int64_t attr = prn_op_int(op, "k", -1);
    out.dims[axis] = prn_dim_unknown(prn_infer_ctx(env));
    if (attr >= 0) out.dims[axis] = prn_shape_const(env, attr);
    if (k && n == 1) out.dims[axis] = k[0];
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  out.dtype = PRN_I64;
  return prn_shape_result(env, op, 1, out);
}
