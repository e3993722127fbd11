/* onnx -> nn: the operators of ai.onnx.ml that are plain arithmetic, and
 * ONNX Runtime's fused ones. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* FLOATS attribute `name` as a constant vector (one element: a number). */
static prn_value *floats(prn_o2n *e, const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  if (!a || a->kind != PRN_ATTR_FLOATS || a->size == 0) return NULL;
  int64_t n = a->size;
  const prn_type *t = prn_type_static(e->ctx, PRN_F32, n == 1 ? 0 : 1, &n);
  return prn_nn_constant(&e->b, prn_tensor_from_data(e->ctx, t, a->floats));
}

/* ---- ai.onnx.ml ---- */

static prn_status lower_scaler(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_nn_cast(&e->b, prn_o2n_in(e, op, 0), PRN_F32);
  prn_value *offset = floats(e, op, "offset"), *scale = floats(e, op, "scale");
  if (offset) x = binary(e, PRN_SCALAR_sub, x, offset);
  if (scale) x = binary(e, PRN_SCALAR_mul, x, scale);
  return prn_o2n_set(e, op, 0, x);
}

static prn_status lower_extractor(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *at = prn_o2n_in(e, op, 1);
  prn_dim dims[MAX_RANK];
  int32_t last = x->type->rank - 1;
  if (last < 0) return prn_op_error(op, "expects a dimension to pick from");
  prn_dim n = prn_type_size(e->ctx, at->type);
  at = prn_nn_reshape_dims(&e->b, at, 1, &n);
  for (int32_t i = 0; i < last; i++)
    dims[i] = x->type->dims[i];
  dims[last] = n;
  prn_value *in[2] = {x, at};
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2,
                             prn_nn_type(e->ctx, x->type, last + 1, dims));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, last));
  return prn_o2n_set_shape(e, op, 0, r);
}

static prn_status lower_binarizer(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  double t = (double)prn_op_float(op, "threshold", 0);
  prn_value *over = prn_nn_with(&e->b, PRN_SCALAR_gt, x, t);
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, over, x->type->dtype));
}

/* Rows over their largest element, sum of magnitudes, or length. */
static prn_status lower_normalizer(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_nn_cast(&e->b, prn_o2n_in(e, op, 0), PRN_F32), *n;
  prn_str norm = prn_op_string(op, "norm", "MAX");
  int64_t last = x->type->rank - 1;
  if (last < 0) return prn_op_error(op, "expects a dimension");
  if (prn_str_is(norm, "L1")) {
    n = prn_nn_unary(&e->b, PRN_SCALAR_abs, x);
    n = prn_nn_reduce(&e->b, "sum", n, &last, 1);
  } else if (prn_str_is(norm, "L2")) {
    n = binary(e, PRN_SCALAR_mul, x, x);
    n = prn_nn_reduce(&e->b, "sum", n, &last, 1);
    n = prn_nn_unary(&e->b, PRN_SCALAR_sqrt, n);
  } else {
    n = prn_nn_reduce(&e->b, "max", x, &last, 1);
  }
  prn_value *zero = prn_nn_with(&e->b, PRN_SCALAR_eq, n, 0);
  n = prn_nn_select(&e->b, zero, prn_nn_scalar(&e->b, PRN_F32, 1), n);
  return prn_o2n_set(e, op, 0, binary(e, PRN_SCALAR_div, x, n));
}

static prn_status lower_linear(prn_o2n *e, prn_op *op) {
  static const int64_t turn[2] = {1, 0};
  prn_value *x = prn_nn_cast(&e->b, prn_o2n_in(e, op, 0), PRN_F32);
  const prn_attr *w = prn_op_attr(op, "coefficients");
  int64_t targets = prn_op_int(op, "targets", 1), in;
  prn_str post = prn_op_string(op, "post_transform", "NONE");
  if (!prn_str_is(post, "NONE"))
    return prn_o2n_unsupported(op, "post_transform '%.*s'", PRN_STR_ARG(post));
  if (x->type->rank != 2 || !w || w->kind != PRN_ATTR_FLOATS || targets < 1 ||
      !prn_dim_is_const(x->type->dims[1], &in) ||
      (int64_t)w->size % targets != 0 || (int64_t)w->size / targets != in)
    return prn_op_error(op, "coefficients do not fit the input");
  int64_t dims[2] = {targets, in};
  const prn_type *t = prn_type_static(e->ctx, PRN_F32, 2, dims);
  prn_value *m =
      prn_nn_constant(&e->b, prn_tensor_from_data(e->ctx, t, w->floats));
  m = prn_nn_transpose(&e->b, m, turn);
  prn_value *y = prn_nn_matmul(&e->b, x, m, PRN_F32);
  prn_value *bias = floats(e, op, "intercepts");
  if (bias) y = binary(e, PRN_SCALAR_add, y, bias);
  return prn_o2n_set(e, op, 0, y);
}

/* ---- com.microsoft ---- */

/* y after the activation that a fused operator names; NULL when it is not
 * one of these. */
static prn_value *activated(prn_o2n *e, const prn_op *op, prn_value *y) {
  prn_str name = prn_op_string(op, "activation", "");
  const prn_attr *p = prn_op_attr(op, "activation_params");
  bool listed = p && p->kind == PRN_ATTR_FLOATS;
  double a = (double)prn_op_float(op, "activation_alpha", 0.01f);
  double b = (double)prn_op_float(op, "activation_beta", 0);
  if (listed && p->size > 0) a = (double)p->floats[0];
  if (listed && p->size > 1) b = (double)p->floats[1];
  if (name.size == 0) return y;
  if (prn_str_is(name, "Relu")) return prn_nn_unary(&e->b, PRN_SCALAR_relu, y);
  if (prn_str_is(name, "Sigmoid"))
    return prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, y);
  if (prn_str_is(name, "Tanh")) return prn_nn_unary(&e->b, PRN_SCALAR_tanh, y);
  if (prn_str_is(name, "LeakyRelu")) {
    prn_value *over = prn_nn_with(&e->b, PRN_SCALAR_gt, y, 0);
    return prn_nn_select(&e->b, over, y,
                         prn_nn_with(&e->b, PRN_SCALAR_mul, y, a));
  }
  if (prn_str_is(name, "Clip")) {
    y = prn_nn_with(&e->b, PRN_SCALAR_max, y, a);
    return prn_nn_with(&e->b, PRN_SCALAR_min, y, b);
  }
  if (!prn_str_is(name, "HardSigmoid")) return NULL;
  y = prn_nn_with(&e->b, PRN_SCALAR_mul, y, a);
  y = prn_nn_with(&e->b, PRN_SCALAR_add, y, b);
  y = prn_nn_with(&e->b, PRN_SCALAR_max, y, 0);
  return prn_nn_with(&e->b, PRN_SCALAR_min, y, 1);
}

static prn_status finish_fused(prn_o2n *e, prn_op *op, prn_value *y) {
  y = activated(e, op, y);
  if (y) return prn_o2n_set(e, op, 0, y);
  prn_str name = prn_op_string(op, "activation", "");
  return prn_o2n_unsupported(op, "activation '%.*s'", PRN_STR_ARG(name));
}

static prn_status lower_fused_conv(prn_o2n *e, prn_op *op) {
  prn_value *bias = prn_o2n_in(e, op, 2), *sum = prn_o2n_in(e, op, 3), *y;
  prn_dim dims[MAX_RANK];
  PRN_TRY(prn_o2n_conv(e, op, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1), &y));
  if (bias) {
    dims[0] = bias->type->dims[0];
    for (int32_t i = 1; i < y->type->rank - 1; i++)
      dims[i] = prn_dim_const(e->ctx, 1);
    bias = prn_nn_reshape_dims(&e->b, bias, y->type->rank - 1, dims);
    y = binary(e, PRN_SCALAR_add, y, bias);
  }
  if (sum) y = binary(e, PRN_SCALAR_add, y, sum);
  return finish_fused(e, op, y);
}

static prn_status lower_fused_gemm(prn_o2n *e, prn_op *op) {
  static const int64_t turn[2] = {1, 0};
  prn_value *a = prn_o2n_in(e, op, 0), *b = prn_o2n_in(e, op, 1);
  prn_value *c = prn_o2n_in(e, op, 2);
  if (a->type->rank != 2 || b->type->rank != 2)
    return prn_op_error(op, "expects matrices");
  if (prn_op_int(op, "transA", 0)) a = prn_nn_transpose(&e->b, a, turn);
  if (prn_op_int(op, "transB", 0)) b = prn_nn_transpose(&e->b, b, turn);
  double alpha = (double)prn_op_float(op, "alpha", 1);
  double beta = (double)prn_op_float(op, "beta", 1);
  prn_value *y = prn_nn_matmul(&e->b, a, b, a->type->dtype);
  if (alpha != 1) y = prn_nn_with(&e->b, PRN_SCALAR_mul, y, alpha);
  if (c && beta != 1) c = prn_nn_with(&e->b, PRN_SCALAR_mul, c, beta);
  if (c) y = binary(e, PRN_SCALAR_add, y, c);
  return finish_fused(e, op, y);
}

static prn_status lower_bias_add(prn_o2n *e, prn_op *op) {
  prn_value *y =
      binary(e, PRN_SCALAR_add, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1));
  return prn_o2n_set(e, op, 0,
                     binary(e, PRN_SCALAR_add, y, prn_o2n_in(e, op, 2)));
}

/* x * sigmoid(alpha * x), times the second operand for SwiGLU. */
static prn_status lower_gated(prn_o2n *e, prn_op *op) {
  bool quick = prn_str_is(op->opname->name, "QuickGelu");
  prn_value *x = prn_o2n_in(e, op, 0), *b = prn_o2n_in(e, op, 1);
  double alpha = (double)prn_op_float(op, "alpha", quick ? 1.702f : 1);
  prn_value *g = alpha == 1 ? x : prn_nn_with(&e->b, PRN_SCALAR_mul, x, alpha);
  g = prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, g);
  x = binary(e, PRN_SCALAR_mul, x, g);
  if (b) x = binary(e, PRN_SCALAR_mul, x, b);
  return prn_o2n_set(e, op, 0, x);
}

const prn_o2n_row prn_o2n_ml[] = {
    {"ai.onnx.ml:Scaler", lower_scaler, 0, 0},
    {"ai.onnx.ml:ArrayFeatureExtractor", lower_extractor, 0, 0},
    {"ai.onnx.ml:Binarizer", lower_binarizer, 0, 0},
    {"ai.onnx.ml:Normalizer", lower_normalizer, 0, 0},
    {"ai.onnx.ml:LinearRegressor", lower_linear, 0, 0},
    {"com.microsoft:FusedConv", lower_fused_conv, 0, 0},
    {"com.microsoft:FusedGemm", lower_fused_gemm, 0, 0},
    {"com.microsoft:BiasAdd", lower_bias_add, 0, 0},
    {"com.microsoft:QuickGelu", lower_gated, 0, 0},
    {"SwiGLU", lower_gated, 0, 0},
    {NULL, NULL, 0, 0},
};
