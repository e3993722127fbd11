/* The little machine that kernels are written for: a warp of 32 threads,
 * 16-byte copies that run in the background, matrix products of a warp.
 *
 * This file is the only one that knows intrinsics. Under nvcc they are inline
 * PTX; with -DPMK_CPU the same kernels run in an emulator (pmk_cpu.h), which
 * is how they are tested where there is no GPU.
 *
 * Whoever includes it first says how many pointers and symbols a kernel gets:
 * PMK_POINTERS, PMK_SYMBOLS. */
#ifndef PMK_H
#define PMK_H

#include "pmk_types.h"

#ifdef PMK_CPU
#include "pmk_cpu.h"
#else
#include "pmk_ptx.h"
#endif

/* ---- elements ---- */

PMK_DEV float pmk_float(pmk_f16 v) { return pmk_f16_to_f32(v.bits); }
PMK_DEV float pmk_float(pmk_bf16 v) {
  return pmk_bits_to_f32((uint32_t)v.bits << 16);
}
PMK_DEV float pmk_float(float v) { return v; }

/* Floats of a byte have M bits behind a biased exponent. Under the exponent of
 * f32 a code means its value times 2^(BIAS - 127), also where it is denormal.
 */
template <int M, int BIAS> PMK_DEV float pmk_decode8(uint32_t code) {
  float v = pmk_bits_to_f32((code & 0x7f) << (23 - M)) *
            pmk_bits_to_f32((uint32_t)(254 - BIAS) << 23);
  return code & 0x80 ? -v : v;
}
PMK_DEV float pmk_float(pmk_e4m3 v) {
  if ((v.bits & 0x7f) == 0x7f) return pmk_bits_to_f32(0x7fc00000u);
  return pmk_decode8<3, 7>(v.bits);
}
PMK_DEV float pmk_float(pmk_e5m2 v) {
  if ((v.bits & 0x7f) == 0x7c)
    return pmk_bits_to_f32(v.bits & 0x80 ? 0xff800000u : 0x7f800000u);
  if ((v.bits & 0x7f) > 0x7c) return pmk_bits_to_f32(0x7fc00000u);
  return pmk_decode8<2, 15>(v.bits);
}
/* To nearest even, of a finite number that is not too large. Adding a number
 * whose last bit is the smallest denormal leaves the bits of one. */
template <int M, int BIAS> PMK_DEV uint8_t pmk_encode8(float v) {
  const uint32_t least = (uint32_t)(128 - BIAS) << 23; /* that is normal */
  const uint32_t magic = (uint32_t)(128 - BIAS - M + 23) << 23;
  uint32_t b = pmk_f32_to_bits(v), sign = b >> 24 & 0x80;
  b &= 0x7fffffff;
  if (b < least)
    b = pmk_f32_to_bits(pmk_bits_to_f32(b) + pmk_bits_to_f32(magic)) - magic;
  else
    b = (b - ((uint32_t)(127 - BIAS) << 23) + (1u << (22 - M)) - 1 +
         (b >> (23 - M) & 1)) >>
        (23 - M);
  return (uint8_t)(sign | b);
}

/* From a value that is computed with to a type of storage: floats to nearest
 * even. */
template <class T> struct pmk_storage {
  PMK_DEV_MEMBER T of(T v) { return v; }
};
template <> struct pmk_storage<pmk_f16> {
  PMK_DEV_MEMBER pmk_f16 of(float v) { return {pmk_f32_to_f16(v)}; }
};
template <> struct pmk_storage<pmk_bf16> {
  PMK_DEV_MEMBER pmk_bf16 of(float v) { return {pmk_f32_to_bf16(v)}; }
};
/* What is beyond the largest number, half a step away, is NaN, or infinity. */
template <> struct pmk_storage<pmk_e4m3> {
  PMK_DEV_MEMBER pmk_e4m3 of(float v) {
    if (!(v <= 464 && v >= -464)) return {(uint8_t)(v < 0 ? 0xff : 0x7f)};
    return {pmk_encode8<3, 7>(v)};
  }
};
template <> struct pmk_storage<pmk_e5m2> {
  PMK_DEV_MEMBER pmk_e5m2 of(float v) {
    if (v != v) return {0x7f};
    if (v >= 61440 || v <= -61440) return {(uint8_t)(v < 0 ? 0xfc : 0x7c)};
    return {pmk_encode8<2, 15>(v)};
  }
};
template <> struct pmk_storage<pmk_i1> {
  PMK_DEV_MEMBER pmk_i1 of(bool v) { return {(uint8_t)(v ? 1 : 0)}; }
};
/* And back. */
template <class T> PMK_DEV T pmk_value(T v) { return v; }
PMK_DEV float pmk_value(pmk_f16 v) { return pmk_float(v); }
PMK_DEV float pmk_value(pmk_bf16 v) { return pmk_float(v); }
PMK_DEV float pmk_value(pmk_e4m3 v) { return pmk_float(v); }
PMK_DEV float pmk_value(pmk_e5m2 v) { return pmk_float(v); }
PMK_DEV bool pmk_value(pmk_i1 v) { return v.byte != 0; }

/* An address, as accessors give it that are asked for several elements. */
template <class T> PMK_DEV const T *pmk_address(const T *p) { return p; }

/* Elements in global memory as values. */
template <class T> PMK_DEV auto pmk_get(const T *p) {
  return pmk_value(pmk_load(p));
}
template <class T, class V> PMK_DEV void pmk_put(T *p, V v) {
  pmk_store(p, pmk_storage<T>::of(v));
}

/* Some thread met what the caller must be told of. */
PMK_DEV void pmk_set_status(const pmk_args &a, uint32_t code) {
  pmk_store(a.status, code);
}

/* An element as the low bits of a register. */
template <class T> PMK_DEV uint32_t pmk_bits(T v) { return v.bits; }
PMK_DEV uint32_t pmk_bits(int8_t v) { return (uint8_t)v; }
PMK_DEV uint32_t pmk_bits(uint8_t v) { return v; }
/* Two elements of 16 bits as a register of a fragment, the first one low. */
template <class T> PMK_DEV uint32_t pmk_pair(T low, T high) {
  return pmk_bits(low) | pmk_bits(high) << 16;
}

/* ---- products of fragments ---- */

template <class T> struct pmk_is_f8 {
  enum { V = 0 };
};
template <> struct pmk_is_f8<pmk_e4m3> {
  enum { V = 1 };
};
template <> struct pmk_is_f8<pmk_e5m2> {
  enum { V = 1 };
};

/* pmk_mma, of floats of a byte, too: f16 holds all of them. Warps of Hopper and
 * later have no product of these, and what ptxas makes of it spills. The four
 * of a register are two of each half of a fragment: another order of k, the
 * same for both operands. */
template <class A, class B, class S>
PMK_DEV void pmk_multiply(S *d, const uint32_t *a, const uint32_t *b) {
  if constexpr (pmk_is_f8<A>::V) {
    PMK_UNROLL
    for (int k = 0; k < 2; k++) {
      const uint32_t *x = a + k * 2, y = b[k];
      uint32_t left[4] = {
          pmk_widen2(A{}, x[0]), pmk_widen2(A{}, x[1]),
          pmk_widen2(A{}, x[0] >> 16), pmk_widen2(A{}, x[1] >> 16)};
      uint32_t right[2] = {pmk_widen2(B{}, y), pmk_widen2(B{}, y >> 16)};
      pmk_mma<pmk_f16>(d, left, right);
    }
  } else {
    pmk_mma<A, B>(d, a, b);
  }
}

#endif
