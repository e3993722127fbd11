#include "passes/allocate/losses.h"

#include <math.h>

#include "passes/compensate/validate.h"

static const char *prune(const void *opts, prn_solve *s, prn_solution *x,
                         prn_strbuf *how) {
  const prn_obs_options plain = {.block = 128};
  (void)opts;
  (void)how;
  return prn_solve_obs(s, &plain, x);
}

static const char *lose(prn_solve *s, prn_solution *x, double *lost,
                        double *all) {
  const char *why = prune(NULL, s, x, NULL);
  if (!why) why = prn_solve_loss(s, x);
  return why ? why : prn_solve_share(s, x, lost, all);
}

prn_status prn_layer_lose(prn_layer *l, const prn_lapack *lapack,
                          double damping, int64_t prune, double *out_loss) {
  prn_budget b = {.kind = PRN_BUDGET_LAYER, .prune = prune};
  prn_status status = PRN_OK;
  double lost = 0, all = 0;
  for (int64_t g = 0; g < l->groups && status == PRN_OK; g++) {
    prn_solve s;
    prn_solution x;
    status = prn_layer_problem(l, g, lapack, damping, b, &s, &x);
    const char *why = status == PRN_OK ? lose(&s, &x, &lost, &all) : NULL;
    if (why) status = prn_layer_failed(l, why);
    prn_solve_close(&s);
  }
  *out_loss = all > 0 ? fmax(lost / all, 0) : 0;
  return status;
}

prn_status prn_losses_measure(prn_layer *l, const prn_lapack *lapack,
                              double damping, int64_t step, prn_losses *out) {
  int64_t entries = prn_layer_entries(l);
  const prn_method method = {.solve = prune};
  prn_budget b = {.kind = PRN_BUDGET_LAYER, .prune = entries / 2};
  out->size = 0;
  PRN_TRY(prn_layer_choose_damping(l, lapack, b, method, &damping));
  for (int64_t share = step; share < PRN_SHARES; share += step) {
    size_t i = out->size++;
    out->at[i] = (int)share;
    b.prune = entries * share / 100;
    if (prn_layer_validates(l))
      PRN_TRY(prn_layer_held_out(l, lapack, damping, b, method, &out->loss[i]));
    else
      PRN_TRY(prn_layer_lose(l, lapack, damping, b.prune, &out->loss[i]));
  }
  return PRN_OK;
}
