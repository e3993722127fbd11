/* Elementary functions as emitted code: no call of libm, same result whatever
 * the vector width (scalars included).
 *
 * Arguments are scalars or vectors of f32, or of f64 where the table says so.
 * The bounds are in units of the last place of the exact result, hold for
 * every f32 including subnormals, and are tested against double precision
 * over the whole range (test/unit/test_vecmath.c), with and without fused
 * multiply-add. Infinities, NaN and signed zeros follow C (Annex F).
 *
 * The f32 polynomials are minimax fits made for these intervals; the double
 * ones are Taylor series with more terms than the format can show. Reduction
 * of large angles: Payne and Hanek (1983). */
#ifndef PRN_BACKENDS_LLVM_VECMATH_H
#define PRN_BACKENDS_LLVM_VECMATH_H

#include "backends/llvm/cg.h"

/* X(name, bound with fma, bound without) */
#define PRN_VECMATH_UNARY(X) \
  X(exp, 1.1, 1.1)           \
  X(expm1, 2.0, 2.0)         \
  X(log, 1.0, 1.0)           \
  X(log1p, 2.0, 2.0)         \
  X(erf, 1.5, 2.0)           \
  X(tanh, 2.0, 2.0)          \
  X(sigmoid, 2.5, 2.5)       \
  X(sin, 0.6, 0.6)           \
  X(cos, 0.6, 0.6)           \
  X(tan, 0.6, 0.6)           \
  X(asin, 0.6, 0.6)          \
  X(acos, 0.6, 0.6)          \
  X(atan, 0.6, 0.6)          \
  X(sinh, 0.6, 0.6)          \
  X(cosh, 0.6, 0.6)          \
  X(asinh, 0.6, 0.6)         \
  X(acosh, 0.6, 0.6)         \
  X(atanh, 0.6, 0.6)         \
  X(sqrt, 0.5, 0.5)          \
  X(rsqrt, 1.6, 1.6)         \
  X(reciprocal, 0.5, 0.5)    \
  X(floor, 0.0, 0.0)         \
  X(ceil, 0.0, 0.0)          \
  X(trunc, 0.0, 0.0)         \
  X(round, 0.0, 0.0) /* ties to even */

#define PRN_VECMATH_DECLARE(name, fma, mul) \
  prn_v prn_vm_##name(prn_cg *g, prn_v x);
PRN_VECMATH_UNARY(PRN_VECMATH_DECLARE)
#undef PRN_VECMATH_DECLARE

/* exp for x <= 0 and f32 only: 1.1 ulp; it may be 0 below -87, where exp has
 * subnormal results, and there a vector may differ from a scalar. */
prn_v prn_vm_exp_down(prn_cg *g, prn_v x);
/* x (1 + erf(x / sqrt 2)) / 2 for f32: 2 ulp for x >= 0; below 0, where the
 * result goes to 0 again, the error is at most 4e-8 (6e-8 without fma). */
prn_v prn_vm_gelu(prn_cg *g, prn_v x);
/* x to the power y, 0.6 ulp for f32. */
prn_v prn_vm_pow(prn_cg *g, prn_v x, prn_v y);
/* The remainder with the sign of x, exact (C's fmod). */
prn_v prn_vm_fmod(prn_cg *g, prn_v x, prn_v y);
/* |x|, -x; x with the sign of s. */
prn_v prn_vm_abs(prn_cg *g, prn_v x);
prn_v prn_vm_copysign(prn_cg *g, prn_v x, prn_v s);
/* The larger, the smaller; NaN when either is NaN, as ONNX and numpy have
 * it. */
prn_v prn_vm_max(prn_cg *g, prn_v a, prn_v b);
prn_v prn_vm_min(prn_cg *g, prn_v a, prn_v b);

/* The double-precision cores, for f64 operands (about 1 ulp of double;
 * angles up to 2^19; pow about 1e-13 relative). */
prn_v prn_vm_exp64(prn_cg *g, prn_v x);
prn_v prn_vm_log64(prn_cg *g, prn_v x);
prn_v prn_vm_atan64(prn_cg *g, prn_v x);

/* Evaluates c[0] + c[1] x + ... + c[n-1] x^(n-1). */
prn_v prn_vm_poly(prn_cg *g, prn_v x, const double *c, unsigned n);

#endif
