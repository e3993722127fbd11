/* Dense matrix product; see gemm.h. */
#include "backends/llvm/gemm.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- packed panels ---- */

size_t prn_gemm_packed_size(const prn_target *t, int64_t k, int64_t n) {
  size_t nr = prn_target_nr(t), panels = ((size_t)n + nr - 1) / nr;
  return prn_array_size((size_t)k, prn_array_size(panels, nr));
}

void prn_gemm_pack_const(const prn_target *t, const float *b, int64_t k,
                         int64_t n, int64_t row, int64_t col, float *out) {
  int64_t nr = prn_target_nr(t);
  for (int64_t n0 = 0; n0 < n; n0 += nr) {
    int64_t cols = n - n0 < nr ? n - n0 : nr;
    for (int64_t i = 0; i < k; i++, out += nr)
      for (int64_t j = 0; j < nr; j++)
        out[j] = j < cols ? b[i * row + (n0 + j) * col] : 0.0f;
  }
}

/* ---- micro-kernels ---- */

enum { A, A_ROW, A_COL, B, C, C_ROW, K, LAST, ACC, MICRO_PARAMS };

/* Loads or stores vector v of a row of C; the last one only up to `mask`. */
static prn_v c_at(prn_cg *g, prn_v row, unsigned v) {
  return cg_at(g, g->f32, row, cg_i64(g, (int64_t)v * g->target->lanes));
}

static void load_tile(prn_cg *g, const prn_v *rows, unsigned mr, unsigned nv,
                      prn_v mask, prn_v *acc) {
  for (unsigned r = 0; r < mr; r++)
    for (unsigned v = 0; v < nv; v++)
      acc[r * nv + v] = prn_cg_load_masked(g, g->vf, c_at(g, rows[r], v),
                                           v + 1 == nv ? mask : NULL);
}

static void store_tile(prn_cg *g, const prn_v *rows, unsigned mr, unsigned nv,
                       prn_v mask, const prn_v *acc) {
  for (unsigned r = 0; r < mr; r++)
    for (unsigned v = 0; v < nv; v++)
      prn_cg_store_masked(g, acc[r * nv + v], c_at(g, rows[r], v),
                          v + 1 == nv ? mask : NULL);
}

/* Accumulators at the start: zero, or C when ACC. */
static void first_tile(prn_cg *g, prn_v fn, const prn_v *rows, unsigned mr,
                       unsigned nv, prn_v mask, prn_v *acc) {
  prn_v zero = LLVMConstNull(g->vf), loaded[PRN_LOOP_MAX];
  prn_if s = prn_if_begin(g, LLVMGetParam(fn, ACC));
  load_tile(g, rows, mr, nv, mask, loaded);
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, s);
  for (unsigned i = 0; i < mr * nv; i++) {
    acc[i] = LLVMBuildPhi(g->b, g->vf, "");
    LLVMAddIncoming(acc[i], &zero, &s.from, 1);
    LLVMAddIncoming(acc[i], &loaded[i], &then, 1);
  }
}

/* Weights that are used once come from memory, further ahead than the
 * hardware dares to guess. */
enum { AHEAD = 16 << 10, LINE = 64 };

static void ask_ahead(prn_cg *g, prn_v b) {
  int64_t bytes = (int64_t)(prn_target_nr(g->target) * sizeof(float));
  for (int64_t o = 0; o < bytes; o += LINE)
    prn_cg_prefetch(g, cg_at(g, g->i8, b, cg_i64(g, AHEAD + o)));
}

/* The product itself: acc += A[rows, 0..k) * B. */
static void multiply(prn_cg *g, prn_v fn, unsigned mr, unsigned nv, bool stream,
                     prn_v *acc) {
  prn_v a_row[32], init[PRN_LOOP_MAX], b_row[8];
  for (unsigned r = 0; r < mr; r++)
    a_row[r] = cg_at(g, g->f32, LLVMGetParam(fn, A),
                     prn_cg_mul(g, LLVMGetParam(fn, A_ROW), cg_i64(g, r)));
  unsigned n = mr * nv;
  memcpy(init, acc, n * sizeof *acc);
  init[n] = cg_i64(g, 0);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), LLVMGetParam(fn, K), 1, init, n + 1);
  prn_v b = cg_at(g, g->f32, LLVMGetParam(fn, B),
                  prn_cg_mul(g, l.iv, cg_i64(g, prn_target_nr(g->target))));
  if (stream) ask_ahead(g, b);
  for (unsigned v = 0; v < nv; v++)
    b_row[v] = prn_cg_load(g, g->vf, c_at(g, b, v));
  for (unsigned r = 0; r < mr; r++) {
    prn_v e = prn_cg_load(g, g->f32, cg_at(g, g->f32, a_row[r], l.cur[n]));
    prn_v s = prn_cg_splat(g, e, g->target->lanes);
    for (unsigned v = 0; v < nv; v++)
      l.next[r * nv + v] = prn_cg_fma(g, s, b_row[v], l.cur[r * nv + v]);
  }
  l.next[n] = prn_cg_add(g, l.cur[n], LLVMGetParam(fn, A_COL));
  prn_loop_end(g, &l);
  memcpy(acc, l.out, n * sizeof *acc);
}

/* mr x nv tile: c = (acc ? c : 0) + a * b. */
static prn_v micro(prn_cg *g, unsigned mr, unsigned nv, bool stream) {
  char name[32];
  snprintf(name, sizeof name, "gemm_%ux%u%s", mr, nv, stream ? "s" : "");
  prn_v fn = prn_cg_made(g, name);
  if (fn) return fn;
  prn_t params[MICRO_PARAMS] = {g->ptr, g->i64, g->i64, g->ptr, g->ptr,
                                g->i64, g->i64, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->none, params, MICRO_PARAMS);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  prn_cg_param_attr(g, fn, A, "noalias");
  prn_cg_param_attr(g, fn, B, "noalias");
  prn_cg_param_attr(g, fn, C, "noalias");
  prn_v c = LLVMGetParam(fn, C), last = LLVMGetParam(fn, LAST), rows[32];
  prn_v acc[PRN_LOOP_MAX];
  for (unsigned r = 0; r < mr; r++)
    rows[r] = cg_at(g, g->f32, c,
                    prn_cg_mul(g, LLVMGetParam(fn, C_ROW), cg_i64(g, r)));
  unsigned lanes = g->target->lanes;
  prn_v mask = prn_cg_tail_mask(g, lanes, last);
  first_tile(g, fn, rows, mr, nv, mask, acc);
  multiply(g, fn, mr, nv, stream, acc);
  prn_v full = cg_cmp(g, LLVMIntEQ, last, cg_i64(g, lanes));
  LLVMBasicBlockRef whole = prn_cg_block(g, "whole"),
                    part = prn_cg_block(g, "part");
  LLVMBuildCondBr(g->b, full, whole, part);
  LLVMPositionBuilderAtEnd(g->b, whole);
  store_tile(g, rows, mr, nv, NULL, acc);
  LLVMBuildRetVoid(g->b);
  LLVMPositionBuilderAtEnd(g->b, part);
  store_tile(g, rows, mr, nv, mask, acc);
  LLVMBuildRetVoid(g->b);
  prn_cg_end(g, scope);
  return fn;
}

/* ---- one panel ---- */

enum { P_M, P_K, P_A, P_AROW, P_ACOL, P_B, P_C, P_CROW, P_LAST, P_ACC, P_N };

static void call_micro(prn_cg *g, prn_v fn, unsigned mr, unsigned nv,
                       bool stream, prn_v m0) {
  prn_v a_row = LLVMGetParam(fn, P_AROW), c_row = LLVMGetParam(fn, P_CROW);
  prn_v args[MICRO_PARAMS];
  args[A] = cg_at(g, g->f32, LLVMGetParam(fn, P_A), prn_cg_mul(g, m0, a_row));
  args[A_ROW] = a_row;
  args[A_COL] = LLVMGetParam(fn, P_ACOL);
  args[B] = LLVMGetParam(fn, P_B);
  args[C] = cg_at(g, g->f32, LLVMGetParam(fn, P_C), prn_cg_mul(g, m0, c_row));
  args[C_ROW] = c_row;
  args[K] = LLVMGetParam(fn, P_K);
  args[LAST] = LLVMGetParam(fn, P_LAST);
  args[ACC] = LLVMGetParam(fn, P_ACC);
  prn_cg_call(g, micro(g, mr, nv, stream), args, MICRO_PARAMS);
}

static void all_rows(prn_cg *g, prn_v fn, unsigned nv, unsigned mr) {
  prn_v m = LLVMGetParam(fn, P_M), step = cg_i64(g, mr);
  prn_v rest = prn_cg_mod(g, m, step), whole = prn_cg_sub(g, m, rest);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), whole, mr, NULL, 0);
  call_micro(g, fn, mr, nv, false, l.iv);
  prn_loop_end(g, &l);
  LLVMBasicBlockRef done = prn_cg_block(g, "done");
  prn_v sw = LLVMBuildSwitch(g->b, rest, done, mr - 1);
  for (unsigned r = 1; r < mr; r++) {
    LLVMBasicBlockRef bb = prn_cg_block(g, "rest");
    LLVMAddCase(sw, cg_i64(g, r), bb);
    LLVMPositionBuilderAtEnd(g->b, bb);
    call_micro(g, fn, r, nv, false, whole);
    LLVMBuildBr(g->b, done);
  }
  LLVMPositionBuilderAtEnd(g->b, done);
}

/* All rows against a panel of nv vectors; `few`: how many, when they are
 * known to be one tile and B is read once, else 0. */
static prn_v panel(prn_cg *g, unsigned nv, unsigned few) {
  char name[32];
  snprintf(name, sizeof name, "gemm_panel_%u_%u", nv, few);
  prn_v fn = prn_cg_made(g, name);
  if (fn) return fn;
  unsigned mr = g->target->mr;
  prn_t params[P_N] = {g->i64, g->i64, g->ptr, g->i64, g->i64,
                       g->ptr, g->ptr, g->i64, g->i64, g->i1};
  prn_cg_scope scope = prn_cg_begin(g, name, g->none, params, P_N);
  fn = g->fn;
  prn_cg_remember(g, name, fn);
  if (few)
    call_micro(g, fn, few, nv, true, cg_i64(g, 0));
  else
    all_rows(g, fn, nv, mr);
  LLVMBuildRetVoid(g->b);
  prn_cg_end(g, scope);
  return fn;
}

void prn_gemm_panel(prn_cg *g, const prn_gemm_panel_args *p) {
  prn_v lanes = cg_i64(g, g->target->lanes), one = cg_i64(g, 1);
  prn_v nv = prn_cg_ceildiv(g, p->cols, lanes);
  prn_v last =
      prn_cg_sub(g, p->cols, prn_cg_mul(g, prn_cg_sub(g, nv, one), lanes));
  prn_v args[P_N] = {p->m, p->k, p->a,     p->a_row, p->a_col,
                     p->b, p->c, p->c_row, last,     p->acc};
  int64_t known;
  unsigned few = 0;
  if (p->once && prn_cg_is_const(p->m, &known) && known > 0 &&
      known <= g->target->mr)
    few = (unsigned)known;
  if (prn_cg_is_const(nv, &known)) {
    prn_cg_call(g, panel(g, (unsigned)known, few), args, P_N);
    return;
  }
  LLVMBasicBlockRef done = prn_cg_block(g, "done");
  prn_v sw = LLVMBuildSwitch(g->b, nv, done, g->target->nv);
  for (unsigned v = 1; v <= g->target->nv; v++) {
    LLVMBasicBlockRef bb = prn_cg_block(g, "panel");
    LLVMAddCase(sw, cg_i64(g, v), bb);
    LLVMPositionBuilderAtEnd(g->b, bb);
    prn_cg_call(g, panel(g, v, few), args, P_N);
    LLVMBuildBr(g->b, done);
  }
  LLVMPositionBuilderAtEnd(g->b, done);
}

/* ---- a whole product ---- */

size_t prn_gemm_scratch(const prn_target *t, bool packed, bool direct) {
  size_t nr = prn_target_nr(t);
  return (packed ? 0 : nr * PRN_GEMM_KB) + (direct ? 0 : nr * PRN_GEMM_MB);
}

static prn_v row_blocks(prn_cg *g, const prn_gemm *d) {
  return prn_cg_ceildiv(g, d->m, cg_i64(g, PRN_GEMM_MB));
}

prn_v prn_gemm_items(prn_cg *g, const prn_gemm *d) {
  prn_v panels = prn_cg_ceildiv(g, d->n, cg_i64(g, prn_target_nr(g->target)));
  return prn_cg_mul(g, panels, row_blocks(g, d));
}

/* Panel of B for depth block k0: packed already, or packed now. */
static prn_v panel_of(prn_cg *g, const prn_gemm *d, prn_v n0, prn_v cols,
                      prn_v k0, prn_v kc) {
  if (!d->b_row) {
    prn_v nr = cg_i64(g, prn_target_nr(g->target));
    prn_v at = prn_cg_add(g, prn_cg_mul(g, n0, d->k), prn_cg_mul(g, k0, nr));
    return cg_at(g, g->f32, d->b, at);
  }
  prn_v at =
      prn_cg_add(g, prn_cg_mul(g, k0, d->b_row), prn_cg_mul(g, n0, d->b_col));
  prn_gemm_pack(g, cg_at(g, g->f32, d->b, at), kc, cols, d->b_row, d->b_col,
                d->scratch);
  return d->scratch;
}

void prn_gemm_item(prn_cg *g, const prn_gemm *d, prn_v item) {
  int64_t nr = prn_target_nr(g->target);
  prn_v blocks = row_blocks(g, d), zero = cg_i64(g, 0);
  prn_v mb = cg_i64(g, PRN_GEMM_MB), kb = cg_i64(g, PRN_GEMM_KB);
  prn_v n0 = prn_cg_mul(g, prn_cg_div(g, item, blocks), cg_i64(g, nr));
  prn_v m0 = prn_cg_mul(g, prn_cg_mod(g, item, blocks), mb);
  prn_v rows = prn_cg_min(g, prn_cg_sub(g, d->m, m0), mb);
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, d->n, n0), cg_i64(g, nr));
  int64_t n;
  if (prn_cg_is_const(d->n, &n) && n % nr == 0) cols = cg_i64(g, nr);
  prn_v tile = d->scratch, tile_row = cg_i64(g, nr);
  if (d->c) {
    tile_row = d->c_row;
    tile =
        cg_at(g, g->f32, d->c, prn_cg_add(g, prn_cg_mul(g, m0, d->c_row), n0));
  } else if (d->b_row) {
    tile = cg_at(g, g->f32, tile, cg_i64(g, nr * PRN_GEMM_KB));
  }
  if (prn_gemm_direct(g, d, n0, cols, tile, tile_row)) {
    if (d->epilogue)
      d->epilogue(g, d->user, tile, tile_row, m0, rows, n0, cols);
    return;
  }
  prn_v a = cg_at(g, g->f32, d->a, prn_cg_mul(g, m0, d->a_row));
  prn_loop l;
  /* At least one round: with k = 0 the product is zero, not untouched. */
  prn_loop_begin(g, &l, zero, prn_cg_max(g, d->k, cg_i64(g, 1)), PRN_GEMM_KB,
                 NULL, 0);
  prn_v kc = prn_cg_min(g, prn_cg_sub(g, d->k, l.iv), kb);
  prn_gemm_panel_args p = {
      .m = rows,
      .k = kc,
      .a = cg_at(g, g->f32, a, prn_cg_mul(g, l.iv, d->a_col)),
      .a_row = d->a_row,
      .a_col = d->a_col,
      .b = panel_of(g, d, n0, cols, l.iv, kc),
      .c = tile,
      .c_row = tile_row,
      .cols = cols,
      .acc = cg_cmp(g, LLVMIntNE, l.iv, zero),
      .once = !d->b_row,
  };
  prn_gemm_panel(g, &p);
  prn_loop_end(g, &l);
  if (d->epilogue) d->epilogue(g, d->user, tile, tile_row, m0, rows, n0, cols);
}
