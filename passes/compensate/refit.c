/* compensate-refit: the weights that stay are fitted anew, by least squares.
 *
 * Of an output y = w x, with x as a profile saw it, the weights that are not
 * masked become those that come closest to y in the mean square:
 *
 *   w_S = w C[:, S] C[S, S]^-1,   C the covariance of x
 *
 * and the bias takes over the means, w m - w_S m_S. Without `means`, or without
 * a place for a bias, C is the second moment and nothing is added.
 * Outputs with the same mask are solved together, so that channels, which are
 * gone for all outputs, take one factorisation a weight. Needs a profile with
 * full moments (--profile-moments=full); convolutions are fitted on what their
 * windows saw, group by group, and weights that several operators share on what
 * all of them saw.
 *
 * With `reference`, y is what all weights gave on inputs as they were in the
 * reference of a paired profile (prune-sequential(reference){...}), so that
 * what stays also makes up for what is gone elsewhere:
 *
 *   w_S = w D[:, S] C[S, S]^-1,   D the covariance of x as it was and as it is
 *
 * C gets `damping` times its mean diagonal added, and more when it is not
 * positive definite, which a remark says. Frantar and Alistarh, "Optimal brain
 * compression", 2022, section 3; He et al., "Channel pruning for accelerating
 * very deep neural networks", 2017. */
#include <string.h>

#include "passes/compensate/compensate.h"
#include "passes/compensate/validate.h"

#define OPTIONS(X)                                                           \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                         \
    "Added to the diagonal, as a share of its mean")                         \
  X(BOOL, means, true, "", "Fit around the means, and let biases have them") \
  X(BOOL, reference, false, "", "Fit to what all of them gave in the reference")
#define STATS(X)                                                    \
  X(fitted, "weights fitted anew")                                  \
  X(damped, "problems that needed more damping than was asked for") \
  X(skipped, "masked weights without moments")
PRN_PASS_TABLES;

enum { STEPS = 60 /* of conjugate gradients, at most */ };

static const prn_budget fixed = {.kind = PRN_BUDGET_FIXED};

static const char *refit(const void *opts, prn_solve *s, prn_solution *x,
                         prn_strbuf *how) {
  (void)opts;
  (void)how;
  s->steps = STEPS;
  return prn_solve_refit(s, x);
}

static prn_status fit(prn_layer *l, int64_t group, double damping,
                      const prn_lapack *lapack) {
  struct stats *stats = l->env->stats;
  prn_solve s;
  prn_solution x;
  prn_status status =
      prn_layer_problem(l, group, lapack, damping, fixed, &s, &x);
  if (status == PRN_OK) {
    const char *why = refit(NULL, &s, &x, NULL);
    if (why) status = prn_layer_failed(l, why);
    prn_layer_remark_damping(l, &s);
    stats->damped += s.raised > s.damping;
  }
  prn_solve_close(&s);
  return status;
}

/* All that stay, as they were. */
static void start(prn_layer *l) {
  for (int64_t i = 0; i < l->rows * l->cols; i++) {
    l->x.keep[i] = !l->gone[i];
    l->x.weights[i] = l->gone[i] ? 0 : l->target[i];
  }
}

static prn_status fit_layer(prn_layer *l, const prn_lapack *lapack) {
  const struct opts *o = l->env->opts;
  struct stats *s = l->env->stats;
  double damping = o->damping;
  uint64_t pruned;
  l->reference = o->reference;
  l->centred = o->means && prn_layer_has_bias(l, true);
  start(l);
  if (!l->reference)
    PRN_TRY(prn_layer_choose_damping(l, lapack, fixed,
                                     (prn_method){.solve = refit}, &damping));
  start(l);
  for (int64_t g = 0; g < l->groups; g++)
    PRN_TRY(fit(l, g, damping, lapack));
  PRN_TRY(prn_layer_write(l, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED},
                          &pruned));
  s->fitted++;
  if (l->centred) prn_layer_give_means(l);
  return PRN_OK;
}

static prn_status visit(prn_pass_env *env, const prn_lapack *lapack,
                        const prn_site *site) {
  struct stats *s = env->stats;
  const char *why;
  prn_layer l;
  if (!prn_masked_concerns(env, site)) return PRN_OK;
  prn_status status = prn_layer_open(env, site, false, &l, &why);
  if (status == PRN_OK && why) {
    s->skipped++;
    prn_pass_remark(env, site->constant, PRN_REASON_NotObserved,
                    "'%.*s' is not fitted: %s", PRN_STR_ARG(site->name), why);
  } else if (status == PRN_OK) {
    status = fit_layer(&l, lapack);
  }
  prn_layer_close(&l);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  (void)m;
  PRN_TRY(prn_compensate_check(env));
  const prn_lapack *lapack = prn_lapack_open(prn_ctx_diags(env->ctx));
  if (!lapack) return PRN_FAIL;
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(env, lapack, &sites->at[i]));
  return PRN_OK;
}

const prn_pass prn_pass_compensate_refit = {
    .name = "compensate-refit",
    .summary = "Fit the weights that stay to what all of them gave",
    .doc = "After a select pass, before compaction. Needs a profile with full "
           "moments (prune-run --profile-moments=full).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
