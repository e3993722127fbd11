/* What passes that prune in one shot share; see prune.h. */
#include "passes/prune/prune.h"

#include <math.h>
#include <string.h>

#include "passes/allocate/allocate.h"
#include "passes/select/select.h"

prn_status prn_prune_check(const prn_pass_env *env, int64_t n, int64_t m) {
  bool nm = prn_pass_given(env, "n") || prn_pass_given(env, "m");
  if (nm && prn_pass_given(env, "sparsity"))
    return prn_pass_error(env, "give either sparsity, or n and m");
  if (nm && (n < 1 || n >= m))
    return prn_pass_error(env,
                          "n = %lld must be at least 1 and smaller than "
                          "m = %lld",
                          (long long)n, (long long)m);
  return PRN_OK;
}

static void leave(const prn_pass_env *env, const prn_site *s, prn_reason why,
                  const char *text, prn_prune_counts *out) {
  out->skipped += why != PRN_REASON_NotSelected;
  prn_pass_remark(env, s->constant, why, "'%.*s' is not pruned: %s",
                  PRN_STR_ARG(s->name), text);
}

static prn_budget budget_of(const prn_prune *p, const prn_layer *l) {
  int64_t rows = l->rows / l->groups;
  double share = prn_share_given(l->site->constant, p->sparsity);
  prn_budget b = {.kind = PRN_BUDGET_LAYER,
                  .prune = prn_share_of(share, rows * l->cols)};
  if (p->m)
    b = (prn_budget){.kind = PRN_BUDGET_NM, .n = p->n, .m = p->m};
  else if (p->row)
    b = (prn_budget){.kind = PRN_BUDGET_ROW,
                     .prune = prn_share_of(share, l->cols)};
  return b;
}

static prn_status prune_group(prn_layer *l, const prn_prune *p, int64_t group,
                              const prn_lapack *lapack, double damping,
                              prn_strbuf *how, double error[2],
                              prn_prune_counts *out) {
  prn_solve s;
  prn_solution x;
  prn_status status =
      prn_layer_problem(l, group, lapack, damping, budget_of(p, l), &s, &x);
  if (status == PRN_OK) {
    const char *why = p->solve(l->env->opts, &s, &x, how);
    if (!why && prn_pass_remarks(l->env))
      why = prn_solve_share(&s, &x, &error[0], &error[1]);
    if (why) status = prn_layer_failed(l, why);
    prn_layer_remark_damping(l, &s);
    out->damped += s.raised > s.damping;
  }
  prn_solve_close(&s);
  return status;
}

static prn_status prune_layer(prn_layer *l, const prn_prune *p,
                              const prn_lapack *lapack, prn_prune_counts *out) {
  prn_strbuf how = {0};
  prn_status status = PRN_OK;
  double error[2] = {0, 0}, damping = p->damping;
  uint64_t pruned = 0;
  prn_sparsity claim = {.kind = PRN_SPARSE_UNSTRUCTURED};
  if (p->m) claim = prn_layer_claim(l, p->n, p->m);
  l->centred = p->means && prn_layer_has_bias(l, false);
  status =
      prn_layer_choose_damping(l, lapack, budget_of(p, l),
                               (prn_method){p->probe, l->env->opts}, &damping);
  for (int64_t g = 0; g < l->groups && status == PRN_OK; g++)
    status = prune_group(l, p, g, lapack, damping, &how, error, out);
  if (status == PRN_OK) status = prn_layer_write(l, claim, &pruned);
  prn_share_give(l->site->constant, -1);
  if (status == PRN_OK && l->centred) prn_layer_give_means(l);
  if (status == PRN_OK) {
    out->weights++;
    out->pruned += pruned;
    prn_pass_remark(l->env, l->site->constant, PRN_REASON_Pruned,
                    "'%.*s' loses %llu of %lld entries and %.4g of its "
                    "outputs' %s%.*s",
                    PRN_STR_ARG(l->site->name), (unsigned long long)pruned,
                    (long long)(l->rows * l->cols),
                    error[1] > 0 ? fmax(error[0], 0) / error[1] : 0,
                    l->centred ? "variance" : "squares",
                    PRN_STR_ARG(prn_strbuf_view(&how)));
  }
  prn_strbuf_destroy(&how);
  return status;
}

/* Groups lie along channels: of a window's, there is no place for what is left
 * of them. */
static bool divides(const prn_layer *l, int64_t m) {
  int64_t channels = l->cols / l->matrix.places;
  return channels >= m && (l->matrix.places == 1 || channels % m == 0);
}

static prn_status visit(const prn_pass_env *env, const prn_site *site,
                        const prn_prune *p, const prn_lapack *lapack,
                        prn_prune_counts *out) {
  const char *why;
  prn_layer l;
  if (!prn_pass_site_selected(env, site->constant) || !site->prunable) {
    bool chosen = prn_pass_site_selected(env, site->constant);
    prn_reason reason = chosen ? site->reason : PRN_REASON_NotSelected;
    leave(env, site, reason, prn_reasons[reason].text, out);
    return PRN_OK;
  }
  prn_status status = prn_layer_open(env, site, p->m > 0, &l, &why);
  if (status == PRN_OK && why) {
    leave(env, site, PRN_REASON_NotObserved, why, out);
  } else if (status == PRN_OK && p->m && !divides(&l, p->m)) {
    leave(env, site, PRN_REASON_NotDivisible, "it has no whole group", out);
  } else if (status == PRN_OK) {
    status = prune_layer(&l, p, lapack, out);
  }
  prn_layer_close(&l);
  return status;
}

prn_status prn_prune_run(const prn_pass_env *env, const prn_prune *p,
                         prn_prune_counts *out) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  PRN_TRY(prn_layers_check(env));
  const prn_lapack *lapack = prn_lapack_open(prn_ctx_diags(env->ctx));
  if (!lapack) return PRN_FAIL;
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(env, &sites->at[i], p, lapack, out));
  if (out->weights) return PRN_OK;
  prn_pass_warning(env, "no weight was pruned: --remarks=FILE says why");
  return PRN_OK;
}
