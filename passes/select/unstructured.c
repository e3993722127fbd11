/* select-unstructured: the entries of smallest score go, wherever they are.
 *
 * scope=row ranks within each output unit, tensor within each weight, global
 * over all scored weights together. Thresholds are found from histograms of
 * the keys' upper and lower halves, so that the scores of neither a weight nor
 * a model are ever stored. */
#include <stdlib.h>
#include <string.h>

#include "passes/allocate/allocate.h"
#include "passes/select/select.h"

#define OPTIONS(X)                                                           \
  X(FLOAT, sparsity, 0.5, "[0,1)", "Fraction of the entries that goes")      \
  X(INT, count, 0, "[0,inf)", "Number of entries that goes, instead")        \
  X(ENUM, scope, tensor, "row|tensor|global",                                \
    "Rank within each output unit, each weight, or all weights together")    \
  X(ENUM, ties, exact, "exact|le|ge",                                        \
    "exact: round(sparsity*n) entries, equal scores by index. le: all that " \
    "are at most entry floor(sparsity*n) in order, as in the reference "     \
    "codes of SparseGPT and Wanda. ge: all below entry "                     \
    "n-round(n*(1-sparsity)), so that equal scores stay")                    \
  X(ENUM, of, all, "all|remaining",                                          \
    "Whether the fraction is of all entries (those pruned earlier count as " \
    "gone) or of those that earlier masks left")
#define STATS(X)                           \
  X(weights, "weights given a mask")       \
  X(pruned, "entries pruned by this pass") \
  X(entries, "entries of the scored weights")
PRN_PASS_TABLES;

enum { ROW, TENSOR, GLOBAL };
enum { EXACT, LE, GE };
enum { ALL, REMAINING };

/* Goes: keys below `key`, and the first `ties` equal to it. */
typedef struct threshold {
  int32_t key;
  int64_t ties;
} threshold;

/* Which rank among n keys (gone of them by earlier masks) the threshold has,
 * and how many go; -1 when none goes. */
static int64_t threshold_rank(const prn_pass_env *env, double sparsity,
                              int64_t n, int64_t gone, int64_t *k) {
  const struct opts *o = env->opts;
  int64_t base = o->of == REMAINING ? n - gone : n;
  int64_t before = n - base;
  bool counted = prn_pass_given(env, "count");
  *k = before + (counted ? (o->count < base ? o->count : base)
                         : prn_share_of(sparsity, base));
  if (counted || o->ties == EXACT) return *k - 1;
  if (o->ties == LE) {
    int64_t rank = before + (int64_t)(sparsity * (double)base);
    return rank < n ? rank : n - 1;
  }
  int64_t keep = prn_share_of(1 - sparsity, base);
  return n - (keep < 1 ? 1 : keep);
}

static threshold make_threshold(const prn_pass_env *env, int32_t key, int64_t k,
                                int64_t below) {
  const struct opts *o = env->opts;
  threshold t = {key, k - below};
  if (prn_pass_given(env, "count") || o->ties == EXACT) return t;
  t.ties = o->ties == LE ? INT64_MAX : 0;
  return t;
}

static void keep_bytes(const int32_t *keys, int64_t n, threshold *t,
                       unsigned char *keep) {
  int64_t equal = 0;
  for (int64_t i = 0; i < n; i++) {
    keep[i] = keys[i] >= t->key;
    equal += keys[i] == t->key;
  }
  for (int64_t i = 0; equal && t->ties > 0 && i < n; i++)
    if (keys[i] == t->key && t->ties > 0) {
      keep[i] = 0;
      t->ties--;
    }
}

/* ---- tensor and global scope ---- */

enum { BINS = 1 << 16 };

/* Histogram of the keys' upper halves, or of the lower halves of the keys
 * whose upper half is `upper`. */
static prn_status histogram(const prn_target *t, size_t n, int64_t upper,
                            int64_t *bins) {
  int32_t keys[PRN_KEY_CHUNK];
  memset(bins, 0, BINS * sizeof *bins);
  for (size_t i = 0; i < n; i++)
    for (int64_t at = 0; at < t[i].count; at += PRN_KEY_CHUNK) {
      int64_t left = t[i].count - at;
      int64_t size = left < PRN_KEY_CHUNK ? left : PRN_KEY_CHUNK;
      PRN_TRY(prn_keys_read(&t[i].score, at, size, keys));
      for (int64_t k = 0; k < size; k++) {
        uint32_t u = (uint32_t)keys[k] ^ 0x80000000u;
        if (upper < 0)
          bins[u >> 16]++;
        else if (u >> 16 == (uint32_t)upper)
          bins[u & 0xffff]++;
      }
    }
  return PRN_OK;
}

/* The bin that holds `rank`, which becomes the rank within the bin. */
static uint32_t find_bin(const int64_t *bins, int64_t *rank) {
  uint32_t b = 0;
  while (*rank >= bins[b])
    *rank -= bins[b++];
  return b;
}

static prn_status mask_by(const prn_pass_env *env, const prn_target *t,
                          threshold *th) {
  struct stats *s = env->stats;
  int32_t keys[PRN_KEY_CHUNK];
  unsigned char keep[PRN_KEY_CHUNK];
  prn_mask mask;
  PRN_TRY(prn_mask_create(env->ctx, t->count, true, &mask));
  for (int64_t at = 0; at < t->count; at += PRN_KEY_CHUNK) {
    int64_t left = t->count - at;
    int64_t n = left < PRN_KEY_CHUNK ? left : PRN_KEY_CHUNK;
    PRN_TRY(prn_keys_read(&t->score, at, n, keys));
    keep_bytes(keys, n, th, keep);
    prn_mask_put(&mask, at, n, keep);
  }
  s->pruned += prn_target_finish(
      env, t, &mask, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED});
  s->weights++;
  return PRN_OK;
}

/* What was allocated to a weight, or asked for. */
static double share_of(const prn_pass_env *env, const prn_target *t, size_t n) {
  const struct opts *o = env->opts;
  return n == 1 ? prn_share_given(t->site->constant, o->sparsity) : o->sparsity;
}

/* One threshold for n weights together. */
static prn_status select_together(const prn_pass_env *env, const prn_target *t,
                                  size_t n) {
  int64_t count = 0, gone = 0, k;
  for (size_t i = 0; i < n; i++) {
    count += t[i].count;
    gone += t[i].gone;
  }
  int64_t rank = threshold_rank(env, share_of(env, t, n), count, gone, &k),
          in_bin = rank;
  if (rank < 0) {
    for (size_t i = 0; i < n; i++) {
      prn_pass_remark(env, t[i].site->constant, PRN_REASON_NothingToDo,
                      "'%.*s' keeps all entries", PRN_STR_ARG(t[i].site->name));
      prn_target_leave(&t[i]);
    }
    return PRN_OK;
  }
  int64_t *bins = PRN_ARENA_ARRAY(env->scratch, int64_t, BINS);
  PRN_TRY(histogram(t, n, -1, bins));
  uint32_t upper = find_bin(bins, &in_bin);
  PRN_TRY(histogram(t, n, upper, bins));
  uint32_t lower = find_bin(bins, &in_bin);
  int32_t key = (int32_t)((upper << 16 | lower) ^ 0x80000000u);
  threshold th = make_threshold(env, key, k, rank - in_bin);
  for (size_t i = 0; i < n; i++)
    PRN_TRY(mask_by(env, &t[i], &th));
  return PRN_OK;
}

/* ---- row scope ---- */

enum { TILE = 1 << 18 /* keys held at a time */, RUN = 256 };

typedef struct grid {
  const prn_target *t;
  int64_t rows, cols;
  int64_t *row, *col; /* offsets; cols ascending */
  int32_t *keys, *sorted;
  unsigned char *keep;
  int64_t tile; /* rows held at a time */
  prn_mask mask;
} grid;

static int by_offset(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static prn_status grid_open(const prn_pass_env *env, const prn_target *t,
                            grid *g) {
  const prn_site *s = t->site;
  *g = (grid){.t = t};
  g->row =
      prn_layout_offsets(&s->layout, prn_site_axes(s, PRN_ROLES_ROW), &g->rows);
  g->col =
      prn_layout_offsets(&s->layout, prn_site_axes(s, PRN_ROLES_COL), &g->cols);
  g->tile = g->cols >= TILE ? 1 : TILE / (g->cols ? g->cols : 1);
  if (g->tile > RUN) g->tile = RUN;
  size_t cells = prn_array_size((size_t)g->tile, (size_t)g->cols);
  g->keys = prn_try_alloc(prn_array_size(sizeof *g->keys, cells));
  g->keep = prn_try_alloc(cells ? cells : 1);
  g->sorted = prn_try_alloc(
      prn_array_size(sizeof *g->sorted, (size_t)(g->cols ? g->cols : 1)));
  if (!g->row || !g->col || !g->keys || !g->keep || !g->sorted)
    return prn_pass_error(env, "no memory to rank the rows of '%.*s'",
                          PRN_STR_ARG(s->name));
  qsort(g->col, (size_t)g->cols, sizeof *g->col, by_offset);
  return prn_mask_create(env->ctx, t->count, true, &g->mask);
}

static void grid_close(grid *g) {
  prn_free(g->row);
  prn_free(g->col);
  prn_free(g->keys);
  prn_free(g->keep);
  prn_free(g->sorted);
}

/* Length of the run of offsets that follow each other from at[i] on. */
static int64_t run_length(const int64_t *at, int64_t i, int64_t end) {
  int64_t n = 1;
  while (i + n < end && at[i + n] == at[i] + n && n < PRN_KEY_CHUNK)
    n++;
  return n;
}

/* Whether neighbours in memory are neighbouring rows rather than columns. */
static bool rows_adjacent(const grid *g) {
  return g->rows > 1 && g->row[1] == g->row[0] + 1;
}

/* Visits rows [r0, r0+n) in runs of neighbours: put = false reads keys into
 * the tile, put = true writes the keep bytes to the mask. */
static prn_status grid_move(grid *g, int64_t r0, int64_t n, bool put) {
  int32_t buf[PRN_KEY_CHUNK];
  unsigned char bytes[PRN_KEY_CHUNK];
  bool across = rows_adjacent(g);
  int64_t outer = across ? g->cols : n, inner = across ? n : g->cols;
  const int64_t *slow = across ? g->col : g->row + r0;
  const int64_t *fast = across ? g->row + r0 : g->col;
  int64_t step = across ? g->cols : 1, jump = across ? 1 : g->cols;
  for (int64_t i = 0; i < outer; i++)
    for (int64_t j = 0, len; j < inner; j += len) {
      int64_t cell = i * jump + j * step, at = slow[i] + fast[j];
      len = run_length(fast, j, inner);
      if (put) {
        for (int64_t k = 0; k < len; k++)
          bytes[k] = g->keep[cell + k * step];
        prn_mask_put(&g->mask, at, len, bytes);
        continue;
      }
      PRN_TRY(prn_keys_read(&g->t->score, at, len, buf));
      for (int64_t k = 0; k < len; k++)
        g->keys[cell + k * step] = buf[k];
    }
  return PRN_OK;
}

static void select_row(const prn_pass_env *env, grid *g, int64_t r) {
  const int32_t *keys = g->keys + r * g->cols;
  int64_t gone = 0, k, below = 0;
  for (int64_t i = 0; i < g->cols; i++)
    gone += keys[i] == PRN_KEY_GONE;
  int64_t rank = threshold_rank(env, share_of(env, g->t, 1), g->cols, gone, &k);
  threshold t = {PRN_KEY_GONE, 0};
  if (rank >= 0) {
    memcpy(g->sorted, keys, (size_t)g->cols * sizeof *keys);
    int32_t key = prn_keys_nth(g->sorted, g->cols, rank, &below);
    t = make_threshold(env, key, k, below);
  }
  keep_bytes(keys, g->cols, &t, g->keep + r * g->cols);
}

static prn_status select_rows(const prn_pass_env *env, grid *g) {
  for (int64_t r = 0; r < g->rows && g->cols; r += g->tile) {
    int64_t n = g->rows - r < g->tile ? g->rows - r : g->tile;
    PRN_TRY(grid_move(g, r, n, false));
    for (int64_t i = 0; i < n; i++)
      select_row(env, g, i);
    PRN_TRY(grid_move(g, r, n, true));
  }
  return PRN_OK;
}

static prn_status select_by_row(const prn_pass_env *env, const prn_target *t) {
  struct stats *s = env->stats;
  grid g;
  prn_status status = grid_open(env, t, &g);
  if (status == PRN_OK) status = select_rows(env, &g);
  grid_close(&g);
  PRN_TRY(status);
  s->pruned += prn_target_finish(
      env, t, &g.mask, (prn_sparsity){.kind = PRN_SPARSE_UNSTRUCTURED});
  s->weights++;
  return PRN_OK;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  struct stats *s = env->stats;
  prn_targets targets;
  (void)m;
  PRN_TRY(prn_targets_collect(env, &targets));
  for (size_t i = 0; i < targets.size; i++)
    s->entries += (uint64_t)targets.at[i].count;
  if (o->scope == GLOBAL && targets.size)
    return select_together(env, targets.at, targets.size);
  for (size_t i = 0; i < targets.size; i++) {
    PRN_TRY(o->scope == ROW ? select_by_row(env, &targets.at[i])
                            : select_together(env, &targets.at[i], 1));
    prn_share_give(targets.at[i].site->constant, -1);
  }
  return PRN_OK;
}

const prn_pass prn_pass_select_unstructured = {
    .name = "select-unstructured",
    .summary = "Remove the entries of smallest score",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    .needs = PRN_WEIGHTS | PRN_SITES,
    .keeps = PRN_ALL_ANALYSES,
    .check = prn_check_share,
    PRN_PASS_COMMON,
};
