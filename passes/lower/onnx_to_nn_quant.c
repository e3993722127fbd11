/* onnx -> nn: quantised operators, as the formulas that define them.
 *
 * Products that cannot be computed on bytes (onnx_to_nn_integer.c) are
 * computed on the integers' float values, which are exact as long as sums stay
 * below 2^24. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* ---- parameters ---- */

prn_value *prn_o2n_along(prn_o2n *e, prn_value *p, int32_t axis, int32_t rank) {
  prn_dim dims[MAX_RANK];
  int64_t n;
  if (!p || p->type->rank != 1) return p;
  if (prn_dim_is_const(p->type->dims[0], &n) && n == 1)
    return prn_nn_reshape_dims(&e->b, p, 0, NULL);
  dims[0] = p->type->dims[0];
  for (int32_t i = 1; i < rank - axis; i++)
    dims[i] = prn_dim_const(e->ctx, 1);
  return prn_nn_reshape_dims(&e->b, p, rank - axis, dims);
}

/* x with dimension `axis` cut into blocks: [.., n/block, block, ..]; with
 * block 1 that is the shape of a blocked scale. */
static prn_value *cut_blocks(prn_o2n *e, prn_value *x, int32_t axis,
                             int64_t block) {
  prn_dim dims[MAX_RANK + 1];
  const prn_type *t = x->type;
  prn_dim size = prn_dim_const(e->ctx, block);
  for (int32_t i = 0, k = 0; i < t->rank; i++) {
    dims[k++] =
        i == axis ? prn_dim_floordiv(e->ctx, t->dims[i], size) : t->dims[i];
    if (i == axis) dims[k++] = size;
  }
  return prn_nn_reshape_dims(&e->b, x, t->rank + 1, dims);
}

/* x + zero, rounded already, as an integer; the conversion saturates. */
static prn_value *saturate(prn_o2n *e, prn_value *x, prn_value *zero,
                           prn_dtype to) {
  if (zero)
    x = binary(e, PRN_SCALAR_add, x, prn_nn_cast(&e->b, zero, x->type->dtype));
  return prn_nn_cast(&e->b, x, to);
}

/* The integers minus their zero point, as floats. */
static prn_value *centred(prn_o2n *e, prn_value *x, prn_value *zero,
                          prn_dtype to) {
  x = prn_nn_cast(&e->b, x, to);
  if (!zero) return x;
  return binary(e, PRN_SCALAR_sub, x, prn_nn_cast(&e->b, zero, to));
}

prn_value *prn_o2n_dequantized(prn_o2n *e, prn_value *x, prn_value *scale,
                               prn_value *zero) {
  x = centred(e, x, zero, scale->type->dtype);
  return binary(e, PRN_SCALAR_mul, x, scale);
}

prn_value *prn_o2n_quantized(prn_o2n *e, prn_value *x, prn_value *scale,
                             prn_value *zero, prn_dtype to) {
  x = binary(e, PRN_SCALAR_div, x, prn_nn_cast(&e->b, scale, x->type->dtype));
  x = prn_nn_unary(&e->b, PRN_SCALAR_round, x);
  return saturate(e, x, zero, to);
}

/* ---- DequantizeLinear of constants ---- */

typedef struct grid {
  const prn_tensor *x, *scale, *zero;
  int64_t outer, axis, inner; /* sizes around the axis */
  int64_t per;                /* elements of the axis that share a scale */
  int64_t scales;             /* along the axis; 1 with outer, inner folded */
  bool scalar;
} grid;

/* Index of the scale of element (o, a, i). */
static int64_t scale_index(const grid *g, int64_t o, int64_t a, int64_t i,
                           bool blocked) {
  if (g->scalar) return 0;
  int64_t at = a / g->per;
  return blocked ? (o * g->scales + at) * g->inner + i : at;
}

static bool read_grid(const prn_op *op, int32_t axis, int64_t block, grid *g) {
  *g = (grid){prn_value_constant(prn_op_operand(op, 0)),
              prn_value_constant(prn_op_operand(op, 1)),
              prn_value_constant(prn_op_operand(op, 2)),
              1,
              1,
              1,
              1,
              1,
              false};
  int64_t d;
  if (!g->x || !g->scale || (prn_op_operand(op, 2) && !g->zero)) return false;
  const prn_type *t = g->x->type;
  for (int32_t i = 0; i < t->rank; i++) {
    if (!prn_dim_is_const(t->dims[i], &d)) return false;
    *(i < axis ? &g->outer : i == axis ? &g->axis : &g->inner) *= d;
  }
  int64_t count = prn_tensor_count(g->scale);
  g->scalar = count == 1;
  g->per = block > 0 ? block : 1;
  g->scales = (g->axis + g->per - 1) / g->per;
  int64_t expected = block > 0 ? g->outer * g->scales * g->inner : g->axis;
  if (g->zero && prn_tensor_count(g->zero) != count) return false;
  return g->scalar || count == expected;
}

/* The float constant itself, row by row of the axis. */
static prn_status dequantize_constant(prn_o2n *e, const prn_type *type,
                                      const grid *g, bool blocked,
                                      const prn_tensor **out) {
  const prn_blob *blob;
  void *data;
  int64_t count = prn_tensor_count(g->x);
  PRN_TRY(prn_blob_scratch(e->ctx, (size_t)count * 4, &blob, &data));
  float *to = data;
  for (int64_t o = 0; o < g->outer; o++)
    for (int64_t a = 0; a < g->axis; a++)
      for (int64_t i = 0; i < g->inner; i++) {
        int64_t at = (o * g->axis + a) * g->inner + i;
        int64_t s = scale_index(g, o, a, i, blocked);
        double x, scale, zero = 0;
        prn_tensor_read_f64(g->x, at, 1, &x);
        prn_tensor_read_f64(g->scale, s, 1, &scale);
        if (g->zero) prn_tensor_read_f64(g->zero, s, 1, &zero);
        to[at] = (float)(x - zero) * (float)scale;
      }
  prn_tensor t = {.type = type, .data = blob, .name = g->x->name};
  *out = prn_tensor_clone(e->ctx, &t);
  return PRN_OK;
}

static prn_status lower_dequantize(prn_o2n *e, prn_op *op) {
  const prn_type *t = prn_op_operand(op, 0)->type;
  const prn_type *type = prn_o2n_out(e, op, 0);
  int64_t block = prn_op_int(op, "block_size", 0);
  int32_t axis = 0;
  grid g;
  if (t->rank > 0 && (block > 0 || prn_op_operand(op, 1)->type->rank > 0))
    PRN_TRY(prn_o2n_axis(op, "axis", 1, t->rank, &axis));
  if (type->dtype == PRN_F32 && read_grid(op, axis, block, &g) &&
      !prn_o2n_only_stored(e, op)) {
    const prn_tensor *folded;
    PRN_TRY(dequantize_constant(e, type, &g, block > 0, &folded));
    return prn_o2n_set(e, op, 0, prn_nn_constant(&e->b, folded));
  }
  prn_value *x = prn_o2n_in(e, op, 0), *scale = prn_o2n_in(e, op, 1);
  prn_value *zero = prn_o2n_in(e, op, 2);
  if (block > 0) {
    if (t->rank >= MAX_RANK)
      return prn_o2n_unsupported(op, "%d dimensions", (int)t->rank);
    x = cut_blocks(e, x, axis, block);
    scale = cut_blocks(e, scale, axis, 1);
    if (zero) zero = cut_blocks(e, zero, axis, 1);
  } else {
    scale = prn_o2n_along(e, scale, axis, t->rank);
    zero = prn_o2n_along(e, zero, axis, t->rank);
  }
  x = prn_o2n_dequantized(e, x, scale, zero);
  return prn_o2n_set_shape(e, op, 0, prn_nn_cast(&e->b, x, type->dtype));
}

static prn_status lower_quantize(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *scale = prn_o2n_in(e, op, 1);
  prn_value *zero = prn_o2n_in(e, op, 2);
  const prn_type *type = prn_o2n_out(e, op, 0);
  int64_t block = prn_op_int(op, "block_size", 0);
  int32_t axis = 0, rank = x->type->rank;
  if (rank > 0 && (block > 0 || scale->type->rank > 0))
    PRN_TRY(prn_o2n_axis(op, "axis", 1, rank, &axis));
  if (block > 0) {
    if (rank >= MAX_RANK)
      return prn_o2n_unsupported(op, "%d dimensions", (int)rank);
    x = cut_blocks(e, x, axis, block);
    scale = cut_blocks(e, scale, axis, 1);
    if (zero) zero = cut_blocks(e, zero, axis, 1);
  } else {
    scale = prn_o2n_along(e, scale, axis, rank);
    zero = prn_o2n_along(e, zero, axis, rank);
  }
  if (prn_dtype_is_float(type->dtype)) { /* zero points are 0 */
    x = binary(e, PRN_SCALAR_div, x, prn_nn_cast(&e->b, scale, x->type->dtype));
    return prn_o2n_set_shape(e, op, 0, prn_o2n_cast(e, op, x, type->dtype));
  }
  return prn_o2n_set_shape(e, op, 0,
                           prn_o2n_quantized(e, x, scale, zero, type->dtype));
}

/* y_scale = (max - min) / 255 over x and 0; y_zero_point = round(-min/scale),
 * saturated; y as QuantizeLinear. */
static prn_status lower_dynamic_quantize(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  int64_t axes[MAX_RANK];
  for (int32_t i = 0; i < x->type->rank; i++)
    axes[i] = i;
  size_t n = (size_t)x->type->rank;
  prn_value *lo = prn_nn_reduce(&e->b, "min", x, axes, n);
  prn_value *hi = prn_nn_reduce(&e->b, "max", x, axes, n);
  lo = prn_nn_reshape_dims(&e->b, lo, 0, NULL);
  hi = prn_nn_reshape_dims(&e->b, hi, 0, NULL);
  lo = prn_nn_with(&e->b, PRN_SCALAR_min, lo, 0);
  hi = prn_nn_with(&e->b, PRN_SCALAR_max, hi, 0);
  prn_value *scale = binary(e, PRN_SCALAR_sub, hi, lo);
  scale = prn_nn_with(&e->b, PRN_SCALAR_div, scale, 255);
  prn_value *zero = prn_nn_unary(&e->b, PRN_SCALAR_neg, lo);
  zero = prn_o2n_quantized(e, zero, scale, NULL, PRN_U8);
  PRN_TRY(prn_o2n_set(e, op, 0, prn_o2n_quantized(e, x, scale, zero, PRN_U8)));
  PRN_TRY(prn_o2n_set(e, op, 1, scale));
  return prn_o2n_set(e, op, 2, zero);
}

/* ---- integer products ---- */

/* A zero point or scale of the rows of a matrix: one for each. */
static prn_value *of_rows(prn_o2n *e, prn_value *p, int32_t rank) {
  return prn_o2n_along(e, p, rank - 2, rank);
}

prn_status prn_o2n_matrix_product(prn_o2n *e, prn_op *op, prn_o2n_slots s,
                                  prn_value **out) {
  static const int64_t swap[2] = {1, 0};
  prn_o2n_bytes p = {prn_op_operand(op, s.a), prn_op_operand(op, s.a_zero),
                     prn_op_operand(op, s.w), prn_op_operand(op, s.w_zero),
                     s.nk};
  if (!s.km && prn_o2n_takes_bytes(op, &p))
    return prn_o2n_bytes_product(e, op, &p, out);
  prn_value *a = prn_o2n_in(e, op, s.a), *b = prn_o2n_in(e, op, s.w);
  prn_value *b_zero = prn_o2n_in(e, op, s.w_zero);
  if (a->type->rank < 2 || b->type->rank < 2)
    return prn_o2n_unsupported(op, "vectors");
  if (s.nk) b_zero = prn_o2n_along(e, b_zero, 0, 2);
  a = centred(e, a, of_rows(e, prn_o2n_in(e, op, s.a_zero), a->type->rank),
              PRN_F32);
  b = centred(e, b, b_zero, PRN_F32);
  if (s.km) a = prn_nn_transpose(&e->b, a, swap);
  if (s.nk) b = prn_nn_transpose(&e->b, b, swap);
  *out = prn_nn_matmul(&e->b, a, b, PRN_F32);
  return PRN_OK;
}

static prn_status conv_product(prn_o2n *e, prn_op *op, prn_o2n_slots s,
                               prn_value **out) {
  prn_o2n_bytes p = {prn_op_operand(op, s.a), prn_op_operand(op, s.a_zero),
                     prn_op_operand(op, s.w), prn_op_operand(op, s.w_zero),
                     false};
  if (prn_o2n_takes_bytes(op, &p)) return prn_o2n_bytes_product(e, op, &p, out);
  prn_value *x = prn_o2n_in(e, op, s.a), *w = prn_o2n_in(e, op, s.w);
  int32_t rank = x->type->rank;
  x = centred(e, x, prn_o2n_along(e, prn_o2n_in(e, op, s.a_zero), 1, rank),
              PRN_F32);
  w = centred(e, w, prn_o2n_along(e, prn_o2n_in(e, op, s.w_zero), 0, rank),
              PRN_F32);
  return prn_o2n_conv(e, op, x, w, out);
}

static prn_status lower_matmul_integer(prn_o2n *e, prn_op *op) {
  prn_value *y;
  PRN_TRY(prn_o2n_matrix_product(
      e, op, (prn_o2n_slots){0, 2, 1, 3, false, false}, &y));
  return prn_o2n_set(e, op, 0,
                     prn_nn_cast(&e->b, y, op->results[0].type->dtype));
}

/* round(sums * scale) + zero, saturated. */
static prn_status requantise(prn_o2n *e, prn_op *op, prn_value *sums,
                             prn_value *scale, prn_value *zero) {
  sums = prn_nn_cast(&e->b, sums, PRN_F32);
  sums = binary(e, PRN_SCALAR_mul, sums, scale);
  sums = prn_nn_unary(&e->b, PRN_SCALAR_round, sums);
  return prn_o2n_set(e, op, 0,
                     saturate(e, sums, zero, op->results[0].type->dtype));
}

/* a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero. */
static prn_status lower_qlinear_matmul(prn_o2n *e, prn_op *op) {
  prn_value *y, *v[8];
  for (uint32_t i = 0; i < 8; i++)
    v[i] = prn_o2n_in(e, op, i);
  PRN_TRY(prn_o2n_matrix_product(
      e, op, (prn_o2n_slots){0, 2, 3, 5, false, false}, &y));
  prn_value *s =
      binary(e, PRN_SCALAR_mul,
             of_rows(e, prn_nn_cast(&e->b, v[1], PRN_F32), v[0]->type->rank),
             prn_nn_cast(&e->b, v[4], PRN_F32));
  s = binary(e, PRN_SCALAR_div, s, prn_nn_cast(&e->b, v[6], PRN_F32));
  return requantise(e, op, y, s, v[7]);
}

static prn_status lower_conv_integer(prn_o2n *e, prn_op *op) {
  prn_value *y;
  PRN_TRY(conv_product(e, op, (prn_o2n_slots){0, 2, 1, 3, false, false}, &y));
  if (y->type->dtype == PRN_F32)
    prn_op_set_attr(y->def, "precision",
                    prn_attr_string(e->ctx, PRN_STR("exact")));
  return prn_o2n_set(e, op, 0,
                     prn_nn_cast(&e->b, y, op->results[0].type->dtype));
}

/* x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias. */
static prn_status lower_qlinear_conv(prn_o2n *e, prn_op *op) {
  prn_value *v[9], *y;
  for (uint32_t i = 0; i < 9; i++)
    v[i] = prn_o2n_in(e, op, i);
  int32_t rank = v[0]->type->rank;
  PRN_TRY(conv_product(e, op, (prn_o2n_slots){0, 2, 3, 5, false, false}, &y));
  if (v[8])
    y = binary(
        e, PRN_SCALAR_add, y,
        prn_o2n_along(e, prn_nn_cast(&e->b, v[8], y->type->dtype), 1, rank));
  prn_value *s =
      binary(e, PRN_SCALAR_mul, v[1], prn_o2n_along(e, v[4], 1, rank));
  return requantise(e, op, y, binary(e, PRN_SCALAR_div, s, v[6]), v[7]);
}

const prn_o2n_row prn_o2n_quant[] = {
    {"DequantizeLinear", lower_dequantize, 0, 0},
    {"QuantizeLinear", lower_quantize, 0, 0},
    {"DynamicQuantizeLinear", lower_dynamic_quantize, 0, 0},
    {"MatMulInteger", lower_matmul_integer, 0, 0},
    {"QLinearMatMul", lower_qlinear_matmul, 0, 0},
    {"ConvInteger", lower_conv_integer, 0, 0},
    {"QLinearConv", lower_qlinear_conv, 0, 0},
    {"com.microsoft:DequantizeLinear", lower_dequantize, 0, 0},
    {"com.microsoft:QuantizeLinear", lower_quantize, 0, 0},
    {NULL, NULL, 0, 0},
};
