/* Elementary functions in f32 arithmetic; see vecmath.h. */
#include "backends/llvm/vecmath.h"

#include <math.h>

static prn_v num(prn_v like, double v) {
  return prn_cg_fconst(LLVMTypeOf(like), v);
}

static prn_v bits(prn_cg *g, prn_v x) {
  return LLVMBuildBitCast(g->b, x, prn_cg_like(LLVMTypeOf(x), g->i32), "");
}

static prn_v unbits(prn_cg *g, prn_v i) {
  return LLVMBuildBitCast(g->b, i, prn_cg_like(LLVMTypeOf(i), g->f32), "");
}

static prn_v ints(prn_v like, int64_t v) {
  return prn_cg_iconst(LLVMTypeOf(like), v);
}

static bool is_f64(prn_cg *g, prn_v x) {
  return prn_cg_elem(LLVMTypeOf(x)) == g->f64;
}

prn_v prn_vm_poly(prn_cg *g, prn_v x, const double *c, unsigned n) {
  prn_v r = num(x, c[n - 1]);
  for (unsigned i = n - 1; i-- > 0;)
    r = prn_cg_fma(g, r, x, num(x, c[i]));
  return r;
}

static prn_v unary(prn_cg *g, const char *intrinsic, prn_v x) {
  return prn_cg_intrinsic(g, intrinsic, LLVMTypeOf(x), &x, 1);
}

prn_v prn_vm_abs(prn_cg *g, prn_v x) { return unary(g, "llvm.fabs", x); }
prn_v prn_vm_sqrt(prn_cg *g, prn_v x) { return unary(g, "llvm.sqrt", x); }
prn_v prn_vm_floor(prn_cg *g, prn_v x) { return unary(g, "llvm.floor", x); }
prn_v prn_vm_ceil(prn_cg *g, prn_v x) { return unary(g, "llvm.ceil", x); }
prn_v prn_vm_trunc(prn_cg *g, prn_v x) { return unary(g, "llvm.trunc", x); }
prn_v prn_vm_round(prn_cg *g, prn_v x) { return unary(g, "llvm.roundeven", x); }
prn_v prn_vm_copysign(prn_cg *g, prn_v x, prn_v s) {
  return prn_cg_intrinsic(g, "llvm.copysign", LLVMTypeOf(x), (prn_v[]){x, s},
                          2);
}
prn_v prn_vm_reciprocal(prn_cg *g, prn_v x) { return cg_fdiv(g, num(x, 1), x); }
prn_v prn_vm_rsqrt(prn_cg *g, prn_v x) {
  return prn_vm_reciprocal(g, prn_vm_sqrt(g, x));
}

/* a > b picks a, else b unless a is NaN. Equal zeros: either. */
prn_v prn_vm_max(prn_cg *g, prn_v a, prn_v b) {
  return cg_select(g, cg_fcmp(g, LLVMRealUGT, a, b),
                   cg_select(g, cg_fcmp(g, LLVMRealUNO, b, b), b, a), b);
}
prn_v prn_vm_min(prn_cg *g, prn_v a, prn_v b) {
  return cg_select(g, cg_fcmp(g, LLVMRealULT, a, b),
                   cg_select(g, cg_fcmp(g, LLVMRealUNO, b, b), b, a), b);
}

/* ---- exp ---- */

/* Largest and smallest arguments that matter: beyond, inf and 0. */
static const double exp_hi = 89.0, exp_lo = -104.0;
static const double ln2_hi = 0.693359375, ln2_lo = -2.12194440054690583e-4;

typedef struct reduced {
  prn_v r; /* |r| <= ln 2 / 2 */
  prn_v n; /* x = n ln 2 + r, as i32 */
  prn_v f; /* and as f32 */
} reduced;

/* Rounding by adding 1.5 * 2^23 leaves n in the low bits of the sum, and is
 * harmless for NaN where fptosi would be undefined. */
static reduced reduce(prn_cg *g, prn_v x) {
  const double magic = 12582912.0;
  prn_v t = prn_cg_fma(g, x, num(x, 1.44269504088896341), num(x, magic));
  prn_v n = cg_fsub(g, t, num(x, magic));
  prn_v r = prn_cg_fma(g, n, num(x, -ln2_hi), x);
  r = prn_cg_fma(g, n, num(x, -ln2_lo), r);
  prn_v i = bits(g, t);
  return (reduced){r, LLVMBuildSub(g->b, i, ints(i, 0x4b400000), ""), n};
}

/* exp(r) - 1 on |r| <= 0.347, 0.05 ulp of 1. */
static prn_v expm1_poly(prn_cg *g, prn_v r) {
  static const double c[] = {0.49999994, 0.166665211, 0.0416682549,
                             0.00836866256, 0.00138214685};
  prn_v q = prn_vm_poly(g, r, c, PRN_COUNT(c));
  return prn_cg_fma(g, cg_fmul(g, r, r), q, r);
}

/* 2^n for -126 <= n <= 127. */
static prn_v power2(prn_cg *g, prn_v n) {
  prn_v biased = LLVMBuildAdd(g->b, n, ints(n, 127), "");
  return unbits(g, LLVMBuildShl(g->b, biased, ints(n, 23), ""));
}

static bool has_scalef(prn_cg *g, prn_v x) {
  return g->target->avx512 && prn_cg_lanes(LLVMTypeOf(x)) == 16;
}

/* x 2^n by the instruction that does that; the same bits as below. */
static prn_v scalef(prn_cg *g, prn_v x, prn_v n) {
  prn_v every = LLVMConstAllOnes(g->i16), current = cg_i32(g, 4);
  return prn_cg_intrinsic(g, "llvm.x86.avx512.mask.scalef.ps.512", NULL,
                          (prn_v[]){x, n, x, every, current}, 5);
}

/* 2^n in two factors, so that results below 2^-126 and above FLT_MAX come
 * out as they should. */
static prn_v scale(prn_cg *g, prn_v x, reduced d) {
  prn_v n = d.n;
  if (has_scalef(g, x)) return scalef(g, x, d.f);
  prn_v half = LLVMBuildAShr(g->b, n, ints(n, 1), "");
  prn_v rest = LLVMBuildSub(g->b, n, half, "");
  return cg_fmul(g, cg_fmul(g, x, power2(g, half)), power2(g, rest));
}

/* Clamps; NaN stays. */
static prn_v clamp(prn_cg *g, prn_v x, double lo, double hi) {
  prn_v l = num(x, lo), h = num(x, hi);
  x = cg_select(g, cg_fcmp(g, LLVMRealOGT, x, h), h, x);
  return cg_select(g, cg_fcmp(g, LLVMRealOLT, x, l), l, x);
}

prn_v prn_vm_exp(prn_cg *g, prn_v x) {
  if (is_f64(g, x)) return prn_vm_exp64(g, x);
  reduced d = reduce(g, clamp(g, x, exp_lo, exp_hi));
  prn_v p = cg_fadd(g, expm1_poly(g, d.r), num(x, 1));
  return scale(g, p, d);
}

/* exp for arguments known to lie in [-87, 88]. */
static prn_v exp_near(prn_cg *g, prn_v x) {
  reduced d = reduce(g, x);
  prn_v p = cg_fadd(g, expm1_poly(g, d.r), num(x, 1));
  return cg_fmul(g, p, power2(g, d.n));
}

/* Without the instruction, one factor for the scale and nothing clamped: what
 * is no number in between (x = -inf) is replaced in the end, NaN stays. */
prn_v prn_vm_exp_down(prn_cg *g, prn_v x) {
  prn_v low = num(x, exp_lo);
  bool whole = has_scalef(g, x);
  if (whole) x = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, low), low, x);
  reduced d = reduce(g, x);
  prn_v p = cg_fadd(g, expm1_poly(g, d.r), num(x, 1));
  if (whole) return scalef(g, p, d.f);
  prn_v none = cg_fcmp(g, LLVMRealOLT, x, num(x, -87));
  return cg_select(g, none, num(x, 0), cg_fmul(g, p, power2(g, d.n)));
}

/* Below -18 the result is -1; above 88 the two factors of the scale need
 * care, so halve: (e^x - 1) = 2 ((e^r - 1) 2^(n-1) + (2^(n-1) - 1/2)). */
prn_v prn_vm_expm1(prn_cg *g, prn_v x) {
  if (is_f64(g, x)) return cg_fsub(g, prn_vm_exp64(g, x), num(x, 1));
  reduced d = reduce(g, clamp(g, x, -18, exp_hi));
  prn_v n = LLVMBuildSub(g->b, d.n, ints(d.n, 1), "");
  prn_v s = power2(g, n), two = num(x, 2);
  prn_v e = prn_cg_fma(g, expm1_poly(g, d.r), s, cg_fsub(g, s, num(x, 0.5)));
  e = cg_fmul(g, e, two);
  /* Tiny arguments, and the sign of zero. */
  prn_v tiny = cg_fcmp(g, LLVMRealOLT, prn_vm_abs(g, x), num(x, 0x1p-25));
  return cg_select(g, tiny, x, e);
}

/* ---- log ---- */

static prn_v log_special(prn_cg *g, prn_v x, prn_v r) {
  prn_v zero = num(x, 0), inf = num(x, (double)INFINITY);
  r = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, inf), r, x);
  r = cg_select(g, cg_fcmp(g, LLVMRealOEQ, x, zero), num(x, -(double)INFINITY),
                r);
  return cg_select(g, cg_fcmp(g, LLVMRealOLT, x, zero), num(x, (double)NAN), r);
}

prn_v prn_vm_log(prn_cg *g, prn_v x) {
  static const double c[] = {0.333333105,  -0.249999866, 0.200022236,
                             -0.166692495, 0.142187163,  -0.12384402,
                             0.118726194,  -0.117893703, 0.0691561252};
  if (is_f64(g, x)) return prn_vm_log64(g, x);
  prn_v tiny = cg_fcmp(g, LLVMRealOLT, x, num(x, 0x1p-126));
  prn_v up = cg_select(g, tiny, cg_fmul(g, x, num(x, 0x1p23)), x);
  prn_v i = bits(g, up);
  /* m in [sqrt(1/2), sqrt(2)), x = m 2^e */
  prn_v e = LLVMBuildAShr(g->b, LLVMBuildSub(g->b, i, ints(i, 0x3f3504f3), ""),
                          ints(i, 23), "");
  prn_v m = unbits(
      g, LLVMBuildSub(g->b, i, LLVMBuildShl(g->b, e, ints(i, 23), ""), ""));
  prn_v ef = LLVMBuildSIToFP(g->b, e, LLVMTypeOf(x), "");
  ef = cg_fadd(g, ef, cg_select(g, tiny, num(x, -23), num(x, 0)));
  prn_v f = cg_fsub(g, m, num(x, 1)), s = cg_fmul(g, f, f);
  prn_v p = cg_fmul(g, cg_fmul(g, f, s), prn_vm_poly(g, f, c, PRN_COUNT(c)));
  p = prn_cg_fma(g, ef, num(x, ln2_lo), p);
  p = prn_cg_fma(g, num(x, -0.5), s, p);
  p = cg_fadd(g, f, p);
  return log_special(g, x, prn_cg_fma(g, ef, num(x, ln2_hi), p));
}

/* log(w) for w = 1 + x as rounded, plus what the rounding lost. */
prn_v prn_vm_log1p(prn_cg *g, prn_v x) {
  prn_v one = num(x, 1), w = cg_fadd(g, one, x);
  prn_v lost = cg_fsub(g, x, cg_fsub(g, w, one));
  prn_v l = prn_vm_log(g, w);
  prn_v r = cg_fadd(g, l, cg_fdiv(g, lost, w));
  prn_v inside =
      LLVMBuildAnd(g->b, cg_fcmp(g, LLVMRealOGT, w, num(x, 0)),
                   cg_fcmp(g, LLVMRealOLT, w, num(x, (double)INFINITY)), "");
  r = cg_select(g, inside, r, l);
  prn_v tiny = cg_fcmp(g, LLVMRealOLT, prn_vm_abs(g, x), num(x, 0x1p-25));
  return cg_select(g, tiny, x, r);
}

/* ---- erf, tanh, sigmoid ---- */

/* Below 1, x times a polynomial in x^2; above, 1 - exp(log(erfc(x))). */
prn_v prn_vm_erf(prn_cg *g, prn_v x) {
  static const double small[] = {0.128379166,   -0.37612626,  0.112835787,
                                 -0.0268533472, 0.0051871622, -0.00079978531,
                                 7.80690389e-05};
  static const double large[] = {-0.000341522828, -1.12708914, -0.63814497,
                                 -0.10310661,     0.021838,    -0.00294764945,
                                 0.000186379853};
  prn_v a = prn_vm_abs(g, x), four = num(x, 4);
  prn_v lo = prn_vm_poly(g, cg_fmul(g, x, x), small, PRN_COUNT(small));
  lo = prn_cg_fma(g, lo, x, x);
  prn_v t = cg_select(g, cg_fcmp(g, LLVMRealOGT, a, four), four, a);
  prn_v hi = exp_near(g, prn_vm_poly(g, t, large, PRN_COUNT(large)));
  hi = prn_vm_copysign(g, cg_fsub(g, num(x, 1), hi), x);
  return cg_select(g, cg_fcmp(g, LLVMRealOLT, a, num(x, 1)), lo, hi);
}

prn_v prn_vm_tanh(prn_cg *g, prn_v x) {
  static const double c[] = {-0.333332807, 0.133314058, -0.0537365153,
                             0.0206281673, -0.00569229666};
  prn_v a = prn_vm_abs(g, x), one = num(x, 1), two = num(x, 2);
  if (is_f64(g, x)) { /* (1 - e) / (1 + e), e = exp(-2a) */
    prn_v e = prn_vm_exp64(g, cg_fmul(g, a, num(x, -2)));
    prn_v t = cg_fdiv(g, cg_fsub(g, one, e), cg_fadd(g, one, e));
    return prn_vm_copysign(g, t, x);
  }
  prn_v s = cg_fmul(g, x, x);
  prn_v lo = cg_fmul(g, s, prn_vm_poly(g, s, c, PRN_COUNT(c)));
  lo = prn_cg_fma(g, lo, a, a);
  prn_v ten = num(x, 10);
  prn_v t = cg_select(g, cg_fcmp(g, LLVMRealOGT, a, ten), ten, a);
  prn_v e = exp_near(g, cg_fmul(g, t, two));
  prn_v hi = cg_fsub(g, one, cg_fdiv(g, two, cg_fadd(g, e, one)));
  prn_v near = cg_fcmp(g, LLVMRealOLT, a, num(x, 0.625));
  return prn_vm_copysign(g, cg_select(g, near, lo, hi), x);
}

/* Through exp(-|x|), which neither overflows nor cancels. */
prn_v prn_vm_sigmoid(prn_cg *g, prn_v x) {
  prn_v one = num(x, 1);
  prn_v e = prn_vm_exp(g, LLVMBuildFNeg(g->b, prn_vm_abs(g, x), ""));
  prn_v top = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, num(x, 0)), e, one);
  return cg_fdiv(g, top, cg_fadd(g, one, e));
}

/* x - x h for x >= 0, x h below 0, where h = erfc(|x| / sqrt 2) / 2: both are
 * max(x, 0) - |x| h. The logarithm of h is a polynomial; from 10 on h does not
 * matter, and its exponent fits. */
prn_v prn_vm_gelu(prn_cg *g, prn_v x) {
  static const double log2_h[] = {-1.0,
                                  -1.15110469,
                                  -0.459219366,
                                  -0.0524362512,
                                  0.0069224108,
                                  3.75677264e-05,
                                  -0.000308375777,
                                  8.86157868e-05,
                                  -1.38618007e-05,
                                  1.22132121e-06,
                                  -4.74103459e-08};
  static const double exp2_poly[] = {
      1.0,           0.693147182,   0.240226462,   0.0555032864,
      0.00961848907, 0.00133999309, 0.000153458111};
  const double magic = 12582912.0;
  prn_v a = prn_vm_abs(g, x), ten = num(x, 10), zero = num(x, 0);
  a = cg_select(g, cg_fcmp(g, LLVMRealOGT, a, ten), ten, a);
  prn_v p = prn_vm_poly(g, a, log2_h, PRN_COUNT(log2_h));
  prn_v t = cg_fadd(g, p, num(x, magic));
  prn_v f = cg_fsub(g, p, cg_fsub(g, t, num(x, magic)));
  prn_v h = bits(g, prn_vm_poly(g, f, exp2_poly, PRN_COUNT(exp2_poly)));
  h = LLVMBuildAdd(g->b, h, LLVMBuildShl(g->b, bits(g, t), ints(h, 23), ""),
                   "");
  prn_v up = cg_select(g, cg_fcmp(g, LLVMRealOLT, x, zero), zero, x);
  return prn_cg_fma(g, LLVMBuildFNeg(g->b, a, ""), unbits(g, h), up);
}
