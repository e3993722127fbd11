/* mem.lstm, mem.gru and mem.rnn: the recurrence, the products with the input
 * being done. A step is one product of the state with the packed recurrence
 * weights, for all rows of the batch, and the gates on top of it.
 *
 * The steps depend on each other and a step is small, so the kernel is one
 * item: it runs in one thread. */
#include "backends/llvm/gemm.h"
#include "backends/llvm/vecmath.h"

#include "backends/llvm/emit.h"

enum { XW, R, Y, H };
enum { LSTM_C = 4, LSTM_H0, LSTM_C0, LSTM_SCRATCH };
enum { GRU_BIAS = 4, GRU_H0, GRU_SCRATCH };
enum { RNN_H0 = 4, RNN_SCRATCH };

typedef enum kind { LSTM, GRU, RNN } kind;

typedef struct cell {
  prn_kernel *k;
  kind kind;
  prn_v seq, batch, hidden;
  prn_v gates; /* scratch: [batch][4, 3 or 1 hidden] products */
  prn_v state; /* scratch: [batch][hidden] h; then c, or r*h */
  prn_v extra;
  /* the row being computed */
  prn_v xw, g, h, c, y;
} cell;

static kind kind_of(const prn_op *op) {
  return prn_op_is(op, PRN_OP_mem_lstm)  ? LSTM
         : prn_op_is(op, PRN_OP_mem_gru) ? GRU
                                         : RNN;
}

/* Initial states may be views of anything: one number for all, say. */
static bool is_initial(const prn_op *op, uint32_t i) {
  static const uint32_t h0[] = {LSTM_H0, GRU_H0, RNN_H0};
  kind c = kind_of(op);
  return i == h0[c] || (c == LSTM && i == LSTM_C0);
}

static bool dense(const prn_op *op, uint32_t i) {
  const prn_value *v = prn_op_operand(op, i);
  int64_t s;
  if (!v) return true;
  const prn_type *t = v->type;
  if (t->dtype != PRN_F32 || t->rank == 0) return false;
  return is_initial(op, i) ||
         (prn_dim_is_const(t->strides[t->rank - 1], &s) && s == 1);
}

static prn_status check(const prn_op *op) {
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (i != R && !dense(op, i))
      return prn_op_error(op, "expected f32 operands, dense in the last "
                              "dimension");
  if (!prn_view_packed(prn_op_operand(op, R)))
    return prn_op_error(op, "expected recurrence weights in panels");
  return PRN_OK;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  (void)work;
  return cg_i64(k->g, 1);
}

static prn_v vec_at(cell *c, prn_v p, prn_v i, unsigned lanes, prn_v mask) {
  prn_cg *g = c->k->g;
  return prn_elem_load(g, PRN_F32, cg_at(g, g->f32, p, i), cg_i64(g, 1), lanes,
                       mask);
}

static void put_at(cell *c, prn_v v, prn_v p, prn_v i, unsigned lanes,
                   prn_v mask) {
  prn_cg *g = c->k->g;
  prn_elem_store(g, PRN_F32, v, cg_at(g, g->f32, p, i), cg_i64(g, 1), lanes,
                 mask);
}

/* Row b of a [.., batch, hidden] view at time t (NULL: no time). */
static prn_v row_of(cell *c, unsigned operand, prn_v t, prn_v b) {
  prn_cg *g = c->k->g;
  const prn_view *v = &c->k->v[operand];
  unsigned r = (unsigned)v->type->rank;
  prn_v at = prn_cg_mul(g, b, v->strides[r - 2]);
  if (t) at = prn_cg_add(g, at, prn_cg_mul(g, t, v->strides[r - 3]));
  return cg_at(g, g->f32, v->base, at);
}

/* ---- state in and out ---- */

typedef struct copy {
  cell *c;
  prn_v from, to; /* from NULL: zeros */
  prn_v stride;   /* of what is read */
} copy;

static void copy_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  const copy *w = user;
  prn_v v = LLVMConstNull(prn_cg_vec(g->f32, lanes));
  if (w->from)
    v = prn_elem_load(g, PRN_F32,
                      cg_at(g, g->f32, w->from, prn_cg_mul(g, i, w->stride)),
                      w->stride, lanes, mask);
  put_at(w->c, v, w->to, i, lanes, mask);
}

/* scratch state <- operand (or zeros), or operand <- scratch state. */
static void copy_state(cell *c, prn_v state, unsigned operand, bool out) {
  prn_cg *g = c->k->g;
  bool given = operand < c->k->n && c->k->v[operand].type;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), c->batch, 1, NULL, 0);
  prn_v row = cg_at(g, g->f32, state, prn_cg_mul(g, l.iv, c->hidden));
  prn_v view = given ? row_of(c, operand, NULL, l.iv) : NULL;
  copy w = {c, out ? row : view, out ? view : row, cg_i64(g, 1)};
  if (given && !out) w.stride = c->k->v[operand].strides[1];
  prn_cg_vloop(g, c->hidden, g->target->lanes, copy_step, &w);
  prn_loop_end(g, &l);
}

/* ---- products ---- */

/* gates[batch, cols] = a[batch, hidden] * columns [n0, n0 + cols) of R. */
static void product(cell *c, prn_v a, prn_v n0, prn_v n1) {
  prn_cg *g = c->k->g;
  int64_t nr = prn_target_nr(g->target);
  prn_v all = c->k->v[R].dims[1], step = cg_i64(g, nr);
  /* Whole panels that hold the columns. */
  prn_v first = prn_cg_mul(g, prn_cg_div(g, n0, step), step);
  prn_loop l;
  prn_loop_begin(g, &l, first, n1, nr, NULL, 0);
  prn_gemm_panel_args p = {
      .m = c->batch,
      .k = c->hidden,
      .a = a,
      .a_row = c->hidden,
      .a_col = cg_i64(g, 1),
      .b = cg_at(g, g->f32, c->k->v[R].base, prn_cg_mul(g, l.iv, c->hidden)),
      .c = cg_at(g, g->f32, c->gates, l.iv),
      .c_row = all,
      .cols = prn_cg_min(g, prn_cg_sub(g, all, l.iv), step),
      .acc = LLVMConstInt(g->i1, 0, 0),
  };
  prn_gemm_panel(g, &p);
  prn_loop_end(g, &l);
}

/* x w' + h r' of gate `i` (in units of hidden). */
static prn_v gate(cell *c, unsigned n, prn_v i, unsigned lanes, prn_v mask) {
  prn_cg *g = c->k->g;
  prn_v at = prn_cg_add(g, prn_cg_mul(g, c->hidden, cg_i64(g, n)), i);
  return cg_fadd(g, vec_at(c, c->xw, at, lanes, mask),
                 vec_at(c, c->g, at, lanes, mask));
}

/* ---- lstm: gates i o f c ---- */

static void lstm_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  cell *c = user;
  prn_v in = prn_vm_sigmoid(g, gate(c, 0, i, lanes, mask));
  prn_v out = prn_vm_sigmoid(g, gate(c, 1, i, lanes, mask));
  prn_v forget = prn_vm_sigmoid(g, gate(c, 2, i, lanes, mask));
  prn_v cand = prn_vm_tanh(g, gate(c, 3, i, lanes, mask));
  prn_v old = vec_at(c, c->c, i, lanes, mask);
  prn_v state = prn_cg_fma(g, forget, old, cg_fmul(g, in, cand));
  prn_v h = cg_fmul(g, out, prn_vm_tanh(g, state));
  put_at(c, state, c->c, i, lanes, mask);
  put_at(c, h, c->h, i, lanes, mask);
  put_at(c, h, c->y, i, lanes, mask);
}

/* ---- gru: gates z r h ---- */

static prn_v gru_bias(cell *c, unsigned n, prn_v i, unsigned lanes,
                      prn_v mask) {
  prn_cg *g = c->k->g;
  const prn_view *v = &c->k->v[GRU_BIAS];
  if (!v->type) return LLVMConstNull(prn_cg_vec(g->f32, lanes));
  prn_v at = prn_cg_add(g, prn_cg_mul(g, c->hidden, cg_i64(g, n)), i);
  return vec_at(c, v->base, at, lanes, mask);
}

static bool linear_first(const cell *c) {
  return prn_op_int(c->k->op, "linear_before_reset", 0) != 0;
}

static prn_v gru_update(cell *c, prn_v i, unsigned lanes, prn_v mask) {
  prn_cg *g = c->k->g;
  return prn_vm_sigmoid(g, cg_fadd(g, gate(c, 0, i, lanes, mask),
                                   gru_bias(c, 0, i, lanes, mask)));
}

/* r * h, for the product of the candidate; and z, which that product may
 * write over, kept where y will be. */
static void gru_reset(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  cell *c = user;
  put_at(c, gru_update(c, i, lanes, mask), c->y, i, lanes, mask);
  prn_v r =
      cg_fadd(g, gate(c, 1, i, lanes, mask), gru_bias(c, 1, i, lanes, mask));
  prn_v h = vec_at(c, c->h, i, lanes, mask);
  put_at(c, cg_fmul(g, prn_vm_sigmoid(g, r), h), c->c, i, lanes, mask);
}

static void gru_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  cell *c = user;
  prn_v z = linear_first(c) ? gru_update(c, i, lanes, mask)
                            : vec_at(c, c->y, i, lanes, mask);
  prn_v at = prn_cg_add(g, prn_cg_mul(g, c->hidden, cg_i64(g, 2)), i);
  prn_v u = cg_fadd(g, vec_at(c, c->g, at, lanes, mask),
                    gru_bias(c, 2, i, lanes, mask));
  if (linear_first(c)) {
    prn_v r =
        cg_fadd(g, gate(c, 1, i, lanes, mask), gru_bias(c, 1, i, lanes, mask));
    u = cg_fmul(g, prn_vm_sigmoid(g, r), u);
  }
  prn_v n = prn_vm_tanh(g, cg_fadd(g, vec_at(c, c->xw, at, lanes, mask), u));
  prn_v old = vec_at(c, c->h, i, lanes, mask);
  /* (1 - z) n + z h */
  prn_v h = prn_cg_fma(g, z, cg_fsub(g, old, n), n);
  put_at(c, h, c->h, i, lanes, mask);
  put_at(c, h, c->y, i, lanes, mask);
}

/* ---- rnn: one gate ---- */

static void rnn_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                     void *user) {
  cell *c = user;
  prn_scalar f = prn_scalar_find(prn_op_string(c->k->op, "fn", ""));
  prn_v h = prn_body_apply(g, f, PRN_F32, gate(c, 0, i, lanes, mask), NULL);
  put_at(c, h, c->h, i, lanes, mask);
  put_at(c, h, c->y, i, lanes, mask);
}

/* ---- all ---- */

static void all_rows(cell *c, prn_v t, prn_vloop_fn *step) {
  prn_cg *g = c->k->g;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), c->batch, 1, NULL, 0);
  prn_v at = prn_cg_mul(g, l.iv, c->hidden);
  c->xw = row_of(c, XW, t, l.iv);
  c->g = cg_at(g, g->f32, c->gates, prn_cg_mul(g, l.iv, c->k->v[R].dims[1]));
  c->h = cg_at(g, g->f32, c->state, at);
  c->c = cg_at(g, g->f32, c->extra, at);
  c->y = row_of(c, Y, t, l.iv);
  prn_cg_vloop(g, c->hidden, g->target->lanes, step, c);
  prn_loop_end(g, &l);
}

static void init(cell *c, prn_kernel *k) {
  static const unsigned slots[] = {LSTM_SCRATCH, GRU_SCRATCH, RNN_SCRATCH};
  prn_cg *g = k->g;
  *c = (cell){.k = k, .kind = kind_of(k->op)};
  unsigned scratch = slots[c->kind];
  c->seq = k->v[XW].dims[0];
  c->batch = k->v[XW].dims[1];
  c->hidden = k->v[R].dims[0];
  prn_v state = prn_cg_mul(g, c->batch, c->hidden);
  c->gates = k->v[scratch].base;
  c->state =
      cg_at(g, g->f32, c->gates, prn_cg_mul(g, c->batch, k->v[R].dims[1]));
  c->extra = cg_at(g, g->f32, c->state, state);
}

static void step_products(cell *c, prn_v t) {
  prn_cg *g = c->k->g;
  prn_v zero = cg_i64(g, 0), all = c->k->v[R].dims[1];
  prn_v two = prn_cg_mul(g, c->hidden, cg_i64(g, 2));
  if (c->kind != GRU || linear_first(c)) {
    product(c, c->state, zero, all);
  } else {
    /* The candidate needs r * h, which needs r: two products. The panel that
     * the border cuts is computed twice; z and r have been used by then. */
    product(c, c->state, zero, two);
    all_rows(c, t, gru_reset);
    product(c, c->extra, two, all);
  }
}

static void recur(prn_kernel *k) {
  static prn_vloop_fn *const steps[] = {lstm_step, gru_step, rnn_step};
  static const unsigned h0[] = {LSTM_H0, GRU_H0, RNN_H0};
  prn_cg *g = k->g;
  cell c;
  init(&c, k);
  bool lstm = c.kind == LSTM;
  prn_v one = cg_i64(g, 1);
  copy_state(&c, c.state, h0[c.kind], false);
  if (lstm) copy_state(&c, c.extra, LSTM_C0, false);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), c.seq, 1, NULL, 0);
  prn_v t = l.iv;
  if (prn_op_int(k->op, "reverse", 0))
    t = prn_cg_sub(g, prn_cg_sub(g, c.seq, one), t);
  step_products(&c, t);
  all_rows(&c, t, steps[c.kind]);
  prn_loop_end(g, &l);
  copy_state(&c, c.state, H, true);
  if (lstm) copy_state(&c, c.extra, LSTM_C, true);
}

const prn_kernel_kind prn_kernel_lstm = {check, items, recur, NULL};
const prn_kernel_kind prn_kernel_gru = {check, items, recur, NULL};
const prn_kernel_kind prn_kernel_rnn = {check, items, recur, NULL};
