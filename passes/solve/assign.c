/* The assignment problem, by shortest augmenting paths: Jonker and Volgenant,
 * "A shortest augmenting path algorithm for dense and sparse linear assignment
 * problems", 1987, without their start. */
#include <math.h>

#include "ir/support/arena.h"
#include "passes/solve/permute.h"

typedef struct search {
  int64_t n;
  const double *gain;
  double *of_row, *of_col; /* prices: gain <= of_row + of_col, = where taken */
  int64_t *row;            /* of a column; -1: free */
  double *slack;           /* of columns: the least to one on the path */
  int64_t *before;         /* the column that slack leads from; -1: the start */
  bool *seen;
} search;

/* From a row to a free column, over columns whose rows move on. */
static int64_t path_from(search *s, int64_t start) {
  int64_t at = start, col = -1;
  for (int64_t j = 0; j < s->n; j++) {
    s->slack[j] = HUGE_VAL;
    s->seen[j] = false;
  }
  do {
    const double *gain = s->gain + at * s->n;
    int64_t next = -1;
    for (int64_t j = 0; j < s->n; j++) {
      if (s->seen[j]) continue;
      double slack = s->of_row[at] + s->of_col[j] - gain[j];
      if (slack < s->slack[j]) {
        s->slack[j] = slack;
        s->before[j] = col;
      }
      if (next < 0 || s->slack[j] < s->slack[next]) next = j;
    }
    double by = s->slack[next];
    s->of_row[start] -= by;
    for (int64_t j = 0; j < s->n; j++) {
      if (s->seen[j]) {
        s->of_row[s->row[j]] -= by;
        s->of_col[j] += by;
      } else {
        s->slack[j] -= by;
      }
    }
    s->seen[next] = true;
    col = next;
    at = s->row[next];
  } while (at >= 0);
  return col;
}

static void assign(search *s) {
  for (int64_t i = 0; i < s->n; i++) {
    s->of_row[i] = s->gain[i * s->n];
    for (int64_t j = 1; j < s->n; j++)
      s->of_row[i] = fmax(s->of_row[i], s->gain[i * s->n + j]);
    s->of_col[i] = 0;
    s->row[i] = -1;
  }
  for (int64_t i = 0; i < s->n; i++) {
    int64_t col = path_from(s, i);
    for (int64_t from; (from = s->before[col]) >= 0; col = from)
      s->row[col] = s->row[from];
    s->row[col] = i;
  }
}

bool prn_assign(int64_t n, const double *gain, int64_t *to) {
  size_t size = (size_t)n;
  double *reals = prn_try_alloc(prn_array_size(3 * sizeof(double), size + 1));
  int64_t *ints = prn_try_alloc(prn_array_size(2 * sizeof(int64_t), size + 1));
  bool *seen = prn_try_alloc(size + 1);
  bool ok = reals && ints && seen;
  if (ok) {
    search s = {n, gain, reals, reals + n, ints, reals + 2 * n, ints + n, seen};
    assign(&s);
    for (int64_t j = 0; j < n; j++)
      to[s.row[j]] = j;
  }
  prn_free(reals);
  prn_free(ints);
  prn_free(seen);
  return ok;
}
