/* Formats to choose from; see plan.h. */
#include "passes/lower/plan.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "ir/pack/srt.h"

typedef struct planner {
  const prn_machine *mc;
  const prn_plan_product *p;
  int64_t cell, cells; /* k's in one; of the depth */
  bool wide;           /* f32 stands for 16-bit floats */
} planner;

static int64_t ceildiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

static planner planner_of(const prn_machine *mc, const prn_plan_product *p) {
  int64_t cell = prn_srt_cell(p->dtype);
  return (planner){mc, p, cell, ceildiv(p->k, cell), false};
}

static double cost_of(const planner *s, const prn_plan_choice *c) {
  prn_plan_choice stored = *c;
  stored.wide = 0; /* s->p is widened already */
  return prn_plan_cost(s->mc, s->p, &stored);
}

/* ---- the list ---- */

typedef struct list {
  prn_plan_choice *out;
  int n;
} list;

/* Where it belongs by its cost, behind equal ones. */
static void add(list *l, prn_plan_choice c) {
  int i = l->n++;
  assert(i < PRN_PLAN_MAX);
  for (; i > 0 && c.cost < l->out[i - 1].cost; i--)
    l->out[i] = l->out[i - 1];
  l->out[i] = c;
}

static void add_priced(list *l, const planner *s, prn_plan_choice c) {
  c.wide = s->wide;
  c.cost = cost_of(s, &c);
  add(l, c);
}

/* ---- parameters ---- */

/* They are unfolded once for all rows. */
static int64_t block_rows(const planner *s, int64_t group) {
  int64_t blocks =
      prn_plan_by_panels(s->p) ? 1 : ceildiv(s->p->n, PRN_PLAN_ROWS);
  return ceildiv(ceildiv(s->p->n, blocks), group) * group;
}

/* Of even panels of at most `most` cells: whole channels where there are
 * windows; 0 when none fits. */
static int64_t even_depth(const planner *s, int64_t most) {
  int64_t unit = prn_plan_by_panels(s->p) ? s->p->taps : 1;
  int64_t all = s->cells / unit, each = most / unit;
  if (each < 1) return 0;
  return ceildiv(all, ceildiv(all, each)) * unit;
}

/* ---- formats ---- */

/* For every width of columns the best depth. */
static void add_srt(list *l, const planner *s) {
  enum { GROUP = PRN_SRT_MAX_GROUP };
  int64_t most = prn_srt_vectors(GROUP, s->mc->registers);
  for (int64_t v = 1; v <= most; v++) {
    int64_t before = 0;
    prn_plan_choice best = {.cost = INFINITY};
    if (v > prn_plan_width(s->mc, s->p, v)) continue; /* the same as that */
    for (int64_t limit = 64; limit <= PRN_SRT_NUMBERED; limit += 32) {
      prn_plan_choice c = {.format = "srt",
                           .group = GROUP,
                           .depth = even_depth(s, limit),
                           .nr = block_rows(s, GROUP),
                           .vectors = v,
                           .wide = s->wide};
      if (c.depth == before || c.depth == 0) continue;
      before = c.depth;
      c.cost = cost_of(s, &c);
      if (c.cost < best.cost) best = c;
    }
    if (best.format) add(l, best);
  }
}

/* Whose x may lie in a part of the second cache. Where hardly any block is
 * empty, nothing is to be gained. */
static void add_blocks(list *l, const planner *s, int64_t group) {
  static const double full = 0.95;
  double all = (double)s->cells * (double)s->p->n;
  if ((double)(s->p->stats.filled[group] * group) > full * all) return;
  int64_t v = prn_srt_vectors(group, s->mc->registers), before = 0;
  double second = 1024 * s->mc->cost[PRN_COST_near][1];
  prn_plan_choice best = {.cost = INFINITY};
  for (int64_t limit = 64; limit <= PRN_SRT_MAX_DEPTH; limit *= 2) {
    prn_plan_choice c = {.format = "blocks",
                         .group = group,
                         .depth = even_depth(s, limit),
                         .nr = block_rows(s, group),
                         .vectors = v,
                         .wide = s->wide};
    double x =
        (double)(c.depth * prn_plan_width(s->mc, s->p, v) * s->mc->lanes * 4);
    if (c.depth == before || c.depth == 0 || (best.format && x > second / 4))
      continue;
    before = c.depth;
    c.cost = cost_of(s, &c);
    if (c.cost < best.cost) best = c;
  }
  if (best.format) add(l, best);
}

static bool is_few(const planner *s) {
  return s->p->rows && s->p->m <= PRN_PLAN_FEW && s->p->dtype == PRN_F32;
}

static void add_few(list *l, const planner *s) {
  const prn_plan_product *p = s->p;
  add_priced(l, s, (prn_plan_choice){.format = "bitmask"});
  if (p->k > UINT16_MAX) return;
  add_priced(l, s, (prn_plan_choice){.format = "gather"});
  for (int64_t r = 4; r <= 16; r *= 2)
    add_priced(l, s, (prn_plan_choice){.format = "columns", .group = r});
}

static void add_zeros(list *l, const planner *s) {
  if (is_few(s)) add_few(l, s);
  /* All rows would be one block, which cannot number them. */
  if (prn_plan_by_panels(s->p) && s->p->n > PRN_SRT_MAX_ROWS) return;
  add_srt(l, s);
  for (int64_t r = 4; r <= PRN_SRT_MAX_BLOCK; r *= 2)
    add_blocks(l, s, r);
}

/* 16-bit floats cost what f32 do where they cannot be multiplied in pairs, and
 * hardly less where they can: with enough zeros, pairs are full of them. Not
 * where most of what 16 bits save would be lost: an entry takes 5 bytes. */
static void add_widened(list *l, const planner *s) {
  prn_plan_product p = prn_plan_widened(s->p);
  if (5 * p.stats.nnz > 3 * p.k * p.n) return;
  planner wide = planner_of(s->mc, &p);
  wide.wide = true;
  add_zeros(l, &wide);
}

/* Estimates are not that good: what is dense stays so unless something is
 * clearly better. */
static void prefer_dense(list *l) {
  static const double clearly = 0.96;
  const prn_plan_choice *found = prn_plan_dense(l->out, l->n);
  prn_plan_choice dense = *found;
  if (l->out[0].cost < clearly * dense.cost) return;
  for (int64_t i = found - l->out; i > 0; i--)
    l->out[i] = l->out[i - 1];
  l->out[0] = dense;
}

int prn_plan(const prn_machine *mc, const prn_plan_product *p,
             prn_plan_choice *out) {
  planner s = planner_of(mc, p);
  list l = {.out = out};
  const char *rows = s.cell == 1 ? "rows" : s.cell == 2 ? "rows2" : "rows4";
  /* Otherwise 16-bit weights only save memory. */
  bool pairs = p->dtype == PRN_BF16 && mc->dot16;
  if (is_few(&s)) add_priced(&l, &s, (prn_plan_choice){.format = "panels"});
  add_priced(
      &l, &s,
      (prn_plan_choice){.format = prn_plan_by_panels(p) ? "dense" : rows});
  for (int64_t tile = 2; tile <= 4 && p->height > 0; tile += 2)
    add_priced(&l, &s, (prn_plan_choice){.format = "winograd", .tile = tile});
  bool zeros = p->stats.nnz < p->k * p->n;
  if (zeros && (s.cell != 2 || pairs)) add_zeros(&l, &s);
  if (zeros && s.cell == 2) add_widened(&l, &s);
  prefer_dense(&l);
  return l.n;
}

int prn_plan_neighbours(const prn_machine *mc, const prn_plan_product *p,
                        const prn_plan_choice *c, prn_plan_choice *out) {
  prn_plan_product wide = prn_plan_widened(p);
  planner s = planner_of(mc, c->wide ? &wide : p);
  bool srt = strcmp(c->format, "srt") == 0;
  int64_t most = srt ? PRN_SRT_NUMBERED : PRN_SRT_MAX_DEPTH;
  const int64_t depths[PRN_PLAN_NEIGHBOURS] = {c->depth * 2 / 3,
                                               c->depth * 3 / 2};
  int n = 0;
  for (int i = 0; i < PRN_PLAN_NEIGHBOURS; i++) {
    prn_plan_choice next = *c;
    next.depth = even_depth(&s, depths[i] < most ? depths[i] : most);
    if (next.depth == 0 || next.depth == c->depth) continue;
    next.cost = cost_of(&s, &next);
    out[n++] = next;
  }
  return n;
}

const prn_plan_choice *prn_plan_dense(const prn_plan_choice *all, int n) {
  for (int i = 0; i < n; i++)
    if (strchr("rpdw", all[i].format[0])) return &all[i];
  return NULL;
}
