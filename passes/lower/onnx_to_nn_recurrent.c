/* onnx -> nn: recurrent cells. Each direction is one nn operation over
 * x[seq, batch, in], or written out step by step (onnx_to_nn_cells.c); two
 * directions are joined along ONNX's direction axis. */
#include "passes/lower/onnx_to_nn_recurrent.h"

typedef prn_o2n_cell cell;

/* ---- what is supported ---- */

/* The function of direction d of an RNN, as nn calls it; NULL: it has none. */
static const char *activation(const prn_op *op, uint32_t d) {
  static const char *const known[][2] = {
      {"Tanh", "tanh"}, {"Relu", "relu"}, {"Sigmoid", "sigmoid"}};
  const prn_attr *a = prn_op_attr(op, "activations");
  if (!a || a->kind != PRN_ATTR_STRINGS || d >= a->size) return known[0][1];
  for (size_t i = 0; i < PRN_COUNT(known); i++)
    if (prn_str_is(a->strings[d], known[i][0])) return known[i][1];
  return NULL;
}

static bool usual_activations(const prn_op *op, const cell *c) {
  static const char *const usual[3] = {"Sigmoid", "Tanh", "Tanh"};
  const prn_attr *a = prn_op_attr(op, "activations");
  uint32_t each = c->lstm ? 3 : 2;
  for (uint32_t d = 0; c->gates == 1 && d < (uint32_t)c->dirs; d++)
    if (!activation(op, d)) return false;
  if (c->gates == 1) return true;
  for (uint32_t i = 0; a && a->kind == PRN_ATTR_STRINGS && i < a->size; i++)
    if (!prn_str_is(a->strings[i], usual[i % each])) return false;
  return true;
}

/* Whether sequences may end before the last step. */
static bool differ(prn_o2n *e, const prn_op *op, const cell *c) {
  size_t n;
  const prn_dim *lengths = prn_o2n_content(e, op, PRN_O2N_LENGTHS, &n);
  for (size_t i = 0; lengths && i < n; i++)
    if (lengths[i] != c->seq) lengths = NULL;
  return prn_o2n_has(op, PRN_O2N_LENGTHS) && !lengths;
}

static bool is_weights(prn_o2n *e, const prn_op *op, uint32_t i) {
  const prn_tensor *t = prn_value_constant(prn_o2n_in(e, op, i));
  return t && t->type->dtype != PRN_F64;
}

/* What nn.lstm, nn.gru and nn.rnn, and their kernels, do not take. Weights that
 * are not constant have no kernel; an open number of steps has nothing else. */
static bool needs_steps(prn_o2n *e, const prn_op *op, const cell *c) {
  int64_t steps;
  bool open = !prn_dim_is_const(c->seq, &steps);
  return prn_op_attr(op, "clip") || prn_op_int(op, "input_forget", 0) ||
         prn_o2n_has(op, PRN_O2N_PEEPHOLES) || differ(e, op, c) ||
         !usual_activations(op, c) ||
         (!open &&
          (!is_weights(e, op, PRN_O2N_W) || !is_weights(e, op, PRN_O2N_R)));
}

/* X, W, R, B, sequence_lens, initial_h, initial_c and P, those that are there.
 */
static prn_status check_ranks(const prn_op *op) {
  static const int32_t ranks[] = {3, 3, 3, 2, 1, 3, 3, 2};
  for (uint32_t i = 0; i < op->num_operands && i < PRN_COUNT(ranks); i++) {
    const prn_value *v = prn_op_operand(op, i);
    if (v && v->type->rank != ranks[i])
      return prn_op_error(op, "operand %u has %d dimensions, expected %d", i,
                          (int)v->type->rank, (int)ranks[i]);
  }
  return PRN_OK;
}

static prn_status read_cell(prn_o2n *e, const prn_op *op, cell *c) {
  const prn_type *x = prn_op_operand(op, PRN_O2N_X)->type;
  const prn_type *r = prn_op_operand(op, PRN_O2N_R)->type;
  int64_t dirs;
  PRN_TRY(check_ranks(op));
  c->lstm = prn_str_is(op->opname->name, "LSTM");
  c->gates = c->lstm ? 4 : prn_str_is(op->opname->name, "GRU") ? 3 : 1;
  c->batch_first = prn_op_int(op, "layout", 0) != 0;
  if (x->rank != 3 || r->rank != 3 || !prn_dim_is_const(r->dims[0], &dirs) ||
      dirs < 1 || dirs > 2)
    return prn_op_error(op, "expects x[seq, batch, in] and r[directions, "
                            "gates*hidden, hidden]");
  c->dirs = (int32_t)dirs;
  c->seq = x->dims[c->batch_first];
  c->batch = x->dims[!c->batch_first];
  c->hidden = r->dims[2];
  c->steps = needs_steps(e, op, c);
  return PRN_OK;
}

/* ---- operands of one direction ---- */

/* v[dirs, rest...] -> [rest...] of direction d. */
static prn_value *direction(prn_o2n *e, prn_value *v, int32_t d) {
  if (!v) return NULL;
  const prn_type *t = v->type;
  v = prn_nn_slice_axis(&e->b, v, 0, prn_dim_const(e->ctx, d),
                        prn_dim_const(e->ctx, 1));
  return prn_nn_reshape_dims(&e->b, v, t->rank - 1, t->dims + 1);
}

/* Initial state [dirs, batch, hidden] (or batch first) of direction d. */
static prn_value *state(prn_o2n *e, const prn_op *op, uint32_t i, const cell *c,
                        int32_t d) {
  static const int64_t swap[3] = {1, 0, 2};
  prn_value *v = prn_o2n_in(e, op, i);
  if (v && c->batch_first) v = prn_nn_transpose(&e->b, v, swap);
  return direction(e, v, d);
}

/* The input and recurrence halves of a bias, added up: constants at once. */
static prn_value *summed_bias(prn_o2n *e, prn_value *bias) {
  const prn_tensor *t = prn_value_constant(bias);
  prn_dim half =
      prn_dim_floordiv(e->ctx, bias->type->dims[0], prn_dim_const(e->ctx, 2));
  const prn_type *type = prn_nn_type(e->ctx, bias->type, 1, &half);
  int64_t n;
  if (t && prn_dim_is_const(half, &n)) {
    double *v = PRN_ARENA_ARRAY(&e->b.m->arena, double, 2 * n + 1);
    prn_tensor_read_f64(t, 0, 2 * n, v);
    for (int64_t i = 0; i < n; i++)
      v[i] += v[n + i];
    return prn_nn_constant(&e->b, prn_nn_tensor(e->ctx, type, v));
  }
  prn_value *w =
      prn_nn_slice_axis(&e->b, bias, 0, prn_dim_const(e->ctx, 0), half);
  prn_value *r = prn_nn_slice_axis(&e->b, bias, 0, half, half);
  return prn_nn_binary(&e->b, PRN_SCALAR_add, w, r);
}

/* ---- one direction ---- */

/* By a kernel. */
static void run_cell(prn_o2n *e, const prn_op *op, const cell *c,
                     prn_value *const *v, uint32_t d, bool reverse,
                     prn_value **out) {
  prn_value *in[6] = {v[PRN_O2N_X], v[PRN_O2N_W],  v[PRN_O2N_R],
                      v[PRN_O2N_B], v[PRN_O2N_H0], v[PRN_O2N_C0]};
  if (c->gates != 3 && in[3]) in[3] = summed_bias(e, in[3]);
  prn_dim dims[3] = {c->seq, c->batch, c->hidden};
  const prn_type *seq = prn_nn_type(e->ctx, in[0]->type, 3, dims);
  const prn_type *last = prn_nn_type(e->ctx, in[0]->type, 2, dims + 1);
  const prn_type *types[3] = {seq, last, last};
  prn_opcode code = c->lstm         ? PRN_OP_nn_lstm
                    : c->gates == 3 ? PRN_OP_nn_gru
                                    : PRN_OP_nn_rnn;
  prn_op *r =
      prn_nn_make_op(&e->b, code, in, c->lstm ? 6 : 5, types, c->lstm ? 3 : 2);
  if (reverse) prn_op_set_attr(r, "reverse", prn_attr_bool(e->ctx, true));
  if (c->gates == 1)
    prn_op_set_attr(r, "fn",
                    prn_attr_string(e->ctx, prn_str_from(activation(op, d))));
  if (c->gates == 3 && prn_op_int(op, "linear_before_reset", 0))
    prn_op_set_attr(r, "linear_before_reset", prn_attr_bool(e->ctx, true));
  for (uint32_t i = 0; i < r->num_results; i++)
    out[i] = prn_op_result(r, i);
}

static prn_status one_direction(prn_o2n *e, const prn_op *op, const cell *c,
                                prn_value *x, int32_t d, bool reverse,
                                prn_value **out) {
  prn_value *in[PRN_O2N_SLOTS] = {NULL};
  static const uint32_t split[] = {PRN_O2N_W, PRN_O2N_R, PRN_O2N_B};
  in[PRN_O2N_X] = x;
  for (size_t i = 0; i < PRN_COUNT(split); i++)
    in[split[i]] = direction(e, prn_o2n_in(e, op, split[i]), d);
  in[PRN_O2N_H0] = state(e, op, PRN_O2N_H0, c, d);
  if (c->lstm) {
    in[PRN_O2N_C0] = state(e, op, PRN_O2N_C0, c, d);
    in[PRN_O2N_PEEPHOLES] =
        direction(e, prn_o2n_in(e, op, PRN_O2N_PEEPHOLES), d);
  }
  if (differ(e, op, c))
    in[PRN_O2N_LENGTHS] = prn_o2n_in(e, op, PRN_O2N_LENGTHS);
  if (c->steps) return prn_o2n_walk_cell(e, op, c, in, d, reverse, out);
  run_cell(e, op, c, in, (uint32_t)d, reverse, out);
  return PRN_OK;
}

/* ---- results ---- */

/* Result i of each direction, with a direction axis put in at `axis`. */
static prn_value *joined(prn_o2n *e, prn_value *(*dirs)[3], uint32_t i,
                         const cell *c, int32_t axis) {
  prn_value *parts[2];
  prn_dim dims[4];
  int32_t rank = 0;
  for (int32_t d = 0; d < c->dirs; d++) {
    prn_value *v = dirs[d][i];
    rank = v->type->rank + 1;
    for (int32_t k = 0; k < rank; k++)
      dims[k] = k < axis    ? v->type->dims[k]
                : k == axis ? prn_dim_const(e->ctx, 1)
                            : v->type->dims[k - 1];
    parts[d] = prn_nn_reshape_dims(&e->b, v, rank, dims);
  }
  dims[axis] = prn_dim_const(e->ctx, c->dirs);
  return prn_nn_concat(&e->b, parts, (uint32_t)c->dirs, axis,
                       prn_nn_type(e->ctx, parts[0]->type, rank, dims));
}

static prn_status set_results(prn_o2n *e, prn_op *op, prn_value *(*dirs)[3],
                              const cell *c) {
  static const int64_t batch_first_y[4] = {2, 0, 1, 3};
  static const int64_t batch_first_h[3] = {1, 0, 2};
  for (uint32_t i = 0; i < 3 && dirs[0][i]; i++) {
    if (!prn_o2n_wanted(op, i)) continue;
    prn_value *v = joined(e, dirs, i, c, i == 0 ? 1 : 0);
    if (c->batch_first)
      v = prn_nn_transpose(&e->b, v, i == 0 ? batch_first_y : batch_first_h);
    PRN_TRY(prn_o2n_set(e, op, i, v));
  }
  return PRN_OK;
}

static prn_status lower_recurrent(prn_o2n *e, prn_op *op) {
  static const int64_t swap[3] = {1, 0, 2};
  prn_value *x = prn_o2n_in(e, op, PRN_O2N_X);
  prn_str way = prn_op_string(op, "direction", "forward");
  prn_value *dirs[2][3] = {{NULL}};
  cell c = {0};
  PRN_TRY(read_cell(e, op, &c));
  if (c.batch_first) x = prn_nn_transpose(&e->b, x, swap);
  for (int32_t d = 0; d < c.dirs; d++)
    PRN_TRY(one_direction(e, op, &c, x, d, d == 1 || prn_str_is(way, "reverse"),
                          dirs[d]));
  return set_results(e, op, dirs, &c);
}

const prn_o2n_row prn_o2n_recurrent[] = {
    {"RNN", lower_recurrent, 0, 0},
    {"LSTM", lower_recurrent, 0, 0},
    {"GRU", lower_recurrent, 0, 0},
    {NULL, NULL, 0, 0},
};
