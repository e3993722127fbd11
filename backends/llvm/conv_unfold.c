/* Unfolding: what the windows of neighbouring output pixels see of x, as the
 * rows of a matrix; see conv.h.
 *
 * Where the output is as wide as the input and the stride is 1, a row of the
 * matrix is a row of x that begins elsewhere, but for the pixels whose window
 * reaches over an edge: these are masked. Which they are is the same for all
 * channels, and worked out once for a block of columns. Elsewhere stretches
 * of output rows are unfolded one by one. */
#include "backends/llvm/conv.h"

enum { WIDE = 16 }; /* f32 in a vector of AVX-512 */

static prn_v at_elem(prn_cg *g, const prn_conv_columns *u, prn_v p, prn_v i) {
  return cg_at(g, u->elem, p, i);
}

/* What padding is, in all lanes. */
static prn_v filling(const prn_conv_columns *u, unsigned lanes) {
  prn_t t = prn_cg_vec(u->elem, lanes);
  return u->fill ? prn_cg_iconst(t, u->fill) : LLVMConstNull(t);
}

/* ---- by masks ---- */

/* Lanes of a vector that `width` is a multiple of: bytes fill whole ones. */
static unsigned mask_lanes(const prn_target *t, const prn_op *op,
                           int64_t width) {
  unsigned lanes = t->lanes;
  if (prn_conv_type(op, PRN_CONV_X)->dtype == PRN_F32) return lanes;
  while (lanes < 64 && width % (2 * (int64_t)lanes) == 0)
    lanes *= 2;
  return lanes;
}

/* Whether masks will do; those of bytes are an extension of AVX-512. */
static bool even(const prn_target *t, const prn_op *op, prn_conv_shape *s) {
  const prn_type *x = prn_conv_type(op, PRN_CONV_X);
  return t->masks && (x->dtype == PRN_F32 || t->lanes == WIDE) &&
         prn_conv_shape_of(op, s) && s->stride_h == 1 && s->stride_w == 1 &&
         s->out_w == s->w &&
         prn_conv_dense_from(op->module->ctx, x, 2,
                             prn_dim_const(op->module->ctx, 1)) &&
         s->h * s->w < 1 << 24;
}

size_t prn_conv_columns_bytes(const prn_target *t, const prn_op *op,
                              int64_t width) {
  prn_conv_shape s;
  if (!even(t, op, &s)) return 0;
  int64_t masks =
      prn_conv_taps(op) * (width / (int64_t)mask_lanes(t, op, width));
  return (size_t)(masks * 8 + 63) / 64 * 64;
}

/* Lanes of v in [0, size). */
static prn_v inside(prn_cg *g, prn_v v, int64_t size) {
  return cg_cmp(g, LLVMIntULT, v, prn_cg_iconst(LLVMTypeOf(v), size));
}

/* The masks of one vector of pixels, for all taps. */
static void make_masks(prn_cg *g, const prn_conv_columns *u, unsigned v) {
  const prn_conv_shape *s = &u->shape;
  unsigned lanes = u->lanes, vectors = (unsigned)(u->width / lanes);
  prn_t t = prn_cg_vec(g->i32, lanes);
  prn_v first = prn_cg_add(g, u->p0, cg_i64(g, (int64_t)v * lanes));
  prn_v at = LLVMBuildTrunc(g->b, prn_elem_iota(g, first, lanes), t, "");
  prn_v width = prn_cg_iconst(t, s->w);
  prn_v y = LLVMBuildUDiv(g->b, at, width, "");
  prn_v x = LLVMBuildSub(g->b, at, LLVMBuildMul(g->b, y, width, ""), "");
  for (int64_t ky = 0; ky < s->kernel_h; ky++)
    for (int64_t kx = 0; kx < s->kernel_w; kx++) {
      prn_v dy = prn_cg_iconst(t, ky * s->dilation_h - s->pad_h);
      prn_v dx = prn_cg_iconst(t, kx * s->dilation_w - s->pad_w);
      prn_v in =
          LLVMBuildAnd(g->b, inside(g, LLVMBuildAdd(g->b, y, dy, ""), s->h),
                       inside(g, LLVMBuildAdd(g->b, x, dx, ""), s->w), "");
      in = LLVMBuildBitCast(g->b, in, LLVMIntTypeInContext(g->ctx, lanes), "");
      in = LLVMBuildZExtOrBitCast(g->b, in, g->i64, "");
      int64_t i = (ky * s->kernel_w + kx) * vectors + v;
      prn_cg_store(g, in, cg_at(g, g->i64, u->masks, cg_i64(g, i)));
    }
}

static prn_v load_mask(prn_cg *g, const prn_conv_columns *u, prn_v i) {
  prn_t bits = LLVMIntTypeInContext(g->ctx, u->lanes);
  prn_v m = prn_cg_load(g, g->i64, cg_at(g, g->i64, u->masks, i));
  m = LLVMBuildTruncOrBitCast(g->b, m, bits, "");
  return LLVMBuildBitCast(g->b, m, LLVMVectorType(g->i1, u->lanes), "");
}

/* Elements from a pixel to what tap t sees of it. */
static prn_v shift(prn_cg *g, const prn_conv_shape *s, prn_v t) {
  prn_v kw = cg_i64(g, s->kernel_w);
  prn_v ky = prn_cg_div(g, t, kw), kx = prn_cg_mod(g, t, kw);
  prn_v at = prn_cg_add(g, prn_cg_mul(g, ky, cg_i64(g, s->dilation_h * s->w)),
                        prn_cg_mul(g, kx, cg_i64(g, s->dilation_w)));
  return prn_cg_sub(g, at, cg_i64(g, s->pad_h * s->w + s->pad_w));
}

static void by_masks(prn_conv *c, const prn_conv_columns *u, prn_v panel,
                     prn_v c0, prn_v num) {
  prn_cg *g = c->k->g;
  unsigned lanes = u->lanes, vectors = (unsigned)(u->width / lanes);
  prn_t type = prn_cg_vec(u->elem, lanes);
  prn_v mask[PRN_CONV_VECTORS], step = c->k->v[PRN_CONV_X].strides[1];
  prn_v row = cg_i64(g, u->width * c->taps);
  prn_loop taps, l;
  prn_loop_begin(g, &taps, cg_i64(g, 0), cg_i64(g, c->taps), 1, NULL, 0);
  prn_v first = prn_cg_mul(g, taps.iv, cg_i64(g, vectors));
  for (unsigned v = 0; v < vectors; v++)
    mask[v] = load_mask(g, u, prn_cg_add(g, first, cg_i64(g, v)));
  prn_v at = prn_cg_add(g, prn_cg_mul(g, c0, step),
                        prn_cg_add(g, u->p0, shift(g, &u->shape, taps.iv)));
  prn_v init[2] = {
      at_elem(g, u, c->base[PRN_CONV_X], at),
      at_elem(g, u, panel, prn_cg_mul(g, taps.iv, cg_i64(g, u->width)))};
  prn_loop_begin(g, &l, cg_i64(g, 0), num, 1, init, 2);
  for (unsigned v = 0; v < vectors; v++) {
    prn_v offset = cg_i64(g, (int64_t)v * lanes);
    prn_v x =
        prn_cg_load_masked(g, type, at_elem(g, u, l.cur[0], offset), mask[v]);
    if (u->fill) x = LLVMBuildSelect(g->b, mask[v], x, filling(u, lanes), "");
    prn_cg_store(g, x, at_elem(g, u, l.cur[1], offset));
  }
  l.next[0] = at_elem(g, u, l.cur[0], step);
  l.next[1] = at_elem(g, u, l.cur[1], row);
  prn_loop_end(g, &l);
  prn_loop_end(g, &taps);
}

/* ---- by stretches ---- */

typedef struct unfold {
  prn_conv *c;
  const prn_conv_columns *columns;
  prn_v panel;  /* where the row of the panel begins for this segment */
  prn_v row;    /* input row, element 0 */
  prn_v ow, kw; /* output column of the segment's start, tap */
} unfold;

static void unfold_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                        void *user) {
  unfold *u = user;
  const prn_conv_columns *c = u->columns;
  const prn_window *w = &u->c->w;
  prn_v o = prn_cg_add(g, u->ow, i), to = at_elem(g, c, u->panel, i);
  LLVMBasicBlockRef at[3] = {prn_cg_block(g, "edge"), prn_cg_block(g, "inside"),
                             prn_cg_block(g, "loaded")};
  LLVMBuildCondBr(g->b, prn_window_tap_inside(g, w, o, u->kw, lanes), at[1],
                  at[0]);
  for (int inside = 0; inside < 2; inside++) {
    LLVMPositionBuilderAtEnd(g->b, at[inside]);
    prn_v v = prn_window_load(g, w, u->row, o, u->kw, lanes, inside,
                              filling(c, lanes), mask);
    prn_cg_store_masked(g, v, to, mask);
    LLVMBuildBr(g->b, at[2]);
  }
  LLVMPositionBuilderAtEnd(g->b, at[2]);
}

static void fill_step(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  const unfold *u = user;
  prn_cg_store_masked(g, filling(u->columns, lanes),
                      at_elem(g, u->columns, u->panel, i), mask);
}

/* All taps of one channel, for the `len` pixels of one output row: panel rows
 * r0, r0 + 1, ... */
static void unfold_channel(unfold *u, prn_v x, prn_v od, prn_v oh, prn_v len,
                           prn_v out) {
  const prn_window *w = &u->c->w;
  prn_cg *g = u->c->k->g;
  prn_v width = cg_i64(g, u->columns->width), zero = cg_i64(g, 0);
  prn_loop ld, lh, lw;
  prn_loop_begin(g, &ld, zero, w->kernel[PRN_WD], 1, NULL, 0);
  prn_v id = prn_window_at(g, w, PRN_WD, od, ld.iv);
  prn_loop_begin(g, &lh, zero, w->kernel[PRN_WH], 1, NULL, 0);
  prn_v ih = prn_window_at(g, w, PRN_WH, oh, lh.iv);
  prn_v in = LLVMBuildAnd(g->b, cg_cmp(g, LLVMIntULT, id, w->in[PRN_WD]),
                          cg_cmp(g, LLVMIntULT, ih, w->in[PRN_WH]), "");
  prn_v at = prn_cg_add(g, prn_cg_mul(g, id, w->step_in[PRN_WD]),
                        prn_cg_mul(g, ih, w->step_in[PRN_WH]));
  u->row = at_elem(g, u->columns, x, at);
  prn_loop_begin(g, &lw, zero, w->kernel[PRN_WW], 1, NULL, 0);
  u->kw = lw.iv;
  prn_v r = prn_cg_add(g, prn_cg_mul(g, ld.iv, w->kernel[PRN_WH]), lh.iv);
  r = prn_cg_add(g, prn_cg_mul(g, r, w->kernel[PRN_WW]), lw.iv);
  u->panel = at_elem(g, u->columns, out, prn_cg_mul(g, r, width));
  LLVMBasicBlockRef copy = prn_cg_block(g, "copy"),
                    none = prn_cg_block(g, "none"),
                    next = prn_cg_block(g, "next");
  LLVMBuildCondBr(g->b, in, copy, none);
  LLVMPositionBuilderAtEnd(g->b, copy);
  prn_cg_vloop(g, len, g->target->lanes, unfold_step, u);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, none);
  prn_cg_vloop(g, len, g->target->lanes, fill_step, u);
  LLVMBuildBr(g->b, next);
  LLVMPositionBuilderAtEnd(g->b, next);
  prn_loop_end(g, &lw);
  prn_loop_end(g, &lh);
  prn_loop_end(g, &ld);
}

/* Columns past the last pixel, up to a whole vector, are zeros. */
static void clear_tail(prn_cg *g, const prn_conv_columns *u, prn_v panel,
                       prn_v rows, prn_v cols) {
  unsigned lanes = g->target->lanes;
  prn_v rest = prn_cg_mod(g, cols, cg_i64(g, lanes));
  prn_if some = prn_if_begin(g, cg_lt(g, cg_i64(g, 0), rest));
  prn_v at = at_elem(g, u, panel, prn_cg_sub(g, cols, rest));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, NULL, 0);
  prn_cg_store(g, LLVMConstNull(prn_cg_vec(u->elem, lanes)),
               at_elem(g, u, at, prn_cg_mul(g, l.iv, cg_i64(g, u->width))));
  prn_loop_end(g, &l);
  prn_if_end(g, some);
}

/* One stretch of an output row after the other. */
static void by_stretches(prn_conv *c, const prn_conv_columns *columns,
                         prn_v panel, prn_v c0, prn_v num, prn_v cols) {
  prn_cg *g = c->k->g;
  const prn_window *w = &c->w;
  prn_v p0 = columns->p0, end = prn_cg_add(g, p0, cols);
  clear_tail(g, columns, panel, prn_cg_mul(g, num, cg_i64(g, c->taps)), cols);
  /* A loop over stretches of unequal length. */
  LLVMBasicBlockRef before = LLVMGetInsertBlock(g->b);
  LLVMBasicBlockRef again = prn_cg_block(g, "stretch"),
                    done = prn_cg_block(g, "unfolded");
  LLVMBuildBr(g->b, again);
  LLVMPositionBuilderAtEnd(g->b, again);
  prn_v p = LLVMBuildPhi(g->b, g->i64, "");
  LLVMAddIncoming(p, &p0, &before, 1);
  unfold u = {.c = c, .columns = columns};
  u.ow = prn_cg_mod(g, p, w->out[PRN_WW]);
  prn_v line = prn_cg_div(g, p, w->out[PRN_WW]);
  prn_v oh = prn_cg_mod(g, line, w->out[PRN_WH]);
  prn_v od = prn_cg_div(g, line, w->out[PRN_WH]);
  prn_v len =
      prn_cg_min(g, prn_cg_sub(g, w->out[PRN_WW], u.ow), prn_cg_sub(g, end, p));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), num, 1, NULL, 0);
  prn_v x = at_elem(
      g, columns, c->base[PRN_CONV_X],
      prn_cg_mul(g, prn_cg_add(g, c0, l.iv), c->k->v[PRN_CONV_X].strides[1]));
  prn_v r = prn_cg_mul(g, l.iv, cg_i64(g, c->taps));
  r = prn_cg_mul(g, r, cg_i64(g, columns->width));
  prn_v out =
      at_elem(g, columns, panel, prn_cg_add(g, r, prn_cg_sub(g, p, p0)));
  unfold_channel(&u, x, od, oh, len, out);
  prn_loop_end(g, &l);
  LLVMBasicBlockRef last = LLVMGetInsertBlock(g->b);
  prn_v next = prn_cg_add(g, p, len);
  LLVMAddIncoming(p, &next, &last, 1);
  LLVMBuildCondBr(g->b, cg_lt(g, next, end), again, done);
  LLVMPositionBuilderAtEnd(g->b, done);
}

/* ---- either ---- */

prn_conv_columns prn_conv_columns_begin(prn_conv *c, int64_t width, prn_v p0,
                                        prn_v scratch) {
  prn_cg *g = c->k->g;
  const prn_op *op = c->k->op;
  bool bytes = prn_conv_type(op, PRN_CONV_X)->dtype != PRN_F32;
  prn_conv_columns u = {.width = width,
                        .p0 = p0,
                        .masks = scratch,
                        .elem = bytes ? g->i8 : g->f32,
                        .fill = bytes ? prn_op_int(op, "fill", 0) : 0,
                        .lanes = mask_lanes(g->target, op, width)};
  u.by_masks = even(g->target, op, &u.shape);
  for (unsigned v = 0; u.by_masks && v * u.lanes < width; v++)
    make_masks(g, &u, v);
  return u;
}

void prn_conv_unfold(prn_conv *c, const prn_conv_columns *u, prn_v panel,
                     prn_v c0, prn_v num, prn_v cols) {
  if (u->by_masks)
    by_masks(c, u, panel, c0, num);
  else
    by_stretches(c, u, panel, c0, num, cols);
}
