/* srt and blocks: sparse register tiling with balanced groups.
 *
 * Reference: Wilkinson et al., "Register Tiling for Unstructured Sparsity in
 * Neural Network Inference" (PLDI 2023), whose groups of R rows (along n)
 * have a loop for each pattern of zeros. Short loops of unforeseeable length
 * cost more than their products on a machine that multiplies fast, so here
 * the loops of neighbouring groups have the same lengths:
 *
 *   - In every panel of `depth` cells, rows are sorted by how many entries
 *     they have there and grouped in that order; a row of a group with fewer
 *     entries than others gets zeros.
 *   - A step of a group takes one entry of each of its rows. A *split* says
 *     which rows of the group share the cell of x in the step: for R = 3
 *     {012}, {01|2}, {02|1}, {12|0} and {0|1|2}.
 *   - Groups that have the same steps form a run; a kernel learns the lengths
 *     of its loops, one for each split, once a run.
 *
 * blocks: the rows that share a step are neighbours, R by R, and all share
 * it; the only split is {0..R-1}.
 *
 * A cell is 32 bits of neighbours along k: one f32, two 16-bit floats or four
 * bytes; the depth counts cells. An entry is a cell that is not all zeros.
 *
 *   i64 start[ceil(n / nr)]   of each block of nr rows, bytes from the first
 *   blocks of nr rows         nr a multiple of R, the last may be shorter
 *     panels of `depth` cells
 *       u32 runs
 *       the runs, which have all rows of the block
 *   PRN_SRT_SLACK zeros       for kernels that read ahead
 *
 * A run, each part a multiple of 4 bytes:
 *   u16 groups
 *   u16 count[splits]         steps of each split
 *   u16 row[groups * R]       in the block; what only fills a group repeats
 *                             the row before it
 *   the steps of each group, split by split:
 *     u8 index[4]             of each part of the split its cell, numbered in
 *                             the panel; blocks: one u32
 *     cell value[R]
 *
 * all read in the order in which they lie. The zeros that fill a row have the
 * index of one of its entries. */
#ifndef PRN_IR_PACK_SRT_H
#define PRN_IR_PACK_SRT_H

#include "ir/pack/pack.h"

enum {
  PRN_SRT_MAX_GROUP = 4, /* of srt */
  PRN_SRT_MAX_BLOCK = 16,
  PRN_SRT_MAX_DEPTH = 4096,
  PRN_SRT_MAX_ROWS = 1 << 15, /* nr */
  PRN_SRT_MAX_SPLITS = 5,
  PRN_SRT_MAX_VECTORS = 8,
  PRN_SRT_INDICES = 4,    /* of a step of srt */
  PRN_SRT_WORD = 4,       /* bytes of the indices of a step */
  PRN_SRT_NUMBERED = 256, /* its depth, at most */
  PRN_SRT_SLACK = 384,
};

/* Rows that share a cell, as bit masks; together all rows of the group. */
typedef struct prn_srt_split {
  int parts;
  uint16_t part[PRN_SRT_MAX_GROUP];
} prn_srt_split;

/* The splits of groups of R rows, in the order in which they are stored, into
 * out; their number. */
int prn_srt_splits(bool blocks, int group, prn_srt_split *out);
/* Bytes of a step. */
static inline int64_t prn_srt_step(int64_t group) {
  return PRN_SRT_WORD + 4 * group;
}
/* k's in a cell of elements of type t. */
int64_t prn_srt_cell(prn_dtype t);
/* Vectors of columns of a kernel's tile, at most, on a machine with so many
 * vector registers: its sums fit them, besides a vector of x and weights. */
static inline int64_t prn_srt_vectors(int64_t group, int64_t registers) {
  int64_t n = (registers > 16 ? 24 : 12) / group;
  return n < 1 ? 1 : n < PRN_SRT_MAX_VECTORS ? n : PRN_SRT_MAX_VECTORS;
}

#endif
