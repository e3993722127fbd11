/* ir/support: arenas, strings, maps, diagnostics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/context.h"
#include "ir/support/file.h"

/* ---- arenas ---- */

static void arenas(void **state) {
  prn_arena a = {0};
  (void)state;
  for (size_t i = 0; i < 2000; i++) {
    unsigned char *p = prn_arena_alloc(&a, i);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t k = 0; k < i; k++)
      assert_int_equal(p[k], 0);
    memset(p, 0xff, i);
  }
  char *big = prn_arena_alloc(&a, (size_t)5 << 20);
  big[((size_t)5 << 20) - 1] = 1;
  assert_string_equal(prn_arena_copy(&a, "text", 5), "text");
  assert_true(a.used >= 2000 * 1999 / 2);
  prn_arena_reset(&a);
  assert_int_equal(a.used, 0);
  assert_int_equal(*PRN_ARENA_NEW(&a, int), 0);
  assert_non_null(PRN_ARENA_ARRAY(&a, int, 0));
  prn_arena_destroy(&a);
  prn_arena_destroy(&a);
}

/* ---- strings ---- */

static void comparing(void **state) {
  (void)state;
  assert_true(prn_str_eq(PRN_STR("a\0b"), PRN_STR("a\0b")));
  assert_false(prn_str_eq(PRN_STR("a\0b"), PRN_STR("a\0c")));
  assert_true(prn_str_is(prn_str_from(NULL), ""));
  assert_int_equal(prn_str_cmp(PRN_STR("a"), PRN_STR("ab")), -1);
  assert_int_equal(prn_str_cmp(PRN_STR("b"), PRN_STR("ab")), 1);
  assert_int_equal(prn_str_cmp(PRN_STR("\xff"), PRN_STR("a")), 1);
  assert_int_equal(prn_str_cmp(PRN_STR(""), PRN_STR("")), 0);
  assert_true(prn_str_starts(PRN_STR("onnx.Relu"), "onnx."));
  assert_false(prn_str_starts(PRN_STR("on"), "onnx."));
  assert_true(prn_str_ends(PRN_STR("x.onnx"), ".onnx"));
  assert_false(prn_str_ends(PRN_STR("nnx"), ".onnx"));
}

static void globs(void **state) {
  static const struct {
    const char *pattern, *text;
    bool match;
  } rows[] = {
      {"*", "", true},
      {"a*c", "abc", true},
      {"a*c", "ac", true},
      {"a*c", "abd", false},
      {"encoder.*.query", "encoder.layer.0.query", true},
      {"?", "", false},
      {"?b", "ab", true},
      {"[a-c]x", "bx", true},
      {"[!a-c]x", "bx", false},
      {"*a*b*c*d*e*f*g*h*", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
      {"a", "ab", false},
      {"", "", true},
  };
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    if (prn_str_glob(prn_str_from(rows[i].pattern),
                     prn_str_from(rows[i].text)) != rows[i].match)
      fail_msg("'%s' and '%s'", rows[i].pattern, rows[i].text);
}

static void utf8(void **state) {
  static const struct {
    const char *text;
    size_t size, length;
  } rows[] = {
      {"a", 1, 1},
      {"", 0, 0},
      {"\xc3\xa9", 2, 2},
      {"\xc3", 1, 0},
      {"\xe2\x82\xac", 3, 3},
      {"\xf0\x9f\x98\x80", 4, 4},
      {"\xc0\x80", 2, 0},         /* overlong */
      {"\xe0\x80\x80", 3, 0},     /* overlong */
      {"\xed\xa0\x80", 3, 0},     /* surrogate */
      {"\xf4\x90\x80\x80", 4, 0}, /* past U+10FFFF */
      {"\x80", 1, 0},
      {"\xff", 1, 0},
  };
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(rows); i++)
    assert_int_equal(prn_utf8_length(rows[i].text, rows[i].size),
                     rows[i].length);
}

static void buffers(void **state) {
  prn_strbuf b = {0};
  (void)state;
  assert_int_equal(prn_strbuf_view(&b).size, 0);
  for (int i = 0; i < 1000; i++)
    prn_strbuf_fmt(&b, "%d,", i);
  assert_int_equal(b.size, 10 * 2 + 90 * 3 + 900 * 4);
  assert_int_equal(b.data[b.size], 0);
  b.size = 0;
  prn_strbuf_quoted(&b, PRN_STR("a\"\\\n\t\x01\xff\xc3\xa9"));
  assert_string_equal(b.data, "\"a\\\"\\\\\\n\\t\\01\\ff\xc3\xa9\"");
  b.size = 0;
  prn_strbuf_json(&b, PRN_STR("a\"\x01\xff"));
  assert_string_equal(b.data, "\"a\\\"\\u0001\\ufffd\"");
  prn_strbuf_destroy(&b);
}

static void assert_suggests(const char *wanted, const char *expected) {
  const prn_str all[] = {PRN_STR("canonicalize"), PRN_STR("cse"),
                         PRN_STR("dce"), PRN_STR("select-nm")};
  prn_strbuf b = {0};
  prn_suggest(&b, prn_str_from(wanted), all, PRN_COUNT(all));
  assert_string_equal(b.data ? b.data : "", expected);
  prn_strbuf_destroy(&b);
}

static void suggestions(void **state) {
  (void)state;
  assert_suggests("csee", " (did you mean 'cse'?)");
  assert_suggests("canonicalise", " (did you mean 'canonicalize'?)");
  assert_suggests("select-mn", " (did you mean 'select-nm'?)");
  assert_suggests("something-else", "");
  prn_strbuf b = {0};
  prn_suggest(&b, PRN_STR("x"), NULL, 0);
  assert_int_equal(b.size, 0);
}

static void paths(void **state) {
  static const char *const rows[][2] = {
      {"a/./b//c", "a/b/c"}, {"a/../b", "b"},        {"a/b/..", "a"},
      {"../a", "../a"},      {"../../a", "../../a"}, {"a/../../b", "../b"},
      {"/a/../..", "/"},     {"/..", "/"},           {"", "."},
      {"a/..", "."},         {"./a", "a"},           {"a/...", "a/..."},
      {"/a/b/", "/a/b"},     {"..", ".."},
  };
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(rows); i++) {
    prn_strbuf b = {0};
    prn_path_clean(rows[i][0], &b);
    assert_string_equal(b.data, rows[i][1]);
    prn_strbuf_destroy(&b);
  }
  assert_true(prn_path_same("/", "/../."));
  assert_false(prn_path_same("/", "/no such file"));
}

/* ---- maps ---- */

static void maps(void **state) {
  enum { N = 5000 };
  prn_arena a = {0};
  prn_map m = {0};
  prn_ptrmap pm = {0};
  static int keys[N];
  (void)state;
  assert_null(prn_map_find(&m, PRN_STR("x")));
  assert_false(prn_ptrmap_has(&pm, keys));
  for (int i = 0; i < N; i++) {
    prn_strbuf b = {0};
    prn_strbuf_fmt(&b, "key%d", i);
    prn_str key = {prn_arena_copy(&a, b.data, b.size), b.size};
    prn_strbuf_destroy(&b);
    *prn_map_slot(&m, key) = &keys[i];
    *prn_ptrmap_slot(&pm, &keys[i]) = (void *)(uintptr_t)i;
  }
  assert_int_equal(m.size, N);
  for (int i = 0; i < N; i++) { /* in the order of insertion */
    assert_ptr_equal(m.entries[i].value, &keys[i]);
    assert_ptr_equal(prn_map_get(&m, m.entries[i].key), &keys[i]);
    assert_int_equal((uintptr_t)prn_ptrmap_get(&pm, &keys[i]), i);
    assert_ptr_equal(pm.entries[i].key, &keys[i]);
  }
  *prn_map_slot(&m, PRN_STR("key7")) = NULL;
  assert_int_equal(m.size, N);
  assert_non_null(prn_map_find(&m, PRN_STR("key7")));
  assert_null(prn_map_get(&m, PRN_STR("key7")));
  assert_null(prn_map_find(&m, PRN_STR("key5000")));
  prn_map_destroy(&m);
  prn_ptrmap_destroy(&pm);
  prn_arena_destroy(&a);
}

static void interning(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  char text[] = "abc";
  (void)state;
  prn_str a = prn_intern(ctx, prn_str_from(text));
  text[0] = 'x';
  assert_string_equal(a.data, "abc");
  assert_ptr_equal(prn_intern_cstr(ctx, "abc").data, a.data);
  assert_ptr_not_equal(prn_intern_cstr(ctx, "xbc").data, a.data);
  prn_str nul = prn_intern(ctx, PRN_STR("a\0b"));
  assert_int_equal(nul.size, 3);
  assert_ptr_not_equal(nul.data, prn_intern_cstr(ctx, "a").data);
  prn_ctx_destroy(ctx);
  prn_ctx_destroy(NULL);
}

/* ---- diagnostics ---- */

static void collect(void *user, const prn_diag *d) {
  prn_diag_format(NULL, d, user);
}

static void formats(void **state) {
  prn_strbuf b = {0};
  prn_diag_sink s = {0};
  (void)state;
  prn_diag_add_source(&s, "f.prn", PRN_STR("one\n\ttwo\n"));
  prn_diag d = {PRN_ERROR, {"f.prn", 2, 3}, PRN_STR("'nn.op'"), PRN_STR("no")};
  prn_diag_format(&s, &d, &b);
  assert_string_equal(b.data, "f.prn:2:3: error: 'nn.op': no\n\ttwo\n\t ^\n");
  b.size = 0;
  d.loc = (prn_loc){"m.onnx", 0, 0};
  d.severity = PRN_WARNING;
  prn_diag_format(&s, &d, &b);
  assert_string_equal(b.data, "m.onnx: 'nn.op': warning: no\n");
  b.size = 0;
  d.loc = (prn_loc){NULL, 0, 0};
  d.subject = PRN_STR("");
  prn_diag_format(&s, &d, &b);
  assert_string_equal(b.data, "warning: no\n");
  b.size = 0;
  d.loc = (prn_loc){"f.prn", 9, 1}; /* past the end: no caret */
  prn_diag_format(&s, &d, &b);
  assert_string_equal(b.data, "f.prn:9:1: warning: no\n");
  prn_strbuf_destroy(&b);
  prn_diag_sink_destroy(&s);
}

static void counting(void **state) {
  prn_strbuf b = {0};
  prn_diag_sink s = {.handler = collect, .user = &b, .limit = 2};
  prn_loc none = {0};
  (void)state;
  for (int i = 0; i < 5; i++)
    assert_int_equal(prn_diag_emit(&s, PRN_ERROR, none, PRN_STR(""), "e%d", i),
                     PRN_FAIL);
  assert_int_equal(prn_diag_emit(&s, PRN_WARNING, none, PRN_STR(""), "w"),
                   PRN_OK);
  assert_int_equal(prn_diag_emit(&s, PRN_NOTE, none, PRN_STR(""), "n"), PRN_OK);
  assert_int_equal(s.errors, 5);
  assert_int_equal(s.warnings, 1);
  assert_non_null(strstr(b.data, "error: e1\n"));
  assert_null(strstr(b.data, "error: e2\n")); /* past the limit */
  prn_strbuf_destroy(&b);
  prn_diag_sink_destroy(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arenas),    cmocka_unit_test(comparing),
      cmocka_unit_test(globs),     cmocka_unit_test(utf8),
      cmocka_unit_test(buffers),   cmocka_unit_test(suggestions),
      cmocka_unit_test(paths),     cmocka_unit_test(maps),
      cmocka_unit_test(interning), cmocka_unit_test(formats),
      cmocka_unit_test(counting),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
