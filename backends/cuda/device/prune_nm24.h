/* Products with weights in the format nm24 (docs/cuda-formats.md), by sparse
 * tensor cores: of every four along k two are kept.
 *
 * The sparse operand is the left one, so rows of a fragment are rows of w, and
 * columns are rows of x: a tile is out[i][j] turned. x is of what weights are
 * multiplied by (pmk_dot). */
#ifndef PRUNE_NM24_H
#define PRUNE_NM24_H

#include "prune_few.h"
#include "prune_pipe.h"
#include "prune_turned.h"

/* The parts of a matrix, with n and k rounded up. */
template <class T> struct pmk_nm24 {
  enum {
    DEPTH = sizeof(T) == 1 ? 128 : 64, /* what k is rounded up to */
    WORDS = DEPTH / 64,                /* of a lane, about so much of 16 rows */
  };
  const T *values;       /* [n][k / 2] */
  const uint32_t *which; /* [n / 16][k / 64][32] */
  int64_t n;
  int k;

  PMK_DEV_MEMBER pmk_nm24 of(const T *w, int64_t n, int64_t k) {
    pmk_nm24 r = {w, nullptr, (n + 15) / 16 * 16,
                  (int)((k + DEPTH - 1) / DEPTH * DEPTH)};
    r.which = (const uint32_t *)(w + r.n * r.k / 2);
    return r;
  }
};

/* What is said about row j and the group of four that kk is in. */
template <class T>
PMK_DEV uint32_t pmk_nm24_nibble(const pmk_nm24<T> &w, int64_t j, int64_t kk) {
  int high = (int)(j / 8 % 2), c = (int)(kk % 64), lane, shift;
  if (sizeof(T) == 1) {
    lane = c / 32 * 2 + high;
    shift = c % 32 / 4 * 4;
  } else {
    lane = c / 16;
    shift = high * 16 + c % 16 / 4 * 4;
  }
  const uint32_t *tile = w.which + (j / 16 * (w.k / 64) + kk / 64) * 32;
  return pmk_load(tile + j % 8 * 4 + lane) >> shift & 15;
}

/* One element: row j, depth kk. */
template <class T>
PMK_DEV T pmk_nm24_at(const T *w, int64_t n, int64_t k, int64_t j, int64_t kk) {
  pmk_nm24<T> f = pmk_nm24<T>::of(w, n, k);
  uint32_t e = pmk_nm24_nibble(f, j, kk), at = (uint32_t)(kk % 4);
  const T *two = f.values + j * (f.k / 2) + kk / 4 * 2;
  if ((e & 3) == at) return pmk_load(two);
  if ((e >> 2 & 3) == at) return pmk_load(two + 1);
  return T{};
}

/* The kept values as rows of half the length. */
template <class T> PMK_DEV pmk_weights<T> pmk_nm24_rows(const pmk_nm24<T> &w) {
  return {w.values, w.k / 2, w.n, w.k / 2};
}

/* A step along k: 64 bytes of values in a row, 128 of x. */
template <class T> struct pmk_nm24_words {
  uint32_t at[pmk_nm24<T>::WORDS];
};
/* This lane's words for the 16 rows from j0 and the step from k0 on. Rows that
 * are not there get some for whatever they hold: zeros. */
template <class T>
PMK_DEV pmk_nm24_words<T> pmk_nm24_lane(const pmk_nm24<T> &w, int64_t j0,
                                        int k0) {
  pmk_nm24_words<T> r;
  bool there = j0 < w.n && k0 < w.k;
  PMK_UNROLL
  for (int i = 0; i < pmk_nm24<T>::WORDS; i++)
    r.at[i] = there ? pmk_stream4(w.which +
                                  (j0 / 16 * (w.k / 64) + k0 / 64 + i) * 32 +
                                  PMK_TID % 32)
                    : 0x44444444u;
  return r;
}
/* d += half F of a step's a and b. */
template <class T, int F, class S>
PMK_DEV void pmk_nm24_mma(S *d, const uint32_t *a, const uint32_t *b,
                          const pmk_nm24_words<T> &e) {
  enum { BYTES = sizeof(T) == 1 };
  pmk_mma_sp<T, BYTES ? 0 : F, typename pmk_dot<T>::x>(
      d, a, b, e.at[BYTES ? F : 0]);
}

/* ---- few rows ---- */

/* Each warp has a ring of its own: a stage is a step of 32 rows of w (64 bytes
 * of values each) and 16 rows of x (128 bytes each). */
enum { PMK_NM24_W = 32 * 64, PMK_NM24_STAGE = PMK_NM24_W + 16 * 128 };
enum { PMK_NM24_STAGES = 3 };
static_assert((int)pmk_tile_few_nm24::SHARED ==
                  (int)PMK_FEW_WARPS * PMK_NM24_STAGES * PMK_NM24_STAGE,
              "tiles.def");

template <class T, class R>
PMK_DEV void pmk_few_nm24_load(unsigned char *to, const pmk_nm24<T> &w,
                               const R &x, int64_t i0, int64_t j0, int k0) {
  int lane = PMK_TID % 32;
  pmk_copy64<32, 32>(to, pmk_nm24_rows(w), j0, k0 / 2, lane);
  pmk_copy128<8, 32>(to + PMK_NM24_W, x, i0, k0, lane);
  if (x.m - i0 > 8)
    pmk_copy128<8, 32>(to + PMK_NM24_W + 8 * 128, x, i0 + 8, k0, lane);
}

template <class T, int F, class S>
PMK_DEV void pmk_few_nm24_half(pmk_few_sums<S> &sums, const unsigned char *from,
                               const pmk_nm24_words<T> *e, bool two) {
  uint32_t a[2][4], b[2][4];
  PMK_UNROLL
  for (int r = 0; r < 2; r++)
    pmk_fragment_a64(a[r], from, r * 16, F * 2);
  pmk_fragment_b128(b[0], from + PMK_NM24_W, 0, F * 4);
  if (two) pmk_fragment_b128(b[1], from + PMK_NM24_W, 8, F * 4);
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    pmk_nm24_mma<T, F>(sums.at[r][0], a[r], b[0], e[r]);
    if (two) pmk_nm24_mma<T, F>(sums.at[r][1], a[r], b[1], e[r]);
  }
}

/* A warp's part of a tile: every eighth step. */
template <class T, class R>
PMK_DEV auto pmk_few_nm24_sums(const pmk_nm24<T> &w, const R &x, int64_t i0,
                               int64_t j0) {
  enum {
    STEP = pmk_nm24<T>::DEPTH,
    TURN = STEP * PMK_FEW_WARPS,
    AHEAD = PMK_NM24_STAGES - 1
  };
  unsigned char *ring =
      pmk_smem() + PMK_TID / 32 * (PMK_NM24_STAGES * PMK_NM24_STAGE);
  auto load = [&](int stage, int k0) {
    if (k0 < w.k)
      pmk_few_nm24_load(ring + stage * PMK_NM24_STAGE, w, x, i0, j0, k0);
    pmk_cp_commit();
  };
  pmk_few_sums<typename pmk_dot<T>::sum> sums = {};
  bool two = x.m - i0 > 8;
  int k0 = PMK_TID / 32 * STEP;
  pmk_nm24_words<T> e[2] = {pmk_nm24_lane(w, j0, k0),
                            pmk_nm24_lane(w, j0 + 16, k0)};
  for (int s = 0; s < AHEAD; s++)
    load(s, k0 + s * TURN);
  for (int stage = 0; k0 < w.k; k0 += TURN) {
    pmk_nm24_words<T> next[2] = {pmk_nm24_lane(w, j0, k0 + TURN),
                                 pmk_nm24_lane(w, j0 + 16, k0 + TURN)};
    pmk_cp_wait<AHEAD - 1>();
    pmk_warp_sync(); /* all lanes have copied this stage, and used the last */
    load(stage == 0 ? AHEAD : stage - 1, k0 + AHEAD * TURN);
    const unsigned char *from = ring + stage * PMK_NM24_STAGE;
    pmk_few_nm24_half<T, 0>(sums, from, e, two);
    pmk_few_nm24_half<T, 1>(sums, from, e, two);
    e[0] = next[0];
    e[1] = next[1];
    stage = stage == PMK_NM24_STAGES - 1 ? 0 : stage + 1;
  }
  return sums;
}

template <class T, class X, class E>
PMK_DEV void pmk_few_nm24(const X *x, int64_t ldx, const T *w, int64_t m,
                          int64_t n, int64_t k, E e) {
  pmk_nm24<T> f = pmk_nm24<T>::of(w, n, k);
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_few_tiles(
        m, n,
        [&](int64_t i0, int64_t j0) {
          return pmk_few_nm24_sums(f, rows, i0, j0);
        },
        e);
  });
}

/* ---- many rows ---- */

/* A stage is a step: values of a tile's rows of w, then its rows of x. */
template <class TILE, class T, class R>
PMK_DEV void pmk_nm24_stage(unsigned char *to, const pmk_nm24<T> &w, const R &x,
                            int64_t i0, int64_t j0, int k0) {
  pmk_copy64<TILE::N, TILE::THREADS>(to, pmk_nm24_rows(w), j0, k0 / 2, PMK_TID);
  pmk_copy128<TILE::M, TILE::THREADS>(to + TILE::N * 64, x, i0, k0, PMK_TID);
}

/* A warp has 32 rows of w and WM of x of a tile. */
template <class T, class TILE, int WM> struct pmk_linear_nm24_of {
  enum {
    W = TILE::N * 64, /* bytes of w in a stage */
    STAGE = W + TILE::M * 128,
    STAGES = 4,
    ROWS = TILE::M / WM, /* of warps */
  };
  typedef typename pmk_dot<T>::sum S;
  typedef pmk_nm24_words<T> words;
  static_assert((int)STAGE * STAGES == (int)TILE::SHARED, "tiles.def");
  static_assert(TILE::N / 32 * ROWS * 32 == (int)TILE::THREADS, "tiles.def");

  template <int F>
  PMK_DEV_MEMBER void half(S acc[2][WM / 8][4], const unsigned char *from,
                           const words *e) {
    int warp = PMK_TID / 32;
    uint32_t a[2][4];
    PMK_UNROLL
    for (int r = 0; r < 2; r++)
      pmk_fragment_a64(a[r], from, warp / ROWS * 32 + r * 16, F * 2);
    PMK_UNROLL
    for (int c = 0; c < WM / 8; c++) {
      uint32_t b[4];
      pmk_fragment_b128(b, from + W, warp % ROWS * WM + c * 8, F * 4);
      PMK_UNROLL
      for (int r = 0; r < 2; r++)
        pmk_nm24_mma<T, F>(acc[r][c], a[r], b, e[r]);
    }
  }

  template <class E>
  PMK_DEV_MEMBER void store(S acc[2][WM / 8][4], int64_t m, int64_t n,
                            int64_t i0, int64_t j0, E e) {
    int warp = PMK_TID / 32;
    PMK_UNROLL
    for (int r = 0; r < 2; r++) {
      PMK_UNROLL
      for (int c = 0; c < WM / 8; c++)
        pmk_turned_put<TILE>(acc[r][c], warp % ROWS * WM + c * 8,
                             warp / ROWS * 32 + r * 16);
    }
    pmk_turned_store<TILE, S>(m, n, i0, j0, e);
  }

  template <class R, class E>
  PMK_DEV_MEMBER void all(const R &x, const T *w, int64_t n, E e) {
    enum { STEP = pmk_nm24<T>::DEPTH };
    pmk_nm24<T> f = pmk_nm24<T>::of(w, n, x.k);
    int64_t j0 = (int64_t)PMK_BX * TILE::N;
    int64_t jw = j0 + PMK_TID / 32 / ROWS * 32; /* rows of this warp */
    for (int64_t i0 = (int64_t)PMK_BY * TILE::M; i0 < x.m;
         i0 += (int64_t)PMK_GY * TILE::M) {
      S acc[2][WM / 8][4] = {};
      words next[2] = {pmk_nm24_lane(f, jw, 0), pmk_nm24_lane(f, jw + 16, 0)};
      pmk_pipe<STAGES, STAGE>(
          f.k / STEP,
          [&](unsigned char *to, int step) {
            pmk_nm24_stage<TILE>(to, f, x, i0, j0, step * STEP);
          },
          [&](const unsigned char *from, int step) {
            words now[2] = {next[0], next[1]};
            next[0] = pmk_nm24_lane(f, jw, (step + 1) * STEP);
            next[1] = pmk_nm24_lane(f, jw + 16, (step + 1) * STEP);
            half<0>(acc, from, now);
            half<1>(acc, from, now);
          });
      store(acc, x.m, n, i0, j0, e);
    }
  }
};

template <class T, class X, class E>
PMK_DEV void pmk_linear_nm24(const X *x, int64_t ldx, const T *w, int64_t m,
                             int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_nm24_of<T, pmk_tile_linear_nm24, 64>::all(rows, w, n, e);
  });
}
template <class T, class X, class E>
PMK_DEV void pmk_linear_nm24_small(const X *x, int64_t ldx, const T *w,
                                   int64_t m, int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_nm24_of<T, pmk_tile_linear_nm24_small, 32>::all(rows, w, n, e);
  });
}

#endif
