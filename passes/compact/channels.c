/* compact-channels: indices that are zero in all weights of a group go. */
#include "passes/compact/compact.h"

#define OPTIONS(X)                                                       \
  X(BOOL, mixed, false, "",                                              \
    "Also along dimensions that are normalised, such as the width of a " \
    "transformer: then results change, for zeros took part in the means")
#define STATS(X)                  \
  X(groups, "groups that shrank") \
  X(indices, "indices removed")   \
  X(params, "elements of weights removed")
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_compact_stats done = {0};
  PRN_TRY(prn_compact_zeros(env, m, false, o->mixed, &done));
  s->groups += done.groups;
  s->indices += done.indices;
  s->params += done.params;
  return PRN_OK;
}

const prn_pass prn_pass_compact_channels = {
    .name = "compact-channels",
    .summary = "Remove what is zero in all weights that share a dimension",
    .doc = "Channels, neurons, heads, groups and whatever else print-groups "
           "shows: an index goes when it is zero in all members of its group, "
           "by value or by mask, as select-channels and select-heads leave it. "
           "Outputs stay what they were. Shapes, sizes and counts that "
           "operations mention are rewritten.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_COUPLING,
    .exact = true,
    .exact_unless = "mixed",
    PRN_PASS_COMMON,
};
