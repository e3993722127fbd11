/* Pruning in one shot: passes that choose and compensate in one go, with what
 * a profile saw of the inputs of weights. */
#ifndef PRN_PASSES_PRUNE_PRUNE_H
#define PRN_PASSES_PRUNE_PRUNE_H

#include "passes/compensate/validate.h"

/* Options and statistics that these passes have in common. */
#define PRN_PRUNE_OPTIONS(X)                                                \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of the entries that goes")     \
  X(INT, n, 0, "[0,1023]",                                                  \
    "Instead, with m: entries that stay of every m neighbours along the "   \
    "inputs of an output unit")                                             \
  X(INT, m, 0, "[0,1024]",                                                  \
    "Size of such a group; entries behind the last "                        \
    "whole one stay")                                                       \
  X(ENUM, scope, tensor, "row|tensor",                                      \
    "The fraction is of each output unit, or of each weight (of a grouped " \
    "convolution: of each group)")                                          \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                        \
    "Added to the diagonal of the moments, as a share of its mean: guards " \
    "against fitting what is in the calibration data by chance")
#define PRN_PRUNE_STATS(X)                            \
  X(weights, "weights pruned")                        \
  X(skipped, "weights left alone, of those selected") \
  X(pruned, "entries pruned by this pass")            \
  X(damped, "problems that needed more damping than asked for")

/* The options of all of them, for a prn_prune. */
#define PRN_PRUNE_OF(o)                                            \
  .sparsity = (o)->sparsity, .damping = (o)->damping, .n = (o)->n, \
  .m = (o)->m, .row = (o)->scope == 0

/* What a pass asks for. */
typedef struct prn_prune {
  double sparsity, damping;
  int64_t n, m;
  bool row;
  bool
      means; /* fit around the means, and let biases that are there have them */
  prn_method_solve *solve;
  prn_method_solve *probe; /* what tells as well which damping is best */
} prn_prune;

/* The check of these passes: n and m go together, and not with sparsity. */
PRN_NODISCARD prn_status prn_prune_check(const prn_pass_env *env, int64_t n,
                                         int64_t m);

typedef struct prn_prune_counts {
  uint64_t weights, skipped, pruned, damped;
} prn_prune_counts;
/* Prunes the selected weights; those that have no moments are left alone, with
 * a remark, and a warning that says how many. */
PRN_NODISCARD prn_status prn_prune_run(const prn_pass_env *env,
                                       const prn_prune *p,
                                       prn_prune_counts *out);

#endif
