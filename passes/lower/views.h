/* Arithmetic on view types: transposes, slices, broadcasts and reshapes that
 * move no element. All sizes and strides are symbolic. */
#ifndef PRN_PASSES_LOWER_VIEWS_H
#define PRN_PASSES_LOWER_VIEWS_H

#include "ir/op.h"

enum { PRN_VIEW_MAX_RANK = 16 };

/* Row-major without gaps (dimensions of size 1 may have any stride). */
bool prn_view_is_dense(prn_ctx *ctx, const prn_type *v);
/* Result dimension i is dimension perm[i]. */
const prn_type *prn_view_permute(prn_ctx *ctx, const prn_type *v,
                                 const int64_t *perm);
/* What must hold at run time: each size[i] equals target[i] or is 1. */
typedef struct prn_view_requires {
  uint32_t n;
  prn_dim size[PRN_VIEW_MAX_RANK], target[PRN_VIEW_MAX_RANK];
} prn_view_requires;

/* Numpy broadcast to dims; NULL when the sizes do not allow it. What only the
 * run can tell is added to req. */
const prn_type *prn_view_broadcast(prn_ctx *ctx, const prn_type *v,
                                   int32_t rank, const prn_dim *dims,
                                   prn_view_requires *req);
/* Elements starts[i] + k*steps[i], k < dims[i]. */
const prn_type *prn_view_slice(prn_ctx *ctx, const prn_type *v,
                               const prn_dim *starts, const int64_t *steps,
                               const prn_dim *dims);
/* The same elements in row-major order under other sizes, or NULL when that
 * needs a copy (or cannot be shown not to). */
const prn_type *prn_view_reshape(prn_ctx *ctx, const prn_type *v, int32_t rank,
                                 const prn_dim *dims);

#endif
