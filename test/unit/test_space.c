/* Index spaces: what equating, regrouping and cutting make of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/context.h"
#include "passes/analysis/space.h"

typedef struct fixture {
  prn_ctx *ctx;
  prn_spaces s;
} fixture;

static int setup(void **state) {
  fixture *f = prn_alloc(sizeof *f);
  *f = (fixture){.ctx = prn_ctx_create()};
  f->s.ctx = f->ctx;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  prn_spaces_destroy(&f->s);
  prn_ctx_destroy(f->ctx);
  prn_free(f);
  return 0;
}

static prn_space *atom(fixture *f, int64_t n) {
  return prn_space_atom(&f->s, prn_dim_const(f->ctx, n));
}

static prn_space *open_atom(fixture *f, const char *name) {
  return prn_space_atom(&f->s, prn_dim_sym(f->ctx, prn_str_from(name)));
}

static void assert_is(prn_space *x, const char *text) {
  prn_strbuf b = {0};
  prn_space_print(x, &b);
  assert_string_equal(b.data, text);
  prn_strbuf_destroy(&b);
}

static bool same(prn_space *a, prn_space *b) {
  return prn_space_find(a) == prn_space_find(b);
}

/* [768] read as [12, 64] and back as [768]. */
static void test_factors(void **state) {
  fixture *f = *state;
  prn_space *x = atom(f, 768), *y = atom(f, 768);
  prn_space *hd[2] = {atom(f, 12), atom(f, 64)};
  assert_true(prn_space_regroup(&f->s, &x, 1, hd, 2));
  assert_true(prn_space_regroup(&f->s, hd, 2, &y, 1));
  assert_is(x, "(12 64)");
  assert_is(y, "(12 64)");
  prn_space *z = atom(f, 768),
            *three[3] = {atom(f, 3), atom(f, 4), atom(f, 64)};
  assert_true(prn_space_equate(&f->s, x, z));
  assert_true(prn_space_regroup(&f->s, three, 3, &z, 1));
  assert_is(hd[0], "(3 4)");
  assert_true(same(three[2], hd[1]));
}

/* Sizes that do not divide each other have no common factors in order. */
static void test_no_factors(void **state) {
  fixture *f = *state;
  prn_space *a[2] = {atom(f, 6), atom(f, 4)}, *b[2] = {atom(f, 4), atom(f, 6)};
  assert_false(prn_space_regroup(&f->s, a, 2, b, 2));
  prn_space *x = atom(f, 7), *y = atom(f, 8);
  assert_false(prn_space_equate(&f->s, x, y));
}

static void test_ones(void **state) {
  fixture *f = *state;
  prn_space *a[3] = {atom(f, 1), atom(f, 5), atom(f, 1)}, *b = atom(f, 5);
  assert_true(prn_space_regroup(&f->s, a, 3, &b, 1));
  assert_true(same(a[1], b));
  assert_is(a[0], "1");
  prn_space *one = prn_space_product(&f->s, a, 3);
  assert_true(prn_space_equate(&f->s, one, b)); /* itself, and units */
  assert_is(b, "5");
}

/* [batch, seq, 768] read as [batch * seq, 12, 64]. */
static void test_open(void **state) {
  fixture *f = *state;
  prn_space *b = open_atom(f, "batch"), *s = open_atom(f, "seq");
  prn_space *bs[2] = {b, s}, *in[3] = {b, s, atom(f, 768)};
  prn_dim size = prn_dim_mul(f->ctx, b->size, s->size);
  prn_space *out[3] = {prn_space_atom(&f->s, size), atom(f, 12), atom(f, 64)};
  assert_true(prn_space_regroup(&f->s, in, 3, out, 3));
  assert_true(prn_space_equate(&f->s, prn_space_product(&f->s, bs, 2), out[0]));
  assert_is(in[2], "(12 64)");
}

/* The parts of a sum on one side cut the other. */
static void test_terms(void **state) {
  fixture *f = *state;
  prn_space *a[2] = {atom(f, 8), atom(f, 4)}, *b[2] = {atom(f, 4), atom(f, 8)};
  prn_space *x = prn_space_sum(&f->s, a, 2), *y = prn_space_sum(&f->s, b, 2);
  assert_true(prn_space_equate(&f->s, x, y));
  assert_is(x, "((4+4)+4)");
  assert_is(a[0], "(4+4)");
  assert_true(same(prn_space_find(a[0])->parts[0], b[0]));
}

/* A concatenation of grouped channels: (8+4) as (4 groups of 3). */
static void test_sum_of_products(void **state) {
  fixture *f = *state;
  prn_space *a[2] = {atom(f, 9), atom(f, 6)};
  prn_space *x = prn_space_sum(&f->s, a, 2), *g[2] = {atom(f, 5), atom(f, 3)};
  assert_true(prn_space_equate(&f->s, x, prn_space_product(&f->s, g, 2)));
  assert_is(a[0], "(3 3)");
  assert_is(a[1], "(2 3)");
  assert_is(g[0], "(3+2)");
  assert_true(same(prn_space_find(a[0])->parts[1], g[1]));
}

/* The same where a group takes from both: eight and four channels in four
 * groups of three. */
static void test_sum_across_products(void **state) {
  fixture *f = *state;
  prn_space *c[2] = {atom(f, 8), atom(f, 4)};
  prn_space *z = prn_space_sum(&f->s, c, 2), *h[2] = {atom(f, 4), atom(f, 3)};
  assert_true(prn_space_equate(&f->s, z, prn_space_product(&f->s, h, 2)));
  assert_is(h[0], "(2+(1+1))");
  assert_is(h[1], "(2+1)");
}

/* Halves that are swapped and added to the whole are one. */
static void test_rotary(void **state) {
  fixture *f = *state;
  prn_space *x = atom(f, 64), *l, *r;
  assert_true(prn_space_cut(&f->s, x, prn_dim_const(f->ctx, 32), &l, &r));
  prn_space *swapped[2] = {r, l};
  assert_true(prn_space_equate(&f->s, x, prn_space_sum(&f->s, swapped, 2)));
  assert_true(same(l, r));
  assert_is(x, "(32+32)");
}

/* A cut of heads goes between heads, or through all of them. */
static void test_cut(void **state) {
  fixture *f = *state;
  prn_space *hd[2] = {atom(f, 12), atom(f, 64)}, *l, *r;
  prn_space *x = prn_space_product(&f->s, hd, 2);
  assert_true(prn_space_cut(&f->s, x, prn_dim_const(f->ctx, 256), &l, &r));
  assert_is(l, "(4 64)");
  assert_is(r, "(8 64)");
  assert_is(hd[0], "(4+8)");
  assert_false(prn_space_cut(&f->s, x, prn_dim_const(f->ctx, 768), &l, &r));
  assert_false(prn_space_cut(&f->s, x, prn_dim_const(f->ctx, 0), &l, &r));
}

/* What is known of an atom is known of what it becomes. */
static void test_inherits(void **state) {
  fixture *f = *state;
  prn_space *x = atom(f, 12), *hd[2] = {atom(f, 3), atom(f, 4)};
  prn_space_freeze(x, (prn_space_why){NULL, "first"});
  prn_space_freeze(x, (prn_space_why){NULL, "second"});
  assert_true(prn_space_regroup(&f->s, hd, 2, &x, 1));
  assert_string_equal(prn_space_find(hd[1])->frozen.text, "first");
  prn_space *y = atom(f, 12);
  prn_space_mix(y, (prn_space_why){NULL, "mean"});
  assert_true(prn_space_equate(&f->s, y, x));
  assert_string_equal(prn_space_find(hd[0])->mixed.text, "mean");
}

/* An empty term adds nothing, so that no space is a part of itself. */
static void test_empty_term(void **state) {
  fixture *f = *state;
  prn_space *a[2] = {atom(f, 5), atom(f, 0)};
  prn_space *x = prn_space_sum(&f->s, a, 2);
  assert_true(prn_space_equate(&f->s, a[0], x));
  assert_is(x, "5");
}

/* Nesting as files can ask for is given up, not followed to the end. */
static void test_deep(void **state) {
  fixture *f = *state;
  enum { DEEP = 5000 };
  prn_space *x = atom(f, 1 << 20), *y = atom(f, 1 << 20), *l, *r = x, *s = y;
  for (int i = 0; i < DEEP; i++) {
    assert_true(prn_space_cut(&f->s, r, prn_dim_const(f->ctx, 1), &l, &r));
    assert_true(prn_space_cut(&f->s, s, prn_dim_const(f->ctx, 2), &l, &s));
  }
  assert_false(prn_space_equate(&f->s, x, y));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_factors),  TEST(test_no_factors),
      TEST(test_ones),     TEST(test_open),
      TEST(test_terms),    TEST(test_rotary),
      TEST(test_cut),      TEST(test_sum_of_products),
      TEST(test_inherits), TEST(test_empty_term),
      TEST(test_deep),     TEST(test_sum_across_products)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
