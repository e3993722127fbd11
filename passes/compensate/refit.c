/* compensate-refit: the weights that stay are fitted anew, by least squares.
 *
 * Of an output y = w x, with x as a profile saw it, the weights that are not
 * masked become those that come closest to y in the mean square:
 *
 *   w_S = w C[:, S] C[S, S]^-1,   C the covariance of x
 *
 * and the bias takes over the means, w m - w_S m_S. Without `means`, C is the
 * second moment and the bias stays. Outputs with the same mask are solved
 * together, so that channels, which are gone for all outputs, take one
 * factorisation a weight. Needs a profile with moments (--profile-moments);
 * convolutions are fitted on what their windows saw, group by group, and
 * weights that several operators share on what all of them saw.
 *
 * With `reference`, y is what all weights gave on inputs as they were in the
 * reference of a paired profile (prune-sequential(reference){...}), so that
 * what stays also makes up for what is gone elsewhere:
 *
 *   w_S = w D[:, S] C[S, S]^-1,   D the covariance of x as it was and as it is
 *
 * C gets `damping` times its mean diagonal added, and more when it is not
 * positive definite, which a remark says. Frantar and Alistarh, "Optimal brain
 * compression", 2022, section 3; He et al., "Channel pruning for accelerating
 * very deep neural networks", 2017. */
#include <stdlib.h>
#include <string.h>

#include "passes/compensate/compensate.h"
#include "passes/compensate/lapack.h"

#define OPTIONS(X)                                                           \
  X(FLOAT, damping, 0.01, "[0,1e9]",                                         \
    "Added to the diagonal, as a share of its mean")                         \
  X(BOOL, means, true, "", "Fit around the means, and let biases have them") \
  X(BOOL, reference, false, "", "Fit to what all of them gave in the reference")
#define STATS(X)                                                \
  X(fitted, "weights fitted anew")                              \
  X(solved, "systems solved")                                   \
  X(damped, "of them, that needed more damping than asked for") \
  X(skipped, "masked weights without moments")
PRN_PASS_TABLES;

enum { FEW = 4 }; /* vectors for an input, below which fits are too close */

/* One group of a weight. */
typedef struct fit {
  prn_pass_env *env;
  const prn_lapack *lapack;
  prn_arena *arena;
  const prn_masked *w;
  prn_op *op;              /* to be named in messages */
  int64_t n, outputs;      /* inputs, outputs */
  int64_t first;           /* of the outputs */
  prn_site_moments seen;   /* second: around the means, if they are fitted */
  unsigned char **support; /* of outputs: a byte for every input */
  double *raw, *fitted;    /* outputs x n */
  double *target;          /* outputs x n: C w' */
} fit;

/* ---- the weight as a matrix [outputs, n] ---- */

static int64_t place(const fit *f, int64_t o, int64_t i) {
  return prn_masked_at(f->w, f->first + o, i);
}

/* From the elements of the weight without its mask. */
static void read_weight(fit *f, const float *v) {
  f->raw = PRN_ARENA_ARRAY(f->arena, double, f->outputs * f->n);
  f->fitted = PRN_ARENA_ARRAY(f->arena, double, f->outputs * f->n);
  f->support = PRN_ARENA_ARRAY(f->arena, unsigned char *, f->outputs);
  for (int64_t o = 0; o < f->outputs; o++) {
    f->support[o] = prn_arena_alloc(f->arena, (size_t)f->n);
    for (int64_t i = 0; i < f->n; i++) {
      int64_t at = place(f, o, i);
      f->raw[o * f->n + i] = (double)v[at];
      f->support[o][i] = prn_mask_keeps(f->w->t->mask->data, at);
    }
  }
}

static void centre(prn_site_moments *m) {
  for (int64_t i = 0; i < m->n; i++)
    for (int64_t k = 0; k < m->n; k++) {
      m->second[i * m->n + k] -= m->mean[i] * m->mean[k];
      if (m->cross) m->cross[i * m->n + k] -= m->before[i] * m->mean[k];
    }
}

/* C w', or D' w', of all inputs and outputs. */
static void find_targets(fit *f) {
  const struct opts *o = f->env->opts;
  const double *c = o->reference ? f->seen.cross : f->seen.second;
  int n = (int)f->n, m = (int)f->outputs;
  const double one = 1, zero = 0;
  f->target = PRN_ARENA_ARRAY(f->arena, double, f->outputs * f->n);
  f->lapack->dgemm("N", "N", &n, &m, &n, &one, c, &n, f->raw, &n, &zero,
                   f->target, &n);
}

/* ---- one system ---- */

/* The inputs that stay for a set of outputs. */
typedef struct system_of {
  const int64_t *at; /* inputs, ascending */
  int64_t size;
  const int64_t *outputs;
  int64_t count;
} system_of;

/* Solves with as much damping as it takes. */
static prn_status solve(const fit *f, const system_of *s, double *a,
                        double *b) {
  const struct opts *o = f->env->opts;
  struct stats *stats = f->env->stats;
  int n = (int)s->size, m = (int)s->count, info;
  double mean = 0, damping = o->damping;
  for (int64_t i = 0; i < f->n; i++)
    mean += f->seen.second[i * f->n + i] / (double)f->n;
  if (!prn_lapack_factor(f->lapack, f->seen.second, f->n, s->at, s->size, mean,
                         &damping, a))
    return prn_op_error(f->op, "its inputs' moments are degenerate");
  stats->damped += damping > o->damping;
  if (damping > o->damping)
    prn_pass_remark(f->env, f->op, PRN_REASON_Damped,
                    "moments needed a damping of %g", damping);
  f->lapack->dpotrs("L", &n, &m, a, &n, b, &n, &info);
  stats->solved++;
  return PRN_OK;
}

static prn_status fit_system(fit *f, const system_of *s) {
  double *a =
      prn_try_alloc(prn_array_size((size_t)(s->size * s->size), sizeof *a));
  double *b =
      prn_try_alloc(prn_array_size((size_t)(s->size * s->count), sizeof *b));
  prn_status status = PRN_FAIL;
  for (int64_t k = 0; b && k < s->count; k++)
    for (int64_t r = 0; r < s->size; r++)
      b[k * s->size + r] = f->target[s->outputs[k] * f->n + s->at[r]];
  if (a && b) {
    status = solve(f, s, a, b);
  } else {
    (void)prn_op_error(f->op, "no memory to fit its weights");
  }
  for (int64_t k = 0; status == PRN_OK && k < s->count; k++)
    for (int64_t r = 0; r < s->size; r++)
      f->fitted[s->outputs[k] * f->n + s->at[r]] = b[k * s->size + r];
  prn_free(a);
  prn_free(b);
  return status;
}

/* ---- outputs with the same mask ---- */

static int by_support(const void *a, const void *b, void *user) {
  const fit *f = user;
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  int c = memcmp(f->support[x], f->support[y], (size_t)f->n);
  return c ? c : x < y ? -1 : x > y;
}

static prn_status fit_all(fit *f) {
  int64_t *order = PRN_ARENA_ARRAY(f->arena, int64_t, f->outputs);
  int64_t *at = PRN_ARENA_ARRAY(f->arena, int64_t, f->n);
  for (int64_t o = 0; o < f->outputs; o++)
    order[o] = o;
  qsort_r(order, (size_t)f->outputs, sizeof *order, by_support, f);
  for (int64_t o = 0, next; o < f->outputs; o = next) {
    const unsigned char *mask = f->support[order[o]];
    system_of s = {.at = at, .outputs = order + o};
    for (next = o; next < f->outputs &&
                   !memcmp(mask, f->support[order[next]], (size_t)f->n);
         next++)
      s.count++;
    for (int64_t i = 0; i < f->n; i++)
      if (mask[i]) at[s.size++] = i;
    if (s.size == 0 || s.size == f->n) continue; /* all gone, or nothing */
    PRN_TRY(fit_system(f, &s));
  }
  return PRN_OK;
}

/* Outputs whose weights nothing touched keep them. */
static void keep_whole(fit *f) {
  for (int64_t o = 0; o < f->outputs; o++) {
    bool whole = !memchr(f->support[o], 0, (size_t)f->n);
    if (whole)
      memcpy(f->fitted + o * f->n, f->raw + o * f->n,
             (size_t)f->n * sizeof *f->raw);
  }
}

/* ---- a weight ---- */

/* What is fitted of a weight that is done, and what its outputs lost. */
typedef struct result {
  float *v;      /* elements */
  double *lost;  /* [outputs of all groups][inputs] */
  double *delta; /* [outputs of all groups]: of means, with a reference */
  unsigned char *alive; /* [outputs of all groups] */
} result;

static void keep_result(const fit *f, result *r) {
  const struct opts *opts = f->env->opts;
  for (int64_t o = 0; o < f->outputs; o++)
    for (int64_t i = 0; i < f->n; i++) {
      double now = f->fitted[o * f->n + i];
      double was = f->raw[o * f->n + i];
      r->lost[(f->first + o) * f->n + i] = was - now;
      if (opts->reference)
        r->delta[f->first + o] +=
            was * f->seen.before[i] - now * f->seen.mean[i];
      r->alive[f->first + o] |= f->support[o][i];
      r->v[place(f, o, i)] = (float)now;
    }
}

static prn_status fit_group(fit *f, int64_t group, const char **why,
                            const float *raw, result *r) {
  const struct opts *o = f->env->opts;
  if (!prn_site_moments_of(prn_pass_profile(f->env), f->w->site, &f->w->m,
                           group, &f->seen, why))
    return PRN_OK;
  if (o->reference && !f->seen.cross) {
    *why = "was not observed beside a reference";
    prn_site_moments_free(&f->seen);
    return PRN_OK;
  }
  if (group == 0 && f->seen.count < FEW * f->n)
    prn_pass_warning(f->env,
                     "'%.*s' is fitted on %lld vectors for %lld inputs: with "
                     "fewer than %d for each, fits are often worse on other "
                     "data",
                     PRN_STR_ARG(f->w->site->name), (long long)f->seen.count,
                     (long long)f->n, (int)FEW);
  if (o->means) centre(&f->seen);
  f->first = group * f->outputs;
  read_weight(f, raw);
  keep_whole(f);
  find_targets(f);
  prn_status status = fit_all(f);
  if (status == PRN_OK) keep_result(f, r);
  prn_site_moments_free(&f->seen);
  return status;
}

/* The biases of all uses take over the means. */
static void give_means(prn_pass_env *env, const prn_masked *w, const result *r,
                       prn_arena *arena) {
  const prn_site_matrix *m = &w->m;
  const struct opts *opts = env->opts;
  int64_t n = m->groups * m->outputs;
  double *mean = PRN_ARENA_ARRAY(arena, double, m->inputs);
  double *delta = PRN_ARENA_ARRAY(arena, double, n);
  bool added;
  for (size_t u = 0; u < w->site->num_uses; u++) {
    const prn_site_use *use = &w->site->uses[u];
    for (int64_t o = 0; o < n; o++) {
      delta[o] = 0;
      if (o % m->outputs == 0 && !prn_use_means_of(prn_pass_profile(env), use,
                                                   m, o / m->outputs, mean))
        return; /* prn_masked_open found them */
      for (int64_t i = 0; i < m->inputs; i++)
        delta[o] += r->lost[o * m->inputs + i] * mean[i];
      if (opts->reference) delta[o] = r->delta[o];
    }
    if (!prn_bias_add(env, use->op, delta, r->alive, n, &added))
      prn_pass_remark(env, use->op, PRN_REASON_NotObserved,
                      "no bias can take over the mean of '%.*s'",
                      PRN_STR_ARG(w->site->name));
  }
}

static void write(const prn_pass_env *env, const prn_masked *w,
                  const float *v) {
  prn_tensor *t = prn_tensor_clone(env->ctx, w->t);
  t->data = prn_tensor_from_data(env->ctx, t->type, v)->data;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(w->site->constant, "value", prn_attr_tensor(env->ctx, t));
}

/* *why: NULL when it was fitted. */
static prn_status fit_weight(prn_pass_env *env, const prn_lapack *lapack,
                             const prn_masked *w, prn_arena *arena,
                             const char **why) {
  const struct opts *o = env->opts;
  int64_t all = prn_tensor_count(w->t), outputs = w->m.groups * w->m.outputs;
  float *raw = PRN_ARENA_ARRAY(arena, float, all);
  prn_tensor plain = *w->t;
  result r = {PRN_ARENA_ARRAY(arena, float, all),
              PRN_ARENA_ARRAY(arena, double, outputs * w->m.inputs),
              PRN_ARENA_ARRAY(arena, double, outputs),
              prn_arena_alloc(arena, (size_t)outputs)};
  plain.mask = NULL;
  prn_tensor_read_f32(&plain, 0, all, raw);
  for (int64_t g = 0; g < w->m.groups; g++) {
    prn_arena scratch = {0};
    fit f = {.env = env,
             .lapack = lapack,
             .arena = &scratch,
             .w = w,
             .op = w->site->uses[0].op,
             .n = w->m.inputs,
             .outputs = w->m.outputs};
    prn_status status = fit_group(&f, g, why, raw, &r);
    prn_arena_destroy(&scratch);
    PRN_TRY(status);
    if (*why) return PRN_OK;
  }
  write(env, w, r.v);
  if (o->means) give_means(env, w, &r, arena);
  return PRN_OK;
}

static prn_status visit(prn_pass_env *env, const prn_lapack *lapack,
                        const prn_site *site) {
  struct stats *s = env->stats;
  const char *why = NULL;
  prn_arena arena = {0};
  prn_masked w;
  prn_status status = PRN_OK;
  if (!prn_masked_concerns(env, site)) return PRN_OK;
  bool fits = prn_masked_open(env, site, &arena, &w) &&
              w.m.inputs * w.m.outputs * w.m.groups == prn_tensor_count(w.t);
  if (fits) status = fit_weight(env, lapack, &w, &arena, &why);
  if (status == PRN_OK && fits && !why)
    s->fitted++;
  else
    s->skipped++;
  if (why)
    prn_pass_remark(env, site->constant, PRN_REASON_NotObserved,
                    "'%.*s' is not fitted: its input %s",
                    PRN_STR_ARG(site->name), why);
  prn_arena_destroy(&arena);
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  (void)m;
  PRN_TRY(prn_compensate_check(env));
  const prn_lapack *lapack = prn_lapack_open(prn_ctx_diags(env->ctx));
  if (!lapack) return PRN_FAIL;
  for (size_t i = 0; i < sites->size; i++)
    PRN_TRY(visit(env, lapack, &sites->at[i]));
  return PRN_OK;
}

const prn_pass prn_pass_compensate_refit = {
    .name = "compensate-refit",
    .summary = "Fit the weights that stay to what all of them gave",
    .doc = "After a select pass, before compaction. Needs a profile with "
           "moments (prune-run --profile-moments=full).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
