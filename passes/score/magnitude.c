/* score-magnitude: an entry matters as much as its absolute value.
 *
 * Groups (rows, blocks, heads) are scored by the norm of their entries, summed
 * in double precision. Han et al., "Learning both weights and connections",
 * 2015; Li et al., "Pruning filters for efficient ConvNets", 2017. */
#include <string.h>

#include "passes/score/score.h"

#define OPTIONS(X)                                                    \
  X(ENUM, metric, l1, PRN_NORM_WORDS,                                 \
    "Norm of a group's entries, where groups are selected (min: the " \
    "smallest); single entries are ranked by |w| under each")         \
  PRN_SCORE_FILTER_OPTIONS(X)
#define STATS(X)              \
  X(scored, "weights scored") \
  X(skipped, "weights passed over")
PRN_PASS_TABLES;

static void eval(const prn_score *s, int64_t at, int64_t n, float *out) {
  prn_tensor plain = *s->tensor;
  plain.mask = NULL;
  prn_tensor_read_f32(&plain, at, n, out);
  for (int64_t i = 0; i < n; i++)
    out[i] = __builtin_fabsf(out[i]);
}

/* The bits of |w| order as |w| does. Adding one to the exponent of what is not
 * finite runs over into the sign. */
static bool keys(const prn_score *s, int64_t at, int64_t n, int32_t *out) {
  const char *p = (const char *)s->tensor->data->data + (size_t)at * 4;
  uint32_t bad = 0;
  if (s->tensor->type->dtype != PRN_F32) return false;
  for (int64_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, p + (size_t)i * 4, sizeof bits);
    bits &= 0x7fffffffu;
    bad |= bits + 0x00800000u;
    out[i] = (int32_t)bits;
  }
  return !(bad >> 31);
}

const prn_score_kind prn_score_kind_magnitude = {
    .name = "magnitude",
    .eval = eval,
    .keys = keys,
};

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  static const char *const words[] = {"l1", "l2", "linf", "min"};
  const struct opts *o = env->opts;
  prn_ctx *ctx = env->ctx;
  const prn_named_attr entries[] = {
      {prn_intern_cstr(ctx, "kind"),
       prn_attr_string(ctx, PRN_STR("magnitude"))},
      {prn_intern_cstr(ctx, "metric"),
       prn_attr_string(ctx, prn_str_from(words[o->metric]))},
  };
  (void)site;
  return prn_attr_dict(ctx, entries, PRN_COUNT(entries));
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  (void)m;
  prn_score_attach(
      env, &(prn_score_filter){o->embeddings, o->depthwise, o->min_size},
      attach, &s->scored, &s->skipped);
  return PRN_OK;
}

const prn_pass prn_pass_score_magnitude = {
    .name = "score-magnitude",
    .summary = "Score weights by their absolute values",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
