/* select-layers: the residual branches of smallest score go.
 *
 * A layer is a branch y = x + f(x), or `span` of them in a row. Its score is
 * what score-block-influence found, or else the mean of the scores of the
 * entries of its weights. The weights at its end become zero, so that y is x;
 * compact-layers then removes it. */
#include <string.h>

#include "passes/analysis/branches.h"
#include "passes/select/select.h"

#define OPTIONS(X)                                                   \
  X(FLOAT, ratio, 0.25, "[0,1]", "Fraction of the layers that goes") \
  X(INT, count, 0, "[0,inf)", "Number of layers that goes, instead") \
  X(INT, span, 1, "[1,4]",                                           \
    "Branches that go together: two are attention and FFN of a "     \
    "transformer's layer; as score-block-influence was told")
#define STATS(X)                 \
  X(layers, "layers there were") \
  X(removed, "layers removed")   \
  X(pruned, "entries pruned by this pass")
PRN_PASS_TABLES;

typedef struct job {
  const prn_pass_env *env;
  prn_branches all;
  const size_t *first; /* of layers: their first branches */
  size_t n;
  double *scores;
} job;

static size_t span_of(const job *j) {
  return (size_t)((const struct opts *)j->env->opts)->span;
}

/* ---- scores ---- */

static prn_status add_weight(const prn_op *constant, double *sum, double *n) {
  prn_score s;
  float buf[1024];
  PRN_TRY(prn_score_open(constant, &s));
  if (!s.kind->eval) return PRN_OK;
  int64_t count = prn_tensor_count(s.tensor);
  for (int64_t at = 0, len; at < count; at += len) {
    len = count - at < 1024 ? count - at : 1024;
    PRN_TRY(prn_score_read(&s, at, len, buf));
    for (int64_t i = 0; i < len; i++)
      if (!s.tensor->mask || prn_mask_keeps(s.tensor->mask->data, at + i))
        *sum = prn_norm_add(s.norm, *sum, (double)buf[i]);
  }
  *n += (double)count;
  return PRN_OK;
}

/* The influence that was attached to the layer; *found says whether. */
static prn_status influence(const job *j, const prn_branch *b, double *out,
                            bool *found) {
  const struct opts *o = j->env->opts;
  prn_score s;
  *found = false;
  if (!prn_op_attr(b->ends[0], prn_score_attr)) return PRN_OK;
  PRN_TRY(prn_score_open(b->ends[0], &s));
  if (s.kind != &prn_score_kind_block_influence) return PRN_OK;
  if (prn_dict_get(s.attr, "span")->i != o->span)
    return prn_pass_error(j->env,
                          "layers were scored with span=%lld, but are to go "
                          "with span=%lld",
                          (long long)prn_dict_get(s.attr, "span")->i,
                          (long long)o->span);
  *out = (double)prn_dict_get(s.attr, "influence")->f;
  *found = true;
  return PRN_OK;
}

static prn_status score(const job *j, size_t i, bool *scored) {
  const prn_sites *sites = prn_pass_weight_sites(j->env);
  double sum = 0, n = 0;
  PRN_TRY(influence(j, &j->all.at[j->first[i]], &j->scores[i], scored));
  if (*scored) return PRN_OK;
  for (size_t b = j->first[i]; b < j->first[i] + span_of(j); b++)
    for (size_t k = 0; k < j->all.at[b].num_products; k++)
      for (uint32_t slot = 0; slot < 2; slot++) {
        const prn_site *s = prn_site_at(sites, j->all.at[b].products[k], slot);
        if (s && prn_op_attr(s->constant, prn_score_attr))
          PRN_TRY(add_weight(s->constant, &sum, &n));
      }
  *scored = n > 0;
  if (n > 0) j->scores[i] = sum / n;
  return PRN_OK;
}

/* ---- choosing ---- */

/* sites(...) must select all weights of a layer. */
static bool selected(const job *j, size_t first) {
  const prn_sites *sites = prn_pass_weight_sites(j->env);
  for (size_t b = first; b < first + span_of(j); b++)
    for (size_t k = 0; k < j->all.at[b].num_products; k++)
      for (uint32_t slot = 0; slot < 2; slot++) {
        const prn_site *s = prn_site_at(sites, j->all.at[b].products[k], slot);
        if (s && !prn_pass_site_selected(j->env, s->constant)) return false;
      }
  return true;
}

/* The layers that can be ranked. */
static prn_status open(job *j) {
  size_t n, *first = prn_branch_runs(&j->all, span_of(j), j->env->scratch, &n);
  j->scores = PRN_ARENA_ARRAY(j->env->scratch, double, n);
  j->first = first;
  for (size_t i = 0; i < n; i++) {
    bool scored;
    if (!selected(j, first[i])) continue;
    first[j->n] = first[i];
    PRN_TRY(score(j, j->n, &scored));
    j->n += scored;
  }
  if (n && !j->n)
    return prn_pass_error(j->env, "no layer has a score: run a score-* pass "
                                  "first, such as score-block-influence");
  if (!n)
    prn_pass_warning(j->env, "the model has no residual layers that can go: "
                             "print-layers says why");
  return PRN_OK;
}

/* ---- masks ---- */

static prn_status clear(const job *j, const prn_branch *b) {
  struct stats *s = j->env->stats;
  for (size_t i = 0; i < b->num_ends; i++) {
    const prn_tensor *t = prn_value_constant(&b->ends[i]->results[0]);
    int64_t n = prn_tensor_count(t);
    prn_mask mask;
    PRN_TRY(prn_mask_create(j->env->ctx, n, false, &mask));
    s->pruned += (uint64_t)(t->mask ? prn_bits_count(t->mask->data, n) : n);
    prn_mask_attach(b->ends[i], &mask);
  }
  return PRN_OK;
}

static prn_status mask(const job *j, size_t i, bool goes) {
  const prn_branch *first = &j->all.at[j->first[i]];
  for (size_t k = 0; goes && k < span_of(j); k++)
    PRN_TRY(clear(j, first + k));
  prn_pass_remark(j->env, first->add,
                  goes ? PRN_REASON_Pruned : PRN_REASON_NothingToDo,
                  "the layer that is added here, of score %.4g, %s",
                  j->scores[i], goes ? "goes" : "stays");
  return PRN_OK;
}

static void leave(const job *j) {
  const prn_weights *w = prn_pass_weights(j->env);
  for (size_t i = 0; i < w->size; i++)
    prn_op_set_attr(w->ops[i], prn_score_attr, NULL);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  job j = {.env = env, .all = prn_branches_find(m, env->scratch)};
  PRN_TRY(open(&j));
  int64_t n = (int64_t)j.n, k = prn_share_of(o->ratio, n);
  if (prn_pass_given(env, "count")) k = o->count < n ? o->count : n;
  unsigned char *prune = prn_arena_alloc(env->scratch, j.n ? j.n : 1);
  prn_groups_lowest(j.scores, n, k, prune);
  for (size_t i = 0; i < j.n; i++)
    PRN_TRY(mask(&j, i, prune[i]));
  s->layers += (uint64_t)n;
  s->removed += (uint64_t)k;
  leave(&j);
  return PRN_OK;
}

static prn_status check(prn_pass_env *env) {
  if (prn_pass_given(env, "count") && prn_pass_given(env, "ratio"))
    return prn_pass_error(env, "give either ratio or count");
  return PRN_OK;
}

const prn_pass prn_pass_select_layers = {
    .name = "select-layers",
    .summary = "Zero the residual layers of smallest score",
    .doc = "Chooses from the layers that print-layers shows and that can go. "
           "compact-layers then removes what is zero.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SHAPES | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
