/* Cross-validation: what fits are worth on data that they have not seen.
 *
 * Where the profile comes in folds (prn_pass_fold), weights are fitted without
 * one of them, and tried on that. */
#ifndef PRN_PASSES_COMPENSATE_VALIDATE_H
#define PRN_PASSES_COMPENSATE_VALIDATE_H

#include "passes/compensate/layer.h"

/* Solves an open problem, with `opts`; returns why not, or NULL. `how` (or
 * NULL) may get what remarks then say. */
typedef const char *prn_method_solve(const void *opts, prn_solve *s,
                                     prn_solution *x, prn_strbuf *how);
typedef struct prn_method {
  prn_method_solve *solve;
  const void *opts;
} prn_method;

/* Whether there are folds. */
bool prn_layer_validates(const prn_layer *l);

/* *lost is the share of the squares of the outputs (of their variance where
 * l->centred) that the method loses in folds that it was fitted without. There
 * are folds. What l->x holds is lost. Reports and fails. */
PRN_NODISCARD prn_status prn_layer_held_out(prn_layer *l,
                                            const prn_lapack *lapack,
                                            double damping, prn_budget budget,
                                            prn_method method, double *lost);

/* Where there are folds, replaces *damping by the one, of it and of up to a
 * hundred times as much, with which the method loses least in folds that it was
 * fitted without, and says so in a remark. */
PRN_NODISCARD prn_status prn_layer_choose_damping(prn_layer *l,
                                                  const prn_lapack *lapack,
                                                  prn_budget budget,
                                                  prn_method method,
                                                  double *damping);

#endif
