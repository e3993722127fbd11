/* Convolutions of bytes by packed bytes, one group.
 *
 * An item is a block of output pixels: what its windows see of all channels is
 * unfolded into scratch memory, as the columns of a linear product whose
 * families for bytes (rows4, srt, blocks) do the rest. Sums are i32. */
#include "backends/llvm/conv.h"

static const prn_op *weights(const prn_op *op) {
  return prn_view_constant(prn_op_operand(op, PRN_CONV_W));
}

static const prn_linear_family *family_of(const prn_op *op) {
  return prn_linear_find(prn_op_string(weights(op), "pack", ""));
}

static prn_dtype sum_type(const prn_op *op) {
  const prn_block *body = prn_op_block(op, "body");
  return body ? body->args[0]->type->dtype
              : prn_conv_type(op, PRN_CONV_OUT)->dtype;
}

static bool fits(const prn_target *t, const prn_op *op) {
  prn_conv_shape s;
  (void)t;
  if (!prn_conv_shape_of(op, &s) || s.groups != 1) return false;
  prn_packing p = prn_packing_of(weights(op));
  return prn_conv_type(op, PRN_CONV_X)->dtype == PRN_U8 && p.dtype == PRN_I8 &&
         sum_type(op) == PRN_I32 && p.n == s.o &&
         p.k == s.cg * prn_conv_taps(op);
}

/* ---- scratch memory: panel, masks, the family's, sums ---- */

typedef struct places {
  int64_t width; /* columns of an item */
  size_t masks, family, sums, end;
} places;

static size_t lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

static places places_of(const prn_target *t, const prn_op *op) {
  prn_conv_shape s;
  prn_packing p = prn_packing_of(weights(op));
  const prn_linear_family *f = family_of(op);
  (void)prn_conv_shape_of(op, &s);
  places at = {.width = f->columns(t, &p, s.out_h * s.out_w)};
  at.masks = lines((size_t)(p.k * at.width));
  at.family = at.masks + prn_conv_columns_bytes(t, op, at.width);
  at.sums = at.family + lines(f->scratch(t, &p, false));
  at.end = at.sums;
  if (f->partial && !prn_conv_sums_in_place(op))
    at.end += (size_t)(f->rows(t, &p) * at.width) * sizeof(int32_t);
  return at;
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  return places_of(t, op).end;
}

static prn_v blocks(const prn_conv *c) {
  prn_cg *g = c->k->g;
  int64_t width = places_of(g->target, c->k->op).width;
  return prn_cg_ceildiv(g, c->pixels, cg_i64(g, width));
}

static prn_v items(const prn_conv *c) {
  return prn_cg_mul(c->k->g, c->batch, blocks(c));
}

/* ---- an item ---- */

typedef struct item {
  prn_conv *c;
  prn_linear d;
} item;

static void done(prn_cg *g, void *user, prn_v n0, prn_v rows, prn_v m0,
                 prn_v cols, prn_v sums, prn_v pitch) {
  (void)g;
  prn_conv_finish_block(((item *)user)->c, n0, rows, m0, cols, sums, pitch);
}

static void finish(prn_cg *g, void *user, prn_v n, prn_v m0, const prn_v *sums,
                   unsigned vectors, prn_v mask) {
  const item *it = user;
  prn_conv_finish_row(it->c, n, m0, sums, vectors, mask);
  (void)g;
}

/* The address whose element `first` is at p. */
static prn_v before(prn_cg *g, prn_t elem, prn_v p, prn_v first) {
  prn_v back = prn_cg_sub(g, cg_i64(g, 0), first);
  return LLVMBuildGEP2(g->b, elem, p, &back, 1, "");
}

static void emit_item(prn_conv *c, prn_v number) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  places at = places_of(g->target, k->op);
  prn_v per = blocks(c), zero = cg_i64(g, 0), panel = prn_kernel_scratch(k);
  prn_v m0 = prn_cg_mul(g, prn_cg_mod(g, number, per), cg_i64(g, at.width));
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, c->pixels, m0), cg_i64(g, at.width));
  prn_conv_locate(c, prn_cg_div(g, number, per), zero, zero);
  prn_conv_columns u = prn_conv_columns_begin(
      c, at.width, m0, cg_at(g, g->i8, panel, cg_i64(g, (int64_t)at.masks)));
  prn_conv_unfold(c, &u, panel, zero, c->cg, cols);
  bool in_place = prn_conv_sums_in_place(k->op);
  bool apart = !in_place || prn_op_block(k->op, "body");
  item it = {c,
             {.pack = prn_packing_of(weights(k->op)),
              .w = c->base[PRN_CONV_W],
              .m = c->pixels,
              .x = before(g, g->i8, panel, m0),
              .x_row = cg_i64(g, at.width),
              .c = c->base[PRN_CONV_OUT],
              .c_row = k->v[PRN_CONV_OUT].strides[1],
              .scratch = cg_at(g, g->i8, panel, cg_i64(g, (int64_t)at.family)),
              .done = apart ? done : NULL,
              .finish = apart ? finish : NULL,
              .user = &it}};
  const prn_linear_family *f = family_of(k->op);
  int64_t rows = f->rows(g->target, &it.d.pack);
  prn_v n = cg_i64(g, it.d.pack.n);
  prn_loop l;
  prn_loop_begin(g, &l, zero, n, rows, NULL, 0);
  if (f->partial && !in_place) {
    it.d.c_row = cg_i64(g, at.width);
    prn_v first = prn_cg_add(g, prn_cg_mul(g, l.iv, it.d.c_row), m0);
    prn_v sums = cg_at(g, g->i8, panel, cg_i64(g, (int64_t)at.sums));
    it.d.c = before(g, g->i32, sums, first);
  }
  f->item(g, &it.d, at.width, l.iv,
          prn_cg_min(g, n, prn_cg_add(g, l.iv, cg_i64(g, rows))), m0, cols);
  prn_loop_end(g, &l);
}

const prn_conv_way prn_conv_rows4 = {"rows4",   fits,    items,
                                     emit_item, scratch, false};
const prn_conv_way prn_conv_srt_bytes = {"srt",     fits,    items,
                                         emit_item, scratch, false};
const prn_conv_way prn_conv_blocks_bytes = {"blocks",  fits,    items,
                                            emit_item, scratch, false};
