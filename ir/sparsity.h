/* Patterns of zeros: what a #sparse<...> claim means, and whether it holds.
 *
 * A tensor is seen along one axis as [outer, length, inner]: `inner` elements
 * lie between two neighbours along the axis. An n:m claim says that of every m
 * consecutive elements along the axis, counted from 0, at most n are not zero;
 * a shorter group at the end obeys the same bound. A block claim cuts the last
 * two axes into tiles of rows x cols (smaller at the edges) and says that
 * every tile is wholly zero or wholly kept: zeros come in tiles. */
#ifndef PRN_IR_SPARSITY_H
#define PRN_IR_SPARSITY_H

#include "ir/mask.h"

typedef struct prn_axis_view {
  int64_t outer, length, inner;
} prn_axis_view;

/* The view of a static tensor type along axis (0 <= axis < rank). */
prn_axis_view prn_axis_view_of(const prn_type *type, int32_t axis);

/* Largest number of set bits in any group of m along the axis; the count is
 * exact up to `stop`, where it may end early. *at (may be NULL) is the flat
 * index of the first element of the first group with the largest count. */
int64_t prn_bits_max_group(const void *bits, prn_axis_view v, int64_t m,
                           int64_t stop, int64_t *at);

/* Whether the claim can be made of a tensor of this type at all; *why (may be
 * NULL) is then static text: "axis 3 ..." */
bool prn_sparsity_fits(const prn_type *type, prn_sparsity s, const char **why);

/* Whether the zeros of a bitmap (0 = zero) keep the claim, which fits the type;
 * otherwise *at is the flat index of the first element of an offending
 * group. */
bool prn_bits_hold(const void *bits, const prn_type *type, prn_sparsity s,
                   int64_t *at);

typedef enum prn_claim {
  PRN_CLAIM_HOLDS,
  PRN_CLAIM_BROKEN,
  PRN_CLAIM_UNKNOWN, /* no memory to look */
} prn_claim;

/* Whether the data keeps the claim, which fits the type. When broken, *at is
 * the flat index of the first element of an offending group. A mask that
 * proves the claim is enough: the weights are then not read. */
prn_claim prn_sparsity_check(const prn_tensor *t, prn_sparsity s, int64_t *at);

#endif
