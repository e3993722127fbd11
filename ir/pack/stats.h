/* What the zeros of a matrix are worth to each format: exact counts, from
 * which a planner estimates time and bytes without packing anything. */
#ifndef PRN_IR_PACK_STATS_H
#define PRN_IR_PACK_STATS_H

#include "ir/pack/pack.h"

enum { PRN_PACK_STATS_ROWS = 16 };

typedef struct prn_pack_stats {
  int64_t nnz; /* elements that are not zero, masks applied */
  /* filled[R], for R = 1, 2, 3, 4, 6, 8 and 16 (else 0): blocks of R
   * neighbouring results by one cell of the depth, counted from result 0 on,
   * in which anything is not zero. A block format stores R * filled[R] cells,
   * sparse register tiling filled[1]. */
  int64_t filled[PRN_PACK_STATS_ROWS + 1];
  int64_t empty_rows; /* results that are sums of nothing */
} prn_pack_stats;

/* p is a matrix, a cell is 1, 2 or 4 neighbouring steps of the depth. Reads
 * the matrix once, a strip at a time. */
void prn_pack_stats_of(const prn_packing *p, int64_t cell, prn_pack_stats *out);

#endif
