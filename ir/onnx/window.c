#include "ir/onnx/window.h"

enum { MAX_WINDOW = INT32_MAX };

/* Attribute `name` as n integers of [lo, hi]; `dflt` n times when absent. */
static prn_status read_ints(prn_arena *a, const prn_op *op, const char *name,
                            size_t n, int64_t lo, int64_t dflt,
                            const int64_t **out) {
  size_t size;
  const int64_t *v = prn_op_ints(op, name, &size);
  if (!prn_op_attr(op, name)) {
    int64_t *same = PRN_ARENA_ARRAY(a, int64_t, n + 1);
    for (size_t i = 0; i < n; i++)
      same[i] = dflt;
    *out = same;
    return PRN_OK;
  }
  if (size != n)
    return prn_op_error(op, "%s has %zu values, expected %zu", name, size, n);
  for (size_t i = 0; i < n; i++)
    if (v[i] < lo || v[i] > MAX_WINDOW)
      return prn_op_error(op, "%s has %lld, expected a value from %lld to %d",
                          name, (long long)v[i], (long long)lo,
                          (int)MAX_WINDOW);
  *out = v;
  return PRN_OK;
}

static prn_status read_auto_pad(const prn_op *op, prn_auto_pad *out) {
  static const char *const names[] = {
      [PRN_PAD_NOTSET] = "NOTSET",
      [PRN_PAD_SAME_UPPER] = "SAME_UPPER",
      [PRN_PAD_SAME_LOWER] = "SAME_LOWER",
      [PRN_PAD_VALID] = "VALID",
  };
  prn_str s = prn_op_string(op, "auto_pad", "NOTSET");
  *out = PRN_PAD_NOTSET;
  if (s.size == 0) return PRN_OK;
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_str_is(s, names[i])) {
      *out = (prn_auto_pad)i;
      return PRN_OK;
    }
  return prn_op_error(op,
                      "auto_pad is '%.*s', expected NOTSET, SAME_UPPER, "
                      "SAME_LOWER or VALID",
                      PRN_STR_ARG(s));
}

static prn_status read_window(prn_arena *a, const prn_op *op, int32_t n,
                              prn_window *w) {
  size_t count = (size_t)n;
  *w = (prn_window){.n = n, .ceil = prn_op_int(op, "ceil_mode", 0) != 0};
  PRN_TRY(read_auto_pad(op, &w->auto_pad));
  if (prn_op_attr(op, "kernel_shape"))
    PRN_TRY(read_ints(a, op, "kernel_shape", count, 1, 1, &w->kernel));
  PRN_TRY(read_ints(a, op, "strides", count, 1, 1, &w->strides));
  PRN_TRY(read_ints(a, op, "dilations", count, 1, 1, &w->dilations));
  return read_ints(a, op, "pads", 2 * count, 0, 0, &w->pads);
}

prn_status prn_window_read(prn_infer *env, const prn_op *op, int32_t n,
                           prn_window *out) {
  return read_window(prn_infer_scratch(env), op, n, out);
}

/* The attributes agree among themselves, whatever the operands are. */
prn_status prn_verify_window(prn_op *op) {
  static const struct {
    const char *name;
    size_t per_axis;
  } lists[] = {
      {"kernel_shape", 1}, {"strides", 1}, {"dilations", 1}, {"pads", 2}};
  prn_window w;
  for (size_t i = 0; i < PRN_COUNT(lists); i++) {
    size_t n;
    (void)prn_op_ints(op, lists[i].name, &n);
    if (n == 0) continue;
    if (n % lists[i].per_axis)
      return prn_op_error(op, "%s has %zu values, expected two for each axis",
                          lists[i].name, n);
    return read_window(&op->module->arena, op, (int32_t)(n / lists[i].per_axis),
                       &w);
  }
  return read_auto_pad(op, &w.auto_pad);
}

/* Windows that fit in `room` positions after the first. */
static prn_dim count_windows(prn_infer *env, const prn_window *w, int32_t i,
                             prn_dim in, prn_dim room) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim stride = prn_dim_const(ctx, w->strides[i]);
  prn_dim one = prn_dim_const(ctx, 1);
  if (!w->ceil)
    return prn_dim_add(ctx, prn_dim_floordiv(ctx, room, stride), one);
  prn_dim n = prn_dim_add(ctx, prn_dim_ceildiv(ctx, room, stride), one);
  if (w->strides[i] == 1) return n;
  /* The last window may not start in the padding after the input. */
  prn_dim start = prn_dim_add(ctx, in, prn_dim_const(ctx, w->pads[i]));
  return prn_dim_min(ctx, n, prn_dim_ceildiv(ctx, start, stride));
}

prn_status prn_window_size(prn_infer *env, const prn_op *op,
                           const prn_window *w, int32_t i, prn_dim in,
                           prn_dim kernel, prn_dim *out) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim one = prn_dim_const(ctx, 1);
  int64_t v;
  if (w->auto_pad == PRN_PAD_SAME_UPPER || w->auto_pad == PRN_PAD_SAME_LOWER) {
    *out = prn_dim_ceildiv(ctx, in, prn_dim_const(ctx, w->strides[i]));
    return PRN_OK;
  }
  prn_dim taps = prn_dim_mul(ctx, prn_dim_sub(ctx, kernel, one),
                             prn_dim_const(ctx, w->dilations[i]));
  prn_dim room = prn_dim_sub(ctx, prn_dim_sub(ctx, in, one), taps);
  if (w->auto_pad == PRN_PAD_NOTSET)
    room = prn_dim_add(ctx, room,
                       prn_dim_const(ctx, w->pads[i] + w->pads[w->n + i]));
  if (prn_dim_is_const(room, &v) && v < 0)
    return prn_op_error(op,
                        "the window is %lld wider than the padded input along "
                        "spatial axis %d",
                        (long long)-v, (int)i);
  *out = count_windows(env, w, i, in, room);
  return PRN_OK;
}
