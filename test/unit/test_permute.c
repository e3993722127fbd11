/* Orders of columns and assignments: against brute force on tiny problems, and
 * the same at any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "passes/solve/permute.h"

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53;
}

/* The best sum over all ways to give columns to rows from `row` on. */
static double brute(int64_t n, const double *gain, int64_t row, bool *used) {
  double most = -HUGE_VAL;
  if (row == n) return 0;
  for (int64_t j = 0; j < n; j++) {
    if (used[j]) continue;
    used[j] = true;
    most = fmax(most, gain[row * n + j] + brute(n, gain, row + 1, used));
    used[j] = false;
  }
  return most;
}

static void assigns_best(void **state) {
  uint64_t seed = 1;
  (void)state;
  for (int round = 0; round < 300; round++) {
    int64_t n = 1 + round % 7, to[7];
    double gain[49], sum = 0;
    bool used[7] = {false}, given[7] = {false};
    for (int64_t i = 0; i < n * n; i++) /* with ties in every third */
      gain[i] = round % 3 ? uniform(&seed) - 0.3 : floor(uniform(&seed) * 3);
    assert_true(prn_assign(n, gain, to));
    for (int64_t i = 0; i < n; i++) {
      assert_false(given[to[i]]);
      given[to[i]] = true;
      sum += gain[i * n + to[i]];
    }
    assert_true(fabs(sum - brute(n, gain, 0, used)) < 1e-9);
  }
}

/* n of m largest, by sorting. */
static double kept_of(const prn_columns *c, const int64_t *order) {
  double sum = 0;
  for (int64_t r = 0; r < c->rows; r++)
    for (int64_t g = 0; g < c->cols; g += c->m)
      for (int64_t i = 0; i < c->m; i++) {
        float v = c->scores[order[g + i] * c->rows + r];
        int64_t larger = 0;
        for (int64_t k = 0; k < c->m; k++) {
          float u = c->scores[order[g + k] * c->rows + r];
          larger += u > v || (u == v && k < i);
        }
        if (larger < c->n) sum += (double)v;
      }
  return sum;
}

static prn_columns random_columns(int64_t rows, int64_t cols, int64_t n,
                                  int64_t m, uint64_t seed) {
  float *scores = prn_alloc((size_t)(rows * cols) * sizeof *scores);
  for (int64_t j = 0; j < cols; j++) {
    double scale = exp(2 * uniform(&seed));
    for (int64_t r = 0; r < rows; r++)
      scores[j * rows + r] = (float)(scale * fabs(uniform(&seed) - 0.5));
  }
  return (prn_columns){rows, cols, n, m, scores, 10, 1};
}

static void free_columns(prn_columns *c) {
  prn_free((void *)(uintptr_t)c->scores);
}

static void keeps_more(void **state) {
  static const int64_t shapes[][4] = {
      {20, 16, 2, 4}, {7, 64, 1, 4}, {600, 32, 4, 8}, {33, 30, 1, 2},
      {5, 48, 3, 4},  {1, 8, 2, 4},  {9, 4, 2, 4},    {40, 2600, 2, 4}};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(shapes); i++) {
    const int64_t *s = shapes[i];
    prn_columns c = random_columns(s[0], s[1], s[2], s[3], i + 1);
    size_t size = (size_t)s[1] * sizeof(int64_t);
    int64_t *order = prn_alloc(size), *again = prn_alloc(size);
    for (int64_t k = 0; k < s[1]; k++)
      again[k] = k;
    double before = prn_columns_kept(&c, again);
    assert_true(fabs(before - kept_of(&c, again)) < 1e-4 * before);
    assert_true(prn_columns_order(&c, order));
    double after = prn_columns_kept(&c, order);
    assert_true(fabs(after - kept_of(&c, order)) < 1e-4 * after);
    assert_true(s[1] == s[3] ? fabs(after - before) < 1e-4 * before
                             : after > before);
    c.threads = 3;
    assert_true(prn_columns_order(&c, again));
    assert_memory_equal(order, again, size);
    char *seen = prn_alloc((size_t)s[1]);
    memset(seen, 0, (size_t)s[1]);
    for (int64_t k = 0; k < s[1]; k++)
      assert_int_equal(seen[order[k]]++, 0);
    prn_free(seen);
    prn_free(order);
    prn_free(again);
    free_columns(&c);
  }
}

/* All ways to make two groups of four. */
static void finds_the_best(void **state) {
  int64_t found = 0, order[8], split[8];
  (void)state;
  for (uint64_t seed = 1; seed <= 50; seed++) {
    prn_columns c = random_columns(12, 8, 2, 4, seed);
    double most = 0;
    for (int set = 0; set < 256; set++) {
      int64_t a = 0, b = 4;
      if (__builtin_popcount((unsigned)set) != 4) continue;
      for (int64_t j = 0; j < 8; j++)
        split[set >> j & 1 ? a++ : b++] = j;
      most = fmax(most, kept_of(&c, split));
    }
    assert_true(prn_columns_order(&c, order));
    double kept = kept_of(&c, order);
    assert_true(kept > 0.98 * most);
    found += kept > 0.99999 * most;
    free_columns(&c);
  }
  assert_true(found >= 30);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(assigns_best),
                                     cmocka_unit_test(keeps_more),
                                     cmocka_unit_test(finds_the_best)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
