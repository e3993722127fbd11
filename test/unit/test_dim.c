/* ir/dim.h: normal form and evaluation against brute force; text both ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/support/philox.h"
#include "ir/text.h"

enum { SYMBOLS = 3, POINTS = 40, POOL = 400 };

/* An expression and its value at every point; symbols are sizes, at least 1. */
typedef struct sample {
  prn_dim dim;
  int64_t at[POINTS];
} sample;

static const char *const names[SYMBOLS] = {"a", "b c", "n1"};
static int64_t points[POINTS][SYMBOLS];

static bool lookup(void *user, prn_str name, int64_t *out) {
  const int64_t *point = user;
  for (int i = 0; i < SYMBOLS; i++)
    if (prn_str_is(name, names[i])) {
      *out = point[i];
      return true;
    }
  return false;
}

static void make_points(void) {
  uint32_t words[POINTS * SYMBOLS];
  prn_philox_words(1, 0, 0, PRN_COUNT(words), words);
  for (int p = 0; p < POINTS; p++)
    for (int s = 0; s < SYMBOLS; s++)
      points[p][s] = 1 + (int64_t)(words[p * SYMBOLS + s] % 9);
}

static int64_t floor_div(int64_t a, int64_t b) {
  int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/* The value of the operation at a point; false where it has none, or where
 * numbers grow beyond what is interesting. */
static bool apply(uint32_t op, int64_t a, int64_t b, int64_t *out) {
  switch (op) {
  case 0:
    *out = a + b;
    break;
  case 1:
    *out = a - b;
    break;
  case 2:
    *out = a * b;
    break;
  case 3:
    if (b <= 0) return false;
    *out = floor_div(a, b);
    break;
  case 4:
    if (b <= 0) return false;
    *out = a - floor_div(a, b) * b;
    break;
  case 5:
    *out = a < b ? a : b;
    break;
  case 6:
    *out = a > b ? a : b;
    break;
  default:
    if (b <= 0) return false;
    *out = -floor_div(-a, b);
  }
  return *out < 1000000 && *out > -1000000;
}

static prn_dim build(prn_ctx *ctx, uint32_t op, prn_dim a, prn_dim b) {
  static prn_dim (*const ops[])(prn_ctx *, prn_dim, prn_dim) = {
      prn_dim_add, prn_dim_sub, prn_dim_mul, prn_dim_floordiv,
      prn_dim_mod, prn_dim_min, prn_dim_max, prn_dim_ceildiv};
  return ops[op](ctx, a, b);
}

static void check(const sample *s) {
  for (int p = 0; p < POINTS; p++) {
    int64_t got = -1;
    assert_true(prn_dim_eval(s->dim, lookup, points[p], &got));
    assert_int_equal(got, s->at[p]);
  }
}

static void check_text(prn_ctx *ctx, prn_dim d) {
  prn_strbuf b = {0};
  prn_dim_print(&b, d);
  assert_ptr_equal(prn_parse_dim(ctx, "dim", prn_strbuf_view(&b)), d);
  prn_strbuf_destroy(&b);
}

static void random_expressions(void **state) {
  static sample pool[POOL];
  uint32_t words[3 * POOL * 8];
  prn_ctx *ctx = prn_ctx_create();
  size_t n = 0, unknown = 0;
  (void)state;
  make_points();
  for (int i = 0; i < SYMBOLS + 5; i++, n++) {
    int64_t value = i - SYMBOLS;
    pool[n].dim = i < SYMBOLS ? prn_dim_sym(ctx, prn_str_from(names[i]))
                              : prn_dim_const(ctx, value);
    for (int p = 0; p < POINTS; p++)
      pool[n].at[p] = i < SYMBOLS ? points[p][i] : value;
  }
  prn_philox_words(2, 0, 0, PRN_COUNT(words), words);
  for (size_t w = 0; w < PRN_COUNT(words) && n < POOL; w += 3) {
    const sample *a = &pool[words[w] % n], *b = &pool[words[w + 1] % n];
    uint32_t op = words[w + 2] % 8;
    bool ok = true;
    sample *s = &pool[n];
    for (int p = 0; ok && p < POINTS; p++)
      ok = apply(op, a->at[p], b->at[p], &s->at[p]);
    if (!ok) continue;
    s->dim = build(ctx, op, a->dim, b->dim);
    unknown += !prn_dim_known(s->dim);
    if (!prn_dim_known(s->dim)) continue;
    check(s);
    check_text(ctx, s->dim);
    n++;
  }
  assert_int_equal(n, POOL);
  assert_in_range(unknown, 0, POOL / 4);
  prn_ctx_destroy(ctx);
}

/* Both texts say the same size. */
static void assert_same(prn_ctx *ctx, const char *a, const char *b) {
  prn_dim x = prn_parse_dim(ctx, NULL, prn_str_from(a));
  prn_dim y = prn_parse_dim(ctx, NULL, prn_str_from(b));
  assert_non_null(x);
  if (x != y) fail_msg("%s is not %s", a, b);
}

static void normal_form(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  assert_same(ctx, "(a+b)*(a-b)", "a*a-b*b");
  assert_same(ctx, "(a+b)*(a+b)", "b*b+2*a*b+a*a");
  assert_same(ctx, "a+b+c", "c+(b+a)");
  assert_same(ctx, "a*(b*c)", "c*b*a");
  assert_same(ctx, "a-a", "0");
  assert_same(ctx, "0*?", "0");
  assert_same(ctx, "1*?", "?");
  assert_same(ctx, "floordiv(6*a*b+4*b, 2*b)", "3*a+2");
  assert_same(ctx, "floordiv(12*h, 12)", "h");
  assert_same(ctx, "floordiv(-7, 2)", "-4");
  assert_same(ctx, "mod(-7, 2)", "1");
  assert_same(ctx, "mod(4*a, 2)", "0");
  assert_same(ctx, "floordiv(a+b, a+b)", "1");
  assert_same(ctx, "floordiv(a, 0)", "?");
  assert_same(ctx, "max(a, b)", "max(b, a)");
  assert_same(ctx, "max(a, max(b, c))", "max(max(c, a), b, a)");
  assert_same(ctx, "max(a, a+1)", "a+1");
  assert_same(ctx, "min(a, a+b, 3*a)", "a");
  assert_same(ctx, "min(2, 3)", "2");
  assert_same(ctx, "9223372036854775807+1", "?");
  assert_same(ctx, "floordiv(-9223372036854775808, -1)", "?");
  prn_ctx_destroy(ctx);
}

static void multiples(void **state) {
  static const struct {
    const char *text;
    int64_t by;
    bool is;
  } rows[] = {{"24", 8, true},         {"20", 8, false},
              {"0", 8, true},          {"384*s", 8, true},
              {"4*s", 8, false},       {"s", 8, false},
              {"8*s+16", 8, true},     {"8*s+4", 8, false},
              {"8*a*b+16*a", 8, true}, {"floordiv(s, 2)", 2, false},
              {"?", 8, false},         {"s", 1, true}};
  (void)state;
  prn_ctx *ctx = prn_ctx_create();
  for (size_t i = 0; i < PRN_COUNT(rows); i++) {
    prn_dim d = prn_parse_dim(ctx, NULL, prn_str_from(rows[i].text));
    assert_int_equal(prn_dim_is_multiple(ctx, d, rows[i].by), rows[i].is);
  }
  prn_ctx_destroy(ctx);
}

static void bounded(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  prn_dim two = prn_dim_const(ctx, 2), d = prn_dim_sym(ctx, PRN_STR("a"));
  int steps = 0;
  (void)state;
  for (; prn_dim_known(d) && steps < 10000; steps++) {
    d = prn_dim_floordiv(ctx, prn_dim_add(ctx, d, prn_dim_const(ctx, 1)), two);
    d = prn_dim_max(ctx, d, prn_dim_mul(ctx, d, d));
    assert_in_range(d->size, 1, 512);
  }
  assert_in_range(steps, 3, 1000);
  prn_ctx_destroy(ctx);
}

static prn_dim replace(void *user, prn_str name) {
  return prn_str_is(name, "a") ? *(const prn_dim *)user : NULL;
}

static void substitution(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  prn_dim d = prn_parse_dim(ctx, NULL, PRN_STR("floordiv(a*b+a, 3)+max(a, b)"));
  prn_dim to = prn_parse_dim(ctx, NULL, PRN_STR("6"));
  prn_dim want = prn_parse_dim(ctx, NULL, PRN_STR("2*b+2+max(6, b)"));
  assert_ptr_equal(prn_dim_substitute(ctx, d, replace, &to), want);
  prn_ctx_destroy(ctx);
}

static void evaluation_fails(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  int64_t out, point[SYMBOLS] = {0, 0, 0};
  static const char *const texts[] = {"?", "other", "floordiv(1, a)",
                                      "mod(1, a)", "a+9223372036854775807*n1"};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(texts); i++) {
    prn_dim d = prn_parse_dim(ctx, NULL, prn_str_from(texts[i]));
    point[0] = i == 4;
    point[2] = 2;
    assert_false(prn_dim_eval(d, lookup, point, &out));
  }
  prn_ctx_destroy(ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_expressions), cmocka_unit_test(normal_form),
      cmocka_unit_test(multiples),          cmocka_unit_test(bounded),
      cmocka_unit_test(substitution),       cmocka_unit_test(evaluation_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
