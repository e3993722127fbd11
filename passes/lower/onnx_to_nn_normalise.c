/* onnx -> nn: normalisations. */
#include <math.h>
#include <string.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* ---- layer normalisation ---- */

static prn_value *make_layer_norm(prn_o2n *e, prn_value *x, prn_value *scale,
                                  prn_value *bias, int32_t axis, float eps,
                                  bool rms) {
  prn_value *in[3] = {x, scale, bias};
  prn_value *r =
      prn_nn_make(&e->b, PRN_OP_nn_layer_norm, in, bias ? 3 : (scale ? 2 : 1),
                  prn_nn_plain(e->ctx, x->type));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, axis));
  prn_op_set_attr(r->def, "epsilon", prn_attr_float(e->ctx, eps));
  if (rms) prn_op_set_attr(r->def, "rms", prn_attr_bool(e->ctx, true));
  return r;
}

/* The optional outputs: the mean (result 1) and the inverse of the standard
 * deviation (result 2), where they are asked for. */
static prn_status side_outputs(prn_o2n *e, prn_op *op, prn_value *x,
                               int32_t axis, double eps) {
  int64_t axes[MAX_RANK];
  size_t n = 0;
  if (!prn_o2n_wanted(op, 1) && !prn_o2n_wanted(op, 2)) return PRN_OK;
  for (int32_t i = axis; i < x->type->rank; i++)
    axes[n++] = i;
  prn_value *mean = prn_nn_mean(&e->b, x, axes, n);
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, mean));
  if (!prn_o2n_wanted(op, 2)) return PRN_OK;
  prn_value *d = binary(e, PRN_SCALAR_sub, x, mean);
  d = prn_nn_mean(&e->b, binary(e, PRN_SCALAR_mul, d, d), axes, n);
  d = prn_nn_with(&e->b, PRN_SCALAR_add, d, eps);
  return prn_o2n_set(e, op, 2, prn_nn_unary(&e->b, PRN_SCALAR_rsqrt, d));
}

static prn_status lower_layer_norm(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_str name = op->opname->name;
  bool rms = prn_str_is(name, "RMSNormalization") ||
             prn_str_is(name, "SimplifiedLayerNormalization");
  float eps = prn_op_float(op, "epsilon", 1e-5f);
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", -1, x->type->rank, &axis));
  if (rms && prn_o2n_wanted(op, 1))
    return prn_o2n_unsupported(op, "its second output");
  if (!rms) PRN_TRY(side_outputs(e, op, x, axis, (double)eps));
  return prn_o2n_set(e, op, 0,
                     make_layer_norm(e, x, prn_o2n_in(e, op, 1),
                                     rms ? NULL : prn_o2n_in(e, op, 2), axis,
                                     eps, rms));
}

/* com.microsoft: layer norm of x + skip (+ bias). */
static prn_status lower_skip_layer_norm(prn_o2n *e, prn_op *op) {
  bool rms = prn_str_is(op->opname->name, "SkipSimplifiedLayerNormalization");
  prn_value *sum =
      binary(e, PRN_SCALAR_add, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1));
  prn_value *bias = prn_o2n_in(e, op, rms ? 3 : 4);
  if (prn_o2n_wanted(op, 1) || prn_o2n_wanted(op, 2))
    return prn_o2n_unsupported(op, "its mean and deviation outputs");
  if (bias) sum = binary(e, PRN_SCALAR_add, sum, bias);
  if (prn_o2n_wanted(op, 3)) PRN_TRY(prn_o2n_set(e, op, 3, sum));
  return prn_o2n_set(e, op, 0,
                     make_layer_norm(e, sum, prn_o2n_in(e, op, 2),
                                     rms ? NULL : prn_o2n_in(e, op, 3),
                                     sum->type->rank - 1,
                                     prn_op_float(op, "epsilon", 1e-12f), rms));
}

static prn_value *row_of(prn_o2n *e, prn_value *table, prn_value *at) {
  prn_dim dims[3] = {at->type->dims[0], at->type->dims[1],
                     table->type->dims[1]};
  prn_value *in[2] = {table, at};
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2,
                             prn_nn_type(e->ctx, table->type, 3, dims));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, 0));
  return r;
}

enum { IDS, SEGMENTS, WORD, PLACE, SEGMENT, GAMMA, BETA, KEYS, PLACES };

/* com.microsoft: layer norm of the sum of rows of two or three tables. */
static prn_status lower_embed_layer_norm(prn_o2n *e, prn_op *op) {
  prn_value *ids = prn_o2n_in(e, op, IDS), *at = prn_o2n_in(e, op, PLACES);
  prn_value *segments = prn_o2n_in(e, op, SEGMENTS);
  prn_value *keys = prn_o2n_in(e, op, KEYS);
  int64_t last = 1;
  for (uint32_t i = IDS; i <= SEGMENT; i++)
    if (prn_o2n_has(op, i) && prn_op_operand(op, i)->type->rank != 2)
      return prn_op_error(op, "expects ids[batch, seq], and tables");
  if ((at && at->type->rank != 2) || (keys && keys->type->rank != 2))
    return prn_op_error(op, "expects positions and a mask [batch, seq]");
  prn_dim dims[2] = {prn_dim_const(e->ctx, 1), ids->type->dims[1]};
  if (!at)
    at = prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, dims), 1, NULL,
                     NULL);
  prn_value *sum =
      binary(e, PRN_SCALAR_add, row_of(e, prn_o2n_in(e, op, WORD), ids),
             row_of(e, prn_o2n_in(e, op, PLACE), at));
  if (segments && prn_o2n_has(op, SEGMENT))
    sum = binary(e, PRN_SCALAR_add, sum,
                 row_of(e, prn_o2n_in(e, op, SEGMENT), segments));
  if (prn_o2n_wanted(op, 1))
    PRN_TRY(prn_o2n_set_shape(
        e, op, 1,
        keys ? prn_nn_reduce(&e->b, "sum", keys, &last, 1)
             : prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, PRN_I32, 0),
                                prn_o2n_out(e, op, 1))));
  if (prn_o2n_wanted(op, 2)) PRN_TRY(prn_o2n_set(e, op, 2, sum));
  return prn_o2n_set(
      e, op, 0,
      make_layer_norm(e, sum, prn_o2n_in(e, op, GAMMA), prn_o2n_in(e, op, BETA),
                      2, prn_op_float(op, "epsilon", 1e-12f), false));
}

/* A vector over the channels, so that it broadcasts to x[n, c, spatial...]. */
static prn_value *per_channel(prn_o2n *e, prn_value *v, int32_t rank) {
  prn_dim dims[MAX_RANK];
  dims[0] = v->type->dims[0];
  for (int32_t i = 1; i < rank - 1; i++)
    dims[i] = prn_dim_const(e->ctx, 1);
  return prn_nn_reshape_dims(&e->b, v, rank > 1 ? rank - 1 : 1, dims);
}

/* x[n, c, ...] with mean 0 and variance 1 in every group of channels. */
static prn_value *normed_groups(prn_o2n *e, prn_value *x, prn_dim groups,
                                float eps) {
  const prn_type *t = x->type;
  prn_dim rest = prn_dim_floordiv(e->ctx, t->dims[1], groups);
  for (int32_t i = 2; i < t->rank; i++)
    rest = prn_dim_mul(e->ctx, rest, t->dims[i]);
  prn_dim dims[3] = {t->dims[0], groups, rest};
  prn_value *y = prn_nn_reshape_dims(&e->b, x, 3, dims);
  y = make_layer_norm(e, y, NULL, NULL, 2, eps, false);
  return prn_nn_reshape_dims(&e->b, y, t->rank, t->dims);
}

/* Instance normalisation is group normalisation with one channel a group. */
static prn_status lower_group_norm(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *y;
  prn_value *scale = prn_o2n_in(e, op, 1), *bias = prn_o2n_in(e, op, 2);
  const prn_type *t = x->type;
  bool instance = prn_str_is(op->opname->name, "InstanceNormalization");
  prn_dim groups = prn_dim_const(e->ctx, prn_op_int(op, "num_groups", 1));
  if (t->rank < 2) return prn_op_error(op, "expects x[n, c, ...]");
  if (instance) groups = t->dims[1];
  y = normed_groups(e, x, groups, prn_op_float(op, "epsilon", 1e-5f));
  if (scale->type->dims[0] != t->dims[1])
    return prn_o2n_unsupported(op, "a scale for each group");
  y = binary(e, PRN_SCALAR_mul, y, per_channel(e, scale, t->rank));
  y = binary(e, PRN_SCALAR_add, y, per_channel(e, bias, t->rank));
  return prn_o2n_set(e, op, 0, y);
}

/* com.microsoft: in f32, the channels last unless it says otherwise; then
 * scale and bias broadcast as they are. */
static prn_status lower_ms_group_norm(prn_o2n *e, prn_op *op) {
  int64_t there[MAX_RANK] = {0}, back[MAX_RANK] = {0};
  prn_value *x = prn_o2n_in(e, op, 0), *v[2];
  int32_t rank = x->type->rank;
  int64_t groups = prn_op_int(op, "groups", 0);
  bool last = prn_op_int(op, "channels_last", 1) != 0;
  prn_dtype dtype = x->type->dtype;
  if (rank < 3) return prn_op_error(op, "expects X[n, ..., c]");
  for (int32_t i = 1; i < rank; i++) {
    there[i] = i == 1 ? rank - 1 : i - 1;
    back[there[i]] = i;
  }
  x = prn_nn_cast(&e->b, x, PRN_F32);
  if (last) x = prn_nn_transpose(&e->b, x, there);
  x = normed_groups(e, x, prn_dim_const(e->ctx, groups),
                    prn_op_float(op, "epsilon", 1e-5f));
  if (last) x = prn_nn_transpose(&e->b, x, back);
  for (uint32_t i = 0; i < 2; i++) {
    v[i] = prn_nn_cast(&e->b, prn_o2n_in(e, op, i + 1), PRN_F32);
    if (v[i]->type->rank != 1)
      return prn_op_error(op, "expects gamma[c] and beta[c]");
    if (!last) v[i] = per_channel(e, v[i], rank);
  }
  x = binary(e, PRN_SCALAR_mul, x, v[0]);
  x = binary(e, PRN_SCALAR_add, x, v[1]);
  if (prn_op_int(op, "activation", 0) == 1)
    x = binary(e, PRN_SCALAR_mul, x,
               prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, x));
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, x, dtype));
}

/* ---- batch normalisation ---- */

/* y = a*x + b for each channel, computed in double. */
typedef struct affine {
  double *a, *b;
  size_t n;
} affine;

/* False when a parameter is not constant. */
static bool constant_affine(prn_o2n *e, const prn_op *op, double eps,
                            affine *f) {
  double *v[4]; /* scale, bias, mean, variance */
  for (uint32_t i = 0; i < 4; i++) {
    const prn_tensor *t = prn_value_constant(prn_op_operand(op, i + 1));
    if (!t || !prn_dtype_is_float(t->type->dtype)) return false;
    int64_t n = prn_tensor_count(t);
    if (i > 0 && (size_t)n != f->n) return false;
    f->n = (size_t)n;
    v[i] = PRN_ARENA_ARRAY(&e->b.m->arena, double, n + 1);
    prn_tensor_read_f64(t, 0, n, v[i]);
  }
  f->a = v[0];
  f->b = v[1];
  for (size_t i = 0; i < f->n; i++) {
    f->a[i] /= sqrt(v[3][i] + eps);
    f->b[i] -= v[2][i] * f->a[i];
  }
  return true;
}

/* Weights w[o, ...] with every row multiplied; zeros stay where they are. */
static prn_status scale_rows(prn_o2n *e, const prn_tensor *w, const double *by,
                             const prn_tensor **out) {
  int64_t count = prn_tensor_count(w), rows = 0;
  const prn_blob *blob;
  void *data;
  (void)!prn_dim_is_const(w->type->dims[0], &rows);
  PRN_TRY(prn_blob_scratch(e->ctx, (size_t)count * 4, &blob, &data));
  float *to = data;
  int64_t row = rows ? count / rows : 0;
  for (int64_t r = 0; r < rows; r++) {
    prn_tensor_read_f32(w, r * row, row, to + r * row);
    for (int64_t i = 0; i < row; i++)
      to[r * row + i] = (float)((double)to[r * row + i] * by[r]);
  }
  prn_tensor *t = prn_tensor_clone(e->ctx, w);
  t->data = blob;
  t->extra = NULL;
  t->storage = PRN_STORE_RAW;
  *out = t;
  return PRN_OK;
}

static prn_value *channel_constant(prn_o2n *e, const double *v, size_t n,
                                   int32_t rank, prn_dtype dtype) {
  int64_t dims[MAX_RANK];
  dims[0] = (int64_t)n;
  for (int32_t i = 1; i < rank - 1; i++)
    dims[i] = 1;
  const prn_type *t =
      prn_type_static(e->ctx, dtype, rank > 1 ? rank - 1 : 1, dims);
  return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, t, v));
}

/* The convolution with constant f32 weights that computes x, if nothing else
 * reads what it computes; *out_bias is the constant added to it, or NULL. */
static prn_op *foldable_conv(prn_o2n *e, const prn_op *bn,
                             const prn_tensor **out_bias) {
  const prn_value *src = prn_op_operand(bn, 0);
  prn_value *x = prn_o2n_in(e, bn, 0);
  prn_op *def = x->def;
  *out_bias = NULL;
  if (!prn_value_has_one_use(src) || !src->def ||
      !prn_str_is(src->def->opname->name, "Conv"))
    return NULL;
  if (prn_op_is(def, PRN_OP_nn_binary)) {
    prn_value *b = prn_op_operand(def, 1);
    if (b->def && prn_op_is(b->def, PRN_OP_nn_reshape))
      b = prn_op_operand(b->def, 0);
    *out_bias = prn_value_constant(b);
    if (!*out_bias) return NULL;
    def = prn_op_operand(def, 0)->def;
  }
  if (!prn_op_is(def, PRN_OP_nn_conv)) return NULL;
  const prn_tensor *w = prn_value_constant(prn_op_operand(def, 1));
  return w && w->type->dtype == PRN_F32 ? def : NULL;
}

/* Puts y = a*conv(x, w) + ... into the weights. */
static prn_status fold_into_conv(prn_o2n *e, prn_op *op, prn_op *conv,
                                 const prn_tensor *bias, affine *f) {
  const prn_tensor *w = prn_value_constant(prn_op_operand(conv, 1)), *scaled;
  prn_value *old = prn_op_operand(conv, 1);
  PRN_TRY(scale_rows(e, w, f->a, &scaled));
  prn_nn at = e->b;
  at.before = conv;
  prn_value *now = prn_nn_constant(&at, scaled);
  now->name = old->name;
  prn_op_set_operand(conv, 1, now);
  for (size_t i = 0; bias && i < f->n; i++) {
    double v;
    prn_tensor_read_f64(bias, (int64_t)i, 1, &v);
    f->b[i] += f->a[i] * v;
  }
  prn_value *y = prn_op_result(conv, 0);
  prn_value *b = channel_constant(e, f->b, f->n, y->type->rank, y->type->dtype);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_add, y, b));
}

/* By the batch's own mean and variance, which also move the running ones. */
static prn_status train_batch_norm(prn_o2n *e, prn_op *op, double eps) {
  prn_value *x = prn_o2n_in(e, op, 0), *in[4], *own[2];
  int64_t axes[PRN_NN_MAX_RANK];
  double keep = (double)prn_op_float(op, "momentum", 0.9f);
  int32_t rank = x->type->rank;
  size_t n = 0;
  for (int32_t i = 0; i < rank; i++)
    if (i != 1) axes[n++] = i;
  for (uint32_t i = 0; i < 4; i++)
    in[i] = per_channel(
        e, prn_nn_cast(&e->b, prn_o2n_in(e, op, i + 1), x->type->dtype), rank);
  own[0] = prn_nn_mean(&e->b, x, axes, n);
  prn_value *d = binary(e, PRN_SCALAR_sub, x, own[0]);
  own[1] = prn_nn_mean(&e->b, binary(e, PRN_SCALAR_mul, d, d), axes, n);
  for (uint32_t i = 1; i < 3; i++) {
    if (!prn_o2n_wanted(op, i)) continue;
    prn_dim channels = x->type->dims[1];
    prn_value *old = prn_nn_reshape_dims(&e->b, in[i + 1], 1, &channels);
    prn_value *now = prn_nn_reshape_dims(&e->b, own[i - 1], 1, &channels);
    old = prn_nn_with(&e->b, PRN_SCALAR_mul, old, keep);
    now = prn_nn_with(&e->b, PRN_SCALAR_mul, now, 1 - keep);
    PRN_TRY(prn_o2n_set(e, op, i, binary(e, PRN_SCALAR_add, old, now)));
  }
  if (!prn_o2n_wanted(op, 0)) return PRN_OK;
  prn_value *a = prn_nn_with(&e->b, PRN_SCALAR_add, own[1], eps);
  a = binary(e, PRN_SCALAR_mul, prn_nn_unary(&e->b, PRN_SCALAR_rsqrt, a),
             in[0]);
  d = binary(e, PRN_SCALAR_mul, d, a);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_add, d, in[1]));
}

static prn_status lower_batch_norm(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  int32_t rank = x->type->rank;
  double eps = (double)prn_op_float(op, "epsilon", 1e-5f);
  affine f = {0};
  const prn_tensor *bias;
  if (prn_op_int(op, "training_mode", 0)) return train_batch_norm(e, op, eps);
  if (prn_op_int(op, "spatial", 1) == 0)
    return prn_o2n_unsupported(op, "spatial = 0");
  for (uint32_t i = 1; i < op->num_results; i++)
    if (prn_o2n_wanted(op, i))
      return prn_o2n_unsupported(op, "its training outputs");
  if (constant_affine(e, op, eps, &f)) {
    prn_op *conv = foldable_conv(e, op, &bias);
    int64_t rows;
    if (conv &&
        prn_dim_is_const(prn_op_operand(conv, 1)->type->dims[0], &rows) &&
        (size_t)rows == f.n && (!bias || prn_tensor_count(bias) == rows))
      return fold_into_conv(e, op, conv, bias, &f);
    prn_dtype t = x->type->dtype;
    x = binary(e, PRN_SCALAR_mul, x, channel_constant(e, f.a, f.n, rank, t));
    x = binary(e, PRN_SCALAR_add, x, channel_constant(e, f.b, f.n, rank, t));
    return prn_o2n_set(e, op, 0, x);
  }
  prn_value *p[4];
  for (uint32_t i = 0; i < 4; i++)
    p[i] = per_channel(
        e, prn_nn_cast(&e->b, prn_o2n_in(e, op, i + 1), x->type->dtype), rank);
  prn_value *a = prn_nn_with(&e->b, PRN_SCALAR_add, p[3], eps);
  a = prn_nn_unary(&e->b, PRN_SCALAR_rsqrt, a);
  a = binary(e, PRN_SCALAR_mul, a, p[0]);
  x = binary(e, PRN_SCALAR_mul, binary(e, PRN_SCALAR_sub, x, p[2]), a);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_add, x, p[1]));
}

/* ---- the rest ---- */

/* x over its mean and deviation along `axes`. */
static prn_status lower_mean_variance(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  static const int64_t usual[3] = {0, 2, 3};
  size_t n;
  const int64_t *axes = prn_op_ints(op, "axes", &n);
  if (!axes) {
    axes = usual;
    n = 3;
  }
  for (size_t i = 0; i < n; i++)
    if (axes[i] < 0 || axes[i] >= x->type->rank ||
        (i > 0 && axes[i] <= axes[i - 1]))
      return prn_o2n_unsupported(op, "axes that are not in order");
  prn_value *d = binary(e, PRN_SCALAR_sub, x, prn_nn_mean(&e->b, x, axes, n));
  prn_value *v = prn_nn_mean(&e->b, binary(e, PRN_SCALAR_mul, d, d), axes, n);
  v = prn_nn_unary(&e->b, PRN_SCALAR_sqrt, v);
  v = prn_nn_with(&e->b, PRN_SCALAR_add, v, 1e-9);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_div, d, v));
}

/* x divided by its L1 or L2 norm along the axis; 0 where that is 0. */
static prn_status lower_lp_normalization(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *n;
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", -1, x->type->rank, &axis));
  int64_t p = prn_op_int(op, "p", 2), at = axis;
  if (p == 1) {
    n = prn_nn_unary(&e->b, PRN_SCALAR_abs, x);
    n = prn_nn_reduce(&e->b, "sum", n, &at, 1);
  } else {
    n = binary(e, PRN_SCALAR_mul, x, x);
    n = prn_nn_reduce(&e->b, "sum", n, &at, 1);
    n = prn_nn_unary(&e->b, PRN_SCALAR_sqrt, n);
  }
  prn_value *zero = prn_nn_with(&e->b, PRN_SCALAR_eq, n, 0);
  prn_value *one = prn_nn_scalar(&e->b, x->type->dtype, 1);
  n = prn_nn_select(&e->b, zero, one, n);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_div, x, n));
}

const prn_o2n_row prn_o2n_normalise[] = {
    {"LayerNormalization", lower_layer_norm, 0, 0},
    {"RMSNormalization", lower_layer_norm, 0, 0},
    {"SimplifiedLayerNormalization", lower_layer_norm, 0, 0},
    {"com.microsoft:SkipLayerNormalization", lower_skip_layer_norm, 0, 0},
    {"com.microsoft:SkipSimplifiedLayerNormalization", lower_skip_layer_norm, 0,
     0},
    {"com.microsoft:EmbedLayerNormalization", lower_embed_layer_norm, 0, 0},
    {"InstanceNormalization", lower_group_norm, 0, 0},
    {"GroupNormalization", lower_group_norm, 0, 0},
    {"com.microsoft:GroupNorm", lower_ms_group_norm, 0, 0},
    {"BatchNormalization", lower_batch_norm, 0, 0},
    {"MeanVarianceNormalization", lower_mean_variance, 0, 0},
    {"LpNormalization", lower_lp_normalization, 0, 0},
    {NULL, NULL, 0, 0},
};
