/* dce: erase operations whose results nobody uses.
 *
 * Only operations without effects go: those of unknown domains stay, as do
 * graph inputs and the default values of inputs. Model-local functions that
 * no node calls any more go as well. One pass over the module, last operation
 * first, so that whole chains go at once. */
#include "ir/rewrite.h"
#include "passes/pass.h"

#define OPTIONS(X) \
  X(BOOL, functions, true, "", "Erase functions that are never called")
#define STATS(X)                                            \
  X(ops, "operations erased")                               \
  X(constants, "constants erased, initializers among them") \
  X(functions, "functions erased")
PRN_PASS_TABLES;

static void sweep(prn_block *b, struct stats *s) {
  for (prn_op *op = b->last, *prev; op; op = prev) {
    prev = op->prev;
    if (prn_op_is_dead(op)) {
      if (prn_op_has_trait(op, PRN_CONSTANT))
        s->constants++;
      else
        s->ops++;
      prn_op_erase(op);
      continue;
    }
    for (uint32_t i = op->num_blocks; i-- > 0;)
      sweep(op->blocks[i], s);
  }
}

/* ---- functions ---- */

static prn_str key_of(prn_ctx *ctx, prn_str domain, prn_str name,
                      prn_str overload) {
  prn_strbuf b = {0};
  if (prn_str_is(domain, "onnx") || prn_str_is(domain, "ai.onnx"))
    domain = PRN_STR("");
  prn_strbuf_quoted(&b, domain);
  prn_strbuf_quoted(&b, name);
  prn_strbuf_quoted(&b, overload);
  prn_str key = prn_intern(ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return key;
}

typedef struct calls {
  prn_ctx *ctx;
  prn_map called;
} calls;

/* Every node counts as a call of the function that has its name. */
static prn_status note_call(void *user, prn_op *op) {
  calls *c = user;
  prn_str key = key_of(c->ctx, op->opname->dialect, op->opname->name,
                       prn_op_string(op, "$overload", ""));
  *prn_map_slot(&c->called, key) = op;
  return PRN_OK;
}

static bool erase_uncalled(prn_module *m, struct stats *s) {
  calls c = {.ctx = m->ctx};
  bool any = false;
  (void)!prn_walk(m->body, true, note_call, &c);
  PRN_EACH_OP_SAFE(op, m->body) {
    if (!prn_op_is(op, PRN_OP_onnx_function)) continue;
    prn_str key = key_of(m->ctx, prn_op_string(op, "domain", ""),
                         prn_op_string(op, "name", ""),
                         prn_op_string(op, "overload", ""));
    if (prn_map_find(&c.called, key)) continue;
    prn_op_erase(op);
    s->functions++;
    any = true;
  }
  prn_map_destroy(&c.called);
  return any;
}

static bool has_top_level(const prn_module *m, prn_opcode code) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, code)) return true;
  return false;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  sweep(m->body, s);
  /* Without a graph the functions are all there is. */
  bool whole = has_top_level(m, PRN_OP_onnx_graph);
  while (o->functions && whole && has_top_level(m, PRN_OP_onnx_function) &&
         erase_uncalled(m, s)) {
  }
  return PRN_OK;
}

const prn_pass prn_pass_dce = {
    .name = "dce",
    .summary = "Erase operations whose results nobody uses",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .keeps = PRN_SHAPES,
    .exact = true,
    PRN_PASS_COMMON,
};
