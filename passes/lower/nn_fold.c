/* Evaluating nn operations on constants.
 *
 * Floats are computed in double and rounded once, integers in 64 bits and cut
 * to their width. */
#include "passes/lower/nn_fold.h"

#include <math.h>
#include <string.h>

/* Computed values may be this many; moved ones (gates put in another order,
 * kernels turned round) as many as a layer's weights are. */
enum { MAX_COMPUTED = 1 << 16, MAX_MOVED = 1 << 22, MAX_SMALL = 4096 };
enum { MAX_RANK = PRN_NN_MAX_RANK };

/* ---- scalar functions ---- */

static double float_unary(prn_scalar f, double x) {
  switch (f) {
  case PRN_SCALAR_abs:
    return fabs(x);
  case PRN_SCALAR_neg:
    return -x;
  case PRN_SCALAR_sqrt:
    return sqrt(x);
  case PRN_SCALAR_rsqrt:
    return 1 / sqrt(x);
  case PRN_SCALAR_reciprocal:
    return 1 / x;
  case PRN_SCALAR_exp:
    return exp(x);
  case PRN_SCALAR_log:
    return log(x);
  case PRN_SCALAR_erf:
    return erf(x);
  case PRN_SCALAR_gelu:
    return x / 2 * erfc(-x * 0.70710678118654752);
  case PRN_SCALAR_tanh:
    return tanh(x);
  case PRN_SCALAR_sigmoid:
    return 1 / (1 + exp(-x));
  case PRN_SCALAR_relu:
    return x < 0 ? 0 : x;
  case PRN_SCALAR_sin:
    return sin(x);
  case PRN_SCALAR_cos:
    return cos(x);
  case PRN_SCALAR_floor:
    return floor(x);
  case PRN_SCALAR_ceil:
    return ceil(x);
  case PRN_SCALAR_round:
    return nearbyint(x);
  default:
    return NAN;
  }
}

static bool has_float_unary(prn_scalar f) {
  return f <= PRN_SCALAR_cos ||
         (f >= PRN_SCALAR_floor && f <= PRN_SCALAR_round);
}

static double float_binary(prn_scalar f, double x, double y) {
  switch (f) {
  case PRN_SCALAR_add:
    return x + y;
  case PRN_SCALAR_sub:
    return x - y;
  case PRN_SCALAR_mul:
    return x * y;
  case PRN_SCALAR_div:
    return x / y;
  case PRN_SCALAR_pow:
    return pow(x, y);
  case PRN_SCALAR_max:
    return isnan(x) || x > y ? x : y;
  case PRN_SCALAR_min:
    return isnan(x) || x < y ? x : y;
  case PRN_SCALAR_eq:
    return x == y;
  case PRN_SCALAR_ne:
    return x != y;
  case PRN_SCALAR_lt:
    return x < y;
  case PRN_SCALAR_le:
    return x <= y;
  case PRN_SCALAR_gt:
    return x > y;
  default:
    return x >= y; /* ge */
  }
}

static bool has_float_binary(prn_scalar f) {
  return (f >= PRN_SCALAR_add && f <= PRN_SCALAR_min) ||
         (f >= PRN_SCALAR_eq && f <= PRN_SCALAR_ge);
}

/* False where the result does not fit in 64 bits. */
static bool int_binary(prn_scalar f, int64_t x, int64_t y, int64_t *out) {
  switch (f) {
  case PRN_SCALAR_add:
    return prn_add_i64(x, y, out);
  case PRN_SCALAR_sub:
    return !__builtin_sub_overflow(x, y, out);
  case PRN_SCALAR_mul:
    return prn_mul_i64(x, y, out);
  case PRN_SCALAR_div:
    if (y == -1 && x == INT64_MIN) return false;
    *out = y ? x / y : 0;
    return true;
  case PRN_SCALAR_max:
    *out = x > y ? x : y;
    return true;
  case PRN_SCALAR_min:
    *out = x < y ? x : y;
    return true;
  case PRN_SCALAR_eq:
    *out = x == y;
    return true;
  case PRN_SCALAR_ne:
    *out = x != y;
    return true;
  case PRN_SCALAR_lt:
    *out = x < y;
    return true;
  case PRN_SCALAR_le:
    *out = x <= y;
    return true;
  case PRN_SCALAR_gt:
    *out = x > y;
    return true;
  case PRN_SCALAR_ge:
    *out = x >= y;
    return true;
  default:
    return false;
  }
}

/* ---- reading ---- */

/* Element strides of x in the shape of the result, 0 where it repeats. */
static void spread(const prn_type *x, const prn_type *to, int64_t *strides) {
  int64_t step = 1, n;
  for (int32_t d = to->rank - 1, k = x->rank - 1; d >= 0; d--, k--) {
    strides[d] = 0;
    if (k < 0 || !prn_dim_is_const(x->dims[k], &n)) continue;
    if (n != 1) strides[d] = step;
    step *= n;
  }
}

static void sizes_of(const prn_type *t, int64_t *sizes) {
  for (int32_t i = 0; i < t->rank; i++)
    (void)!prn_dim_is_const(t->dims[i], &sizes[i]);
}

/* Steps index over sizes, last dimension first; keeps the offsets of n
 * operands. */
static void advance(int32_t rank, const int64_t *sizes, int64_t *index,
                    uint32_t n, int64_t (*strides)[MAX_RANK], int64_t *at) {
  for (int32_t d = rank - 1; d >= 0; d--) {
    for (uint32_t i = 0; i < n; i++)
      at[i] += strides[i][d];
    if (++index[d] < sizes[d]) return;
    for (uint32_t i = 0; i < n; i++)
      at[i] -= strides[i][d] * sizes[d];
    index[d] = 0;
  }
}

/* ---- elementwise ---- */

typedef struct inputs {
  const prn_tensor *t[3];
  int64_t strides[3][MAX_RANK];
  uint32_t n;
} inputs;

static bool is_real(prn_dtype t) {
  return prn_dtype_is_float(t) && prn_dtype_bits(t) >= 16;
}

static bool is_whole(prn_dtype t) {
  return t == PRN_BOOL || t == PRN_I64 || t == PRN_I32 || t == PRN_I8 ||
         t == PRN_U8 || t == PRN_I16;
}

/* A conversion to a type of is_whole: truncates and saturates, NaN gives 0. */
static int64_t to_whole(double x, prn_dtype t) {
  int bits = (int)prn_dtype_bits(t);
  bool sign = t != PRN_U8;
  double most = ldexp(1, sign ? bits - 1 : bits), least = sign ? -most : 0;
  int64_t last = bits == 64 ? INT64_MAX : (int64_t)most - 1;
  if (isnan(x)) return 0;
  if (x >= most) return last;
  return x <= least ? (sign ? -last - 1 : 0) : (int64_t)x;
}

/* One element; false where it is not known how. */
static bool element(const prn_op *op, const inputs *in, const int64_t *at,
                    double *real, int64_t *whole) {
  double x[3];
  int64_t k[3];
  prn_scalar f = prn_scalar_find(prn_op_string(op, "fn", ""));
  bool floats = is_real(in->t[0]->type->dtype);
  for (uint32_t i = 0; i < in->n; i++) {
    prn_tensor_read_f64(in->t[i], at[i], 1, &x[i]);
    prn_tensor_read_i64(in->t[i], at[i], 1, &k[i]);
  }
  switch (prn_op_code(op)) {
  case PRN_OP_nn_unary:
    *real = float_unary(f, x[0]);
    return floats && has_float_unary(f);
  case PRN_OP_nn_binary:
    if (!floats) return int_binary(f, k[0], k[1], whole);
    *real = float_binary(f, x[0], x[1]);
    *whole = *real != 0;
    return has_float_binary(f);
  case PRN_OP_nn_select:
    *real = k[0] ? x[1] : x[2];
    *whole = k[0] ? k[1] : k[2];
    return true;
  default: /* cast */
    *real = x[0];
    *whole = k[0];
    if (op->results[0].type->dtype == PRN_BOOL)
      *whole = x[0] < 0 || x[0] > 0 || isnan(x[0]);
    else if (floats && is_whole(op->results[0].type->dtype))
      *whole = to_whole(x[0], op->results[0].type->dtype);
    return true;
  }
}

static const prn_tensor *fold_elementwise(prn_ctx *ctx, const prn_op *op) {
  const prn_type *type = op->results[0].type;
  int64_t count, sizes[MAX_RANK], index[MAX_RANK] = {0}, at[3] = {0};
  inputs in = {.n = op->num_operands};
  bool real = is_real(type->dtype);
  if (!prn_type_count(type, &count) || count > MAX_COMPUTED || in.n > 3 ||
      (!real && !is_whole(type->dtype)))
    return NULL;
  for (uint32_t i = 0; i < in.n; i++) {
    in.t[i] = prn_value_constant(op->operands[i].value);
    prn_dtype t = in.t[i]->type->dtype;
    if (!is_real(t) && !is_whole(t)) return NULL;
    spread(in.t[i]->type, type, in.strides[i]);
  }
  sizes_of(type, sizes);
  double *out = PRN_ARENA_ARRAY(&op->module->arena, double, count);
  int64_t *ints = PRN_ARENA_ARRAY(&op->module->arena, int64_t, count);
  for (int64_t i = 0; i < count; i++) {
    if (!element(op, &in, at, &out[i], &ints[i])) return NULL;
    advance(type->rank, sizes, index, in.n, in.strides, at);
  }
  if (real) return prn_nn_tensor(ctx, type, out);
  size_t width = prn_dtype_bits(type->dtype) / 8;
  char *bytes = (char *)out; /* the array is large enough, and done with */
  for (int64_t i = 0; i < count; i++)
    memcpy(bytes + (size_t)i * width, &ints[i], width);
  return prn_tensor_from_data(ctx, type, bytes);
}

/* 16-bit floats as f32: many at a time. */
static const prn_tensor *fold_widening(prn_ctx *ctx, const prn_op *op) {
  const prn_tensor *x = prn_value_constant(op->operands[0].value);
  const prn_type *type = prn_nn_plain(ctx, op->results[0].type);
  int64_t count = prn_tensor_count(x);
  prn_dtype from = x->type->dtype;
  const prn_blob *blob;
  void *data;
  if ((from != PRN_F16 && from != PRN_BF16) || type->dtype != PRN_F32 ||
      count > MAX_MOVED ||
      prn_blob_scratch(ctx, (size_t)count * sizeof(float), &blob, &data) !=
          PRN_OK)
    return NULL;
  prn_tensor_read_f32(x, 0, count, data);
  prn_tensor t = {.type = type, .data = blob, .name = x->name};
  return prn_tensor_clone(ctx, &t);
}

/* ---- moved ---- */

typedef struct moved {
  const prn_type *type;
  size_t width;
  char *to;
} moved;

/* to[...] = from at base + index * strides, `to` being dense. */
static void gather(const moved *m, const char *from, int64_t base,
                   int64_t (*strides)[MAX_RANK]) {
  int64_t sizes[MAX_RANK], index[MAX_RANK] = {0}, count = 0, at = base;
  (void)!prn_type_count(m->type, &count);
  sizes_of(m->type, sizes);
  for (int64_t i = 0; i < count; i++) {
    memcpy(m->to + (size_t)i * m->width, from + (size_t)at * m->width,
           m->width);
    advance(m->type->rank, sizes, index, 1, strides, &at);
  }
}

/* The strides that op reads its operand with, and where it starts. */
static bool reading(const prn_op *op, const prn_type *x, int64_t *strides,
                    int64_t *base) {
  const prn_type *to = op->results[0].type;
  int64_t dense[MAX_RANK], v;
  size_t n;
  spread(x, x, dense);
  *base = 0;
  if (prn_op_is(op, PRN_OP_nn_broadcast)) {
    spread(x, to, strides);
    return true;
  }
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  const int64_t *steps = prn_op_ints(op, "steps", &n);
  for (int32_t i = 0; i < to->rank; i++) {
    strides[i] = perm ? dense[perm[i]] : dense[i] * steps[i];
    if (perm) continue;
    prn_dim d = prn_nn_list_dim(prn_op_attr(op, "starts"), (uint32_t)i);
    if (!d || !prn_dim_is_const(d, &v)) return false;
    *base += v * dense[i];
  }
  return true;
}

/* All bytes of t, its mask applied; from the arena. */
static const char *bytes_of(const prn_op *op, const prn_tensor *t) {
  int64_t n = prn_tensor_count(t);
  size_t size = 0;
  if (!t->mask) return t->data->data;
  (void)!prn_dtype_bytes(t->type->dtype, n, &size);
  char *copy = prn_arena_alloc(&op->module->arena, size + 1);
  prn_tensor_read_bytes(t, 0, n, copy);
  return copy;
}

static void concat(const moved *m, const prn_op *op) {
  int64_t axis = prn_op_int(op, "axis", 0), outer = 1, inner = 1, d;
  char *to = m->to;
  for (int32_t i = 0; i < m->type->rank; i++)
    if (prn_dim_is_const(m->type->dims[i], &d) && i != axis)
      *(i < axis ? &outer : &inner) *= d;
  const char **from =
      PRN_ARENA_ARRAY(&op->module->arena, const char *, op->num_operands);
  for (uint32_t i = 0; i < op->num_operands; i++)
    from[i] = bytes_of(op, prn_value_constant(op->operands[i].value));
  for (int64_t o = 0; o < outer; o++)
    for (uint32_t i = 0; i < op->num_operands; i++) {
      (void)!prn_dim_is_const(op->operands[i].value->type->dims[axis], &d);
      size_t run = (size_t)(d * inner) * m->width;
      memcpy(to, from[i] + (size_t)o * run, run);
      to += run;
    }
}

/* A transposed matrix is packed as it lies when only products read it. */
static bool only_products(const prn_op *op) {
  if (op->results[0].type->rank != 2) return false;
  PRN_EACH_USE(u, &op->results[0])
    if (!prn_op_is(u->owner, PRN_OP_nn_matmul) || prn_use_index(u) != 1)
      return false;
  return true;
}

static const prn_tensor *fold_moved(prn_ctx *ctx, const prn_op *op) {
  const prn_tensor *x = prn_value_constant(op->operands[0].value);
  moved m = {.type = prn_nn_plain(ctx, op->results[0].type)};
  int64_t strides[1][MAX_RANK], base, count;
  const prn_blob *blob;
  void *data;
  bool repeats = prn_op_is(op, PRN_OP_nn_broadcast);
  m.width = prn_dtype_bits(m.type->dtype) / 8;
  if (m.width == 0 || !prn_type_count(m.type, &count) ||
      count > (repeats ? MAX_SMALL : MAX_MOVED))
    return NULL;
  if (prn_op_is(op, PRN_OP_nn_transpose) && count > MAX_SMALL &&
      only_products(op))
    return NULL;
  bool joins = prn_op_is(op, PRN_OP_nn_concat);
  if (!joins && !reading(op, x->type, strides[0], &base)) return NULL;
  if (prn_blob_scratch(ctx, (size_t)count * m.width, &blob, &data) != PRN_OK)
    return NULL;
  m.to = data;
  if (joins)
    concat(&m, op);
  else
    gather(&m, bytes_of(op, x), base, strides);
  prn_tensor t = {.type = m.type, .data = blob, .name = x->name};
  return prn_tensor_clone(ctx, &t);
}

const prn_tensor *prn_nn_fold(prn_ctx *ctx, const prn_op *op) {
  if (op->num_operands == 0 || op->num_results != 1) return NULL;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_tensor *t = prn_value_constant(op->operands[i].value);
    if (!t || !t->data) return NULL;
  }
  switch (prn_op_code(op)) {
  case PRN_OP_nn_unary:
  case PRN_OP_nn_binary:
  case PRN_OP_nn_select:
    return fold_elementwise(ctx, op);
  case PRN_OP_nn_cast: {
    const prn_tensor *t = fold_widening(ctx, op);
    return t ? t : fold_elementwise(ctx, op);
  }
  case PRN_OP_nn_transpose:
  case PRN_OP_nn_slice:
  case PRN_OP_nn_broadcast:
  case PRN_OP_nn_concat:
    return fold_moved(ctx, op);
  default:
    return NULL;
  }
}
