#include "passes/lower/views.h"

bool prn_view_is_dense(prn_ctx *ctx, const prn_type *v) {
  prn_dim step = prn_dim_const(ctx, 1);
  for (int32_t i = v->rank - 1; i >= 0; i--) {
    if (prn_dim_is(v->dims[i], 1)) continue;
    if (v->strides[i] != step) return false;
    step = prn_dim_mul(ctx, step, v->dims[i]);
  }
  return true;
}

static const prn_type *rebuild(prn_ctx *ctx, const prn_type *v, int32_t rank,
                               const prn_dim *dims, const prn_dim *strides,
                               prn_dim offset) {
  return prn_type_view(ctx, v->dtype, rank, dims, strides, offset);
}

const prn_type *prn_view_permute(prn_ctx *ctx, const prn_type *v,
                                 const int64_t *perm) {
  prn_dim dims[PRN_VIEW_MAX_RANK], strides[PRN_VIEW_MAX_RANK];
  for (int32_t i = 0; i < v->rank; i++) {
    dims[i] = v->dims[perm[i]];
    strides[i] = v->strides[perm[i]];
  }
  return rebuild(ctx, v, v->rank, dims, strides, v->offset);
}

/* The stride of a dimension of `size` repeated to `target`, where only the run
 * can tell whether they are equal: 0 when size is 1. A minimum of the target
 * can only be equal. */
static prn_dim open_stride(prn_ctx *ctx, prn_dim stride, prn_dim size,
                           prn_dim target) {
  bool equal = false;
  for (uint32_t i = 0; size->kind == PRN_DIM_MIN && i < size->num_args; i++)
    equal = equal || size->args[i] == target;
  prn_dim one = prn_dim_const(ctx, 1);
  if (equal) return stride;
  prn_dim more = prn_dim_min(ctx, prn_dim_sub(ctx, size, one), one);
  return prn_dim_mul(ctx, stride, more);
}

const prn_type *prn_view_broadcast(prn_ctx *ctx, const prn_type *v,
                                   int32_t rank, const prn_dim *dims,
                                   prn_view_requires *req) {
  prn_dim strides[PRN_VIEW_MAX_RANK];
  int32_t lead = rank - v->rank;
  if (lead < 0) return NULL;
  for (int32_t i = 0; i < rank; i++) {
    prn_dim size = i < lead ? NULL : v->dims[i - lead], common;
    if (!size || (prn_dim_is(size, 1) && !prn_dim_is(dims[i], 1))) {
      strides[i] = prn_dim_const(ctx, 0);
    } else if (size == dims[i]) {
      strides[i] = v->strides[i - lead];
    } else {
      if (!prn_dim_known(size) ||
          !prn_dim_broadcast(ctx, size, dims[i], &common) || common != dims[i])
        return NULL;
      strides[i] = open_stride(ctx, v->strides[i - lead], size, dims[i]);
      req->size[req->n] = size;
      req->target[req->n++] = dims[i];
    }
  }
  return rebuild(ctx, v, rank, dims, strides, v->offset);
}

const prn_type *prn_view_slice(prn_ctx *ctx, const prn_type *v,
                               const prn_dim *starts, const int64_t *steps,
                               const prn_dim *dims) {
  prn_dim strides[PRN_VIEW_MAX_RANK], offset = v->offset;
  for (int32_t i = 0; i < v->rank; i++) {
    strides[i] = prn_dim_mul(ctx, v->strides[i], prn_dim_const(ctx, steps[i]));
    offset =
        prn_dim_add(ctx, offset, prn_dim_mul(ctx, starts[i], v->strides[i]));
  }
  return rebuild(ctx, v, v->rank, dims, strides, offset);
}

/* a is a multiple of b, provably. */
static bool divides(prn_ctx *ctx, prn_dim b, prn_dim a) {
  int64_t vb;
  if (prn_dim_is_const(b, &vb) && vb == 0) return false;
  prn_dim q = prn_dim_floordiv(ctx, a, b);
  return prn_dim_known(q) && q->kind != PRN_DIM_FLOORDIV &&
         prn_dim_mul(ctx, q, b) == a;
}

typedef struct axes {
  int32_t n;
  prn_dim dims[PRN_VIEW_MAX_RANK], strides[PRN_VIEW_MAX_RANK];
} axes;

/* Grows [*oend) and [*nend) until both groups have the same size. */
static bool match_group(prn_ctx *ctx, const axes *old, int32_t *oend,
                        const prn_dim *dims, int32_t rank, int32_t *nend) {
  prn_dim have = old->dims[*oend - 1], want = dims[*nend - 1];
  while (have != want) {
    int64_t a, b;
    bool both = prn_dim_is_const(have, &a) && prn_dim_is_const(want, &b);
    if (both ? b < a : divides(ctx, want, have)) {
      if (*nend == rank) return false;
      want = prn_dim_mul(ctx, want, dims[(*nend)++]);
    } else if (both || divides(ctx, have, want)) {
      if (*oend == old->n) return false;
      have = prn_dim_mul(ctx, have, old->dims[(*oend)++]);
    } else {
      return false;
    }
  }
  return true;
}

static const prn_type *reshape_strided(prn_ctx *ctx, const prn_type *v,
                                       int32_t rank, const prn_dim *dims) {
  axes old = {0};
  prn_dim strides[PRN_VIEW_MAX_RANK];
  int32_t at = 0;
  for (int32_t i = 0; i < v->rank; i++) {
    if (prn_dim_is(v->dims[i], 1)) continue;
    old.dims[old.n] = v->dims[i];
    old.strides[old.n++] = v->strides[i];
  }
  for (int32_t ni = 0; ni < rank;) {
    if (prn_dim_is(dims[ni], 1)) {
      strides[ni++] = prn_dim_const(ctx, 1);
      continue;
    }
    if (at == old.n) return NULL;
    int32_t oend = at + 1, nend = ni + 1;
    if (!match_group(ctx, &old, &oend, dims, rank, &nend)) return NULL;
    for (int32_t k = at; k + 1 < oend; k++)
      if (old.strides[k] !=
          prn_dim_mul(ctx, old.dims[k + 1], old.strides[k + 1]))
        return NULL;
    prn_dim step = old.strides[oend - 1];
    for (int32_t k = nend - 1; k >= ni; k--) {
      strides[k] = step;
      step = prn_dim_mul(ctx, step, dims[k]);
    }
    at = oend;
    ni = nend;
  }
  return at == old.n ? rebuild(ctx, v, rank, dims, strides, v->offset) : NULL;
}

const prn_type *prn_view_reshape(prn_ctx *ctx, const prn_type *v, int32_t rank,
                                 const prn_dim *dims) {
  if (!prn_view_is_dense(ctx, v)) return reshape_strided(ctx, v, rank, dims);
  const prn_type *dense = prn_type_view_dense(ctx, v->dtype, rank, dims);
  return rebuild(ctx, v, rank, dense->dims, dense->strides, v->offset);
}
