/* Loops on several threads: every index once, in the same chunks always. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ir/support/parallel.h"

enum { N = 1003, CHUNK = 10 };

typedef struct seen {
  int count[N];
  size_t chunk[N];
} seen;

static void visit(void *user, size_t chunk, size_t begin, size_t end) {
  seen *s = user;
  for (size_t i = begin; i < end; i++) {
    s->count[i]++;
    s->chunk[i] = chunk;
  }
}

static void test_every_index_once(void **state) {
  (void)state;
  static const unsigned threads[] = {0, 1, 2, 7, 1000};
  for (size_t k = 0; k < PRN_COUNT(threads); k++) {
    seen s = {{0}, {0}};
    prn_parallel_for(threads[k], N, CHUNK, visit, &s);
    for (size_t i = 0; i < N; i++) {
      assert_int_equal(s.count[i], 1);
      assert_int_equal(s.chunk[i], i / CHUNK);
    }
  }
}

static void never(void *user, size_t chunk, size_t begin, size_t end) {
  (void)chunk;
  (void)begin;
  (void)end;
  *(int *)user = 1;
}

static void test_nothing_to_do(void **state) {
  (void)state;
  int called = 0;
  prn_parallel_for(4, 0, CHUNK, never, &called);
  assert_int_equal(called, 0);
  assert_int_equal(prn_parallel_chunks(0, CHUNK), 0);
  assert_int_equal(prn_parallel_chunks(11, CHUNK), 2);
  assert_int_equal(prn_parallel_chunks(SIZE_MAX, 2), SIZE_MAX / 2 + 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_index_once),
      cmocka_unit_test(test_nothing_to_do),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
