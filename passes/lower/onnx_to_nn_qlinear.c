/* onnx -> nn: quantised operators of com.microsoft, as the formulas that define
 * them. Reference: ContribOperators.md of ONNX Runtime. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

/* a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero. */
static prn_status lower_qlinear_binary(prn_o2n *e, prn_op *op) {
  prn_value *v[8];
  for (uint32_t i = 0; i < 8; i++)
    v[i] = prn_o2n_in(e, op, i);
  prn_value *y =
      binary(e, e->row->scalar, prn_o2n_dequantized(e, v[0], v[1], v[2]),
             prn_o2n_dequantized(e, v[3], v[4], v[5]));
  return prn_o2n_set(
      e, op, 0,
      prn_o2n_quantized(e, y, v[6], v[7], op->results[0].type->dtype));
}

/* x, x_scale, x_zero, y_scale, y_zero; the function of the
 * dequantised x. */
static prn_status lower_qlinear_one(prn_o2n *e, prn_op *op) {
  prn_value *v[5];
  int64_t axes[MAX_RANK];
  size_t n = 0;
  for (uint32_t i = 0; i < 5; i++)
    v[i] = prn_o2n_in(e, op, i);
  prn_value *x = prn_o2n_dequantized(e, v[0], v[1], v[2]), *y = NULL;
  prn_str name = op->opname->name;
  if (prn_str_is(name, "QLinearSigmoid")) {
    y = prn_nn_unary(&e->b, PRN_SCALAR_sigmoid, x);
  } else if (prn_str_is(name, "QLinearLeakyRelu")) {
    double alpha = (double)prn_op_float(op, "alpha", 0.01f);
    y = prn_nn_select(&e->b, prn_nn_with(&e->b, PRN_SCALAR_gt, x, 0), x,
                      prn_nn_with(&e->b, PRN_SCALAR_mul, x, alpha));
  } else { /* QLinearGlobalAveragePool */
    int32_t first = prn_op_int(op, "channels_last", 0) ? 1 : 2;
    for (int32_t i = 0; i + 2 < x->type->rank; i++)
      axes[n++] = i + first;
    y = prn_nn_mean(&e->b, x, axes, n);
  }
  return prn_o2n_set(
      e, op, 0,
      prn_o2n_quantized(e, y, v[3], v[4], op->results[0].type->dtype));
}

/* y_scale, y_zero, then x, x_scale, x_zero of each part. */
static prn_status lower_qlinear_concat(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  uint32_t n = (op->num_operands - 2) / 3;
  prn_value **in = PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, n);
  int32_t axis;
  if (op->num_operands < 5 || op->num_operands != 2 + 3 * n)
    return prn_op_error(op, "expects a scale and a zero point of every part");
  PRN_TRY(prn_o2n_axis(op, "axis", 0, type->rank, &axis));
  for (uint32_t i = 0; i < n; i++) {
    in[i] = prn_o2n_dequantized(e, prn_o2n_in(e, op, 2 + 3 * i),
                                prn_o2n_in(e, op, 3 + 3 * i),
                                prn_o2n_in(e, op, 4 + 3 * i));
    in[i] = prn_o2n_quantized(e, in[i], prn_o2n_in(e, op, 0),
                              prn_o2n_in(e, op, 1), type->dtype);
  }
  return prn_o2n_set(e, op, 0, prn_nn_concat(&e->b, in, n, axis, type));
}

/* A, a_scale, a_zero, B, b_scale, b_zero, C, y_scale, y_zero;
 * without y_scale the result is float. */
static prn_status lower_qgemm(prn_o2n *e, prn_op *op) {
  prn_value *y, *v[9];
  for (uint32_t i = 0; i < 9; i++)
    v[i] = prn_o2n_in(e, op, i);
  prn_o2n_slots s = {
      0, 2, 3, 5, prn_op_int(op, "transA", 0), prn_op_int(op, "transB", 0)};
  PRN_TRY(prn_o2n_matrix_product(e, op, s, &y));
  double alpha = (double)prn_op_float(op, "alpha", 1);
  prn_value *scale = binary(e, PRN_SCALAR_mul, v[1], v[4]);
  if (alpha != 1) scale = prn_nn_with(&e->b, PRN_SCALAR_mul, scale, alpha);
  if (v[6])
    y = binary(e, PRN_SCALAR_add, y, prn_nn_cast(&e->b, v[6], y->type->dtype));
  y = binary(e, PRN_SCALAR_mul, prn_nn_cast(&e->b, y, PRN_F32), scale);
  if (v[7]) y = prn_o2n_quantized(e, y, v[7], v[8], op->results[0].type->dtype);
  return prn_o2n_set(e, op, 0, y);
}

/* X, x_scale, x_zero, y_scale, y_zero. Before operator set 13 of ONNX, the
 * axes from the given one on are one. */
static prn_status lower_qlinear_softmax(prn_o2n *e, prn_op *op) {
  prn_value *v[5];
  for (uint32_t i = 0; i < 5; i++)
    v[i] = prn_o2n_in(e, op, i);
  const prn_type *t = v[0]->type;
  bool flat = prn_op_int(op, "opset", 13) < 13;
  prn_dim dims[2] = {prn_dim_const(e->ctx, 1), prn_dim_const(e->ctx, 1)};
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", flat ? 1 : -1, t->rank, &axis));
  prn_value *x = prn_o2n_dequantized(e, v[0], v[1], v[2]);
  if (flat) {
    for (int32_t i = 0; i < t->rank; i++)
      dims[i >= axis] = prn_dim_mul(e->ctx, dims[i >= axis], t->dims[i]);
    x = prn_nn_reshape_dims(&e->b, x, 2, dims);
    axis = 1;
  }
  x = prn_nn_softmax(&e->b, x, axis, false);
  return prn_o2n_set_shape(
      e, op, 0,
      prn_o2n_quantized(e, x, v[3], v[4], op->results[0].type->dtype));
}

/* condition, X, x_scale, x_zero, Y, y_scale, y_zero, z_scale, z_zero. */
static prn_status lower_qlinear_where(prn_o2n *e, prn_op *op) {
  prn_value *v[9];
  for (uint32_t i = 0; i < 9; i++)
    v[i] = prn_o2n_in(e, op, i);
  prn_value *z =
      prn_nn_select(&e->b, v[0], prn_o2n_dequantized(e, v[1], v[2], v[3]),
                    prn_o2n_dequantized(e, v[4], v[5], v[6]));
  return prn_o2n_set(
      e, op, 0,
      prn_o2n_quantized(e, z, v[7], v[8], op->results[0].type->dtype));
}

const prn_o2n_row prn_o2n_qlinear[] = {
    {"com.microsoft:QLinearAdd", lower_qlinear_binary, 0, PRN_SCALAR_add},
    {"com.microsoft:QLinearMul", lower_qlinear_binary, 0, PRN_SCALAR_mul},
    {"com.microsoft:QLinearSigmoid", lower_qlinear_one, 0, 0},
    {"com.microsoft:QLinearLeakyRelu", lower_qlinear_one, 0, 0},
    {"com.microsoft:QLinearGlobalAveragePool", lower_qlinear_one, 0, 0},
    {"com.microsoft:QLinearSoftmax", lower_qlinear_softmax, 0, 0},
    {"com.microsoft:QLinearConcat", lower_qlinear_concat, 0, 0},
    {"com.microsoft:QLinearWhere", lower_qlinear_where, 0, 0},
    {"com.microsoft:QGemm", lower_qgemm, 0, 0},
    {NULL, NULL, 0, 0},
};
