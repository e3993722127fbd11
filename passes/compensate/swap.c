/* compensate-swap: masked entries come back in exchange for others.
 *
 * After a select pass. In each output unit a masked entry trades places with
 * one that is not, as long as that brings the outputs, with all weights of the
 * unit fitted by least squares, closer to what they were without a mask: no
 * trade makes the error on the calibration data larger. As many entries stay
 * as before: in each unit, and where the mask is n:m along the inputs, in each
 * group. Other patterns of zeros would not outlast a trade, and weights that
 * have them are left alone.
 *
 * Wants a profile with full moments, and weights that nothing has compensated
 * yet: what is under the mask is what outputs are compared with. The method is
 * in passes/solve/swap.c. */
#include "passes/compensate/compensate.h"
#include "passes/compensate/layer.h"

#define OPTIONS(X)                   \
  X(FLOAT, damping, 0.01, "[0,1e9]", \
    "Added to the diagonal of the moments, as a share of its mean")
#define STATS(X)                                                    \
  X(weights, "weights with entries that traded places")             \
  X(swaps, "trades")                                                \
  X(damped, "problems that needed more damping than was asked for") \
  X(skipped, "masked weights left alone")
PRN_PASS_TABLES;

/* What trades must keep; false when none can. */
static bool budget_of(const prn_layer *l, prn_budget *out) {
  prn_sparsity claim = prn_site_tensor(l->site)->type->sparsity;
  int32_t axis;
  *out = (prn_budget){.kind = PRN_BUDGET_ROW};
  if (claim.kind <= PRN_SPARSE_UNSTRUCTURED) return true;
  *out = (prn_budget){.kind = PRN_BUDGET_NM, .n = claim.n, .m = claim.m};
  return claim.kind == PRN_SPARSE_NM &&
         prn_site_memory_axis(l->site, PRN_ROLE_IN, &axis) &&
         axis == claim.axis;
}

static prn_status trade(prn_layer *l, int64_t group, const prn_lapack *lapack,
                        prn_budget budget, uint64_t *swaps) {
  const struct opts *o = l->env->opts;
  struct stats *stats = l->env->stats;
  prn_solve s;
  prn_solution x;
  prn_status status =
      prn_layer_problem(l, group, lapack, o->damping, budget, &s, &x);
  if (status == PRN_OK) {
    const char *why = prn_solve_refit(&s, &x);
    if (!why) why = prn_solve_swap(&s, &x);
    if (why) status = prn_layer_failed(l, why);
    prn_layer_remark_damping(l, &s);
    stats->damped += s.raised > s.damping;
    *swaps += s.swaps;
  }
  prn_solve_close(&s);
  return status;
}

static prn_status trade_layer(prn_layer *l, const prn_lapack *lapack,
                              prn_budget budget) {
  struct stats *s = l->env->stats;
  uint64_t swaps = 0, pruned;
  l->trades = true;
  for (int64_t i = 0; i < l->rows * l->cols; i++) {
    l->x.keep[i] = !l->gone[i];
    l->x.weights[i] = l->gone[i] ? 0 : l->target[i];
  }
  for (int64_t g = 0; g < l->groups; g++)
    PRN_TRY(trade(l, g, lapack, budget, &swaps));
  PRN_TRY(prn_layer_write(l, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED},
                          &pruned));
  s->swaps += swaps;
  s->weights += swaps > 0;
  prn_pass_remark(l->env, l->site->constant, PRN_REASON_Pruned,
                  "in '%.*s' %llu entries trade places",
                  PRN_STR_ARG(l->site->name), (unsigned long long)swaps);
  return PRN_OK;
}

static prn_status visit(prn_pass_env *env, const prn_lapack *lapack,
                        const prn_site *site) {
  struct stats *s = env->stats;
  const char *why;
  prn_budget budget;
  prn_layer l;
  if (!prn_masked_concerns(env, site)) return PRN_OK;
  bool nm = prn_site_tensor(site)->type->sparsity.kind == PRN_SPARSE_NM;
  prn_status status = prn_layer_open(env, site, nm, &l, &why);
  if (status == PRN_OK && !why && !budget_of(&l, &budget))
    why = "its pattern of zeros would not outlast it";
  if (status == PRN_OK && why) {
    s->skipped++;
    prn_pass_remark(env, site->constant, PRN_REASON_NotObserved,
                    "no entries of '%.*s' trade places: %s",
                    PRN_STR_ARG(site->name), why);
  } else if (status == PRN_OK) {
    status = trade_layer(&l, lapack, budget);
  }
  prn_layer_close(&l);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  (void)m;
  PRN_TRY(prn_layers_check(env));
  const prn_lapack *lapack = prn_lapack_open(prn_ctx_diags(env->ctx));
  if (!lapack) return PRN_FAIL;
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(env, lapack, &sites->at[i]));
  return PRN_OK;
}

const prn_pass prn_pass_compensate_swap = {
    .name = "compensate-swap",
    .summary = "Trade masked entries for others as long as that helps",
    .doc = "After a select pass, instead of compensate-refit: the weights that "
           "stay are fitted as well. Needs a profile with full moments "
           "(prune-run --profile-moments=full).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
