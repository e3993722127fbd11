/* observe: make what weights are multiplied with outputs of the graph.
 *
 * A model that ran through this pass shows, beside its results, everything that
 * a calibration profile keeps statistics of. A value that several weights read
 * becomes one output, called by its name; one that is an output already stays
 * that. With `only` what leads to none of the values can go. */
#include "passes/analysis/observed.h"
#include "passes/transform/outputs.h"

#define OPTIONS(X)                                                      \
  X(STRINGS, values, , "",                                              \
    "Show these values, by their names: inputs of weights, or outputs") \
  X(BOOL, only, false, "", "Drop all other outputs")
#define STATS(X)                               \
  X(observed, "values that are outputs now")   \
  X(known, "values that were outputs already") \
  X(hidden, "inputs of weights that cannot be")
PRN_PASS_TABLES;

/* Says what became of the input of every use. */
static void remark(const prn_pass_env *env, const prn_site *site) {
  struct stats *s = env->stats;
  for (size_t i = 0; i < site->num_uses; i++) {
    const prn_site_use *use = &site->uses[i];
    prn_site_input in;
    bool any = prn_site_input_of(use->op, use->slot, &in);
    const char *why = any ? prn_site_input_hidden(&in) : "has no channels";
    s->hidden += why != NULL;
    prn_pass_remark(
        env, site->constant, why ? PRN_REASON_NotObserved : PRN_REASON_Observed,
        "the input of '%.*s' in %.*s %s", PRN_STR_ARG(site->name),
        PRN_STR_ARG(prn_op_subject(use->op)), why ? why : "is observed");
  }
}

static bool is_wanted(const prn_strs *wanted, prn_str name) {
  for (size_t i = 0; i < wanted->size; i++)
    if (prn_str_eq(wanted->at[i], name)) return true;
  return wanted->size == 0;
}

/* Every value that the user names is there. */
static prn_status check_values(const prn_pass_env *env, prn_module *m,
                               const prn_site_inputs *all) {
  const struct opts *o = env->opts;
  prn_map known = {0};
  prn_status status = PRN_OK;
  for (size_t i = 0; i < all->size; i++)
    *prn_map_slot(&known, all->at[i].value->name) = &known;
  PRN_EACH_OP(top, m->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    prn_outputs outputs = prn_outputs_open(env, top, 0);
    for (uint32_t i = 0; i < outputs.size; i++)
      *prn_map_slot(&known, outputs.names[i]) = &known;
  }
  for (size_t i = 0; i < o->values.size; i++)
    if (!prn_map_find(&known, o->values.at[i]))
      status = prn_pass_error(env,
                              "no weight reads a value '%.*s', and it is no "
                              "output",
                              PRN_STR_ARG(o->values.at[i]));
  prn_map_destroy(&known);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *options = env->opts;
  struct stats *s = env->stats;
  const prn_sites *sites = prn_pass_weight_sites(env);
  prn_site_inputs all = prn_sites_observable(sites, env->scratch);
  PRN_TRY(check_values(env, m, &all));
  PRN_EACH_OP(top, m->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    prn_outputs o = prn_outputs_open(env, top, all.size);
    if (options->only) prn_outputs_keep(&o, &options->values);
    for (size_t i = 0; o.ret && i < all.size; i++)
      if (all.at[i].value->block->parent == top &&
          is_wanted(&options->values, all.at[i].value->name))
        prn_outputs_add(&o, all.at[i].value);
    s->observed += o.added;
    s->known += o.known;
    prn_outputs_close(env, &o);
  }
  for (size_t i = 0; i < sites->size; i++)
    remark(env, &sites->at[i]);
  return PRN_OK;
}

const prn_pass prn_pass_observe = {
    .name = "observe",
    .summary = "Make what weights are multiplied with outputs of the graph",
    .doc = "prune-run --profile-out runs it, and keeps statistics of these "
           "outputs.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .keeps = PRN_SHAPES | PRN_WEIGHTS,
    .exact = true,
    .exact_unless = "only",
    PRN_PASS_COMMON,
};
