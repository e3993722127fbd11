/* Orders of columns; see permute.h. */
#include "passes/solve/permute.h"

#include <stdlib.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"

enum { CHUNK = 512, LANES = 16, CANDIDATES = 8 };

/* ---- what stays ---- */

/* top[k * CHUNK + r]: the k-th largest of `count` columns in row at + r. */
static void best(const prn_columns *c, const int64_t *cols, int64_t count,
                 int64_t at, int64_t rows, float *top) {
  for (int64_t i = 0; i < count; i++) {
    float v[CHUNK];
    memcpy(v, c->scores + cols[i] * c->rows + at, (size_t)rows * sizeof *v);
    for (int64_t k = 0; k < c->n && k <= i; k++) {
      float *t = top + k * CHUNK;
      if (k == i) {
        memcpy(t, v, (size_t)rows * sizeof *v);
        break;
      }
      for (int64_t r = 0; r < rows; r++) {
        float low = v[r] < t[r] ? v[r] : t[r];
        t[r] = v[r] < t[r] ? t[r] : v[r];
        v[r] = low;
      }
    }
  }
}

typedef struct summing {
  const prn_columns *c;
  const int64_t *order;
  double *kept; /* of groups */
} summing;

static void sum_groups(void *user, size_t chunk, size_t begin, size_t end) {
  const summing *s = user;
  const prn_columns *c = s->c;
  float *top = prn_alloc((size_t)(c->n * CHUNK) * sizeof *top);
  (void)chunk;
  for (size_t g = begin; g < end; g++) {
    s->kept[g] = 0;
    for (int64_t at = 0; at < c->rows; at += CHUNK) {
      int64_t rows = c->rows - at < CHUNK ? c->rows - at : CHUNK;
      best(c, s->order + (int64_t)g * c->m, c->m, at, rows, top);
      for (int64_t k = 0; k < c->n; k++)
        for (int64_t r = 0; r < rows; r++)
          s->kept[g] += (double)top[k * CHUNK + r];
    }
  }
  prn_free(top);
}

double prn_columns_kept(const prn_columns *c, const int64_t *order) {
  size_t groups = (size_t)(c->cols / c->m);
  double *kept = prn_alloc((groups + 1) * sizeof *kept), sum = 0;
  summing s = {c, order, kept};
  prn_parallel_for(c->threads, groups, 16, sum_groups, &s);
  for (size_t g = 0; g < groups; g++)
    sum += kept[g];
  prn_free(kept);
  return sum;
}

/* ---- dealing ---- */

typedef struct ranked {
  double sum;
  int64_t column;
} ranked;

static int by_sum(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->sum != y->sum) return x->sum > y->sum ? -1 : 1;
  return (x->column > y->column) - (x->column < y->column);
}

/* The largest sums go to the first place of each group, the next to the second
 * the other way round, and so on. */
static void deal(const prn_columns *c, int64_t *order) {
  int64_t groups = c->cols / c->m;
  ranked *all = prn_alloc(prn_array_size(sizeof *all, (size_t)c->cols + 1));
  for (int64_t i = 0; i < c->cols; i++) {
    all[i] = (ranked){0, i};
    for (int64_t r = 0; r < c->rows; r++)
      all[i].sum += (double)c->scores[i * c->rows + r];
  }
  qsort(all, (size_t)c->cols, sizeof *all, by_sum);
  for (int64_t i = 0; i < c->cols; i++) {
    int64_t place = i / groups, g = i % groups;
    order[(place % 2 ? groups - 1 - g : g) * c->m + place] = all[i].column;
  }
  prn_free(all);
}

/* ---- one place of every group ---- */

typedef struct work {
  const prn_columns *c;
  int64_t *order;
  int64_t place;       /* that is taken out of each group */
  float *limits;       /* [groups][rows]: what a column must be above, there */
  const int64_t *part; /* groups that are assigned together, `size` of them */
  int64_t size;
  double *gain; /* [size][size]: of the column of one in the place of another */
  int64_t *to, *columns;
} work;

static void find_limits(void *user, size_t chunk, size_t begin, size_t end) {
  const work *w = user;
  const prn_columns *c = w->c;
  float *top = prn_alloc((size_t)(c->n * CHUNK) * sizeof *top);
  int64_t *others = prn_alloc((size_t)c->m * sizeof *others);
  (void)chunk;
  for (size_t g = begin; g < end; g++) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->m; i++)
      if (i != w->place) others[n++] = w->order[(int64_t)g * c->m + i];
    for (int64_t at = 0; at < c->rows; at += CHUNK) {
      int64_t rows = c->rows - at < CHUNK ? c->rows - at : CHUNK;
      best(c, others, n, at, rows, top);
      memcpy(w->limits + (int64_t)g * c->rows + at, top + (c->n - 1) * CHUNK,
             (size_t)rows * sizeof *top);
    }
  }
  prn_free(top);
  prn_free(others);
}

/* The sum of what is above the limits, in an order of its own. */
static double above(const float *v, const float *limit, int64_t n) {
  float lanes[LANES] = {0};
  double sum = 0;
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int l = 0; l < LANES; l++) {
      float d = v[i + l] - limit[i + l];
      lanes[l] += d > 0 ? d : 0;
    }
  for (; i < n; i++)
    lanes[0] += v[i] > limit[i] ? v[i] - limit[i] : 0;
  for (int l = 0; l < LANES; l++)
    sum += (double)lanes[l];
  return sum;
}

/* What each of some columns is worth in each group. */
static void find_gains(void *user, size_t chunk, size_t begin, size_t end) {
  const work *w = user;
  const prn_columns *c = w->c;
  (void)chunk;
  for (size_t i = begin; i < end; i++)
    memset(w->gain + (int64_t)i * w->size, 0,
           (size_t)w->size * sizeof *w->gain);
  for (int64_t at = 0; at < c->rows; at += CHUNK) {
    int64_t rows = c->rows - at < CHUNK ? c->rows - at : CHUNK;
    for (int64_t g = 0; g < w->size; g++)
      for (size_t i = begin; i < end; i++)
        w->gain[(int64_t)i * w->size + g] +=
            above(c->scores + w->columns[i] * c->rows + at,
                  w->limits + w->part[g] * c->rows + at, rows);
  }
}

/* Gives the columns of a part's groups to them anew, unless that is no better:
 * sums of floats are not exact. */
static bool assign_part(const work *w) {
  double before = 0, after = 0;
  for (int64_t i = 0; i < w->size; i++)
    w->columns[i] = w->order[w->part[i] * w->c->m + w->place];
  prn_parallel_for(w->c->threads, (size_t)w->size, CANDIDATES, find_gains,
                   (void *)(uintptr_t)w);
  if (!prn_assign(w->size, w->gain, w->to)) return false;
  for (int64_t i = 0; i < w->size; i++) {
    before += w->gain[i * w->size + i];
    after += w->gain[i * w->size + w->to[i]];
  }
  if (after <= before * (1 + 1e-9)) return true;
  for (int64_t i = 0; i < w->size; i++)
    w->order[w->part[w->to[i]] * w->c->m + w->place] = w->columns[i];
  return true;
}

/* ---- rounds ---- */

/* Groups in the order in which parts are cut from them: neighbours, or in
 * every second round those that lie apart. */
static void line_up(int64_t groups, bool apart, int64_t *out) {
  int64_t parts = (groups - 1) / PRN_COLUMNS_TOGETHER + 1, n = 0;
  for (int64_t p = 0; p < parts && apart; p++)
    for (int64_t g = p; g < groups; g += parts)
      out[n++] = g;
  for (int64_t g = 0; g < groups && !apart; g++)
    out[n++] = g;
}

/* Shifts the places of a group by its number. */
static void shift(const prn_columns *c, int64_t *order) {
  int64_t *moved = prn_alloc((size_t)c->m * sizeof *moved);
  for (int64_t g = 0; g < c->cols / c->m; g++) {
    int64_t *at = order + g * c->m;
    for (int64_t i = 0; i < c->m; i++)
      moved[i] = at[(i + g) % c->m];
    memcpy(at, moved, (size_t)c->m * sizeof *at);
  }
  prn_free(moved);
}

static bool sweep(work *w, const int64_t *line) {
  int64_t groups = w->c->cols / w->c->m;
  for (w->place = 0; w->place < w->c->m; w->place++) {
    prn_parallel_for(w->c->threads, (size_t)groups, 16, find_limits, w);
    for (int64_t at = 0; at < groups; at += PRN_COLUMNS_TOGETHER) {
      w->part = line + at;
      w->size = groups - at < PRN_COLUMNS_TOGETHER ? groups - at
                                                   : PRN_COLUMNS_TOGETHER;
      if (!assign_part(w)) return false;
    }
  }
  return true;
}

/* Ends when rounds with all shifts between two groups bring little. */
static bool improve(work *w, int64_t *line) {
  const prn_columns *c = w->c;
  double kept = prn_columns_kept(c, w->order);
  int64_t idle = 0;
  for (int64_t i = 0; i < c->sweeps && idle < c->m; i++) {
    line_up(c->cols / c->m, i % 2 == 0, line);
    if (!sweep(w, line)) return false;
    double now = prn_columns_kept(c, w->order);
    idle = now > kept * (1 + 1e-5) ? 0 : idle + 1;
    kept = now;
    shift(c, w->order);
  }
  return true;
}

bool prn_columns_order(const prn_columns *c, int64_t *out) {
  size_t groups = (size_t)(c->cols / c->m), most = PRN_COLUMNS_TOGETHER;
  if (groups < most) most = groups;
  work w = {.c = c, .order = out};
  size_t cells = groups * (size_t)c->rows;
  int64_t *ints = prn_try_alloc((groups + 2 * most + 1) * sizeof *ints);
  w.limits = prn_try_alloc((cells + 1) * sizeof *w.limits);
  w.gain = prn_try_alloc((most * most + 1) * sizeof *w.gain);
  bool ok = ints && w.limits && w.gain;
  if (ok && groups) {
    w.to = ints + groups;
    w.columns = w.to + most;
    deal(c, out);
    ok = improve(&w, ints);
  }
  prn_free(ints);
  prn_free(w.limits);
  prn_free(w.gain);
  return ok;
}
