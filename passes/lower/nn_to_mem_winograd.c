/* lower-nn-to-mem: convolutions whose plan is pack = "winograd".
 *
 * The weights are transformed when the library is made (ir/pack/winograd.h);
 * what the kernel needs beyond nn.conv's meaning is checked here, where the
 * node can be named. */
#include "ir/pack/pack.h"
#include "ir/pack/winograd.h"
#include "passes/lower/nn_to_mem.h"

enum { MAX_EXTRAS = 32, TILE = 4, GROUP = 8, WIDE = 64, PANEL_MAX = 64 };

static bool all_ones(const prn_op *op, const char *name) {
  size_t n;
  const int64_t *v = prn_op_ints(op, name, &n);
  for (size_t i = 0; i < n; i++)
    if (v[i] != 1) return false;
  return true;
}

/* All sizes but that of the batch. */
static bool known(const prn_op *op) {
  const prn_type *x = prn_op_operand(op, 0)->type;
  const prn_type *out = prn_op_result(op, 0)->type;
  const prn_attr *pads = prn_op_attr(op, "pads");
  int64_t v;
  for (int32_t i = 1; i < x->rank; i++)
    if (!prn_dim_is_const(x->dims[i], &v) ||
        !prn_dim_is_const(out->dims[i], &v))
      return false;
  for (uint32_t i = 0; i < pads->size; i++)
    if (!prn_dim_is_const(pads->list[i]->dim, &v)) return false;
  return true;
}

/* Rows of a group: wide registers hold sums of 8 rows as well as of 6, and 8
 * divides the usual numbers of channels. */
static int64_t group_of(const prn_to_mem *s, const prn_op *op) {
  return prn_op_int(op, "pack_group",
                    s->target->nr >= WIDE ? GROUP : s->target->mr);
}

/* What the convolution itself would have to be, or NULL. */
static const char *wanted_of(const prn_op *op) {
  const prn_tensor *w = prn_to_mem_filter(op);
  const prn_type *x = prn_op_operand(op, 0)->type;
  int64_t d;
  if (!w || w->type->dtype != PRN_F32 || x->dtype != PRN_F32 ||
      prn_op_attr(op, "precision"))
    return "constant weights, and plain sums of f32";
  if (x->rank != 4 || prn_op_int(op, "group", 1) != 1)
    return "two spatial dimensions and one group";
  for (int32_t i = 2; i < 4; i++)
    if (!prn_dim_is_const(w->type->dims[i], &d) || d != PRN_WINOGRAD_TAPS)
      return "a window of 3x3";
  if (!all_ones(op, "strides") || !all_ones(op, "dilations"))
    return "strides and dilations of 1";
  if (!known(op)) return "constant sizes but for the batch";
  return op->num_operands - 2 > MAX_EXTRAS ? "fewer extra operands" : NULL;
}

bool prn_to_mem_takes_winograd(const prn_op *op) { return !wanted_of(op); }

/* Why op cannot be computed that way, or NULL. */
static const char *obstacle(const prn_to_mem *s, const prn_op *op) {
  int64_t group = group_of(s, op), nr = prn_op_int(op, "pack_nr", group);
  const char *wanted = wanted_of(op);
  if (wanted) return wanted;
  if (!prn_winograd_of(prn_op_int(op, "pack_tile", TILE)))
    return "pack_tile = 2 or 4";
  if (group < 1 || group > PRN_PACK_GROUP_MAX) return "pack_group = 1 to 32";
  return nr < 1 || nr % group ? "pack_nr to be a multiple of pack_group" : NULL;
}

/* Output channels of a panel, of n: what is kept between product and result is
 * then half of what the kernel keeps of x, which has fewer columns the more
 * channels k there are. */
static int64_t panel_of(int64_t k, int64_t n, int64_t group) {
  int64_t most = k / 2 < PANEL_MAX ? k / 2 : PANEL_MAX;
  int64_t groups = (most < n ? most : n + group - 1) / group;
  return group * (groups < 1 ? 1 : groups);
}

/* Rows of pixels side by side, as the kernel loads them. */
static prn_value *unit_rows(prn_to_mem *s, prn_value *x) {
  const prn_type *t = x->type;
  if (prn_dim_is(t->strides[3], 1)) return x;
  return prn_to_mem_as_rows(s, x, 3);
}

static void set_int(prn_op *op, const char *name, int64_t v) {
  prn_op_set_attr(op, name, prn_attr_int(op->module->ctx, v));
}

static prn_op *weights(prn_to_mem *s, const prn_op *op) {
  const prn_tensor *t = prn_to_mem_filter(op);
  int64_t k, n, group = group_of(s, op);
  (void)prn_dim_is_const(t->type->dims[0], &n);
  (void)prn_dim_is_const(t->type->dims[1], &k);
  prn_op *w = prn_to_mem_packed(s, op, t, true, "winograd");
  if (!prn_op_attr(op, "pack_nr")) set_int(w, "nr", panel_of(k, n, group));
  set_int(w, "group", group);
  set_int(w, "tile", prn_op_int(op, "pack_tile", TILE));
  return w;
}

prn_status prn_to_mem_winograd(prn_to_mem *s, prn_op *op) {
  static const char *const names[] = {"strides", "dilations", "pads", "group"};
  const int64_t kernel[2] = {PRN_WINOGRAD_TAPS, PRN_WINOGRAD_TAPS};
  const prn_type *t = prn_op_result(op, 0)->type;
  const char *wanted = obstacle(s, op);
  prn_value *views[MAX_EXTRAS + 3];
  if (wanted)
    return prn_op_error(op, "weights packed as 'winograd' need %s", wanted);
  views[0] = unit_rows(s, prn_to_mem_operand(s, op, 0));
  views[1] = prn_op_result(weights(s, op), 0);
  views[2] = prn_to_mem_result_rows(s, prn_op_result(op, 0), 3);
  for (uint32_t i = 2; i < op->num_operands; i++) {
    prn_value *x = prn_to_mem_operand(s, op, i);
    views[1 + i] = prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
    if (!views[1 + i]) return PRN_FAIL;
  }
  prn_op *r =
      prn_to_mem_op(s, PRN_OP_mem_conv, views, op->num_operands + 1, NULL);
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    prn_to_mem_attr(op, r, names[i]);
  prn_op_set_attr(r, "kernel", prn_attr_ints(s->ctx, kernel, 2));
  prn_to_mem_body(s, op, r, "body");
  return PRN_OK;
}
