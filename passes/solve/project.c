/* Projections: what stays under a budget, given scores.
 *
 * Scores become keys that order as their absolute values do, with 0 for what is
 * gone before. The entries that go are those below a threshold, and of those at
 * it the first ones. */
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { PAIRWISE = 16, DIGIT = 11, BINS = 1 << DIGIT };

static uint32_t key_of(const prn_solve *s, const float *score, int64_t at) {
  uint32_t bits;
  if (s->gone && s->gone[at]) return 0;
  memcpy(&bits, score, sizeof bits);
  return (bits & 0x7fffffffu) + 1;
}

/* ---- few entries ---- */

/* The key with `rank` keys before it in order; keys move. */
static uint32_t nth(uint32_t *keys, int64_t n, int64_t rank) {
  int64_t from = 0, to = n - 1;
  while (from < to) {
    uint32_t a = keys[from], b = keys[from + (to - from) / 2], c = keys[to];
    uint32_t pivot = a < b ? (b < c   ? b
                              : a < c ? c
                                      : a)
                           : (a < c   ? a
                              : b < c ? c
                                      : b);
    int64_t i = from, k = to;
    while (i <= k) {
      while (keys[i] < pivot)
        i++;
      while (keys[k] > pivot)
        k--;
      if (i > k) break;
      uint32_t swap = keys[i];
      keys[i++] = keys[k];
      keys[k--] = swap;
    }
    if (rank <= k)
      to = k;
    else if (rank >= i)
      from = i;
    else
      return keys[rank];
  }
  return keys[rank];
}

static void keep_pairwise(const uint32_t *keys, int64_t n, int64_t prune,
                          unsigned char *keep) {
  for (int64_t i = 0; i < n; i++) {
    int64_t before = 0;
    for (int64_t k = 0; k < n; k++)
      before += keys[k] < keys[i] || (keys[k] == keys[i] && k < i);
    keep[i] = keys[i] && before >= prune;
  }
}

static void keep_selected(const uint32_t *keys, int64_t n, int64_t prune,
                          unsigned char *keep) {
  uint32_t *work = prn_alloc((size_t)n * sizeof *work);
  int64_t below = 0;
  memcpy(work, keys, (size_t)n * sizeof *work);
  uint32_t threshold = nth(work, n, prune - 1);
  for (int64_t i = 0; i < n; i++)
    below += keys[i] < threshold;
  for (int64_t i = 0, ties = prune - below; i < n; i++) {
    bool goes = keys[i] < threshold || (keys[i] == threshold && ties > 0);
    ties -= goes && keys[i] == threshold;
    keep[i] = keys[i] && !goes;
  }
  prn_free(work);
}

void prn_solve_project_run(const prn_solve *s, const float *score, int64_t at,
                           int64_t n, int64_t prune, unsigned char *keep) {
  uint32_t few[PAIRWISE];
  uint32_t *keys = n <= PAIRWISE ? few : prn_alloc((size_t)n * sizeof *keys);
  for (int64_t i = 0; i < n; i++)
    keys[i] = key_of(s, score + i, at + i);
  if (prune > n) prune = n;
  if (n <= PAIRWISE || prune <= 0)
    keep_pairwise(keys, prune > 0 ? n : 0, prune, keep);
  else
    keep_selected(keys, n, prune, keep);
  for (int64_t i = 0; prune <= 0 && i < n; i++)
    keep[i] = keys[i] != 0;
  if (keys != few) prn_free(keys);
}

/* ---- a window of columns ---- */

typedef struct window {
  const prn_solve *s;
  const float *score;
  int64_t from, to, rows; /* rows: of a chunk */
  unsigned char *keep;
  uint32_t prefix, mask; /* digits that are known of the threshold */
  uint32_t shift;
  int64_t *bins; /* chunks x BINS */
  int64_t *ties; /* chunks: entries at the threshold that go */
} window;

static int64_t place(const window *w, int64_t r, int64_t c) {
  return r * w->s->cols + w->from + c;
}

/* Keys of a row of the window. */
static void read_keys(const window *w, int64_t r, uint32_t *out) {
  int64_t width = w->to - w->from;
  const unsigned char *gone = w->s->gone ? w->s->gone + place(w, r, 0) : NULL;
  memcpy(out, w->score + r * width, (size_t)width * sizeof *out);
  for (int64_t c = 0; c < width; c++)
    out[c] = (out[c] & 0x7fffffffu) + 1;
  for (int64_t c = 0; gone && c < width; c++)
    out[c] = gone[c] ? 0 : out[c];
}

static void count(void *user, size_t chunk, size_t begin, size_t end) {
  const window *w = user;
  int64_t *bins = w->bins + chunk * BINS, width = w->to - w->from;
  uint32_t *keys = prn_alloc((size_t)width * sizeof *keys);
  memset(bins, 0, BINS * sizeof *bins);
  for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
    read_keys(w, r, keys);
    for (int64_t c = 0; c < width; c++)
      if ((keys[c] & w->mask) == w->prefix)
        bins[keys[c] >> w->shift & (BINS - 1)]++;
  }
  prn_free(keys);
}

static void mark(void *user, size_t chunk, size_t begin, size_t end) {
  const window *w = user;
  int64_t ties = w->ties[chunk], width = w->to - w->from;
  uint32_t *keys = prn_alloc((size_t)width * sizeof *keys);
  uint32_t least = w->prefix ? w->prefix : 1; /* 0 is gone */
  for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
    unsigned char *keep = w->keep + place(w, r, 0);
    read_keys(w, r, keys);
    for (int64_t c = 0; c < width; c++)
      keep[c] = keys[c] >= least;
    for (int64_t c = 0; ties > 0 && c < width; c++)
      if (keys[c] == w->prefix) {
        keep[c] = 0;
        ties--;
      }
  }
  prn_free(keys);
}

/* One more digit of the threshold; *rank becomes that within the digit. */
static void refine(window *w, size_t chunks, int64_t *rank) {
  uint32_t digit = 0;
  prn_parallel_for(w->s->dense.threads, (size_t)w->s->rows, (size_t)w->rows,
                   count, w);
  for (;; digit++) {
    int64_t all = 0;
    for (size_t i = 0; i < chunks; i++)
      all += w->bins[i * BINS + digit];
    if (*rank < all) break;
    *rank -= all;
  }
  w->prefix |= digit << w->shift;
  w->mask |= (uint32_t)(BINS - 1) << w->shift;
}

const char *prn_solve_project_window(const prn_solve *s, const float *score,
                                     int64_t from, int64_t to, int64_t prune,
                                     unsigned char *keep) {
  window w = {.s = s, .score = score, .from = from, .to = to, .keep = keep};
  int64_t all = s->rows * (to - from), rank = prune - 1;
  w.rows = prn_solve_chunk(s);
  size_t chunks = prn_parallel_chunks((size_t)s->rows, (size_t)w.rows);
  w.bins = prn_try_alloc(chunks * (BINS + 1) * sizeof *w.bins);
  if (!w.bins) return prn_solve_no_memory;
  w.ties = w.bins + chunks * BINS;
  memset(w.ties, 0, chunks * sizeof *w.ties);
  if (rank >= all) rank = all - 1;
  if (rank >= 0) {
    for (int digit = 2; digit >= 0; digit--) {
      w.shift = (uint32_t)(digit * DIGIT);
      refine(&w, chunks, &rank);
    }
    int64_t left = rank + 1; /* of those at the threshold, the first ones */
    for (size_t i = 0; i < chunks; i++) {
      int64_t here = w.bins[i * BINS + (w.prefix & (BINS - 1))];
      w.ties[i] = here < left ? here : left;
      left -= w.ties[i];
    }
  }
  prn_parallel_for(s->dense.threads, (size_t)s->rows, (size_t)w.rows, mark, &w);
  prn_free(w.bins);
  return NULL;
}

/* ---- a whole layer ---- */

static void project_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const window *w = user;
  const prn_solve *s = w->s;
  int64_t m = s->budget.m, whole = s->cols;
  (void)chunk;
  for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
    int64_t at = r * s->cols;
    if (s->budget.kind == PRN_BUDGET_ROW) {
      prn_solve_project_run(s, w->score + at, at, s->cols, s->budget.prune,
                            w->keep + at);
      continue;
    }
    whole = s->budget.kind == PRN_BUDGET_NM ? s->cols / m * m : 0;
    for (int64_t c = 0; c < whole; c += m)
      prn_solve_project_run(s, w->score + at + c, at + c, m, m - s->budget.n,
                            w->keep + at + c);
    prn_solve_project_run(s, w->score + at + whole, at + whole, s->cols - whole,
                          0, w->keep + at + whole);
  }
}

const char *prn_solve_project(const prn_solve *s, const float *score,
                              unsigned char *keep) {
  window w = {.s = s, .score = score, .keep = keep};
  if (s->budget.kind == PRN_BUDGET_LAYER)
    return prn_solve_project_window(s, score, 0, s->cols, s->budget.prune,
                                    keep);
  prn_parallel_for(s->dense.threads, (size_t)s->rows,
                   (size_t)prn_solve_chunk(s), project_rows, &w);
  return NULL;
}
