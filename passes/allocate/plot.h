/* Losses of several weights as lines of text on one scale. */
#ifndef PRN_PASSES_ALLOCATE_PLOT_H
#define PRN_PASSES_ALLOCATE_PLOT_H

#include "passes/allocate/losses.h"

typedef struct prn_plot_line {
  const char *name;
  const prn_losses *losses;
  double times; /* what losses are multiplied with */
} prn_plot_line;

/* Prints an axis of losses, by logarithms, a line for each weight with digits
 * where its losses are, and how to read that. */
void prn_plot_losses(const prn_pass_env *env, const prn_plot_line *lines,
                     size_t n);

#endif
