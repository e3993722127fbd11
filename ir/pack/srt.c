/* Sparse register tiling; see srt.h. */
#include "ir/pack/srt.h"

#include <string.h>

#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { PATTERNS = 1 << PRN_SRT_MAX_GROUP };

int prn_srt_order(int group, int *out) {
  int n = 0;
  for (int bits = group; bits > 0; bits--)
    for (int p = 1; p < 1 << group; p++) {
      int have = 0;
      for (int r = 0; r < group; r++)
        have += p >> r & 1;
      if (have == bits) out[n++] = p;
    }
  return n;
}

/* ---- a tile: the rows of a block by the steps of a panel ---- */

typedef struct tile {
  const prn_packing *p;
  int64_t n0, rows, k0, steps;
  float *values;       /* [rows + 3][depth] */
  unsigned char *seen; /* pattern of each step */
  int order[PATTERNS];
  int patterns;
  int index_size;
} tile;

static void read_tile(tile *t) {
  const prn_packing *p = t->p;
  float run[512];
  for (int64_t r = 0; p->nk && r < t->rows; r++)
    prn_tensor_read_f32(p->t, (t->n0 + r) * p->k + t->k0, t->steps,
                        t->values + r * p->depth);
  for (int64_t i = 0; !p->nk && i < t->steps; i++)
    for (int64_t r0 = 0; r0 < t->rows; r0 += (int64_t)PRN_COUNT(run)) {
      int64_t some = t->rows - r0;
      if (some > (int64_t)PRN_COUNT(run)) some = (int64_t)PRN_COUNT(run);
      prn_tensor_read_f32(p->t, (t->k0 + i) * p->n + t->n0 + r0, some, run);
      for (int64_t r = 0; r < some; r++)
        t->values[(r0 + r) * p->depth + i] = run[r];
    }
  /* The last group may be short: rows that are not there are zeros. */
  memset(t->values + t->rows * p->depth, 0,
         (size_t)((PRN_SRT_MAX_GROUP - 1) * p->depth) * sizeof *t->values);
}

/* Patterns of a group and how often each occurs. */
static void classify(tile *t, const float *rows, uint16_t *count) {
  int64_t group = t->p->group, depth = t->p->depth;
  memset(t->seen, 0, (size_t)t->steps);
  for (int64_t r = 0; r < group; r++)
    for (int64_t i = 0; i < t->steps; i++)
      t->seen[i] |= (unsigned char)(!(rows[r * depth + i] == 0) << r);
  memset(count, 0, PATTERNS * sizeof *count);
  for (int64_t i = 0; i < t->steps; i++)
    count[t->seen[i]]++;
}

static int64_t record_size(const tile *t, uint16_t *count) {
  int64_t indices = 0, values = 0;
  for (int j = 0; j < t->patterns; j++) {
    int p = t->order[j];
    indices += count[p];
    for (int r = 0; r < t->p->group; r++)
      values += p >> r & 1 ? count[p] : 0;
  }
  if (t->index_size == 2) indices += indices & 1;
  count[0] = (uint16_t)indices;
  return (2 << t->p->group) + indices * t->index_size + 4 * values;
}

/* ---- a record ---- */

/* Where the next index and value of each pattern go. */
typedef struct cursors {
  char *index[PATTERNS];
  float *value[PATTERNS];
} cursors;

static void place(const tile *t, const uint16_t *count, char *record,
                  cursors *c) {
  char *index = record + (2 << t->p->group);
  float *value = (float *)(void *)(index + count[0] * t->index_size);
  for (int j = 0; j < t->patterns; j++) {
    int p = t->order[j], rows = 0;
    for (int r = 0; r < t->p->group; r++)
      rows += p >> r & 1;
    c->index[p] = index;
    c->value[p] = value;
    index += count[p] * t->index_size;
    value += count[p] * rows;
  }
}

static void put_index(const tile *t, int64_t i, char *at) {
  if (t->p->offsets) {
    memcpy(at, &t->p->offsets[t->k0 + i], sizeof(int32_t));
  } else {
    uint16_t index = (uint16_t)i;
    memcpy(at, &index, sizeof index);
  }
}

static void fill(const tile *t, const float *rows, const uint16_t *count,
                 char *record) {
  cursors c;
  int64_t group = t->p->group, depth = t->p->depth;
  memcpy(record, count, (size_t)2 << group);
  place(t, count, record, &c);
  for (int64_t i = 0; i < t->steps; i++) {
    unsigned p = t->seen[i];
    if (!p) continue;
    put_index(t, i, c.index[p]);
    c.index[p] += t->index_size;
    for (int64_t r = 0; r < group; r++)
      if (p >> r & 1) *c.value[p]++ = rows[r * depth + i];
  }
}

/* ---- the matrix ---- */

/* Bytes of the block at t->n0; when put is given, writes it. */
static int64_t block(tile *t, char *record, prn_pack_put *put, void *user) {
  const prn_packing *p = t->p;
  int64_t bytes = 0;
  for (t->k0 = 0; t->k0 < p->k; t->k0 += p->depth) {
    t->steps = p->k - t->k0 < p->depth ? p->k - t->k0 : p->depth;
    read_tile(t);
    for (int64_t r = 0; r < t->rows; r += p->group) {
      uint16_t count[PATTERNS];
      const float *rows = t->values + r * p->depth;
      classify(t, rows, count);
      int64_t size = record_size(t, count);
      bytes += size;
      if (!put) continue;
      memset(record, 0, (size_t)size);
      fill(t, rows, count, record);
      put(user, record, (size_t)size);
    }
  }
  return bytes;
}

static bool tile_create(const prn_packing *p, tile *t) {
  int64_t rows, floats;
  if (!prn_packing_is_matrix(p) || p->group < 1 ||
      p->group > PRN_SRT_MAX_GROUP || p->depth < 1 ||
      p->depth > PRN_SRT_MAX_DEPTH || p->nr < p->group || p->nr % p->group)
    return false;
  rows = p->nr < p->n ? p->nr : p->n;
  if (!prn_mul_i64(rows + PRN_SRT_MAX_GROUP, p->depth, &floats)) return false;
  *t = (tile){.p = p, .index_size = p->offsets ? 4 : 2};
  t->patterns = prn_srt_order((int)p->group, t->order);
  t->values = prn_alloc(prn_array_size((size_t)floats, sizeof *t->values));
  t->seen = prn_alloc((size_t)p->depth);
  return true;
}

static void tile_destroy(tile *t) {
  prn_free(t->values);
  prn_free(t->seen);
}

static int64_t block_size(tile *t, int64_t n0) {
  t->n0 = n0;
  t->rows = t->p->n - n0 < t->p->nr ? t->p->n - n0 : t->p->nr;
  return block(t, NULL, NULL, NULL);
}

static bool srt_size(const prn_packing *p, int64_t *bytes) {
  tile t;
  bool fits = true;
  if (!tile_create(p, &t)) return false;
  *bytes = 0;
  for (int64_t n0 = 0; fits && n0 < p->n; n0 += p->nr)
    fits = prn_add_i64(*bytes, block_size(&t, n0) + (int64_t)sizeof(int64_t),
                       bytes);
  tile_destroy(&t);
  return fits;
}

static void srt_write(const prn_packing *p, prn_pack_put *put, void *user) {
  tile t;
  if (!tile_create(p, &t)) return;
  int64_t at = (p->n + p->nr - 1) / p->nr * (int64_t)sizeof at;
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr) {
    put(user, &at, sizeof at);
    at += block_size(&t, n0);
  }
  size_t most = (size_t)(2 << p->group) +
                (size_t)(p->depth + 1) * (4 + 4 * (size_t)p->group);
  char *record = prn_alloc(most);
  for (t.n0 = 0; t.n0 < p->n; t.n0 += p->nr) {
    t.rows = p->n - t.n0 < p->nr ? p->n - t.n0 : p->nr;
    block(&t, record, put, user);
  }
  prn_free(record);
  tile_destroy(&t);
}

const prn_pack_format prn_pack_srt = {"srt", srt_size, srt_write, true};
