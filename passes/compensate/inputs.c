/* compensate-inputs: weights make up for what their inputs have become.
 *
 * A weight behind weights that were pruned gets inputs x that are not what they
 * were, x'. Of W x', what it gave, it can give
 *
 *   W* x,   W* = W (D + d I) (C + d I)^-1
 *
 * where C is the covariance of x, D that of x' and x, and d `damping` times C's
 * mean diagonal, which holds W* at W where there is too little data. Whatever
 * prunes W* afterwards, with the least squares of C, then has the outputs of
 * the model that nothing was pruned in as its aim. Biases take over the means.
 * He et al., "Channel pruning for accelerating very deep neural networks",
 * 2017, section 3.2: asymmetric reconstruction.
 *
 * Within prune-sequential, before weights are selected; masked weights are left
 * alone. */
#include <string.h>

#include "passes/compensate/compensate.h"
#include "passes/solve/lapack.h"

#define OPTIONS(X)                                                            \
  X(FLOAT, damping, 0.1, "[0,1e9]",                                           \
    "Hold on weights as they are, as a share of the mean diagonal")           \
  X(ENUM, biases, add, "add|keep|none",                                       \
    "What takes over means: biases, and new ones where there are none; only " \
    "biases that are there; nothing")
#define STATS(X)                   \
  X(fitted, "weights fitted anew") \
  X(skipped, "weights without paired moments, or with masks")
PRN_PASS_TABLES;

enum { ADD, KEEP };

typedef struct job {
  prn_pass_env *env;
  const prn_lapack *lapack;
  prn_masked w;
  prn_arena arena;
  float *v;      /* elements, as they were */
  float *now;    /* as they become */
  bool centred;  /* a bias takes the means */
  double *delta; /* of biases, [outputs of all groups] */
} job;

/* Around the means. */
static void centre(prn_site_moments *m) {
  for (int64_t i = 0; i < m->n; i++)
    for (int64_t k = 0; k < m->n; k++) {
      m->second[i * m->n + k] -= m->mean[i] * m->mean[k];
      m->cross[i * m->n + k] -= m->before[i] * m->mean[k];
    }
}

/* Right sides [outputs][n], of the outputs of a group: (D + d I)' w. */
static void right_sides(const job *j, const prn_site_moments *s, double hold,
                        const double *w, double *b) {
  int n = (int)s->n, m = (int)j->w.m.outputs;
  const double one = 1, zero = 0;
  j->lapack->dgemm("N", "N", &n, &m, &n, &one, s->cross, &n, w, &n, &zero, b,
                   &n);
  for (int64_t i = 0; i < (int64_t)n * m; i++)
    b[i] += hold * w[i];
}

/* False when nothing can be solved. */
static bool solve(const job *j, const prn_site_moments *s, const double *w,
                  double *b, double *a) {
  const struct opts *o = j->env->opts;
  double mean = 0, damping = o->damping;
  int n = (int)s->n, m = (int)j->w.m.outputs, info;
  for (int64_t i = 0; i < s->n; i++)
    mean += s->second[i * s->n + i] / (double)s->n;
  if (!(mean > 0) || !prn_lapack_factor(j->lapack, s->second, s->n, NULL, s->n,
                                        mean, &damping, a))
    return false;
  right_sides(j, s, damping * mean, w, b);
  j->lapack->dpotrs("L", &n, &m, a, &n, b, &n, &info);
  return info == 0;
}

static void keep(job *j, const prn_site_moments *s, int64_t first,
                 const double *w, const double *b) {
  for (int64_t o = 0; o < j->w.m.outputs; o++)
    for (int64_t i = 0; i < s->n; i++) {
      double was = w[o * s->n + i], is = b[o * s->n + i];
      j->delta[first + o] += was * s->before[i] - is * s->mean[i];
      j->now[prn_masked_at(&j->w, first + o, i)] = (float)is;
    }
}

/* False when the profile says too little. */
static bool fit_group(job *j, int64_t group) {
  const prn_site_matrix *m = &j->w.m;
  prn_site_moments s;
  const char *why;
  size_t n = (size_t)m->inputs, all = (size_t)m->outputs * n;
  if (!prn_site_moments_of(prn_pass_profile(j->env), j->w.site, m, group, &s,
                           &why))
    return false;
  double *a = prn_try_alloc(prn_array_size(n, n * sizeof *a));
  double *w = prn_try_alloc(prn_array_size(all, 2 * sizeof *w));
  bool ok = s.cross && a && w;
  if (ok) {
    for (int64_t o = 0; o < m->outputs; o++)
      for (int64_t i = 0; i < m->inputs; i++)
        w[o * m->inputs + i] =
            (double)j->v[prn_masked_at(&j->w, group * m->outputs + o, i)];
    if (j->centred) centre(&s);
    ok = solve(j, &s, w, w + all, a);
  }
  if (ok) keep(j, &s, group * m->outputs, w, w + all);
  prn_free(a);
  prn_free(w);
  prn_site_moments_free(&s);
  return ok;
}

static void write(const job *j) {
  prn_ctx *ctx = j->env->ctx;
  prn_tensor *t = prn_tensor_clone(ctx, j->w.t);
  t->data = prn_tensor_from_f32(ctx, t->type, j->now)->data;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(j->w.site->constant, "value", prn_attr_tensor(ctx, t));
}

/* False when the weight stays as it is. */
static bool fit_weight(job *j) {
  const prn_site_matrix *m = &j->w.m;
  int64_t all = prn_tensor_count(j->w.t), outputs = m->groups * m->outputs;
  const struct opts *o = j->env->opts;
  prn_op *op = j->w.site->uses[0].op;
  bool added;
  if (m->inputs * outputs != all || j->w.site->num_uses != 1) return false;
  j->centred =
      o->biases <= KEEP && prn_bias_open(op, outputs, o->biases == ADD);
  j->v = PRN_ARENA_ARRAY(&j->arena, float, all);
  j->now = PRN_ARENA_ARRAY(&j->arena, float, all);
  j->delta = PRN_ARENA_ARRAY(&j->arena, double, outputs);
  unsigned char *alive = prn_arena_alloc(&j->arena, (size_t)outputs);
  memset(alive, 1, (size_t)outputs);
  prn_tensor_read_f32(j->w.t, 0, all, j->v);
  for (int64_t g = 0; g < m->groups; g++)
    if (!fit_group(j, g)) return false;
  if (j->centred && !prn_bias_add(j->env, op, j->delta, alive, outputs, &added))
    return false;
  write(j);
  prn_pass_remark(j->env, op, PRN_REASON_Compensated,
                  "'%.*s' makes up for what its inputs have become",
                  PRN_STR_ARG(j->w.site->name));
  return true;
}

static void visit(prn_pass_env *env, const prn_lapack *lapack,
                  const prn_site *site) {
  struct stats *s = env->stats;
  const prn_tensor *t = prn_site_tensor(site);
  job j = {.env = env, .lapack = lapack};
  bool concerned = t && prn_fits_dtype(t->type->dtype) &&
                   (site->prunable || site->reason == PRN_REASON_Depthwise) &&
                   prn_pass_site_selected(env, site->constant);
  if (!concerned) return;
  if (!t->mask && prn_masked_open(env, site, &j.arena, &j.w) && fit_weight(&j))
    s->fitted++;
  else
    s->skipped++;
  prn_arena_destroy(&j.arena);
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const prn_sites *sites = prn_pass_weight_sites(env);
  (void)m;
  PRN_TRY(prn_compensate_check(env));
  const prn_lapack *lapack = prn_lapack_open(prn_ctx_diags(env->ctx));
  if (!lapack) return PRN_FAIL;
  for (size_t i = 0; i < sites->size; i++)
    visit(env, lapack, &sites->at[i]);
  return PRN_OK;
}

const prn_pass prn_pass_compensate_inputs = {
    .name = "compensate-inputs",
    .summary = "Let weights make up for what their inputs have become",
    .doc = "Within prune-sequential, before a select pass.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
