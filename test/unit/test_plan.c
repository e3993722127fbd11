/* Cost tables as text, and what plans promise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/pack/srt.h"
#include "ir/support/arena.h"
#include "passes/lower/plan.h"

static const char *const names[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4",
                                    "aarch64"};

static prn_machine machine(const char *name) {
  prn_machine m;
  assert_true(prn_machine_find(prn_str_from(name), &m));
  return m;
}

static bool read(prn_machine *m, const char *text, prn_str *at) {
  const char *why;
  return prn_machine_costs(m, prn_str_from(text), &why, at);
}

/* ---- tables ---- */

/* Every built-in table has every row, and reads back from what is printed. */
static void test_round_trip(void **state) {
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    for (int lines = 0; lines < 2; lines++) {
      prn_machine m = machine(names[i]), back = m;
      prn_strbuf a = {0}, b = {0};
      prn_str at;
      prn_machine_print(&m, lines ? "\n" : ",", &a);
      memset(back.cost, 0, sizeof back.cost);
      assert_true(read(&back, a.data, &at));
      prn_machine_print(&back, lines ? "\n" : ",", &b);
      assert_string_equal(a.data, b.data);
      assert_true(back.cost[PRN_COST_rows][0] > 0);
      prn_strbuf_destroy(&a);
      prn_strbuf_destroy(&b);
    }
}

static void test_text(void **state) {
  (void)state;
  prn_machine m = machine("x86-64-v3");
  prn_str at;
  assert_true(read(&m, "", &at));
  assert_true(read(&m, "# nothing\n\n  # at all", &at));
  assert_true(read(&m, " byte = 2 # two\r\n turn=3,unfold=4,,\n", &at));
  assert_true(m.cost[PRN_COST_byte][0] == 2 && m.cost[PRN_COST_turn][0] == 3 &&
              m.cost[PRN_COST_unfold][0] == 4);
  assert_true(read(&m, "srt_far=5\nsrt-step=1/2/3/4/5/6", &at));
  assert_true(m.cost[PRN_COST_srt_far][0] == 5 &&
              m.cost[PRN_COST_srt_step][5] == 6);
  assert_true(read(&m, "byte=7\nmachine=aarch64\nbyte=8", &at));
  assert_true(m.cost[PRN_COST_byte][0] == 7);
  assert_true(
      read(&m, "machine=aarch64\nbyte=8\nmachine=x86-64-v3\nbyte=9", &at));
  assert_true(m.cost[PRN_COST_byte][0] == 9);
}

static void test_mistakes(void **state) {
  static const char *const rows[][2] = {
      {"byte=1\nspeed=2", "speed"},
      {"rows=1/2", "rows=1/2"},
      {"byte=1/2", "byte=1/2"},
      {"byte=", "byte="},
      {"byte", "byte"},
      {"byte=x # 1", "byte=x"},
      {"byte=-1", "byte=-1"},
      {"byte=nan", "byte=nan"},
      {"byte=1e999", "byte=1e999"},
      {"machine=z80", "machine=z80"},
      {"machine=aarch64\nspeed=1", "speed"},
      {"machine=aarch64\nbyte=1", "x86-64-v3"},
  };
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(rows); i++) {
    prn_machine m = machine("x86-64-v3");
    prn_str at;
    assert_false(read(&m, rows[i][0], &at));
    assert_int_equal(at.size, strlen(rows[i][1]));
    assert_memory_equal(at.data, rows[i][1], at.size);
  }
}

/* ---- plans ---- */

static prn_plan_product product(prn_ctx *ctx, int64_t m, int64_t one_in) {
  enum { N = 128, K = 192 };
  const int64_t dims[2] = {N, K};
  float *w = prn_alloc(N * K * sizeof *w);
  uint32_t x = 1;
  for (int64_t i = 0; i < N * K; i++) {
    x = x * 1664525u + 1013904223u;
    w[i] = (x >> 16) % (uint32_t)one_in ? 0.0f : 1.0f;
  }
  prn_plan_product p = {.m = m,
                        .n = N,
                        .k = K,
                        .batches = 1,
                        .rows = true,
                        .dtype = PRN_F32,
                        .nk = true};
  p.weights =
      prn_tensor_from_data(ctx, prn_type_static(ctx, PRN_F32, 2, dims), w);
  prn_packing packing = {.t = p.weights, .nk = true, .k = K, .n = N};
  prn_pack_stats_of(&packing, 1, &p.stats);
  prn_free(w);
  return p;
}

/* Choices are in the order of their costs, but for a dense one at the front;
 * each fits the limits of its format. */
static void check_plan(const prn_machine *m, const prn_plan_product *p) {
  prn_plan_choice all[PRN_PLAN_MAX];
  int n = prn_plan(m, p, all);
  assert_true(n >= 1 && n <= PRN_PLAN_MAX);
  assert_non_null(prn_plan_dense(all, n));
  bool dense = prn_plan_dense(all, n) == all;
  for (int i = 0; i < n; i++) {
    const prn_plan_choice *c = &all[i];
    assert_true(c->cost > 0);
    assert_true(c->cost == prn_plan_cost(m, p, c));
    assert_true(i < 2 || c->cost >= all[i - 1].cost);
    assert_true(i != 1 || dense || c->cost >= all[0].cost);
    assert_true(c->depth <= p->k && c->nr <= p->n);
    if (c->depth)
      assert_true(c->vectors > 0 && c->nr % c->group == 0 &&
                  c->vectors <= prn_srt_vectors(c->group, m->registers));
  }
}

static void test_plans(void **state) {
  (void)state;
  prn_ctx *ctx = prn_ctx_create();
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    for (int64_t m = 1; m < 2000; m = m * 3 / 2 + 1)
      for (int64_t one_in = 1; one_in <= 64; one_in *= 4) {
        prn_machine mc = machine(names[i]);
        prn_plan_product p = product(ctx, m, one_in);
        check_plan(&mc, &p);
      }
  prn_ctx_destroy(ctx);
}

/* Without zeros there is nothing but dense formats. */
static void test_dense(void **state) {
  (void)state;
  prn_ctx *ctx = prn_ctx_create();
  prn_machine m = machine("x86-64-v4");
  prn_plan_choice all[PRN_PLAN_MAX];
  prn_plan_product p = product(ctx, 128, 1);
  assert_int_equal(prn_plan(&m, &p, all), 1);
  assert_string_equal(all[0].format, "rows");
  p = product(ctx, 1, 1);
  assert_int_equal(prn_plan(&m, &p, all), 2);
  assert_string_equal(all[0].format, "panels");
  prn_ctx_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_text),
      cmocka_unit_test(test_mistakes),   cmocka_unit_test(test_plans),
      cmocka_unit_test(test_dense),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
