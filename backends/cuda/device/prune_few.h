/* What products of few rows share, whatever the format of the weights.
 *
 * out[i][j] = sum over k of x[i][k] w[j][k], i < 16: time is what reading w
 * takes. A block has 32 results j; its eight warps take steps of k in turn, so
 * that together they read long runs of every row of w, and many reads are under
 * way at once. Weights are the left operand of the tensor cores, for that is
 * the one with 16 rows (and the one that may be sparse); x is the right one, of
 * eight columns, once or twice. In the end the warps' sums are added up in
 * shared memory. */
#ifndef PRUNE_FEW_H
#define PRUNE_FEW_H

#include "prune_rows.h"

enum { PMK_FEW_WARPS = 8, PMK_FEW_M = 16, PMK_FEW_N = 32 };

/* Sums of a warp: [16 rows of w][8 rows of x] twice each way. */
template <class S> struct pmk_few_sums {
  S at[2][2][4];
};

/* Lines of 36: lanes that store together are in different banks. */
enum { PMK_FEW_LD = 36, PMK_FEW_SUMS = PMK_FEW_M * PMK_FEW_LD };
static_assert((int)pmk_tile_few_nk::SHARED ==
                  (int)PMK_FEW_WARPS * PMK_FEW_SUMS * 4,
              "tiles.def");

template <class S>
PMK_DEV void pmk_few_put(S *to, const pmk_few_sums<S> &s) {
  int lane = PMK_TID % 32, g = lane / 4, t = lane % 4;
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    PMK_UNROLL
    for (int h = 0; h < 2; h++) {
      PMK_UNROLL
      for (int q = 0; q < 4; q++)
        to[(h * 8 + t * 2 + q % 2) * PMK_FEW_LD + r * 16 + g + q / 2 * 8] =
            s.at[r][h][q];
    }
  }
}

/* Adds the warps' sums and stores them. All threads of the block come here, and
 * none reads what shared memory held before. */
template <class S, class E>
PMK_DEV void pmk_few_finish(const pmk_few_sums<S> &s, int64_t m, int64_t n,
                            int64_t i0, int64_t j0, E e) {
  S *sums = (S *)pmk_smem();
  pmk_sync();
  pmk_few_put(sums + PMK_TID / 32 * PMK_FEW_SUMS, s);
  pmk_sync();
  PMK_UNROLL
  for (int o = PMK_TID; o < PMK_FEW_M * PMK_FEW_N; o += 256) {
    int i = o / PMK_FEW_N, j = o % PMK_FEW_N;
    S sum = 0;
    PMK_UNROLL
    for (int w = 0; w < PMK_FEW_WARPS; w++)
      sum += sums[w * PMK_FEW_SUMS + i * PMK_FEW_LD + j];
    if (i0 + i < m && j0 + j < n) e(0, i0 + i, j0 + j, sum);
  }
  pmk_sync(); /* the next rows may use shared memory */
}

/* For every tile of rows: sums(i0, j0) gives a warp's part, which is added and
 * stored. */
template <class S, class E>
PMK_DEV void pmk_few_tiles(int64_t m, int64_t n, S sums, E e) {
  int64_t j0 = (int64_t)PMK_BX * PMK_FEW_N;
  for (int64_t i0 = (int64_t)PMK_BY * PMK_FEW_M; i0 < m;
       i0 += (int64_t)PMK_GY * PMK_FEW_M)
    pmk_few_finish(sums(i0, j0), m, n, i0, j0, e);
}

#endif
