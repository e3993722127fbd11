/* score-ria: an entry matters by its share of its row and of its column.
 *
 * (|W_ij| / sum of |W_i*| + |W_ij| / sum of |W_*j|) * ||X_j||^power: what is
 * small beside its neighbours goes, and no input or output is emptied, as
 * happens when all entries of one are small. X_j is as for score-wanda. Zhang
 * et al., "Plug-and-play: an efficient post-training pruning method for large
 * language models", 2024, who rank within each weight (select-unstructured's
 * scope=tensor); the permutation of channels that they add for n:m is no score,
 * but a pass of its own, permute-channels.
 *
 * The attribute holds the sums, the powers of norms, and triples
 * (passes/score/channels.h) that lead to them. */
#include <math.h>
#include <string.h>

#include "passes/score/channels.h"

#define OPTIONS(X)                                                       \
  X(FLOAT, power, 0.5, "[0,4]",                                          \
    "Of the norms of inputs; 0: without them, and without a profile")    \
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

enum { ROWS, COLS, CHANNELS, LISTS };
static const char *const index_names[LISTS] = {"rows", "cols", "channels"};
static const char *const number_names[LISTS] = {"row_sums", "col_sums",
                                                "norms"};

/* ---- evaluating ---- */

static prn_status bad(const prn_score *s) {
  return prn_op_error(s->constant,
                      "'%s': ria needs row_sums, col_sums and norms, vectors "
                      "of f32, and rows, cols and channels, triples of "
                      "integers that lead into them",
                      prn_score_attr);
}

/* One of the vectors, and the triples that lead into it. */
static bool read_list(const prn_score *s, int list, const char **numbers,
                      const int64_t **triples, uint32_t *n) {
  const prn_attr *v = prn_dict_get(s->attr, number_names[list]);
  const prn_attr *t = prn_dict_get(s->attr, index_names[list]);
  if (!v || v->kind != PRN_ATTR_TENSOR || !v->tensor->data ||
      v->tensor->type->dtype != PRN_F32 || v->tensor->type->rank != 1 || !t ||
      t->kind != PRN_ATTR_INTS || t->size % PRN_TRIPLE != 0)
    return false;
  *numbers = v->tensor->data->data;
  *triples = t->ints;
  *n = t->size / PRN_TRIPLE;
  return prn_triples_lead(*triples, *n, prn_tensor_count(v->tensor));
}

static prn_status open_ria(prn_score *s) {
  return read_list(s, ROWS, &s->row_sums, &s->rows, &s->num_rows) &&
                 read_list(s, COLS, &s->col_sums, &s->cols, &s->num_cols) &&
                 read_list(s, CHANNELS, &s->norms, &s->channels,
                           &s->num_channels)
             ? PRN_OK
             : bad(s);
}

static float number(const char *numbers, const int64_t *triples, uint32_t n,
                    int64_t at) {
  float f;
  size_t index = (size_t)prn_triples_index(triples, n, at);
  memcpy(&f, numbers + index * sizeof f, sizeof f);
  return f;
}

static void eval(const prn_score *s, int64_t at, int64_t n, float *out) {
  prn_tensor plain = *s->tensor;
  plain.mask = NULL;
  prn_tensor_read_f32(&plain, at, n, out);
  for (int64_t i = 0; i < n; i++) {
    float w = __builtin_fabsf(out[i]);
    float row = number(s->row_sums, s->rows, s->num_rows, at + i);
    float col = number(s->col_sums, s->cols, s->num_cols, at + i);
    float norm = number(s->norms, s->channels, s->num_channels, at + i);
    out[i] = w == 0 ? 0 : (w / col + w / row) * norm;
  }
}

static const char *const vectors[][2] = {{"rows", "row_sums"},
                                         {"cols", "col_sums"},
                                         {"channels", "norms"},
                                         {NULL, NULL}};

const prn_score_kind prn_score_kind_ria = {
    .name = "ria",
    .open = open_ria,
    .eval = eval,
    .vectors = vectors,
};

/* ---- attaching ---- */

/* Sums of absolute values over what is not masked. */
static float *sums_of(const prn_pass_env *env, const prn_site *s,
                      const prn_triples *t, int64_t count) {
  const prn_tensor *w = prn_site_tensor(s);
  double *sums = PRN_ARENA_ARRAY(env->scratch, double, count);
  float *out = PRN_ARENA_ARRAY(env->scratch, float, count);
  float v[512];
  for (int64_t at = 0, n, all = prn_tensor_count(w); at < all; at += n) {
    n = all - at < 512 ? all - at : 512;
    prn_tensor_read_f32(w, at, n, v);
    for (int64_t i = 0; i < n; i++)
      sums[prn_triples_index(t->at, t->n, at + i)] += fabs((double)v[i]);
  }
  for (int64_t i = 0; i < count; i++)
    out[i] = (float)sums[i];
  return out;
}

static const prn_attr *vector(const prn_pass_env *env, const float *v,
                              int64_t n) {
  const prn_type *type = prn_type_static(env->ctx, PRN_F32, 1, &n);
  return prn_attr_tensor(env->ctx, prn_tensor_from_data(env->ctx, type, v));
}

static const prn_attr *make_attr(const prn_pass_env *env, const prn_site *s,
                                 const prn_triples *channels,
                                 const float *norms, int64_t num_channels) {
  static const char *const words[] = {"l1", "l2", "linf", "min"};
  const struct opts *o = env->opts;
  prn_ctx *ctx = env->ctx;
  prn_triples t[LISTS] = {[CHANNELS] = *channels};
  int64_t rows = prn_triples_of(s, prn_site_axes(s, PRN_ROLES_ROW), &t[ROWS]);
  int64_t cols = prn_triples_of(s, prn_site_axes(s, PRN_ROLES_COL), &t[COLS]);
  const prn_attr *v[LISTS] = {
      vector(env, sums_of(env, s, &t[ROWS], rows), rows),
      vector(env, sums_of(env, s, &t[COLS], cols), cols),
      vector(env, norms, num_channels)};
  prn_named_attr entries[2 + 2 * LISTS] = {
      {prn_intern_cstr(ctx, "kind"), prn_attr_string(ctx, PRN_STR("ria"))},
      {prn_intern_cstr(ctx, "metric"),
       prn_attr_string(ctx, prn_str_from(words[o->metric]))}};
  for (int i = 0; i < LISTS; i++) {
    entries[2 + 2 * i] = (prn_named_attr){
        prn_intern_cstr(ctx, index_names[i]),
        prn_attr_ints(ctx, t[i].at, (size_t)PRN_TRIPLE * t[i].n)};
    entries[3 + 2 * i] =
        (prn_named_attr){prn_intern_cstr(ctx, number_names[i]), v[i]};
  }
  return prn_attr_dict(ctx, entries, PRN_COUNT(entries));
}

static const prn_attr *attach(const prn_pass_env *env, const prn_site *site) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const float one = 1;
  prn_triples t = {.n = 0};
  bool wrong = false;
  if (o->power == 0 && !site->mixed) return make_attr(env, site, &t, &one, 1);
  int64_t channels = site->mixed ? 0 : prn_channels_find(site, &t);
  float *norms =
      channels ? prn_channel_norms(env, site, channels, &wrong) : NULL;
  for (int64_t i = 0; norms && i < channels; i++)
    norms[i] = (float)pow((double)norms[i], o->power);
  if (norms) return make_attr(env, site, &t, norms, channels);
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
  if (o->power > 0) PRN_TRY(prn_pass_need_profile(env, ""));
  prn_score_attach(
      env, &(prn_score_filter){o->embeddings, o->depthwise, o->min_size},
      attach, &s->scored, &s->skipped);
  return sink->errors == errors ? PRN_OK : PRN_FAIL;
}

const prn_pass prn_pass_score_ria = {
    .name = "score-ria",
    .summary = "Score weights by their shares of rows and columns, and by what "
               "they are multiplied with",
    .doc = "Needs a profile (--profile) unless power=0.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES | PRN_SHAPES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
