/* onnx -> nn: operators that ONNX tries out. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static prn_value *add(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_add, x, y);
}

static prn_value *mul(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_mul, x, y);
}

static prn_value *scaled(prn_o2n *e, prn_value *x, double by) {
  return prn_nn_with(&e->b, PRN_SCALAR_mul, x, by);
}

/* ---- FlexAttention ---- */

/* Through the subgraph `name`, if there is one. */
static prn_status modify(prn_o2n *e, prn_op *op, const char *name,
                         prn_value **x) {
  prn_block *body = prn_op_block(op, name);
  const prn_type *t = (*x)->type;
  if (!body) return PRN_OK;
  PRN_TRY(prn_o2n_inline(e, op, body, x, 1));
  *x = prn_o2n_given(e, body, 0);
  if (!*x) return prn_op_error(op, "%s gives no value", name);
  *x = prn_nn_reshape(&e->b, *x, t);
  return PRN_OK;
}

/* x[b, heads, rows, size] with heads in groups that share keys. */
static prn_value *grouped(prn_o2n *e, prn_value *x, prn_dim heads) {
  const prn_dim *d = x->type->dims;
  prn_dim dims[5] = {d[0], heads, prn_dim_floordiv(e->ctx, d[1], heads), d[2],
                     d[3]};
  return prn_nn_reshape_dims(&e->b, x, 5, dims);
}

static prn_status flex_attention(prn_o2n *e, prn_op *op) {
  static const int64_t turn[5] = {0, 1, 2, 4, 3};
  prn_value *q = prn_o2n_in(e, op, 0), *k = prn_o2n_in(e, op, 1),
            *v = prn_o2n_in(e, op, 2);
  const prn_type *out = prn_o2n_out(e, op, 0);
  prn_dim heads = k->type->dims[1], shape[4];
  int64_t size;
  if (!prn_dim_is_const(q->type->dims[3], &size) || size < 1)
    return prn_o2n_unsupported(op, "a head size that is not constant");
  double scale = (double)prn_op_float(op, "scale", 0);
  if (!prn_op_attr(op, "scale")) scale = 1 / sqrt((double)size);
  prn_dtype dtype = (prn_dtype)prn_op_int(
      op, "softmax_precision", q->type->dtype == PRN_F64 ? PRN_F64 : PRN_F32);
  for (int32_t i = 0; i < 4; i++)
    shape[i] = i < 3 ? q->type->dims[i] : k->type->dims[2];
  q = grouped(e, prn_nn_cast(&e->b, q, dtype), heads);
  k = grouped(e, prn_nn_cast(&e->b, k, dtype), heads);
  v = grouped(e, prn_nn_cast(&e->b, v, dtype), heads);
  prn_value *s =
      prn_nn_matmul(&e->b, q, prn_nn_transpose(&e->b, k, turn), dtype);
  s = prn_nn_reshape_dims(&e->b, scaled(e, s, scale), 4, shape);
  PRN_TRY(modify(e, op, "score_mod", &s));
  s = prn_nn_softmax(&e->b, s, 3, false);
  PRN_TRY(modify(e, op, "prob_mod", &s));
  s = prn_nn_matmul(&e->b, grouped(e, s, heads), v, dtype);
  return prn_o2n_set_shape(e, op, 0, prn_nn_cast(&e->b, s, out->dtype));
}

static prn_status lower_flex_attention(prn_o2n *e, prn_op *op) {
  size_t errors = e->errors;
  prn_status status = flex_attention(e, op);
  if (e->errors == errors) return status;
  prn_o2n_stand_in(e, op);
  return PRN_OK;
}

/* ---- training ---- */

/* One tensor's step: what it is made of and becomes. */
typedef struct training {
  prn_o2n *e;
  const prn_op *op;
  prn_value *r, *t;    /* rate, as f32 scalars; how many steps before */
  prn_value *x, *g;    /* weights; gradient */
  prn_value *state[2]; /* momentum, or sums of squares */
} training;

static double number(const training *s, const char *name, float dflt) {
  return (double)prn_op_float(s->op, name, dflt);
}

/* a old + b new */
static prn_value *mixed(const training *s, double a, prn_value *old, double b,
                        prn_value *new) {
  return add(s->e, scaled(s->e, old, a), scaled(s->e, new, b));
}

static void momentum(training *s) {
  prn_o2n *e = s->e;
  double alpha = number(s, "alpha", 0);
  prn_value *first = prn_nn_with(&e->b, PRN_SCALAR_le, s->t, 0);
  prn_value *beta =
      prn_nn_select(&e->b, first, prn_nn_scalar(&e->b, PRN_F32, 1),
                    prn_nn_scalar(&e->b, PRN_F32, number(s, "beta", 0)));
  s->state[0] = add(e, scaled(e, s->state[0], alpha), mul(e, beta, s->g));
  prn_value *d = s->state[0];
  if (prn_str_is(prn_op_string(s->op, "mode", ""), "nesterov"))
    d = add(e, s->g, scaled(e, d, alpha));
  s->x = binary(e, PRN_SCALAR_sub, s->x, mul(e, s->r, d));
}

static prn_value *root(training *s, prn_value *v) {
  v = prn_nn_unary(&s->e->b, PRN_SCALAR_sqrt, v);
  return prn_nn_with(&s->e->b, PRN_SCALAR_add, v, number(s, "epsilon", 1e-6f));
}

static void adagrad(training *s) {
  prn_o2n *e = s->e;
  prn_value *slow = scaled(e, s->t, number(s, "decay_factor", 0));
  prn_value *r = binary(e, PRN_SCALAR_div, s->r,
                        prn_nn_with(&e->b, PRN_SCALAR_add, slow, 1));
  s->state[0] = add(e, s->state[0], mul(e, s->g, s->g));
  prn_value *d =
      binary(e, PRN_SCALAR_div, mul(e, r, s->g), root(s, s->state[0]));
  s->x = binary(e, PRN_SCALAR_sub, s->x, d);
}

/* 1 - base^t */
static prn_value *bias(training *s, double base) {
  prn_nn *b = &s->e->b;
  prn_value *p =
      binary(s->e, PRN_SCALAR_pow, prn_nn_scalar(b, PRN_F32, base), s->t);
  return prn_nn_with(b, PRN_SCALAR_add, prn_nn_unary(b, PRN_SCALAR_neg, p), 1);
}

static void adam(training *s) {
  prn_o2n *e = s->e;
  double alpha = number(s, "alpha", 0.9f), beta = number(s, "beta", 0.999f);
  s->state[0] = mixed(s, alpha, s->state[0], 1 - alpha, s->g);
  s->state[1] = mixed(s, beta, s->state[1], 1 - beta, mul(e, s->g, s->g));
  prn_value *r =
      mul(e, s->r, prn_nn_unary(&e->b, PRN_SCALAR_sqrt, bias(s, beta)));
  r = binary(e, PRN_SCALAR_div, r, bias(s, alpha));
  r = prn_nn_select(&e->b, prn_nn_with(&e->b, PRN_SCALAR_gt, s->t, 0), r, s->r);
  prn_value *d = binary(e, PRN_SCALAR_div, s->state[0], root(s, s->state[1]));
  s->x = binary(e, PRN_SCALAR_sub, s->x, mul(e, r, d));
  s->x = scaled(e, s->x, 1 - number(s, "norm_coefficient_post", 0));
}

static prn_status lower_training(prn_o2n *e, prn_op *op) {
  prn_str name = op->opname->name;
  bool is_adam = prn_str_is(name, "Adam");
  uint32_t states = is_adam ? 2 : 1, n = op->num_results / (states + 1);
  training s = {.e = e, .op = op, .r = prn_o2n_in(e, op, 0)};
  s.r = prn_nn_reshape_dims(&e->b, s.r, 0, NULL);
  s.t = prn_nn_reshape_dims(&e->b, prn_o2n_in(e, op, 1), 0, NULL);
  s.t = prn_nn_cast(&e->b, s.t, PRN_F32);
  if (s.r->type->dtype != PRN_F32)
    return prn_o2n_unsupported(op, "a rate that is not f32");
  for (uint32_t i = 0; i < n; i++) {
    s.x = prn_o2n_in(e, op, 2 + i);
    s.g = mixed(&s, number(&s, "norm_coefficient", 0), s.x, 1,
                prn_o2n_in(e, op, 2 + n + i));
    for (uint32_t k = 0; k < states; k++)
      s.state[k] = prn_o2n_in(e, op, 2 + (2 + k) * n + i);
    (is_adam ? adam : prn_str_is(name, "Adagrad") ? adagrad : momentum)(&s);
    PRN_TRY(prn_o2n_set(e, op, i, s.x));
    for (uint32_t k = 0; k < states; k++)
      PRN_TRY(prn_o2n_set(e, op, (k + 1) * n + i, s.state[k]));
  }
  return PRN_OK;
}

const prn_o2n_row prn_o2n_preview[] = {
    {"ai.onnx.preview:FlexAttention", lower_flex_attention, 0, 0},
    {"ai.onnx.preview.training:Adagrad", lower_training, 0, 0},
    {"ai.onnx.preview.training:Adam", lower_training, 0, 0},
    {"ai.onnx.preview.training:Momentum", lower_training, 0, 0},
    {NULL, NULL, 0, 0},
};
