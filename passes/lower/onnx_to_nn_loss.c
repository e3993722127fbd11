/* onnx -> nn: losses, as the formulas that define them. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* x at the class of each target: x[n, c, d...] and t[n, d...]. */
static prn_value *pick(prn_o2n *e, prn_value *x, prn_value *t) {
  const prn_type *type = t->type;
  prn_dim dims[MAX_RANK];
  for (int32_t i = 0; i <= type->rank; i++)
    dims[i] = i == 1  ? prn_dim_const(e->ctx, 1)
              : i > 1 ? type->dims[i - 1]
                      : type->dims[i];
  t = prn_nn_reshape_dims(&e->b, t, type->rank + 1, dims);
  x = prn_nn_gather_elements(&e->b, x, t, 1);
  return prn_nn_reshape_dims(&e->b, x, type->rank, type->dims);
}

static prn_value *total(prn_o2n *e, prn_value *x) {
  int64_t axes[MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    axes[i] = i;
  x = prn_nn_reduce(&e->b, "sum", x, axes, (size_t)x->type->rank);
  return prn_nn_reshape_dims(&e->b, x, 0, NULL);
}

/* -w x at the targets, added up as op says; a mean is by weight. Targets that
 * are ignored weigh nothing. */
static prn_status negative_log(prn_o2n *e, prn_op *op, prn_value *x) {
  prn_value *t = prn_o2n_in(e, op, 1), *weight = prn_o2n_in(e, op, 2);
  const prn_attr *ignore = prn_op_attr(op, "ignore_index");
  prn_str how = prn_op_string(op, "reduction", "mean");
  prn_dtype dtype = x->type->dtype;
  prn_value *hidden = NULL, *w = NULL;
  if (x->type->rank != t->type->rank + 1 || x->type->rank < 2)
    return prn_op_error(op, "expects a target for each score [n, c, ...]");
  if (ignore) {
    hidden = prn_nn_with(&e->b, PRN_SCALAR_eq, t, (double)ignore->i);
    t = prn_nn_select(&e->b, hidden, prn_nn_scalar(&e->b, t->type->dtype, 0),
                      t);
  }
  w = weight ? prn_nn_gather(&e->b, weight, t, 0)
             : prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, dtype, 1),
                                prn_type_with_dtype(e->ctx, t->type, dtype));
  if (hidden)
    w = prn_nn_select(&e->b, hidden, prn_nn_scalar(&e->b, dtype, 0), w);
  prn_value *r = prn_nn_unary(&e->b, PRN_SCALAR_neg, pick(e, x, t));
  r = binary(e, PRN_SCALAR_mul, r, w);
  if (prn_str_is(how, "none")) return prn_o2n_set(e, op, 0, r);
  r = total(e, r);
  if (prn_str_is(how, "mean")) r = binary(e, PRN_SCALAR_div, r, total(e, w));
  return prn_o2n_set(e, op, 0, r);
}

static prn_status lower_nll(prn_o2n *e, prn_op *op) {
  return negative_log(e, op, prn_o2n_in(e, op, 0));
}

static prn_status lower_cross_entropy(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_nn_softmax(&e->b, prn_o2n_in(e, op, 0), 1, true);
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, x));
  return prn_o2n_wanted(op, 0) ? negative_log(e, op, x) : PRN_OK;
}

const prn_o2n_row prn_o2n_loss[] = {
    {"NegativeLogLikelihoodLoss", lower_nll, 0, 0},
    {"SoftmaxCrossEntropyLoss", lower_cross_entropy, 0, 0},
    {NULL, NULL, 0, 0},
};
