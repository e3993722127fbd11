/* score-wanda: an entry matters as much as it moves the output on average.
 *
 * |W_ij| * ||X_j||: the absolute weight times the root mean square of the
 * channel it is multiplied with, over all vectors that a profile has seen. Sun
 * et al., "A simple and effective pruning approach for large language models",
 * 2023; they rank within each output unit, which is select-unstructured's
 * scope=row, where any scale of X is the same.
 *
 * Of a convolution, every place of the window has its channel's norm, which is
 * exact but for the image's edges. Where operators share a weight, the norm is
 * over what all of them see. The attribute holds the norms and how a place in
 * the constant leads to its channel: the sum of (at / stride % size) * scale
 * over the triples (size, stride, scale) of `channels`. */
#include <string.h>

#include "passes/score/channels.h"

#define OPTIONS(X)                                                       \
  X(ENUM, metric, l1, PRN_NORM_WORDS,                                    \
    "Norm of a group's scores, where groups are selected")               \
  X(ENUM, unobserved, fail, "fail|skip",                                 \
    "What to do about a weight whose input the profile says nothing of") \
  PRN_SCORE_FILTER_OPTIONS(X)
#define STATS(X)                    \
  X(scored, "weights scored")       \
  X(skipped, "weights passed over") \
  X(unobserved, "weights among them that the profile says nothing of")
PRN_PASS_TABLES;

/* ---- evaluating ---- */

static prn_status bad(const prn_score *s) {
  return prn_op_error(s->constant,
                      "'%s': wanda needs norms, a vector of f32, and channels, "
                      "triples of integers that lead into it",
                      prn_score_attr);
}

static prn_status open_wanda(prn_score *s) {
  const prn_attr *norms = prn_dict_get(s->attr, "norms");
  const prn_attr *channels = prn_dict_get(s->attr, "channels");
  if (!norms || norms->kind != PRN_ATTR_TENSOR || !norms->tensor->data ||
      norms->tensor->type->dtype != PRN_F32 || norms->tensor->type->rank != 1 ||
      !channels || channels->kind != PRN_ATTR_INTS ||
      channels->size % PRN_TRIPLE != 0)
    return bad(s);
  s->norms = norms->tensor->data->data;
  s->channels = channels->ints;
  s->num_channels = channels->size / PRN_TRIPLE;
  return prn_triples_lead(s->channels, s->num_channels,
                          prn_tensor_count(norms->tensor))
             ? PRN_OK
             : bad(s);
}

static float norm_at(const prn_score *s, int64_t channel) {
  float f;
  memcpy(&f, s->norms + (size_t)channel * sizeof f, sizeof f);
  return f;
}

/* |w| on entry. The innermost digit runs; those before it are the same until
 * it begins again. */
static void eval(const prn_score *s, int64_t at, int64_t n, float *out) {
  prn_tensor plain = *s->tensor;
  const int64_t *c = s->channels;
  uint32_t last = s->num_channels ? s->num_channels - 1 : 0;
  int64_t size = 1, stride = INT64_MAX, scale = 0;
  plain.mask = NULL;
  prn_tensor_read_f32(&plain, at, n, out);
  if (s->num_channels) {
    size = c[PRN_TRIPLE * last];
    stride = c[PRN_TRIPLE * last + 1];
    scale = c[PRN_TRIPLE * last + 2];
  }
  for (int64_t i = 0; i < n;) {
    int64_t base = 0, digit = (at + i) / stride % size;
    for (uint32_t k = 0; k < last; k++)
      base += (at + i) / c[PRN_TRIPLE * k + 1] % c[PRN_TRIPLE * k] *
              c[PRN_TRIPLE * k + 2];
    for (int64_t left = stride - (at + i) % stride; digit < size && i < n;
         digit++, left = stride) {
      float norm = norm_at(s, base + digit * scale);
      for (; left > 0 && i < n; left--, i++)
        out[i] = __builtin_fabsf(out[i]) * norm;
    }
  }
}

static const char *const vectors[][2] = {{"channels", "norms"}, {NULL, NULL}};

const prn_score_kind prn_score_kind_wanda = {
    .name = "wanda",
    .open = open_wanda,
    .eval = eval,
    .vectors = vectors,
};

static const prn_attr *make_attr(const prn_pass_env *env, const prn_triples *t,
                                 const float *norms, int64_t channels) {
  static const char *const words[] = {"l1", "l2", "linf", "min"};
  const struct opts *o = env->opts;
  prn_ctx *ctx = env->ctx;
  const prn_type *type = prn_type_static(ctx, PRN_F32, 1, &channels);
  const prn_named_attr entries[] = {
      {prn_intern_cstr(ctx, "kind"), prn_attr_string(ctx, PRN_STR("wanda"))},
      {prn_intern_cstr(ctx, "metric"),
       prn_attr_string(ctx, prn_str_from(words[o->metric]))},
      {prn_intern_cstr(ctx, "channels"),
       prn_attr_ints(ctx, t->at, (size_t)PRN_TRIPLE * t->n)},
      {prn_intern_cstr(ctx, "norms"),
       prn_attr_tensor(ctx, prn_tensor_from_data(ctx, type, norms))},
  };
  return prn_attr_dict(ctx, entries, PRN_COUNT(entries));
}

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_triples t;
  bool wrong = false;
  int64_t channels = site->mixed ? 0 : prn_channels_find(site, &t);
  float *norms =
      channels ? prn_channel_norms(env, site, channels, &wrong) : NULL;
  if (norms) return make_attr(env, &t, norms, channels);
  s->unobserved++;
  if (!wrong && o->unobserved == 0) prn_channels_unobserved(env, site);
  return NULL;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_diag_sink *sink = prn_ctx_diags(env->ctx);
  size_t errors = sink->errors;
  (void)m;
  PRN_TRY(prn_pass_need_profile(env, ""));
  prn_score_attach(
      env, &(prn_score_filter){o->embeddings, o->depthwise, o->min_size},
      attach, &s->scored, &s->skipped);
  return sink->errors == errors ? PRN_OK : PRN_FAIL;
}

const prn_pass prn_pass_score_wanda = {
    .name = "score-wanda",
    .summary = "Score weights by their absolute values times the norms of what "
               "they are multiplied with",
    .doc = "Needs a profile (--profile), which says what the inputs of weights "
           "are like on the user's data.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES | PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
