/* compact-heads: attention heads that are zero in all weights go. */
#include "passes/compact/compact.h"

#define OPTIONS(X)
#define STATS(X)                  \
  X(groups, "groups that shrank") \
  X(indices, "heads removed")     \
  X(params, "elements of weights removed")
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  prn_compact_stats done = {0};
  PRN_TRY(prn_compact_zeros(env, m, true, false, &done));
  s->groups += done.groups;
  s->indices += done.indices;
  s->params += done.params;
  return PRN_OK;
}

const prn_pass prn_pass_compact_heads = {
    .name = "compact-heads",
    .summary = "Remove attention heads that are zero in all weights",
    .doc = "As compact-channels, but only groups whose index counts blocks of "
           "every member: heads, groups of keys and values, groups of "
           "convolutions.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_COUPLING,
    .exact = true,
    PRN_PASS_COMMON,
};
