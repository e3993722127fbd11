/* onnx -> nn: operators that write at indices, and TopK.
 *
 * Tensors are seen as rows, and an index of several dimensions as the number
 * of a row. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK };

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static prn_dim product(prn_o2n *e, const prn_dim *dims, int32_t from,
                       int32_t to) {
  prn_dim r = prn_dim_const(e->ctx, 1);
  for (int32_t i = from; i < to; i++)
    r = prn_dim_mul(e->ctx, r, dims[i]);
  return r;
}

/* Negative indices count from `size`; others out of range become one that is
 * out of range of all rows, which ends the run. */
static prn_value *checked(prn_o2n *e, prn_value *i, prn_dim size) {
  prn_value *n = prn_nn_size(&e->b, size, PRN_I64);
  i = prn_nn_cast(&e->b, i, PRN_I64);
  prn_value *below = prn_nn_with(&e->b, PRN_SCALAR_lt, i, 0);
  i = prn_nn_select(&e->b, below, binary(e, PRN_SCALAR_add, i, n), i);
  prn_value *good =
      binary(e, PRN_SCALAR_and, prn_nn_with(&e->b, PRN_SCALAR_ge, i, 0),
             binary(e, PRN_SCALAR_lt, i, n));
  return prn_nn_select(&e->b, good, i,
                       prn_nn_scalar(&e->b, PRN_I64, (double)(1ll << 40)));
}

/* row * size + i, from the outermost dimension on; row is NULL at first. */
static prn_value *next_row(prn_o2n *e, prn_value *row, prn_value *i,
                           prn_dim size) {
  if (!row) return i;
  row = binary(e, PRN_SCALAR_mul, row, prn_nn_size(&e->b, size, PRN_I64));
  return binary(e, PRN_SCALAR_add, row, i);
}

/* data with rows of `width` elements, updates for rows numbered by `row`,
 * which is broadcast to t. */
static prn_value *scatter(prn_o2n *e, prn_value *data, prn_value *row,
                          const prn_type *t, prn_value *updates, prn_dim width,
                          const char *fn) {
  const prn_type *from = data->type;
  prn_dim rows = prn_dim_floordiv(e->ctx, prn_type_size(e->ctx, from), width);
  prn_dim m = product(e, t->dims, 0, t->rank);
  row = prn_nn_broadcast(&e->b, row, prn_type_with_dtype(e->ctx, t, PRN_I64));
  row = prn_nn_reshape_dims(&e->b, row, 1, &m);
  data = prn_nn_reshape_dims(&e->b, data, 2, (prn_dim[]){rows, width});
  updates = prn_nn_reshape_dims(&e->b, updates, 2, (prn_dim[]){m, width});
  return prn_nn_scatter(&e->b, data, row, updates, fn);
}

static const char *reduction(const prn_op *op) {
  static const char *const names[] = {"add", "mul", "max", "min"};
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_str_is(prn_op_string(op, "reduction", "none"), names[i]))
      return names[i];
  return "set";
}

static prn_status lower_scatter_elements(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *i = prn_o2n_in(e, op, 1), *row = NULL;
  const prn_type *t = x->type, *ti = i->type;
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", 0, t->rank, &axis));
  for (int32_t d = 0; d < t->rank; d++)
    row = next_row(e, row,
                   d == axis ? checked(e, i, t->dims[d])
                             : prn_nn_positions(&e->b, ti, d),
                   t->dims[d]);
  return prn_o2n_set_shape(e, op, 0,
                           scatter(e, x, row, ti, prn_o2n_in(e, op, 2),
                                   prn_dim_const(e->ctx, 1), reduction(op)));
}

static prn_status lower_scatter_nd(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *i = prn_o2n_in(e, op, 1), *row = NULL;
  const prn_type *t = x->type, *ti = i->type;
  int32_t last = ti->rank - 1;
  int64_t k;
  if (last < 0 || !prn_dim_is_const(ti->dims[last], &k) || k < 1 || k > t->rank)
    return prn_op_error(op, "expects tuples of 1 to %d indices", (int)t->rank);
  const prn_type *tuples = prn_nn_type(e->ctx, ti, last, ti->dims);
  for (int32_t d = 0; d < k; d++) {
    prn_value *c = prn_nn_slice_axis(&e->b, i, last, prn_dim_const(e->ctx, d),
                                     prn_dim_const(e->ctx, 1));
    c = prn_nn_reshape_dims(&e->b, c, last, ti->dims);
    row = next_row(e, row, checked(e, c, t->dims[d]), t->dims[d]);
  }
  prn_dim width = product(e, t->dims, (int32_t)k, t->rank);
  return prn_o2n_set_shape(
      e, op, 0,
      scatter(e, x, row, tuples, prn_o2n_in(e, op, 2), width, reduction(op)));
}

/* Rows of a cache from position indices[batch] on; circular ones go on at the
 * beginning. */
static prn_status lower_tensor_scatter(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *u = prn_o2n_in(e, op, 1), *row = NULL;
  prn_value *start = prn_o2n_in(e, op, 2);
  const prn_type *t = x->type;
  bool circular = prn_str_is(prn_op_string(op, "mode", "linear"), "circular");
  prn_dim dims[MAX_RANK];
  int32_t axis;
  PRN_TRY(prn_o2n_axis(op, "axis", -2, t->rank, &axis));
  for (int32_t d = 0; d <= axis; d++)
    dims[d] = d == 0 ? t->dims[0] : prn_dim_const(e->ctx, 1);
  const prn_type *outer = prn_nn_type(e->ctx, u->type, axis + 1, u->type->dims);
  for (int32_t d = 0; d <= axis; d++) {
    prn_value *i = prn_nn_positions(&e->b, outer, d);
    prn_value *n = prn_nn_size(&e->b, t->dims[d], PRN_I64);
    if (d == axis && start) {
      prn_value *s = prn_nn_reshape_dims(&e->b, start, axis + 1, dims);
      i = binary(e, PRN_SCALAR_add, i, prn_nn_cast(&e->b, s, PRN_I64));
    }
    if (d == axis && circular) i = binary(e, PRN_SCALAR_mod, i, n);
    if (d == axis) i = checked(e, i, t->dims[d]);
    row = next_row(e, row, i, t->dims[d]);
  }
  return prn_o2n_set_shape(e, op, 0,
                           scatter(e, x, row, outer, u,
                                   product(e, t->dims, axis + 1, t->rank),
                                   "set"));
}

/* ---- TopK ---- */

static prn_status lower_top_k(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *at;
  const prn_type *out = prn_o2n_out(e, op, 0);
  int64_t perm[MAX_RANK];
  int32_t axis, last = x->type->rank - 1;
  PRN_TRY(prn_o2n_axis(op, "axis", -1, x->type->rank, &axis));
  for (int32_t i = 0; i <= last; i++)
    perm[i] = i == axis ? last : i == last ? axis : i;
  x = prn_nn_transpose(&e->b, x, perm);
  x = prn_nn_sort(&e->b, x, prn_op_int(op, "largest", 1) != 0, &at);
  prn_value *both[2] = {x, at};
  for (uint32_t i = 0; i < 2; i++) {
    if (!prn_o2n_wanted(op, i)) continue;
    prn_value *r = prn_nn_slice_axis(&e->b, both[i], last,
                                     prn_dim_const(e->ctx, 0), out->dims[axis]);
    PRN_TRY(prn_o2n_set(e, op, i, prn_nn_transpose(&e->b, r, perm)));
  }
  return PRN_OK;
}

/* ---- windows ---- */

/* Entry i of a list attribute, or dflt. */
static int64_t entry(const prn_op *op, const char *name, size_t i,
                     int64_t dflt) {
  size_t n;
  const int64_t *v = prn_op_ints(op, name, &n);
  return v && i < n ? v[i] : dflt;
}

/* What the inputs were at most before MaxPool: indices count in that shape;
 * a larger output is filled with zeros. */
static prn_status lower_max_unpool(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *i = prn_o2n_in(e, op, 1);
  const prn_type *t = x->type, *out = prn_o2n_out(e, op, 0);
  prn_dim dims[MAX_RANK], lows[MAX_RANK];
  size_t spatial = (size_t)t->rank - 2;
  for (int32_t d = 0; d < t->rank; d++) {
    size_t k = (size_t)d - 2;
    lows[d] = prn_dim_const(e->ctx, 0);
    dims[d] = t->dims[d];
    if (d < 2) continue;
    int64_t kernel = entry(op, "kernel_shape", k, 1);
    int64_t pads = entry(op, "pads", k, 0) + entry(op, "pads", k + spatial, 0);
    dims[d] = prn_dim_sub(e->ctx, t->dims[d], prn_dim_const(e->ctx, 1));
    dims[d] = prn_dim_mul(e->ctx, dims[d],
                          prn_dim_const(e->ctx, entry(op, "strides", k, 1)));
    dims[d] =
        prn_dim_add(e->ctx, dims[d], prn_dim_const(e->ctx, kernel - pads));
  }
  const prn_type *full = prn_nn_type(e->ctx, t, t->rank, dims);
  prn_value *zero =
      prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, t->dtype, 0), full);
  prn_value *r = scatter(e, zero, checked(e, i, prn_type_size(e->ctx, full)),
                         i->type, x, prn_dim_const(e->ctx, 1), "set");
  r = prn_nn_reshape(&e->b, r, full);
  if (full != out) r = prn_nn_pad(&e->b, r, NULL, out, lows, "constant");
  return prn_o2n_set(e, op, 0, r);
}

/* Columns of blocks, added up where blocks overlap: rows are the positions of
 * the padded image, which is cut afterwards. */
static prn_status lower_col2im(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *row = NULL;
  const prn_type *out = prn_o2n_out(e, op, 0);
  const int64_t *image, *block;
  size_t n, m;
  PRN_TRY(prn_o2n_ints(e, op, 1, NULL, &image, &n));
  PRN_TRY(prn_o2n_ints(e, op, 2, NULL, &block, &m));
  if (n == 0 || n != m || n + 2 != (size_t)out->rank)
    return prn_op_error(op, "expects sizes of an image and of its blocks");
  prn_dim dims[2 * MAX_RANK], padded[MAX_RANK], starts[MAX_RANK];
  int64_t steps[MAX_RANK];
  for (size_t d = 0; d < n; d++) {
    int64_t stride = entry(op, "strides", d, 1);
    int64_t reach = entry(op, "dilations", d, 1) * (block[d] - 1) + 1;
    int64_t low = entry(op, "pads", d, 0);
    int64_t size = image[d] + low + entry(op, "pads", d + n, 0);
    dims[d] = prn_dim_const(e->ctx, block[d]);
    dims[n + d] = prn_dim_const(e->ctx, (size - reach) / stride + 1);
    padded[d + 2] = prn_dim_const(e->ctx, size);
    starts[d + 2] = prn_dim_const(e->ctx, low);
    steps[d + 2] = 1;
  }
  const prn_type *grid =
      prn_type_tensor(e->ctx, PRN_I64, (int32_t)(2 * n), dims);
  for (int32_t d = 0; d < (int32_t)n; d++) {
    prn_value *k = prn_nn_positions(&e->b, grid, d);
    prn_value *l = prn_nn_positions(&e->b, grid, (int32_t)n + d);
    k = prn_nn_with(&e->b, PRN_SCALAR_mul, k,
                    (double)entry(op, "dilations", (size_t)d, 1));
    l = prn_nn_with(&e->b, PRN_SCALAR_mul, l,
                    (double)entry(op, "strides", (size_t)d, 1));
    row = next_row(e, row, binary(e, PRN_SCALAR_add, k, l), padded[d + 2]);
  }
  for (size_t d = 0; d < 2; d++) {
    padded[d] = out->dims[d];
    starts[d] = prn_dim_const(e->ctx, 0);
    steps[d] = 1;
  }
  /* [n c, places] to [places, n c] and back. */
  static const int64_t swap[2] = {1, 0};
  prn_dim nc = prn_dim_mul(e->ctx, out->dims[0], out->dims[1]);
  prn_dim rows = product(e, padded, 2, (int32_t)n + 2);
  prn_value *u = prn_nn_reshape_dims(
      &e->b, x, 2, (prn_dim[]){nc, product(e, dims, 0, (int32_t)(2 * n))});
  u = prn_nn_transpose(&e->b, u, swap);
  prn_value *zero =
      prn_nn_broadcast(&e->b, prn_nn_scalar(&e->b, out->dtype, 0),
                       prn_nn_type(e->ctx, out, 2, (prn_dim[]){rows, nc}));
  prn_value *r = scatter(e, zero, row, grid, u, nc, "add");
  r = prn_nn_reshape_dims(&e->b, prn_nn_transpose(&e->b, r, swap), out->rank,
                          padded);
  return prn_o2n_set(e, op, 0, prn_nn_slice(&e->b, r, out, starts, steps));
}

const prn_o2n_row prn_o2n_scatter[] = {
    {"Scatter", lower_scatter_elements, 0, 0},
    {"ScatterElements", lower_scatter_elements, 0, 0},
    {"ScatterND", lower_scatter_nd, 0, 0},
    {"TensorScatter", lower_tensor_scatter, 0, 0},
    {"TopK", lower_top_k, 2, 0},
    {"MaxUnpool", lower_max_unpool, 4, 0},
    {"Col2Im", lower_col2im, 2 | 4, 0},
    {NULL, NULL, 0, 0},
};
