#include "passes/select/select.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

prn_status prn_select_unscored(const prn_pass_env *env) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  bool on_request = false;
  for (size_t i = 0; i < sites->size; i++) {
    const prn_site *s = &sites->at[i];
    if (!prn_pass_site_selected(env, s->constant)) continue;
    if (s->prunable)
      return prn_pass_error(env, "no weight has a score: run a score-* pass "
                                 "first, such as score-magnitude");
    on_request |=
        s->reason == PRN_REASON_Depthwise || s->reason == PRN_REASON_Embedding;
  }
  prn_pass_warning(
      env, on_request
               ? "there is nothing to select from: the model has only weights "
                 "that are scored on request, as by "
                 "score-magnitude{depthwise=true embeddings=true}"
               : "there is nothing to select from: the model has no weight "
                 "that can be pruned");
  return PRN_OK;
}

static int64_t gone_before(const prn_tensor *t, int64_t count) {
  return t->mask ? count - prn_bits_count(t->mask->data, count) : 0;
}

prn_status prn_targets_collect(const prn_pass_env *env, prn_targets *out) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  *out = (prn_targets){0};
  out->at = PRN_ARENA_ARRAY(env->scratch, prn_target, sites->size);
  for (size_t i = 0; i < sites->size; i++) {
    const prn_site *s = &sites->at[i];
    prn_target *t = &out->at[out->size];
    if (!prn_op_attr(s->constant, prn_score_attr) ||
        !prn_pass_site_selected(env, s->constant)) {
      prn_pass_remark(env, s->constant, PRN_REASON_NotScored,
                      "'%.*s' has no score", PRN_STR_ARG(s->name));
      continue;
    }
    PRN_TRY(prn_score_open(s->constant, &t->score));
    if (!t->score.kind->eval)
      return prn_pass_error(env, "by %s scores, %s is what chooses",
                            t->score.kind->name, t->score.kind->chooser);
    t->site = s;
    t->count = prn_tensor_count(t->score.tensor);
    t->gone = gone_before(t->score.tensor, t->count);
    out->size++;
  }
  if (out->size) return PRN_OK;
  return prn_select_unscored(env);
}

/* From here on a model's pages are let go after use. Those of smaller ones are
 * left for the writer, who reads them next. */
#define LARGE_MODEL ((size_t)1 << 31)

void prn_target_leave(const prn_target *t) {
  const prn_blob *b = t->score.tensor->data;
  prn_op_set_attr(t->site->constant, prn_score_attr, NULL);
  if (b->file && prn_file_bytes(b->file).size >= LARGE_MODEL)
    prn_file_done(b->file, (size_t)b->offset, b->size);
}

uint64_t prn_target_finish(const prn_pass_env *env, const prn_target *t,
                           const prn_mask *mask, prn_sparsity claim) {
  prn_op *op = t->site->constant;
  int64_t kept = prn_bits_count(mask->bits, t->count);
  bool changes = t->gone || kept < t->count;
  prn_target_leave(t);
  if (changes) prn_mask_attach(op, mask);
  kept = prn_bits_count(mask->bits, t->count);
  /* tiles that an earlier mask left ragged, or that only the data shows */
  if (claim.kind == PRN_SPARSE_BLOCK && (t->gone || !changes))
    claim.kind = PRN_SPARSE_UNSTRUCTURED;
  prn_sparsity now = prn_site_tensor(t->site)->type->sparsity;
  if (claim.kind > PRN_SPARSE_UNSTRUCTURED ||
      (changes && now.kind == PRN_SPARSE_NONE))
    prn_constant_claim(op, claim);
  prn_pass_remark(env, op, changes ? PRN_REASON_Pruned : PRN_REASON_NothingToDo,
                  "'%.*s' keeps %lld of %lld entries",
                  PRN_STR_ARG(t->site->name), (long long)kept,
                  (long long)t->count);
  return (uint64_t)(t->count - t->gone - kept);
}

int64_t prn_share_of(double sparsity, int64_t n) {
  double k = nearbyint(sparsity * (double)n);
  return k <= 0 ? 0 : k >= (double)n ? n : (int64_t)k;
}

prn_status prn_check_share(prn_pass_env *env) {
  if (prn_pass_given(env, "count") && prn_pass_given(env, "sparsity"))
    return prn_pass_error(env, "give either sparsity or count");
  return PRN_OK;
}

bool prn_line_of(const prn_site *s, int32_t first, int32_t last,
                 prn_line *out) {
  prn_factor run;
  int64_t count = prn_tensor_count(prn_site_tensor(s));
  if (count == 0 || !prn_layout_run(&s->layout, first, last + 1, &run))
    return false;
  *out =
      (prn_line){.length = run.size, .inner = run.size == 1 ? 1 : run.stride};
  out->outer = count / (run.size * out->inner);
  return true;
}

bool prn_axis_with(const prn_site *s, prn_role role, int32_t *axis) {
  int found = 0;
  for (int32_t i = 0; i < s->layout.rank; i++)
    if (s->roles[i] == role && found++ == 0) *axis = i;
  return found == 1;
}

/* Floats as integers that compare the same: negative ones have their value
 * bits turned round. -0 has become +0, so that no float gives INT32_MIN but a
 * NaN. */
static void to_keys(const float *v, int64_t n, int32_t *out) {
  for (int64_t i = 0; i < n; i++) {
    float f = v[i] + 0.0f;
    int32_t bits;
    memcpy(&bits, &f, sizeof bits);
    out[i] = bits ^ (bits < 0 ? INT32_MAX : 0);
  }
}

static bool keys_of_scores(const prn_score *s, int64_t at, int64_t n,
                           int32_t *out) {
  float buf[PRN_KEY_CHUNK];
  if (prn_score_try(s, at, n, buf) >= 0) return false;
  to_keys(buf, n, out);
  return true;
}

bool prn_keys_try(const prn_score *s, int64_t at, int64_t n, int32_t *out) {
  assert(n <= PRN_KEY_CHUNK);
  if ((!s->kind->keys || !s->kind->keys(s, at, n, out)) &&
      !keys_of_scores(s, at, n, out))
    return false;
  if (!s->tensor->mask) return true;
  const void *mask = s->tensor->mask->data;
  for (int64_t i = 0; i < n; i++)
    out[i] = prn_mask_keeps(mask, at + i) ? out[i] : PRN_KEY_GONE;
  return true;
}

prn_status prn_keys_read(const prn_score *s, int64_t at, int64_t n,
                         int32_t *out) {
  float buf[PRN_KEY_CHUNK];
  return prn_keys_try(s, at, n, out) ? PRN_OK : prn_score_read(s, at, n, buf);
}

static uint32_t ordered(int32_t key) { return (uint32_t)key ^ 0x80000000u; }

/* Radix selection: a digit at a time from the top, keeping the keys whose
 * digits agree with the wanted one's so far. The first digit is wide, because
 * the keys of one tensor share most of their exponent bits. */
int32_t prn_keys_nth(int32_t *keys, int64_t n, int64_t rank, int64_t *below) {
  static const uint32_t shifts[] = {21, 14, 7, 0};
  int64_t bins[1 << 11], smaller = 0;
  uint32_t mask = (1u << 11) - 1;
  assert(0 <= rank && rank < n);
  for (size_t k = 0; k < PRN_COUNT(shifts); k++, mask = 127) {
    uint32_t shift = shifts[k], digit = 0;
    int64_t at = 0, kept = 0;
    memset(bins, 0, (mask + 1) * sizeof *bins);
    for (int64_t i = 0; i < n; i++)
      bins[ordered(keys[i]) >> shift & mask]++;
    while (at + bins[digit] <= rank)
      at += bins[digit++];
    rank -= at;
    smaller += at;
    for (int64_t i = 0; i < n; i++) {
      int32_t key = keys[i];
      keys[kept] = key;
      kept += (ordered(key) >> shift & mask) == digit;
    }
    n = kept;
  }
  *below = smaller;
  return keys[0];
}

static void score_by_index(const prn_score *s, int64_t n, double *out) {
  float buf[256];
  for (int64_t at = 0; at < n; at += 256) {
    int64_t k = n - at < 256 ? n - at : 256;
    s->kind->eval(s, at, k, buf);
    for (int64_t i = 0; i < k; i++)
      out[at + i] = (double)buf[i];
  }
}

prn_status prn_groups_score(const prn_score *s, const prn_groups *g,
                            double *out) {
  int64_t entries = prn_tensor_count(s->tensor), group[PRN_KEY_CHUNK];
  float buf[PRN_KEY_CHUNK];
  const void *mask = s->tensor->mask ? s->tensor->mask->data : NULL;
  if (s->kind->by_index) {
    score_by_index(s, g->count, out);
    return PRN_OK;
  }
  for (int64_t i = 0; i < g->count; i++)
    out[i] = prn_norm_start(s->norm);
  for (int64_t at = 0; at < entries; at += PRN_KEY_CHUNK) {
    int64_t n = entries - at < PRN_KEY_CHUNK ? entries - at : PRN_KEY_CHUNK;
    PRN_TRY(prn_score_read(s, at, n, buf));
    g->of(g->user, at, n, group);
    for (int64_t i = 0; i < n; i++) {
      bool gone = mask && !prn_mask_keeps(mask, at + i);
      double *sum = &out[group[i]];
      *sum = prn_norm_add(s->norm, *sum, gone ? 0 : (double)buf[i]);
    }
  }
  for (int64_t i = 0; s->norm == PRN_NORM_L2 && i < g->count; i++)
    out[i] = sqrt(out[i]);
  return PRN_OK;
}

prn_status prn_groups_mask(prn_ctx *ctx, int64_t entries, const prn_groups *g,
                           const unsigned char *prune, prn_mask *out) {
  int64_t group[PRN_KEY_CHUNK];
  unsigned char keep[PRN_KEY_CHUNK];
  PRN_TRY(prn_mask_create(ctx, entries, true, out));
  for (int64_t at = 0; at < entries; at += PRN_KEY_CHUNK) {
    int64_t n = entries - at < PRN_KEY_CHUNK ? entries - at : PRN_KEY_CHUNK;
    g->of(g->user, at, n, group);
    for (int64_t i = 0; i < n; i++)
      keep[i] = !prune[group[i]];
    prn_mask_put(out, at, n, keep);
  }
  return PRN_OK;
}

typedef struct ranked {
  double score;
  int64_t index;
} ranked;

static int by_rank(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score != y->score) return x->score < y->score ? -1 : 1;
  return (x->index > y->index) - (x->index < y->index);
}

void prn_groups_lowest(const double *scores, int64_t n, int64_t k,
                       unsigned char *prune) {
  ranked *r = prn_alloc(prn_array_size(sizeof *r, (size_t)(n ? n : 1)));
  for (int64_t i = 0; i < n; i++)
    r[i] = (ranked){scores[i], i};
  qsort(r, (size_t)n, sizeof *r, by_rank);
  memset(prune, 0, (size_t)n);
  for (int64_t i = 0; i < k && i < n; i++)
    prune[r[i].index] = 1;
  prn_free(r);
}
