/* onnx -> nn: values between the elements, at places that are computed:
 * GridSample, AffineGrid, RoiAlign, DeformConv.
 *
 * Each place is a number of taps, elements that are read and weighed; those
 * outside follow the padding. */
#include "passes/lower/onnx_to_nn.h"

enum { MAX_RANK = PRN_NN_MAX_RANK, MAX_SPATIAL = 3, MAX_TAPS = 4 };

typedef enum padding { ZEROS, BORDER, REFLECTION } padding;
typedef enum method { NEAREST, LINEAR, CUBIC } method;

static prn_value *binary(prn_o2n *e, prn_scalar f, prn_value *x, prn_value *y) {
  return prn_nn_binary(&e->b, f, x, y);
}

static prn_value *with(prn_o2n *e, prn_scalar f, prn_value *x, double v) {
  return prn_nn_with(&e->b, f, x, v);
}

static prn_value *mul(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_mul, x, y);
}

static prn_value *add(prn_o2n *e, prn_value *x, prn_value *y) {
  return binary(e, PRN_SCALAR_add, x, y);
}

static prn_value *reshape(prn_o2n *e, prn_value *x, int32_t n,
                          const prn_dim *dims) {
  return prn_nn_reshape_dims(&e->b, x, n, dims);
}

static prn_dim product(prn_o2n *e, const prn_dim *dims, int32_t n) {
  prn_dim r = prn_dim_const(e->ctx, 1);
  for (int32_t i = 0; i < n; i++)
    r = prn_dim_mul(e->ctx, r, dims[i]);
  return r;
}

/* ---- one axis ---- */

/* The elements along an axis that a place is made of, by [n, places]. */
typedef struct taps {
  prn_value *at[MAX_TAPS];     /* positions in range, i64 */
  prn_value *weight[MAX_TAPS]; /* NULL: 1 */
  prn_value *inside[MAX_TAPS]; /* NULL: all are */
  int n;
} taps;

typedef struct axis {
  double size, low, high; /* the borders that places are reflected at */
  padding pad;
  method how;
} axis;

/* Back and forth between the borders. */
static prn_value *reflect(prn_o2n *e, const axis *a, prn_value *x) {
  double range = a->high - a->low;
  prn_value *from =
      prn_nn_unary(&e->b, PRN_SCALAR_abs, with(e, PRN_SCALAR_sub, x, a->low));
  prn_value *times = prn_nn_unary(&e->b, PRN_SCALAR_floor,
                                  with(e, PRN_SCALAR_div, from, range));
  prn_value *rest =
      binary(e, PRN_SCALAR_sub, from, with(e, PRN_SCALAR_mul, times, range));
  prn_value *half = with(e, PRN_SCALAR_mul, times, 0.5);
  prn_value *even = binary(e, PRN_SCALAR_eq, half,
                           prn_nn_unary(&e->b, PRN_SCALAR_floor, half));
  prn_value *back = prn_nn_unary(&e->b, PRN_SCALAR_neg, rest);
  return prn_nn_select(&e->b, even, with(e, PRN_SCALAR_add, rest, a->low),
                       with(e, PRN_SCALAR_add, back, a->high));
}

static prn_value *clamp(prn_o2n *e, const axis *a, prn_value *x) {
  x = with(e, PRN_SCALAR_max, x, 0);
  return with(e, PRN_SCALAR_min, x, a->size - 1);
}

/* A place outside of the borders, put where the padding says. */
static prn_value *padded_place(prn_o2n *e, const axis *a, prn_value *x) {
  if (a->pad == ZEROS) return x;
  prn_value *out = binary(e, PRN_SCALAR_or, with(e, PRN_SCALAR_lt, x, a->low),
                          with(e, PRN_SCALAR_gt, x, a->high));
  prn_value *to = a->pad == BORDER ? clamp(e, a, x) : reflect(e, a, x);
  return prn_nn_select(&e->b, out, to, x);
}

/* Adds the element at x, a whole number. */
static void add_tap(prn_o2n *e, const axis *a, taps *t, prn_value *x,
                    prn_value *weight) {
  t->inside[t->n] = NULL;
  if (a->pad == ZEROS)
    t->inside[t->n] = binary(e, PRN_SCALAR_and, with(e, PRN_SCALAR_ge, x, 0),
                             with(e, PRN_SCALAR_lt, x, a->size));
  if (a->pad == REFLECTION) x = reflect(e, a, x);
  t->at[t->n] = prn_nn_cast(&e->b, clamp(e, a, x), PRN_I64);
  t->weight[t->n++] = weight;
}

/* Keys' kernel with -0.75 at a distance: within 1, or between 1 and 2. */
static prn_value *cubic(prn_o2n *e, prn_value *x, bool near) {
  const double k = -0.75;
  double c3 = near ? k + 2 : k, c2 = near ? -(k + 3) : -5 * k;
  double c1 = near ? 0 : 8 * k, c0 = near ? 1 : -4 * k;
  prn_value *r = with(e, PRN_SCALAR_add, with(e, PRN_SCALAR_mul, x, c3), c2);
  r = with(e, PRN_SCALAR_add, mul(e, r, x), c1);
  return with(e, PRN_SCALAR_add, mul(e, r, x), c0);
}

static taps taps_of(prn_o2n *e, const axis *a, prn_value *x) {
  taps t = {.n = 0};
  if (a->how == NEAREST) x = prn_nn_unary(&e->b, PRN_SCALAR_round, x);
  x = padded_place(e, a, x);
  if (a->how == NEAREST) {
    x = prn_nn_cast(&e->b, prn_nn_cast(&e->b, x, PRN_I64), x->type->dtype);
    add_tap(e, a, &t, x, NULL);
    return t;
  }
  prn_value *base = prn_nn_unary(&e->b, PRN_SCALAR_floor, x);
  prn_value *f = binary(e, PRN_SCALAR_sub, x, base);
  prn_value *g =
      with(e, PRN_SCALAR_add, prn_nn_unary(&e->b, PRN_SCALAR_neg, f), 1);
  if (a->how == LINEAR) {
    add_tap(e, a, &t, base, g);
    add_tap(e, a, &t, with(e, PRN_SCALAR_add, base, 1), f);
    return t;
  }
  add_tap(e, a, &t, with(e, PRN_SCALAR_sub, base, 1),
          cubic(e, with(e, PRN_SCALAR_add, f, 1), false));
  add_tap(e, a, &t, base, cubic(e, f, true));
  add_tap(e, a, &t, with(e, PRN_SCALAR_add, base, 1), cubic(e, g, true));
  add_tap(e, a, &t, with(e, PRN_SCALAR_add, base, 2),
          cubic(e, with(e, PRN_SCALAR_add, g, 1), false));
  return t;
}

/* ---- all axes ---- */

typedef struct sampler {
  prn_o2n *e;
  prn_value *x; /* [n, c, elements] */
  prn_dim n, c, places;
  int32_t spatial;
  int64_t sizes[MAX_SPATIAL];
  taps taps[MAX_SPATIAL];
  const char *join; /* of the taps: sum or max */
  prn_value *result;
} sampler;

/* [n, places] as one of [n, c, places]. */
static prn_value *over_channels(const sampler *s, prn_value *v) {
  prn_dim dims[3] = {s->n, prn_dim_const(s->e->ctx, 1), s->places};
  return reshape(s->e, v, 3, dims);
}

static void read_tap(sampler *s, prn_value *at, prn_value *weight,
                     prn_value *inside) {
  prn_o2n *e = s->e;
  prn_dim dims[3] = {s->n, s->c, s->places};
  at = prn_nn_broadcast(&e->b, over_channels(s, at),
                        prn_type_tensor(e->ctx, PRN_I64, 3, dims));
  prn_value *v = prn_nn_gather_elements(&e->b, s->x, at, 2);
  if (inside)
    v = prn_nn_select(&e->b, over_channels(s, inside), v,
                      prn_nn_scalar(&e->b, v->type->dtype, 0));
  if (weight) {
    weight = prn_nn_cast(&e->b, weight, v->type->dtype);
    v = mul(e, v, over_channels(s, weight));
  }
  if (!s->result)
    s->result = v;
  else
    s->result = binary(e, *s->join == 'm' ? PRN_SCALAR_max : PRN_SCALAR_add,
                       s->result, v);
}

/* All combinations of the axes' taps, from axis d on. */
static void read_taps(sampler *s, int32_t d, prn_value *at, prn_value *weight,
                      prn_value *inside) {
  prn_o2n *e = s->e;
  if (d == s->spatial) {
    read_tap(s, at, weight, inside);
    return;
  }
  for (int i = 0; i < s->taps[d].n; i++) {
    prn_value *p = s->taps[d].at[i], *w = s->taps[d].weight[i],
              *in = s->taps[d].inside[i];
    if (at) p = add(e, with(e, PRN_SCALAR_mul, at, (double)s->sizes[d]), p);
    if (weight) w = w ? mul(e, weight, w) : weight;
    if (inside) in = in ? binary(e, PRN_SCALAR_and, inside, in) : inside;
    read_taps(s, d + 1, p, w, in);
  }
}

/* x[n, c, spatial...] at places given for each axis as [n, places]: the result
 * is [n, c, places]. */
static prn_status sample(prn_o2n *e, const prn_op *op, prn_value *x,
                         prn_value *const *at, axis a, bool corners,
                         const char *join, prn_value **out) {
  const prn_type *t = x->type;
  sampler s = {.e = e,
               .n = t->dims[0],
               .c = t->dims[1],
               .places = at[0]->type->dims[1],
               .spatial = t->rank - 2,
               .join = join};
  if (s.spatial < 1 || s.spatial > MAX_SPATIAL)
    return prn_o2n_unsupported(op, "%d spatial dimensions", (int)s.spatial);
  for (int32_t d = 0; d < s.spatial; d++) {
    if (!prn_dim_is_const(t->dims[d + 2], &s.sizes[d]) || s.sizes[d] < 1)
      return prn_o2n_unsupported(op, "spatial sizes that are not constant");
    a.size = (double)s.sizes[d];
    a.low = corners ? 0 : -0.5;
    a.high = corners ? a.size - 1 : a.size - 0.5;
    s.taps[d] = taps_of(e, &a, at[d]);
  }
  prn_dim dims[3] = {s.n, s.c, product(e, t->dims + 2, s.spatial)};
  s.x = reshape(e, x, 3, dims);
  read_taps(&s, 0, NULL, NULL, NULL);
  *out = s.result;
  return PRN_OK;
}

/* ---- GridSample ---- */

static prn_status read_method(const prn_op *op, axis *a) {
  prn_str mode = prn_op_string(op, "mode", "linear");
  prn_str pad = prn_op_string(op, "padding_mode", "zeros");
  a->how = prn_str_ends(mode, "linear")  ? LINEAR
           : prn_str_ends(mode, "cubic") ? CUBIC
                                         : NEAREST;
  a->pad = prn_str_is(pad, "border")       ? BORDER
           : prn_str_is(pad, "reflection") ? REFLECTION
                                           : ZEROS;
  return PRN_OK;
}

static prn_status lower_grid_sample(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *grid = prn_o2n_in(e, op, 1);
  prn_value *at[MAX_SPATIAL], *r;
  int32_t spatial = x->type->rank - 2, last = grid->type->rank - 1;
  bool corners = prn_op_int(op, "align_corners", 0) != 0;
  axis a = {.size = 0};
  int64_t size;
  if (spatial < 1 || spatial > MAX_SPATIAL || last != spatial + 1)
    return prn_o2n_unsupported(op, "%d spatial dimensions", (int)spatial);
  PRN_TRY(read_method(op, &a));
  prn_dim places[2] = {grid->type->dims[0],
                       product(e, grid->type->dims + 1, spatial)};
  for (int32_t d = 0; d < spatial; d++) { /* the grid's last axis is x, y, z */
    if (!prn_dim_is_const(x->type->dims[d + 2], &size))
      return prn_o2n_unsupported(op, "spatial sizes that are not constant");
    prn_value *g = prn_nn_slice_axis(&e->b, grid, last,
                                     prn_dim_const(e->ctx, spatial - 1 - d),
                                     prn_dim_const(e->ctx, 1));
    g = with(e, PRN_SCALAR_add, reshape(e, g, 2, places), 1);
    if (corners)
      g = with(e, PRN_SCALAR_mul, with(e, PRN_SCALAR_div, g, 2),
               (double)(size - 1));
    else
      g = with(
          e, PRN_SCALAR_div,
          with(e, PRN_SCALAR_sub, with(e, PRN_SCALAR_mul, g, (double)size), 1),
          2);
    at[d] = g;
  }
  PRN_TRY(sample(e, op, x, at, a, corners, "sum", &r));
  return prn_o2n_set_shape(e, op, 0, r);
}

/* ---- AffineGrid ---- */

/* theta times the places of an even grid from -1 to 1, and 1. */
static prn_status lower_affine_grid(prn_o2n *e, prn_op *op) {
  static const int64_t swap[3] = {0, 2, 1};
  prn_value *theta = prn_o2n_in(e, op, 0), *parts[MAX_SPATIAL + 1];
  const prn_type *out = prn_o2n_out(e, op, 0);
  prn_dtype dtype = theta->type->dtype;
  bool corners = prn_op_int(op, "align_corners", 0) != 0;
  int32_t spatial = out->rank - 2;
  prn_dim count = product(e, out->dims + 1, spatial);
  const prn_type *grid =
      prn_nn_type(e->ctx, theta->type, spatial, out->dims + 1);
  prn_dim row[2] = {prn_dim_const(e->ctx, 1), count};
  for (int32_t d = 0; d <= spatial; d++) {
    int32_t from = spatial - 1 - d;
    int64_t n = 0;
    prn_value *v = prn_nn_scalar(&e->b, dtype, 1);
    if (from >= 0) {
      if (!prn_dim_is_const(grid->dims[from], &n))
        return prn_o2n_unsupported(op, "sizes that are not constant");
      v = prn_nn_cast(&e->b, prn_nn_positions(&e->b, grid, from), dtype);
      if (corners)
        v = with(e, PRN_SCALAR_mul, v, 2.0 / (double)(n > 1 ? n - 1 : 1));
      else
        v = with(e, PRN_SCALAR_mul, with(e, PRN_SCALAR_add, v, 0.5),
                 2.0 / (double)(n > 0 ? n : 1));
      v = with(e, PRN_SCALAR_sub, v, 1);
    }
    parts[d] = reshape(e, prn_nn_broadcast(&e->b, v, grid), 2, row);
  }
  row[0] = prn_dim_const(e->ctx, spatial + 1);
  prn_value *all = prn_nn_concat(&e->b, parts, (uint32_t)spatial + 1, 0,
                                 prn_nn_type(e->ctx, theta->type, 2, row));
  prn_dim dims[3] = {prn_dim_const(e->ctx, 1), row[0], row[1]};
  all = prn_nn_matmul(&e->b, theta, reshape(e, all, 3, dims), dtype);
  return prn_o2n_set_shape(e, op, 0, prn_nn_transpose(&e->b, all, swap));
}

/* ---- RoiAlign ---- */

typedef struct regions {
  prn_value *rois;        /* [r, 4] */
  const prn_type *places; /* [1, h, w, g, g], i64 */
  double scale, offset;
  int64_t cells[2], samples;
  bool half_pixel;
} regions;

static prn_value *corner(prn_o2n *e, const regions *g, int32_t i) {
  prn_value *v = prn_nn_slice_axis(&e->b, g->rois, 1, prn_dim_const(e->ctx, i),
                                   prn_dim_const(e->ctx, 1));
  v = with(e, PRN_SCALAR_mul, v, g->scale);
  return with(e, PRN_SCALAR_sub, v, g->offset);
}

/* Places along axis d (0: y) as [r, places], where they are far outside in
 * *far. */
static prn_value *region_places(prn_o2n *e, const regions *g, int32_t d,
                                double size, prn_value **far) {
  prn_value *start = corner(e, g, 1 - d);
  prn_value *extent = binary(e, PRN_SCALAR_sub, corner(e, g, 3 - d), start);
  if (!g->half_pixel) extent = with(e, PRN_SCALAR_max, extent, 1);
  prn_dtype dtype = start->type->dtype;
  prn_value *cell =
      prn_nn_cast(&e->b, prn_nn_positions(&e->b, g->places, 1 + d), dtype);
  prn_value *part =
      prn_nn_cast(&e->b, prn_nn_positions(&e->b, g->places, 3 + d), dtype);
  part = with(e, PRN_SCALAR_add, part, 0.5);
  part = with(e, PRN_SCALAR_div, part, (double)g->samples);
  cell = with(e, PRN_SCALAR_div, add(e, cell, part), (double)g->cells[d]);
  cell = prn_nn_broadcast(&e->b, cell,
                          prn_type_with_dtype(e->ctx, g->places, dtype));
  prn_dim row[2] = {prn_dim_const(e->ctx, 1),
                    product(e, g->places->dims, g->places->rank)};
  prn_value *x = add(e, start, mul(e, reshape(e, cell, 2, row), extent));
  *far = binary(e, PRN_SCALAR_or, with(e, PRN_SCALAR_lt, x, -1),
                with(e, PRN_SCALAR_gt, x, size));
  x = with(e, PRN_SCALAR_max, x, 0);
  return with(e, PRN_SCALAR_min, x, size - 1);
}

static prn_status lower_roi_align(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *which = prn_o2n_in(e, op, 2);
  const prn_dim *d = x->type->dims;
  bool max = prn_str_is(prn_op_string(op, "mode", "avg"), "max");
  prn_str mode =
      prn_op_string(op, "coordinate_transformation_mode",
                    e->opset < 16 ? "output_half_pixel" : "half_pixel");
  regions g = {.rois = prn_o2n_in(e, op, 1),
               .scale = (double)prn_op_float(op, "spatial_scale", 1),
               .half_pixel = prn_str_is(mode, "half_pixel"),
               .cells = {prn_op_int(op, "output_height", 1),
                         prn_op_int(op, "output_width", 1)},
               .samples = prn_op_int(op, "sampling_ratio", 0)};
  prn_value *at[2], *far[2], *r;
  int64_t h, w;
  if (x->type->rank != 4 || !prn_dim_is_const(d[2], &h) ||
      !prn_dim_is_const(d[3], &w) || h < 1 || w < 1)
    return prn_o2n_unsupported(op, "sizes that are not constant");
  if (g.samples < 1 || g.samples > 16 || g.cells[0] < 1 || g.cells[1] < 1)
    return prn_o2n_unsupported(op,
                               "%lld samples of a cell, which regions "
                               "decide on",
                               (long long)g.samples);
  g.offset = g.half_pixel ? 0.5 : 0;
  int64_t sizes[5] = {1, g.cells[0], g.cells[1], g.samples, g.samples};
  g.places = prn_type_static(e->ctx, PRN_I64, 5, sizes);
  at[0] = region_places(e, &g, 0, (double)h, &far[0]);
  at[1] = region_places(e, &g, 1, (double)w, &far[1]);
  axis a = {.pad = BORDER, .how = LINEAR};
  x = prn_nn_gather(&e->b, x, which, 0);
  PRN_TRY(sample(e, op, x, at, a, true, max ? "max" : "sum", &r));
  prn_value *none = binary(e, PRN_SCALAR_or, far[0], far[1]);
  prn_dim dims[5] = {r->type->dims[0], prn_dim_const(e->ctx, 1),
                     r->type->dims[2]};
  r = prn_nn_select(&e->b, reshape(e, none, 3, dims),
                    prn_nn_scalar(&e->b, r->type->dtype, 0), r);
  dims[1] = d[1];
  dims[2] = prn_dim_const(e->ctx, g.cells[0]);
  dims[3] = prn_dim_const(e->ctx, g.cells[1]);
  dims[4] = prn_dim_const(e->ctx, g.samples * g.samples);
  static const int64_t samples = 4;
  r = reshape(e, r, 5, dims);
  r = max ? prn_nn_reduce(&e->b, "max", r, &samples, 1)
          : prn_nn_mean(&e->b, r, &samples, 1);
  return prn_o2n_set_shape(e, op, 0, r);
}

/* ---- DeformConv ---- */

/* Entry i of a list attribute, or dflt. */
static int64_t entry(const prn_op *op, const char *name, size_t i,
                     int64_t dflt) {
  size_t n;
  const int64_t *v = prn_op_ints(op, name, &n);
  return v && i < n ? v[i] : dflt;
}

typedef struct deformed {
  prn_dim n, groups, taps, places; /* groups: of offsets */
  prn_dim kernel[2], out[2];
} deformed;

/* Places along axis d as [n groups, taps places]: where the tap of a plain
 * convolution lies, and its offset. */
static prn_value *moved_taps(prn_o2n *e, const prn_op *op, const deformed *c,
                             prn_value *offset, int32_t d) {
  prn_dim grid[4] = {c->kernel[0], c->kernel[1], c->out[0], c->out[1]};
  const prn_type *t = prn_type_tensor(e->ctx, PRN_I64, 4, grid);
  size_t k = (size_t)d;
  prn_value *tap = prn_nn_positions(&e->b, t, d);
  prn_value *at = prn_nn_positions(&e->b, t, d + 2);
  tap = with(e, PRN_SCALAR_mul, tap, (double)entry(op, "dilations", k, 1));
  at = with(e, PRN_SCALAR_mul, at, (double)entry(op, "strides", k, 1));
  at =
      with(e, PRN_SCALAR_sub, add(e, at, tap), (double)entry(op, "pads", k, 0));
  at = prn_nn_cast(&e->b, prn_nn_broadcast(&e->b, at, t), offset->type->dtype);
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dim row[2] = {one, prn_dim_mul(e->ctx, c->taps, c->places)};
  prn_dim apart[4] = {prn_dim_mul(e->ctx, c->n, c->groups), c->taps,
                      prn_dim_const(e->ctx, 2), c->places};
  offset = reshape(e, offset, 4, apart);
  offset = prn_nn_slice_axis(&e->b, offset, 2, prn_dim_const(e->ctx, d), one);
  offset = reshape(e, offset, 2, (prn_dim[]){apart[0], row[1]});
  return add(e, offset, reshape(e, at, 2, row));
}

/* Windows of samples [n, c, taps, places] times the weights, by groups. */
static prn_value *multiply(prn_o2n *e, prn_value *x, prn_value *w,
                           const deformed *c, int64_t group) {
  prn_dim g = prn_dim_const(e->ctx, group);
  prn_dim depth = prn_dim_mul(e->ctx, w->type->dims[1], c->taps);
  prn_dim rows = prn_dim_floordiv(e->ctx, w->type->dims[0], g);
  prn_dim left[4] = {prn_dim_const(e->ctx, 1), g, rows, depth};
  prn_dim right[4] = {c->n, g, depth, c->places};
  return prn_nn_matmul(&e->b, reshape(e, w, 4, left), reshape(e, x, 4, right),
                       x->type->dtype);
}

static prn_status lower_deform_conv(prn_o2n *e, prn_op *op) {
  prn_value *x = prn_o2n_in(e, op, 0), *w = prn_o2n_in(e, op, 1), *at[2], *r;
  prn_value *offset = prn_o2n_in(e, op, 2), *bias = prn_o2n_in(e, op, 3),
            *mask = prn_o2n_in(e, op, 4);
  const prn_type *out = prn_o2n_out(e, op, 0);
  int64_t groups = prn_op_int(op, "offset_group", 1);
  int64_t group = prn_op_int(op, "group", 1);
  if (x->type->rank != 4 || groups < 1 || group < 1)
    return prn_o2n_unsupported(op, "inputs that are not x[n, c, h, w]");
  const prn_dim *d = x->type->dims, *k = w->type->dims + 2;
  deformed c = {.n = d[0],
                .groups = prn_dim_const(e->ctx, groups),
                .taps = prn_dim_mul(e->ctx, k[0], k[1]),
                .kernel = {k[0], k[1]},
                .out = {out->dims[2], out->dims[3]}};
  c.places = prn_dim_mul(e->ctx, c.out[0], c.out[1]);
  for (int32_t i = 0; i < 2; i++)
    at[i] = moved_taps(e, op, &c, offset, i);
  prn_dim one = prn_dim_const(e->ctx, 1);
  prn_dim batch = prn_dim_mul(e->ctx, c.n, c.groups);
  prn_dim each = prn_dim_floordiv(e->ctx, d[1], c.groups);
  axis a = {.pad = ZEROS, .how = LINEAR};
  prn_dim split[4] = {batch, each, d[2], d[3]};
  PRN_TRY(sample(e, op, reshape(e, x, 4, split), at, a, true, "sum", &r));
  if (mask) {
    prn_dim row[3] = {batch, one, prn_dim_mul(e->ctx, c.taps, c.places)};
    r = mul(e, r, reshape(e, mask, 3, row));
  }
  r = multiply(e, r, w, &c, group);
  r = reshape(e, r, 3, (prn_dim[]){c.n, out->dims[1], c.places});
  if (bias) r = add(e, r, reshape(e, bias, 2, (prn_dim[]){out->dims[1], one}));
  return prn_o2n_set_shape(e, op, 0, r);
}

const prn_o2n_row prn_o2n_sample[] = {
    {"GridSample", lower_grid_sample, 0, 0},
    {"com.microsoft:GridSample", lower_grid_sample, 0, 0},
    {"AffineGrid", lower_affine_grid, 2, 0},
    {"DeformConv", lower_deform_conv, 0, 0},
    {"RoiAlign", lower_roi_align, 0, 0},
    {NULL, NULL, 0, 0},
};
