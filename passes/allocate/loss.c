/* allocate-loss: weights get zeros where these lose least, within a budget.
 *
 * Of every weight a table says what it would lose and cost with so many zeros:
 * the share of its outputs' squares that SparseGPT loses, measured at a few
 * shares on the moments of a profile, and entries, multiplications or the
 * estimated time of the fastest kernel. Dynamic programming then finds the
 * shares with the least sum of losses whose costs fit the budget. */
#include <math.h>

#include "passes/allocate/losses.h"
#include "passes/lower/plan.h"

#define OPTIONS(X)                                                             \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of all cost that goes")           \
  X(ENUM, of, params, "params|flops|latency",                                  \
    "What costs: entries, multiplications, or estimated time")                 \
  X(INT, step, 10, "[2,50]", "Per cent between the shares that are measured")  \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                           \
    "Added to the diagonal of the moments, as a share of its mean")            \
  X(FLOAT, power, 1, "[0.1,4]", "Losses are added up as this power of theirs") \
  X(FLOAT, least, 0.5, "[0,1]",                                                \
    "A weight keeps at least this share of what it would keep if all were "    \
    "treated alike: tables say little of what is hardly there")                \
  X(INT, rows, 128, "[1,1048576]",                                             \
    "Latency: rows of the largest product (tokens, pixels)")                   \
  X(STRING, machine, , "",                                                     \
    "Latency: x86-64-v2, x86-64-v3 (default), x86-64-v4, aarch64")
#define STATS(X)                      \
  X(weights, "weights given a share") \
  X(skipped, "weights without moments")
PRN_PASS_TABLES;

enum { PARAMS, FLOPS, LATENCY };

typedef struct job {
  const prn_pass_env *env;
  const prn_lapack *lapack;
  prn_machine machine;
  prn_op **constants;
  prn_prospect *all;
  double *vectors, *rows, *cols;
  size_t n;
} job;

/* ---- losses ---- */

static prn_status measure(const job *j, prn_layer *l, prn_prospect *out) {
  const struct opts *o = j->env->opts;
  double matters = prn_sensitivity_given(l->site->constant, 1);
  prn_losses t;
  PRN_TRY(prn_losses_measure(l, j->lapack, o->damping, o->step, &t));
  for (size_t i = 0; i < t.size; i++)
    t.loss[i] = matters * pow(t.loss[i], o->power);
  prn_prospect_between(t.at, t.loss, t.size, out);
  return PRN_OK;
}

/* ---- costs ---- */

/* The product with zeros at random places. */
static double time_of(const job *j, size_t i, double most, double share) {
  const struct opts *o = j->env->opts;
  prn_plan_choice choices[PRN_PLAN_MAX];
  double m = j->vectors[i] / most * (double)o->rows;
  int64_t n = (int64_t)j->rows[i], k = (int64_t)j->cols[i];
  prn_plan_product p = {.m = m < 1 ? 1 : (int64_t)m,
                        .n = n,
                        .k = k,
                        .batches = 1,
                        .rows = true,
                        .dtype = PRN_F32,
                        .nk = true};
  double cells = (double)n * (double)k;
  p.stats.nnz = (int64_t)(cells * (1 - share));
  for (int r = 1; r <= PRN_PACK_STATS_ROWS; r++)
    p.stats.filled[r] = (int64_t)(cells / r * (1 - pow(share, r)) + 0.5);
  (void)prn_plan(&j->machine, &p, choices);
  return choices[0].cost;
}

static void find_costs(job *j) {
  const struct opts *o = j->env->opts;
  double most = 1;
  for (size_t i = 0; i < j->n; i++)
    most = fmax(most, j->vectors[i]);
  for (size_t i = 0; i < j->n; i++)
    for (int s = 0; s < PRN_SHARES; s++) {
      double share = s / 100.0, left = j->rows[i] * j->cols[i] * (1 - share);
      j->all[i].cost[s] = o->of == LATENCY ? time_of(j, i, most, share)
                          : o->of == FLOPS ? left * j->vectors[i]
                                           : left;
    }
}

/* ---- */

static prn_status visit(job *j, const prn_site *site) {
  struct stats *s = j->env->stats;
  const char *why;
  prn_layer l;
  if (!prn_pass_site_selected(j->env, site->constant) || !site->prunable)
    return PRN_OK;
  prn_status status = prn_layer_open(j->env, site, false, &l, &why);
  if (status == PRN_OK && why) {
    s->skipped++;
    prn_pass_remark(j->env, site->constant, PRN_REASON_NotObserved,
                    "'%.*s' gets no share: %s", PRN_STR_ARG(site->name), why);
  } else if (status == PRN_OK) {
    size_t i = j->n++;
    j->constants[i] = site->constant;
    j->rows[i] = (double)(l.rows / l.groups);
    j->cols[i] = (double)l.cols;
    j->vectors[i] = (double)l.moments.count * (double)l.groups;
    status = measure(j, &l, &j->all[i]);
  }
  prn_layer_close(&l);
  return status;
}

/* Shares beyond the largest that is allowed cost and lose what that does. */
static void bound(const job *j, prn_prospect *p) {
  const struct opts *o = j->env->opts;
  int most = (int)(100 * (1 - o->least * (1 - o->sparsity)) + 1e-9);
  for (int s = most + 1; s < PRN_SHARES; s++)
    p->cost[s] = p->cost[most];
}

static prn_status share_out(job *j) {
  const struct opts *o = j->env->opts;
  struct stats *s = j->env->stats;
  int *chosen = PRN_ARENA_ARRAY(j->env->scratch, int, j->n);
  double dense = 0;
  for (size_t i = 0; i < j->n; i++)
    dense += j->all[i].cost[0];
  for (size_t i = 0; i < j->n; i++)
    bound(j, &j->all[i]);
  if (!prn_allocate(j->all, j->n, dense * (1 - o->sparsity), chosen))
    prn_pass_warning(j->env, "the budget cannot be met: every weight gets as "
                             "many zeros as possible");
  for (size_t i = 0; i < j->n; i++) {
    prn_share_give(j->constants[i], chosen[i] / 100.0);
    prn_sensitivity_give(j->constants[i], -1);
    prn_pass_remark(j->env, j->constants[i], PRN_REASON_Allocated,
                    "%s gets %d %% zeros, and loses %.3g",
                    prn_value_str(&j->constants[i]->results[0]), chosen[i],
                    j->all[i].loss[chosen[i]]);
  }
  s->weights += j->n;
  return PRN_OK;
}

static prn_status check(prn_pass_env *env) {
  const struct opts *o = env->opts;
  prn_machine unused;
  if (!o->machine.size || prn_machine_find(o->machine, &unused)) return PRN_OK;
  return prn_pass_error(env, "machine '%.*s' has no cost table",
                        PRN_STR_ARG(o->machine));
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  const prn_sites *sites = prn_pass_weight_sites(env);
  job j = {.env = env};
  (void)m;
  PRN_TRY(prn_layers_check(env));
  if (!(j.lapack = prn_lapack_open(prn_ctx_diags(env->ctx)))) return PRN_FAIL;
  (void)prn_machine_find(o->machine.size ? o->machine : PRN_STR("x86-64-v3"),
                         &j.machine);
  j.constants = PRN_ARENA_ARRAY(env->scratch, prn_op *, sites->size);
  j.all = PRN_ARENA_ARRAY(env->scratch, prn_prospect, sites->size);
  j.vectors = PRN_ARENA_ARRAY(env->scratch, double, 3 * sites->size);
  j.rows = j.vectors + sites->size;
  j.cols = j.rows + sites->size;
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(&j, &sites->at[i]));
  find_costs(&j);
  return share_out(&j);
}

const prn_pass prn_pass_allocate_loss = {
    .name = "allocate-loss",
    .summary = "Give weights zeros where these lose least, within a budget",
    .doc = "Needs a profile with full moments. select-unstructured, prune-obs "
           "or prune-admm then take each weight's share instead of their "
           "sparsity.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = check,
    PRN_PASS_COMMON,
};
