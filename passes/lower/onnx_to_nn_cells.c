/* onnx -> nn: recurrent cells step by step, for what the kernels of nn.lstm and
 * nn.gru do not take: RNN, other activations, peepholes, clipping, sequences of
 * different lengths, weights that are not constant. */
#include "passes/lower/onnx_to_nn_recurrent.h"

typedef prn_o2n_cell cell;

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static prn_value *add(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_add, x, y);
}

static prn_value *mul(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_mul, x, y);
}

/* ---- activations ---- */

static const struct {
  const char *name;
  prn_scalar fn;
} functions[] = {{"Sigmoid", PRN_SCALAR_sigmoid},
                 {"Tanh", PRN_SCALAR_tanh},
                 {"Relu", PRN_SCALAR_relu}};

/* One direction of a cell, and where it is. */
typedef struct walk {
  prn_o2n *e;
  const cell *c;
  prn_scalar f[3];
  double clip;          /* 0: none */
  prn_value *xw;        /* [seq, batch, gates hidden], biases of w added */
  prn_value *r;         /* [hidden, gates hidden] */
  prn_value *rb;        /* [gates hidden] or NULL */
  prn_value *p;         /* peepholes [3 hidden] or NULL */
  prn_value *h, *s;     /* state, and that of an LSTM's cell */
  prn_value *lengths;   /* [batch, 1], i64, or NULL */
  bool before, coupled; /* linear_before_reset, input_forget */
} walk;

static prn_status find_functions(const prn_op *op, const cell *c, int32_t d,
                                 prn_scalar *out) {
  static const char *const usual[3] = {"Sigmoid", "Tanh", "Tanh"};
  const prn_attr *a = prn_op_attr(op, "activations");
  uint32_t each = c->gates == 1 ? 1 : c->lstm ? 3 : 2;
  for (uint32_t i = 0; i < each; i++) {
    uint32_t at = (uint32_t)d * each + i;
    prn_str name = prn_str_from(each == 1 ? "Tanh" : usual[i]);
    if (a && a->kind == PRN_ATTR_STRINGS && at < a->size) name = a->strings[at];
    bool known = false;
    for (size_t k = 0; k < PRN_COUNT(functions); k++) {
      if (!prn_str_is(name, functions[k].name)) continue;
      out[i] = functions[k].fn;
      known = true;
    }
    if (!known)
      return prn_o2n_unsupported(op, "activation '%.*s'", PRN_STR_ARG(name));
  }
  return PRN_OK;
}

static prn_value *apply(const walk *w, uint32_t f, prn_value *x) {
  prn_nn *b = &w->e->b;
  if (w->clip > 0) {
    x = prn_nn_with(b, PRN_SCALAR_min, x, w->clip);
    x = prn_nn_with(b, PRN_SCALAR_max, x, -w->clip);
  }
  return prn_nn_unary(b, w->f[f], x);
}

/* ---- gates ---- */

/* Columns of gate g of v[.., gates hidden]. */
static prn_value *gate(const walk *w, prn_value *v, int64_t g) {
  prn_dim from =
      prn_dim_mul(w->e->ctx, w->c->hidden, prn_dim_const(w->e->ctx, g));
  return v ? prn_nn_slice_axis(&w->e->b, v, v->type->rank - 1, from,
                               w->c->hidden)
           : NULL;
}

static prn_value *recurrence(const walk *w, prn_value *h, prn_value *r,
                             prn_value *bias) {
  h = prn_nn_matmul(&w->e->b, h, r, h->type->dtype);
  return bias ? add(w->e, h, bias) : h;
}

static void rnn_step(walk *w, prn_value *x) {
  w->h = apply(w, 0, add(w->e, x, recurrence(w, w->h, w->r, w->rb)));
}

/* (1 - z) candidate + z h */
static void gru_step(walk *w, prn_value *x) {
  prn_o2n *e = w->e;
  prn_value *a[3];
  for (int64_t g = 0; g < 2; g++)
    a[g] = apply(w, 0,
                 add(e, gate(w, x, g),
                     recurrence(w, w->h, gate(w, w->r, g), gate(w, w->rb, g))));
  prn_value *rh = gate(w, w->r, 2), *bias = gate(w, w->rb, 2);
  a[2] = w->before ? mul(e, a[1], recurrence(w, w->h, rh, bias))
                   : recurrence(w, mul(e, a[1], w->h), rh, bias);
  a[2] = apply(w, 1, add(e, gate(w, x, 2), a[2]));
  w->h = add(e, a[2], mul(e, a[0], binary(e, PRN_SCALAR_sub, w->h, a[2])));
}

static prn_value *peeped(const walk *w, prn_value *x, int64_t g) {
  return w->p ? add(w->e, x, mul(w->e, gate(w, w->p, g), w->s)) : x;
}

static void lstm_step(walk *w, prn_value *x) {
  prn_o2n *e = w->e;
  prn_value *a[4];
  x = add(e, x, recurrence(w, w->h, w->r, w->rb));
  for (int64_t g = 0; g < 4; g++)
    a[g] = gate(w, x, g);
  prn_value *i = apply(w, 0, peeped(w, a[0], 0)), *f;
  if (w->coupled)
    f = prn_nn_with(&e->b, PRN_SCALAR_add,
                    prn_nn_unary(&e->b, PRN_SCALAR_neg, i), 1);
  else
    f = apply(w, 0, peeped(w, a[2], 2));
  w->s = add(e, mul(e, f, w->s), mul(e, i, apply(w, 1, a[3])));
  prn_value *o = apply(w, 0, peeped(w, a[1], 1));
  w->h = mul(e, o, prn_nn_unary(&e->b, w->f[2], w->s));
}

/* ---- one direction ---- */

/* Past the end of a sequence the state stays, and the output is 0. */
static prn_value *step(walk *w, int64_t t) {
  prn_o2n *e = w->e;
  prn_value *h = w->h, *s = w->s, *x = prn_o2n_step(e, w->xw, 0, t);
  (w->c->gates == 1 ? rnn_step : w->c->lstm ? lstm_step : gru_step)(w, x);
  if (!w->lengths) return w->h;
  prn_value *on = prn_nn_with(&e->b, PRN_SCALAR_gt, w->lengths, (double)t);
  prn_value *zero = prn_nn_scalar(&e->b, w->h->type->dtype, 0);
  prn_value *y = prn_nn_select(&e->b, on, w->h, zero);
  w->h = prn_nn_select(&e->b, on, w->h, h);
  if (s) w->s = prn_nn_select(&e->b, on, w->s, s);
  return y;
}

static prn_value *zeros(const walk *w, prn_dtype dtype) {
  prn_dim dims[2] = {w->c->batch, w->c->hidden};
  prn_nn *b = &w->e->b;
  return prn_nn_broadcast(b, prn_nn_scalar(b, dtype, 0),
                          prn_type_tensor(w->e->ctx, dtype, 2, dims));
}

/* x w' + bias for all steps at once. */
static prn_value *input_products(const walk *w, prn_value *x, prn_value *weight,
                                 prn_value *bias) {
  static const int64_t swap[2] = {1, 0};
  prn_o2n *e = w->e;
  prn_dim columns = weight->type->dims[0];
  prn_dim flat[2] = {prn_dim_mul(e->ctx, w->c->seq, w->c->batch),
                     x->type->dims[2]};
  prn_dim dims[3] = {w->c->seq, w->c->batch, columns};
  x = prn_nn_reshape_dims(&e->b, x, 2, flat);
  x = prn_nn_matmul(&e->b, x, prn_nn_transpose(&e->b, weight, swap),
                    x->type->dtype);
  if (bias) x = add(e, x, bias);
  return prn_nn_reshape_dims(&e->b, x, 3, dims);
}

static prn_value *half(prn_o2n *e, prn_value *bias, int64_t which) {
  if (!bias) return NULL;
  prn_dim n =
      prn_dim_floordiv(e->ctx, bias->type->dims[0], prn_dim_const(e->ctx, 2));
  return prn_nn_slice_axis(&e->b, bias, 0, which ? n : prn_dim_const(e->ctx, 0),
                           n);
}

prn_status prn_o2n_walk_cell(prn_o2n *e, const prn_op *op, const cell *c,
                             prn_value *const *in, int32_t d, bool reverse,
                             prn_value **out) {
  static const int64_t swap[2] = {1, 0};
  walk w = {.e = e,
            .c = c,
            .h = in[PRN_O2N_H0],
            .s = in[PRN_O2N_C0],
            .p = in[PRN_O2N_PEEPHOLES],
            .clip = (double)prn_op_float(op, "clip", 0),
            .before = prn_op_int(op, "linear_before_reset", 0) != 0,
            .coupled = prn_op_int(op, "input_forget", 0) != 0};
  int64_t steps;
  prn_dtype dtype = in[PRN_O2N_X]->type->dtype;
  PRN_TRY(find_functions(op, c, d, w.f));
  PRN_TRY(prn_o2n_count_steps(op, c->seq, 32, &steps));
  if (steps == 0) return prn_o2n_unsupported(op, "sequences of no steps");
  w.xw = input_products(&w, in[PRN_O2N_X], in[PRN_O2N_W],
                        half(e, in[PRN_O2N_B], 0));
  w.r = prn_nn_transpose(&e->b, in[PRN_O2N_R], swap);
  w.rb = half(e, in[PRN_O2N_B], 1);
  if (!w.h) w.h = zeros(&w, dtype);
  if (c->lstm && !w.s) w.s = zeros(&w, dtype);
  if (in[PRN_O2N_LENGTHS]) {
    prn_dim dims[2] = {c->batch, prn_dim_const(e->ctx, 1)};
    w.lengths = prn_nn_cast(&e->b, in[PRN_O2N_LENGTHS], PRN_I64);
    w.lengths = prn_nn_reshape_dims(&e->b, w.lengths, 2, dims);
  }
  prn_value **y = PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, steps);
  for (int64_t t = 0; t < steps; t++) {
    int64_t at = reverse ? steps - 1 - t : t;
    y[at] = step(&w, at);
  }
  out[0] = prn_o2n_stack(e, y, steps, 0);
  out[1] = w.h;
  out[2] = w.s;
  return PRN_OK;
}
