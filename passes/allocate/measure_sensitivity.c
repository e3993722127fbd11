/* measure-sensitivity: how much each weight's losses matter to the outputs.
 *
 * One weight after the other is pruned by SparseGPT, as far as `share` says,
 * and the model runs on the data of --calibration beside what it was. What its
 * outputs lose of their squares, over what the weight loses of its outputs'
 * squares, is the weight's sensitivity: allocate-loss counts losses by it. The
 * weight then is what it was. */
#include <math.h>

#include "passes/allocate/losses.h"

#define OPTIONS(X)                                                             \
  X(FLOAT, share, 0.5, "[0.05,0.95]", "Share of a weight's entries that goes") \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                           \
    "Added to the diagonal of the moments, as a share of its mean")
#define STATS(X)                 \
  X(weights, "weights measured") \
  X(skipped, "weights without moments")
PRN_PASS_TABLES;

typedef struct job {
  prn_pass_env *env;
  prn_module *module;
  const prn_lapack *lapack;
  prn_str *outputs;
  double *squares; /* of them, before */
  size_t num_outputs;
} job;

/* Outputs of floats: their names. */
static void find_outputs(job *j) {
  PRN_EACH_OP(top, j->module->body) {
    if (!prn_op_is(top, PRN_OP_onnx_graph)) continue;
    const prn_op *ret = prn_op_block(top, "body")->last;
    const prn_attr *names = prn_op_attr(top, "outputs");
    j->outputs = PRN_ARENA_ARRAY(j->env->scratch, prn_str, ret->num_operands);
    for (uint32_t i = 0; i < ret->num_operands; i++) {
      const prn_value *v = prn_op_operand(ret, i);
      prn_str name = v ? v->name : PRN_STR("");
      if (names && names->kind == PRN_ATTR_STRINGS && i < names->size)
        name = names->strings[i];
      bool scalar = v && prn_type_is_ranked(v->type) && v->type->rank == 0;
      if (v && name.size && !scalar && v->type->kind == PRN_TYPE_TENSOR &&
          prn_dtype_is_float(v->type->dtype))
        j->outputs[j->num_outputs++] = name;
    }
    return;
  }
}

/* Sums over channels of the mean squares of an output. */
static double squares(const prn_observation *o) {
  double sum = 0;
  for (int64_t c = 0; c < o->channels && o->count; c++)
    sum += prn_observation_square(o, c);
  return sum;
}

/* What the outputs were, on the data. */
static prn_status look_before(job *j) {
  prn_profile seen = {0};
  prn_status status = prn_pass_run_on_data(j->env, j->module, j->outputs,
                                           j->num_outputs, 1, &seen);
  j->squares = PRN_ARENA_ARRAY(j->env->scratch, double, j->num_outputs);
  for (size_t i = 0; i < j->num_outputs; i++) {
    const prn_observation *o = prn_profile_find_any(&seen, j->outputs[i]);
    j->squares[i] = o ? squares(o) : 0;
  }
  prn_profile_clear(&seen);
  return status;
}

/* E[(y' - y)^2] / E[y^2], y what outputs were, on average over them. */
static double distance(const job *j, const prn_profile *seen) {
  double sum = 0;
  for (size_t i = 0; i < j->num_outputs; i++) {
    const prn_observation *o = prn_profile_find_any(seen, j->outputs[i]);
    if (!o || !o->cross || j->squares[i] <= 0) continue;
    double lost = j->squares[i] + squares(o);
    for (int64_t c = 0; c < o->channels; c++)
      lost -= 2 * o->cross[c];
    sum += fmax(lost, 0) / j->squares[i] / (double)j->num_outputs;
  }
  return sum;
}

/* ---- one weight ---- */

/* Prunes the weight as far as asked; *loss is what its outputs lose. */
static prn_status prune(job *j, prn_layer *l, double *loss) {
  const struct opts *o = j->env->opts;
  int64_t prune = (int64_t)((double)prn_layer_entries(l) * o->share);
  uint64_t pruned;
  PRN_TRY(prn_layer_lose(l, j->lapack, o->damping, prune, loss));
  return prn_layer_write(l, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED},
                         &pruned);
}

static prn_status measure(job *j, prn_layer *l, double *out) {
  prn_op *c = l->site->constant;
  const prn_attr *before = prn_op_attr(c, "value");
  const prn_type *type = c->results[0].type;
  prn_profile seen = {0};
  double loss;
  prn_status status = prune(j, l, &loss);
  if (status == PRN_OK)
    status = prn_pass_run_on_data(j->env, j->module, j->outputs, j->num_outputs,
                                  1, &seen);
  if (status == PRN_OK) *out = loss > 0 ? distance(j, &seen) / loss : 0;
  prn_profile_clear(&seen);
  prn_op_set_attr(c, "value", before);
  c->results[0].type = type;
  return status;
}

static prn_status visit(job *j, const prn_site *site) {
  struct stats *s = j->env->stats;
  const char *why;
  prn_layer l;
  double found = 0;
  if (!prn_pass_site_selected(j->env, site->constant) || !site->prunable)
    return PRN_OK;
  prn_status status = prn_layer_open(j->env, site, false, &l, &why);
  if (status == PRN_OK && why) {
    s->skipped++;
    prn_pass_remark(j->env, site->constant, PRN_REASON_NotObserved,
                    "'%.*s' is not measured: %s", PRN_STR_ARG(site->name), why);
  } else if (status == PRN_OK) {
    status = measure(j, &l, &found);
    if (status == PRN_OK) prn_sensitivity_give(site->constant, found);
    prn_pass_remark(j->env, site->constant, PRN_REASON_Measured,
                    "the outputs lose %.3g of what '%.*s' does", found,
                    PRN_STR_ARG(site->name));
    s->weights++;
  }
  prn_layer_close(&l);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  job j = {.env = env, .module = m};
  PRN_TRY(prn_layers_check(env));
  if (!(j.lapack = prn_lapack_open(prn_ctx_diags(env->ctx)))) return PRN_FAIL;
  find_outputs(&j);
  if (!j.num_outputs)
    return prn_pass_error(env, "the model has no output of floats");
  prn_status status = prn_pass_pair_data(env, m);
  if (status == PRN_OK) status = look_before(&j);
  for (size_t i = 0; i < sites->size && status == PRN_OK; i++)
    status = visit(&j, &sites->at[i]);
  if (prn_pass_pair_data(env, NULL) != PRN_OK) status = PRN_FAIL;
  return status;
}

static prn_status check(prn_pass_env *env) {
  if (prn_pass_has_data(env)) return PRN_OK;
  return prn_pass_error(env, "needs the user's data: prune-opt "
                             "--calibration=FILE.npz");
}

const prn_pass prn_pass_measure_sensitivity = {
    .name = "measure-sensitivity",
    .summary = "Measure how much each weight's losses matter to the outputs",
    .doc = "Needs a profile with full moments (--profile) and data "
           "(--calibration), on which the model runs once for every weight. "
           "For allocate-loss and sensitivity.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
