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
 * factorisation a weight. Needs a profile with full moments
 * (--profile-moments=full). Of convolutions only windows of one element are
 * fitted; others are left to compensate-bias.
 *
 * C gets `damping` times its mean diagonal added, and more when it is not
 * positive definite, which a remark says. Frantar and Alistarh, "Optimal brain
 * compression", 2022, section 3; He et al., "Channel pruning for accelerating
 * very deep neural networks", 2017. */
#include <stdlib.h>
#include <string.h>

#include "passes/compensate/compensate.h"
#include "passes/solve/lapack.h"

#define OPTIONS(X)                                   \
  X(FLOAT, damping, 0.01, "[0,1e9]",                 \
    "Added to the diagonal, as a share of its mean") \
  X(BOOL, means, true, "", "Fit around the means, and let biases have them")
#define STATS(X)                                                \
  X(fitted, "weights fitted anew")                              \
  X(solved, "systems solved")                                   \
  X(damped, "of them, that needed more damping than asked for") \
  X(skipped, "masked weights without full moments, or with windows")
PRN_PASS_TABLES;

enum { FEW = 4 }; /* vectors for an input, below which fits are too close */

typedef struct fit {
  prn_pass_env *env;
  const prn_lapack *lapack;
  prn_masked w;
  int64_t n, outputs;      /* inputs, outputs */
  const double *cov;       /* n x n */
  unsigned char **support; /* of outputs: a byte for every input */
  double *raw, *fitted;    /* outputs x n */
} fit;

/* ---- the weight as a matrix [outputs, n] ---- */

static int64_t place(const fit *f, int64_t o, int64_t i) {
  return o * f->w.out.inner + i * f->w.in.inner;
}

static void read_raw(fit *f) {
  int64_t all = prn_tensor_count(f->w.t);
  prn_tensor raw = *f->w.t;
  double *v = PRN_ARENA_ARRAY(f->env->scratch, double, all);
  f->raw = PRN_ARENA_ARRAY(f->env->scratch, double, all);
  raw.mask = NULL;
  prn_tensor_read_f64(&raw, 0, all, v);
  for (int64_t o = 0; o < f->outputs; o++)
    for (int64_t i = 0; i < f->n; i++)
      f->raw[o * f->n + i] = v[place(f, o, i)];
}

static void read_support(fit *f) {
  f->support = PRN_ARENA_ARRAY(f->env->scratch, unsigned char *, f->outputs);
  for (int64_t o = 0; o < f->outputs; o++) {
    f->support[o] = prn_arena_alloc(f->env->scratch, (size_t)f->n);
    for (int64_t i = 0; i < f->n; i++)
      f->support[o][i] = prn_mask_keeps(f->w.t->mask->data, place(f, o, i));
  }
}

static const double *covariance(const fit *f, bool means) {
  const prn_observation *seen = f->w.seen;
  int64_t n = f->n;
  double *c = PRN_ARENA_ARRAY(f->env->scratch, double, n *n);
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < n; k++)
      c[i * n + k] = seen->moments[i * n + k] -
                     (means ? seen->mean[i] * seen->mean[k] : 0);
  return c;
}

/* ---- one system ---- */

/* The inputs that stay for a set of outputs. */
typedef struct system_of {
  const int64_t *at; /* inputs, ascending */
  int64_t size;
  const int64_t *outputs;
  int64_t count;
} system_of;

/* Rows of C at S times the outputs' weights: C[S, :] w'. */
static bool right_sides(const fit *f, const system_of *s, double *b) {
  int size = (int)s->size, count = (int)s->count, n = (int)f->n;
  const double one = 1, zero = 0;
  double *rows =
      prn_try_alloc(prn_array_size((size_t)(s->size * f->n), sizeof *rows));
  double *w =
      prn_try_alloc(prn_array_size((size_t)(s->count * f->n), sizeof *w));
  for (int64_t r = 0; rows && r < s->size; r++)
    memcpy(rows + r * f->n, f->cov + s->at[r] * f->n,
           (size_t)f->n * sizeof *rows);
  for (int64_t k = 0; w && k < s->count; k++)
    memcpy(w + k * f->n, f->raw + s->outputs[k] * f->n,
           (size_t)f->n * sizeof *w);
  bool ok = rows && w;
  if (ok)
    f->lapack->dgemm("T", "N", &size, &count, &n, &one, rows, &n, w, &n, &zero,
                     b, &size);
  prn_free(rows);
  prn_free(w);
  return ok;
}

/* Solves with as much damping as it takes. */
static prn_status solve(const fit *f, const system_of *s, double *a,
                        double *b) {
  const struct opts *o = f->env->opts;
  struct stats *stats = f->env->stats;
  int n = (int)s->size, m = (int)s->count, info = 1;
  double mean = 0, damping = o->damping;
  for (int64_t i = 0; i < f->n; i++)
    mean += f->cov[i * f->n + i] / (double)f->n;
  for (int tries = 0; info && tries < 12; tries++) {
    for (int64_t r = 0; r < s->size; r++)
      for (int64_t c = 0; c < s->size; c++)
        a[r * s->size + c] =
            f->cov[s->at[r] * f->n + s->at[c]] + (r == c ? damping * mean : 0);
    f->lapack->dpotrf("L", &n, a, &n, &info);
    if (info && tries == 0) stats->damped++;
    if (info) damping = damping > 0 ? 10 * damping : 1e-8;
  }
  if (info) return prn_op_error(f->w.op, "its inputs' moments are degenerate");
  if (damping > o->damping)
    prn_pass_remark(f->env, f->w.op, PRN_REASON_Damped,
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
  if (a && b && right_sides(f, s, b)) {
    status = solve(f, s, a, b);
  } else {
    (void)prn_op_error(f->w.op, "no memory to fit its weights");
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
  int64_t *order = PRN_ARENA_ARRAY(f->env->scratch, int64_t, f->outputs);
  int64_t *at = PRN_ARENA_ARRAY(f->env->scratch, int64_t, f->n);
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

/* ---- writing ---- */

static void write(fit *f, double *delta, unsigned char *alive) {
  const prn_observation *seen = f->w.seen;
  prn_ctx *ctx = f->env->ctx;
  float *v = PRN_ARENA_ARRAY(f->env->scratch, float, prn_tensor_count(f->w.t));
  for (int64_t o = 0; o < f->outputs; o++)
    for (int64_t i = 0; i < f->n; i++) {
      double now = f->fitted[o * f->n + i];
      delta[o] += (f->raw[o * f->n + i] - now) * seen->mean[i];
      alive[o] |= f->support[o][i];
      v[place(f, o, i)] = (float)now;
    }
  prn_tensor *t = prn_tensor_clone(ctx, f->w.t);
  t->data = prn_tensor_from_data(ctx, t->type, v)->data;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(f->w.site->constant, "value", prn_attr_tensor(ctx, t));
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

static prn_status visit(prn_pass_env *env, const prn_lapack *lapack,
                        const prn_site *site) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  fit f = {.env = env, .lapack = lapack};
  bool added;
  if (!prn_masked_concerns(env, site)) return PRN_OK;
  bool open = prn_masked_open(env, site, &f.w);
  f.n = open ? f.w.in.length : 0;
  f.outputs = open ? f.w.out.length : 0;
  if (!open || !f.w.seen->moments || f.w.groups != 1 ||
      f.n * f.outputs != prn_tensor_count(f.w.t)) {
    s->skipped++;
    return PRN_OK;
  }
  if (f.w.seen->count < FEW * f.n)
    prn_pass_warning(env,
                     "'%.*s' is fitted on %lld vectors for %lld inputs: with "
                     "fewer than %d for each, fits are often worse on other "
                     "data",
                     PRN_STR_ARG(site->name), (long long)f.w.seen->count,
                     (long long)f.n, (int)FEW);
  f.cov = covariance(&f, o->means);
  f.fitted = PRN_ARENA_ARRAY(env->scratch, double, f.n *f.outputs);
  read_raw(&f);
  read_support(&f);
  keep_whole(&f);
  PRN_TRY(fit_all(&f));
  double *delta = PRN_ARENA_ARRAY(env->scratch, double, f.outputs);
  unsigned char *alive = prn_arena_alloc(env->scratch, (size_t)f.outputs);
  write(&f, delta, alive);
  s->fitted++;
  if (o->means && !prn_bias_add(env, f.w.op, delta, alive, f.outputs, &added))
    prn_pass_remark(env, f.w.op, PRN_REASON_NotObserved,
                    "no bias can take over the mean of '%.*s'",
                    PRN_STR_ARG(site->name));
  return PRN_OK;
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
    .doc = "After a select pass, before compaction. Needs a profile with full "
           "moments (prune-run --profile-moments=full).",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_SHAPES | PRN_SITES,
    PRN_PASS_COMMON,
};
