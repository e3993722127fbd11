/* Observations of values whose channels have changed places. */
#include <string.h>

#include "ir/profile_block.h"

/* What channel i was before; channels of a window are its places, too. */
static size_t source(const prn_observation *o, const int64_t *from, size_t i) {
  size_t places = (size_t)prn_window_places(&o->window);
  return (size_t)from[i / places] * places + i % places;
}

/* Whether moments of whole groups can follow: none is of channels that were in
 * different groups. */
static bool moments_follow(const prn_observation *o, const int64_t *from) {
  size_t n = (size_t)prn_observation_group(o), all = (size_t)o->channels;
  if (prn_observation_block(o) < prn_observation_group(o)) return false;
  for (size_t i = 0; i < all; i++)
    if (source(o, from, i) / n != source(o, from, i / n * n) / n) return false;
  return true;
}

static void move_matrices(const prn_observation *o, const int64_t *from,
                          const double *old, double *now) {
  size_t n = (size_t)prn_observation_group(o), all = (size_t)o->channels;
  for (size_t i = 0; i < all; i++) {
    size_t row = source(o, from, i), first = i / n * n;
    for (size_t k = 0; k < n; k++)
      now[i * n + k] = old[row * n + source(o, from, first + k) % n];
  }
}

bool prn_profile_add_moved(prn_profile *p, const prn_observation *from,
                           const int64_t *order, bool *lost) {
  size_t i = prn_profile_add_window(p, from->value, from->axis, &from->window);
  prn_observation *o = &p->at[i];
  size_t n = (size_t)from->channels, all;
  bool follow = !from->moments || !order || moments_follow(from, order);
  *lost = !follow;
  o->channels = from->channels;
  o->block = follow ? from->block : 0;
  o->paired = follow && from->paired;
  double *block = prn_profile_own(o);
  if (!block || !prn_profile_block_size(o, &all)) return false;
  o->count = from->count;
  if (!order) {
    memcpy(block, from->mean, all * sizeof *block);
    return true;
  }
  for (size_t v = 0; v < PRN_PROFILE_VECTORS; v++)
    for (size_t k = 0; k < n; k++)
      block[v * n + k] = from->mean[v * n + source(from, order, k)];
  if (o->moments)
    move_matrices(from, order, from->moments,
                  block + (size_t)(o->moments - o->mean));
  for (size_t k = 0; o->before && k < n; k++)
    block[(size_t)(o->before - o->mean) + k] =
        from->before[source(from, order, k)];
  if (o->cross)
    move_matrices(from, order, from->cross,
                  block + (size_t)(o->cross - o->mean));
  return true;
}
