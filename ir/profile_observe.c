/* Statistics of one sample of a value, added to what was seen before.
 *
 * A sample is taken in tiles of some vectors, as doubles, vector by vector. A
 * tile's own statistics are combined with those before, so that sums stay
 * short. Second moments are sums while a sample is taken and means otherwise;
 * only blocks on and above the diagonal are computed, each by one thread. */
#include <math.h>
#include <string.h>

#include "ir/profile_block.h"
#include "ir/support/parallel.h"
#include "ir/tensor.h"

enum {
  TILE_DOUBLES = 1 << 16, /* of a tile without moments */
  TILE_VECTORS = 256,     /* at most; of one with moments always */
  BLOCK = 64,             /* rows and columns of moments at a time */
  QUAD = 4,
};

typedef struct taker {
  const prn_sample *sample;
  int64_t outer, channels, inner; /* sizes before, of and behind the axis */
  int64_t rows;                   /* vectors of a tile */
  double *tile;                   /* [rows][channels] */
  double *stats;                  /* of the tile: PRN_PROFILE_VECTORS */
  double *moments;                /* sums, or NULL */
} taker;

/* ---- a tile ---- */

static double element(const prn_sample *s, int64_t i) {
  if (s->dtype == PRN_F32) return (double)((const float *)s->data)[i];
  return prn_element_to_f64(s->dtype, s->data, i);
}

/* Vectors [at, at+n). */
static void load(const taker *t, int64_t at, int64_t n) {
  for (int64_t r = 0; r < n; r++) {
    int64_t o = (at + r) / t->inner, in = (at + r) % t->inner;
    double *row = t->tile + r * t->channels;
    int64_t base = o * t->channels * t->inner + in;
    for (int64_t c = 0; c < t->channels; c++)
      row[c] = element(t->sample, base + c * t->inner);
  }
}

static void summarise(const taker *t, int64_t n) {
  size_t c = (size_t)t->channels;
  double *mean = t->stats, *variance = mean + c, *absolute = mean + 2 * c,
         *positive = mean + 3 * c, scale = 1 / (double)n;
  memset(mean, 0, PRN_PROFILE_VECTORS * c * sizeof *mean);
  for (int64_t r = 0; r < n; r++) {
    const double *x = t->tile + (size_t)r * c;
    for (size_t i = 0; i < c; i++) {
      mean[i] += x[i];
      absolute[i] += fabs(x[i]);
      positive[i] += x[i] > 0 ? 1 : 0;
    }
  }
  for (size_t i = 0; i < c; i++) {
    mean[i] *= scale;
    absolute[i] *= scale;
    positive[i] *= scale;
  }
  for (int64_t r = 0; r < n; r++) {
    const double *x = t->tile + (size_t)r * c;
    for (size_t i = 0; i < c; i++)
      variance[i] += (x[i] - mean[i]) * (x[i] - mean[i]);
  }
  for (size_t i = 0; i < c; i++)
    variance[i] *= scale;
}

/* ---- second moments ---- */

typedef struct product {
  const taker *t;
  int64_t n;     /* vectors */
  size_t blocks; /* along a side */
} product;

/* moments[i..i+4, from..to) += sums over the tile's vectors. */
static void add_rows(const product *p, size_t i, size_t rows, size_t from,
                     size_t to) {
  size_t c = (size_t)p->t->channels;
  double sums[QUAD][BLOCK] = {{0}};
  for (int64_t r = 0; r < p->n; r++) {
    const double *x = p->t->tile + (size_t)r * c;
    double a[QUAD] = {0};
    memcpy(a, x + i, rows * sizeof *a);
    for (size_t j = from; j < to; j++)
      for (size_t k = 0; k < QUAD; k++)
        sums[k][j - from] += a[k] * x[j];
  }
  for (size_t k = 0; k < rows; k++)
    for (size_t j = from; j < to; j++)
      p->t->moments[(i + k) * c + j] += sums[k][j - from];
}

/* Block rows, numbered; those far down have fewer blocks. */
static void add_block_row(void *user, size_t chunk, size_t begin, size_t end) {
  const product *p = user;
  size_t c = (size_t)p->t->channels;
  (void)chunk;
  for (size_t b = begin; b < end; b++)
    for (size_t j = b; j < p->blocks; j++) {
      size_t to = (j + 1) * BLOCK < c ? (j + 1) * BLOCK : c;
      size_t stop = (b + 1) * BLOCK < c ? (b + 1) * BLOCK : c;
      for (size_t i = b * BLOCK; i < stop; i += QUAD)
        add_rows(p, i, stop - i < QUAD ? stop - i : QUAD, j * BLOCK, to);
    }
}

static void add_moments(const taker *t, int64_t n, unsigned threads) {
  product p = {t, n, ((size_t)t->channels + BLOCK - 1) / BLOCK};
  prn_parallel_for(threads, p.blocks, 1, add_block_row, &p);
}

static void scale_moments(const taker *t, double by) {
  size_t c = (size_t)t->channels;
  for (size_t i = 0; i < c; i++)
    for (size_t j = i; j < c; j++) {
      double v = t->moments[i * c + j] * by;
      t->moments[i * c + j] = v;
      t->moments[j * c + i] = v;
    }
}

/* ---- a sample ---- */

PRN_PRINTF(3, 4)
static prn_status fail(prn_diag_sink *sink, const prn_observation *o,
                       const char *fmt, ...) {
  prn_strbuf b = {0};
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(&b, fmt, ap);
  va_end(ap);
  (void)prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                      "value '%.*s' %s", PRN_STR_ARG(o->value), b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

static prn_status measure(const prn_sample *s, prn_observation *o, taker *t,
                          prn_diag_sink *sink) {
  int64_t axis = o->axis < 0 ? o->axis + s->rank : o->axis;
  *t = (taker){.sample = s, .outer = 1, .inner = 1};
  if (!prn_dtype_is_float(s->dtype))
    return fail(sink, o, "is of type %s, not of floats",
                prn_dtype_name(s->dtype));
  if (axis < 0 || axis >= s->rank)
    return fail(sink, o, "has %d dimensions and no axis %d", (int)s->rank,
                (int)o->axis);
  for (int32_t i = 0; i < s->rank; i++)
    if (i != axis) *(i < axis ? &t->outer : &t->inner) *= s->dims[i];
  t->channels = s->dims[axis];
  if (o->count && o->channels != t->channels)
    return fail(sink, o, "has %lld channels where it had %lld before",
                (long long)t->channels, (long long)o->channels);
  return PRN_OK;
}

/* Memory for tiles and for the observation; false when there is none. */
static bool prepare(taker *t, prn_observation *o, bool full) {
  size_t size;
  o->channels = t->channels;
  double *block = prn_profile_own(o, full);
  t->rows = full ? TILE_VECTORS : TILE_DOUBLES / t->channels;
  if (t->rows > TILE_VECTORS) t->rows = TILE_VECTORS;
  if (t->rows < 1) t->rows = 1;
  if (!block || !prn_mul_size((size_t)t->channels,
                              (size_t)t->rows + PRN_PROFILE_VECTORS, &size))
    return false;
  t->tile = prn_try_alloc(size * sizeof *t->tile);
  t->stats = t->tile + t->rows * t->channels;
  if (full) t->moments = block + PRN_PROFILE_VECTORS * (size_t)t->channels;
  return t->tile != NULL;
}

static void take(const taker *t, prn_observation *o, unsigned threads) {
  int64_t vectors = t->outer * t->inner;
  if (t->moments) scale_moments(t, (double)o->count);
  for (int64_t at = 0; at < vectors; at += t->rows) {
    int64_t n = vectors - at < t->rows ? vectors - at : t->rows;
    load(t, at, n);
    summarise(t, n);
    prn_profile_combine(o->own, o->count, t->stats, n, t->channels);
    if (t->moments) add_moments(t, n, threads);
    o->count += n;
  }
  if (t->moments) scale_moments(t, 1 / (double)o->count);
}

static bool all_finite(const prn_observation *o) {
  for (int64_t i = 0; i < o->channels; i++)
    if (!isfinite(o->variance[i])) return false;
  return true;
}

prn_status prn_profile_observe(prn_profile *p, size_t index,
                               const prn_sample *sample, unsigned threads,
                               prn_diag_sink *sink) {
  prn_observation *o = &p->at[index];
  taker t;
  PRN_TRY(measure(sample, o, &t, sink));
  if (t.outer == 0 || t.inner == 0 || t.channels == 0) return PRN_OK;
  if (!prepare(&t, o, p->full))
    return fail(sink, o, "has %lld channels: no memory for their statistics",
                (long long)t.channels);
  take(&t, o, threads);
  prn_free(t.tile);
  return all_finite(o) ? PRN_OK : fail(sink, o, "holds a NaN or an infinity");
}
