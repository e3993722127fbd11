/* The operator tables: what the rest takes for granted about every row. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/text.h"

/* Defaults are attributes in the text form, of the kind that is declared. */
static void defaults(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  for (int i = 1; i < PRN_OP_count; i++)
    for (const prn_attr_info *a = prn_op_infos[i].attrs; a->name; a++) {
      if (!a->dflt || !*a->dflt) continue;
      const prn_attr *v = prn_parse_attr(ctx, a->name, prn_str_from(a->dflt));
      if (!v || v->kind != a->kind)
        fail_msg("%s.%s: default '%s' of '%s' is no %s",
                 prn_op_infos[i].dialect, prn_op_infos[i].name, a->dflt,
                 a->name, prn_attr_kind_name(a->kind));
    }
  prn_ctx_destroy(ctx);
}

static bool overlap(int32_t since1, int32_t until1, int32_t since2,
                    int32_t until2) {
  return (!until2 || since1 < until2) && (!until1 || since2 < until1);
}

static void check_attrs(const prn_op_info *op) {
  for (const prn_attr_info *a = op->attrs; a->name; a++) {
    if (!a->doc || !*a->doc)
      fail_msg("%s.%s: '%s' has no text", op->dialect, op->name, a->name);
    for (const prn_attr_info *b = op->attrs; b < a; b++)
      if (strcmp(a->name, b->name) == 0 &&
          overlap(a->since, a->until, b->since, b->until))
        fail_msg("%s.%s: '%s' stands twice", op->dialect, op->name, a->name);
  }
}

/* Names differ; any number of values is only said of the last slot. */
static void check_slots(const prn_op_info *op, const prn_slot_info *slots) {
  for (const prn_slot_info *s = slots; s->kind != PRN_SLOT_END; s++) {
    if (s->kind == PRN_SLOT_VAR && s[1].kind != PRN_SLOT_END)
      fail_msg("%s.%s: '%s' is not last", op->dialect, op->name, s->name);
    for (const prn_slot_info *t = slots; t < s; t++)
      if (strcmp(s->name, t->name) == 0)
        fail_msg("%s.%s: '%s' stands twice", op->dialect, op->name, s->name);
  }
}

static void rows(void **state) {
  (void)state;
  for (int i = 1; i < PRN_OP_count; i++) {
    const prn_op_info *op = &prn_op_infos[i];
    assert_true(op->doc && *op->doc);
    assert_true(op->dims && *op->dims);
    assert_true(!op->until || op->since < op->until);
    check_slots(op, op->in);
    check_slots(op, op->out);
    check_attrs(op);
    if (prn_op_info_find(prn_str_from(op->dialect), prn_str_from(op->name)) !=
        op)
      fail_msg("%s.%s has two rows", op->dialect, op->name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults),
      cmocka_unit_test(rows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
