/* Products with weights in the format bsr (docs/cuda-formats.md): blocks of 32
 * rows of w by 32 of k, of which only those are there that hold anything. What
 * is not there is neither read nor multiplied, and neither is x where no block
 * of the rows is: a block of threads walks the blocks of its rows of w and
 * multiplies by dense tensor cores. */
#ifndef PRUNE_BSR_H
#define PRUNE_BSR_H

#include "prune_nk.h"

enum { PMK_BSR_SIDE = 32, PMK_BSR_BLOCK = PMK_BSR_SIDE * PMK_BSR_SIDE };

template <class T> struct pmk_bsr {
  const uint32_t *start; /* [rows + 1], in blocks */
  const uint32_t *index; /* of a block: where along k it lies */
  const T *values;       /* [blocks][32][32] */

  PMK_DEV_MEMBER pmk_bsr of(const void *w, int64_t n) {
    int64_t rows = (n + 63) / 64 * 2;
    const uint32_t *start = (const uint32_t *)w;
    const uint32_t *index = start + (rows + 32) / 32 * 32;
    int64_t blocks = pmk_load(start + rows);
    return {start, index, (const T *)(index + (blocks + 31) / 32 * 32)};
  }
};

/* One element: row j, depth kk. Blocks of a row ascend along k. */
template <class T>
PMK_DEV T pmk_bsr_at(const T *w, int64_t n, int64_t k, int64_t j, int64_t kk) {
  (void)k;
  pmk_bsr<T> f = pmk_bsr<T>::of(w, n);
  uint32_t low = pmk_load(f.start + j / PMK_BSR_SIDE);
  uint32_t end = pmk_load(f.start + j / PMK_BSR_SIDE + 1), high = end;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (pmk_load(f.index + middle) < kk / PMK_BSR_SIDE)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == end || pmk_load(f.index + low) != kk / PMK_BSR_SIDE) return T{};
  return pmk_load(f.values + (int64_t)low * PMK_BSR_BLOCK +
                  j % PMK_BSR_SIDE * PMK_BSR_SIDE + kk % PMK_BSR_SIDE);
}

/* ---- few rows ---- */

/* A block is a step of pmk_few_nk: 64 bytes of k of 32 rows of w. Warps take
 * the blocks of a row of blocks in turn. */
template <class T, bool ALL>
PMK_DEV void pmk_few_bsr_load(pmk_few_nk_step &s, const pmk_bsr<T> &w,
                              const pmk_row<T, ALL> *x, int block, bool there,
                              uint32_t index) {
  int lane = PMK_TID % 32, kk = lane % 4 * 8;
  const T *from =
      w.values + (int64_t)block * PMK_BSR_BLOCK + lane / 4 * PMK_BSR_SIDE + kk;
  kk += (int)index * PMK_BSR_SIDE;
  PMK_UNROLL
  for (int r = 0; r < 4; r++)
    s.w[r] = there ? pmk_stream16(from + r * 8 * PMK_BSR_SIDE) : pmk_v4{};
  PMK_UNROLL
  for (int h = 0; h < 2; h++)
    s.x[h] = there ? pmk_row_load(x[h], kk) : pmk_v4{};
}

/* A warp's part of a tile: every eighth block, of which the next ones are on
 * their way, and the indices of those after them. */
template <class T, bool ALL>
PMK_DEV pmk_few_sums<float> pmk_few_bsr_sums(const pmk_bsr<T> &w,
                                             const pmk_rows<T, ALL> &x,
                                             int64_t i0, int64_t j0) {
  enum { TURN = PMK_FEW_WARPS, AHEAD = ALL ? 2 : 1 };
  int g = PMK_TID % 32 / 4;
  const uint32_t *start = w.start + j0 / PMK_BSR_SIDE;
  int end = (int)pmk_load(start + 1);
  int block = (int)pmk_load(start) + PMK_TID / 32;
  pmk_row<T, ALL> rows[2] = {pmk_row_of(x, i0 + g), pmk_row_of(x, i0 + 8 + g)};
  auto index_of = [&](int b) { return b < end ? pmk_load(w.index + b) : 0; };
  pmk_few_sums<float> sums = {};
  bool two = x.m - i0 > 8;
  pmk_few_nk_step s[AHEAD];
  uint32_t next[AHEAD];
  PMK_UNROLL
  for (int d = 0; d < AHEAD; d++) {
    int b = block + d * TURN;
    pmk_few_bsr_load(s[d], w, rows, b, b < end, index_of(b));
    next[d] = index_of(b + AHEAD * TURN);
  }
  for (; block < end; block += AHEAD * TURN) {
    PMK_UNROLL
    for (int d = 0; d < AHEAD; d++) {
      int b = block + (d + AHEAD) * TURN;
      pmk_few_nk_multiply<T, T>(sums, s[d], two);
      pmk_few_bsr_load(s[d], w, rows, b, b < end, next[d]);
      next[d] = index_of(b + AHEAD * TURN);
    }
  }
  return sums;
}

template <class T, class E>
PMK_DEV void pmk_few_bsr(const T *x, int64_t ldx, const T *w, int64_t m,
                         int64_t n, int64_t k, E e) {
  static_assert((int)PMK_FEW_N == (int)PMK_BSR_SIDE, "a row of blocks");
  pmk_bsr<T> f = pmk_bsr<T>::of(w, n);
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_few_tiles(
        m, n,
        [&](int64_t i0, int64_t j0) {
          return pmk_few_bsr_sums(f, rows, i0, j0);
        },
        e);
  });
}

/* ---- many rows ---- */

/* Two rows of blocks, which have theirs at the same places: 64 rows of w. */
template <class T> struct pmk_bsr_pair {
  enum { RUN = pmk_chunk<T>::N };
  const uint32_t *index;
  const T *values; /* of the upper row, then of the lower one */
  int blocks;      /* of each */

  PMK_DEV_MEMBER pmk_bsr_pair of(const pmk_bsr<T> &w, int pair) {
    uint32_t first = pmk_load(w.start + pair * 2);
    uint32_t second = pmk_load(w.start + pair * 2 + 1);
    return {w.index + first, w.values + (int64_t)first * PMK_BSR_BLOCK,
            (int)(second - first)};
  }
};
/* As rows that are copied, of which kk says the block: one of each, one below
 * the other. */
template <class T>
PMK_DEV void pmk_rows_copy(unsigned char *to, const pmk_bsr_pair<T> &r,
                           int64_t j, int kk) {
  int block = kk / PMK_BSR_SIDE + (j < PMK_BSR_SIDE ? 0 : r.blocks);
  const T *from = r.values + (int64_t)block * PMK_BSR_BLOCK;
  pmk_cp16(pmk_saddr(to),
           from + (int)(j % PMK_BSR_SIDE) * PMK_BSR_SIDE + kk % PMK_BSR_SIDE,
           16);
}

/* Tiles and stages are those of pmk_linear_nk, whose steps are the blocks. */
template <class T, class TILE, int WM, int WN>
struct pmk_linear_bsr_of : pmk_linear_nk_of<T, TILE, WM, WN> {
  typedef pmk_linear_nk_of<T, TILE, WM, WN> base;
  static_assert((int)TILE::N == 2 * PMK_BSR_SIDE, "two rows of blocks");
  static_assert((int)base::STEP == (int)PMK_BSR_SIDE, "a block is a step");

  /* Lines of 8 more: lanes that write together are in different banks. */
  enum { LD = TILE::N + 8 };
  static_assert(TILE::M * LD * 4 <= (int)TILE::SHARED, "sums fit");

  /* Through shared memory, so that neighbouring threads store neighbours. */
  template <class E>
  PMK_DEV_MEMBER void finish(float acc[WM / 16][WN / 8][4], int64_t m,
                             int64_t n, int64_t i0, int64_t j0, E e) {
    float *sums = (float *)pmk_smem();
    int warp = PMK_TID / 32, lane = PMK_TID % 32;
    float *to = sums + (warp / base::COLUMNS * WM + lane / 4) * LD +
                warp % base::COLUMNS * WN + lane % 4 * 2;
    PMK_UNROLL
    for (int a = 0; a < WM / 16; a++) {
      PMK_UNROLL
      for (int b = 0; b < WN / 8; b++) {
        PMK_UNROLL
        for (int q = 0; q < 4; q++)
          to[(a * 16 + q / 2 * 8) * LD + b * 8 + q % 2] = acc[a][b][q];
      }
    }
    pmk_sync();
    int j = PMK_TID % TILE::N;
    int end = m - i0 < TILE::M ? (int)(m - i0) : (int)TILE::M;
    if (j0 + j >= n) end = 0;
    for (int i = PMK_TID / TILE::N; i < end; i += TILE::THREADS / TILE::N)
      e(0, i0 + i, j0 + j, sums[i * LD + j]);
    pmk_sync(); /* the next tile comes to where sums were */
  }

  template <class R, class E>
  PMK_DEV_MEMBER void all(const R &x, const T *w, int64_t n, E e) {
    pmk_bsr_pair<T> own = pmk_bsr_pair<T>::of(pmk_bsr<T>::of(w, n), PMK_BX);
    auto index_of = [&](int step) {
      return step < own.blocks ? (int)pmk_load(own.index + step) : 0;
    };
    for (int64_t i0 = (int64_t)PMK_BY * TILE::M; i0 < x.m;
         i0 += (int64_t)PMK_GY * TILE::M) {
      float acc[WM / 16][WN / 8][4] = {};
      int index = index_of(0);
      pmk_pipe<base::STAGES, base::STAGE>(
          own.blocks,
          [&](unsigned char *to, int step) {
            pmk_copy64<TILE::M, TILE::THREADS>(to, x, i0, index * PMK_BSR_SIDE,
                                               PMK_TID);
            pmk_copy64<TILE::N, TILE::THREADS>(to + base::X_SIZE, own, 0,
                                               step * PMK_BSR_SIDE, PMK_TID);
            index = index_of(step + 1); /* of what is copied next */
          },
          [&](const unsigned char *from, int) { base::multiply(acc, from); });
      finish(acc, x.m, n, i0, (int64_t)PMK_BX * TILE::N, e);
    }
  }
};

template <class T, class E>
PMK_DEV void pmk_linear_bsr(const T *x, int64_t ldx, const T *w, int64_t m,
                            int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_bsr_of<T, pmk_tile_linear_bsr, 64, 32>::all(rows, w, n, e);
  });
}
template <class T, class E>
PMK_DEV void pmk_linear_bsr_small(const T *x, int64_t ldx, const T *w,
                                  int64_t m, int64_t n, int64_t k, E e) {
  pmk_with_rows(x, ldx, m, k, [&](auto rows) {
    pmk_linear_bsr_of<T, pmk_tile_linear_bsr_small, 32, 32>::all(rows, w, n, e);
  });
}

#endif
