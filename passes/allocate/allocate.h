/* Allocation: how many zeros each weight gets, of what a budget asks of all.
 *
 * An allocate pass attaches `$prune.share` to constants: the fraction of
 * entries that is to go. select-unstructured, prune-obs and prune-admm take it
 * in place of their `sparsity`, and remove it. */
#ifndef PRN_PASSES_ALLOCATE_ALLOCATE_H
#define PRN_PASSES_ALLOCATE_ALLOCATE_H

#include "passes/pass.h"

extern const char prn_share_attr[]; /* "$prune.share" */

/* The share that a constant was given, or dflt. */
double prn_share_given(const prn_op *constant, double dflt);
/* Attaches a share in [0, 1], or with a negative one removes it. */
void prn_share_give(prn_op *constant, double share);

/* How much a weight's losses matter to the outputs, or dflt; the same of it. */
double prn_sensitivity_given(const prn_op *constant, double dflt);
void prn_sensitivity_give(prn_op *constant, double sensitivity);

/* Shares of n weights by their percentages of outliers: densities are these,
 * stretched over 2 lambda, and moved so that `sparsity` of all entries go. Yin
 * et al., "Outlier weighed layerwise sparsity (OWL)", 2023. */
void prn_allocate_owl(const double *outliers, const double *counts, size_t n,
                      double sparsity, double lambda, double *shares);

/* ---- a budget over several weights ---- */

enum { PRN_SHARES = 100 }; /* shares to choose from: 0, 0.01, ..., 0.99 */

/* What each share would cost a weight, and lose. Both from 0 on: costs that
 * fall, losses that rise. */
typedef struct prn_prospect {
  double cost[PRN_SHARES], loss[PRN_SHARES];
} prn_prospect;

/* Sets chosen[i], a number of hundredths, so that the costs add up to `most` at
 * most and the losses to as little as they can (up to the rounding of costs to
 * fractions of the budget). False when even the cheapest shares cost more;
 * then takes those. Dynamic programming over the weights, as in Frantar and
 * Alistarh, "SPDY", 2022. */
PRN_NODISCARD bool prn_allocate(const prn_prospect *all, size_t n, double most,
                                int *chosen);
/* Fills in the shares between those that were measured: `at` ascending, from
 * above 0 on; losses in proportion to share^p between two. */
void prn_prospect_between(const int *at, const double *loss, size_t n,
                          prn_prospect *out);

#endif
