/* Dense products, format `rows`; see linear.h.
 *
 * A register tile is a few groups of rows by up to nv vectors of columns:
 * at each k every vector of x is loaded once, every weight is one broadcast.
 * Fewer vectors leave room for more groups, so that narrow blocks keep as many
 * independent sums. The depth runs in blocks whose part of x stays in the
 * second-level cache; sums pass from one block to the next through c, which
 * does not round them. A chunk of rows is a multiple of every tile's height
 * and small enough to be finished from the first-level cache.
 *
 * Tiles are functions of run-time sizes. Rows past the last one are computed
 * from zeros or from repeated weights, and written over by row 0 of the tile,
 * which is stored after them. Where the target has no masked loads, columns
 * that do not fill a vector go one by one. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "backends/llvm/linear.h"
#include "backends/llvm/linear_rows.h"

enum { ROWS_MAX = 32, VECTORS_MAX = 4, UNROLL = 4 };
enum { X_BYTES = 256 << 10, LINE = 64 };
enum { PART = 1 << 8 };

typedef struct tile {
  unsigned groups, group, nv, lanes;
  bool masked; /* the last vector */
} tile;

/* ---- register tile ---- */

enum { X, X_ROW, W, W_GROUP, K, C, C_ROW, ROWS, LAST, ACC, PARAMS };

typedef struct body {
  prn_cg *g;
  tile t;
  unsigned rows; /* of the tile */
  prn_t type;    /* of a vector */
  prn_v fn, mask;
  prn_v c[ROWS_MAX], w_at[VECTORS_MAX]; /* rows of c; groups, from w */
} body;

static prn_v param(const body *b, unsigned i) { return LLVMGetParam(b->fn, i); }

static prn_v vector_at(const body *b, prn_v row, unsigned v) {
  return cg_at(b->g, b->g->f32, row, cg_i64(b->g, (int64_t)(v * b->t.lanes)));
}

static prn_v mask_of(const body *b, unsigned v) {
  return v + 1 == b->t.nv ? b->mask : NULL;
}

/* What does not exist is replaced by the tile's first row or group. */
static void locate(body *b) {
  prn_cg *g = b->g;
  prn_v rows = param(b, ROWS), zero = cg_i64(g, 0);
  for (unsigned r = 0; r < b->rows; r++) {
    prn_v there = cg_lt(g, cg_i64(g, r), rows);
    prn_v at = prn_cg_mul(g, param(b, C_ROW), cg_i64(g, r));
    if (r) at = cg_select(g, there, at, zero);
    b->c[r] = cg_at(g, g->f32, param(b, C), at);
    if (r % b->t.group) continue;
    prn_v group = cg_i64(g, r / b->t.group);
    at = prn_cg_mul(g, param(b, W_GROUP), group);
    b->w_at[r / b->t.group] = r ? cg_select(g, there, at, zero) : at;
  }
}

/* Sums at the start: zero, or c. */
static void first(body *b, prn_v *acc) {
  prn_cg *g = b->g;
  unsigned nv = b->t.nv, n = b->rows * nv;
  prn_v zero = LLVMConstNull(b->type), loaded[PRN_LOOP_MAX];
  prn_if s = prn_if_begin(g, param(b, ACC));
  for (unsigned i = 0; i < n; i++)
    loaded[i] = prn_cg_load_masked(
        g, b->type, vector_at(b, b->c[i / nv], i % nv), mask_of(b, i % nv));
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, s);
  for (unsigned i = 0; i < n; i++) {
    acc[i] = LLVMBuildPhi(g->b, b->type, "");
    LLVMAddIncoming(acc[i], &zero, &s.from, 1);
    LLVMAddIncoming(acc[i], &loaded[i], &then, 1);
  }
}

/* One k: acc += weights of all rows * one row of x. */
static void step(const body *b, prn_v x, prn_v w, prn_v *acc) {
  prn_cg *g = b->g;
  unsigned nv = b->t.nv, group = b->t.group;
  prn_v xs[VECTORS_MAX];
  for (unsigned v = 0; v < nv; v++)
    xs[v] = prn_cg_load_masked(g, b->type, vector_at(b, x, v), mask_of(b, v));
  for (unsigned r = 0; r < b->rows; r++) {
    prn_v at = cg_at(g, g->f32, w, b->w_at[r / group]);
    prn_v e =
        prn_cg_load(g, g->f32, cg_at(g, g->f32, at, cg_i64(g, r % group)));
    prn_v s = prn_cg_splat(g, e, b->t.lanes);
    for (unsigned v = 0; v < nv; v++)
      acc[r * nv + v] = prn_cg_fma(g, s, xs[v], acc[r * nv + v]);
  }
}

/* Asks for what the next tile reads at the same k: it lies too far ahead for
 * the hardware to guess. */
static void ask(const body *b, prn_v w, unsigned ks) {
  prn_cg *g = b->g;
  int64_t bytes = (int64_t)(ks * b->t.group * sizeof(float));
  prn_v groups = cg_i64(g, b->t.groups);
  prn_v next = cg_at(g, g->f32, w, prn_cg_mul(g, param(b, W_GROUP), groups));
  for (unsigned i = 0; i < b->t.groups; i++) {
    prn_v at = cg_at(g, g->f32, next, b->w_at[i]);
    for (int64_t o = 0; o < bytes; o += LINE)
      prn_cg_prefetch(g, cg_at(g, g->i8, at, cg_i64(g, o)));
  }
}

/* k in [from, to), `by` at a time; acc, x and w advance. */
static void steps(const body *b, prn_v from, prn_v to, unsigned by,
                  prn_v *state) {
  prn_cg *g = b->g;
  unsigned n = b->rows * b->t.nv;
  prn_v group = cg_i64(g, b->t.group);
  prn_loop l;
  prn_loop_begin(g, &l, from, to, by, state, n + 2);
  prn_v x = l.cur[n], w = l.cur[n + 1];
  if (by > 1) ask(b, w, by);
  for (unsigned u = 0; u < by; u++) {
    step(b, x, w, l.next);
    x = cg_at(g, g->f32, x, param(b, X_ROW));
    w = cg_at(g, g->f32, w, group);
  }
  l.next[n] = x;
  l.next[n + 1] = w;
  prn_loop_end(g, &l);
  memcpy(state, l.out, (n + 2) * sizeof *state);
}

static void fill(body *b) {
  prn_cg *g = b->g;
  unsigned nv = b->t.nv, n = b->rows * nv;
  prn_v state[PRN_LOOP_MAX], k = param(b, K);
  locate(b);
  first(b, state);
  state[n] = param(b, X);
  state[n + 1] = param(b, W);
  prn_v whole = prn_cg_sub(g, k, prn_cg_mod(g, k, cg_i64(g, UNROLL)));
  steps(b, cg_i64(g, 0), whole, UNROLL, state);
  steps(b, whole, k, 1, state);
  for (unsigned i = n; i-- > 0;)
    prn_cg_store_masked(g, state[i], vector_at(b, b->c[i / nv], i % nv),
                        mask_of(b, i % nv));
  LLVMBuildRetVoid(g->b);
}

static prn_v make_tile(prn_cg *g, tile t) {
  char name[48];
  snprintf(name, sizeof name, "linear_rows_%ux%ux%ux%u%s", t.groups, t.group,
           t.nv, t.lanes, t.masked ? "m" : "");
  prn_v fn = prn_cg_made(g, name);
  if (fn) return fn;
  prn_t params[PARAMS] = {g->ptr, g->i64, g->ptr, g->i64, g->i64,
                          g->ptr, g->i64, g->i64, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->none, params, PARAMS);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  prn_cg_param_attr(g, fn, X, "noalias");
  prn_cg_param_attr(g, fn, W, "noalias");
  body b = {.g = g,
            .t = t,
            .rows = t.groups * t.group,
            .type = prn_cg_vec(g->f32, t.lanes),
            .fn = fn};
  assert(b.rows <= ROWS_MAX && b.rows * t.nv + 2 <= PRN_LOOP_MAX);
  if (t.masked) b.mask = prn_cg_tail_mask(g, t.lanes, LLVMGetParam(fn, LAST));
  fill(&b);
  prn_cg_end(g, scope);
  return fn;
}

/* ---- shape of tiles ---- */

/* Vectors side by side: the sums, a row of x and a weight fit the registers. */
static unsigned widest(const prn_target *t, int64_t group) {
  int64_t registers = (int64_t)t->mr * t->nv, nv = registers / group;
  return (unsigned)(nv < 1 ? 1 : nv < t->nv ? nv : t->nv);
}

/* Groups below each other in a tile of nv vectors. */
static unsigned groups_of(const prn_target *t, int64_t group, unsigned nv) {
  int64_t registers = (int64_t)t->mr * t->nv;
  for (unsigned n = VECTORS_MAX; n > 1; n /= 2)
    if ((int64_t)n * group * nv <= registers) return n;
  return 1;
}

int64_t prn_rows_high(const prn_target *t, int64_t group) {
  return group * groups_of(t, group, 1);
}

/* ---- a chunk of rows by all columns ---- */

/* What blocks of these columns need: bit 0 for whole tiles, bit v for v vectors
 * left over, and whether the last of them is not a whole one. */
static unsigned needs(const prn_target *t, int64_t cols, unsigned nv) {
  int64_t lanes = t->lanes, width = lanes * nv, rest = cols % width;
  int64_t vectors = t->masks ? (rest + lanes - 1) / lanes : rest / lanes;
  return (cols >= width ? 1u : 0u) | (vectors ? 1u << vectors : 0u) |
         (rest % lanes ? PART : 0u);
}

static unsigned all_needs(const prn_target *t, int64_t columns, int64_t m,
                          unsigned nv) {
  if (m < 0) return PART | ((2u << nv) - 1);
  return (m >= columns ? needs(t, columns, nv) : 0) | needs(t, m % columns, nv);
}

/* Moves the chunk's x and c to column `at`. */
static void columns_from(prn_cg *g, prn_v *args, prn_v at) {
  args[X] = cg_at(g, g->f32, args[X], at);
  args[C] = cg_at(g, g->f32, args[C], at);
}

/* Tiles for all rows, columns from `at` on. */
static void tiles(prn_cg *g, const prn_v *chunk, prn_v at, prn_v last, tile t) {
  prn_v args[PARAMS], group = cg_i64(g, t.group);
  memcpy(args, chunk, sizeof args);
  columns_from(g, args, at);
  prn_v w = args[W], c = args[C];
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), args[ROWS], (int64_t)t.group * t.groups,
                 NULL, 0);
  args[W] = cg_at(g, g->f32, w,
                  prn_cg_mul(g, prn_cg_div(g, l.iv, group), args[W_GROUP]));
  args[C] = cg_at(g, g->f32, c, prn_cg_mul(g, l.iv, args[C_ROW]));
  args[ROWS] = prn_cg_sub(g, chunk[ROWS], l.iv);
  args[LAST] = last;
  prn_cg_call(g, make_tile(g, t), args, PARAMS);
  prn_loop_end(g, &l);
}

/* Columns from `at` on, fewer than a whole tile's. */
static void left_over(prn_cg *g, const prn_v *args, prn_v at, prn_v rest,
                      tile t, unsigned need) {
  const prn_target *target = g->target;
  prn_v lanes = cg_i64(g, target->lanes);
  t.masked = target->masks && (need & PART);
  prn_v vectors = target->masks ? prn_cg_ceildiv(g, rest, lanes)
                                : prn_cg_div(g, rest, lanes);
  prn_v last = prn_cg_sub(
      g, rest, prn_cg_mul(g, prn_cg_sub(g, vectors, cg_i64(g, 1)), lanes));
  LLVMBasicBlockRef done = prn_cg_block(g, "done");
  prn_v sw = LLVMBuildSwitch(g->b, vectors, done, t.nv);
  for (unsigned v = 1; v <= t.nv; v++) {
    if (!(need >> v & 1)) continue;
    LLVMBasicBlockRef bb = prn_cg_block(g, "vectors");
    LLVMAddCase(sw, cg_i64(g, v), bb);
    LLVMPositionBuilderAtEnd(g->b, bb);
    tile u = t;
    u.nv = v;
    u.groups = groups_of(target, t.group, v);
    tiles(g, args, at, last, u);
    LLVMBuildBr(g->b, done);
  }
  LLVMPositionBuilderAtEnd(g->b, done);
  if (target->masks || !(need & PART)) return;
  prn_loop l;
  tile one = {.groups = 1, .group = t.group, .nv = 1, .lanes = 1};
  prn_v end = prn_cg_add(g, at, rest);
  prn_loop_begin(g, &l, prn_cg_add(g, at, prn_cg_mul(g, vectors, lanes)), end,
                 1, NULL, 0);
  tiles(g, args, l.iv, cg_i64(g, 1), one);
  prn_loop_end(g, &l);
}

/* As a tile, but for any number of rows and LAST columns. */
static prn_v make_chunk(prn_cg *g, unsigned group, unsigned need) {
  char name[48];
  snprintf(name, sizeof name, "linear_rows_%u_%x", group, need);
  prn_v fn = prn_cg_made(g, name), args[PARAMS];
  if (fn) return fn;
  prn_t params[PARAMS] = {g->ptr, g->i64, g->ptr, g->i64, g->i64,
                          g->ptr, g->i64, g->i64, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->none, params, PARAMS);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  for (unsigned i = 0; i < PARAMS; i++)
    args[i] = LLVMGetParam(fn, i);
  tile t = {.group = group, .lanes = g->target->lanes};
  t.nv = widest(g->target, group);
  t.groups = groups_of(g->target, group, t.nv);
  int64_t width = (int64_t)t.lanes * t.nv;
  prn_v cols = args[LAST], step = cg_i64(g, width);
  prn_v whole = prn_cg_mul(g, prn_cg_div(g, cols, step), step);
  if (need & 1) {
    prn_loop l;
    prn_loop_begin(g, &l, cg_i64(g, 0), whole, width, NULL, 0);
    tiles(g, args, l.iv, cg_i64(g, t.lanes), t);
    prn_loop_end(g, &l);
  }
  left_over(g, args, whole, prn_cg_sub(g, cols, whole), t, need);
  LLVMBuildRetVoid(g->b);
  prn_cg_end(g, scope);
  return fn;
}

void prn_rows_multiply(prn_cg *g, const prn_rows_product *p) {
  int64_t m = p->columns;
  unsigned need = needs(g->target, m, widest(g->target, p->group));
  prn_v chunk = make_chunk(g, (unsigned)p->group, need);
  prn_v group = cg_i64(g, p->group);
  prn_v args[PARAMS] = {[X] = p->x,
                        [X_ROW] = p->x_row,
                        [W] = p->w,
                        [W_GROUP] = prn_cg_mul(g, p->k, group),
                        [K] = p->k,
                        [C] = p->c,
                        [C_ROW] = p->c_row,
                        [ROWS] = p->rows,
                        [LAST] = cg_i64(g, m),
                        [ACC] = LLVMConstInt(g->i1, 0, 0)};
  prn_cg_call(g, chunk, args, PARAMS);
}

/* ---- the family ---- */

/* Column blocks as even as whole vectors allow. */
static int64_t columns(const prn_target *t, const prn_packing *p, int64_t m) {
  int64_t lanes = t->lanes, most = 64 > lanes ? 64 / lanes : 1;
  (void)p;
  if (m <= 0) return most * lanes;
  int64_t vectors = (m + lanes - 1) / lanes;
  int64_t blocks = (vectors + most - 1) / most;
  return (vectors + blocks - 1) / blocks * lanes;
}

static int64_t rows(const prn_target *t, const prn_packing *p) {
  int64_t chunk = prn_rows_high(t, p->group), n = 96 / chunk;
  return chunk * (n < 1 ? 1 : n);
}

/* Of the depth at a time. */
static int64_t depth_of(int64_t k, int64_t cols) {
  int64_t most = X_BYTES / (int64_t)sizeof(float) / cols;
  int64_t blocks = (k + most - 1) / most;
  int64_t depth = (k + blocks - 1) / blocks;
  return (depth + UNROLL - 1) / UNROLL * UNROLL;
}

static void item(prn_cg *g, const prn_linear *d, int64_t cols_most, prn_v n0,
                 prn_v n1, prn_v m0, prn_v cols) {
  int64_t k = d->pack.k, group = d->pack.group, m = -1;
  int64_t depth = depth_of(k, cols_most),
          high = prn_rows_high(g->target, group);
  (void)prn_cg_is_const(d->m, &m);
  prn_v chunk =
      make_chunk(g, (unsigned)group,
                 all_needs(g->target, cols_most, m, widest(g->target, group)));
  prn_v zero = cg_i64(g, 0), all = cg_i64(g, k);
  prn_loop lk, ln;
  prn_loop_begin(g, &lk, zero, all, depth, NULL, 0);
  prn_loop_begin(g, &ln, n0, n1, high, NULL, 0);
  prn_v height = prn_cg_min(g, prn_cg_sub(g, n1, ln.iv), cg_i64(g, high));
  prn_v args[PARAMS] = {
      [X] = prn_cg_add(g, prn_cg_mul(g, lk.iv, d->x_row), m0),
      [X_ROW] = d->x_row,
      [W] = prn_cg_add(g, prn_cg_mul(g, ln.iv, all),
                       prn_cg_mul(g, lk.iv, cg_i64(g, group))),
      [W_GROUP] = cg_i64(g, k * group),
      [K] = prn_cg_min(g, prn_cg_sub(g, all, lk.iv), cg_i64(g, depth)),
      [C] = prn_cg_add(g, prn_cg_mul(g, ln.iv, d->c_row), m0),
      [C_ROW] = d->c_row,
      [ROWS] = height,
      [LAST] = cols,
      [ACC] = cg_cmp(g, LLVMIntNE, lk.iv, zero)};
  args[X] = cg_at(g, g->f32, d->x, args[X]);
  args[W] = cg_at(g, g->f32, d->w, args[W]);
  args[C] = cg_at(g, g->f32, d->c, args[C]);
  prn_cg_call(g, chunk, args, PARAMS);
  if (d->done) {
    prn_v end = prn_cg_add(g, lk.iv, cg_i64(g, depth));
    prn_if last = prn_if_begin(g, cg_cmp(g, LLVMIntSGE, end, all));
    d->done(g, d->user, ln.iv, height, m0, cols, args[C], d->c_row);
    prn_if_end(g, last);
  }
  prn_loop_end(g, &ln);
  prn_loop_end(g, &lk);
}

const prn_linear_family prn_linear_rows = {"rows", true, columns,
                                           rows,   item, NULL};
