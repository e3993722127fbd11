/* Every row's dimension relations parse and name only what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ir/relation.h"

static void every_row_parses(void **state) {
  static prn_relation r;
  int bad = 0, lists = 0;
  (void)state;
  for (int i = 1; i < PRN_OP_count; i++) {
    const prn_op_info *info = &prn_op_infos[i];
    const char *error = prn_relation_parse(info, &r);
    if (error) {
      print_error("%s.%s: %s in \"%s\"\n", info->dialect, info->name, error,
                  info->dims);
      bad++;
    }
    lists += r.word == PRN_RELATION_LIST;
  }
  assert_int_equal(bad, 0);
  assert_true(lists > 60);
}

/* A name that only one place has relates it to nothing: "_" says so. */
static void names_are_used_twice(void **state) {
  static prn_relation r;
  int bad = 0;
  (void)state;
  for (int i = 1; i < PRN_OP_count; i++) {
    if (prn_relation_parse(&prn_op_infos[i], &r)) continue;
    for (uint32_t k = 0; k < r.num_alts; k++) {
      uint32_t uses[PRN_RELATION_NAMES] = {0};
      for (uint32_t s = 0; s < r.alts[k].n; s++)
        for (uint32_t d = 0; d < r.alts[k].slots[s].n; d++)
          for (uint32_t f = 0; f < r.alts[k].slots[s].dims[d].n; f++) {
            int32_t name = r.alts[k].slots[s].dims[d].names[f];
            if (name >= 0) uses[name]++;
          }
      for (uint32_t n = 0; n < r.num_names; n++)
        if (uses[n] == 1 && !r.attrs[n].size) {
          print_error("%s: only one %.*s\n", prn_op_infos[i].name,
                      PRN_STR_ARG(r.names[n]));
          bad++;
        }
    }
  }
  assert_int_equal(bad, 0);
}

static const char *parse(const char *dims) {
  static const prn_slot_info in[] = {
      {"x", PRN_SLOT_REQ, PRN_TV_T, PRN_CLASS_ANY, 0, 0},
      {"w", PRN_SLOT_OPT, PRN_TV_T, PRN_CLASS_ANY, 0, 0},
      {0}};
  static const prn_slot_info out[] = {
      {"y", PRN_SLOT_REQ, PRN_TV_T, PRN_CLASS_ANY, 0, 0}, {0}};
  static const prn_attr_info attrs[] = {{"group", PRN_ATTR_INT, "1", "", 0, 0},
                                        {0}};
  static prn_relation r;
  prn_op_info info = {.name = "t", .in = in, .out = out, .attrs = attrs};
  info.dims = dims;
  return prn_relation_parse(&info, &r);
}

static void mistakes_are_found(void **state) {
  (void)state;
  assert_null(parse("x: b (g c) ~, w^group: (g o) c! -> y: b (g o) ~ | g = "
                    "group"));
  assert_null(parse("[group=2] x: * -> y: *; x: a? b -> y: (4 a) b"));
  assert_string_equal(parse("z: a -> y: a"), "no such operand");
  assert_string_equal(parse("x: a -> z: a"), "no such result");
  assert_string_equal(parse("x: a, y: a"), "no such operand");
  assert_string_equal(parse("x: a"), "expected '->'");
  assert_string_equal(parse("x: (a -> y: a"), "expected ')'");
  assert_string_equal(parse("x: () -> y: a"), "an empty product");
  assert_string_equal(parse("x: * a ~ -> y: a"),
                      "more than one '*' or '~' in a slot");
  assert_string_equal(parse("x: a -> y: a | a = size"), "no such attribute");
  assert_string_equal(parse("x: a -> y: a | b = group"),
                      "a name that is not used");
  assert_string_equal(parse("[size=1] x: a -> y: a"), "no such attribute");
  assert_string_equal(parse("x: a -> y: a )"), "text after the end");
  assert_string_equal(parse("everything"), "no such operand");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_parses),
      cmocka_unit_test(names_are_used_twice),
      cmocka_unit_test(mistakes_are_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
