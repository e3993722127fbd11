/* columns, gather: results as lists of the steps of the depth that count.
 *
 * A panel is `group` neighbouring results; an entry is a step k at which any
 * of them has a weight, with the group's weights there. All sizes below are
 * in bytes, each part starts at a multiple of 64:
 *
 *   u32 start[panels + 1]        first entry of each panel, in units
 *   f32 values[entries][group]
 *   u16 k[entries]
 *
 * `columns` has units of one entry. `gather` is the same with group 1 and
 * units of 8, so that entries can be read as vectors: a list is filled up
 * with zeros at its last k, which bring nothing in that was not there. */
#include <string.h>

#include "ir/pack/columns.h"
#include "ir/pack/formats.h"
#include "ir/support/arena.h"

enum { LINE = 64, STRIP = 64 }; /* results read at a time, at least */

typedef struct walk {
  const prn_packing *p;
  int64_t group, unit, rows; /* of a strip */
  float *strip;              /* [rows][k] */
} walk;

static walk begin(const prn_packing *p, int64_t group, int64_t unit) {
  walk w = {.p = p, .group = group, .unit = unit};
  w.rows = group < STRIP ? STRIP / group * group : group;
  w.strip = prn_alloc(prn_array_size(
      prn_array_size((size_t)w.rows, (size_t)p->k), sizeof *w.strip));
  return w;
}

typedef void panel_fn(const walk *w, const float *rows, void *user);

static void each_panel(walk *w, panel_fn *f, void *user) {
  for (int64_t n0 = 0; n0 < w->p->n; n0 += w->rows) {
    prn_packing_rows(w->p, n0, w->rows, w->strip);
    for (int64_t r = 0; r < w->rows && n0 + r < w->p->n; r += w->group)
      f(w, w->strip + r * w->p->k, user);
  }
}

static bool any(const walk *w, const float *rows, int64_t k) {
  for (int64_t r = 0; r < w->group; r++)
    if (!(rows[r * w->p->k + k] == 0)) return true;
  return false;
}

static int64_t padded(const walk *w, int64_t entries) {
  return (entries + w->unit - 1) / w->unit * w->unit;
}

static int64_t entries_of(const walk *w, const float *rows) {
  int64_t n = 0;
  for (int64_t i = 0; i < w->p->k; i++)
    n += any(w, rows, i);
  return padded(w, n);
}

static void count(const walk *w, const float *rows, void *user) {
  *(int64_t *)user += entries_of(w, rows);
}

static bool round_up(int64_t n, int64_t *out) {
  if (!prn_add_i64(n, LINE - 1, out)) return false;
  *out -= *out % LINE;
  return true;
}

/* Bytes of start; false when a matrix has none of these forms. */
static bool table_size(const prn_packing *p, int64_t group, int64_t *bytes) {
  int64_t panels;
  if (!prn_packing_is_matrix(p) || p->dtype != PRN_F32 || group < 1 ||
      p->k > PRN_COLUMNS_DEPTH || !prn_add_i64(p->n, group - 1, &panels))
    return false;
  panels /= group;
  return panels < INT32_MAX && round_up((panels + 1) * 4, bytes);
}

static bool size(const prn_packing *p, int64_t group, int64_t unit,
                 int64_t *bytes) {
  int64_t table, values, indices, entries = 0;
  if (!table_size(p, group, &table)) return false;
  walk w = begin(p, group, unit);
  each_panel(&w, count, &entries);
  prn_free(w.strip);
  return entries / unit <= UINT32_MAX &&
         prn_mul_i64(entries, 4 * group, &values) &&
         round_up(values, &values) && round_up(entries * 2, &indices) &&
         prn_add_i64(table, values, bytes) &&
         prn_add_i64(*bytes, indices, bytes);
}

/* ---- writing ---- */

typedef struct out {
  prn_pack_put *put;
  void *user;
  int64_t at; /* bytes put */
  uint32_t unit;
  float *values;
  uint16_t *k;
} out;

static void put(out *o, const void *data, int64_t bytes) {
  if (bytes) o->put(o->user, data, (size_t)bytes);
  o->at += bytes;
}

static void align(out *o) {
  static const char zeros[LINE];
  put(o, zeros, (LINE - o->at % LINE) % LINE);
}

static void put_start(const walk *w, const float *rows, void *user) {
  out *o = user;
  o->unit += (uint32_t)(entries_of(w, rows) / w->unit);
  put(o, &o->unit, sizeof o->unit);
}

static void put_values(const walk *w, const float *rows, void *user) {
  out *o = user;
  float *v = o->values;
  for (int64_t i = 0; i < w->p->k; i++) {
    if (!any(w, rows, i)) continue;
    for (int64_t r = 0; r < w->group; r++)
      *v++ = rows[r * w->p->k + i];
  }
  int64_t n = (v - o->values) / w->group, all = padded(w, n);
  memset(v, 0, (size_t)((all - n) * w->group) * sizeof *v);
  put(o, o->values, all * w->group * (int64_t)sizeof *v);
}

static void put_indices(const walk *w, const float *rows, void *user) {
  out *o = user;
  int64_t n = 0;
  for (int64_t i = 0; i < w->p->k; i++)
    if (any(w, rows, i)) o->k[n++] = (uint16_t)i;
  for (; n % w->unit; n++)
    o->k[n] = o->k[n - 1];
  put(o, o->k, n * (int64_t)sizeof *o->k);
}

static void write(const prn_packing *p, int64_t group, int64_t unit,
                  prn_pack_put *to, void *user) {
  walk w = begin(p, group, unit);
  out o = {.put = to, .user = user};
  size_t most = (size_t)padded(&w, p->k);
  o.values = prn_alloc(
      prn_array_size(prn_array_size(most, (size_t)group), sizeof *o.values));
  o.k = prn_alloc(prn_array_size(most, sizeof *o.k));
  put(&o, &o.unit, sizeof o.unit);
  each_panel(&w, put_start, &o);
  align(&o);
  each_panel(&w, put_values, &o);
  align(&o);
  each_panel(&w, put_indices, &o);
  align(&o);
  prn_free(o.k);
  prn_free(o.values);
  prn_free(w.strip);
}

/* ---- the formats ---- */

static bool columns_size(const prn_packing *p, int64_t *bytes) {
  return p->group % 4 == 0 && p->group <= 64 && size(p, p->group, 1, bytes);
}

static void columns_write(const prn_packing *p, prn_pack_put *to, void *user) {
  write(p, p->group, 1, to, user);
}

static bool gather_size(const prn_packing *p, int64_t *bytes) {
  return size(p, 1, PRN_GATHER_UNIT, bytes);
}

static void gather_write(const prn_packing *p, prn_pack_put *to, void *user) {
  write(p, 1, PRN_GATHER_UNIT, to, user);
}

const prn_pack_format prn_pack_columns = {"columns", columns_size,
                                          columns_write, false};
const prn_pack_format prn_pack_gather = {"gather", gather_size, gather_write,
                                         false};

int64_t prn_columns_values(int64_t n, int64_t group) {
  int64_t panels = (n + group - 1) / group;
  return ((panels + 1) * 4 + LINE - 1) / LINE * LINE;
}
