/* Runs of sparse register tiling: which cells a group takes in which step; see
 * srt.h.
 *
 * Splits that share cells save loads of x. The groups of a run have the same
 * number of steps of each split, so the group with the least to share decides.
 * Every step takes one entry of every row; what no split can share goes, row
 * by row, to the last split, whose parts are single rows. */
#include "ir/pack/srt_run.h"

#include <string.h>

#include "ir/support/arena.h"

static const prn_srt_split splits_1[] = {{1, {1}}};
static const prn_srt_split splits_2[] = {{1, {3}}, {2, {1, 2}}};
static const prn_srt_split splits_3[] = {
    {1, {7}}, {2, {3, 4}}, {2, {5, 2}}, {2, {6, 1}}, {3, {1, 2, 4}}};
static const prn_srt_split splits_4[] = {
    {1, {15}}, {2, {3, 12}}, {2, {5, 10}}, {2, {9, 6}}, {4, {1, 2, 4, 8}}};

int prn_srt_splits(bool blocks, int group, prn_srt_split *out) {
  static const struct {
    const prn_srt_split *splits;
    int n;
  } tables[] = {{splits_1, PRN_COUNT(splits_1)},
                {splits_2, PRN_COUNT(splits_2)},
                {splits_3, PRN_COUNT(splits_3)},
                {splits_4, PRN_COUNT(splits_4)}};
  if (blocks) {
    *out = (prn_srt_split){1, {(uint16_t)((1u << group) - 1)}};
    return 1;
  }
  memcpy(out, tables[group - 1].splits,
         (size_t)tables[group - 1].n * sizeof *out);
  return tables[group - 1].n;
}

static int rows_in(unsigned pattern) {
  int n = 0;
  for (; pattern; pattern &= pattern - 1)
    n++;
  return n;
}

void prn_srt_run_init(prn_srt_run *r, int units, int64_t depth) {
  memset(r, 0, sizeof *r);
  r->units = units;
  r->depth = depth;
  r->splits = prn_srt_splits(false, units, r->split);
  size_t lists = (size_t)1 << units;
  for (int s = 0; s < r->splits; s++)
    lists += (size_t)r->split[s].parts;
  size_t each = prn_array_size(lists, (size_t)depth);
  r->memory = prn_alloc(prn_array_size(each, PRN_SRT_RUN * sizeof(uint16_t)));
  uint16_t *at = r->memory;
  for (int i = 0; i < PRN_SRT_RUN; i++) {
    for (int p = 0; p < 1 << units; p++, at += depth)
      r->group[i].left[p] = at;
    for (int s = 0; s < r->splits; s++, at += r->split[s - 1].parts * depth)
      r->group[i].steps[s] = at;
  }
}

void prn_srt_run_destroy(prn_srt_run *r) { prn_free(r->memory); }

/* ---- what is left of a group ---- */

static void leave(prn_srt_group *g, unsigned pattern, uint16_t cell) {
  g->left[pattern][g->num_left[pattern]++] = cell;
}

/* Whether a split shares a cell among just these. */
static bool is_part(const prn_srt_run *r, unsigned pattern) {
  for (int s = 0; s < r->splits; s++)
    for (int i = 0; i < r->split[s].parts; i++)
      if (r->split[s].part[i] == pattern) return true;
  return false;
}

/* A cell under the parts, greatest first, that make up its pattern. */
static void leave_parts(const prn_srt_run *r, prn_srt_group *g,
                        unsigned pattern, uint16_t cell) {
  for (int s = 0; s < r->splits; s++)
    for (int i = 0; i < r->split[s].parts; i++) {
      unsigned part = r->split[s].part[i];
      if ((pattern & part) != part) continue;
      leave(g, part, cell);
      pattern &= ~part;
    }
}

static void fill(const prn_srt_run *r, const prn_srt_panel *p,
                 prn_srt_group *g) {
  static const unsigned char nothing[PRN_SRT_MAX_DEPTH];
  const unsigned char *e[PRN_SRT_MAX_GROUP];
  bool part[PRN_SRT_PATTERNS];
  for (int u = 0; u < PRN_SRT_MAX_GROUP; u++)
    e[u] = u < r->units && g->unit[u] >= 0 ? p->entry + g->unit[u] * p->stride
                                           : nothing;
  for (unsigned q = 0; q < PRN_SRT_PATTERNS; q++)
    part[q] = is_part(r, q);
  memset(g->num_left, 0, sizeof g->num_left);
  for (int64_t i = 0; i < p->steps; i++) {
    unsigned pattern = 0;
    for (int u = 0; u < PRN_SRT_MAX_GROUP; u++)
      pattern |= (unsigned)e[u][i] << u;
    if (part[pattern])
      leave(g, pattern, (uint16_t)i);
    else if (pattern)
      leave_parts(r, g, pattern, (uint16_t)i);
  }
}

/* A cell where all of `part` have an entry, from the smallest pattern. */
static uint16_t take(const prn_srt_run *r, prn_srt_group *g, unsigned part) {
  unsigned best = 0;
  for (unsigned q = part; q < 1u << r->units; q++)
    if ((q & part) == part && g->num_left[q] > 0 &&
        (!best || rows_in(q) < rows_in(best)))
      best = q;
  if (!best) return PRN_SRT_NONE;
  uint16_t cell = g->left[best][--g->num_left[best]];
  if (best != part) leave_parts(r, g, best & ~part, cell);
  return cell;
}

/* ---- how many steps of each split ---- */

/* Steps of split s that g can do, of cells with just these entries. */
static int32_t can_do(const prn_srt_run *r, const prn_srt_group *g, int s,
                      bool exact) {
  int32_t least = INT32_MAX;
  for (int i = 0; i < r->split[s].parts; i++) {
    unsigned part = r->split[s].part[i];
    int32_t n = g->num_left[part];
    if (rows_in(part) == 1) continue;
    for (unsigned q = part + 1; !exact && q < 1u << r->units; q++)
      if ((q & part) == part) n += g->num_left[q];
    if (n < least) least = n;
  }
  return least;
}

static void do_steps(prn_srt_run *r, int s, int32_t n) {
  int parts = r->split[s].parts;
  for (int i = 0; i < r->groups; i++) {
    prn_srt_group *g = &r->group[i];
    uint16_t *at = g->steps[s] + r->count[s] * parts;
    for (int32_t t = 0; t < n; t++)
      for (int b = 0; b < parts; b++)
        *at++ = take(r, g, r->split[s].part[b]);
  }
  r->count[s] += n;
}

static int32_t steps_left(const prn_srt_run *r) {
  int32_t n = r->steps;
  for (int s = 0; s < r->splits; s++)
    n -= r->count[s];
  return n;
}

static void share(prn_srt_run *r, bool exact) {
  for (int s = 0; s + 1 < r->splits; s++) {
    int32_t n = steps_left(r);
    for (int i = 0; i < r->groups; i++) {
      int32_t can = can_do(r, &r->group[i], s, exact);
      if (can < n) n = can;
    }
    do_steps(r, s, n);
  }
}

int64_t prn_srt_run_units(const prn_srt_run *r, const prn_srt_panel *p,
                          const int32_t *order, int64_t from) {
  int64_t most = from + (int64_t)PRN_SRT_RUN * r->units, at = from;
  if (most > p->units) most = p->units;
  /* Groups whose first and largest row has as many entries. */
  while (at < most && p->count[order[at]] == p->count[order[from]])
    at += r->units;
  return (at < most ? at : most) - from;
}

int64_t prn_srt_run_make(prn_srt_run *r, const prn_srt_panel *p,
                         const int32_t *order, int64_t from) {
  int64_t n = prn_srt_run_units(r, p, order, from);
  r->steps = p->count[order[from]];
  r->groups = 0;
  memset(r->count, 0, sizeof r->count);
  for (int64_t at = 0; at < n;) {
    prn_srt_group *g = &r->group[r->groups++];
    for (int u = 0; u < r->units; u++, at++)
      g->unit[u] = at < n ? order[from + at] : -1;
    fill(r, p, g);
  }
  share(r, true);
  share(r, false);
  do_steps(r, r->splits - 1, steps_left(r));
  return n;
}
