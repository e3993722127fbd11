/* Shares of zeros: against brute force, and the authors' numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>

#include "passes/allocate/allocate.h"

enum { WEIGHTS = 3 };

/* Costs fall evenly; losses rise as some power. */
static void make(prn_prospect *p, double entries, double scale, double power) {
  for (int s = 0; s < PRN_SHARES; s++) {
    p->cost[s] = entries * (1 - s / 100.0);
    p->loss[s] = scale * pow(s / 100.0, power);
  }
}

static double best_by_trying(const prn_prospect *p, double most) {
  double best = (double)INFINITY;
  for (int a = 0; a < PRN_SHARES; a++)
    for (int b = 0; b < PRN_SHARES; b++)
      for (int c = 0; c < PRN_SHARES; c++) {
        double cost = p[0].cost[a] + p[1].cost[b] + p[2].cost[c];
        double loss = p[0].loss[a] + p[1].loss[b] + p[2].loss[c];
        if (cost <= most * (1 + 1e-12) && loss < best) best = loss;
      }
  return best;
}

static void finds_the_least_loss(void **state) {
  prn_prospect p[WEIGHTS];
  int chosen[WEIGHTS];
  (void)state;
  make(&p[0], 1000, 1, 2);
  make(&p[1], 300, 5, 3);
  make(&p[2], 4000, 0.3, 4);
  for (int share = 10; share < 95; share += 12) {
    double most = 5300 * (1 - share / 100.0), cost = 0, loss = 0;
    assert_true(prn_allocate(p, WEIGHTS, most, chosen));
    for (int i = 0; i < WEIGHTS; i++) {
      cost += p[i].cost[chosen[i]];
      loss += p[i].loss[chosen[i]];
    }
    assert_true(cost <= most * (1 + 1e-9));
    /* but for what is rounded up */
    double spent = most * (1 - WEIGHTS / 16384.0);
    assert_true(loss <= best_by_trying(p, spent) * (1 + 1e-12));
  }
}

static void says_when_there_is_too_little(void **state) {
  prn_prospect p[WEIGHTS];
  int chosen[WEIGHTS];
  (void)state;
  for (int i = 0; i < WEIGHTS; i++)
    make(&p[i], 100, 1, 2);
  assert_false(prn_allocate(p, WEIGHTS, 2.9, chosen));
  for (int i = 0; i < WEIGHTS; i++)
    assert_int_equal(chosen[i], PRN_SHARES - 1);
  assert_false(prn_allocate(p, WEIGHTS, 0, chosen));
  assert_true(prn_allocate(p, WEIGHTS, 300, chosen));
  for (int i = 0; i < WEIGHTS; i++)
    assert_int_equal(chosen[i], 0);
}

static void fills_in_between(void **state) {
  static const int at[] = {20, 40, 80};
  static const double loss[] = {0.04, 0.16, 0.64};
  prn_prospect p;
  (void)state;
  prn_prospect_between(at, loss, 3, &p); /* share^2 */
  assert_true(p.loss[0] == 0);
  for (int s = 1; s < PRN_SHARES; s++) {
    double want = s * s / 1e4;
    assert_true(fabs(p.loss[s] - want) < 1e-9);
  }
  static const double flat[] = {0, 0, 0};
  prn_prospect_between(at, flat, 3, &p);
  for (int s = 0; s < PRN_SHARES; s++)
    assert_true(p.loss[s] == 0);
}

/* From the authors' code, with equal weights. */
static void outliers_keep_more(void **state) {
  static const double outliers[] = {4.1, 2.3, 1.1, 0.9, 0.7, 1.6};
  static const double counts[] = {8, 8, 8, 8, 8, 8};
  static const double want[] = {0.5909803921568627, 0.6756862745098039,
                                0.7321568627450981, 0.7415686274509803,
                                0.7509803921568627, 0.708627450980392};
  double got[6];
  (void)state;
  prn_allocate_owl(outliers, counts, 6, 0.7, 0.08, got);
  for (int i = 0; i < 6; i++)
    assert_true(fabs(got[i] - want[i]) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_the_least_loss),
      cmocka_unit_test(says_when_there_is_too_little),
      cmocka_unit_test(fills_in_between),
      cmocka_unit_test(outliers_keep_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
