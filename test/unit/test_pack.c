/* ir/pack: exact statistics, against counting by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/pack/stats.h"
#include "ir/support/arena.h"

/* Blocks of r results by d steps that are not all zero. */
static int64_t filled(const float *w, int64_t k, int64_t n, int64_t r,
                      int64_t d) {
  int64_t count = 0;
  for (int64_t n0 = 0; n0 < n; n0 += r)
    for (int64_t k0 = 0; k0 < k; k0 += d) {
      bool any = false;
      for (int64_t j = n0; j < n0 + r && j < n; j++)
        for (int64_t i = k0; i < k0 + d && i < k; i++)
          any |= !(w[j * k + i] == 0);
      count += any;
    }
  return count;
}

static void check_stats(prn_ctx *ctx, int64_t k, int64_t n, bool nk,
                        unsigned one_in) {
  size_t count = (size_t)(k * n);
  float *rows = prn_alloc(count * sizeof *rows);
  float *stored = prn_alloc(count * sizeof *stored);
  uint32_t state = 7;
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < k; i++) {
      state = state * 1664525u + 1013904223u;
      float v = one_in && (state >> 16) % one_in == 0 ? -1.5f : 0.0f;
      rows[j * k + i] = v;
      stored[nk ? j * k + i : i * n + j] = v;
    }
  const int64_t dims[2] = {nk ? n : k, nk ? k : n};
  prn_packing p = {.t = prn_tensor_from_data(
                       ctx, prn_type_static(ctx, PRN_F32, 2, dims), stored),
                   .nk = nk,
                   .k = k,
                   .n = n,
                   .dtype = PRN_F32};
  for (int64_t cell = 1; cell <= 4; cell *= 2) {
    prn_pack_stats s;
    prn_pack_stats_of(&p, cell, &s);
    assert_int_equal(s.nnz, filled(rows, k, n, 1, 1));
    for (int64_t r = 1; r <= PRN_PACK_STATS_ROWS; r++)
      if (r <= 4 || r == 6 || r == 8 || r == 16)
        assert_int_equal(s.filled[r], filled(rows, k, n, r, cell));
      else
        assert_int_equal(s.filled[r], 0);
    assert_int_equal(s.empty_rows, n - filled(rows, k, n, 1, k));
  }
  prn_free(rows);
  prn_free(stored);
}

static void stats(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  for (unsigned one_in = 0; one_in < 12; one_in += 3)
    for (int nk = 0; nk < 2; nk++) {
      check_stats(ctx, 1, 1, nk, one_in);
      check_stats(ctx, 37, 53, nk, one_in);
      check_stats(ctx, 515, 96, nk, one_in);
      check_stats(ctx, 1030, 7, nk, one_in);
    }
  prn_ctx_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stats),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
