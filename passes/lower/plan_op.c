/* Products of the nn dialect, as planning sees them; see plan.h. */
#include "ir/pack/srt.h"
#include "passes/lower/nn_to_mem.h"
#include "passes/lower/plan.h"

/* Product of dimensions [from, to), or `open` when one is not known. */
static int64_t count(const prn_type *t, int32_t from, int32_t to,
                     int64_t open) {
  int64_t n = 1, d;
  for (int32_t i = from; i < to; i++)
    if (!prn_dim_is_const(t->dims[i], &d) || !prn_mul_i64(n, d, &n))
      return open;
  return n;
}

/* Taps of the window of a convolution whose windows can be unfolded by kernels
 * for weights with zeros; 0 when they cannot. */
static int64_t taps_of(const prn_op *op, const prn_tensor *w) {
  const prn_type *x = prn_op_operand(op, 0)->type;
  const prn_type *r = prn_op_result(op, 0)->type;
  bool bytes = x->dtype == PRN_U8 && w->type->dtype == PRN_I8;
  bool floats = x->dtype == PRN_F32 && w->type->dtype == PRN_F32;
  bool fits = prn_op_int(op, "group", 1) == 1 && (bytes || floats) &&
              (x->rank == 3 || x->rank == 4) &&
              prn_to_mem_storage(op, PRN_F32) == PRN_F32 &&
              count(x, 1, x->rank, 0) > 0 && count(r, 1, r->rank, 0) > 0;
  return fits ? count(w->type, 2, w->type->rank, 0) : 0;
}

/* The weights of a product that can be planned, as a matrix, and taps of its
 * window if there is one; or NULL. */
static const prn_tensor *weights_of(const prn_op *op, bool *nk, int64_t *taps) {
  *taps = 0;
  if (prn_op_is(op, PRN_OP_nn_matmul)) return prn_to_mem_weights(op, nk);
  if (!prn_op_is(op, PRN_OP_nn_conv)) return NULL;
  *nk = true;
  const prn_tensor *t = prn_to_mem_pointwise(op);
  if (t) return t;
  t = prn_to_mem_filter(op);
  *taps = t ? taps_of(op, t) : 0;
  return *taps ? t : NULL;
}

bool prn_plan_product_of(const prn_op *op, int64_t open,
                         prn_plan_product *out) {
  int64_t taps;
  bool nk;
  const prn_tensor *t = weights_of(op, &nk, &taps);
  if (!t) return false;
  const prn_type *r = prn_op_result(op, 0)->type;
  int64_t first = count(t->type, 0, 1, 0),
          rest = count(t->type, 1, t->type->rank, 0);
  prn_plan_product p = {.k = nk ? rest : first,
                        .n = nk ? first : rest,
                        .batches = 1,
                        .taps = taps,
                        .dtype = prn_to_mem_storage(op, t->type->dtype),
                        .weights = t,
                        .nk = nk};
  if (prn_op_is(op, PRN_OP_nn_matmul)) {
    p.m = count(r, 0, r->rank - 1, -1);
    p.rows = p.m > 0;
  } else {
    int64_t images = count(r, 0, 1, 1);
    if (images > 0) p.batches = images; /* without any, as if there were one */
    if (!prn_mul_i64(p.batches, count(r, 2, r->rank, open), &p.m)) p.m = open;
    if (prn_to_mem_takes_winograd(op)) {
      p.height = count(r, 2, 3, 0);
      p.width = count(r, 3, 4, 0);
    }
  }
  if (p.m <= 0) p.m = open;
  prn_packing packing = {.t = t, .nk = nk, .k = p.k, .n = p.n};
  prn_pack_stats_of(&packing, prn_srt_cell(p.dtype), &p.stats);
  if (prn_srt_cell(p.dtype) == 2) prn_pack_stats_of(&packing, 1, &p.wide);
  *out = p;
  return true;
}

static void set(prn_op *op, const char *name, int64_t v) {
  prn_op_set_attr(op, name, v ? prn_attr_int(op->module->ctx, v) : NULL);
}

void prn_plan_set(prn_op *op, const prn_plan_choice *c) {
  prn_ctx *ctx = op->module->ctx;
  prn_op_set_attr(op, "pack", prn_attr_string(ctx, prn_str_from(c->format)));
  set(op, "pack_group", c->group);
  set(op, "pack_depth", c->depth);
  set(op, "pack_nr", c->nr);
  set(op, "pack_vectors", c->vectors);
  set(op, "pack_tile", c->tile);
  set(op, "pack_wide", c->wide);
}
