/* ir/verify.h on modules that no text can express: broken links, uses and
 * order. What text can express is tested in test/ir/verify-*.prn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <string.h>

#include "ir/text.h"
#include "ir/verify.h"

typedef struct fixture {
  prn_ctx *ctx;
  prn_module *module;
  prn_strbuf said;
  prn_block *body;
  prn_op *relu, *neg, *ret;
} fixture;

static void collect(void *user, const prn_diag *d) {
  prn_strbuf_str(user, d->text);
  prn_strbuf_char(user, '\n');
}

static const char text[] = "onnx.graph {body = region<0>} {\n"
                           "^(%x: tensor<i1>):\n"
                           "  %a = onnx.Not(%x) {$name = \"a\"}\n"
                           "  %b = onnx.Not(%a) {$name = \"b\"}\n"
                           "  onnx.return(%b)\n"
                           "}\n";

static int setup(void **state) {
  fixture *f = prn_alloc(sizeof *f);
  *f = (fixture){.ctx = prn_ctx_create()};
  prn_diag_sink *sink = prn_ctx_diags(f->ctx);
  sink->handler = collect;
  sink->user = &f->said;
  f->module = prn_parse_module(f->ctx, "test", prn_str_from(text));
  f->body = f->module->body->first->blocks[0];
  f->relu = f->body->first;
  f->neg = f->relu->next;
  f->ret = f->body->last;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  prn_ctx_destroy(f->ctx);
  prn_strbuf_destroy(&f->said);
  prn_free(f);
  return 0;
}

static void assert_finds(fixture *f, const char *message) {
  f->said.size = 0;
  assert_int_equal(prn_verify(f->module), PRN_FAIL);
  if (!strstr(f->said.data, message))
    fail_msg("expected '%s' in:\n%s", message, f->said.data);
}

static void sound(void **state) {
  fixture *f = *state;
  assert_int_equal(prn_verify(f->module), PRN_OK);
}

static void order(void **state) {
  fixture *f = *state;
  prn_op_unlink(f->neg);
  prn_op_insert_before(f->neg, f->relu);
  assert_finds(f, "operand 0, 'a', is used before it is defined");
}

static void own_result(void **state) {
  fixture *f = *state;
  prn_op_set_operand(f->relu, 0, &f->relu->results[0]);
  assert_finds(f, "operand 0, 'a', is used before it is defined");
}

static void erased_value(void **state) {
  fixture *f = *state;
  prn_op_unlink(f->relu);
  assert_finds(f, "operand 0, 'a', was erased");
}

static void erased_user(void **state) {
  fixture *f = *state;
  prn_op_unlink(f->neg);
  prn_op_set_operand(f->ret, 0, &f->relu->results[0]);
  assert_finds(f, "internal: 'a' is used by an erased operation");
}

static void other_block(void **state) {
  fixture *f = *state;
  prn_block *b = prn_block_create(f->module);
  prn_value *v = prn_block_add_arg(b, prn_type_any(f->ctx), PRN_STR("v"));
  prn_op_set_operand(f->relu, 0, v);
  assert_finds(f, "operand 0, 'v', is not visible here");
}

static void around(void **state) {
  fixture *f = *state;
  prn_block *b = prn_block_create(f->module);
  prn_value *own = &f->neg->results[0];
  prn_block_append(b, prn_op_create(f->module, f->ret->opname, f->ret->loc,
                                    &own, 1, NULL, 0));
  prn_op_add_block(f->neg, b);
  assert_finds(f, "operand 0, 'b', is a result of the operation around it");
}

static void lost_use(void **state) {
  fixture *f = *state;
  f->relu->results[0].uses = NULL;
  assert_finds(f, "internal: operand 0 is in no list of uses");
}

static void wrong_use(void **state) {
  fixture *f = *state;
  f->relu->results[0].uses = &f->relu->operands[0];
  assert_finds(f, "internal: the list of uses of 'a' is broken");
}

static void endless_uses(void **state) {
  fixture *f = *state;
  prn_use *u = f->relu->results[0].uses;
  u->next = u;
  assert_finds(f, "internal: the list of uses of 'a' is broken");
}

static void wrong_owner(void **state) {
  fixture *f = *state;
  f->neg->operands[0].owner = f->relu;
  assert_finds(f, "internal: operand 0 belongs to another operation");
}

static void wrong_links(void **state) {
  fixture *f = *state;
  f->neg->prev = NULL;
  assert_finds(f, "internal: the operation is not linked to its block");
  f->neg->prev = f->relu;
  f->body->last = f->neg;
  assert_finds(f, "internal: the end of a block is wrong");
  f->body->last = f->ret;
  f->body->parent = NULL;
  assert_finds(f, "internal: a block belongs elsewhere");
}

static void wrong_values(void **state) {
  fixture *f = *state;
  f->relu->results[0].index = 3;
  assert_finds(f, "internal: result 0 is not linked to its operation");
  f->relu->results[0].index = 0;
  f->body->args[0]->index = 3;
  assert_finds(f, "internal: argument 0 is not linked to its block");
  f->body->args[0]->index = 0;
  f->body->args[0]->type = NULL;
  assert_finds(f, "internal: a value has no type");
}

static void attributes(void **state) {
  fixture *f = *state;
  const prn_named_attr two[] = {f->relu->attrs[0], f->relu->attrs[0]};
  f->relu->attrs = prn_arena_copy(&f->module->arena, two, sizeof two);
  f->relu->num_attrs = 2;
  assert_finds(f, "attribute '$name' is given twice");
  f->module->attrs = prn_attr_int(f->ctx, 1);
  assert_finds(f, "internal: the module's attributes are no dictionary");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(sound),        TEST(order),       TEST(own_result),
      TEST(erased_value), TEST(erased_user), TEST(other_block),
      TEST(around),       TEST(lost_use),    TEST(wrong_use),
      TEST(endless_uses), TEST(wrong_owner), TEST(wrong_links),
      TEST(wrong_values), TEST(attributes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
