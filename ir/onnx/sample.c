/* Sampling and rearranging space: Resize, GridSample, DepthToSpace, regions
 * of interest. */
#include <math.h>

#include "ir/onnx/window.h"

/* ---- Resize ---- */

typedef struct resize_args {
  prn_shape in;
  const int64_t *axes; /* NULL: all */
  int64_t n;
  uint32_t scales, sizes; /* operands; UINT32_MAX: none */
} resize_args;

static prn_status read_resize(prn_op *op, resize_args *r) {
  size_t n;
  bool old = prn_op_is(op, PRN_OP_onnx_Upsample) || prn_op_opset(op) == 10;
  r->scales = old ? 1 : 2;
  r->sizes = old ? UINT32_MAX : 3;
  r->axes = prn_op_ints(op, "axes", &n);
  r->n = r->axes ? (int64_t)n : r->in.rank;
  for (size_t i = 0; r->axes && i < n; i++) {
    int32_t axis;
    PRN_TRY(prn_shape_axis(op, "axis", r->axes[i], r->in.rank, &axis));
  }
  return PRN_OK;
}

static int32_t resize_axis(const resize_args *r, int64_t i) {
  int64_t a = r->axes ? r->axes[i] : i;
  return (int32_t)(a < 0 ? a + r->in.rank : a);
}

/* floor(size * scale); exact when the scale is a small fraction. */
static prn_dim scaled(prn_infer *env, prn_dim size, double scale) {
  prn_ctx *ctx = prn_infer_ctx(env);
  int64_t v;
  if (!(scale > 0) || scale > 1e9) return prn_dim_unknown(ctx);
  if (prn_dim_is_const(size, &v)) {
    double r = floor((double)v * scale);
    return r < 9e15 ? prn_dim_const(ctx, (int64_t)r) : prn_dim_unknown(ctx);
  }
  for (int64_t q = 1; q <= 64; q++) {
    double p = scale * (double)q;
    if (p == floor(p))
      return prn_dim_floordiv(
          ctx, prn_dim_mul(ctx, size, prn_dim_const(ctx, (int64_t)p)),
          prn_dim_const(ctx, q));
  }
  return prn_dim_unknown(ctx);
}

/* Scales from an attribute or a constant; false when they are not known. */
static bool resize_scales(const prn_op *op, const resize_args *r, double *out) {
  const prn_attr *a = prn_op_attr(op, "scales");
  const prn_tensor *t = prn_value_constant(prn_shape_in(op, r->scales));
  if (a && a->kind == PRN_ATTR_FLOATS && (int64_t)a->size == r->n) {
    for (uint32_t i = 0; i < a->size; i++)
      out[i] = (double)a->floats[i];
    return true;
  }
  if (!t || !t->data || prn_tensor_count(t) != r->n || r->n == 0) return false;
  prn_tensor_read_f64(t, 0, r->n, out);
  return true;
}

/* The aspect ratio decides the size, so only constants are worked out. */
static bool keep_aspect(prn_infer *env, const prn_op *op, const resize_args *r,
                        const prn_dim *sizes, prn_shape *out) {
  bool larger = prn_str_is(prn_op_string(op, "keep_aspect_ratio_policy", ""),
                           "not_smaller");
  double best = 0;
  int64_t want, have;
  for (int64_t i = 0; i < r->n; i++) {
    int32_t a = resize_axis(r, i);
    if (!prn_dim_is_const(sizes[i], &want) ||
        !prn_dim_is_const(r->in.dims[a], &have) || have == 0)
      return false;
    double s = (double)want / (double)have;
    if (i == 0 || (larger ? s > best : s < best)) best = s;
  }
  for (int64_t i = 0; i < r->n; i++) {
    int32_t a = resize_axis(r, i);
    double s = floor(best * (double)r->in.dims[a]->value + 0.5);
    out->dims[a] = prn_shape_const(env, s < 9e15 ? (int64_t)s : -1);
  }
  return true;
}

prn_status prn_infer_resize(prn_infer *env, prn_op *op) {
  resize_args r = {.in = prn_shape_of(env, op, 0)};
  if (r.in.rank < 0) return prn_shape_dtype_only(env, op, 0, r.in.dtype);
  PRN_TRY(read_resize(op, &r));
  prn_shape out = prn_shape_new(env, r.in.dtype, r.in.rank);
  double *scales = PRN_ARENA_ARRAY(prn_infer_scratch(env), double, r.n + 1);
  prn_int_list sizes = {0};
  if (r.sizes != UINT32_MAX) sizes = prn_shape_ints(env, op, NULL, r.sizes);
  for (int32_t i = 0; i < r.in.rank; i++)
    if (r.axes) out.dims[i] = r.in.dims[i];
  for (int64_t i = 0; i < r.n; i++)
    out.dims[resize_axis(&r, i)] = prn_dim_unknown(prn_infer_ctx(env));
  if (sizes.given && sizes.n > 0) {
    prn_str policy = prn_op_string(op, "keep_aspect_ratio_policy", "stretch");
    if (sizes.n != r.n)
      return prn_op_error(op, "%lld sizes for %lld axes", (long long)sizes.n,
                          (long long)r.n);
    if (sizes.elems && !prn_str_is(policy, "stretch"))
      (void)!keep_aspect(env, op, &r, sizes.elems, &out);
    else
      for (int64_t i = 0; sizes.elems && i < r.n; i++)
        out.dims[resize_axis(&r, i)] = sizes.elems[i];
  } else if (resize_scales(op, &r, scales)) {
    for (int64_t i = 0; i < r.n; i++) {
      int32_t a = resize_axis(&r, i);
      out.dims[a] = scaled(env, r.in.dims[a], scales[i]);
    }
  }
  return prn_shape_result(env, op, 0, out);
}

/* ---- blocks ---- */

static prn_status check_blocks(const prn_op *op, prn_shape x, int64_t block) {
  if (block < 1 || block > INT32_MAX)
    return prn_op_error(op, "blocksize is %lld", (long long)block);
  if (x.rank >= 0 && x.rank != 4)
    return prn_op_error(op, "the input has rank %d, expected 4", (int)x.rank);
  return PRN_OK;
}

static prn_status divisible(const prn_op *op, prn_dim d, int64_t by) {
  int64_t v;
  if (prn_dim_is_const(d, &v) && v % by)
    return prn_op_error(op, "size %lld is not a multiple of %lld", (long long)v,
                        (long long)by);
  return PRN_OK;
}

prn_status prn_infer_depth_to_space(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t b = prn_op_int(op, "blocksize", 0);
  PRN_TRY(check_blocks(op, x, b));
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  PRN_TRY(divisible(op, x.dims[1], b * b));
  x.dims[1] = prn_dim_floordiv(ctx, x.dims[1], prn_dim_const(ctx, b * b));
  x.dims[2] = prn_dim_mul(ctx, x.dims[2], prn_dim_const(ctx, b));
  x.dims[3] = prn_dim_mul(ctx, x.dims[3], prn_dim_const(ctx, b));
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_space_to_depth(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t b = prn_op_int(op, "blocksize", 0);
  PRN_TRY(check_blocks(op, x, b));
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  PRN_TRY(divisible(op, x.dims[2], b));
  PRN_TRY(divisible(op, x.dims[3], b));
  x.dims[1] = prn_dim_mul(ctx, x.dims[1], prn_dim_const(ctx, b * b));
  x.dims[2] = prn_dim_floordiv(ctx, x.dims[2], prn_dim_const(ctx, b));
  x.dims[3] = prn_dim_floordiv(ctx, x.dims[3], prn_dim_const(ctx, b));
  return prn_shape_result(env, op, 0, x);
}

/* ---- grids ---- */

prn_status prn_infer_grid_sample(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), g = prn_shape_of(env, op, 1);
  if (x.rank < 0 || g.rank < 0)
    return prn_shape_dtype_only(env, op, 0, x.dtype);
  if (x.rank < 3 || x.rank != g.rank)
    return prn_op_error(op, "input of rank %d and grid of rank %d", (int)x.rank,
                        (int)g.rank);
  for (int32_t i = 2; i < x.rank; i++)
    x.dims[i] = g.dims[i - 1];
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_affine_grid(prn_infer *env, prn_op *op) {
  prn_shape theta = prn_shape_of(env, op, 0);
  prn_int_list size = prn_shape_ints(env, op, NULL, 1);
  if (size.n != 4 && size.n != 5)
    return prn_shape_dtype_only(env, op, 0, theta.dtype);
  prn_shape out = prn_shape_new(env, theta.dtype, size.n);
  for (int64_t i = 0; size.elems && i + 1 < size.n; i++)
    out.dims[i] = size.elems[i ? i + 1 : 0];
  out.dims[size.n - 1] = prn_shape_const(env, size.n - 2);
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_col2im(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0);
  prn_int_list image = prn_shape_ints(env, op, NULL, 1);
  prn_int_list block = prn_shape_ints(env, op, NULL, 2);
  if (image.n < 0 || image.n > INT16_MAX)
    return prn_shape_dtype_only(env, op, 0, x.dtype);
  prn_shape out = prn_shape_new(env, x.dtype, image.n + 2);
  prn_dim taps = prn_shape_const(env, 1);
  for (int64_t i = 0; block.elems && i < block.n; i++)
    taps = prn_dim_mul(ctx, taps, block.elems[i]);
  if (x.rank == 3) out.dims[0] = x.dims[0];
  if (x.rank == 3 && block.elems)
    out.dims[1] = prn_dim_floordiv(ctx, x.dims[1], taps);
  for (int64_t i = 0; image.elems && i < image.n; i++)
    out.dims[i + 2] = image.elems[i];
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_center_crop_pad(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_int_list to = prn_shape_ints(env, op, NULL, 1);
  size_t n;
  const int64_t *axes = prn_op_ints(op, "axes", &n);
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  int64_t count = axes ? (int64_t)n : x.rank;
  if (to.n >= 0 && to.n != count)
    return prn_op_error(op, "%lld sizes for %lld axes", (long long)to.n,
                        (long long)count);
  for (int64_t i = 0; i < count; i++) {
    int32_t a;
    PRN_TRY(prn_shape_axis(op, "axis", axes ? axes[i] : i, x.rank, &a));
    x.dims[a] = to.elems ? to.elems[i] : prn_dim_unknown(prn_infer_ctx(env));
  }
  return prn_shape_result(env, op, 0, x);
}

/* ---- regions ---- */

/* [regions, channels, height, width] */
static prn_status regions(prn_infer *env, prn_op *op, int64_t h, int64_t w) {
  prn_shape x = prn_shape_of(env, op, 0), rois = prn_shape_of(env, op, 1);
  prn_shape out = prn_shape_new(env, x.dtype, 4);
  if (rois.rank == 2) out.dims[0] = rois.dims[0];
  if (x.rank == 4) out.dims[1] = x.dims[1];
  out.dims[2] = prn_shape_const(env, h);
  out.dims[3] = prn_shape_const(env, w);
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_roi_align(prn_infer *env, prn_op *op) {
  return regions(env, op, prn_op_int(op, "output_height", 1),
                 prn_op_int(op, "output_width", 1));
}

prn_status prn_infer_max_roi_pool(prn_infer *env, prn_op *op) {
  size_t n;
  const int64_t *size = prn_op_ints(op, "pooled_shape", &n);
  if (n != 2)
    return prn_op_error(op, "pooled_shape has %zu values, expected 2", n);
  return regions(env, op, size[0], size[1]);
}

/* The inverse of MaxPool, unless output_shape says another size. */
prn_status prn_infer_max_unpool(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0);
  prn_int_list fixed = prn_shape_ints(env, op, NULL, 2);
  prn_window w;
  if (x.rank < 2) return prn_shape_dtype_only(env, op, 0, x.dtype);
  if (fixed.given && fixed.n >= 0 && fixed.n != x.rank)
    return prn_op_error(op, "output_shape has %lld values, expected %d",
                        (long long)fixed.n, (int)x.rank);
  PRN_TRY(prn_window_read(env, op, x.rank - 2, &w));
  if (!w.kernel) return prn_op_error(op, "kernel_shape is missing");
  for (int32_t i = 0; i < x.rank; i++) {
    if (fixed.given) {
      x.dims[i] = fixed.elems ? fixed.elems[i] : prn_dim_unknown(ctx);
    } else if (i >= 2) {
      int32_t k = i - 2;
      prn_dim last = prn_dim_sub(ctx, x.dims[i], prn_dim_const(ctx, 1));
      prn_dim start = prn_dim_mul(ctx, last, prn_dim_const(ctx, w.strides[k]));
      x.dims[i] = prn_dim_add(
          ctx, start,
          prn_dim_const(ctx, w.kernel[k] - w.pads[k] - w.pads[w.n + k]));
    }
  }
  return prn_shape_result(env, op, 0, x);
}
