/* prune-admm: zeros and weights that together come closest to the outputs.
 *
 * What effort asks for is compared with SparseGPT, and in layers that are not
 * large with Wanda, both fitted, and the best is kept, for each output unit or
 * for the weight where that has one budget: on the calibration data it is never
 * worse than SparseGPT. Meng et al., "ALPS", 2024, is effort 3; the methods are
 * in passes/solve. */
#include "passes/prune/prune.h"

#define OPTIONS(X)                                                            \
  PRN_PRUNE_OPTIONS(X)                                                        \
  X(INT, effort, 3, "[1,4]",                                                  \
    "1: zeros by Wanda. 2: by SparseGPT. 3: by ADMM. 4: and then entries "    \
    "trade places as long as that helps. In each the other weights are then " \
    "fitted by least squares")                                                \
  X(BOOL, means, true, "",                                                    \
    "Fit around the means of inputs, and let biases that are there have them")
#define STATS(X) PRN_PRUNE_STATS(X)
PRN_PASS_TABLES;

static const char *solve(const void *opts, prn_solve *s, prn_solution *x,
                         prn_strbuf *how) {
  const struct opts *o = opts;
  prn_best b = {.effort = (int)o->effort};
  const char *why = prn_solve_best(s, &b, x);
  if (why) return why;
  if (!how) return NULL;
  if (b.obs)
    prn_strbuf_fmt(how, "; %lld of %lld rows as SparseGPT chose",
                   (long long)b.obs, (long long)s->rows);
  if (s->swaps)
    prn_strbuf_fmt(how, "; %llu swaps", (unsigned long long)s->swaps);
  return NULL;
}

/* Trades are not what damping depends on, and take long. */
static const char *probe(const void *opts, prn_solve *s, prn_solution *x,
                         prn_strbuf *how) {
  struct opts o = *(const struct opts *)opts;
  if (o.effort > 3) o.effort = 3;
  return solve(&o, s, x, how);
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  return prn_prune_check(env, o->n, o->m);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_prune p = {PRN_PRUNE_OF(o), .means = o->means, .solve = solve,
                       .probe = probe};
  prn_prune_counts counts = {0};
  (void)m;
  prn_status status = prn_prune_run(env, &p, &counts);
  s->weights += counts.weights;
  s->skipped += counts.skipped;
  s->pruned += counts.pruned;
  s->damped += counts.damped;
  return status;
}

const prn_pass prn_pass_prune_admm = {
    .name = "prune-admm",
    .summary = "Prune weights and fit the others, with as much effort as asked "
               "for (ALPS)",
    .doc = "Needs a profile with full moments (prune-run "
           "--profile-moments=full). On the calibration data no result is "
           "worse than SparseGPT's (prune-obs). Weights whose inputs the "
           "profile says nothing of are left alone; --remarks=FILE says which, "
           "how much each weight lost, and by which method.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .check = check,
    PRN_PASS_COMMON,
};
