/* Swaps: a kept entry goes and another one comes, all others fitted anew.
 *
 * Of a row with weights on S that are fitted, let P be the inverse of H_SS, C
 * the places without weights, Q = H_CS P, s_j = H_jj - Q_j H_Sj what input j
 * has that those of S have not, and g = H (w^ - w). That i goes and j comes,
 * and all weights are the best again, changes the error by
 *
 *   w_i^2 / P_ii - (g_j + Q_ji w_i / P_ii)^2 / (s_j + Q_ji^2 / P_ii)
 *
 * which is at least -g_j^2 / s_j (Cauchy and Schwarz): most j need not be
 * looked at. A swap changes P and Q by matrices of rank one. The best swap of a
 * row is made as long as there is one. Where the budget has groups of
 * neighbours, only those of one group trade places.
 *
 * Factors of all rows of a large layer would take too long: then rows that lose
 * most come first, for as long as a bound on the work lasts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { LANES = 8 /* sums side by side */ };
enum { REFRESH = 64, ROUNDS = 8, SWAPS = 400 /* what a row's cost */ };
#define WORK 1e12 /* multiplications */
#define GAIN 1e-6 /* of a row's loss, that is worth a swap */

typedef struct trade {
  prn_solve *s;
  prn_solution *x;
  int64_t *order; /* rows, those that lose most first */
  int64_t *swaps; /* of each place in order */
} trade;

/* A row being worked on. */
typedef struct swapper {
  const prn_solve *s;
  const float *target;
  unsigned char *keep; /* cols, as swapped */
  int64_t k, e;        /* sizes of S and C */
  int64_t *in, *out;   /* S, C: columns */
  int64_t *first;      /* NM: group -> first of its places in `in` */
  double *p, *q;       /* k x k; e x k */
  double *w;           /* k */
  double *g, *left;    /* e: g and s of above */
  double *goal;        /* cols: H w^ */
  double *a, *b, *c;   /* cols, for sums */
} swapper;

static void *numbers(int64_t a, int64_t b) {
  return prn_alloc(prn_array_size((size_t)(a * b) + 1, sizeof(double)));
}

static void create(swapper *t, const prn_solve *s) {
  int64_t n = s->cols;
  *t = (swapper){.s = s};
  t->keep = prn_alloc((size_t)n);
  t->in = numbers(n, 2);
  t->out = t->in + n;
  t->first = numbers(n + 1, 1);
  t->w = numbers(n, 7);
  t->g = t->w + n;
  t->left = t->g + n;
  t->goal = t->left + n;
  t->a = t->goal + n;
  t->b = t->a + n;
  t->c = t->b + n;
}

static void destroy(swapper *t) {
  prn_free(t->keep);
  prn_free(t->in);
  prn_free(t->first);
  prn_free(t->w);
  prn_free(t->p);
  prn_free(t->q);
}

static double dot(const double *a, const double *b, int64_t n) {
  double lane[LANES] = {0}, sum = 0;
  int64_t c = 0;
  for (; c + LANES <= n; c += LANES)
    for (int i = 0; i < LANES; i++)
      lane[i] += a[c + i] * b[c + i];
  for (; c < n; c++)
    sum += a[c] * b[c];
  for (int i = 0; i < LANES; i++)
    sum += lane[i];
  return sum;
}

/* y = a x, a of rows x n. */
static void product(const swapper *t, const double *a, int64_t rows, int64_t n,
                    const double *x, double *y) {
  const double alpha = 1, beta = 0;
  int m_ = (int)n, n_ = (int)rows, one = 1;
  t->s->dense.lapack->dgemv("T", &m_, &n_, &alpha, a, &m_, x, &one, &beta, y,
                            &one);
}

/* ---- a row's matrices ---- */

/* Columns that may take part: all but those gone, and those behind the last
 * whole group. */
static void list_places(swapper *t, const unsigned char *gone) {
  const prn_solve *s = t->s;
  bool nm = s->budget.kind == PRN_BUDGET_NM;
  int64_t m = nm ? s->budget.m : 1, whole = s->cols / m * m;
  t->k = t->e = 0;
  for (int64_t c = 0; c < s->cols; c++) {
    if (nm && c % m == 0) t->first[c / m] = t->k;
    if (t->keep[c])
      t->in[t->k++] = c;
    else if (c < whole && !(gone && gone[c]))
      t->out[t->e++] = c;
  }
  if (nm && whole == s->cols) t->first[whole / m] = t->k;
}

static bool invert(swapper *t) {
  int64_t n = t->s->cols, k = t->k;
  int size = (int)k, info = 0;
  for (int64_t r = 0; r < k; r++)
    for (int64_t c = 0; c <= r; c++)
      t->p[r * k + c] = t->s->g[t->in[r] * n + t->in[c]];
  t->s->dense.lapack->dpotrf("U", &size, t->p, &size, &info);
  if (info == 0) t->s->dense.lapack->dpotri("U", &size, t->p, &size, &info);
  for (int64_t r = 0; r < k; r++)
    for (int64_t c = r + 1; c < k; c++)
      t->p[r * k + c] = t->p[c * k + r];
  return info == 0;
}

/* All of it anew; false when there is nothing to trade. */
static bool build(swapper *t, const unsigned char *gone) {
  const double *h = t->s->g;
  int64_t n = t->s->cols;
  list_places(t, gone);
  int64_t k = t->k, e = t->e;
  if (k == 0 || e == 0) return false;
  prn_free(t->p);
  prn_free(t->q);
  t->p = numbers(k, k);
  t->q = numbers(e, k);
  if (!invert(t)) return false;
  double *cross = numbers(e, k);
  for (int64_t j = 0; j < e; j++)
    for (int64_t i = 0; i < k; i++)
      cross[j * k + i] = h[t->out[j] * n + t->in[i]];
  prn_rows_gemm_f64(&t->s->dense, e, k, k, 1, cross, k, t->p, k, 0, t->q, k);
  for (int64_t i = 0; i < k; i++)
    t->a[i] = t->goal[t->in[i]];
  product(t, t->p, k, k, t->a, t->w);
  product(t, cross, e, k, t->w, t->c);
  for (int64_t j = 0; j < e; j++) {
    int64_t c = t->out[j];
    t->left[j] = h[c * n + c] - dot(t->q + j * k, cross + j * k, k);
    t->g[j] = t->goal[c] - t->c[j];
  }
  prn_free(cross);
  return true;
}

/* ---- the best swap ---- */

typedef struct swap {
  double gain;
  int64_t i, j; /* places in `in` and `out`; i < 0: none */
} swap;

static void look(const swapper *t, int64_t j, swap *best) {
  int64_t from = 0, to = t->k, k = t->k;
  const double *q = t->q + j * k;
  double g = t->g[j], left = t->left[j];
  if (t->s->budget.kind == PRN_BUDGET_NM) {
    int64_t group = t->out[j] / t->s->budget.m;
    from = t->first[group];
    to = t->first[group + 1];
  }
  for (int64_t i = from; i < to; i++) {
    double inverse = 1 / t->p[i * k + i], f = q[i] * inverse;
    double now = g + f * t->w[i];
    double gain = now * now / (left + f * q[i]) - t->w[i] * t->w[i] * inverse;
    if (gain > best->gain) *best = (swap){gain, i, j};
  }
}

static double bound(const swapper *t, int64_t j) {
  return t->left[j] > 0 ? t->g[j] * t->g[j] / t->left[j] : 0;
}

static swap find_swap(const swapper *t, double worth) {
  swap best = {worth, -1, -1};
  int64_t most = 0;
  for (int64_t j = 1; j < t->e; j++)
    if (bound(t, j) > bound(t, most)) most = j;
  for (int64_t j = -1; j < t->e; j++) {
    int64_t at = j < 0 ? most : j;
    if (bound(t, at) > best.gain) look(t, at, &best);
  }
  return best;
}

/* ---- making it ---- */

/* a += factor * left right', of rows x k. */
static void rank_one(const swapper *t, double *a, int64_t rows,
                     const double *left, const double *right, double factor) {
  int m = (int)t->k, n = (int)rows, one = 1;
  t->s->dense.lapack->dger(&m, &n, &factor, right, &one, left, &one, a, &m);
}

/* A swap as it is made: place i of S goes from column `old` to `now`, which
 * was at place j of C. */
typedef struct change {
  int64_t i, j, old, now;
  double own, weight; /* P_ii and w_i before */
  double left, g;     /* of `now`, when `old` has gone */
} change;

/* A row of Q without the old column, and then with the new one; a: row i of P
 * before, b: that of Q that `now` had, c: H of the new column on S. */
static void change_row(swapper *t, const change *x, int64_t c) {
  int64_t k = t->k;
  double *q = t->q + c * k, f = q[x->i] / x->own;
  if (c == x->j) {
    for (int64_t r = 0; r < k; r++)
      q[r] = -t->a[r] / x->own;
    t->left[c] = 1 / x->own;
    t->g[c] = x->weight / x->own;
  } else {
    t->left[c] += f * q[x->i];
    t->g[c] += f * x->weight;
    for (int64_t r = 0; r < k; r++)
      q[r] -= f * t->a[r];
  }
  q[x->i] = 0;
  int64_t column = c == x->j ? x->old : t->out[c];
  double rest = t->s->g[x->now * t->s->cols + column] - dot(q, t->c, k);
  double share = rest / x->left;
  t->left[c] -= rest * share;
  t->g[c] -= share * x->g;
  for (int64_t r = 0; r < k; r++)
    q[r] -= share * t->b[r];
  q[x->i] = share;
}

/* The same of P and w. */
static void change_inverse(swapper *t, const change *x) {
  int64_t k = t->k, i = x->i;
  rank_one(t, t->p, k, t->a, t->a, -1 / x->own);
  for (int64_t r = 0; r < k; r++) {
    t->w[r] -= t->a[r] * x->weight / x->own + t->b[r] * x->g / x->left;
    t->p[r * k + i] = t->p[i * k + r] = 0;
  }
  rank_one(t, t->p, k, t->b, t->b, 1 / x->left);
  for (int64_t r = 0; r < k; r++)
    t->p[r * k + i] = t->p[i * k + r] = -t->b[r] / x->left;
  t->p[i * k + i] = 1 / x->left;
  t->w[i] = x->g / x->left;
}

static void make_swap(swapper *t, const swap *best) {
  int64_t k = t->k, i = best->i, j = best->j;
  double *q = t->q + j * k, f;
  change x = {.i = i, .j = j, .old = t->in[i], .now = t->out[j]};
  memcpy(t->a, t->p + i * k, (size_t)k * sizeof *t->a);
  x.own = t->a[i];
  x.weight = t->w[i];
  f = q[i] / x.own;
  x.left = t->left[j] + f * q[i];
  x.g = t->g[j] + f * x.weight;
  for (int64_t r = 0; r < k; r++) {
    t->b[r] = r == i ? 0 : q[r] - f * t->a[r];
    t->c[r] = r == i ? 0 : t->s->g[x.now * t->s->cols + t->in[r]];
  }
  for (int64_t c = 0; c < t->e; c++)
    change_row(t, &x, c);
  change_inverse(t, &x);
  t->in[i] = x.now;
  t->out[j] = x.old;
  t->keep[x.now] = 1;
  t->keep[x.old] = 0;
}

/* ---- rows ---- */

static double loss_of(const swapper *t, const float *w) {
  const double *h = t->s->g;
  int64_t n = t->s->cols;
  for (int64_t c = 0; c < n; c++)
    t->a[c] = (double)w[c] - (double)t->target[c];
  product(t, h, n, n, t->a, t->c);
  return dot(t->a, t->c, n);
}

/* Keeps what became of a row when it loses less. */
static bool accept(swapper *t, trade *all, int64_t row) {
  int64_t n = t->s->cols;
  float *w = numbers(n, 1);
  memset(w, 0, (size_t)n * sizeof *w);
  for (int64_t i = 0; i < t->k; i++)
    w[t->in[i]] = (float)t->w[i];
  double loss = loss_of(t, w);
  bool better = loss < loss_of(t, all->x->weights + row * n);
  if (better) {
    memcpy(all->x->weights + row * n, w, (size_t)n * sizeof *w);
    memcpy(all->x->keep + row * n, t->keep, (size_t)n);
    all->x->loss[row] = loss;
  }
  prn_free(w);
  return better;
}

static void trade_row(swapper *t, trade *all, int64_t place) {
  const prn_solve *s = t->s;
  int64_t n = s->cols, row = all->order[place], swaps = 0;
  const unsigned char *gone = s->gone ? s->gone + row * n : NULL;
  double worth = GAIN * all->x->loss[row];
  t->target = s->target + row * n;
  memcpy(t->keep, all->x->keep + row * n, (size_t)n);
  for (int64_t c = 0; c < n; c++)
    t->a[c] = (double)t->target[c];
  product(t, s->g, n, n, t->a, t->goal);
  for (int round = 0; round < ROUNDS; round++) {
    if (!build(t, gone)) break;
    int64_t before = swaps;
    while (swaps - before < REFRESH) {
      swap best = find_swap(t, worth);
      if (best.i < 0) break;
      make_swap(t, &best);
      swaps++;
    }
    if (swaps - before < REFRESH) break;
  }
  all->swaps[place] = swaps && accept(t, all, row) ? swaps : 0;
}

static void trade_rows(void *user, size_t chunk, size_t begin, size_t end) {
  trade *all = user;
  swapper t;
  (void)chunk;
  create(&t, all->s);
  for (size_t i = begin; i < end; i++)
    trade_row(&t, all, (int64_t)i);
  destroy(&t);
}

static int by_loss(const void *a, const void *b, void *user) {
  const double *loss = user;
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  if (loss[x] != loss[y]) return loss[x] > loss[y] ? -1 : 1;
  return (x > y) - (x < y);
}

/* How many of the ordered rows there is time for. */
static int64_t affordable(const trade *t) {
  int64_t n = t->s->cols, rows = 0;
  double work = 0;
  for (; rows < t->s->rows; rows++) {
    const unsigned char *keep = t->x->keep + t->order[rows] * n;
    double k = 0;
    for (int64_t c = 0; c < n; c++)
      k += keep[c];
    work += k * k * k + k * ((double)n - k) * (k + SWAPS);
    if (work > WORK) break;
  }
  return rows;
}

const char *prn_solve_swap(prn_solve *s, prn_solution *x) {
  trade t = {.s = s, .x = x};
  t.order = prn_try_alloc((size_t)(2 * s->rows) * sizeof *t.order);
  if (!t.order) return prn_solve_no_memory;
  t.swaps = t.order + s->rows;
  for (int64_t r = 0; r < s->rows; r++)
    t.order[r] = r;
  qsort_r(t.order, (size_t)s->rows, sizeof *t.order, by_loss, x->loss);
  int64_t rows = affordable(&t);
  prn_parallel_for(s->dense.threads, (size_t)rows, 1, trade_rows, &t);
  for (int64_t r = 0; r < rows; r++)
    s->swaps += (uint64_t)t.swaps[r];
  prn_free(t.order);
  return NULL;
}
