/* nn-plan: the format of the weights of every product, by what it costs.
 *
 * A product's `pack` and its parameters say how its constant weights are
 * stored, and with that by which kernels it is computed. The estimate is made
 * from the exact places of the zeros (ir/pack/stats.h), so that weights with
 * too few zeros, or in the wrong places, stay dense. */
#include "ir/pack/srt.h"
#include "passes/lower/nn_to_mem.h"
#include "passes/lower/plan.h"
#include "passes/pass.h"

#define OPTIONS(X)                                                            \
  X(STRING, machine, , "",                                                    \
    "Whose cost table: x86-64-v2, x86-64-v3 (default), x86-64-v4, aarch64")   \
  X(BOOL, dot16, false, "", "The machine multiplies pairs of bf16")           \
  X(BOOL, dot8, false, "", "The machine multiplies bytes by fours")           \
  X(STRING, costs, , "",                                                      \
    "Rows of the cost table to replace, e.g. \"rows=1.2/1.1/1.03/1.02\", as " \
    "prune-run --calibrate-target writes them")                               \
  X(INT, columns, 128, "[1,1048576]",                                         \
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

/* ---- the product ---- */

/* Product of dimensions [from, to), or `open` when one is not known. */
static int64_t count(const prn_type *t, int32_t from, int32_t to,
                     int64_t open) {
  int64_t n = 1, d;
  for (int32_t i = from; i < to; i++)
    if (!prn_dim_is_const(t->dims[i], &d) || !prn_mul_i64(n, d, &n))
      return open;
  return n;
}

/* Taps of the window of a convolution whose windows can be unfolded by kernels
 * for weights with zeros; 0 when they cannot. */
static int64_t taps_of(const prn_op *op, const prn_tensor *w) {
  const prn_type *x = prn_op_operand(op, 0)->type;
  const prn_type *r = prn_op_result(op, 0)->type;
  bool bytes = x->dtype == PRN_U8 && w->type->dtype == PRN_I8;
  bool floats = x->dtype == PRN_F32 && w->type->dtype == PRN_F32;
  bool fits = prn_op_int(op, "group", 1) == 1 && (bytes || floats) &&
              (x->rank == 3 || x->rank == 4) &&
              prn_to_mem_storage(op, PRN_F32) == PRN_F32 &&
              count(x, 1, x->rank, 0) > 0 && count(r, 1, r->rank, 0) > 0;
  return fits ? count(w->type, 2, w->type->rank, 0) : 0;
}

/* The weights of a product that can be planned, as a matrix, and taps of its
 * window if there is one; or NULL. */
static const prn_tensor *weights_of(const prn_op *op, bool *nk, int64_t *taps) {
  *taps = 0;
  if (prn_op_is(op, PRN_OP_nn_matmul)) return prn_to_mem_weights(op, nk);
  if (!prn_op_is(op, PRN_OP_nn_conv)) return NULL;
  *nk = true;
  const prn_tensor *t = prn_to_mem_pointwise(op);
  if (t) return t;
  t = prn_to_mem_filter(op);
  *taps = t ? taps_of(op, t) : 0;
  return *taps ? t : NULL;
}

static prn_plan_product product_of(const prn_op *op, const prn_tensor *t,
                                   bool nk, int64_t taps, int64_t open) {
  const prn_type *r = prn_op_result(op, 0)->type;
  int64_t first = count(t->type, 0, 1, 0),
          rest = count(t->type, 1, t->type->rank, 0);
  prn_plan_product p = {.k = nk ? rest : first,
                        .n = nk ? first : rest,
                        .batches = 1,
                        .taps = taps,
                        .dtype = prn_to_mem_storage(op, t->type->dtype)};
  if (prn_op_is(op, PRN_OP_nn_matmul)) {
    p.m = count(r, 0, r->rank - 1, -1);
    p.rows = p.m > 0;
  } else {
    p.batches = count(r, 0, 1, 1);
    p.m = p.batches * count(r, 2, r->rank, open);
    if (prn_to_mem_takes_winograd(op)) {
      p.height = count(r, 2, 3, 0);
      p.width = count(r, 3, 4, 0);
    }
  }
  if (p.m <= 0) p.m = open;
  prn_packing packing = {.t = t, .nk = nk, .k = p.k, .n = p.n};
  prn_pack_stats_of(&packing, prn_srt_cell(p.dtype), &p.stats);
  return p;
}

/* ---- choosing ---- */

static void set(prn_op *op, const char *name, int64_t v) {
  if (v) prn_op_set_attr(op, name, prn_attr_int(op->module->ctx, v));
}

static void tell(const plan *s, const prn_op *op, const prn_plan_product *p,
                 const prn_plan_choice *all, int n) {
  const prn_plan_choice *c = &all[0], *dense = prn_plan_dense(all, n);
  double zeros = 1 - (double)p->stats.nnz / ((double)p->k * (double)p->n);
  prn_pass_remark(s->env, op, PRN_REASON_Planned,
                  "%lld x %lld weights, %.1f %% zeros, %lld columns: %s%s, "
                  "%.2f x as fast as %s",
                  (long long)p->k, (long long)p->n, 100 * zeros,
                  (long long)p->m, c->format,
                  c->group ? (prn_str_is(PRN_STR("srt"), c->format) ? ""
                              : c->group == 4                       ? " of 4"
                              : c->group == 8                       ? " of 8"
                                                                    : " of 16")
                           : "",
                  dense->cost / c->cost, dense->format);
}

static void visit(plan *s, prn_op *op) {
  const struct opts *o = s->env->opts;
  struct stats *stats = s->env->stats;
  prn_plan_choice all[PRN_PLAN_MAX];
  int64_t taps;
  bool nk;
  const prn_tensor *t = weights_of(op, &nk, &taps);
  if (!t || prn_op_attr(op, "pack")) return;
  prn_plan_product p = product_of(op, t, nk, taps, o->columns);
  int n = prn_plan(s->machine, &p, all);
  const prn_plan_choice *c = &all[0];
  if (!prn_str_is(PRN_STR("dense"), c->format))
    prn_op_set_attr(op, "pack",
                    prn_attr_string(s->env->ctx, prn_str_from(c->format)));
  set(op, "pack_group", c->group);
  set(op, "pack_depth", c->depth);
  set(op, "pack_nr", c->nr);
  set(op, "pack_vectors", c->vectors);
  set(op, "pack_tile", c->tile);
  stats->products++;
  if (c != prn_plan_dense(all, n)) stats->sparse++;
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
