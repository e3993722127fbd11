/* RNN, GRU and LSTM. */
#include "ir/onnx/shape.h"

typedef struct rnn_dims {
  prn_dim seq, batch, dirs, hidden;
} rnn_dims;

static int64_t directions(const prn_op *op) {
  return prn_str_is(prn_op_string(op, "direction", "forward"), "bidirectional")
             ? 2
             : 1;
}

static int64_t gates(const prn_op *op) {
  return prn_op_is(op, PRN_OP_onnx_LSTM)  ? 4
         : prn_op_is(op, PRN_OP_onnx_GRU) ? 3
                                          : 1;
}

prn_status prn_verify_rnn(prn_op *op) {
  static const char *const names[] = {"forward", "reverse", "bidirectional"};
  prn_str d = prn_op_string(op, "direction", "forward");
  int64_t layout = prn_op_int(op, "layout", 0);
  bool ok = false;
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    ok = ok || prn_str_is(d, names[i]);
  if (!ok)
    return prn_op_error(op,
                        "direction is '%.*s', expected forward, reverse or "
                        "bidirectional",
                        PRN_STR_ARG(d));
  if (layout != 0 && layout != 1)
    return prn_op_error(op, "layout is %lld, expected 0 or 1",
                        (long long)layout);
  return PRN_OK;
}

/* Unifies dims[axis] of operand i with factor * *d. */
static prn_status tie(prn_infer *env, prn_op *op, uint32_t i, int32_t rank,
                      int32_t axis, int64_t factor, prn_dim *d) {
  prn_shape s = prn_shape_of(env, op, i);
  int64_t v, want;
  if (s.rank < 0) return PRN_OK;
  if (s.rank != rank)
    return prn_op_error(op, "operand %u has rank %d, expected %d", (unsigned)i,
                        (int)s.rank, (int)rank);
  if (prn_dim_is_const(s.dims[axis], &v) && prn_dim_is_const(*d, &want)) {
    if (want > INT64_MAX / factor || v != want * factor)
      return prn_op_error(op, "axis %d of operand %u is %lld, expected %lld",
                          (int)axis, (unsigned)i, (long long)v,
                          (long long)(want * factor));
    return PRN_OK;
  }
  prn_dim found = prn_dim_floordiv(prn_infer_ctx(env), s.dims[axis],
                                   prn_shape_const(env, factor));
  (void)!prn_shape_unify(*d, found, d);
  return PRN_OK;
}

static prn_status read_dims(prn_infer *env, prn_op *op, rnn_dims *d) {
  prn_dim unknown = prn_dim_unknown(prn_infer_ctx(env));
  int64_t hidden = prn_op_int(op, "hidden_size", -1);
  int32_t layout = (int32_t)(prn_op_int(op, "layout", 0) & 1);
  int64_t g = gates(op);
  prn_dim input = unknown;
  *d = (rnn_dims){unknown, unknown, prn_shape_const(env, directions(op)),
                  hidden > 0 ? prn_shape_const(env, hidden) : unknown};
  PRN_TRY(tie(env, op, 0, 3, layout, 1, &d->seq));
  PRN_TRY(tie(env, op, 0, 3, 1 - layout, 1, &d->batch));
  PRN_TRY(tie(env, op, 0, 3, 2, 1, &input));
  PRN_TRY(tie(env, op, 1, 3, 2, 1, &input));
  PRN_TRY(tie(env, op, 2, 3, 2, 1, &d->hidden));
  PRN_TRY(tie(env, op, 1, 3, 1, g, &d->hidden));
  PRN_TRY(tie(env, op, 2, 3, 1, g, &d->hidden));
  PRN_TRY(tie(env, op, 1, 3, 0, 1, &d->dirs));
  PRN_TRY(tie(env, op, 2, 3, 0, 1, &d->dirs));
  PRN_TRY(tie(env, op, 3, 2, 0, 1, &d->dirs));
  PRN_TRY(tie(env, op, 3, 2, 1, 2 * g, &d->hidden));
  return tie(env, op, 4, 1, 0, 1, &d->batch);
}

/* With layout 1 the batch comes first everywhere. */
prn_status prn_infer_rnn(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  rnn_dims d;
  PRN_TRY(read_dims(env, op, &d));
  bool batch_first = prn_op_int(op, "layout", 0) == 1;
  prn_shape y = prn_shape_new(env, x.dtype, 4);
  prn_shape h = prn_shape_new(env, x.dtype, 3);
  y.dims[0] = batch_first ? d.batch : d.seq;
  y.dims[1] = batch_first ? d.seq : d.dirs;
  y.dims[2] = batch_first ? d.dirs : d.batch;
  h.dims[0] = batch_first ? d.batch : d.dirs;
  h.dims[1] = batch_first ? d.dirs : d.batch;
  y.dims[3] = h.dims[2] = d.hidden;
  PRN_TRY(prn_shape_result(env, op, 0, y));
  for (uint32_t i = 1; i < op->num_results; i++)
    PRN_TRY(prn_shape_result(env, op, i, h));
  return PRN_OK;
}
