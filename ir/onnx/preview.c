/* Operators that ONNX tries out: FlexAttention, steps of training. */
#include "ir/onnx/shape.h"

/* A subgraph takes and gives scores. */
static prn_status modify(prn_infer *env, prn_op *op, const char *name,
                         const prn_type *scores) {
  prn_block *b = prn_op_block(op, name);
  if (!b) return PRN_OK;
  if (b->num_args != 1 || !b->last || b->last->num_operands != 1)
    return prn_op_error(op, "%s must take one value and give one", name);
  if (prn_infer_arg(env, b->args[0], scores, true) != PRN_OK)
    return prn_op_error(op, "%s takes %s, but gets %s", name,
                        prn_type_str(prn_infer_ctx(env), b->args[0]->type),
                        prn_type_str(prn_infer_ctx(env), scores));
  return prn_infer_block(env, b);
}

prn_status prn_infer_flex_attention(prn_infer *env, prn_op *op) {
  prn_shape q = prn_shape_of(env, op, 0), k = prn_shape_of(env, op, 1),
            v = prn_shape_of(env, op, 2);
  if (q.rank < 0 || k.rank < 0 || v.rank < 0)
    return prn_shape_dtype_only(env, op, 0, q.dtype);
  if (q.rank != 4 || k.rank != 4 || v.rank != 4)
    return prn_op_error(op, "Q is %s, K %s and V %s, expected 4 dimensions",
                        prn_shape_str(env, q), prn_shape_str(env, k),
                        prn_shape_str(env, v));
  prn_dtype dflt = q.dtype == PRN_F64 ? PRN_F64 : PRN_F32;
  prn_shape scores = prn_shape_new(
      env, prn_shape_dtype_attr(op, "softmax_precision", dflt), 4);
  for (int32_t i = 0; i < 4; i++)
    scores.dims[i] = i < 3 ? q.dims[i] : k.dims[2];
  const prn_type *type = prn_shape_type(env, scores);
  PRN_TRY(modify(env, op, "score_mod", type));
  PRN_TRY(modify(env, op, "prob_mod", type));
  q.dims[3] = v.dims[3];
  return prn_shape_result(env, op, 0, q);
}

/* inputs are weights, gradients, states...; outputs weights, states... */
prn_status prn_infer_training_step(prn_infer *env, prn_op *op) {
  uint32_t kinds = prn_op_is(op, PRN_OP_ai_onnx_preview_training_Adam) ? 4 : 3;
  uint32_t n = op->num_operands < 2 ? 0 : (op->num_operands - 2) / kinds;
  if (op->num_operands != 2 + n * kinds || op->num_results != n * (kinds - 1))
    return prn_op_error(op, "%u inputs and %u outputs do not fit together",
                        (unsigned)op->num_operands, (unsigned)op->num_results);
  for (uint32_t i = 0; i < op->num_results; i++)
    PRN_TRY(prn_shape_result(env, op, i,
                             prn_shape_of(env, op, 2 + i + (i >= n ? n : 0))));
  return PRN_OK;
}
