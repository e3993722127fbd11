/* Estimates; see plan.h.
 *
 * Linear families compute block after block of columns. A block of v vectors
 * costs a step for every entry of the weights and, where sums are kept in
 * memory between panels, a record for every group of rows in every panel.
 * What is computed row by row costs at least the reading of the weights. */
#include "passes/lower/plan.h"

#include <math.h>
#include <string.h>

#include "ir/pack/bitmask.h"
#include "ir/pack/srt.h"

enum { FEW_ROWS = 16, BLOCK_ROWS = 384 };

typedef struct planner {
  const prn_machine *mc;
  const prn_plan_product *p;
  int64_t cell, cells;
  prn_plan_choice *out;
  int n;
} planner;

static double cost(const planner *s, prn_cost c, int64_t vectors) {
  int64_t last = prn_costs[c].values;
  return s->mc->cost[c][(vectors < last ? vectors : last) - 1];
}

static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

static void add(planner *s, prn_plan_choice c) {
  int i = s->n++;
  for (; i > 0 && c.cost < s->out[i - 1].cost; i--)
    s->out[i] = s->out[i - 1];
  s->out[i] = c;
}

/* Time that reading the weights takes, which other work hides. */
static double memory(const planner *s, double bytes) {
  return bytes * cost(s, PRN_COST_byte, 1);
}

/* ---- linear products ---- */

/* Sums over the column blocks of a kernel of at most `most` vectors. */
typedef double block_fn(const planner *s, int64_t vectors, const void *user);

static double all_blocks(const planner *s, int64_t most, block_fn *one,
                         const void *user) {
  int64_t each = ceildiv(s->p->m, s->p->batches);
  int64_t vectors = ceildiv(each, s->mc->lanes);
  int64_t blocks = ceildiv(vectors, most), width = ceildiv(vectors, blocks);
  int64_t rest = vectors - (blocks - 1) * width;
  double t = (double)(blocks - 1) * one(s, width, user);
  return (double)s->p->batches * (t + one(s, rest, user));
}

static double convert(const planner *s) {
  if (s->cell == 1) return 0;
  return cost(s, PRN_COST_convert, 1) * (double)(s->cells * s->cell) *
         (double)ceildiv(s->p->m, s->mc->lanes);
}

/* Products of a few rows that are to be linear turn x and the result. */
static double turn(const planner *s) {
  if (!s->p->rows || s->p->m > FEW_ROWS) return 0;
  return cost(s, PRN_COST_turn, 1) * (double)(s->p->m * (s->p->k + s->p->n));
}

static double unfold(const planner *s) {
  if (!s->p->taps) return 0;
  return cost(s, PRN_COST_unfold, 1) * (double)s->p->k *
         (double)ceildiv(s->p->m, s->mc->lanes);
}

static double linear(const planner *s, double compute, double bytes) {
  return fmax(compute + convert(s), memory(s, bytes)) + turn(s) + unfold(s);
}

/* f32 is unfolded by panels of whole channels. */
static bool by_panels(const planner *s) { return s->p->taps && s->cell == 1; }

static double rows_block(const planner *s, int64_t vectors, const void *user) {
  const prn_cost *c = user;
  return cost(s, *c, vectors) * (double)(vectors * s->cells * s->p->n);
}

static void add_rows(planner *s) {
  static const struct {
    const char *format;
    prn_cost cost;
  } kinds[] = {[1] = {"rows", PRN_COST_rows},
               [2] = {"rows2", PRN_COST_rows2},
               [4] = {"rows4", PRN_COST_rows4}};
  double t = all_blocks(s, 4, rows_block, &kinds[s->cell].cost);
  double bytes = 4 * (double)s->cells * (double)s->p->n;
  const char *format = by_panels(s) ? "dense" : kinds[s->cell].format;
  add(s, (prn_plan_choice){.format = format, .cost = linear(s, t, bytes)});
}

/* A sparse kernel: steps of all groups, records, and their costs. */
typedef struct sparse {
  double steps, records, far; /* far: 0 or 1 */
  prn_cost step, record;
} sparse;

static double sparse_block(const planner *s, int64_t vectors,
                           const void *user) {
  const sparse *k = user;
  double cells = s->cell == 1   ? 1
                 : s->cell == 2 ? cost(s, PRN_COST_cells2, 1)
                                : cost(s, PRN_COST_cells4, 1);
  double step = cost(s, k->step, vectors);
  step += k->far * cost(s, PRN_COST_srt_far, vectors);
  return k->steps * step * cells + k->records * cost(s, k->record, vectors);
}

/* They are unfolded once for all rows. */
static int64_t block_rows(const planner *s, int64_t group) {
  int64_t blocks = by_panels(s) ? 1 : ceildiv(s->p->n, BLOCK_ROWS);
  return ceildiv(ceildiv(s->p->n, blocks), group) * group;
}

/* Of even panels of at most `most` cells: whole channels where there are
 * windows; 0 when none fits. */
static int64_t even_depth(const planner *s, int64_t most) {
  int64_t unit = by_panels(s) ? s->p->taps : 1;
  int64_t all = s->cells / unit, each = most / unit;
  if (each < 1) return 0;
  return ceildiv(all, ceildiv(all, each)) * unit;
}

static prn_plan_choice priced(const planner *s, prn_plan_choice c, sparse k,
                              double bytes) {
  int64_t panels = ceildiv(s->cells, c.depth);
  k.records = (double)(ceildiv(s->p->n, c.group) * panels);
  c.nr = block_rows(s, c.group);
  c.cost = linear(s, all_blocks(s, c.vectors, sparse_block, &k), bytes);
  return c;
}

/* Groups take the steps of their longest row; rows are sorted, and what is
 * wasted is the range of their lengths in each panel. */
static double srt_steps(const planner *s, int64_t depth) {
  double entries = (double)s->p->stats.filled[1];
  double share = entries / ((double)s->cells * (double)s->p->n);
  double range = 2.3 * sqrt((double)depth * share * (1 - share));
  return entries / PRN_SRT_MAX_GROUP + range *
                                           (double)ceildiv(s->cells, depth) *
                                           (double)ceildiv(s->p->n, BLOCK_ROWS);
}

/* Panels whose x stays in the nearest cache, beside what streams through; and
 * deeper ones, which pass fewer sums through memory. */
static void add_srt(planner *s) {
  enum { NEAR = 32 << 10, GROUP = PRN_SRT_MAX_GROUP };
  int64_t most = prn_srt_vectors(GROUP, s->mc->registers);
  prn_plan_choice best = {.cost = INFINITY};
  for (int64_t v = 1; v <= most; v++) {
    int64_t near = NEAR / (v * s->mc->lanes * 4), before = 0;
    for (int64_t limit = 64; limit <= PRN_SRT_NUMBERED; limit += 32) {
      int64_t depth = even_depth(s, limit);
      if (depth == before || depth == 0) continue;
      before = depth;
      double steps = srt_steps(s, depth), far = depth > near;
      sparse k = {.steps = steps,
                  .far = far,
                  .step = PRN_COST_srt_step,
                  .record = PRN_COST_srt_record};
      prn_plan_choice c = {
          .format = "srt", .group = GROUP, .depth = depth, .vectors = v};
      c = priced(s, c, k, steps * (double)prn_srt_step(GROUP));
      if (c.cost < best.cost) best = c;
    }
  }
  if (best.format) add(s, best);
}

/* Rows of a block share what they load: x may be in the second cache. */
static void add_blocks(planner *s) {
  enum { X_BYTES = 256 << 10 };
  static const struct {
    int64_t rows;
    prn_cost step, record;
  } kinds[] = {{4, PRN_COST_blocks4_step, PRN_COST_blocks4_record},
               {8, PRN_COST_blocks8_step, PRN_COST_blocks8_record},
               {16, PRN_COST_blocks16_step, PRN_COST_blocks16_record}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    int64_t r = kinds[i].rows, v = prn_srt_vectors(r, s->mc->registers);
    int64_t most = X_BYTES / (v * s->mc->lanes * 4);
    if (most > PRN_SRT_MAX_DEPTH) most = PRN_SRT_MAX_DEPTH;
    double steps = (double)s->p->stats.filled[r];
    sparse k = {
        .steps = steps, .step = kinds[i].step, .record = kinds[i].record};
    prn_plan_choice c = {.format = "blocks",
                         .group = r,
                         .depth = even_depth(s, most),
                         .vectors = v};
    if (c.depth) add(s, priced(s, c, k, steps * (double)prn_srt_step(r)));
  }
}

/* ---- few rows ---- */

static void add_few(planner *s, const char *format, int64_t group, prn_cost c,
                    double units, double bytes) {
  const double *ab = s->mc->cost[c];
  double compute = units * (ab[0] + ab[1] * (double)s->p->m);
  add(s, (prn_plan_choice){.format = format,
                           .group = group,
                           .cost = fmax(compute, memory(s, bytes))});
}

static void add_all_few(planner *s) {
  const prn_plan_product *p = s->p;
  double all = (double)p->k * (double)p->n, nnz = (double)p->stats.nnz;
  double vectors = (double)p->k * (double)ceildiv(p->n, s->mc->lanes);
  add_few(s, "panels", 0, PRN_COST_panels, vectors, 4 * all);
  if (nnz >= all) return;
  add_few(s, "bitmask", 0, PRN_COST_bitmask, all / 16, 4 * nnz + all / 8);
  if (p->k > UINT16_MAX) return;
  add_few(s, "gather", 0, PRN_COST_gather, nnz, 6 * nnz);
  for (int64_t r = 4; r <= 16; r *= 2) {
    double entries = (double)p->stats.filled[r];
    double each = (double)ceildiv(r, s->mc->lanes);
    add_few(s, "columns", r, PRN_COST_columns, entries * each,
            entries * (4 * (double)r + 2));
  }
}

int prn_plan(const prn_machine *mc, const prn_plan_product *p,
             prn_plan_choice *out) {
  planner s = {.mc = mc, .p = p, .cell = prn_srt_cell(p->dtype), .out = out};
  s.cells = ceildiv(p->k, s.cell);
  /* Otherwise 16-bit weights only save memory. */
  bool pairs = p->dtype == PRN_BF16 && mc->dot16;
  if (p->rows && p->m <= FEW_ROWS && p->dtype == PRN_F32) add_all_few(&s);
  add_rows(&s);
  for (int64_t tile = 2; tile <= 4 && p->height > 0; tile += 2)
    add(&s, prn_plan_winograd(mc, p, tile));
  if (p->stats.filled[1] < s.cells * p->n && (s.cell != 2 || pairs)) {
    add_srt(&s);
    add_blocks(&s);
  }
  return s.n;
}

const prn_plan_choice *prn_plan_dense(const prn_plan_choice *all, int n) {
  for (int i = 0; i < n; i++)
    if (strchr("rpdw", all[i].format[0])) return &all[i];
  return NULL;
}
