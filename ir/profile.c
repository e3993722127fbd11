#include "ir/profile.h"

#include <string.h>

#include "ir/profile_block.h"

void prn_profile_clear(prn_profile *p) {
  for (size_t i = 0; i < p->size; i++)
    prn_free(p->at[i].own);
  prn_free(p->at);
  prn_file_release(p->file);
  prn_map_destroy(&p->index);
  prn_arena_destroy(&p->arena);
  *p = (prn_profile){0};
}

static void key_of(prn_str value, int32_t axis, prn_strbuf *key) {
  prn_strbuf_fmt(key, "%d ", (int)axis);
  prn_strbuf_str(key, value);
}

const prn_observation *prn_profile_find(const prn_profile *p, prn_str value,
                                        int32_t axis) {
  prn_strbuf key = {0};
  key_of(value, axis, &key);
  size_t place = (uintptr_t)prn_map_get(&p->index, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return place ? &p->at[place - 1] : NULL;
}

const prn_observation *prn_profile_find_any(const prn_profile *p,
                                            prn_str value) {
  for (size_t i = 0; i < p->size; i++)
    if (prn_str_eq(p->at[i].value, value)) return &p->at[i];
  return NULL;
}

size_t prn_profile_add(prn_profile *p, prn_str value, int32_t axis) {
  const prn_observation *known = prn_profile_find(p, value, axis);
  prn_strbuf key = {0};
  if (known) return (size_t)(known - p->at);
  if (p->size == p->cap) {
    p->cap = p->cap ? 2 * p->cap : 32;
    p->at = prn_realloc(p->at, prn_array_size(sizeof *p->at, p->cap));
  }
  key_of(value, axis, &key);
  const char *text = prn_arena_copy(&p->arena, key.data, key.size);
  prn_str name = {text + key.size - value.size, value.size};
  p->at[p->size++] = (prn_observation){.value = name, .axis = axis};
  *prn_map_slot(&p->index, (prn_str){text, key.size}) =
      (void *)(uintptr_t)p->size;
  prn_strbuf_destroy(&key);
  return p->size - 1;
}

/* ---- numbers ---- */

bool prn_profile_block_size(int64_t channels, bool full, size_t *doubles) {
  size_t n = (size_t)channels, vectors, square = 0;
  return channels > 0 && prn_mul_size(n, PRN_PROFILE_VECTORS, &vectors) &&
         (!full || prn_mul_size(n, n, &square)) &&
         prn_add_size(vectors, square, doubles) &&
         *doubles <= SIZE_MAX / sizeof(double) / 2;
}

void prn_profile_place(prn_observation *o, const double *block, bool full) {
  size_t n = (size_t)o->channels;
  o->mean = block;
  o->variance = block + n;
  o->absolute = block + 2 * n;
  o->positive = block + 3 * n;
  o->moments = full ? block + PRN_PROFILE_VECTORS * n : NULL;
}

double *prn_profile_own(prn_observation *o, bool full) {
  size_t n;
  if (o->own) return o->own;
  if (!prn_profile_block_size(o->channels, full, &n)) return NULL;
  double *block = prn_try_alloc(n * sizeof *block);
  if (!block) return NULL;
  if (o->count)
    memcpy(block, o->mean, n * sizeof *block);
  else
    memset(block, 0, n * sizeof *block);
  o->own = block;
  prn_profile_place(o, block, full);
  return block;
}

void prn_profile_combine(double *into, int64_t n_into, const double *from,
                         int64_t n_from, int64_t channels) {
  size_t n = (size_t)channels;
  double share = (double)n_from / ((double)n_into + (double)n_from);
  for (size_t i = 0; i < n; i++) {
    double delta = from[i] - into[i];
    double *variance = &into[n + i];
    into[i] += share * delta;
    *variance +=
        share * (from[n + i] - *variance) + share * (1 - share) * delta * delta;
  }
  for (size_t i = 2 * n; i < PRN_PROFILE_VECTORS * n; i++)
    into[i] += share * (from[i] - into[i]);
}

/* ---- merging ---- */

static const char *name_of(const prn_profile *p) {
  return p->path ? p->path : "the profile";
}

static prn_status merge_one(prn_profile *into, const prn_observation *from,
                            prn_diag_sink *sink) {
  prn_loc loc = {.file = name_of(into)};
  size_t i = prn_profile_add(into, from->value, from->axis), size;
  prn_observation *o = &into->at[i];
  if (o->count == 0) o->channels = from->channels;
  if (o->channels != from->channels)
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "'%.*s' has %lld channels here and %lld elsewhere",
                         PRN_STR_ARG(o->value), (long long)o->channels,
                         (long long)from->channels);
  double *block = prn_profile_own(o, into->full);
  if (!block || !prn_profile_block_size(o->channels, into->full, &size))
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "no memory for the statistics of '%.*s'",
                         PRN_STR_ARG(o->value));
  prn_profile_combine(block, o->count, from->mean, from->count, o->channels);
  double share = (double)from->count / ((double)o->count + (double)from->count);
  size_t vectors = PRN_PROFILE_VECTORS * (size_t)o->channels;
  for (size_t k = vectors; k < size; k++)
    block[k] += share * (from->mean[k] - block[k]);
  if (!prn_add_i64(o->count, from->count, &o->count))
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "'%.*s' counts too many vectors",
                         PRN_STR_ARG(o->value));
  return PRN_OK;
}

prn_status prn_profile_merge(prn_profile *into, const prn_profile *from,
                             prn_diag_sink *sink) {
  prn_loc loc = {.file = name_of(from)};
  if (into->model != from->model)
    return prn_diag_emit(
        sink, PRN_ERROR, loc, PRN_STR(""),
        "the profile is of model %016llx, but that of '%s' is of model %016llx",
        (unsigned long long)from->model, name_of(into),
        (unsigned long long)into->model);
  if (into->full != from->full)
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "the profile has %s moments, but that of '%s' has %s",
                         from->full ? "full" : "diagonal", name_of(into),
                         into->full ? "full" : "diagonal");
  for (size_t i = 0; i < from->size; i++)
    if (from->at[i].count) PRN_TRY(merge_one(into, &from->at[i], sink));
  return PRN_OK;
}
