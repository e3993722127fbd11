/* Items of the families srt and blocks: a block of rows, panel by panel, run
 * by run, by as many columns as a tile has; see linear_srt.h. */
#include "backends/llvm/linear_srt.h"

typedef struct item {
  const prn_linear *d;
  prn_srt_tile t;
  prn_v x, x_row, x0; /* of the columns; the first of them in a row */
  prn_v copies;       /* i1: x is copied, panel by panel; or NULL */
  prn_v cols;         /* of the item */
  prn_v n0, m0;
} item;

static prn_v runs_at(prn_cg *g, prn_v w) {
  return LLVMBuildZExt(g->b, prn_cg_load(g, g->i32, w), g->i64, "");
}

/* Where the columns of the run being finished begin. */
typedef struct finisher {
  const item *it;
  prn_v m;
} finisher;

static void finish_row(prn_cg *g, void *user, prn_v row, const prn_v *sums,
                       unsigned vectors, prn_v mask) {
  const finisher *f = user;
  const prn_linear *d = f->it->d;
  d->finish(g, d->user, prn_cg_add(g, f->it->n0, row),
            prn_cg_add(g, f->it->m0, f->m), sums, vectors, mask);
}

/* A run at w in the panel that begins with cell c0, x_at elements from the
 * first; the address behind it. */
static prn_v one_run(prn_cg *g, const item *it, prn_v w, prn_v c0, prn_v x_at,
                     prn_v m, prn_v cols, bool finish) {
  const prn_linear *d = it->d;
  finisher f = {it, m};
  prn_v args[PRN_SRT_PARAMS];
  prn_v c_at =
      prn_cg_add(g, prn_cg_mul(g, it->n0, d->c_row), prn_cg_add(g, it->m0, m));
  args[PRN_SRT_X] =
      cg_at(g, g->i32, it->x, prn_cg_add(g, x_at, prn_cg_add(g, it->x0, m)));
  args[PRN_SRT_XROW] = it->x_row;
  args[PRN_SRT_C] = cg_at(g, g->i32, d->c, c_at);
  args[PRN_SRT_CROW] = d->c_row;
  args[PRN_SRT_W] = w;
  args[PRN_SRT_COLS] = cols;
  args[PRN_SRT_FIRST] = cg_cmp(g, LLVMIntEQ, c0, cg_i64(g, 0));
  return prn_srt_run(g, &it->t, args, finish ? finish_row : NULL, &f);
}

typedef struct copier {
  prn_v from, to;
} copier;

static void copy_some(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                      void *user) {
  const copier *c = user;
  prn_v v = prn_cg_load_masked(g, prn_cg_vec(g->f32, lanes),
                               cg_at(g, g->f32, c->from, i), mask);
  prn_cg_store_masked(g, v, cg_at(g, g->f32, c->to, i), mask);
}

/* Rows k0 .. k0 + steps of x. */
static void copy_panel(prn_cg *g, const item *it, prn_v k0, prn_v steps) {
  const prn_linear *d = it->d;
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), steps, 1, NULL, 0);
  prn_v row = prn_cg_mul(g, prn_cg_add(g, k0, l.iv), d->x_row);
  copier c = {cg_at(g, g->f32, d->x, prn_cg_add(g, row, it->m0)),
              cg_at(g, g->f32, it->x, prn_cg_mul(g, l.iv, it->x_row))};
  prn_cg_vloop(g, it->cols, it->t.lanes, copy_some, &c);
  prn_loop_end(g, &l);
}

static void make_panel(prn_cg *g, const item *it, prn_v c0) {
  const prn_linear *d = it->d;
  if (!d->panel && !it->copies) return;
  prn_v depth = cg_i64(g, d->pack.depth), k = cg_i64(g, d->pack.k);
  prn_v steps = prn_cg_min(g, prn_cg_sub(g, k, c0), depth);
  if (d->panel) {
    d->panel(g, d->user, c0, steps);
    return;
  }
  prn_if copy = prn_if_begin(g, it->copies);
  copy_panel(g, it, c0, steps);
  prn_if_end(g, copy);
}

/* Elements of x before the panel that begins with cell c0. */
static prn_v panel_at(prn_cg *g, const item *it, prn_v c0) {
  prn_v zero = cg_i64(g, 0), subs = cg_i64(g, it->t.cells.subs);
  if (it->d->panel) return zero;
  prn_v at = prn_cg_mul(g, prn_cg_mul(g, c0, subs), it->x_row);
  return it->copies ? LLVMBuildSelect(g->b, it->copies, zero, at, "") : at;
}

/* Panels [from, to): the address behind them. */
static prn_v panels(prn_cg *g, const item *it, prn_v w, int64_t from,
                    int64_t to, prn_v m, prn_v cols, bool finish) {
  prn_loop l, runs;
  prn_loop_begin(g, &l, cg_i64(g, from), cg_i64(g, to), 1, &w, 1);
  prn_v c0 = prn_cg_mul(g, l.iv, cg_i64(g, it->d->pack.depth));
  prn_v first = cg_at(g, g->i32, l.cur[0], cg_i64(g, 1));
  make_panel(g, it, c0);
  prn_v x_at = panel_at(g, it, c0);
  prn_loop_begin(g, &runs, cg_i64(g, 0), runs_at(g, l.cur[0]), 1, &first, 1);
  runs.next[0] = one_run(g, it, runs.cur[0], c0, x_at, m, cols, finish);
  prn_loop_end(g, &runs);
  l.next[0] = runs.out[0];
  prn_loop_end(g, &l);
  return l.out[0];
}

/* All rows of the block by columns [m, m + cols) of the item, at most
 * `vectors` of them. */
static void columns_of(prn_cg *g, item *it, unsigned vectors, bool masked,
                       prn_v m, prn_v cols) {
  const prn_linear *d = it->d;
  const prn_packing *p = &d->pack;
  it->t.vectors = vectors;
  it->t.masked = masked;
  int64_t cells = prn_cells_count(&it->t.cells, p);
  int64_t all = (cells + p->depth - 1) / p->depth;
  prn_v block = prn_cg_div(g, it->n0, cg_i64(g, p->nr));
  prn_v start = prn_cg_load(g, g->i64, cg_at(g, g->i64, d->w, block));
  prn_v w = cg_at(g, g->i8, d->w, start);
  if (all > 1 || !d->finish)
    w = panels(g, it, w, 0, d->finish ? all - 1 : all, m, cols, false);
  if (d->finish) panels(g, it, w, all - 1, all, m, cols, true);
}

/* ---- columns that do not fill a tile ---- */

/* On a target without masks: vectors one by one, then elements. */
static void columns_without_masks(prn_cg *g, item *it, prn_v cols) {
  unsigned lanes = it->t.lanes;
  prn_v whole = prn_cg_sub(g, cols, prn_cg_mod(g, cols, cg_i64(g, lanes)));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), whole, lanes, NULL, 0);
  columns_of(g, it, 1, false, l.iv, cg_i64(g, lanes));
  prn_loop_end(g, &l);
  it->t.lanes = 1;
  prn_loop_begin(g, &l, whole, cols, 1, NULL, 0);
  columns_of(g, it, 1, false, l.iv, cg_i64(g, 1));
  prn_loop_end(g, &l);
  it->t.lanes = lanes;
}

/* Their number is known when the code runs. */
static void some_columns(prn_cg *g, item *it, unsigned vectors, prn_v cols) {
  LLVMBasicBlockRef done = prn_cg_block(g, "done");
  prn_v n = prn_cg_ceildiv(g, cols, cg_i64(g, it->t.lanes));
  prn_v sw = LLVMBuildSwitch(g->b, n, done, vectors);
  for (unsigned v = 1; v <= vectors; v++) {
    LLVMBasicBlockRef bb = prn_cg_block(g, "vectors");
    LLVMAddCase(sw, cg_i64(g, v), bb);
    LLVMPositionBuilderAtEnd(g->b, bb);
    columns_of(g, it, v, true, cg_i64(g, 0), cols);
    LLVMBuildBr(g->b, done);
  }
  LLVMPositionBuilderAtEnd(g->b, done);
}

static void last_columns(prn_cg *g, item *it, unsigned vectors, prn_v cols,
                         int64_t known) {
  unsigned lanes = it->t.lanes;
  prn_v zero = cg_i64(g, 0), n = known > 0 ? cg_i64(g, known) : cols;
  if (known > 0 && known % lanes == 0)
    columns_of(g, it, (unsigned)known / lanes, false, zero, n);
  else if (!g->target->masks)
    columns_without_masks(g, it, n);
  else if (known > 0)
    columns_of(g, it, (unsigned)(known + lanes - 1) / lanes, true, zero, n);
  else
    some_columns(g, it, vectors, cols);
}

static void all_columns(prn_cg *g, item *it, int64_t columns, prn_v cols) {
  unsigned vectors = (unsigned)(columns / it->t.lanes);
  int64_t m = -1;
  prn_v full = cg_i64(g, columns), zero = cg_i64(g, 0);
  (void)prn_cg_is_const(it->d->m, &m);
  if (m > 0 && m % columns == 0) {
    columns_of(g, it, vectors, false, zero, full);
    return;
  }
  if (m > 0 && m < columns) {
    last_columns(g, it, vectors, cols, m);
    return;
  }
  LLVMBasicBlockRef yes = prn_cg_block(g, "whole"),
                    no = prn_cg_block(g, "part"),
                    join = prn_cg_block(g, "join");
  LLVMBuildCondBr(g->b, cg_cmp(g, LLVMIntEQ, cols, full), yes, no);
  LLVMPositionBuilderAtEnd(g->b, yes);
  columns_of(g, it, vectors, false, zero, full);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, no);
  last_columns(g, it, vectors, cols, m > 0 ? m % columns : -1);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, join);
}

/* ---- the families ---- */

static int64_t vectors_of(const prn_target *t, const prn_packing *p) {
  int64_t most = prn_srt_vectors(p->group, t->registers);
  return p->vectors > 0 && p->vectors < most ? p->vectors : most;
}

/* Column blocks as even as whole vectors allow. */
static int64_t columns(const prn_target *t, const prn_packing *p, int64_t m) {
  int64_t lanes = t->lanes, most = vectors_of(t, p);
  if (m <= 0) return most * lanes;
  int64_t vectors = (m + lanes - 1) / lanes;
  int64_t blocks = (vectors + most - 1) / most;
  return (vectors + blocks - 1) / blocks * lanes;
}

static int64_t rows(const prn_target *t, const prn_packing *p) {
  (void)t;
  return p->nr;
}

static bool packs_columns(const prn_cells *s) {
  return s->kind != PRN_DOT_F32 || s->widen;
}

/* Whether copies are worth it: vectors would be loaded across cache lines, once
 * for every entry. */
static bool may_copy(const prn_target *t, const prn_packing *p, bool anywhere) {
  prn_cells s = prn_cells_of(t, p);
  return anywhere && t->lanes >= 8 && !packs_columns(&s);
}

/* Decided when the code runs. */
static void copy_where_apart(prn_cg *g, item *it, int64_t most) {
  const prn_linear *d = it->d;
  prn_v line = cg_i64(g, 63), at = LLVMBuildPtrToInt(g->b, d->x, g->i64, "");
  prn_v row = prn_cg_mul(g, d->x_row, cg_i64(g, 4));
  prn_v rest = LLVMBuildAnd(g->b, LLVMBuildOr(g->b, at, row, ""), line, "");
  it->copies = cg_cmp(g, LLVMIntNE, rest, cg_i64(g, 0));
  it->x = LLVMBuildSelect(g->b, it->copies, d->scratch, d->x, "");
  it->x_row = LLVMBuildSelect(g->b, it->copies, cg_i64(g, most), d->x_row, "");
  it->x0 = LLVMBuildSelect(g->b, it->copies, cg_i64(g, 0), it->m0, "");
}

static void emit_item(prn_cg *g, const prn_linear *d, int64_t most, bool blocks,
                      prn_v n0, prn_v m0, prn_v cols) {
  prn_srt_tile t = {.pack = &d->pack,
                    .blocks = blocks,
                    .cells = prn_cells_of(g->target, &d->pack),
                    .whole_x = d->panel != NULL,
                    .lanes = g->target->lanes};
  item it = {.d = d,
             .t = t,
             .x = d->x,
             .x_row = d->x_row,
             .x0 = d->panel ? cg_i64(g, 0) : m0,
             .n0 = n0,
             .m0 = m0,
             .cols = cols};
  if (packs_columns(&t.cells)) {
    it.t.whole_x = true;
    it.x = d->scratch;
    it.x_row = prn_cg_round_up(g, cols, t.lanes);
    it.x0 = cg_i64(g, 0);
    prn_cells_pack(g, &t.cells, d, m0, cols, it.x_row, it.x);
  } else if (may_copy(g->target, &d->pack, d->anywhere)) {
    copy_where_apart(g, &it, most);
  }
  all_columns(g, &it, most, cols);
}

static size_t scratch(const prn_target *t, const prn_packing *p,
                      bool anywhere) {
  prn_cells s = prn_cells_of(t, p);
  int64_t width = vectors_of(t, p) * (int64_t)t->lanes;
  if (may_copy(t, p, anywhere)) return (size_t)(p->depth * width) * 4;
  if (!packs_columns(&s)) return 0;
  return (size_t)prn_cells_bytes(&s, p, width);
}

static void srt_item(prn_cg *g, const prn_linear *d, int64_t most, prn_v n0,
                     prn_v n1, prn_v m0, prn_v cols) {
  (void)n1;
  emit_item(g, d, most, false, n0, m0, cols);
}

static void blocks_item(prn_cg *g, const prn_linear *d, int64_t most, prn_v n0,
                        prn_v n1, prn_v m0, prn_v cols) {
  (void)n1;
  emit_item(g, d, most, true, n0, m0, cols);
}

const prn_linear_family prn_linear_srt = {"srt", true,     columns,
                                          rows,  srt_item, scratch};
const prn_linear_family prn_linear_blocks = {"blocks", true,        columns,
                                             rows,     blocks_item, scratch};
