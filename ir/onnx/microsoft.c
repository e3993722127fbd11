/* Operators of com.microsoft: what exporters and ONNX Runtime's own optimiser
 * leave in models. Reference: ContribOperators.md of ONNX Runtime. */
#include "ir/onnx/window.h"

static prn_dim unknown(prn_infer *env) {
  return prn_dim_unknown(prn_infer_ctx(env));
}

/* Result 0 is shaped like operand 0, and more is not known. */
prn_status prn_infer_same0(prn_infer *env, prn_op *op) {
  return prn_shape_result(env, op, 0, prn_shape_of(env, op, 0));
}

/* ---- attention ---- */

static prn_shape shape(prn_infer *env, prn_dtype dtype, int32_t rank,
                       const prn_dim *dims) {
  prn_shape s = prn_shape_new(env, dtype, rank);
  for (int32_t i = 0; i < rank; i++)
    s.dims[i] = dims[i];
  return s;
}

static prn_dim times(prn_infer *env, prn_dim a, prn_dim b) {
  return prn_dim_mul(prn_infer_ctx(env), a, b);
}

static prn_dim divide(prn_infer *env, prn_dim a, int64_t by) {
  if (by < 1) return unknown(env);
  return prn_dim_floordiv(prn_infer_ctx(env), a, prn_shape_const(env, by));
}

static prn_status check_num_heads(const prn_op *op) {
  int64_t n = prn_op_int(op, "num_heads", 1);
  if (n >= 1) return PRN_OK;
  return prn_op_error(op, "num_heads is %lld, expected 1 or more",
                      (long long)n);
}

static prn_status attention(prn_infer *env, prn_op *op, uint32_t past_at,
                            prn_dtype dtype) {
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, 1);
  prn_shape past = prn_shape_of(env, op, past_at);
  int64_t heads = prn_op_int(op, "num_heads", 1);
  size_t n;
  const int64_t *sizes = prn_op_ints(op, "qkv_hidden_sizes", &n);
  PRN_TRY(check_num_heads(op));
  if (x.rank != 3) return prn_shape_dtype_only(env, op, 0, dtype);
  prn_dim hidden = unknown(env), total = x.dims[1];
  if (w.rank == 2) hidden = divide(env, w.dims[1], 3);
  if (n == 3) hidden = prn_shape_const(env, sizes[2]);
  if (prn_shape_in(op, past_at))
    total = past.rank == 5 && !prn_op_int(op, "past_present_share_buffer", 0)
                ? prn_dim_add(prn_infer_ctx(env), past.dims[3], x.dims[1])
                : unknown(env);
  prn_dim out[] = {x.dims[0], x.dims[1], hidden};
  prn_dim present[] = {prn_shape_const(env, 2), x.dims[0],
                       prn_shape_const(env, heads), total,
                       divide(env, hidden, heads)};
  PRN_TRY(prn_shape_result(env, op, 0, shape(env, dtype, 3, out)));
  return prn_shape_result(env, op, 1, shape(env, dtype, 5, present));
}

prn_status prn_infer_ms_attention(prn_infer *env, prn_op *op) {
  return attention(env, op, 4, prn_shape_of(env, op, 0).dtype);
}

prn_status prn_infer_ms_qattention(prn_infer *env, prn_op *op) {
  return attention(env, op, 8, prn_shape_of(env, op, 3).dtype);
}

/* [batch, heads, past + new, size] from a past of that form. */
static prn_status present(prn_infer *env, prn_op *op, uint32_t past_at,
                          uint32_t result, prn_dim fresh, bool shared) {
  prn_shape past = prn_shape_of(env, op, past_at);
  if (past.rank != 4) return PRN_OK;
  past.dims[2] = shared ? unknown(env)
                        : prn_dim_add(prn_infer_ctx(env), past.dims[2], fresh);
  return prn_shape_result(env, op, result, past);
}

prn_status prn_infer_ms_mha(prn_infer *env, prn_op *op) {
  prn_shape q = prn_shape_of(env, op, 0), v = prn_shape_of(env, op, 2);
  prn_dim hidden = unknown(env), fresh = unknown(env);
  PRN_TRY(check_num_heads(op));
  if (q.rank == 5) { /* packed: [batch, length, heads, 3, size] */
    hidden = times(env, q.dims[2], q.dims[4]);
    fresh = q.dims[1];
  } else if (q.rank != 3) {
    return prn_shape_dtype_only(env, op, 0, q.dtype);
  } else if (v.rank == 3) {
    hidden = v.dims[2];
    fresh = v.dims[1];
  } else if (v.rank == 4) {
    hidden = times(env, v.dims[1], v.dims[3]);
    fresh = v.dims[2];
  } else if (!prn_shape_in(op, 2)) {
    hidden = q.dims[2];
  }
  prn_dim out[] = {q.dims[0], q.dims[1], hidden};
  bool shared = prn_shape_in(op, 8) != NULL;
  PRN_TRY(prn_shape_result(env, op, 0, shape(env, q.dtype, 3, out)));
  PRN_TRY(present(env, op, 6, 1, fresh, shared));
  return present(env, op, 7, 2, fresh, shared);
}

/* Keys and values of a cache that there was none of, or that has no room for
 * more than is new: otherwise only the run decides whether it grows. */
static prn_status gqa_present(prn_infer *env, prn_op *op, uint32_t i,
                              prn_shape q, prn_dim head) {
  prn_shape past = prn_shape_of(env, op, i + 2);
  size_t n;
  prn_dim dims[4] = {q.dims[0],
                     prn_shape_const(env, prn_op_int(op, "kv_num_heads", 1)),
                     q.dims[1], head};
  if (!prn_shape_in(op, i + 2))
    return prn_shape_result(env, op, i, shape(env, q.dtype, 4, dims));
  if (past.rank == 4) {
    const prn_dim *total = prn_infer_content(env, prn_shape_in(op, 6), &n);
    prn_dim grown = prn_dim_add(prn_infer_ctx(env), past.dims[2], q.dims[1]);
    past.dims[2] = total && n == 1 && total[0] == grown ? grown : unknown(env);
  }
  return prn_shape_result(env, op, i, past);
}

/* Without a key operand the query holds queries, keys and values. */
prn_status prn_infer_ms_gqa(prn_infer *env, prn_op *op) {
  prn_shape q = prn_shape_of(env, op, 0);
  int64_t heads = prn_op_int(op, "num_heads", 1);
  int64_t kv = prn_op_int(op, "kv_num_heads", 1);
  PRN_TRY(check_num_heads(op));
  if (kv < 1 || heads % kv)
    return prn_op_error(op,
                        "num_heads is %lld, no multiple of kv_num_heads, "
                        "%lld",
                        (long long)heads, (long long)kv);
  if (q.rank != 3) return prn_shape_dtype_only(env, op, 0, q.dtype);
  prn_dim out[] = {q.dims[0], q.dims[1], q.dims[2]};
  prn_dim head = divide(env, q.dims[2], heads);
  if (!prn_shape_in(op, 1) && heads <= INT32_MAX) {
    head = divide(env, q.dims[2], heads + 2 * kv);
    out[2] = times(env, head, prn_shape_const(env, heads));
  }
  PRN_TRY(prn_shape_result(env, op, 0, shape(env, q.dtype, 3, out)));
  PRN_TRY(gqa_present(env, op, 1, q, head));
  return gqa_present(env, op, 2, q, head);
}

prn_status prn_infer_ms_relative_bias(prn_infer *env, prn_op *op) {
  prn_shape table = prn_shape_of(env, op, 0);
  prn_dim dims[4] = {prn_shape_const(env, 1), unknown(env), unknown(env),
                     unknown(env)};
  if (table.rank == 2) dims[1] = table.dims[1];
  for (uint32_t i = 1; i <= 2; i++) {
    size_t n;
    const prn_dim *c = prn_infer_content(env, prn_shape_in(op, i), &n);
    if (c && n == 1) dims[i + 1] = c[0];
  }
  return prn_shape_result(env, op, 0, shape(env, table.dtype, 4, dims));
}

/* ---- normalisation, embeddings, activations ---- */

prn_status prn_infer_ms_skip_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), stat = prn_shape_of(env, op, 0);
  PRN_TRY(prn_shape_result(env, op, 0, x));
  PRN_TRY(prn_shape_result(env, op, 3, x));
  if (stat.rank > 0) stat.dims[stat.rank - 1] = prn_shape_const(env, 1);
  stat.dtype = PRN_F32;
  PRN_TRY(prn_shape_result(env, op, 1, stat));
  return prn_shape_result(env, op, 2, stat);
}

prn_status prn_infer_ms_skip_group(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  PRN_TRY(prn_shape_result(env, op, 0, x));
  return prn_shape_result(env, op, 1, x);
}

prn_status prn_infer_ms_embed(prn_infer *env, prn_op *op) {
  prn_shape ids = prn_shape_of(env, op, 0), table = prn_shape_of(env, op, 2);
  prn_shape mask = prn_shape_new(env, PRN_I32, 1);
  if (ids.rank != 2 || table.rank != 2)
    return prn_shape_dtype_only(env, op, 0, table.dtype);
  prn_dim out[] = {ids.dims[0], ids.dims[1], table.dims[1]};
  mask.dims[0] = ids.dims[0];
  PRN_TRY(prn_shape_result(env, op, 0, shape(env, table.dtype, 3, out)));
  PRN_TRY(prn_shape_result(env, op, 1, mask));
  return prn_shape_result(env, op, 2, shape(env, table.dtype, 3, out));
}

prn_status prn_infer_ms_embedding(prn_infer *env, prn_op *op) {
  prn_shape table = prn_shape_of(env, op, 0), idx = prn_shape_of(env, op, 1);
  if (table.rank != 2 || idx.rank < 0)
    return prn_shape_dtype_only(env, op, 0, table.dtype);
  prn_shape out = prn_shape_new(env, table.dtype, (int64_t)idx.rank + 1);
  for (int32_t i = 0; i < idx.rank; i++)
    out.dims[i] = idx.dims[i];
  out.dims[idx.rank] = table.dims[1];
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ms_half(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  if (x.rank > 0) x.dims[x.rank - 1] = divide(env, x.dims[x.rank - 1], 2);
  return prn_shape_result(env, op, 0, x);
}

/* ---- normalisation ---- */

prn_status prn_infer_ms_group_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t groups = prn_op_int(op, "groups", 0), c;
  if (groups < 1)
    return prn_op_error(op, "groups is %lld, expected 1 or more",
                        (long long)groups);
  bool last = prn_op_int(op, "channels_last", 1) != 0;
  if (x.rank >= 2 && prn_dim_is_const(x.dims[last ? x.rank - 1 : 1], &c) &&
      c % groups)
    return prn_op_error(op, "%lld channels do not divide into %lld groups",
                        (long long)c, (long long)groups);
  return prn_shape_result(env, op, 0, x);
}

/* ---- matrix products ---- */

/* transBatch moves the first axis behind the batch axes, then trans swaps the
 * last two. */
static void transpose(prn_shape *s, bool batch, bool last) {
  if (s->rank < 2) return;
  if (batch) {
    prn_dim first = s->dims[0];
    for (int32_t i = 0; i + 2 < s->rank; i++)
      s->dims[i] = s->dims[i + 1];
    s->dims[s->rank - 2] = first;
  }
  if (last) {
    prn_dim d = s->dims[s->rank - 1];
    s->dims[s->rank - 1] = s->dims[s->rank - 2];
    s->dims[s->rank - 2] = d;
  }
}

prn_status prn_infer_ms_matmul(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 1), out;
  transpose(&a, prn_op_int(op, "transBatchA", 0) != 0,
            prn_op_int(op, "transA", 0) != 0);
  transpose(&b, prn_op_int(op, "transBatchB", 0) != 0,
            prn_op_int(op, "transB", 0) != 0);
  PRN_TRY(prn_shape_matmul(env, op, a, b, &out));
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ms_matmul_nbits(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0);
  int64_t k = prn_op_int(op, "K", 0), n = prn_op_int(op, "N", 0), have;
  if (k < 1 || n < 1)
    return prn_op_error(op, "K is %lld and N is %lld, expected 1 or more",
                        (long long)k, (long long)n);
  if (a.rank < 1) return prn_shape_dtype_only(env, op, 0, a.dtype);
  if (prn_dim_is_const(a.dims[a.rank - 1], &have) && have != k)
    return prn_op_error(op, "A has rows of %lld, but K is %lld",
                        (long long)have, (long long)k);
  a.dims[a.rank - 1] = prn_shape_const(env, n);
  return prn_shape_result(env, op, 0, a);
}

prn_status prn_infer_ms_matmul_to_float(prn_infer *env, prn_op *op) {
  prn_shape out;
  PRN_TRY(prn_shape_matmul(env, op, prn_shape_of(env, op, 0),
                           prn_shape_of(env, op, 1), &out));
  out.dtype = prn_shape_of(env, op, 2).dtype;
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ms_qgemm(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 3), out;
  transpose(&a, false, prn_op_int(op, "transA", 0) != 0);
  transpose(&b, false, prn_op_int(op, "transB", 0) != 0);
  PRN_TRY(prn_shape_matmul(env, op, a, b, &out));
  out.dtype = PRN_F32;
  if (prn_shape_in(op, 8)) out.dtype = prn_shape_of(env, op, 8).dtype;
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_ms_cdist(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 1);
  prn_shape out = prn_shape_new(env, a.dtype, 2);
  if (a.rank == 2) out.dims[0] = a.dims[0];
  if (b.rank == 2) out.dims[1] = b.dims[0];
  return prn_shape_result(env, op, 0, out);
}

/* [length, directions, batch, hidden], [directions, batch, hidden] */
prn_status prn_infer_ms_lstm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, 1);
  int64_t hidden = prn_op_int(op, "hidden_size", 0);
  if (x.rank != 3) return prn_shape_dtype_only(env, op, 0, x.dtype);
  prn_dim dims[4] = {x.dims[0], w.rank == 3 ? w.dims[0] : unknown(env),
                     x.dims[1],
                     hidden > 0 ? prn_shape_const(env, hidden) : unknown(env)};
  PRN_TRY(prn_shape_result(env, op, 0, shape(env, x.dtype, 4, dims)));
  for (uint32_t i = 1; i <= 2; i++)
    PRN_TRY(prn_shape_result(env, op, i, shape(env, x.dtype, 3, dims + 1)));
  return PRN_OK;
}

/* ---- quantised ---- */

prn_status prn_infer_ms_qlinear_binary(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 3);
  if (!prn_shape_broadcast(env, &a, b))
    return prn_op_error(
        op, "operands of shapes %s and %s cannot be broadcast together",
        prn_shape_str(env, a), prn_shape_str(env, b));
  return prn_shape_result(env, op, 0, a);
}

prn_status prn_infer_ms_qlinear_where(prn_infer *env, prn_op *op) {
  prn_shape out = prn_shape_of(env, op, 0);
  prn_shape x = prn_shape_of(env, op, 1), y = prn_shape_of(env, op, 4);
  if (!prn_shape_broadcast(env, &out, x) || !prn_shape_broadcast(env, &out, y))
    return prn_op_error(op, "the operands cannot be broadcast together");
  out.dtype = x.dtype;
  return prn_shape_result(env, op, 0, out);
}

/* Each input is followed by its scale and zero point. */
prn_status prn_infer_ms_qlinear_concat(prn_infer *env, prn_op *op) {
  prn_shape out = prn_shape_of(env, op, 2);
  prn_dtype dtype = prn_shape_of(env, op, 1).dtype;
  int32_t axis;
  if (out.rank < 0) return prn_shape_dtype_only(env, op, 0, dtype);
  PRN_TRY(
      prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), out.rank, &axis));
  for (uint32_t i = 5; i < op->num_operands; i += 3) {
    prn_shape s = prn_shape_of(env, op, i);
    if (s.rank < 0) return prn_shape_dtype_only(env, op, 0, dtype);
    if (s.rank != out.rank)
      return prn_op_error(op, "operand %u has rank %d, expected %d",
                          (unsigned)i, (int)s.rank, (int)out.rank);
    for (int32_t d = 0; d < s.rank; d++)
      if (d == axis)
        out.dims[d] = prn_dim_add(prn_infer_ctx(env), out.dims[d], s.dims[d]);
      else if (!prn_shape_unify(out.dims[d], s.dims[d], &out.dims[d]))
        return prn_op_error(op, "operand %u has shape %s, expected %s",
                            (unsigned)i, prn_shape_str(env, s),
                            prn_shape_str(env, out));
  }
  out.dtype = dtype;
  return prn_shape_result(env, op, 0, out);
}

static bool channels_last(const prn_op *op) {
  return prn_op_int(op, "channels_last", 0) != 0;
}

prn_status prn_infer_ms_qlinear_conv(prn_infer *env, prn_op *op) {
  if (!channels_last(op)) return prn_infer_qlinear_conv(env, op);
  return prn_shape_dtype_only(env, op, 0, prn_shape_of(env, op, 7).dtype);
}

prn_status prn_infer_ms_qlinear_pool(prn_infer *env, prn_op *op) {
  if (!channels_last(op)) return prn_infer_pool(env, op);
  return prn_shape_dtype_only(env, op, 0, prn_shape_of(env, op, 0).dtype);
}

prn_status prn_infer_ms_qlinear_gap(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int32_t first = channels_last(op) ? 1 : 2;
  for (int32_t i = first; i < first + x.rank - 2; i++)
    x.dims[i] = prn_shape_const(env, 1);
  return prn_shape_result(env, op, 0, x);
}
