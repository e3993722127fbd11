/* Tensors made from shapes, chance or signals; strings. */
#include "ir/onnx/shape.h"

prn_status prn_infer_eye_like(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  x.dtype = prn_shape_dtype_attr(op, "dtype", x.dtype);
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_random_like(prn_infer *env, prn_op *op) {
  return prn_infer_eye_like(env, op);
}

prn_status prn_infer_random(prn_infer *env, prn_op *op) {
  size_t n;
  const int64_t *shape = prn_op_ints(op, "shape", &n);
  prn_dtype dtype = prn_shape_dtype_attr(op, "dtype", PRN_F32);
  prn_shape out = prn_shape_new(env, dtype, (int64_t)n);
  for (size_t i = 0; i < n; i++) {
    if (shape[i] < 0)
      return prn_op_error(op, "shape has a size of %lld", (long long)shape[i]);
    out.dims[i] = prn_shape_const(env, shape[i]);
  }
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_multinomial(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_dtype dtype = prn_shape_dtype_attr(op, "dtype", PRN_I32);
  prn_shape out = prn_shape_new(env, dtype, 2);
  if (x.rank == 2) out.dims[0] = x.dims[0];
  out.dims[1] = prn_shape_const(env, prn_op_int(op, "sample_size", 1));
  return prn_shape_result(env, op, 0, out);
}

/* The one element of operand i; the unknown dimension otherwise. */
static prn_dim scalar(prn_infer *env, const prn_op *op, uint32_t i) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, i), &n);
  return c && n == 1 ? c[0] : prn_dim_unknown(prn_infer_ctx(env));
}

prn_status prn_infer_signal_window(prn_infer *env, prn_op *op) {
  prn_dtype dtype = prn_shape_dtype_attr(op, "output_datatype", PRN_F32);
  prn_shape out = prn_shape_new(env, dtype, 1);
  out.dims[0] = scalar(env, op, 0);
  return prn_shape_result(env, op, 0, out);
}

/* Bins of a one-sided spectrum of n samples. */
static prn_dim one_sided(prn_infer *env, prn_dim n) {
  prn_ctx *ctx = prn_infer_ctx(env);
  return prn_dim_add(ctx, prn_dim_floordiv(ctx, n, prn_dim_const(ctx, 2)),
                     prn_dim_const(ctx, 1));
}

prn_status prn_infer_mel_matrix(prn_infer *env, prn_op *op) {
  prn_dtype dtype = prn_shape_dtype_attr(op, "output_datatype", PRN_F32);
  prn_shape out = prn_shape_new(env, dtype, 2);
  out.dims[0] = one_sided(env, scalar(env, op, 1));
  out.dims[1] = scalar(env, op, 0);
  return prn_shape_result(env, op, 0, out);
}

/* Real input has 1 in the last axis, complex input 2. A one-sided transform
 * halves the axis forwards; its inverse gives a real signal. */
prn_status prn_infer_dft(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  bool onesided = prn_op_int(op, "onesided", 0) != 0;
  bool inverse = prn_op_int(op, "inverse", 0) != 0;
  int64_t axis = prn_op_int(op, "axis", prn_op_opset(op) < 20 ? 1 : -2), v;
  int32_t a;
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  prn_dim last = prn_shape_const(env, 2), given = scalar(env, op, 2);
  if (prn_shape_in(op, 2) && !prn_dim_is_const(given, &axis))
    return prn_shape_result(env, op, 0, prn_shape_new(env, x.dtype, x.rank));
  PRN_TRY(prn_shape_axis(op, "axis", axis, x.rank, &a));
  if (a == x.rank - 1)
    return prn_op_error(op, "axis %lld is that of the complex parts",
                        (long long)axis);
  if (prn_dim_is_const(x.dims[x.rank - 1], &v) && v != 1 && v != 2)
    return prn_op_error(op, "the last axis is %lld, expected 1 or 2",
                        (long long)v);
  if (prn_shape_in(op, 1)) x.dims[a] = scalar(env, op, 1);
  if (onesided && !inverse) x.dims[a] = one_sided(env, x.dims[a]);
  if (onesided && inverse) {
    prn_ctx *ctx = prn_infer_ctx(env);
    prn_dim less = prn_dim_sub(ctx, x.dims[a], prn_dim_const(ctx, 1));
    if (!prn_shape_in(op, 1))
      x.dims[a] = prn_dim_mul(ctx, less, prn_dim_const(ctx, 2));
    last = prn_shape_const(env, 1);
  }
  x.dims[x.rank - 1] = last;
  return prn_shape_result(env, op, 0, x);
}

/* [batch, frames, bins, 2] */
prn_status prn_infer_stft(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, 2);
  prn_dim step = scalar(env, op, 1), len = scalar(env, op, 3);
  prn_shape out = prn_shape_new(env, x.dtype, 4);
  int64_t v;
  if (!prn_shape_in(op, 3) && w.rank == 1) len = w.dims[0];
  if (prn_dim_is_const(step, &v) && v < 1)
    return prn_op_error(op, "frame_step is %lld", (long long)v);
  out.dims[3] = prn_shape_const(env, 2);
  out.dims[2] = prn_op_int(op, "onesided", 1) ? one_sided(env, len) : len;
  if (x.rank >= 2) {
    out.dims[0] = x.dims[0];
    prn_dim room = prn_dim_sub(ctx, x.dims[1], len);
    out.dims[1] = prn_dim_add(ctx, prn_dim_floordiv(ctx, room, step),
                              prn_dim_const(ctx, 1));
  }
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_image_decoder(prn_infer *env, prn_op *op) {
  prn_shape out = prn_shape_new(env, PRN_U8, 3);
  bool grey = prn_str_is(prn_op_string(op, "pixel_format", "RGB"), "Grayscale");
  out.dims[2] = prn_shape_const(env, grey ? 1 : 3);
  return prn_shape_result(env, op, 0, out);
}

/* ---- strings ---- */

/* Stop words change the length. */
prn_status prn_infer_string_normalizer(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  x.dtype = PRN_STRING;
  if (x.rank > 0 && prn_op_attr(op, "stopwords"))
    x.dims[x.rank - 1] = prn_dim_unknown(prn_infer_ctx(env));
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_string_split(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_shape out = prn_shape_unranked(PRN_STRING);
  if (x.rank >= 0) {
    out = prn_shape_new(env, PRN_STRING, (int64_t)x.rank + 1);
    for (int32_t i = 0; i < x.rank; i++)
      out.dims[i] = x.dims[i];
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  x.dtype = PRN_I64;
  return prn_shape_result(env, op, 1, x);
}

prn_status prn_infer_tfidf(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  size_t n;
  const int64_t *at = prn_op_ints(op, "ngram_indexes", &n);
  int64_t columns = 0;
  for (size_t i = 0; i < n; i++)
    if (at[i] >= columns && at[i] < INT64_MAX) columns = at[i] + 1;
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, PRN_F32);
  if (x.rank != 1 && x.rank != 2)
    return prn_op_error(op, "the input has rank %d, expected 1 or 2",
                        (int)x.rank);
  x.dtype = PRN_F32;
  x.dims[x.rank - 1] = prn_shape_const(env, columns);
  return prn_shape_result(env, op, 0, x);
}
