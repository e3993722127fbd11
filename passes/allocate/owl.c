/* allocate-owl: weights with more outliers get fewer zeros.
 *
 * D is the percentage of a weight's entries whose |w| ||x|| is more than m
 * times the mean of the weight. Its density is D stretched over 2 lambda,
 * moved so that the mean over weights is 1 - sparsity. Yin et al., "Outlier
 * weighed layerwise sparsity (OWL)", 2023, where layers are whole blocks of a
 * transformer; here each weight is one. */
#include "passes/allocate/allocate.h"
#include "passes/score/score.h"

#define OPTIONS(X)                                                        \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of all entries that goes")   \
  X(FLOAT, lambda, 0.08, "[0,0.5]", "How far densities go from the mean") \
  X(FLOAT, m, 5, "[1,1e6]", "An outlier is more than so many times the mean")
#define STATS(X) X(weights, "weights given a share")
PRN_PASS_TABLES;

typedef struct layer {
  prn_op *constant;
  double outliers, count; /* percentage; entries */
} layer;

static prn_status measure(const prn_pass_env *env, layer *l) {
  const struct opts *o = env->opts;
  prn_score s;
  float buf[1024];
  double sum = 0, over = 0;
  PRN_TRY(prn_score_open(l->constant, &s));
  if (!s.kind->eval)
    return prn_pass_error(env, "by %s scores, %s is what chooses", s.kind->name,
                          s.kind->chooser);
  int64_t n = prn_tensor_count(s.tensor);
  for (int pass = 0; pass < 2; pass++)
    for (int64_t at = 0, len; at < n; at += len) {
      len = n - at < 1024 ? n - at : 1024;
      PRN_TRY(prn_score_read(&s, at, len, buf));
      for (int64_t i = 0; i < len; i++)
        if (pass == 0)
          sum += (double)buf[i];
        else
          over += (double)buf[i] > o->m * sum / (double)n;
    }
  l->count = (double)n;
  l->outliers = n ? 100 * over / (double)n : 0;
  return PRN_OK;
}

static void share_out(const prn_pass_env *env, const layer *all, size_t n) {
  const struct opts *o = env->opts;
  double *outliers = PRN_ARENA_ARRAY(env->scratch, double, 3 * n);
  double *counts = outliers + n, *shares = counts + n;
  for (size_t i = 0; i < n; i++) {
    outliers[i] = all[i].outliers;
    counts[i] = all[i].count;
  }
  prn_allocate_owl(outliers, counts, n, o->sparsity, o->lambda, shares);
  for (size_t i = 0; i < n; i++) {
    prn_share_give(all[i].constant, shares[i]);
    prn_pass_remark(env, all[i].constant, PRN_REASON_Allocated,
                    "%s, of which %.3g %% are outliers, gets %.1f %% zeros",
                    prn_value_str(&all[i].constant->results[0]),
                    all[i].outliers, 100 * shares[i]);
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  struct stats *s = env->stats;
  layer *all = PRN_ARENA_ARRAY(env->scratch, layer, sites->size);
  size_t n = 0;
  (void)m;
  for (size_t i = 0; i < sites->size; i++) {
    prn_op *c = sites->at[i].constant;
    if (!prn_op_attr(c, prn_score_attr) || !prn_pass_site_selected(env, c))
      continue;
    all[n] = (layer){.constant = c};
    PRN_TRY(measure(env, &all[n++]));
  }
  if (!n)
    return prn_pass_error(env, "no weight has a score: run a score-* pass "
                               "first, such as score-wanda");
  share_out(env, all, n);
  s->weights += n;
  return PRN_OK;
}

const prn_pass prn_pass_allocate_owl = {
    .name = "allocate-owl",
    .summary = "Give weights with many outliers fewer zeros",
    .doc = "After score-wanda. select-unstructured, prune-obs or prune-admm "
           "then take each weight's share instead of their sparsity.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    PRN_PASS_COMMON,
};
