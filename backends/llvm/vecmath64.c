/* Elementary functions in f64 arithmetic: the f64 cores, and the f32
 * functions that are too rare to deserve their own (see vecmath.h). */
#include <math.h>

#include "backends/llvm/vecmath.h"

static prn_v num(prn_v like, double v) {
  return prn_cg_fconst(LLVMTypeOf(like), v);
}

static prn_v bits(prn_cg *g, prn_v x) {
  return LLVMBuildBitCast(g->b, x, prn_cg_like(LLVMTypeOf(x), g->i64), "");
}

static prn_v unbits(prn_cg *g, prn_v i) {
  return LLVMBuildBitCast(g->b, i, prn_cg_like(LLVMTypeOf(i), g->f64), "");
}

static prn_v ints(prn_v like, int64_t v) {
  return prn_cg_iconst(LLVMTypeOf(like), v);
}

/* f32 to f64, and back to the type x had. */
static prn_v widen(prn_cg *g, prn_v x) {
  prn_t t = LLVMTypeOf(x);
  if (prn_cg_elem(t) == g->f64) return x;
  return LLVMBuildFPExt(g->b, x, prn_cg_like(t, g->f64), "");
}

static prn_v back(prn_cg *g, prn_v r, prn_v x) {
  if (LLVMTypeOf(r) == LLVMTypeOf(x)) return r;
  return LLVMBuildFPTrunc(g->b, r, LLVMTypeOf(x), "");
}

static const double ln2_hi = 0x1.62e42feep-1;
static const double ln2_lo = 1.90821492927058770002e-10;
static const double two52 = 6755399441055744.0; /* 1.5 * 2^52 */

/* ---- exp, log ---- */

static prn_v power2(prn_cg *g, prn_v n) {
  prn_v biased = LLVMBuildAdd(g->b, n, ints(n, 1023), "");
  return unbits(g, LLVMBuildShl(g->b, biased, ints(n, 52), ""));
}

prn_v prn_vm_exp64(prn_cg *g, prn_v x) {
  prn_v hi = num(x, 710), lo = num(x, -746);
  x = cg_select(g, cg_fcmp(g, LLVMRealOGT, x, hi), hi, x);
  x = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, lo), lo, x);
  prn_v t = prn_cg_fma(g, x, num(x, 1.44269504088896340736), num(x, two52));
  prn_v n = cg_fsub(g, t, num(x, two52));
  prn_v r = prn_cg_fma(g, n, num(x, -ln2_hi), x);
  r = prn_cg_fma(g, n, num(x, -ln2_lo), r);
  double c[13], f = 1;
  for (int i = 0; i < 13; i++)
    c[i] = 1 / (f *= i + 1);
  prn_v p = prn_cg_fma(g, prn_vm_poly(g, r, c, 13), r, num(x, 1));
  prn_v i =
      LLVMBuildSub(g->b, bits(g, t), ints(bits(g, t), 0x4338000000000000), "");
  /* Vectors of i64 have no arithmetic shift before AVX-512; n/2 through a
   * bias that keeps it positive. */
  prn_v half = LLVMBuildLShr(g->b, LLVMBuildAdd(g->b, i, ints(i, 2048), ""),
                             ints(i, 1), "");
  half = LLVMBuildSub(g->b, half, ints(i, 1024), "");
  prn_v rest = LLVMBuildSub(g->b, i, half, "");
  return cg_fmul(g, cg_fmul(g, p, power2(g, half)), power2(g, rest));
}

/* x = m 2^e, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh((m-1)/(m+1)). */
prn_v prn_vm_log64(prn_cg *g, prn_v x) {
  prn_v tiny = cg_fcmp(g, LLVMRealOLT, x, num(x, 0x1p-1022));
  prn_v up = cg_select(g, tiny, cg_fmul(g, x, num(x, 0x1p54)), x);
  prn_v i = bits(g, up);
  prn_v shifted = LLVMBuildSub(g->b, i, ints(i, 0x3fe6a09e667f3bcd), "");
  /* e + 2048 is positive, so a logical shift will do. */
  prn_v biased = LLVMBuildLShr(
      g->b, LLVMBuildAdd(g->b, shifted, ints(i, INT64_C(1) << 62), ""),
      ints(i, 52), "");
  prn_v e = LLVMBuildSub(g->b, biased, ints(i, 1024), "");
  prn_v m = unbits(
      g, LLVMBuildSub(g->b, i, LLVMBuildShl(g->b, e, ints(i, 52), ""), ""));
  /* Small integers to double without a 64-bit conversion instruction. */
  prn_v magic = ints(i, 0x4338000000000000);
  prn_v ef =
      cg_fsub(g, unbits(g, LLVMBuildAdd(g->b, e, magic, "")), num(x, two52));
  ef = cg_fadd(g, ef, cg_select(g, tiny, num(x, -54), num(x, 0)));
  double c[11];
  for (int k = 0; k < 11; k++)
    c[k] = 2.0 / (2 * k + 3);
  prn_v f = cg_fsub(g, m, num(x, 1));
  prn_v s = cg_fdiv(g, f, cg_fadd(g, f, num(x, 2))), z = cg_fmul(g, s, s);
  /* 2s = f - s f */
  prn_v p = cg_fmul(g, cg_fmul(g, z, s), prn_vm_poly(g, z, c, 11));
  p = prn_cg_fma(g, ef, num(x, ln2_lo), p);
  p = cg_fsub(g, f, cg_fsub(g, cg_fmul(g, s, f), p));
  prn_v r = prn_cg_fma(g, ef, num(x, ln2_hi), p);
  double inf = (double)INFINITY;
  r = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, num(x, inf)), r, x);
  r = cg_select(g, cg_fcmp(g, LLVMRealOEQ, x, num(x, 0)), num(x, -inf), r);
  return cg_select(g, cg_fcmp(g, LLVMRealOLT, x, num(x, 0)),
                   num(x, (double)NAN), r);
}

/* ---- powers and remainders ---- */

prn_v prn_vm_pow(prn_cg *g, prn_v x0, prn_v y0) {
  prn_v x = widen(g, x0), y = widen(g, y0), zero = num(x, 0), one = num(x, 1);
  prn_v l = prn_vm_log64(g, prn_vm_abs(g, x));
  prn_v is_one = cg_fcmp(g, LLVMRealOEQ, l, zero);
  prn_v e = cg_select(g, is_one, zero, cg_fmul(g, y, l));
  prn_v r = prn_vm_exp64(g, e);
  prn_v negative = cg_fcmp(g, LLVMRealOLT, x, zero);
  prn_v whole = cg_fcmp(g, LLVMRealOEQ, prn_vm_floor(g, y), y);
  prn_v half = cg_fmul(g, y, num(x, 0.5));
  prn_v odd = LLVMBuildAnd(
      g->b, whole, cg_fcmp(g, LLVMRealONE, prn_vm_floor(g, half), half), "");
  /* The sign bit, so that (-0)^odd is right too. */
  r = cg_select(g, odd, prn_vm_copysign(g, r, x), r);
  prn_v finite = cg_fcmp(g, LLVMRealOGT, x, num(x, -(double)INFINITY));
  prn_v bad = LLVMBuildAnd(g->b, LLVMBuildAnd(g->b, negative, finite, ""),
                           LLVMBuildNot(g->b, whole, ""), "");
  r = cg_select(g, bad, num(x, (double)NAN), r);
  prn_v unit = LLVMBuildOr(g->b, cg_fcmp(g, LLVMRealOEQ, y, zero),
                           cg_fcmp(g, LLVMRealOEQ, x, one), "");
  return back(g, cg_select(g, unit, one, r), x0);
}

/* A double >= 0 as *m 2^(*e - 1075), *e at least 1. */
static void take_apart(prn_cg *g, prn_v x, prn_v *m, prn_v *e) {
  prn_v i = bits(g, x), one = ints(i, 1);
  prn_v biased = LLVMBuildLShr(g->b, i, ints(i, 52), "");
  prn_v normal = cg_cmp(g, LLVMIntNE, biased, ints(i, 0));
  prn_v low = LLVMBuildAnd(g->b, i, ints(i, (INT64_C(1) << 52) - 1), "");
  prn_v top = cg_select(g, normal, ints(i, INT64_C(1) << 52), ints(i, 0));
  *m = LLVMBuildOr(g->b, low, top, "");
  *e = cg_select(g, normal, biased, one);
}

/* The rest of a / b, finite and not negative, b not 0: long division of the
 * whole numbers, eleven bits of the quotient at a time, since a rest has 53 of
 * the 64 that a word has. */
static void build_rest(prn_cg *g, prn_v a, prn_v b) {
  prn_v ma, ea, mb, eb, zero = cg_i64(g, 0), digit = cg_i64(g, 11);
  take_apart(g, a, &ma, &ea);
  take_apart(g, b, &mb, &eb);
  prn_v n = LLVMBuildSub(g->b, ea, eb, "");
  prn_v below = cg_cmp(g, LLVMIntSLT, n, zero);
  n = cg_select(g, below, zero, n);
  prn_v rest = LLVMBuildURem(g->b, ma, mb, "");
  prn_loop l;
  prn_loop_begin(g, &l, zero, LLVMBuildUDiv(g->b, n, digit, ""), 1, &rest, 1);
  l.next[0] =
      LLVMBuildURem(g->b, LLVMBuildShl(g->b, l.cur[0], digit, ""), mb, "");
  prn_loop_end(g, &l);
  rest = LLVMBuildShl(g->b, l.out[0], LLVMBuildURem(g->b, n, digit, ""), "");
  rest = LLVMBuildURem(g->b, rest, mb, "");
  /* As far up as the exponent lets it: what has bit 52 then is normal. */
  prn_v args[2] = {rest, LLVMConstInt(g->i1, 0, 0)};
  prn_v up = prn_cg_intrinsic(g, "llvm.ctlz", g->i64, args, 2);
  prn_v most = LLVMBuildSub(g->b, eb, cg_i64(g, 1), "");
  up = LLVMBuildSub(g->b, up, digit, "");
  up = cg_select(g, cg_cmp(g, LLVMIntULT, up, most), up, most);
  prn_v e =
      LLVMBuildShl(g->b, LLVMBuildSub(g->b, most, up, ""), cg_i64(g, 52), "");
  prn_v r = LLVMBuildAdd(g->b, LLVMBuildShl(g->b, rest, up, ""), e, "");
  r = cg_select(g, cg_cmp(g, LLVMIntEQ, rest, zero), zero, r);
  LLVMBuildRet(g->b, cg_select(g, below, a, unbits(g, r)));
}

static prn_v rest_function(prn_cg *g) {
  prn_v fn = prn_cg_made(g, "rest");
  if (fn) return fn;
  prn_t both[2] = {g->f64, g->f64};
  prn_cg_scope s = prn_cg_begin(g, "rest", g->f64, both, 2);
  fn = g->fn;
  prn_cg_remember(g, "rest", fn);
  build_rest(g, LLVMGetParam(fn, 0), LLVMGetParam(fn, 1));
  prn_cg_end(g, s);
  return fn;
}

/* The same for each lane. */
static prn_v double_rest(prn_cg *g, prn_v a, prn_v b) {
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(a));
  if (lanes == 1) return prn_cg_call(g, rest_function(g), (prn_v[]){a, b}, 2);
  prn_v r = LLVMGetUndef(LLVMTypeOf(a));
  for (unsigned i = 0; i < lanes; i++) {
    prn_v at = cg_i32(g, (int32_t)i);
    prn_v pair[2] = {LLVMBuildExtractElement(g->b, a, at, ""),
                     LLVMBuildExtractElement(g->b, b, at, "")};
    prn_v ri = prn_cg_call(g, rest_function(g), pair, 2);
    r = LLVMBuildInsertElement(g->b, r, ri, at, "");
  }
  return r;
}

/* The rest for floats in doubles: every round takes off a multiple of y 2^s
 * that is exact because a quotient of at most 2^27 times a 24-bit y fits 53
 * bits. */
static prn_v float_rest(prn_cg *g, prn_v a, prn_v y) {
  for (int s = 264; s >= 0; s -= 24) {
    prn_v step = cg_fmul(g, y, num(y, ldexp(1, s)));
    prn_v q = prn_vm_floor(g, cg_fdiv(g, a, step));
    prn_v r = cg_fsub(g, a, cg_fmul(g, q, step));
    /* The quotient may have been rounded up to the next integer. */
    prn_v low = cg_fcmp(g, LLVMRealOLT, r, num(r, 0));
    a = cg_select(g, low, cg_fadd(g, r, step), r);
  }
  return a;
}

prn_v prn_vm_fmod(prn_cg *g, prn_v x0, prn_v y0) {
  prn_v x = widen(g, x0), y = prn_vm_abs(g, widen(g, y0));
  prn_v a = prn_vm_abs(g, x), inf = num(x, (double)INFINITY);
  /* Also where one is NaN. */
  prn_v bad = LLVMBuildOr(g->b, cg_fcmp(g, LLVMRealUGE, a, inf),
                          cg_fcmp(g, LLVMRealUEQ, y, num(x, 0)), "");
  prn_v whole = cg_fcmp(g, LLVMRealOEQ, y, inf);
  prn_v off = LLVMBuildOr(g->b, bad, whole, "");
  a = cg_select(g, off, num(x, 0), a);
  prn_v by = cg_select(g, off, num(x, 1), y);
  bool wide = LLVMTypeOf(x) == LLVMTypeOf(x0);
  prn_v r = wide ? double_rest(g, a, by) : float_rest(g, a, by);
  r = cg_select(g, whole, x, prn_vm_copysign(g, r, x));
  return back(g, cg_select(g, bad, num(x, (double)NAN), r), x0);
}

/* ---- angles ---- */

typedef struct angle {
  prn_v r; /* f64, |r| <= pi/4 and a little */
  prn_v q; /* i64, quadrant (two low bits) */
} angle;

/* 2/pi, after one word of zeros. */
static const uint32_t two_over_pi[] = {0,          0xa2f9836e, 0x4e441529,
                                       0xfc2757d1, 0xf534ddc0, 0xdb629599,
                                       0x3c439041, 0xfe5163ab, 0xdebbc561};

static prn_v table_word(prn_cg *g, prn_v index) {
  prn_v t = LLVMGetNamedGlobal(g->mod, "two_over_pi");
  enum { N = PRN_COUNT(two_over_pi) };
  prn_t type = LLVMArrayType2(g->i32, N);
  if (!t) {
    prn_v words[N];
    for (unsigned i = 0; i < N; i++)
      words[i] = LLVMConstInt(g->i32, two_over_pi[i], 0);
    t = LLVMAddGlobal(g->mod, type, "two_over_pi");
    LLVMSetInitializer(t, LLVMConstArray2(g->i32, words, N));
    LLVMSetGlobalConstant(t, 1);
    LLVMSetLinkage(t, LLVMPrivateLinkage);
  }
  prn_v w = prn_cg_load(g, g->i32, cg_at(g, g->i32, t, index));
  return LLVMBuildZExt(g->b, w, g->i64, "");
}

/* Payne and Hanek for a finite float x >= 2^19: x * 2/pi modulo 4 from the
 * 96 bits of 2/pi that matter. Returns {r, q}. */
static void build_large_angle(prn_cg *g, prn_v x) {
  prn_v one = cg_i64(g, 1), b32 = cg_i64(g, 32);
  prn_v b =
      LLVMBuildZExt(g->b, LLVMBuildBitCast(g->b, x, g->i32, ""), g->i64, "");
  prn_v e = LLVMBuildAnd(g->b, LLVMBuildLShr(g->b, b, cg_i64(g, 23), ""),
                         cg_i64(g, 255), "");
  prn_v m = LLVMBuildOr(g->b, LLVMBuildAnd(g->b, b, cg_i64(g, 0x7fffff), ""),
                        cg_i64(g, 0x800000), "");
  /* x = m 2^(e-150); the window starts two bits (the quadrant) above. */
  prn_v off = LLVMBuildSub(g->b, e, cg_i64(g, 150 + 2 - 32), "");
  prn_v i = LLVMBuildLShr(g->b, off, cg_i64(g, 5), "");
  prn_v sh = LLVMBuildAnd(g->b, off, cg_i64(g, 31), "");
  prn_v w[4];
  for (int k = 0; k < 4; k++)
    w[k] = table_word(g, LLVMBuildAdd(g->b, i, cg_i64(g, k), ""));
  prn_v a = LLVMBuildOr(g->b, LLVMBuildShl(g->b, w[0], b32, ""), w[1], "");
  prn_v c = LLVMBuildOr(g->b, LLVMBuildShl(g->b, w[2], b32, ""), w[3], "");
  /* (c >> 1) >> (63 - sh) is c >> (64 - sh) without a shift by 64. */
  prn_v carry = LLVMBuildLShr(g->b, LLVMBuildLShr(g->b, c, one, ""),
                              LLVMBuildSub(g->b, cg_i64(g, 63), sh, ""), "");
  prn_v hi = LLVMBuildOr(g->b, LLVMBuildShl(g->b, a, sh, ""), carry, "");
  prn_v lo = LLVMBuildLShr(g->b, LLVMBuildShl(g->b, c, sh, ""), b32, "");
  prn_v p = LLVMBuildAdd(
      g->b, LLVMBuildMul(g->b, m, hi, ""),
      LLVMBuildLShr(g->b, LLVMBuildMul(g->b, m, lo, ""), b32, ""), "");
  prn_v q = LLVMBuildLShr(
      g->b, LLVMBuildAdd(g->b, p, cg_i64(g, INT64_C(1) << 61), ""),
      cg_i64(g, 62), "");
  prn_v f = LLVMBuildSub(g->b, p, LLVMBuildShl(g->b, q, cg_i64(g, 62), ""), "");
  prn_v r = LLVMBuildSIToFP(g->b, f, g->f64, "");
  r = cg_fmul(g, r, num(r, 0x1p-62 * 1.57079632679489661923));
  LLVMBuildAggregateRet(g->b, (prn_v[]){r, q}, 2);
}

static prn_v large_angle(prn_cg *g) {
  prn_v fn = prn_cg_made(g, "large_angle");
  if (fn) return fn;
  prn_t both[2] = {g->f64, g->i64};
  prn_cg_scope s =
      prn_cg_begin(g, "large_angle",
                   LLVMStructTypeInContext(g->ctx, both, 2, 0), &g->f32, 1);
  fn = g->fn;
  prn_cg_remember(g, "large_angle", fn);
  build_large_angle(g, LLVMGetParam(fn, 0));
  prn_cg_end(g, s);
  return fn;
}

/* Replaces the lanes of s whose |x| is large, in a branch seldom taken. */
static angle patch_large(prn_cg *g, prn_v ax32, angle s) {
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(ax32));
  double inf = (double)INFINITY;
  prn_v large =
      LLVMBuildAnd(g->b, cg_fcmp(g, LLVMRealOGE, ax32, num(ax32, 0x1p19)),
                   cg_fcmp(g, LLVMRealOLT, ax32, num(ax32, inf)), "");
  prn_v any = large;
  if (lanes > 1)
    any = prn_cg_intrinsic(g, "llvm.vector.reduce.or", LLVMTypeOf(large),
                           &large, 1);
  LLVMBasicBlockRef from = LLVMGetInsertBlock(g->b);
  prn_if branch = prn_if_begin(g, any);
  prn_v r = s.r, q = s.q;
  for (unsigned i = 0; i < lanes; i++) {
    prn_v at = cg_i32(g, (int32_t)i);
    prn_v x = lanes == 1 ? ax32 : LLVMBuildExtractElement(g->b, ax32, at, "");
    prn_v use =
        lanes == 1 ? large : LLVMBuildExtractElement(g->b, large, at, "");
    x = cg_select(g, use, x, num(x, 0x1p19));
    prn_v both = prn_cg_call(g, large_angle(g), &x, 1);
    prn_v ri = LLVMBuildExtractValue(g->b, both, 0, "");
    prn_v qi = LLVMBuildExtractValue(g->b, both, 1, "");
    r = lanes == 1 ? ri : LLVMBuildInsertElement(g->b, r, ri, at, "");
    q = lanes == 1 ? qi : LLVMBuildInsertElement(g->b, q, qi, at, "");
  }
  r = cg_select(g, large, r, s.r);
  q = cg_select(g, large, q, s.q);
  LLVMBasicBlockRef then = LLVMGetInsertBlock(g->b);
  prn_if_end(g, branch);
  angle out = {LLVMBuildPhi(g->b, LLVMTypeOf(r), ""),
               LLVMBuildPhi(g->b, LLVMTypeOf(q), "")};
  LLVMAddIncoming(out.r, (prn_v[]){s.r, r}, (LLVMBasicBlockRef[]){from, then},
                  2);
  LLVMAddIncoming(out.q, (prn_v[]){s.q, q}, (LLVMBasicBlockRef[]){from, then},
                  2);
  return out;
}

/* |x| modulo pi/2, in three parts of pi/2 (Cody and Waite). */
static angle reduce_angle(prn_cg *g, prn_v x0) {
  prn_v x = prn_vm_abs(g, widen(g, x0));
  prn_v t = prn_cg_fma(g, x, num(x, 0.636619772367581343076), num(x, two52));
  prn_v n = cg_fsub(g, t, num(x, two52)), m = LLVMBuildFNeg(g->b, n, "");
  prn_v r = prn_cg_fma(g, m, num(x, 1.57079632673412561417e+00), x);
  r = prn_cg_fma(g, m, num(x, 6.07710050630396597660e-11), r);
  r = prn_cg_fma(g, m, num(x, 2.02226624879595063154e-21), r);
  angle a = {r, bits(g, t)};
  if (LLVMTypeOf(x) == LLVMTypeOf(x0)) return a;
  return patch_large(g, prn_vm_abs(g, x0), a);
}

/* Both series to 2^-60 on |r| <= pi/4. */
static void sin_cos(prn_cg *g, prn_v r, prn_v *out_sin, prn_v *out_cos) {
  double s[8], c[9], f = 1;
  c[0] = 1;
  for (int i = 1; i <= 16; i++) {
    f *= i;
    double sign = i / 2 % 2 ? -1 : 1;
    if (i % 2 == 0)
      c[i / 2] = sign / f;
    else if (i > 1)
      s[i / 2 - 1] = sign / f;
  }
  prn_v z = cg_fmul(g, r, r);
  prn_v p = cg_fmul(g, z, prn_vm_poly(g, z, s, 7));
  *out_sin = prn_cg_fma(g, p, r, r);
  *out_cos = prn_vm_poly(g, z, c, 9);
}

static prn_v bit_set(prn_cg *g, prn_v q, int64_t bit) {
  return cg_cmp(g, LLVMIntNE, LLVMBuildAnd(g->b, q, ints(q, bit), ""),
                ints(q, 0));
}

prn_v prn_vm_sin(prn_cg *g, prn_v x) {
  angle a = reduce_angle(g, x);
  prn_v s, c;
  sin_cos(g, a.r, &s, &c);
  prn_v r = cg_select(g, bit_set(g, a.q, 1), c, s);
  r = cg_select(g, bit_set(g, a.q, 2), LLVMBuildFNeg(g->b, r, ""), r);
  prn_v neg = cg_fcmp(g, LLVMRealOLT, x, num(x, 0));
  r = back(g, cg_select(g, neg, LLVMBuildFNeg(g->b, r, ""), r), x);
  return cg_select(g, cg_fcmp(g, LLVMRealOEQ, x, num(x, 0)), x, r);
}

prn_v prn_vm_cos(prn_cg *g, prn_v x) {
  angle a = reduce_angle(g, x);
  prn_v s, c;
  sin_cos(g, a.r, &s, &c);
  prn_v r = cg_select(g, bit_set(g, a.q, 1), s, c);
  prn_v up = LLVMBuildAdd(g->b, a.q, ints(a.q, 1), "");
  return back(g, cg_select(g, bit_set(g, up, 2), LLVMBuildFNeg(g->b, r, ""), r),
              x);
}

prn_v prn_vm_tan(prn_cg *g, prn_v x) {
  angle a = reduce_angle(g, x);
  prn_v s, c;
  sin_cos(g, a.r, &s, &c);
  prn_v odd = bit_set(g, a.q, 1);
  prn_v r = cg_fdiv(g, cg_select(g, odd, LLVMBuildFNeg(g->b, c, ""), s),
                    cg_select(g, odd, s, c));
  prn_v neg = cg_fcmp(g, LLVMRealOLT, x, num(x, 0));
  r = back(g, cg_select(g, neg, LLVMBuildFNeg(g->b, r, ""), r), x);
  return cg_select(g, cg_fcmp(g, LLVMRealOEQ, x, num(x, 0)), x, r);
}

/* Twice reduced to |z| <= tan(pi/12), then the series. */
prn_v prn_vm_atan64(prn_cg *g, prn_v x) {
  const double root3 = 1.73205080756887729353;
  prn_v z = prn_vm_abs(g, x), one = num(x, 1);
  prn_v inv = cg_fcmp(g, LLVMRealOGT, z, one);
  z = cg_select(g, inv, cg_fdiv(g, one, z), z);
  prn_v far = cg_fcmp(g, LLVMRealOGT, z, num(x, 0.267949192431122706473));
  prn_v turned = cg_fdiv(g, prn_cg_fma(g, z, num(x, root3), num(x, -1)),
                         cg_fadd(g, z, num(x, root3)));
  z = cg_select(g, far, turned, z);
  double c[15];
  for (int i = 0; i < 15; i++)
    c[i] = (i % 2 ? 1.0 : -1.0) / (2 * i + 3);
  prn_v s = cg_fmul(g, z, z);
  prn_v r = cg_fmul(g, s, prn_vm_poly(g, s, c, 15));
  r = prn_cg_fma(g, r, z, z);
  r = cg_select(g, far, cg_fadd(g, r, num(x, 0.523598775598298873077)), r);
  r = cg_select(g, inv, cg_fsub(g, num(x, 1.57079632679489661923), r), r);
  return prn_vm_copysign(g, r, x);
}

prn_v prn_vm_atan(prn_cg *g, prn_v x) {
  return back(g, prn_vm_atan64(g, widen(g, x)), x);
}

/* asin x = atan(x / sqrt((1-x)(1+x))) */
prn_v prn_vm_asin(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), one = num(x, 1);
  prn_v d = cg_fmul(g, cg_fsub(g, one, x), cg_fadd(g, one, x));
  return back(g, prn_vm_atan64(g, cg_fdiv(g, x, prn_vm_sqrt(g, d))), x0);
}

/* acos x = 2 atan(sqrt((1-x)/(1+x))) */
prn_v prn_vm_acos(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), one = num(x, 1);
  prn_v d = cg_fdiv(g, cg_fsub(g, one, x), cg_fadd(g, one, x));
  prn_v r = prn_vm_atan64(g, prn_vm_sqrt(g, d));
  return back(g, cg_fmul(g, r, num(x, 2)), x0);
}

/* ---- hyperbolic ---- */

/* Below `limit`, x + k x^3: what the formulas in double lose to cancellation
 * there is more than the next term of the series. */
static prn_v near_zero(prn_cg *g, prn_v x, prn_v r, double k) {
  prn_v cube = cg_fmul(g, cg_fmul(g, x, x), cg_fmul(g, x, num(x, k)));
  prn_v small = cg_fcmp(g, LLVMRealOLT, prn_vm_abs(g, x), num(x, 1e-3));
  /* Adding a zero cube would turn -0 into +0. */
  prn_v s = cg_select(g, cg_fcmp(g, LLVMRealOEQ, cube, num(x, 0)), x,
                      cg_fadd(g, x, cube));
  return cg_select(g, small, s, r);
}

/* exp(x)/2 as exp(x - ln 2) would lose bits; f32 results stay finite in
 * double anyway. */
prn_v prn_vm_sinh(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), e = prn_vm_exp64(g, x);
  prn_v r = cg_fsub(g, e, prn_vm_reciprocal(g, e));
  r = cg_fmul(g, r, num(x, 0.5));
  return back(g, near_zero(g, x, r, 1.0 / 6), x0);
}

prn_v prn_vm_cosh(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), e = prn_vm_exp64(g, prn_vm_abs(g, x));
  prn_v r = cg_fadd(g, e, prn_vm_reciprocal(g, e));
  return back(g, cg_fmul(g, r, num(x, 0.5)), x0);
}

prn_v prn_vm_asinh(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), a = prn_vm_abs(g, x);
  prn_v root = prn_vm_sqrt(g, prn_cg_fma(g, a, a, num(x, 1)));
  prn_v r = prn_vm_log64(g, cg_fadd(g, a, root));
  r = prn_vm_copysign(g, r, x);
  return back(g, near_zero(g, x, r, -1.0 / 6), x0);
}

prn_v prn_vm_acosh(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), one = num(x, 1);
  prn_v d = cg_fmul(g, cg_fsub(g, x, one), cg_fadd(g, x, one));
  prn_v r = prn_vm_log64(g, cg_fadd(g, x, prn_vm_sqrt(g, d)));
  prn_v outside = cg_fcmp(g, LLVMRealOLT, x, one);
  return back(g, cg_select(g, outside, num(x, (double)NAN), r), x0);
}

prn_v prn_vm_atanh(prn_cg *g, prn_v x0) {
  prn_v x = widen(g, x0), one = num(x, 1);
  prn_v q = cg_fdiv(g, cg_fadd(g, one, x), cg_fsub(g, one, x));
  prn_v r = cg_fmul(g, prn_vm_log64(g, q), num(x, 0.5));
  return back(g, near_zero(g, x, r, 1.0 / 3), x0);
}
