/* Compaction: tensors lose the indices that nothing needs.
 *
 * A removal names indices of coupling groups (passes/analysis/coupling.h). They
 * go from every member, and all that mentions sizes is rewritten: types,
 * targets of reshapes, sizes of splits, bounds of slices, attributes that count
 * heads, groups or units. Nothing else changes. */
#ifndef PRN_PASSES_COMPACT_COMPACT_H
#define PRN_PASSES_COMPACT_COMPACT_H

#include "passes/analysis/coupling.h"

typedef struct prn_compact_stats {
  uint64_t groups, indices, params;
} prn_compact_stats;

typedef struct prn_removal {
  prn_pass_env *env;
  prn_module *module;
  const prn_coupling *c;
  prn_compact_stats *stats;
  unsigned char **gone; /* by group: NULL, or 1 for every index that goes */
} prn_removal;

/* Removes the indices of groups at which all neutral members are zero, by
 * their values or masks. At least one of a group stays. Only groups of heads,
 * or all; mixed ones only on request. Reports an operation that cannot be
 * rewritten, and fails. */
PRN_NODISCARD prn_status prn_compact_zeros(prn_pass_env *env, prn_module *m,
                                           bool heads, bool mixed,
                                           prn_compact_stats *out);

/* ---- for this folder's files ---- */

/* What is left of a space. */
prn_dim prn_removal_size(const prn_removal *r, prn_space *x);
/* The size of axis `axis` of v afterwards. */
prn_dim prn_removal_dim(const prn_removal *r, const prn_value *v, int32_t axis);
/* Whether index `at` of x stays. */
bool prn_removal_keeps(const prn_removal *r, prn_space *x, int64_t at);
/* Writes new sizes into operands and attributes of op, whose types are still
 * the old ones (compact_rewrite.c). */
PRN_NODISCARD prn_status prn_removal_rewrite(const prn_removal *r, prn_op *op);
/* Members (compact_members.c): a constant without what goes. */
PRN_NODISCARD prn_status prn_removal_shrink(const prn_removal *r, prn_op *op);

#endif
