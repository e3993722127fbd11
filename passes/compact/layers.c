/* compact-layers: residual branches that are zero go.
 *
 * x + f(x) is x where the weights at f's end are zero, by value or by mask.
 * What only f needed goes too. Infinities inside of f, which zeros would turn
 * into NaNs, are taken not to occur. */
#include "ir/mask.h"
#include "ir/rewrite.h"
#include "passes/analysis/branches.h"

#define OPTIONS(X)
#define STATS(X)                \
  X(layers, "branches removed") \
  X(ops, "operations removed")  \
  X(params, "elements of weights removed")
PRN_PASS_TABLES;

static bool is_zero(const prn_op *constant) {
  const prn_tensor *t = prn_value_constant(&constant->results[0]);
  if (!t->data) return false;
  unsigned char *bits = prn_tensor_nonzero_bits(t);
  if (!bits) prn_out_of_memory((size_t)prn_tensor_count(t) / 8);
  bool zero = prn_bits_count(bits, prn_tensor_count(t)) == 0;
  prn_free(bits);
  return zero;
}

static bool all_zero(const prn_pass_env *env, const prn_branch *b) {
  prn_op **ends;
  const prn_op *at;
  size_t n;
  if (prn_zero_ends(b->part, env->scratch, &ends, &n, &at)) return false;
  for (size_t i = 0; i < n; i++)
    if (!is_zero(ends[i])) return false;
  return n > 0;
}

/* Erases op, and what nothing needs then. */
static void erase(const prn_pass_env *env, prn_op *op) {
  struct stats *s = env->stats;
  prn_value **operands =
      PRN_ARENA_ARRAY(env->scratch, prn_value *, op->num_operands);
  uint32_t n = op->num_operands;
  for (uint32_t i = 0; i < n; i++)
    operands[i] = prn_op_operand(op, i);
  if (prn_op_has_trait(op, PRN_CONSTANT)) {
    const prn_tensor *t = prn_value_constant(&op->results[0]);
    if (t && prn_dtype_is_float(t->type->dtype))
      s->params += (uint64_t)prn_tensor_count(t);
  } else {
    s->ops++;
  }
  prn_op_erase(op);
  for (uint32_t i = 0; i < n; i++) {
    /* the same operand may be there twice */
    bool again = false;
    for (uint32_t k = 0; k < i; k++)
      again |= operands[k] == operands[i];
    if (operands[i] && !again && operands[i]->def &&
        prn_op_is_dead(operands[i]->def))
      erase(env, operands[i]->def);
  }
}

static void remove_branch(prn_pass_env *env, const prn_branch *b) {
  struct stats *s = env->stats;
  prn_value *y = &b->add->results[0];
  if (!prn_value_can_replace(y, b->in)) {
    prn_pass_remark(env, b->add, PRN_REASON_NotScored,
                    "the layer is zero, but its result is an output that "
                    "needs its name");
    return;
  }
  prn_pass_remark(env, b->add, PRN_REASON_Compacted,
                  "the layer that was added here is gone");
  prn_value_replace(y, b->in);
  erase(env, b->add);
  s->layers++;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  prn_branches all = prn_branches_find(m, env->scratch);
  for (size_t i = all.size; i-- > 0;) /* the last first: x's are still there */
    if (all_zero(env, &all.at[i])) remove_branch(env, &all.at[i]);
  return PRN_OK;
}

const prn_pass prn_pass_compact_layers = {
    .name = "compact-layers",
    .summary = "Remove residual branches that are zero",
    .doc = "Where a value is added to something that zero weights make zero, "
           "as select-layers leaves it, the addition and all that only it "
           "needed go. Outputs stay what they were.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES,
    .exact = true,
    PRN_PASS_COMMON,
};
