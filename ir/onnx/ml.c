/* Classical machine learning: domain ai.onnx.ml. */
#include "ir/onnx/shape.h"

/* Shaped like the input, in f32. */
prn_status prn_infer_ml_float(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  x.dtype = PRN_F32;
  return prn_shape_result(env, op, 0, x);
}

/* Rows of operand 0; a vector is one row. */
static prn_dim rows(prn_infer *env, prn_shape x) {
  if (x.rank == 1) return prn_shape_const(env, 1);
  return x.rank > 1 ? x.dims[0] : prn_dim_unknown(prn_infer_ctx(env));
}

prn_status prn_infer_ml_extract(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), y = prn_shape_of(env, op, 1);
  if (x.rank < 1) return prn_shape_dtype_only(env, op, 0, x.dtype);
  prn_shape out = x.rank == 1 ? prn_shape_new(env, x.dtype, 2) : x;
  if (x.rank == 1) out.dims[0] = prn_shape_const(env, 1);
  out.dims[out.rank - 1] = prn_dim_unknown(prn_infer_ctx(env));
  if (y.rank >= 0)
    out.dims[out.rank - 1] = prn_shape_product(env, y, 0, y.rank);
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ml_label(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  const prn_attr *t = prn_op_attr(op, "values_tensor");
  x.dtype = PRN_DTYPE_NONE;
  if (t && t->kind == PRN_ATTR_TENSOR) x.dtype = t->tensor->type->dtype;
  if (prn_op_attr(op, "values_int64s")) x.dtype = PRN_I64;
  if (prn_op_attr(op, "values_floats")) x.dtype = PRN_F32;
  if (prn_op_attr(op, "values_strings")) x.dtype = PRN_STRING;
  return prn_shape_result(env, op, 0, x);
}

static size_t length(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  bool list = a && (a->kind == PRN_ATTR_INTS || a->kind == PRN_ATTR_STRINGS ||
                    a->kind == PRN_ATTR_FLOATS);
  return list ? a->size : 0;
}

/* Labels [rows] and scores [rows, classes]. */
prn_status prn_infer_ml_classifier(prn_infer *env, prn_op *op) {
  size_t names = length(op, "classlabels_strings");
  size_t numbers =
      length(op, "classlabels_ints") + length(op, "classlabels_int64s");
  prn_dim n = rows(env, prn_shape_of(env, op, 0));
  prn_shape label = prn_shape_new(env, names ? PRN_STRING : PRN_I64, 1);
  prn_shape scores = prn_shape_new(env, PRN_F32, 2);
  label.dims[0] = scores.dims[0] = n;
  if (names + numbers)
    scores.dims[1] = prn_shape_const(env, (int64_t)(names + numbers));
  PRN_TRY(prn_shape_result(env, op, 0, label));
  return prn_shape_result(env, op, 1, scores);
}

prn_status prn_infer_ml_regressor(prn_infer *env, prn_op *op) {
  int64_t n = prn_op_int(op, "targets", prn_op_int(op, "n_targets", 1));
  prn_shape out = prn_shape_new(env, PRN_F32, 2);
  out.dims[0] = rows(env, prn_shape_of(env, op, 0));
  out.dims[1] = prn_shape_const(env, n);
  return prn_shape_result(env, op, 0, out);
}

/* Shaped as a regressor's, in the type of the input. */
prn_status prn_infer_ml_trees(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_shape out = prn_shape_new(env, x.dtype, 2);
  out.dims[0] = rows(env, x);
  out.dims[1] = prn_shape_const(env, prn_op_int(op, "n_targets", 1));
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ml_one_hot(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  size_t n = length(op, "cats_int64s") + length(op, "cats_strings");
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, PRN_F32);
  prn_shape out = prn_shape_new(env, PRN_F32, (int64_t)x.rank + 1);
  for (int32_t i = 0; i < x.rank; i++)
    out.dims[i] = x.dims[i];
  out.dims[x.rank] = prn_shape_const(env, (int64_t)n);
  return prn_shape_result(env, op, 0, out);
}

/* A sequence of maps from class to score. */
prn_status prn_infer_ml_zip_map(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  bool names = prn_op_attr(op, "classlabels_strings") != NULL;
  const prn_type *score = prn_type_unranked(ctx, PRN_F32);
  const prn_type *map = prn_type_container(ctx, PRN_TYPE_MAP,
                                           names ? PRN_STRING : PRN_I64, score);
  return prn_infer_result(
      env, op, 0,
      prn_type_container(ctx, PRN_TYPE_SEQUENCE, PRN_DTYPE_NONE, map));
}
