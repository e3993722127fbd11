/* Rules for Cast and CastLike. */
#include "passes/rules/rules.h"

enum { X = 1 };

static prn_value *take_x(prn_rewriter *rw, const prn_match *m) {
  (void)rw;
  return m->at[X];
}

static bool same_dtype(const prn_match *m) {
  prn_dtype t = prn_rule_dtype(m->at[X]);
  return t != PRN_DTYPE_NONE && t == prn_rule_dtype(&m->root->results[0]);
}

/* The element type a Cast says. */
static prn_dtype target(const prn_op *cast) {
  return (prn_dtype)prn_op_int(cast, "to", PRN_DTYPE_NONE);
}

typedef struct kind {
  int digits;   /* bits of the significand, or of the integer without sign */
  int exponent; /* 0: an integer */
  bool is_signed;
} kind;

static bool kind_of(prn_dtype t, kind *out) {
  int bits = (int)prn_dtype_bits(t);
  switch (t) {
  case PRN_F16:
    return *out = (kind){11, 5, true}, true;
  case PRN_BF16:
    return *out = (kind){8, 8, true}, true;
  case PRN_F32:
    return *out = (kind){24, 8, true}, true;
  case PRN_F64:
    return *out = (kind){53, 11, true}, true;
  case PRN_BOOL:
    return *out = (kind){1, 0, false}, true;
  case PRN_I8:
  case PRN_I16:
  case PRN_I32:
  case PRN_I64:
    return *out = (kind){bits - 1, 0, true}, true;
  case PRN_U8:
  case PRN_U16:
  case PRN_U32:
  case PRN_U64:
    return *out = (kind){bits, 0, false}, true;
  default:
    return false;
  }
}

/* Every value of a is one of b. */
static bool holds(kind b, kind a) {
  if (a.exponent && !b.exponent) return false;
  if (a.is_signed && !b.is_signed) return false;
  return b.digits >= a.digits && b.exponent >= a.exponent;
}

/* Through b and on to c, or straight to c: the same when b loses nothing and
 * c rounds or wraps what it gets in the same way. */
static bool lossless_middle(const prn_match *m) {
  const prn_op *inner = prn_op_operand(m->root, 0)->def;
  kind a, b, c;
  if (!kind_of(prn_rule_dtype(m->at[X]), &a) || !kind_of(target(inner), &b) ||
      !kind_of(target(m->root), &c))
    return false;
  if (!holds(b, a)) return false;
  if (target(m->root) == prn_rule_dtype(m->at[X])) return true;
  bool all_floats = a.exponent && b.exponent && c.exponent;
  bool all_ints = !a.exponent && !b.exponent && !c.exponent;
  return all_floats || all_ints;
}

static prn_value *cast_x(prn_rewriter *rw, const prn_match *m) {
  prn_value *x = m->at[X];
  if (target(m->root) == prn_rule_dtype(x)) return x;
  prn_op *op = prn_rw_op(rw, PRN_OP_onnx_Cast, &x, 1, m->root->results[0].type);
  prn_op_set_attr(op, "to", prn_op_attr(m->root, "to"));
  return &op->results[0];
}

/* clang-format off */
const prn_rule prn_rules_onnx_cast[] = {
  {"cast-same", "Cast(x) = x when x has that type",
   PRN_MATCH(onnx_Cast, PRN_VAR(X)), same_dtype, take_x},
  {"cast-like-same", "CastLike(x, y) = x when x has the type of y",
   PRN_MATCH(onnx_CastLike, PRN_VAR(X)), same_dtype, take_x},
  {"cast-cast", "Cast(Cast(x, b), c) = Cast(x, c) when b loses nothing",
   PRN_MATCH(onnx_Cast, PRN_MATCH(onnx_Cast, PRN_VAR(X))),
   lossless_middle, cast_x},
  {.name = NULL},
};
/* clang-format on */
