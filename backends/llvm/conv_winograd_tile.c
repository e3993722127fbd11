/* Transforms of tiles, and the order of pixels; see conv_winograd.h. */
#include "backends/llvm/conv_winograd.h"

/* c * v + acc; acc may be NULL. */
static prn_v term(prn_cg *g, double c, prn_v v, prn_v acc) {
  if (!acc) return c == 1 ? v : cg_fmul(g, prn_cg_fconst(LLVMTypeOf(v), c), v);
  if (c == 1) return cg_fadd(g, acc, v);
  if (c == -1) return cg_fsub(g, acc, v);
  return prn_cg_fma(g, prn_cg_fconst(LLVMTypeOf(v), c), v, acc);
}

/* ---- one direction ---- */

/* The sum of c[i] * d[2 * i]; the last c is 1. */
static prn_v even(prn_cg *g, const double *c, int64_t n, const prn_v *d) {
  prn_v sum = d[2 * (n - 1)];
  for (int64_t i = n - 1; i-- > 0;)
    sum = term(g, c[i], d[2 * i], sum);
  return sum;
}

void prn_winograd_input(prn_cg *g, const prn_winograd *f, const prn_v *d,
                        prn_v *out) {
  double c[PRN_WINOGRAD_PAIRS + 1];
  int64_t n = prn_winograd_even(f, -1, c);
  out[0] = even(g, c, n, d);
  out[f->side - 1] = even(g, c, n, d + 1);
  for (int64_t i = 0; i < f->pairs; i++) {
    n = prn_winograd_even(f, i, c);
    prn_v e = even(g, c, n, d + 2), o = even(g, c, n, d + 1);
    out[1 + 2 * i] = term(g, f->point[i], o, e);
    out[2 + 2 * i] = term(g, -f->point[i], o, e);
  }
}

void prn_winograd_output(prn_cg *g, const prn_winograd *f, const prn_v *t,
                         prn_v *out) {
  prn_v sum[PRN_WINOGRAD_PAIRS], difference[PRN_WINOGRAD_PAIRS];
  double power[PRN_WINOGRAD_PAIRS];
  for (int64_t i = 0; i < f->pairs; i++) {
    sum[i] = cg_fadd(g, t[1 + 2 * i], t[2 + 2 * i]);
    difference[i] = cg_fsub(g, t[1 + 2 * i], t[2 + 2 * i]);
    power[i] = 1;
  }
  for (int64_t k = 0; k < f->m; k++) {
    prn_v y = k == 0 ? t[0] : k == f->m - 1 ? t[f->side - 1] : NULL;
    for (int64_t i = 0; i < f->pairs; i++) {
      y = term(g, power[i], k % 2 ? difference[i] : sum[i], y);
      power[i] *= f->point[i];
    }
    out[k] = y;
  }
}

/* ---- the order of pixels ---- */

typedef struct pick {
  int32_t at[64];
} pick;

/* Lanes of a and b together, as pick says; `n` of them. */
static prn_v shuffle(prn_cg *g, prn_v a, prn_v b, const pick *p, unsigned n) {
  prn_v at[64];
  for (unsigned i = 0; i < n; i++)
    at[i] = cg_i32(g, p->at[i]);
  return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(at, n), "");
}

/* The low (0) or high (1) halves of a and b, one behind the other. */
static prn_v halves(prn_cg *g, prn_v a, prn_v b, unsigned which) {
  unsigned n = prn_cg_lanes(LLVMTypeOf(a)), half = n / 2;
  pick p;
  for (unsigned i = 0; i < n; i++)
    p.at[i] = (int32_t)(i / half * n + which * half + i % half);
  return shuffle(g, a, b, &p, n);
}

/* Every `step`-th lane of a and then of b, from `first` on; then the same from
 * first + 1, as far as there is room. */
static prn_v strided(prn_cg *g, prn_v a, prn_v b, unsigned first,
                     unsigned step) {
  unsigned n = prn_cg_lanes(LLVMTypeOf(a)), each = 2 * n / step;
  pick p;
  for (unsigned i = 0; i < n; i++)
    p.at[i] = (int32_t)(first + i / each + i % each * step);
  return shuffle(g, a, b, &p, n);
}

void prn_winograd_split(prn_cg *g, const prn_v *pixels, unsigned m, unsigned n,
                        prn_v *out) {
  if (m == 2) {
    for (unsigned i = 0; i < n; i++)
      out[i] = strided(g, pixels[0], pixels[1], i, 2);
    return;
  }
  for (unsigned i = 0; i < n; i += 2) {
    prn_v a = strided(g, pixels[0], pixels[1], i, 4);
    prn_v b = strided(g, pixels[2], pixels[3], i, 4);
    out[i] = halves(g, a, b, 0);
    out[i + 1] = halves(g, a, b, 1);
  }
}

/* Lanes in turn: two of a, two of b (a pair is n / 2 lanes apart), or one and
 * one; those of part `part`. */
static prn_v merged(prn_cg *g, prn_v a, prn_v b, unsigned m, unsigned part) {
  unsigned n = prn_cg_lanes(LLVMTypeOf(a));
  pick p;
  for (unsigned i = 0; i < n; i++) {
    unsigned from = part * (n / m) + i / m, which = i % m;
    p.at[i] = (int32_t)(m == 2 ? which * n + from
                               : which / 2 * n + which % 2 * (n / 2) + from);
  }
  return shuffle(g, a, b, &p, n);
}

void prn_winograd_join(prn_cg *g, const prn_v *tiles, unsigned m, prn_v *out) {
  if (m == 2) {
    for (unsigned i = 0; i < 2; i++)
      out[i] = merged(g, tiles[0], tiles[1], 2, i);
    return;
  }
  for (unsigned i = 0; i < 2; i++) {
    prn_v a = halves(g, tiles[0], tiles[1], i);
    prn_v b = halves(g, tiles[2], tiles[3], i);
    for (unsigned k = 0; k < 2; k++)
      out[2 * i + k] = merged(g, a, b, 4, k);
  }
}

prn_v prn_winograd_concat(prn_cg *g, prn_v a, prn_v b) {
  pick p;
  unsigned n = 2 * prn_cg_lanes(LLVMTypeOf(a));
  for (unsigned i = 0; i < n; i++)
    p.at[i] = (int32_t)i;
  return shuffle(g, a, b, &p, n);
}

prn_v prn_winograd_lanes(prn_cg *g, prn_v v, unsigned first, unsigned n) {
  pick p;
  if (n == prn_cg_lanes(LLVMTypeOf(v))) return v;
  for (unsigned i = 0; i < n; i++)
    p.at[i] = (int32_t)(first + i);
  return shuffle(g, v, LLVMGetPoison(LLVMTypeOf(v)), &p, n);
}
