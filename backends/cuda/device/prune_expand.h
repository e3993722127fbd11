/* 2:4 weights as the dense matrix they stand for. */
#ifndef PRUNE_EXPAND_H
#define PRUNE_EXPAND_H

#include "prune_index.h"
#include "prune_nm24.h"

/* to[n up to 16][k up to 64], row-major. */
template <class T>
PMK_DEV void pmk_expand_nm24(T *to, const T *w, int64_t n, int64_t k) {
  int64_t rows = (n + 15) / 16 * 16, columns = (k + 63) / 64 * 64;
  pmk_each<int64_t>(rows * columns, [&](int64_t e) {
    pmk_store(to + e, pmk_nm24_at<T>(w, n, k, e / columns, e % columns));
  });
}

#endif
