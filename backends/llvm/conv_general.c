/* Convolutions that no special way fits.
 *
 * f32: an implicit matrix product. A panel of NR output pixels is unfolded
 * into scratch memory ([channels * taps][NR], some channels at a time) and
 * multiplied from the left by the weights, with the micro-kernels of gemm.h.
 * Other types: a direct loop along the width.
 */
#include "backends/llvm/conv.h"
#include "backends/llvm/gemm.h"

enum { ROWS = 192 }; /* output channels of one item */

/* Channels unfolded at a time. */
static int64_t channels_at_once(const prn_op *op) {
  int64_t n = PRN_GEMM_KB / prn_conv_taps(op);
  return n ? n : 1;
}

/* Of an unfolded panel of `width` pixels. */
static int64_t panel_floats(const prn_op *op, int64_t width) {
  return width * channels_at_once(op) * prn_conv_taps(op);
}

static size_t panel_bytes(const prn_target *t, const prn_op *op) {
  int64_t nr = prn_target_nr(t);
  return (size_t)panel_floats(op, nr) * sizeof(float) +
         prn_conv_columns_bytes(t, op, nr);
}

/* A window of one element, stride 1, no padding: the input is the panel. */
static bool pointwise(prn_ctx *ctx, const prn_op *op) {
  size_t n;
  const int64_t *s = prn_op_ints(op, "strides", &n);
  const prn_attr *pads = prn_op_attr(op, "pads");
  if (prn_conv_taps(op) != 1) return false;
  for (size_t i = 0; i < n; i++)
    if (s[i] != 1 || !prn_dim_is(pads->list[i]->dim, 0)) return false;
  const prn_type *x = prn_conv_type(op, PRN_CONV_X),
                 *out = prn_conv_type(op, PRN_CONV_OUT);
  for (int32_t i = 2; i < x->rank; i++)
    if (x->dims[i] != out->dims[i]) return false;
  return prn_conv_one_row(ctx, x);
}

static prn_v panels(const prn_conv *c) {
  return prn_cg_ceildiv(c->k->g, c->pixels,
                        cg_i64(c->k->g, prn_target_nr(c->k->g->target)));
}

static prn_v row_blocks(const prn_conv *c) {
  return prn_cg_ceildiv(c->k->g, c->og, cg_i64(c->k->g, ROWS));
}

/* ---- the product ---- */

/* Where sums of output channels from o0 on go, for pixels from p0 on: out, or
 * scratch memory behind the panel. */
static prn_v sums_of(prn_conv *c, prn_v o0, prn_v p0, prn_v *pitch) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  if (!prn_conv_sums_in_place(k->op)) {
    int64_t at = (int64_t)panel_bytes(g->target, k->op);
    *pitch = cg_i64(g, prn_target_nr(g->target));
    return cg_at(g, g->i8, prn_kernel_scratch(k), cg_i64(g, at));
  }
  *pitch = k->v[PRN_CONV_OUT].strides[1];
  return cg_at(g, g->f32, c->base[PRN_CONV_OUT],
               prn_cg_add(g, prn_cg_mul(g, o0, *pitch), p0));
}

static void product_item(prn_conv *c, prn_v item) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  int64_t step = channels_at_once(k->op), nr = prn_target_nr(g->target);
  prn_v blocks = row_blocks(c), per = panels(c), zero = cg_i64(g, 0);
  prn_v o0 = prn_cg_mul(g, prn_cg_mod(g, item, blocks), cg_i64(g, ROWS));
  item = prn_cg_div(g, item, blocks);
  prn_v p0 = prn_cg_mul(g, prn_cg_mod(g, item, per), cg_i64(g, nr));
  item = prn_cg_div(g, item, per);
  prn_v group = prn_cg_mod(g, item, cg_i64(g, c->groups));
  prn_v n = prn_cg_div(g, item, cg_i64(g, c->groups));
  prn_conv_locate(c, n, prn_cg_mul(g, group, c->cg),
                  prn_cg_mul(g, group, c->og));
  prn_v rows = prn_cg_min(g, prn_cg_sub(g, c->og, o0), cg_i64(g, ROWS));
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, c->pixels, p0), cg_i64(g, nr));
  prn_v panel = prn_kernel_scratch(k);
  prn_v a = cg_at(g, g->f32, c->base[PRN_CONV_W],
                  prn_cg_mul(g, o0, k->v[PRN_CONV_W].strides[0]));
  prn_v pitch, sums = sums_of(c, o0, p0, &pitch);
  prn_conv_columns u = prn_conv_columns_begin(
      c, nr, p0, cg_at(g, g->f32, panel, cg_i64(g, panel_floats(k->op, nr))));
  prn_loop l;
  prn_loop_begin(g, &l, zero, prn_cg_max(g, c->cg, cg_i64(g, 1)), step, NULL,
                 0);
  prn_v num = prn_cg_min(g, prn_cg_sub(g, c->cg, l.iv), cg_i64(g, step));
  if (pointwise(k->e->ctx, k->op)) {
    prn_v s = k->v[PRN_CONV_X].strides[1];
    prn_v col = prn_conv_row_stride(k, PRN_CONV_X);
    prn_v at = prn_cg_add(g, prn_cg_mul(g, l.iv, s), prn_cg_mul(g, p0, col));
    prn_gemm_pack(g, cg_at(g, g->f32, c->base[PRN_CONV_X], at), num, cols, s,
                  col, panel);
  } else {
    prn_conv_unfold(c, &u, panel, l.iv, num, cols);
  }
  prn_v t = cg_i64(g, c->taps);
  prn_gemm_panel_args args = {
      .m = rows,
      .k = prn_cg_mul(g, num, t),
      .a = cg_at(g, g->f32, a, prn_cg_mul(g, l.iv, t)),
      .a_row = k->v[PRN_CONV_W].strides[0],
      .a_col = cg_i64(g, 1),
      .b = panel,
      .c = sums,
      .c_row = pitch,
      .cols = cols,
      .acc = cg_cmp(g, LLVMIntNE, l.iv, zero),
  };
  prn_gemm_panel(g, &args);
  prn_loop_end(g, &l);
  if (!prn_conv_sums_in_place(k->op) || prn_op_block(k->op, "body"))
    prn_conv_finish_block(c, o0, rows, p0, cols, sums, pitch);
}

static bool product_fits(const prn_target *t, const prn_op *op) {
  prn_ctx *ctx = op->module->ctx;
  const prn_type *w = prn_conv_type(op, PRN_CONV_W);
  int64_t o, group = prn_op_int(op, "group", 1);
  (void)t;
  if (!prn_conv_is_f32(op) ||
      !prn_conv_dense_from(ctx, w, 1, prn_dim_const(ctx, 1)))
    return false;
  bool depthwise = prn_dim_is(w->dims[1], 1) && group > 1 &&
                   prn_dim_is_const(w->dims[0], &o) && o / group <= 4;
  return !depthwise;
}

static prn_v product_items(const prn_conv *c) {
  prn_cg *g = c->k->g;
  prn_v n = prn_cg_mul(g, c->batch, cg_i64(g, c->groups));
  return prn_cg_mul(g, prn_cg_mul(g, n, panels(c)), row_blocks(c));
}

static size_t product_scratch(const prn_target *t, const prn_op *op) {
  size_t sums = prn_conv_sums_in_place(op) ? 0 : ROWS * prn_target_nr(t);
  return panel_bytes(t, op) + sums * sizeof(float);
}

const prn_conv_way prn_conv_product = {
    NULL, product_fits, product_items, product_item, product_scratch, false};

/* ---- direct ---- */

typedef struct line {
  prn_conv_finish f;
  prn_v od, oh; /* the output row */
} line;

/* What the sum is computed in. */
static prn_dtype sum_type(const prn_op *op) {
  const prn_block *body = prn_op_block(op, "body");
  return body ? body->args[0]->type->dtype
              : prn_conv_type(op, PRN_CONV_OUT)->dtype;
}

static prn_v tap_weight(line *d, prn_v c, prn_v kd, prn_v kh, prn_v kw) {
  const prn_view *v = &d->f.c->k->v[PRN_CONV_W];
  prn_cg *g = d->f.c->k->g;
  prn_v taps_at[PRN_WINDOW] = {kd, kh, kw};
  unsigned missing = PRN_WINDOW - d->f.c->w.spatial;
  prn_v at = prn_cg_mul(g, c, v->strides[1]);
  for (unsigned i = missing; i < PRN_WINDOW; i++)
    at = prn_cg_add(g, at,
                    prn_cg_mul(g, taps_at[i], v->strides[2 + i - missing]));
  prn_dtype t = v->type->dtype;
  prn_v e = prn_elem_load(g, t, prn_elem_at(g, t, d->f.c->base[PRN_CONV_W], at),
                          cg_i64(g, 1), 1, NULL);
  return prn_elem_cast(g, e, t, sum_type(d->f.c->k->op));
}

/* a * b + c in the type of the sum. */
static prn_v multiply_add(prn_cg *g, prn_dtype t, prn_v a, prn_v b, prn_v c) {
  if (prn_dtype_is_float(t)) return prn_cg_fma(g, a, b, c);
  return LLVMBuildAdd(g->b, LLVMBuildMul(g->b, a, b, ""), c, "");
}

/* One input row: the sum over the taps along the width. */
static prn_v direct_row(prn_cg *g, line *d, prn_v sum, prn_v row, prn_v c,
                        prn_v kd, prn_v kh, prn_v ow, unsigned lanes,
                        bool inside, prn_v mask) {
  const prn_window *w = &d->f.c->w;
  prn_dtype t = sum_type(d->f.c->k->op);
  prn_v zero = LLVMConstNull(prn_cg_vec(prn_elem_value(g, w->dtype), lanes));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), w->kernel[PRN_WW], 1, &sum, 1);
  prn_v e = tap_weight(d, c, kd, kh, l.iv);
  prn_v v = prn_window_load(g, w, row, ow, l.iv, lanes, inside, zero, mask);
  v = prn_elem_cast(g, v, w->dtype, t);
  l.next[0] = multiply_add(g, t, prn_cg_splat(g, e, lanes), v, l.cur[0]);
  prn_loop_end(g, &l);
  return l.out[0];
}

/* The sum over all taps, `lanes` pixels from ow on. */
static prn_v direct_sum(prn_cg *g, line *d, prn_v ow, unsigned lanes,
                        bool inside, prn_v mask) {
  prn_conv *c = d->f.c;
  const prn_window *w = &c->w;
  prn_t t = prn_cg_vec(prn_elem_value(g, sum_type(c->k->op)), lanes);
  prn_v sum = LLVMConstNull(t), lo, hi;
  prn_loop lc, ld, lh;
  prn_loop_begin(g, &lc, cg_i64(g, 0), c->cg, 1, &sum, 1);
  prn_v x = prn_cg_mul(g, lc.iv, c->k->v[PRN_CONV_X].strides[1]);
  prn_window_clip(g, w, PRN_WD, d->od, &lo, &hi);
  prn_loop_begin(g, &ld, lo, hi, 1, &lc.cur[0], 1);
  prn_window_clip(g, w, PRN_WH, d->oh, &lo, &hi);
  prn_loop_begin(g, &lh, lo, hi, 1, &ld.cur[0], 1);
  prn_v at = prn_cg_add(g,
                        prn_cg_mul(g, prn_window_at(g, w, PRN_WD, d->od, ld.iv),
                                   w->step_in[PRN_WD]),
                        prn_cg_mul(g, prn_window_at(g, w, PRN_WH, d->oh, lh.iv),
                                   w->step_in[PRN_WH]));
  prn_v row =
      prn_elem_at(g, w->dtype, c->base[PRN_CONV_X], prn_cg_add(g, x, at));
  lh.next[0] = direct_row(g, d, lh.cur[0], row, lc.iv, ld.iv, lh.iv, ow, lanes,
                          inside, mask);
  prn_loop_end(g, &lh);
  ld.next[0] = lh.out[0];
  prn_loop_end(g, &ld);
  lc.next[0] = ld.out[0];
  prn_loop_end(g, &lc);
  return lc.out[0];
}

static void direct_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                        void *user) {
  line *d = user;
  if (lanes == 1 || mask) {
    prn_v s = direct_sum(g, d, i, lanes, false, mask);
    prn_conv_finish_with(g, &d->f, s, i, lanes, mask);
    return;
  }
  LLVMBasicBlockRef in = prn_cg_block(g, "inside"),
                    edge = prn_cg_block(g, "edge"),
                    next = prn_cg_block(g, "next");
  LLVMBuildCondBr(g->b, prn_window_inside(g, &d->f.c->w, i, lanes), in, edge);
  LLVMPositionBuilderAtEnd(g->b, in);
  prn_v a = direct_sum(g, d, i, lanes, true, NULL);
  LLVMBasicBlockRef from_a = LLVMGetInsertBlock(g->b);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, edge);
  prn_v b = direct_sum(g, d, i, lanes, false, NULL);
  LLVMBasicBlockRef from_b = LLVMGetInsertBlock(g->b);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
  prn_v sum = LLVMBuildPhi(g->b, LLVMTypeOf(a), "");
  LLVMAddIncoming(sum, &a, &from_a, 1);
  LLVMAddIncoming(sum, &b, &from_b, 1);
  prn_conv_finish_with(g, &d->f, sum, i, lanes, NULL);
}

static void direct_item(prn_conv *c, prn_v item) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  prn_v o = prn_cg_mod(g, item, k->v[PRN_CONV_OUT].dims[1]);
  prn_v n = prn_cg_div(g, item, k->v[PRN_CONV_OUT].dims[1]);
  prn_v group = prn_cg_div(g, o, c->og);
  prn_conv_locate(c, n, prn_cg_mul(g, group, c->cg), o);
  line d = {.f.c = c};
  prn_loop ld, lh;
  prn_loop_begin(g, &ld, cg_i64(g, 0), c->w.out[PRN_WD], 1, NULL, 0);
  prn_loop_begin(g, &lh, cg_i64(g, 0), c->w.out[PRN_WH], 1, NULL, 0);
  d.od = ld.iv;
  d.oh = lh.iv;
  prn_v p = prn_cg_add(g, prn_cg_mul(g, ld.iv, c->w.out[PRN_WH]), lh.iv);
  prn_conv_locate_row(&d.f, cg_i64(g, 0), prn_cg_mul(g, p, c->w.out[PRN_WW]));
  prn_cg_vloop(g, c->w.out[PRN_WW], g->target->lanes, direct_step, &d);
  prn_loop_end(g, &lh);
  prn_loop_end(g, &ld);
}

static bool direct_fits(const prn_target *t, const prn_op *op) {
  (void)t;
  (void)op;
  return true;
}

static prn_v direct_items(const prn_conv *c) {
  return prn_cg_mul(c->k->g, c->batch, c->k->v[PRN_CONV_OUT].dims[1]);
}

const prn_conv_way prn_conv_direct = {NULL,        direct_fits, direct_items,
                                      direct_item, NULL,        false};
