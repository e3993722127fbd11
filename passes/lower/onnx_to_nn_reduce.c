/* onnx -> nn: reductions. The nn forms keep the reduced axes with size 1;
 * binding the result drops them where keepdims is 0. */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

typedef struct axes {
  int64_t at[MAX_RANK];
  size_t n;
  bool noop; /* no axes, and that means nothing is reduced */
} axes;

/* Axes from operand 1 or the attribute, sorted; all when there are none. */
static prn_status read_axes(prn_o2n *e, const prn_op *op, int32_t rank,
                            axes *out) {
  const int64_t *v;
  bool in[MAX_RANK] = {false};
  size_t n;
  int32_t axis;
  PRN_TRY(prn_o2n_ints(e, op, 1, "axes", &v, &n));
  *out = (axes){.noop = n == 0 && prn_op_int(op, "noop_with_empty_axes", 0)};
  for (size_t i = 0; i < n; i++) {
    PRN_TRY(prn_o2n_wrap_axis(op, v[i], rank, &axis));
    in[axis] = true;
  }
  for (int32_t i = 0; i < rank; i++)
    if (in[i] || (n == 0 && !out->noop)) out->at[out->n++] = i;
  return PRN_OK;
}

static prn_value *unary(prn_o2n *e, prn_scalar f, prn_value *x) {
  return prn_nn_unary(&e->b, f, x);
}

static prn_value *reduce(prn_o2n *e, const char *fn, prn_value *x,
                         const axes *a) {
  return prn_nn_reduce(&e->b, fn, x, a->at, a->n);
}

/* log(sum(exp(x))) with the largest element taken out. */
static prn_value *log_sum_exp(prn_o2n *e, prn_value *x, const axes *a) {
  prn_value *top = reduce(e, "max", x, a);
  /* An infinite maximum would give inf - inf. */
  prn_value *big = prn_nn_scalar(&e->b, x->type->dtype, 3.0e38);
  prn_value *small = prn_nn_scalar(&e->b, x->type->dtype, -3.0e38);
  top = prn_nn_binary(&e->b, PRN_SCALAR_min, top, big);
  top = prn_nn_binary(&e->b, PRN_SCALAR_max, top, small);
  prn_value *y = prn_nn_binary(&e->b, PRN_SCALAR_sub, x, top);
  y = reduce(e, "sum", unary(e, PRN_SCALAR_exp, y), a);
  y = unary(e, PRN_SCALAR_log, y);
  return prn_nn_binary(&e->b, PRN_SCALAR_add, y, top);
}

static prn_value *square(prn_o2n *e, prn_value *x) {
  return prn_nn_binary(&e->b, PRN_SCALAR_mul, x, x);
}

/* The reduction that the operator's name (after "Reduce") stands for. */
static prn_value *reduce_by_name(prn_o2n *e, prn_str name, prn_value *x,
                                 const axes *a) {
  if (prn_str_is(name, "ReduceSum")) return reduce(e, "sum", x, a);
  if (prn_str_is(name, "ReduceProd")) return reduce(e, "prod", x, a);
  if (prn_str_is(name, "ReduceMax")) return reduce(e, "max", x, a);
  if (prn_str_is(name, "ReduceMin")) return reduce(e, "min", x, a);
  if (prn_str_is(name, "ReduceMean")) return prn_nn_mean(&e->b, x, a->at, a->n);
  if (prn_str_is(name, "ReduceL1"))
    return reduce(e, "sum", unary(e, PRN_SCALAR_abs, x), a);
  if (prn_str_is(name, "ReduceSumSquare"))
    return reduce(e, "sum", square(e, x), a);
  if (prn_str_is(name, "ReduceL2")) {
    prn_value *y = reduce(e, "sum", square(e, x), a);
    prn_dtype t = x->type->dtype, wide = prn_dtype_is_float(t) ? t : PRN_F64;
    y = unary(e, PRN_SCALAR_sqrt, prn_nn_cast(&e->b, y, wide));
    return prn_nn_cast(&e->b, y, t);
  }
  if (prn_str_is(name, "ReduceLogSum"))
    return unary(e, PRN_SCALAR_log, reduce(e, "sum", x, a));
  return log_sum_exp(e, x, a);
}

static prn_status lower_reduce(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_str name = op->opname->name;
  prn_dtype t = x->type->dtype;
  axes a;
  PRN_TRY(read_axes(e, op, x->type->rank, &a));
  if (a.noop &&
      (prn_str_is(name, "ReduceSum") || prn_str_is(name, "ReduceMax") ||
       prn_str_is(name, "ReduceMin") || prn_str_is(name, "ReduceMean") ||
       prn_str_is(name, "ReduceProd")))
    return prn_o2n_set(e, op, 0, x);
  if (t == PRN_BOOL) x = prn_nn_cast(&e->b, x, PRN_U8);
  x = reduce_by_name(e, name, x, &a);
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, x, t));
}

/* GlobalAveragePool, GlobalMaxPool, GlobalLpPool: all spatial dimensions. */
static prn_status lower_global_pool(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_str name = op->opname->name;
  axes a = {.n = 0};
  for (int32_t i = 2; i < x->type->rank; i++)
    a.at[a.n++] = i;
  if (prn_str_is(name, "GlobalAveragePool"))
    return prn_o2n_set(e, op, 0, prn_nn_mean(&e->b, x, a.at, a.n));
  if (prn_str_is(name, "GlobalMaxPool"))
    return prn_o2n_set(e, op, 0, reduce(e, "max", x, &a));
  double p = (double)prn_op_int(op, "p", 2);
  x = prn_nn_with(&e->b, PRN_SCALAR_pow, unary(e, PRN_SCALAR_abs, x), p);
  x = prn_nn_with(&e->b, PRN_SCALAR_pow, reduce(e, "sum", x, &a), 1 / p);
  return prn_o2n_set(e, op, 0, x);
}

/* ---- positions ---- */

static prn_value *arg_reduce(prn_o2n *e, prn_value *x, const char *fn,
                             int32_t axis, bool last) {
  prn_dim dims[MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    dims[i] = i == axis ? prn_dim_const(e->ctx, 1) : x->type->dims[i];
  prn_value *r =
      prn_nn_make(&e->b, PRN_OP_nn_arg_reduce, &x, 1,
                  prn_type_tensor(e->ctx, PRN_I64, x->type->rank, dims));
  prn_op_set_attr(r->def, "fn", prn_attr_string(e->ctx, prn_str_from(fn)));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, axis));
  if (last) prn_op_set_attr(r->def, "last", prn_attr_bool(e->ctx, true));
  return r;
}

static prn_status lower_arg(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  bool max = prn_str_is(op->opname->name, "ArgMax");
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", 0, x->type->rank, &axis));
  bool last = prn_op_int(op, "select_last_index", 0) != 0;
  return prn_o2n_set(e, op, 0,
                     arg_reduce(e, x, max ? "max" : "min", axis, last));
}

static prn_status lower_cumsum(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const int64_t *v;
  size_t n;
  int32_t axis;
  PRN_TRY(prn_o2n_ints(e, op, 1, NULL, &v, &n));
  if (n != 1) return prn_op_error(op, "expects one axis, found %zu", n);
  PRN_TRY(prn_o2n_wrap_axis(op, v[0], x->type->rank, &axis));
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_cumsum, &x, 1,
                             prn_nn_plain(e->ctx, x->type));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, axis));
  if (prn_str_is(op->opname->name, "CumProd"))
    prn_op_set_attr(r->def, "product", prn_attr_bool(e->ctx, true));
  if (prn_op_int(op, "exclusive", 0))
    prn_op_set_attr(r->def, "exclusive", prn_attr_bool(e->ctx, true));
  if (prn_op_int(op, "reverse", 0))
    prn_op_set_attr(r->def, "reverse", prn_attr_bool(e->ctx, true));
  return prn_o2n_set(e, op, 0, r);
}

/* ---- softmax and its like ---- */

/* Before opset 13 the axes from `axis` on count as one: dims gets the shape
 * [before, from axis on] and the new axis is 1. */
static bool coerced(prn_o2n *e, const prn_type *t, int32_t axis,
                    prn_dim *dims) {
  prn_dim one = prn_dim_const(e->ctx, 1);
  bool same = true;
  dims[0] = dims[1] = one;
  for (int32_t i = 0; i < t->rank; i++) {
    prn_dim *d = &dims[i >= axis];
    *d = prn_dim_mul(e->ctx, *d, t->dims[i]);
    if (i > axis && t->dims[i] != one) same = false;
  }
  return e->opset < 13 && !same;
}

/* 1 at the first maximum along the axis, 0 elsewhere. */
static prn_value *make_hardmax(prn_o2n *e, prn_value *x, int32_t axis) {
  prn_dim dims[MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    dims[i] = i == axis ? x->type->dims[i] : prn_dim_const(e->ctx, 1);
  prn_value *at = arg_reduce(e, x, "max", axis, false);
  prn_value *here =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, x->type->rank, dims),
                  axis, NULL, NULL);
  prn_value *hit = prn_nn_binary(&e->b, PRN_SCALAR_eq, here, at);
  return prn_nn_cast(&e->b, hit, x->type->dtype);
}

static prn_status lower_softmax(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_str name = op->opname->name;
  prn_dim dims[2];
  int32_t axis;
  PRN_TRY(
      prn_o2n_axis(op, "axis", e->opset < 13 ? 1 : -1, x->type->rank, &axis));
  if (coerced(e, x->type, axis, dims)) {
    x = prn_nn_reshape_dims(&e->b, x, 2, dims);
    axis = 1;
  }
  if (prn_str_is(name, "Hardmax"))
    x = make_hardmax(e, x, axis);
  else
    x = prn_nn_softmax(&e->b, x, axis, prn_str_is(name, "LogSoftmax"));
  return prn_o2n_set_shape(e, op, 0, x);
}

const prn_o2n_row prn_o2n_reduce[] = {
    {"ReduceSum", lower_reduce, 2, 0},
    {"ReduceProd", lower_reduce, 2, 0},
    {"ReduceMax", lower_reduce, 2, 0},
    {"ReduceMin", lower_reduce, 2, 0},
    {"ReduceMean", lower_reduce, 2, 0},
    {"ReduceL1", lower_reduce, 2, 0},
    {"ReduceL2", lower_reduce, 2, 0},
    {"ReduceSumSquare", lower_reduce, 2, 0},
    {"ReduceLogSum", lower_reduce, 2, 0},
    {"ReduceLogSumExp", lower_reduce, 2, 0},
    {"GlobalAveragePool", lower_global_pool, 0, 0},
    {"GlobalMaxPool", lower_global_pool, 0, 0},
    {"GlobalLpPool", lower_global_pool, 0, 0},
    {"ArgMax", lower_arg, 0, 0},
    {"ArgMin", lower_arg, 0, 0},
    {"CumSum", lower_cumsum, 2, 0},
    {"CumProd", lower_cumsum, 2, 0},
    {"Softmax", lower_softmax, 0, 0},
    {"LogSoftmax", lower_softmax, 0, 0},
    {"Hardmax", lower_softmax, 0, 0},
    {NULL, NULL, 0, 0},
};
