/* onnx -> nn: attention and what goes with it. Scores are one product, scaled
 * and masked in its epilogue, or with softmax and second product nn.attention
 * when nobody asks for the scores; key and value heads that several query heads
 * share are not repeated. */
#include <math.h>

#include "passes/lower/onnx_to_nn_heads.h"

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static const int64_t swap_heads[4] = {0, 2, 1, 3};

/* x[batch, seq, heads*size] as [batch, heads, seq, size]. */
prn_value *prn_o2n_split_heads(prn_o2n *e, prn_value *x, int64_t heads) {
  const prn_dim *d = x->type->dims;
  prn_dim n = prn_dim_const(e->ctx, heads);
  if (x->type->rank == 4) return x;
  prn_dim dims[4] = {d[0], d[1], n, prn_dim_floordiv(e->ctx, d[2], n)};
  return prn_nn_transpose(&e->b, prn_nn_reshape_dims(&e->b, x, 4, dims),
                          swap_heads);
}

/* The key-value heads' dimension cut into [kv, group]. */
static prn_value *group_heads(prn_o2n *e, prn_value *x, prn_dim kv,
                              prn_dim group) {
  const prn_dim *d = x->type->dims;
  prn_dim dims[5] = {d[0], kv, group, d[2], d[3]};
  return prn_nn_reshape_dims(&e->b, x, 5, dims);
}

static prn_value *ungroup(prn_o2n *e, prn_value *x, prn_dim heads) {
  const prn_dim *d = x->type->dims;
  prn_dim dims[4] = {d[0], heads, d[3], d[4]};
  return prn_nn_reshape_dims(&e->b, x, 4, dims);
}

/* ---- masks ---- */

static prn_value *number(prn_o2n *e, const prn_o2n_masking *m, double v) {
  return prn_nn_scalar(&e->b, m->dtype, v);
}

/* 0 where allowed, -infinity elsewhere. */
prn_value *prn_o2n_as_bias(prn_o2n *e, const prn_o2n_masking *m,
                           prn_value *allowed) {
  return prn_nn_select(&e->b, allowed, number(e, m, 0),
                       number(e, m, -(double)INFINITY));
}

/* (position of the query) - (position of the key), [queries, keys]; the last
 * query is at the last key that counts. */
static prn_value *distance(prn_o2n *e, const prn_o2n_masking *m) {
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dim r[2] = {m->queries, one}, c[2] = {one, m->keys};
  prn_value *q = prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, r), 0,
                             m->past, NULL);
  prn_value *k =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, c), 1, NULL, NULL);
  prn_value *d = binary(e, PRN_SCALAR_sub, q, k);
  if (!m->lengths) return d;
  d = binary(e, PRN_SCALAR_add, d, m->lengths);
  return binary(e, PRN_SCALAR_sub, d, prn_nn_size(&e->b, m->queries, PRN_I64));
}

static prn_value *both(prn_o2n *e, prn_value *a, prn_value *b) {
  return a ? binary(e, PRN_SCALAR_and, a, b) : b;
}

/* What the attributes allow, or NULL when that is everything. */
prn_value *prn_o2n_allowed(prn_o2n *e, const prn_o2n_masking *m) {
  prn_value *ok = NULL, *d = NULL;
  if (m->causal || m->left >= 0 || m->right >= 0) d = distance(e, m);
  if (m->causal) ok = prn_nn_with(&e->b, PRN_SCALAR_ge, d, 0);
  if (m->left >= 0)
    ok = both(e, ok, prn_nn_with(&e->b, PRN_SCALAR_le, d, (double)m->left));
  if (m->right >= 0)
    ok = both(e, ok, prn_nn_with(&e->b, PRN_SCALAR_ge, d, -(double)m->right));
  return ok;
}

/* A mask with fewer keys than there are hides the rest. */
static prn_value *widened(prn_o2n *e, const prn_o2n_masking *m,
                          prn_value *mask) {
  const prn_type *t = mask->type;
  prn_dim dims[PRN_NN_MAX_RANK], lows[PRN_NN_MAX_RANK];
  int64_t last;
  if (t->rank == 0 || t->dims[t->rank - 1] == m->keys ||
      (prn_dim_is_const(t->dims[t->rank - 1], &last) && last == 1))
    return mask;
  for (int32_t i = 0; i < t->rank; i++) {
    dims[i] = i == t->rank - 1 ? m->keys : t->dims[i];
    lows[i] = prn_dim_const(e->ctx, 0);
  }
  prn_value *fill = t->dtype == PRN_BOOL
                        ? NULL
                        : prn_nn_scalar(&e->b, t->dtype, -(double)INFINITY);
  return prn_nn_pad(&e->b, mask, fill, prn_nn_type(e->ctx, t, t->rank, dims),
                    lows, "constant");
}

/* What is added to the scores, or NULL. */
static prn_value *attention_bias(prn_o2n *e, const prn_op *op,
                                 prn_o2n_masking *m) {
  prn_value *mask = prn_o2n_in(e, op, 3), *lengths = prn_o2n_in(e, op, 6);
  prn_value *bias = NULL;
  m->may_be_full = mask || lengths || m->left >= 0 || m->right >= 0;
  if (lengths) {
    prn_dim one = prn_dim_const(e->ctx, 1);
    prn_dim d[4] = {lengths->type->dims[0], one, one, one};
    lengths = prn_nn_reshape_dims(&e->b, lengths, 4, d);
    m->lengths = prn_nn_cast(&e->b, lengths, PRN_I64);
  }
  prn_value *ok = prn_o2n_allowed(e, m);
  if (lengths) {
    prn_value *at = prn_nn_iota(
        &e->b, prn_type_tensor(e->ctx, PRN_I64, 1, &m->keys), 0, NULL, NULL);
    ok = both(e, ok, binary(e, PRN_SCALAR_lt, at, m->lengths));
  }
  if (mask) mask = widened(e, m, mask);
  if (mask && mask->type->dtype == PRN_BOOL)
    ok = both(e, ok, mask);
  else if (mask)
    bias = prn_nn_cast(&e->b, mask, m->dtype);
  if (!ok) return bias;
  return bias ? binary(e, PRN_SCALAR_add, bias, prn_o2n_as_bias(e, m, ok))
              : prn_o2n_as_bias(e, m, ok);
}

/* Rows of p whose keys are all hidden are 0. */
static prn_value *guarded(prn_o2n *e, const prn_o2n_masking *m, prn_value *p,
                          prn_value *bias) {
  int64_t last = bias->type->rank - 1;
  if (last < 0) return p;
  prn_value *top = prn_nn_reduce(&e->b, "max", bias, &last, 1);
  prn_value *none = prn_nn_with(&e->b, PRN_SCALAR_eq, top, -(double)INFINITY);
  return prn_nn_select(&e->b, none, number(e, m, 0), p);
}

/* ---- Attention ---- */

prn_value *prn_o2n_cached(prn_o2n *e, prn_value *past, prn_value *x) {
  prn_dim dims[4];
  if (!past) return x;
  for (int32_t i = 0; i < 4; i++)
    dims[i] = x->type->dims[i];
  dims[2] = prn_dim_add(e->ctx, past->type->dims[2], dims[2]);
  prn_value *parts[2] = {past, x};
  return prn_nn_concat(&e->b, parts, 2, 2,
                       prn_nn_type(e->ctx, x->type, 4, dims));
}

void prn_o2n_count_heads(prn_o2n *e, prn_o2n_heads *h) {
  h->num = h->q->type->dims[1];
  h->kv = h->k->type->dims[1];
  h->group = prn_dim_floordiv(e->ctx, h->num, h->kv);
  h->grouped = h->num != h->kv;
}

static prn_status read_heads(prn_o2n *e, prn_op *op, prn_o2n_heads *h) {
  int64_t n = prn_op_int(op, "q_num_heads", 0);
  int64_t kv = prn_op_int(op, "kv_num_heads", n);
  prn_value *q = prn_o2n_in(e, op, 0);
  if (q->type->rank == 3 && (n < 1 || kv < 1 || n % kv))
    return prn_op_error(op, "q_num_heads is %lld, kv_num_heads %lld",
                        (long long)n, (long long)kv);
  if (q->type->rank != 3 && q->type->rank != 4)
    return prn_op_error(op, "expects 3 or 4 dimensions");
  h->q = prn_o2n_split_heads(e, q, n);
  h->k = prn_o2n_cached(e, prn_o2n_in(e, op, 4),
                        prn_o2n_split_heads(e, prn_o2n_in(e, op, 1), kv));
  h->v = prn_o2n_cached(e, prn_o2n_in(e, op, 5),
                        prn_o2n_split_heads(e, prn_o2n_in(e, op, 2), kv));
  prn_o2n_count_heads(e, h);
  return PRN_OK;
}

static prn_value *scores(prn_o2n *e, const prn_o2n_heads *h, double scale) {
  static const int64_t turn4[4] = {0, 1, 3, 2}, turn5[5] = {0, 1, 2, 4, 3};
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_value *q = h->q, *k = h->k;
  if (h->grouped) {
    q = group_heads(e, q, h->kv, h->group);
    k = group_heads(e, k, h->kv, one);
  }
  k = prn_nn_transpose(&e->b, k, h->grouped ? turn5 : turn4);
  prn_value *s = prn_nn_matmul(&e->b, q, k, q->type->dtype);
  s = prn_nn_with(&e->b, PRN_SCALAR_mul, s, scale);
  return h->grouped ? ungroup(e, s, h->num) : s;
}

/* Values may be of another type than queries and keys, which results have. */
static prn_value *weighted(prn_o2n *e, const prn_o2n_heads *h, prn_value *p) {
  prn_dtype t = p->type->dtype;
  prn_value *v = prn_nn_cast(&e->b, h->v, t);
  if (!h->grouped) return prn_nn_matmul(&e->b, p, v, t);
  v = group_heads(e, v, h->kv, prn_dim_const(e->ctx, 1));
  p = group_heads(e, p, h->kv, h->group);
  return ungroup(e, prn_nn_matmul(&e->b, p, v, t), h->num);
}

static prn_value *softmax(prn_o2n *e, prn_value *x) {
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_softmax, &x, 1, x->type);
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, x->type->rank - 1));
  return r;
}

static double scale_of(const prn_op *op, const prn_o2n_heads *h) {
  int64_t size;
  const prn_attr *a = prn_op_attr(op, "scale");
  if (a && a->kind == PRN_ATTR_FLOAT) return (double)a->f;
  if (!prn_dim_is_const(h->q->type->dims[3], &size)) return 0;
  return 1 / sqrt((double)size);
}

/* ---- as one operation ---- */

/* What is added to the scores, with the heads' dimension cut as theirs is. */
static prn_value *grouped_bias(prn_o2n *e, const prn_o2n_heads *h,
                               prn_value *bias) {
  const prn_type *t = bias->type;
  prn_dim dims[5], one = prn_dim_const(e->ctx, 1);
  if (!h->grouped || t->rank < 3) return bias;
  bool shared = t->dims[t->rank - 3] == one;
  dims[0] = t->rank == 4 ? t->dims[0] : one;
  dims[1] = shared ? one : h->kv;
  dims[2] = shared ? one : h->group;
  dims[3] = t->dims[t->rank - 2];
  dims[4] = t->dims[t->rank - 1];
  return prn_nn_reshape_dims(&e->b, bias, 5, dims);
}

/* x times a number, in a body. */
static prn_value *times(prn_o2n *e, prn_value *x, double v) {
  const prn_type *t = prn_type_static(e->ctx, PRN_F32, 0, NULL);
  prn_value *c = prn_nn_make(&e->b, PRN_OP_nn_constant, NULL, 0, x->type);
  prn_op_set_attr(c->def, "value",
                  prn_attr_tensor(e->ctx, prn_nn_tensor(e->ctx, t, &v)));
  return binary(e, PRN_SCALAR_mul, x, c);
}

/* The body: scale, cap, bias. */
static void score_body(prn_o2n *e, prn_op *a, double scale, double cap,
                       prn_value *bias) {
  prn_nn outer = e->b;
  prn_block *block = prn_block_create(outer.m);
  const prn_type *t = prn_type_scalar(e->ctx, PRN_F32);
  prn_value *s = prn_block_add_arg(block, t, PRN_STR(""));
  prn_value *x = bias ? prn_block_add_arg(block, t, PRN_STR("")) : NULL;
  e->b = (prn_nn){
      .m = outer.m, .ctx = outer.ctx, .block = block, .loc = outer.loc};
  s = times(e, s, cap != 0 ? scale / cap : scale);
  if (cap != 0) {
    s = prn_nn_unary(&e->b, PRN_SCALAR_tanh, s);
    s = times(e, s, cap);
  }
  if (x) s = binary(e, PRN_SCALAR_add, s, x);
  (void)prn_nn_make_op(&e->b, PRN_OP_nn_yield, &s, 1, NULL, 0);
  e->b = outer;
  prn_op_add_block(a, block);
  prn_op_set_attr(a, "body", prn_attr_region(e->ctx, 0));
}

static prn_value *fused(prn_o2n *e, const prn_o2n_heads *h,
                        const prn_o2n_masking *m, double scale, double cap,
                        prn_value *bias) {
  prn_dim dims[5], one = prn_dim_const(e->ctx, 1);
  prn_value *in[4] = {h->q, h->k, h->v, NULL};
  if (h->grouped) {
    in[0] = group_heads(e, h->q, h->kv, h->group);
    in[1] = group_heads(e, h->k, h->kv, one);
    in[2] = group_heads(e, h->v, h->kv, one);
  }
  if (bias) in[3] = grouped_bias(e, h, bias);
  int32_t rank = in[0]->type->rank;
  for (int32_t i = 0; i < rank; i++)
    dims[i] = i + 1 < rank ? in[0]->type->dims[i] : in[2]->type->dims[i];
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_attention, in, bias ? 4 : 3,
                             prn_nn_type(e->ctx, in[0]->type, rank, dims));
  score_body(e, r->def, scale, cap, bias);
  if (bias && m->may_be_full)
    prn_op_set_attr(r->def, "zero_hidden", prn_attr_bool(e->ctx, true));
  return h->grouped ? ungroup(e, r, h->num) : r;
}

/* Its kernel takes f32 and heads of constant size. */
static bool fusible(const prn_o2n_heads *h) {
  const prn_type *v = h->v->type;
  int64_t size;
  return v->dtype == PRN_F32 && h->q->type->dtype == PRN_F32 &&
         h->k->type->dtype == PRN_F32 && prn_dim_is_const(v->dims[3], &size) &&
         size > 0 && size <= 1024;
}

/* The scores after each step, as the fourth output wants them. */
enum { RAW, CAPPED, BIASED, PROBABILITIES };

/* y[batch, heads, seq, size] and the keys and values seen. */
static prn_status bind(prn_o2n *e, prn_op *op, const prn_o2n_heads *h,
                       prn_value *y) {
  if (op->operands[0].value->type->rank == 3) {
    y = prn_nn_transpose(&e->b, y, swap_heads);
    PRN_TRY(prn_o2n_set_shape(e, op, 0, y));
  } else {
    PRN_TRY(prn_o2n_set(e, op, 0, y));
  }
  if (prn_o2n_wanted(op, 1)) PRN_TRY(prn_o2n_set(e, op, 1, h->k));
  return prn_o2n_wanted(op, 2) ? prn_o2n_set(e, op, 2, h->v) : PRN_OK;
}

static prn_value *capped(prn_o2n *e, prn_value *s, double cap) {
  if (cap == 0) return s;
  s = prn_nn_with(&e->b, PRN_SCALAR_mul, s, 1 / cap);
  s = prn_nn_unary(&e->b, PRN_SCALAR_tanh, s);
  return prn_nn_with(&e->b, PRN_SCALAR_mul, s, cap);
}

prn_value *prn_o2n_attend(prn_o2n *e, const prn_o2n_heads *h,
                          const prn_o2n_masking *m, double scale, double cap,
                          prn_value *bias) {
  if (fusible(h)) return fused(e, h, m, scale, cap, bias);
  prn_value *s = capped(e, scores(e, h, scale), cap);
  if (bias) s = binary(e, PRN_SCALAR_add, s, bias);
  prn_value *p = softmax(e, s);
  if (bias && m->may_be_full) p = guarded(e, m, p, bias);
  return weighted(e, h, p);
}

static prn_status lower_attention(prn_o2n *e, prn_op *op) {
  prn_o2n_heads h = {0};
  int64_t mode = prn_op_int(op, "qk_matmul_output_mode", 0);
  double cap = (double)prn_op_float(op, "softcap", 0);
  PRN_TRY(read_heads(e, op, &h));
  double scale = scale_of(op, &h);
  if (scale == 0)
    return prn_o2n_unsupported(op, "a head size that is not constant");
  prn_value *past = prn_o2n_in(e, op, 4);
  prn_o2n_masking m = {.queries = h.q->type->dims[2],
                       .keys = h.k->type->dims[2],
                       .past = past ? past->type->dims[2] : NULL,
                       .dtype = h.q->type->dtype,
                       .causal = prn_op_int(op, "is_causal", 0) != 0,
                       .left = prn_op_int(op, "left_window_size", -1),
                       .right = prn_op_int(op, "right_window_size", -1)};
  prn_value *bias = attention_bias(e, op, &m), *step[4], *y;
  if (!prn_o2n_wanted(op, 3) && fusible(&h)) {
    y = fused(e, &h, &m, scale, cap, bias);
    return bind(e, op, &h, y);
  }
  prn_value *s = step[RAW] = scores(e, &h, scale);
  s = step[CAPPED] = capped(e, s, cap);
  step[BIASED] = bias ? binary(e, PRN_SCALAR_add, s, bias) : s;
  prn_value *p = softmax(e, step[BIASED]);
  if (bias && m.may_be_full) p = guarded(e, &m, p, bias);
  step[PROBABILITIES] = p;
  PRN_TRY(bind(e, op, &h, weighted(e, &h, p)));
  if (!prn_o2n_wanted(op, 3)) return PRN_OK;
  /* Which is which changed with the order of capping and masking. */
  return prn_o2n_set(e, op, 3, step[mode & 3]);
}

/* ---- rotary embedding ---- */

/* Elements [from, from + n*step) of the last dimension, every step-th. */
static prn_value *part(prn_o2n *e, prn_value *x, int64_t from, prn_dim n,
                       int64_t step) {
  prn_dim starts[4], dims[4];
  int64_t steps[4] = {1, 1, 1, step};
  for (int32_t i = 0; i < 4; i++) {
    starts[i] = prn_dim_const(e->ctx, i == 3 ? from : 0);
    dims[i] = i == 3 ? n : x->type->dims[i];
  }
  return prn_nn_slice(&e->b, x, prn_nn_type(e->ctx, x->type, 4, dims), starts,
                      steps);
}

prn_value *prn_o2n_angles(prn_o2n *e, prn_value *c, prn_value *at) {
  prn_dim dims[4];
  int32_t rank = c->type->rank;
  if (at) {
    dims[0] = at->type->dims[0];
    dims[1] = at->type->dims[1];
    dims[2] = c->type->dims[1];
    prn_value *in[2] = {c, at};
    c = prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2,
                    prn_nn_type(e->ctx, c->type, 3, dims));
    prn_op_set_attr(c->def, "axis", prn_attr_int(e->ctx, 0));
    rank = 3;
  }
  dims[0] = rank == 3 ? c->type->dims[0] : prn_dim_const(e->ctx, 1);
  dims[1] = c->type->dims[rank - 2];
  dims[2] = prn_dim_const(e->ctx, 1);
  dims[3] = c->type->dims[rank - 1];
  return prn_nn_reshape_dims(&e->b, c, 4, dims);
}

/* a and b as the even and odd elements of the last dimension. */
static prn_value *interleave(prn_o2n *e, prn_value *a, prn_value *b) {
  prn_dim dims[5], two = prn_dim_const(e->ctx, 2);
  for (int32_t i = 0; i < 4; i++)
    dims[i] = a->type->dims[i];
  dims[4] = prn_dim_const(e->ctx, 1);
  prn_value *parts[2] = {prn_nn_reshape_dims(&e->b, a, 5, dims),
                         prn_nn_reshape_dims(&e->b, b, 5, dims)};
  dims[4] = two;
  a = prn_nn_concat(&e->b, parts, 2, 4, prn_nn_type(e->ctx, a->type, 5, dims));
  dims[3] = prn_dim_mul(e->ctx, dims[3], two);
  return prn_nn_reshape_dims(&e->b, a, 4, dims);
}

static prn_value *join(prn_o2n *e, prn_value *a, prn_value *b) {
  prn_dim dims[4];
  prn_value *parts[2] = {a, b};
  for (int32_t i = 0; i < 4; i++)
    dims[i] = a->type->dims[i];
  dims[3] = prn_dim_add(e->ctx, dims[3], b->type->dims[3]);
  return prn_nn_concat(&e->b, parts, 2, 3,
                       prn_nn_type(e->ctx, a->type, 4, dims));
}

prn_value *prn_o2n_rotated(prn_o2n *e, prn_value *x, const prn_o2n_turn *t) {
  prn_dim half = prn_dim_const(e->ctx, t->turn / 2);
  int64_t step = t->interleaved ? 2 : 1;
  prn_value *a = part(e, x, 0, half, step);
  prn_value *b = part(e, x, t->interleaved ? 1 : t->turn / 2, half, step);
  prn_value *re =
      binary(e, PRN_SCALAR_sub, binary(e, PRN_SCALAR_mul, t->cos, a),
             binary(e, PRN_SCALAR_mul, t->sin, b));
  prn_value *im =
      binary(e, PRN_SCALAR_add, binary(e, PRN_SCALAR_mul, t->sin, a),
             binary(e, PRN_SCALAR_mul, t->cos, b));
  prn_value *y = t->interleaved ? interleave(e, re, im) : join(e, re, im);
  if (t->turn == t->size) return y;
  return join(e, y,
              part(e, x, t->turn, prn_dim_const(e->ctx, t->size - t->turn), 1));
}

prn_status prn_o2n_check_turn(const prn_op *op, prn_o2n_turn *t,
                              const prn_value *x) {
  if (!prn_dim_is_const(x->type->dims[3], &t->size))
    return prn_o2n_unsupported(op, "a head size that is not constant");
  if (t->turn == 0) t->turn = t->size;
  if (t->turn >= 2 && t->turn <= t->size && t->turn % 2 == 0) return PRN_OK;
  return prn_op_error(op, "rotary_embedding_dim is %lld of %lld",
                      (long long)t->turn, (long long)t->size);
}

static prn_status lower_rotary(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *at = prn_o2n_in(e, op, 3);
  const prn_dim *d = x->type->dims;
  int64_t n = prn_op_int(op, "num_heads", 0);
  prn_o2n_turn t = {.turn = prn_op_int(op, "rotary_embedding_dim", 0),
                    .interleaved = prn_op_int(op, "interleaved", 0) != 0};
  bool flat = x->type->rank == 3;
  if (flat && n > 0) {
    prn_dim count = prn_dim_const(e->ctx, n);
    prn_dim dims[4] = {d[0], d[1], count,
                       prn_dim_floordiv(e->ctx, d[2], count)};
    x = prn_nn_reshape_dims(&e->b, x, 4, dims);
  } else if (x->type->rank == 4) {
    x = prn_nn_transpose(&e->b, x, swap_heads);
  } else {
    return prn_op_error(op, "expects 4 dimensions, or 3 and num_heads");
  }
  PRN_TRY(prn_o2n_check_turn(op, &t, x));
  t.cos = prn_o2n_angles(e, prn_o2n_in(e, op, 1), at);
  t.sin = prn_o2n_angles(e, prn_o2n_in(e, op, 2), at);
  x = prn_o2n_rotated(e, x, &t);
  if (flat) return prn_o2n_set_shape(e, op, 0, x);
  return prn_o2n_set(e, op, 0, prn_nn_transpose(&e->b, x, swap_heads));
}

const prn_o2n_row prn_o2n_attention[] = {
    {"Attention", lower_attention, 0, 0},
    {"RotaryEmbedding", lower_rotary, 0, 0},
    {NULL, NULL, 0, 0},
};
