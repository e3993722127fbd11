/* mem.lstm, mem.gru and mem.rnn: what depends on the step before, all steps in
 * one kernel (device/prune_cells.h). */
#include "backends/cuda/product.h"

enum { THREADS = 512, MOST_SHARED = 99 * 1024 };

/* XW[seq, batch, gates], Y[seq, batch, hidden]; others [batch, hidden]. */
enum { XW, R, Y, H };
enum { LSTM_C = 4, LSTM_H0, LSTM_C0 };
enum { GRU_BIAS = 4, GRU_H0 };
enum { RNN_H0 = 4 };

/* Bytes of shared memory: the states and the sums of all gates; false where
 * they are not known. */
static bool shared_of(const prn_op *op, uint32_t *bytes) {
  const prn_type *r = prn_op_operand(op, R)->type;
  int64_t hidden, gates;
  if (!prn_dim_is_const(r->dims[0], &hidden) ||
      !prn_dim_is_const(r->dims[1], &gates) || hidden > MOST_SHARED ||
      gates > MOST_SHARED)
    return false;
  *bytes = (uint32_t)(2 * hidden + gates) * 4;
  return *bytes <= MOST_SHARED;
}

static prn_status check(const prn_op *op) {
  uint32_t bytes;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (v && !prn_cu_is_half(v->type->dtype) && v->type->dtype != PRN_F32)
      return prn_op_error(op, "the CUDA backend does not compute it in %s",
                          prn_dtype_name(v->type->dtype));
  }
  if (prn_op_operand(op, R)->type->dtype != PRN_F32 ||
      !prn_str_is(prn_cu_packing(op, R), "nk"))
    return prn_op_error(op, "expected f32 recurrence weights in rows");
  if (!shared_of(op, &bytes))
    return prn_op_error(op, "has more units than the state of which the CUDA "
                            "backend can keep in shared memory");
  return PRN_OK;
}

/* The offset of element (t, b, i) of an operand; t NULL: it has no steps. */
static const char *at(prn_cu_text *x, unsigned operand, const char *t,
                      const char *i) {
  const char *index[3] = {t, "b", i};
  const prn_type *v = prn_op_operand(x->op, operand)->type;
  return prn_cu_offset(x, t ? 3 : 2, v->strides, t ? index : index + 1);
}

static void load_input(prn_cu_text *t) {
  prn_cu_line(t, "[&](pmk_i b, pmk_i t, pmk_i g) { return (float)%s; },",
              prn_cu_load(t, XW, at(t, XW, "t", "g")));
}

/* A first state; zeros where there is none. */
static void load_state(prn_cu_text *t, unsigned operand) {
  if (operand >= t->op->num_operands || !prn_op_operand(t->op, operand))
    prn_cu_line(t, "[&](pmk_i, pmk_i) { return 0.0f; },");
  else
    prn_cu_line(t, "[&](pmk_i b, pmk_i i) { return (float)%s; },",
                prn_cu_load(t, operand, at(t, operand, NULL, "i")));
}

static void store_steps(prn_cu_text *t) {
  prn_cu_open(t, "[&](pmk_i b, pmk_i t, pmk_i i, float v) {");
  prn_cu_store(t, Y, at(t, Y, "t", "i"), "v");
  prn_cu_close(t, "},");
}

static void store_state(prn_cu_text *t, unsigned operand, bool last) {
  prn_cu_open(t, "[&](pmk_i b, pmk_i i, float v) {");
  prn_cu_store(t, operand, at(t, operand, NULL, "i"), "v");
  prn_cu_close(t, last ? "});" : "},");
}

static void begin(prn_cu_text *t, prn_cu *c, const prn_op *op,
                  const char *call) {
  const prn_type *xw = prn_op_operand(op, XW)->type;
  const prn_type *r = prn_op_operand(op, R)->type;
  prn_cu_text_begin(t, c, op);
  prn_cu_open(t, "%s(%s, %s, %s, %s, %s,", call, prn_cu_dim(t, xw->dims[1]),
              prn_cu_dim(t, xw->dims[0]), prn_cu_dim(t, r->dims[0]),
              prn_op_int(op, "reverse", 0) ? "true" : "false",
              prn_cu_pointer(t, R));
  load_input(t);
}

static void end(prn_cu_text *t) {
  uint32_t shared = 0;
  (void)shared_of(t->op, &shared); /* checked */
  t->indent--;
  prn_cu_text_end(
      t, THREADS, shared,
      prn_cu_blocks_some(t->c, prn_op_operand(t->op, XW)->type->dims[1], 1));
}

static void emit_lstm(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  begin(&t, c, op, "pmk_lstm");
  load_state(&t, LSTM_H0);
  load_state(&t, LSTM_C0);
  store_steps(&t);
  store_state(&t, H, false);
  store_state(&t, LSTM_C, true);
  end(&t);
}

static void emit_gru(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  bool linear = prn_op_int(op, "linear_before_reset", 0) != 0;
  begin(&t, c, op, linear ? "pmk_gru<true>" : "pmk_gru<false>");
  if (prn_op_operand(op, GRU_BIAS)) {
    const char *g = "g";
    const char *offset =
        prn_cu_offset(&t, 1, prn_op_operand(op, GRU_BIAS)->type->strides, &g);
    prn_cu_line(&t, "[&](pmk_i g) { return (float)%s; },",
                prn_cu_load(&t, GRU_BIAS, offset));
  } else {
    prn_cu_line(&t, "[&](pmk_i) { return 0.0f; },");
  }
  load_state(&t, GRU_H0);
  store_steps(&t);
  store_state(&t, H, true);
  end(&t);
}

static void emit_rnn(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  begin(&t, c, op, "pmk_rnn");
  prn_cu_line(&t, "[&](float v) { return prn_%.*s(v); },",
              PRN_STR_ARG(prn_op_string(op, "fn", "")));
  load_state(&t, RNN_H0);
  store_steps(&t);
  store_state(&t, H, true);
  end(&t);
}

const prn_cu_kind prn_cu_lstm = {check, emit_lstm};
const prn_cu_kind prn_cu_gru = {check, emit_gru};
const prn_cu_kind prn_cu_rnn = {check, emit_rnn};
