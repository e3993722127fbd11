/* lower-nn-to-mem: reductions, normalisations, windows and control. */
#include <string.h>

#include "passes/lower/nn_to_mem.h"

/* The result of op, under the shape of x: stride 0 where it has size 1. */
static prn_value *reduced(prn_to_mem *s, prn_op *op, const prn_value *x) {
  prn_value *out = prn_to_mem_result(s, prn_op_result(op, 0));
  return prn_to_mem_broadcast(s, op, out, x->type->rank, x->type->dims);
}

prn_status prn_to_mem_reduce(prn_to_mem *s, prn_op *op) {
  uint32_t n = op->num_operands;
  prn_value **views = PRN_ARENA_ARRAY(&s->m->arena, prn_value *, n + 1);
  for (uint32_t i = 0; i < n; i++)
    views[i] = prn_to_mem_operand(s, op, i);
  views[n] = reduced(s, op, views[0]);
  if (!views[n]) return PRN_FAIL;
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_reduce, views, n + 1, NULL);
  prn_to_mem_attr(op, r, "fn");
  prn_to_mem_attr(op, r, "axes");
  prn_to_mem_body(s, op, r, "body");
  return PRN_OK;
}

prn_status prn_to_mem_arg_reduce(prn_to_mem *s, prn_op *op) {
  prn_value *views[2] = {prn_to_mem_operand(s, op, 0), NULL};
  views[1] = reduced(s, op, views[0]);
  if (!views[1]) return PRN_FAIL;
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_arg_reduce, views, 2, NULL);
  prn_to_mem_attr(op, r, "fn");
  prn_to_mem_attr(op, r, "axis");
  prn_to_mem_attr(op, r, "last");
  return PRN_OK;
}

prn_status prn_to_mem_cumsum(prn_to_mem *s, prn_op *op) {
  prn_value *views[2] = {prn_to_mem_operand(s, op, 0),
                         prn_to_mem_result(s, prn_op_result(op, 0))};
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_cumsum, views, 2, NULL);
  prn_to_mem_attr(op, r, "axis");
  prn_to_mem_attr(op, r, "product");
  prn_to_mem_attr(op, r, "exclusive");
  prn_to_mem_attr(op, r, "reverse");
  return PRN_OK;
}

prn_status prn_to_mem_softmax(prn_to_mem *s, prn_op *op) {
  int64_t perm[PRN_VIEW_MAX_RANK];
  prn_value *views[2] = {prn_to_mem_operand(s, op, 0), NULL};
  views[1] = prn_to_mem_result_like(s, prn_op_result(op, 0), views, 1);
  int32_t rank = views[0]->type->rank;
  int64_t axis = prn_op_int(op, "axis", rank - 1);
  for (int32_t i = 0, k = 0; i < rank; i++)
    if (i != axis) perm[k++] = i;
  perm[rank - 1] = axis;
  for (int i = 0; i < 2; i++)
    views[i] = prn_to_mem_view(s, views[i],
                               prn_view_permute(s->ctx, views[i]->type, perm));
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_softmax, views, 2, NULL);
  prn_to_mem_attr(op, r, "log");
  return PRN_OK;
}

/* x with the dimensions from `axis` on merged into one. */
static prn_value *merge_tail(prn_to_mem *s, prn_value *x, int64_t axis) {
  prn_dim dims[PRN_VIEW_MAX_RANK];
  prn_dim tail = prn_dim_const(s->ctx, 1);
  for (int32_t i = 0; i < x->type->rank; i++) {
    if (i < axis)
      dims[i] = x->type->dims[i];
    else
      tail = prn_dim_mul(s->ctx, tail, x->type->dims[i]);
  }
  dims[axis] = tail;
  return prn_to_mem_reshape(s, x, (int32_t)axis + 1, dims);
}

prn_status prn_to_mem_layer_norm(prn_to_mem *s, prn_op *op) {
  const prn_type *t = prn_op_result(op, 0)->type;
  int64_t axis = prn_op_int(op, "axis", t->rank - 1);
  prn_value *views[4] = {prn_to_mem_operand(s, op, 0), NULL, NULL, NULL};
  /* Dimensions that are to be merged must be neighbours in the result. */
  views[1] = prn_to_mem_result_like(s, prn_op_result(op, 0), views,
                                    axis == t->rank - 1);
  for (uint32_t i = 1; i < 3; i++) {
    prn_value *x = prn_to_mem_operand(s, op, i);
    if (!x) continue;
    x = prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
    if (!x) return PRN_FAIL;
    views[i + 1] = x;
  }
  for (int i = 0; i < 4; i++)
    if (views[i]) views[i] = merge_tail(s, views[i], axis);
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_norm, views, 4, NULL);
  prn_to_mem_attr(op, r, "epsilon");
  prn_to_mem_attr(op, r, "rms");
  return PRN_OK;
}

prn_status prn_to_mem_pool(prn_to_mem *s, prn_op *op) {
  static const char *const names[] = {
      "fn",   "kernel",    "strides",          "dilations",
      "pads", "pads_high", "count_include_pad"};
  prn_value *views[2] = {prn_to_mem_operand(s, op, 0),
                         prn_to_mem_result(s, prn_op_result(op, 0))};
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_pool, views, 2, NULL);
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    prn_to_mem_attr(op, r, names[i]);
  return PRN_OK;
}

/* Lowers one branch into a block that ends by copying what it yields. */
static prn_status branch(prn_to_mem *s, const prn_op *op, prn_op *out,
                         const char *name, prn_value *const *results) {
  prn_block *src = prn_op_block(op, name), *outer = s->at;
  prn_op *yield = src->last;
  s->at = prn_block_create(s->m);
  prn_op_add_block(out, s->at);
  prn_op_set_attr(out, name, prn_attr_region(s->ctx, out->num_blocks - 1));
  PRN_TRY(prn_to_mem_block(s, src));
  for (uint32_t i = 0; i < yield->num_operands; i++) {
    prn_value *v = prn_to_mem_get(s, prn_op_operand(yield, i));
    /* Equal sizes that only the run can see equal: the result's are used. */
    v = prn_to_mem_view(s, v,
                        prn_type_view(s->ctx, v->type->dtype, v->type->rank,
                                      results[i]->type->dims, v->type->strides,
                                      v->type->offset));
    prn_to_mem_copy(s, v, results[i]);
  }
  (void)prn_to_mem_op(s, PRN_OP_mem_return, NULL, 0, NULL);
  s->at = outer;
  return PRN_OK;
}

prn_status prn_to_mem_if(prn_to_mem *s, prn_op *op) {
  uint32_t n = op->num_results;
  prn_value **results = PRN_ARENA_ARRAY(&s->m->arena, prn_value *, n);
  for (uint32_t i = 0; i < n; i++)
    results[i] = prn_to_mem_result(s, prn_op_result(op, i));
  prn_value *condition = prn_to_mem_operand(s, op, 0);
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_if, &condition, 1, NULL);
  PRN_TRY(branch(s, op, r, "then", results));
  return branch(s, op, r, "else", results);
}

prn_status prn_to_mem_fail(prn_to_mem *s, prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    (void)prn_to_mem_result(s, prn_op_result(op, i));
  (void)prn_to_mem_op(s, PRN_OP_mem_fail, NULL, 0, NULL);
  return PRN_OK;
}
