/* Constants through arithmetic that has one right answer. */
#include <math.h>
#include <string.h>

#include "passes/transform/fold.h"

typedef int64_t dims_t[PRN_FOLD_RANK];

/* ---- elements ---- */

static bool is_plain_float(prn_dtype t) { return t == PRN_F32 || t == PRN_F64; }

/* Integers that int64 holds; bool is not one. */
static bool is_plain_int(prn_dtype t) {
  return prn_dtype_is_int(t) && prn_dtype_bits(t) >= 8 && t != PRN_U64;
}

static bool fits(prn_dtype t, int64_t v) {
  int bits = (int)prn_dtype_bits(t);
  bool is_unsigned = t == PRN_U8 || t == PRN_U16 || t == PRN_U32;
  if (bits == 64) return true;
  int64_t high = (int64_t)1 << (is_unsigned ? bits : bits - 1);
  return v < high && v >= (is_unsigned ? 0 : -high);
}

static void put_int(prn_fold_view *y, int64_t i, int64_t v) {
  prn_element_set_bits(y->dtype, y->data, i, (uint64_t)v);
}

static int64_t get_int(const prn_fold_view *x, int64_t i) {
  return prn_element_to_i64(x->dtype, x->data, i);
}

/* ---- one operand of a pair ---- */

typedef enum function {
  ADD,
  SUB,
  MUL,
  DIV,
  MOD,
  MIN,
  MAX,
  EQUAL,
  LESS,
  LESS_EQUAL,
  GREATER,
  GREATER_EQUAL,
  AND,
  OR,
  XOR
} function;

static bool mod_i64(int64_t a, int64_t b, bool c_like, int64_t *out) {
  if (b == 0) return false;
  *out = b == -1 ? 0 : a % b; /* INT64_MIN % -1 traps */
  if (!c_like && *out && (*out < 0) != (b < 0)) *out += b;
  return true;
}

static bool int_result(const prn_fold *f, function fn, int64_t a, int64_t b,
                       int64_t *out) {
  switch (fn) {
  case ADD:
    return prn_add_i64(a, b, out);
  case SUB:
    return !__builtin_sub_overflow(a, b, out);
  case MUL:
    return prn_mul_i64(a, b, out);
  case DIV:
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    return *out = a / b, true;
  case MOD:
    return mod_i64(a, b, prn_op_int(f->op, "fmod", 0) != 0, out);
  case MIN:
    return *out = a < b ? a : b, true;
  case MAX:
    return *out = a > b ? a : b, true;
  default:
    return false;
  }
}

static bool float_result(function fn, double a, double b, double *out) {
  switch (fn) {
  case ADD:
    return *out = a + b, true;
  case SUB:
    return *out = a - b, true;
  case MUL:
    return *out = a * b, true;
  case DIV:
    return *out = a / b, true;
  default:
    return false;
  }
}

/* Sums, differences, products and quotients of two floats, rounded to float
 * from double, are those rounded once: 53 >= 2 * 24 + 2. */
static bool arithmetic(const prn_fold *f, function fn, int64_t ia, int64_t ib,
                       prn_fold_view *y, int64_t i) {
  const prn_fold_view *a = &f->in[0], *b = &f->in[1];
  if (is_plain_float(a->dtype)) {
    double v, x = prn_element_to_f64(a->dtype, a->data, ia);
    double z = prn_element_to_f64(b->dtype, b->data, ib);
    if (isnan(x) || isnan(z) || !float_result(fn, x, z, &v) || isnan(v))
      return false; /* the bits of NaN are the runtime's choice */
    return prn_element_from_f64(y->dtype, v, y->data, i);
  }
  int64_t v;
  if (!int_result(f, fn, get_int(a, ia), get_int(b, ib), &v)) return false;
  if (!fits(y->dtype, v)) return false;
  put_int(y, i, v);
  return true;
}

static bool truth(function fn, int order, bool ordered) {
  switch (fn) {
  case EQUAL:
    return ordered && order == 0;
  case LESS:
    return ordered && order < 0;
  case LESS_EQUAL:
    return ordered && order <= 0;
  case GREATER:
    return ordered && order > 0;
  default:
    return ordered && order >= 0;
  }
}

static bool compare(const prn_fold *f, function fn, int64_t ia, int64_t ib) {
  const prn_fold_view *a = &f->in[0], *b = &f->in[1];
  if (is_plain_float(a->dtype)) {
    double x = prn_element_to_f64(a->dtype, a->data, ia);
    double z = prn_element_to_f64(b->dtype, b->data, ib);
    return truth(fn, (x > z) - (x < z), !isnan(x) && !isnan(z));
  }
  int64_t x = get_int(a, ia), z = get_int(b, ib);
  return truth(fn, (x > z) - (x < z), true);
}

static bool logic(function fn, bool a, bool b) {
  return fn == AND ? a && b : fn == OR ? a || b : a != b;
}

static bool step(prn_fold *f, function fn, int64_t ia, int64_t ib,
                 prn_fold_view *y, int64_t i) {
  if (fn <= MAX) return arithmetic(f, fn, ia, ib, y, i);
  bool v = fn <= GREATER_EQUAL
               ? compare(f, fn, ia, ib)
               : logic(fn, f->in[0].data[ia] != 0, f->in[1].data[ib] != 0);
  y->data[i] = v;
  return true;
}

static bool allowed(const prn_fold *f, function fn) {
  prn_dtype t = f->in[0].dtype;
  if (f->num_in != 2 || !f->in[0].there || !f->in[1].there ||
      t != f->in[1].dtype)
    return false;
  if (fn >= AND) return t == PRN_BOOL;
  if (fn == EQUAL && t == PRN_BOOL) return true;
  return is_plain_int(t) || (is_plain_float(t) && (fn <= DIV || fn > MAX));
}

static bool binary(prn_fold *f, function fn) {
  dims_t dims, sa, sb, index = {0};
  int rank;
  if (!allowed(f, fn) || !prn_fold_broadcast(f, 0, 2, &rank, dims))
    return false;
  prn_dtype t = fn > MAX ? PRN_BOOL : f->in[0].dtype;
  prn_fold_view *y = prn_fold_result(f, t, rank, dims);
  if (!y) return false;
  prn_fold_strides(&f->in[0], rank, dims, sa);
  prn_fold_strides(&f->in[1], rank, dims, sb);
  for (int64_t i = 0; i < y->count; i++) {
    int64_t ia = 0, ib = 0;
    for (int d = 0; d < rank; d++) {
      ia += index[d] * sa[d];
      ib += index[d] * sb[d];
    }
    if (!step(f, fn, ia, ib, y, i)) return false;
    (void)prn_fold_next(rank, dims, index);
  }
  return true;
}

#define BINARY(name, fn) \
  static bool name(prn_fold *f) { return binary(f, fn); }
BINARY(add, ADD)
BINARY(sub, SUB)
BINARY(mul, MUL)
BINARY(divide, DIV)
BINARY(mod, MOD)
BINARY(min, MIN)
BINARY(max, MAX)
BINARY(equal, EQUAL)
BINARY(less, LESS)
BINARY(less_equal, LESS_EQUAL)
BINARY(greater, GREATER)
BINARY(greater_equal, GREATER_EQUAL)
BINARY(and, AND)
BINARY(or, OR)
BINARY(xor, XOR)

/* ---- one operand ---- */

static bool neg(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, x->dims);
  if (!y || !is_plain_int(x->dtype)) return false;
  for (int64_t i = 0; i < y->count; i++) {
    int64_t v = get_int(x, i);
    if (v == INT64_MIN || !fits(y->dtype, -v)) return false;
    put_int(y, i, -v);
  }
  return true;
}

static bool absolute(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, x->dims);
  if (!y || !is_plain_int(x->dtype)) return false;
  for (int64_t i = 0; i < y->count; i++) {
    int64_t v = get_int(x, i);
    if (v == INT64_MIN || !fits(y->dtype, v < 0 ? -v : v)) return false;
    put_int(y, i, v < 0 ? -v : v);
  }
  return true;
}

static bool not(prn_fold * f) {
  const prn_fold_view *x = &f->in[0];
  prn_fold_view *y = prn_fold_result(f, PRN_BOOL, x->rank, x->dims);
  if (!y || x->dtype != PRN_BOOL) return false;
  for (int64_t i = 0; i < y->count; i++)
    y->data[i] = !x->data[i];
  return true;
}

/* Functions of a float that round nothing. */
static bool exactly(prn_fold *f, double (*fn)(double)) {
  const prn_fold_view *x = &f->in[0];
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, x->dims);
  if (!y || !is_plain_float(x->dtype)) return false;
  for (int64_t i = 0; i < y->count; i++) {
    double v = prn_element_to_f64(x->dtype, x->data, i);
    if (isnan(v) || !prn_element_from_f64(y->dtype, fn(v), y->data, i))
      return false;
  }
  return true;
}

static double positive(double v) { return v > 0 ? v : 0; }

static bool round_down(prn_fold *f) { return exactly(f, floor); }
static bool round_up(prn_fold *f) { return exactly(f, ceil); }
static bool relu(prn_fold *f) { return exactly(f, positive); }

/* Correctly rounded everywhere; also from double: 53 >= 2 * 24 + 2. */
static bool square_root(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  prn_fold_view *y = prn_fold_result(f, x->dtype, x->rank, x->dims);
  if (!y || !is_plain_float(x->dtype)) return false;
  for (int64_t i = 0; i < y->count; i++) {
    double v = prn_element_to_f64(x->dtype, x->data, i);
    if (!(v >= 0) || !prn_element_from_f64(y->dtype, sqrt(v), y->data, i))
      return false;
  }
  return true;
}

/* ---- conversion ---- */

static bool has_one_meaning(prn_dtype t) {
  return is_plain_int(t) || is_plain_float(t) || t == PRN_BOOL || t == PRN_F16;
}

static bool from_float(const prn_fold_view *x, prn_fold_view *y, int64_t i) {
  double v = prn_element_to_f64(x->dtype, x->data, i);
  if (isnan(v)) return false;
  if (y->dtype == PRN_BOOL) return y->data[i] = v != 0, true;
  if (!prn_dtype_is_int(y->dtype))
    return prn_element_from_f64(y->dtype, v, y->data, i);
  if (!(fabs(v) < 0x1p62) || !fits(y->dtype, (int64_t)v)) return false;
  put_int(y, i, (int64_t)v);
  return true;
}

static bool from_int(const prn_fold_view *x, prn_fold_view *y, int64_t i) {
  int64_t v = x->dtype == PRN_BOOL ? x->data[i] != 0 : get_int(x, i);
  if (y->dtype == PRN_BOOL) return y->data[i] = v != 0, true;
  if (prn_dtype_is_int(y->dtype)) {
    if (!fits(y->dtype, v)) return false;
    put_int(y, i, v);
    return true;
  }
  /* Larger ones would be rounded on the way to double and again after it. */
  if (v > INT64_C(1) << 53 || v < -(INT64_C(1) << 53)) return false;
  return prn_element_from_f64(y->dtype, (double)v, y->data, i);
}

static bool cast(prn_fold *f) {
  const prn_fold_view *x = &f->in[0];
  prn_dtype to = (prn_dtype)prn_op_int(f->op, "to", PRN_DTYPE_NONE);
  if (!has_one_meaning(to) || !has_one_meaning(x->dtype)) return false;
  prn_fold_view *y = prn_fold_result(f, to, x->rank, x->dims);
  bool floats = prn_dtype_is_float(x->dtype);
  for (int64_t i = 0; y && i < y->count; i++)
    if (!(floats ? from_float(x, y, i) : from_int(x, y, i))) return false;
  return y != NULL;
}

/* ---- ranges and reductions, of integers ---- */

static bool range(prn_fold *f) {
  if (f->num_in != 3 || !is_plain_int(f->in[0].dtype)) return false;
  for (int i = 0; i < 3; i++)
    if (f->in[i].count != 1 || f->in[i].dtype != f->in[0].dtype) return false;
  int64_t start = get_int(&f->in[0], 0), limit = get_int(&f->in[1], 0);
  int64_t delta = get_int(&f->in[2], 0), span;
  if (delta == 0 || delta == INT64_MIN ||
      __builtin_sub_overflow(limit, start, &span) || span == INT64_MIN)
    return false;
  if (delta < 0) span = -span;
  int64_t step = delta < 0 ? -delta : delta;
  int64_t n = span > 0 ? (span - 1) / step + 1 : 0;
  prn_fold_view *y = prn_fold_result(f, f->in[0].dtype, 1, &n);
  for (int64_t i = 0; y && i < n; i++)
    put_int(y, i, start + i * delta);
  return y != NULL;
}

static bool reduce(prn_fold *f, function fn, int64_t first) {
  const prn_fold_view *x = &f->in[0];
  dims_t axes, dims;
  int n, axis;
  bool listed = prn_fold_ints(f, "axes", 1, axes, &n);
  if (!is_plain_int(x->dtype) || x->count == 0 || x->rank != 1) return false;
  if (!listed && f->num_in > 1 && f->in[1].there) return false;
  if (n == 0 && prn_op_int(f->op, "noop_with_empty_axes", 0)) return false;
  if (n > 1 || (n == 1 && !prn_fold_axis(axes[0], 1, &axis))) return false;
  dims[0] = 1;
  int rank = prn_op_int(f->op, "keepdims", 1) ? 1 : 0;
  prn_fold_view *y = prn_fold_result(f, x->dtype, rank, dims);
  int64_t v = first ? first : fn == ADD ? 0 : get_int(x, 0);
  for (int64_t i = 0; y && i < x->count; i++)
    if (!int_result(f, fn, v, get_int(x, i), &v)) return false;
  if (!y || !fits(y->dtype, v)) return false;
  put_int(y, 0, v);
  return true;
}

static bool reduce_sum(prn_fold *f) { return reduce(f, ADD, 0); }
static bool reduce_prod(prn_fold *f) { return reduce(f, MUL, 1); }
static bool reduce_min(prn_fold *f) { return reduce(f, MIN, 0); }
static bool reduce_max(prn_fold *f) { return reduce(f, MAX, 0); }

prn_fold_fn *prn_fold_arithmetic(prn_opcode code) {
  static prn_fold_fn *const table[PRN_OP_count] = {
      [PRN_OP_onnx_Add] = add,
      [PRN_OP_onnx_Sub] = sub,
      [PRN_OP_onnx_Mul] = mul,
      [PRN_OP_onnx_Div] = divide,
      [PRN_OP_onnx_Mod] = mod,
      [PRN_OP_onnx_Min] = min,
      [PRN_OP_onnx_Max] = max,
      [PRN_OP_onnx_Equal] = equal,
      [PRN_OP_onnx_Less] = less,
      [PRN_OP_onnx_LessOrEqual] = less_equal,
      [PRN_OP_onnx_Greater] = greater,
      [PRN_OP_onnx_GreaterOrEqual] = greater_equal,
      [PRN_OP_onnx_And] = and,
      [PRN_OP_onnx_Or] = or
      ,
      [PRN_OP_onnx_Xor] = xor,
      [PRN_OP_onnx_Not] = not,
      [PRN_OP_onnx_Neg] = neg,
      [PRN_OP_onnx_Abs] = absolute,
      [PRN_OP_onnx_Ceil] = round_up,
      [PRN_OP_onnx_Floor] = round_down,
      [PRN_OP_onnx_Relu] = relu,
      [PRN_OP_onnx_Sqrt] = square_root,
      [PRN_OP_onnx_Cast] = cast,
      [PRN_OP_onnx_Range] = range,
      [PRN_OP_onnx_ReduceSum] = reduce_sum,
      [PRN_OP_onnx_ReduceProd] = reduce_prod,
      [PRN_OP_onnx_ReduceMin] = reduce_min,
      [PRN_OP_onnx_ReduceMax] = reduce_max,
  };
  return table[code];
}
