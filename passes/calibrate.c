/* calibrate: the model runs on the user's data, and passes see a profile of it.
 *
 * The same as prune-run --profile-out and prune-opt --profile, without a file,
 * and of the module as it is here. With `folds`, passes that fit weights also
 * try on each part of the data what they fitted on the others. */
#include "passes/pass.h"

#define OPTIONS(X) PRN_SEE_OPTIONS(X)
#define STATS(X)   X(values, "values that were observed")
PRN_PASS_TABLES;

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_seen seen;
  PRN_TRY(prn_pass_see_data(env, m, NULL, 0, PRN_SEE_BLOCK(o), (size_t)o->folds,
                            &seen));
  s->values += seen.all.size;
  prn_pass_set_profile(env, &seen);
  return PRN_OK;
}

static prn_status check(prn_pass_env *env) {
  if (prn_pass_has_data(env)) return PRN_OK;
  return prn_pass_error(env, "needs the user's data: prune-opt "
                             "--calibration=FILE.npz");
}

const prn_pass prn_pass_calibrate = {
    .name = "calibrate",
    .summary = "Run the model on data, and profile what weights see",
    .doc = "Needs data (--calibration) and prune-run beside prune-opt. In "
           "place of the profile of --profile, if there is one. What it holds "
           "is of the module as it is here: passes that change values come "
           "before.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
