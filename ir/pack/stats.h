/* What the zeros of a matrix are worth to each format: exact counts, from
 * which a planner estimates time and bytes without packing anything. */
#ifndef PRN_IR_PACK_STATS_H
#define PRN_IR_PACK_STATS_H

#include "ir/pack/pack.h"

enum { PRN_PACK_STATS_ROWS = 16 };

typedef struct prn_pack_stats {
  int64_t nnz; /* elements that are not zero, masks applied */
  /* filled[R], for R = 1, 2, 3, 4, 6, 8 and 16 (else 0): blocks of R
   * neighbouring results by one step of the depth, counted from result 0 on,
   * in which anything is not zero. filled[1] is nnz. A block format stores
   * R * filled[R] values; sparse register tiling by groups of R loads
   * filled[R] vectors of x. */
  int64_t filled[PRN_PACK_STATS_ROWS + 1];
  /* Blocks of one result by 4 neighbouring steps of the depth, and of 4
   * results by 4 steps, in which anything is not zero. */
  int64_t filled_1x4, filled_4x4;
  int64_t empty_rows; /* results that are sums of nothing */
} prn_pack_stats;

/* p is a matrix. Reads it once, a strip at a time. */
void prn_pack_stats_of(const prn_packing *p, prn_pack_stats *out);

#endif
