/* Threads of prune_pool.h: every item once, no worker twice at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "backends/llvm/prune_pool.h"

enum { ITEMS = 1000, WORKERS = 9 };

typedef struct seen {
  int items[ITEMS];
  int busy[WORKERS], clashes;
  int64_t workers;
} seen;

static void visit(void *arg, int64_t begin, int64_t end, int64_t worker) {
  seen *s = arg;
  if (worker < 0 || worker >= s->workers ||
      __atomic_exchange_n(&s->busy[worker], 1, __ATOMIC_SEQ_CST))
    __atomic_add_fetch(&s->clashes, 1, __ATOMIC_SEQ_CST);
  for (int64_t i = begin; i < end; i++)
    s->items[i]++;
  __atomic_store_n(&s->busy[worker], 0, __ATOMIC_SEQ_CST);
}

static void run(prune_pool *p, seen *s, int64_t count) {
  memset(s->items, 0, sizeof s->items);
  prune_pool_for(p, visit, s, count);
  assert_int_equal(s->clashes, 0);
  for (int64_t i = 0; i < ITEMS; i++)
    assert_int_equal(s->items[i], i < count);
}

static void test_every_item_once(void **state) {
  (void)state;
  static const int64_t workers[] = {1, 2, 3, WORKERS};
  static prune_pool p;
  for (size_t k = 0; k < sizeof workers / sizeof *workers; k++) {
    seen s = {.workers = workers[k]};
    assert_int_equal(prune_pool_start(&p, workers[k]), 0);
    for (int64_t i = 0; i < 300; i++)
      run(&p, &s, i < 150 ? i % 12 : i % ITEMS + 1);
    run(&p, &s, ITEMS);
    prune_pool_stop(&p);
  }
}

static void test_bounds(void **state) {
  (void)state;
  static prune_pool p;
  assert_int_not_equal(prune_pool_start(&p, 0), 0);
  assert_int_not_equal(prune_pool_start(&p, PRUNE_POOL_MAX + 1), 0);
  /* Unused threads end, too. */
  assert_int_equal(prune_pool_start(&p, 4), 0);
  prune_pool_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_item_once),
      cmocka_unit_test(test_bounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
