/* score-block-influence: a layer matters as much as it turns what goes through.
 *
 *   1 - E[cos(x, y)]
 *
 * of a residual branch that leads from x to y, or of `span` of them in a row:
 * two are the layer of a transformer. Men et al., "ShortGPT: layers in large
 * language models are more redundant than you expect", 2024. The mean is over
 * all positions that a profile with layers saw. The score is attached to the
 * weights at the end of the first of the branches. */
#include "passes/analysis/branches.h"
#include "passes/score/score.h"

#define OPTIONS(X)                                                   \
  X(INT, span, 1, "[1,4]",                                           \
    "Branches that are scored as one: two are attention and FFN of " \
    "a transformer's layer")
#define STATS(X)             \
  X(scored, "layers scored") \
  X(skipped, "layers that the profile says nothing of")
PRN_PASS_TABLES;

static prn_status open_influence(prn_score *s) {
  const prn_attr *span = prn_dict_get(s->attr, "span");
  const prn_attr *influence = prn_dict_get(s->attr, "influence");
  if (!span || span->kind != PRN_ATTR_INT || !influence ||
      influence->kind != PRN_ATTR_FLOAT)
    return prn_op_error(s->constant,
                        "'%s': block-influence needs a span and an influence",
                        prn_score_attr);
  return PRN_OK;
}

const prn_score_kind prn_score_kind_block_influence = {
    .name = "block-influence",
    .open = open_influence,
    .chooser = "select-layers",
};

static const prn_attr *attr_of(const prn_pass_env *env, double influence) {
  prn_ctx *ctx = env->ctx;
  const struct opts *o = env->opts;
  const prn_named_attr entries[] = {
      {prn_intern_cstr(ctx, "influence"),
       prn_attr_float(ctx, (float)influence)},
      {prn_intern_cstr(ctx, "kind"),
       prn_attr_string(ctx, PRN_STR("block-influence"))},
      {prn_intern_cstr(ctx, "span"), prn_attr_int(ctx, o->span)}};
  return prn_attr_dict(ctx, entries, PRN_COUNT(entries));
}

static void score(const prn_pass_env *env, const prn_branch *first,
                  const prn_branch *last) {
  struct stats *s = env->stats;
  const prn_observation *seen = prn_profile_find(
      prn_pass_profile(env), prn_branch_angle_name(env->ctx, first, last),
      prn_branch_axis(first));
  if (!seen || seen->channels != 1) {
    s->skipped++;
    prn_pass_remark(env, first->add, PRN_REASON_NotObserved,
                    "the profile has nothing on this layer");
    return;
  }
  double influence = 1 - seen->mean[0];
  prn_op_set_attr(first->ends[0], prn_score_attr, attr_of(env, influence));
  prn_pass_remark(env, first->add, PRN_REASON_Scored,
                  "the layer that ends here has an influence of %.4g",
                  influence);
  s->scored++;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  PRN_TRY(prn_pass_need_profile(env, "--profile-layers "));
  prn_branches all = prn_branches_find(m, env->scratch);
  size_t n, span = (size_t)o->span;
  const size_t *first = prn_branch_runs(&all, span, env->scratch, &n);
  for (size_t i = 0; i < n; i++)
    score(env, &all.at[first[i]], &all.at[first[i] + span - 1]);
  if (n && !s->scored)
    return prn_pass_error(env, "the profile has nothing on layers: prune-run "
                               "--profile-layers makes one that has");
  if (!n)
    prn_pass_warning(env, "the model has no residual layers that can go: "
                          "print-layers says why");
  return PRN_OK;
}

const prn_pass prn_pass_score_block_influence = {
    .name = "score-block-influence",
    .summary = "Score residual layers by how much they change what they are "
               "added to",
    .doc = "For select-layers. Needs a profile with layers (prune-run "
           "--profile-layers).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
