/* Opening a problem, what rows lose, and the choice among methods. */
#include "passes/solve/solve.h"

#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"

const char prn_solve_no_memory[] = "there is no memory for it";

enum {
  TRIES = 12,
  MIN_CHUNK = 32,
  MAX_CHUNK = 256,
  SMALL = 1024,
  LARGE = 2048
};
/* Of conjugate gradients, where refit takes them. */
enum { QUICK_STEPS = 2, FEW_STEPS = 3, MANY_STEPS = 12 };
#define CLEARLY (1 / 1.5)

int64_t prn_solve_chunk(const prn_solve *s) {
  int64_t chunk = (s->rows + 15) / 16;
  return chunk < MIN_CHUNK ? MIN_CHUNK : chunk > MAX_CHUNK ? MAX_CHUNK : chunk;
}

static void *array(int64_t rows, int64_t cols, size_t size) {
  size_t n;
  if (!prn_mul_size((size_t)rows, (size_t)cols, &n) ||
      !prn_mul_size(n, size, &n))
    return NULL;
  return prn_try_alloc(n ? n : 1);
}

/* ---- opening ---- */

static void find_dead(prn_solve *s) {
  for (int64_t c = 0; c < s->cols; c++)
    s->dead[c] = s->moments[c * s->cols + c] <= 0;
  if (s->budget.kind == PRN_BUDGET_FIXED) return;
  for (int64_t r = 0; r < s->rows; r++)
    for (int64_t c = 0; c < s->cols; c++)
      if (s->dead[c]) s->target[r * s->cols + c] = 0;
}

static double mean_diagonal(const prn_solve *s) {
  double sum = 0;
  for (int64_t c = 0; c < s->cols; c++)
    sum += s->moments[c * s->cols + c];
  return sum > 0 ? sum / (double)s->cols : 1;
}

/* G with its diagonal raised. What was never seen gets any diagonal: nothing
 * else depends on it. */
static void damp(prn_solve *s, double mean) {
  int64_t n = s->cols;
  memcpy(s->g, s->moments, (size_t)(n * n) * sizeof *s->g);
  for (int64_t c = 0; c < n; c++)
    s->g[c * n + c] += s->dead[c] ? mean : s->raised * mean;
}

bool prn_solve_factor(prn_solve *s) {
  int64_t all = s->cols * s->cols;
  for (int64_t i = 0; i < all; i++)
    s->factor[i] = s->g[all - 1 - i];
  return prn_dense_cholesky(&s->dense, s->cols, s->factor);
}

const char *prn_solve_open(prn_solve *s) {
  int64_t n = s->cols;
  double mean = mean_diagonal(s);
  bool definite = false;
  s->swaps = 0;
  s->g = array(n, n, sizeof *s->g);
  s->g32 = array(n, n, sizeof *s->g32);
  s->dead = array(n, 1, sizeof *s->dead);
  s->factor = array(n, n, sizeof *s->factor);
  if (!s->g || !s->g32 || !s->dead || !s->factor) return prn_solve_no_memory;
  find_dead(s);
  s->raised = s->damping;
  for (int tries = 0; !definite && tries < TRIES; tries++) {
    if (tries) s->raised = s->raised > 0 ? 10 * s->raised : 1e-8;
    damp(s, mean);
    definite = prn_solve_factor(s);
  }
  for (int64_t i = 0; i < n * n; i++)
    s->g32[i] = (float)s->g[i];
  return definite ? NULL : "the moments of its inputs are degenerate";
}

void prn_solve_close(prn_solve *s) {
  prn_free(s->g);
  prn_free(s->g32);
  prn_free(s->dead);
  prn_free(s->factor);
}

const char *prn_solution_create(const prn_solve *s, prn_solution *out) {
  out->weights = array(s->rows, s->cols, sizeof *out->weights);
  out->keep = array(s->rows, s->cols, 1);
  out->loss = array(s->rows, 1, sizeof *out->loss);
  return out->weights && out->keep && out->loss ? NULL : prn_solve_no_memory;
}

void prn_solution_destroy(prn_solution *x) {
  prn_free(x->weights);
  prn_free(x->keep);
  prn_free(x->loss);
}

/* ---- what rows lose ---- */

typedef struct losing {
  const prn_solve *s;
  prn_solution *x;
} losing;

/* Large layers in single precision: it costs as much as a method's step. */
static void losses(void *user, size_t chunk, size_t begin, size_t end) {
  const losing *l = user;
  const prn_solve *s = l->s;
  int64_t n = s->cols, rows = (int64_t)(end - begin);
  const float *w = l->x->weights + (int64_t)begin * n;
  const float *t = s->target + (int64_t)begin * n;
  bool exact = n <= SMALL;
  size_t size = exact ? sizeof(double) : sizeof(float);
  void *d = prn_alloc((size_t)(rows * n) * size * 2);
  double *d64 = d, *g64 = d64 + rows * n;
  float *d32 = d, *g32 = d32 + rows * n;
  (void)chunk;
  for (int64_t i = 0; i < rows * n; i++) {
    if (exact)
      d64[i] = (double)w[i] - (double)t[i];
    else
      d32[i] = w[i] - t[i];
  }
  if (exact)
    prn_rows_gemm_f64(&s->dense, rows, n, n, 1, d64, n, s->g, n, 0, g64, n);
  else
    prn_rows_gemm_f32(&s->dense, rows, n, n, 1, d32, n, s->g32, n, 0, g32, n);
  for (int64_t r = 0; r < rows; r++) {
    double sum = 0;
    for (int64_t i = r * n; i < (r + 1) * n; i++)
      sum += exact ? d64[i] * g64[i] : (double)d32[i] * (double)g32[i];
    l->x->loss[(int64_t)begin + r] = sum;
  }
  prn_free(d);
}

const char *prn_solve_loss(const prn_solve *s, prn_solution *x) {
  losing l = {s, x};
  prn_parallel_for(s->dense.threads, (size_t)s->rows,
                   (size_t)prn_solve_chunk(s), losses, &l);
  return NULL;
}

/* ---- shares of outputs ---- */

const char *prn_solve_share(const prn_solve *s, const prn_solution *x,
                            double *lost, double *all) {
  int64_t n = s->cols;
  prn_solution none = {0};
  const char *why = prn_solution_create(s, &none);
  if (!why) {
    memset(none.weights, 0, (size_t)(s->rows * n) * sizeof *none.weights);
    why = prn_solve_loss(s, &none);
  }
  for (int64_t r = 0; !why && r < s->rows; r++) {
    const float *w = x->weights + r * n, *t = s->target + r * n;
    *lost += x->loss[r];
    *all += none.loss[r];
    for (int64_t c = 0; c < n; c++) {
      double raise = s->g[c * n + c] - s->moments[c * n + c];
      double d = (double)w[c] - (double)t[c];
      *lost -= raise * d * d;
      *all -= raise * (double)t[c] * (double)t[c];
    }
  }
  prn_solution_destroy(&none);
  return why;
}

const char *prn_solve_share_on(const prn_solve *s, const double *moments,
                               const prn_solution *x, double *lost,
                               double *all) {
  int64_t n = s->cols;
  prn_solve other = *s;
  prn_solution there = {x->weights, x->keep, NULL};
  other.moments = other.g = array(n, n, sizeof *other.g);
  other.g32 = array(n, n, sizeof *other.g32);
  there.loss = array(s->rows, 1, sizeof *there.loss);
  const char *why = prn_solve_no_memory;
  if (other.g && other.g32 && there.loss) {
    for (int64_t i = 0; i < n * n; i++)
      other.g32[i] = (float)(other.g[i] = moments[i]);
    why = prn_solve_loss(&other, &there);
  }
  if (!why) why = prn_solve_share(&other, &there, lost, all);
  prn_free(other.g);
  prn_free(other.g32);
  prn_free(there.loss);
  return why;
}

/* ---- choosing by absolute values times norms ---- */

const char *prn_solve_wanda(const prn_solve *s, prn_solution *x) {
  int64_t n = s->cols;
  for (int64_t r = 0; r < s->rows; r++)
    for (int64_t c = 0; c < n; c++) {
      double square = s->dead[c] ? 0 : s->moments[c * n + c];
      x->weights[r * n + c] =
          (float)(fabs((double)s->target[r * n + c]) * sqrt(square));
    }
  const char *why = prn_solve_project(s, x->weights, x->keep);
  for (int64_t i = 0; i < s->rows * n; i++)
    x->weights[i] = x->keep[i] ? s->target[i] : 0;
  return why;
}

/* ---- the best of several ---- */

static double total(const prn_solve *s, const prn_solution *x) {
  double sum = 0;
  for (int64_t r = 0; r < s->rows; r++)
    sum += x->loss[r];
  return sum;
}

static void copy_row(const prn_solve *s, prn_solution *to, int64_t r,
                     const prn_solution *from, int64_t q) {
  size_t n = (size_t)s->cols;
  memcpy(to->weights + r * s->cols, from->weights + q * s->cols,
         n * sizeof *to->weights);
  memcpy(to->keep + r * s->cols, from->keep + q * s->cols, n);
  to->loss[r] = from->loss[q];
}

/* Whether row r, or the layer where that has one budget, loses less than
 * `share` of what it does in y. */
static bool loses_less(const prn_solve *s, const prn_solution *x,
                       const prn_solution *y, int64_t r, double share) {
  if (s->budget.kind == PRN_BUDGET_LAYER)
    return total(s, x) < share * total(s, y);
  return x->loss[r] < share * y->loss[r];
}

/* Fits some rows of x, `rows` of them, as a layer of their own. */
static const char *fit_rows(const prn_solve *s, prn_solution *x,
                            const int64_t *row, int64_t rows) {
  prn_solve part = *s;
  prn_solution y = {0};
  int64_t n = s->cols;
  part.rows = rows;
  part.target = array(rows, n, sizeof *part.target);
  const char *why = prn_solution_create(&part, &y);
  if (!part.target) why = prn_solve_no_memory;
  for (int64_t i = 0; !why && i < rows; i++) {
    memcpy(part.target + i * n, s->target + row[i] * n,
           (size_t)n * sizeof *part.target);
    copy_row(s, &y, i, x, row[i]);
  }
  if (!why) why = prn_solve_refit(&part, &y);
  for (int64_t i = 0; !why && i < rows; i++)
    copy_row(s, x, row[i], &y, i);
  prn_free(part.target);
  prn_solution_destroy(&y);
  return why;
}

/* Fits those rows of x, SparseGPT's as it came, that y, fitted, is not clearly
 * better in. */
static const char *fit_close(const prn_solve *s, prn_solution *x,
                             const prn_solution *y) {
  double clearly = s->cols <= LARGE ? 0 : CLEARLY;
  int64_t *row = array(s->rows, 1, sizeof *row), rows = 0;
  bool whole = s->budget.kind == PRN_BUDGET_LAYER;
  const char *why = row ? NULL : prn_solve_no_memory;
  bool far = whole && loses_less(s, y, x, 0, clearly);
  for (int64_t r = 0; !why && r < s->rows; r++)
    if (whole ? !far : !loses_less(s, y, x, r, clearly)) row[rows++] = r;
  if (!why && rows == s->rows)
    why = prn_solve_refit(s, x);
  else if (!why && rows)
    why = fit_rows(s, x, row, rows);
  prn_free(row);
  return why;
}

/* Copies to x the rows of y that lose less, or the layer; own[r] is whether row
 * r is still what it was. */
static void take_better(const prn_solve *s, prn_solution *x,
                        const prn_solution *y, bool *own) {
  bool whole = s->budget.kind == PRN_BUDGET_LAYER;
  bool all = whole && loses_less(s, y, x, 0, 1);
  for (int64_t r = 0; r < s->rows; r++) {
    if (whole ? !all : !loses_less(s, y, x, r, 1)) continue;
    copy_row(s, x, r, y, r);
    own[r] = false;
  }
}

static const char *other(const prn_solve *s, int effort, const prn_solution *x,
                         prn_solution *y) {
  bool quick = effort == 3 && s->cols > LARGE;
  const char *why = prn_solution_create(s, y);
  for (int64_t r = 0; !why && quick && r < s->rows; r++)
    copy_row(s, y, r, x, r);
  if (!why)
    why = effort == 1 ? prn_solve_wanda(s, y) : prn_solve_admm(s, quick, y);
  return why ? why : prn_solve_refit(s, y);
}

static int steps_of(const prn_solve *s, int effort) {
  if (s->cols <= LARGE || effort == 4) return MANY_STEPS;
  return effort == 3 ? QUICK_STEPS : FEW_STEPS;
}

/* Takes from an effort's own method what loses less than x; raw: x is not
 * fitted yet. */
static const char *compare(const prn_solve *s, int effort, bool raw,
                           prn_solution *x, bool *own) {
  prn_solution y = {0};
  const char *why = other(s, effort, x, &y);
  if (!why && raw) why = fit_close(s, x, &y);
  if (!why) take_better(s, x, &y, own);
  prn_solution_destroy(&y);
  return why;
}

const char *prn_solve_best(prn_solve *s, prn_best *b, prn_solution *x) {
  const prn_obs_options plain = {.block = 128};
  bool *own = array(s->rows, 1, sizeof *own);
  const char *why = own ? prn_solve_obs(s, &plain, x) : prn_solve_no_memory;
  for (int64_t r = 0; own && r < s->rows; r++)
    own[r] = true;
  s->steps = steps_of(s, b->effort);
  if (!why && b->effort == 2) why = prn_solve_refit(s, x);
  if (!why && b->effort != 2) why = compare(s, b->effort, true, x, own);
  if (!why && b->effort > 2 && s->cols <= LARGE)
    why = compare(s, 1, false, x, own);
  b->obs = 0;
  for (int64_t r = 0; !why && r < s->rows; r++)
    b->obs += own[r];
  if (!why && b->effort == 4) why = prn_solve_swap(s, x);
  b->loss = why ? 0 : total(s, x);
  prn_free(own);
  return why;
}
