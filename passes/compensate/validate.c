#include "passes/compensate/validate.h"

#include <math.h>
#include <string.h>

enum { TRIES = 5 /* dampings */, PREVIEW = 2 /* folds that decide early */ };

bool prn_layer_validates(const prn_layer *l) {
  return prn_pass_folds(l->env) > 1;
}

/* Moments around a mean that is not theirs. */
static void centre_at(prn_site_moments *m, const double *mean) {
  int64_t n = m->n;
  for (int64_t r = 0; r < n; r++)
    for (int64_t c = 0; c < n; c++)
      m->second[r * n + c] +=
          mean[r] * mean[c] - m->mean[r] * mean[c] - mean[r] * m->mean[c];
}

/* What x, fitted without a fold, loses there. */
static const char *try_on(const prn_layer *l, const prn_profile *fold,
                          const prn_solve *s, const prn_solution *x,
                          double lost[2]) {
  prn_site_moments m;
  const char *why;
  double share[2] = {0, 0};
  if (!prn_site_moments_of(fold, l->site, &l->matrix, l->group, &m, &why))
    return why;
  if (l->centred) centre_at(&m, l->moments.mean);
  why = prn_solve_share_on(s, m.second, x, &share[0], &share[1]);
  for (int i = 0; i < 2; i++)
    lost[i] += share[i] * (double)m.count;
  prn_site_moments_free(&m);
  return why;
}

/* A group's weights as they are before anything is solved, which zeroes those
 * of inputs that the other folds never saw. */
typedef struct targets {
  float *at, *copy;
  size_t size;
} targets;

static prn_status fit_without(prn_layer *l, const prn_lapack *lapack,
                              double damping, prn_budget budget,
                              prn_method method, int64_t group,
                              const prn_profile *fold, const targets *t,
                              double lost[2]) {
  prn_solve s;
  prn_solution x;
  l->without = fold;
  prn_status status =
      prn_layer_problem(l, group, lapack, damping, budget, &s, &x);
  if (status == PRN_OK) {
    const char *why = method.solve(method.opts, &s, &x, NULL);
    memcpy(t->at, t->copy, t->size);
    if (!why) why = try_on(l, fold, &s, &x, lost);
    if (why) status = prn_layer_failed(l, why);
  }
  prn_solve_close(&s);
  l->without = NULL;
  return status;
}

/* Adds to lost[2] what the method loses in a fold, and what there is. */
static prn_status hold_out(prn_layer *l, const prn_lapack *lapack,
                           double damping, prn_budget budget, prn_method method,
                           size_t fold, double lost[2]) {
  int64_t n = l->rows / l->groups * l->cols;
  targets t = {.size = (size_t)n * sizeof *t.copy};
  prn_status status = PRN_OK;
  t.copy = prn_try_alloc(t.size);
  if (!t.copy) return prn_layer_failed(l, prn_solve_no_memory);
  for (int64_t g = 0; g < l->groups && status == PRN_OK; g++) {
    t.at = l->target + g * n;
    memcpy(t.copy, t.at, t.size);
    status = fit_without(l, lapack, damping, budget, method, g,
                         prn_pass_fold(l->env, fold), &t, lost);
  }
  prn_free(t.copy);
  return status;
}

prn_status prn_layer_held_out(prn_layer *l, const prn_lapack *lapack,
                              double damping, prn_budget budget,
                              prn_method method, double *out_lost) {
  double lost[2] = {0, 0};
  for (size_t f = 0; f < prn_pass_folds(l->env); f++)
    PRN_TRY(hold_out(l, lapack, damping, budget, method, f, lost));
  *out_lost = lost[1] > 0 ? fmax(lost[0] / lost[1], 0) : 0;
  return PRN_OK;
}

/* ---- damping ---- */

/* What a damping loses in folds, as far as it was tried. */
typedef struct trial {
  double damping, lost[PRN_MAX_FOLDS], all;
  size_t folds;
} trial;

static prn_status go_on(prn_layer *l, const prn_lapack *lapack,
                        prn_budget budget, prn_method method, size_t folds,
                        trial *t) {
  for (; t->folds < folds; t->folds++) {
    double lost[2] = {0, 0};
    PRN_TRY(hold_out(l, lapack, t->damping, budget, method, t->folds, lost));
    t->lost[t->folds] = lost[0];
    t->all += lost[1];
  }
  return PRN_OK;
}

static double sum(const trial *t, size_t folds) {
  double all = 0;
  for (size_t f = 0; f < folds; f++)
    all += t->lost[f];
  return all;
}

/* Whether `next` loses less than `best`. A few folds tell when it is worse. */
static prn_status compare(prn_layer *l, const prn_lapack *lapack,
                          prn_budget budget, prn_method method, trial *best,
                          trial *next, bool *better) {
  const size_t steps[] = {PREVIEW, prn_pass_folds(l->env)};
  *better = true;
  for (int i = 0; i < 2 && *better; i++) {
    PRN_TRY(go_on(l, lapack, budget, method, steps[i], best));
    PRN_TRY(go_on(l, lapack, budget, method, steps[i], next));
    *better = sum(next, steps[i]) < sum(best, steps[i]);
  }
  return PRN_OK;
}

prn_status prn_layer_choose_damping(prn_layer *l, const prn_lapack *lapack,
                                    prn_budget budget, prn_method method,
                                    double *damping) {
  if (!prn_layer_validates(l)) return PRN_OK;
  trial best = {.damping = *damping};
  bool better = true;
  for (int i = 1; i < TRIES && better; i++) {
    trial next = {.damping = *damping * pow(10, i / 2.0)};
    PRN_TRY(compare(l, lapack, budget, method, &best, &next, &better));
    if (better) best = next;
  }
  if (best.damping > *damping)
    prn_pass_remark(l->env, l->site->constant, PRN_REASON_Damped,
                    "'%.*s' is fitted with a damping of %.3g, and in folds "
                    "that are held out loses %.3g",
                    PRN_STR_ARG(l->site->name), best.damping,
                    best.all > 0 ? sum(&best, best.folds) / best.all : 0);
  *damping = best.damping;
  return PRN_OK;
}
