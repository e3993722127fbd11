/* onnx -> nn: attention as com.microsoft has it. Projections, biases and masks
 * are operands of one node there; here they become what the standard operators
 * are lowered to. Reference: ContribOperators.md of ONNX Runtime, whose CPU
 * kernels decide what is left open there. */
#include <math.h>

#include "passes/lower/onnx_to_nn_heads.h"

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static const int64_t swap_heads[4] = {0, 2, 1, 3};

/* ---- masks ---- */

/* Which keys a mask allows, as [batch, 1, queries or 1, keys]: the number of
 * keys that count, or also the first that does; or a number for each key, or
 * for each pair. */
static prn_status key_mask(prn_o2n *e, const prn_op *op, prn_value *mask,
                           const prn_o2n_masking *m, prn_dim batch,
                           prn_value **out) {
  prn_dim one = prn_dim_const(e->ctx, 1);
  const prn_dim *d = mask->type->dims;
  prn_dim dims[4] = {batch, one, one, m->keys};
  int32_t rank = mask->type->rank;
  if (rank == 2 || rank == 3) {
    if (rank == 3) dims[2] = d[1];
    dims[3] = d[rank - 1];
    mask = prn_nn_reshape_dims(&e->b, mask, 4, dims);
    *out = prn_nn_with(&e->b, PRN_SCALAR_ne, mask, 0);
    return PRN_OK;
  }
  bool starts = rank == 1 && d[0] != batch;
  if (rank != 1 ||
      (starts && d[0] != prn_dim_mul(e->ctx, batch, prn_dim_const(e->ctx, 2))))
    return prn_o2n_unsupported(op, "a mask of type %s",
                               prn_type_str(e->ctx, mask->type));
  dims[3] = one;
  prn_value *at = prn_nn_iota(
      &e->b, prn_type_tensor(e->ctx, mask->type->dtype, 1, &m->keys), 0, NULL,
      NULL);
  prn_value *end =
      prn_nn_slice_axis(&e->b, mask, 0, prn_dim_const(e->ctx, 0), batch);
  end = prn_nn_reshape_dims(&e->b, end, 4, dims);
  *out = binary(e, PRN_SCALAR_lt, at, end);
  if (!starts) return PRN_OK;
  prn_value *first = prn_nn_slice_axis(&e->b, mask, 0, batch, batch);
  first = prn_nn_reshape_dims(&e->b, first, 4, dims);
  *out = binary(e, PRN_SCALAR_and, *out, binary(e, PRN_SCALAR_ge, at, first));
  return PRN_OK;
}

/* What is added to the scores, or NULL: masked ones get a large negative
 * number, so that a query whose keys are all masked still sees them. */
static prn_status ms_bias(prn_o2n *e, const prn_op *op, uint32_t mask_at,
                          uint32_t bias_at, const prn_o2n_masking *m,
                          prn_dim batch, prn_value **out) {
  prn_value *mask = prn_o2n_in(e, op, mask_at);
  prn_value *position = prn_o2n_allowed(e, m), *ok = NULL;
  double filter = (double)prn_op_float(op, "mask_filter_value", -10000);
  *out = prn_o2n_in(e, op, bias_at);
  if (position) {
    prn_value *b = prn_o2n_as_bias(e, m, position);
    *out = *out ? binary(e, PRN_SCALAR_add, *out, b) : b;
  }
  if (!mask) return PRN_OK;
  PRN_TRY(key_mask(e, op, mask, m, batch, &ok));
  prn_value *b = prn_nn_select(&e->b, ok, prn_nn_scalar(&e->b, m->dtype, 0),
                               prn_nn_scalar(&e->b, m->dtype, filter));
  *out = *out ? binary(e, PRN_SCALAR_add, *out, b) : b;
  return PRN_OK;
}

/* ---- shared steps ---- */

static prn_status scale_of(const prn_op *op, const prn_o2n_heads *h,
                           double *out) {
  int64_t size;
  *out = (double)prn_op_float(op, "scale", 0);
  if (*out != 0) return PRN_OK;
  if (!prn_dim_is_const(h->q->type->dims[3], &size) || size < 1)
    return prn_o2n_unsupported(op, "a head size that is not constant");
  *out = 1 / sqrt((double)size);
  return PRN_OK;
}

static prn_o2n_masking masking_of(const prn_o2n_heads *h, const prn_value *past,
                                  bool causal) {
  return (prn_o2n_masking){.queries = h->q->type->dims[2],
                           .keys = h->k->type->dims[2],
                           .past = past ? past->type->dims[2] : NULL,
                           .dtype = h->q->type->dtype,
                           .causal = causal,
                           .left = -1,
                           .right = -1};
}

/* y[batch, heads, seq, size] with the heads side by side. */
static prn_status set_joined(prn_o2n *e, prn_op *op, prn_value *y) {
  return prn_o2n_set_shape(e, op, 0, prn_nn_transpose(&e->b, y, swap_heads));
}

static prn_status refuse(prn_o2n *e, const prn_op *op, uint32_t i,
                         const char *what) {
  (void)e;
  return prn_o2n_has(op, i) ? prn_o2n_unsupported(op, "%s", what) : PRN_OK;
}

/* Operand i is absent or has so many dimensions. */
static prn_status check_rank(const prn_op *op, uint32_t i, int32_t rank) {
  const prn_value *v = prn_op_operand(op, i);
  if (!v || v->type->rank == rank) return PRN_OK;
  return prn_op_error(op, "%s has %d dimensions, expected %d", prn_value_str(v),
                      (int)v->type->rank, (int)rank);
}

/* Columns [*from, *from + size) of the last axis. */
static prn_value *columns(prn_o2n *e, prn_value *x, prn_dim *from,
                          prn_dim size) {
  prn_value *r = prn_nn_slice_axis(&e->b, x, x->type->rank - 1, *from, size);
  *from = prn_dim_add(e->ctx, *from, size);
  return r;
}

/* Entry i of an axis of size n, which goes. */
static prn_value *entry(prn_o2n *e, prn_value *x, int32_t axis, int64_t i) {
  prn_dim dims[PRN_NN_MAX_RANK];
  int32_t rank = 0;
  prn_value *r = prn_nn_slice_axis(&e->b, x, axis, prn_dim_const(e->ctx, i),
                                   prn_dim_const(e->ctx, 1));
  for (int32_t k = 0; k < x->type->rank; k++)
    if (k != axis) dims[rank++] = x->type->dims[k];
  return prn_nn_reshape_dims(&e->b, r, rank, dims);
}

/* ---- Attention ---- */

enum { INPUT, WEIGHTS, BIAS };

/* Where the two kinds of Attention have what comes after the projection. */
typedef struct places {
  uint32_t mask, past, added, past_length;
} places;

enum { ABSENT = UINT32_MAX };
static const places plain_places = {3, 4, 5, 6};
static const places quantised_places = {5, 8, ABSENT, ABSENT};

/* Scales and zero points of QAttention. */
enum { INPUT_SCALE = 3, WEIGHT_SCALE, INPUT_ZERO = 6, WEIGHT_ZERO };

/* input * weights + bias, of floats or bytes. */
static prn_status project(prn_o2n *e, prn_op *op, bool quantised,
                          prn_value **out) {
  prn_value *x = prn_o2n_in(e, op, INPUT), *w = prn_o2n_in(e, op, WEIGHTS);
  prn_value *bias = prn_o2n_in(e, op, BIAS);
  prn_o2n_slots s = {INPUT, INPUT_ZERO, WEIGHTS, WEIGHT_ZERO, false, false};
  if (quantised) {
    prn_value *scale = binary(e, PRN_SCALAR_mul, prn_o2n_in(e, op, INPUT_SCALE),
                              prn_o2n_in(e, op, WEIGHT_SCALE));
    PRN_TRY(prn_o2n_matrix_product(e, op, s, out));
    *out = prn_nn_cast(&e->b, *out, scale->type->dtype);
    *out = binary(e, PRN_SCALAR_mul, *out, scale);
  } else {
    *out = prn_nn_matmul(&e->b, x, w, x->type->dtype);
  }
  if (bias) *out = binary(e, PRN_SCALAR_add, *out, bias);
  return PRN_OK;
}

/* Keys and values that were seen, in one tensor. */
static prn_status set_present(prn_o2n *e, prn_op *op, const prn_o2n_heads *h) {
  prn_value *parts[2] = {h->k, h->v};
  prn_dim dims[5] = {prn_dim_const(e->ctx, 1)};
  if (!prn_o2n_wanted(op, 1)) return PRN_OK;
  for (int32_t i = 0; i < 4; i++)
    dims[i + 1] = h->k->type->dims[i];
  for (int i = 0; i < 2; i++)
    parts[i] = prn_nn_reshape_dims(&e->b, parts[i], 5, dims);
  dims[0] = prn_dim_const(e->ctx, 2);
  return prn_o2n_set(e, op, 1,
                     prn_nn_concat(&e->b, parts, 2, 0,
                                   prn_nn_type(e->ctx, h->k->type, 5, dims)));
}

/* The sizes of queries, keys and values, side by side in the weight. */
static prn_status qkv_sizes(prn_o2n *e, const prn_op *op, const prn_type *w,
                            prn_dim out[3]) {
  size_t n;
  const int64_t *sizes = prn_op_ints(op, "qkv_hidden_sizes", &n);
  int64_t heads = prn_op_int(op, "num_heads", 1), total = 0, all;
  for (size_t i = 0; i < 3; i++) {
    out[i] = prn_dim_floordiv(e->ctx, w->dims[1], prn_dim_const(e->ctx, 3));
    if (n == 0) continue;
    bool fits = n == 3 && sizes[i] > 0 && sizes[i] % heads == 0 &&
                prn_add_i64(total, sizes[i], &total);
    if (!fits || sizes[0] != sizes[1])
      return prn_op_error(op, "qkv_hidden_sizes must be three multiples of the "
                              "number of heads, the first two equal");
    out[i] = prn_dim_const(e->ctx, sizes[i]);
  }
  if (n && prn_dim_is_const(w->dims[1], &all) && all != total)
    return prn_op_error(op,
                        "qkv_hidden_sizes come to %lld, the weight has "
                        "%lld columns",
                        (long long)total, (long long)all);
  return PRN_OK;
}

static prn_status check_attention(prn_o2n *e, const prn_op *op,
                                  const places *at) {
  if (prn_op_int(op, "do_rotary", 0))
    return prn_o2n_unsupported(op, "do_rotary");
  PRN_TRY(refuse(e, op, at->past_length, "a cache that is updated in place"));
  PRN_TRY(check_rank(op, at->past, 5));
  PRN_TRY(check_rank(op, BIAS, 1));
  if (prn_op_operand(op, INPUT)->type->rank != 3 ||
      prn_op_operand(op, WEIGHTS)->type->rank != 2)
    return prn_op_error(op, "expects input[batch, seq, in] and weights[in, "
                            "queries + keys + values]");
  return PRN_OK;
}

static prn_status lower_attention(prn_o2n *e, prn_op *op) {
  bool quantised = prn_str_is(op->opname->name, "QAttention");
  const places *at = quantised ? &quantised_places : &plain_places;
  int64_t n = prn_op_int(op, "num_heads", 1);
  bool causal = prn_op_int(op, "unidirectional", 0) != 0;
  prn_o2n_heads h = {0};
  prn_dim sizes[3], from = prn_dim_const(e->ctx, 0);
  prn_value *all, *bias, **parts[3] = {&h.q, &h.k, &h.v};
  double scale;
  PRN_TRY(check_attention(e, op, at));
  PRN_TRY(qkv_sizes(e, op, prn_op_operand(op, WEIGHTS)->type, sizes));
  PRN_TRY(project(e, op, quantised, &all));
  for (int i = 0; i < 3; i++)
    *parts[i] = prn_o2n_split_heads(e, columns(e, all, &from, sizes[i]), n);
  prn_value *past = prn_o2n_in(e, op, at->past);
  if (past) {
    h.k = prn_o2n_cached(e, entry(e, past, 0, 0), h.k);
    past = entry(e, past, 0, 1);
    h.v = prn_o2n_cached(e, past, h.v);
  }
  prn_o2n_count_heads(e, &h);
  PRN_TRY(scale_of(op, &h, &scale));
  prn_o2n_masking m = masking_of(&h, past, causal);
  PRN_TRY(ms_bias(e, op, at->mask, at->added, &m, all->type->dims[0], &bias));
  PRN_TRY(set_joined(e, op, prn_o2n_attend(e, &h, &m, scale, 0, bias)));
  return set_present(e, op, &h);
}

/* ---- MultiHeadAttention ---- */

enum {
  QUERY,
  KEY,
  VALUE,
  ALL_BIAS,
  PADDING,
  SCORE_BIAS,
  PAST_KEY,
  PAST_VALUE,
  MHA_PAST_LENGTH,
  INDIRECTION
};

/* x with its share of the bias, cut into heads; tensors of four axes are. */
static prn_value *biased_heads(prn_o2n *e, prn_value *x, prn_value *bias,
                               prn_dim *from, int64_t n) {
  if (x->type->rank == 4) return x;
  if (bias)
    x = binary(e, PRN_SCALAR_add, x, columns(e, bias, from, x->type->dims[2]));
  return prn_o2n_split_heads(e, x, n);
}

static prn_status read_mha(prn_o2n *e, const prn_op *op, prn_o2n_heads *h) {
  prn_value *bias = prn_o2n_in(e, op, ALL_BIAS);
  int64_t n = prn_op_int(op, "num_heads", 1);
  prn_dim from = prn_dim_const(e->ctx, 0);
  h->q = prn_o2n_in(e, op, QUERY);
  h->k = prn_o2n_in(e, op, KEY);
  h->v = prn_o2n_in(e, op, VALUE);
  prn_value **parts[3] = {&h->q, &h->k, &h->v};
  if (!h->k || !h->v) /* ONNX Runtime has that on GPUs alone */
    return prn_o2n_unsupported(op, "queries, keys and values in one tensor");
  PRN_TRY(check_rank(op, PAST_KEY, 4));
  PRN_TRY(check_rank(op, PAST_VALUE, 4));
  PRN_TRY(check_rank(op, ALL_BIAS, 1));
  for (int i = 0; i < 3; i++)
    if ((*parts[i])->type->rank != 3 &&
        (i == 0 || (*parts[i])->type->rank != 4))
      return prn_op_error(op, "expects query, key and value [batch, seq, heads "
                              "* size], or keys and values cut into heads");
  if (bias && h->k->type->rank == 4)
    return prn_o2n_unsupported(op, "a bias where keys are cut into heads");
  for (int i = 0; i < 3; i++)
    *parts[i] = biased_heads(e, *parts[i], bias, &from, n);
  h->k = prn_o2n_cached(e, prn_o2n_in(e, op, PAST_KEY), h->k);
  h->v = prn_o2n_cached(e, prn_o2n_in(e, op, PAST_VALUE), h->v);
  prn_o2n_count_heads(e, h);
  return PRN_OK;
}

static prn_status lower_mha(prn_o2n *e, prn_op *op) {
  prn_o2n_heads h = {0};
  prn_value *bias;
  double scale;
  PRN_TRY(refuse(e, op, MHA_PAST_LENGTH, "a cache that is updated in place"));
  PRN_TRY(refuse(e, op, INDIRECTION, "beams"));
  if (prn_o2n_wanted(op, 3))
    return prn_o2n_unsupported(op, "its output of scores");
  PRN_TRY(read_mha(e, op, &h));
  PRN_TRY(scale_of(op, &h, &scale));
  prn_o2n_masking m = masking_of(&h, prn_o2n_in(e, op, PAST_KEY),
                                 prn_op_int(op, "unidirectional", 0) != 0);
  PRN_TRY(ms_bias(e, op, PADDING, SCORE_BIAS, &m, h.q->type->dims[0], &bias));
  PRN_TRY(set_joined(e, op, prn_o2n_attend(e, &h, &m, scale, 0, bias)));
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, h.k));
  return prn_o2n_wanted(op, 2) ? prn_o2n_set(e, op, 2, h.v) : PRN_OK;
}

/* ---- RotaryEmbedding ---- */

/* Positions [batch or 1, seq] from one number, the first of all, or as they
 * are. */
static prn_value *positions(prn_o2n *e, prn_value *at, prn_dim seq) {
  prn_dim dims[2] = {prn_dim_const(e->ctx, 1), seq};
  if (at->type->rank == 2) return at;
  const prn_type *t = prn_type_tensor(e->ctx, PRN_I64, 2, dims);
  return binary(e, PRN_SCALAR_add, prn_nn_iota(&e->b, t, 1, NULL, NULL), at);
}

/* x[batch, seq, heads * size] or [batch, heads, seq, size]. */
static prn_status lower_rotary(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *c = prn_o2n_in(e, op, 2);
  int64_t n = prn_op_int(op, "num_heads", 0);
  prn_o2n_turn t = {.turn = prn_op_int(op, "rotary_embedding_dim", 0),
                    .interleaved = prn_op_int(op, "interleaved", 0) != 0};
  prn_dim two = prn_dim_const(e->ctx, 2);
  bool flat = x->type->rank == 3;
  if (prn_op_int(op, "is_packed_batching", 0))
    return prn_o2n_unsupported(op, "is_packed_batching");
  if (!flat) PRN_TRY(check_rank(op, 0, 4));
  PRN_TRY(check_rank(op, 2, 2));
  PRN_TRY(check_rank(op, 3, 2));
  if (prn_op_operand(op, 1)->type->rank != 1) PRN_TRY(check_rank(op, 1, 2));
  if (flat) {
    prn_dim size = prn_dim_mul(e->ctx, c->type->dims[1], two);
    const prn_dim *d = x->type->dims;
    if (n > 0) size = prn_dim_floordiv(e->ctx, d[2], prn_dim_const(e->ctx, n));
    prn_dim dims[4] = {d[0], d[1], prn_dim_floordiv(e->ctx, d[2], size), size};
    x = prn_nn_reshape_dims(&e->b, x, 4, dims);
  } else {
    x = prn_nn_transpose(&e->b, x, swap_heads);
  }
  PRN_TRY(prn_o2n_check_turn(op, &t, x));
  prn_value *at = positions(e, prn_o2n_in(e, op, 1), x->type->dims[1]);
  t.cos = prn_o2n_angles(e, c, at);
  t.sin = prn_o2n_angles(e, prn_o2n_in(e, op, 3), at);
  x = prn_o2n_rotated(e, x, &t);
  if (flat) return prn_o2n_set_shape(e, op, 0, x);
  return prn_o2n_set(e, op, 0, prn_nn_transpose(&e->b, x, swap_heads));
}

/* ---- GroupQueryAttention ---- */

enum {
  GQA_KEY = 1,
  GQA_VALUE,
  GQA_PAST_KEY,
  GQA_PAST_VALUE,
  LENGTHS,
  TOTAL,
  COS,
  SIN,
  GQA_POSITIONS,
  GQA_BIAS,
  SINK
};

/* The cache grows by what is new: its room is not larger than that, as is only
 * known where sizes are, and sequences of a batch end at the same place. */
static prn_status check_cache(prn_o2n *e, const prn_op *op, prn_dim seq) {
  const prn_value *past = prn_op_operand(op, GQA_PAST_KEY);
  prn_dim one = prn_dim_const(e->ctx, 1);
  size_t n;
  if (!past) return PRN_OK;
  const prn_dim *total = prn_o2n_content(e, op, TOTAL, &n);
  if (!total || n != 1 ||
      total[0] != prn_dim_add(e->ctx, past->type->dims[2], seq))
    return prn_o2n_unsupported(op, "a cache with room, or whose room is only "
                                   "known at run time (fixing sizes may "
                                   "decide it)");
  if (past->type->dims[0] != one)
    return prn_o2n_unsupported(op, "a cache of more than one sequence");
  return PRN_OK;
}

static prn_status check_gqa(prn_o2n *e, const prn_op *op) {
  for (uint32_t i = SINK; i < op->num_operands; i++)
    PRN_TRY(refuse(e, op, i, "sinks, and scales of a cache"));
  if (prn_op_int(op, "smooth_softmax", 0) > 0)
    return prn_o2n_unsupported(op, "smooth_softmax");
  if (prn_o2n_wanted(op, 3))
    return prn_o2n_unsupported(op, "its output of scores");
  return PRN_OK;
}

/* x[batch, seq, heads * size] in heads, turned where the node wants it. */
static prn_status turned_heads(prn_o2n *e, const prn_op *op, prn_value *x,
                               int64_t n, prn_o2n_turn t, prn_value **out) {
  if (prn_op_int(op, "do_rotary", 0)) {
    prn_dim count = prn_dim_const(e->ctx, n);
    const prn_dim *d = x->type->dims;
    prn_dim dims[4] = {d[0], d[1], count,
                       prn_dim_floordiv(e->ctx, d[2], count)};
    x = prn_nn_reshape_dims(&e->b, x, 4, dims);
    PRN_TRY(prn_o2n_check_turn(op, &t, x));
    *out = prn_nn_transpose(&e->b, prn_o2n_rotated(e, x, &t), swap_heads);
  } else {
    *out = prn_o2n_split_heads(e, x, n);
  }
  return PRN_OK;
}

static prn_status read_turn(prn_o2n *e, const prn_op *op, prn_dim seq,
                            prn_o2n_turn *t) {
  prn_value *c = prn_o2n_in(e, op, COS), *s = prn_o2n_in(e, op, SIN);
  prn_value *at = prn_o2n_in(e, op, GQA_POSITIONS);
  const prn_value *past = prn_op_operand(op, GQA_PAST_KEY);
  prn_dim dims[2] = {prn_dim_const(e->ctx, 1), seq};
  int64_t half;
  if (!prn_op_int(op, "do_rotary", 0)) return PRN_OK;
  if (!c || !s || c->type->rank != 2 || s->type->rank != 2 ||
      !prn_dim_is_const(c->type->dims[1], &half))
    return prn_op_error(op, "do_rotary expects cos_cache and sin_cache");
  t->turn = 2 * half;
  t->interleaved = prn_op_int(op, "rotary_interleaved", 0) != 0;
  if (!at)
    at = prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, dims), 1,
                     past ? past->type->dims[2] : NULL, NULL);
  t->cos = prn_o2n_angles(e, c, at);
  t->sin = prn_o2n_angles(e, s, at);
  return PRN_OK;
}

static prn_status read_gqa(prn_o2n *e, const prn_op *op, prn_o2n_heads *h) {
  int64_t n = prn_op_int(op, "num_heads", 1);
  int64_t kv = prn_op_int(op, "kv_num_heads", 1);
  prn_value *q = prn_o2n_in(e, op, 0), *k = prn_o2n_in(e, op, GQA_KEY);
  prn_value *v = prn_o2n_in(e, op, GQA_VALUE);
  prn_o2n_turn t = {0};
  if (q->type->rank != 3 || (!k != !v) || (k && k->type->rank != 3) ||
      (v && v->type->rank != 3))
    return prn_op_error(op, "expects query[batch, seq, heads * size], key and "
                            "value, or all in query");
  prn_dim seq = q->type->dims[1];
  if (!k) {
    prn_value *all = q;
    prn_dim size = prn_dim_floordiv(e->ctx, all->type->dims[2],
                                    prn_dim_const(e->ctx, n + 2 * kv));
    prn_dim some = prn_dim_mul(e->ctx, size, prn_dim_const(e->ctx, kv));
    prn_dim from = prn_dim_const(e->ctx, 0);
    q = columns(e, all, &from,
                prn_dim_mul(e->ctx, size, prn_dim_const(e->ctx, n)));
    k = columns(e, all, &from, some);
    v = columns(e, all, &from, some);
  }
  PRN_TRY(check_rank(op, GQA_PAST_KEY, 4));
  PRN_TRY(check_rank(op, GQA_PAST_VALUE, 4));
  PRN_TRY(check_rank(op, GQA_POSITIONS, 2));
  PRN_TRY(check_cache(e, op, seq));
  PRN_TRY(read_turn(e, op, seq, &t));
  PRN_TRY(turned_heads(e, op, q, n, t, &h->q));
  PRN_TRY(turned_heads(e, op, k, kv, t, &h->k));
  h->v = prn_o2n_split_heads(e, v, kv);
  h->k = prn_o2n_cached(e, prn_o2n_in(e, op, GQA_PAST_KEY), h->k);
  h->v = prn_o2n_cached(e, prn_o2n_in(e, op, GQA_PAST_VALUE), h->v);
  prn_o2n_count_heads(e, h);
  return PRN_OK;
}

/* The lengths of sequences say which rows are padding, of which nobody looks
 * at the results: what is not padding sees none of them, being causal. */
static prn_status lower_gqa(prn_o2n *e, prn_op *op) {
  prn_o2n_heads h = {0};
  double scale, cap = (double)prn_op_float(op, "softcap", 0);
  int64_t window = prn_op_int(op, "local_window_size", -1);
  PRN_TRY(check_gqa(e, op));
  PRN_TRY(read_gqa(e, op, &h));
  PRN_TRY(scale_of(op, &h, &scale));
  prn_o2n_masking m = masking_of(&h, prn_op_operand(op, GQA_PAST_KEY), true);
  if (window > 0) m.left = window - 1;
  prn_value *bias = prn_o2n_as_bias(e, &m, prn_o2n_allowed(e, &m));
  prn_value *added = prn_o2n_in(e, op, GQA_BIAS);
  if (added) bias = binary(e, PRN_SCALAR_add, added, bias);
  PRN_TRY(set_joined(e, op, prn_o2n_attend(e, &h, &m, scale, cap, bias)));
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, h.k));
  return prn_o2n_wanted(op, 2) ? prn_o2n_set(e, op, 2, h.v) : PRN_OK;
}

const prn_o2n_row prn_o2n_microsoft[] = {
    {"com.microsoft:Attention", lower_attention, 0, 0},
    {"com.microsoft:QAttention", lower_attention, 0, 0},
    {"com.microsoft:MultiHeadAttention", lower_mha, 0, 0},
    {"com.microsoft:GroupQueryAttention", lower_gqa,
     1u << LENGTHS | 1u << TOTAL, 0},
    {"com.microsoft:RotaryEmbedding", lower_rotary, 0, 0},
    {NULL, NULL, 0, 0},
};
