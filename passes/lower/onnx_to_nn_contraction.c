/* onnx -> nn: matrix products, convolutions and pools. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

/* ---- matrix products ---- */

/* A vector becomes a row (of the left operand) or a column. */
static prn_value *as_matrix(prn_o2n *e, prn_value *x, bool left) {
  if (x->type->rank != 1) return x;
  prn_dim one = prn_dim_const(e->ctx, 1), n = x->type->dims[0];
  prn_dim dims[2] = {left ? one : n, left ? n : one};
  return prn_nn_reshape_dims(&e->b, x, 2, dims);
}

static prn_status lower_matmul(prn_o2n *e, prn_op *op) {
  prn_value *y;
  PRN_TRY(prn_o2n_dequantised_product(e, op, &y));
  if (y) return prn_o2n_set(e, op, 0, y);
  prn_value *a = as_matrix(e, prn_o2n_in(e, op, 0), true);
  prn_value *b = as_matrix(e, prn_o2n_in(e, op, 1), false);
  /* A reshape in prn_o2n_set drops the 1 that a vector operand added. */
  return prn_o2n_set(e, op, 0,
                     prn_nn_matmul(&e->b, a, b, op->results[0].type->dtype));
}

static prn_value *swap_last(prn_o2n *e, prn_value *x, bool swap) {
  int64_t perm[MAX_RANK];
  int32_t rank = x->type->rank;
  if (!swap) return x;
  for (int32_t i = 0; i < rank; i++)
    perm[i] = i;
  perm[rank - 1] = rank - 2;
  perm[rank - 2] = rank - 1;
  return prn_nn_transpose(&e->b, x, perm);
}

static prn_value *scaled(prn_o2n *e, prn_value *x, double by) {
  return by == 1 ? x : prn_nn_with(&e->b, PRN_SCALAR_mul, x, by);
}

static prn_status lower_gemm(prn_o2n *e, prn_op *op) {
  prn_value *a = prn_o2n_in(e, op, 0), *b = prn_o2n_in(e, op, 1);
  prn_value *c = prn_o2n_in(e, op, 2), *y;
  double alpha = (double)prn_op_float(op, "alpha", 1);
  double beta = (double)prn_op_float(op, "beta", 1);
  if (a->type->rank != 2 || b->type->rank != 2)
    return prn_op_error(op, "expects matrices");
  PRN_TRY(prn_o2n_dequantised_product(e, op, &y));
  if (!y) {
    a = swap_last(e, a, prn_op_int(op, "transA", 0) != 0);
    b = swap_last(e, b, prn_op_int(op, "transB", 0) != 0);
    y = prn_nn_matmul(&e->b, a, b, a->type->dtype);
  }
  y = scaled(e, y, alpha);
  if (c && beta != 0)
    y = prn_nn_binary(&e->b, PRN_SCALAR_add, y, scaled(e, c, beta));
  return prn_o2n_set(e, op, 0, y);
}

static prn_status lower_fused_matmul(prn_o2n *e, prn_op *op) {
  if (prn_op_int(op, "transBatchA", 0) || prn_op_int(op, "transBatchB", 0))
    return prn_o2n_unsupported(op, "transBatchA and transBatchB");
  prn_value *a = as_matrix(e, prn_o2n_in(e, op, 0), true);
  prn_value *b = as_matrix(e, prn_o2n_in(e, op, 1), false);
  a = swap_last(e, a, prn_op_int(op, "transA", 0) != 0);
  b = swap_last(e, b, prn_op_int(op, "transB", 0) != 0);
  prn_value *y = prn_nn_matmul(&e->b, a, b, a->type->dtype);
  return prn_o2n_set(e, op, 0,
                     scaled(e, y, (double)prn_op_float(op, "alpha", 1)));
}

/* ---- windows ---- */

enum { MAX_SPATIAL = MAX_RANK - 2 };

/* How windows lie on the spatial dimensions of a Conv or a pool. */
typedef struct window {
  int32_t n; /* spatial dimensions */
  int64_t kernel[MAX_SPATIAL], strides[MAX_SPATIAL], dilations[MAX_SPATIAL];
  prn_dim low[MAX_SPATIAL], high[MAX_SPATIAL];
} window;

/* INTS attribute `name` with one element for each spatial dimension. */
static prn_status window_ints(const prn_op *op, const char *name, int32_t n,
                              int64_t dflt, int64_t *out) {
  size_t have;
  const int64_t *v = prn_op_ints(op, name, &have);
  for (int32_t i = 0; i < n; i++)
    out[i] = v && have == (size_t)n ? v[i] : dflt;
  if (v && have != (size_t)n)
    return prn_op_error(op, "%s has %zu elements; expected %d", name, have,
                        (int)n);
  for (int32_t i = 0; i < n; i++)
    if (out[i] < 1)
      return prn_op_error(op, "%s[%d] is %lld; expected at least 1", name,
                          (int)i, (long long)out[i]);
  return PRN_OK;
}

/* SAME: as much padding as makes `out` windows, halves on both sides. */
static void same_pads(prn_ctx *ctx, window *w, int32_t i, prn_dim in,
                      prn_dim out, bool upper) {
  prn_dim one = prn_dim_const(ctx, 1), zero = prn_dim_const(ctx, 0);
  prn_dim reach = prn_dim_mul(ctx, prn_dim_sub(ctx, out, one),
                              prn_dim_const(ctx, w->strides[i]));
  int64_t extent = (w->kernel[i] - 1) * w->dilations[i] + 1;
  reach = prn_dim_add(ctx, reach, prn_dim_const(ctx, extent));
  prn_dim total = prn_dim_max(ctx, prn_dim_sub(ctx, reach, in), zero);
  prn_dim half = prn_dim_floordiv(ctx, total, prn_dim_const(ctx, 2));
  prn_dim rest = prn_dim_sub(ctx, total, half);
  w->low[i] = upper ? half : rest;
  w->high[i] = upper ? rest : half;
}

/* Padding of the windows on input sizes `in` with `out` windows. */
static prn_status window_pads(prn_ctx *ctx, const prn_op *op, window *w,
                              const prn_dim *in, const prn_dim *out) {
  prn_str mode = prn_op_string(op, "auto_pad", "NOTSET");
  bool upper = prn_str_is(mode, "SAME_UPPER");
  bool explicit = prn_str_is(mode, "NOTSET") || mode.size == 0;
  size_t n;
  const int64_t *pads = prn_op_ints(op, "pads", &n);
  if (pads && explicit && n != 2 * (size_t)w->n)
    return prn_op_error(op, "pads has %zu elements; expected %d", n, 2 * w->n);
  for (int32_t i = 0; i < w->n; i++) {
    bool given = pads && explicit;
    w->low[i] = prn_dim_const(ctx, given ? pads[i] : 0);
    w->high[i] = prn_dim_const(ctx, given ? pads[w->n + i] : 0);
    if (upper || prn_str_is(mode, "SAME_LOWER"))
      same_pads(ctx, w, i, in[i], out[i], upper);
  }
  return PRN_OK;
}

static void set_window(prn_ctx *ctx, prn_op *op, const window *w) {
  size_t n = (size_t)w->n;
  prn_op_set_attr(op, "strides", prn_attr_ints(ctx, w->strides, n));
  prn_op_set_attr(op, "dilations", prn_attr_ints(ctx, w->dilations, n));
  prn_op_set_attr(op, "pads", prn_nn_dim_list(ctx, w->low, n));
}

/* ---- convolutions ---- */

/* Reads what Conv and ConvTranspose have in common; the kernel's size is the
 * weights'. */
static prn_status conv_window(const prn_op *op, const prn_type *x,
                              const prn_type *weights, window *w) {
  w->n = x->rank - 2;
  if (w->n < 1 || weights->rank != x->rank)
    return prn_op_error(op, "expects x[n, c, spatial...] and weights of the "
                            "same rank");
  for (int32_t i = 0; i < w->n; i++)
    if (!prn_dim_is_const(weights->dims[2 + i], &w->kernel[i]))
      return prn_o2n_unsupported(op, "a kernel whose size is not constant");
  PRN_TRY(window_ints(op, "strides", w->n, 1, w->strides));
  return window_ints(op, "dilations", w->n, 1, w->dilations);
}

static prn_value *make_conv(prn_o2n *e, prn_value *x, prn_value *weights,
                            const prn_type *type, const window *w,
                            int64_t group) {
  prn_value *y =
      prn_nn_make(&e->b, PRN_OP_nn_conv, (prn_value *[]){x, weights}, 2, type);
  set_window(e->ctx, y->def, w);
  prn_op_set_attr(y->def, "group", prn_attr_int(e->ctx, group));
  return y;
}

/* y + bias along the channels. */
static prn_value *add_bias(prn_o2n *e, prn_value *y, prn_value *bias) {
  prn_dim dims[MAX_RANK];
  if (!bias) return y;
  dims[0] = bias->type->dims[0];
  for (int32_t i = 1; i < y->type->rank - 1; i++)
    dims[i] = prn_dim_const(e->ctx, 1);
  bias = prn_nn_reshape_dims(&e->b, bias, y->type->rank - 1, dims);
  return prn_nn_binary(&e->b, PRN_SCALAR_add, y, bias);
}

prn_status prn_o2n_conv(prn_o2n *e, prn_op *op, prn_value *x, prn_value *w,
                        prn_value **out) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  int64_t group = prn_op_int(op, "group", 1);
  window win;
  PRN_TRY(conv_window(op, x->type, w->type, &win));
  PRN_TRY(window_pads(e->ctx, op, &win, x->type->dims + 2, type->dims + 2));
  if (group < 1) return prn_op_error(op, "group is %lld", (long long)group);
  bool bytes = x->type->dtype == PRN_U8 && w->type->dtype == PRN_I8;
  type = prn_type_with_dtype(e->ctx, type, bytes ? PRN_I32 : x->type->dtype);
  *out = make_conv(e, x, w, type, &win, group);
  return PRN_OK;
}

static prn_status lower_conv(prn_o2n *e, prn_op *op) {
  prn_value *y;
  PRN_TRY(prn_o2n_dequantised_product(e, op, &y));
  if (!y)
    PRN_TRY(
        prn_o2n_conv(e, op, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1), &y));
  return prn_o2n_set(e, op, 0, add_bias(e, y, prn_o2n_in(e, op, 2)));
}

/* ---- ConvTranspose: a convolution of the input with zeros between ---- */

/* strides-1 zeros after every element of the spatial dimensions. */
static prn_value *spread(prn_o2n *e, prn_value *x, const window *w) {
  prn_dim split[MAX_RANK], wide[MAX_RANK], lows[MAX_RANK], flat[MAX_RANK];
  const prn_type *t = x->type;
  int32_t n = 2;
  for (int32_t i = 0; i < t->rank; i++) {
    flat[i] = t->dims[i];
    if (i < 2) {
      split[i] = wide[i] = t->dims[i];
      continue;
    }
    prn_dim stride = prn_dim_const(e->ctx, w->strides[i - 2]);
    split[n] = wide[n] = t->dims[i];
    split[n + 1] = prn_dim_const(e->ctx, 1);
    wide[n + 1] = stride;
    n += 2;
    flat[i] = prn_dim_mul(e->ctx, t->dims[i], stride);
  }
  const prn_type *padded = prn_nn_type(e->ctx, t, n, wide);
  for (int32_t i = 0; i < n; i++)
    lows[i] = prn_dim_const(e->ctx, 0);
  x = prn_nn_reshape_dims(&e->b, x, n, split);
  if (x->type != padded)
    x = prn_nn_pad(&e->b, x, NULL, padded, lows, "constant");
  return prn_nn_reshape_dims(&e->b, x, t->rank, flat);
}

/* w[c, o/g, kernel...] as [o, c/g, kernel backwards...]. */
static prn_value *turned_weights(prn_o2n *e, prn_value *x, int64_t group) {
  prn_dim dims[MAX_RANK], starts[MAX_RANK];
  int64_t perm[MAX_RANK], steps[MAX_RANK];
  const prn_type *t = x->type;
  prn_dim g = prn_dim_const(e->ctx, group);
  dims[0] = g;
  dims[1] = prn_dim_floordiv(e->ctx, t->dims[0], g);
  for (int32_t i = 0; i <= t->rank; i++) {
    if (i >= 2) dims[i] = t->dims[i - 1];
    perm[i] = i == 1 ? 2 : i == 2 ? 1 : i;
  }
  x = prn_nn_reshape_dims(&e->b, x, t->rank + 1, dims);
  x = prn_nn_transpose(&e->b, x, perm);
  dims[0] = prn_dim_mul(e->ctx, g, t->dims[1]);
  dims[1] = prn_dim_floordiv(e->ctx, t->dims[0], g);
  for (int32_t i = 0; i < t->rank; i++) {
    prn_dim one = prn_dim_const(e->ctx, 1);
    if (i >= 2) dims[i] = t->dims[i];
    starts[i] =
        i < 2 ? prn_dim_const(e->ctx, 0) : prn_dim_sub(e->ctx, t->dims[i], one);
    steps[i] = i < 2 ? 1 : -1;
  }
  x = prn_nn_reshape_dims(&e->b, x, t->rank, dims);
  return prn_nn_slice(&e->b, x, x->type, starts, steps);
}

/* The low padding of the output that is cut off. With SAME, or where the
 * output's size is given, it follows from that. */
static prn_status cut_low(prn_o2n *e, const prn_op *op, const prn_type *x,
                          const prn_type *y, window *w) {
  prn_str mode = prn_op_string(op, "auto_pad", "NOTSET");
  bool lower = prn_str_is(mode, "SAME_LOWER");
  bool same = lower || prn_str_is(mode, "SAME_UPPER");
  size_t n;
  int64_t extra[MAX_SPATIAL] = {0};
  const int64_t *more = prn_op_ints(op, "output_padding", &n);
  for (int32_t i = 0; more && n == (size_t)w->n && i < w->n; i++)
    extra[i] = more[i];
  PRN_TRY(window_pads(e->ctx, op, w, x->dims + 2, y->dims + 2));
  for (int32_t i = 0; i < w->n; i++) {
    int64_t total;
    if (!same && !prn_op_attr(op, "output_shape")) continue;
    prn_dim full = prn_dim_mul(
        e->ctx, prn_dim_sub(e->ctx, x->dims[2 + i], prn_dim_const(e->ctx, 1)),
        prn_dim_const(e->ctx, w->strides[i]));
    int64_t extent = (w->kernel[i] - 1) * w->dilations[i] + 1 + extra[i];
    full = prn_dim_add(e->ctx, full, prn_dim_const(e->ctx, extent));
    if (!prn_dim_is_const(prn_dim_sub(e->ctx, full, y->dims[2 + i]), &total))
      return prn_o2n_unsupported(op, "an output size that is not constant");
    if (total < 0) total = 0;
    int64_t half = total / 2;
    w->low[i] = prn_dim_const(e->ctx, lower || !same ? total - half : half);
    if (!same) w->low[i] = prn_dim_const(e->ctx, half);
  }
  return PRN_OK;
}

static prn_status lower_conv_transpose(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *weights = prn_o2n_in(e, op, 1);
  const prn_type *type = prn_o2n_out(e, op, 0);
  int64_t group = prn_op_int(op, "group", 1), low;
  window w;
  PRN_TRY(conv_window(op, x->type, weights->type, &w));
  if (group < 1) return prn_op_error(op, "group is %lld", (long long)group);
  if (type->rank * 2 - 2 > MAX_RANK)
    return prn_o2n_unsupported(op, "%d dimensions", (int)type->rank);
  PRN_TRY(cut_low(e, op, x->type, type, &w));
  x = spread(e, x, &w);
  for (int32_t i = 0; i < w.n; i++) {
    prn_dim reach = prn_dim_const(e->ctx, (w.kernel[i] - 1) * w.dilations[i]);
    w.low[i] = prn_dim_sub(e->ctx, reach, w.low[i]);
    if (!prn_dim_is_const(w.low[i], &low) || low < 0)
      return prn_o2n_unsupported(op, "more padding than the kernel reaches");
    w.strides[i] = 1;
  }
  weights = turned_weights(e, weights, group);
  prn_value *y = make_conv(e, x, weights, type, &w, group);
  return prn_o2n_set(e, op, 0, add_bias(e, y, prn_o2n_in(e, op, 2)));
}

/* ---- pools ---- */

static prn_value *make_pool(prn_o2n *e, const char *fn, prn_value *x,
                            const prn_type *type, const window *w,
                            bool count_pads) {
  size_t n = (size_t)w->n;
  prn_value *y = prn_nn_make(&e->b, PRN_OP_nn_pool, &x, 1, type);
  bool avg = fn[0] == 'a';
  prn_op_set_attr(y->def, "fn", prn_attr_string(e->ctx, prn_str_from(fn)));
  prn_op_set_attr(y->def, "kernel", prn_attr_ints(e->ctx, w->kernel, n));
  set_window(e->ctx, y->def, w);
  if (avg && count_pads) {
    prn_op_set_attr(y->def, "pads_high", prn_nn_dim_list(e->ctx, w->high, n));
    prn_op_set_attr(y->def, "count_include_pad", prn_attr_bool(e->ctx, true));
  }
  return y;
}

static prn_status pool_window(prn_o2n *e, const prn_op *op, const prn_type *x,
                              const prn_type *y, window *w) {
  w->n = x->rank - 2;
  if (w->n < 1 || !prn_op_attr(op, "kernel_shape"))
    return prn_op_error(op, "expects x[n, c, spatial...] and a kernel_shape");
  PRN_TRY(window_ints(op, "kernel_shape", w->n, 1, w->kernel));
  PRN_TRY(window_ints(op, "strides", w->n, 1, w->strides));
  PRN_TRY(window_ints(op, "dilations", w->n, 1, w->dilations));
  return window_pads(e->ctx, op, w, x->dims + 2, y->dims + 2);
}

/* Where along axis d of the input the window's element k lies, in the shape
 * [.., outputs, ..]. */
static prn_value *window_place(prn_o2n *e, const prn_type *type,
                               const window *w, int32_t d, int64_t k) {
  prn_value *at = prn_nn_positions(&e->b, type, d + 2);
  at = prn_nn_with(&e->b, PRN_SCALAR_mul, at, (double)w->strides[d]);
  at = prn_nn_with(&e->b, PRN_SCALAR_add, at, (double)(k * w->dilations[d]));
  return prn_nn_binary(&e->b, PRN_SCALAR_sub, at,
                       prn_nn_size(&e->b, w->low[d], PRN_I64));
}

/* The best element so far of every window, and where it is in the tensor. */
typedef struct winner {
  prn_value *x; /* flat */
  prn_value *best, *at;
} winner;

/* Element k (counted through the window) of all windows enters the race. */
static void enter(prn_o2n *e, const prn_op *op, const prn_type *in,
                  const prn_type *type, const window *w, int64_t k, winner *r) {
  prn_dim count = prn_type_size(e->ctx, type);
  bool columns = prn_op_int(op, "storage_order", 0) != 0;
  const prn_type *ints = prn_type_with_dtype(e->ctx, type, PRN_I64);
  prn_value *inside = NULL, *at = NULL, *name, *place[MAX_SPATIAL];
  for (int32_t d = w->n; d-- > 0; k /= w->kernel[d]) {
    place[d] = window_place(e, type, w, d, k % w->kernel[d]);
    prn_value *n = prn_nn_size(&e->b, in->dims[d + 2], PRN_I64);
    prn_value *ok = prn_nn_binary(
        &e->b, PRN_SCALAR_and, prn_nn_with(&e->b, PRN_SCALAR_ge, place[d], 0),
        prn_nn_binary(&e->b, PRN_SCALAR_lt, place[d], n));
    inside = inside ? prn_nn_binary(&e->b, PRN_SCALAR_and, inside, ok) : ok;
    place[d] = prn_nn_with(&e->b, PRN_SCALAR_max, place[d], 0);
    place[d] = prn_nn_binary(&e->b, PRN_SCALAR_min, place[d],
                             prn_nn_with(&e->b, PRN_SCALAR_sub, n, 1));
  }
  for (int pass = 0; pass < 2; pass++) { /* rows first; then as asked */
    name = at;
    at = NULL;
    for (int32_t i = 0; i < w->n + 2; i++) {
      int32_t d = pass && columns && i >= 2 ? w->n + 3 - i : i;
      prn_value *p = d < 2 ? prn_nn_positions(&e->b, type, d) : place[d - 2];
      prn_value *n = prn_nn_size(&e->b, in->dims[d], PRN_I64);
      if (at)
        p = prn_nn_binary(&e->b, PRN_SCALAR_add,
                          prn_nn_binary(&e->b, PRN_SCALAR_mul, at, n), p);
      at = p;
    }
  }
  name = prn_nn_broadcast(&e->b, name, ints);
  prn_value *v = prn_nn_gather(&e->b, r->x,
                               prn_nn_reshape_dims(&e->b, name, 1, &count), 0);
  v = prn_nn_reshape(&e->b, v, type);
  if (!r->best) { /* a window has an element, but this may not be one */
    r->best = v;
    r->at = prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, PRN_I64, -1), ints);
  }
  prn_value *first = prn_nn_with(&e->b, PRN_SCALAR_lt, r->at, 0);
  prn_value *wins = prn_nn_binary(&e->b, PRN_SCALAR_gt, v, r->best);
  wins = prn_nn_binary(&e->b, PRN_SCALAR_or, wins, first);
  wins = prn_nn_binary(&e->b, PRN_SCALAR_and, wins, inside);
  r->best = prn_nn_select(&e->b, wins, v, r->best);
  r->at = prn_nn_select(&e->b, wins, at, r->at);
}

/* Result 1 of MaxPool: places in the flat input of the windows' maxima. */
static prn_status max_places(prn_o2n *e, prn_op *op, prn_value *x,
                             const prn_type *type, const window *w) {
  int64_t size = 1;
  prn_dim count = prn_type_size(e->ctx, x->type);
  winner r = {.x = prn_nn_reshape_dims(&e->b, x, 1, &count)};
  for (int32_t d = 0; d < w->n; d++)
    size *= w->kernel[d];
  if (size > 256)
    return prn_o2n_unsupported(op, "places in windows of %lld elements",
                               (long long)size);
  for (int64_t k = 0; k < size; k++)
    enter(e, op, x->type, type, w, k, &r);
  return prn_o2n_set(e, op, 1, r.at);
}

static prn_status lower_pool(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  bool max = prn_str_is(op->opname->name, "MaxPool");
  window w;
  PRN_TRY(pool_window(e, op, x->type, type, &w));
  if (prn_o2n_wanted(op, 1)) PRN_TRY(max_places(e, op, x, type, &w));
  if (!prn_o2n_wanted(op, 0)) return PRN_OK;
  return prn_o2n_set(e, op, 0,
                     make_pool(e, max ? "max" : "avg", x, type, &w,
                               prn_op_int(op, "count_include_pad", 0) != 0));
}

/* (sum of |x|^p)^(1/p), the sum being an average times the window's size. */
static prn_status lower_lp_pool(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  double p = (double)prn_op_int(op, "p", 2), size = 1;
  window w;
  if (prn_op_int(op, "ceil_mode", 0))
    return prn_o2n_unsupported(op, "ceil_mode");
  PRN_TRY(pool_window(e, op, x->type, type, &w));
  for (int32_t i = 0; i < w.n; i++)
    size *= (double)w.kernel[i];
  x = prn_nn_unary(&e->b, PRN_SCALAR_abs, x);
  x = prn_nn_with(&e->b, PRN_SCALAR_pow, x, p);
  x = make_pool(e, "avg", x, type, &w, true);
  x = prn_nn_with(&e->b, PRN_SCALAR_mul, x, size);
  x = prn_nn_with(&e->b, PRN_SCALAR_pow, x, 1 / p);
  return prn_o2n_set(e, op, 0, x);
}

/* Local response normalisation: x / (bias + alpha * mean of x^2 over `size`
 * channels)^beta. The channels become a spatial dimension. */
static prn_status lower_lrn(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *t = x->type;
  int64_t size = prn_op_int(op, "size", 0);
  if (t->rank < 2 || size < 1)
    return prn_op_error(op, "expects x[n, c, ...] and a positive size");
  prn_dim rest = prn_dim_const(e->ctx, 1);
  for (int32_t i = 2; i < t->rank; i++)
    rest = prn_dim_mul(e->ctx, rest, t->dims[i]);
  prn_dim one = prn_dim_const(e->ctx, 1), zero = prn_dim_const(e->ctx, 0);
  prn_dim dims[4] = {t->dims[0], one, t->dims[1], rest};
  window w = {.n = 2,
              .kernel = {size, 1},
              .strides = {1, 1},
              .dilations = {1, 1},
              .low = {prn_dim_const(e->ctx, (size - 1) / 2), zero},
              .high = {prn_dim_const(e->ctx, size / 2), zero}};
  prn_value *m = prn_nn_binary(&e->b, PRN_SCALAR_mul, x, x);
  m = prn_nn_reshape_dims(&e->b, m, 4, dims);
  m = make_pool(e, "avg", m, m->type, &w, true);
  m = prn_nn_reshape_dims(&e->b, m, t->rank, t->dims);
  m = scaled(e, m, (double)prn_op_float(op, "alpha", 1e-4f));
  m = prn_nn_with(&e->b, PRN_SCALAR_add, m,
                  (double)prn_op_float(op, "bias", 1));
  m = prn_nn_with(&e->b, PRN_SCALAR_pow, m,
                  (double)prn_op_float(op, "beta", 0.75f));
  return prn_o2n_set(e, op, 0, prn_nn_binary(&e->b, PRN_SCALAR_div, x, m));
}

/* Determinants along the first row, of what is left of rows and columns. */
static prn_value *determinant(prn_o2n *e, prn_value *x, int64_t row,
                              unsigned columns) {
  int32_t rank = x->type->rank;
  prn_value *sum = NULL;
  int sign = 1;
  for (int32_t c = 0; columns >> c; c++) {
    if (!(columns >> c & 1)) continue;
    prn_value *v =
        prn_o2n_step(e, prn_o2n_step(e, x, rank - 2, row), rank - 2, c);
    unsigned rest = columns & ~(1u << c);
    if (rest)
      v = prn_nn_binary(&e->b, PRN_SCALAR_mul, v,
                        determinant(e, x, row + 1, rest));
    if (sum)
      v = prn_nn_binary(&e->b, sign > 0 ? PRN_SCALAR_add : PRN_SCALAR_sub, sum,
                        v);
    sum = v;
    sign = -sign;
  }
  return sum;
}

static prn_status lower_det(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  int32_t rank = x->type->rank;
  int64_t n;
  if (rank < 2 || !prn_dim_is_const(x->type->dims[rank - 1], &n) || n < 1 ||
      n > 4)
    return prn_o2n_unsupported(op, "matrices but of 1 to 4 rows");
  return prn_o2n_set(e, op, 0, determinant(e, x, 0, (1u << n) - 1));
}

/* A sum over the taps of a window that ends at each position: x behind what
 * was seen before. Few taps, and all of it is one map. */
static prn_status lower_causal_conv(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *w = prn_o2n_in(e, op, 1), *y = NULL;
  prn_value *bias = prn_o2n_in(e, op, 2), *past = prn_o2n_in(e, op, 3);
  const prn_type *t = x->type;
  prn_dim dims[3] = {t->dims[0], t->dims[1], NULL},
          one = prn_dim_const(e->ctx, 1);
  int64_t taps;
  if (t->rank != 3 || w->type->rank != 3 ||
      !prn_dim_is_const(w->type->dims[2], &taps) || taps < 1 || taps > 64)
    return prn_o2n_unsupported(op, "windows but of 1 to 64 elements");
  dims[2] = prn_dim_const(e->ctx, taps - 1);
  if (!past)
    past = prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, t->dtype, 0),
                            prn_nn_type(e->ctx, t, 3, dims));
  dims[2] = prn_dim_add(e->ctx, t->dims[2], dims[2]);
  prn_value *both[2] = {past, x};
  x = taps == 1
          ? x
          : prn_nn_concat(&e->b, both, 2, 2, prn_nn_type(e->ctx, t, 3, dims));
  for (int64_t k = 0; k < taps; k++) {
    prn_dim at = prn_dim_const(e->ctx, k);
    prn_value *v = prn_nn_slice_axis(&e->b, x, 2, at, t->dims[2]);
    prn_dim row[2] = {t->dims[1], one};
    prn_value *f = prn_nn_slice_axis(&e->b, w, 2, at, one);
    v = prn_nn_binary(&e->b, PRN_SCALAR_mul, v,
                      prn_nn_reshape_dims(&e->b, f, 2, row));
    y = y ? prn_nn_binary(&e->b, PRN_SCALAR_add, y, v) : v;
  }
  prn_dim column[2] = {t->dims[1], one};
  if (bias)
    y = prn_nn_binary(&e->b, PRN_SCALAR_add, y,
                      prn_nn_reshape_dims(&e->b, bias, 2, column));
  if (!prn_str_is(prn_op_string(op, "activation", "none"), "none"))
    y = prn_nn_binary(&e->b, PRN_SCALAR_mul, y,
                      prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, y));
  PRN_TRY(prn_o2n_set(e, op, 0, y));
  if (!prn_o2n_wanted(op, 1)) return PRN_OK;
  return prn_o2n_set(e, op, 1,
                     prn_nn_slice_axis(&e->b, x, 2, t->dims[2],
                                       prn_dim_const(e->ctx, taps - 1)));
}

const prn_o2n_row prn_o2n_contraction[] = {
    {"MatMul", lower_matmul, 0, 0},
    {"Gemm", lower_gemm, 0, 0},
    {"com.microsoft:FusedMatMul", lower_fused_matmul, 0, 0},
    {"com.microsoft:TransposeMatMul", lower_fused_matmul, 0, 0},
    {"Conv", lower_conv, 0, 0},
    {"CausalConvWithState", lower_causal_conv, 0, 0},
    {"Det", lower_det, 0, 0},
    {"ConvTranspose", lower_conv_transpose, 0, 0},
    {"MaxPool", lower_pool, 0, 0},
    {"AveragePool", lower_pool, 0, 0},
    {"LpPool", lower_lp_pool, 0, 0},
    {"LRN", lower_lrn, 0, 0},
    {NULL, NULL, 0, 0},
};
