/* onnx -> nn: operators that move, repeat or make elements.
 *
 * Where they go is in the result types that inference found; what those do
 * not say (starts, pads, axes) is read as known contents. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

/* Reshape, Flatten, Squeeze, Unsqueeze: the result type says it all. */
static prn_status lower_reshape(prn_o2n *e, prn_op *op) {
  return prn_o2n_set_shape(e, op, 0, prn_o2n_in(e, op, 0));
}

static prn_status lower_transpose(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  int32_t rank = x->type->rank;
  int64_t reversed[MAX_RANK];
  size_t n;
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  bool seen[MAX_RANK] = {false};
  for (int32_t i = 0; i < rank; i++)
    reversed[i] = rank - 1 - i;
  if (!perm) return prn_o2n_set(e, op, 0, prn_nn_transpose(&e->b, x, reversed));
  for (size_t i = 0; i < n; i++) {
    if (n != (size_t)rank || perm[i] < 0 || perm[i] >= rank || seen[perm[i]])
      return prn_op_error(op, "perm is not a permutation of %d dimensions",
                          (int)rank);
    seen[perm[i]] = true;
  }
  return prn_o2n_set(e, op, 0, prn_nn_transpose(&e->b, x, perm));
}

/* Expand: one side may repeat the other. */
static prn_status lower_expand(prn_o2n *e, prn_op *op) {
  return prn_o2n_set(
      e, op, 0,
      prn_nn_broadcast(&e->b, prn_o2n_in(e, op, 0), prn_o2n_out(e, op, 0)));
}

/* ---- Slice ---- */

/* Where a slice of `size` elements begins: start as ONNX gives it, brought
 * into [0, size] (or, going backwards, [-1, size - 1]). */
static prn_dim clamp_start(prn_ctx *ctx, prn_dim start, prn_dim size,
                           int64_t step) {
  prn_dim zero = prn_dim_const(ctx, 0), one = prn_dim_const(ctx, 1);
  int64_t v, s;
  prn_dim top = step < 0 ? prn_dim_sub(ctx, size, one) : size;
  bool constant = prn_dim_is_const(start, &v);
  if (constant && prn_dim_is_const(size, &s)) {
    if (v < 0) v = v < -s ? 0 : v + s;
    int64_t max = step < 0 ? s - 1 : s;
    return prn_dim_const(ctx, v > max ? max : v);
  }
  if (constant && v == 0 && step > 0) return zero;
  if (constant && v < 0)
    return prn_dim_max(ctx, prn_dim_add(ctx, size, start), zero);
  return prn_dim_min(ctx, start, top);
}

typedef struct slicing {
  prn_dim starts[MAX_RANK];
  int64_t steps[MAX_RANK];
} slicing;

/* Reads operands (or, before opset 10, attributes) into s. */
static prn_status read_slicing(prn_o2n *e, prn_op *op, const prn_value *x,
                               slicing *s) {
  const int64_t *axes, *steps, *attr;
  const prn_dim *starts = NULL;
  size_t n, n_axes, n_steps;
  int32_t axis;
  attr = prn_op_ints(op, "starts", &n);
  if (!attr) PRN_TRY(prn_o2n_dims(e, op, 1, &starts, &n));
  PRN_TRY(prn_o2n_ints(e, op, 3, "axes", &axes, &n_axes));
  PRN_TRY(prn_o2n_ints(e, op, 4, NULL, &steps, &n_steps));
  for (int32_t i = 0; i < x->type->rank; i++) {
    s->starts[i] = prn_dim_const(e->ctx, 0);
    s->steps[i] = 1;
  }
  if ((axes && n_axes != n) || (steps && n_steps != n))
    return prn_op_error(op, "starts, axes and steps differ in length");
  for (size_t k = 0; k < n; k++) {
    int64_t at = axes ? axes[k] : (int64_t)k;
    PRN_TRY(prn_o2n_wrap_axis(op, at, x->type->rank, &axis));
    if (steps && steps[k] == 0) return prn_op_error(op, "a step is 0");
    s->steps[axis] = steps ? steps[k] : 1;
    prn_dim start = starts ? starts[k] : prn_dim_const(e->ctx, attr[k]);
    s->starts[axis] =
        clamp_start(e->ctx, start, x->type->dims[axis], s->steps[axis]);
    if (!prn_dim_known(s->starts[axis]))
      return prn_o2n_unsupported(op, "the start along dimension %d is unknown",
                                 (int)axis);
  }
  return PRN_OK;
}

static prn_status lower_slice(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  const prn_type *type = prn_o2n_out(e, op, 0);
  slicing s;
  PRN_TRY(read_slicing(e, op, x, &s));
  return prn_o2n_set(e, op, 0, prn_nn_slice(&e->b, x, type, s.starts, s.steps));
}

/* ---- joining and splitting ---- */

static prn_status lower_concat(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  prn_value **in =
      PRN_ARENA_ARRAY(&e->b.m->arena, prn_value *, op->num_operands);
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", 1, type->rank, &axis));
  for (uint32_t i = 0; i < op->num_operands; i++)
    in[i] = prn_o2n_in(e, op, i);
  return prn_o2n_set(e, op, 0,
                     prn_nn_concat(&e->b, in, op->num_operands, axis, type));
}

/* Every output has its size in its type. */
static prn_status lower_split(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_dim at = prn_dim_const(e->ctx, 0);
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", 0, x->type->rank, &axis));
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_type *t = op->results[i].type;
    if (t->kind != PRN_TYPE_TENSOR || t->rank != x->type->rank ||
        !prn_dim_known(t->dims[axis]))
      return prn_o2n_unsupported(op, "the size of output %u is not known",
                                 (unsigned)i);
    if (prn_o2n_wanted(op, i))
      PRN_TRY(prn_o2n_set(
          e, op, i, prn_nn_slice_axis(&e->b, x, axis, at, t->dims[axis])));
    at = prn_dim_add(e->ctx, at, t->dims[axis]);
  }
  return PRN_OK;
}

/* ---- gathering ---- */

static prn_status lower_gather(prn_o2n *e, prn_op *op) {
  prn_value *in[2] = {prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1)};
  int32_t axis;
  int64_t index;
  PRN_TRY(prn_o2n_axis(op, "axis", 0, in[0]->type->rank, &axis));
  size_t n;
  const prn_dim *c = prn_o2n_content(e, op, 1, &n);
  if (c && n == 1 && prn_dim_is_const(c[0], &index)) {
    /* One known index is a slice. */
    prn_dim from = c[0], one = prn_dim_const(e->ctx, 1);
    if (index < 0) from = prn_dim_add(e->ctx, from, in[0]->type->dims[axis]);
    return prn_o2n_set(e, op, 0,
                       prn_nn_slice_axis(&e->b, in[0], axis, from, one));
  }
  prn_value *r =
      prn_nn_make(&e->b, PRN_OP_nn_gather, in, 2, prn_o2n_out(e, op, 0));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, axis));
  return prn_o2n_set(e, op, 0, r);
}

static prn_status lower_gather_elements(prn_o2n *e, prn_op *op) {
  prn_value *in[2] = {prn_o2n_in(e, op, 0), prn_o2n_in(e, op, 1)};
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", 0, in[0]->type->rank, &axis));
  prn_value *r = prn_nn_make(&e->b, PRN_OP_nn_gather_elements, in, 2,
                             prn_o2n_out(e, op, 0));
  prn_op_set_attr(r->def, "axis", prn_attr_int(e->ctx, axis));
  return prn_o2n_set(e, op, 0, r);
}

/* ---- repeating and padding ---- */

/* x[a, b] tiled to [k*a, l*b]: broadcast [1, a, 1, b] to [k, a, l, b]. */
static prn_status lower_tile(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  int32_t rank = x->type->rank;
  prn_dim from[2 * MAX_RANK], to[2 * MAX_RANK];
  const prn_dim *repeats;
  size_t n;
  PRN_TRY(prn_o2n_dims(e, op, 1, &repeats, &n));
  if (n != (size_t)rank)
    return prn_op_error(op, "%zu repeats for %d dimensions", n, (int)rank);
  if (rank * 2 > MAX_RANK)
    return prn_o2n_unsupported(op, "%d dimensions", (int)rank);
  for (int32_t i = 0; i < rank; i++) {
    from[2 * i] = prn_dim_const(e->ctx, 1);
    to[2 * i] = repeats[i];
    from[2 * i + 1] = to[2 * i + 1] = x->type->dims[i];
  }
  const prn_type *wide = prn_nn_type(e->ctx, x->type, 2 * rank, to);
  prn_value *r = prn_nn_reshape_dims(&e->b, x, 2 * rank, from);
  return prn_o2n_set_shape(e, op, 0, prn_nn_broadcast(&e->b, r, wide));
}

/* Low pads of every dimension. */
static prn_status read_pads(prn_o2n *e, prn_op *op, int32_t rank,
                            prn_dim *lows) {
  size_t n, n_axes;
  const int64_t *axes, *attr = prn_op_ints(op, "pads", &n);
  const prn_dim *pads = NULL;
  int32_t axis;
  if (!attr) PRN_TRY(prn_o2n_dims(e, op, 1, &pads, &n));
  PRN_TRY(prn_o2n_ints(e, op, 3, NULL, &axes, &n_axes));
  if (!axes) n_axes = (size_t)rank;
  if (n != 2 * n_axes)
    return prn_op_error(op, "%zu pads for %zu dimensions", n, n_axes);
  for (int32_t i = 0; i < rank; i++)
    lows[i] = prn_dim_const(e->ctx, 0);
  for (size_t k = 0; k < n_axes; k++) {
    PRN_TRY(prn_o2n_wrap_axis(op, axes ? axes[k] : (int64_t)k, rank, &axis));
    lows[axis] = pads ? pads[k] : prn_dim_const(e->ctx, attr[k]);
  }
  return PRN_OK;
}

/* Nothing before and nothing behind. Sizes alone do not say it: one may be
 * taken off and one put on. */
static bool pads_nothing(prn_o2n *e, prn_op *op, const prn_value *x,
                         const prn_dim *lows) {
  int64_t low;
  for (int32_t i = 0; i < x->type->rank; i++)
    if (!prn_dim_is_const(lows[i], &low) || low != 0) return false;
  return prn_nn_plain(e->ctx, x->type) == prn_o2n_out(e, op, 0);
}

static prn_status lower_pad(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  prn_value *fill = prn_o2n_in(e, op, 2);
  prn_str mode = prn_op_string(op, "mode", "constant");
  prn_dim lows[MAX_RANK];
  PRN_TRY(read_pads(e, op, x->type->rank, lows));
  const prn_attr *value = prn_op_attr(op, "value");
  bool constant = prn_str_is(mode, "constant");
  if (value && value->f != 0)
    fill = prn_nn_scalar(&e->b, x->type->dtype, (double)value->f);
  if (fill) fill = prn_nn_reshape_dims(&e->b, fill, 0, NULL);
  if (!constant && !prn_str_is(mode, "reflect") && !prn_str_is(mode, "edge") &&
      !prn_str_is(mode, "wrap"))
    return prn_o2n_unsupported(op, "mode '%.*s'", PRN_STR_ARG(mode));
  if (pads_nothing(e, op, x, lows)) return prn_o2n_set(e, op, 0, x);
  return prn_o2n_set(e, op, 0,
                     prn_nn_pad(&e->b, x, constant ? fill : NULL,
                                prn_o2n_out(e, op, 0), lows, mode.data));
}

/* ---- making ---- */

static prn_status lower_constant_of_shape(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  const prn_attr *value = prn_op_attr(op, "value");
  prn_value *x = value && value->kind == PRN_ATTR_TENSOR
                     ? prn_nn_constant(&e->b, value->tensor)
                     : prn_nn_scalar(&e->b, type->dtype, 0);
  x = prn_nn_reshape_dims(&e->b, x, 0, NULL);
  return prn_o2n_set(e, op, 0, prn_nn_broadcast(&e->b, x, type));
}

static prn_status lower_range(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  size_t n;
  const prn_dim *start = prn_o2n_content(e, op, 0, &n);
  const prn_dim *step = prn_o2n_content(e, op, 2, &n);
  double first, delta;
  if (start && step)
    return prn_o2n_set(e, op, 0,
                       prn_nn_iota(&e->b, type, 0, start[0], step[0]));
  PRN_TRY(prn_o2n_number(e, op, 0, &first));
  PRN_TRY(prn_o2n_number(e, op, 2, &delta));
  const prn_type *index = prn_type_with_dtype(e->ctx, type, PRN_I64);
  prn_value *x = prn_nn_iota(&e->b, index, 0, NULL, NULL);
  x = prn_nn_cast(&e->b, x, type->dtype);
  x = prn_nn_with(&e->b, PRN_SCALAR_mul, x, delta);
  return prn_o2n_set(e, op, 0, prn_nn_with(&e->b, PRN_SCALAR_add, x, first));
}

/* Shape and Size whose answer is wanted as data are constants, or they depend
 * on a size that is not known. */
static prn_status lower_shape(prn_o2n *e, prn_op *op) {
  (void)e;
  return prn_o2n_unsupported(
      op, "the shape %s of %s is not known",
      prn_type_str(op->module->ctx, op->operands[0].value->type),
      prn_value_str(op->operands[0].value));
}

/* column - row of the last two dimensions, as [rows, columns]. */
static prn_value *diagonal(prn_o2n *e, const prn_type *type) {
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dim d[2] = {type->dims[type->rank - 2], one};
  prn_dim c[2] = {one, type->dims[type->rank - 1]};
  prn_value *row =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, d), 0, NULL, NULL);
  prn_value *col =
      prn_nn_iota(&e->b, prn_type_tensor(e->ctx, PRN_I64, 2, c), 1, NULL, NULL);
  return prn_nn_binary(&e->b, PRN_SCALAR_sub, col, row);
}

static prn_status lower_trilu(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0);
  bool upper = prn_op_int(op, "upper", 1) != 0;
  prn_value *k = prn_o2n_has(op, 1)
                     ? prn_nn_reshape_dims(&e->b, prn_o2n_in(e, op, 1), 0, NULL)
                     : prn_nn_scalar(&e->b, PRN_I64, 0);
  prn_value *keep = prn_nn_binary(&e->b, upper ? PRN_SCALAR_ge : PRN_SCALAR_le,
                                  diagonal(e, x->type), k);
  prn_value *zero = prn_nn_scalar(&e->b, x->type->dtype, 0);
  return prn_o2n_set(e, op, 0, prn_nn_select(&e->b, keep, x, zero));
}

static prn_status lower_eye_like(prn_o2n *e, prn_op *op) {
  const prn_type *type = prn_o2n_out(e, op, 0);
  double k = (double)prn_op_int(op, "k", 0);
  prn_value *on = prn_nn_with(&e->b, PRN_SCALAR_eq, diagonal(e, type), k);
  return prn_o2n_set(e, op, 0, prn_nn_cast(&e->b, on, type->dtype));
}

const prn_o2n_row prn_o2n_movement[] = {
    {"Reshape", lower_reshape, 2, 0},
    {"Flatten", lower_reshape, 0, 0},
    {"Squeeze", lower_reshape, 2, 0},
    {"Unsqueeze", lower_reshape, 2, 0},
    {"Transpose", lower_transpose, 0, 0},
    {"Expand", lower_expand, 2, 0},
    {"Slice", lower_slice, 2 | 4 | 8 | 16, 0},
    {"Concat", lower_concat, 0, 0},
    {"Split", lower_split, 2, 0},
    {"Gather", lower_gather, 0, 0},
    {"GatherElements", lower_gather_elements, 0, 0},
    {"Tile", lower_tile, 2, 0},
    {"Pad", lower_pad, 2 | 8, 0},
    {"ConstantOfShape", lower_constant_of_shape, 1, 0},
    {"Range", lower_range, 7, 0},
    {"Shape", lower_shape, 1, 0},
    {"Size", lower_shape, 1, 0},
    {"Trilu", lower_trilu, 0, 0},
    {"EyeLike", lower_eye_like, 1, 0},
    {NULL, NULL, 0, 0},
};
