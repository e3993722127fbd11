/* lower-nn-to-mem: elementwise operators and operators that move elements. */
#include "passes/lower/nn_to_mem.h"

/* ---- elementwise ---- */

/* Operands of op broadcast to the shape of its first result, then one output
 * per result: the operands of a mem.map. Returns their number, 0 on failure. */
static uint32_t map_operands(prn_to_mem *s, prn_op *op, prn_value **views) {
  const prn_type *t = prn_op_result(op, 0)->type;
  uint32_t n = 0;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    prn_value *x = prn_to_mem_get(s, prn_op_operand(op, i));
    x = prn_to_mem_broadcast(s, op, x, t->rank, t->dims);
    if (!x) return 0;
    views[n++] = x;
  }
  for (uint32_t i = 0; i < op->num_results; i++, n++)
    views[n] = prn_to_mem_result_like(s, prn_op_result(op, i), views,
                                      op->num_operands);
  return n;
}

prn_status prn_to_mem_map(prn_to_mem *s, prn_op *op) {
  uint32_t total = op->num_operands + op->num_results;
  prn_value **views = PRN_ARENA_ARRAY(&s->m->arena, prn_value *, total);
  uint32_t n = map_operands(s, op, views);
  if (n == 0) return PRN_FAIL;
  prn_op *map = prn_to_mem_op(s, PRN_OP_mem_map, views, n, NULL);
  prn_op_set_attr(map, "ins", prn_attr_int(s->ctx, op->num_operands));
  prn_to_mem_body(s, op, map, "body");
  return PRN_OK;
}

/* A map whose body is op itself on scalars. */
prn_status prn_to_mem_scalar(prn_to_mem *s, prn_op *op) {
  prn_value *views[4];
  uint32_t n = map_operands(s, op, views);
  if (n == 0) return PRN_FAIL;
  prn_op *map = prn_to_mem_op(s, PRN_OP_mem_map, views, n, NULL);
  prn_block *body = prn_block_create(s->m), *outer = s->at;
  prn_value *args[4];
  for (uint32_t i = 0; i < op->num_operands; i++)
    args[i] = prn_block_add_arg(
        body, prn_type_scalar(s->ctx, views[i]->type->dtype), PRN_STR(""));
  s->at = body;
  prn_op *f = prn_to_mem_op(s, prn_op_code(op), args, op->num_operands,
                            prn_type_scalar(s->ctx, views[n - 1]->type->dtype));
  prn_to_mem_attr(op, f, "fn");
  prn_value *r = prn_op_result(f, 0);
  (void)prn_to_mem_op(s, PRN_OP_nn_yield, &r, 1, NULL);
  s->at = outer;
  prn_op_add_block(map, body);
  prn_op_set_attr(map, "ins", prn_attr_int(s->ctx, op->num_operands));
  prn_op_set_attr(map, "body", prn_attr_region(s->ctx, 0));
  return PRN_OK;
}

/* ---- views ---- */

prn_status prn_to_mem_reshape_op(prn_to_mem *s, prn_op *op) {
  const prn_value *r = prn_op_result(op, 0);
  prn_to_mem_set(s, r,
                 prn_to_mem_reshape(s, prn_to_mem_operand(s, op, 0),
                                    r->type->rank, r->type->dims));
  return PRN_OK;
}

prn_status prn_to_mem_transpose(prn_to_mem *s, prn_op *op) {
  size_t n;
  prn_value *x = prn_to_mem_operand(s, op, 0);
  const int64_t *perm = prn_op_ints(op, "perm", &n);
  const prn_type *t = prn_view_permute(s->ctx, x->type, perm);
  prn_to_mem_set(s, prn_op_result(op, 0), prn_to_mem_view(s, x, t));
  return PRN_OK;
}

prn_status prn_to_mem_broadcast_op(prn_to_mem *s, prn_op *op) {
  const prn_value *r = prn_op_result(op, 0);
  prn_value *x = prn_to_mem_broadcast(s, op, prn_to_mem_operand(s, op, 0),
                                      r->type->rank, r->type->dims);
  if (!x) return PRN_FAIL;
  prn_to_mem_set(s, r, x);
  return PRN_OK;
}

/* The DIMs of list attribute `name`, one per dimension of a rank-n view. */
static void dims_of(const prn_op *op, const char *name, int32_t n,
                    prn_dim *out) {
  const prn_attr *a = prn_op_attr(op, name);
  for (int32_t i = 0; i < n; i++)
    out[i] = a->list[i]->dim;
}

prn_status prn_to_mem_slice(prn_to_mem *s, prn_op *op) {
  size_t n;
  prn_dim starts[PRN_VIEW_MAX_RANK];
  prn_value *x = prn_to_mem_operand(s, op, 0), *r = prn_op_result(op, 0);
  const int64_t *steps = prn_op_ints(op, "steps", &n);
  dims_of(op, "starts", x->type->rank, starts);
  const prn_type *t =
      prn_view_slice(s->ctx, x->type, starts, steps, r->type->dims);
  prn_to_mem_set(s, r, prn_to_mem_view(s, x, t));
  return PRN_OK;
}

/* ---- copies ---- */

prn_status prn_to_mem_pad(prn_to_mem *s, prn_op *op) {
  prn_value *x = prn_to_mem_operand(s, op, 0),
            *value = prn_to_mem_operand(s, op, 1);
  prn_value *views[3] = {x, prn_to_mem_result(s, prn_op_result(op, 0)), value};
  prn_op *pad = prn_to_mem_op(s, PRN_OP_mem_pad, views, 3, NULL);
  prn_to_mem_attr(op, pad, "lows");
  prn_to_mem_attr(op, pad, "mode");
  return PRN_OK;
}

prn_status prn_to_mem_gather(prn_to_mem *s, prn_op *op) {
  prn_value *views[3] = {prn_to_mem_operand(s, op, 0),
                         prn_to_mem_operand(s, op, 1),
                         prn_to_mem_result(s, prn_op_result(op, 0))};
  prn_opcode code = prn_op_is(op, PRN_OP_nn_gather)
                        ? PRN_OP_mem_gather
                        : PRN_OP_mem_gather_elements;
  prn_op *g = prn_to_mem_op(s, code, views, 3, NULL);
  prn_to_mem_attr(op, g, "axis");
  return PRN_OK;
}

prn_status prn_to_mem_scatter(prn_to_mem *s, prn_op *op) {
  prn_value *views[3] = {prn_to_mem_operand(s, op, 1),
                         prn_to_mem_operand(s, op, 2),
                         prn_to_mem_result(s, prn_op_result(op, 0))};
  prn_to_mem_copy(s, prn_to_mem_operand(s, op, 0), views[2]);
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_scatter, views, 3, NULL);
  prn_to_mem_attr(op, r, "fn");
  return PRN_OK;
}

prn_status prn_to_mem_sort(prn_to_mem *s, prn_op *op) {
  prn_value *views[3] = {prn_to_mem_operand(s, op, 0),
                         prn_to_mem_result(s, prn_op_result(op, 0)),
                         prn_to_mem_result(s, prn_op_result(op, 1))};
  prn_op *r = prn_to_mem_op(s, PRN_OP_mem_sort, views, 3, NULL);
  prn_to_mem_attr(op, r, "descending");
  return PRN_OK;
}

prn_status prn_to_mem_dims(prn_to_mem *s, prn_op *op) {
  prn_value *out = prn_to_mem_result(s, prn_op_result(op, 0));
  prn_dim n = prn_type_size(s->ctx, out->type);
  out = prn_to_mem_reshape(s, out, 1, &n);
  prn_op *d = prn_to_mem_op(s, PRN_OP_mem_dims, &out, 1, NULL);
  prn_to_mem_attr(op, d, "values");
  return PRN_OK;
}

static prn_value *body_binary(prn_to_mem *s, const char *fn, prn_value *a,
                              prn_value *b) {
  prn_value *args[2] = {a, b};
  prn_op *op = prn_to_mem_op(s, PRN_OP_nn_binary, args, 2, a->type);
  prn_op_set_attr(op, "fn", prn_attr_string(s->ctx, prn_str_from(fn)));
  return prn_op_result(op, 0);
}

/* A scalar of the body with the value of DIM attribute `a`. */
static prn_value *body_dim(prn_to_mem *s, const prn_attr *a) {
  prn_op *op = prn_to_mem_op(s, PRN_OP_nn_dims, NULL, 0,
                             prn_type_scalar(s->ctx, PRN_I64));
  prn_op_set_attr(op, "values", prn_attr_list(s->ctx, &a, 1));
  return prn_op_result(op, 0);
}

prn_status prn_to_mem_iota(prn_to_mem *s, prn_op *op) {
  const prn_attr *start = prn_op_attr(op, "start");
  const prn_attr *step = prn_op_attr(op, "step");
  prn_value *out = prn_to_mem_result(s, prn_op_result(op, 0));
  prn_op *map = prn_to_mem_op(s, PRN_OP_mem_map, &out, 1, NULL);
  prn_block *body = prn_block_create(s->m), *outer = s->at;
  s->at = body;
  prn_op *index = prn_to_mem_op(s, PRN_OP_nn_index, NULL, 0,
                                prn_type_scalar(s->ctx, PRN_I64));
  prn_op_set_attr(index, "dim",
                  prn_attr_int(s->ctx, prn_op_int(op, "axis", 0)));
  prn_value *v = prn_op_result(index, 0);
  if (step) v = body_binary(s, "mul", v, body_dim(s, step));
  if (start) v = body_binary(s, "add", v, body_dim(s, start));
  if (out->type->dtype != PRN_I64)
    v = prn_op_result(prn_to_mem_op(s, PRN_OP_nn_cast, &v, 1,
                                    prn_type_scalar(s->ctx, out->type->dtype)),
                      0);
  (void)prn_to_mem_op(s, PRN_OP_nn_yield, &v, 1, NULL);
  s->at = outer;
  prn_op_add_block(map, body);
  prn_op_set_attr(map, "ins", prn_attr_int(s->ctx, 0));
  prn_op_set_attr(map, "body", prn_attr_region(s->ctx, 0));
  return PRN_OK;
}
