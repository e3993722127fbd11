/* Where indices must not change places; see couple.h.
 *
 * Dimensions that are tied may lose the same indices, and mostly have them
 * change places alike, too. Not so where an operator goes by the number of an
 * index: running sums, windows over neighbours, time, positions that are found
 * or that others count. */
#include "passes/analysis/couple.h"

static const char counts[] = "is gone through in order";
static const char holds[] = "may be told apart by an operand";

static int32_t rank_of(const prn_value *v) {
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

static void order(prn_couple *c, const prn_op *op, const prn_value *v,
                  int32_t axis) {
  prn_space **d = prn_couple_dims(c, v);
  if (d && axis >= 0 && axis < rank_of(v) && d[axis])
    prn_space_order(d[axis], (prn_space_why){op, counts});
}

typedef enum rule {
  ALL,      /* every axis */
  CHANNELS, /* axis 1 of operand 0 */
  PICTURES, /* axes 0 and 1, unless MaxPool says where elements go */
  FIRST,    /* axes 0 and 1 of operand 0: time, and the batch with it */
  TIME,     /* the last but one of matrices, stacked or not */
  LAST      /* the last of operand 0 */
} rule;

static bool rule_of(const prn_op *op, rule *out) {
  static const struct {
    prn_opcode code;
    rule how;
  } rows[] = {{PRN_OP_onnx_ArgMax, ALL},
              {PRN_OP_onnx_ArgMin, ALL},
              {PRN_OP_onnx_CumSum, ALL},
              {PRN_OP_onnx_CumProd, ALL},
              {PRN_OP_onnx_Hardmax, ALL},
              {PRN_OP_onnx_ReverseSequence, ALL},
              {PRN_OP_onnx_TensorScatter, ALL},
              {PRN_OP_onnx_LRN, CHANNELS},
              {PRN_OP_onnx_DeformConv, CHANNELS},
              {PRN_OP_onnx_MaxUnpool, PICTURES},
              {PRN_OP_onnx_RNN, FIRST},
              {PRN_OP_onnx_GRU, FIRST},
              {PRN_OP_onnx_LSTM, FIRST},
              {PRN_OP_com_microsoft_DynamicQuantizeLSTM, FIRST},
              {PRN_OP_com_microsoft_EmbedLayerNormalization, FIRST},
              {PRN_OP_onnx_Attention, TIME},
              {PRN_OP_onnx_LinearAttention, TIME},
              {PRN_OP_onnx_RotaryEmbedding, TIME},
              {PRN_OP_com_microsoft_Attention, TIME},
              {PRN_OP_com_microsoft_MultiHeadAttention, TIME},
              {PRN_OP_com_microsoft_GroupQueryAttention, TIME},
              {PRN_OP_onnx_CausalConvWithState, LAST}};
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_op_is(op, rows[i].code)) {
      *out = rows[i].how;
      return true;
    }
  return false;
}

/* Of a value that op has to do with. */
static void order_value(prn_couple *c, const prn_op *op, const prn_value *v,
                        rule how) {
  int32_t rank = rank_of(v);
  for (int32_t i = 0; how == ALL && i < rank; i++)
    order(c, op, v, i);
  if (how == TIME && rank > 2) order(c, op, v, rank - 2);
}

void prn_couple_order(prn_couple *c, const prn_op *op) {
  rule how;
  if (!op->num_operands || !rule_of(op, &how)) return;
  for (uint32_t i = 0; i < op->num_operands; i++)
    order_value(c, op, prn_op_operand(op, i), how);
  for (uint32_t i = 0; i < op->num_results; i++)
    order_value(c, op, &op->results[i], how);
  const prn_value *x = prn_op_operand(op, 0);
  const prn_value *where = how == PICTURES ? prn_op_operand(op, 1) : NULL;
  bool pooled =
      where && where->def && prn_op_is(where->def, PRN_OP_onnx_MaxPool);
  if (how == FIRST || (how == PICTURES && !pooled)) order(c, op, x, 0);
  if (how == FIRST || how == CHANNELS || (how == PICTURES && !pooled))
    order(c, op, x, 1);
  if (how == LAST) order(c, op, x, rank_of(x) - 1);
}

/* ---- operands that a row does not relate ---- */

/* Whether one of v's dimensions may have x in it. */
static bool may_hold(const prn_value *v, const prn_space *x) {
  int64_t size, n;
  if (rank_of(v) < 0) return true;
  bool number = prn_dim_is_const(x->size, &size);
  for (int32_t i = 0; i < v->type->rank; i++) {
    prn_dim d = v->type->dims[i];
    bool known = prn_dim_is_const(d, &n);
    if (!prn_dim_known(d)) return true;
    if (number && known && n > 1 && size > 0 && n % size == 0) return true;
    if (!number && !known) return true;
  }
  return false;
}

void prn_couple_order_beside(const prn_op *op, const prn_value *v,
                             prn_space *x) {
  if (x && may_hold(v, x)) prn_space_order(x, (prn_space_why){op, holds});
}
