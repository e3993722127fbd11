/* Tiles of results that tensor cores have turned: their rows are columns of the
 * result. They go through shared memory, so that neighbouring threads store
 * neighbours. */
#ifndef PRUNE_TURNED_H
#define PRUNE_TURNED_H

#include "pmk.h"

/* Lines of 4 more: lanes that write together are in different banks. */
template <class TILE> struct pmk_turned {
  enum { LD = TILE::N + 4 };
  static_assert(TILE::M * LD * 4 <= (int)TILE::SHARED, "sums fit");
};

/* A fragment of sums whose columns are rows i.. of the tile of results, and
 * whose rows are columns j.. */
template <class TILE, class S>
PMK_DEV void pmk_turned_put(const S *sums, int i, int j) {
  static_assert(sizeof(S) == 4, "tiles.def");
  S *to = (S *)pmk_smem();
  int lane = PMK_TID % 32;
  PMK_UNROLL
  for (int q = 0; q < 4; q++)
    to[(i + lane % 4 * 2 + q % 2) * pmk_turned<TILE>::LD + j + lane / 4 +
       q / 2 * 8] = sums[q];
}

/* All threads of the block come here when they have put theirs. */
template <class TILE, class S, class E>
PMK_DEV void pmk_turned_store(int64_t m, int64_t n, int64_t i0, int64_t j0,
                              E e) {
  const S *sums = (const S *)pmk_smem();
  pmk_sync();
  for (int o = PMK_TID; o < TILE::M * TILE::N; o += TILE::THREADS) {
    int i = o / TILE::N, j = o % TILE::N;
    if (i0 + i < m && j0 + j < n)
      e(0, i0 + i, j0 + j, sums[i * pmk_turned<TILE>::LD + j]);
  }
  pmk_sync(); /* the next tile comes to where sums were */
}

#endif
