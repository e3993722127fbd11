/* onnx -> nn: matrix products and convolutions. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

/* ---- matrix products ---- */

/* A vector becomes a row (of the left operand) or a column. */
static prn_value *as_matrix(prn_o2n *e, prn_value *x, bool left) {
  if (x->type->rank != 1) return x;
  prn_dim one = prn_dim_const(e->ctx, 1), n = x->type->dims[0];
  prn_dim dims[2] = {left ? one : n, left ? n : one};
  return prn_nn_reshape_dims(&e->b, x, 2, dims);
}

static prn_status lower_matmul(prn_o2n *e, prn_op *op) {
  prn_value *a = as_matrix(e, prn_o2n_in(e, op, 0), true);
  prn_value *b = as_matrix(e, prn_o2n_in(e, op, 1), false);
  /* A reshape in prn_o2n_set drops the 1 that a vector operand added. */
  return prn_o2n_set(e, op, 0,
                     prn_nn_matmul(&e->b, a, b, op->results[0].type->dtype));
}

static prn_value *swap_last(prn_o2n *e, prn_value *x, bool swap) {
  int64_t perm[MAX_RANK];
  int32_t rank = x->type->rank;
  if (!swap) return x;
  for (int32_t i = 0; i < rank; i++)
    perm[i] = i;
  perm[rank - 1] = rank - 2;
  perm[rank - 2] = rank - 1;
  return prn_nn_transpose(&e->b, x, perm);
}

static prn_value *scaled(prn_o2n *e, prn_value *x, double by) {
  return by == 1 ? x : prn_nn_with(&e->b, PRN_SCALAR_mul, x, by);
}

static prn_status lower_gemm(prn_o2n *e, prn_op *op) {
  prn_value *a = prn_o2n_in(e, op, 0), *b = prn_o2n_in(e, op, 1);
  prn_value *c = prn_o2n_in(e, op, 2);
  double alpha = (double)prn_op_float(op, "alpha", 1);
  double beta = (double)prn_op_float(op, "beta", 1);
  if (a->type->rank != 2 || b->type->rank != 2)
    return prn_op_error(op, "expects matrices");
  a = swap_last(e, a, prn_op_int(op, "transA", 0) != 0);
  b = swap_last(e, b, prn_op_int(op, "transB", 0) != 0);
  prn_value *y = scaled(e, prn_nn_matmul(&e->b, a, b, a->type->dtype), alpha);
  if (c && beta != 0)
    y = prn_nn_binary(&e->b, PRN_SCALAR_add, y, scaled(e, c, beta));
  return prn_o2n_set(e, op, 0, y);
}

static prn_status lower_fused_matmul(prn_o2n *e, prn_op *op) {
  if (prn_op_int(op, "transBatchA", 0) || prn_op_int(op, "transBatchB", 0))
    return prn_o2n_unsupported(op, "transBatchA and transBatchB");
  prn_value *a = as_matrix(e, prn_o2n_in(e, op, 0), true);
  prn_value *b = as_matrix(e, prn_o2n_in(e, op, 1), false);
  a = swap_last(e, a, prn_op_int(op, "transA", 0) != 0);
  b = swap_last(e, b, prn_op_int(op, "transB", 0) != 0);
  prn_value *y = prn_nn_matmul(&e->b, a, b, a->type->dtype);
  return prn_o2n_set(e, op, 0,
                     scaled(e, y, (double)prn_op_float(op, "alpha", 1)));
}

const prn_o2n_row prn_o2n_contraction[] = {
    {"MatMul", lower_matmul, 0, 0},
    {"Gemm", lower_gemm, 0, 0},
    {"com.microsoft:FusedMatMul", lower_fused_matmul, 0, 0},
    {NULL, NULL, 0, 0},
};
