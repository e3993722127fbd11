/* Exact statistics of a matrix; see stats.h.
 *
 * Strips of 48 results: a step of the depth is a word of 48 bits, and blocks
 * of 2, 3, 4, 6, 8 and 16 rows all divide it. */
#include "ir/pack/stats.h"

#include <string.h>

enum { STRIP = 48, STEPS = 512 };

static int64_t ones(uint64_t w) {
  w -= w >> 1 & 0x5555555555555555u;
  w = (w & 0x3333333333333333u) + (w >> 2 & 0x3333333333333333u);
  w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return (int64_t)(w * 0x0101010101010101u >> 56);
}

/* words[i] gets a bit for every result of the strip that is not zero there. */
static void strip_nk(const prn_packing *p, int64_t n0, int64_t rows, int64_t k0,
                     int64_t steps, uint64_t *words) {
  float in[STEPS];
  for (int64_t r = 0; r < rows; r++) {
    prn_tensor_read_f32(p->t, (n0 + r) * p->k + k0, steps, in);
    for (int64_t i = 0; i < steps; i++)
      words[i] |= (uint64_t) !(in[i] == 0) << r;
  }
}

static void strip_kn(const prn_packing *p, int64_t n0, int64_t rows, int64_t k0,
                     int64_t steps, uint64_t *words) {
  float in[STRIP];
  for (int64_t i = 0; i < steps; i++) {
    prn_tensor_read_f32(p->t, (k0 + i) * p->n + n0, rows, in);
    for (int64_t r = 0; r < rows; r++)
      words[i] |= (uint64_t) !(in[r] == 0) << r;
  }
}

static void count_all(prn_pack_stats *s, const uint64_t *words, int64_t steps) {
  for (int64_t i = 0; i < steps; i++)
    s->nnz += ones(words[i]);
}

/* Neighbours become cells; their number. */
static int64_t merge(uint64_t *words, int64_t steps, int64_t cell) {
  int64_t n = 0;
  for (int64_t i = 0; i < steps; i += cell, n++) {
    uint64_t w = 0;
    for (int64_t j = i; j < i + cell && j < steps; j++)
      w |= words[j];
    words[n] = w;
  }
  return n;
}

static void count(prn_pack_stats *s, const uint64_t *words, int64_t steps) {
  for (int64_t i = 0; i < steps; i++) {
    uint64_t w = words[i];
    uint64_t two = w | w >> 1, three = two | w >> 2, four = two | two >> 2;
    uint64_t eight = four | four >> 4;
    s->filled[1] += ones(w);
    s->filled[2] += ones(two & 0x555555555555u);
    s->filled[3] += ones(three & 0x249249249249u);
    s->filled[4] += ones(four & 0x111111111111u);
    s->filled[6] += ones((three | three >> 3) & 0x041041041041u);
    s->filled[8] += ones(eight & 0x010101010101u);
    s->filled[16] += ones((eight | eight >> 8) & 0x000100010001u);
  }
}

void prn_pack_stats_of(const prn_packing *p, int64_t cell,
                       prn_pack_stats *out) {
  uint64_t words[STEPS];
  memset(out, 0, sizeof *out);
  for (int64_t n0 = 0; n0 < p->n; n0 += STRIP) {
    int64_t rows = p->n - n0 < STRIP ? p->n - n0 : STRIP;
    uint64_t any = 0;
    for (int64_t k0 = 0; k0 < p->k; k0 += STEPS) {
      int64_t steps = p->k - k0 < STEPS ? p->k - k0 : STEPS;
      memset(words, 0, sizeof words);
      (p->nk ? strip_nk : strip_kn)(p, n0, rows, k0, steps, words);
      count_all(out, words, steps);
      if (cell > 1) steps = merge(words, steps, cell);
      count(out, words, steps);
      for (int64_t i = 0; i < steps; i++)
        any |= words[i];
    }
    out->empty_rows += rows - ones(any);
  }
}
