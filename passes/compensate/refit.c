/* compensate-refit: the weights that stay are fitted anew, by least squares.
 *
 * Of an output y = w x, with x as a profile saw it, the weights that are not
 * masked become those that come closest to y in the mean square:
 *
 *   w_S = w C[:, S] C[S, S]^-1,   C the covariance of x
 *
 * and the bias takes over the means, w m - w_S m_S. Without `means`, or where
 * operators share the weight, C is the second moment and the bias stays.
 * Outputs with the same mask are solved together, so that channels, which are
 * gone for all outputs, take one factorisation a weight. Needs a profile with
 * full moments (--profile-moments=full). Of convolutions only windows of one
 * element are fitted; others are left to compensate-bias.
 *
 * C gets `damping` times its mean diagonal added, and more when it is not
 * positive definite, which a remark says. Frantar and Alistarh, "Optimal brain
 * compression", 2022, section 3; He et al., "Channel pruning for accelerating
 * very deep neural networks", 2017. */
#include <string.h>

#include "passes/compensate/compensate.h"
#include "passes/compensate/layer.h"

#define OPTIONS(X)                                   \
  X(FLOAT, damping, 0.01, "[0,1e9]",                 \
    "Added to the diagonal, as a share of its mean") \
  X(BOOL, means, true, "", "Fit around the means, and let biases have them")
#define STATS(X)                                                    \
  X(fitted, "weights fitted anew")                                  \
  X(damped, "problems that needed more damping than was asked for") \
  X(skipped, "masked weights without full moments, or with windows")
PRN_PASS_TABLES;

enum { STEPS = 60 /* of conjugate gradients, at most */ };

/* Rows are the elements that a bias has. */
static bool has_means(const prn_layer *l) {
  int32_t axis;
  return l->site->num_uses == 1 &&
         prn_site_memory_axis(l->site, PRN_ROLE_OUT, &axis) &&
         prn_axis_view_of(prn_site_tensor(l->site)->type, axis).length ==
             l->rows;
}

static prn_status fit(prn_layer *l, int64_t group, const prn_lapack *lapack) {
  const struct opts *o = l->env->opts;
  struct stats *stats = l->env->stats;
  const prn_budget fixed = {.kind = PRN_BUDGET_FIXED};
  prn_solve s;
  prn_solution x;
  prn_status status =
      prn_layer_problem(l, group, lapack, o->damping, fixed, &s, &x);
  s.steps = STEPS;
  if (status == PRN_OK) {
    const char *why = prn_solve_refit(&s, &x);
    if (why) status = prn_layer_failed(l, why);
    prn_layer_remark_damping(l, &s);
    stats->damped += s.raised > s.damping;
  }
  prn_solve_close(&s);
  return status;
}

/* The means that outputs lost go to biases. */
static void give_means(const prn_layer *l) {
  int64_t rows = l->rows / l->moments.groups, n = l->cols;
  prn_arena *scratch = l->env->scratch;
  double *delta = PRN_ARENA_ARRAY(scratch, double, l->rows);
  double *mean = PRN_ARENA_ARRAY(scratch, double, n);
  unsigned char *alive = prn_arena_alloc(scratch, (size_t)l->rows);
  bool added;
  for (int64_t r = 0; r < l->rows; r++) {
    if (r % rows == 0) prn_site_means_read(&l->moments, r / rows, mean);
    for (int64_t c = 0; c < n; c++) {
      delta[r] +=
          ((double)l->target[r * n + c] - (double)l->x.weights[r * n + c]) *
          mean[c];
      alive[r] |= l->x.keep[r * n + c];
    }
  }
  if (!prn_bias_add(l->env, l->site->uses[0].op, delta, alive, l->rows, &added))
    prn_pass_remark(l->env, l->site->uses[0].op, PRN_REASON_NotObserved,
                    "no bias can take over the mean of '%.*s'",
                    PRN_STR_ARG(l->site->name));
}

static prn_status fit_layer(prn_layer *l, const prn_lapack *lapack) {
  const struct opts *o = l->env->opts;
  struct stats *s = l->env->stats;
  uint64_t pruned;
  l->centred = o->means && has_means(l);
  for (int64_t i = 0; i < l->rows * l->cols; i++) {
    l->x.keep[i] = !l->gone[i];
    l->x.weights[i] = l->gone[i] ? 0 : l->target[i];
  }
  for (int64_t g = 0; g < l->moments.groups; g++)
    PRN_TRY(fit(l, g, lapack));
  PRN_TRY(prn_layer_write(l, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED},
                          &pruned));
  s->fitted++;
  if (l->centred) give_means(l);
  return PRN_OK;
}

static prn_status visit(prn_pass_env *env, const prn_lapack *lapack,
                        const prn_site *site) {
  struct stats *s = env->stats;
  const char *why;
  prn_layer l;
  if (!prn_masked_concerns(env, site)) return PRN_OK;
  prn_status status = prn_layer_open(env, site, &l, &why);
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
