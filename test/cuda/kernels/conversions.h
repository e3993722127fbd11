/* Types of storage: every value of 16 bits, and what lies between them. */
#ifndef TEST_CUDA_KERNELS_CONVERSIONS_H
#define TEST_CUDA_KERNELS_CONVERSIONS_H

#include "pmk.h"
#include "test/cuda/kernels/testing.h"

namespace {

/* What 16 bits mean, by the definition of a binary format with so many bits of
 * exponent and fraction. */
double meaning(uint16_t bits, int exponent, int fraction) {
  int bias = (1 << (exponent - 1)) - 1;
  int e = bits >> fraction & ((1 << exponent) - 1);
  int f = bits & ((1 << fraction) - 1);
  double v = e == (1 << exponent) - 1 ? (f ? NAN : INFINITY)
             : e ? ldexp((1 << fraction) + f, e - bias - fraction)
                 : ldexp(f, 1 - bias - fraction);
  return bits >> 15 ? -v : v;
}

template <class T> uint16_t rounded(double v) {
  return pmk_storage<T>::of((float)v).bits;
}

/* Value number `bits` and the way up to the next one: to nearest, to even when
 * it is half way. Past the largest is infinity. */
template <class T> bool converts(uint16_t bits, int exponent, int fraction) {
  double v = meaning(bits, exponent, fraction);
  double got = (double)pmk_float(T{bits});
  if (v != v)
    return got != got &&
           (rounded<T>(NAN) & 0x7fff) > (((1 << exponent) - 1) << fraction);
  if (got != v || signbit(got) != signbit(v) || rounded<T>(v) != bits)
    return false;
  if (isinf(v)) return true;
  uint16_t next = (uint16_t)(bits + 1);
  double up = meaning(next, exponent, fraction);
  if (isinf(up)) { /* where it would be if the exponents went on */
    double below = meaning((uint16_t)(bits - 1), exponent, fraction);
    up = v + (v - below);
  }
  float half = (float)((v + up) / 2), far = signbit(v) ? -INFINITY : INFINITY;
  return rounded<T>((double)half) == (bits & 1 ? next : bits) &&
         rounded<T>((double)nextafterf(half, 0)) == bits &&
         rounded<T>((double)nextafterf(half, far)) == next;
}

template <class T>
void all_of(tally &t, const char *name, int exponent, int fraction) {
  int wrong = 0;
  for (uint32_t bits = 0; bits < 0x10000; bits++)
    wrong += !converts<T>((uint16_t)bits, exponent, fraction);
  t.count(!wrong);
  if (wrong) printf("%s: %d values are converted wrongly\n", name, wrong);
}

void all_conversions(tally &t) {
  all_of<pmk_f16>(t, "f16", 5, 10);
  all_of<pmk_bf16>(t, "bf16", 8, 7);
}

} // namespace

#endif
