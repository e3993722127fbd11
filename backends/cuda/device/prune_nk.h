/* Products with weights in the format nk: w[n][k rounded up to 8, of bytes to
 * 16]. x is of what they are multiplied by (pmk_dot). */
#ifndef PRUNE_NK_H
#define PRUNE_NK_H

#include "prune_few.h"
#include "prune_pipe.h"

template <class T> PMK_DEV int64_t pmk_nk_stride(int64_t k) {
  enum { STEP = sizeof(T) == 1 ? 16 : 8 };
  return (k + STEP - 1) / STEP * STEP;
}

/* One element: row j, depth kk. */
template <class T>
PMK_DEV T pmk_nk_at(const T *w, int64_t n, int64_t k, int64_t j, int64_t kk) {
  (void)n;
  return pmk_load(w + j * pmk_nk_stride<T>(k) + kk);
}

/* ---- few rows ---- */

/* A step is 64 bytes of k, of which a lane 4g + t has the 16 from 16t on of the
 * rows g, g+8, g+16, g+24 of w and g, g+8 of x. It takes its own runs as its
 * part of the fragments: that is another order of k, the same for both
 * operands, and saves the way through shared memory. */
struct pmk_few_nk_step {
  pmk_v4 w[4], x[2];
};

/* The rows of a lane. */
template <class T, class X, bool ALL> struct pmk_few_nk_rows {
  const T *w[4];
  pmk_row<X, ALL> x[2];
  int stride; /* of w */
};
template <class T, class X, bool ALL>
PMK_DEV pmk_few_nk_rows<T, X, ALL> pmk_few_nk_lane(const T *w, int64_t n,
                                                   const pmk_rows<X, ALL> &x,
                                                   int64_t i0, int64_t j0) {
  pmk_few_nk_rows<T, X, ALL> l;
  int g = PMK_TID % 32 / 4;
  l.stride = (int)pmk_nk_stride<T>(x.k);
  PMK_UNROLL
  for (int r = 0; r < 4; r++) {
    int64_t j = j0 + r * 8 + g;
    l.w[r] = w + (j < n ? j : n - 1) * l.stride;
  }
  PMK_UNROLL
  for (int h = 0; h < 2; h++)
    l.x[h] = pmk_row_of(x, i0 + h * 8 + g);
  return l;
}

template <class T, class X, bool ALL>
PMK_DEV void pmk_few_nk_load(pmk_few_nk_step &s,
                             const pmk_few_nk_rows<T, X, ALL> &l, int k0) {
  int kk = k0 + PMK_TID % 4 * pmk_chunk<T>::N;
  PMK_UNROLL
  for (int r = 0; r < 4; r++)
    s.w[r] = kk < l.stride ? pmk_stream16(l.w[r] + kk) : pmk_v4{};
  PMK_UNROLL
  for (int h = 0; h < 2; h++)
    s.x[h] = pmk_row_load(l.x[h], kk);
}

template <class T, class X, class S>
PMK_DEV void pmk_few_nk_multiply(pmk_few_sums<S> &sums,
                                 const pmk_few_nk_step &s, bool two) {
  PMK_UNROLL
  for (int half = 0; half < 4; half += 2) {
    PMK_UNROLL
    for (int r = 0; r < 2; r++) {
      const pmk_v4 *w = s.w + r * 2;
      uint32_t a[4] = {w[0].u[half], w[1].u[half], w[0].u[half + 1],
                       w[1].u[half + 1]};
      pmk_multiply<T, X>(sums.at[r][0], a, s.x[0].u + half);
      if (two) pmk_multiply<T, X>(sums.at[r][1], a, s.x[1].u + half);
    }
  }
}

/* A warp's part of a tile: every eighth step, of which the next ones are on
 * their way: of bytes one, for more do not fit into registers. Past k there are
 * zeros. */
template <class T, class X, bool ALL>
PMK_DEV auto pmk_few_nk_sums(const T *w, int64_t n, const pmk_rows<X, ALL> &x,
                             int64_t i0, int64_t j0) {
  enum {
    STEP = 64 / sizeof(T),
    TURN = STEP * PMK_FEW_WARPS,
    AHEAD = ALL && sizeof(T) == 2 ? 2 : 1
  };
  pmk_few_nk_rows<T, X, ALL> lane = pmk_few_nk_lane(w, n, x, i0, j0);
  int k0 = PMK_TID / 32 * STEP;
  pmk_few_sums<typename pmk_dot<T>::sum> sums = {};
  bool two = x.m - i0 > 8;
  pmk_few_nk_step s[AHEAD];
  PMK_UNROLL
  for (int d = 0; d < AHEAD; d++)
    pmk_few_nk_load(s[d], lane, k0 + d * TURN);
  for (; k0 < x.k; k0 += AHEAD * TURN) {
    PMK_UNROLL
    for (int d = 0; d < AHEAD; d++) {
      pmk_few_nk_multiply<T, X>(sums, s[d], two);
      pmk_few_nk_load(s[d], lane, k0 + (d + AHEAD) * TURN);
    }
  }
  return sums;
}

template <class T, class X, class E>
PMK_DEV void pmk_few_nk(const X *x, int64_t ldx, const T *w, int64_t m,
                        int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_few_tiles(
        m, n,
        [&](int64_t i0, int64_t j0) {
          return pmk_few_nk_sums(w, n, rows, i0, j0);
        },
        e);
  });
}

/* ---- many rows ---- */

/* A warp has WM rows of x and WN of w of a tile; a stage is 64 bytes of k. */
template <class T, class TILE, int WM, int WN> struct pmk_linear_nk_of {
  enum {
    X_SIZE = TILE::M * 64, /* bytes of x in a stage */
    STAGE = X_SIZE + TILE::N * 64,
    STAGES = 4,
    COLUMNS = TILE::N / WN, /* of warps */
    STEP = 64 / sizeof(T),  /* of k, in a stage */
  };
  typedef typename pmk_dot<T>::x X;
  typedef typename pmk_dot<T>::sum S;
  static_assert((int)STAGE * STAGES == (int)TILE::SHARED, "tiles.def");
  static_assert(TILE::M / WM * COLUMNS * 32 == (int)TILE::THREADS, "tiles.def");

  PMK_DEV_MEMBER void multiply(S acc[WM / 16][WN / 8][4],
                               const unsigned char *from) {
    int warp = PMK_TID / 32, y = warp / COLUMNS * WM, x = warp % COLUMNS * WN;
    PMK_UNROLL
    for (int c = 0; c < 4; c += 2) {
      uint32_t b[WN / 8][2];
      PMK_UNROLL
      for (int j = 0; j < WN / 8; j += 2)
        pmk_fragment_b64(b[j], from + X_SIZE, x + j * 8, c);
      PMK_UNROLL
      for (int i = 0; i < WM / 16; i++) {
        uint32_t a[4];
        pmk_fragment_a64(a, from, y + i * 16, c);
        PMK_UNROLL
        for (int j = 0; j < WN / 8; j++)
          pmk_multiply<X, T>(acc[i][j], a, b[j]);
      }
    }
  }

  template <class E>
  PMK_DEV_MEMBER void store(S acc[WM / 16][WN / 8][4], int64_t m, int64_t n,
                            int64_t i0, int64_t j0, E e) {
    int warp = PMK_TID / 32, lane = PMK_TID % 32;
    PMK_UNROLL
    for (int a = 0; a < WM / 16; a++) {
      PMK_UNROLL
      for (int b = 0; b < WN / 8; b++) {
        PMK_UNROLL
        for (int q = 0; q < 4; q++) {
          int64_t i = i0 + warp / COLUMNS * WM + a * 16 + lane / 4 + q / 2 * 8;
          int64_t j = j0 + warp % COLUMNS * WN + b * 8 + lane % 4 * 2 + q % 2;
          if (i < m && j < n) e(0, i, j, acc[a][b][q]);
        }
      }
    }
  }

  template <class R, class E>
  PMK_DEV_MEMBER void all(const R &x, const T *w, int64_t n, E e) {
    /* The zeros after k are copied, too: x has none there. */
    int stride = (int)pmk_nk_stride<T>(x.k);
    int64_t j0 = (int64_t)PMK_BX * TILE::N;
    pmk_weights<T> columns = {w, stride, n, stride};
    for (int64_t i0 = (int64_t)PMK_BY * TILE::M; i0 < x.m;
         i0 += (int64_t)PMK_GY * TILE::M) {
      S acc[WM / 16][WN / 8][4] = {};
      pmk_pipe<STAGES, STAGE>(
          (x.k + STEP - 1) / STEP,
          [&](unsigned char *to, int step) {
            pmk_copy64<TILE::M, TILE::THREADS>(to, x, i0, step * STEP,
                                            PMK_TID);
            pmk_copy64<TILE::N, TILE::THREADS>(to + X_SIZE, columns, j0,
                                               step * STEP, PMK_TID);
          },
          [&](const unsigned char *from, int) { multiply(acc, from); });
      store(acc, x.m, n, i0, j0, e);
    }
  }
};

template <class T, class X, class E>
PMK_DEV void pmk_linear_nk(const X *x, int64_t ldx, const T *w, int64_t m,
                           int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_nk_of<T, pmk_tile_linear_nk, 64, 32>::all(rows, w, n, e);
  });
}
template <class T, class X, class E>
PMK_DEV void pmk_linear_nk_small(const X *x, int64_t ldx, const T *w, int64_t m,
                                 int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_nk_of<T, pmk_tile_linear_nk_small, 32, 32>::all(rows, w, n, e);
  });
}

#endif
