/* print-heads: the attention layers of a model and what their heads are made
 * of. */
#include "passes/analysis/heads.h"

#define OPTIONS(X)
#define STATS(X)                \
  X(layers, "attention layers") \
  X(heads, "heads")
PRN_PASS_TABLES;

static void print_part(const prn_pass_env *env, const prn_head_part *p) {
  static const char *const roles[] = {"Q", "K", "V", "O"};
  int64_t n = 0;
  int64_t *entries = prn_head_entries(p, 0, &n);
  prn_free(entries);
  prn_pass_print(env, "  %s %s: %s, %lld of %lld entries a head\n",
                 roles[p->role], p->bias ? "bias" : "weight",
                 prn_value_str(&p->constant->results[0]), (long long)n,
                 (long long)prn_tensor_count(
                     prn_value_constant(&p->constant->results[0])));
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  const prn_heads *h = prn_pass_heads(env);
  (void)m;
  for (size_t i = 0; i < h->size; i++) {
    const prn_attention *a = &h->at[i];
    prn_pass_print(env, "%.*s: %lld heads", PRN_STR_ARG(prn_op_subject(a->op)),
                   (long long)a->heads);
    if (a->groups < a->heads)
      prn_pass_print(env, ", %lld key/value groups", (long long)a->groups);
    prn_pass_print(env, "%s\n",
                   a->exclusive ? "" : ", keys or values used elsewhere");
    for (size_t k = 0; k < a->num_parts; k++)
      print_part(env, &a->parts[k]);
    s->layers++;
    s->heads += (uint64_t)a->heads;
  }
  for (size_t i = 0; i < h->num_rejected; i++)
    prn_pass_print(env, "%.*s: no heads: %s\n",
                   PRN_STR_ARG(prn_op_subject(h->rejected[i].op)),
                   h->rejected[i].why);
  if (!h->size && !h->num_rejected) prn_pass_print(env, "no attention\n");
  return PRN_OK;
}

const prn_pass prn_pass_print_heads = {
    .name = "print-heads",
    .summary = "Print the attention layers and the weights of their heads",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES | PRN_HEADS,
    .keeps = PRN_ALL_ANALYSES,
    .prints = true,
    .exact = true,
    PRN_PASS_COMMON,
};
