/* observe: make what weights are multiplied with outputs of the graph.
 *
 * A model that ran through this pass shows, beside its results, everything that
 * a calibration profile keeps statistics of. A value that several weights read
 * becomes one output, called by its name; one that is an output already stays
 * that. */
#include "passes/analysis/observed.h"
#include "passes/transform/outputs.h"

#define OPTIONS(X)
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

static prn_status run(prn_pass_env *env, prn_module *m) {
  struct stats *s = env->stats;
  const prn_sites *sites = prn_pass_weight_sites(env);
  prn_site_inputs all = prn_sites_observable(sites, env->scratch);
  PRN_EACH_OP(top, m->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    prn_outputs o = prn_outputs_open(env, top, all.size);
    for (size_t i = 0; o.ret && i < all.size; i++)
      if (all.at[i].value->block->parent == top)
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
    PRN_PASS_COMMON,
};
