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

/* No two have the same: what is before the colon holds none. */
static void key_of(prn_str value, int32_t axis, const prn_profile_window *w,
                   prn_strbuf *key) {
  prn_strbuf_fmt(key, "%d ", (int)axis);
  if (w) prn_window_print(w, key);
  prn_strbuf_char(key, ':');
  prn_strbuf_str(key, value);
}

const prn_observation *prn_profile_find_window(const prn_profile *p,
                                               prn_str value, int32_t axis,
                                               const prn_profile_window *w) {
  prn_strbuf key = {0};
  key_of(value, axis, w, &key);
  size_t place = (uintptr_t)prn_map_get(&p->index, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return place ? &p->at[place - 1] : NULL;
}

const prn_observation *prn_profile_find(const prn_profile *p, prn_str value,
                                        int32_t axis) {
  return prn_profile_find_window(p, value, axis, NULL);
}

const prn_observation *prn_profile_find_any(const prn_profile *p,
                                            prn_str value) {
  for (size_t i = 0; i < p->size; i++)
    if (!p->at[i].window.axes && prn_str_eq(p->at[i].value, value))
      return &p->at[i];
  return NULL;
}

size_t prn_profile_add_window(prn_profile *p, prn_str value, int32_t axis,
                              const prn_profile_window *w) {
  const prn_observation *known = prn_profile_find_window(p, value, axis, w);
  prn_strbuf key = {0};
  if (known) return (size_t)(known - p->at);
  if (p->size == p->cap) {
    p->cap = p->cap ? 2 * p->cap : 32;
    p->at = prn_realloc(p->at, prn_array_size(sizeof *p->at, p->cap));
  }
  key_of(value, axis, w, &key);
  const char *text = prn_arena_copy(&p->arena, key.data, key.size);
  prn_str name = {text + key.size - value.size, value.size};
  p->at[p->size++] =
      (prn_observation){.value = name,
                        .axis = axis,
                        .window = w ? *w : (prn_profile_window){0},
                        .block = p->block};
  *prn_map_slot(&p->index, (prn_str){text, key.size}) =
      (void *)(uintptr_t)p->size;
  prn_strbuf_destroy(&key);
  return p->size - 1;
}

size_t prn_profile_add(prn_profile *p, prn_str value, int32_t axis) {
  return prn_profile_add_window(p, value, axis, NULL);
}

/* ---- numbers ---- */

size_t prn_profile_group_moments(const prn_observation *o) {
  size_t n = (size_t)prn_observation_group(o),
         b = (size_t)prn_observation_block(o);
  return b ? n / b * b * b + n % b * (n % b) : 0;
}

bool prn_profile_block_size(const prn_observation *o, size_t *doubles) {
  size_t n = (size_t)o->channels, vectors, most;
  int64_t groups = o->window.axes ? o->window.groups : 1;
  if (o->channels <= 0 || o->channels % groups != 0 ||
      !prn_mul_size(n, PRN_PROFILE_VECTORS, &vectors) ||
      !prn_mul_size(n, (size_t)prn_observation_block(o), &most) ||
      most > SIZE_MAX / sizeof(double) / 8 ||
      vectors > SIZE_MAX / sizeof(double) / 8)
    return false;
  size_t moments = (size_t)groups * prn_profile_group_moments(o);
  *doubles = vectors + moments + (o->paired && moments ? n + moments : 0);
  return true;
}

double prn_observation_bytes(const prn_observation *o, int64_t channels,
                             bool paired) {
  double places = (double)prn_window_places(&o->window), all = places;
  all *= (double)channels;
  double group = all / (double)(o->window.axes ? o->window.groups : 1);
  double block = (double)o->block < group ? (double)o->block : group;
  double moments = all * block * (paired ? 2 : 1);
  return 8 * (PRN_PROFILE_VECTORS * all + moments);
}

void prn_profile_place(prn_observation *o, const double *block) {
  size_t n = (size_t)o->channels;
  o->mean = block;
  o->variance = block + n;
  o->absolute = block + 2 * n;
  o->positive = block + 3 * n;
  o->moments = o->block ? block + PRN_PROFILE_VECTORS * n : NULL;
  o->before = o->cross = NULL;
  if (!o->moments || !o->paired) return;
  size_t groups = n / (size_t)prn_observation_group(o);
  o->before = o->moments + groups * prn_profile_group_moments(o);
  o->cross = o->before + n;
}

double *prn_profile_own(prn_observation *o) {
  size_t n;
  if (o->own) return o->own;
  if (!prn_profile_block_size(o, &n)) return NULL;
  double *block = prn_try_alloc(n * sizeof *block);
  if (!block) return NULL;
  if (o->count)
    memcpy(block, o->mean, n * sizeof *block);
  else
    memset(block, 0, n * sizeof *block);
  o->own = block;
  prn_profile_place(o, block);
  return block;
}

/* Blocks of group g; elsewhere the product of the means. */
static void unpack(const prn_observation *o, int64_t g, const double *row_mean,
                   const double *blocks, double *out) {
  int64_t n = prn_observation_group(o), b = prn_observation_block(o);
  const double *mean = o->mean + g * n,
               *from = blocks + (size_t)g * prn_profile_group_moments(o);
  for (int64_t i = 0; b < n && i < n; i++)
    for (int64_t j = 0; j < n; j++)
      out[i * n + j] = row_mean[g * n + i] * mean[j];
  for (int64_t at = 0; at < n; at += b) {
    int64_t size = n - at < b ? n - at : b;
    for (int64_t i = 0; i < size; i++, from += size)
      memcpy(out + (at + i) * n + at, from, (size_t)size * sizeof *out);
  }
}

void prn_observation_moments(const prn_observation *o, int64_t g, double *out) {
  unpack(o, g, o->mean, o->moments, out);
}

void prn_observation_cross(const prn_observation *o, int64_t g, double *out) {
  unpack(o, g, o->before, o->cross, out);
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

void prn_profile_moments_print(const prn_profile *p, prn_strbuf *b) {
  if (p->block == 0)
    prn_strbuf_cstr(b, "diagonal moments");
  else if (p->block == PRN_PROFILE_FULL)
    prn_strbuf_cstr(b, "full moments");
  else
    prn_strbuf_fmt(b, "moments of %lld channels", (long long)p->block);
}

static prn_status merge_one(prn_profile *into, const prn_observation *from,
                            prn_diag_sink *sink) {
  prn_loc loc = {.file = name_of(into)};
  size_t i = prn_profile_add_window(into, from->value, from->axis,
                                    &from->window),
         size;
  prn_observation *o = &into->at[i];
  if (o->count == 0) {
    o->channels = from->channels;
    o->block = from->block;
    o->paired = from->paired;
  }
  if (o->channels != from->channels)
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "'%.*s' has %lld channels here and %lld elsewhere",
                         PRN_STR_ARG(o->value), (long long)o->channels,
                         (long long)from->channels);
  if (prn_observation_block(o) != prn_observation_block(from) ||
      o->paired != from->paired)
    return prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                         "'%.*s' has other moments here than elsewhere",
                         PRN_STR_ARG(o->value));
  double *block = prn_profile_own(o);
  if (!block || !prn_profile_block_size(o, &size))
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
  if (into->block != from->block) {
    prn_strbuf mine = {0}, other = {0};
    prn_profile_moments_print(from, &mine);
    prn_profile_moments_print(into, &other);
    (void)prn_diag_emit(sink, PRN_ERROR, loc, PRN_STR(""),
                        "the profile has %s, but that of '%s' has %s",
                        mine.data, name_of(into), other.data);
    prn_strbuf_destroy(&mine);
    prn_strbuf_destroy(&other);
    return PRN_FAIL;
  }
  for (size_t i = 0; i < from->size; i++)
    if (from->at[i].count) PRN_TRY(merge_one(into, &from->at[i], sink));
  return PRN_OK;
}
