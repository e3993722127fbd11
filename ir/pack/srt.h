/* srt: sparse register tiling, for masks without structure and n:m.
 *
 * Reference: Wilkinson et al., "Register Tiling for Unstructured Sparsity in
 * Neural Network Inference" (PLDI 2023). Rows (along n) go in groups of R =
 * `group`; a step of the depth has one of 2^R - 1 patterns in a group: which
 * of its rows are not zero there. A kernel has one loop for each pattern and
 * reads indices and values as streams.
 *
 *   i64 start[ceil(n / nr)]   of each block of nr rows, bytes from the first
 *   blocks of nr rows         nr a multiple of R, the last may be shorter
 *     panels of `depth` steps
 *       groups of R rows: a record
 *
 * A record is
 *   u16 count[2^R]            [0]: indices, filler included; [p]: of pattern p
 *   u16 or i32 index[count[0]] in the order of `prn_srt_order`, relative to
 *                             the panel; with offsets: i32, absolute
 *   f32 value[]               for each index its rows', ascending
 *
 * and a multiple of 4 bytes: an odd number of u16 has a filler. The zeros of
 * rows past n are no entries. Bit r of a pattern stands for row r. */
#ifndef PRN_IR_PACK_SRT_H
#define PRN_IR_PACK_SRT_H

#include "ir/pack/pack.h"

enum { PRN_SRT_MAX_GROUP = 4, PRN_SRT_MAX_DEPTH = 4096 };

/* Patterns of groups of R rows in the order in which they are stored: out gets
 * all 2^R - 1; returns their number. */
int prn_srt_order(int group, int *out);

#endif
