/* onnx -> nn: Fourier transforms as products with constant matrices, and
 * windows, which are constants. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK, MAX_POINTS = 1024, MAX_FRAME = 2048 };

static const double pi = 3.14159265358979323846;

/* ---- windows ---- */

/* a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N). */
static prn_status window(prn_o2n *e, prn_op *op, double a0, double a1,
                         double a2) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  bool periodic = prn_op_int(op, "periodic", 1) != 0;
  int64_t n;
  if (!prn_type_count(type, &n) || n > MAX_FRAME * MAX_FRAME)
    return prn_o2n_unsupported(op, "a size that is not constant");
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
  double period = (double)(periodic ? n : n - 1);
  for (int64_t i = 0; i < n; i++) {
    double w = period > 0 ? 2 * pi * (double)i / period : 0;
    v[i] = a0 - a1 * cos(w) + a2 * cos(2 * w);
  }
  return prn_o2n_set(e, op, 0,
                     prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, type, v)));
}

static prn_status lower_hann(prn_o2n *e, prn_op *op) {
  return window(e, op, 0.5, 0.5, 0);
}
static prn_status lower_hamming(prn_o2n *e, prn_op *op) {
  return window(e, op, 25.0 / 46, 21.0 / 46, 0);
}
static prn_status lower_blackman(prn_o2n *e, prn_op *op) {
  return window(e, op, 0.42, 0.5, 0.08);
}

/* ---- DFT ---- */

typedef struct dft {
  int64_t points, bins; /* of the input used, of the result */
  bool complex_in, complex_out, inverse, onesided;
} dft;

/* The matrix [points * (1 or 2), bins * (1 or 2)] that takes interleaved real
 * and imaginary parts to interleaved ones. */
static prn_value *dft_matrix(prn_o2n *e, const dft *f, prn_dtype dtype) {
  int64_t ci = f->complex_in ? 2 : 1, co = f->complex_out ? 2 : 1;
  int64_t dims[2] = {f->points * ci, f->bins * co};
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, dims[0] * dims[1]);
  double sign = f->inverse ? 1 : -1, scale = 1;
  int64_t period = f->inverse && f->onesided ? f->bins : f->points;
  if (f->inverse) scale = 1 / (double)period;
  for (int64_t n = 0; n < f->points; n++)
    for (int64_t k = 0; k < f->bins; k++) {
      double w = sign * 2 * pi * (double)(n * k % period) / (double)period;
      /* A one-sided spectrum stands for its mirror image as well. */
      bool edge = n == 0 || 2 * n == period;
      double s = f->inverse && f->onesided && !edge ? 2 * scale : scale;
      double *at = v + n * ci * dims[1] + k * co;
      at[0] = s * cos(w);
      if (co == 2) at[1] = s * sin(w);
      if (ci == 2) at[dims[1]] = -s * sin(w);
      if (ci == 2 && co == 2) at[dims[1] + 1] = s * cos(w);
    }
  const prn_type *t = prn_type_static(e->ctx, dtype, 2, dims);
  return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v));
}

/* x[..., axis, ..., parts] with the axis put before the parts. */
static prn_value *axis_last(prn_o2n *e, prn_value *x, int32_t axis, bool back) {
  int64_t perm[MAX_RANK];
  int32_t rank = x->type->rank, n = 0;
  for (int32_t i = 0; i < rank - 1; i++)
    if (i != axis) perm[n++] = i;
  perm[rank - 2] = axis;
  perm[rank - 1] = rank - 1;
  if (back) {
    int64_t inverse[MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
      inverse[perm[i]] = i;
    return prn_nn_transpose(&e->b, x, inverse);
  }
  return prn_nn_transpose(&e->b, x, perm);
}

/* The first n points, or zeros after them. */
static prn_value *fit(prn_o2n *e, prn_value *x, int32_t axis, int64_t n) {
  prn_dim dims[MAX_RANK], lows[MAX_RANK];
  int64_t have = 0;
  (void)!prn_dim_is_const(x->type->dims[axis], &have);
  prn_dim size = prn_dim_const(e->ctx, n), zero = prn_dim_const(e->ctx, 0);
  if (n <= have) return prn_nn_slice_axis(&e->b, x, axis, zero, size);
  for (int32_t i = 0; i < x->type->rank; i++) {
    dims[i] = i == axis ? size : x->type->dims[i];
    lows[i] = zero;
  }
  return prn_nn_pad(&e->b, x, NULL,
                    prn_nn_type(e->ctx, x->type, x->type->rank, dims), lows,
                    "constant");
}

static prn_status dft_axis(prn_o2n *e, prn_op *op, int32_t rank,
                           int32_t *axis) {
  const int64_t *v;
  size_t n;
  if (e->opset < 20) return prn_o2n_axis(op, "axis", 1, rank, axis);
  PRN_TRY(prn_o2n_ints(e, op, 2, NULL, &v, &n));
  return prn_o2n_wrap_axis(op, n ? v[0] : -2, rank, axis);
}

static prn_status lower_dft(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  int32_t rank = x->type->rank, axis;
  int64_t parts = 0, out_parts = 0;
  dft f = {.inverse = prn_op_int(op, "inverse", 0) != 0,
           .onesided = prn_op_int(op, "onesided", 0) != 0};
  size_t n;
  const int64_t *length;
  if (rank < 2) return prn_op_error(op, "expects at least 2 dimensions");
  PRN_TRY(dft_axis(e, op, rank, &axis));
  PRN_TRY(prn_o2n_ints(e, op, 1, NULL, &length, &n));
  if (!prn_dim_is_const(x->type->dims[axis], &f.points) ||
      !prn_dim_is_const(type->dims[axis], &f.bins) ||
      !prn_dim_is_const(x->type->dims[rank - 1], &parts) ||
      !prn_dim_is_const(type->dims[rank - 1], &out_parts) || axis == rank - 1)
    return prn_o2n_unsupported(op, "a length that is not constant");
  if (n == 1 && !(f.inverse && f.onesided)) f.points = length[0];
  if (f.inverse && f.onesided) f.points = f.bins / 2 + 1;
  f.complex_in = parts == 2;
  f.complex_out = out_parts == 2;
  if (f.points < 1 || f.points > MAX_POINTS || f.bins > MAX_POINTS)
    return prn_o2n_unsupported(op, "%lld points; the limit is %d",
                               (long long)f.points, (int)MAX_POINTS);
  x = axis_last(e, fit(e, x, axis, f.points), axis, false);
  prn_dim dims[MAX_RANK];
  for (int32_t i = 0; i < rank; i++)
    dims[i] = x->type->dims[i];
  dims[rank - 2] = prn_dim_const(e->ctx, f.points * parts);
  x = prn_nn_reshape_dims(&e->b, x, rank - 1, dims);
  prn_dim one = prn_dim_const(e->ctx, 1);
  if (rank == 2) { /* a product wants matrices */
    prn_dim row[2] = {one, dims[0]};
    x = prn_nn_reshape_dims(&e->b, x, 2, row);
  }
  x = prn_nn_matmul(&e->b, x, dft_matrix(e, &f, x->type->dtype),
                    x->type->dtype);
  dims[rank - 2] = prn_dim_const(e->ctx, f.bins);
  dims[rank - 1] = prn_dim_const(e->ctx, out_parts);
  x = prn_nn_reshape_dims(&e->b, x, rank, dims);
  return prn_o2n_set(e, op, 0, axis_last(e, x, axis, true));
}

/* ---- STFT ---- */

/* Every frame times the window, times cos and -sin of each bin: a convolution
 * over the signal with one channel for each part of each bin. */
static prn_value *stft_kernels(prn_o2n *e, int64_t bins, int64_t frame,
                               const double *weight, prn_dtype dtype) {
  int64_t dims[3] = {2 * bins, 1, frame};
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, 2 * bins * frame);
  for (int64_t k = 0; k < bins; k++)
    for (int64_t n = 0; n < frame; n++) {
      double w = 2 * pi * (double)(n * k % frame) / (double)frame;
      v[2 * k * frame + n] = weight[n] * cos(w);
      v[(2 * k + 1) * frame + n] = -weight[n] * sin(w);
    }
  const prn_type *t = prn_type_static(e->ctx, dtype, 3, dims);
  return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v));
}

static prn_status read_stft(prn_o2n *e, prn_op *op, int64_t bins, int64_t *step,
                            int64_t *frame, double **weight) {
  const prn_tensor *w = prn_value_constant(prn_op_operand(op, 2));
  const int64_t *v;
  size_t n;
  PRN_TRY(prn_o2n_ints(e, op, 1, NULL, &v, &n));
  *step = n == 1 ? v[0] : 0;
  PRN_TRY(prn_o2n_ints(e, op, 3, NULL, &v, &n));
  bool onesided = prn_op_int(op, "onesided", 1) != 0;
  *frame = n == 1 ? v[0] : w ? prn_tensor_count(w) : 0;
  if (prn_o2n_has(op, 2) && !w)
    return prn_o2n_unsupported(op, "a window that is not constant");
  if (*step < 1 || *frame < 1 || *frame > MAX_FRAME ||
      (w && prn_tensor_count(w) != *frame) ||
      bins != (onesided ? *frame / 2 + 1 : *frame))
    return prn_o2n_unsupported(op, "frames of %lld points", (long long)*frame);
  *weight = PRN_ARENA_ARRAY(&e->b.m->arena, double, *frame);
  for (int64_t i = 0; i < *frame; i++)
    (*weight)[i] = 1;
  if (w) prn_tensor_read_f64(w, 0, *frame, *weight);
  return PRN_OK;
}

static prn_status lower_stft(prn_o2n *e, prn_op *op) {
  static const int64_t turn[3] = {0, 2, 1};
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  const prn_dim *d = x->type->dims;
  int64_t bins = 0, step, frame, parts;
  double *weight = NULL;
  if (type->rank != 4 || !prn_dim_is_const(type->dims[2], &bins) ||
      (x->type->rank == 3 && (!prn_dim_is_const(d[2], &parts) || parts != 1)))
    return prn_o2n_unsupported(op, "a complex signal or an open length");
  PRN_TRY(read_stft(e, op, bins, &step, &frame, &weight));
  prn_dim in[3] = {d[0], prn_dim_const(e->ctx, 1), d[1]};
  prn_dim out[3] = {d[0], prn_dim_const(e->ctx, 2 * bins), type->dims[1]};
  prn_value *v[2] = {prn_nn_reshape_dims(&e->b, x, 3, in),
                     stft_kernels(e, bins, frame, weight, x->type->dtype)};
  prn_value *y = prn_nn_make(&e->b, PRN_OP_nn_conv, v, 2,
                             prn_nn_type(e->ctx, x->type, 3, out));
  int64_t one = 1;
  prn_dim low = prn_dim_const(e->ctx, 0);
  prn_op_set_attr(y->def, "strides", prn_attr_ints(e->ctx, &step, 1));
  prn_op_set_attr(y->def, "dilations", prn_attr_ints(e->ctx, &one, 1));
  prn_op_set_attr(y->def, "pads", prn_nn_dim_list(e->ctx, &low, 1));
  prn_op_set_attr(y->def, "group", prn_attr_int(e->ctx, 1));
  return prn_o2n_set_shape(e, op, 0, prn_nn_transpose(&e->b, y, turn));
}

/* ---- MelWeightMatrix ---- */

static double to_mel(double hertz) { return 2595 * log10(1 + hertz / 700); }
static double to_hertz(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

/* Triangle i of the bands, between the bins at[i] and at[i + 2]. */
static void triangle(double *v, int64_t rows, int64_t bands, int64_t i,
                     const int64_t *at) {
  int64_t left = at[i], top = at[i + 1], right = at[i + 2];
  for (int64_t j = left; j <= top; j++)
    if (j >= 0 && j < rows)
      v[j * bands + i] =
          top > left ? (double)(j - left) / (double)(top - left) : 1;
  for (int64_t j = top; j < right; j++)
    if (j >= 0 && j < rows)
      v[j * bands + i] = (double)(right - j) / (double)(right - top);
}

static prn_status lower_mel(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  double in[5];
  int64_t rows, bands;
  for (uint32_t i = 0; i < 5; i++)
    PRN_TRY(prn_o2n_number(e, op, i, &in[i]));
  if (type->rank != 2 || !prn_dim_is_const(type->dims[0], &rows) ||
      !prn_dim_is_const(type->dims[1], &bands) || !(in[2] > 0))
    return prn_op_error(op, "expects numbers of bands and of bins, and a rate");
  int64_t *at = PRN_ARENA_ARRAY(&e->b.m->arena, int64_t, bands + 2);
  double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, rows *bands + 1);
  double low = to_mel(in[3]), step = (to_mel(in[4]) - low) / (in[0] + 2);
  for (int64_t i = 0; i < bands + 2; i++) {
    double bin = floor((in[1] + 1) * to_hertz(low + step * (double)i) / in[2]);
    at[i] = bin >= 0 && bin < (double)rows ? (int64_t)bin : rows;
  }
  for (int64_t i = 0; i < rows * bands; i++)
    v[i] = 0;
  for (int64_t i = 0; i < bands; i++)
    triangle(v, rows, bands, i, at);
  return prn_o2n_set(e, op, 0,
                     prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, type, v)));
}

const prn_o2n_row prn_o2n_signal[] = {
    {"HannWindow", lower_hann, 1, 0},
    {"HammingWindow", lower_hamming, 1, 0},
    {"BlackmanWindow", lower_blackman, 1, 0},
    {"MelWeightMatrix", lower_mel, 31, 0},
    {"DFT", lower_dft, 2 | 4, 0},
    {"STFT", lower_stft, 2 | 4 | 8, 0},
    {NULL, NULL, 0, 0},
};
