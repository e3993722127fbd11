/* mem.conv: the ways to compute it, and what they share; see conv.h. */
#include "backends/llvm/conv.h"

#include <string.h>

/* The first that fits computes it; without a packing the last one does. */
static const prn_conv_way *const ways[] = {
    &prn_conv_srt,       &prn_conv_blocks,    &prn_conv_winograd,
    &prn_conv_rows4,     &prn_conv_srt_bytes, &prn_conv_blocks_bytes,
    &prn_conv_depthwise, &prn_conv_product,   &prn_conv_direct,
};

static bool reads(const prn_conv_way *way, const prn_op *op) {
  const prn_value *w = prn_op_operand(op, PRN_CONV_W);
  if (!prn_view_packed(w)) return !way->pack;
  prn_str pack = prn_op_string(prn_view_constant(w), "pack", "");
  return way->pack && prn_str_is(pack, way->pack);
}

/* NULL when none takes the packing of the weights. */
static const prn_conv_way *way_of(const prn_target *t, const prn_op *op) {
  for (size_t i = 0; i < PRN_COUNT(ways); i++)
    if (reads(ways[i], op) && ways[i]->fits(t, op)) return ways[i];
  return NULL;
}

/* ---- sizes ---- */

bool prn_conv_dense_from(prn_ctx *ctx, const prn_type *t, int32_t begin,
                         prn_dim unit) {
  prn_dim step = unit;
  for (int32_t i = t->rank - 1; i >= begin; i--) {
    if (prn_dim_is(t->dims[i], 1)) continue;
    if (t->strides[i] != step) return false;
    step = prn_dim_mul(ctx, step, t->dims[i]);
  }
  return true;
}

/* The last dimension that is not 1. */
static int32_t innermost(const prn_type *t) {
  int32_t last = t->rank - 1;
  while (last > 2 && prn_dim_is(t->dims[last], 1))
    last--;
  return last;
}

bool prn_conv_one_row(prn_ctx *ctx, const prn_type *t) {
  return prn_conv_dense_from(ctx, t, 2, t->strides[innermost(t)]);
}

prn_v prn_conv_row_stride(const prn_kernel *k, unsigned operand) {
  return k->v[operand].strides[innermost(k->v[operand].type)];
}

bool prn_conv_unit_width(const prn_type *t) {
  return prn_dim_is(t->strides[t->rank - 1], 1) ||
         prn_dim_is(t->dims[t->rank - 1], 1);
}

bool prn_conv_is_f32(const prn_op *op) {
  const prn_block *body = prn_op_block(op, "body");
  prn_dtype sum = body ? body->args[0]->type->dtype
                       : prn_conv_type(op, PRN_CONV_OUT)->dtype;
  return prn_conv_type(op, PRN_CONV_X)->dtype == PRN_F32 && sum == PRN_F32 &&
         (prn_view_packed(prn_op_operand(op, PRN_CONV_W)) ||
          prn_conv_type(op, PRN_CONV_W)->dtype == PRN_F32);
}

bool prn_conv_sums_in_place(const prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  const prn_type *out = prn_conv_type(op, PRN_CONV_OUT);
  return prn_dtype_bits(out->dtype) == 32 &&
         prn_conv_dense_from(ctx, out, 2, prn_dim_const(ctx, 1));
}

/* Size of the window along spatial dimension i; 0 when it is not a constant. */
static int64_t window(const prn_op *op, int32_t i) {
  const prn_type *w = prn_conv_type(op, PRN_CONV_W);
  size_t n;
  const int64_t *kernel = prn_op_ints(op, "kernel", &n);
  int64_t d;
  if (kernel) return i < (int32_t)n ? kernel[i] : 0;
  return 2 + i < w->rank && prn_dim_is_const(w->dims[2 + i], &d) ? d : 0;
}

int64_t prn_conv_taps(const prn_op *op) {
  int64_t n = 1;
  for (int32_t i = 0; i + 2 < prn_conv_type(op, PRN_CONV_X)->rank; i++)
    n *= window(op, i);
  return n;
}

bool prn_conv_shape_of(const prn_op *op, prn_conv_shape *s) {
  const prn_type *x = prn_conv_type(op, PRN_CONV_X);
  const prn_type *out = prn_conv_type(op, PRN_CONV_OUT);
  int32_t n = x->rank - 2;
  size_t some;
  int64_t c;
  const int64_t *strides = prn_op_ints(op, "strides", &some);
  const int64_t *dilations = prn_op_ints(op, "dilations", &some);
  const prn_attr *pads = prn_op_attr(op, "pads");
  *s = (prn_conv_shape){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0};
  if (n < 1 || n > 2) return false;
  int64_t *const in[2] = {&s->w, &s->h}, *const to[2] = {&s->out_w, &s->out_h},
                 *const kernel[2] = {&s->kernel_w, &s->kernel_h},
                 *const stride[2] = {&s->stride_w, &s->stride_h},
                 *const step[2] = {&s->dilation_w, &s->dilation_h},
                 *const pad[2] = {&s->pad_w, &s->pad_h};
  for (int32_t i = 0; i < n; i++) {
    int32_t d = n - 1 - i;
    *kernel[i] = window(op, d);
    *stride[i] = strides[d];
    *step[i] = dilations[d];
    if (!prn_dim_is_const(x->dims[2 + d], in[i]) ||
        !prn_dim_is_const(out->dims[2 + d], to[i]) ||
        !prn_dim_is_const(pads->list[d]->dim, pad[i]) || !*kernel[i])
      return false;
  }
  s->groups = prn_op_int(op, "group", 1);
  if (!prn_dim_is_const(x->dims[1], &c) ||
      !prn_dim_is_const(out->dims[1], &s->o))
    return false;
  s->cg = c / s->groups;
  return c > 0 && s->o > 0 && s->h > 0 && s->w > 0 && s->out_h > 0 &&
         s->out_w > 0;
}

static prn_status check(const prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  const prn_type *x = prn_conv_type(op, PRN_CONV_X);
  bool packed = prn_view_packed(prn_op_operand(op, PRN_CONV_W));
  PRN_TRY(prn_window_check(op, x));
  if ((!packed && prn_conv_type(op, PRN_CONV_W)->rank != x->rank) ||
      prn_conv_type(op, PRN_CONV_OUT)->rank != x->rank)
    return prn_op_error(op, "expected operands of one rank");
  if (prn_conv_taps(op) == 0)
    return prn_op_error(op, "the size of the window must be a constant");
  if (!packed && prn_op_int(op, "fill", 0))
    return prn_op_error(op, "only packed bytes take padding that is not 0");
  const prn_conv_way *way = packed ? way_of(NULL, op) : NULL;
  if (packed && !way)
    return prn_op_error(op, "no kernel takes weights in this packing for "
                            "these sizes");
  for (uint32_t i = PRN_CONV_OUT; i < op->num_operands; i++)
    if (!(way && way->rows_apart) &&
        !prn_conv_one_row(ctx, prn_conv_type(op, i)))
      return prn_op_error(op, "the spatial dimensions of the result or of an "
                              "extra operand cannot be merged");
  return prn_body_check(op, prn_op_block(op, "body"));
}

static void init(prn_conv *c, prn_kernel *k) {
  prn_cg *g = k->g;
  memset(c, 0, sizeof *c);
  c->k = k;
  prn_window_init(&c->w, k, PRN_CONV_X, PRN_CONV_OUT);
  for (unsigned i = 0; i < c->w.spatial; i++)
    c->w.kernel[PRN_WINDOW - c->w.spatial + i] =
        cg_i64(g, window(k->op, (int32_t)i));
  c->groups = prn_op_int(k->op, "group", 1);
  c->batch = k->v[PRN_CONV_OUT].dims[0];
  c->cg = prn_cg_div(g, k->v[PRN_CONV_X].dims[1], cg_i64(g, c->groups));
  c->og = prn_cg_div(g, k->v[PRN_CONV_OUT].dims[1], cg_i64(g, c->groups));
  c->pixels = prn_cg_mul(g, prn_cg_mul(g, c->w.out[PRN_WD], c->w.out[PRN_WH]),
                         c->w.out[PRN_WW]);
  c->taps = prn_conv_taps(k->op);
}

/* ---- results ---- */

void prn_conv_locate(prn_conv *c, prn_v n, prn_v ci, prn_v co) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  for (unsigned i = 0; i < k->n; i++) {
    const prn_view *v = &k->v[i];
    prn_v at = i == PRN_CONV_W
                   ? prn_cg_mul(g, co, v->strides[0])
                   : prn_cg_add(g, prn_cg_mul(g, n, v->strides[0]),
                                prn_cg_mul(g, i == PRN_CONV_X ? ci : co,
                                           v->strides[1]));
    c->base[i] = prn_elem_at(g, v->type->dtype, v->base, at);
  }
}

void prn_conv_finish_with(prn_cg *g, prn_conv_finish *f, prn_v sum, prn_v i,
                          unsigned lanes, prn_v mask) {
  prn_kernel *k = f->c->k;
  const prn_block *body = prn_op_block(k->op, "body");
  prn_v args[PRN_KERNEL_MAX], out = sum;
  args[0] = sum;
  for (unsigned x = PRN_CONV_EXTRAS; body && x < k->n; x++) {
    prn_dtype t = k->v[x].type->dtype;
    prn_v s = prn_conv_row_stride(k, x);
    prn_v p = prn_elem_at(g, t, f->row[x], prn_cg_mul(g, i, s));
    args[1 + x - PRN_CONV_EXTRAS] = prn_elem_load(g, t, p, s, lanes, mask);
  }
  if (body) prn_body_emit(k->e, body, args, lanes, NULL, NULL, &out);
  prn_dtype t = k->v[PRN_CONV_OUT].type->dtype;
  prn_v s = prn_conv_row_stride(k, PRN_CONV_OUT);
  prn_v p = prn_elem_at(g, t, f->row[PRN_CONV_OUT], prn_cg_mul(g, i, s));
  prn_elem_store(g, t, out, p, s, lanes, mask);
}

void prn_conv_finish_row(prn_conv *c, prn_v o, prn_v p, const prn_v *sums,
                         unsigned vectors, prn_v mask) {
  prn_cg *g = c->k->g;
  prn_conv_finish f = {.c = c};
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(sums[0]));
  prn_conv_locate_row(&f, o, p);
  for (unsigned v = 0; v < vectors; v++)
    prn_conv_finish_with(g, &f, sums[v], cg_i64(g, (int64_t)v * lanes), lanes,
                         v + 1 == vectors ? mask : NULL);
}

typedef struct stored {
  prn_t elem;
  prn_conv_finish f;
  prn_v sums; /* of the row */
} stored;

static void finish_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                        void *user) {
  stored *s = user;
  prn_t t = prn_cg_vec(s->elem, lanes);
  prn_v sum = prn_cg_load_masked(g, t, cg_at(g, s->elem, s->sums, i), mask);
  prn_conv_finish_with(g, &s->f, sum, i, lanes, mask);
}

void prn_conv_locate_row(prn_conv_finish *f, prn_v o, prn_v p) {
  prn_kernel *k = f->c->k;
  prn_cg *g = k->g;
  for (unsigned x = PRN_CONV_OUT; x < k->n; x++) {
    prn_v at = prn_cg_add(g, prn_cg_mul(g, o, k->v[x].strides[1]),
                          prn_cg_mul(g, p, prn_conv_row_stride(k, x)));
    f->row[x] = prn_elem_at(g, k->v[x].type->dtype, f->c->base[x], at);
  }
}

void prn_conv_finish_block(prn_conv *c, prn_v o0, prn_v rows, prn_v p0,
                           prn_v cols, prn_v sums, prn_v pitch) {
  prn_cg *g = c->k->g;
  bool bytes = prn_conv_type(c->k->op, PRN_CONV_X)->dtype != PRN_F32;
  stored s = {.f = {.c = c}, .elem = bytes ? g->i32 : g->f32};
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, NULL, 0);
  prn_conv_locate_row(&s.f, prn_cg_add(g, o0, l.iv), p0);
  s.sums = cg_at(g, s.elem, sums, prn_cg_mul(g, l.iv, pitch));
  prn_cg_vloop(g, cols, g->target->lanes, finish_step, &s);
  prn_loop_end(g, &l);
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  const prn_conv_way *way = way_of(t, op);
  return way->scratch ? way->scratch(t, op) : 0;
}

static prn_v items(prn_kernel *k, prn_v *work) {
  prn_cg *g = k->g;
  prn_conv c;
  init(&c, k);
  prn_v n = prn_cg_mul(g, c.batch, k->v[PRN_CONV_OUT].dims[1]);
  prn_v macs = prn_cg_mul(g, prn_cg_mul(g, n, c.pixels),
                          prn_cg_mul(g, c.cg, cg_i64(g, c.taps)));
  *work = prn_cg_div(g, macs, cg_i64(g, g->target->lanes));
  return way_of(g->target, k->op)->items(&c);
}

static void body(prn_kernel *k) {
  prn_conv c;
  prn_loop l;
  init(&c, k);
  prn_loop_begin(k->g, &l, k->begin, k->end, 1, NULL, 0);
  way_of(k->g->target, k->op)->item(&c, l.iv);
  prn_loop_end(k->g, &l);
}

const prn_kernel_kind prn_kernel_conv = {check, items, body, scratch};
