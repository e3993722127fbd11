/* nm24: of every four neighbours along k at most two, for sparse tensor cores.
 *
 *   T   values[N][K / 2]      the two that are kept of every four, in order
 *   u32 which[N / 16][K / 64][32]
 *
 * with n and k rounded up to N and K, multiples of 16 and 64 (of bytes 128).
 * What is added is zero. A tile of 16 by 64 has 32 words with a nibble for
 * every four k, i0 | i1 << 2 with i0 < i1 the positions kept. Word 4 (r % 8) +
 * q is about row r of its k 16 q to 16 q + 15, in the low half for r < 8 and in
 * the high half for r >= 8. Of bytes, word 4 (r % 8) + 2 h + (r >= 8) is about
 * row r of its k 32 h to 32 h + 31.
 *
 * A group with less than two keeps a zero beside: positions must differ and
 * ascend, whatever is stored. -0.0 is a zero. */
#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { ROWS = 16, DEPTH = 64, WORDS = 32 };

static int64_t up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

/* K. */
static int64_t deep(const prn_packing *p) {
  return up(p->k, p->dtype == PRN_I8 ? 2 * DEPTH : DEPTH);
}

/* 16 rows with all their depth, padded. */
static float *strip_alloc(const prn_packing *p) {
  return prn_alloc(
      prn_array_size(prn_array_size(ROWS, (size_t)deep(p)), sizeof(float)));
}

static void strip_read(const prn_packing *p, int64_t n0, float *strip) {
  int64_t depth = deep(p);
  memset(strip, 0, (size_t)(ROWS * depth) * sizeof *strip);
  for (int64_t r = 0; r < ROWS && n0 + r < p->n; r++)
    prn_packing_rows(p, n0 + r, 1, strip + r * depth);
}

/* Positions of the two of four that are kept; false where more are there. */
static bool positions(const float *four, int *at) {
  int n = 0;
  at[0] = 0;
  at[1] = 1;
  for (int i = 0; i < 4; i++)
    if (!(four[i] == 0)) {
      if (n == 2) return false;
      at[n++] = i;
    }
  if (n == 1 && at[0] == 3) {
    at[0] = 0;
    at[1] = 3;
  } else if (n == 1) {
    at[1] = 3;
  }
  return true;
}

static bool is_24(const prn_packing *p) {
  float *strip = strip_alloc(p);
  bool yes = true;
  for (int64_t n0 = 0; n0 < p->n && yes; n0 += ROWS) {
    strip_read(p, n0, strip);
    for (int64_t i = 0; i < ROWS * deep(p) && yes; i += 4) {
      int at[2];
      yes = positions(strip + i, at);
    }
  }
  prn_free(strip);
  return yes;
}

static bool nm24_size(const prn_packing *p, int64_t *bytes) {
  int64_t n, k, count, values;
  if (!prn_packing_is_matrix(p) || !prn_pack_has_values(p->dtype) ||
      prn_dtype_is_ofp8(p->dtype) || !prn_add_i64(p->n, ROWS - 1, &n) ||
      !prn_add_i64(p->k, 2 * DEPTH - 1, &k) ||
      !prn_mul_i64(n / ROWS * ROWS, deep(p), &count) ||
      !prn_mul_i64(count / 2, prn_dtype_bits(p->dtype) / 8, &values) ||
      !prn_add_i64(values, count / 8, bytes))
    return false;
  return is_24(p);
}

static void put_values(const prn_packing *p, float *strip, prn_pack_put *put,
                       void *user) {
  int64_t depth = deep(p);
  float *kept = prn_alloc(prn_array_size((size_t)depth / 2, sizeof *kept));
  char *out = prn_alloc(prn_array_size((size_t)depth / 2, sizeof *kept));
  for (int64_t n0 = 0; n0 < p->n; n0 += ROWS) {
    strip_read(p, n0, strip);
    for (int64_t r = 0; r < ROWS; r++) {
      for (int64_t i = 0; i < depth; i += 4) {
        const float *four = strip + r * depth + i;
        int at[2];
        positions(four, at);
        kept[i / 2] = four[at[0]];
        kept[i / 2 + 1] = four[at[1]];
      }
      prn_pack_values(p->dtype, kept, depth / 2, out);
      put(user, out, (size_t)depth / 2 * prn_dtype_bits(p->dtype) / 8);
    }
  }
  prn_free(out);
  prn_free(kept);
}

/* Sets the nibble of row r's group at i in a tile's words. */
static void say(uint32_t *words, bool bytes, int64_t r, int64_t i,
                uint32_t nibble) {
  int64_t word = r % 8 * 4, shift;
  if (bytes) {
    word += i / 32 * 2 + r / 8;
    shift = i % 32;
  } else {
    word += i / 16;
    shift = r / 8 * 16 + i % 16;
  }
  words[word] |= nibble << shift;
}

static void put_which(const prn_packing *p, float *strip, prn_pack_put *put,
                      void *user) {
  int64_t depth = deep(p);
  for (int64_t n0 = 0; n0 < p->n; n0 += ROWS) {
    strip_read(p, n0, strip);
    for (int64_t k0 = 0; k0 < depth; k0 += DEPTH) {
      uint32_t words[WORDS] = {0};
      for (int64_t r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < DEPTH; i += 4) {
          int at[2];
          positions(strip + r * depth + k0 + i, at);
          say(words, p->dtype == PRN_I8, r, i, (uint32_t)(at[0] | at[1] << 2));
        }
      put(user, words, sizeof words);
    }
  }
}

static void nm24_write(const prn_packing *p, prn_pack_put *put, void *user) {
  float *strip = strip_alloc(p);
  put_values(p, strip, put, user);
  put_which(p, strip, put, user);
  prn_free(strip);
}

const prn_pack_format prn_pack_nm24 = {"nm24", nm24_size, nm24_write, false};
