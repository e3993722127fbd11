/* Least squares of pruned layers: against brute force on tiny problems, and the
 * same at any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "passes/solve/solve.h"

typedef struct problem {
  prn_solve s;
  prn_solution x;
  double *moments;
} problem;

static const prn_lapack *lapack(void) {
  prn_diag_sink sink = {0};
  const prn_lapack *found = prn_lapack_open(&sink);
  if (!found) skip();
  return found;
}

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53 - 0.5;
}

/* Random weights; inputs that have much in common, twice as many vectors. */
static void make(problem *p, int64_t rows, int64_t cols, prn_budget b,
                 uint64_t seed) {
  uint64_t state = seed;
  size_t cells = (size_t)(rows * cols);
  *p = (problem){.s = {.rows = rows, .cols = cols, .budget = b}};
  p->s.damping = 0.01;
  p->s.steps = 8;
  p->s.dense = (prn_dense){lapack(), 2};
  p->s.target = prn_alloc(cells * sizeof *p->s.target);
  p->moments = prn_alloc((size_t)(cols * cols) * sizeof *p->moments);
  double *v = prn_alloc((size_t)cols * sizeof *v);
  for (size_t i = 0; i < cells; i++)
    p->s.target[i] = (float)uniform(&state);
  memset(p->moments, 0, (size_t)(cols * cols) * sizeof *p->moments);
  for (int64_t t = 0; t < 2 * cols; t++) {
    double common = uniform(&state);
    for (int64_t c = 0; c < cols; c++)
      v[c] = uniform(&state) + common;
    for (int64_t r = 0; r < cols; r++)
      for (int64_t c = 0; c < cols; c++)
        p->moments[r * cols + c] += v[r] * v[c] / (double)(2 * cols);
  }
  prn_free(v);
  p->s.moments = p->moments;
}

static void open_all(problem *p) {
  assert_null(prn_solve_open(&p->s));
  assert_null(prn_solution_create(&p->s, &p->x));
}

static void destroy(problem *p) {
  prn_solve_close(&p->s);
  prn_solution_destroy(&p->x);
  prn_free(p->s.target);
  prn_free(p->moments);
}

static double sum_of(const problem *p) {
  double sum = 0;
  for (int64_t r = 0; r < p->s.rows; r++)
    sum += p->x.loss[r];
  return sum;
}

static int64_t kept(const problem *p, int64_t from, int64_t n) {
  int64_t sum = 0;
  for (int64_t i = from; i < from + n; i++) {
    sum += p->x.keep[i];
    assert_true(p->x.keep[i] || p->x.weights[i] == 0);
  }
  return sum;
}

static const prn_budget layer_half = {.kind = PRN_BUDGET_LAYER, .prune = 20};
static const prn_budget row_half = {.kind = PRN_BUDGET_ROW, .prune = 4};
static const prn_budget two_of_four = {.kind = PRN_BUDGET_NM, .n = 2, .m = 4};

/* ---- dense algebra ---- */

static void factors(void **state) {
  enum { N = 300 }; /* more than a tile */
  problem p;
  (void)state;
  make(&p, 1, N, row_half, 3);
  double *a = prn_alloc(sizeof *a * N * N), *b = prn_alloc(sizeof *b * N * N);
  memcpy(a, p.moments, sizeof *a * N * N);
  for (int64_t i = 0; i < N; i++)
    a[i * N + i] += 0.01;
  assert_true(prn_dense_cholesky(&p.s.dense, N, a));
  prn_dense_invert(&p.s.dense, N, a, b);
  for (int64_t r = 0; r < N; r += 7)
    for (int64_t c = 0; c <= r; c += 5) {
      double product = 0, unit = 0;
      for (int64_t k = 0; k <= c; k++)
        product += a[r * N + k] * a[c * N + k];
      for (int64_t k = c; k <= r; k++)
        unit += a[r * N + k] * b[k * N + c];
      double want = p.moments[r * N + c] + (r == c ? 0.01 : 0);
      assert_true(fabs(product - want) < 1e-12);
      assert_true(fabs(unit - (r == c)) < 1e-9);
      assert_true(r == c || b[c * N + r] == 0);
    }
  a[0] = -1;
  assert_false(prn_dense_cholesky(&p.s.dense, N, a));
  prn_free(a);
  prn_free(b);
  destroy(&p);
}

/* ---- budgets ---- */

static void budgets(void **state) {
  const float score[2][5] = {{3, -3, 1, 0, 5}, {2, 2, 2, 2, 2}};
  unsigned char gone[10] = {[4] = 1}, keep[10];
  problem p;
  (void)state;
  make(&p, 2, 5, layer_half, 1);
  p.s.gone = gone;
  p.s.budget = (prn_budget){.kind = PRN_BUDGET_LAYER, .prune = 5};
  assert_null(prn_solve_project(&p.s, score[0], keep));
  assert_memory_equal(keep, "\1\1\0\0\0\0\0\1\1\1", 10);
  p.s.budget = (prn_budget){.kind = PRN_BUDGET_ROW, .prune = 3};
  assert_null(prn_solve_project(&p.s, score[0], keep));
  assert_memory_equal(keep, "\1\1\0\0\0\0\0\0\1\1", 10);
  p.s.budget = (prn_budget){.kind = PRN_BUDGET_NM, .n = 1, .m = 2};
  assert_null(prn_solve_project(&p.s, score[0], keep));
  assert_memory_equal(keep, "\0\1\1\0\0\0\1\0\1\1", 10);
  p.s.budget = (prn_budget){.kind = PRN_BUDGET_FIXED};
  assert_null(prn_solve_project(&p.s, score[0], keep));
  assert_memory_equal(keep, "\1\1\1\1\0\1\1\1\1\1", 10);
  destroy(&p);
}

static void check_budget(const problem *p) {
  int64_t n = p->s.cols;
  if (p->s.budget.kind == PRN_BUDGET_LAYER)
    assert_int_equal(kept(p, 0, p->s.rows * n),
                     p->s.rows * n - p->s.budget.prune);
  for (int64_t r = 0; r < p->s.rows; r++) {
    if (p->s.budget.kind == PRN_BUDGET_ROW)
      assert_int_equal(kept(p, r * n, n), n - p->s.budget.prune);
    for (int64_t c = 0; p->s.budget.kind == PRN_BUDGET_NM && c + 4 <= n; c += 4)
      assert_int_equal(kept(p, r * n + c, 4), 2);
  }
}

/* SparseGPT's own account of what it loses, and what methods keep. */
static void methods(void **state) {
  const prn_budget all[] = {layer_half, row_half, two_of_four};
  const prn_obs_options o = {.block = 5};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(all); i++) {
    problem p;
    make(&p, 5, 8, all[i], 11);
    open_all(&p);
    assert_null(prn_solve_obs(&p.s, &o, &p.x));
    check_budget(&p);
    double told = sum_of(&p);
    assert_null(prn_solve_loss(&p.s, &p.x));
    assert_true(fabs(sum_of(&p) / told - 1) < 1e-4);
    assert_null(prn_solve_wanda(&p.s, &p.x));
    check_budget(&p);
    for (int quick = 0; quick < 2; quick++) {
      assert_null(prn_solve_admm(&p.s, quick, &p.x));
      check_budget(&p);
    }
    destroy(&p);
  }
}

/* ---- fitting and trading against brute force ---- */

/* The least that any choice of `size` columns loses in one row. */
static double best_of_all(const problem *like, int64_t r, int64_t size) {
  int64_t n = like->s.cols;
  double best = INFINITY;
  prn_solve s = like->s;
  prn_solution x;
  s.rows = 1;
  s.target += r * n;
  assert_null(prn_solution_create(&s, &x));
  for (unsigned bits = 0; bits < 1u << n; bits++) {
    if (__builtin_popcount(bits) != size) continue;
    for (int64_t c = 0; c < n; c++) {
      x.keep[c] = bits >> c & 1;
      x.weights[c] = 0;
    }
    assert_null(prn_solve_refit(&s, &x));
    if (x.loss[0] < best) best = x.loss[0];
  }
  prn_solution_destroy(&x);
  return best;
}

static void fitted(void **state) {
  problem p;
  (void)state;
  make(&p, 5, 8, row_half, 5);
  open_all(&p);
  assert_null(prn_solve_wanda(&p.s, &p.x));
  assert_null(prn_solve_loss(&p.s, &p.x));
  double before = sum_of(&p);
  assert_null(prn_solve_refit(&p.s, &p.x));
  assert_true(sum_of(&p) < before);
  for (int64_t r = 0; r < 5; r++)
    for (int64_t c = 0; c < 8; c++) {
      double slope = 0;
      for (int64_t k = 0; k < 8; k++)
        slope += p.s.g[c * 8 + k] * ((double)p.x.weights[r * 8 + k] -
                                     (double)p.s.target[r * 8 + k]);
      assert_true(!p.x.keep[r * 8 + c] || fabs(slope) < 1e-6);
    }
  destroy(&p);
}

/* No exchange of one entry for another gains anything any more. */
static void check_settled(const problem *p, int64_t r) {
  int64_t n = p->s.cols;
  prn_solve s = p->s;
  prn_solution x;
  s.rows = 1;
  s.target += r * n;
  assert_null(prn_solution_create(&s, &x));
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < n; j++) {
      const unsigned char *keep = p->x.keep + r * n;
      bool groups = s.budget.kind == PRN_BUDGET_NM && i / 4 != j / 4;
      if (!keep[i] || keep[j] || groups) continue;
      memcpy(x.keep, keep, (size_t)n);
      memset(x.weights, 0, (size_t)n * sizeof *x.weights);
      x.keep[i] = 0;
      x.keep[j] = 1;
      assert_null(prn_solve_refit(&s, &x));
      assert_true(x.loss[0] >= p->x.loss[r] * (1 - 1e-4));
    }
  prn_solution_destroy(&x);
}

static void traded(void **state) {
  const prn_budget all[] = {row_half, two_of_four};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(all); i++) {
    problem p;
    make(&p, 6, 8, all[i], 9 + i);
    open_all(&p);
    assert_null(prn_solve_wanda(&p.s, &p.x));
    assert_null(prn_solve_refit(&p.s, &p.x));
    double before[6], sum = sum_of(&p);
    memcpy(before, p.x.loss, sizeof before);
    assert_null(prn_solve_swap(&p.s, &p.x));
    check_budget(&p);
    assert_true(p.s.swaps > 0 && sum_of(&p) < sum);
    for (int64_t r = 0; r < 6; r++) {
      assert_true(p.x.loss[r] <= before[r]);
      check_settled(&p, r);
    }
    destroy(&p);
  }
}

/* Never worse than SparseGPT, fitted, and never better than everything. */
static void best(void **state) {
  const prn_budget all[] = {layer_half, row_half, two_of_four};
  const prn_obs_options o = {.block = 128};
  (void)state;
  for (size_t i = 0; i < 3 * PRN_COUNT(all); i++) {
    problem p;
    double obs[5], sum = 0;
    make(&p, 5, 8, all[i / 3], 100 + i);
    open_all(&p);
    assert_null(prn_solve_obs(&p.s, &o, &p.x));
    assert_null(prn_solve_refit(&p.s, &p.x));
    memcpy(obs, p.x.loss, sizeof obs);
    sum = sum_of(&p);
    for (int effort = 1; effort <= 4; effort++) {
      prn_best b = {.effort = effort};
      assert_null(prn_solve_best(&p.s, &b, &p.x));
      check_budget(&p);
      assert_true(sum_of(&p) <= sum * (1 + 1e-9));
      for (int64_t r = 0; p.s.budget.kind != PRN_BUDGET_LAYER && r < 5; r++)
        assert_true(p.x.loss[r] <= obs[r] * (1 + 1e-9));
      for (int64_t r = 0; p.s.budget.kind == PRN_BUDGET_ROW && r < 5; r++)
        assert_true(p.x.loss[r] >= best_of_all(&p, r, 4) * (1 - 1e-4));
    }
    destroy(&p);
  }
}

/* ---- what is odd ---- */

static void gone_stays(void **state) {
  unsigned char gone[40] = {0};
  problem p;
  (void)state;
  for (int i = 0; i < 40; i += 3)
    gone[i] = 1;
  for (int effort = 1; effort <= 4; effort++) {
    prn_best b = {.effort = effort};
    make(&p, 5, 8, row_half, 21);
    p.s.gone = gone;
    open_all(&p);
    assert_null(prn_solve_best(&p.s, &b, &p.x));
    check_budget(&p);
    for (int i = 0; i < 40; i++)
      assert_false(gone[i] && p.x.keep[i]);
    destroy(&p);
  }
}

/* One direction, an input that is always 0, and no damping. */
static void degenerate(void **state) {
  prn_best b = {.effort = 3};
  problem p;
  (void)state;
  make(&p, 5, 8, row_half, 2);
  for (int64_t i = 0; i < 64; i++)
    p.moments[i] = i / 8 == 3 || i % 8 == 3 ? 0 : 1;
  p.s.damping = 0;
  open_all(&p);
  assert_true(p.s.raised > 0 && p.s.dead[3] && !p.s.dead[2]);
  assert_null(prn_solve_best(&p.s, &b, &p.x));
  check_budget(&p);
  for (int64_t i = 0; i < 40; i++)
    assert_true(isfinite(p.x.weights[i]));
  for (int64_t r = 0; r < 5; r++)
    assert_false(p.x.keep[r * 8 + 3]);
  destroy(&p);
}

/* Rows of a layer that is too large for factors: gradients come close, and
 * lower the loss at every step. */
static void gradients(void **state) {
  enum { ROWS = 40, COLS = 520 };
  const prn_budget b = {.kind = PRN_BUDGET_ROW, .prune = 200};
  double last = INFINITY;
  problem p;
  (void)state;
  make(&p, ROWS, COLS, b, 4);
  open_all(&p);
  for (p.s.steps = 1; p.s.steps <= 1000; p.s.steps *= 10) {
    assert_null(prn_solve_wanda(&p.s, &p.x));
    assert_null(prn_solve_refit(&p.s, &p.x));
    assert_true(sum_of(&p) < last * 1.0001);
    assert_true(p.s.steps < 1000 || sum_of(&p) > 0.98 * last);
    last = sum_of(&p);
  }
  destroy(&p);
}

static void threads(void **state) {
  enum { ROWS = 70, COLS = 300 };
  const prn_budget all[] = {{.kind = PRN_BUDGET_LAYER, .prune = 12345},
                            {.kind = PRN_BUDGET_ROW, .prune = 150},
                            {.kind = PRN_BUDGET_NM, .n = 2, .m = 4}};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(all); i++) {
    prn_best b = {.effort = 4};
    problem p, q;
    make(&p, ROWS, COLS, all[i], 6);
    make(&q, ROWS, COLS, all[i], 6);
    p.s.dense.threads = 1;
    q.s.dense.threads = 3;
    open_all(&p);
    open_all(&q);
    assert_null(prn_solve_best(&p.s, &b, &p.x));
    assert_null(prn_solve_best(&q.s, &b, &q.x));
    check_budget(&p);
    assert_memory_equal(p.x.weights, q.x.weights, sizeof(float) * ROWS * COLS);
    assert_memory_equal(p.x.keep, q.x.keep, ROWS * COLS);
    destroy(&p);
    destroy(&q);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(factors),    cmocka_unit_test(budgets),
      cmocka_unit_test(methods),    cmocka_unit_test(fitted),
      cmocka_unit_test(traded),     cmocka_unit_test(best),
      cmocka_unit_test(gone_stays), cmocka_unit_test(degenerate),
      cmocka_unit_test(gradients),  cmocka_unit_test(threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
