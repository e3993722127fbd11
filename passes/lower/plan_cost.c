/* What formats cost, estimated; see plan.h.
 *
 * Linear families compute block after block of columns. A block of v vectors
 * costs a step for every entry of the weights and, where sums are kept in
 * memory between panels, a record for every group of rows in every panel.
 * What is computed row by row costs at least the reading of the weights.
 *
 * Every estimate is linear in the costs of its family, which is how they are
 * measured (tools/calibrate.c). */
#include "passes/lower/plan.h"

#include <math.h>
#include <string.h>

#include "ir/pack/srt.h"

typedef struct planner {
  const prn_machine *mc;
  const prn_plan_product *p;
  int64_t cell, cells;
} planner;

static double cost(const planner *s, prn_cost c, int64_t vectors) {
  int64_t last = prn_costs[c].values;
  return s->mc->cost[c][(vectors < last ? vectors : last) - 1];
}

static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Work while weights are read from memory. At a power of 1 nothing is hidden;
 * at a high one, all of the lesser behind the greater. */
static double beside_memory(const planner *s, double work, double bytes,
                            double power) {
  double memory = bytes * cost(s, PRN_COST_byte, 1);
  return pow(pow(work, power) + pow(memory, power), 1 / power);
}
/* Loops over dense weights, and over those of sparse tiles, whose loads wait
 * behind those of x. */
static const double smooth = 3, ragged = 1.5;

bool prn_plan_by_panels(const prn_plan_product *p) {
  return p->taps && prn_srt_cell(p->dtype) == 1;
}

/* Vectors of columns of one batch. */
static int64_t vectors_of(const planner *s) {
  return ceildiv(ceildiv(s->p->m, s->p->batches), s->mc->lanes);
}

int64_t prn_plan_width(const prn_machine *mc, const prn_plan_product *p,
                       int64_t most) {
  planner s = {.mc = mc, .p = p};
  int64_t v = vectors_of(&s);
  return ceildiv(v, ceildiv(v, most));
}

/* ---- what products in columns have in common ---- */

static double convert(const planner *s) {
  if (s->cell == 1) return 0;
  return cost(s, PRN_COST_convert, 1) * (double)(s->cells * s->cell) *
         (double)(s->p->batches * vectors_of(s));
}

/* A few rows that are to be columns, and the result: a single one is both. */
static double turn(const planner *s) {
  if (!s->p->rows || s->p->m > PRN_PLAN_FEW || s->p->m == 1) return 0;
  return cost(s, PRN_COST_turn, 1) *
         (double)((s->p->k + s->p->n) * vectors_of(s));
}

/* Unfolding what windows see. */
static double unfold(const planner *s) {
  if (!s->p->taps) return 0;
  return cost(s, PRN_COST_unfold, 1) *
         (double)(s->p->k * s->p->batches * vectors_of(s));
}

static double linear(const planner *s, double compute, double bytes,
                     double power) {
  return beside_memory(s, compute + convert(s), bytes, power) + turn(s);
}

/* ---- dense weights ---- */

/* Vectors of products: blocks of at most `most` vectors, even ones or all but
 * the last as wide as that. */
static double dense_columns(const planner *s, prn_cost c, int64_t most,
                            bool even) {
  int64_t v = vectors_of(s), blocks = ceildiv(v, most);
  int64_t width = even ? ceildiv(v, blocks) : most;
  int64_t rest = v - (blocks - 1) * width;
  double t = (double)((blocks - 1) * width) * cost(s, c, width);
  return (t + (double)rest * cost(s, c, rest)) * (double)s->p->batches;
}

static double dense(const planner *s, prn_cost c, bool even) {
  double entries = (double)s->cells * (double)s->p->n;
  return linear(s, entries * dense_columns(s, c, 4, even), 4 * entries, smooth);
}

static double rows_cost(const planner *s, const prn_plan_choice *c) {
  (void)c;
  bool pairs = s->p->dtype == PRN_BF16 && s->mc->dot16;
  return dense(s,
               s->cell == 1   ? PRN_COST_rows
               : s->cell == 4 ? PRN_COST_rows4
               : pairs        ? PRN_COST_rows2
                              : PRN_COST_widened,
               true) +
         unfold(s);
}

static double winograd_cost(const planner *s, const prn_plan_choice *c) {
  return prn_plan_winograd(s->mc, s->p, c->tile);
}

static double conv_cost(const planner *s, const prn_plan_choice *c) {
  enum { RESULTS = 192 }; /* that an item unfolds for */
  (void)c;
  return dense(s, PRN_COST_conv, false) +
         unfold(s) * (double)ceildiv(s->p->n, RESULTS);
}

/* ---- weights with zeros, by columns ---- */

/* Groups take the steps of their longest row; rows are sorted, and what is
 * wasted is the range of their lengths in each panel. */
static double srt_steps(const planner *s, int64_t depth) {
  double entries = (double)s->p->stats.filled[1];
  double share = entries / ((double)s->cells * (double)s->p->n);
  double range = 2.3 * sqrt((double)depth * share * (1 - share));
  return entries / PRN_SRT_MAX_GROUP +
         range * (double)ceildiv(s->cells, depth) *
             (double)ceildiv(s->p->n, PRN_PLAN_ROWS);
}

/* How often what is somewhere in so many bytes is beyond a level of caches. */
static double share_beyond(const planner *s, double bytes, int64_t level) {
  double near = 1024 * cost(s, PRN_COST_near, level);
  return bytes > near ? 1 - near / bytes : 0;
}

/* Of the x of a panel. */
static double panel_beyond(const planner *s, int64_t depth, int64_t vectors) {
  return share_beyond(s, (double)(depth * vectors * s->mc->lanes * 4), 1);
}

static const struct sparse_costs {
  const char *format;
  int64_t group;
  prn_cost step, record;
} sparse_costs[] = {
    {"srt", PRN_SRT_MAX_GROUP, PRN_COST_srt_step, PRN_COST_srt_record},
    {"blocks", 4, PRN_COST_blocks4_step, PRN_COST_blocks4_record},
    {"blocks", 8, PRN_COST_blocks8_step, PRN_COST_blocks8_record},
    {"blocks", 16, PRN_COST_blocks16_step, PRN_COST_blocks16_record},
};

static const struct sparse_costs *costs_of(const prn_plan_choice *c) {
  size_t i = 0;
  while (strcmp(sparse_costs[i].format, c->format) != 0 ||
         sparse_costs[i].group != c->group)
    i++;
  return &sparse_costs[i];
}

/* Of all groups in all panels: their number, steps, and cells of x that they
 * read. Rows of a group read some together, as many as happen to have an entry
 * there. Every block of rows fetches x anew, unless all of it is near, or made
 * there: unfolded; a share of it from beyond the second cache. */
typedef struct work {
  double records, steps, reads, fetches, beyond;
} work;

static work work_of(const planner *s, const prn_plan_choice *c) {
  double filled = (double)s->p->stats.filled[c->group];
  double x = 4 * (double)s->cells * (double)s->p->m;
  bool made = prn_plan_by_panels(s->p) || share_beyond(s, x, 1) == 0;
  bool blocks = strcmp(c->format, "blocks") == 0;
  return (work){
      .records =
          (double)(ceildiv(s->p->n, c->group) * ceildiv(s->cells, c->depth)),
      .steps = blocks ? filled : srt_steps(s, c->depth),
      .reads = filled,
      .fetches = made ? 0 : (double)(s->cells * ceildiv(s->p->n, c->nr)),
      .beyond = share_beyond(s, x, 2)};
}

static double sparse_block(const planner *s, const prn_plan_choice *c, work w,
                           int64_t vectors) {
  const struct sparse_costs *k = costs_of(c);
  double cells = s->cell == 1   ? 1
                 : s->cell == 2 ? cost(s, PRN_COST_cells2, 1)
                                : cost(s, PRN_COST_cells4, 1);
  bool srt = k->step == PRN_COST_srt_step;
  double read = cost(s, srt ? PRN_COST_srt_far : PRN_COST_blocks_far, 1) *
                (double)vectors * panel_beyond(s, c->depth, vectors);
  if (srt) read += cost(s, PRN_COST_srt_read, vectors);
  return (w.steps * cost(s, k->step, vectors) + w.reads * read) * cells +
         w.records * cost(s, k->record, vectors) +
         w.fetches * w.beyond * cost(s, PRN_COST_fetch_far, 1);
}

static double sparse_cost(const planner *s, const prn_plan_choice *c) {
  int64_t v = vectors_of(s), width = prn_plan_width(s->mc, s->p, c->vectors);
  int64_t blocks = ceildiv(v, width), rest = v - (blocks - 1) * width;
  work w = work_of(s, c);
  double t = (double)(blocks - 1) * sparse_block(s, c, w, width) +
             sparse_block(s, c, w, rest);
  return linear(s, t * (double)s->p->batches,
                w.steps * (double)prn_srt_step(c->group), ragged) +
         unfold(s) * (1 + panel_beyond(s, c->depth, width));
}

/* ---- few rows ---- */

/* Vectors of sums that stay in registers, and those of a panel of results. */
static int64_t sums(const planner *s) {
  return s->mc->registers > 16 ? 24 : 12;
}
static int64_t panel(const planner *s) { return sums(s) / 6; }

/* Rows are computed as many at once as leave their sums in registers, for so
 * many vectors of results; each time all weights are read. The first time they
 * come from memory. */
static double few(const planner *s, prn_cost c, double units, int64_t vectors,
                  double bytes) {
  const double *ab = s->mc->cost[c];
  int64_t m = s->p->m, at_once = vectors ? ceildiv(sums(s), vectors) : m;
  int64_t first = m < at_once ? m : at_once;
  double times = (double)ceildiv(m, at_once);
  double once = units * (ab[0] + ab[1] * (double)first);
  double all = units * (times * ab[0] + (double)m * ab[1]);
  return beside_memory(s, once, bytes, smooth) + all - once;
}

static double all_weights(const planner *s) {
  return (double)s->p->k * (double)s->p->n;
}

static double panels_cost(const planner *s, const prn_plan_choice *c) {
  (void)c;
  double vectors = (double)s->p->k * (double)ceildiv(s->p->n, s->mc->lanes);
  return few(s, PRN_COST_panels, vectors, panel(s), 4 * all_weights(s));
}

static double bitmask_cost(const planner *s, const prn_plan_choice *c) {
  (void)c;
  double all = all_weights(s), nnz = (double)s->p->stats.nnz;
  return few(s, PRN_COST_bitmask, all / 16, panel(s), 4 * nnz + all / 8);
}

static double gather_cost(const planner *s, const prn_plan_choice *c) {
  (void)c;
  double nnz = (double)s->p->stats.nnz, results = (double)(s->p->m * s->p->n);
  return few(s, PRN_COST_gather, nnz, 0, 6 * nnz) +
         results * cost(s, PRN_COST_gather, 3);
}

static double columns_cost(const planner *s, const prn_plan_choice *c) {
  double entries = (double)s->p->stats.filled[c->group];
  int64_t vectors = ceildiv(c->group, s->mc->lanes);
  return few(s, PRN_COST_columns, entries * (double)vectors, vectors,
             entries * (4 * (double)c->group + 2));
}

/* ---- all formats ---- */

static const struct format {
  const char *name;
  double (*cost)(const planner *s, const prn_plan_choice *c);
} formats[] = {
    {"panels", panels_cost},     {"bitmask", bitmask_cost},
    {"gather", gather_cost},     {"columns", columns_cost},
    {"rows", rows_cost},         {"rows2", rows_cost},
    {"rows4", rows_cost},        {"dense", conv_cost},
    {"srt", sparse_cost},        {"blocks", sparse_cost},
    {"winograd", winograd_cost},
};

static const struct format *find(const char *name) {
  for (size_t i = 0; i < PRN_COUNT(formats); i++)
    if (strcmp(formats[i].name, name) == 0) return &formats[i];
  return NULL;
}

bool prn_plan_is_format(const char *name) { return find(name) != NULL; }

prn_plan_product prn_plan_widened(const prn_plan_product *p) {
  prn_plan_product w = *p;
  w.dtype = PRN_F32;
  w.stats = p->wide;
  return w;
}

double prn_plan_cost(const prn_machine *mc, const prn_plan_product *p,
                     const prn_plan_choice *c) {
  prn_plan_product wide = prn_plan_widened(p);
  if (c->wide) p = &wide;
  planner s = {.mc = mc, .p = p, .cell = prn_srt_cell(p->dtype)};
  s.cells = ceildiv(p->k, s.cell);
  return find(c->format)->cost(&s, c);
}
