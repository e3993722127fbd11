/* bitmap: a bit for every weight and the weights that are there, in tiles that
 * a warp turns into operands of tensor cores without looking anything up.
 *
 *   u32 start[tiles + 1]      first value of a tile, in units of 8 values
 *   u32 mask[tiles][32]
 *   T   values[...]
 *
 * each part at a multiple of 128 bytes. Tiles of 16 by 64 stand in the order of
 * n, then k; n and k are rounded up with zeros. Bit b of word 4 (r % 8) + q of
 * a tile's mask is about row r and k = 16 q + b % 16: r < 8 in the low half,
 * r >= 8 in the high half.
 *
 * A tile's values: for every nibble s of the words, for every word, those of
 * the nibble's bits, from the lowest; zeros up to a multiple of 8. So lanes
 * that read one nibble each read neighbours. -0.0 is a zero. */
#include "ir/pack/bitmap.h"

#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum {
  ROWS = PRN_BITMAP_ROWS,
  DEPTH = PRN_BITMAP_DEPTH,
  WORDS = 32,
  UNIT = PRN_BITMAP_UNIT,
  ALIGN = 128,
};

static int64_t up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

int64_t prn_bitmap_tiles(int64_t k, int64_t n) {
  return up(n, ROWS) / ROWS * (up(k, DEPTH) / DEPTH);
}
int64_t prn_bitmap_masks(int64_t k, int64_t n) {
  return up((prn_bitmap_tiles(k, n) + 1) * 4, ALIGN);
}
int64_t prn_bitmap_values(int64_t k, int64_t n) {
  return prn_bitmap_masks(k, n) + prn_bitmap_tiles(k, n) * WORDS * 4;
}

/* A row of tiles. */
typedef struct strip {
  const prn_packing *p;
  int64_t depth;
  float *rows;
} strip;

static strip strip_create(const prn_packing *p) {
  strip s = {.p = p, .depth = up(p->k, DEPTH)};
  s.rows = prn_alloc(
      prn_array_size(prn_array_size(ROWS, (size_t)s.depth), sizeof *s.rows));
  return s;
}

static void strip_read(strip *s, int64_t n0) {
  memset(s->rows, 0, (size_t)(ROWS * s->depth) * sizeof *s->rows);
  for (int64_t r = 0; r < ROWS && n0 + r < s->p->n; r++)
    prn_packing_rows(s->p, n0 + r, 1, s->rows + r * s->depth);
}

/* What bit b of a tile's word is about. */
static float at(const strip *s, int64_t k0, int word, int b) {
  int row = word / 4 + b / 16 * 8;
  return s->rows[row * s->depth + k0 + word % 4 * 16 + b % 16];
}

static int64_t units_of(const strip *s, int64_t k0) {
  int64_t n = 0;
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < DEPTH; i++)
      n += !(s->rows[r * s->depth + k0 + i] == 0);
  return (n + UNIT - 1) / UNIT;
}

static bool bitmap_size(const prn_packing *p, int64_t *bytes) {
  int64_t n, k, all, units = 0;
  if (!prn_packing_is_matrix(p) ||
      (p->dtype != PRN_F16 && p->dtype != PRN_BF16 && p->dtype != PRN_F32) ||
      !prn_add_i64(p->n, ROWS, &n) || !prn_add_i64(p->k, DEPTH, &k) ||
      !prn_mul_i64(n, k, &all) || !prn_mul_i64(all, 8, &all))
    return false;
  strip s = strip_create(p);
  for (int64_t n0 = 0; n0 < p->n; n0 += ROWS) {
    strip_read(&s, n0);
    for (int64_t k0 = 0; k0 < s.depth; k0 += DEPTH)
      units += units_of(&s, k0);
  }
  prn_free(s.rows);
  *bytes = prn_bitmap_values(p->k, p->n) +
           units * UNIT * (prn_dtype_bits(p->dtype) / 8);
  return units <= UINT32_MAX;
}

static void put_starts(strip *s, prn_pack_put *put, void *user) {
  static const char zeros[ALIGN];
  uint32_t next = 0;
  int64_t bytes = (prn_bitmap_tiles(s->p->k, s->p->n) + 1) * 4;
  put(user, &next, sizeof next);
  for (int64_t n0 = 0; n0 < s->p->n; n0 += ROWS) {
    strip_read(s, n0);
    for (int64_t k0 = 0; k0 < s->depth; k0 += DEPTH) {
      next += (uint32_t)units_of(s, k0);
      put(user, &next, sizeof next);
    }
  }
  if (bytes % ALIGN) put(user, zeros, (size_t)(up(bytes, ALIGN) - bytes));
}

static void put_masks(strip *s, prn_pack_put *put, void *user) {
  for (int64_t n0 = 0; n0 < s->p->n; n0 += ROWS) {
    strip_read(s, n0);
    for (int64_t k0 = 0; k0 < s->depth; k0 += DEPTH) {
      uint32_t mask[WORDS] = {0};
      for (int w = 0; w < WORDS; w++)
        for (int b = 0; b < 32; b++)
          if (!(at(s, k0, w, b) == 0)) mask[w] |= 1u << b;
      put(user, mask, sizeof mask);
    }
  }
}

static void put_tile(const strip *s, int64_t k0, prn_pack_put *put,
                     void *user) {
  float values[ROWS * DEPTH];
  char out[sizeof values];
  int n = 0;
  for (int nibble = 0; nibble < 8; nibble++)
    for (int w = 0; w < WORDS; w++)
      for (int b = nibble * 4; b < nibble * 4 + 4; b++) {
        float v = at(s, k0, w, b);
        if (!(v == 0)) values[n++] = v;
      }
  while (n % UNIT)
    values[n++] = 0;
  prn_pack_values(s->p->dtype, values, n, out);
  if (n) put(user, out, (size_t)n * prn_dtype_bits(s->p->dtype) / 8);
}

static void bitmap_write(const prn_packing *p, prn_pack_put *put, void *user) {
  strip s = strip_create(p);
  put_starts(&s, put, user);
  put_masks(&s, put, user);
  for (int64_t n0 = 0; n0 < p->n; n0 += ROWS) {
    strip_read(&s, n0);
    for (int64_t k0 = 0; k0 < s.depth; k0 += DEPTH)
      put_tile(&s, k0, put, user);
  }
  prn_free(s.rows);
}

const prn_pack_format prn_pack_bitmap = {"bitmap", bitmap_size, bitmap_write,
                                         false};
