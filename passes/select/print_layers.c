/* print-layers: the residual branches of a model, and whether they can go. */
#include "passes/analysis/branches.h"

#define OPTIONS(X)
#define STATS(X) X(layers, "residual branches found")
PRN_PASS_TABLES;

static void print(const prn_pass_env *env, const prn_branch *b, size_t i) {
  prn_pass_print(env, "layer %zu: %s += %s\n", i, prn_value_str(b->in),
                 prn_value_str(b->part));
  if (b->chained) prn_pass_print(env, "  follows layer %zu\n", i - 1);
  for (size_t k = 0; k < b->num_products; k++)
    prn_pass_print(env, "  product %.*s\n",
                   PRN_STR_ARG(prn_op_subject(b->products[k])));
  if (b->why)
    prn_pass_print(
        env, "  stays: %s%s%.*s\n", b->why, b->why_op ? ", " : "",
        PRN_STR_ARG(b->why_op ? prn_op_subject(b->why_op) : PRN_STR("")));
  for (size_t k = 0; !b->why && k < b->num_ends; k++)
    prn_pass_print(env, "  ends in %s\n",
                   prn_value_str(&b->ends[k]->results[0]));
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  prn_branches all = prn_branches_find(m, env->scratch);
  for (size_t i = 0; i < all.size; i++)
    print(env, &all.at[i], i);
  s->layers += all.size;
  return PRN_OK;
}

const prn_pass prn_pass_print_layers = {
    .name = "print-layers",
    .summary = "Print the residual branches, and whether they can go",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    PRN_PASS_COMMON,
};
