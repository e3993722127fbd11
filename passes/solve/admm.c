/* ALPS: zeros and weights by the alternating direction method of multipliers.
 *
 * In a space where H = G + d I has a diagonal of ones, weights W and a copy D
 * of them that keeps the budget are drawn together by multipliers V and a
 * penalty rho, which grows as the places of D settle:
 *
 *   W = W^ + (H + rho I)^-1 (rho (D - W^) - V)
 *   D = what the budget keeps of Y = W + V / rho
 *   V = V + rho (W - D) = 0 where D keeps, rho Y elsewhere
 *
 * so that one matrix holds both D and V. H + rho I is factored anew for each
 * rho: a third of the cost of the inverse that the authors take from an
 * eigendecomposition. In the end the largest of W stay. Meng et al., "ALPS:
 * improved optimization for highly sparse one-shot pruning for large language
 * models", 2024.
 *
 * A step costs as much as half of SparseGPT and more where layers are large. A
 * quick run begins with SparseGPT's weights and places and makes three steps
 * with a fixed rho; W is taken beyond where it is (over-relaxation, Boyd et
 * al., "Distributed optimization and statistical learning via the alternating
 * direction method of multipliers", 2011, section 3.4.3), which brings it as
 * far as twice the steps. */
#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { PERIOD = 3, LATE = 30, SMALL = 1024, MANY = 300, FEW = 15, QUICK = 3 };

typedef struct admm {
  const prn_solve *s;
  float rho, beyond;            /* how far W goes from D, 1: to where it is */
  float *scale;                 /* cols: roots of H's diagonal */
  double *work;                 /* cols x cols */
  float *factor;                /* cols x cols: Cholesky's of H + rho I */
  float *z;                     /* rows x cols: D where kept, V elsewhere */
  float *y;                     /* rows x cols: Y, or W at the end */
  unsigned char *keep, *before; /* rows x cols: now; when rho last changed */
  bool last;
  int64_t *changed; /* chunks */
} admm;

static bool create(admm *a, const prn_solve *s) {
  size_t n = (size_t)s->cols, cells = prn_array_size((size_t)s->rows, n);
  size_t square = prn_array_size(n, n);
  *a = (admm){.s = s};
  a->scale = prn_try_alloc(n * sizeof *a->scale);
  a->work = prn_try_alloc(prn_array_size(square, sizeof *a->work));
  a->factor = prn_try_alloc(prn_array_size(square, sizeof *a->factor));
  a->z = prn_try_alloc(prn_array_size(cells, sizeof *a->z));
  a->y = prn_try_alloc(prn_array_size(cells, sizeof *a->y));
  a->keep = prn_try_alloc(cells);
  a->before = prn_try_alloc(cells);
  a->changed = prn_try_alloc((size_t)s->rows * sizeof *a->changed);
  return a->scale && a->work && a->factor && a->z && a->y && a->keep &&
         a->before && a->changed;
}

static void destroy(admm *a) {
  prn_free(a->scale);
  prn_free(a->work);
  prn_free(a->factor);
  prn_free(a->z);
  prn_free(a->y);
  prn_free(a->keep);
  prn_free(a->before);
  prn_free(a->changed);
}

static void factor_row(void *user, size_t chunk, size_t begin, size_t end) {
  const admm *a = user;
  int64_t n = a->s->cols;
  (void)chunk;
  for (int64_t r = (int64_t)begin; r < (int64_t)end; r++)
    for (int64_t c = 0; c <= r; c++)
      a->work[r * n + c] =
          a->s->g[r * n + c] / ((double)a->scale[r] * (double)a->scale[c]) +
          (r == c ? (double)a->rho : 0);
}

/* H is positive definite with the damping it has, and more so with rho. */
static bool factor(admm *a) {
  int64_t n = a->s->cols;
  prn_parallel_for(a->s->dense.threads, (size_t)n, 64, factor_row, a);
  if (!prn_dense_cholesky(&a->s->dense, n, a->work)) return false;
  for (int64_t r = 0; r < n; r++)
    for (int64_t c = 0; c <= r; c++)
      a->factor[r * n + c] = (float)a->work[r * n + c];
  return true;
}

/* W in y, or Y. */
static void solve_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const admm *a = user;
  int64_t n = a->s->cols, rows = (int64_t)(end - begin),
          at = (int64_t)begin * n;
  const float *t = a->s->target + at, *z = a->z + at;
  const unsigned char *keep = a->keep + at;
  float *y = a->y + at, rho = a->rho, inverse = 1 / rho, beyond = a->beyond;
  (void)chunk;
  for (int64_t r = 0; r < rows * n; r += n)
    for (int64_t c = 0; c < n; c++) {
      float goal = rho * t[r + c] * a->scale[c];
      y[r + c] = keep[r + c] ? rho * z[r + c] - goal : -goal - z[r + c];
    }
  prn_rows_solve_f32(&a->s->dense, rows, n, a->factor, y);
  for (int64_t r = 0; r < rows * n; r += n)
    for (int64_t c = 0; c < n; c++) {
      y[r + c] += t[r + c] * a->scale[c];
      if (a->last) continue;
      y[r + c] =
          beyond * y[r + c] + (keep[r + c] ? 1 - beyond : inverse) * z[r + c];
    }
}

static void update_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const admm *a = user;
  int64_t n = a->s->cols, changed = 0;
  for (int64_t i = (int64_t)begin * n; i < (int64_t)end * n; i++) {
    a->z[i] = a->keep[i] ? a->y[i] : a->rho * a->y[i];
    changed += a->keep[i] != a->before[i];
  }
  a->changed[chunk] = changed;
}

static const char *iterate(admm *a) {
  const prn_solve *s = a->s;
  size_t rows = (size_t)s->rows, size = (size_t)prn_solve_chunk(s);
  prn_parallel_for(s->dense.threads, rows, size, solve_rows, a);
  const char *why = prn_solve_project(s, a->y, a->keep);
  if (!why && !a->last)
    prn_parallel_for(s->dense.threads, rows, size, update_rows, a);
  return why;
}

/* The largest of W^ stay; no multipliers. */
static const char *start(admm *a) {
  const prn_solve *s = a->s;
  int64_t n = s->cols, all = s->rows * n;
  for (int64_t i = 0; i < all; i++)
    a->z[i] = s->target[i] * a->scale[i % n];
  const char *why = prn_solve_project(s, a->z, a->keep);
  for (int64_t i = 0; i < all; i++)
    if (!a->keep[i]) a->z[i] = 0;
  memcpy(a->before, a->keep, (size_t)all);
  return why;
}

/* How many places changed since rho did, as a share of those that are kept. */
static double change(const admm *a, int64_t *count) {
  const prn_solve *s = a->s;
  size_t chunks =
      prn_parallel_chunks((size_t)s->rows, (size_t)prn_solve_chunk(s));
  int64_t kept = 0;
  *count = 0;
  for (size_t i = 0; i < chunks; i++)
    *count += a->changed[i];
  for (int64_t i = 0; i < s->rows * s->cols; i++)
    kept += a->keep[i];
  return (double)*count / (double)(kept ? kept : 1);
}

static const char *run(admm *a) {
  const prn_solve *s = a->s;
  int most = s->cols <= SMALL ? MANY : FEW;
  float fast = s->cols <= SMALL ? 1 : 1.5f;
  bool moved = false, settled = false;
  const char *why = start(a);
  if (!why && !factor(a)) why = "the moments of its inputs are degenerate";
  for (int i = 1; !why && !settled && i <= most; i++) {
    int64_t count;
    why = iterate(a);
    if (why || i % PERIOD) continue;
    double share = change(a, &count);
    settled = moved && (count == 0 || (i >= LATE && share < 3e-4));
    if (settled) continue;
    if (!moved && share < 0.005) {
      a->rho /= 5; /* too stiff for anything to move */
      why = start(a);
      moved = count == 0 && i > LATE;
    } else {
      moved = true;
      a->rho *= fast * (share >= 0.1 ? 1.3f : share >= 0.005 ? 1.2f : 1.1f);
      memcpy(a->before, a->keep, (size_t)(s->rows * s->cols));
    }
    if (a->rho > 1e6f) a->rho = 1e6f;
    if (!why && !factor(a)) why = "the moments of its inputs are degenerate";
  }
  return why;
}

static const char *run_quick(admm *a, const prn_solution *x) {
  const prn_solve *s = a->s;
  const char *why =
      factor(a) ? NULL : "the moments of its inputs are degenerate";
  memcpy(a->keep, x->keep, (size_t)(s->rows * s->cols));
  memcpy(a->before, x->keep, (size_t)(s->rows * s->cols));
  for (int64_t i = 0; i < s->rows * s->cols; i++)
    a->z[i] = x->weights[i] * a->scale[i % s->cols];
  for (int i = 0; !why && i < QUICK; i++)
    why = iterate(a);
  return why;
}

const char *prn_solve_admm(const prn_solve *s, bool quick, prn_solution *x) {
  admm a;
  int64_t n = s->cols, all = s->rows * n;
  const char *why = create(&a, s) ? NULL : prn_solve_no_memory;
  for (int64_t c = 0; !why && c < n; c++)
    a.scale[c] = (float)sqrt(s->g[c * n + c]);
  a.rho = quick ? 0.25f : 0.1f;
  a.beyond = quick ? 1.5f : 1;
  if (!why && quick) {
    why = run_quick(&a, x);
  } else if (!why) {
    why = run(&a);
    a.last = true;
    if (!why) why = iterate(&a);
  }
  for (int64_t i = 0; !why && i < all; i++) {
    float w = quick ? a.z[i] : a.y[i];
    x->keep[i] = a.keep[i];
    x->weights[i] = a.keep[i] ? w / a.scale[i % n] : 0;
  }
  destroy(&a);
  return why;
}
