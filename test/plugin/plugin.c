/* A plugin with the passes that tests of the manager need: ones that crash,
 * break the module, break their contract, or do next to nothing. */
#include "passes/plugin.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- test-rename: gives every node a name ---- */

#define OPTIONS(X)                                            \
  X(STRING, prefix, n, "", "Begin of the names")              \
  X(INT, first, 0, "[0,100]", "First number")                 \
  X(FLOAT, share, 0.5, "[0,1)", "A number that does nothing") \
  X(ENUM, order, up, "up|down", "Which way numbers go")       \
  X(BOOL, strict, false, "", "A flag that does nothing")      \
  X(STRINGS, skip, , "", "Operators to leave out")
#define STATS(X) X(renamed, "nodes that got a name")
PRN_PASS_TABLES;

static bool skipped(const struct opts *o, const prn_op *op) {
  for (size_t i = 0; i < o->skip.size; i++)
    if (prn_str_eq(o->skip.at[i], op->opname->name)) return true;
  return false;
}

static prn_status rename_op(void *user, prn_op *op) {
  prn_pass_env *env = user;
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_strbuf b = {0};
  if (op->num_results == 0 || prn_op_has_trait(op, PRN_CONSTANT) ||
      skipped(o, op))
    return PRN_OK;
  int64_t n = (int64_t)s->renamed++;
  prn_strbuf_fmt(&b, "%.*s%lld", PRN_STR_ARG(o->prefix),
                 (long long)(o->first + (o->order ? -n : n)));
  prn_op_set_attr(op, "$name", prn_attr_string(env->ctx, prn_strbuf_view(&b)));
  prn_strbuf_destroy(&b);
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  return prn_walk(m->body, true, rename_op, env);
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  if (o->strict && !prn_pass_given(env, "share"))
    return prn_pass_error(env, "strict needs share");
  return PRN_OK;
}

static const prn_pass rename_pass = {
    .name = "test-rename",
    .summary = "Give every node a name",
    .doc = "For tests of the option parser.",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};

/* ---- the rest has one shape ---- */

static const prn_option_info no_options[] = {{.name = NULL}};
static const prn_stat_info no_stats[] = {{.name = NULL}};

#define TEST_PASS(ident, text, does, ...)                        \
  static const prn_pass ident = {.name = text,                   \
                                 .summary = "Test pass: " #does, \
                                 .reads = PRN_ANY_DIALECT,       \
                                 .writes = PRN_ANY_DIALECT,      \
                                 .opts_size = 1,                 \
                                 .stats_size = 1,                \
                                 .options = no_options,          \
                                 .stats = no_stats,              \
                                 .run = does,                    \
                                 __VA_ARGS__}

static prn_status crash(prn_pass_env *env, prn_module *m) {
  (void)env;
  (void)m;
  (void)raise(SIGSEGV);
  return PRN_OK;
}
TEST_PASS(crash_pass, "test-crash", crash, .keeps = 0);

static prn_status fail(prn_pass_env *env, prn_module *m) {
  (void)m;
  return prn_pass_error(env, "failed as told");
}
TEST_PASS(fail_pass, "test-fail", fail, .keeps = 0);

/* Moves a definition behind its use. */
static prn_status break_order(prn_pass_env *env, prn_module *m) {
  (void)env;
  PRN_EACH_OP(op, m->body->first->blocks[0]) {
    if (!op->num_results || !op->results[0].uses) continue;
    prn_op *user = op->results[0].uses->owner;
    prn_op_unlink(op);
    prn_op_insert_after(op, user);
    return PRN_OK;
  }
  return PRN_OK;
}
TEST_PASS(break_pass, "test-break-order", break_order, .keeps = 0);

static prn_status forget_types(prn_pass_env *env, prn_module *m) {
  PRN_EACH_OP(op, m->body->first->blocks[0])
    if (op->num_results && !prn_op_has_trait(op, PRN_CONSTANT))
      op->results[0].type = prn_type_any(env->ctx);
  return PRN_OK;
}
TEST_PASS(forget_pass, "test-forget-types", forget_types, .needs = PRN_SHAPES,
          .keeps = PRN_SHAPES);

/* Long enough to be shown as progress. */
static prn_status slow(prn_pass_env *env, prn_module *m) {
  (void)env;
  (void)m;
  (void)usleep(600000);
  return PRN_OK;
}
TEST_PASS(slow_pass, "test-sleep", slow, .keeps = PRN_ALL_ANALYSES);

static prn_status nothing(prn_pass_env *env, prn_module *m) {
  (void)env;
  (void)m;
  return PRN_OK;
}
TEST_PASS(nothing_pass, "test-nothing", nothing, .needs = PRN_WEIGHTS,
          .keeps = PRN_ALL_ANALYSES);

static prn_status count(prn_pass_env *env, prn_module *m) {
  (void)m;
  const prn_weights *w = prn_pass_weights(env);
  for (size_t i = 0; i < w->size; i++)
    prn_pass_print(env, "%s %s\n", prn_value_str(&w->ops[i]->results[0]),
                   prn_pass_site_selected(env, w->ops[i]) ? "yes" : "no");
  return PRN_OK;
}
TEST_PASS(count_pass, "test-print-sites", count, .needs = PRN_WEIGHTS,
          .keeps = PRN_ALL_ANALYSES, .prints = true);

/* ---- passes that claim to be exact ---- */

/* Sets the first element of every f32 constant to 9. */
static prn_status spoil_constant(void *user, prn_op *op) {
  prn_pass_env *env = user;
  const prn_attr *value = prn_op_attr(op, "value");
  if (!prn_op_has_trait(op, PRN_CONSTANT) || !value ||
      value->kind != PRN_ATTR_TENSOR || value->tensor->type->dtype != PRN_F32)
    return PRN_OK;
  int64_t n = prn_tensor_count(value->tensor);
  float *data = PRN_ARENA_ARRAY(env->scratch, float, (size_t)n);
  prn_tensor_read_f32(value->tensor, 0, n, data);
  if (n) data[0] = 9;
  prn_op_set_attr(
      op, "value",
      prn_attr_tensor(
          env->ctx, prn_tensor_from_data(env->ctx, value->tensor->type, data)));
  prn_pass_remark(env, op, PRN_REASON_Folded, "the first of %lld is 9",
                  (long long)n);
  return PRN_OK;
}

static prn_status spoil(prn_pass_env *env, prn_module *m) {
  return prn_walk(m->body, true, spoil_constant, env);
}
TEST_PASS(spoil_pass, "test-spoil", spoil, .exact = true);

/* Drops the last output of the graph. */
static prn_status drop_output(prn_pass_env *env, prn_module *m) {
  prn_op *graph = m->body->first;
  prn_op *ret = prn_op_block(graph, "body")->last;
  const prn_attr *names = prn_op_attr(graph, "outputs");
  prn_op_truncate_operands(ret, ret->num_operands - 1);
  prn_op_set_attr(graph, "outputs",
                  prn_attr_strings(env->ctx, names->strings, names->size - 1));
  return PRN_OK;
}
TEST_PASS(drop_pass, "test-drop-output", drop_output, .exact = true);

/* Makes every Relu an operator that no compiler knows. */
static prn_status estrange_op(void *user, prn_op *op) {
  prn_pass_env *env = user;
  if (prn_op_is(op, PRN_OP_onnx_Relu))
    op->opname = prn_opname_get(env->ctx, PRN_STR("nowhere"), PRN_STR("Relu"));
  return PRN_OK;
}

static prn_status estrange(prn_pass_env *env, prn_module *m) {
  return prn_walk(m->body, true, estrange_op, env);
}
TEST_PASS(estrange_pass, "test-estrange", estrange, .exact = true);

static prn_status onnx_only(prn_pass_env *env, prn_module *m) {
  (void)env;
  (void)m;
  return PRN_OK;
}
static const prn_pass nn_pass = {
    .name = "test-reads-nn",
    .summary = "Test pass: takes the nn dialect",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    .opts_size = 1,
    .stats_size = 1,
    .options = no_options,
    .stats = no_stats,
    .run = onnx_only,
};

PRN_PLUGIN_EXPORT
const prn_plugin_info *prune_plugin_info(uint32_t abi);

const prn_plugin_info *prune_plugin_info(uint32_t abi) {
  static const prn_pass *const passes[] = {
      &rename_pass, &crash_pass,    &fail_pass, &break_pass, &forget_pass,
      &count_pass,  &nothing_pass,  &nn_pass,   &slow_pass,  &spoil_pass,
      &drop_pass,   &estrange_pass, NULL};
#ifdef TEST_OTHER_ABI
  static const prn_plugin_info info = {
      .abi = PRN_PLUGIN_ABI + 1, .name = "other", .passes = passes};
  (void)abi;
  return &info;
#elif defined TEST_OTHER_HEADERS
  static const prn_plugin_info info = {
      .abi = PRN_PLUGIN_ABI, .op_size = 1, .name = "old", .passes = passes};
  (void)abi;
  return &info;
#else
  static const prn_plugin_info info = PRN_PLUGIN_INFO("test", passes);
  return abi == PRN_PLUGIN_ABI ? &info : NULL;
#endif
}
