/* prune-obs: SparseGPT. Columns are pruned one by one, and those behind make up
 * for what goes.
 *
 * Needs a profile with full moments. Frantar and Alistarh, "SparseGPT: massive
 * language models can be accurately pruned in one-shot", 2023; the method is in
 * passes/solve/obs.c. prune-admm with effort=2 or more is never worse on the
 * calibration data. */
#include "passes/prune/prune.h"

#define OPTIONS(X)                                                             \
  PRN_PRUNE_OPTIONS(X)                                                         \
  X(INT, block, 128, "[1,65536]",                                              \
    "Input channels that entries are ranked among at a time, each block "      \
    "giving its share: more see better what to prune, fewer see more of what " \
    "was made up for")                                                         \
  X(ENUM, ties, exact, "exact|le",                                             \
    "exact: as many entries as asked for. le: with scope=tensor, "             \
    "floor(sparsity*n) + 1 of every block, as in the authors' code")
#define STATS(X) PRN_PRUNE_STATS(X)
PRN_PASS_TABLES;

enum { EXACT, LE };

static const char *solve(const void *opts, prn_solve *s, prn_solution *x,
                         prn_strbuf *how) {
  const struct opts *o = opts;
  const prn_obs_options obs = {
      .block = o->block, .le = o->ties == LE, .share = o->sparsity};
  (void)how;
  return prn_solve_obs(s, &obs, x);
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  return prn_prune_check(env, o->n, o->m);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_prune p = {PRN_PRUNE_OF(o), .solve = solve, .probe = solve};
  prn_prune_counts counts = {0};
  (void)m;
  prn_status status = prn_prune_run(env, &p, &counts);
  s->weights += counts.weights;
  s->skipped += counts.skipped;
  s->pruned += counts.pruned;
  s->damped += counts.damped;
  return status;
}

const prn_pass prn_pass_prune_obs = {
    .name = "prune-obs",
    .summary = "Prune weights and update the others to make up for it "
               "(SparseGPT)",
    .doc = "Needs a profile with full moments (prune-run "
           "--profile-moments=full). Weights whose inputs it says nothing of "
           "are left alone; --remarks=FILE says which, and how much each "
           "weight lost. prune-admm takes longer and loses less.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .check = check,
    PRN_PASS_COMMON,
};
