/* ir/pack: the formats of CUDA kernels, read back element by element as
 * docs/cuda-formats.md describes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ir/context.h"
#include "ir/pack/pack.h"
#include "ir/support/arena.h"
#include "ir/tensor.h"

/* A matrix that the types of storage hold exactly: w[n][k]. */
typedef struct matrix {
  int64_t k, n;
  float *w, *stored;
  prn_packing p;
} matrix;

/* How many of every four along k may be there, 4: all. */
static matrix matrix_create(prn_ctx *ctx, int64_t k, int64_t n, bool nk,
                            prn_dtype t, int of_four, uint32_t seed) {
  size_t count = (size_t)(k * n);
  matrix x = {.k = k, .n = n};
  x.w = prn_alloc(count * sizeof *x.w);
  x.stored = prn_alloc(count * sizeof *x.stored);
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0, there = 0; i < k; i++) {
      seed = seed * 1664525u + 1013904223u;
      if (i % 4 == 0) there = 0;
      bool take = j % 5 != 3 && seed >> 28 > 7 && there < of_four;
      float v = (float)((int)(seed >> 20 & 127) - 63);
      if (t != PRN_I8) v /= 32;
      if (prn_dtype_bits(t) == 8 && t != PRN_I8) v = (float)((int)v * 2);
      v = take ? v : seed >> 27 & 1 ? -0.0f : 0.0f;
      there += !(v == 0);
      x.w[j * k + i] = v;
      x.stored[nk ? j * k + i : i * n + j] = v;
    }
  const int64_t dims[2] = {nk ? n : k, nk ? k : n};
  const prn_type *type = prn_type_static(ctx, PRN_F32, 2, dims);
  x.p = (prn_packing){.t = prn_tensor_from_data(ctx, type, x.stored),
                      .nk = nk,
                      .k = k,
                      .n = n,
                      .dtype = t};
  return x;
}

static void matrix_destroy(matrix *x) {
  prn_free(x->w);
  prn_free(x->stored);
}

typedef struct bytes {
  char *data;
  size_t size, capacity;
} bytes;

static void append(void *user, const void *data, size_t size) {
  bytes *b = user;
  assert_true(b->size + size <= b->capacity);
  memcpy(b->data + b->size, data, size);
  b->size += size;
}

/* NULL when the format refuses; what size says is what write writes. */
static char *packed(const matrix *x, const char *format, size_t *size) {
  const prn_pack_format *f = prn_pack_find(prn_str_from(format));
  int64_t want;
  assert_non_null(f);
  if (!f->size(&x->p, &want)) return NULL;
  bytes b = {.data = prn_alloc((size_t)want), .capacity = (size_t)want};
  f->write(&x->p, append, &b);
  assert_int_equal(b.size, b.capacity);
  if (size) *size = b.size;
  return b.data;
}

static float element(prn_dtype t, const char *values, int64_t i) {
  uint16_t h;
  uint32_t bits;
  float f;
  if (t == PRN_I8) return (float)(signed char)values[i];
  if (prn_dtype_bits(t) == 8) return (float)prn_element_to_f64(t, values, i);
  if (t == PRN_F32) {
    memcpy(&f, values + i * 4, sizeof f);
    return f;
  }
  memcpy(&h, values + i * 2, sizeof h);
  if (t == PRN_BF16) {
    bits = (uint32_t)h << 16;
    memcpy(&f, &bits, sizeof f);
    return f;
  }
  int e = h >> 10 & 31, m = h & 1023;
  f = e ? ldexpf((float)(m + 1024), e - 25) : ldexpf((float)m, -24);
  return h >> 15 ? -f : f;
}

static uint32_t word(const char *words, int64_t i) {
  uint32_t w;
  memcpy(&w, words + i * 4, sizeof w);
  return w;
}

static int64_t width_of(const matrix *x) {
  return prn_dtype_bits(x->p.dtype) / 8;
}
static int64_t up(int64_t v, int64_t to) { return (v + to - 1) / to * to; }

/* Also outside of the matrix. */
static float want(const matrix *x, int64_t j, int64_t i) {
  return j < x->n && i < x->k ? x->w[j * x->k + i] : 0;
}

static void check_nk(const matrix *x) {
  size_t size;
  char *b = packed(x, "nk", &size);
  int64_t stride = up(x->k, width_of(x) == 1 ? 16 : 8);
  assert_non_null(b);
  assert_int_equal(size, x->n * stride * width_of(x));
  for (int64_t j = 0; j < x->n; j++)
    for (int64_t i = 0; i < stride; i++)
      assert_true(element(x->p.dtype, b, j * stride + i) == want(x, j, i));
  prn_free(b);
}

/* The nibble of the group that row r and i are in, of a tile of 16 by 64. */
static uint32_t nibble_of(const matrix *x, const char *tile, int64_t r,
                          int64_t i) {
  if (x->p.dtype == PRN_I8)
    return word(tile, r % 8 * 4 + i / 32 * 2 + r / 8) >> i % 32 / 4 * 4 & 15;
  return word(tile, r % 8 * 4 + i / 16) >> (r / 8 * 16 + i % 16 / 4 * 4) & 15;
}

static void check_nm24(const matrix *x) {
  size_t size;
  char *b = packed(x, "nm24", &size);
  int64_t n = up(x->n, 16), k = up(x->k, x->p.dtype == PRN_I8 ? 128 : 64);
  assert_non_null(b);
  size_t values = (size_t)(n * k / 2 * width_of(x));
  assert_int_equal(size, values + (size_t)(n * k / 8));
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < k; i += 4) {
      float four[4] = {0};
      const char *tile = b + values + (j / 16 * (k / 64) + i / 64) * 128;
      uint32_t e = nibble_of(x, tile, j % 16, i % 64);
      assert_true((e & 3) < e >> 2);
      four[e & 3] = element(x->p.dtype, b, j * (k / 2) + i / 2);
      four[e >> 2] = element(x->p.dtype, b, j * (k / 2) + i / 2 + 1);
      for (int q = 0; q < 4; q++)
        assert_true(four[q] == want(x, j, i + q));
    }
  prn_free(b);
}

static int bits(uint32_t v) { return __builtin_popcount(v); }

/* Place of a value of a tile: before it are those of lower nibbles, then those
 * of the nibble in earlier words, then lower bits. */
static int64_t rank_of(const char *mask, int lane, int bit) {
  int nibble = bit / 4, before = 0;
  for (int w = 0; w < 32; w++) {
    uint32_t m = word(mask, w);
    before += bits(m & ((1u << nibble * 4) - 1));
    if (w < lane) before += bits(m >> nibble * 4 & 15);
  }
  return before + bits(word(mask, lane) >> nibble * 4 & ((1u << bit % 4) - 1));
}

static void check_bitmap(const matrix *x) {
  size_t size;
  char *b = packed(x, "bitmap", &size);
  assert_non_null(b);
  int64_t width = width_of(x), deep = up(x->k, 64) / 64;
  int64_t tiles = up(x->n, 16) / 16 * deep;
  char *masks = b + up((tiles + 1) * 4, 128);
  char *values = masks + tiles * 128;
  assert_int_equal(size, values - b + (int64_t)word(b, tiles) * 8 * width);
  for (int64_t tile = 0; tile < tiles; tile++) {
    char *mask = masks + tile * 128;
    int64_t start = (int64_t)word(b, tile) * 8, count = 0;
    for (int lane = 0; lane < 32; lane++)
      for (int bit = 0; bit < 32; bit++) {
        int64_t j = tile / deep * 16 + lane / 4 + bit / 16 * 8;
        int64_t i = tile % deep * 64 + lane % 4 * 16 + bit % 16;
        bool there = word(mask, lane) >> bit & 1;
        assert_int_equal(there, !(want(x, j, i) == 0));
        count += there;
        if (there)
          assert_true(
              element(x->p.dtype, values, start + rank_of(mask, lane, bit)) ==
              want(x, j, i));
      }
    assert_int_equal(word(b, tile + 1), start / 8 + up(count, 8) / 8);
  }
  prn_free(b);
}

/* Whether anything is there of the block at (row, b) or of its neighbour. */
static bool block_there(const matrix *x, int64_t row, int64_t b) {
  for (int64_t j = row / 2 * 64; j < row / 2 * 64 + 64; j++)
    for (int64_t i = b * 32; i < b * 32 + 32; i++)
      if (!(want(x, j, i) == 0)) return true;
  return false;
}

static void check_bsr(const matrix *x) {
  size_t size;
  char *b = packed(x, "bsr", &size);
  assert_non_null(b);
  int64_t width = width_of(x), rows = up(x->n, 64) / 32, at = 0;
  int64_t blocks = word(b, rows);
  const char *index = b + up((rows + 1) * 4, 128);
  const char *values = index + up(blocks * 4, 128);
  assert_int_equal(size, values - b + blocks * 1024 * width);
  assert_int_equal(word(b, 0), 0);
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < up(x->k, 32) / 32; i++) {
      if (!block_there(x, row, i)) continue;
      assert_int_equal(word(index, at), i);
      for (int64_t e = 0; e < 1024; e++)
        assert_true(element(x->p.dtype, values, at * 1024 + e) ==
                    want(x, row * 32 + e / 32, i * 32 + e % 32));
      at++;
    }
    assert_int_equal(word(b, row + 1), at);
  }
  assert_int_equal(at, blocks);
  prn_free(b);
}

/* Whole blocks go, also all of a pair of rows, and what is left of the last. */
static void drop_blocks(matrix *x, prn_ctx *ctx, bool nk) {
  for (int64_t j = 0; j < x->n; j++)
    for (int64_t i = 0; i < x->k; i++) {
      int64_t pair = j / 64, b = i / 32;
      if (pair % 3 != 1 && (pair * 5 + b * 3 + j / 32 % 2) % 4 < 2) continue;
      float zero = i % 2 ? -0.0f : 0.0f;
      x->w[j * x->k + i] = zero;
      x->stored[nk ? j * x->k + i : i * x->n + j] = zero;
    }
  x->p.t = prn_tensor_from_data(ctx, x->p.t->type, x->stored);
}

static void bsr(void **state) {
  static const int64_t shapes[][2] = {{1, 1},    {32, 64},   {33, 65},
                                      {96, 130}, {200, 300}, {64, 20}};
  static const prn_dtype types[] = {PRN_F16, PRN_BF16, PRN_F32};
  (void)state;
  for (size_t s = 0; s < PRN_COUNT(shapes); s++)
    for (size_t t = 0; t < PRN_COUNT(types); t++)
      for (int how = 0; how < 4; how++) {
        prn_ctx *ctx = prn_ctx_create();
        matrix x = matrix_create(ctx, shapes[s][0], shapes[s][1], how % 2,
                                 types[t], 4, (uint32_t)(s * 7 + t));
        if (how / 2) drop_blocks(&x, ctx, how % 2);
        check_bsr(&x);
        matrix_destroy(&x);
        prn_ctx_destroy(ctx);
      }
}

/* Nothing at all is there. */
static void bsr_of_zeros(void **state) {
  (void)state;
  prn_ctx *ctx = prn_ctx_create();
  matrix x = matrix_create(ctx, 100, 70, true, PRN_F16, 0, 1);
  size_t size;
  char *b = packed(&x, "bsr", &size);
  assert_int_equal(size, 128);
  for (int64_t row = 0; row <= 4; row++)
    assert_int_equal(word(b, row), 0);
  prn_free(b);
  matrix_destroy(&x);
  prn_ctx_destroy(ctx);
}

typedef void check(const matrix *x);

static void check_shapes(check *f, int of_four) {
  static const int64_t shapes[][2] = {{1, 1},   {3, 17},  {64, 16},
                                      {63, 15}, {65, 33}, {200, 40}};
  static const prn_dtype types[] = {PRN_F16, PRN_BF16,     PRN_F32,
                                    PRN_I8,  PRN_F8E4M3FN, PRN_F8E5M2};
  size_t num = f == check_nk ? PRN_COUNT(types) : f == check_nm24 ? 4 : 3;
  for (size_t s = 0; s < PRN_COUNT(shapes); s++)
    for (size_t t = 0; t < num; t++)
      for (int nk = 0; nk < 2; nk++) {
        prn_ctx *ctx = prn_ctx_create();
        matrix x = matrix_create(ctx, shapes[s][0], shapes[s][1], nk, types[t],
                                 of_four, (uint32_t)(s * 7 + t));
        f(&x);
        matrix_destroy(&x);
        prn_ctx_destroy(ctx);
      }
}

static void nk(void **state) {
  (void)state;
  check_shapes(check_nk, 4);
}
static void nm24(void **state) {
  (void)state;
  check_shapes(check_nm24, 2);
}
static void bitmap(void **state) {
  (void)state;
  check_shapes(check_bitmap, 4);
}

/* Three of four are refused wherever they are, types that have no kernels are.
 */
static void refused(void **state) {
  static const char *const all[] = {"nk", "nm24", "bitmap", "bsr"};
  (void)state;
  prn_ctx *ctx = prn_ctx_create();
  for (int64_t at = 0; at < 70 * 20 - 3; at += 111) {
    matrix x = matrix_create(ctx, 70, 20, true, PRN_F16, 0, 1);
    int64_t four = at / 70 * 70 + at % 70 / 4 * 4;
    for (int64_t i = four; i < four + 3 && i / 70 == four / 70; i++)
      x.stored[i] = 1;
    x.p.t = prn_tensor_from_data(ctx, x.p.t->type, x.stored);
    char *b = packed(&x, "nm24", NULL);
    assert_int_equal(b == NULL, four % 70 < 68);
    prn_free(b);
    matrix_destroy(&x);
  }
  matrix x = matrix_create(ctx, 8, 8, true, PRN_I16, 0, 1);
  for (size_t i = 0; i < PRN_COUNT(all); i++)
    assert_null(packed(&x, all[i], NULL));
  x.p.dtype = PRN_I8;
  assert_null(packed(&x, "bitmap", NULL));
  assert_null(packed(&x, "bsr", NULL));
  x.p.dtype = PRN_F8E4M3FN;
  assert_null(packed(&x, "nm24", NULL));
  assert_null(packed(&x, "bitmap", NULL));
  assert_null(packed(&x, "bsr", NULL));
  /* Sizes that cannot be counted; no element is looked at. */
  x.p.dtype = PRN_F16;
  x.p.n = INT64_MAX - 8;
  assert_null(packed(&x, "bsr", NULL));
  x.p.n = INT64_C(1) << 40;
  x.p.k = INT64_C(1) << 40;
  assert_null(packed(&x, "bsr", NULL));
  matrix_destroy(&x);
  prn_ctx_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nk),
      cmocka_unit_test(nm24),
      cmocka_unit_test(bitmap),
      cmocka_unit_test(bsr),
      cmocka_unit_test(bsr_of_zeros),
      cmocka_unit_test(refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
