/* Knowledge about types: merged when two facts hold at once, joined when
 * either may hold. */
#include "ir/infer_env.h"

/* How much a dimension says: nothing, a private symbol, a function of the
 * inputs' symbols, a number. */
static int knowledge(prn_infer *env, prn_dim d) {
  int least = 2;
  if (d->kind == PRN_DIM_UNKNOWN) return 0;
  if (d->kind == PRN_DIM_CONST) return 3;
  if (d->kind == PRN_DIM_SYM)
    return prn_map_find(&env->inputs, d->name) ? 2 : 1;
  for (uint32_t i = 0; i < d->num_args; i++) {
    int k = knowledge(env, d->args[i]);
    if (k < least) least = k;
  }
  return least;
}

/* Only numbers contradict each other: exporters name a size after an input's
 * where the two are not equal. */
static bool merge_dim(prn_infer *env, prn_dim known, prn_dim found,
                      prn_dim *out) {
  *out = known;
  if (known == found) return true;
  if (known->kind == PRN_DIM_CONST && found->kind == PRN_DIM_CONST)
    return false;
  if (knowledge(env, found) >= knowledge(env, known)) *out = found;
  return true;
}

static bool merge_dims(prn_infer *env, const prn_type *known,
                       const prn_type *found, prn_dim **out) {
  *out = PRN_ARENA_ARRAY(&env->scratch, prn_dim, known->rank);
  for (int32_t i = 0; i < known->rank; i++)
    if (!merge_dim(env, known->dims[i], found->dims[i], &(*out)[i]))
      return false;
  return true;
}

static bool merge_shaped(prn_infer *env, const prn_type *known,
                         const prn_type *found, const prn_type **out) {
  prn_dim *dims = NULL;
  bool claim = known->sparsity.kind != PRN_SPARSE_NONE;
  prn_sparsity sparsity = claim ? known->sparsity : found->sparsity;
  *out = known;
  if (known->dtype != found->dtype) return false;
  if (found->rank < 0) return true;
  if (known->rank < 0) {
    *out = found;
    return true;
  }
  if (known->rank != found->rank) return false;
  if (!merge_dims(env, known, found, &dims)) return false;
  *out =
      known->kind == PRN_TYPE_TENSOR
          ? prn_type_tensor(env->ctx, known->dtype, known->rank, dims)
          : prn_type_sparse_tensor(env->ctx, known->dtype, known->rank, dims);
  if (sparsity.kind != PRN_SPARSE_NONE)
    *out = prn_type_with_sparsity(env->ctx, *out, sparsity);
  return true;
}

bool prn_infer_merge(prn_infer *env, const prn_type *known,
                     const prn_type *found, const prn_type **out) {
  const prn_type *elem;
  *out = known;
  if (known == found || found->kind == PRN_TYPE_ANY) return true;
  if (known->kind == PRN_TYPE_ANY) {
    *out = found;
    return true;
  }
  if (known->kind != found->kind) return false;
  switch (known->kind) {
  case PRN_TYPE_TENSOR:
  case PRN_TYPE_SPARSE_TENSOR:
    return merge_shaped(env, known, found, out);
  case PRN_TYPE_SEQUENCE:
  case PRN_TYPE_OPTIONAL:
  case PRN_TYPE_MAP:
    if (known->dtype != found->dtype) return false;
    if (!prn_infer_merge(env, known->elem, found->elem, &elem)) return false;
    *out = prn_type_container(env->ctx, known->kind, known->dtype, elem);
    return true;
  default:
    return false;
  }
}

static const prn_type *join_shaped(prn_infer *env, const prn_type *a,
                                   const prn_type *b) {
  if (a->dtype != b->dtype) return prn_type_any(env->ctx);
  if (a->rank < 0 || a->rank != b->rank)
    return a->kind == PRN_TYPE_TENSOR ? prn_type_unranked(env->ctx, a->dtype)
                                      : prn_type_any(env->ctx);
  prn_dim *dims = PRN_ARENA_ARRAY(&env->scratch, prn_dim, a->rank);
  for (int32_t i = 0; i < a->rank; i++)
    dims[i] = a->dims[i] == b->dims[i] ? a->dims[i] : prn_dim_unknown(env->ctx);
  return a->kind == PRN_TYPE_TENSOR
             ? prn_type_tensor(env->ctx, a->dtype, a->rank, dims)
             : prn_type_sparse_tensor(env->ctx, a->dtype, a->rank, dims);
}

const prn_type *prn_infer_join(prn_infer *env, const prn_type *a,
                               const prn_type *b) {
  if (a == b) return a;
  if (a->kind != b->kind) return prn_type_any(env->ctx);
  switch (a->kind) {
  case PRN_TYPE_TENSOR:
  case PRN_TYPE_SPARSE_TENSOR:
    return join_shaped(env, a, b);
  case PRN_TYPE_SEQUENCE:
  case PRN_TYPE_OPTIONAL:
  case PRN_TYPE_MAP:
    if (a->dtype != b->dtype) return prn_type_any(env->ctx);
    return prn_type_container(env->ctx, a->kind, a->dtype,
                              prn_infer_join(env, a->elem, b->elem));
  default:
    return prn_type_any(env->ctx);
  }
}

bool prn_infer_broadcast_dim(prn_infer *env, prn_dim a, prn_dim b,
                             prn_dim *out) {
  return prn_dim_broadcast(env->ctx, a, b, out);
}
