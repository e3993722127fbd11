/* Families for dense weights narrower than f32, in cells (linear_cells.h):
 * rows2, 16-bit floats, and rows4, bytes. Weights that must be widened are
 * widened a few rows at a time.
 *
 * Sums are complete in registers: the depth is not cut. */
#include <assert.h>
#include <stdio.h>

#include "backends/llvm/emit.h"
#include "backends/llvm/linear_cells.h"

enum {
  ROWS = 384, /* of an item: packing is then 2 % of the work */
  CHUNK = 4,  /* groups between calls of done: their sums stay in L1 */
};

/* ---- the tile: group rows by nv vectors ---- */

enum { T_W, T_X, T_CELLS, T_C, T_CROW, T_COLS, T_LAST, T_PARAMS };

typedef struct tile {
  prn_cells s;
  unsigned r, v;
} tile;

static void tile_step(prn_cg *g, const tile *t, prn_loop *l) {
  unsigned lanes = g->target->lanes, subs = t->s.subs;
  prn_t cells = prn_cg_vec(g->i32, lanes);
  prn_v w = cg_at(g, g->i32, LLVMGetParam(g->fn, T_W),
                  prn_cg_mul(g, l->iv, cg_i64(g, t->r * subs)));
  prn_v x = cg_at(g, g->i32, LLVMGetParam(g->fn, T_X),
                  prn_cg_mul(g, l->iv, cg_i64(g, subs * t->v * lanes)));
  for (unsigned i = 0; i < subs; i++) {
    prn_v xs[8];
    for (unsigned v = 0; v < t->v; v++)
      xs[v] = prn_cg_load(
          g, cells, cg_at(g, g->i32, x, cg_i64(g, (i * t->v + v) * lanes)));
    for (unsigned r = 0; r < t->r; r++) {
      prn_v at = cg_at(g, g->i32, w, cg_i64(g, r * subs + i));
      prn_v ws = prn_cg_splat(g, prn_cg_load(g, g->i32, at), lanes);
      for (unsigned v = 0; v < t->v; v++)
        l->next[r * t->v + v] =
            prn_dot_step(g, t->s.kind, l->next[r * t->v + v], xs[v], ws);
    }
  }
}

/* The first `count` lanes. */
static void store_some(prn_cg *g, prn_v v, prn_v p, prn_v count) {
  unsigned lanes = g->target->lanes;
  if (g->target->masks) {
    prn_cg_store_masked(g, v, p, prn_cg_tail_mask(g, lanes, count));
    return;
  }
  prn_t elem = prn_cg_elem(LLVMTypeOf(v));
  prn_v spill = prn_cg_alloca(g, LLVMTypeOf(v), 64);
  prn_cg_store(g, v, spill);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), count, 1, NULL, 0);
  prn_cg_store(g, prn_cg_load(g, elem, cg_at(g, elem, spill, l.iv)),
               cg_at(g, elem, p, l.iv));
  prn_loop_end(g, &l);
}

/* Rows beyond the last are written over it first: their place is nobody
 * else's, and the last comes after them. */
static void tile_store(prn_cg *g, const tile *t, const prn_v *sums,
                       prn_v tail) {
  unsigned lanes = g->target->lanes;
  prn_t elem = prn_cg_elem(LLVMTypeOf(sums[0]));
  prn_v last = LLVMGetParam(g->fn, T_LAST);
  for (unsigned r = t->r; r-- > 0;) {
    prn_v row = prn_cg_min(g, cg_i64(g, r), last);
    prn_v c = cg_at(g, elem, LLVMGetParam(g->fn, T_C),
                    prn_cg_mul(g, row, LLVMGetParam(g->fn, T_CROW)));
    for (unsigned v = 0; v < t->v; v++) {
      prn_v at = cg_at(g, elem, c, cg_i64(g, v * lanes));
      if (tail && v + 1 == t->v)
        store_some(g, sums[r * t->v + v], at, tail);
      else
        prn_cg_store(g, sums[r * t->v + v], at);
    }
  }
}

static void tile_body(prn_cg *g, const tile *t) {
  prn_v init[PRN_LOOP_MAX];
  unsigned n = t->r * t->v;
  assert(n <= PRN_COUNT(init) && t->v <= 8);
  for (unsigned i = 0; i < n; i++)
    init[i] = LLVMConstNull(prn_dot_sum(g, t->s.kind));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), LLVMGetParam(g->fn, T_CELLS), 1, init, n);
  tile_step(g, t, &l);
  prn_loop_end(g, &l);
  prn_v tail = prn_cg_sub(g, LLVMGetParam(g->fn, T_COLS),
                          cg_i64(g, (t->v - 1) * g->target->lanes));
  prn_v full = cg_cmp(g, LLVMIntEQ, tail, cg_i64(g, g->target->lanes));
  LLVMBasicBlockRef whole = prn_cg_block(g, "whole"),
                    part = prn_cg_block(g, "part");
  LLVMBuildCondBr(g->b, full, whole, part);
  LLVMPositionBuilderAtEnd(g->b, whole);
  tile_store(g, t, l.out, NULL);
  LLVMBuildRetVoid(g->b);
  LLVMPositionBuilderAtEnd(g->b, part);
  tile_store(g, t, l.out, tail);
  LLVMBuildRetVoid(g->b);
}

static prn_v tile_function(prn_cg *g, const tile *t) {
  char key[64];
  (void)snprintf(key, sizeof key, "dot_tile_%d_%u_%ux%u", (int)t->s.kind,
                 t->s.subs, t->r, t->v);
  prn_v fn = prn_cg_made(g, key);
  if (fn) return fn;
  prn_t params[T_PARAMS] = {g->ptr, g->ptr, g->i64, g->ptr,
                            g->i64, g->i64, g->i64};
  prn_cg_scope s = prn_cg_begin(g, key, g->none, params, T_PARAMS);
  fn = g->fn;
  prn_cg_remember(g, key, fn);
  prn_cg_param_attr(g, fn, T_W, "noalias");
  prn_cg_param_attr(g, fn, T_X, "noalias");
  prn_cg_param_attr(g, fn, T_C, "noalias");
  tile_body(g, t);
  prn_cg_end(g, s);
  return fn;
}

/* ---- weights to f32 ---- */

typedef struct widener {
  prn_dtype t;
  prn_v from, to;
} widener;

static void widen_some(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  widener *w = user;
  prn_v at = prn_elem_at(g, w->t, w->from, i);
  prn_v v = prn_elem_load(g, w->t, at, cg_i64(g, 1), lanes, mask);
  prn_cg_store_masked(g, v, cg_at(g, g->f32, w->to, i), mask);
}

/* ---- items ---- */

typedef struct item {
  const prn_linear *d;
  prn_cells s;
  int64_t cells, r;
  prn_v x;                  /* packed columns */
  prn_v c, c_row;           /* sums of row n are at c[(n - first) * c_row] */
  prn_v wide;               /* a group of weights as f32, when widened */
  prn_v m0, cols, vectors;  /* of the item */
  unsigned v_least, v_most; /* what vectors can be */
} item;

/* Column blocks as even as whole vectors allow. */
static int64_t columns(const prn_target *t, const prn_packing *p, int64_t m) {
  int64_t lanes = t->lanes, most = (int64_t)t->mr * t->nv / p->group;
  most = most < 1 ? 1 : most < t->nv ? most : t->nv;
  if (m <= 0) return most * lanes;
  int64_t vectors = (m + lanes - 1) / lanes;
  int64_t blocks = (vectors + most - 1) / most;
  return (vectors + blocks - 1) / blocks * lanes;
}

static int64_t rows(const prn_target *t, const prn_packing *p) {
  (void)t;
  return (ROWS + p->group - 1) / p->group * p->group;
}

static int64_t x_bytes(const prn_target *t, const prn_packing *p) {
  prn_cells s = prn_cells_of(t, p);
  return prn_cells_bytes(&s, p, (int64_t)prn_target_nr(t));
}

/* Bytes of the sums of a chunk. */
static int64_t sums_bytes(const prn_target *t, const prn_packing *p) {
  return CHUNK * p->group * (int64_t)prn_target_nr(t) * 4;
}

static size_t scratch(const prn_target *t, const prn_packing *p,
                      bool anywhere) {
  (void)anywhere;
  prn_cells s = prn_cells_of(t, p);
  int64_t wide = s.widen ? prn_cells_count(&s, p) * s.subs * p->group * 4 : 0;
  return (size_t)(x_bytes(t, p) + sums_bytes(t, p) + wide);
}

/* One group of rows from n on, by all columns of the item. */
static void group(prn_cg *g, item *it, prn_v first, prn_v n, prn_v n1) {
  const prn_linear *d = it->d;
  int64_t r = it->r, size = it->cells * r * 4;
  prn_v w =
      cg_at(g, g->i8, d->w,
            prn_cg_mul(g, prn_cg_div(g, n, cg_i64(g, r)), cg_i64(g, size)));
  if (it->s.widen) {
    widener wide = {d->pack.dtype, w, it->wide};
    prn_cg_vloop(g, cg_i64(g, it->cells * it->s.subs * r), g->target->lanes,
                 widen_some, &wide);
    w = it->wide;
  }
  prn_v c = cg_at(g, g->i32, it->c,
                  prn_cg_mul(g, prn_cg_sub(g, n, first), it->c_row));
  prn_v last = prn_cg_min(g, prn_cg_sub(g, prn_cg_sub(g, n1, n), cg_i64(g, 1)),
                          cg_i64(g, r - 1));
  prn_v args[T_PARAMS] = {w,        it->x, cg_i64(g, it->cells), c, it->c_row,
                          it->cols, last};
  for (unsigned v = it->v_least; v <= it->v_most; v++) {
    tile t = {it->s, (unsigned)r, v};
    prn_if same = prn_if_begin(
        g, cg_cmp(g, LLVMIntEQ, it->vectors, cg_i64(g, (int64_t)v)));
    prn_cg_call(g, tile_function(g, &t), args, T_PARAMS);
    prn_if_end(g, same);
  }
}

static void emit_item(prn_cg *g, const prn_linear *d, int64_t most, prn_v n0,
                      prn_v n1, prn_v m0, prn_v cols) {
  int64_t lanes = g->target->lanes, m, c;
  item it = {.d = d,
             .s = prn_cells_of(g->target, &d->pack),
             .r = d->pack.group,
             .x = d->scratch,
             .m0 = m0,
             .cols = cols,
             .v_least = 1,
             .v_most = (unsigned)(most / lanes)};
  it.cells = prn_cells_count(&it.s, &d->pack);
  int64_t sums = x_bytes(g->target, &d->pack);
  int64_t wide = sums + sums_bytes(g->target, &d->pack);
  it.wide = cg_at(g, g->i8, d->scratch, cg_i64(g, wide));
  it.vectors = prn_cg_ceildiv(g, cols, cg_i64(g, lanes));
  if (prn_cg_is_const(it.vectors, &c) ||
      (prn_cg_is_const(d->m, &m) && m % most == 0 && (c = most / lanes)))
    it.v_least = it.v_most = (unsigned)c;
  prn_v width = prn_cg_mul(g, it.vectors, cg_i64(g, lanes));
  prn_cells_pack(g, &it.s, d, m0, cols, width, it.x);
  prn_loop chunk, l;
  prn_loop_begin(g, &chunk, n0, n1, CHUNK * it.r, NULL, 0);
  prn_v end =
      prn_cg_min(g, prn_cg_add(g, chunk.iv, cg_i64(g, CHUNK * it.r)), n1);
  if (d->done) {
    it.c = cg_at(g, g->i8, d->scratch, cg_i64(g, sums));
    it.c_row = width;
  } else {
    it.c = cg_at(g, g->i32, d->c,
                 prn_cg_add(g, prn_cg_mul(g, chunk.iv, d->c_row), m0));
    it.c_row = d->c_row;
  }
  prn_loop_begin(g, &l, chunk.iv, end, it.r, NULL, 0);
  group(g, &it, chunk.iv, l.iv, n1);
  prn_loop_end(g, &l);
  if (d->done)
    d->done(g, d->user, chunk.iv, prn_cg_sub(g, end, chunk.iv), m0, cols, it.c,
            it.c_row);
  prn_loop_end(g, &chunk);
}

const prn_linear_family prn_linear_rows2 = {"rows2", false,     columns,
                                            rows,    emit_item, scratch};
const prn_linear_family prn_linear_rows4 = {"rows4", false,     columns,
                                            rows,    emit_item, scratch};
