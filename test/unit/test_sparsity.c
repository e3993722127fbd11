/* ir/mask.h and ir/sparsity.h against counting one element at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/sparsity.h"
#include "ir/support/philox.h"

enum { MOST = 4096 };

static bool bit(const unsigned char *bits, int64_t i) {
  return bits[i >> 3] >> (i & 7) & 1;
}

static void random_bits(uint32_t stream, int64_t count, unsigned char *bits) {
  uint32_t words[MOST];
  prn_philox_words(1, stream, 0, (size_t)count, words);
  memset(bits, 0, MOST / 8);
  for (int64_t i = 0; i < count; i++)
    if (words[i] % 5 < stream % 5 + 1)
      bits[i >> 3] |= (unsigned char)(1u << (i & 7));
}

static int64_t slow_max(const unsigned char *bits, prn_axis_view v, int64_t m) {
  int64_t best = 0;
  for (int64_t o = 0; o < v.outer; o++)
    for (int64_t i = 0; i < v.inner; i++)
      for (int64_t g = 0; g < v.length; g += m) {
        int64_t n = 0;
        for (int64_t k = g; k < g + m && k < v.length; k++)
          n += bit(bits, (o * v.length + k) * v.inner + i);
        if (n > best) best = n;
      }
  return best;
}

static void group_counts(void **state) {
  static const prn_axis_view views[] = {
      {1, 64, 1},  {3, 16, 1},  {2, 17, 1}, {5, 4, 9},   {1, 8, 100},
      {2, 10, 65}, {1, 200, 3}, {4, 1, 1},  {1, 256, 1}, {7, 64, 2},
  };
  static const int64_t sizes[] = {1, 2, 3, 4, 5, 8, 16, 32, 64, 100, 1000};
  unsigned char bits[MOST / 8];
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(views); i++)
    for (uint32_t stream = 0; stream < 10; stream++) {
      prn_axis_view v = views[i];
      int64_t count = v.outer * v.length * v.inner;
      random_bits(stream, count, bits);
      for (size_t k = 0; k < PRN_COUNT(sizes); k++) {
        int64_t at = -1, want = slow_max(bits, v, sizes[k]);
        int64_t got = prn_bits_max_group(bits, v, sizes[k], INT64_MAX, &at);
        assert_int_equal(got, want);
        assert_in_range(at, 0, count - 1);
        got = prn_bits_max_group(bits, v, sizes[k], want - 1, NULL);
        assert_int_equal(got, want);
        got = prn_bits_max_group(bits, v, sizes[k], 0, NULL);
        assert_int_equal(got > 0, want > 0);
      }
    }
}

static void loads(void **state) {
  unsigned char bits[MOST / 8];
  (void)state;
  random_bits(3, 131, bits);
  for (int64_t at = 0; at < 140; at++)
    for (uint32_t n = 0; n <= 64; n++) {
      uint64_t want = 0;
      for (uint32_t k = 0; k < n && at + k < 131; k++)
        want |= (uint64_t)bit(bits, at + k) << k;
      assert_true(prn_bits_load(bits, 131, at, n) == want);
    }
}

static void masks(void **state) {
  unsigned char keep[200], want[200];
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  for (int64_t at = 0; at < 20; at++)
    for (int64_t n = 0; n < 100; n++) {
      prn_mask m;
      assert_int_equal(prn_mask_create(ctx, 200, n & 1, &m), PRN_OK);
      memset(want, n & 1, sizeof want);
      for (int64_t i = 0; i < n; i++)
        keep[i] = (unsigned char)((i * 7 + at) % 3 == 0);
      memcpy(want + at, keep, (size_t)n);
      prn_mask_put(&m, at, n, keep);
      prn_mask_fill(&m, 150, n / 2, false);
      memset(want + 150, 0, (size_t)(n / 2));
      int64_t kept = 0;
      for (int64_t i = 0; i < 200; i++) {
        assert_int_equal(prn_mask_keeps(m.bits, i), want[i]);
        kept += want[i];
      }
      assert_int_equal(prn_bits_count(m.bits, 200), kept);
    }
  prn_ctx_destroy(ctx);
}

static void claims(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  const int64_t dims[] = {4, 4};
  const float data[16] = {1, 0, 2, 0, 0, 3, 0, -0.0f, 4, 5, 0, 0, 0, 0, 6, 7};
  const prn_type *type = prn_type_static(ctx, PRN_F32, 2, dims);
  prn_tensor *t = prn_tensor_clone(ctx, prn_tensor_from_data(ctx, type, data));
  prn_sparsity rows = {.kind = PRN_SPARSE_NM, .n = 2, .m = 4, .axis = 1};
  prn_sparsity cols = {.kind = PRN_SPARSE_NM, .n = 1, .m = 2, .axis = 0};
  prn_sparsity block = {.kind = PRN_SPARSE_BLOCK, .rows = 2, .cols = 2};
  int64_t at = 0;
  (void)state;
  assert_int_equal(prn_sparsity_check(t, rows, &at), PRN_CLAIM_HOLDS);
  assert_int_equal(prn_sparsity_check(t, cols, &at), PRN_CLAIM_HOLDS);
  assert_int_equal(prn_sparsity_check(t, block, &at), PRN_CLAIM_BROKEN);
  assert_int_equal(at, 0);
  rows.n = 1;
  assert_int_equal(prn_sparsity_check(t, rows, &at), PRN_CLAIM_BROKEN);
  assert_int_equal(at, 0);
  /* the mask may prove what the data does not show */
  prn_mask m;
  assert_int_equal(prn_mask_create(ctx, 16, false, &m), PRN_OK);
  m.bits[1] = 0xcc;
  t->mask = m.blob;
  assert_int_equal(prn_sparsity_check(t, block, &at), PRN_CLAIM_HOLDS);
  rows.axis = 2;
  assert_false(prn_sparsity_fits(type, rows, NULL));
  prn_ctx_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(group_counts),
      cmocka_unit_test(loads),
      cmocka_unit_test(masks),
      cmocka_unit_test(claims),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
