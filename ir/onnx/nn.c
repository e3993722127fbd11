/* Convolution, pooling, normalisation, matrix products. */
#include "ir/onnx/window.h"

/* Two sizes that must be equal. */
static prn_status tie(const prn_op *op, prn_dim a, prn_dim b, prn_dim *out,
                      const char *what) {
  prn_dim any;
  if (prn_shape_unify(a, b, out ? out : &any)) return PRN_OK;
  return prn_op_error(op, "%s: %lld and %lld are not equal", what,
                      (long long)a->value, (long long)b->value);
}

/* ---- convolution ---- */

static prn_status check_groups(const prn_op *op, prn_dim channels,
                               prn_dim filters, prn_dim per_group,
                               bool transposed) {
  int64_t group = prn_op_int(op, "group", 1), c, m, p;
  bool has_p = prn_dim_is_const(per_group, &p);
  if (group < 1)
    return prn_op_error(op, "group is %lld, expected 1 or more",
                        (long long)group);
  if (prn_dim_is_const(channels, &c)) {
    if (c % group)
      return prn_op_error(op,
                          "%lld input channels do not divide into %lld "
                          "groups",
                          (long long)c, (long long)group);
    if (!transposed && has_p && c / group != p)
      return prn_op_error(
          op,
          "the input has %lld channels, but the weight takes %lld in each of "
          "%lld groups",
          (long long)c, (long long)p, (long long)group);
    if (transposed && prn_dim_is_const(filters, &m) && m != c)
      return prn_op_error(op,
                          "the input has %lld channels, but the weight takes "
                          "%lld",
                          (long long)c, (long long)m);
  }
  if (!transposed && prn_dim_is_const(filters, &m) && m % group)
    return prn_op_error(op, "%lld filters do not divide into %lld groups",
                        (long long)m, (long long)group);
  return PRN_OK;
}

static prn_status check_kernel(const prn_op *op, const prn_window *w,
                               prn_shape weight) {
  int64_t v;
  for (int32_t i = 0; w->kernel && i < w->n; i++)
    if (prn_dim_is_const(weight.dims[i + 2], &v) && v != w->kernel[i])
      return prn_op_error(op,
                          "kernel_shape has %lld for spatial axis %d, but the "
                          "weight has %lld",
                          (long long)w->kernel[i], (int)i, (long long)v);
  return PRN_OK;
}

static prn_status conv_ranks(const prn_op *op, prn_shape x, prn_shape w) {
  if (x.rank >= 0 && x.rank < 2)
    return prn_op_error(op, "the input has rank %d, expected 3 or more",
                        (int)x.rank);
  if (x.rank >= 0 && w.rank >= 0 && x.rank != w.rank)
    return prn_op_error(op, "the weight has rank %d, expected %d, the input's",
                        (int)w.rank, (int)x.rank);
  return PRN_OK;
}

static prn_dim kernel_size(prn_infer *env, const prn_window *w, prn_shape wt,
                           int32_t i) {
  return w->kernel ? prn_shape_const(env, w->kernel[i]) : wt.dims[i + 2];
}

/* x at operand 0, the weight at operand `wi`, the result of type dtype. */
static prn_status infer_conv(prn_infer *env, prn_op *op, uint32_t wi,
                             uint32_t bias, prn_dtype dtype) {
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, wi);
  prn_window win;
  PRN_TRY(conv_ranks(op, x, w));
  if (x.rank < 0 || w.rank < 0) {
    if (x.rank < 0) x = w;
    prn_shape out = prn_shape_unranked(dtype);
    if (x.rank >= 0) out = prn_shape_new(env, dtype, x.rank);
    return prn_shape_result(env, op, 0, out);
  }
  PRN_TRY(check_groups(op, x.dims[1], w.dims[0], w.dims[1], false));
  PRN_TRY(prn_window_read(env, op, x.rank - 2, &win));
  PRN_TRY(check_kernel(op, &win, w));
  prn_shape b = prn_shape_of(env, op, bias);
  prn_dim filters = w.dims[0];
  if (b.rank == 1)
    PRN_TRY(tie(op, filters, b.dims[0], &filters, "filters and bias"));
  prn_shape out = prn_shape_new(env, dtype, x.rank);
  out.dims[0] = x.dims[0];
  out.dims[1] = filters;
  for (int32_t i = 0; i < win.n; i++)
    PRN_TRY(prn_window_size(env, op, &win, i, x.dims[i + 2],
                            kernel_size(env, &win, w, i), &out.dims[i + 2]));
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_conv(prn_infer *env, prn_op *op) {
  return infer_conv(env, op, 1, 2, prn_shape_of(env, op, 0).dtype);
}
prn_status prn_infer_conv_integer(prn_infer *env, prn_op *op) {
  return infer_conv(env, op, 1, UINT32_MAX, PRN_I32);
}
prn_status prn_infer_qlinear_conv(prn_infer *env, prn_op *op) {
  return infer_conv(env, op, 3, 8, prn_shape_of(env, op, 7).dtype);
}

prn_status prn_verify_conv(prn_op *op) {
  int64_t group = prn_op_int(op, "group", 1);
  if (group < 1)
    return prn_op_error(op, "group is %lld, expected 1 or more",
                        (long long)group);
  return prn_verify_window(op);
}

/* One spatial size of a transposed convolution. */
static prn_dim upsampled(prn_infer *env, const prn_window *w, int32_t i,
                         prn_dim in, prn_dim kernel, int64_t extra) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim one = prn_dim_const(ctx, 1);
  prn_dim stride = prn_dim_const(ctx, w->strides[i]);
  if (w->auto_pad == PRN_PAD_SAME_UPPER || w->auto_pad == PRN_PAD_SAME_LOWER)
    return prn_dim_mul(ctx, in, stride);
  prn_dim taps = prn_dim_mul(ctx, prn_dim_sub(ctx, kernel, one),
                             prn_dim_const(ctx, w->dilations[i]));
  prn_dim out = prn_dim_mul(ctx, prn_dim_sub(ctx, in, one), stride);
  out = prn_dim_add(ctx, prn_dim_add(ctx, out, taps),
                    prn_dim_const(ctx, extra + 1));
  if (w->auto_pad == PRN_PAD_VALID) return out;
  return prn_dim_sub(ctx, out,
                     prn_dim_const(ctx, w->pads[i] + w->pads[w->n + i]));
}

prn_status prn_infer_conv_transpose(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), w = prn_shape_of(env, op, 1);
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_window win;
  size_t n_extra, n_fixed;
  const int64_t *extra = prn_op_ints(op, "output_padding", &n_extra);
  const int64_t *fixed = prn_op_ints(op, "output_shape", &n_fixed);
  PRN_TRY(conv_ranks(op, x, w));
  if (x.rank < 0 || w.rank < 0)
    return prn_shape_dtype_only(env, op, 0, x.dtype);
  PRN_TRY(check_groups(op, x.dims[1], w.dims[0], w.dims[1], true));
  PRN_TRY(prn_window_read(env, op, x.rank - 2, &win));
  PRN_TRY(check_kernel(op, &win, w));
  if (n_extra && n_extra != (size_t)win.n)
    return prn_op_error(op, "output_padding has %zu values, expected %d",
                        n_extra, (int)win.n);
  if (n_fixed && n_fixed != (size_t)win.n && n_fixed != (size_t)win.n + 2)
    return prn_op_error(op, "output_shape has %zu values, expected %d", n_fixed,
                        (int)win.n);
  if (n_fixed == (size_t)win.n + 2) fixed += 2;
  prn_shape out = prn_shape_new(env, x.dtype, x.rank);
  out.dims[0] = x.dims[0];
  out.dims[1] = prn_dim_mul(ctx, w.dims[1],
                            prn_dim_const(ctx, prn_op_int(op, "group", 1)));
  for (int32_t i = 0; i < win.n; i++) {
    int64_t more = n_extra ? extra[i] : 0;
    if (more < 0 || more > INT32_MAX)
      return prn_op_error(op, "output_padding has %lld", (long long)more);
    out.dims[i + 2] = n_fixed ? prn_dim_const(ctx, fixed[i])
                              : upsampled(env, &win, i, x.dims[i + 2],
                                          kernel_size(env, &win, w, i), more);
  }
  return prn_shape_result(env, op, 0, out);
}

/* ---- pooling ---- */

prn_status prn_infer_pool(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_window win;
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  if (x.rank < 2)
    return prn_op_error(op, "the input has rank %d, expected 3 or more",
                        (int)x.rank);
  PRN_TRY(prn_window_read(env, op, x.rank - 2, &win));
  if (!win.kernel) return prn_op_error(op, "kernel_shape is missing");
  prn_shape out = prn_shape_new(env, x.dtype, x.rank);
  out.dims[0] = x.dims[0];
  out.dims[1] = x.dims[1];
  for (int32_t i = 0; i < win.n; i++)
    PRN_TRY(prn_window_size(env, op, &win, i, x.dims[i + 2],
                            prn_shape_const(env, win.kernel[i]),
                            &out.dims[i + 2]));
  PRN_TRY(prn_shape_result(env, op, 0, out));
  out.dtype = PRN_I64;
  return prn_shape_result(env, op, 1, out);
}

prn_status prn_infer_global_pool(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  for (int32_t i = 2; i < x.rank; i++)
    x.dims[i] = prn_shape_const(env, 1);
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_infer_deform_conv(prn_infer *env, prn_op *op) {
  return infer_conv(env, op, 1, 3, prn_shape_of(env, op, 0).dtype);
}

/* ---- normalisation ---- */

/* Operands [1, n] are vectors of the channels (axis 1) of operand 0. */
static prn_status channel_vectors(prn_infer *env, prn_op *op, uint32_t n,
                                  prn_shape *x) {
  for (uint32_t i = 1; i <= n; i++) {
    prn_shape v = prn_shape_of(env, op, i);
    if (v.rank < 0 || x->rank < 2) continue;
    if (v.rank != 1)
      return prn_op_error(op,
                          "operand %u has shape %s, expected a vector of "
                          "the channels",
                          (unsigned)i, prn_shape_str(env, v));
    PRN_TRY(tie(op, x->dims[1], v.dims[0], &x->dims[1],
                "channels of the input and of a parameter"));
  }
  return PRN_OK;
}

prn_status prn_infer_batch_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  if (prn_op_int(op, "spatial", 1)) PRN_TRY(channel_vectors(env, op, 4, &x));
  PRN_TRY(prn_shape_result(env, op, 0, x));
  for (uint32_t i = 1; i < op->num_results; i++) {
    prn_shape v = prn_shape_of(env, op, i <= 2 ? i + 2 : i);
    PRN_TRY(prn_shape_result(env, op, i, v));
  }
  return PRN_OK;
}

prn_status prn_infer_instance_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  PRN_TRY(channel_vectors(env, op, 2, &x));
  return prn_shape_result(env, op, 0, x);
}

static prn_status check_norm_groups(const prn_op *op) {
  int64_t n = prn_op_int(op, "num_groups", 1);
  if (n >= 1) return PRN_OK;
  return prn_op_error(op, "num_groups is %lld, expected 1 or more",
                      (long long)n);
}

prn_status prn_verify_group_norm(prn_op *op) { return check_norm_groups(op); }

/* Until opset 21 scale and bias had one entry for each group. */
prn_status prn_infer_group_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  int64_t n = prn_op_int(op, "num_groups", 1), c;
  PRN_TRY(check_norm_groups(op));
  if (x.rank >= 2 && prn_dim_is_const(x.dims[1], &c) && c % n)
    return prn_op_error(op, "%lld channels do not divide into %lld groups",
                        (long long)c, (long long)n);
  int64_t opset = prn_op_opset(op);
  if (opset == 0 || opset >= 21) PRN_TRY(channel_vectors(env, op, 2, &x));
  return prn_shape_result(env, op, 0, x);
}

prn_status prn_verify_lrn(prn_op *op) {
  int64_t n = prn_op_int(op, "size", 1);
  if (n >= 1) return PRN_OK;
  return prn_op_error(op, "size is %lld, expected 1 or more", (long long)n);
}

/* LayerNormalization and RMSNormalization: statistics have size 1 from axis
 * on. */
prn_status prn_infer_layer_norm(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0), stat = x, out = x;
  int32_t axis = 0;
  for (uint32_t i = 1; i < op->num_operands; i++) {
    prn_shape p = prn_shape_of(env, op, i), before = x;
    if (!prn_shape_in(op, i)) continue;
    if (!prn_shape_broadcast(env, &x, p) ||
        (x.rank >= 0 && x.rank != before.rank))
      return prn_op_error(
          op, "operand %u of shape %s does not broadcast to the input's %s",
          (unsigned)i, prn_shape_str(env, p), prn_shape_str(env, before));
    x = before;
  }
  /* The root-mean-square forms give the type of the scale. */
  if (!prn_op_is(op, PRN_OP_onnx_LayerNormalization))
    out.dtype = prn_shape_of(env, op, 1).dtype;
  PRN_TRY(prn_shape_result(env, op, 0, out));
  if (stat.rank >= 0) {
    PRN_TRY(prn_shape_axis(op, "axis", prn_op_int(op, "axis", -1), stat.rank,
                           &axis));
    for (int32_t i = axis; i < stat.rank; i++)
      stat.dims[i] = prn_shape_const(env, 1);
  }
  int64_t stash = prn_op_int(op, "stash_type", PRN_F32);
  stat.dtype =
      stash > 0 && stash < PRN_DTYPE_COUNT ? (prn_dtype)stash : PRN_DTYPE_NONE;
  PRN_TRY(prn_shape_result(env, op, 1, stat));
  return prn_shape_result(env, op, 2, stat);
}

/* ---- matrix products ---- */

prn_status prn_shape_matmul(prn_infer *env, const prn_op *op, prn_shape a,
                            prn_shape b, prn_shape *out) {
  *out = prn_shape_unranked(a.dtype);
  if (a.rank < 0 || b.rank < 0) return PRN_OK;
  if (a.rank == 0 || b.rank == 0)
    return prn_op_error(op, "a matrix product of a scalar");
  prn_dim inner_a = a.dims[a.rank - 1];
  prn_dim inner_b = b.dims[b.rank == 1 ? 0 : b.rank - 2];
  if (!prn_shape_unify(inner_a, inner_b, &inner_a))
    return prn_op_error(op, "shapes %s and %s do not multiply: %lld and %lld",
                        prn_shape_str(env, a), prn_shape_str(env, b),
                        (long long)inner_a->value, (long long)inner_b->value);
  prn_shape lead = {a.dtype, a.rank > 2 ? a.rank - 2 : 0, a.dims};
  prn_shape lead_b = {b.dtype, b.rank > 2 ? b.rank - 2 : 0, b.dims};
  if (!prn_shape_broadcast(env, &lead, lead_b))
    return prn_op_error(op,
                        "shapes %s and %s: the leading sizes do not "
                        "broadcast",
                        prn_shape_str(env, a), prn_shape_str(env, b));
  *out = prn_shape_new(env, a.dtype, (int64_t)lead.rank + 2);
  out->rank = lead.rank;
  for (int32_t i = 0; i < lead.rank; i++)
    out->dims[i] = lead.dims[i];
  if (a.rank > 1) out->dims[out->rank++] = a.dims[a.rank - 2];
  if (b.rank > 1) out->dims[out->rank++] = b.dims[b.rank - 1];
  return PRN_OK;
}

static prn_status infer_matmul(prn_infer *env, prn_op *op, uint32_t bi,
                               prn_dtype dtype) {
  prn_shape out;
  PRN_TRY(prn_shape_matmul(env, op, prn_shape_of(env, op, 0),
                           prn_shape_of(env, op, bi), &out));
  out.dtype = dtype;
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_matmul(prn_infer *env, prn_op *op) {
  return infer_matmul(env, op, 1, prn_shape_of(env, op, 0).dtype);
}
prn_status prn_infer_matmul_integer(prn_infer *env, prn_op *op) {
  return infer_matmul(env, op, 1, PRN_I32);
}
prn_status prn_infer_qlinear_matmul(prn_infer *env, prn_op *op) {
  return infer_matmul(env, op, 3, prn_shape_of(env, op, 7).dtype);
}

prn_status prn_infer_gemm(prn_infer *env, prn_op *op) {
  prn_shape a = prn_shape_of(env, op, 0), b = prn_shape_of(env, op, 1);
  int32_t ta = prn_op_int(op, "transA", 0) != 0;
  int32_t tb = prn_op_int(op, "transB", 0) != 0;
  prn_shape out = prn_shape_new(env, a.dtype, 2);
  if ((a.rank >= 0 && a.rank != 2) || (b.rank >= 0 && b.rank != 2))
    return prn_op_error(op, "A has shape %s and B %s, expected matrices",
                        prn_shape_str(env, a), prn_shape_str(env, b));
  if (a.rank == 2) out.dims[0] = a.dims[ta];
  if (b.rank == 2) out.dims[1] = b.dims[1 - tb];
  if (a.rank == 2 && b.rank == 2)
    PRN_TRY(tie(op, a.dims[1 - ta], b.dims[tb], NULL,
                "columns of A' and rows of B'"));
  prn_shape c = prn_shape_of(env, op, 2), to = out;
  if (c.rank > 2 || !prn_shape_broadcast(env, &to, c) ||
      (c.rank >= 0 && (!prn_shape_unify(to.dims[0], out.dims[0], to.dims) ||
                       !prn_shape_unify(to.dims[1], out.dims[1], to.dims))))
    return prn_op_error(op, "C of shape %s does not broadcast to %s",
                        prn_shape_str(env, c), prn_shape_str(env, out));
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_det(prn_infer *env, prn_op *op) {
  prn_shape x = prn_shape_of(env, op, 0);
  prn_dim any;
  if (x.rank < 0) return prn_shape_dtype_only(env, op, 0, x.dtype);
  if (x.rank < 2 ||
      !prn_shape_unify(x.dims[x.rank - 2], x.dims[x.rank - 1], &any))
    return prn_op_error(op, "the input has shape %s, expected square matrices",
                        prn_shape_str(env, x));
  x.rank -= 2;
  return prn_shape_result(env, op, 0, x);
}
