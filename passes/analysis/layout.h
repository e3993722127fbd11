/* Layouts: how an operator's view of a weight lies in the constant's memory.
 *
 * Between a constant and the operator that multiplies with it stand Transpose,
 * Reshape, Identity and the like. A layout says, for each axis the operator
 * sees, which strided factors of the constant's row-major elements make it up
 * (most significant first): element (i, j, ...) lies at the sum of the factors'
 * digits times their strides. Offsets of different axes therefore add up. */
#ifndef PRN_PASSES_ANALYSIS_LAYOUT_H
#define PRN_PASSES_ANALYSIS_LAYOUT_H

#include "ir/type.h"

enum { PRN_LAYOUT_MAX_RANK = 8, PRN_LAYOUT_MAX_FACTORS = 16 };

typedef struct prn_factor {
  int64_t size, stride;
} prn_factor;

typedef struct prn_layout {
  int32_t rank;
  uint32_t first[PRN_LAYOUT_MAX_RANK + 1]; /* axis i: [first[i], first[i+1]) */
  prn_factor factors[PRN_LAYOUT_MAX_FACTORS];
} prn_layout;

/* Of a constant itself; false when its rank is too large or its type is not
 * static. */
PRN_NODISCARD bool prn_layout_of(const prn_type *type, prn_layout *out);
int64_t prn_layout_dim(const prn_layout *l, int32_t axis);
/* perm[i] is the old axis at place i; false when perm is no permutation. */
PRN_NODISCARD bool prn_layout_transpose(prn_layout *l, const int64_t *perm,
                                        size_t n);
/* The same elements in row-major order under new sizes; false when the
 * sizes do not multiply up, or cut factors where they cannot be cut. */
PRN_NODISCARD bool prn_layout_reshape(prn_layout *l, const int64_t *dims,
                                      int32_t rank);
/* Axes [from, to) as one strided run, when they are that. */
PRN_NODISCARD bool prn_layout_run(const prn_layout *l, int32_t from, int32_t to,
                                  prn_factor *out);

/* Offsets of all combinations of the axes in the bit set `axes`, the last axis
 * fastest, `*n` of them; the caller frees with prn_free. NULL when there is no
 * room. */
int64_t *prn_layout_offsets(const prn_layout *l, uint32_t axes, int64_t *n);

#endif
