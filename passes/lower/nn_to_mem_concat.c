/* lower-nn-to-mem: concatenation. What elementwise operations compute for it
 * alone is computed where it belongs; the rest is copied. */
#include "passes/lower/nn_to_mem.h"

/* The part of the result that operand i is. */
static prn_value *part(prn_to_mem *s, const prn_op *op, uint32_t i) {
  prn_dim starts[PRN_VIEW_MAX_RANK];
  int64_t steps[PRN_VIEW_MAX_RANK];
  prn_value *out = prn_to_mem_get(s, prn_op_result(op, 0));
  int64_t axis = prn_op_int(op, "axis", 0);
  for (int32_t k = 0; k < out->type->rank; k++) {
    starts[k] = prn_dim_const(s->ctx, 0);
    steps[k] = 1;
  }
  for (uint32_t k = 0; k < i; k++)
    starts[axis] = prn_dim_add(s->ctx, starts[axis],
                               prn_op_operand(op, k)->type->dims[axis]);
  const prn_type *t = prn_view_slice(s->ctx, out->type, starts, steps,
                                     prn_op_operand(op, i)->type->dims);
  return prn_to_mem_view(s, out, t);
}

/* What is reshaped to v and to nothing else, in the end. */
static const prn_value *source(const prn_value *v) {
  while (v->uses && !v->uses->next && v->def &&
         prn_op_is(v->def, PRN_OP_nn_reshape))
    v = prn_op_operand(v->def, 0);
  return v;
}

/* The use of v by a concatenation, if it is all that becomes of it. */
static const prn_use *only_concat(const prn_value *v) {
  const prn_use *u = v->uses;
  while (u && !u->next && prn_op_is(u->owner, PRN_OP_nn_reshape))
    u = u->owner->results[0].uses;
  return u && !u->next && prn_op_is(u->owner, PRN_OP_nn_concat) ? u : NULL;
}

static bool is_elementwise(const prn_op *op) {
  return prn_op_is(op, PRN_OP_nn_map) || prn_op_is(op, PRN_OP_nn_unary) ||
         prn_op_is(op, PRN_OP_nn_binary) || prn_op_is(op, PRN_OP_nn_select) ||
         prn_op_is(op, PRN_OP_nn_cast);
}

void prn_to_mem_place(prn_to_mem *s, const prn_op *op) {
  if (!is_elementwise(op)) return;
  for (uint32_t i = 0; i < op->num_results; i++) {
    const prn_value *v = &op->results[i];
    const prn_use *use = only_concat(v);
    if (!use || use->owner->block != op->block ||
        prn_ptrmap_has(&s->targets, v))
      continue;
    const prn_value *all = prn_op_result(use->owner, 0);
    if (!prn_ptrmap_has(&s->views, all)) (void)prn_to_mem_result(s, all);
    prn_value *to = part(s, use->owner, prn_use_index(use));
    const prn_type *t =
        prn_view_reshape(s->ctx, to->type, v->type->rank, v->type->dims);
    if (t) *prn_ptrmap_slot(&s->targets, v) = prn_to_mem_view(s, to, t);
  }
}

/* Operand i was computed where it belongs. */
static bool is_placed(prn_to_mem *s, const prn_op *op, uint32_t i) {
  const prn_value *v = source(prn_op_operand(op, i));
  const prn_use *use = only_concat(v);
  const prn_value *placed = prn_ptrmap_get(&s->targets, v);
  return use && use->owner == op && prn_use_index(use) == i && placed &&
         placed == prn_ptrmap_get(&s->views, v);
}

prn_status prn_to_mem_concat(prn_to_mem *s, prn_op *op) {
  const prn_value *r = prn_op_result(op, 0);
  if (!prn_ptrmap_has(&s->views, r)) (void)prn_to_mem_result(s, r);
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (!is_placed(s, op, i))
      prn_to_mem_copy(s, prn_to_mem_operand(s, op, i), part(s, op, i));
  return PRN_OK;
}
