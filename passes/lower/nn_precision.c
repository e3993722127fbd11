/* nn-precision: in which type weights are kept and multiplied.
 *
 * On request, f32 weights are marked to be stored, and where the target can be
 * multiplied, as 16-bit floats. */
#include "passes/lower/nn_to_mem.h"
#include "passes/pass.h"

#define OPTIONS(X)                                                           \
  X(ENUM, type, f32, "f32|bf16|f16",                                         \
    "How to store f32 weights of products: f32 as they are; bf16 is also "   \
    "multiplied as such where the target can, activations rounded to bf16; " \
    "f16 is widened when it is read. Sums are f32")
#define STATS(X) X(marked, "products whose weights get the type")
PRN_PASS_TABLES;

static bool is_product(const prn_op *op) {
  return prn_op_is(op, PRN_OP_nn_matmul) || prn_op_is(op, PRN_OP_nn_conv);
}

/* Products that kernels compute with narrower weights: not convolutions by
 * windows. */
static bool is_narrowed(const prn_op *op) {
  return prn_op_is(op, PRN_OP_nn_matmul) || prn_to_mem_pointwise(op);
}

/* Weights that do not change, seen through a swap of the axes. */
static bool has_weights(const prn_op *op) {
  const prn_value *w = prn_op_operand(op, 1);
  if (w->def && prn_op_is(w->def, PRN_OP_nn_transpose))
    w = prn_op_operand(w->def, 0);
  return prn_value_constant(w) != NULL;
}

static void visit(prn_module *m, prn_block *block, const struct opts *o,
                  struct stats *s) {
  static const char *const names[] = {"f32", "bf16", "f16"};
  for (prn_op *op = block->first, *next; op; op = next) {
    next = op->next;
    if (prn_op_is(op, PRN_OP_nn_if))
      for (uint32_t i = 0; i < op->num_blocks; i++)
        visit(m, op->blocks[i], o, s);
    if (!is_product(op) || !has_weights(op)) continue;
    prn_dtype t = prn_op_operand(op, 0)->type->dtype;
    prn_dtype w = prn_op_operand(op, 1)->type->dtype;
    if (t == PRN_F32 && w == PRN_F32 && o->type && is_narrowed(op) &&
        !prn_op_attr(op, "precision")) {
      s->marked++;
      prn_op_set_attr(op, "precision",
                      prn_attr_string(m->ctx, prn_str_from(names[o->type])));
    }
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func))
      visit(m, prn_op_block(op, "body"), env->opts, env->stats);
  return PRN_OK;
}

const prn_pass prn_pass_nn_precision = {
    .name = "nn-precision",
    .summary = "Choose the type in which weights are stored and multiplied",
    .doc = "Before nn-fuse. Convolutions by windows of more than one element "
           "keep f32.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    PRN_PASS_COMMON,
};
