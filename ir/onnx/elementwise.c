/* Elementwise operators: broadcasting, and arithmetic on known contents. */
#include "ir/onnx/shape.h"

/* ---- arithmetic on elements; the unknown dimension where undecided ---- */

typedef prn_dim element_fn(prn_infer *env, bool is_float, prn_dim a, prn_dim b);

static prn_dim unknown(prn_infer *env) {
  return prn_dim_unknown(prn_infer_ctx(env));
}
static prn_dim truth(prn_infer *env, bool v) {
  return prn_shape_const(env, v ? 1 : 0);
}

static prn_dim el_add(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  return prn_dim_add(prn_infer_ctx(env), a, b);
}
static prn_dim el_sub(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  return prn_dim_sub(prn_infer_ctx(env), a, b);
}
static prn_dim el_mul(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  return prn_dim_mul(prn_infer_ctx(env), a, b);
}
static prn_dim el_min(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  return prn_dim_min(prn_infer_ctx(env), a, b);
}
static prn_dim el_max(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  return prn_dim_max(prn_infer_ctx(env), a, b);
}

/* Integer division truncates, which is rounding down where both sides are not
 * negative; division of floats must come out even. */
static prn_dim el_div(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  prn_ctx *ctx = prn_infer_ctx(env);
  int64_t va, vb;
  if (!prn_dim_known(a) || !prn_dim_known(b)) return unknown(env);
  if (prn_dim_is_const(b, &vb) && vb == 0) return unknown(env);
  prn_dim q = prn_dim_floordiv(ctx, a, b);
  if (prn_dim_mul(ctx, q, b) == a) return q;
  if (is_float) return unknown(env);
  if (prn_infer_not_negative(env, a) && prn_infer_not_negative(env, b))
    return q;
  if (prn_dim_is_const(a, &va) && prn_dim_is_const(b, &vb) && vb != -1)
    return prn_shape_const(env, va / vb);
  return unknown(env);
}

static prn_dim el_mod(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  if (!prn_infer_not_negative(env, a) || !prn_infer_not_negative(env, b))
    return unknown(env);
  return prn_dim_mod(prn_infer_ctx(env), a, b);
}

static prn_dim el_pow(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  int64_t e;
  prn_dim r = prn_shape_const(env, 1);
  (void)is_float;
  if (!prn_dim_is_const(b, &e) || e < 0 || e > 8) return unknown(env);
  while (e-- > 0)
    r = prn_dim_mul(prn_infer_ctx(env), r, a);
  return r;
}

/* a > b for certain. */
static bool surely_greater(prn_infer *env, prn_dim a, prn_dim b) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim gap = prn_dim_sub(ctx, a, b);
  return prn_infer_not_negative(env,
                                prn_dim_sub(ctx, gap, prn_dim_const(ctx, 1)));
}
static bool surely_at_least(prn_infer *env, prn_dim a, prn_dim b) {
  return prn_infer_not_negative(env, prn_dim_sub(prn_infer_ctx(env), a, b));
}

static prn_dim el_equal(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  if (!prn_dim_known(a) || !prn_dim_known(b)) return unknown(env);
  if (a == b) return truth(env, true);
  if (surely_greater(env, a, b) || surely_greater(env, b, a))
    return truth(env, false);
  return unknown(env);
}
static prn_dim el_greater(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  (void)is_float;
  if (surely_greater(env, a, b)) return truth(env, true);
  return surely_at_least(env, b, a) ? truth(env, false) : unknown(env);
}
static prn_dim el_at_least(prn_infer *env, bool is_float, prn_dim a,
                           prn_dim b) {
  (void)is_float;
  if (surely_at_least(env, a, b)) return truth(env, true);
  return surely_greater(env, b, a) ? truth(env, false) : unknown(env);
}
static prn_dim el_less(prn_infer *env, bool f, prn_dim a, prn_dim b) {
  return el_greater(env, f, b, a);
}
static prn_dim el_at_most(prn_infer *env, bool f, prn_dim a, prn_dim b) {
  return el_at_least(env, f, b, a);
}

static prn_dim el_and(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  int64_t va, vb;
  bool ca = prn_dim_is_const(a, &va), cb = prn_dim_is_const(b, &vb);
  (void)is_float;
  if ((ca && va == 0) || (cb && vb == 0)) return truth(env, false);
  return ca && cb ? truth(env, true) : unknown(env);
}
static prn_dim el_or(prn_infer *env, bool is_float, prn_dim a, prn_dim b) {
  int64_t va, vb;
  bool ca = prn_dim_is_const(a, &va), cb = prn_dim_is_const(b, &vb);
  (void)is_float;
  if ((ca && va != 0) || (cb && vb != 0)) return truth(env, true);
  return ca && cb ? truth(env, false) : unknown(env);
}

static element_fn *binary_element(const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_Add:
  case PRN_OP_onnx_Sum:
    return el_add;
  case PRN_OP_onnx_Sub:
    return el_sub;
  case PRN_OP_onnx_Mul:
    return el_mul;
  case PRN_OP_onnx_Div:
    return el_div;
  case PRN_OP_onnx_Mod:
    return el_mod;
  case PRN_OP_onnx_Pow:
    return el_pow;
  case PRN_OP_onnx_Min:
    return el_min;
  case PRN_OP_onnx_Max:
    return el_max;
  case PRN_OP_onnx_Equal:
    return el_equal;
  case PRN_OP_onnx_Greater:
    return el_greater;
  case PRN_OP_onnx_GreaterOrEqual:
    return el_at_least;
  case PRN_OP_onnx_Less:
    return el_less;
  case PRN_OP_onnx_LessOrEqual:
    return el_at_most;
  case PRN_OP_onnx_And:
    return el_and;
  case PRN_OP_onnx_Or:
    return el_or;
  default:
    return NULL;
  }
}

/* ---- contents ---- */

bool prn_shape_spread(prn_infer *env, const prn_op *op, uint32_t i,
                      prn_shape out, prn_dim *elems) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, i), &n);
  prn_shape s = prn_shape_of(env, op, i);
  int64_t count = prn_shape_small(out);
  if (!c || prn_shape_small(s) != (int64_t)n || s.rank > out.rank) return false;
  for (int64_t k = 0; k < count; k++) {
    int64_t rest = k, at = 0, step = 1;
    for (int32_t d = out.rank - 1; d >= 0; d--) {
      int64_t size = out.dims[d]->value, pos = rest % size;
      int32_t own = d - (out.rank - s.rank);
      rest /= size;
      if (own < 0) continue;
      if (s.dims[own]->value != 1) at += pos * step;
      step *= s.dims[own]->value;
    }
    elems[k] = c[at];
  }
  return true;
}

static void set_folded(prn_infer *env, prn_op *op, const prn_dim *elems,
                       int64_t n) {
  prn_infer_set_content(env, op, 0, elems, (size_t)n);
}

static void fold_content(prn_infer *env, prn_op *op, prn_shape out) {
  prn_dim acc[PRN_INFER_MAX_CONTENT], b[PRN_INFER_MAX_CONTENT];
  element_fn *fn = binary_element(op);
  int64_t n = prn_shape_small(out);
  prn_shape first = prn_shape_of(env, op, 0);
  bool is_float = prn_dtype_is_float(first.dtype);
  if (!fn || n < 0 || !prn_shape_spread(env, op, 0, out, acc)) return;
  if (fn == el_mod && prn_op_int(op, "fmod", 0) && is_float) return;
  for (uint32_t i = 1; i < op->num_operands; i++) {
    if (!prn_shape_spread(env, op, i, out, b)) return;
    for (int64_t k = 0; k < n; k++)
      acc[k] = fn(env, is_float, acc[k], b[k]);
  }
  set_folded(env, op, acc, n);
}

/* ---- hooks ---- */

/* Before opset 7 the second operand bends to the first. */
static bool one_sided(const prn_op *op) {
  int64_t v = prn_op_opset(op);
  return prn_op_attr(op, "broadcast") || (v > 0 && v < 7);
}

static prn_status broadcast_all(prn_infer *env, prn_op *op, prn_shape *out) {
  *out = prn_shape_of(env, op, 0);
  for (uint32_t i = 1; i < op->num_operands; i++) {
    prn_shape b = prn_shape_of(env, op, i);
    if (!prn_shape_in(op, i)) continue;
    if (!prn_shape_broadcast(env, out, b))
      return prn_op_error(
          op, "operands of shapes %s and %s cannot be broadcast together",
          prn_shape_str(env, *out), prn_shape_str(env, b));
  }
  return PRN_OK;
}

static prn_status infer_broadcast_as(prn_infer *env, prn_op *op,
                                     prn_dtype dtype) {
  prn_shape out;
  if (op->num_operands == 0) return PRN_OK;
  if (one_sided(op))
    out = prn_shape_of(env, op, 0);
  else
    PRN_TRY(broadcast_all(env, op, &out));
  if (dtype != PRN_DTYPE_NONE) out.dtype = dtype;
  PRN_TRY(prn_shape_result(env, op, 0, out));
  fold_content(env, op, out);
  return PRN_OK;
}

prn_status prn_infer_broadcast(prn_infer *env, prn_op *op) {
  return infer_broadcast_as(env, op, PRN_DTYPE_NONE);
}
prn_status prn_infer_compare(prn_infer *env, prn_op *op) {
  return infer_broadcast_as(env, op, PRN_BOOL);
}

static void pass_content(prn_infer *env, prn_op *op) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (c) prn_infer_set_content(env, op, 0, c, n);
}

/* One operand in, the same type out. */
prn_status prn_infer_same(prn_infer *env, prn_op *op) {
  prn_value *v = prn_shape_in(op, 0);
  size_t n;
  if (!v) return PRN_OK;
  PRN_TRY(prn_shape_result(env, op, 0, prn_shape_of(env, op, 0)));
  const prn_dim *c = prn_infer_content(env, v, &n);
  if (!c) return PRN_OK;
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  prn_dim minus = prn_shape_const(env, -1);
  for (size_t i = 0; i < n; i++)
    switch (prn_op_code(op)) {
    case PRN_OP_onnx_Neg:
      elems[i] = prn_dim_mul(prn_infer_ctx(env), c[i], minus);
      break;
    case PRN_OP_onnx_Abs:
      elems[i] = el_max(env, false, c[i], el_mul(env, false, c[i], minus));
      break;
    case PRN_OP_onnx_Relu:
      elems[i] = el_max(env, false, c[i], prn_shape_const(env, 0));
      break;
    case PRN_OP_onnx_Floor:
    case PRN_OP_onnx_Ceil:
    case PRN_OP_onnx_Round:
      elems[i] = c[i];
      break;
    case PRN_OP_onnx_Not:
      elems[i] = el_equal(env, false, c[i], prn_shape_const(env, 0));
      break;
    default:
      return PRN_OK;
    }
  set_folded(env, op, elems, (int64_t)n);
  return PRN_OK;
}

/* Any type: containers too. */
prn_status prn_infer_identity(prn_infer *env, prn_op *op) {
  prn_value *v = prn_shape_in(op, 0);
  if (!v) return PRN_OK;
  PRN_TRY(prn_infer_result(env, op, 0, v->type));
  pass_content(env, op);
  return PRN_OK;
}

static void truth_content(prn_infer *env, prn_op *op) {
  prn_dim elems[PRN_INFER_MAX_CONTENT], zero = prn_shape_const(env, 0);
  int64_t v;
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  for (size_t i = 0; c && i < n; i++) {
    elems[i] = el_equal(env, false, c[i], zero);
    if (prn_dim_is_const(elems[i], &v)) elems[i] = truth(env, !v);
  }
  if (c) set_folded(env, op, elems, (int64_t)n);
}

prn_status prn_infer_cast(prn_infer *env, prn_op *op) {
  prn_shape s = prn_shape_of(env, op, 0);
  prn_dtype to = prn_shape_dtype_attr(op, "to", PRN_DTYPE_NONE);
  if (s.dtype == PRN_DTYPE_NONE) return prn_shape_dtype_only(env, op, 0, to);
  s.dtype = to;
  PRN_TRY(prn_shape_result(env, op, 0, s));
  if (to == PRN_BOOL)
    truth_content(env, op);
  else if (prn_dtype_is_int(to) || prn_dtype_is_float(to))
    pass_content(env, op);
  return PRN_OK;
}

prn_status prn_infer_cast_like(prn_infer *env, prn_op *op) {
  prn_shape s = prn_shape_of(env, op, 0);
  s.dtype = prn_shape_of(env, op, 1).dtype;
  PRN_TRY(prn_shape_result(env, op, 0, s));
  if (prn_dtype_is_int(s.dtype)) pass_content(env, op);
  return PRN_OK;
}

static void where_content(prn_infer *env, prn_op *op, prn_shape out) {
  prn_dim c[PRN_INFER_MAX_CONTENT], a[PRN_INFER_MAX_CONTENT];
  prn_dim b[PRN_INFER_MAX_CONTENT];
  int64_t n = prn_shape_small(out), v;
  if (n < 0 || !prn_shape_spread(env, op, 0, out, c) ||
      !prn_shape_spread(env, op, 1, out, a) ||
      !prn_shape_spread(env, op, 2, out, b))
    return;
  for (int64_t k = 0; k < n; k++)
    if (prn_dim_is_const(c[k], &v))
      a[k] = v ? a[k] : b[k];
    else if (a[k] != b[k])
      a[k] = unknown(env);
  set_folded(env, op, a, n);
}

prn_status prn_infer_where(prn_infer *env, prn_op *op) {
  prn_shape out;
  PRN_TRY(broadcast_all(env, op, &out));
  out.dtype = prn_shape_of(env, op, 1).dtype;
  if (out.dtype == PRN_DTYPE_NONE) out.dtype = prn_shape_of(env, op, 2).dtype;
  PRN_TRY(prn_shape_result(env, op, 0, out));
  where_content(env, op, out);
  return PRN_OK;
}

/* The bounds are scalars and do not take part in the shape. */
prn_status prn_infer_clip(prn_infer *env, prn_op *op) {
  size_t n, k;
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  PRN_TRY(prn_shape_result(env, op, 0, prn_shape_of(env, op, 0)));
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (!c || prn_op_attr(op, "min") || prn_op_attr(op, "max")) return PRN_OK;
  for (size_t i = 0; i < n; i++)
    elems[i] = c[i];
  for (uint32_t at = 1; at <= 2; at++) {
    if (!prn_shape_in(op, at)) continue;
    const prn_dim *bound = prn_infer_content(env, prn_shape_in(op, at), &k);
    if (!bound || k != 1) return PRN_OK;
    for (size_t i = 0; i < n; i++)
      elems[i] = at == 1 ? el_max(env, false, elems[i], bound[0])
                         : el_min(env, false, elems[i], bound[0]);
  }
  set_folded(env, op, elems, (int64_t)n);
  return PRN_OK;
}

/* ---- one operand, with a twist ---- */

prn_status prn_infer_predicate(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  x.dtype = PRN_BOOL;
  return prn_shape_result(env, op, 0, x);
}

/* The slope broadcasts to the input, not the other way round. */
prn_status prn_infer_prelu(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), to = x;
  prn_shape slope = prn_shape_of(env, op, 1);
  bool fits = prn_shape_broadcast(env, &to, slope) &&
              (to.rank < 0 || to.rank == x.rank);
  for (int32_t i = 0; fits && i < to.rank; i++)
    fits = prn_shape_unify(to.dims[i], x.dims[i], &to.dims[i]);
  if (!fits && !one_sided(op))
    return prn_op_error(op, "slope of shape %s does not broadcast to %s",
                        prn_shape_str(env, slope), prn_shape_str(env, x));
  return prn_shape_result(env, op, 0, x);
}

/* Operands of one shape, without broadcasting. */
prn_status prn_infer_same_shape(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 1);
  if (a.rank < 0) a = (prn_shape){a.dtype, b.rank, b.dims};
  bool same = b.rank < 0 || a.rank == b.rank;
  for (int32_t i = 0; same && i < b.rank; i++)
    same = prn_shape_unify(a.dims[i], b.dims[i], &a.dims[i]);
  if (!same)
    return prn_op_error(op, "operands of shapes %s and %s differ",
                        prn_shape_str(env, a), prn_shape_str(env, b));
  return prn_shape_result(env, op, 0, a);
}

/* The mask is of booleans since opset 10. */
prn_status prn_infer_dropout(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t opset = prn_op_opset(op);
  PRN_TRY(prn_shape_result(env, op, 0, x));
  if (opset == 0 || opset >= 10) x.dtype = PRN_BOOL;
  return prn_shape_result(env, op, 1, x);
}

prn_status prn_infer_cumulative(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t axis;
  int32_t at;
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 1), &n);
  if (c && n == 1 && x.rank >= 0 && prn_dim_is_const(c[0], &axis))
    PRN_TRY(prn_shape_axis(op, "axis", axis, x.rank, &at));
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_bit_cast(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_dtype to = prn_shape_dtype_attr(op, "to", PRN_DTYPE_NONE);
  if (x.dtype != PRN_DTYPE_NONE && to != PRN_DTYPE_NONE &&
      prn_dtype_bits(x.dtype) != prn_dtype_bits(to))
    return prn_op_error(op, "%s has %u bits, but %s has %u",
                        prn_dtype_name(x.dtype), prn_dtype_bits(x.dtype),
                        prn_dtype_name(to), prn_dtype_bits(to));
  x.dtype = to;
  return prn_shape_result(env, op, 0, x);
}

static prn_status check_dtype_attr(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  if (a && a->kind == PRN_ATTR_INT && (a->i <= 0 || a->i >= PRN_DTYPE_COUNT))
    return prn_op_error(op, "%s is %lld, which is no element type", name,
                        (long long)a->i);
  return PRN_OK;
}

prn_status prn_verify_cast(prn_op *op) { return check_dtype_attr(op, "to"); }
prn_status prn_verify_bit_cast(prn_op *op) {
  return check_dtype_attr(op, "to");
}

prn_status prn_verify_bit_shift(prn_op *op) {
  prn_str d = prn_op_string(op, "direction", "");
  if (prn_str_is(d, "LEFT") || prn_str_is(d, "RIGHT")) return PRN_OK;
  return prn_op_error(op, "direction is '%.*s', expected LEFT or RIGHT",
                      PRN_STR_ARG(d));
}
