/* onnx -> nn: what goes on step by step. Steps whose number is known are
 * written out one after the other: LinearAttention, and recurrent cells that no
 * kernel takes (onnx_to_nn_cells.c). Loops are unrolled before (unroll-loops).
 */
#include <math.h>

#include "passes/lower/onnx_to_nn.h"

enum {
  MAX_RANK = PRN_NN_MAX_RANK,
  MAX_WRITTEN = 1 << 14 /* operations that steps become */
};

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

prn_status prn_o2n_count_steps(const prn_op *op, prn_dim size, size_t each,
                               int64_t *out) {
  if (!prn_dim_is_const(size, out))
    return prn_o2n_unsupported(op, "a number of steps that is not constant");
  if (*out >= 0 && (uint64_t)*out <= MAX_WRITTEN / (each + 1)) return PRN_OK;
  return prn_o2n_unsupported(op, "%lld steps of %zu operations",
                             (long long)*out, each);
}

prn_status prn_o2n_inline(prn_o2n *e, const prn_op *op, prn_block *body,
                          prn_value *const *in, uint32_t n) {
  size_t errors = e->errors;
  prn_loc loc = e->b.loc;
  prn_str name = e->b.name;
  const prn_o2n_row *row = e->row;
  int64_t opset = e->opset;
  if (body->num_args != n)
    return prn_op_error(op, "the body takes %u values, found %u",
                        (unsigned)body->num_args, (unsigned)n);
  for (uint32_t i = 0; i < n; i++) {
    prn_value *arg = body->args[i];
    prn_value *v = in[i];
    if (prn_nn_is_sized(arg->type) && arg->type->rank == v->type->rank)
      v = prn_nn_reshape(&e->b, v, prn_nn_plain(e->ctx, arg->type));
    *prn_ptrmap_slot(&e->values, arg) = v;
  }
  prn_o2n_block(e, body);
  e->b.loc = loc;
  e->b.name = name;
  e->row = row;
  e->opset = opset;
  return e->errors > errors ? PRN_FAIL : PRN_OK;
}

prn_value *prn_o2n_given(prn_o2n *e, const prn_block *body, uint32_t i) {
  prn_value *v = body->last ? prn_op_operand(body->last, i) : NULL;
  return v ? prn_o2n_value(e, v) : NULL;
}

prn_value *prn_o2n_step(prn_o2n *e, prn_value *x, int32_t axis, int64_t t) {
  prn_dim dims[MAX_RANK];
  int32_t n = 0;
  for (int32_t i = 0; i < x->type->rank; i++)
    if (i != axis) dims[n++] = x->type->dims[i];
  x = prn_nn_slice_axis(&e->b, x, axis, prn_dim_const(e->ctx, t),
                        prn_dim_const(e->ctx, 1));
  return prn_nn_reshape_dims(&e->b, x, n, dims);
}

prn_value *prn_o2n_stack(prn_o2n *e, prn_value **parts, int64_t n,
                         int32_t axis) {
  prn_dim dims[MAX_RANK];
  const prn_type *t = parts[0]->type;
  for (int32_t i = 0; i <= t->rank; i++)
    dims[i] = i < axis    ? t->dims[i]
              : i == axis ? prn_dim_const(e->ctx, 1)
                          : t->dims[i - 1];
  for (int64_t i = 0; i < n; i++)
    parts[i] = prn_nn_reshape_dims(&e->b, parts[i], t->rank + 1, dims);
  dims[axis] = prn_dim_const(e->ctx, n);
  return prn_nn_concat(&e->b, parts, (uint32_t)n, axis,
                       prn_nn_type(e->ctx, t, t->rank + 1, dims));
}

/* ---- LinearAttention ---- */

typedef struct linear {
  prn_value *q, *k, *v, *decay, *beta; /* [b, t, heads, ...] */
  prn_value *state;                    /* [b, heads, dk, dv] */
  prn_dim b, heads, group, dk, dv;
  double scale;
  bool delta;
} linear;

/* x[b, t, h d] of step t as [b, h, rows, columns]. */
static prn_value *at_step(prn_o2n *e, prn_value *x, int64_t t, prn_dim b,
                          prn_dim h, prn_dim rows, prn_dim columns) {
  prn_dim dims[4] = {b, h, rows, columns};
  return prn_nn_reshape_dims(&e->b, prn_o2n_step(e, x, 1, t), 4, dims);
}

static prn_value *linear_step(prn_o2n *e, linear *l, int64_t t) {
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dtype dtype = l->state->type->dtype;
  prn_value *k = at_step(e, l->k, t, l->b, l->heads, l->dk, one);
  prn_value *row = at_step(e, l->k, t, l->b, l->heads, one, l->dk);
  prn_value *v = at_step(e, l->v, t, l->b, l->heads, one, l->dv);
  if (l->decay) {
    prn_dim each = prn_dim_floordiv(e->ctx, l->decay->type->dims[2], l->heads);
    prn_value *g = at_step(e, l->decay, t, l->b, l->heads, each, one);
    g = prn_nn_unary(&e->b, PRN_SCALAR_exp, g);
    l->state = binary(e, PRN_SCALAR_mul, l->state, g);
  }
  if (l->delta)
    v = binary(e, PRN_SCALAR_sub, v,
               prn_nn_matmul(&e->b, row, l->state, dtype));
  if (l->beta) {
    prn_dim h = l->beta->type->dims[2];
    v = binary(e, PRN_SCALAR_mul, v, at_step(e, l->beta, t, l->b, h, one, one));
  }
  l->state =
      binary(e, PRN_SCALAR_add, l->state, binary(e, PRN_SCALAR_mul, k, v));
  prn_value *q = at_step(e, l->q, t, l->b, l->heads, l->group, l->dk);
  q = prn_nn_matmul(&e->b, q, l->state, dtype);
  q = prn_nn_with(&e->b, PRN_SCALAR_mul, q, l->scale);
  prn_dim dims[2] = {
      l->b,
      prn_dim_mul(e->ctx, prn_dim_mul(e->ctx, l->heads, l->group), l->dv)};
  return prn_nn_reshape_dims(&e->b, q, 2, dims);
}

static prn_status lower_linear_attention(prn_o2n *e, prn_op *op) {
  linear l = {.q = prn_o2n_in(e, op, 0),
              .k = prn_o2n_in(e, op, 1),
              .v = prn_o2n_in(e, op, 2),
              .state = prn_o2n_in(e, op, 3)};
  prn_str rule = prn_op_string(op, "update_rule", "gated_delta");
  int64_t heads = prn_op_int(op, "kv_num_heads", 0), steps, dk;
  int64_t queries = prn_op_int(op, "q_num_heads", 0);
  if (heads < 1 || queries < heads || queries % heads || l.q->type->rank != 3 ||
      l.k->type->rank != 3 || l.v->type->rank != 3)
    return prn_op_error(op, "expects q, k and v [batch, time, heads*size]");
  l.delta = prn_str_ends(rule, "delta");
  if (l.delta) l.beta = prn_o2n_in(e, op, 5);
  if (prn_str_starts(rule, "gated")) l.decay = prn_o2n_in(e, op, 4);
  l.b = l.q->type->dims[0];
  l.heads = prn_dim_const(e->ctx, heads);
  l.group = prn_dim_const(e->ctx, queries / heads);
  l.dk = prn_dim_floordiv(e->ctx, l.k->type->dims[2], l.heads);
  l.dv = prn_dim_floordiv(e->ctx, l.v->type->dims[2], l.heads);
  if (!prn_dim_is_const(l.dk, &dk) || dk < 1)
    return prn_o2n_unsupported(op, "a size of heads that is not constant");
  l.scale = (double)prn_op_float(op, "scale", 0);
  if (!(l.scale < 0 || l.scale > 0)) l.scale = 1 / sqrt((double)dk);
  PRN_TRY(prn_o2n_count_steps(op, l.q->type->dims[1], 16, &steps));
  if (steps == 0) return prn_o2n_unsupported(op, "no steps at all");
  if (!l.state) {
    prn_dim dims[4] = {l.b, l.heads, l.dk, l.dv};
    l.state = prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, l.q->type->dtype, 0),
                               prn_nn_type(e->ctx, l.q->type, 4, dims));
  }
  prn_value **out = PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, steps);
  for (int64_t t = 0; t < steps; t++)
    out[t] = linear_step(e, &l, t);
  if (prn_o2n_wanted(op, 0))
    PRN_TRY(prn_o2n_set(e, op, 0, prn_o2n_stack(e, out, steps, 1)));
  return prn_o2n_wanted(op, 1) ? prn_o2n_set(e, op, 1, l.state) : PRN_OK;
}

const prn_o2n_row prn_o2n_steps[] = {
    {"LinearAttention", lower_linear_attention, 0, 0},
    {NULL, NULL, 0, 0},
};
