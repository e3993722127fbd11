/* Windows over spatial dimensions: mem.conv, mem.pool. A convolution is a
 * product of its weights with what its windows see, which is never written
 * down: sum k of w[o, k] x[k, pixel]. */
#include "backends/cuda/product.h"

enum { THREADS = 256, FEW_CHANNELS = 8 };

/* ---- windows ---- */

typedef struct window {
  unsigned spatial;
  const prn_type *x, *out;
  const int64_t *strides, *dilations;
  const prn_attr *pads;
} window;

static window window_of(const prn_op *op, unsigned x, unsigned out) {
  size_t n;
  window w = {.x = prn_op_operand(op, x)->type,
              .out = prn_op_operand(op, out)->type,
              .strides = prn_op_ints(op, "strides", &n),
              .dilations = prn_op_ints(op, "dilations", &n),
              .pads = prn_op_attr(op, "pads")};
  w.spatial = (unsigned)w.x->rank - 2;
  return w;
}

/* The position in x, along spatial dimension k, that tap `tap` of output
 * position o sees. */
static const char *seen(prn_cu_text *t, const window *w, unsigned k,
                        const char *o, const char *tap) {
  const char *name = prn_cu_str(t->c, "y%u", k);
  prn_cu_line(t, "const pmk_i %s = %s * %lld - %s + %s * %lld;", name, o,
              (long long)w->strides[k], prn_cu_dim(t, w->pads->list[k]->dim),
              tap, (long long)w->dilations[k]);
  return name;
}

/* "y0 >= 0 && y0 < 28 && ..." */
static const char *is_inside(prn_cu_text *t, const window *w,
                             const char *const *y) {
  const char *all = NULL;
  for (unsigned k = 0; k < w->spatial; k++) {
    const char *one = prn_cu_str(t->c, "%s >= 0 && %s < %s", y[k], y[k],
                                 prn_cu_dim(t, w->x->dims[k + 2]));
    all = all ? prn_cu_str(t->c, "%s && %s", all, one) : one;
  }
  return all;
}

/* ---- convolution ---- */

enum { X, W, OUT, EXTRAS };

typedef struct conv {
  window w;
  int64_t group;
  const prn_type *weights;
  prn_dim images, inner, outer; /* channels of a group: of x and of out */
  prn_dim pixels, depth;
} conv;

static conv conv_of(prn_cu *c, const prn_op *op) {
  conv v = {.w = window_of(op, X, OUT),
            .group = prn_op_int(op, "group", 1),
            .weights = prn_op_operand(op, W)->type};
  prn_dim group = prn_dim_const(c->ctx, v.group);
  v.images = v.w.x->dims[0];
  v.inner = v.weights->dims[1];
  v.outer = prn_dim_floordiv(c->ctx, v.weights->dims[0], group);
  v.pixels = prn_cu_product(c, v.w.spatial, v.w.out->dims + 2);
  v.depth = prn_cu_product(c, v.w.spatial + 1, v.weights->dims + 1);
  return v;
}

/* Lines that take b apart into image and group, and the channel of `i` in its
 * group. */
static void split_batch(prn_cu_text *t, const conv *v, const char **image,
                        const char **group) {
  const char *part[2];
  prn_dim dims[2] = {v->images, prn_dim_const(t->c->ctx, v->group)};
  prn_cu_split(t, "b", "b", 2, dims, part);
  *image = part[0];
  *group = part[1];
}

static const char *channel(prn_cu_text *t, const char *group, prn_dim of,
                           const char *i) {
  if (group[0] == '0') return i;
  return prn_cu_str(t->c, "(%s * %s + %s)", group, prn_cu_dim(t, of), i);
}

/* Element (o, k) of the weights. */
static const char *weight(prn_cu_text *t, const conv *v, const char *o,
                          const char *const *tap) {
  const char *index[PRN_CU_RANK];
  index[0] = o;
  for (unsigned k = 0; k < v->w.spatial + 1; k++)
    index[k + 1] = tap[k];
  return prn_cu_offset(t, v->w.spatial + 2, v->weights->strides, index);
}

/* Lines for where tap (channel, position...) of the pixel looks; *inside says
 * whether there is something. */
static const char *look(prn_cu_text *t, const conv *v, const char *image,
                        const char *c, const char *const *tap,
                        const char *const *pixel, const char **inside) {
  const char *index[PRN_CU_RANK];
  index[0] = image;
  index[1] = c;
  for (unsigned k = 0; k < v->w.spatial; k++)
    index[k + 2] = seen(t, &v->w, k, pixel[k], tap[k + 1]);
  *inside = is_inside(t, &v->w, index + 2);
  return prn_cu_offset(t, v->w.spatial + 2, v->w.x->strides, index);
}

static void store(prn_cu_text *t, const conv *v, const char *image,
                  const char *o, const char *const *pixel) {
  const char *index[PRN_CU_RANK], *offsets[PRN_CU_VIEWS];
  index[0] = image;
  index[1] = o;
  for (unsigned k = 0; k < v->w.spatial; k++)
    index[k + 2] = pixel[k];
  for (uint32_t i = OUT; i < t->op->num_operands; i++)
    offsets[i] = prn_cu_offset(t, v->w.spatial + 2,
                               prn_op_operand(t->op, i)->type->strides, index);
  prn_cu_epilogue(t, EXTRAS, "sum", offsets, OUT);
}

static void weights_accessor(prn_cu_text *t, const conv *v, prn_dtype as) {
  const char *tap[PRN_CU_RANK], *image, *group;
  prn_cu_open(t, "[&](pmk_i b, pmk_i i, pmk_i k) {");
  split_batch(t, v, &image, &group);
  prn_cu_split(t, "k", "k", v->w.spatial + 1, v->weights->dims + 1, tap);
  const char *offset = weight(t, v, channel(t, group, v->outer, "i"), tap);
  prn_cu_line(t, "return %s;", prn_cu_element(t, W, offset, as));
  prn_cu_close(t, "},");
}

/* What there is beside x. */
static const char *nothing(prn_cu_text *t, prn_dtype as) {
  const char *type = prn_cu_memory_type(as);
  if (prn_cu_is_byte(as))
    return prn_cu_str(t->c, "(%s)%lld", type,
                      (long long)prn_op_int(t->op, "fill", 0));
  if (prn_cu_is_half(as)) return prn_cu_str(t->c, "pmk_make<%s>(0.0f)", type);
  return "0.0f";
}

static void windows_accessor(prn_cu_text *t, const conv *v, prn_dtype as) {
  const char *tap[PRN_CU_RANK], *pixel[PRN_CU_RANK], *image, *group, *inside;
  prn_cu_open(t, "[&](pmk_i b, pmk_i k, pmk_i j) {");
  split_batch(t, v, &image, &group);
  prn_cu_split(t, "k", "k", v->w.spatial + 1, v->weights->dims + 1, tap);
  prn_cu_split(t, "j", "j", v->w.spatial, v->w.out->dims + 2, pixel);
  const char *at = look(t, v, image, channel(t, group, v->inner, tap[0]), tap,
                        pixel, &inside);
  prn_cu_line(t, "return %s ? %s : %s;", inside, prn_cu_element(t, X, at, as),
              nothing(t, as));
  prn_cu_close(t, "},");
}

static void as_product(prn_cu *c, const prn_op *op, const conv *v) {
  prn_cu_text t;
  prn_dtype x = v->w.x->dtype;
  prn_dtype w = prn_cu_is_byte(x) ? v->weights->dtype : x;
  const char *pixel[PRN_CU_RANK], *image, *group;
  prn_cu_shape s = {
      prn_dim_mul(c->ctx, v->images, prn_dim_const(c->ctx, v->group)), v->outer,
      v->pixels, v->depth};
  prn_cu_text_begin(&t, c, op);
  prn_cu_gemm_open(&t, w, x, &s);
  weights_accessor(&t, v, w);
  windows_accessor(&t, v, x);
  prn_cu_store_open(&t, w);
  split_batch(&t, v, &image, &group);
  prn_cu_split(&t, "j", "j", v->w.spatial, v->w.out->dims + 2, pixel);
  store(&t, v, image, channel(&t, group, v->outer, "i"), pixel);
  prn_cu_close(&t, "});");
  t.indent--;
  (void)prn_cu_gemm_end(&t, w, &s);
}

/* Few channels of a group share their windows: a thread for each result. */
static void element_by_element(prn_cu *c, const prn_op *op, const conv *v) {
  prn_cu_text t;
  const char *index[PRN_CU_RANK], *tap[PRN_CU_RANK], *inside;
  prn_dim n = prn_cu_product(c, v->w.spatial + 2, v->w.out->dims);
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(&t, n));
  prn_cu_split(&t, "e", "i", v->w.spatial + 2, v->w.out->dims, index);
  const char *type = prn_cu_sum_type(v->w.x->dtype);
  prn_cu_line(&t, "%s sum = 0;", type);
  prn_cu_open(&t, "for (pmk_i k = 0; k < %s; k++) {", prn_cu_dim(&t, v->depth));
  prn_cu_split(&t, "k", "k", v->w.spatial + 1, v->weights->dims + 1, tap);
  const char *group = v->group == 1 ? "0"
                                    : prn_cu_str(c, "%s / %s", index[1],
                                                 prn_cu_dim(&t, v->outer));
  const char *from = channel(&t, group, v->inner, tap[0]);
  const char *at = look(&t, v, index[0], from, tap, index + 2, &inside);
  const char *w = weight(&t, v, index[1], tap);
  int64_t fill = prn_op_int(op, "fill", 0);
  const char *x = prn_cu_str(c, "(%s)%s", type, prn_cu_load(&t, X, at));
  if (fill)
    prn_cu_line(&t, "const %s x = %s ? %s : %lld;", type, inside, x,
                (long long)fill);
  else
    prn_cu_line(&t, "if (!(%s)) continue;", inside);
  prn_cu_line(&t, "sum = prn_add(sum, prn_mul(%s, (%s)%s));", fill ? "x" : x,
              type, prn_cu_load(&t, W, w));
  prn_cu_close(&t, "}");
  store(&t, v, index[0], index[1], index + 2);
  prn_cu_close(&t, "});");
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, n, THREADS));
}

static void emit_conv(prn_cu *c, const prn_op *op) {
  conv v = conv_of(c, op);
  int64_t outer;
  bool few =
      v.group > 1 && prn_dim_is_const(v.outer, &outer) && outer < FEW_CHANNELS;
  prn_cu_conv_library(c, op);
  if (few || !prn_cu_has_template(v.w.x->dtype, v.weights->dtype))
    element_by_element(c, op, &v);
  else
    as_product(c, op, &v);
}

static prn_status check_conv(const prn_op *op) {
  if (!prn_str_is(prn_cu_packing(op, W), "dense"))
    return prn_op_error(op, "the CUDA backend convolves by dense weights");
  return prn_cu_epilogue_check(op);
}

const prn_cu_kind prn_cu_conv = {check_conv, emit_conv};

/* ---- pooling ---- */

enum { P_X, P_OUT };

/* How many input positions count, along dimension k, in front of `limit`. */
static prn_dim limit(prn_cu *c, const prn_op *op, const window *w, unsigned k) {
  const prn_attr *high = prn_op_attr(op, "pads_high");
  prn_dim size = w->x->dims[k + 2];
  return high ? prn_dim_add(c->ctx, size, high->list[k]->dim) : size;
}

static void emit_pool(prn_cu *c, const prn_op *op) {
  prn_cu_text t;
  size_t n;
  window w = window_of(op, P_X, P_OUT);
  const int64_t *kernel = prn_op_ints(op, "kernel", &n);
  bool max = prn_str_is(prn_op_string(op, "fn", ""), "max");
  bool pads = prn_op_int(op, "count_include_pad", 0) != 0;
  const char *index[PRN_CU_RANK], *from[PRN_CU_RANK], *tap[PRN_CU_RANK];
  const char *type = prn_cu_value_type(w.x->dtype);
  prn_dim all = prn_cu_product(c, (unsigned)w.out->rank, w.out->dims);
  prn_dim taps[PRN_CU_RANK];
  for (unsigned k = 0; k < w.spatial; k++)
    taps[k] = prn_dim_const(c->ctx, kernel[k]);
  prn_cu_text_begin(&t, c, op);
  prn_cu_open(&t, "pmk_each<pmk_i>(%s, [&](pmk_i e) {", prn_cu_dim(&t, all));
  prn_cu_split(&t, "e", "i", (unsigned)w.out->rank, w.out->dims, index);
  prn_cu_line(&t, "%s v = %s; pmk_i count = 0;", type,
              max ? prn_cu_str(c, "pmk_max::neutral<%s>()", type) : "0");
  prn_cu_open(&t, "for (pmk_i k = 0; k < %s; k++) {",
              prn_cu_dim(&t, prn_cu_product(c, w.spatial, taps)));
  prn_cu_split(&t, "k", "k", w.spatial, taps, tap);
  from[0] = index[0];
  from[1] = index[1];
  for (unsigned k = 0; k < w.spatial; k++)
    from[k + 2] = seen(&t, &w, k, index[k + 2], tap[k]);
  const char *counts = "true";
  for (unsigned k = 0; pads && k < w.spatial; k++)
    counts = prn_cu_str(c, "%s && %s < %s", counts, from[k + 2],
                        prn_cu_dim(&t, limit(c, op, &w, k)));
  const char *inside = is_inside(&t, &w, from + 2);
  prn_cu_line(&t, "count += %s;", pads ? counts : inside);
  prn_cu_line(&t, "if (!(%s)) continue;", inside);
  const char *x = prn_cu_load(
      &t, P_X, prn_cu_offset(&t, (unsigned)w.x->rank, w.x->strides, from));
  prn_cu_line(&t, max ? "v = prn_max(v, %s);" : "v += %s;", x);
  prn_cu_close(&t, "}");
  prn_cu_store(&t, P_OUT,
               prn_cu_offset(&t, (unsigned)w.out->rank, w.out->strides, index),
               max ? "v" : prn_cu_str(c, "v / (%s)count", type));
  prn_cu_close(&t, "});");
  prn_cu_text_end(&t, THREADS, 0, prn_cu_blocks_some(c, all, THREADS));
}

const prn_cu_kind prn_cu_pool = {NULL, emit_pool};
