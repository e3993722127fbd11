/* SparseGPT: zeros are chosen and made up for column by column.
 *
 * With H = G + d I and U'U = H^-1, U an upper triangle, a weight w_rc that goes
 * costs (w_rc / U_cc)^2, given that the columns before c are settled, and what
 * is best for the columns behind it is to lose w_rc / U_cc * U_c. Blocks of
 * columns are chosen from at a time, by their weights as they are then; groups
 * of an n:m budget when their first column is reached. Frantar and Alistarh,
 * "SparseGPT: massive language models can be accurately pruned in one-shot",
 * 2023.
 *
 * Then the row as a whole loses the sum of these (w_rc / U_cc)^2: its change is
 * E U, and U H U' = I.
 *
 * U comes without H^-1: H from its last row and column to the first is L L',
 * so H = M M' with M an upper triangle, L turned round, and U = M^-1. */
#include <math.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { STEP = 32 /* columns between updates of the rest of a block */ };

typedef struct sweep {
  const prn_solve *s;
  const prn_obs_options *o;
  prn_solution *x;
  float *u;        /* cols x cols */
  float *error;    /* rows x block */
  float *score;    /* rows x block, LAYER */
  int64_t *pruned; /* rows: until now, ROW */
  int64_t block, from, to;
  int64_t quota; /* LAYER: of the block */
} sweep;

static const char *upper_of(prn_solve *s, float *u) {
  int64_t n = s->cols, all = n * n;
  if (!s->factor) {
    s->factor = prn_try_alloc(prn_array_size((size_t)all, sizeof *s->factor));
    if (!s->factor) return prn_solve_no_memory;
    if (!prn_solve_factor(s)) return "the moments of its inputs changed";
  }
  double *inverse = prn_try_alloc((size_t)all * sizeof *inverse);
  if (inverse) prn_dense_invert(&s->dense, n, s->factor, inverse);
  for (int64_t i = 0; inverse && i < all; i++)
    u[i] = (float)inverse[all - 1 - i];
  prn_free(s->factor);
  s->factor = NULL;
  prn_free(inverse);
  return inverse ? NULL : prn_solve_no_memory;
}

static float *row_of(const sweep *w, int64_t r) {
  return w->x->weights + r * w->s->cols;
}

static unsigned char *keep_of(const sweep *w, int64_t r) {
  return w->x->keep + r * w->s->cols;
}

static void score_run(const sweep *w, int64_t r, int64_t from, int64_t to,
                      float *out) {
  const float *row = row_of(w, r);
  for (int64_t c = from; c < to; c++)
    out[c - from] = row[c] / w->u[c * w->s->cols + c];
}

/* ---- a block ---- */

static void score_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const sweep *w = user;
  int64_t width = w->to - w->from;
  (void)chunk;
  for (int64_t r = (int64_t)begin; r < (int64_t)end; r++)
    score_run(w, r, w->from, w->to, w->score + r * width);
}

static void choose_row(const sweep *w, int64_t r, float *score) {
  const prn_solve *s = w->s;
  int64_t prune = s->budget.prune, n = s->cols;
  int64_t due =
      w->to == n
          ? prune
          : (int64_t)nearbyint((double)prune * (double)w->to / (double)n);
  score_run(w, r, w->from, w->to, score);
  prn_solve_project_run(s, score, r * n + w->from, w->to - w->from,
                        due - w->pruned[r], keep_of(w, r) + w->from);
  for (int64_t c = w->from; c < w->to; c++)
    w->pruned[r] += !keep_of(w, r)[c];
}

/* A group of m that begins at column c; those left over at the end stay. */
static void choose_group(const sweep *w, int64_t r, int64_t c, float *score) {
  const prn_solve *s = w->s;
  int64_t m = s->budget.m, end = c + m <= s->cols ? c + m : s->cols;
  int64_t prune = end - c == m ? m - s->budget.n : 0;
  score_run(w, r, c, end, score);
  prn_solve_project_run(s, score, r * s->cols + c, end - c, prune,
                        keep_of(w, r) + c);
}

/* Columns [from, to) of a row, all of whose updates have been made but those
 * among themselves. */
static void settle(const sweep *w, int64_t r, int64_t from, int64_t to,
                   float *score) {
  float *row = row_of(w, r);
  float *error = w->error + r * w->block - w->from;
  for (int64_t c = from; c < to; c++) {
    const float *u = w->u + c * w->s->cols;
    if (w->s->budget.kind == PRN_BUDGET_NM && c % w->s->budget.m == 0)
      choose_group(w, r, c, score);
    error[c] = 0;
    if (keep_of(w, r)[c]) continue;
    float e = row[c] / u[c];
    for (int64_t k = c + 1; k < to; k++)
      row[k] -= e * u[k];
    row[c] = 0;
    error[c] = e;
    w->x->loss[r] += (double)e * (double)e;
  }
}

static void sweep_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const sweep *w = user;
  const prn_solve *s = w->s;
  int64_t n = s->cols, rows = (int64_t)(end - begin), first = (int64_t)begin;
  int64_t m = s->budget.kind == PRN_BUDGET_NM ? s->budget.m : 1;
  int64_t step = (STEP + m - 1) / m * m;
  float *score = prn_alloc((size_t)w->block * sizeof *score);
  const float *error = w->error + first * w->block;
  (void)chunk;
  for (int64_t r = first; r < (int64_t)end; r++)
    if (s->budget.kind == PRN_BUDGET_ROW) choose_row(w, r, score);
  for (int64_t c = w->from, next; c < w->to; c = next) {
    next = c + step < w->to ? c + step : w->to;
    for (int64_t r = first; r < (int64_t)end; r++)
      settle(w, r, c, next, score);
    if (next < w->to)
      prn_rows_gemm_f32(&s->dense, rows, w->to - next, next - c, -1,
                        error + (c - w->from), w->block, w->u + c * n + next, n,
                        1, row_of(w, first) + next, n);
  }
  if (w->to < n)
    prn_rows_gemm_f32(&s->dense, rows, n - w->to, w->to - w->from, -1, error,
                      w->block, w->u + w->from * n + w->to, n, 1,
                      row_of(w, first) + w->to, n);
  prn_free(score);
}

/* How many of a block's entries go, so that all come out as the budget has
 * it. */
static void set_quota(sweep *w, int64_t gone) {
  const prn_solve *s = w->s;
  int64_t all = s->rows * s->cols, end = s->rows * w->to;
  int64_t due = end == all ? s->budget.prune
                           : (int64_t)nearbyint((double)s->budget.prune *
                                                (double)end / (double)all);
  w->quota = due - gone;
  if (w->o->le)
    w->quota =
        1 + (int64_t)(w->o->share * (double)(s->rows * (w->to - w->from)));
}

static const char *sweep_all(sweep *w) {
  const prn_solve *s = w->s;
  size_t rows = (size_t)s->rows, size = (size_t)prn_solve_chunk(s);
  int64_t gone = 0;
  for (w->from = 0; w->from < s->cols; w->from = w->to) {
    w->to = w->from + w->block < s->cols ? w->from + w->block : s->cols;
    if (s->budget.kind == PRN_BUDGET_LAYER) {
      set_quota(w, gone);
      prn_parallel_for(s->dense.threads, rows, size, score_rows, w);
      const char *why = prn_solve_project_window(s, w->score, w->from, w->to,
                                                 w->quota, w->x->keep);
      if (why) return why;
      for (int64_t r = 0; r < s->rows; r++)
        for (int64_t c = w->from; c < w->to; c++)
          gone += !keep_of(w, r)[c];
    }
    prn_parallel_for(s->dense.threads, rows, size, sweep_rows, w);
  }
  return NULL;
}

const char *prn_solve_obs(prn_solve *s, const prn_obs_options *o,
                          prn_solution *x) {
  int64_t n = s->cols, m = s->budget.kind == PRN_BUDGET_NM ? s->budget.m : 1;
  sweep w = {.s = s, .o = o, .x = x};
  const char *why = prn_solve_no_memory;
  w.block = (o->block + m - 1) / m * m;
  if (w.block > n + m) w.block = n + m;
  size_t cells = prn_array_size((size_t)s->rows, (size_t)w.block);
  w.u = prn_try_alloc(prn_array_size((size_t)(n * n), sizeof *w.u));
  w.error = prn_try_alloc(prn_array_size(cells, sizeof *w.error));
  w.score = prn_try_alloc(prn_array_size(cells, sizeof *w.score));
  w.pruned = prn_try_alloc((size_t)s->rows * sizeof *w.pruned);
  if (w.u && w.error && w.score && w.pruned) why = upper_of(s, w.u);
  if (!why) {
    memset(w.pruned, 0, (size_t)s->rows * sizeof *w.pruned);
    memset(x->loss, 0, (size_t)s->rows * sizeof *x->loss);
    memcpy(x->weights, s->target, (size_t)(s->rows * n) * sizeof *x->weights);
    for (int64_t i = 0; i < s->rows * n; i++)
      x->keep[i] = !s->gone || !s->gone[i];
    why = sweep_all(&w);
  }
  prn_free(w.u);
  prn_free(w.error);
  prn_free(w.score);
  prn_free(w.pruned);
  return why;
}
