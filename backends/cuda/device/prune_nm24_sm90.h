/* pmk_linear_nm24 for sm_90: four warps together multiply a sparse tile by a
 * dense one, both read from shared memory where the stages lie as ldmatrix
 * wants them, too: rows of 64 bytes of values, of 128 bytes of x.
 *
 * A block has 256 rows of w (each of two groups of four warps: two tiles of 64)
 * and 128 of x: sparse operands are cheap to read, so there are more of them.
 * One step is multiplied while the next is started: stages are written two
 * steps after they were read. */
#ifndef PRUNE_NM24_SM90_H
#define PRUNE_NM24_SM90_H

#include "prune_nm24.h"

#ifdef PMK_SM90
template <class T, class R> struct pmk_nm24_sm90 {
  typedef pmk_tile_linear_nm24_sm90 tile;
  enum {
    W = tile::N * 64,
    STAGE = W + tile::M * 128,
    STAGES = 6,
    AHEAD = STAGES - 2, /* steps that are copied ahead */
  };
  static_assert((int)STAGE * STAGES + 1024 == (int)tile::SHARED, "tiles.def");

  const pmk_nm24<T> &w;
  const R &x;
  int64_t i0, j0;
  unsigned char *ring; /* at a multiple of 1024 */

  PMK_DEV_INSIDE int group() const { return PMK_TID / 128; }
  PMK_DEV_INSIDE void load(int step) const {
    if (step * 64 < w.k)
      pmk_nm24_stage<tile>(ring + step % STAGES * STAGE, w, x, i0, j0,
                           step * 64);
    pmk_cp_commit();
  }
  /* This lane's word for the group's tile r. */
  PMK_DEV_INSIDE uint32_t word(int r, int step) const {
    int64_t j = j0 + group() * 128 + r * 64 + PMK_TID / 32 % 4 * 16;
    return pmk_nm24_lane(w, j, step * 64).at[0];
  }
  PMK_DEV_INSIDE void multiply(float sums[2][64], int step,
                               const uint32_t *e) const {
    uint32_t from = pmk_saddr(ring + step % STAGES * STAGE);
    PMK_UNROLL
    for (int r = 0; r < 2; r++) {
      uint32_t rows = from + (uint32_t)(group() * 128 + r * 64) * 64;
      pmk_wgmma_sp<T, 0>(sums[r], pmk_tile_of(rows, 64),
                         pmk_tile_of(from + W, 128), e[r]);
      pmk_wgmma_sp<T, 1>(sums[r], pmk_tile_of(rows + 32, 64),
                         pmk_tile_of(from + W + 64, 128), e[r]);
    }
    pmk_wgmma_commit();
  }
  /* One step with the words `now`; those of the next are read into `later`,
   * which the step before was multiplied with: it is done by then. Two sets
   * that take turns, because a word must not be written, not even moved, while
   * a product that reads it is under way. */
  PMK_DEV_INSIDE void one(float sums[2][64], int step, const uint32_t *now,
                          uint32_t *later) const {
    pmk_cp_wait<AHEAD - 1>();
    pmk_fence_async();
    pmk_sync(); /* all have copied this step, and multiplied the last but one */
    load(step + AHEAD);
    pmk_wgmma_fence();
    multiply(sums, step, now);
    pmk_wgmma_wait<1>();
    later[0] = word(0, step + 1);
    later[1] = word(1, step + 1);
  }
  PMK_DEV_INSIDE void all(float sums[2][64]) const {
    uint32_t even[2] = {word(0, 0), word(1, 0)}, odd[2];
    for (int s = 0; s < AHEAD; s++)
      load(s);
    PMK_UNROLL_1
    for (int step = 0; step * 64 < w.k; step += 2) {
      one(sums, step, even, odd);
      if ((step + 1) * 64 < w.k) one(sums, step + 1, odd, even);
    }
    pmk_wgmma_wait<0>();
    pmk_sync(); /* results come to where stages were */
  }
};

template <class T, class R, class E>
PMK_DEV void pmk_nm24_sm90_tiles(const R &x, const T *w, int64_t n, E e) {
  typedef pmk_tile_linear_nm24_sm90 tile;
  pmk_nm24<T> f = pmk_nm24<T>::of(w, n, x.k);
  int64_t j0 = (int64_t)PMK_BX * tile::N;
  int past = (int)(pmk_saddr(pmk_smem()) & 1023);
  for (int64_t i0 = (int64_t)PMK_BY * tile::M; i0 < x.m;
       i0 += (int64_t)PMK_GY * tile::M) {
    float sums[2][64] = {};
    pmk_nm24_sm90<T, R> block = {f, x, i0, j0,
                                 pmk_smem() + (past ? 1024 - past : 0)};
    block.all(sums);
    PMK_UNROLL
    for (int c = 0; c < 32; c++)
      pmk_turned_put<tile>(sums[c / 16] + c % 16 * 4, c % 16 * 8,
                           PMK_TID / 128 * 128 + c / 16 * 64 +
                               PMK_TID / 32 % 4 * 16);
    pmk_turned_store<tile, float>(x.m, n, i0, j0, e);
  }
}
#endif

/* Empty but for sm_90a. */
template <class T, class E>
PMK_DEV void pmk_linear_nm24_sm90(const T *x, int64_t ldx, const T *w,
                                  int64_t m, int64_t n, int64_t k, E e) {
#ifdef PMK_SM90
  pmk_with_rows(x, ldx, m, k,
                [&](auto rows) { pmk_nm24_sm90_tiles<T>(rows, w, n, e); });
#else
  (void)x, (void)ldx, (void)w, (void)m, (void)n, (void)k, (void)e;
#endif
}

#endif
