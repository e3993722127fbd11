/* The scalar functions of kernel bodies: one for each row of ir/scalar.def
 * that is not an operator of C++ on floats. As there, integer division
 * truncates and division by zero gives 0; max and min propagate NaN; integers
 * wrap. */
#ifndef PRUNE_SCALAR_H
#define PRUNE_SCALAR_H

#include "pmk.h"

/* From float to a type of storage, and to the nearest value of one. */
template <class T> PMK_DEV T pmk_make(float v) {
  return pmk_storage<T>::of(v);
}
template <class T> PMK_DEV float pmk_round(float v) {
  return pmk_float(pmk_make<T>(v));
}

template <class T> PMK_DEV T pmk_inf() { return (T)INFINITY; }
template <class T> PMK_DEV T pmk_nan() { return (T)NAN; }

/* ---- what integers are: signed or not, and how they wrap ---- */

template <class T> struct prn_int;
#define PRN_INT(type, unsigned_type, is)   \
  template <> struct prn_int<type> {       \
    typedef unsigned_type u;               \
    static const bool is_signed = is;      \
    static const int bits = 8 * sizeof(type); \
  };
PRN_INT(int8_t, uint8_t, true)
PRN_INT(uint8_t, uint8_t, false)
PRN_INT(int16_t, uint16_t, true)
PRN_INT(uint16_t, uint16_t, false)
PRN_INT(int32_t, uint32_t, true)
PRN_INT(uint32_t, uint32_t, false)
PRN_INT(int64_t, uint64_t, true)
PRN_INT(uint64_t, uint64_t, false)
#undef PRN_INT
#define PRN_U(T) typename prn_int<T>::u
/* 64 bits: where int would be what small operands are promoted to. */
#define PRN_WRAP(T, a, sign, b) \
  ((T)(PRN_U(T))((uint64_t)(PRN_U(T))(a) sign (uint64_t)(PRN_U(T))(b)))

/* ---- functions of floats ---- */

#define PRN_FLOAT1(name, f32, f64)                          \
  PMK_DEV float prn_##name(float x) { return f32; }         \
  PMK_DEV double prn_##name(double x) { return f64; }
PRN_FLOAT1(sqrt, sqrtf(x), sqrt(x))
PRN_FLOAT1(rsqrt, 1.0f / sqrtf(x), 1.0 / sqrt(x))
PRN_FLOAT1(reciprocal, 1.0f / x, 1.0 / x)
PRN_FLOAT1(exp, expf(x), exp(x))
PRN_FLOAT1(log, logf(x), log(x))
PRN_FLOAT1(erf, erff(x), erf(x))
PRN_FLOAT1(tanh, tanhf(x), tanh(x))
PRN_FLOAT1(sigmoid, 1.0f / (1.0f + expf(-x)), 1.0 / (1.0 + exp(-x)))
PRN_FLOAT1(gelu, 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)),
           0.5 * x * (1.0 + erf(x * 0.70710678118654752440)))
PRN_FLOAT1(sin, sinf(x), sin(x))
PRN_FLOAT1(cos, cosf(x), cos(x))
PRN_FLOAT1(tan, tanf(x), tan(x))
PRN_FLOAT1(asin, asinf(x), asin(x))
PRN_FLOAT1(acos, acosf(x), acos(x))
PRN_FLOAT1(atan, atanf(x), atan(x))
PRN_FLOAT1(sinh, sinhf(x), sinh(x))
PRN_FLOAT1(cosh, coshf(x), cosh(x))
PRN_FLOAT1(asinh, asinhf(x), asinh(x))
PRN_FLOAT1(acosh, acoshf(x), acosh(x))
PRN_FLOAT1(atanh, atanhf(x), atanh(x))
PRN_FLOAT1(abs, fabsf(x), fabs(x))
PRN_FLOAT1(neg, -x, -x)
PRN_FLOAT1(relu, x > 0.0f ? x : (x != x ? x : 0.0f),
           x > 0.0 ? x : (x != x ? x : 0.0))
PRN_FLOAT1(floor, floorf(x), floor(x))
PRN_FLOAT1(ceil, ceilf(x), ceil(x))
PRN_FLOAT1(round, rintf(x), rint(x))
PRN_FLOAT1(sign, x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x),
           x > 0.0 ? 1.0 : (x < 0.0 ? -1.0 : x))
#undef PRN_FLOAT1
PMK_DEV bool prn_isnan(float x) { return x != x; }
PMK_DEV bool prn_isnan(double x) { return x != x; }
PMK_DEV bool prn_isinf(float x) { return fabsf(x) == pmk_inf<float>(); }
PMK_DEV bool prn_isinf(double x) { return fabs(x) == pmk_inf<double>(); }

#define PRN_FLOAT2(name, f32, f64)                             \
  PMK_DEV float prn_##name(float a, float b) { return f32; }   \
  PMK_DEV double prn_##name(double a, double b) { return f64; }
PRN_FLOAT2(add, a + b, a + b)
PRN_FLOAT2(sub, a - b, a - b)
PRN_FLOAT2(mul, a *b, a *b)
PRN_FLOAT2(div, a / b, a / b)
PRN_FLOAT2(pow, powf(a, b), pow(a, b))
PRN_FLOAT2(max, a != a || a > b ? a : b, a != a || a > b ? a : b)
PRN_FLOAT2(min, a != a || a < b ? a : b, a != a || a < b ? a : b)
PRN_FLOAT2(fmod, fmodf(a, b), fmod(a, b))
#undef PRN_FLOAT2
template <class T> PMK_DEV T prn_floored(T r, T b) {
  return r * b < 0 ? r + b : r;
}
PMK_DEV float prn_mod(float a, float b) { return prn_floored(fmodf(a, b), b); }
PMK_DEV double prn_mod(double a, double b) { return prn_floored(fmod(a, b), b); }

/* ---- functions of integers ---- */

template <class T> PMK_DEV T prn_neg(T x) { return PRN_WRAP(T, 0, -, x); }
template <class T> PMK_DEV T prn_abs(T x) {
  return prn_int<T>::is_signed && x < (T)0 ? prn_neg(x) : x;
}
template <class T> PMK_DEV T prn_relu(T x) { return x < (T)0 ? (T)0 : x; }
template <class T> PMK_DEV T prn_sign(T x) {
  return x > (T)0 ? (T)1 : (x == (T)0 ? (T)0 : (T)-1);
}
template <class T> PMK_DEV T prn_floor(T x) { return x; }
template <class T> PMK_DEV T prn_ceil(T x) { return x; }
template <class T> PMK_DEV T prn_round(T x) { return x; }
template <class T> PMK_DEV T prn_bitnot(T x) { return (T)~x; }
PMK_DEV bool prn_not(bool x) { return !x; }

template <class T> PMK_DEV T prn_add(T a, T b) { return PRN_WRAP(T, a, +, b); }
template <class T> PMK_DEV T prn_sub(T a, T b) { return PRN_WRAP(T, a, -, b); }
template <class T> PMK_DEV T prn_mul(T a, T b) { return PRN_WRAP(T, a, *, b); }
/* By zero 0, and no trap for the smallest number by -1. */
template <class T> PMK_DEV T prn_div(T a, T b) {
  if (b == (T)0) return (T)0;
  if (prn_int<T>::is_signed && b == (T)-1) return prn_neg(a);
  return (T)(a / b);
}
template <class T> PMK_DEV T prn_fmod(T a, T b) {
  if (b == (T)0 || (prn_int<T>::is_signed && b == (T)-1)) return (T)0;
  return (T)(a % b);
}
template <class T> PMK_DEV T prn_mod(T a, T b) {
  T r = prn_fmod(a, b);
  return prn_int<T>::is_signed && r != (T)0 && ((r < (T)0) != (b < (T)0))
             ? (T)(r + b)
             : r;
}
template <class T> PMK_DEV T prn_max(T a, T b) { return a > b ? a : b; }
template <class T> PMK_DEV T prn_min(T a, T b) { return a < b ? a : b; }
template <class T> PMK_DEV T prn_bitand(T a, T b) { return (T)(a & b); }
template <class T> PMK_DEV T prn_bitor(T a, T b) { return (T)(a | b); }
template <class T> PMK_DEV T prn_bitxor(T a, T b) { return (T)(a ^ b); }
/* Amounts outside [0, bits) shift everything out; to the right, copies of the
 * sign come in. */
template <class T> PMK_DEV T prn_shl(T a, T b) {
  return (PRN_U(T))b < prn_int<T>::bits
             ? (T)((uint64_t)(PRN_U(T))a << (uint64_t)(PRN_U(T))b)
             : (T)0;
}
template <class T> PMK_DEV T prn_shr(T a, T b) {
  if ((PRN_U(T))b < prn_int<T>::bits) return (T)(a >> b);
  return prn_int<T>::is_signed && a < (T)0 ? (T)-1 : (T)0;
}
/* Through double: exact below 2^53. */
template <class T> PMK_DEV T prn_pow(T a, T b) {
  return (T)rint(pow((double)a, (double)b));
}
#define PRN_COMPARE(name, sign) \
  template <class T> PMK_DEV bool prn_##name(T a, T b) { return a sign b; }
PRN_COMPARE(eq, ==)
PRN_COMPARE(ne, !=)
PRN_COMPARE(lt, <)
PRN_COMPARE(le, <=)
PRN_COMPARE(gt, >)
PRN_COMPARE(ge, >=)
#undef PRN_COMPARE

PMK_DEV bool prn_and(bool a, bool b) { return a && b; }
PMK_DEV bool prn_or(bool a, bool b) { return a || b; }
PMK_DEV bool prn_xor(bool a, bool b) { return a != b; }
PMK_DEV bool prn_add(bool a, bool b) { return a || b; }
PMK_DEV bool prn_mul(bool a, bool b) { return a && b; }
PMK_DEV bool prn_max(bool a, bool b) { return a || b; }
PMK_DEV bool prn_min(bool a, bool b) { return a && b; }

/* ---- conversions ---- */

/* The smallest and the largest integer. */
template <class T> PMK_DEV T prn_low() {
  return prn_int<T>::is_signed ? (T)((PRN_U(T))1 << (prn_int<T>::bits - 1))
                               : (T)0;
}
template <class T> PMK_DEV T prn_high() { return (T)~prn_low<T>(); }

template <class To, class From> struct prn_caster {
  PMK_DEV_MEMBER To cast(From x) { return (To)x; }
};
template <class From> struct prn_caster<bool, From> {
  PMK_DEV_MEMBER bool cast(From x) { return x != (From)0; }
};
/* Truncates; what is out of range becomes the nearest integer, NaN 0. */
template <class To, class From> PMK_DEV To prn_truncate(From x) {
  const int bits = prn_int<To>::bits - (prn_int<To>::is_signed ? 1 : 0);
  const From end = (From)((uint64_t)1 << (bits - 1)) * (From)2;
  if (x >= end) return prn_high<To>();
  if (prn_int<To>::is_signed ? x <= -end : x <= (From)0) return prn_low<To>();
  return x == x ? (To)x : (To)0;
}
#define PRN_FROM_FLOAT(from)                                        \
  template <class To> struct prn_caster<To, from> {                 \
    PMK_DEV_MEMBER To cast(from x) { return prn_truncate<To>(x); }  \
  };                                                                \
  template <> struct prn_caster<float, from> {                      \
    PMK_DEV_MEMBER float cast(from x) { return (float)x; }          \
  };                                                                \
  template <> struct prn_caster<double, from> {                     \
    PMK_DEV_MEMBER double cast(from x) { return (double)x; }        \
  };                                                                \
  template <> struct prn_caster<bool, from> {                       \
    PMK_DEV_MEMBER bool cast(from x) { return x != 0; }             \
  };
PRN_FROM_FLOAT(float)
PRN_FROM_FLOAT(double)
#undef PRN_FROM_FLOAT
template <class To, class From> PMK_DEV To prn_cast(From x) {
  return prn_caster<To, From>::cast(x);
}
template <class To, class From> PMK_DEV To prn_bitcast(From x) {
  static_assert(sizeof(To) == sizeof(From), "of one width");
  To y;
  memcpy(&y, &x, sizeof y);
  return y;
}

#endif
