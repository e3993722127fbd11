/* Operators that pick elements by index: Shape, Slice, Gather and their kin;
 * and those that make tensors from shapes: Expand, Tile, Range, Pad. */
#include <string.h>

#include "ir/onnx/shape.h"

enum { MAX_RANK = 1024 }; /* of a shape that contents decide */

/* ---- Shape, Size ---- */

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) {
  return v < lo ? lo : v > hi ? hi : v;
}

prn_status prn_infer_shape(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_shape out = prn_shape_new(env, PRN_I64, 1);
  if (in.rank < 0) return prn_shape_result(env, op, 0, out);
  int64_t rank = in.rank;
  int64_t start = prn_op_int(op, "start", 0), end = prn_op_int(op, "end", rank);
  start = clamp(start < 0 ? start + rank : start, 0, rank);
  end = clamp(end < 0 ? end + rank : end, start, rank);
  out.dims[0] = prn_shape_const(env, end - start);
  PRN_TRY(prn_shape_result(env, op, 0, out));
  for (int64_t i = start; i < end; i++)
    prn_infer_note_size(env, in.dims[i]);
  prn_infer_set_content(env, op, 0, in.dims + start, (size_t)(end - start));
  return PRN_OK;
}

prn_status prn_infer_size(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  PRN_TRY(prn_shape_result(env, op, 0, prn_shape_new(env, PRN_I64, 0)));
  if (in.rank < 0) return PRN_OK;
  prn_dim n = prn_shape_product(env, in, 0, in.rank);
  prn_infer_note_size(env, n);
  prn_infer_set_content(env, op, 0, &n, 1);
  return PRN_OK;
}

/* ---- Slice ---- */

typedef struct slice_axis {
  prn_dim start, end; /* as given */
  int64_t step;       /* 0: not known */
} slice_axis;

/* A start or end position, negative ones counted from the end, not below lo nor
 * above hi (NULL: no bound). Unknown when the sign is. */
static prn_dim slice_bound(prn_infer *env, prn_dim at, prn_dim size, prn_dim lo,
                           prn_dim hi) {
  prn_ctx *ctx = prn_infer_ctx(env);
  int64_t v;
  if (!prn_dim_known(at)) return at;
  if (prn_dim_is_const(at, &v)) {
    if (v >= INT32_MAX && hi) return hi;
    if (v <= INT32_MIN && lo) return lo;
    if (v < 0) at = prn_dim_add(ctx, size, at);
  } else if (!prn_infer_not_negative(env, at)) {
    prn_dim minus = prn_dim_mul(ctx, at, prn_dim_const(ctx, -1));
    if (!prn_infer_not_negative(env, minus)) return prn_dim_unknown(ctx);
    at = prn_dim_add(ctx, size, at);
  }
  if (lo && !prn_infer_not_negative(env, prn_dim_sub(ctx, at, lo)))
    at = prn_dim_max(ctx, at, lo);
  if (!hi || prn_infer_not_negative(env, prn_dim_sub(ctx, hi, at))) return at;
  return prn_dim_min(ctx, at, hi);
}

/* Number of elements from start to end. A start past the end gives none, so
 * each bound is needed on one side only. */
static prn_dim slice_size(prn_infer *env, prn_dim size, slice_axis s) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim zero = prn_dim_const(ctx, 0), one = prn_dim_const(ctx, 1), span;
  prn_infer_note_size(env, size);
  if (s.step == 0 || s.step == INT64_MIN) return prn_dim_unknown(ctx);
  if (s.step > 0) {
    prn_dim start = slice_bound(env, s.start, size, zero, NULL);
    prn_dim end = slice_bound(env, s.end, size, NULL, size);
    span = prn_dim_sub(ctx, end, start);
  } else {
    prn_dim last = prn_dim_sub(ctx, size, one);
    prn_dim start = slice_bound(env, s.start, size, NULL, last);
    prn_dim end = slice_bound(env, s.end, size, prn_dim_const(ctx, -1), NULL);
    span = prn_dim_sub(ctx, start, end);
  }
  if (!prn_dim_known(span)) return span;
  if (!prn_infer_not_negative(env, span)) span = prn_dim_max(ctx, span, zero);
  int64_t step = s.step < 0 ? -s.step : s.step;
  return prn_dim_ceildiv(ctx, span, prn_dim_const(ctx, step));
}

/* Reads starts, ends, axes and steps into one entry per axis of the input; a
 * NULL start leaves the axis alone. False when the axes are not known. */
static bool slice_axes(prn_infer *env, prn_op *op, prn_shape in,
                       slice_axis *per, prn_status *status) {
  prn_int_list starts = prn_shape_ints(env, op, "starts", 1);
  prn_int_list ends = prn_shape_ints(env, op, "ends", 2);
  prn_int_list axes = prn_shape_ints(env, op, "axes", 3);
  prn_int_list steps = prn_shape_ints(env, op, NULL, 4);
  const int64_t *which = prn_shape_consts(env, axes);
  int64_t n = starts.n >= 0 ? starts.n : ends.n;
  prn_dim unknown = prn_dim_unknown(prn_infer_ctx(env));
  if (n < 0 && which) n = axes.n;
  if (n < 0 || (axes.given && !which)) return false;
  if ((starts.n >= 0 && starts.n != n) || (ends.n >= 0 && ends.n != n) ||
      (axes.given && axes.n != n) || (steps.given && steps.n >= 0 && steps.n != n)) {
    *status = prn_op_error(op, "starts, ends, axes and steps differ in length");
    return false;
  }
  for (int64_t i = 0; i < n; i++) {
    int32_t a;
    *status = prn_shape_axis(op, "axis", which ? which[i] : i, in.rank, &a);
    if (*status != PRN_OK) return false;
    slice_axis *s = &per[a];
    s->start = starts.elems ? starts.elems[i] : unknown;
    s->end = ends.elems ? ends.elems[i] : unknown;
    s->step = steps.given ? 0 : 1;
    if (steps.elems && prn_dim_is_const(steps.elems[i], &s->step) &&
        s->step == 0) {
      *status = prn_op_error(op, "step of axis %d is 0", (int)a);
      return false;
    }
  }
  return true;
}

/* First index taken along an axis of a constant size, or -1. */
static int64_t slice_first(prn_infer *env, int64_t size, slice_axis s) {
  prn_dim d = prn_shape_const(env, size), zero = prn_shape_const(env, 0);
  prn_dim hi = s.step > 0 ? d : prn_shape_const(env, size - 1);
  int64_t v = -1;
  if (!s.start) return 0;
  (void)prn_dim_is_const(slice_bound(env, s.start, d, zero, hi), &v);
  return v;
}

static void slice_content(prn_infer *env, prn_op *op, prn_shape in,
                          prn_shape out, const slice_axis *per) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  int64_t count = prn_shape_small(out);
  if (!c || count < 0 || prn_shape_small(in) != (int64_t)n) return;
  for (int64_t k = 0; k < count; k++) {
    int64_t rest = k, at = 0, stride = 1;
    for (int32_t d = in.rank - 1; d >= 0; d--) {
      int64_t size = in.dims[d]->value;
      int64_t first = slice_first(env, size, per[d]);
      int64_t step = per[d].start ? per[d].step : 1;
      if (first < 0) return;
      at += (first + rest % out.dims[d]->value * step) * stride;
      rest /= out.dims[d]->value;
      stride *= size;
    }
    if (at < 0 || at >= (int64_t)n) return;
    elems[k] = c[at];
  }
  prn_infer_set_content(env, op, 0, elems, (size_t)count);
}

prn_status prn_infer_slice(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_status status = PRN_OK;
  if (in.rank < 0) return prn_shape_dtype_only(env, op, 0, in.dtype);
  prn_shape out = prn_shape_new(env, in.dtype, in.rank);
  slice_axis *per =
      PRN_ARENA_ARRAY(prn_infer_scratch(env), slice_axis, in.rank);
  if (!slice_axes(env, op, in, per, &status)) {
    PRN_TRY(status);
    return prn_shape_result(env, op, 0, out);
  }
  for (int32_t d = 0; d < in.rank; d++)
    out.dims[d] =
        per[d].start ? slice_size(env, in.dims[d], per[d]) : in.dims[d];
  PRN_TRY(prn_shape_result(env, op, 0, out));
  slice_content(env, op, in, out, per);
  return PRN_OK;
}

/* ---- Gather ---- */

static prn_status gather_content(prn_infer *env, prn_op *op, prn_shape data) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  size_t n, k;
  int64_t at, size;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  const prn_dim *idx = prn_infer_content(env, prn_shape_in(op, 1), &k);
  if (!idx || !prn_dim_is_const(data.dims[0], &size)) return PRN_OK;
  for (size_t i = 0; i < k; i++) {
    elems[i] = prn_dim_unknown(prn_infer_ctx(env));
    if (!prn_dim_is_const(idx[i], &at)) continue;
    if (at < -size || at >= size)
      return prn_op_error(op, "index %lld is out of range for an axis of %lld",
                          (long long)at, (long long)size);
    if (at < 0) at += size;
    if (c && at < (int64_t)n) elems[i] = c[at];
  }
  if (c && data.rank == 1) prn_infer_set_content(env, op, 0, elems, k);
  return PRN_OK;
}

prn_status prn_infer_gather(prn_infer *env, prn_op *op) {
  prn_shape data = prn_shape_of(env, op, 0), idx = prn_shape_of(env, op, 1);
  int32_t axis;
  if (data.rank < 0) return prn_shape_dtype_only(env, op, 0, data.dtype);
  PRN_TRY(
      prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), data.rank, &axis));
  if (idx.rank < 0) return prn_shape_dtype_only(env, op, 0, data.dtype);
  prn_shape out =
      prn_shape_new(env, data.dtype, (int64_t)data.rank - 1 + idx.rank);
  for (int32_t i = 0; i < out.rank; i++)
    out.dims[i] = i < axis              ? data.dims[i]
                  : i < axis + idx.rank ? idx.dims[i - axis]
                                        : data.dims[i - idx.rank + 1];
  PRN_TRY(prn_shape_result(env, op, 0, out));
  return axis == 0 ? gather_content(env, op, data) : PRN_OK;
}

/* ---- Expand, Tile, ConstantOfShape, Range ---- */

static void fill(prn_infer *env, prn_op *op, prn_dim v, int64_t n) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  for (int64_t i = 0; i < n; i++)
    elems[i] = v;
  if (n >= 0) prn_infer_set_content(env, op, 0, elems, (size_t)n);
}

/* The shape that a list of sizes spells. */
static prn_status shape_from_list(prn_infer *env, const prn_op *op,
                                  prn_dtype dtype, prn_int_list list,
                                  prn_shape *out) {
  int64_t v;
  *out = prn_shape_unranked(dtype);
  if (list.n < 0 || list.n > MAX_RANK) return PRN_OK;
  *out = prn_shape_new(env, dtype, list.n);
  for (int64_t i = 0; list.elems && i < list.n; i++) {
    if (prn_dim_is_const(list.elems[i], &v) && v < 0)
      return prn_op_error(op, "size %lld of axis %lld is negative",
                          (long long)v, (long long)i);
    out->dims[i] = list.elems[i];
  }
  return PRN_OK;
}

prn_status prn_infer_expand(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0), to, before = in;
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  prn_int_list list = prn_shape_ints(env, op, NULL, 1);
  PRN_TRY(shape_from_list(env, op, in.dtype, list, &to));
  if (!prn_shape_broadcast(env, &in, to))
    return prn_op_error(op, "shape %s does not expand to %s",
                        prn_shape_str(env, before), prn_shape_str(env, to));
  PRN_TRY(prn_shape_result(env, op, 0, in));
  if (prn_shape_small(in) >= 0 && prn_shape_spread(env, op, 0, in, elems))
    prn_infer_set_content(env, op, 0, elems, (size_t)prn_shape_small(in));
  return PRN_OK;
}

prn_status prn_infer_tile(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_int_list reps = prn_shape_ints(env, op, NULL, 1);
  size_t n;
  if (in.rank < 0) return prn_shape_dtype_only(env, op, 0, in.dtype);
  if (reps.n >= 0 && reps.n != in.rank)
    return prn_op_error(op, "%lld repeats for an input of rank %d",
                        (long long)reps.n, (int)in.rank);
  prn_shape out = prn_shape_new(env, in.dtype, in.rank);
  for (int32_t i = 0; reps.elems && i < in.rank; i++)
    out.dims[i] = prn_dim_mul(prn_infer_ctx(env), in.dims[i], reps.elems[i]);
  PRN_TRY(prn_shape_result(env, op, 0, out));
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (c && n == 1) fill(env, op, c[0], prn_shape_small(out));
  return PRN_OK;
}

prn_status prn_infer_constant_of_shape(prn_infer *env, prn_op *op) {
  prn_shape out;
  const prn_attr *v = prn_op_attr(op, "value");
  bool given = v && v->kind == PRN_ATTR_TENSOR;
  prn_dtype dtype = given ? v->tensor->type->dtype : PRN_F32;
  PRN_TRY(
      shape_from_list(env, op, dtype, prn_shape_ints(env, op, NULL, 0), &out));
  PRN_TRY(prn_shape_result(env, op, 0, out));
  double f = 0;
  if (given && (!v->tensor->data || prn_tensor_count(v->tensor) != 1))
    return PRN_OK;
  if (given) prn_tensor_read_f64(v->tensor, 0, 1, &f);
  if (f >= -1e9 && f <= 1e9 && f == (double)(int32_t)f)
    fill(env, op, prn_shape_const(env, (int32_t)f), prn_shape_small(out));
  return PRN_OK;
}

static void range_content(prn_infer *env, prn_op *op, prn_dim n, prn_dim start,
                          prn_dim delta) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  int64_t count;
  if (!prn_dim_is_const(n, &count) || count > PRN_INFER_MAX_CONTENT) return;
  for (int64_t i = 0; i < count; i++)
    elems[i] =
        prn_dim_add(ctx, start, prn_dim_mul(ctx, delta, prn_dim_const(ctx, i)));
  prn_infer_set_content(env, op, 0, elems, (size_t)count);
}

prn_status prn_infer_range(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dtype dtype = prn_shape_of(env, op, 0).dtype;
  prn_shape out = prn_shape_new(env, dtype, 1);
  const prn_dim *v[3];
  size_t n;
  for (uint32_t i = 0; i < 3; i++) {
    v[i] = prn_infer_content(env, prn_shape_in(op, i), &n);
    if (!v[i] || n != 1 || !prn_dim_known(v[i][0]))
      return prn_shape_result(env, op, 0, out);
  }
  prn_dim start = v[0][0], limit = v[1][0], delta = v[2][0];
  int64_t step;
  if (prn_dim_is_const(delta, &step) && step == 0)
    return prn_op_error(op, "delta is 0");
  prn_dim count = prn_dim_ceildiv(ctx, prn_dim_sub(ctx, limit, start), delta);
  if (prn_dim_is_const(delta, &step) && step < 0 && step != INT64_MIN)
    count = prn_dim_ceildiv(ctx, prn_dim_sub(ctx, start, limit),
                            prn_dim_const(ctx, -step));
  if (!prn_infer_not_negative(env, count))
    count = prn_dim_max(ctx, count, prn_dim_const(ctx, 0));
  out.dims[0] = count;
  PRN_TRY(prn_shape_result(env, op, 0, out));
  range_content(env, op, count, start, delta);
  return PRN_OK;
}

/* ---- Pad ---- */

prn_status prn_infer_pad(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape in = prn_shape_of(env, op, 0);
  prn_int_list pads = prn_shape_ints(env, op, "pads", 1);
  prn_int_list axes = prn_shape_ints(env, op, NULL, 3);
  const int64_t *which = prn_shape_consts(env, axes);
  if (in.rank < 0) return prn_shape_dtype_only(env, op, 0, in.dtype);
  int64_t n = axes.given ? axes.n : in.rank;
  prn_shape out = prn_shape_new(env, in.dtype, in.rank);
  if (n >= 0 && pads.n >= 0 && pads.n != 2 * n)
    return prn_op_error(op, "%lld pads, expected %lld (two for each axis)",
                        (long long)pads.n, (long long)(2 * n));
  if (!pads.elems || n < 0 || (axes.given && !which))
    return prn_shape_result(env, op, 0, out);
  for (int32_t i = 0; i < in.rank; i++)
    out.dims[i] = in.dims[i];
  for (int64_t i = 0; i < n; i++) {
    int32_t a;
    PRN_TRY(prn_shape_axis(op, "axis", which ? which[i] : i, in.rank, &a));
    prn_dim both = prn_dim_add(ctx, pads.elems[i], pads.elems[i + n]);
    out.dims[a] = prn_dim_add(ctx, in.dims[a], both);
  }
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_verify_pad(prn_op *op) {
  static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
  prn_str m = prn_op_string(op, "mode", "constant");
  for (size_t i = 0; i < PRN_COUNT(modes); i++)
    if (prn_str_is(m, modes[i])) return PRN_OK;
  return prn_op_error(op,
                      "mode is '%.*s', expected constant, reflect, edge or "
                      "wrap",
                      PRN_STR_ARG(m));
}
