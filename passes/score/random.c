/* score-random: a score that says nothing, for comparison.
 *
 * Entry i of weight number s has the score (w >> 8) / 2^24 where w is word i of
 * stream s of Philox 4x32-10 under the seed (ir/support/philox.h); s counts
 * the weights of the module from 0 in their order, whether scored or not.
 * Groups have the score of their number instead of their entries'. */
#include "ir/support/philox.h"
#include "passes/score/score.h"

#define OPTIONS(X)                                        \
  X(INT, seed, 0, "[0,inf)", "Key of the random numbers") \
  PRN_SCORE_FILTER_OPTIONS(X)
#define STATS(X)              \
  X(scored, "weights scored") \
  X(skipped, "weights passed over")
PRN_PASS_TABLES;

static prn_status open_random(prn_score *s) {
  const prn_attr *seed = prn_dict_get(s->attr, "seed");
  const prn_attr *stream = prn_dict_get(s->attr, "stream");
  if (!seed || seed->kind != PRN_ATTR_INT || !stream ||
      stream->kind != PRN_ATTR_INT || stream->i < 0 || stream->i > UINT32_MAX)
    return prn_op_error(s->constant,
                        "'%s': random needs the integers seed and stream",
                        prn_score_attr);
  s->seed = (uint64_t)seed->i;
  s->stream = (uint32_t)stream->i;
  return PRN_OK;
}

static void eval(const prn_score *s, int64_t at, int64_t n, float *out) {
  enum { CHUNK = 256 };
  uint32_t words[CHUNK];
  for (int64_t i = 0; i < n; i += CHUNK) {
    int64_t k = n - i < CHUNK ? n - i : CHUNK;
    prn_philox_words(s->seed, s->stream, (uint64_t)(at + i), (size_t)k, words);
    for (int64_t j = 0; j < k; j++)
      out[i + j] = (float)(words[j] >> 8) * 0x1p-24f;
  }
}

const prn_score_kind prn_score_kind_random = {
    .name = "random",
    .open = open_random,
    .eval = eval,
    .by_index = true,
    .by_place = true,
};

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  const struct opts *o = env->opts;
  prn_ctx *ctx = env->ctx;
  const prn_named_attr entries[] = {
      {prn_intern_cstr(ctx, "kind"), prn_attr_string(ctx, PRN_STR("random"))},
      {prn_intern_cstr(ctx, "seed"), prn_attr_int(ctx, o->seed)},
      {prn_intern_cstr(ctx, "stream"), prn_attr_int(ctx, site->index)},
  };
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

const prn_pass prn_pass_score_random = {
    .name = "score-random",
    .summary = "Score weights by random numbers, for comparison",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
