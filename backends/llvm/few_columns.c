/* Few rows by lists of the steps of the depth that count: the formats
 * `columns` and `gather` (ir/pack/columns.c).
 *
 * columns: an entry is one broadcast of a and a vector (or a few) of weights.
 * Entries go to independent sums in turn while few rows leave registers.
 *
 * gather: entries of one result; elements of a are brought together one by
 * one, which is faster than the gather instructions of today's processors,
 * and multiplied four at a time. */
#include "backends/llvm/few.h"
#include "ir/pack/columns.h"

enum { WIDTH = 64, UNROLL = 4, QUAD = 4 };

/* Where the entries of a panel lie. */
typedef struct list {
  prn_v from, to;        /* numbers of entries */
  prn_v values, indices; /* of the whole constant */
} list;

static list list_of(prn_cg *g, const prn_few *d, int64_t group, int64_t unit,
                    prn_v panel) {
  int64_t panels = (d->pack.n + group - 1) / group;
  int64_t values = prn_columns_values(d->pack.n, group);
  prn_v scale = cg_i64(g, unit), one = cg_i64(g, 1);
  prn_v all = prn_cg_mul(g, prn_few_start(g, d->w, cg_i64(g, panels)), scale);
  prn_v bytes = prn_cg_round_up(
      g, prn_cg_mul(g, all, cg_i64(g, group * (int64_t)sizeof(float))), 64);
  list l = {.from = prn_cg_mul(g, prn_few_start(g, d->w, panel), scale),
            .to = prn_cg_mul(
                g, prn_few_start(g, d->w, prn_cg_add(g, panel, one)), scale),
            .values = cg_at(g, g->i8, d->w, cg_i64(g, values))};
  l.indices = cg_at(g, g->i8, l.values, bytes);
  return l;
}

static prn_v index_at(prn_cg *g, prn_v indices, prn_v at) {
  prn_v i = prn_cg_load(g, g->i16, cg_at(g, g->i16, indices, at));
  return LLVMBuildZExt(g->b, i, g->i64, "");
}

static prn_v c_at(prn_cg *g, const prn_few *d, int64_t row, prn_v n) {
  prn_v at = prn_cg_mul(g, d->c_row, cg_i64(g, row));
  return cg_at(g, g->f32, d->c, prn_cg_add(g, at, n));
}

static prn_v first_rest(prn_cg *g, prn_v from, prn_v to, int64_t by) {
  prn_v n = prn_cg_sub(g, to, from);
  return prn_cg_sub(g, to, prn_cg_mod(g, n, cg_i64(g, by)));
}

/* ---- columns ---- */

typedef struct panel {
  const prn_few *d;
  list list;
  unsigned lanes, vectors; /* of an entry */
  unsigned chains;         /* independent sums of each result */
} panel;

static unsigned sums(const panel *p) {
  return p->vectors * (unsigned)p->d->m * p->chains;
}

static void entry(prn_cg *g, const panel *p, prn_v at, unsigned chain,
                  prn_v *acc) {
  prn_t type = prn_cg_vec(g->f32, p->lanes);
  prn_v k = index_at(g, p->list.indices, at), w[WIDTH];
  prn_v first = prn_cg_mul(g, at, cg_i64(g, p->d->pack.group));
  for (unsigned v = 0; v < p->vectors; v++) {
    prn_v j = prn_cg_add(g, first, cg_i64(g, v * p->lanes));
    w[v] = prn_cg_load(g, type, cg_at(g, g->f32, p->list.values, j));
  }
  for (int64_t r = 0; r < p->d->m; r++) {
    prn_v a = prn_cg_splat(g, prn_few_element(g, p->d, r, k), p->lanes);
    for (unsigned v = 0; v < p->vectors; v++) {
      prn_v *sum = &acc[((unsigned)r * p->vectors + v) * p->chains + chain];
      *sum = prn_cg_fma(g, a, w[v], *sum);
    }
  }
}

static void entries(prn_cg *g, const panel *p, prn_v from, prn_v to,
                    unsigned by, prn_v *acc) {
  int64_t group = p->d->pack.group;
  prn_loop l;
  prn_loop_begin(g, &l, from, to, by, acc, sums(p));
  if (by > 1) {
    prn_v at = prn_cg_mul(g, l.iv, cg_i64(g, group));
    prn_few_ask(g, cg_at(g, g->f32, p->list.values, at),
                ((int64_t)by * group + 15) / 16);
    prn_few_ask(g, cg_at(g, g->i16, p->list.indices, l.iv), 1);
  }
  for (unsigned u = 0; u < by; u++)
    entry(g, p, prn_cg_add(g, l.iv, cg_i64(g, u)), u % p->chains, l.next);
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < sums(p); i++)
    acc[i] = l.out[i];
}

/* Stores the results [j, j + group) of the item, `left` of which exist. */
static void finish(prn_cg *g, const panel *p, prn_v j, prn_v left,
                   const prn_v *acc) {
  int64_t group = p->d->pack.group;
  for (unsigned i = 0; i < sums(p); i += p->chains) {
    unsigned v = i / p->chains % p->vectors;
    prn_v sum = acc[i], at = cg_i64(g, (int64_t)v * p->lanes), mask = NULL;
    for (unsigned c = 1; c < p->chains; c++)
      sum = cg_fadd(g, sum, acc[i + c]);
    if (p->d->pack.n % group)
      mask = prn_cg_tail_mask(g, p->lanes, prn_cg_sub(g, left, at));
    int64_t r = i / p->chains / p->vectors;
    prn_cg_store_masked(g, sum, c_at(g, p->d, r, prn_cg_add(g, j, at)), mask);
  }
}

static void columns_rows(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  int64_t group = d->pack.group, registers = g->target->mr * g->target->nv;
  panel p = {.d = d, .lanes = g->target->lanes};
  while (group % p.lanes)
    p.lanes /= 2;
  p.vectors = (unsigned)group / p.lanes;
  p.chains = UNROLL;
  while (p.chains > 1 && (int64_t)sums(&p) > registers)
    p.chains /= 2;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cols, group, NULL, 0);
  prn_v n = prn_cg_add(g, n0, l.iv), acc[PRN_LOOP_MAX];
  p.list = list_of(g, d, group, 1, prn_cg_div(g, n, cg_i64(g, group)));
  for (unsigned i = 0; i < sums(&p); i++)
    acc[i] = LLVMConstNull(prn_cg_vec(g->f32, p.lanes));
  prn_v rest = first_rest(g, p.list.from, p.list.to, UNROLL);
  entries(g, &p, p.list.from, rest, UNROLL, acc);
  entries(g, &p, rest, p.list.to, 1, acc);
  finish(g, &p, l.iv, prn_cg_sub(g, cols, l.iv), acc);
  prn_loop_end(g, &l);
}

static bool columns_supported(const prn_target *t, const prn_packing *p) {
  int64_t lanes = t->lanes;
  while (p->group % lanes)
    lanes /= 2;
  return p->group / lanes <= (int64_t)(t->mr * t->nv);
}

static int64_t columns_width(const prn_target *t, const prn_packing *p) {
  (void)t;
  return p->group < WIDTH ? WIDTH / p->group * p->group : p->group;
}

static void columns_item(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  int64_t lanes = g->target->lanes;
  while (d->pack.group % lanes)
    lanes /= 2;
  int64_t some = prn_few_rows(g->target, d->m, d->pack.group / lanes);
  for (int64_t i = 0; i < d->m; i += some) {
    prn_few part = prn_few_from(g, d, i, d->m - i < some ? d->m - i : some);
    columns_rows(g, &part, n0, cols);
  }
}

const prn_few_family prn_few_columns = {"columns", columns_supported,
                                        columns_width, columns_item};

/* ---- gather ---- */

enum { GATHER_ROWS = 4, HALVES = PRN_GATHER_UNIT / QUAD };

/* Four entries: brings a together and adds to the sums of each row. */
static void quad(prn_cg *g, const prn_few *d, const list *e, prn_v at,
                 unsigned half, prn_v *acc) {
  prn_t type = LLVMVectorType(g->f32, QUAD);
  prn_v w = prn_cg_load(g, type, cg_at(g, g->f32, e->values, at)), k[QUAD];
  for (unsigned i = 0; i < QUAD; i++)
    k[i] = index_at(g, e->indices, prn_cg_add(g, at, cg_i64(g, i)));
  for (int64_t r = 0; r < d->m; r++) {
    prn_v a = LLVMGetPoison(type);
    for (unsigned i = 0; i < QUAD; i++)
      a = LLVMBuildInsertElement(g->b, a, prn_few_element(g, d, r, k[i]),
                                 cg_i32(g, (int32_t)i), "");
    prn_v *sum = &acc[r * HALVES + half];
    *sum = prn_cg_fma(g, a, w, *sum);
  }
}

/* Units from entry `from` to `to`, `by` of them at a time. */
static void units(prn_cg *g, const prn_few *d, const list *e, prn_v from,
                  prn_v to, unsigned by, prn_v *acc) {
  unsigned n = (unsigned)d->m * HALVES;
  prn_loop l;
  prn_loop_begin(g, &l, from, to, by * PRN_GATHER_UNIT, acc, n);
  if (by > 1) {
    prn_few_ask(g, cg_at(g, g->f32, e->values, l.iv), by / 2);
    prn_few_ask(g, cg_at(g, g->i16, e->indices, l.iv), 1);
  }
  for (unsigned u = 0; u < by * HALVES; u++)
    quad(g, d, e, prn_cg_add(g, l.iv, cg_i64(g, u * QUAD)), u % HALVES, l.next);
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < n; i++)
    acc[i] = l.out[i];
}

/* Halves until one is left. */
static prn_v total(prn_cg *g, prn_v v) {
  prn_v lanes[QUAD];
  for (unsigned i = 0; i < QUAD; i++)
    lanes[i] = LLVMBuildExtractElement(g->b, v, cg_i32(g, (int32_t)i), "");
  return cg_fadd(g, cg_fadd(g, lanes[0], lanes[2]),
                 cg_fadd(g, lanes[1], lanes[3]));
}

static void gather_rows(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  prn_v acc[GATHER_ROWS * HALVES];
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), cols, 1, NULL, 0);
  list e = list_of(g, d, 1, PRN_GATHER_UNIT, prn_cg_add(g, n0, l.iv));
  for (unsigned i = 0; i < d->m * HALVES; i++)
    acc[i] = LLVMConstNull(LLVMVectorType(g->f32, QUAD));
  prn_v rest = first_rest(g, e.from, e.to, 2 * PRN_GATHER_UNIT);
  units(g, d, &e, e.from, rest, 2, acc);
  units(g, d, &e, rest, e.to, 1, acc);
  for (int64_t r = 0; r < d->m; r++) {
    prn_v sum = cg_fadd(g, acc[r * HALVES], acc[r * HALVES + 1]);
    prn_cg_store(g, total(g, sum), c_at(g, d, r, l.iv));
  }
  prn_loop_end(g, &l);
}

static bool gather_supported(const prn_target *t, const prn_packing *p) {
  (void)t;
  (void)p;
  return true;
}

static int64_t gather_width(const prn_target *t, const prn_packing *p) {
  (void)t;
  (void)p;
  return WIDTH;
}

static void gather_item(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols) {
  for (int64_t i = 0; i < d->m; i += GATHER_ROWS) {
    int64_t left = d->m - i;
    prn_few part =
        prn_few_from(g, d, i, left < GATHER_ROWS ? left : GATHER_ROWS);
    gather_rows(g, &part, n0, cols);
  }
}

const prn_few_family prn_few_gather = {"gather", gather_supported, gather_width,
                                       gather_item};
