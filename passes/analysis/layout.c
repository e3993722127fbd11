#include "passes/analysis/layout.h"

#include <string.h>

bool prn_layout_of(const prn_type *type, prn_layout *out) {
  int64_t stride = 1, count;
  *out = (prn_layout){.rank = type->rank};
  if (!prn_type_count(type, &count) || type->rank > PRN_LAYOUT_MAX_RANK)
    return false;
  for (int32_t i = 0; i <= type->rank; i++)
    out->first[i] = (uint32_t)i;
  for (int32_t i = type->rank - 1; i >= 0; i--) {
    int64_t d = 0;
    if (!prn_dim_is_const(type->dims[i], &d)) return false;
    out->factors[i] = (prn_factor){d, stride};
    stride *= d; /* at most count, or 0 from here on */
  }
  return true;
}

int64_t prn_layout_dim(const prn_layout *l, int32_t axis) {
  int64_t n = 1;
  for (uint32_t f = l->first[axis]; f < l->first[axis + 1]; f++)
    n *= l->factors[f].size;
  return n;
}

bool prn_layout_transpose(prn_layout *l, const int64_t *perm, size_t n) {
  prn_layout r = {.rank = l->rank};
  uint32_t at = 0, seen = 0;
  if (n != (size_t)l->rank) return false;
  for (size_t i = 0; i < n; i++) {
    int64_t p = perm[i] < 0 ? perm[i] + l->rank : perm[i];
    if (p < 0 || p >= l->rank || (seen >> p & 1)) return false;
    seen |= 1u << p;
    r.first[i] = at;
    for (uint32_t f = l->first[p]; f < l->first[p + 1]; f++)
      r.factors[at++] = l->factors[f];
  }
  r.first[n] = at;
  *l = r;
  return true;
}

static bool push(prn_layout *l, uint32_t *at, prn_factor f) {
  if (f.size == 1) return true;
  if (*at == PRN_LAYOUT_MAX_FACTORS) return false;
  l->factors[(*at)++] = f;
  return true;
}

bool prn_layout_reshape(prn_layout *l, const int64_t *dims, int32_t rank) {
  prn_layout r = {.rank = rank};
  uint32_t at = 0, next = 0, end = l->first[l->rank];
  prn_factor rest = {1, 0}; /* what is left of the factor being taken apart */
  if (rank < 0 || rank > PRN_LAYOUT_MAX_RANK) return false;
  for (int32_t i = 0; i < rank; i++) {
    int64_t want = dims[i];
    r.first[i] = at;
    if (want <= 0) return false;
    while (want > 1) {
      if (rest.size == 1) {
        if (next == end) return false;
        rest = l->factors[next++];
        continue;
      }
      /* the outer part of `rest` that fits into this axis */
      int64_t take = rest.size <= want ? rest.size : want;
      if (rest.size % take != 0 || want % take != 0) return false;
      int64_t inner = rest.size / take;
      if (!push(&r, &at, (prn_factor){take, rest.stride * inner})) return false;
      rest.size = inner;
      want /= take;
    }
  }
  for (; next < end; next++)
    if (l->factors[next].size != 1) return false;
  if (rest.size != 1) return false;
  r.first[rank] = at;
  *l = r;
  return true;
}

bool prn_layout_run(const prn_layout *l, int32_t from, int32_t to,
                    prn_factor *out) {
  prn_factor run = {1, 1};
  bool any = false;
  for (uint32_t f = l->first[from]; f < l->first[to]; f++) {
    prn_factor x = l->factors[f];
    if (x.size == 1) continue;
    if (any && run.stride != x.size * x.stride) return false;
    run = (prn_factor){any ? run.size * x.size : x.size, x.stride};
    any = true;
  }
  *out = run;
  return true;
}

int64_t *prn_layout_offsets(const prn_layout *l, uint32_t axes, int64_t *n) {
  int64_t count = 1, done = 1;
  size_t bytes;
  for (int32_t i = 0; i < l->rank; i++)
    if (axes >> i & 1) count *= prn_layout_dim(l, i);
  *n = count;
  if (!prn_mul_size((size_t)count, sizeof(int64_t), &bytes)) return NULL;
  int64_t *out = prn_try_alloc(bytes ? bytes : 1);
  if (!out || count == 0) return out;
  /* from the last factor on: copies of what is there, shifted */
  out[0] = 0;
  for (int32_t i = l->rank - 1; i >= 0; i--)
    for (uint32_t f = l->first[i + 1]; (axes >> i & 1) && f > l->first[i];
         f--) {
      prn_factor x = l->factors[f - 1];
      for (int64_t d = 1; d < x.size; d++)
        for (int64_t k = 0; k < done; k++)
          out[d * done + k] = out[k] + d * x.stride;
      done *= x.size;
    }
  return out;
}
