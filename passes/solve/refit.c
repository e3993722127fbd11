/* The best weights on given places.
 *
 * Of a row w^ with weights on S, (G_SS) w_S = G_S w^. Rows with the same
 * places are solved together by Cholesky's factorisation. Where layers are
 * large and every row has its own places, by conjugate gradients for many rows
 * at once, in a space where G has a diagonal of ones: products with all of G,
 * which are fast, instead of a factor for every row. Each step lowers the
 * error. Meng et al., "ALPS", 2024, section 3.3. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { EXACT = 512 };
/* Of squares of gradients, that is not worth a step. */
#define CLOSE 1e-9

typedef struct fit {
  const prn_solve *s;
  prn_solution *x;
  int64_t *order;  /* rows, those with the same places together */
  int64_t *first;  /* systems: their first place in order; and the end */
  int64_t systems; /* distinct ones */
  double *right;   /* rows x cols: w^ G */
  bool *failed;    /* systems */
  float *inverse;  /* cols: one over scale */
  float *scale;    /* cols: roots of G's diagonal */
  float *scaled;   /* cols x cols: G with ones on its diagonal */
} fit;

/* ---- rows with the same places ---- */

static int by_places(const void *a, const void *b, void *user) {
  const fit *f = user;
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b, n = f->s->cols;
  int c = memcmp(f->x->keep + x * n, f->x->keep + y * n, (size_t)n);
  return c ? c : x < y ? -1 : x > y;
}

static void find_systems(fit *f) {
  int64_t n = f->s->cols;
  for (int64_t r = 0; r < f->s->rows; r++)
    f->order[r] = r;
  qsort_r(f->order, (size_t)f->s->rows, sizeof *f->order, by_places, f);
  for (int64_t r = 0; r < f->s->rows; r++) {
    const unsigned char *keep = f->x->keep;
    if (r > 0 &&
        !memcmp(keep + f->order[r - 1] * n, keep + f->order[r] * n, (size_t)n))
      continue;
    f->first[f->systems++] = r;
  }
  f->first[f->systems] = f->s->rows;
}

static int64_t places_of(const fit *f, int64_t system, int64_t *at) {
  const unsigned char *keep =
      f->x->keep + f->order[f->first[system]] * f->s->cols;
  int64_t k = 0;
  for (int64_t c = 0; c < f->s->cols; c++)
    if (keep[c]) at[k++] = c;
  return k;
}

/* Whether factors of all systems cost no more than conjugate gradients do. */
static bool few_factors(const fit *f) {
  double n = (double)f->s->cols, cost = 0;
  int64_t *at = prn_alloc((size_t)f->s->cols * sizeof *at);
  for (int64_t i = 0; i < f->systems; i++) {
    double k = (double)places_of(f, i, at);
    cost += k * k * k / 3 + k * k * 2 * (double)(f->first[i + 1] - f->first[i]);
  }
  prn_free(at);
  return cost <= 2 * n * n * f->s->steps * (double)f->s->rows;
}

static void right_sides(void *user, size_t chunk, size_t begin, size_t end) {
  const fit *f = user;
  int64_t n = f->s->cols, rows = (int64_t)(end - begin),
          at = (int64_t)begin * n;
  double *t = prn_alloc((size_t)(rows * n) * sizeof *t);
  (void)chunk;
  for (int64_t i = 0; i < rows * n; i++)
    t[i] = (double)f->s->target[at + i];
  prn_rows_gemm_f64(&f->s->dense, rows, n, n, 1, t, n, f->s->g, n, 0,
                    f->right + at, n);
  prn_free(t);
}

static bool solve_system(const fit *f, int64_t system, const int64_t *at,
                         int64_t k) {
  int64_t n = f->s->cols, count = f->first[system + 1] - f->first[system];
  const int64_t *rows = f->order + f->first[system];
  double *a = prn_alloc((size_t)(k * k) * sizeof *a);
  double *b = prn_alloc((size_t)(k * count) * sizeof *b);
  int size = (int)k, m = (int)count, info = 0;
  for (int64_t i = 0; i < k; i++)
    for (int64_t c = 0; c <= i; c++)
      a[i * k + c] = f->s->g[at[i] * n + at[c]];
  for (int64_t r = 0; r < count; r++)
    for (int64_t i = 0; i < k; i++)
      b[r * k + i] = f->right[rows[r] * n + at[i]];
  f->s->dense.lapack->dpotrf("U", &size, a, &size, &info);
  if (info == 0)
    f->s->dense.lapack->dpotrs("U", &size, &m, a, &size, b, &size, &info);
  for (int64_t r = 0; info == 0 && r < count; r++)
    for (int64_t i = 0; i < k; i++)
      f->x->weights[rows[r] * n + at[i]] = (float)b[r * k + i];
  prn_free(a);
  prn_free(b);
  return info == 0;
}

static void solve_systems(void *user, size_t chunk, size_t begin, size_t end) {
  const fit *f = user;
  int64_t n = f->s->cols;
  int64_t *at = prn_alloc((size_t)n * sizeof *at);
  (void)chunk;
  for (size_t i = begin; i < end; i++) {
    int64_t k = places_of(f, (int64_t)i, at);
    f->failed[i] = false;
    if (k > 0 && k < n) f->failed[i] = !solve_system(f, (int64_t)i, at, k);
    for (int64_t r = f->first[i]; k == n && r < f->first[i + 1]; r++)
      memcpy(f->x->weights + f->order[r] * n, f->s->target + f->order[r] * n,
             (size_t)n * sizeof *f->s->target);
  }
  prn_free(at);
}

static const char *by_factors(fit *f) {
  const prn_solve *s = f->s;
  const char *why = prn_solve_no_memory;
  f->right = prn_try_alloc(
      prn_array_size((size_t)(s->rows * s->cols), sizeof *f->right));
  f->failed = prn_try_alloc((size_t)f->systems + 1);
  if (f->right && f->failed) {
    why = NULL;
    prn_parallel_for(s->dense.threads, (size_t)s->rows,
                     (size_t)prn_solve_chunk(s), right_sides, f);
    prn_parallel_for(s->dense.threads, (size_t)f->systems, 1, solve_systems, f);
    for (int64_t i = 0; i < f->systems; i++)
      if (f->failed[i]) why = "the moments of its inputs are degenerate";
  }
  prn_free(f->right);
  prn_free(f->failed);
  return why ? why : prn_solve_loss(s, f->x);
}

/* ---- conjugate gradients ---- */

/* A chunk of rows: what is sought is the change of the weights. */
typedef struct gradients {
  int64_t rows, n;
  float *grad;         /* -(w - w^) G, everywhere */
  float *step, *image; /* direction p on the places kept, and p G */
  double *square;      /* rows: |grad|^2 on the places kept */
  double *start;       /* rows: that before the first step */
} gradients;

enum { LANES = 16 }; /* sums side by side, that vectors may hold */

static double masked_square(const float *g, const unsigned char *keep,
                            int64_t n) {
  float lane[LANES] = {0};
  double sum = 0;
  int64_t c = 0;
  for (; c + LANES <= n; c += LANES)
    for (int i = 0; i < LANES; i++)
      lane[i] += keep[c + i] ? g[c + i] * g[c + i] : 0;
  for (; c < n; c++)
    sum += keep[c] ? (double)g[c] * (double)g[c] : 0;
  for (int i = 0; i < LANES; i++)
    sum += (double)lane[i];
  return sum;
}

static double dot(const float *a, const float *b, int64_t n) {
  float lane[LANES] = {0};
  double sum = 0;
  int64_t c = 0;
  for (; c + LANES <= n; c += LANES)
    for (int i = 0; i < LANES; i++)
      lane[i] += a[c + i] * b[c + i];
  for (; c < n; c++)
    sum += (double)a[c] * (double)b[c];
  for (int i = 0; i < LANES; i++)
    sum += (double)lane[i];
  return sum;
}

static void begin_rows(const fit *f, gradients *g, int64_t first) {
  int64_t n = g->n, at = first * n;
  const float *w = f->x->weights + at, *t = f->s->target + at;
  const unsigned char *keep = f->x->keep + at;
  for (int64_t r = 0; r < g->rows; r++)
    for (int64_t c = 0; c < n; c++)
      g->step[r * n + c] = (t[r * n + c] - w[r * n + c]) * f->scale[c];
  prn_rows_gemm_f32(&f->s->dense, g->rows, n, n, 1, g->step, n, f->scaled, n, 0,
                    g->grad, n);
  for (int64_t r = 0; r < g->rows; r++) {
    g->square[r] = masked_square(g->grad + r * n, keep + r * n, n);
    g->start[r] = g->square[r];
    for (int64_t c = 0; c < n; c++)
      g->step[r * n + c] = keep[r * n + c] ? g->grad[r * n + c] : 0;
  }
}

/* One step of a row, as long as there is something to gain. */
static void advance(const fit *f, gradients *g, int64_t row, int64_t r) {
  int64_t n = g->n;
  float *p = g->step + r * n, *q = g->image + r * n, *e = g->grad + r * n;
  float *w = f->x->weights + row * n;
  const unsigned char *keep = f->x->keep + row * n;
  double curve = dot(p, q, n);
  if (!(curve > 0) || !(g->square[r] > 0)) {
    memset(p, 0, (size_t)n * sizeof *p);
    return;
  }
  float alpha = (float)(g->square[r] / curve);
  for (int64_t c = 0; c < n; c++) {
    e[c] -= alpha * q[c];
    w[c] += alpha * p[c] * f->inverse[c];
  }
  double now = masked_square(e, keep, n);
  float beta = (float)(now / g->square[r]);
  g->square[r] = now;
  for (int64_t c = 0; c < n; c++)
    p[c] = keep[c] ? e[c] + beta * p[c] : 0;
}

static bool done(const gradients *g) {
  bool all = true;
  for (int64_t r = 0; r < g->rows; r++)
    all = all && g->square[r] <= CLOSE * g->start[r];
  return all;
}

static void descend(void *user, size_t chunk, size_t begin, size_t end) {
  const fit *f = user;
  int64_t n = f->s->cols, rows = (int64_t)(end - begin), first = (int64_t)begin;
  size_t cells = (size_t)(rows * n);
  gradients g = {.rows = rows, .n = n};
  g.grad = prn_alloc(3 * cells * sizeof *g.grad);
  g.step = g.grad + cells;
  g.image = g.step + cells;
  g.square = prn_alloc((size_t)rows * 2 * sizeof *g.square);
  g.start = g.square + rows;
  (void)chunk;
  begin_rows(f, &g, first);
  for (int step = 0; step < f->s->steps && !done(&g); step++) {
    prn_rows_gemm_f32(&f->s->dense, rows, n, n, 1, g.step, n, f->scaled, n, 0,
                      g.image, n);
    for (int64_t r = 0; r < rows; r++)
      advance(f, &g, first + r, r);
  }
  for (int64_t r = 0; r < rows; r++) {
    const float *w = f->x->weights + (first + r) * n;
    const float *t = f->s->target + (first + r) * n, *e = g.grad + r * n;
    double sum = 0;
    for (int64_t c = 0; c < n; c++)
      sum += (double)((t[c] - w[c]) * f->scale[c]) * (double)e[c];
    f->x->loss[first + r] = sum;
  }
  prn_free(g.grad);
  prn_free(g.square);
}

static const char *by_gradients(fit *f) {
  int64_t n = f->s->cols;
  const char *why = prn_solve_no_memory;
  f->scale = prn_try_alloc((size_t)n * 2 * sizeof *f->scale);
  f->scaled = prn_try_alloc((size_t)(n * n) * sizeof *f->scaled);
  if (f->scale && f->scaled) {
    why = NULL;
    f->inverse = f->scale + n;
    for (int64_t c = 0; c < n; c++) {
      f->scale[c] = (float)sqrt(f->s->g[c * n + c]);
      f->inverse[c] = 1 / f->scale[c];
    }
    for (int64_t r = 0; r < n; r++)
      for (int64_t c = 0; c < n; c++)
        f->scaled[r * n + c] =
            f->s->g32[r * n + c] * f->inverse[r] * f->inverse[c];
    prn_parallel_for(f->s->dense.threads, (size_t)f->s->rows,
                     (size_t)prn_solve_chunk(f->s), descend, f);
  }
  prn_free(f->scale);
  prn_free(f->scaled);
  return why;
}

const char *prn_solve_refit(const prn_solve *s, prn_solution *x) {
  fit f = {.s = s, .x = x};
  const char *why = prn_solve_no_memory;
  f.order = prn_try_alloc((size_t)(2 * s->rows + 1) * sizeof *f.order);
  if (!f.order) return why;
  f.first = f.order + s->rows;
  find_systems(&f);
  bool direct = s->cols <= EXACT || few_factors(&f);
  why = direct ? by_factors(&f) : by_gradients(&f);
  prn_free(f.order);
  return why;
}
