/* bsr: blocks of 32 results by 32 along k, of which only those are there that
 * hold anything but zeros, for dense tensor cores.
 *
 *   u32 start[rows + 1]       first block of a row of blocks
 *   u32 index[blocks]         where along k a block lies, in blocks
 *   T   values[blocks][32][32]
 *
 * each part at a multiple of 128 bytes; `rows` is n in blocks, rounded up to an
 * even number. It is what others call block compressed rows, with one more
 * rule: the rows 2 r and 2 r + 1 have blocks at the same places, so that a
 * kernel multiplies what it has read of x by 64 results. A block whose
 * neighbour alone holds something is stored, all zeros. Blocks of a row ascend
 * along k; -0.0 is a zero; what is outside of the matrix is zero. */
#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { SIDE = 32, PAIR = 2 * SIDE, ALIGN = 128 };

static int64_t up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

/* A pair of rows of blocks. */
typedef struct strip {
  const prn_packing *p;
  float *rows; /* [PAIR][k] */
  int64_t n0, deep;
} strip;

static strip strip_create(const prn_packing *p) {
  size_t row = prn_array_size((size_t)p->k, sizeof(float));
  return (strip){.p = p,
                 .rows = prn_alloc(prn_array_size(PAIR, row)),
                 .deep = up(p->k, SIDE) / SIDE};
}

static void strip_read(strip *s, int64_t n0) {
  s->n0 = n0;
  prn_packing_rows(s->p, n0, PAIR, s->rows);
}

/* How much of block b is inside of the matrix. */
static int64_t width_of(const strip *s, int64_t b) {
  int64_t left = s->p->k - b * SIDE;
  return left < SIDE ? left : SIDE;
}

/* Whether anything is there of block b of either row. */
static bool is_there(const strip *s, int64_t b) {
  for (int64_t j = 0; j < PAIR; j++)
    for (int64_t i = 0; i < width_of(s, b); i++)
      if (!(s->rows[j * s->p->k + b * SIDE + i] == 0)) return true;
  return false;
}

/* Blocks of each of the two rows. */
static int64_t count(const strip *s) {
  int64_t n = 0;
  for (int64_t b = 0; b < s->deep; b++)
    n += is_there(s, b);
  return n;
}

static int64_t count_all(const prn_packing *p) {
  strip s = strip_create(p);
  int64_t n = 0;
  for (int64_t n0 = 0; n0 < p->n; n0 += PAIR) {
    strip_read(&s, n0);
    n += 2 * count(&s);
  }
  prn_free(s.rows);
  return n;
}

static int64_t starts_size(const prn_packing *p) {
  return up((up(p->n, PAIR) / SIDE + 1) * 4, ALIGN);
}

static bool bsr_size(const prn_packing *p, int64_t *bytes) {
  int64_t n, k, all;
  if (!prn_packing_is_matrix(p) ||
      (p->dtype != PRN_F16 && p->dtype != PRN_BF16 && p->dtype != PRN_F32) ||
      !prn_add_i64(p->n, PAIR, &n) || !prn_add_i64(p->k, PAIR, &k) ||
      !prn_mul_i64(n, k, &all) || !prn_mul_i64(all, 8, &all))
    return false;
  int64_t blocks = count_all(p);
  *bytes = starts_size(p) + up(blocks * 4, ALIGN) +
           blocks * SIDE * SIDE * (prn_dtype_bits(p->dtype) / 8);
  return blocks <= INT32_MAX;
}

/* Zeros from `bytes` on to where the next part begins. */
static void pad(int64_t bytes, prn_pack_put *put, void *user) {
  static const char zeros[ALIGN];
  if (bytes % ALIGN) put(user, zeros, (size_t)(up(bytes, ALIGN) - bytes));
}

static void put_starts(strip *s, prn_pack_put *put, void *user) {
  uint32_t next = 0;
  put(user, &next, sizeof next);
  for (int64_t n0 = 0; n0 < s->p->n; n0 += PAIR) {
    strip_read(s, n0);
    uint32_t blocks = (uint32_t)count(s);
    const uint32_t ends[2] = {next + blocks, next + 2 * blocks};
    put(user, ends, sizeof ends);
    next = ends[1];
  }
  pad((up(s->p->n, PAIR) / SIDE + 1) * 4, put, user);
}

static void put_indices(strip *s, prn_pack_put *put, void *user) {
  int64_t bytes = 0;
  for (int64_t n0 = 0; n0 < s->p->n; n0 += PAIR) {
    strip_read(s, n0);
    for (int row = 0; row < 2; row++)
      for (int64_t b = 0; b < s->deep; b++) {
        uint32_t index = (uint32_t)b;
        if (!is_there(s, b)) continue;
        put(user, &index, sizeof index);
        bytes += (int64_t)sizeof index;
      }
  }
  pad(bytes, put, user);
}

static void put_block(const strip *s, int row, int64_t b, prn_pack_put *put,
                      void *user) {
  float values[SIDE * SIDE] = {0};
  char out[sizeof values];
  for (int64_t j = 0; j < SIDE; j++)
    memcpy(values + j * SIDE, s->rows + (row * SIDE + j) * s->p->k + b * SIDE,
           (size_t)width_of(s, b) * sizeof *values);
  prn_pack_values(s->p->dtype, values, SIDE * SIDE, out);
  put(user, out, SIDE * SIDE * prn_dtype_bits(s->p->dtype) / 8);
}

static void bsr_write(const prn_packing *p, prn_pack_put *put, void *user) {
  strip s = strip_create(p);
  put_starts(&s, put, user);
  put_indices(&s, put, user);
  for (int64_t n0 = 0; n0 < p->n; n0 += PAIR) {
    strip_read(&s, n0);
    for (int row = 0; row < 2; row++)
      for (int64_t b = 0; b < s.deep; b++)
        if (is_there(&s, b)) put_block(&s, row, b, put, user);
  }
  prn_free(s.rows);
}

const prn_pack_format prn_pack_bsr = {"bsr", bsr_size, bsr_write, false};
