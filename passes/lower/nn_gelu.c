/* GELU as exporters write it:
 *
 *   x * (1 + erf(x / sqrt 2)) * 1/2             becomes gelu(x)
 *   x * (1 + tanh(u)) * 1/2, u any function     becomes x * sigmoid(2 u)
 *
 * in whatever order the factors come. Division by a constant is a product by
 * the time this looks. */
#include <math.h>

#include "passes/lower/nn_fold.h"

static bool near(double a, double b) { return fabs(a / b - 1) < 1e-5; }

/* f(u) + 1: u, else NULL. */
static prn_value *one_plus(const prn_value *v, prn_scalar f) {
  prn_op *add = prn_nn_is(v, PRN_SCALAR_add), *inner;
  double c;
  for (uint32_t i = 0; add && i < 2; i++) {
    inner = prn_nn_is(prn_op_operand(add, i), f);
    if (inner && prn_nn_number(prn_op_operand(add, 1 - i), &c) && c == 1)
      return prn_op_operand(inner, 0);
  }
  return NULL;
}

/* v = x * c for the c that is wanted. */
static bool is_scaled(const prn_value *v, const prn_value *x, double want) {
  prn_op *mul = prn_nn_is(v, PRN_SCALAR_mul);
  double c;
  for (uint32_t i = 0; mul && i < 2; i++)
    if (prn_op_operand(mul, i) == x &&
        prn_nn_number(prn_op_operand(mul, 1 - i), &c))
      return near(c, want);
  return false;
}

/* The factors of a product of three, one of them a product of two that
 * nothing else reads. */
static bool factors(const prn_op *op, uint32_t inner, prn_value **f) {
  prn_value *v = prn_op_operand(op, inner);
  prn_op *mul = prn_nn_is(v, PRN_SCALAR_mul);
  if (!mul || !prn_value_has_one_use(v)) return false;
  f[0] = prn_op_operand(mul, 0);
  f[1] = prn_op_operand(mul, 1);
  f[2] = prn_op_operand(op, 1 - inner);
  return true;
}

static prn_value *matched(prn_nn *b, const prn_op *op, prn_value *const *f) {
  double half;
  for (uint32_t i = 0; i < 3; i++) {
    prn_value *x = f[(i + 1) % 3], *e = f[(i + 2) % 3], *u;
    if (!prn_nn_number(f[i], &half) || half != 0.5) continue;
    for (uint32_t k = 0; k < 2; k++) {
      prn_value *swap = x;
      x = e;
      e = swap;
      if (x->type->rank != op->results[0].type->rank) continue;
      u = one_plus(e, PRN_SCALAR_erf);
      if (u && is_scaled(u, x, 0.70710678118654752))
        return prn_nn_unary(b, PRN_SCALAR_gelu, x);
      u = one_plus(e, PRN_SCALAR_tanh);
      if (!u) continue;
      u = prn_nn_with(b, PRN_SCALAR_mul, u, 2);
      return prn_nn_binary(b, PRN_SCALAR_mul, x,
                           prn_nn_unary(b, PRN_SCALAR_sigmoid, u));
    }
  }
  return NULL;
}

prn_value *prn_nn_match_gelu(prn_nn *b, prn_op *op) {
  prn_value *f[3], *r = NULL;
  if (!prn_nn_is(&op->results[0], PRN_SCALAR_mul) ||
      op->results[0].type->dtype != PRN_F32)
    return NULL;
  for (uint32_t i = 0; i < 2 && !r; i++)
    if (factors(op, i, f)) r = matched(b, op, f);
  return r;
}
