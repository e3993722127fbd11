/* Rules of arithmetic and logic that hold for every bit pattern: signed
 * zeros, infinities and NaN included. x + 0 = x is not among them: -0 + 0
 * is +0. */
#include "passes/rules/rules.h"

enum { X = 1, C, R };

static prn_value *take_x(prn_rewriter *rw, const prn_match *m) {
  (void)rw;
  return m->at[X];
}

static prn_value *take_r(prn_rewriter *rw, const prn_match *m) {
  (void)rw;
  return m->at[R];
}

/* ---- neutral elements ---- */

static bool neutral(const prn_match *m, double v) {
  return prn_rule_no_growth(m->at[X], m->at[C]) &&
         prn_rule_all_equal(m->at[C], v);
}

static bool by_one(const prn_match *m) { return neutral(m, 1); }
static bool by_zero(const prn_match *m) { return neutral(m, 0); }

/* -0 is the neutral element of float addition; integers have one zero. */
static bool plus_zero(const prn_match *m) {
  return neutral(m, prn_dtype_is_float(prn_rule_dtype(m->at[C])) ? -0.0 : 0.0);
}

static bool with_true(const prn_match *m) { return neutral(m, 1); }
static bool with_false(const prn_match *m) { return neutral(m, 0); }

/* ---- operands ---- */

static bool one_operand(const prn_match *m) {
  return m->root->num_operands == 1;
}

static bool two_operands(const prn_match *m) {
  return m->root->num_operands == 2;
}

/* For floats runtimes clip to the largest finite number: infinities change. */
static bool no_bounds(const prn_match *m) {
  const prn_op *op = m->root;
  return prn_op_opset(op) >= 11 && prn_dtype_is_int(prn_rule_dtype(m->at[X])) &&
         !PRN_IN(op, onnx_Clip, min) && !PRN_IN(op, onnx_Clip, max);
}

static bool same_shape(const prn_match *m) {
  return prn_rule_same_shape(m->at[X], &m->root->results[0]);
}

static bool always_true(const prn_match *m) {
  return prn_rule_all_equal(m->at[C], 1) && same_shape(m);
}

static bool always_false(const prn_match *m) {
  return prn_rule_all_equal(m->at[C], 0) && same_shape(m);
}

#define TWICE(op)  PRN_MATCH(op, PRN_MATCH_AS(R, op, PRN_VAR(X))), NULL, take_r
#define UNDONE(op) PRN_MATCH(op, PRN_MATCH(op, PRN_VAR(X))), NULL, take_x
#define WITH(op)   PRN_MATCH(op, PRN_VAR(X), PRN_CONST(C))
#define ALONE(op)  PRN_MATCH(op, PRN_VAR(X)), one_operand, take_x
#define BOTH(op)   PRN_MATCH(op, PRN_VAR(X), PRN_VAR(X)), two_operands, take_x

/* clang-format off */
const prn_rule prn_rules_onnx_math[] = {
  {"mul-one", "x * 1 = x", WITH(onnx_Mul), by_one, take_x},
  {"div-one", "x / 1 = x", WITH(onnx_Div), by_one, take_x},
  {"pow-one", "Pow(x, 1) = x", WITH(onnx_Pow), by_one, take_x},
  {"sub-zero", "x - 0 = x", WITH(onnx_Sub), by_zero, take_x},
  {"add-zero", "x + 0 = x for integers, x + -0 = x for floats",
   WITH(onnx_Add), plus_zero, take_x},
  {"and-true", "And(x, true) = x", WITH(onnx_And), with_true, take_x},
  {"or-false", "Or(x, false) = x", WITH(onnx_Or), with_false, take_x},
  {"relu-relu", "Relu(Relu(x)) = Relu(x)", TWICE(onnx_Relu)},
  {"abs-abs", "Abs(Abs(x)) = Abs(x)", TWICE(onnx_Abs)},
  {"floor-floor", "Floor(Floor(x)) = Floor(x)", TWICE(onnx_Floor)},
  {"ceil-ceil", "Ceil(Ceil(x)) = Ceil(x)", TWICE(onnx_Ceil)},
  {"round-round", "Round(Round(x)) = Round(x)", TWICE(onnx_Round)},
  {"sign-sign", "Sign(Sign(x)) = Sign(x)", TWICE(onnx_Sign)},
  {"not-not", "Not(Not(x)) = x", UNDONE(onnx_Not)},
  {"neg-neg", "Neg(Neg(x)) = x", UNDONE(onnx_Neg)},
  {"bitwise-not-not", "BitwiseNot(BitwiseNot(x)) = x", UNDONE(onnx_BitwiseNot)},
  {"sum-one", "Sum(x) = x", ALONE(onnx_Sum)},
  {"mean-one", "Mean(x) = x", ALONE(onnx_Mean)},
  {"max-one", "Max(x) = x", ALONE(onnx_Max)},
  {"min-one", "Min(x) = x", ALONE(onnx_Min)},
  {"max-same", "Max(x, x) = x", BOTH(onnx_Max)},
  {"min-same", "Min(x, x) = x", BOTH(onnx_Min)},
  {"and-same", "And(x, x) = x", BOTH(onnx_And)},
  {"or-same", "Or(x, x) = x", BOTH(onnx_Or)},
  {"clip-open", "Clip(x) = x without bounds, for integers",
   PRN_MATCH(onnx_Clip, PRN_VAR(X)), no_bounds, take_x},
  {"where-true", "Where(true, x, y) = x when the shape stays",
   PRN_MATCH(onnx_Where, PRN_CONST(C), PRN_VAR(X)), always_true, take_x},
  {"where-false", "Where(false, y, x) = x when the shape stays",
   PRN_MATCH(onnx_Where, PRN_CONST(C), PRN_VAR(R), PRN_VAR(X)),
   always_false, take_x},
  {"where-same", "Where(c, x, x) = x when the shape stays",
   PRN_MATCH(onnx_Where, PRN_VAR(C), PRN_VAR(X), PRN_VAR(X)),
   same_shape, take_x},
  {.name = NULL},
};
/* clang-format on */
