/* Types of storage: every value of 16 bits and of 8, and what lies between
 * them. */
#ifndef TEST_CUDA_KERNELS_CONVERSIONS_H
#define TEST_CUDA_KERNELS_CONVERSIONS_H

#include "pmk.h"
#include "test/cuda/kernels/testing.h"

namespace {

struct format {
  const char *name;
  int exponent, fraction; /* bits */
  bool finite; /* no infinity: a number in its place, and one NaN */

  int sign() const { return 1 << (exponent + fraction); }
  /* The code of infinity, or of the one NaN. */
  int beyond() const {
    return finite ? sign() - 1 : ((1 << exponent) - 1) << fraction;
  }
};

/* What bits mean, by the definition of a binary format. */
double meaning(int bits, const format &f) {
  int low = bits & (f.sign() - 1), bias = (1 << (f.exponent - 1)) - 1;
  int e = low >> f.fraction, m = low & ((1 << f.fraction) - 1);
  double v = low > f.beyond() || (f.finite && low == f.beyond()) ? NAN
             : low == f.beyond()                                 ? INFINITY
             : e ? ldexp((1 << f.fraction) + m, e - bias - f.fraction)
                 : ldexp(m, 1 - bias - f.fraction);
  return bits & f.sign() ? -v : v;
}

template <class T> int rounded(double v) {
  return pmk_storage<T>::of((float)v).bits;
}

/* Value number `bits` and the way up to the next one: to nearest, to even when
 * it is half way. Past the largest is infinity, or the NaN. */
template <class T> bool converts(int bits, const format &f) {
  double v = meaning(bits, f);
  double got = (double)pmk_value(T{(decltype(T::bits))bits});
  if (v != v) {
    int nan = rounded<T>(NAN);
    return got != got && meaning(nan, f) != meaning(nan, f);
  }
  if (got != v || signbit(got) != signbit(v) || rounded<T>(v) != bits)
    return false;
  if (isinf(v)) return true;
  int next = bits + 1;
  double up = meaning(next, f);
  if (!isfinite(up)) { /* where it would be if the exponents went on */
    double below = meaning(bits - 1, f);
    up = v + (v - below);
  }
  float half = (float)((v + up) / 2), far = signbit(v) ? -INFINITY : INFINITY;
  return rounded<T>((double)half) == (bits & 1 ? next : bits) &&
         rounded<T>((double)nextafterf(half, 0)) == bits &&
         rounded<T>((double)nextafterf(half, far)) == next;
}

template <class T> void all_of(tally &t, const format &f) {
  int wrong = 0;
  for (int bits = 0; bits < 2 * f.sign(); bits++)
    wrong += !converts<T>(bits, f);
  t.count(!wrong);
  if (wrong) printf("%s: %d values are converted wrongly\n", f.name, wrong);
}

void all_conversions(tally &t) {
  all_of<pmk_f16>(t, {"f16", 5, 10, false});
  all_of<pmk_bf16>(t, {"bf16", 8, 7, false});
  all_of<pmk_e4m3>(t, {"e4m3", 4, 3, true});
  all_of<pmk_e5m2>(t, {"e5m2", 5, 2, false});
}

} // namespace

#endif
