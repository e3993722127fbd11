/* Compaction: tensors lose the indices that nothing needs.
 *
 * A removal says which indices of coupling groups (passes/analysis/coupling.h)
 * stay, and in what order: a permutation is one by which none goes. The others
 * go from every member, and all that mentions sizes is rewritten: types,
 * targets of reshapes, sizes of splits, bounds of slices, attributes that count
 * heads, groups or units. Nothing else changes. Scores go with the entries that
 * change places; where entries go, so does the score. */
#ifndef PRN_PASSES_COMPACT_COMPACT_H
#define PRN_PASSES_COMPACT_COMPACT_H

#include "passes/analysis/coupling.h"

typedef struct prn_compact_stats {
  uint64_t groups, indices, params;
} prn_compact_stats;

/* What stays of a group. */
typedef struct prn_kept {
  int64_t n;
  const int64_t *at;         /* the old index of each new one */
  const unsigned char *gone; /* by old index; NULL: nothing is */
} prn_kept;

typedef struct prn_removal {
  prn_pass_env *env;
  prn_module *module;
  const prn_coupling *c;
  prn_compact_stats *stats;
  prn_kept *kept; /* by group; without `at` it stays as it is */
} prn_removal;

/* Applies it to all graphs. Reports an operation that cannot be rewritten, and
 * fails. */
PRN_NODISCARD prn_status prn_removal_apply(const prn_removal *r);
/* The old index of each new one of axis `axis` of v, as many as it has then; in
 * env->scratch. NULL: it stays as it is, or has no known size. */
const int64_t *prn_removal_sources(const prn_removal *r, const prn_value *v,
                                   int32_t axis);
/* Whether the elements of a constant can be taken out and moved. */
bool prn_removal_can_gather(const prn_op *constant);

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
/* The old index of x that is index `at` afterwards. */
int64_t prn_removal_source(const prn_removal *r, prn_space *x, int64_t at);
/* Writes new sizes into operands and attributes of op, whose types are still
 * the old ones (compact_rewrite.c). */
PRN_NODISCARD prn_status prn_removal_rewrite(const prn_removal *r, prn_op *op);
/* Members (compact_members.c): a constant with what stays, in its order. */
PRN_NODISCARD prn_status prn_removal_gather(const prn_removal *r, prn_op *op);

#endif
