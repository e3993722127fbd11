/* Coupling: which dimensions of which weights shrink together.
 *
 * Every dimension of every value of the graph is an index space (space.h).
 * What an operator's row says of its dimensions (ir/relation.h) equates spaces,
 * as do the operators that only move elements. What remains are atoms, and the
 * weights that have an atom somewhere in a dimension are the members of its
 * group: an index that goes from one of them goes from all. Channels, neurons
 * of an FFN, attention heads, elements of a head, groups of keys and values,
 * experts and the width of a residual stream are found alike.
 *
 * A group is frozen when something stands against removing any of its indices:
 * a graph's input or output, an operator that nothing is known of, a dimension
 * that means more than a number of equals (the pixels of a window). It is mixed
 * when an operator computes with all indices at once (the mean of a
 * normalisation), so that zeros there are not as good as nothing. It is ordered
 * when an operator goes by the numbers of indices (a running sum), so that they
 * may go but not change places; in all others they may, in all members alike.
 */
#ifndef PRN_PASSES_ANALYSIS_COUPLING_H
#define PRN_PASSES_ANALYSIS_COUPLING_H

#include "passes/analysis/space.h"
#include "passes/pass.h"

/* A dimension of a weight that has the group's atom in it. */
typedef struct prn_member {
  prn_op *constant;
  int32_t axis;
  int64_t places; /* indices of the axis that go with one index of the group */
  bool neutral;   /* zeros there are as good as nothing: not so of variances,
                   * divisors, scales and zero points */
} prn_member;

typedef struct prn_group {
  prn_space *atom;
  int64_t size;
  prn_member *members; /* in module order of the constants */
  size_t num_members;
  int64_t params; /* elements of weights that go with one index */
  double flops;   /* of products, the same; open sizes count as 1 */
} prn_group;

typedef enum prn_model_cost {
  PRN_MODEL_PARAMS, /* elements of float weights */
  PRN_MODEL_BYTES,  /* the bytes of these */
  PRN_MODEL_FLOPS,  /* of products: two for a multiply-add */
} prn_model_cost;

/* A part of what a model costs: a factor times the sizes of some spaces. */
typedef struct prn_cost_term {
  prn_model_cost of;    /* PARAMS: counts for both params and bytes */
  double factor, bytes; /* of an element */
  uint32_t n;
  prn_space **spaces;
} prn_cost_term;

typedef struct prn_coupling {
  prn_spaces spaces;
  prn_ptrmap dims;    /* of values: an array of spaces */
  prn_ptrmap factors; /* of operations with sizes in attributes: the spaces of
                       * their row's names; NULL where a size is open */
  prn_group *groups;  /* by their first members, in module order */
  size_t size;
  prn_cost_term *terms;
  size_t num_terms, cap_terms;
  prn_arena arena;
} prn_coupling;

/* What axis `axis` of v runs over; NULL when its size is not known, or v is not
 * one of the graph's. */
prn_space *prn_coupling_space(const prn_coupling *c, const prn_value *v,
                              int32_t axis);
typedef enum prn_group_kind {
  PRN_GROUP_CHANNELS, /* and neurons, widths: none of the others */
  PRN_GROUP_HEADS,    /* blocks of every member: attention heads, groups of keys
                       * and values, groups of a convolution */
  PRN_GROUP_ELEMENTS, /* of every head, in every member */
} prn_group_kind;
prn_group_kind prn_group_kind_of(const prn_coupling *c, const prn_group *g);
/* Whether index `at` of a dimension goes with index `i` of an atom. */
bool prn_space_has(prn_space *x, const prn_space *atom, int64_t i, int64_t at);
/* Which index of an atom goes with index `at` of a dimension: -1 for none, -2
 * where the atom is a factor more than once. */
int64_t prn_space_index(prn_space *x, const prn_space *atom, int64_t at);
/* Calls f for the indices of the axis that go with index `i` of the group's
 * atom, in ascending order. */
void prn_member_places(const prn_group *g, const prn_coupling *c,
                       const prn_member *m, int64_t i,
                       void (*f)(void *user, int64_t place), void *user);

/* What the model costs when left[g] indices of group g are left (NULL: all);
 * open sizes count as 1. */
double prn_coupling_cost(const prn_coupling *c, prn_model_cost of,
                         const int64_t *left);

static inline const prn_coupling *prn_pass_coupling(const prn_pass_env *env) {
  return prn_analyses_get(env->analyses, PRN_ANALYSIS_COUPLING);
}

#endif
