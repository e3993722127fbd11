/* The walk shared by the sparse families; see linear_sparse.h. */
#include "backends/llvm/linear_sparse.h"

#include <assert.h>
#include <stdio.h>

/* ---- the tile ---- */

static prn_v vector_at(prn_cg *g, const prn_sparse_tile *t, prn_v row,
                       unsigned v) {
  return cg_at(g, g->f32, row, cg_i64(g, (int64_t)v * t->lanes));
}

static prn_v mask_of(const prn_sparse_tile *t, unsigned v) {
  return v + 1 == t->vectors ? t->mask : NULL;
}

void prn_sparse_load_x(prn_cg *g, const prn_sparse_tile *t, prn_v index,
                       prn_v *out) {
  prn_v at = t->pack->offsets ? index : prn_cg_mul(g, index, t->x_row);
  prn_v x = cg_at(g, g->f32, t->x, at);
  for (unsigned v = 0; v < t->vectors; v++)
    out[v] =
        prn_cg_load_masked(g, t->type, vector_at(g, t, x, v), mask_of(t, v));
}

/* acc = first ? 0 : c */
static void load_tile(prn_cg *g, prn_sparse_tile *t, const prn_v *row,
                      prn_v first) {
  unsigned n = t->rows * t->vectors;
  prn_v zero = LLVMConstNull(t->type), loaded[PRN_LOOP_MAX];
  prn_if s = prn_if_begin(g, LLVMBuildNot(g->b, first, ""));
  for (unsigned i = 0; i < n; i++) {
    unsigned v = i % t->vectors;
    loaded[i] = prn_cg_load_masked(
        g, t->type, vector_at(g, t, row[i / t->vectors], v), mask_of(t, v));
  }
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, s);
  for (unsigned i = 0; i < n; i++) {
    t->acc[i] = LLVMBuildPhi(g->b, t->type, "");
    LLVMAddIncoming(t->acc[i], &zero, &s.from, 1);
    LLVMAddIncoming(t->acc[i], &loaded[i], &then, 1);
  }
}

/* Rows past the end share the address of the last that is there, so the last
 * one has to be stored after them. */
static void store_tile(prn_cg *g, const prn_sparse_tile *t, const prn_v *row) {
  for (unsigned r = t->rows; r-- > 0;)
    for (unsigned v = 0; v < t->vectors; v++)
      prn_cg_store_masked(g, t->acc[r * t->vectors + v],
                          vector_at(g, t, row[r], v), mask_of(t, v));
}

/* ---- the walk: panels [0, k) by groups of rows ---- */

enum { P_X, P_XROW, P_C, P_CROW, P_W, P_ROWS, P_K, P_COLS, P_FIRST, PARAMS };

static prn_v param(prn_cg *g, unsigned i) { return LLVMGetParam(g->fn, i); }

/* One group against one panel; the next record. */
static prn_v group(prn_cg *g, const prn_sparse_kind *kind, prn_sparse_tile *t,
                   prn_v w, prn_v n, prn_v first) {
  prn_v c_row = param(g, P_CROW), c = param(g, P_C), row[PRN_SPARSE_ROWS];
  prn_v next = w;
  prn_v last = prn_cg_sub(g, param(g, P_ROWS), cg_i64(g, 1));
  for (unsigned part = 0; part * t->rows < t->pack->group; part++) {
    for (unsigned r = 0; r < t->rows; r++) {
      prn_v at = prn_cg_add(g, n, cg_i64(g, part * t->rows + r));
      if (part + r) at = prn_cg_min(g, at, last);
      row[r] = cg_at(g, g->f32, c, prn_cg_mul(g, at, c_row));
    }
    load_tile(g, t, row, first);
    next = kind->record(g, t, w, part);
    store_tile(g, t, row);
  }
  return next;
}

static void walk(prn_cg *g, const prn_sparse_kind *kind, prn_sparse_tile *t) {
  const prn_packing *p = t->pack;
  prn_v zero = cg_i64(g, 0), w = param(g, P_W);
  prn_loop panels, groups;
  prn_loop_begin(g, &panels, zero, param(g, P_K), p->depth, &w, 1);
  t->x = param(g, P_X);
  t->x_row = param(g, P_XROW);
  if (!p->offsets)
    t->x = cg_at(g, g->f32, t->x, prn_cg_mul(g, panels.iv, t->x_row));
  prn_v first = LLVMBuildAnd(g->b, param(g, P_FIRST),
                             cg_cmp(g, LLVMIntEQ, panels.iv, zero), "");
  prn_loop_begin(g, &groups, zero, param(g, P_ROWS), p->group, panels.cur, 1);
  groups.next[0] = group(g, kind, t, groups.cur[0], groups.iv, first);
  prn_loop_end(g, &groups);
  panels.next[0] = groups.out[0];
  prn_loop_end(g, &panels);
  LLVMBuildRet(g->b, panels.out[0]);
}

/* The walk for tiles of so many vectors; made once. masked: the last vector
 * has cols % lanes elements (or lanes). */
static prn_v walker(prn_cg *g, const prn_sparse_kind *kind,
                    const prn_packing *pack, unsigned vectors, unsigned lanes,
                    bool masked) {
  char name[96];
  snprintf(name, sizeof name, "linear_%s_%d_%d_%ux%u%s%s", kind->name,
           (int)pack->group, (int)pack->depth, vectors, lanes,
           masked ? "_tail" : "", pack->offsets ? "_offsets" : "");
  prn_v fn = prn_cg_made(g, name);
  if (fn) return fn;
  prn_t params[PARAMS] = {g->ptr, g->i64, g->ptr, g->i64, g->ptr,
                          g->i64, g->i64, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->ptr, params, PARAMS);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  prn_cg_param_attr(g, fn, P_X, "noalias");
  prn_cg_param_attr(g, fn, P_C, "noalias");
  prn_cg_param_attr(g, fn, P_W, "noalias");
  prn_sparse_tile t = {.pack = pack,
                       .rows = kind->rows(g->target, pack),
                       .vectors = vectors,
                       .lanes = lanes,
                       .type = prn_cg_vec(g->f32, lanes)};
  assert(t.rows * vectors + 2 <= PRN_LOOP_MAX);
  if (masked) {
    prn_v before = cg_i64(g, (int64_t)(vectors - 1) * lanes);
    t.mask =
        prn_cg_tail_mask(g, lanes, prn_cg_sub(g, param(g, P_COLS), before));
  }
  walk(g, kind, &t);
  prn_cg_end(g, scope);
  return fn;
}

/* ---- items ---- */

enum { CHUNK = 8 }; /* groups finished before done is called */

typedef struct item {
  const prn_sparse_kind *kind;
  const prn_linear *d;
  prn_v n0, rows; /* of the block */
  prn_v w;        /* its first record */
  unsigned lanes;
} item;

static prn_v call(prn_cg *g, const item *it, prn_v fn, prn_v w, prn_v n,
                  prn_v rows, int64_t k0, int64_t k1, prn_v m0, prn_v cols) {
  const prn_linear *d = it->d;
  prn_v args[PARAMS];
  prn_v x_at = prn_cg_mul(g, cg_i64(g, d->pack.offsets ? 0 : k0), d->x_row);
  prn_v c_at = prn_cg_mul(g, prn_cg_add(g, it->n0, n), d->c_row);
  args[P_X] = cg_at(g, g->f32, d->x, prn_cg_add(g, x_at, m0));
  args[P_XROW] = d->x_row;
  args[P_C] = cg_at(g, g->f32, d->c, prn_cg_add(g, c_at, m0));
  args[P_CROW] = d->c_row;
  args[P_W] = w;
  args[P_ROWS] = rows;
  args[P_K] = cg_i64(g, k1 - k0);
  args[P_COLS] = cols;
  args[P_FIRST] = LLVMConstInt(g->i1, k0 == 0, 0);
  return prn_cg_call(g, fn, args, PARAMS);
}

/* All rows of the block by columns [m0, m0 + cols), at most vectors of them:
 * the last panel in chunks, so that done finds them in the nearest cache. */
static void columns_of(prn_cg *g, const item *it, unsigned vectors, bool masked,
                       prn_v m0, prn_v cols) {
  const prn_linear *d = it->d;
  const prn_packing *p = &d->pack;
  prn_v fn = walker(g, it->kind, p, vectors, it->lanes, masked);
  prn_v zero = cg_i64(g, 0), w = it->w;
  int64_t last = (p->k - 1) / p->depth * p->depth;
  if (last > 0 || !d->done) {
    int64_t end = d->done ? last : p->k;
    w = call(g, it, fn, w, zero, it->rows, 0, end, m0, cols);
  }
  if (!d->done) return;
  prn_loop l;
  prn_loop_begin(g, &l, zero, it->rows, CHUNK * p->group, &w, 1);
  prn_v rows =
      prn_cg_min(g, prn_cg_sub(g, it->rows, l.iv), cg_i64(g, CHUNK * p->group));
  l.next[0] = call(g, it, fn, l.cur[0], l.iv, rows, last, p->k, m0, cols);
  d->done(g, d->user, prn_cg_add(g, it->n0, l.iv), rows, m0, cols);
  prn_loop_end(g, &l);
}

/* Fewer columns than a tile holds, on a target without masks: vectors one by
 * one, then elements. */
static void columns_without_masks(prn_cg *g, item *it, prn_v m0, prn_v cols) {
  unsigned lanes = it->lanes;
  prn_v whole = prn_cg_sub(g, cols, prn_cg_mod(g, cols, cg_i64(g, lanes)));
  for (; it->lanes; it->lanes = it->lanes > 1 ? 1 : 0) {
    prn_loop l;
    prn_loop_begin(g, &l, it->lanes > 1 ? cg_i64(g, 0) : whole,
                   it->lanes > 1 ? whole : cols, it->lanes, NULL, 0);
    columns_of(g, it, 1, false, prn_cg_add(g, m0, l.iv), cg_i64(g, it->lanes));
    prn_loop_end(g, &l);
  }
  it->lanes = lanes;
}

/* Fewer columns than a tile holds, their number known when the code runs. */
static void some_columns(prn_cg *g, const item *it, unsigned vectors, prn_v m0,
                         prn_v cols) {
  LLVMBasicBlockRef done = prn_cg_block(g, "done");
  prn_v n = prn_cg_ceildiv(g, cols, cg_i64(g, it->lanes));
  prn_v sw = LLVMBuildSwitch(g->b, n, done, vectors);
  for (unsigned v = 1; v <= vectors; v++) {
    LLVMBasicBlockRef bb = prn_cg_block(g, "vectors");
    LLVMAddCase(sw, cg_i64(g, v), bb);
    LLVMPositionBuilderAtEnd(g->b, bb);
    columns_of(g, it, v, true, m0, cols);
    LLVMBuildBr(g->b, done);
  }
  LLVMPositionBuilderAtEnd(g->b, done);
}

static void last_columns(prn_cg *g, item *it, unsigned vectors, prn_v m0,
                         prn_v cols, int64_t known) {
  unsigned lanes = it->lanes;
  if (known > 0 && known % lanes == 0)
    columns_of(g, it, (unsigned)known / lanes, false, m0, cg_i64(g, known));
  else if (!g->target->masks)
    columns_without_masks(g, it, m0, known > 0 ? cg_i64(g, known) : cols);
  else if (known > 0)
    columns_of(g, it, (unsigned)(known + lanes - 1) / lanes, true, m0,
               cg_i64(g, known));
  else
    some_columns(g, it, vectors, m0, cols);
}

static prn_v first_record(prn_cg *g, const prn_linear *d, prn_v n0) {
  prn_v block = prn_cg_div(g, n0, cg_i64(g, d->pack.nr));
  prn_v start = prn_cg_load(g, g->i64, cg_at(g, g->i64, d->w, block));
  return cg_at(g, g->i8, d->w, start);
}

void prn_sparse_item(prn_cg *g, const prn_sparse_kind *kind,
                     const prn_linear *d, int64_t columns, prn_v n0, prn_v n1,
                     prn_v m0, prn_v cols) {
  item it = {.kind = kind,
             .d = d,
             .n0 = n0,
             .rows = prn_cg_sub(g, n1, n0),
             .w = first_record(g, d, n0),
             .lanes = g->target->lanes};
  unsigned vectors = (unsigned)(columns / it.lanes);
  int64_t m = -1;
  prn_v full = cg_i64(g, columns);
  (void)prn_cg_is_const(d->m, &m);
  if (m > 0 && m % columns == 0) {
    columns_of(g, &it, vectors, false, m0, full);
    return;
  }
  if (m > 0 && m < columns) {
    last_columns(g, &it, vectors, m0, cols, m);
    return;
  }
  prn_v whole = cg_cmp(g, LLVMIntEQ, cols, full);
  LLVMBasicBlockRef yes = prn_cg_block(g, "whole"),
                    no = prn_cg_block(g, "part"),
                    join = prn_cg_block(g, "join");
  LLVMBuildCondBr(g->b, whole, yes, no);
  LLVMPositionBuilderAtEnd(g->b, yes);
  columns_of(g, &it, vectors, false, m0, full);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, no);
  last_columns(g, &it, vectors, m0, cols, m > 0 ? m % columns : -1);
  LLVMBuildBr(g->b, join);
  LLVMPositionBuilderAtEnd(g->b, join);
}

/* Columns of an item: as many vectors as a tile holds, or what m needs. */
int64_t prn_sparse_columns(const prn_sparse_kind *kind, const prn_target *t,
                           const prn_packing *p, int64_t m) {
  unsigned most = kind->vectors(t, p);
  int64_t need = m > 0 ? (m + t->lanes - 1) / t->lanes : most;
  return (need < most ? need : most) * (int64_t)t->lanes;
}
