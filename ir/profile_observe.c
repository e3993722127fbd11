/* Statistics of one sample of a value, added to what was seen before.
 *
 * Vectors are taken in slabs, as panels of some channels each (see
 * ir/profile_vectors.h), by whichever thread comes first: a panel's statistics
 * and the products of two panels are sums in the order of the vectors, whoever
 * takes them. The sums of a slab are combined with those before, so that sums
 * stay short. Second moments are computed on and above the diagonal, and
 * mirrored when all samples were taken. */
#include <math.h>
#include <string.h>

#include "ir/profile_vectors.h"
#include "ir/support/parallel.h"

enum {
  SLAB = 256,            /* vectors */
  MAX_SLABS = 16,        /* at a time */
  TILE_FLOATS = 1 << 20, /* of all panels, where a slab is not more */
  TOGETHER = 4,          /* panels that a thread takes at once */
  WORTH = 1 << 20,       /* multiplications, for which threads are started */
};

/* Neighbouring channels of one block of moments. */
typedef struct panel {
  int64_t first, lanes; /* of all channels */
  size_t begin, end;    /* the panels of its block */
  int64_t row;          /* of the first channel, in its block */
  int64_t side;         /* of the block */
  size_t moments;       /* where the block is */
} panel;

typedef struct taker {
  prn_vectors v, before; /* the latter when the observation is paired */
  prn_observation *o;
  panel *panels;
  size_t size;
  int64_t rows;  /* vectors that tiles have room for */
  float *tiles;  /* [panels][rows][LANES]; NULL without moments */
  float *others; /* the same of what was before, or NULL */
  prn_shift *shifts, *other_shifts; /* [panels], of these */
  double *moments;                  /* of the observation, or NULL */
  double *earlier, *cross;          /* of the observation, or NULL */
  int64_t at, n;                    /* vectors that are being taken */
} taker;

/* ---- panels ---- */

static float *tile_of(const taker *t, float *tiles, size_t p) {
  return tiles + (int64_t)p * t->rows * PRN_LANES;
}

/* The panels of block [first, first + side). */
static void cut_block(taker *t, int64_t first, int64_t side, size_t moments) {
  size_t begin = t->size;
  size_t end = begin + (size_t)((side + PRN_LANES - 1) / PRN_LANES);
  for (int64_t row = 0; row < side; row += PRN_LANES)
    t->panels[t->size++] =
        (panel){.first = first + row,
                .lanes = side - row < PRN_LANES ? side - row : PRN_LANES,
                .begin = begin,
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

/* The statistics of what was loaded of panel i, from vector s on; with tiles
 * its place there is filled. What is taken together has one shift. */
static void look(const taker *t, float *tiles, prn_shift *shifts, size_t i,
                 int64_t s, int64_t n, const double *x,
                 double (*stats)[PRN_LANES]) {
  float *to = tiles ? tile_of(t, tiles, i) + s * PRN_LANES : NULL;
  if (tiles && s == 0) memset(&shifts[i], 0, sizeof shifts[i]);
  prn_panel_statistics(x, n, tiles ? &shifts[i] : NULL, to, stats);
}

/* What panel i was before, and its mean. */
static void take_other(const taker *t, size_t i, int64_t s, int64_t n,
                       double *x) {
  const panel *p = &t->panels[i];
  double stats[PRN_PROFILE_VECTORS][PRN_LANES];
  double share = (double)n / ((double)(t->o->count + s) + (double)n);
  prn_vectors_load(&t->before, p->first, p->lanes, t->at + s, n, x);
  look(t, t->others, t->other_shifts, i, s, n, x, stats);
  for (int64_t l = 0; l < p->lanes; l++) {
    double *mean = t->earlier + p->first + l;
    *mean += share * (stats[0][l] - *mean);
  }
}

/* Loads vectors [at, at+n) of some panels, and their statistics. */
static void take_panels(void *user, size_t chunk, size_t begin, size_t end) {
  const taker *t = user;
  double x[SLAB * PRN_LANES], stats[PRN_PROFILE_VECTORS][PRN_LANES];
  (void)chunk;
  for (int64_t s = 0; s < t->n; s += SLAB)
    for (size_t i = begin; i < end; i++) {
      const panel *p = &t->panels[i];
      int64_t n = t->n - s < SLAB ? t->n - s : SLAB;
      prn_vectors_load(&t->v, p->first, p->lanes, t->at + s, n, x);
      look(t, t->tiles, t->shifts, i, s, n, x, stats);
      combine(t, p, stats, t->o->count + s, n);
      if (t->others) take_other(t, i, s, n, x);
    }
}

/* ---- second moments ---- */

/* The products of panel i of `a` and panel j of the tiles. */
static void multiply(const taker *t, float *a, const prn_shift *shifts,
                     size_t i, size_t j, double *m) {
  double sums[PRN_LANES][PRN_LANES] = {{0}};
  const float *x = tile_of(t, a, i), *y = tile_of(t, t->tiles, j);
  for (int64_t s = 0; s < t->n; s += SLAB)
    prn_panel_product(x + s * PRN_LANES, y + s * PRN_LANES,
                      t->n - s < SLAB ? t->n - s : SLAB, sums);
  const panel *p = &t->panels[i], *q = &t->panels[j];
  double share = (double)t->n / ((double)t->o->count + (double)t->n);
  prn_panel_combine(sums, &shifts[i], &t->shifts[j], p->lanes, q->lanes, t->n,
                    share, p->side, m + p->row * p->side + q->row);
}

static void multiply_panels(void *user, size_t chunk, size_t begin,
                            size_t end) {
  const taker *t = user;
  (void)chunk;
  for (size_t j = t->panels[begin].begin; j < t->panels[end - 1].end; j++)
    for (size_t i = begin; i < end; i++) {
      const panel *p = &t->panels[i];
      if (j < p->begin || j >= p->end) continue;
      if (t->cross)
        multiply(t, t->others, t->other_shifts, i, j, t->cross + p->moments);
      if (j < i) continue;
      multiply(t, t->tiles, t->shifts, i, j, t->moments + p->moments);
    }
}

/* ---- a sample ---- */

/* Memory for panels, tiles and the observation; false when there is none. */
static bool prepare(taker *t) {
  size_t size, sets = t->o->paired ? 2 : 1;
  prn_observation *o = t->o;
  o->channels = t->v.width;
  double *block = prn_profile_own(o);
  if (!block || !cut(t)) return false;
  t->rows = t->v.count;
  if (prn_observation_block(o) == 0) return true;
  t->rows = TILE_FLOATS / (int64_t)(t->size * PRN_LANES) / SLAB;
  t->rows = SLAB * (t->rows < 1           ? 1
                    : t->rows > MAX_SLABS ? MAX_SLABS
                                          : t->rows);
  if (!prn_mul_size(t->size * sets,
                    (size_t)t->rows * PRN_LANES * sizeof *t->tiles, &size))
    return false;
  t->tiles = prn_try_alloc(size);
  t->shifts = prn_try_alloc(prn_array_size(t->size * sets, sizeof *t->shifts));
  t->moments = block + (o->moments - o->mean);
  if (o->paired) {
    t->others = tile_of(t, t->tiles, t->size);
    t->other_shifts = t->shifts + t->size;
    t->earlier = block + (o->before - o->mean);
    t->cross = block + (o->cross - o->mean);
  }
  return t->tiles && t->shifts;
}

static void take(taker *t, unsigned threads) {
  int64_t run = prn_observation_block(t->o);
  for (; t->at < t->v.count; t->at += t->n) {
    double work = (double)t->o->channels * (double)(run + 8);
    int64_t left = t->v.count - t->at;
    t->n = left < t->rows ? left : t->rows;
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

static prn_status open_before(taker *t, const prn_sample *before,
                              prn_diag_sink *sink) {
  PRN_TRY(prn_vectors_of(before, t->o, &t->before, sink));
  if (t->before.count == t->v.count && t->before.width == t->v.width)
    return PRN_OK;
  return prn_observation_error(
      sink, t->o,
      "is %lld vectors of %lld channels, but %lld of %lld in the "
      "reference",
      (long long)t->v.count, (long long)t->v.width, (long long)t->before.count,
      (long long)t->before.width);
}

prn_status prn_profile_observe_pair(prn_profile *p, size_t index,
                                    const prn_sample *sample,
                                    const prn_sample *before, unsigned threads,
                                    prn_diag_sink *sink) {
  taker t = {.o = &p->at[index]};
  t.o->paired = before && t.o->block;
  PRN_TRY(prn_vectors_of(sample, t.o, &t.v, sink));
  if (t.o->paired) PRN_TRY(open_before(&t, before, sink));
  if (t.v.count == 0 || t.v.width == 0) return PRN_OK;
  bool ready = prepare(&t);
  t.o->unsettled = t.moments != NULL;
  if (ready) take(&t, threads);
  prn_free(t.tiles);
  prn_free(t.shifts);
  prn_free(t.panels);
  if (!ready)
    return prn_observation_error(
        sink, t.o, "has %lld channels: no memory for their statistics",
        (long long)t.v.width);
  return all_finite(t.o)
             ? PRN_OK
             : prn_observation_error(sink, t.o, "holds a NaN or an infinity");
}

prn_status prn_profile_observe(prn_profile *p, size_t index,
                               const prn_sample *sample, unsigned threads,
                               prn_diag_sink *sink) {
  return prn_profile_observe_pair(p, index, sample, NULL, threads, sink);
}

/* ---- the end of it ---- */

/* Below the diagonal becomes what is above, tile by tile. */
static void mirror(double *m, int64_t side) {
  for (int64_t i = 0; i < side; i += PRN_LANES)
    for (int64_t j = i; j < side; j += PRN_LANES)
      for (int64_t r = i; r < side && r < i + PRN_LANES; r++)
        for (int64_t c = j < r ? r : j; c < side && c < j + PRN_LANES; c++)
          m[c * side + r] = m[r * side + c];
}

void prn_profile_settle(prn_profile *p) {
  for (size_t i = 0; i < p->size; i++) {
    prn_observation *o = &p->at[i];
    if (!o->unsettled) continue;
    int64_t n = prn_observation_group(o), b = prn_observation_block(o);
    double *m = o->own + (o->moments - o->mean);
    for (int64_t g = 0; g < o->channels; g += n)
      for (int64_t at = 0; at < n; at += b) {
        int64_t side = n - at < b ? n - at : b;
        mirror(m, side);
        m += side * side;
      }
    o->unsettled = false;
  }
}
