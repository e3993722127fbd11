/* Operators that move elements: reshape, transpose, slice, concatenate and
 * their kin. They carry contents along, which is what resolves exporters'
 * shape arithmetic. */
#include <string.h>

#include "ir/onnx/shape.h"

enum { MAX_RANK = 1024 }; /* of a shape that contents decide */

/* Copies content of operand 0 to result 0 in the same order. */
static void keep_content(prn_infer *env, prn_op *op) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (c) prn_infer_set_content(env, op, 0, c, n);
}

/* ---- Reshape, Flatten, Squeeze, Unsqueeze ---- */

/* Fills in the copied (0) and computed (-1) sizes of a Reshape. */
static prn_status resolve_reshape(prn_infer *env, prn_op *op, prn_shape in,
                                  prn_int_list want, prn_shape *out) {
  prn_ctx *ctx = prn_infer_ctx(env);
  bool allow_zero = prn_op_int(op, "allowzero", 0) != 0;
  int64_t computed = -1, v;
  prn_dim rest = prn_shape_const(env, 1);
  *out = prn_shape_new(env, in.dtype, want.n);
  for (int64_t i = 0; i < want.n; i++) {
    prn_dim d = want.elems[i];
    if (prn_dim_is_const(d, &v) && v == -1) {
      if (computed >= 0)
        return prn_op_error(op, "the new shape has two sizes of -1");
      computed = i;
      continue;
    }
    if (prn_dim_is_const(d, &v) && v < -1)
      return prn_op_error(op, "the new shape has a size of %lld", (long long)v);
    if (prn_dim_is_const(d, &v) && v == 0 && !allow_zero) {
      if (in.rank >= 0 && i >= in.rank)
        return prn_op_error(op,
                            "size %lld of the new shape is copied from the "
                            "input, which has rank %d",
                            (long long)i, (int)in.rank);
      d = in.rank < 0 ? prn_dim_unknown(ctx) : in.dims[i];
    }
    out->dims[i] = d;
    rest = prn_dim_mul(ctx, rest, d);
  }
  if (in.rank < 0) return PRN_OK;
  prn_dim total = prn_shape_product(env, in, 0, in.rank);
  if (computed >= 0) {
    int64_t a, b;
    bool whole = prn_dim_is_const(total, &a) && prn_dim_is_const(rest, &b);
    if (whole && (b == 0 ? a != 0 : a % b != 0))
      return prn_op_error(op,
                          "%lld elements of shape %s do not divide into rows "
                          "of %lld",
                          (long long)a, prn_shape_str(env, in), (long long)b);
    out->dims[computed] = prn_dim_floordiv(ctx, total, rest);
    return PRN_OK;
  }
  prn_dim gap = prn_dim_sub(ctx, total, rest);
  if (prn_dim_is_const(gap, &v) && v != 0)
    return prn_op_error(op, "shape %s does not reshape to %s: %s elements",
                        prn_shape_str(env, in), prn_shape_str(env, *out),
                        v > 0 ? "fewer" : "more");
  return PRN_OK;
}

/* One unknown size of a reshape follows from the number of elements. */
static void solve_unknown(prn_infer *env, prn_shape in, prn_shape *out) {
  prn_ctx *ctx = prn_infer_ctx(env);
  int32_t at = -1;
  prn_dim rest = prn_shape_const(env, 1);
  for (int32_t i = 0; i < out->rank; i++) {
    if (prn_dim_known(out->dims[i])) {
      rest = prn_dim_mul(ctx, rest, out->dims[i]);
    } else if (at >= 0) {
      return;
    } else {
      at = i;
    }
  }
  if (at < 0 || in.rank < 0) return;
  prn_dim total = prn_shape_product(env, in, 0, in.rank);
  out->dims[at] = prn_dim_floordiv(ctx, total, rest);
}

prn_status prn_infer_reshape(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0), out = prn_shape_unranked(in.dtype);
  prn_int_list want = prn_shape_ints(env, op, "shape", 1);
  if (want.elems) {
    PRN_TRY(resolve_reshape(env, op, in, want, &out));
    solve_unknown(env, in, &out);
  } else if (want.n >= 0 && want.n <= MAX_RANK) {
    out = prn_shape_new(env, in.dtype, want.n);
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  keep_content(env, op);
  return PRN_OK;
}

prn_status prn_infer_flatten(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_shape out = prn_shape_new(env, in.dtype, 2);
  int64_t axis = prn_op_int(op, "axis", 1);
  if (in.rank >= 0) {
    if (axis < -in.rank || axis > in.rank)
      return prn_op_error(op, "axis %lld is out of range for rank %d",
                          (long long)axis, (int)in.rank);
    if (axis < 0) axis += in.rank;
    out.dims[0] = prn_shape_product(env, in, 0, axis);
    out.dims[1] = prn_shape_product(env, in, axis, in.rank);
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  keep_content(env, op);
  return PRN_OK;
}

prn_status prn_infer_squeeze(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0), out = prn_shape_unranked(in.dtype);
  prn_int_list axes = prn_shape_ints(env, op, "axes", 1);
  bool known, *drop, sure = true;
  int64_t v;
  keep_content(env, op);
  if (in.rank < 0) return prn_shape_result(env, op, 0, out);
  PRN_TRY(prn_shape_axes(env, op, axes, in.rank, &known, &drop));
  if (!known) return prn_shape_result(env, op, 0, out);
  for (int32_t i = 0; i < in.rank; i++) {
    bool is_const = prn_dim_is_const(in.dims[i], &v);
    if (axes.given && drop[i] && is_const && v != 1)
      return prn_op_error(op, "axis %d of shape %s is squeezed, but is not 1",
                          (int)i, prn_shape_str(env, in));
    if (!axes.given) drop[i] = is_const && v == 1;
    if (!axes.given && !is_const) sure = false;
  }
  if (sure) {
    out = prn_shape_new(env, in.dtype, in.rank);
    out.rank = 0;
    for (int32_t i = 0; i < in.rank; i++)
      if (!drop[i]) out.dims[out.rank++] = in.dims[i];
  }
  return prn_shape_result(env, op, 0, out);
}

prn_status prn_infer_unsqueeze(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0), out = prn_shape_unranked(in.dtype);
  prn_int_list axes = prn_shape_ints(env, op, "axes", 1);
  bool known, *added;
  keep_content(env, op);
  if (in.rank < 0 || axes.n < 0 || axes.n > MAX_RANK)
    return prn_shape_result(env, op, 0, out);
  out = prn_shape_new(env, in.dtype, in.rank + axes.n);
  PRN_TRY(prn_shape_axes(env, op, axes, out.rank, &known, &added));
  for (int32_t i = 0, from = 0; known && i < out.rank; i++)
    out.dims[i] = added[i] ? prn_shape_const(env, 1) : in.dims[from++];
  return prn_shape_result(env, op, 0, out);
}

/* ---- Transpose ---- */

static void transpose_content(prn_infer *env, prn_op *op, prn_shape in,
                              const int64_t *perm) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  if (!c || prn_shape_small(in) != (int64_t)n) return;
  for (size_t k = 0; k < n; k++) {
    int64_t rest = (int64_t)k, at = 0;
    for (int32_t d = in.rank - 1; d >= 0; d--) {
      int64_t size = in.dims[perm[d]]->value, step = 1;
      for (int32_t e = (int32_t)perm[d] + 1; e < in.rank; e++)
        step *= in.dims[e]->value;
      at += rest % size * step;
      rest /= size;
    }
    elems[k] = c[at];
  }
  prn_infer_set_content(env, op, 0, elems, n);
}

/* perm of the right length, each axis once. */
static prn_status check_perm(const prn_op *op, const int64_t *perm, size_t n,
                             bool *seen) {
  for (size_t i = 0; i < n; i++) {
    if (perm[i] < 0 || perm[i] >= (int64_t)n)
      return prn_op_error(op, "perm has axis %lld, expected 0 to %zu",
                          (long long)perm[i], n - 1);
    if (seen[perm[i]])
      return prn_op_error(op,
                          "perm is not a permutation: axis %lld is there "
                          "twice",
                          (long long)perm[i]);
    seen[perm[i]] = true;
  }
  return PRN_OK;
}

prn_status prn_infer_transpose(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_arena *a = prn_infer_scratch(env);
  size_t n;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  bool given = prn_op_attr(op, "perm") != NULL;
  if (given) PRN_TRY(check_perm(op, perm, n, PRN_ARENA_ARRAY(a, bool, n + 1)));
  if (in.rank < 0 && given) {
    in.rank = -1;
    return prn_shape_result(env, op, 0,
                            prn_shape_new(env, in.dtype, (int64_t)n));
  }
  if (in.rank < 0) return prn_shape_result(env, op, 0, in);
  if (given && (int64_t)n != in.rank)
    return prn_op_error(op, "perm has %zu axes, but the input has rank %d", n,
                        (int)in.rank);
  int64_t *order = PRN_ARENA_ARRAY(a, int64_t, in.rank);
  prn_shape out = prn_shape_new(env, in.dtype, in.rank);
  for (int32_t i = 0; i < in.rank; i++) {
    order[i] = given ? perm[i] : in.rank - 1 - i;
    out.dims[i] = in.dims[order[i]];
  }
  PRN_TRY(prn_shape_result(env, op, 0, out));
  transpose_content(env, op, in, order);
  return PRN_OK;
}

prn_status prn_verify_transpose(prn_op *op) {
  size_t n;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  bool *seen = prn_arena_alloc(&op->module->arena, n + 1);
  return check_perm(op, perm, n, seen);
}

/* ---- Concat, Split ---- */

static void concat_content(prn_infer *env, prn_op *op) {
  prn_dim elems[PRN_INFER_MAX_CONTENT];
  size_t at = 0, n;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_dim *c = prn_infer_content(env, prn_shape_in(op, i), &n);
    if (!c || n > PRN_INFER_MAX_CONTENT - at) return;
    memcpy(elems + at, c, n * sizeof *c);
    at += n;
  }
  prn_infer_set_content(env, op, 0, elems, at);
}

/* Merges s into out everywhere but on axis, which is summed. */
static prn_status concat_one(prn_infer *env, prn_op *op, uint32_t i,
                             int32_t axis, prn_shape *out) {
  prn_shape s = prn_shape_of(env, op, i);
  if (s.rank != out->rank)
    return prn_op_error(op, "operand %u has rank %d, expected %d", (unsigned)i,
                        (int)s.rank, (int)out->rank);
  for (int32_t d = 0; d < s.rank; d++) {
    if (d == axis)
      out->dims[d] = prn_dim_add(prn_infer_ctx(env), out->dims[d], s.dims[d]);
    else if (!prn_shape_unify(out->dims[d], s.dims[d], &out->dims[d]))
      return prn_op_error(op,
                          "operand %u has size %lld along axis %d, expected "
                          "%lld as operand 0",
                          (unsigned)i, (long long)s.dims[d]->value, (int)d,
                          (long long)out->dims[d]->value);
  }
  return PRN_OK;
}

prn_status prn_infer_concat(prn_infer *env, prn_op *op) {
  prn_shape out = prn_shape_of(env, op, 0);
  int32_t axis;
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (prn_shape_of(env, op, i).rank < 0)
      return prn_shape_dtype_only(env, op, 0, out.dtype);
  if (op->num_operands == 0) return PRN_OK;
  PRN_TRY(
      prn_shape_axis(op, "axis", prn_op_int(op, "axis", 1), out.rank, &axis));
  for (uint32_t i = 1; i < op->num_operands; i++)
    PRN_TRY(concat_one(env, op, i, axis, &out));
  PRN_TRY(prn_shape_result(env, op, 0, out));
  if (out.rank == 1) concat_content(env, op);
  return PRN_OK;
}

static prn_status split_sizes(prn_infer *env, prn_op *op, prn_dim whole,
                              prn_int_list sizes) {
  prn_dim sum = prn_shape_const(env, 0);
  int64_t v;
  if (sizes.n != (int64_t)op->num_results)
    return prn_op_error(op, "%lld split sizes, but %u results",
                        (long long)sizes.n, (unsigned)op->num_results);
  for (int64_t i = 0; sizes.elems && i < sizes.n; i++) {
    if (prn_dim_is_const(sizes.elems[i], &v) && v < 0)
      return prn_op_error(op, "split size %lld is negative", (long long)v);
    sum = prn_dim_add(prn_infer_ctx(env), sum, sizes.elems[i]);
  }
  if (prn_dim_is_const(prn_dim_sub(prn_infer_ctx(env), whole, sum), &v) && v)
    return prn_op_error(op, "split sizes add up to %lld, but the axis has %lld",
                        (long long)sum->value, (long long)whole->value);
  return PRN_OK;
}

/* The size of part i when an axis is split evenly. */
static prn_dim even_part(prn_infer *env, prn_dim whole, uint32_t i,
                         uint32_t parts) {
  prn_ctx *ctx = prn_infer_ctx(env);
  prn_dim n = prn_dim_const(ctx, parts);
  prn_dim each = prn_dim_ceildiv(ctx, whole, n);
  prn_dim exact = prn_dim_floordiv(ctx, whole, n);
  if (prn_dim_mul(ctx, exact, n) == whole) return exact;
  if (i + 1 < parts) return each;
  prn_dim before = prn_dim_mul(ctx, each, prn_dim_const(ctx, parts - 1));
  return prn_dim_sub(ctx, whole, before);
}

static prn_status check_even(const prn_op *op, prn_dim whole,
                             prn_int_list sizes) {
  int64_t v;
  if (sizes.given || prn_op_attr(op, "num_outputs")) return PRN_OK;
  if (prn_dim_is_const(whole, &v) && v % op->num_results)
    return prn_op_error(op,
                        "an axis of %lld does not split into %u equal parts",
                        (long long)v, (unsigned)op->num_results);
  return PRN_OK;
}

static void split_content(prn_infer *env, prn_op *op, const int64_t *sizes) {
  size_t n;
  const prn_dim *c = prn_infer_content(env, prn_shape_in(op, 0), &n);
  int64_t at = 0;
  for (uint32_t i = 0; c && i < op->num_results; i++) {
    if (sizes[i] < 0 || sizes[i] > (int64_t)n - at) return;
    prn_infer_set_content(env, op, i, c + at, (size_t)sizes[i]);
    at += sizes[i];
  }
}

prn_status prn_infer_split(prn_infer *env, prn_op *op) {
  prn_shape in = prn_shape_of(env, op, 0);
  prn_int_list sizes = prn_shape_ints(env, op, "split", 1);
  int64_t parts = prn_op_int(op, "num_outputs", op->num_results);
  int64_t *known =
      PRN_ARENA_ARRAY(prn_infer_scratch(env), int64_t, op->num_results + 1);
  bool all_known = true;
  int32_t axis = 0;
  if (parts != (int64_t)op->num_results)
    return prn_op_error(op, "num_outputs is %lld, but there are %u results",
                        (long long)parts, (unsigned)op->num_results);
  if (in.rank >= 0) {
    PRN_TRY(
        prn_shape_axis(op, "axis", prn_op_int(op, "axis", 0), in.rank, &axis));
    PRN_TRY(check_even(op, in.dims[axis], sizes));
    if (sizes.elems) PRN_TRY(split_sizes(env, op, in.dims[axis], sizes));
  }
  for (uint32_t i = 0; i < op->num_results; i++) {
    prn_shape out = in;
    prn_dim part = prn_dim_unknown(prn_infer_ctx(env));
    if (sizes.elems && sizes.n == (int64_t)op->num_results)
      part = sizes.elems[i];
    else if (!sizes.given && in.rank >= 0)
      part = even_part(env, in.dims[axis], i, op->num_results);
    if (!prn_dim_is_const(part, &known[i])) all_known = false;
    if (in.rank >= 0) {
      out = prn_shape_new(env, in.dtype, in.rank);
      for (int32_t d = 0; d < in.rank; d++)
        out.dims[d] = d == axis ? part : in.dims[d];
    }
    PRN_TRY(prn_shape_result(env, op, i, out));
  }
  if (all_known && in.rank == 1) split_content(env, op, known);
  return PRN_OK;
}
