/* Convolutions by weights with zeros: the formats srt and blocks, whose matrix
 * is [output channels, channels * taps].
 *
 * An item is a block of output pixels. What its windows see is unfolded panel
 * by panel, where it stays in the nearest cache, and multiplied by the runs of
 * all output channels as in a linear product. */
#include "backends/llvm/conv.h"
#include "backends/llvm/linear.h"

static const prn_op *weights(const prn_op *op) {
  return prn_view_constant(prn_op_operand(op, PRN_CONV_W));
}

static const prn_linear_family *family_of(const prn_op *op) {
  return prn_linear_find(prn_op_string(weights(op), "pack", ""));
}

/* Panels are whole channels, and all rows one block. */
static bool fits(const prn_target *t, const prn_op *op) {
  prn_conv_shape s;
  (void)t;
  if (!prn_conv_shape_of(op, &s) || s.groups != 1) return false;
  prn_packing p = prn_packing_of(weights(op));
  return prn_conv_type(op, PRN_CONV_X)->dtype == PRN_F32 &&
         p.dtype == PRN_F32 && p.nr >= p.n && p.n == s.o &&
         p.k == s.cg * prn_conv_taps(op) && p.depth > 0 &&
         p.depth % prn_conv_taps(op) == 0;
}

/* ---- sizes ---- */

static int64_t width_of(const prn_target *t, const prn_op *op) {
  prn_conv_shape s;
  prn_packing p = prn_packing_of(weights(op));
  (void)prn_conv_shape_of(op, &s);
  return family_of(op)->columns(t, &p, s.out_h * s.out_w);
}

/* Floats of the unfolded panel, which the masks follow, and then sums. */
static int64_t panel_floats(const prn_target *t, const prn_op *op) {
  return prn_packing_of(weights(op)).depth * width_of(t, op);
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  int64_t width = width_of(t, op);
  size_t sums = prn_conv_sums_in_place(op)
                    ? 0
                    : (size_t)(prn_packing_of(weights(op)).n * width);
  return ((size_t)panel_floats(t, op) + sums) * sizeof(float) +
         prn_conv_columns_bytes(t, op, width);
}

static prn_v blocks(const prn_conv *c) {
  prn_cg *g = c->k->g;
  return prn_cg_ceildiv(g, c->pixels, cg_i64(g, width_of(g->target, c->k->op)));
}

static prn_v items(const prn_conv *c) {
  return prn_cg_mul(c->k->g, c->batch, blocks(c));
}

/* ---- an item ---- */

typedef struct item {
  prn_conv *c;
  const prn_conv_columns *columns;
  prn_v panel, cols;
} item;

static void unfold(prn_cg *g, void *user, prn_v k0, prn_v steps) {
  const item *it = user;
  prn_v taps = cg_i64(g, it->c->taps);
  prn_conv_unfold(it->c, it->columns, it->panel, prn_cg_div(g, k0, taps),
                  prn_cg_div(g, steps, taps), it->cols);
}

static void finish(prn_cg *g, void *user, prn_v n, prn_v m0, const prn_v *sums,
                   unsigned vectors, prn_v mask) {
  const item *it = user;
  (void)g;
  prn_conv_finish_row(it->c, n, m0, sums, vectors, mask);
}

static void emit_item(prn_conv *c, prn_v number) {
  prn_kernel *k = c->k;
  prn_cg *g = k->g;
  int64_t width = width_of(g->target, k->op);
  prn_v per = blocks(c), zero = cg_i64(g, 0);
  prn_v p0 = prn_cg_mul(g, prn_cg_mod(g, number, per), cg_i64(g, width));
  prn_conv_locate(c, prn_cg_div(g, number, per), zero, zero);
  prn_v panel = prn_kernel_scratch(k);
  int64_t floats = panel_floats(g->target, k->op);
  prn_v masks = cg_at(g, g->f32, panel, cg_i64(g, floats));
  prn_conv_columns columns = prn_conv_columns_begin(c, width, p0, masks);
  item it = {c, &columns, panel,
             prn_cg_min(g, prn_cg_sub(g, c->pixels, p0), cg_i64(g, width))};
  prn_linear d = {.pack = prn_packing_of(weights(k->op)),
                  .w = c->base[PRN_CONV_W],
                  .m = c->pixels,
                  .x = panel,
                  .x_row = cg_i64(g, width),
                  .panel = unfold,
                  .c = c->base[PRN_CONV_OUT],
                  .c_row = k->v[PRN_CONV_OUT].strides[1],
                  .finish = finish,
                  .user = &it};
  if (!prn_conv_sums_in_place(
          k->op)) { /* row 0, column p0 is its first element */
    prn_v back = prn_cg_sub(g, zero, p0);
    int64_t bytes = (int64_t)prn_conv_columns_bytes(g->target, k->op, width);
    d.c = cg_at(g, g->i8, masks, cg_i64(g, bytes));
    d.c = LLVMBuildGEP2(g->b, g->f32, d.c, &back, 1, "");
    d.c_row = d.x_row;
  }
  family_of(k->op)->item(g, &d, width, zero, cg_i64(g, d.pack.n), p0, it.cols);
}

const prn_conv_way prn_conv_srt = {"srt",     fits,    items,
                                   emit_item, scratch, false};
const prn_conv_way prn_conv_blocks = {"blocks",  fits,    items,
                                      emit_item, scratch, false};
