/* observe-layers: make outputs of how much residual branches change.
 *
 * For every branch (print-layers), and for a few in a row, the cosine of what
 * they start from and what they lead to, over the channels of every position,
 * becomes an output. */
#include "passes/analysis/branches.h"
#include "passes/transform/outputs.h"

#define OPTIONS(X)
#define STATS(X) X(observed, "values that are outputs now")
PRN_PASS_TABLES;

static prn_op *behind(prn_op *after, prn_opcode code, prn_value *const *in,
                      uint32_t n, const prn_type *type) {
  prn_module *m = after->module;
  prn_op *op = prn_op_create(m, prn_opname_code(m->ctx, code), after->loc, in,
                             n, &type, 1);
  prn_op_insert_after(op, after);
  return op;
}

static prn_op *normalised(prn_op *after, prn_value *v, int32_t axis) {
  prn_ctx *ctx = after->module->ctx;
  prn_op *op = behind(after, PRN_OP_onnx_LpNormalization, &v, 1, v->type);
  prn_op_set_attr(op, "axis", prn_attr_int(ctx, axis));
  return op;
}

/* Their sum over the channels: the axis is an operand since version 13. */
static prn_op *summed(const prn_pass_env *env, prn_op *mul, int32_t axis) {
  prn_ctx *ctx = env->ctx;
  const prn_type *from = mul->results[0].type;
  int64_t at = axis, one = 1;
  prn_dim *dims = PRN_ARENA_ARRAY(env->scratch, prn_dim, from->rank);
  for (int32_t i = 0; i < from->rank; i++)
    dims[i] = from->dims[i];
  dims[axis < 0 ? axis + from->rank : axis] = prn_dim_const(ctx, 1);
  prn_value *in[] = {&mul->results[0], NULL};
  prn_op *op = behind(mul, PRN_OP_onnx_ReduceSum, in, 1,
                      prn_type_tensor(ctx, from->dtype, from->rank, dims));
  if (prn_op_opset(op) < 13) {
    prn_op_set_attr(op, "axes", prn_attr_ints(ctx, &at, 1));
    return op;
  }
  const prn_type *type = prn_type_static(ctx, PRN_I64, 1, &one);
  prn_op *axes = behind(mul, PRN_OP_onnx_Constant, NULL, 0, type);
  prn_op_set_attr(axes, "value",
                  prn_attr_tensor(ctx, prn_tensor_from_data(ctx, type, &at)));
  prn_op_add_operand(op, &axes->results[0]);
  return op;
}

/* The cosine, behind what the branches lead to. */
static prn_value *angle(const prn_pass_env *env, const prn_branch *first,
                        const prn_branch *last) {
  prn_op *end = last->after->def;
  int32_t axis = prn_branch_axis(first);
  prn_op *x = normalised(end, first->in, axis);
  prn_op *y = normalised(x, last->after, axis);
  prn_value *both[] = {&x->results[0], &y->results[0]};
  prn_op *mul = behind(y, PRN_OP_onnx_Mul, both, 2, first->in->type);
  prn_op *sum = summed(env, mul, axis);
  sum->results[0].name = prn_branch_angle_name(env->ctx, first, last);
  return &sum->results[0];
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  prn_branches all = prn_branches_find(m, env->scratch);
  PRN_EACH_OP(top, m->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    prn_outputs o =
        prn_outputs_open(env, top, all.size * (size_t)PRN_BRANCH_SPANS);
    for (size_t i = 0; o.ret && i < all.size; i++)
      for (size_t n = 1; n <= PRN_BRANCH_SPANS; n++)
        if (all.at[i].add->block->parent == top &&
            prn_branch_has_angle(&all, i, n))
          prn_outputs_add(&o, angle(env, &all.at[i], &all.at[i + n - 1]));
    s->observed += o.added;
    prn_outputs_close(env, &o);
  }
  return PRN_OK;
}

const prn_pass prn_pass_observe_layers = {
    .name = "observe-layers",
    .summary = "Make outputs of how much residual branches change",
    .doc = "prune-run --profile-layers runs it; score-block-influence uses "
           "what the profile then holds.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES,
    .keeps = PRN_SHAPES | PRN_WEIGHTS,
    .exact = true,
    PRN_PASS_COMMON,
};
