/* nn-plan: the format of the weights of every product, by what it costs.
 *
 * A product's `pack` and its parameters say how its constant weights are
 * stored, and with that by which kernels it is computed. The estimate is made
 * from the exact places of the zeros (ir/pack/stats.h), so that weights with
 * too few zeros, or in the wrong places, stay dense. */
#include "passes/lower/plan.h"
#include "passes/pass.h"

#define OPTIONS(X)                                                          \
  X(STRING, machine, , "",                                                  \
    "Whose cost table: x86-64-v2, x86-64-v3 (default), x86-64-v4, aarch64") \
  X(BOOL, dot16, false, "", "The machine multiplies pairs of bf16")         \
  X(BOOL, dot8, false, "", "The machine multiplies bytes by fours")         \
  X(STRING, costs, , "",                                                    \
    "Rows of the cost table to replace, as prune-run --calibrate-target "   \
    "prints them, e.g. \"rows=1.1/1/1/1,byte=0.2\"")                        \
  X(INT, columns, 128, "[1,1048576]",                                       \
    "Columns (tokens, pixels) to plan for where their number is open")
#define STATS(X)                                \
  X(products, "products with constant weights") \
  X(sparse, "of them, whose weights are stored without zeros")
PRN_PASS_TABLES;

typedef struct plan {
  prn_pass_env *env;
  const prn_machine *machine;
} plan;

static prn_status machine_of(const prn_pass_env *env, prn_machine *out) {
  const struct opts *o = env->opts;
  const char *why;
  prn_str at;
  prn_str name = o->machine.size ? o->machine : PRN_STR("x86-64-v3");
  if (!prn_machine_find(name, out))
    return prn_pass_error(env, "machine '%.*s' has no cost table",
                          PRN_STR_ARG(name));
  out->dot16 = o->dot16;
  out->dot8 = o->dot8;
  if (!prn_machine_costs(out, o->costs, &why, &at))
    return prn_pass_error(env, "costs: '%.*s' %s", PRN_STR_ARG(at), why);
  return PRN_OK;
}

static prn_status check(prn_pass_env *env) {
  prn_machine unused;
  return machine_of(env, &unused);
}

/* ---- choosing ---- */

/* "srt of 4 rows" */
static void name_choice(const prn_plan_choice *c, prn_strbuf *b) {
  prn_strbuf_cstr(b, c->format);
  if (c->group) prn_strbuf_fmt(b, " of %lld rows", (long long)c->group);
  if (c->wide) prn_strbuf_cstr(b, " as f32");
}

static void tell(const plan *s, const prn_op *op, const prn_plan_product *p,
                 const prn_plan_choice *all, int n) {
  const prn_plan_choice *dense = prn_plan_dense(all, n);
  double zeros = 1 - (double)p->stats.nnz / ((double)p->k * (double)p->n);
  prn_str name = prn_op_string(op, "$name", "");
  prn_strbuf b = {0};
  name_choice(&all[0], &b);
  if (!name.size) name = p->weights->name;
  prn_pass_remark(s->env, op, PRN_REASON_Planned,
                  "'%.*s': %lld x %lld weights, %.1f %% zeros, %lld columns: "
                  "%s, %.2f x as fast as %s",
                  PRN_STR_ARG(name), (long long)p->k, (long long)p->n,
                  100 * zeros, (long long)p->m, b.data,
                  dense->cost / all[0].cost, dense->format);
  prn_strbuf_destroy(&b);
}

static void visit(plan *s, prn_op *op) {
  const struct opts *o = s->env->opts;
  struct stats *stats = s->env->stats;
  prn_plan_choice all[PRN_PLAN_MAX];
  prn_plan_product p;
  if (prn_op_attr(op, "pack") || !prn_plan_product_of(op, o->columns, &p))
    return;
  int n = prn_plan(s->machine, &p, all);
  prn_plan_set(op, &all[0]);
  stats->products++;
  if (&all[0] != prn_plan_dense(all, n)) stats->sparse++;
  tell(s, op, &p, all, n);
}

static void visit_block(plan *s, prn_block *b) {
  PRN_EACH_OP(op, b) {
    if (prn_op_is(op, PRN_OP_nn_if))
      for (uint32_t i = 0; i < op->num_blocks; i++)
        visit_block(s, op->blocks[i]);
    visit(s, op);
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  prn_machine machine;
  plan s = {.env = env, .machine = &machine};
  PRN_TRY(machine_of(env, &machine));
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_nn_func))
      visit_block(&s, prn_op_block(op, "body"));
  return PRN_OK;
}

const prn_pass prn_pass_nn_plan = {
    .name = "nn-plan",
    .summary = "Choose how the weights of every product are stored",
    .doc = "After nn-fuse. Estimates what each format would cost on the "
           "machine, from the places of the zeros, and takes the cheapest; a "
           "product that has a `pack` already keeps it. Remarks say what was "
           "chosen.",
    .reads = PRN_DIALECT_NN,
    .writes = PRN_DIALECT_NN,
    .check = check,
    PRN_PASS_COMMON,
};
