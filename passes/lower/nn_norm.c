/* Normalisations that exporters write as their formula:
 *
 *   d = x - mean(x);  y = d / sqrt(mean(d^2) + eps) [* scale] [+ bias]
 *   y = x / sqrt(mean(x^2) + eps) [* scale]
 *
 * with means over the last dimensions. Division by a constant is a product and
 * division by a root a product with rsqrt by the time this looks. */
#include <math.h>

#include "passes/lower/nn_fold.h"

/* ---- parts ---- */

/* The other operand of a commutative op whose operand `is` is known. */
static prn_value *other(const prn_op *op, const prn_value *is) {
  prn_value *a = prn_op_operand(op, 0), *b = prn_op_operand(op, 1);
  return a == is ? b : a;
}

/* v is the number of elements that `r` adds up for each of its results. */
static bool is_count(prn_ctx *ctx, const prn_op *r, const prn_value *v,
                     bool inverse) {
  const prn_type *t = r->operands[0].value->type;
  prn_dim size = prn_dim_const(ctx, 1);
  size_t n;
  const int64_t *axes = prn_op_ints(r, "axes", &n);
  int64_t count;
  double c;
  for (size_t i = 0; i < n; i++)
    size = prn_dim_mul(ctx, size, t->dims[axes[i]]);
  if (prn_nn_number(v, &c) && prn_dim_is_const(size, &count))
    return fabs((inverse ? c * (double)count : c / (double)count) - 1) < 1e-6;
  while (v->def && prn_op_is(v->def, PRN_OP_nn_cast))
    v = prn_op_operand(v->def, 0);
  if (inverse || !v->def || !prn_op_is(v->def, PRN_OP_nn_dims)) return false;
  const prn_attr *values = prn_op_attr(v->def, "values");
  return values->size == 1 && prn_nn_list_dim(values, 0) == size;
}

static prn_op *plain_sum(const prn_value *v) {
  prn_op *r = v->def;
  bool ok = r && prn_op_is(r, PRN_OP_nn_reduce) && !r->num_blocks &&
            r->num_operands == 1 &&
            prn_str_is(prn_op_string(r, "fn", ""), "sum");
  return ok ? r : NULL;
}

/* The sum behind a mean; its operand is what the mean is of. */
static prn_op *mean_of(prn_ctx *ctx, const prn_value *v) {
  prn_op *div = prn_nn_is(v, PRN_SCALAR_div);
  prn_op *mul = prn_nn_is(v, PRN_SCALAR_mul), *r;
  if (div) {
    r = plain_sum(prn_op_operand(div, 0));
    return r && is_count(ctx, r, prn_op_operand(div, 1), false) ? r : NULL;
  }
  for (uint32_t i = 0; mul && i < 2; i++) {
    r = plain_sum(prn_op_operand(mul, i));
    if (r && is_count(ctx, r, prn_op_operand(mul, 1 - i), true)) return r;
  }
  return NULL;
}

/* The axis from which r reduces all dimensions; -1 when it does not. */
static int32_t tail_axis(const prn_op *r) {
  int32_t rank = r->operands[0].value->type->rank;
  size_t n;
  const int64_t *axes = prn_op_ints(r, "axes", &n);
  for (size_t i = 0; i < n; i++)
    if (axes[i] != rank - (int32_t)n + (int32_t)i) return -1;
  return n ? rank - (int32_t)n : -1;
}

/* ---- the whole ---- */

typedef struct norm {
  prn_value *x;
  int32_t axis;
  double eps;
  bool rms;
} norm;

/* r = rsqrt(mean(d*d) + eps) for the d that it is multiplied with. */
static bool match_deviation(prn_ctx *ctx, const prn_op *r, prn_value *d,
                            norm *out) {
  prn_op *add = prn_nn_is(prn_op_operand(r, 0), PRN_SCALAR_add);
  for (uint32_t i = 0; add && i < 2; i++) {
    prn_op *sum = mean_of(ctx, prn_op_operand(add, i));
    prn_op *sq = sum ? prn_nn_is(prn_op_operand(sum, 0), PRN_SCALAR_mul) : NULL;
    if (!sq || prn_op_operand(sq, 0) != d || prn_op_operand(sq, 1) != d ||
        !prn_nn_number(prn_op_operand(add, 1 - i), &out->eps))
      continue;
    out->axis = tail_axis(sum);
    return out->axis >= 0;
  }
  return false;
}

static void match_centre(prn_ctx *ctx, prn_value *d, norm *out) {
  prn_op *sub = prn_nn_is(d, PRN_SCALAR_sub);
  prn_op *sum = sub ? mean_of(ctx, prn_op_operand(sub, 1)) : NULL;
  out->x = d;
  out->rms = true;
  if (!sum || prn_op_operand(sum, 0) != prn_op_operand(sub, 0) ||
      tail_axis(sum) != out->axis)
    return;
  out->x = prn_op_operand(sub, 0);
  out->rms = false;
}

static prn_value *make_norm(prn_nn *b, const norm *m, prn_value *scale,
                            prn_value *bias) {
  prn_value *in[3] = {m->x, scale, bias};
  prn_value *r = prn_nn_make(b, PRN_OP_nn_layer_norm, in,
                             bias ? 3 : (scale ? 2 : 1), m->x->type);
  prn_op_set_attr(r->def, "axis", prn_attr_int(b->ctx, m->axis));
  prn_op_set_attr(r->def, "epsilon", prn_attr_float(b->ctx, (float)m->eps));
  if (m->rms) prn_op_set_attr(r->def, "rms", prn_attr_bool(b->ctx, true));
  return r;
}

static prn_value *match_formula(prn_nn *b, prn_op *op) {
  norm m;
  if (!prn_nn_is(&op->results[0], PRN_SCALAR_mul)) return NULL;
  for (uint32_t i = 0; i < 2; i++) {
    prn_value *d = prn_op_operand(op, 1 - i);
    prn_op *r = prn_nn_is(prn_op_operand(op, i), PRN_SCALAR_rsqrt);
    if (!r || d->type != op->results[0].type ||
        !prn_dtype_is_float(d->type->dtype) ||
        !match_deviation(b->ctx, r, d, &m))
      continue;
    match_centre(b->ctx, d, &m);
    return make_norm(b, &m, NULL, NULL);
  }
  return NULL;
}

/* ---- scale and bias ---- */

/* w varies along the normalised dimensions only. */
static bool fits_tail(const prn_type *w, const prn_type *x, int32_t axis) {
  if (w->rank > x->rank || w->dtype != x->dtype) return false;
  for (int32_t i = 0; i < w->rank; i++) {
    int32_t at = i + x->rank - w->rank;
    bool one = prn_dim_is(w->dims[i], 1);
    if (!one && (at < axis || w->dims[i] != x->dims[at])) return false;
  }
  return true;
}

static prn_value *absorb(prn_nn *b, prn_op *op, prn_scalar f) {
  prn_op *apply = prn_nn_is(&op->results[0], f);
  for (uint32_t i = 0; apply && i < 2; i++) {
    prn_value *y = prn_op_operand(op, i), *w = other(op, y);
    prn_op *ln = y->def;
    if (!ln || !prn_op_is(ln, PRN_OP_nn_layer_norm) ||
        !prn_value_has_one_use(y) || y->type != op->results[0].type)
      continue;
    prn_value *scale = PRN_IN(ln, nn_layer_norm, scale);
    norm m = {PRN_IN(ln, nn_layer_norm, x), (int32_t)prn_op_int(ln, "axis", 0),
              (double)prn_op_float(ln, "epsilon", 0),
              prn_op_int(ln, "rms", 0) != 0};
    if (PRN_IN(ln, nn_layer_norm, bias) || !fits_tail(w->type, y->type, m.axis))
      continue;
    if (f == PRN_SCALAR_mul && !scale) return make_norm(b, &m, w, NULL);
    if (f == PRN_SCALAR_add && !m.rms) return make_norm(b, &m, scale, w);
  }
  return NULL;
}

prn_value *prn_nn_match_norm(prn_nn *b, prn_op *op) {
  prn_value *r = match_formula(b, op);
  if (!r) r = absorb(b, op, PRN_SCALAR_mul);
  return r ? r : absorb(b, op, PRN_SCALAR_add);
}
