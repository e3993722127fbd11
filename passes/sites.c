/* sites: apply passes to the weights whose names match.
 *
 *   sites("encoder.*.attention.*", "!*.query.*"){score-magnitude,...}
 *
 * Passes that score or change weights ask prn_pass_site_selected; everything
 * else in the group runs as if it stood outside. */
#include "passes/pipeline.h"

#define OPTIONS(X)                                               \
  X(STRINGS, names, REQUIRED, "",                                \
    "Patterns of weight names: '*' any run, '?' one character, " \
    "'[a-z]' one of a set; a leading '!' takes names out again")
#define STATS(X) X(matched, "weights that the patterns select")
PRN_PASS_TABLES;

static bool matches(const prn_strs *globs, prn_str name) {
  bool any = false, positive = false;
  for (size_t i = 0; i < globs->size; i++) {
    prn_str g = globs->at[i];
    bool negative = prn_str_starts(g, "!");
    if (negative) g = (prn_str){g.data + 1, g.size - 1};
    if (!negative) positive = true;
    if (!prn_str_glob(g, name)) continue;
    if (negative) return false;
    any = true;
  }
  return any || !positive; /* only exclusions: everything else */
}

static prn_str site_name(const prn_op *constant) {
  return constant->num_results ? constant->results[0].name : PRN_STR("");
}

bool prn_pass_site_selected(const prn_pass_env *env, const prn_op *constant) {
  const prn_pipeline_item *group;
  if (!prn_pass_has_turn(env, site_name(constant))) return false;
  for (unsigned i = 0; (group = prn_pass_group(env, i)); i++) {
    const struct opts *o = group->opts;
    if (group->pass == &prn_pass_sites &&
        !matches(&o->names, site_name(constant)))
      return false;
  }
  return true;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  const prn_weights *w = prn_pass_weights(env);
  (void)m;
  for (size_t i = 0; i < w->size; i++)
    s->matched += prn_pass_site_selected(env, w->ops[i]) &&
                  matches(&o->names, site_name(w->ops[i]));
  if (s->matched == 0)
    prn_pass_warning(env, "\"%.*s\" matches no weight",
                     PRN_STR_ARG(o->names.at[0]));
  return prn_pass_run_body(env);
}

const prn_pass prn_pass_sites = {
    .name = "sites",
    .summary = "Apply passes to the weights whose names match",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .needs = PRN_WEIGHTS,
    .keeps = PRN_ALL_ANALYSES,
    .nests = true,
    PRN_PASS_COMMON,
};
