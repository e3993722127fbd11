/* The way of 3x3 convolutions by minimal filtering: what fits, how work and
 * memory are divided, and items; see conv_winograd.h. */
#include "backends/llvm/conv_winograd.h"

#include <string.h>

#include "backends/llvm/linear_rows.h"
#include "ir/pack/pack.h"

/* The transformed x of a block stays in the second-level cache. */
enum { X_BYTES = 640 << 10, COLUMNS = 64, LINE = 16 };
/* Items that a convolution should have, and the output channels that x is
 * worth transforming for. */
enum { ITEMS = 8, SHARE = 64 };

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- what fits ---- */

static prn_packing packing_of(const prn_op *op) {
  return prn_packing_of(prn_view_constant(prn_op_operand(op, PRN_CONV_W)));
}

static const prn_winograd *kind_of(const prn_op *op, const prn_conv_shape *s) {
  const int64_t taps = PRN_WINOGRAD_TAPS;
  prn_packing p = packing_of(op);
  bool fits = s->kernel_h == taps && s->kernel_w == taps && s->stride_h == 1 &&
              s->stride_w == 1 && s->dilation_h == 1 && s->dilation_w == 1 &&
              s->groups == 1 && p.k == taps * taps * s->cg && p.n == s->o &&
              p.group > 0 && p.nr > 0 && p.nr % p.group == 0;
  return fits ? prn_winograd_of(p.tile) : NULL;
}

static bool fits(const prn_target *t, const prn_op *op) {
  prn_conv_shape s;
  (void)t;
  return prn_conv_type(op, PRN_CONV_X)->rank == 4 && prn_conv_is_f32(op) &&
         prn_conv_unit_width(prn_conv_type(op, PRN_CONV_X)) &&
         prn_conv_unit_width(prn_conv_type(op, PRN_CONV_OUT)) &&
         prn_conv_shape_of(op, &s) && kind_of(op, &s);
}

/* ---- the plan ---- */

/* Narrow strips where wide ones would be half empty. */
static void strips(prn_winograd_plan *p) {
  int64_t m = p->f->m;
  p->strip = p->lanes;
  while (p->strip / 2 >= m && p->strip / 2 >= p->s.out_w)
    p->strip /= 2;
  p->strips = ceil_div(p->s.out_w, p->strip);
  p->down = ceil_div(p->s.out_h, m);
  p->per_vector = p->lanes * m / p->strip;
}

static int64_t vectors_of(const prn_winograd_plan *p, int64_t rows) {
  return ceil_div(rows * p->across, p->per_vector);
}

/* Rows of a block, at most p->rows, so that the blocks of all rows have few
 * vectors. */
static int64_t fewest(const prn_winograd_plan *p, int64_t all) {
  int64_t best = 1, least = INT64_MAX;
  for (int64_t rows = min(p->rows, all); rows > 0; rows--) {
    int64_t vectors = ceil_div(all, rows) * vectors_of(p, rows);
    if (vectors < least) best = rows;
    least = min(least, vectors);
  }
  return best;
}

/* rows: of tiles, in all images; of one when their number is not known. */
static void block(prn_winograd_plan *p, int64_t rows) {
  int64_t points = p->f->side * p->f->side;
  int64_t vector = points * p->s.cg * p->lanes * (int64_t)sizeof(float);
  int64_t vectors = min(X_BYTES / vector, COLUMNS / p->lanes);
  int64_t room = max(vectors, 1) * p->per_vector;
  p->beside = ceil_div(p->strips, room);
  p->across = ceil_div(p->strips, p->beside);
  p->rows = p->beside == 1 ? room / p->strips : 1;
  p->rows = fewest(p, rows);
  p->vectors = vectors_of(p, p->rows);
}

/* Which panels of output channels an item computes: all where there are blocks
 * enough for everybody, else some. */
static void share(prn_winograd_plan *p, int64_t rows) {
  int64_t blocks = ceil_div(rows, p->rows) * p->beside;
  int64_t some = max(SHARE, ceil_div(p->s.o, ceil_div(ITEMS, blocks)));
  p->share = round_up(some, p->panel);
  p->shares = ceil_div(p->s.o, p->share);
}

/* An odd number of cache lines, so that the matrices of the elements of a tile
 * spread over cache sets. */
static int64_t step_of(int64_t floats) {
  return round_up(floats, 2 * LINE) + LINE;
}

static void scratch_layout(prn_winograd_plan *p) {
  int64_t points = p->f->side * p->f->side, columns = p->vectors * p->lanes;
  int64_t rows = min(p->panel, round_up(p->s.o, p->group));
  p->line = round_up(p->across * p->strip + p->f->m, LINE);
  p->x_step = step_of(p->s.cg * columns);
  p->m_step = step_of(rows * columns);
  p->lines_at = round_up(p->s.w, LINE);
  p->x_at = p->lines_at + p->rows * p->f->side * p->line;
  p->m_at = p->x_at + points * p->x_step;
  p->size = p->m_at + points * p->m_step;
}

static void plan_of(const prn_target *t, const prn_op *op,
                    prn_winograd_plan *p) {
  int64_t batch = 1;
  memset(p, 0, sizeof *p);
  (void)prn_conv_shape_of(op, &p->s);
  (void)prn_dim_is_const(prn_conv_type(op, PRN_CONV_OUT)->dims[0], &batch);
  p->f = kind_of(op, &p->s);
  p->group = packing_of(op).group;
  p->panel = packing_of(op).nr;
  p->high = prn_rows_high(t, p->group);
  p->lanes = t->lanes;
  strips(p);
  int64_t rows = p->down * max(batch, 1);
  block(p, rows);
  share(p, rows);
  scratch_layout(p);
}

/* ---- places ---- */

void prn_winograd_row(const prn_winograd_item *t, prn_v j, prn_v *image,
                      prn_v *row) {
  prn_cg *g = t->g;
  prn_v down = cg_i64(g, t->p->down);
  prn_v last = prn_cg_sub(g, t->all_rows, cg_i64(g, 1));
  prn_v all = prn_cg_min(g, prn_cg_add(g, t->row, j), last);
  int64_t batch;
  bool one = prn_cg_is_const(t->c->batch, &batch) && batch == 1;
  *image = one ? cg_i64(g, 0) : prn_cg_div(g, all, down);
  *row = one ? all : prn_cg_mod(g, all, down);
}

void prn_winograd_strip(const prn_winograd_item *t, prn_v v, int64_t u,
                        prn_v *row, prn_v *strip) {
  const prn_winograd_plan *p = t->p;
  prn_cg *g = t->g;
  prn_v across = cg_i64(g, p->across), per = cg_i64(g, p->per_vector);
  prn_v i = prn_cg_add(g, prn_cg_mul(g, v, per), cg_i64(g, u));
  if (p->vectors * p->per_vector > p->rows * p->across)
    i = prn_cg_min(g, i, cg_i64(g, p->rows * p->across - 1));
  *row = prn_cg_div(g, i, across);
  *strip = prn_cg_mod(g, i, across);
}

/* ---- items ---- */

static prn_v all_rows(const prn_conv *c, const prn_winograd_plan *p) {
  return prn_cg_mul(c->k->g, c->batch, cg_i64(c->k->g, p->down));
}

static prn_v items(const prn_conv *c) {
  prn_cg *g = c->k->g;
  prn_winograd_plan p;
  plan_of(g->target, c->k->op, &p);
  prn_v blocks = prn_cg_ceildiv(g, all_rows(c, &p), cg_i64(g, p.rows));
  return prn_cg_mul(g, blocks, cg_i64(g, p.beside * p.shares));
}

static size_t scratch(const prn_target *t, const prn_op *op) {
  prn_winograd_plan p;
  plan_of(t, op, &p);
  return (size_t)p.size * sizeof(float);
}

/* The products of the panel of n output channels from o on, for all elements of
 * a tile. */
static void products(const prn_winograd_item *t, prn_v o, prn_v n) {
  const prn_winograd_plan *p = t->p;
  prn_cg *g = t->g;
  int64_t points = p->f->side * p->f->side, k = p->s.cg;
  prn_v zero = cg_i64(g, 0), pitch = cg_i64(g, p->vectors * p->lanes);
  prn_v w_row = cg_i64(g, k);
  prn_v w_step = prn_cg_mul(g, prn_cg_round_up(g, n, p->group), w_row);
  prn_v w = cg_at(g, g->f32, t->c->k->v[PRN_CONV_W].base,
                  prn_cg_mul(g, o, cg_i64(g, points * k)));
  prn_loop le, ln;
  prn_loop_begin(g, &le, zero, cg_i64(g, points), 1, NULL, 0);
  prn_loop_begin(g, &ln, zero, n, p->high, NULL, 0);
  prn_rows_product d = {
      .group = p->group,
      .columns = p->vectors * p->lanes,
      .rows = prn_cg_min(g, prn_cg_sub(g, n, ln.iv), cg_i64(g, p->high)),
      .k = w_row,
      .x_row = pitch,
      .c_row = pitch};
  d.x = cg_at(g, g->f32, t->x, prn_cg_mul(g, le.iv, cg_i64(g, p->x_step)));
  d.w = cg_at(
      g, g->f32, w,
      prn_cg_add(g, prn_cg_mul(g, le.iv, w_step), prn_cg_mul(g, ln.iv, w_row)));
  d.c = cg_at(g, g->f32, t->m,
              prn_cg_add(g, prn_cg_mul(g, le.iv, cg_i64(g, p->m_step)),
                         prn_cg_mul(g, ln.iv, pitch)));
  prn_rows_multiply(g, &d);
  prn_loop_end(g, &ln);
  prn_loop_end(g, &le);
}

static void locate(prn_winograd_item *t, prn_v block_at) {
  const prn_winograd_plan *p = t->p;
  prn_cg *g = t->g;
  prn_v beside = cg_i64(g, p->beside);
  t->zeros = prn_kernel_scratch(t->c->k);
  t->lines = cg_at(g, g->f32, t->zeros, cg_i64(g, p->lines_at));
  t->x = cg_at(g, g->f32, t->zeros, cg_i64(g, p->x_at));
  t->m = cg_at(g, g->f32, t->zeros, cg_i64(g, p->m_at));
  t->all_rows = all_rows(t->c, p);
  t->row = prn_cg_mul(g, prn_cg_div(g, block_at, beside), cg_i64(g, p->rows));
  t->strip =
      prn_cg_mul(g, prn_cg_mod(g, block_at, beside), cg_i64(g, p->across));
}

static void item(prn_conv *c, prn_v number) {
  prn_cg *g = c->k->g;
  prn_winograd_plan p;
  plan_of(g->target, c->k->op, &p);
  prn_winograd_item t = {.c = c, .g = g, .p = &p};
  prn_v shares = cg_i64(g, p.shares);
  prn_v some = prn_cg_mod(g, number, shares);
  locate(&t, prn_cg_div(g, number, shares));
  /* The items of a block follow each other. */
  prn_v fresh = LLVMBuildOr(g->b, cg_cmp(g, LLVMIntEQ, some, cg_i64(g, 0)),
                            cg_cmp(g, LLVMIntEQ, number, c->k->begin), "");
  prn_if s = prn_if_begin(g, fresh);
  prn_winograd_transform(&t);
  prn_if_end(g, s);
  prn_v from = prn_cg_mul(g, some, cg_i64(g, p.share));
  prn_v to =
      prn_cg_min(g, prn_cg_add(g, from, cg_i64(g, p.share)), cg_i64(g, p.s.o));
  prn_loop l;
  prn_loop_begin(g, &l, from, to, p.panel, NULL, 0);
  prn_v n = prn_cg_min(g, prn_cg_sub(g, to, l.iv), cg_i64(g, p.panel));
  products(&t, l.iv, n);
  prn_winograd_finish(&t, l.iv, n);
  prn_loop_end(g, &l);
}

const prn_conv_way prn_conv_winograd = {"winograd", fits,    items,
                                        item,       scratch, true};
