/* onnx -> nn: Resize and Upsample.
 *
 * One axis after the other. Where in the input each output element lies is
 * computed here, so the result is a sum of gathers with constant weights;
 * repeating whole elements is a broadcast. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK, MAX_TAPS = 64 };

typedef enum method { NEAREST, LINEAR, CUBIC } method;

typedef struct resize {
  method method;
  prn_str coordinates, rounding;
  double cubic, outside;
  bool antialias, exclude_outside, extrapolate;
  double scale[MAX_RANK], start[MAX_RANK], end[MAX_RANK];
} resize;

/* ---- options ---- */

static prn_status read_method(const prn_op *op, resize *r) {
  prn_str mode = prn_op_string(op, "mode", "nearest");
  if (prn_str_is(mode, "nearest"))
    r->method = NEAREST;
  else if (prn_str_is(mode, "linear") || prn_str_is(mode, "bilinear"))
    r->method = LINEAR;
  else if (prn_str_is(mode, "cubic"))
    r->method = CUBIC;
  else
    return prn_o2n_unsupported(op, "mode '%.*s'", PRN_STR_ARG(mode));
  return PRN_OK;
}

/* The axes that scales, sizes and roi are for: all, or attribute `axes`. */
static prn_status read_axes(const prn_op *op, int32_t rank, int32_t *axes,
                            int32_t *out_n) {
  size_t n;
  const int64_t *given = prn_op_ints(op, "axes", &n);
  *out_n = given ? (int32_t)n : rank;
  if (given && n > (size_t)rank)
    return prn_op_error(op, "%zu axes for %d dimensions", n, (int)rank);
  for (int32_t i = 0; i < *out_n; i++)
    PRN_TRY(prn_o2n_wrap_axis(op, given ? given[i] : i, rank, &axes[i]));
  return PRN_OK;
}

/* n numbers of operand i; false (no report) when it has none. */
static bool numbers(prn_o2n *e, const prn_op *op, uint32_t i, int32_t n,
                    double *out) {
  const prn_tensor *t = prn_value_constant(prn_op_operand(op, i));
  size_t count;
  const prn_dim *c = prn_o2n_content(e, op, i, &count);
  int64_t v;
  if (t && prn_tensor_count(t) == n) {
    prn_tensor_read_f64(t, 0, n, out);
    return n > 0;
  }
  if (!c || count != (size_t)n) return false;
  for (int32_t k = 0; k < n; k++) {
    if (!prn_dim_is_const(c[k], &v)) return false;
    out[k] = (double)v;
  }
  return n > 0;
}

/* Operand i is there and has elements. */
static bool is_given(const prn_op *op, uint32_t i) {
  const prn_value *v = prn_op_operand(op, i);
  int64_t n;
  return v && !(prn_type_count(v->type, &n) && n == 0);
}

/* Scales from an operand or attribute, or from the sizes. */
static prn_status read_scales(prn_o2n *e, const prn_op *op, const prn_type *x,
                              const prn_type *y, const int32_t *axes, int32_t n,
                              resize *r) {
  prn_str policy = prn_op_string(op, "keep_aspect_ratio_policy", "stretch");
  bool larger = prn_str_is(policy, "not_smaller");
  bool smaller = prn_str_is(policy, "not_larger");
  double v[MAX_RANK], common = 0;
  bool old = op->num_operands < 3;
  const prn_attr *attr = prn_op_attr(op, "scales");
  bool given = numbers(e, op, old ? 1 : 2, n, v);
  if (attr && attr->kind == PRN_ATTR_FLOATS && attr->size == (uint32_t)n) {
    for (int32_t i = 0; i < n; i++)
      v[i] = (double)attr->floats[i];
    given = true;
  }
  if (!given && is_given(op, old ? 1 : 2))
    return prn_o2n_unsupported(op, "scales that are not constant");
  bool sized = !given && numbers(e, op, 3, n, v);
  for (int32_t i = 0; i < n; i++) {
    int64_t in, out;
    int32_t a = axes[i];
    bool known = prn_dim_is_const(x->dims[a], &in) && in > 0 &&
                 prn_dim_is_const(y->dims[a], &out);
    r->scale[a] = given ? v[i] : known ? (double)out / (double)in : 1;
    if (!sized || !known) continue;
    double s = v[i] / (double)in;
    if (i == 0 || (larger ? s > common : s < common)) common = s;
  }
  for (int32_t i = 0; i < n && sized && (larger || smaller); i++)
    r->scale[axes[i]] = common;
  return PRN_OK;
}

static prn_status read_resize(prn_o2n *e, const prn_op *op, const prn_type *x,
                              const prn_type *y, resize *r) {
  bool old = prn_str_is(op->opname->name, "Upsample") || e->opset < 11;
  int32_t axes[MAX_RANK], n;
  double roi[2 * MAX_RANK];
  PRN_TRY(read_method(op, r));
  PRN_TRY(read_axes(op, x->rank, axes, &n));
  r->coordinates = prn_op_string(op, "coordinate_transformation_mode",
                                 old ? "asymmetric" : "half_pixel");
  r->rounding =
      prn_op_string(op, "nearest_mode", old ? "floor" : "round_prefer_floor");
  r->cubic = (double)prn_op_float(op, "cubic_coeff_a", -0.75f);
  r->outside = (double)prn_op_float(op, "extrapolation_value", 0);
  r->antialias = prn_op_int(op, "antialias", 0) != 0;
  r->exclude_outside = prn_op_int(op, "exclude_outside", 0) != 0;
  r->extrapolate = prn_str_is(r->coordinates, "tf_crop_and_resize");
  for (int32_t i = 0; i < x->rank; i++) {
    r->scale[i] = r->end[i] = 1;
    r->start[i] = 0;
  }
  PRN_TRY(read_scales(e, op, x, y, axes, n, r));
  if (!r->extrapolate) return PRN_OK;
  if (!numbers(e, op, 1, 2 * n, roi))
    return prn_o2n_unsupported(op, "a region that is not constant");
  for (int32_t i = 0; i < n; i++) {
    r->start[axes[i]] = roi[i];
    r->end[axes[i]] = roi[n + i];
  }
  return PRN_OK;
}

/* ---- where an output element lies in the input ---- */

typedef struct axis {
  int64_t in, out;
  double scale, start, end;
} axis;

static double place(const resize *r, const axis *a, int64_t at) {
  double x = (double)at, in = (double)a->in, out = (double)a->out;
  prn_str mode = r->coordinates;
  if (prn_str_is(mode, "asymmetric")) return x / a->scale;
  /* The length is the tensor's, as the text of the standard, PyTorch and ONNX
   * Runtime have it. onnx's own cases take in * scale, not rounded. */
  if (prn_str_is(mode, "align_corners"))
    return a->out == 1 ? 0 : x * (in - 1) / (out - 1);
  if (prn_str_is(mode, "pytorch_half_pixel") && a->out == 1) return 0;
  if (prn_str_is(mode, "tf_half_pixel_for_nn")) return (x + 0.5) / a->scale;
  if (r->extrapolate)
    return a->out > 1 ? a->start * (in - 1) +
                            x * (a->end - a->start) * (in - 1) / (out - 1)
                      : 0.5 * (a->start + a->end) * (in - 1);
  double p = (x + 0.5) / a->scale - 0.5;
  if (prn_str_is(mode, "half_pixel_symmetric"))
    p += in / 2 * (1 - out / (a->scale * in));
  return p;
}

static double nearest(const resize *r, double x) {
  if (prn_str_is(r->rounding, "floor")) return floor(x);
  if (prn_str_is(r->rounding, "ceil")) return ceil(x);
  if (prn_str_is(r->rounding, "round_prefer_ceil")) return floor(x + 0.5);
  return ceil(x - 0.5);
}

static double kernel(const resize *r, double d) {
  double a = r->cubic;
  d = fabs(d);
  if (r->method == LINEAR) return d < 1 ? 1 - d : 0;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Index and weight of every tap of output element `at`. */
static void fill_taps(const resize *r, const axis *a, int64_t at, int taps,
                      double *index, double *weight) {
  double x = place(r, a, at), total = 0;
  double step = r->antialias && a->scale < 1 ? a->scale : 1;
  double first =
      r->method == NEAREST ? nearest(r, x) : floor(x) - (double)(taps / 2 - 1);
  for (int t = 0; t < taps; t++) {
    double i = first + t;
    bool out = i < 0 || i > (double)(a->in - 1);
    weight[t] = r->method == NEAREST ? 1 : kernel(r, (i - x) * step);
    if (out && r->exclude_outside && r->method != NEAREST) weight[t] = 0;
    index[t] = fmin(fmax(i, 0), (double)(a->in - 1));
    total += weight[t];
  }
  for (int t = 0; t < taps && total != 0; t++)
    weight[t] /= total;
}

static int tap_count(const resize *r, const axis *a) {
  double reach = r->method == CUBIC ? 2 : 1;
  if (r->method == NEAREST) return 1;
  if (r->antialias && a->scale < 1) reach = ceil(reach / a->scale);
  return reach > MAX_TAPS / 2 ? 0 : 2 * (int)reach;
}

/* ---- building ---- */

/* n doubles as a constant vector along dimension `at` of rank dimensions. */
static prn_value *vector(prn_o2n *e, prn_dtype dtype, const double *v,
                         int64_t n, int32_t at, int32_t rank) {
  int64_t dims[MAX_RANK];
  dims[0] = n;
  for (int32_t i = 1; i < rank - at; i++)
    dims[i] = 1;
  return prn_nn_constant(
      &e->b, prn_nn_tensor(e->ctx,
                           prn_type_static(e->ctx, dtype, rank - at, dims), v));
}

static prn_value *take(prn_o2n *e, prn_value *x, int32_t at,
                       const double *index, int64_t n) {
  prn_dim dims[MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    dims[i] = i == at ? prn_dim_const(e->ctx, n) : x->type->dims[i];
  prn_value *in[2] = {x, vector(e, PRN_I64, index, n, 0, 1)};
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2,
                             prn_nn_type(e->ctx, x->type, x->type->rank, dims));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, at));
  return r;
}

static prn_value *resize_axis(prn_o2n *e, const resize *r, const axis *a,
                              prn_value *x, int32_t at) {
  int taps = tap_count(r, a);
  size_t n = (size_t)a->out;
  double *index = PRN_ARENA_ARRAY(&e->b.m->arena, double, n *MAX_TAPS);
  double *weight = PRN_ARENA_ARRAY(&e->b.m->arena, double, n *MAX_TAPS);
  prn_value *sum = NULL;
  if (taps == 0) return NULL;
  for (int64_t i = 0; i < a->out; i++) {
    double k[MAX_TAPS], w[MAX_TAPS];
    fill_taps(r, a, i, taps, k, w);
    for (int t = 0; t < taps; t++) {
      index[(size_t)t * n + (size_t)i] = k[t];
      weight[(size_t)t * n + (size_t)i] = w[t];
    }
  }
  for (int t = 0; t < taps; t++) {
    prn_value *v = take(e, x, at, index + (size_t)t * n, a->out);
    if (r->method == NEAREST) return v;
    v = prn_nn_binary(&e->b, PRN_SCALAR_mul, v,
                      vector(e, x->type->dtype, weight + (size_t)t * n, a->out,
                             at, x->type->rank));
    sum = sum ? prn_nn_binary(&e->b, PRN_SCALAR_add, sum, v) : v;
  }
  return sum;
}

/* Every element k times along the axis. */
static prn_value *repeat_axis(prn_o2n *e, prn_value *x, int32_t at, int64_t k) {
  prn_dim dims[MAX_RANK + 1], flat[MAX_RANK];
  const prn_type *t = x->type;
  for (int32_t i = 0; i <= t->rank; i++)
    dims[i] = i <= at
                  ? t->dims[i]
                  : (i == at + 1 ? prn_dim_const(e->ctx, 1) : t->dims[i - 1]);
  x = prn_nn_reshape_dims(&e->b, x, t->rank + 1, dims);
  dims[at + 1] = prn_dim_const(e->ctx, k);
  x = prn_nn_broadcast(&e->b, x, prn_nn_type(e->ctx, t, t->rank + 1, dims));
  for (int32_t i = 0; i < t->rank; i++)
    flat[i] =
        i == at ? prn_dim_mul(e->ctx, t->dims[i], dims[at + 1]) : t->dims[i];
  return prn_nn_reshape_dims(&e->b, x, t->rank, flat);
}

/* Whether output element i is input element i / k for a whole k. */
static bool repeats(const resize *r, double scale, int64_t *k) {
  bool half = prn_str_is(r->coordinates, "half_pixel") ||
              prn_str_is(r->coordinates, "pytorch_half_pixel");
  bool low = prn_str_is(r->coordinates, "asymmetric");
  bool floors = prn_str_is(r->rounding, "floor");
  bool rounds = prn_str_starts(r->rounding, "round_prefer");
  if (r->method != NEAREST || scale != floor(scale) || scale < 1 || scale > 1e6)
    return false;
  *k = (int64_t)scale;
  return (half && rounds) || (low && floors);
}

/* Elements whose place is outside of the input get the value for that. */
static prn_value *extrapolated(prn_o2n *e, const resize *r, const axis *a,
                               prn_value *y, int32_t at) {
  double *out = PRN_ARENA_ARRAY(&e->b.m->arena, double, a->out + 1);
  for (int64_t i = 0; i < a->out; i++) {
    double x = place(r, a, i);
    out[i] = x < 0 || x > (double)(a->in - 1);
  }
  prn_value *c = vector(e, PRN_BOOL, out, a->out, at, y->type->rank);
  return prn_nn_select(&e->b, c,
                       prn_nn_scalar(&e->b, y->type->dtype, r->outside), y);
}

static prn_status lower_axis(prn_o2n *e, prn_op *op, const resize *r,
                             int32_t at, axis *a, prn_value **x) {
  prn_dim in = (*x)->type->dims[at];
  prn_dim out = op->results[0].type->dims[at];
  int64_t k;
  *a = (axis){.scale = r->scale[at], .start = r->start[at], .end = r->end[at]};
  bool fixed = prn_dim_is_const(in, &a->in) && prn_dim_is_const(out, &a->out);
  if (!fixed) a->in = a->out = -1;
  if (in == out && a->scale == 1 && !r->extrapolate) return PRN_OK;
  if (repeats(r, a->scale, &k)) {
    *x = repeat_axis(e, *x, at, k);
    return PRN_OK;
  }
  if (!fixed || a->in < 1)
    return prn_o2n_unsupported(op, "dimension %d, whose size is open, by %g",
                               (int)at, a->scale);
  *x = resize_axis(e, r, a, *x, at);
  if (*x) return PRN_OK;
  return prn_o2n_unsupported(op, "antialiasing by a factor of %g", a->scale);
}

static prn_status lower_resize(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *y = prn_o2n_out(e, op, 0);
  prn_dtype dtype = x->type->dtype;
  resize r = {.method = NEAREST};
  axis axes[MAX_RANK];
  PRN_TRY(read_resize(e, op, x->type, y, &r));
  if (x->type->rank >= MAX_RANK)
    return prn_o2n_unsupported(op, "%d dimensions", (int)x->type->rank);
  if (r.method != NEAREST && !prn_dtype_is_float(dtype))
    x = prn_nn_cast(&e->b, x, PRN_F32);
  for (int32_t i = 0; i < y->rank; i++)
    PRN_TRY(lower_axis(e, op, &r, i, &axes[i], &x));
  for (int32_t i = 0; i < y->rank && r.extrapolate; i++)
    x = extrapolated(e, &r, &axes[i], x, i);
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, x, dtype));
}

const prn_o2n_row prn_o2n_resize[] = {
    {"Resize", lower_resize, 2 | 4 | 8, 0},
    {"Upsample", lower_resize, 2, 0},
    {NULL, NULL, 0, 0},
};
