/* score-activation: a channel matters as much as what comes through it.
 *
 * By a profile of the inputs of the weights that read it. The scores of a
 * channel x_j:
 *
 *   mean         the mean of |x_j|. Muralidharan et al., "Compact language
 *                models via pruning and knowledge distillation", 2024
 *   positive     how often x_j > 0: one minus APoZ. Hu et al., "Network
 *                trimming", 2016
 *   fluctuation  the variance of x_j times the squares of the weights that it
 *                is multiplied with: what is lost when its mean takes its
 *                place. An et al., "Fluctuation-based adaptive structured
 *                pruning", 2024 (with the variance itself); with
 *                normalise=standard and compensate-bias this is their method
 *
 * Only weights that read channels are scored, along the axis of their inputs.
 */
#include <string.h>

#include "ir/sparsity.h"
#include "passes/analysis/observed.h"
#include "passes/score/score.h"

#define OPTIONS(X)                                                    \
  X(ENUM, by, fluctuation, "mean|positive|fluctuation",               \
    "What of a channel counts: the mean of its absolute values, how " \
    "often it is positive, or its variance times the squares of its " \
    "weights")                                                        \
  PRN_SCORE_FILTER_OPTIONS(X)
#define STATS(X)              \
  X(scored, "weights scored") \
  X(skipped, "weights passed over")
PRN_PASS_TABLES;

enum { MEAN, POSITIVE, FLUCTUATION };

/* ---- evaluating: the attribute holds an axis and its scores ---- */

static prn_status slices(const prn_score *s, int32_t axis, double *out,
                         bool *any) {
  const prn_attr *at = prn_dict_get(s->attr, "axis");
  const prn_attr *scores = prn_dict_get(s->attr, "scores");
  int64_t n;
  if (!at || at->kind != PRN_ATTR_INT || !scores ||
      scores->kind != PRN_ATTR_TENSOR || at->i < 0 ||
      at->i >= s->tensor->type->rank ||
      !prn_dim_is_const(s->tensor->type->dims[at->i], &n) ||
      prn_tensor_count(scores->tensor) != n)
    return prn_op_error(s->constant,
                        "'%s': activation needs an axis and as many scores",
                        prn_score_attr);
  *any = axis == at->i;
  if (*any) prn_tensor_read_f64(scores->tensor, 0, n, out);
  return PRN_OK;
}

const prn_score_kind prn_score_kind_activation = {.name = "activation",
                                                  .chooser = "select-channels",
                                                  .slices = slices,
                                                  .by_place = true};

/* ---- what a profile says ---- */

/* Sums of squares of the slices of a weight across an axis. */
static void squares_of(const prn_tensor *t, prn_axis_view v, double *out) {
  float buf[512];
  memset(out, 0, (size_t)v.length * sizeof *out);
  for (int64_t row = 0; row < v.outer * v.length; row++)
    for (int64_t at = 0, n; at < v.inner; at += n) {
      n = v.inner - at < 512 ? v.inner - at : 512;
      prn_tensor_read_f32(t, row * v.inner + at, n, buf);
      for (int64_t i = 0; i < n; i++)
        out[row % v.length] += (double)buf[i] * (double)buf[i];
    }
}

static void score(int64_t by, const prn_observation *o, double *out,
                  int64_t n) {
  for (int64_t c = 0; c < n; c++)
    out[c] = by == MEAN       ? o->absolute[c]
             : by == POSITIVE ? o->positive[c]
                              : out[c] * o->variance[c];
}

static const prn_attr *make(const prn_pass_env *env, int32_t axis,
                            const double *scores, int64_t n) {
  prn_ctx *ctx = env->ctx;
  const prn_type *type = prn_type_static(ctx, PRN_F64, 1, &n);
  const prn_named_attr entries[] = {
      {prn_intern_cstr(ctx, "axis"), prn_attr_int(ctx, axis)},
      {prn_intern_cstr(ctx, "kind"),
       prn_attr_string(ctx, PRN_STR("activation"))},
      {prn_intern_cstr(ctx, "scores"),
       prn_attr_tensor(ctx, prn_tensor_from_data(ctx, type, scores))}};
  return prn_attr_dict(ctx, entries, PRN_COUNT(entries));
}

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  const struct opts *o = env->opts;
  const prn_tensor *t = prn_site_tensor(site);
  int32_t axis;
  const prn_observation *seen =
      site->num_uses == 1
          ? prn_site_observation(prn_pass_profile(env), &site->uses[0])
          : NULL;
  if (!seen || !prn_site_memory_axis(site, PRN_ROLE_IN, &axis)) return NULL;
  prn_axis_view v = prn_axis_view_of(t->type, axis);
  if (v.length != seen->channels) return NULL; /* groups of a convolution */
  double *scores = PRN_ARENA_ARRAY(env->scratch, double, v.length);
  if (o->by == FLUCTUATION) squares_of(t, v, scores);
  score(o->by, seen, scores, v.length);
  return make(env, axis, scores, v.length);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  (void)m;
  PRN_TRY(prn_pass_need_profile(env, ""));
  prn_score_attach(
      env, &(prn_score_filter){o->embeddings, o->depthwise, o->min_size},
      attach, &s->scored, &s->skipped);
  return PRN_OK;
}

const prn_pass prn_pass_score_activation = {
    .name = "score-activation",
    .summary = "Score channels by what a profile saw in them",
    .doc = "For select-channels. Needs a profile (--profile). Weights whose "
           "input the profile says nothing of are passed over.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES | PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
