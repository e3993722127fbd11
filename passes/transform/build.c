#include "passes/transform/build.h"

prn_value *prn_build_node(prn_op *at, prn_opcode code, prn_value *const *in,
                          uint32_t n) {
  prn_ctx *ctx = at->module->ctx;
  const prn_type *any = prn_type_any(ctx);
  prn_op *op = prn_op_create(at->module, prn_opname_code(ctx, code), at->loc,
                             in, n, &any, 1);
  prn_op_insert_before(op, at);
  return prn_op_result(op, 0);
}

static prn_value *constant(prn_op *at, int32_t rank, const int64_t *v,
                           int64_t n) {
  prn_ctx *ctx = at->module->ctx;
  const prn_type *type = prn_type_static(ctx, PRN_I64, rank, &n);
  prn_value *r = prn_build_node(at, PRN_OP_onnx_Constant, NULL, 0);
  prn_op_set_attr(r->def, "value",
                  prn_attr_tensor(ctx, prn_tensor_from_data(ctx, type, v)));
  r->type = type;
  return r;
}

prn_value *prn_build_ints(prn_op *at, const int64_t *v, size_t n) {
  return constant(at, 1, v, (int64_t)n);
}

prn_value *prn_build_int(prn_op *at, int64_t v) {
  return constant(at, 0, &v, 1);
}

/* From operator set 13 on, axes are an operand. */
static prn_value *with_axis(prn_op *at, prn_opcode code, prn_value *v,
                            int64_t axis) {
  prn_value *in[2] = {v, NULL};
  bool operand = prn_op_opset(at) >= 13;
  if (operand) in[1] = prn_build_ints(at, &axis, 1);
  prn_value *r = prn_build_node(at, code, in, operand ? 2 : 1);
  if (!operand)
    prn_op_set_attr(r->def, "axes", prn_attr_ints(at->module->ctx, &axis, 1));
  return r;
}

prn_value *prn_build_unsqueeze(prn_op *at, prn_value *v, int64_t axis) {
  return with_axis(at, PRN_OP_onnx_Unsqueeze, v, axis);
}

prn_value *prn_build_squeeze(prn_op *at, prn_value *v, int64_t axis) {
  return with_axis(at, PRN_OP_onnx_Squeeze, v, axis);
}

prn_value *prn_build_concat(prn_op *at, prn_value *const *parts, uint32_t n,
                            int64_t axis) {
  prn_value *r = prn_build_node(at, PRN_OP_onnx_Concat, parts, n);
  prn_op_set_attr(r->def, "axis", prn_attr_int(at->module->ctx, axis));
  return r;
}

prn_value *prn_build_stack(prn_op *at, prn_value *const *parts, uint32_t n,
                           int64_t axis) {
  prn_value **wide = PRN_ARENA_ARRAY(&at->module->arena, prn_value *, n + 1);
  for (uint32_t i = 0; i < n; i++)
    wide[i] = prn_build_unsqueeze(at, parts[i], axis);
  return prn_build_concat(at, wide, n, axis);
}
