#include "passes/compensate/layer.h"

#include <string.h>

#include "ir/sparsity.h"
#include "passes/compensate/compensate.h"

enum { FEW = 4 }; /* vectors for an input, below which fits are too close */

prn_status prn_layers_check(const prn_pass_env *env) {
  const prn_profile *p = prn_pass_profile(env);
  if (p && p->block) return PRN_OK;
  if (p)
    return prn_pass_error(env, "the profile has no moments: make it with "
                               "prune-run --profile-moments=full");
  return prn_pass_need_profile(env, "--profile-moments=full ");
}

/* ---- reading ---- */

static void *cells(const prn_layer *l, size_t size) {
  return prn_try_alloc(prn_array_size(
      prn_array_size((size_t)l->rows, (size_t)l->cols) + 1, size));
}

static prn_status no_memory(const prn_layer *l) {
  return prn_op_error(l->site->constant,
                      "%s: no memory for the %lld x %lld "
                      "weights of '%.*s'",
                      l->env->pass->name, (long long)l->rows,
                      (long long)l->cols, PRN_STR_ARG(l->site->name));
}

static prn_status read(prn_layer *l) {
  const prn_tensor *t = prn_site_tensor(l->site);
  int64_t all = prn_tensor_count(t);
  prn_tensor raw = *t;
  float *v = cells(l, sizeof *v);
  l->target = cells(l, sizeof *l->target);
  l->gone = t->mask ? cells(l, 1) : NULL;
  l->x.weights = cells(l, sizeof *l->x.weights);
  l->x.keep = cells(l, 1);
  l->x.loss = prn_try_alloc((size_t)(l->rows + 1) * sizeof *l->x.loss);
  bool ok = v && l->target && (l->gone || !t->mask) && l->x.weights &&
            l->x.keep && l->x.loss;
  raw.mask = NULL;
  if (ok) prn_tensor_read_f32(&raw, 0, all, v);
  for (int64_t r = 0; ok && r < l->rows; r++)
    for (int64_t c = 0; c < l->cols; c++) {
      int64_t at = l->row[r] + l->col[c], to = r * l->cols + c;
      l->target[to] = v[at];
      if (l->gone) l->gone[to] = !prn_mask_keeps(t->mask->data, at);
    }
  prn_free(v);
  return ok ? PRN_OK : no_memory(l);
}

static prn_status check_finite(const prn_layer *l) {
  int64_t at = prn_tensor_find_nonfinite(prn_site_tensor(l->site));
  if (at < 0) return PRN_OK;
  return prn_op_error(
      l->site->constant, "%s: entry %lld of '%.*s' is not finite",
      l->env->pass->name, (long long)at, PRN_STR_ARG(l->site->name));
}

static void warn_few(const prn_layer *l) {
  if (l->moments.count >= FEW * l->cols) return;
  prn_pass_warning(l->env,
                   "'%.*s' is fitted on %lld vectors for %lld inputs: with "
                   "fewer than %d for each, fits are often worse on other "
                   "data",
                   PRN_STR_ARG(l->site->name), (long long)l->moments.count,
                   (long long)l->cols, (int)FEW);
}

/* The moments of what is left when some vectors are taken away. */
static void take_away(prn_site_moments *all, const prn_site_moments *part) {
  double left = (double)all->count - (double)part->count;
  if (left <= 0) return;
  double a = (double)all->count / left, p = (double)part->count / left;
  for (int64_t i = 0; i < all->n; i++)
    all->mean[i] = a * all->mean[i] - p * part->mean[i];
  for (int64_t i = 0; i < all->n * all->n; i++)
    all->second[i] = a * all->second[i] - p * part->second[i];
  for (int64_t i = 0; i < all->n; i++) /* rounded: it saw nothing */
    if (all->second[i * all->n + i] < 1e-12 * part->second[i * all->n + i])
      all->second[i * all->n + i] = 0;
  all->count -= part->count;
}

/* The moments of a group, in place of those of another. */
static prn_status use_group(prn_layer *l, int64_t group, const char **why) {
  *why = NULL;
  if (l->moments.second && l->group == group) return PRN_OK;
  prn_site_moments_free(&l->moments);
  l->group = group;
  if (!prn_site_moments_of(prn_pass_profile(l->env), l->site, &l->matrix, group,
                           &l->moments, why) ||
      !l->without)
    return PRN_OK;
  prn_site_moments fold;
  if (prn_site_moments_of(l->without, l->site, &l->matrix, group, &fold, why)) {
    take_away(&l->moments, &fold);
    prn_site_moments_free(&fold);
  }
  return PRN_OK;
}

prn_status prn_layer_open(const prn_pass_env *env, const prn_site *s,
                          bool by_place, prn_layer *out, const char **why) {
  const prn_tensor *t = prn_site_tensor(s);
  *out = (prn_layer){.env = env, .site = s};
  *why = "its elements are not of f32, f16 or bf16";
  if (!t || !prn_fits_dtype(t->type->dtype)) return PRN_OK;
  *why = "it is no matrix for all that read it";
  if (!prn_site_matrix_of(s, &out->arena, &out->matrix)) return PRN_OK;
  if (by_place) prn_site_matrix_by_place(&out->matrix);
  out->groups = out->matrix.groups;
  out->rows = out->groups * out->matrix.outputs;
  out->cols = out->matrix.inputs;
  out->row = out->matrix.rows;
  out->col = out->matrix.cols;
  *why = "its axes do not fit what was observed";
  if (out->cols == 0 || out->rows == 0 ||
      out->rows * out->cols != prn_tensor_count(t))
    return PRN_OK;
  PRN_TRY(use_group(out, 0, why));
  if (*why) return PRN_OK;
  PRN_TRY(check_finite(out));
  warn_few(out);
  return read(out);
}

void prn_layer_close(prn_layer *l) {
  prn_free(l->target);
  prn_free(l->aim);
  prn_free(l->gone);
  prn_site_moments_free(&l->moments);
  prn_solution_destroy(&l->x);
  prn_arena_destroy(&l->arena);
}

/* ---- problems ---- */

/* Moments around the means, once. */
static void centre(prn_site_moments *m) {
  for (int64_t r = 0; r < m->n; r++)
    for (int64_t c = 0; c < m->n; c++) {
      m->second[r * m->n + c] -= m->mean[r] * m->mean[c];
      if (m->cross) m->cross[r * m->n + c] -= m->before[r] * m->mean[c];
    }
}

/* Room for what `reference` needs, once. */
static prn_status open_aim(prn_layer *l) {
  if (l->aim) return PRN_OK;
  l->aim = cells(l, sizeof *l->aim);
  l->gave = PRN_ARENA_ARRAY(&l->arena, double, l->rows);
  return l->aim ? PRN_OK : no_memory(l);
}

/* The weights that, on inputs as they are, come closest to what the group's
 * gave on inputs as they were: W D (C + d I)^-1, with D the moments of these
 * times those, and C + d I as the problem has it. */
static const char *take_aim(prn_layer *l, prn_solve *s, int64_t first) {
  const double one = 1, zero = 0;
  int n = (int)s->cols, m = (int)s->rows, info = 0;
  size_t all = prn_array_size((size_t)n, (size_t)m);
  double *a = prn_try_alloc(prn_array_size((size_t)n * (size_t)n, sizeof *a));
  double *w = prn_try_alloc(prn_array_size(all, 2 * sizeof *w));
  bool ok = a && w;
  for (int64_t r = 0; ok && r < m; r++)
    for (int64_t c = 0; c < n; c++) {
      w[r * n + c] = (double)s->target[r * n + c];
      l->gave[first + r] += w[r * n + c] * l->moments.before[c];
    }
  if (ok) {
    double *b = w + all;
    const prn_lapack *lapack = s->dense.lapack;
    memcpy(a, s->g, (size_t)n * (size_t)n * sizeof *a);
    lapack->dgemm("N", "N", &n, &m, &n, &one, l->moments.cross, &n, w, &n,
                  &zero, b, &n);
    lapack->dpotrf("L", &n, a, &n, &info);
    if (!info) lapack->dpotrs("L", &n, &m, a, &n, b, &n, &info);
    s->target = l->aim + first * n;
    for (size_t i = 0; i < all; i++)
      s->target[i] = (float)b[i];
  }
  prn_free(a);
  prn_free(w);
  return !ok    ? prn_solve_no_memory
         : info ? "the moments of its inputs are degenerate"
                : NULL;
}

prn_status prn_layer_failed(const prn_layer *l, const char *why) {
  return prn_op_error(l->site->constant, "%s: '%.*s': %s", l->env->pass->name,
                      PRN_STR_ARG(l->site->name), why);
}

prn_status prn_layer_problem(prn_layer *l, int64_t group,
                             const prn_lapack *lapack, double damping,
                             prn_budget budget, prn_solve *out,
                             prn_solution *x) {
  int64_t n = l->cols, rows = l->rows / l->groups;
  int64_t at = group * rows * n;
  *out = (prn_solve){.rows = rows,
                     .cols = n,
                     .target = l->target + at,
                     .gone = l->gone && !l->trades ? l->gone + at : NULL,
                     .budget = budget,
                     .damping = damping,
                     .steps = 8,
                     .dense = {lapack, l->env->threads}};
  *x = (prn_solution){l->x.weights + at, l->x.keep + at,
                      l->x.loss + group * rows};
  const char *why;
  prn_site_moments_free(&l->moments);
  PRN_TRY(use_group(l, group, &why));
  if (why) return prn_layer_failed(l, why);
  if (l->centred) centre(&l->moments);
  out->moments = l->moments.second;
  if (l->reference && !l->moments.cross)
    return prn_layer_failed(l, "its input was not observed beside a reference");
  if (l->reference) PRN_TRY(open_aim(l));
  why = prn_solve_open(out);
  if (!why && l->reference) why = take_aim(l, out, group * rows);
  return why ? prn_layer_failed(l, why) : PRN_OK;
}

void prn_layer_remark_damping(const prn_layer *l, const prn_solve *s) {
  if (s->raised > s->damping)
    prn_pass_remark(l->env, l->site->constant, PRN_REASON_Damped,
                    "moments needed a damping of %g", s->raised);
}

/* ---- writing ---- */

static prn_status write_weights(prn_layer *l) {
  prn_ctx *ctx = l->env->ctx;
  prn_op *op = l->site->constant;
  const prn_tensor *old = prn_site_tensor(l->site);
  const prn_blob *blob;
  void *data;
  prn_dtype dtype = old->type->dtype;
  size_t bytes = (size_t)prn_tensor_count(old) * prn_dtype_bits(dtype) / 8;
  PRN_TRY(prn_blob_scratch(ctx, bytes, &blob, &data));
  for (int64_t r = 0; r < l->rows; r++)
    for (int64_t c = 0; c < l->cols; c++) {
      float v = l->x.weights[r * l->cols + c];
      int64_t at = l->row[r] + l->col[c];
      if (dtype == PRN_F32)
        ((float *)data)[at] = v;
      else
        (void)!prn_element_from_f64(dtype, (double)v, data, at);
    }
  prn_tensor *t = prn_tensor_clone(ctx, old);
  t->data = blob;
  if (l->trades) t->mask = NULL;
  if (t->storage == PRN_STORE_EXTERNAL) t->storage = PRN_STORE_RAW;
  prn_op_set_attr(op, "value", prn_attr_tensor(ctx, t));
  return PRN_OK;
}

static prn_status make_mask(const prn_layer *l, prn_mask *mask) {
  int64_t all = l->rows * l->cols;
  unsigned char *bytes = cells(l, 1);
  if (!bytes) return no_memory(l);
  for (int64_t r = 0; r < l->rows; r++)
    for (int64_t c = 0; c < l->cols; c++)
      bytes[l->row[r] + l->col[c]] = l->x.keep[r * l->cols + c];
  prn_status status = prn_mask_create(l->env->ctx, all, true, mask);
  if (status == PRN_OK) prn_mask_put(mask, 0, all, bytes);
  prn_free(bytes);
  return status;
}

prn_status prn_layer_write(prn_layer *l, prn_sparsity claim, uint64_t *pruned) {
  prn_op *op = l->site->constant;
  prn_mask mask;
  int64_t all = l->rows * l->cols, kept = 0, before = all;
  for (int64_t i = 0; i < all; i++) {
    kept += l->x.keep[i];
    before -= l->gone && l->gone[i];
  }
  *pruned = (uint64_t)(before - kept);
  PRN_TRY(write_weights(l));
  if (kept == all) return PRN_OK;
  PRN_TRY(make_mask(l, &mask));
  prn_mask_attach(op, &mask);
  prn_sparsity now = prn_site_tensor(l->site)->type->sparsity;
  if (claim.kind > PRN_SPARSE_UNSTRUCTURED || now.kind == PRN_SPARSE_NONE)
    prn_constant_claim(op, claim);
  return PRN_OK;
}

prn_sparsity prn_layer_claim(const prn_layer *l, int64_t n, int64_t m) {
  const prn_type *type = prn_site_tensor(l->site)->type;
  int32_t axis;
  int64_t channels = l->cols / l->matrix.places, left = channels % m;
  if (!prn_site_memory_axis(l->site, PRN_ROLE_IN, &axis) ||
      prn_axis_view_of(type, axis).length != channels || left > n ||
      (left && l->matrix.places > 1))
    return (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED};
  return (prn_sparsity){
      .kind = PRN_SPARSE_NM, .n = (int32_t)n, .m = (int32_t)m, .axis = axis};
}

/* ---- biases ---- */

bool prn_layer_has_bias(const prn_layer *l, bool add) {
  for (size_t i = 0; i < l->site->num_uses; i++)
    if (!prn_bias_open(l->site->uses[i].op, l->rows, add)) return false;
  return true;
}

/* The mean that each row lost, as a use saw its inputs. */
static void lost_means(const prn_layer *l, const prn_site_use *use,
                       double *mean, double *delta, unsigned char *alive) {
  int64_t rows = l->rows / l->groups, n = l->cols;
  for (int64_t r = 0; r < l->rows; r++) {
    delta[r] = l->reference ? l->gave[r] : 0;
    if (r % rows == 0 && !prn_use_means_of(prn_pass_profile(l->env), use,
                                           &l->matrix, r / rows, mean))
      return; /* they were there */
    for (int64_t c = 0; c < n; c++) {
      double was = l->reference ? 0 : (double)l->target[r * n + c];
      delta[r] += (was - (double)l->x.weights[r * n + c]) * mean[c];
      alive[r] |= l->x.keep[r * n + c];
    }
  }
}

void prn_layer_give_means(prn_layer *l) {
  double *delta = PRN_ARENA_ARRAY(&l->arena, double, l->rows);
  double *mean = PRN_ARENA_ARRAY(&l->arena, double, l->cols);
  unsigned char *alive = prn_arena_alloc(&l->arena, (size_t)l->rows);
  bool added;
  for (size_t i = 0; i < l->site->num_uses; i++) {
    prn_op *op = l->site->uses[i].op;
    lost_means(l, &l->site->uses[i], mean, delta, alive);
    if (!prn_bias_add(l->env, op, delta, alive, l->rows, &added))
      prn_pass_remark(l->env, op, PRN_REASON_NotObserved,
                      "no bias can take over the mean of '%.*s'",
                      PRN_STR_ARG(l->site->name));
  }
}
