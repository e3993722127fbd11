/* A few rows by a B made at run time; see gemm.h.
 *
 * Packing pays when many rows read what was packed. A few rows read B where
 * it lies: neighbours along n make vectors of results, neighbours along k
 * make vectors that are summed up in the end (a dot product for each
 * result, several of them at once). */
#include "backends/llvm/gemm.h"

enum { ROWS = 8, DOTS = 4 };

typedef struct direct {
  const prn_gemm *d;
  int64_t m;
  unsigned vectors; /* of results, or dot products, at once */
  prn_v b;          /* of the block of columns */
  prn_v tile, tile_row;
} direct;

static bool is_one(prn_v v) {
  int64_t c;
  return prn_cg_is_const(v, &c) && c == 1;
}

static prn_v a_at(prn_cg *g, const direct *p, int64_t row, prn_v k) {
  prn_v r =
      cg_at(g, g->f32, p->d->a, prn_cg_mul(g, p->d->a_row, cg_i64(g, row)));
  return cg_at(g, g->f32, r, prn_cg_mul(g, k, p->d->a_col));
}

static prn_v c_at(prn_cg *g, const direct *p, int64_t row, prn_v j) {
  prn_v at = prn_cg_mul(g, p->tile_row, cg_i64(g, row));
  return cg_at(g, g->f32, p->tile, prn_cg_add(g, at, j));
}

/* ---- neighbours along n ---- */

/* `vectors` of `lanes` columns from j on, of all rows. */
static void outer(prn_cg *g, const direct *p, prn_v j, unsigned vectors,
                  unsigned lanes, prn_v mask) {
  unsigned n = (unsigned)p->m * vectors;
  prn_t type = prn_cg_vec(g->f32, lanes);
  prn_v acc[PRN_LOOP_MAX], b[PRN_LOOP_MAX];
  for (unsigned i = 0; i < n; i++)
    acc[i] = LLVMConstNull(type);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), p->d->k, 1, acc, n);
  prn_v row = prn_cg_add(g, prn_cg_mul(g, l.iv, p->d->b_row), j);
  for (unsigned v = 0; v < vectors; v++) {
    prn_v at = prn_cg_add(g, row, cg_i64(g, v * lanes));
    b[v] = prn_cg_load_masked(g, type, cg_at(g, g->f32, p->b, at), mask);
  }
  for (unsigned i = 0; i < n; i++) {
    prn_v a = prn_cg_load(g, g->f32, a_at(g, p, i / vectors, l.iv));
    l.next[i] =
        prn_cg_fma(g, prn_cg_splat(g, a, lanes), b[i % vectors], l.cur[i]);
  }
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < n; i++) {
    prn_v at = prn_cg_add(g, j, cg_i64(g, i % vectors * lanes));
    prn_cg_store_masked(g, l.out[i], c_at(g, p, i / vectors, at), mask);
  }
}

typedef struct rest {
  const direct *p;
  prn_v from;
} rest;

static void outer_rest(prn_cg *g, prn_v i, unsigned lanes, prn_v mask,
                       void *user) {
  rest *r = user;
  outer(g, r->p, prn_cg_add(g, r->from, i), 1, lanes, mask);
}

static void outers(prn_cg *g, direct *p, prn_v cols) {
  const prn_target *t = g->target;
  int64_t width = (int64_t)p->vectors * t->lanes;
  prn_v step = cg_i64(g, width);
  rest r = {p, prn_cg_mul(g, prn_cg_div(g, cols, step), step)};
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), r.from, width, NULL, 0);
  outer(g, p, l.iv, p->vectors, t->lanes, NULL);
  prn_loop_end(g, &l);
  prn_cg_vloop(g, prn_cg_sub(g, cols, r.from), t->lanes, outer_rest, &r);
}

/* ---- neighbours along k ---- */

/* Adds the products of lanes k, k + 1, ... to the sums. */
static void products(prn_cg *g, const direct *p, prn_v j, unsigned dots,
                     prn_v k, unsigned lanes, prn_v *acc) {
  prn_t type = prn_cg_vec(g->f32, lanes);
  prn_v b[DOTS];
  for (unsigned v = 0; v < dots; v++) {
    prn_v col = prn_cg_mul(g, prn_cg_add(g, j, cg_i64(g, v)), p->d->b_col);
    b[v] = prn_cg_load(g, type, cg_at(g, g->f32, p->b, prn_cg_add(g, col, k)));
  }
  for (int64_t r = 0; r < p->m; r++) {
    prn_v a = prn_cg_load(g, type, a_at(g, p, r, k));
    for (unsigned v = 0; v < dots; v++) {
      prn_v *sum = &acc[r * dots + v];
      *sum = prn_cg_fma(g, a, b[v], *sum);
    }
  }
}

/* Halves until one is left. */
static prn_v total(prn_cg *g, prn_v v) {
  for (unsigned n = prn_cg_lanes(LLVMTypeOf(v)) / 2; n; n /= 2) {
    prn_v lo[64], hi[64], none = LLVMGetPoison(LLVMTypeOf(v));
    for (unsigned i = 0; i < n; i++) {
      lo[i] = cg_i32(g, (int32_t)i);
      hi[i] = cg_i32(g, (int32_t)(i + n));
    }
    v = cg_fadd(
        g, LLVMBuildShuffleVector(g->b, v, none, LLVMConstVector(lo, n), ""),
        LLVMBuildShuffleVector(g->b, v, none, LLVMConstVector(hi, n), ""));
  }
  return LLVMBuildExtractElement(g->b, v, cg_i32(g, 0), "");
}

/* `dots` columns from j on, of all rows: whole vectors of k, then one by
 * one. */
static void dot(prn_cg *g, const direct *p, prn_v j, unsigned dots) {
  unsigned n = (unsigned)p->m * dots, lanes = g->target->lanes;
  prn_v acc[PRN_LOOP_MAX], step = cg_i64(g, lanes), k = p->d->k;
  prn_v whole = prn_cg_mul(g, prn_cg_div(g, k, step), step);
  for (unsigned i = 0; i < n; i++)
    acc[i] = LLVMConstNull(g->vf);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), whole, lanes, acc, n);
  products(g, p, j, dots, l.iv, lanes, l.next);
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < n; i++)
    acc[i] = total(g, l.out[i]);
  prn_loop_begin(g, &l, whole, k, 1, acc, n);
  products(g, p, j, dots, l.iv, 1, l.next);
  prn_loop_end(g, &l);
  for (unsigned i = 0; i < n; i++) {
    prn_v at = prn_cg_add(g, j, cg_i64(g, i % dots));
    prn_cg_store(g, l.out[i], c_at(g, p, i / dots, at));
  }
}

static void dots(prn_cg *g, const direct *p, prn_v cols) {
  prn_v step = cg_i64(g, p->vectors);
  prn_v whole = prn_cg_mul(g, prn_cg_div(g, cols, step), step);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), whole, p->vectors, NULL, 0);
  dot(g, p, l.iv, p->vectors);
  prn_loop_end(g, &l);
  prn_loop_begin(g, &l, whole, cols, 1, NULL, 0);
  dot(g, p, l.iv, 1);
  prn_loop_end(g, &l);
}

/* ---- the choice ---- */

bool prn_gemm_direct(prn_cg *g, const prn_gemm *d, prn_v n0, prn_v cols,
                     prn_v tile, prn_v tile_row) {
  int64_t registers = (int64_t)g->target->mr * g->target->nv;
  direct p = {.d = d, .tile = tile, .tile_row = tile_row};
  if (!d->b_row || !prn_cg_is_const(d->m, &p.m) || p.m < 1 || p.m > ROWS)
    return false;
  bool along_n = is_one(d->b_col), along_k = is_one(d->b_row);
  if (!along_n && !(along_k && is_one(d->a_col))) return false;
  unsigned most = along_n ? g->target->nv : DOTS;
  p.vectors = (unsigned)(registers / p.m);
  if (p.vectors > most) p.vectors = most;
  p.b = cg_at(g, g->f32, d->b, prn_cg_mul(g, n0, d->b_col));
  if (along_n)
    outers(g, &p, cols);
  else
    dots(g, &p, cols);
  return true;
}
