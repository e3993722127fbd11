/* Kernels over index spaces: what goes element by element and row by row. The
 * functions are given accessors, lambdas from positions to values, so that
 * they work on any view. All sums are made in an order that depends on the
 * sizes alone. */
#ifndef PRUNE_INDEX_H
#define PRUNE_INDEX_H

#include "prune_run.h"
#include "prune_scalar.h"

enum { PMK_WARP = 32 };

/* ---- sizes, as ir/dim.h has them ---- */

PMK_DEV int64_t pmk_floordiv(int64_t a, int64_t b) {
  int64_t q = a / b;
  return q * b > a ? q - 1 : q;
}
PMK_DEV int64_t pmk_floormod(int64_t a, int64_t b) {
  return a - pmk_floordiv(a, b) * b;
}
PMK_DEV int64_t pmk_smaller(int64_t a, int64_t b) { return a < b ? a : b; }
PMK_DEV int64_t pmk_larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- elements ---- */

/* f(e) for every e in [0, n), neighbours in neighbouring threads. */
template <class I, class F> PMK_DEV void pmk_each(I n, F f) {
  I step = (I)PMK_GX * (I)PMK_THREADS;
  for (I e = (I)PMK_BX * (I)PMK_THREADS + (I)PMK_TID; e < n; e += step)
    f(e);
}

/* An index from the data: negative ones count from the end. False, and the
 * run is an error, where it is out of range. */
template <class I, class T>
PMK_DEV bool pmk_index(const pmk_args &a, T given, I size, I *out) {
  int64_t i = (int64_t)given;
  if (i < 0) i += (int64_t)size;
  *out = (I)i;
  if (i >= 0 && i < (int64_t)size) return true;
  pmk_set_status(a, 1);
  return false;
}

/* ---- padding: the position in [0, n) that is shown at i, or -1 ---- */

template <class I> PMK_DEV I pmk_inside_constant(I i, I n) {
  return i >= 0 && i < n ? i : -1;
}
template <class I> PMK_DEV I pmk_inside_edge(I i, I n) {
  return i < 0 ? 0 : (i < n ? i : n - 1);
}
template <class I> PMK_DEV I pmk_inside_wrap(I i, I n) {
  return (I)pmk_floormod(i, n);
}
template <class I> PMK_DEV I pmk_inside_reflect(I i, I n) {
  if (n == 1) return 0;
  I period = 2 * (n - 1), m = (I)pmk_floormod(i, period);
  return m < n ? m : period - m;
}

/* ---- reductions ---- */

struct pmk_sum {
  template <class T> PMK_DEV_MEMBER T neutral() { return (T)0; }
  template <class T> PMK_DEV_MEMBER T fold(T a, T b) { return prn_add(a, b); }
};
struct pmk_prod {
  template <class T> PMK_DEV_MEMBER T neutral() { return (T)1; }
  template <class T> PMK_DEV_MEMBER T fold(T a, T b) { return prn_mul(a, b); }
};
template <class T> struct pmk_limits {
  PMK_DEV_MEMBER T low() { return prn_low<T>(); }
  PMK_DEV_MEMBER T high() { return prn_high<T>(); }
};
#define PMK_FLOAT_LIMITS(type)                                \
  template <> struct pmk_limits<type> {                       \
    PMK_DEV_MEMBER type low() { return -pmk_inf<type>(); }    \
    PMK_DEV_MEMBER type high() { return pmk_inf<type>(); }    \
  };
PMK_FLOAT_LIMITS(float)
PMK_FLOAT_LIMITS(double)
#undef PMK_FLOAT_LIMITS
template <> struct pmk_limits<bool> {
  PMK_DEV_MEMBER bool low() { return false; }
  PMK_DEV_MEMBER bool high() { return true; }
};
struct pmk_max {
  template <class T> PMK_DEV_MEMBER T neutral() {
    return pmk_limits<T>::low();
  }
  template <class T> PMK_DEV_MEMBER T fold(T a, T b) { return prn_max(a, b); }
};
struct pmk_min {
  template <class T> PMK_DEV_MEMBER T neutral() {
    return pmk_limits<T>::high();
  }
  template <class T> PMK_DEV_MEMBER T fold(T a, T b) { return prn_min(a, b); }
};

/* A value of any type from the lane whose number differs in these bits. */
template <class T> PMK_DEV T pmk_exchange(T v, int bits) {
  enum { WORDS = (sizeof(T) + 3) / 4 };
  int32_t word[WORDS] = {0};
  memcpy(word, &v, sizeof v);
  for (int i = 0; i < WORDS; i++)
    word[i] = pmk_shfl_xor(word[i], bits);
  memcpy(&v, word, sizeof v);
  return v;
}

/* The same in all lanes, after halving the distance five times. */
template <class Fold, class T> PMK_DEV T pmk_warp_fold(T v) {
  for (int d = PMK_WARP / 2; d > 0; d /= 2)
    v = Fold::fold(v, pmk_exchange(v, d));
  return v;
}

/* store(o, fold of load(o, e) over e in [0, depth)) for o in [0, rows): by a
 * warp each where neighbours in depth are neighbours in memory, otherwise by a
 * thread each, as then those of neighbouring rows are. */
template <class Fold, class T, bool Lanes, class I, class Load, class Store>
PMK_DEV void pmk_reduce(I rows, I depth, Load load, Store store) {
  if (!Lanes) {
    pmk_each<I>(rows, [&](I o) {
      T v = Fold::template neutral<T>();
      for (I e = 0; e < depth; e++)
        v = Fold::fold(v, load(o, e));
      store(o, v);
    });
    return;
  }
  int lane = PMK_TID % PMK_WARP, warps = PMK_THREADS / PMK_WARP;
  for (I o = (I)PMK_BX * warps + PMK_TID / PMK_WARP; o < rows;
       o += (I)PMK_GX * warps) {
    T v = Fold::template neutral<T>();
    for (I e = lane; e < depth; e += PMK_WARP)
      v = Fold::fold(v, load(o, e));
    v = pmk_warp_fold<Fold>(v);
    if (lane == 0) store(o, v);
  }
}

/* store(o, position of the extremum of load(o, .)): the first, or the last. */
template <bool Max, bool Last, class I, class Load, class Store>
PMK_DEV void pmk_arg(I rows, I depth, Load load, Store store) {
  pmk_each<I>(rows, [&](I o) {
    I best = 0;
    for (I e = 1; e < depth; e++) {
      auto x = load(o, e), y = load(o, best);
      bool better = Max ? x > y : x < y;
      bool is_nan = x != x && y == y;
      if (better || is_nan || (Last && (x == y || (x != x && y != y))))
        best = e;
    }
    store(o, (int64_t)best);
  });
}

/* Running sum or product. */
template <class Fold, bool Exclusive, bool Reverse, class T, class I,
          class Load, class Store>
PMK_DEV void pmk_scan(I rows, I depth, Load load, Store store) {
  pmk_each<I>(rows, [&](I o) {
    T v = Fold::template neutral<T>();
    for (I i = 0; i < depth; i++) {
      I e = Reverse ? depth - 1 - i : i;
      T x = load(o, e);
      if (Exclusive) store(o, e, v);
      v = Fold::fold(v, x);
      if (!Exclusive) store(o, e, v);
    }
  });
}

/* store(o, place, value, e) of every element e, which goes behind those that
 * are smaller (larger) and those that are equal and before it. */
template <bool Descending, class I, class Load, class Store>
PMK_DEV void pmk_sort(I rows, I depth, Load load, Store store) {
  pmk_each<I>(rows * depth, [&](I at) {
    I o = at / depth, e = at % depth, place = 0;
    auto x = load(o, e);
    for (I i = 0; i < depth; i++) {
      auto y = load(o, i);
      bool nan_x = x != x, nan_y = y != y;
      bool less = Descending ? y > x || (nan_y && !nan_x)
                             : y < x || (nan_x && !nan_y);
      bool equal = y == x || (nan_x && nan_y);
      place += less || (equal && i < e);
    }
    store(o, place, x, e);
  });
}

/* ---- rows ---- */

template <class I, class F> PMK_DEV void pmk_each_row(I rows, F f) {
  int warps = PMK_THREADS / PMK_WARP;
  for (I r = (I)PMK_BX * warps + PMK_TID / PMK_WARP; r < rows;
       r += (I)PMK_GX * warps)
    f(r, (int)(PMK_TID % PMK_WARP));
}

/* exp(x - max) / sum along rows of n, or its logarithm; a warp each. */
template <bool Log, class I, class Load, class Store>
PMK_DEV void pmk_softmax(I rows, I n, Load load, Store store) {
  pmk_each_row<I>(rows, [&](I r, int lane) {
    float most = -pmk_inf<float>(), sum = 0;
    for (I e = lane; e < n; e += PMK_WARP)
      most = prn_max(most, load(r, e));
    most = pmk_warp_fold<pmk_max>(most);
    for (I e = lane; e < n; e += PMK_WARP)
      sum += expf(load(r, e) - most);
    sum = pmk_warp_fold<pmk_sum>(sum);
    float scale = Log ? logf(sum) : 1.0f / sum;
    for (I e = lane; e < n; e += PMK_WARP) {
      float x = load(r, e) - most;
      store(r, e, Log ? x - scale : expf(x) * scale);
    }
  });
}

/* (x - mean) / sqrt(variance + epsilon) along rows of n, times scale plus bias;
 * Rms: x / sqrt(mean of squares + epsilon). The variance is that of the
 * differences from the mean: a second pass, not a difference of large sums. */
template <bool Rms, class I, class Load, class Scale, class Bias, class Store>
PMK_DEV void pmk_norm(I rows, I n, float epsilon, Load load, Scale scale,
                      Bias bias, Store store) {
  pmk_each_row<I>(rows, [&](I r, int lane) {
    float mean = 0, square = 0;
    if (!Rms) {
      for (I e = lane; e < n; e += PMK_WARP)
        mean += load(r, e);
      mean = pmk_warp_fold<pmk_sum>(mean) / (float)n;
    }
    for (I e = lane; e < n; e += PMK_WARP) {
      float d = load(r, e) - mean;
      square += d * d;
    }
    square = pmk_warp_fold<pmk_sum>(square) / (float)n;
    float f = 1.0f / sqrtf(square + epsilon);
    for (I e = lane; e < n; e += PMK_WARP)
      store(r, e, (load(r, e) - mean) * f * scale(r, e) + bias(r, e));
  });
}

#endif
