/* What a weight loses by so many zeros, on the moments of a profile.
 *
 * A loss is the share of the squares of the weight's outputs that is gone when
 * SparseGPT prunes this weight alone. */
#ifndef PRN_PASSES_ALLOCATE_LOSSES_H
#define PRN_PASSES_ALLOCATE_LOSSES_H

#include "passes/allocate/allocate.h"
#include "passes/compensate/layer.h"

typedef struct prn_losses {
  size_t size;
  int at[PRN_SHARES];      /* per cent of zeros, ascending */
  double loss[PRN_SHARES]; /* not negative */
} prn_losses;

/* Entries of a group of the weight: each group has a budget of its own. */
static inline int64_t prn_layer_entries(const prn_layer *l) {
  return l->rows / l->groups * l->cols;
}

/* Prunes so many entries of each group; what is left is in l->x. */
PRN_NODISCARD prn_status prn_layer_lose(prn_layer *l, const prn_lapack *lapack,
                                        double damping, int64_t prune,
                                        double *out_loss);

/* Losses at every `step` per cent of zeros, from `step` on. */
PRN_NODISCARD prn_status prn_losses_measure(prn_layer *l,
                                            const prn_lapack *lapack,
                                            double damping, int64_t step,
                                            prn_losses *out);

#endif
