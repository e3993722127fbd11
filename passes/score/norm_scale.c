/* score-norm-scale: a channel matters as much as its normalisation lets
 * through.
 *
 * The scales of normalisations get the magnitude of their entries as scores,
 * for select-channels. Liu et al., "Learning efficient convolutional networks
 * through network slimming", 2017. */
#include "passes/score/score.h"

#define OPTIONS(X)
#define STATS(X) X(scored, "scales scored")
PRN_PASS_TABLES;

bool prn_is_norm_scale(const prn_value *v) {
  static const prn_opcode codes[] = {
      PRN_OP_onnx_BatchNormalization, PRN_OP_onnx_InstanceNormalization,
      PRN_OP_onnx_LayerNormalization, PRN_OP_onnx_RMSNormalization,
      PRN_OP_onnx_GroupNormalization, PRN_OP_onnx_SimplifiedLayerNormalization};
  PRN_EACH_USE(u, v)
    for (size_t i = 0; i < PRN_COUNT(codes); i++)
      if (prn_use_index(u) == 1 && prn_op_is(u->owner, codes[i])) return true;
  return false;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  const prn_weights *w = prn_pass_weights(env);
  const prn_named_attr entries[] = {
      {prn_intern_cstr(env->ctx, "kind"),
       prn_attr_string(env->ctx, PRN_STR("magnitude"))},
      {prn_intern_cstr(env->ctx, "metric"),
       prn_attr_string(env->ctx, PRN_STR("l1"))}};
  const prn_attr *score = prn_attr_dict(env->ctx, entries, PRN_COUNT(entries));
  (void)m;
  for (size_t i = 0; i < w->size; i++) {
    const prn_value *v = prn_op_result(w->ops[i], 0);
    if (!prn_is_norm_scale(v) || !prn_dtype_is_float(v->type->dtype) ||
        !prn_pass_site_selected(env, w->ops[i]))
      continue;
    prn_op_set_attr(w->ops[i], prn_score_attr, score);
    prn_pass_remark(env, w->ops[i], PRN_REASON_Scored, "%s is scored",
                    prn_value_str(v));
    s->scored++;
  }
  if (!s->scored)
    prn_pass_warning(env, "the model has no normalisations with scales");
  return PRN_OK;
}

const prn_pass prn_pass_score_norm_scale = {
    .name = "score-norm-scale",
    .summary = "Score channels by the scales of their normalisations",
    .doc = "For select-channels, instead of a score of weights.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
