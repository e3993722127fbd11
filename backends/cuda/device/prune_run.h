/* Runs: N elements side by side in global memory, which a thread reads and
 * writes by as few accesses as can be, of 16 bytes where there are as many. A
 * run begins at a multiple of its size, or of 16 bytes. */
#ifndef PRUNE_RUN_H
#define PRUNE_RUN_H

#include "pmk.h"

template <class T, int N> struct pmk_run {
  enum { WORDS = N * sizeof(T) / 4 };
  static_assert(WORDS * 4 == N * sizeof(T), "whole words");
  uint32_t word[WORDS];
};

/* What one access moves: 16, 8 or 4 bytes. */
template <int WORDS> struct pmk_access {
  enum { N = WORDS % 4 == 0 ? 4 : WORDS % 2 == 0 ? 2 : 1 };
  struct alignas(4 * N) words {
    uint32_t u[N];
  };
};

template <int N, class T> PMK_DEV pmk_run<T, N> pmk_get_run(const T *p) {
  typedef pmk_access<pmk_run<T, N>::WORDS> access;
  pmk_run<T, N> r;
  PMK_UNROLL
  for (int i = 0; i < r.WORDS; i += access::N) {
    typename access::words v =
        pmk_load((const typename access::words *)p + i / access::N);
    PMK_UNROLL
    for (int k = 0; k < access::N; k++)
      r.word[i + k] = v.u[k];
  }
  return r;
}
template <class T, int N>
PMK_DEV void pmk_put_run(T *p, const pmk_run<T, N> &r) {
  typedef pmk_access<pmk_run<T, N>::WORDS> access;
  PMK_UNROLL
  for (int i = 0; i < r.WORDS; i += access::N) {
    typename access::words v;
    PMK_UNROLL
    for (int k = 0; k < access::N; k++)
      v.u[k] = r.word[i + k];
    pmk_store((typename access::words *)p + i / access::N, v);
  }
}

/* Element i of a run as a value, i known to the compiler. */
template <class T, int N> PMK_DEV auto pmk_nth(const pmk_run<T, N> &r, int i) {
  T v;
  if constexpr (sizeof(T) < 4) {
    uint32_t bits = r.word[i * (int)sizeof(T) / 4] >>
                    i * (int)sizeof(T) % 4 * 8;
    memcpy(&v, &bits, sizeof v);
  } else {
    memcpy(&v, &r.word[i * (int)sizeof(T) / 4], sizeof v);
  }
  return pmk_value(v);
}
/* Element i of a run that is zero becomes a value. */
template <class T, int N, class V>
PMK_DEV void pmk_set_nth(pmk_run<T, N> &r, int i, V value) {
  T v = pmk_storage<T>::of(value);
  if constexpr (sizeof(T) < 4) {
    uint32_t bits = 0;
    memcpy(&bits, &v, sizeof v);
    r.word[i * (int)sizeof(T) / 4] |= bits << i * (int)sizeof(T) % 4 * 8;
  } else {
    memcpy(&r.word[i * (int)sizeof(T) / 4], &v, sizeof v);
  }
}

#endif
