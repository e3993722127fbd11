/* After the specification, xxhash_spec.md of the reference code. */
#include "ir/support/xxh64.h"

#include <string.h>

enum { STRIPE = 32, LANES = 4 };

static const uint64_t P1 = 0x9E3779B185EBCA87u, P2 = 0xC2B2AE3D27D4EB4Fu,
                      P3 = 0x165667B19E3779F9u, P4 = 0x85EBCA77C2B2AE63u,
                      P5 = 0x27D4EB2F165667C5u;

static uint64_t rotate(uint64_t v, int n) { return v << n | v >> (64 - n); }

static uint64_t get32(const unsigned char *p) {
  return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 |
         (uint64_t)p[3] << 24;
}

static uint64_t get64(const unsigned char *p) {
  return get32(p) | get32(p + 4) << 32;
}

static uint64_t mix_lane(uint64_t lane, uint64_t v) {
  return rotate(lane + v * P2, 31) * P1;
}

static void mix_stripe(prn_xxh64_state *s, const unsigned char *p) {
  for (int i = 0; i < LANES; i++)
    s->lanes[i] = mix_lane(s->lanes[i], get64(p + 8 * i));
}

void prn_xxh64_begin(prn_xxh64_state *s, uint64_t seed) {
  *s = (prn_xxh64_state){.lanes = {seed + P1 + P2, seed + P2, seed, seed - P1},
                         .seed = seed};
}

void prn_xxh64_add(prn_xxh64_state *s, const void *data, size_t size) {
  const unsigned char *p = data;
  size_t have = s->size % STRIPE;
  if (size == 0) return;
  s->size += size;
  if (have) {
    size_t n = size < STRIPE - have ? size : STRIPE - have;
    memcpy(s->rest + have, p, n);
    if (have + n < STRIPE) return;
    mix_stripe(s, s->rest);
    p += n;
    size -= n;
  }
  for (; size >= STRIPE; size -= STRIPE, p += STRIPE)
    mix_stripe(s, p);
  if (size) memcpy(s->rest, p, size);
}

uint64_t prn_xxh64_end(const prn_xxh64_state *s) {
  const unsigned char *p = s->rest;
  size_t left = s->size % STRIPE;
  uint64_t h = s->seed + P5;
  if (s->size >= STRIPE) {
    h = rotate(s->lanes[0], 1) + rotate(s->lanes[1], 7) +
        rotate(s->lanes[2], 12) + rotate(s->lanes[3], 18);
    for (int i = 0; i < LANES; i++)
      h = (h ^ mix_lane(0, s->lanes[i])) * P1 + P4;
  }
  h += s->size;
  for (; left >= 8; left -= 8, p += 8)
    h = rotate(h ^ mix_lane(0, get64(p)), 27) * P1 + P4;
  for (; left >= 4; left -= 4, p += 4)
    h = rotate(h ^ get32(p) * P1, 23) * P2 + P3;
  for (; left; left--, p++)
    h = rotate(h ^ *p * P5, 11) * P1;
  h = (h ^ h >> 33) * P2;
  h = (h ^ h >> 29) * P3;
  return h ^ h >> 32;
}

uint64_t prn_xxh64(const void *data, size_t size, uint64_t seed) {
  prn_xxh64_state s;
  prn_xxh64_begin(&s, seed);
  prn_xxh64_add(&s, data, size);
  return prn_xxh64_end(&s);
}
