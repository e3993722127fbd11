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
template <> struct pmk_storage<pmk_i1> {
  PMK_DEV_MEMBER pmk_i1 of(bool v) { return {(uint8_t)(v ? 1 : 0)}; }
};
/* And back. */
template <class T> PMK_DEV T pmk_value(T v) { return v; }
PMK_DEV float pmk_value(pmk_f16 v) { return pmk_float(v); }
PMK_DEV float pmk_value(pmk_bf16 v) { return pmk_float(v); }
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

#endif
