/* The formats srt and blocks; see srt.h. */
#include "ir/pack/srt.h"

#include <string.h>

#include "ir/pack/formats.h"
#include "ir/pack/srt_run.h"
#include "ir/support/arena.h"

int64_t prn_srt_cell(prn_dtype t) {
  return t == PRN_I8 ? 4 : t == PRN_BF16 || t == PRN_F16 ? 2 : 1;
}

/* A block of rows being packed, panel by panel. */
typedef struct packer {
  const prn_packing *p;
  int64_t cell, cells;  /* k's in one; of the whole depth */
  int64_t height;       /* rows of a unit */
  int64_t n0, rows;     /* the block */
  int64_t c0, width;    /* the panel's first cell; k's in a row of values */
  float *values;        /* [rows of whole units][width] */
  unsigned char *entry; /* [unit][depth] */
  int32_t *count, *order;
  prn_srt_panel panel;
  prn_srt_run run;
  bool blocks;
  int64_t step;      /* its bytes */
  char *steps;       /* of a run */
  prn_pack_put *put; /* NULL: bytes are only counted */
  void *user;
} packer;

/* ---- a panel ---- */

static void read_values(packer *a) {
  const prn_packing *p = a->p;
  int64_t k0 = a->c0 * a->cell, steps = a->panel.steps * a->cell;
  float run[512];
  if (steps > p->k - k0) steps = p->k - k0;
  if (steps < a->panel.steps * a->cell)
    memset(a->values, 0, (size_t)(a->rows * a->width) * sizeof *a->values);
  for (int64_t r = 0; p->nk && r < a->rows; r++)
    prn_tensor_read_f32(p->t, (a->n0 + r) * p->k + k0, steps,
                        a->values + r * a->width);
  for (int64_t i = 0; !p->nk && i < steps; i++)
    for (int64_t r0 = 0; r0 < a->rows; r0 += (int64_t)PRN_COUNT(run)) {
      int64_t some = a->rows - r0;
      if (some > (int64_t)PRN_COUNT(run)) some = (int64_t)PRN_COUNT(run);
      prn_tensor_read_f32(p->t, (k0 + i) * p->n + a->n0 + r0, some, run);
      for (int64_t r = 0; r < some; r++)
        a->values[(r0 + r) * a->width + i] = run[r];
    }
}

static void mark_row(const packer *a, const float *v, unsigned char *entry) {
  if (a->cell == 1) {
    for (int64_t i = 0; i < a->panel.steps; i++)
      entry[i] |= !(v[i] == 0);
    return;
  }
  for (int64_t i = 0; i < a->panel.steps; i++)
    for (int64_t j = 0; j < a->cell; j++)
      entry[i] |= !(v[i * a->cell + j] == 0);
}

static void mark_entries(packer *a) {
  int64_t units = (a->rows + a->height - 1) / a->height;
  memset(a->entry, 0, (size_t)(units * a->p->depth));
  a->panel.units = units;
  for (int64_t r = 0; r < a->rows; r++)
    mark_row(a, a->values + r * a->width,
             a->entry + r / a->height * a->p->depth);
  for (int64_t u = 0; u < units; u++) {
    int32_t n = 0;
    for (int64_t i = 0; i < a->panel.steps; i++)
      n += a->entry[u * a->p->depth + i];
    a->count[u] = n;
  }
}

/* By falling count, equal ones as they lie. */
static void sort_units(packer *a) {
  int64_t at[PRN_SRT_MAX_DEPTH + 1] = {0}, sum = 0;
  for (int64_t u = 0; u < a->panel.units; u++)
    at[a->count[u]]++;
  for (int64_t c = a->panel.steps; c >= 0; c--) {
    int64_t n = at[c];
    at[c] = sum;
    sum += n;
  }
  for (int64_t u = 0; u < a->panel.units; u++)
    a->order[at[a->count[u]]++] = (int32_t)u;
}

/* ---- a run ---- */

static int64_t even(int64_t halves) { return (halves + 1) / 2 * 2; }

/* Bytes of the parts of the run. */
static int64_t head_bytes(const packer *a) {
  return 2 * even(1 + a->run.splits) + 2 * even(a->run.groups * a->p->group);
}

static int64_t step_bytes(const packer *a) {
  return a->step * a->run.groups * a->run.steps;
}

/* First cell where the unit has an entry; 0 if nowhere. */
static uint16_t first_entry(const packer *a, int32_t unit) {
  if (unit < 0) return 0;
  const unsigned char *e = a->entry + unit * a->p->depth;
  for (int64_t i = 0; i < a->panel.steps; i++)
    if (e[i]) return (uint16_t)i;
  return 0;
}

static void put_head(packer *a) {
  const prn_srt_run *r = &a->run;
  uint16_t head[PRN_SRT_MAX_SPLITS + 2] = {(uint16_t)r->groups};
  uint16_t rows[PRN_SRT_RUN * PRN_SRT_MAX_BLOCK + 1] = {0};
  int64_t n = 0;
  for (int i = 0; i < r->groups; i++)
    for (int u = 0; u < r->units; u++)
      for (int64_t h = 0; h < a->height; h++, n++) {
        int64_t unit = r->group[i].unit[u];
        int64_t row = unit < 0 ? a->rows : unit * a->height + h;
        rows[n] = row < a->rows ? (uint16_t)row : rows[n - 1];
      }
  for (int s = 0; s < r->splits; s++)
    head[1 + s] = (uint16_t)r->count[s];
  a->put(a->user, head, (size_t)even(1 + r->splits) * sizeof *head);
  a->put(a->user, rows, (size_t)even(n) * sizeof *rows);
}

static void put_value(const packer *a, int64_t row, uint16_t cell, char *at) {
  if (row < a->rows)
    prn_pack_cell(a->p->dtype, a->values + row * a->width + cell * a->cell, at);
}

static void put_word(const packer *a, const uint32_t *index, char *out) {
  for (int i = 0; i < PRN_SRT_INDICES && !a->blocks; i++)
    out[i] = (char)(unsigned char)index[i];
  if (a->blocks) memcpy(out, index, sizeof *index);
}

/* One step: the cells of all parts. */
static void put_step(const packer *a, const prn_srt_group *g,
                     const prn_srt_split *split, const uint16_t *cells,
                     char *step) {
  uint32_t index[PRN_SRT_INDICES] = {0};
  char *value = step + PRN_SRT_WORD;
  for (int b = 0; b < split->parts; b++) {
    uint16_t cell = cells[b];
    int unit = 0;
    while (!(split->part[b] >> unit & 1))
      unit++;
    if (cell == PRN_SRT_NONE) {
      index[b] = first_entry(a, g->unit[unit]);
      continue;
    }
    index[b] = cell;
    for (; unit < a->run.units; unit++)
      for (int64_t h = 0; split->part[b] >> unit & 1 && h < a->height; h++)
        put_value(a, g->unit[unit] * a->height + h, cell,
                  value + 4 * (unit * a->height + h));
  }
  put_word(a, index, step);
}

static void put_steps(packer *a) {
  const prn_srt_run *r = &a->run;
  char *at = a->steps;
  memset(at, 0, (size_t)step_bytes(a));
  for (int i = 0; i < r->groups; i++)
    for (int s = 0; s < r->splits; s++)
      for (int32_t t = 0; t < r->count[s]; t++, at += a->step)
        put_step(a, &r->group[i], &r->split[s],
                 r->group[i].steps[s] + t * r->split[s].parts, at);
  a->put(a->user, a->steps, (size_t)step_bytes(a));
}

/* ---- the matrix ---- */

/* Number of runs of the panel. */
static uint32_t cut_runs(packer *a) {
  uint32_t n = 0;
  for (int64_t at = 0; at < a->panel.units; n++)
    at += prn_srt_run_units(&a->run, &a->panel, a->order, at);
  return n;
}

static int64_t put_panel(packer *a) {
  int64_t bytes = sizeof(uint32_t);
  read_values(a);
  mark_entries(a);
  sort_units(a);
  if (a->put) {
    uint32_t runs = cut_runs(a);
    a->put(a->user, &runs, sizeof runs);
  }
  for (int64_t at = 0; at < a->panel.units;) {
    at += prn_srt_run_make(&a->run, &a->panel, a->order, at);
    bytes += head_bytes(a) + step_bytes(a);
    if (!a->put) continue;
    put_head(a);
    put_steps(a);
  }
  return bytes;
}

static int64_t put_block(packer *a, int64_t n0) {
  const prn_packing *p = a->p;
  int64_t bytes = 0;
  a->n0 = n0;
  a->rows = p->n - n0 < p->nr ? p->n - n0 : p->nr;
  for (a->c0 = 0; a->c0 < a->cells; a->c0 += p->depth) {
    a->panel.steps = a->cells - a->c0 < p->depth ? a->cells - a->c0 : p->depth;
    bytes += put_panel(a);
  }
  return bytes;
}

static bool fits(const prn_packing *p, bool blocks) {
  int64_t most = blocks ? PRN_SRT_MAX_BLOCK : PRN_SRT_MAX_GROUP;
  int64_t deep = blocks ? PRN_SRT_MAX_DEPTH : PRN_SRT_NUMBERED;
  return prn_packing_is_matrix(p) && p->group >= 1 && p->group <= most &&
         p->depth >= 1 && p->depth <= deep && p->nr >= p->group &&
         p->nr % p->group == 0 && p->nr <= PRN_SRT_MAX_ROWS;
}

static bool create(const prn_packing *p, bool blocks, packer *a) {
  int64_t rows = p->nr < p->n ? p->nr : p->n, floats;
  if (!fits(p, blocks)) return false;
  *a = (packer){.p = p, .cell = prn_srt_cell(p->dtype)};
  a->cells = (p->k + a->cell - 1) / a->cell;
  a->height = blocks ? p->group : 1;
  a->width = p->depth * a->cell;
  if (!prn_mul_i64(rows, a->width, &floats)) return false;
  size_t units = (size_t)((rows + a->height - 1) / a->height);
  a->values = prn_alloc(prn_array_size((size_t)floats, sizeof *a->values));
  a->entry = prn_alloc(prn_array_size(units, (size_t)p->depth));
  a->count = prn_alloc(prn_array_size(units, sizeof *a->count));
  a->order = prn_alloc(prn_array_size(units, sizeof *a->order));
  a->blocks = blocks;
  a->step = prn_srt_step(p->group);
  a->steps = prn_alloc((size_t)(p->depth * PRN_SRT_RUN * a->step));
  a->panel.entry = a->entry;
  a->panel.stride = p->depth;
  a->panel.count = a->count;
  prn_srt_run_init(&a->run, blocks ? 1 : (int)p->group, p->depth);
  return true;
}

static void destroy(packer *a) {
  prn_srt_run_destroy(&a->run);
  prn_free(a->values);
  prn_free(a->entry);
  prn_free(a->count);
  prn_free(a->order);
  prn_free(a->steps);
}

static bool size_of(const prn_packing *p, bool blocks, int64_t *bytes) {
  packer a;
  bool fit = true;
  if (!create(p, blocks, &a)) return false;
  *bytes = PRN_SRT_SLACK;
  for (int64_t n0 = 0; fit && n0 < p->n; n0 += p->nr)
    fit = prn_add_i64(*bytes, put_block(&a, n0) + (int64_t)sizeof n0, bytes);
  destroy(&a);
  return fit;
}

static void write(const prn_packing *p, bool blocks, prn_pack_put *put,
                  void *user) {
  packer a;
  if (!create(p, blocks, &a)) return;
  int64_t at = (p->n + p->nr - 1) / p->nr * (int64_t)sizeof at;
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr) {
    put(user, &at, sizeof at);
    at += put_block(&a, n0);
  }
  a.put = put;
  a.user = user;
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr)
    put_block(&a, n0);
  put(user, (const char[PRN_SRT_SLACK]){0}, PRN_SRT_SLACK);
  destroy(&a);
}

static bool srt_size(const prn_packing *p, int64_t *bytes) {
  return size_of(p, false, bytes);
}

static void srt_write(const prn_packing *p, prn_pack_put *put, void *user) {
  write(p, false, put, user);
}

static bool blocks_size(const prn_packing *p, int64_t *bytes) {
  return size_of(p, true, bytes);
}

static void blocks_write(const prn_packing *p, prn_pack_put *put, void *user) {
  write(p, true, put, user);
}

const prn_pack_format prn_pack_srt = {"srt", srt_size, srt_write, true};
const prn_pack_format prn_pack_blocks = {"blocks", blocks_size, blocks_write,
                                         true};
