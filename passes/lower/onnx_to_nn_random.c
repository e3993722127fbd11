/* onnx -> nn: random numbers.
 *
 * A number is a function of the node's key and of its position: SplitMix64
 * (Steele, Lea and Flood, OOPSLA 2014), which takes the state after i steps
 * from i alone. So results are the same in every run, at any number of threads
 * and on any machine. The key is the node's seed, or without one the node's
 * place among those that draw; a run draws what the last one drew. */
#include <math.h>
#include <string.h>

#include "passes/lower/onnx_to_nn.h"

/* The step of the generator, and the constants of its output function. */
static const uint64_t step = UINT64_C(0x9e3779b97f4a7c15),
                      first = UINT64_C(0xbf58476d1ce4e5b9),
                      second = UINT64_C(0x94d049bb133111eb);

static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * first;
  z = (z ^ (z >> 27)) * second;
  return z ^ (z >> 31);
}

/* Of draw number `draw` of the node. */
static uint64_t key_of(prn_o2n *e, const prn_op *op, uint64_t draw) {
  const prn_attr *seed = prn_op_attr(op, "seed");
  uint32_t bits = 0;
  if (seed) memcpy(&bits, &seed->f, sizeof bits);
  uint64_t key = seed ? bits : (UINT64_C(1) << 32) + e->draws++;
  return mix(mix(key + step) + draw * step);
}

static prn_value *word(prn_nn *b, uint64_t v) {
  const prn_type *t = prn_type_tensor(b->ctx, PRN_U64, 0, NULL);
  return prn_nn_constant(b, prn_tensor_from_data(b->ctx, t, &v));
}

/* z ^ (z >> by) */
static prn_value *fold(prn_nn *b, prn_value *z, unsigned by) {
  prn_value *high = prn_nn_binary(b, PRN_SCALAR_shr, z, word(b, by));
  return prn_nn_binary(b, PRN_SCALAR_bitxor, z, high);
}

/* 64 random bits for each element of a shape. */
static prn_value *draw_bits(prn_nn *b, int32_t rank, const prn_dim *dims,
                            uint64_t key) {
  prn_dim count = prn_dim_const(b->ctx, 1);
  for (int32_t i = 0; i < rank; i++)
    count = prn_dim_mul(b->ctx, count, dims[i]);
  prn_value *i =
      prn_nn_iota(b, prn_type_tensor(b->ctx, PRN_I64, 1, &count), 0,
                  prn_dim_const(b->ctx, 1), prn_dim_const(b->ctx, 1));
  prn_value *z = prn_nn_binary(b, PRN_SCALAR_mul, prn_nn_cast(b, i, PRN_U64),
                               word(b, step));
  z = fold(b, prn_nn_binary(b, PRN_SCALAR_add, z, word(b, key)), 30);
  z = fold(b, prn_nn_binary(b, PRN_SCALAR_mul, z, word(b, first)), 27);
  z = fold(b, prn_nn_binary(b, PRN_SCALAR_mul, z, word(b, second)), 31);
  return prn_nn_reshape_dims(b, z, rank, dims);
}

/* Uniform in (0, 1): (k + 1/2) / 2^n of the highest n bits, as many as the type
 * can hold without rounding up to 1. */
static prn_value *uniform(prn_nn *b, int32_t rank, const prn_dim *dims,
                          uint64_t key, prn_dtype t) {
  unsigned bits = t == PRN_F64 ? 52 : 23;
  prn_value *z = draw_bits(b, rank, dims, key);
  z = prn_nn_binary(b, PRN_SCALAR_shr, z, word(b, 64 - bits));
  prn_value *k = prn_nn_with(b, PRN_SCALAR_add, prn_nn_cast(b, z, t), 0.5);
  return prn_nn_with(b, PRN_SCALAR_mul, k, ldexp(1, -(int)bits));
}

/* In which type numbers of type t are made. */
static prn_dtype made_in(prn_dtype t) {
  return t == PRN_F64 ? PRN_F64 : PRN_F32;
}

/* low + (high - low) u */
static prn_value *between(prn_nn *b, prn_value *u, double low, double high) {
  u = prn_nn_with(b, PRN_SCALAR_mul, u, high - low);
  return prn_nn_with(b, PRN_SCALAR_add, u, low);
}

static prn_status lower_uniform(prn_o2n *e, prn_op *op) {
  const prn_type *t = prn_o2n_out(e, op, 0);
  prn_value *u =
      uniform(&e->b, t->rank, t->dims, key_of(e, op, 0), made_in(t->dtype));
  u = between(&e->b, u, (double)prn_op_float(op, "low", 0),
              (double)prn_op_float(op, "high", 1));
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, u, t->dtype));
}

/* Box and Muller: sqrt(-2 log u) cos(2 pi v). */
static prn_status lower_normal(prn_o2n *e, prn_op *op) {
  static const double two_pi = 6.283185307179586477;
  prn_nn *b = &e->b;
  const prn_type *t = prn_o2n_out(e, op, 0);
  prn_dtype d = made_in(t->dtype);
  uint64_t key = key_of(e, op, 0);
  prn_value *u = uniform(b, t->rank, t->dims, key, d);
  prn_value *v = uniform(b, t->rank, t->dims, mix(key), d);
  u = prn_nn_with(b, PRN_SCALAR_mul, prn_nn_unary(b, PRN_SCALAR_log, u), -2);
  v = prn_nn_with(b, PRN_SCALAR_mul, v, two_pi);
  u = prn_nn_binary(b, PRN_SCALAR_mul, prn_nn_unary(b, PRN_SCALAR_sqrt, u),
                    prn_nn_unary(b, PRN_SCALAR_cos, v));
  u = prn_nn_with(b, PRN_SCALAR_mul, u, (double)prn_op_float(op, "scale", 1));
  u = prn_nn_with(b, PRN_SCALAR_add, u, (double)prn_op_float(op, "mean", 0));
  return prn_o2n_set(e, op, 0, prn_nn_cast(b, u, t->dtype));
}

static prn_status lower_bernoulli(prn_o2n *e, prn_op *op) {
  prn_value *p = prn_o2n_in(e, op, 0);
  const prn_type *t = prn_o2n_out(e, op, 0);
  prn_dtype d = made_in(p->type->dtype);
  prn_value *u =
      uniform(&e->b, p->type->rank, p->type->dims, key_of(e, op, 0), d);
  prn_value *yes =
      prn_nn_binary(&e->b, PRN_SCALAR_lt, u, prn_nn_cast(&e->b, p, d));
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, yes, t->dtype));
}

/* The class of the largest log-probability plus -log(-log u), which is each
 * with its probability (Gumbel, 1954). */
static prn_status lower_multinomial(prn_o2n *e, prn_op *op) {
  prn_nn *b = &e->b;
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *t = prn_o2n_out(e, op, 0);
  prn_dtype d = made_in(x->type->dtype);
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dim dims[3] = {x->type->dims[0], t->dims[1], x->type->dims[1]};
  prn_dim under[3] = {x->type->dims[0], one, x->type->dims[1]};
  prn_dim drawn[3] = {x->type->dims[0], t->dims[1], one};
  prn_value *g = uniform(b, 3, dims, key_of(e, op, 0), d);
  for (int i = 0; i < 2; i++)
    g = prn_nn_unary(b, PRN_SCALAR_neg, prn_nn_unary(b, PRN_SCALAR_log, g));
  x = prn_nn_reshape_dims(b, prn_nn_cast(b, x, d), 3, under);
  x = prn_nn_binary(b, PRN_SCALAR_add, x, g);
  prn_value *best = prn_nn_make(b, PRN_OP_nn_arg_reduce, &x, 1,
                                prn_type_tensor(e->ctx, PRN_I64, 3, drawn));
  prn_op_set_attr(best->def, "fn", prn_attr_string(e->ctx, PRN_STR("max")));
  prn_op_set_attr(best->def, "axis", prn_attr_int(e->ctx, 2));
  best = prn_nn_reshape_dims(b, best, 2, t->dims);
  return prn_o2n_set(e, op, 0, prn_nn_cast(b, best, t->dtype));
}

/* Elements that stay are divided by the share of those that do. */
static prn_status drop(prn_o2n *e, prn_op *op, double ratio) {
  prn_nn *b = &e->b;
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_dtype d = made_in(x->type->dtype);
  prn_value *u = uniform(b, x->type->rank, x->type->dims, key_of(e, op, 0), d);
  prn_value *stays =
      prn_nn_binary(b, PRN_SCALAR_ge, u, prn_nn_scalar(b, d, ratio));
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, stays));
  double scale = ratio < 1 ? 1 / (1 - ratio) : 0;
  prn_value *y =
      prn_nn_select(b, stays, prn_nn_with(b, PRN_SCALAR_mul, x, scale),
                    prn_nn_scalar(b, x->type->dtype, 0));
  return prn_o2n_set(e, op, 0, y);
}

static prn_status lower_dropout(prn_o2n *e, prn_op *op) {
  double training = 0, ratio = 0.5;
  if (prn_o2n_has(op, 2)) PRN_TRY(prn_o2n_number(e, op, 2, &training));
  if (training != 0 && prn_o2n_has(op, 1))
    PRN_TRY(prn_o2n_number(e, op, 1, &ratio));
  if (training != 0 && !(ratio >= 0 && ratio <= 1))
    return prn_op_error(op, "drops a share of %g", ratio);
  if (training != 0 && ratio > 0) return drop(e, op, ratio);
  if (prn_o2n_wanted(op, 1)) {
    prn_value *yes = prn_nn_scalar(&e->b, PRN_BOOL, 1);
    const prn_type *type = prn_o2n_out(e, op, 1);
    PRN_TRY(prn_o2n_set(e, op, 1, prn_nn_broadcast(&e->b, yes, type)));
  }
  return prn_o2n_set(e, op, 0, prn_o2n_in(e, op, 0));
}

const prn_o2n_row prn_o2n_random[] = {
    {"RandomUniform", lower_uniform, 0, 0},
    {"RandomUniformLike", lower_uniform, 1, 0},
    {"RandomNormal", lower_normal, 0, 0},
    {"RandomNormalLike", lower_normal, 1, 0},
    {"Bernoulli", lower_bernoulli, 0, 0},
    {"Multinomial", lower_multinomial, 0, 0},
    {"Dropout", lower_dropout, 6, 0},
    {NULL, NULL, 0, 0},
};
