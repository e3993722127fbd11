/* score-fpgm: a channel matters as much as it differs from the others.
 *
 * The score of a slice is the sum of its Euclidean distances to all slices
 * across the same axis: what is near the geometric median can be replaced by
 * the others. He et al., "Filter pruning via geometric median", 2019. Takes
 * time with the square of the channels. */
#include <math.h>
#include <string.h>

#include "ir/sparsity.h"
#include "passes/score/score.h"

#define OPTIONS(X) PRN_SCORE_FILTER_OPTIONS(X)
#define STATS(X)              \
  X(scored, "weights scored") \
  X(skipped, "weights passed over")
PRN_PASS_TABLES;

/* The slices, one after the other. */
static float *gather(const prn_score *s, prn_axis_view v) {
  int64_t n = v.outer * v.inner;
  size_t count = (size_t)(v.length * n);
  float *all =
      prn_try_alloc(prn_array_size(count > 0 ? count : 1, sizeof *all));
  for (int64_t i = 0; all && i < v.length; i++)
    for (int64_t o = 0; o < v.outer; o++)
      prn_tensor_read_f32(s->tensor, (o * v.length + i) * v.inner, v.inner,
                          all + i * n + o * v.inner);
  return all;
}

static double distance(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    double d = (double)a[i] - (double)b[i];
    sum += d * d;
  }
  return sqrt(sum);
}

static prn_status slices(const prn_score *s, int32_t axis, double *out,
                         bool *any) {
  prn_axis_view v = prn_axis_view_of(s->tensor->type, axis);
  int64_t n = v.outer * v.inner;
  float *all = gather(s, v);
  if (!all)
    return prn_op_error(s->constant, "no memory to compare its channels");
  *any = true;
  memset(out, 0, (size_t)v.length * sizeof *out);
  for (int64_t i = 0; i < v.length; i++)
    for (int64_t k = 0; k < i; k++) {
      double d = distance(all + i * n, all + k * n, n);
      out[i] += d;
      out[k] += d;
    }
  prn_free(all);
  return PRN_OK;
}

const prn_score_kind prn_score_kind_fpgm = {
    .name = "fpgm", .chooser = "select-channels", .slices = slices};

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  const prn_named_attr kind = {prn_intern_cstr(env->ctx, "kind"),
                               prn_attr_string(env->ctx, PRN_STR("fpgm"))};
  (void)site;
  return prn_attr_dict(env->ctx, &kind, 1);
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

const prn_pass prn_pass_score_fpgm = {
    .name = "score-fpgm",
    .summary = "Score channels by their distance from the others",
    .doc = "For select-channels: channels near the geometric median of all "
           "have the lowest scores.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
