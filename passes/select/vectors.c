/* select-vectors: whole rows or columns of smallest norm go.
 *
 * axis=out removes output units, axis=in input channels, of each weight by
 * itself: entries become zero, shapes stay. One always stays. (Structured
 * pruning that keeps a network consistent removes channels of coupled weights
 * together.) As torch.nn.utils.prune.ln_structured does it. */
#include "passes/select/select.h"

#define OPTIONS(X)                                                      \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of the vectors that goes") \
  X(INT, count, 0, "[0,inf)", "Number of vectors that goes, instead")   \
  X(ENUM, axis, out, "out|in", "Output units, or input channels")
#define STATS(X)                     \
  X(weights, "weights given a mask") \
  X(skipped, "weights left alone")   \
  X(vectors, "vectors removed")      \
  X(pruned, "entries pruned by this pass")
PRN_PASS_TABLES;

static void vector_of(const void *user, int64_t at, int64_t n, int64_t *out) {
  const prn_line *l = user;
  int64_t inner = at % l->inner, index = at / l->inner % l->length;
  for (int64_t i = 0; i < n; i++) {
    out[i] = index;
    if (++inner < l->inner) continue;
    inner = 0;
    if (++index == l->length) index = 0;
  }
}

static prn_status select_target(const prn_pass_env *env, const prn_target *t) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_site *site = t->site;
  prn_line l;
  int32_t axis;
  if (!prn_axis_with(site, o->axis ? PRN_ROLE_IN : PRN_ROLE_OUT, &axis) ||
      !prn_line_of(site, axis, axis, &l)) {
    s->skipped++;
    prn_pass_remark(env, site->constant, PRN_REASON_BadAxis,
                    "'%.*s' keeps all entries: it has no single axis of that "
                    "kind",
                    PRN_STR_ARG(site->name));
    prn_target_leave(t);
    return PRN_OK;
  }
  prn_groups g = {l.length, vector_of, &l};
  double *scores = PRN_ARENA_ARRAY(env->scratch, double, l.length);
  unsigned char *prune = prn_arena_alloc(env->scratch, (size_t)l.length);
  int64_t k = prn_pass_given(env, "count")
                  ? o->count
                  : prn_share_of(o->sparsity, l.length);
  if (k >= l.length) k = l.length - 1;
  prn_mask mask;
  PRN_TRY(prn_groups_score(&t->score, &g, scores));
  prn_groups_lowest(scores, l.length, k, prune);
  PRN_TRY(prn_groups_mask(env->ctx, t->count, &g, prune, &mask));
  s->weights++;
  s->vectors += (uint64_t)k;
  s->pruned += prn_target_finish(
      env, t, &mask, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED});
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  prn_targets targets;
  (void)m;
  PRN_TRY(prn_targets_collect(env, &targets));
  for (size_t i = 0; i < targets.size; i++)
    PRN_TRY(select_target(env, &targets.at[i]));
  return PRN_OK;
}

const prn_pass prn_pass_select_vectors = {
    .name = "select-vectors",
    .summary = "Remove whole rows or columns of smallest norm",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = prn_check_share,
    PRN_PASS_COMMON,
};
