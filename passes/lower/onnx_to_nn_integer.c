/* onnx -> nn: products of bytes, and of floats of a byte.
 *
 * A quantised product is a sum over (a - a0)(w - w0) times a scale for each
 * result. With constant weights it is computed on the integers as they come:
 *
 *   sum (a - a0) v = sum a v - a0 sum v,   v = w - w0, by result
 *
 * where a is made unsigned (moving its zero point along) and v must fit in
 * signed bytes. It is the same whether a model says so with operators on
 * integers (QLinearMatMul, MatMulInteger) or with DequantizeLinear before a
 * product of floats. Dequantised float8 is multiplied as it is stored where the
 * backend can, and scaled afterwards. */
#include <string.h>

#include "passes/lower/onnx_to_nn.h"

enum { MIDDLE = 128 }; /* what makes a signed byte unsigned */

static bool is_byte(prn_dtype t) { return t == PRN_U8 || t == PRN_I8; }

/* ---- weights ---- */

/* Weights as outer x results x inner elements in memory. */
typedef struct matrix {
  const prn_tensor *w, *zero; /* zero: NULL, one element, or one a result */
  int64_t outer, results, inner;
} matrix;

static bool all_zeros(const prn_tensor *t) {
  double v = 0;
  int64_t n = prn_tensor_count(t);
  for (int64_t i = 0; i < n && !(v < 0 || v > 0); i++)
    prn_tensor_read_f64(t, i, 1, &v);
  return !(v < 0 || v > 0);
}

static bool read_matrix(const prn_tensor *w, const prn_tensor *zero,
                        int32_t axis, matrix *m) {
  *m = (matrix){w, zero, 1, 1, 1};
  if (!is_byte(w->type->dtype)) return false;
  for (int32_t i = 0; i < w->type->rank; i++) {
    int64_t d, *n = i < axis ? &m->outer : i == axis ? &m->results : &m->inner;
    if (!prn_dim_is_const(w->type->dims[i], &d)) return false;
    *n *= d;
  }
  int64_t zeros = zero ? prn_tensor_count(zero) : 1;
  if (zero && all_zeros(zero)) m->zero = NULL;
  return prn_tensor_count(w) > 0 && (zeros == 1 || zeros == m->results);
}

/* Calls fn for runs of neighbours, less their zero points. */
typedef void run_fn(void *user, const matrix *m, int64_t at, const float *v,
                    int64_t n);

static int64_t result_of(const matrix *m, int64_t at) {
  return at / m->inner % m->results;
}

static void subtract_zeros(const matrix *m, int64_t at, float *v, int64_t n) {
  float zero = 0;
  bool many = prn_tensor_count(m->zero) > 1;
  prn_tensor_read_f32(m->zero, 0, 1, &zero);
  for (int64_t k = 0; k < n; k++) {
    if (many) prn_tensor_read_f32(m->zero, result_of(m, at + k), 1, &zero);
    v[k] -= zero;
  }
}

static void each_run(const matrix *m, run_fn *fn, void *user) {
  enum { RUN = 512 };
  float v[RUN];
  int64_t count = prn_tensor_count(m->w);
  for (int64_t at = 0; at < count; at += RUN) {
    int64_t n = count - at < RUN ? count - at : RUN;
    prn_tensor_read_f32(m->w, at, n, v);
    if (m->zero) subtract_zeros(m, at, v, n);
    fn(user, m, at, v, n);
  }
}

static void find_range(void *user, const matrix *m, int64_t at, const float *v,
                       int64_t n) {
  float *range = user;
  (void)m;
  (void)at;
  for (int64_t k = 0; k < n; k++) {
    if (v[k] < range[0]) range[0] = v[k];
    if (v[k] > range[1]) range[1] = v[k];
  }
}

static bool fits_signed_bytes(const matrix *m) {
  float range[2] = {0, 0};
  if (!m->zero && m->w->type->dtype == PRN_I8) return true;
  each_run(m, find_range, range);
  return range[0] >= -MIDDLE && range[1] < MIDDLE;
}

static void store_bytes(void *user, const matrix *m, int64_t at, const float *v,
                        int64_t n) {
  signed char *to = (signed char *)user + at;
  (void)m;
  for (int64_t k = 0; k < n; k++)
    to[k] = (signed char)v[k];
}

/* w less its zero points as signed bytes: w itself where they are 0. */
static prn_status signed_bytes(prn_ctx *ctx, const matrix *m,
                               const prn_tensor **out) {
  const prn_blob *blob;
  void *data;
  size_t size = (size_t)prn_tensor_count(m->w);
  *out = m->w;
  if (m->w->type->dtype == PRN_I8 && !m->zero) return PRN_OK;
  PRN_TRY(prn_blob_scratch(ctx, size, &blob, &data));
  each_run(m, store_bytes, data);
  prn_tensor t = {.type = prn_type_with_dtype(ctx, m->w->type, PRN_I8),
                  .data = blob,
                  .name = m->w->name};
  *out = prn_tensor_clone(ctx, &t);
  return PRN_OK;
}

static void add_up(void *user, const matrix *m, int64_t at, const float *v,
                   int64_t n) {
  double *sums = user;
  int64_t result = result_of(m, at), left = m->inner - at % m->inner;
  for (int64_t k = 0; k < n; k++) {
    sums[result] += (double)v[k];
    if (--left) continue;
    left = m->inner;
    result = result + 1 == m->results ? 0 : result + 1;
  }
}

/* The sum of every result's weights, i32, with trailing dimensions of 1. */
static prn_value *sums_of(prn_o2n *e, const matrix *m, int32_t trailing) {
  prn_dim dims[PRN_NN_MAX_RANK];
  double *sums = prn_alloc(prn_array_size(sizeof *sums, (size_t)m->results));
  for (int64_t i = 0; i < m->results; i++)
    sums[i] = 0;
  each_run(m, add_up, sums);
  dims[0] = prn_dim_const(e->ctx, m->results);
  for (int32_t i = 1; i <= trailing; i++)
    dims[i] = prn_dim_const(e->ctx, 1);
  const prn_type *t = prn_type_tensor(e->ctx, PRN_I32, trailing + 1, dims);
  const prn_tensor *c = prn_nn_tensor(e->ctx, t, sums);
  prn_free(sums);
  return prn_nn_constant(&e->b, c);
}

/* ---- the product ---- */

static bool one_element(const prn_type *t) {
  return t->rank == 0 || (t->rank == 1 && prn_dim_is(t->dims[0], 1));
}

/* A convolution that is a matrix product at every position. */
static bool is_pointwise(const prn_op *op, const prn_type *x, const prn_type *w,
                         const prn_type *y) {
  size_t n;
  const int64_t *strides = prn_op_ints(op, "strides", &n);
  for (int32_t i = 2; i < x->rank; i++)
    if (!prn_dim_is(w->dims[i], 1) || x->dims[i] != y->dims[i] ||
        (strides && strides[i - 2] != 1))
      return false;
  return true;
}

/* What the kernel takes of others: one or two dimensions, known sizes. */
static bool is_window(const prn_type *x, const prn_type *y) {
  int64_t n;
  if (x->rank > 4) return false;
  for (int32_t i = 1; i < x->rank; i++)
    if (!prn_dim_is_const(x->dims[i], &n) || !prn_dim_is_const(y->dims[i], &n))
      return false;
  return true;
}

/* Padding must be the zero point, which a window has to know. */
static bool takes_conv(const prn_op *op, const prn_o2n_bytes *p) {
  const prn_type *x = p->a->type, *w = p->w->type, *y = op->results[0].type;
  if (prn_op_int(op, "group", 1) != 1 || x->rank < 3 || x->rank != w->rank ||
      y->rank != x->rank)
    return false;
  return is_pointwise(op, x, w, y) ||
         ((!p->a_zero || prn_value_constant(p->a_zero)) && is_window(x, y));
}

/* Unsigned bytes whose zero point is *zero (NULL: 0), an i32. */
static prn_value *unsigned_bytes(prn_o2n *e, prn_value *a, prn_value **zero) {
  prn_nn *b = &e->b;
  if (*zero) *zero = prn_nn_cast(b, *zero, PRN_I32);
  if (a->type->dtype == PRN_U8) return a;
  a = prn_nn_with(b, PRN_SCALAR_add, prn_nn_cast(b, a, PRN_I32), MIDDLE);
  *zero = *zero ? prn_nn_with(b, PRN_SCALAR_add, *zero, MIDDLE)
                : prn_nn_scalar(b, PRN_I32, MIDDLE);
  return prn_nn_cast(b, a, PRN_U8);
}

static prn_value *transposed(prn_o2n *e, prn_value *x) {
  static const int64_t swap[2] = {1, 0};
  return prn_nn_transpose(&e->b, x, swap);
}

static bool is_conv(const prn_o2n_bytes *p) { return p->w->type->rank > 2; }

static int32_t result_axis(const prn_o2n_bytes *p) {
  return is_conv(p) || p->nk ? 0 : 1;
}

/* The zero point of what a became. */
static void set_fill(prn_o2n *e, prn_op *conv, const prn_o2n_bytes *p) {
  const prn_tensor *zero = prn_value_constant(p->a_zero);
  int64_t fill = 0;
  if (zero) prn_tensor_read_i64(zero, 0, 1, &fill);
  if (p->a->type->dtype == PRN_I8) fill += MIDDLE;
  if (fill) prn_op_set_attr(conv, "fill", prn_attr_int(e->ctx, fill));
}

bool prn_o2n_takes_bytes(const prn_op *op, const prn_o2n_bytes *p) {
  const prn_tensor *w = prn_value_constant(p->w);
  const prn_tensor *zero = prn_value_constant(p->w_zero);
  int32_t rank = p->a->type->rank;
  matrix m;
  if (!w || (p->w_zero && !zero) || !is_byte(p->a->type->dtype)) return false;
  if (w->type->rank < 2 || rank < 2) return false;
  if (p->a_zero && !one_element(p->a_zero->type)) return false;
  if (is_conv(p) && !takes_conv(op, p)) return false;
  return read_matrix(w, zero, result_axis(p), &m) && fits_signed_bytes(&m);
}

prn_status prn_o2n_bytes_product(prn_o2n *e, prn_op *op, const prn_o2n_bytes *p,
                                 prn_value **out) {
  const prn_tensor *w;
  matrix m;
  prn_value *zero = p->a_zero ? prn_o2n_value(e, p->a_zero) : NULL;
  prn_value *a = unsigned_bytes(e, prn_o2n_value(e, p->a), &zero);
  (void)read_matrix(prn_value_constant(p->w), prn_value_constant(p->w_zero),
                    result_axis(p), &m);
  PRN_TRY(signed_bytes(e->ctx, &m, &w));
  prn_value *weights = prn_nn_constant(&e->b, w);
  if (is_conv(p)) {
    PRN_TRY(prn_o2n_conv(e, op, a, weights, out));
    set_fill(e, (*out)->def, p);
  } else {
    if (p->nk) weights = transposed(e, weights);
    *out = prn_nn_matmul(&e->b, a, weights, PRN_I32);
  }
  if (!zero) return PRN_OK;
  prn_value *sums = sums_of(e, &m, is_conv(p) ? p->w->type->rank - 2 : 0);
  sums = prn_nn_binary(&e->b, PRN_SCALAR_mul, zero, sums);
  *out = prn_nn_binary(&e->b, PRN_SCALAR_sub, *out, sums);
  return PRN_OK;
}

/* ---- products of dequantised operands ---- */

/* The DequantizeLinear behind operand i, with one scale (and zero point), or as
 * many along `axis` as there are results; NULL: none. */
static const prn_op *dequantize(const prn_op *op, uint32_t i, int32_t axis) {
  const prn_value *v = prn_op_operand(op, i);
  const prn_op *q = v ? v->def : NULL;
  if (!q || !prn_op_is(q, PRN_OP_onnx_DequantizeLinear)) return NULL;
  const prn_type *x = prn_op_operand(q, 0)->type;
  const prn_type *scale = prn_op_operand(q, 1)->type;
  if (prn_op_int(q, "block_size", 0) || scale->dtype != PRN_F32 ||
      v->type->dtype != PRN_F32)
    return NULL;
  if (one_element(scale)) return q;
  int64_t at = prn_op_int(q, "axis", 1);
  return axis >= 0 && scale->rank == 1 && (at < 0 ? at + x->rank : at) == axis
             ? q
             : NULL;
}

/* Whether op multiplies something dequantised by something dequantised. */
static bool read_dequantised(const prn_op *op, prn_o2n_bytes *p,
                             const prn_op **a, const prn_op **w) {
  bool gemm = prn_op_is(op, PRN_OP_onnx_Gemm);
  bool conv = prn_op_is(op, PRN_OP_onnx_Conv);
  bool nk = gemm && prn_op_int(op, "transB", 0);
  if (!gemm && !conv && !prn_op_is(op, PRN_OP_onnx_MatMul)) return false;
  if (gemm && prn_op_int(op, "transA", 0)) return false;
  *a = dequantize(op, 0, -1);
  *w = dequantize(op, 1, conv || nk ? 0 : 1);
  if (!*a || !*w) return false;
  *p = (prn_o2n_bytes){prn_op_operand(*a, 0), prn_op_operand(*a, 2),
                       prn_op_operand(*w, 0), prn_op_operand(*w, 2), nk};
  return true;
}

static bool is_nothing(const prn_value *zero) {
  const prn_tensor *t = prn_value_constant(zero);
  return !zero || (t && all_zeros(t));
}

/* Floats of one byte, which have no zero point, by a constant matrix. */
static bool takes_float8(const prn_o2n *e, const prn_o2n_bytes *p) {
  const prn_tensor *w = prn_value_constant(p->w);
  prn_dtype t = p->a->type->dtype;
  return e->float8 && w && w->type->rank == 2 && p->a->type->rank >= 2 &&
         prn_dtype_is_ofp8(t) && w->type->dtype == t &&
         prn_tensor_count(w) > 0 && is_nothing(p->a_zero) &&
         is_nothing(p->w_zero);
}

static bool is_stored_product(const prn_o2n *e, const prn_op *op,
                              prn_o2n_bytes *p, const prn_op **a,
                              const prn_op **w) {
  return read_dequantised(op, p, a, w) &&
         (prn_o2n_takes_bytes(op, p) || takes_float8(e, p));
}

bool prn_o2n_only_stored(const prn_o2n *e, const prn_op *q) {
  const prn_op *a, *w;
  prn_o2n_bytes p;
  PRN_EACH_USE(use, &q->results[0])
    if (!is_stored_product(e, use->owner, &p, &a, &w) || w != q) return false;
  return true;
}

static prn_value *float8_product(prn_o2n *e, const prn_o2n_bytes *p) {
  prn_value *w = prn_nn_constant(&e->b, prn_value_constant(p->w));
  if (p->nk) w = transposed(e, w);
  return prn_nn_matmul(&e->b, prn_o2n_value(e, p->a), w, PRN_F32);
}

prn_status prn_o2n_dequantised_product(prn_o2n *e, prn_op *op,
                                       prn_value **out) {
  const prn_op *a, *w;
  prn_o2n_bytes p;
  *out = NULL;
  if (!is_stored_product(e, op, &p, &a, &w)) return PRN_OK;
  if (takes_float8(e, &p))
    *out = float8_product(e, &p);
  else
    PRN_TRY(prn_o2n_bytes_product(e, op, &p, out));
  int32_t rank = (*out)->type->rank, axis = is_conv(&p) ? 1 : rank - 1;
  prn_value *of_a = prn_o2n_along(e, prn_o2n_in(e, a, 1), axis, rank);
  prn_value *of_w = prn_o2n_along(e, prn_o2n_in(e, w, 1), axis, rank);
  prn_value *scale = prn_nn_binary(&e->b, PRN_SCALAR_mul, of_a, of_w);
  *out = prn_nn_cast(&e->b, *out, PRN_F32);
  *out = prn_nn_binary(&e->b, PRN_SCALAR_mul, *out, scale);
  return PRN_OK;
}
