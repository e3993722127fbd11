/* Attention and what belongs to it. */
#include "ir/onnx/shape.h"

/* One of the three operands as [batch, heads, length, size]. */
typedef struct heads {
  prn_dim batch, heads, length, size;
} heads;

static prn_status split_heads(prn_infer *env, prn_op *op, uint32_t i,
                              const char *attr, heads *out) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape s = prn_shape_of(env, op, i);
  int64_t n = prn_op_int(op, attr, 0), hidden;
  if (s.rank == 4) {
    *out = (heads){s.dims[0], s.dims[1], s.dims[2], s.dims[3]};
    return PRN_OK;
  }
  if (s.rank != 3)
    return prn_op_error(op, "operand %u has rank %d, expected 3 or 4",
                        (unsigned)i, (int)s.rank);
  if (n < 1)
    return prn_op_error(op, "%s is %lld, but operand %u has its heads packed",
                        attr, (long long)n, (unsigned)i);
  if (prn_dim_is_const(s.dims[2], &hidden) && hidden % n)
    return prn_op_error(op,
                        "size %lld of operand %u does not divide into %lld "
                        "heads",
                        (long long)hidden, (unsigned)i, (long long)n);
  *out = (heads){s.dims[0], prn_dim_const(ctx, n), s.dims[1],
                 prn_dim_floordiv(ctx, s.dims[2], prn_dim_const(ctx, n))};
  return PRN_OK;
}

static bool all_ranked(prn_infer *env, const prn_op *op, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    if (prn_shape_of(env, op, i).rank < 0) return false;
  return true;
}

static prn_shape shape4(prn_infer *env, prn_dtype dtype, prn_dim a, prn_dim b,
                        prn_dim c, prn_dim d) {
  prn_shape s = prn_shape_new(env, dtype, 4);
  s.dims[0] = a;
  s.dims[1] = b;
  s.dims[2] = c;
  s.dims[3] = d;
  return s;
}

static prn_status must_equal(prn_op *op, prn_dim a, prn_dim b,
                             const char *what) {
  prn_dim any;
  if (prn_shape_unify(a, b, &any)) return PRN_OK;
  return prn_op_error(op, "%s: %lld and %lld are not equal", what,
                      (long long)a->value, (long long)b->value);
}

static prn_status check_heads(prn_op *op, heads q, heads k, heads v) {
  int64_t nq, nk;
  PRN_TRY(must_equal(op, q.batch, k.batch, "batch of Q and K"));
  PRN_TRY(must_equal(op, k.batch, v.batch, "batch of K and V"));
  PRN_TRY(must_equal(op, q.size, k.size, "head size of Q and K"));
  PRN_TRY(must_equal(op, k.heads, v.heads, "heads of K and V"));
  PRN_TRY(must_equal(op, k.length, v.length, "length of K and V"));
  if (prn_dim_is_const(q.heads, &nq) && prn_dim_is_const(k.heads, &nk) &&
      (nk == 0 || nq % nk))
    return prn_op_error(op,
                        "%lld query heads are not a multiple of %lld key heads",
                        (long long)nq, (long long)nk);
  return PRN_OK;
}

prn_status prn_infer_attention(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dtype dtype = prn_shape_of(env, op, 0).dtype;
  prn_dtype vtype = prn_shape_of(env, op, 2).dtype;
  heads q, k, v;
  if (!all_ranked(env, op, 3)) return prn_shape_dtype_only(env, op, 0, dtype);
  PRN_TRY(split_heads(env, op, 0, "q_num_heads", &q));
  PRN_TRY(split_heads(env, op, 1, "kv_num_heads", &k));
  PRN_TRY(split_heads(env, op, 2, "kv_num_heads", &v));
  PRN_TRY(check_heads(op, q, k, v));
  prn_shape y = shape4(env, dtype, q.batch, q.heads, q.length, v.size);
  if (prn_shape_of(env, op, 0).rank == 3) {
    y.rank = 3;
    y.dims[1] = q.length;
    y.dims[2] = prn_dim_mul(ctx, q.heads, v.size);
  }
  PRN_TRY(prn_shape_result(env, op, 0, y));
  prn_shape past = prn_shape_of(env, op, 4);
  prn_dim total = k.length;
  if (past.rank == 4)
    total = prn_dim_add(ctx, past.dims[2], k.length);
  else if (prn_shape_in(op, 4))
    total = prn_dim_unknown(ctx);
  PRN_TRY(prn_shape_result(
      env, op, 1, shape4(env, dtype, k.batch, k.heads, total, k.size)));
  PRN_TRY(prn_shape_result(
      env, op, 2, shape4(env, vtype, v.batch, v.heads, total, v.size)));
  return prn_shape_result(
      env, op, 3, shape4(env, dtype, q.batch, q.heads, q.length, total));
}

prn_status prn_verify_attention(prn_op *op) {
  static const char *const names[] = {"q_num_heads", "kv_num_heads"};
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_op_attr(op, names[i]) && prn_op_int(op, names[i], 1) < 1)
      return prn_op_error(op, "%s is %lld, expected 1 or more", names[i],
                          (long long)prn_op_int(op, names[i], 1));
  return PRN_OK;
}

prn_status prn_infer_linear_attention(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape query = prn_shape_of(env, op, 0), state = prn_shape_of(env, op, 3);
  heads q, k, v;
  if (!all_ranked(env, op, 3))
    return prn_shape_dtype_only(env, op, 0, query.dtype);
  PRN_TRY(split_heads(env, op, 0, "q_num_heads", &q));
  PRN_TRY(split_heads(env, op, 1, "kv_num_heads", &k));
  PRN_TRY(split_heads(env, op, 2, "kv_num_heads", &v));
  PRN_TRY(check_heads(op, q, k, v));
  query.dims[query.rank - 1] = prn_dim_mul(ctx, q.heads, v.size);
  PRN_TRY(prn_shape_result(env, op, 0, query));
  prn_dtype dtype = state.dtype == PRN_DTYPE_NONE ? query.dtype : state.dtype;
  return prn_shape_result(env, op, 1,
                          shape4(env, dtype, k.batch, k.heads, k.size, v.size));
}

prn_status prn_infer_rotary(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  heads h;
  PRN_TRY(prn_shape_result(env, op, 0, x));
  return x.rank < 0 ? PRN_OK : split_heads(env, op, 0, "num_heads", &h);
}

/* input [b, c, l], weight [c, 1, k], state [b, c, k - 1]. */
prn_status prn_infer_causal_conv(prn_infer *env, prn_op *op) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, 1);
  if ((x.rank >= 0 && x.rank != 3) || (w.rank >= 0 && w.rank != 3))
    return prn_op_error(op,
                        "input of rank %d and weight of rank %d, expected "
                        "3 and 3",
                        (int)x.rank, (int)w.rank);
  PRN_TRY(prn_shape_result(env, op, 0, x));
  if (x.rank < 0 || w.rank < 0) return PRN_OK;
  PRN_TRY(must_equal(op, x.dims[1], w.dims[0], "channels"));
  x.dims[2] = prn_dim_sub(ctx, w.dims[2], prn_dim_const(ctx, 1));
  return prn_shape_result(env, op, 1, x);
}
