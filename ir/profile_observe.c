/* Statistics of one sample of a value, added to what was seen before.
 *
 * Vectors are taken in slabs, as panels of some channels each (see
 * ir/profile_vectors.h), by whichever thread comes first: a panel's statistics
 * and the products of two panels are sums in the order of the vectors, whoever
 * takes them. The sums of a slab are combined with those before, so that sums
 * stay short. Second moments are computed on and above the diagonal. */
#include <math.h>
#include <string.h>

#include "ir/profile_vectors.h"
#include "ir/support/parallel.h"

enum {
  SLAB = 256,             /* vectors */
  MAX_SLABS = 16,         /* at a time */
  TILE_DOUBLES = 1 << 19, /* of all panels, where a slab is not more */
  TOGETHER = 4,           /* panels that a thread takes at once */
  WORTH = 1 << 20,        /* multiplications, for which threads are started */
};

/* Neighbouring channels of one block of moments. */
typedef struct panel {
  int64_t first, lanes; /* of all channels */
  size_t end;           /* behind the last panel of its block */
  int64_t row;          /* of the first channel, in its block */
  int64_t side;         /* of the block */
  size_t moments;       /* where the block is */
} panel;

typedef struct taker {
  prn_vectors v;
  prn_observation *o;
  panel *panels;
  size_t size;
  int64_t rows;    /* vectors that tiles have room for */
  double *tiles;   /* [panels][rows][LANES]; NULL without moments */
  double *moments; /* of the observation, or NULL */
  int64_t at, n;   /* vectors that are being taken */
  bool last;
} taker;

/* ---- panels ---- */

static double *tile_of(const taker *t, size_t p) {
  return t->tiles + (int64_t)p * t->rows * PRN_LANES;
}

/* The panels of block [first, first + side). */
static void cut_block(taker *t, int64_t first, int64_t side, size_t moments) {
  size_t end = t->size + (size_t)((side + PRN_LANES - 1) / PRN_LANES);
  for (int64_t row = 0; row < side; row += PRN_LANES)
    t->panels[t->size++] =
        (panel){.first = first + row,
                .lanes = side - row < PRN_LANES ? side - row : PRN_LANES,
                .end = end,
                .row = row,
                .side = side,
                .moments = moments};
}

/* Without moments one block does. */
static bool cut(taker *t) {
  int64_t n = prn_observation_group(t->o), b = prn_observation_block(t->o);
  if (b == 0) n = b = t->o->channels;
  size_t blocks = (size_t)((t->o->channels / n) * (n / b + (n % b != 0)));
  size_t most = blocks + (size_t)(t->o->channels / PRN_LANES) + 1, moments = 0;
  t->panels = prn_try_alloc(prn_array_size(sizeof *t->panels, most + blocks));
  for (int64_t g = 0; t->panels && g < t->o->channels; g += n)
    for (int64_t at = 0; at < n; at += b) {
      int64_t side = n - at < b ? n - at : b;
      cut_block(t, g + at, side, moments);
      moments += (size_t)side * (size_t)side;
    }
  return t->panels != NULL;
}

/* ---- statistics ---- */

/* Combines what was taken of a slab with what n_into vectors gave. */
static void combine(const taker *t, const panel *p, double (*stats)[PRN_LANES],
                    int64_t n_into, int64_t n_from) {
  size_t c = (size_t)t->o->channels;
  double share = (double)n_from / ((double)n_into + (double)n_from);
  for (int64_t l = 0; l < p->lanes; l++) {
    double *into = t->o->own + p->first + l;
    double delta = stats[0][l] - into[0];
    into[0] += share * delta;
    into[c] +=
        share * (stats[1][l] - into[c]) + share * (1 - share) * delta * delta;
    into[2 * c] += share * (stats[2][l] - into[2 * c]);
    into[3 * c] += share * (stats[3][l] - into[3 * c]);
  }
}

/* Loads vectors [at, at+n) of some panels, and their statistics. */
static void take_panels(void *user, size_t chunk, size_t begin, size_t end) {
  const taker *t = user;
  double own[SLAB * PRN_LANES], stats[PRN_PROFILE_VECTORS][PRN_LANES];
  (void)chunk;
  for (int64_t s = 0; s < t->n; s += SLAB)
    for (size_t i = begin; i < end; i++) {
      const panel *p = &t->panels[i];
      int64_t n = t->n - s < SLAB ? t->n - s : SLAB;
      double *x = t->tiles ? tile_of(t, i) + s * PRN_LANES : own;
      prn_vectors_load(&t->v, p->first, p->lanes, t->at + s, n, x);
      prn_panel_statistics(x, n, stats);
      combine(t, p, stats, t->o->count + s, n);
    }
}

/* ---- second moments ---- */

/* Adds the products of two panels to their place, and beyond the diagonal when
 * nothing more comes. */
static void add_products(const taker *t, const panel *p, const panel *q,
                         double (*sums)[PRN_LANES]) {
  double *m = t->moments + p->moments, n = (double)t->n;
  double share = n / ((double)t->o->count + n);
  for (int64_t i = 0; i < p->lanes; i++) {
    double *row = m + (p->row + i) * p->side + q->row;
    for (int64_t j = 0; j < q->lanes; j++)
      row[j] += share * (sums[i][j] / n - row[j]);
  }
  for (int64_t j = 0; t->last && j < q->lanes; j++)
    for (int64_t i = 0; i < p->lanes; i++)
      m[(q->row + j) * p->side + p->row + i] =
          m[(p->row + i) * p->side + q->row + j];
}

static void multiply_panels(void *user, size_t chunk, size_t begin,
                            size_t end) {
  const taker *t = user;
  (void)chunk;
  for (size_t j = begin; j < t->panels[end - 1].end; j++)
    for (size_t i = begin; i < end && i <= j; i++) {
      double sums[PRN_LANES][PRN_LANES] = {{0}};
      if (j >= t->panels[i].end) continue;
      for (int64_t s = 0; s < t->n; s += SLAB)
        prn_panel_product(tile_of(t, i) + s * PRN_LANES,
                          tile_of(t, j) + s * PRN_LANES,
                          t->n - s < SLAB ? t->n - s : SLAB, sums);
      add_products(t, &t->panels[i], &t->panels[j], sums);
    }
}

/* ---- a sample ---- */

/* Memory for panels, tiles and the observation; false when there is none. */
static bool prepare(taker *t) {
  size_t size;
  t->o->channels = t->v.width;
  double *block = prn_profile_own(t->o);
  if (!block || !cut(t)) return false;
  t->rows = t->v.count;
  if (prn_observation_block(t->o) == 0) return true;
  t->rows = TILE_DOUBLES / (int64_t)(t->size * PRN_LANES) / SLAB;
  t->rows = SLAB * (t->rows < 1           ? 1
                    : t->rows > MAX_SLABS ? MAX_SLABS
                                          : t->rows);
  if (!prn_mul_size(t->size, (size_t)t->rows * PRN_LANES * sizeof *t->tiles,
                    &size))
    return false;
  t->tiles = prn_try_alloc(size);
  t->moments = block + PRN_PROFILE_VECTORS * (size_t)t->o->channels;
  return t->tiles != NULL;
}

static void take(taker *t, unsigned threads) {
  int64_t run = prn_observation_block(t->o);
  for (; t->at < t->v.count; t->at += t->n) {
    double work = (double)t->o->channels * (double)(run + 8);
    int64_t left = t->v.count - t->at;
    t->n = left < t->rows ? left : t->rows;
    t->last = t->n == left;
    unsigned use = work * (double)t->n < WORTH ? 1 : threads;
    prn_parallel_for(use, t->size, TOGETHER, take_panels, t);
    if (t->moments)
      prn_parallel_for(use, t->size, TOGETHER, multiply_panels, t);
    t->o->count += t->n;
  }
}

static bool all_finite(const prn_observation *o) {
  for (int64_t i = 0; i < o->channels; i++)
    if (!isfinite(o->variance[i])) return false;
  return true;
}

prn_status prn_profile_observe(prn_profile *p, size_t index,
                               const prn_sample *sample, unsigned threads,
                               prn_diag_sink *sink) {
  taker t = {.o = &p->at[index]};
  PRN_TRY(prn_vectors_of(sample, t.o, &t.v, sink));
  if (t.v.count == 0 || t.v.width == 0) return PRN_OK;
  bool ready = prepare(&t);
  if (ready) take(&t, threads);
  prn_free(t.tiles);
  prn_free(t.panels);
  if (!ready)
    return prn_observation_error(
        sink, t.o, "has %lld channels: no memory for their statistics",
        (long long)t.v.width);
  return all_finite(t.o)
             ? PRN_OK
             : prn_observation_error(sink, t.o, "holds a NaN or an infinity");
}
