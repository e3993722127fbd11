/* onnx -> nn: operators that work element by element. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

/* ---- one scalar function each ---- */

static prn_status lower_unary(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  return prn_o2n_set(e, op, 0, prn_nn_unary(&e->b, e->row->scalar, x));
}

/* Two operands or, for the variadic ones, any number folded from the left. */
static prn_status lower_binary(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  for (uint32_t i = 1; i < op->num_operands; i++)
    x = prn_nn_binary(&e->b, e->row->scalar, x, prn_o2n_in(e, op, i));
  return prn_o2n_set(e, op, 0, x);
}

static prn_status lower_mean(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  for (uint32_t i = 1; i < op->num_operands; i++)
    x = prn_nn_binary(&e->b, PRN_SCALAR_add, x, prn_o2n_in(e, op, i));
  x = prn_nn_with(&e->b, PRN_SCALAR_div, x, (double)op->num_operands);
  return prn_o2n_set(e, op, 0, x);
}

/* ---- attributes or types to look at ---- */

static prn_status lower_pow(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *y = prn_o2n_in(e, op, 1);
  prn_dtype t = x->type->dtype;
  /* An integer to a float power is computed in float. */
  prn_dtype wide = prn_dtype_is_float(t) ? t : y->type->dtype;
  x = prn_nn_cast(&e->b, x, wide);
  y = prn_nn_cast(&e->b, y, wide);
  x = prn_nn_binary(&e->b, PRN_SCALAR_pow, x, y);
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, x, t));
}

static prn_status lower_mod(prn_o2n *e, prn_op *op) {
  prn_scalar f = prn_op_int(op, "fmod", 0) ? PRN_SCALAR_fmod : PRN_SCALAR_mod;
  return prn_o2n_set(
      e, op, 0,
      prn_nn_binary(&e->b, f, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1)));
}

static prn_status lower_shift(prn_o2n *e, prn_op *op) {
  bool left = prn_str_is(prn_op_string(op, "direction", ""), "LEFT");
  prn_scalar f = left ? PRN_SCALAR_shl : PRN_SCALAR_shr;
  return prn_o2n_set(
      e, op, 0,
      prn_nn_binary(&e->b, f, prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1)));
}

static prn_status lower_isinf(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  bool pos = prn_op_int(op, "detect_positive", 1) != 0;
  bool neg = prn_op_int(op, "detect_negative", 1) != 0;
  prn_value *r = prn_nn_unary(&e->b, PRN_SCALAR_isinf, x);
  if (pos != neg) {
    prn_scalar f = pos ? PRN_SCALAR_gt : PRN_SCALAR_lt;
    r = prn_nn_binary(&e->b, PRN_SCALAR_and, r, prn_nn_with(&e->b, f, x, 0));
  } else if (!pos) {
    r = prn_nn_with(&e->b, PRN_SCALAR_and, r, 0);
  }
  return prn_o2n_set(e, op, 0, r);
}

static prn_status lower_where(prn_o2n *e, prn_op *op) {
  return prn_o2n_set(e, op, 0,
                     prn_nn_select(&e->b, prn_o2n_in(e, op, 0),
                                   prn_o2n_in(e, op, 1), prn_o2n_in(e, op, 2)));
}

static prn_status lower_identity(prn_o2n *e, prn_op *op) {
  return prn_o2n_set(e, op, 0, prn_o2n_in(e, op, 0));
}

static prn_status lower_clip(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_attr *lo = prn_op_attr(op, "min"), *hi = prn_op_attr(op, "max");
  prn_value *min = prn_o2n_in(e, op, 1), *max = prn_o2n_in(e, op, 2);
  prn_dtype t = x->type->dtype;
  if (lo) min = prn_nn_scalar(&e->b, t, (double)lo->f);
  if (hi) max = prn_nn_scalar(&e->b, t, (double)hi->f);
  if (min) x = prn_nn_binary(&e->b, PRN_SCALAR_max, x, min);
  if (max) x = prn_nn_binary(&e->b, PRN_SCALAR_min, x, max);
  return prn_o2n_set(e, op, 0, x);
}

/* ---- activations, as their formulas ---- */

static prn_value *scale(prn_o2n *e, prn_value *x, double by) {
  return by == 1 ? x : prn_nn_with(&e->b, PRN_SCALAR_mul, x, by);
}

static prn_value *positive(prn_o2n *e, prn_value *x, prn_value *yes,
                           prn_value *no) {
  return prn_nn_select(&e->b, prn_nn_with(&e->b, PRN_SCALAR_gt, x, 0), yes, no);
}

static prn_status lower_leaky_relu(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  double alpha = (double)prn_op_float(op, "alpha", 0.01f);
  return prn_o2n_set(e, op, 0, positive(e, x, x, scale(e, x, alpha)));
}

static prn_status lower_prelu(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *no = prn_nn_binary(&e->b, PRN_SCALAR_mul, x, prn_o2n_in(e, op, 1));
  return prn_o2n_set(e, op, 0, positive(e, x, x, no));
}

/* gamma * (x > 0 ? x : alpha * (exp(x / beta) - 1)): Elu, Selu and Celu. */
static prn_status lower_elu(prn_o2n *e, prn_op *op) {
  bool selu = prn_str_is(op->opname->name, "Selu");
  bool celu = prn_str_is(op->opname->name, "Celu");
  prn_value *x = prn_o2n_in(e, op, 0);
  double alpha = (double)prn_op_float(op, "alpha", selu ? 1.67326319f : 1);
  double gamma = selu ? (double)prn_op_float(op, "gamma", 1.05070102f) : 1;
  prn_value *in = celu ? prn_nn_with(&e->b, PRN_SCALAR_div, x, alpha) : x;
  prn_value *no = prn_nn_unary(&e->b, PRN_SCALAR_exp, in);
  no = scale(e, prn_nn_with(&e->b, PRN_SCALAR_sub, no, 1), alpha);
  return prn_o2n_set(e, op, 0, scale(e, positive(e, x, x, no), gamma));
}

static prn_value *clamp01(prn_o2n *e, prn_value *x) {
  x = prn_nn_with(&e->b, PRN_SCALAR_max, x, 0);
  return prn_nn_with(&e->b, PRN_SCALAR_min, x, 1);
}

static prn_status lower_hard_sigmoid(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  double alpha = (double)prn_op_float(op, "alpha", 0.2f);
  double beta = (double)prn_op_float(op, "beta", 0.5f);
  x = prn_nn_with(&e->b, PRN_SCALAR_add, scale(e, x, alpha), beta);
  return prn_o2n_set(e, op, 0, clamp01(e, x));
}

static prn_status lower_hard_swish(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *gate =
      prn_nn_with(&e->b, PRN_SCALAR_add, scale(e, x, 1.0 / 6), 0.5);
  return prn_o2n_set(e, op, 0,
                     prn_nn_binary(&e->b, PRN_SCALAR_mul, x, clamp01(e, gate)));
}

/* log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|)). */
static prn_value *softplus(prn_o2n *e, prn_value *x) {
  prn_value *tail = prn_nn_unary(&e->b, PRN_SCALAR_abs, x);
  tail = prn_nn_unary(&e->b, PRN_SCALAR_neg, tail);
  tail = prn_nn_unary(&e->b, PRN_SCALAR_exp, tail);
  tail = prn_nn_with(&e->b, PRN_SCALAR_add, tail, 1);
  tail = prn_nn_unary(&e->b, PRN_SCALAR_log, tail);
  prn_value *head = prn_nn_unary(&e->b, PRN_SCALAR_relu, x);
  return prn_nn_binary(&e->b, PRN_SCALAR_add, head, tail);
}

static prn_status lower_softplus(prn_o2n *e, prn_op *op) {
  return prn_o2n_set(e, op, 0, softplus(e, prn_o2n_in(e, op, 0)));
}

static prn_status lower_mish(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *g = prn_nn_unary(&e->b, PRN_SCALAR_tanh, softplus(e, x));
  return prn_o2n_set(e, op, 0, prn_nn_binary(&e->b, PRN_SCALAR_mul, x, g));
}

static prn_status lower_softsign(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *d = prn_nn_unary(&e->b, PRN_SCALAR_abs, x);
  d = prn_nn_with(&e->b, PRN_SCALAR_add, d, 1);
  return prn_o2n_set(e, op, 0, prn_nn_binary(&e->b, PRN_SCALAR_div, x, d));
}

/* x * sigmoid(alpha * x). */
static prn_status lower_swish(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *g = scale(e, x, (double)prn_op_float(op, "alpha", 1));
  g = prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, g);
  return prn_o2n_set(e, op, 0, prn_nn_binary(&e->b, PRN_SCALAR_mul, x, g));
}

static prn_status lower_thresholded_relu(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  double alpha = (double)prn_op_float(op, "alpha", 1);
  prn_value *c = prn_nn_with(&e->b, PRN_SCALAR_gt, x, alpha);
  prn_value *zero = prn_nn_scalar(&e->b, x->type->dtype, 0);
  return prn_o2n_set(e, op, 0, prn_nn_select(&e->b, c, x, zero));
}

/* x < -lambd: x + bias; x > lambd: x - bias; otherwise 0. */
static prn_status lower_shrink(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  double bias = (double)prn_op_float(op, "bias", 0);
  double lambd = (double)prn_op_float(op, "lambd", 0.5f);
  prn_value *low = prn_nn_with(&e->b, PRN_SCALAR_lt, x, -lambd);
  prn_value *high = prn_nn_with(&e->b, PRN_SCALAR_gt, x, lambd);
  prn_value *zero = prn_nn_scalar(&e->b, x->type->dtype, 0);
  prn_value *r = prn_nn_select(
      &e->b, high, prn_nn_with(&e->b, PRN_SCALAR_sub, x, bias), zero);
  r = prn_nn_select(&e->b, low, prn_nn_with(&e->b, PRN_SCALAR_add, x, bias), r);
  return prn_o2n_set(e, op, 0, r);
}

/* x/2 * (1 + erf(x / sqrt 2)). */
static prn_value *gelu(prn_o2n *e, prn_value *x) {
  prn_value *g = scale(e, x, sqrt(0.5));
  g = prn_nn_unary(&e->b, PRN_SCALAR_erf, g);
  g = prn_nn_with(&e->b, PRN_SCALAR_add, g, 1);
  return prn_nn_binary(&e->b, PRN_SCALAR_mul, scale(e, x, 0.5), g);
}

/* x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). */
static prn_value *gelu_tanh(prn_o2n *e, prn_value *x) {
  prn_value *sq = prn_nn_binary(&e->b, PRN_SCALAR_mul, x, x);
  prn_value *cube = prn_nn_binary(&e->b, PRN_SCALAR_mul, sq, x);
  prn_value *g =
      prn_nn_binary(&e->b, PRN_SCALAR_add, x, scale(e, cube, 0.044715));
  g = scale(e, g, 0.79788456080286535588);
  g = prn_nn_unary(&e->b, PRN_SCALAR_tanh, g);
  g = prn_nn_with(&e->b, PRN_SCALAR_add, g, 1);
  return prn_nn_binary(&e->b, PRN_SCALAR_mul, scale(e, x, 0.5), g);
}

static prn_status lower_gelu(prn_o2n *e, prn_op *op) {
  bool fast = prn_str_is(prn_op_string(op, "approximate", "none"), "tanh") ||
              prn_str_is(op->opname->name, "FastGelu");
  prn_value *x = prn_o2n_in(e, op, 0);
  if (prn_o2n_has(op, 1))
    x = prn_nn_binary(&e->b, PRN_SCALAR_add, x, prn_o2n_in(e, op, 1));
  return prn_o2n_set(e, op, 0, fast ? gelu_tanh(e, x) : gelu(e, x));
}

/* com.microsoft: the first half of X + bias times the Gelu of the second. */
static prn_status lower_split_gelu(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  if (x->type->rank < 1) return prn_op_error(op, "expects an axis to halve");
  x = prn_nn_binary(&e->b, PRN_SCALAR_add, x, prn_o2n_in(e, op, 1));
  int32_t axis = x->type->rank - 1;
  prn_dim half =
      prn_dim_floordiv(e->ctx, x->type->dims[axis], prn_dim_const(e->ctx, 2));
  prn_value *a =
      prn_nn_slice_axis(&e->b, x, axis, prn_dim_const(e->ctx, 0), half);
  prn_value *b = prn_nn_slice_axis(&e->b, x, axis, half, half);
  return prn_o2n_set(e, op, 0,
                     prn_nn_binary(&e->b, PRN_SCALAR_mul, a, gelu(e, b)));
}

const prn_o2n_row prn_o2n_elementwise[] = {
    {"Abs", lower_unary, 0, PRN_SCALAR_abs},
    {"Neg", lower_unary, 0, PRN_SCALAR_neg},
    {"Sqrt", lower_unary, 0, PRN_SCALAR_sqrt},
    {"Reciprocal", lower_unary, 0, PRN_SCALAR_reciprocal},
    {"Exp", lower_unary, 0, PRN_SCALAR_exp},
    {"Log", lower_unary, 0, PRN_SCALAR_log},
    {"Erf", lower_unary, 0, PRN_SCALAR_erf},
    {"Tanh", lower_unary, 0, PRN_SCALAR_tanh},
    {"Sigmoid", lower_unary, 0, PRN_SCALAR_sigmoid},
    {"Relu", lower_unary, 0, PRN_SCALAR_relu},
    {"Sin", lower_unary, 0, PRN_SCALAR_sin},
    {"Cos", lower_unary, 0, PRN_SCALAR_cos},
    {"Tan", lower_unary, 0, PRN_SCALAR_tan},
    {"Asin", lower_unary, 0, PRN_SCALAR_asin},
    {"Acos", lower_unary, 0, PRN_SCALAR_acos},
    {"Atan", lower_unary, 0, PRN_SCALAR_atan},
    {"Sinh", lower_unary, 0, PRN_SCALAR_sinh},
    {"Cosh", lower_unary, 0, PRN_SCALAR_cosh},
    {"Asinh", lower_unary, 0, PRN_SCALAR_asinh},
    {"Acosh", lower_unary, 0, PRN_SCALAR_acosh},
    {"Atanh", lower_unary, 0, PRN_SCALAR_atanh},
    {"Floor", lower_unary, 0, PRN_SCALAR_floor},
    {"Ceil", lower_unary, 0, PRN_SCALAR_ceil},
    {"Round", lower_unary, 0, PRN_SCALAR_round},
    {"Sign", lower_unary, 0, PRN_SCALAR_sign},
    {"Not", lower_unary, 0, PRN_SCALAR_not},
    {"BitwiseNot", lower_unary, 0, PRN_SCALAR_bitnot},
    {"IsNaN", lower_unary, 0, PRN_SCALAR_isnan},
    {"Add", lower_binary, 0, PRN_SCALAR_add},
    {"Sub", lower_binary, 0, PRN_SCALAR_sub},
    {"Mul", lower_binary, 0, PRN_SCALAR_mul},
    {"Div", lower_binary, 0, PRN_SCALAR_div},
    {"And", lower_binary, 0, PRN_SCALAR_and},
    {"Or", lower_binary, 0, PRN_SCALAR_or},
    {"Xor", lower_binary, 0, PRN_SCALAR_xor},
    {"BitwiseAnd", lower_binary, 0, PRN_SCALAR_bitand},
    {"BitwiseOr", lower_binary, 0, PRN_SCALAR_bitor},
    {"BitwiseXor", lower_binary, 0, PRN_SCALAR_bitxor},
    {"Equal", lower_binary, 0, PRN_SCALAR_eq},
    {"Greater", lower_binary, 0, PRN_SCALAR_gt},
    {"GreaterOrEqual", lower_binary, 0, PRN_SCALAR_ge},
    {"Less", lower_binary, 0, PRN_SCALAR_lt},
    {"LessOrEqual", lower_binary, 0, PRN_SCALAR_le},
    {"Max", lower_binary, 0, PRN_SCALAR_max},
    {"Min", lower_binary, 0, PRN_SCALAR_min},
    {"Sum", lower_binary, 0, PRN_SCALAR_add},
    {"Mean", lower_mean, 0, 0},
    {"Pow", lower_pow, 0, 0},
    {"Mod", lower_mod, 0, 0},
    {"BitShift", lower_shift, 0, 0},
    {"IsInf", lower_isinf, 0, 0},
    {"Where", lower_where, 0, 0},
    {"Identity", lower_identity, 0, 0},
    {"Clip", lower_clip, 0, 0},
    {"LeakyRelu", lower_leaky_relu, 0, 0},
    {"PRelu", lower_prelu, 0, 0},
    {"Elu", lower_elu, 0, 0},
    {"Selu", lower_elu, 0, 0},
    {"Celu", lower_elu, 0, 0},
    {"HardSigmoid", lower_hard_sigmoid, 0, 0},
    {"HardSwish", lower_hard_swish, 0, 0},
    {"Softplus", lower_softplus, 0, 0},
    {"Mish", lower_mish, 0, 0},
    {"Softsign", lower_softsign, 0, 0},
    {"Swish", lower_swish, 0, 0},
    {"ThresholdedRelu", lower_thresholded_relu, 0, 0},
    {"Shrink", lower_shrink, 0, 0},
    {"Gelu", lower_gelu, 0, 0},
    {"com.microsoft:Gelu", lower_gelu, 0, 0},
    {"com.microsoft:FastGelu", lower_gelu, 0, 0},
    {"com.microsoft:BiasGelu", lower_gelu, 0, 0},
    {"com.microsoft:BiasSplitGelu", lower_split_gelu, 0, 0},
    {NULL, NULL, 0, 0},
};
