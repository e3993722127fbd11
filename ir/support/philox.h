/* Philox 4x32-10: random numbers by counter.
 *
 * A bijection of a 128-bit counter under a 64-bit key, so that number i of
 * stream s is computed without the ones before it: the same numbers at any
 * thread count and in any order. Salmon, Moraes, Dror, Shaw: "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011. */
#ifndef PRN_IR_SUPPORT_PHILOX_H
#define PRN_IR_SUPPORT_PHILOX_H

#include "ir/support/base.h"

typedef struct prn_philox_block {
  uint32_t v[4];
} prn_philox_block;

prn_philox_block prn_philox4x32(prn_philox_block counter,
                                const uint32_t key[2]);

/* Words [at, at+n) of stream `stream` under `seed`: word i is word i mod 4 of
 * the block with counter (i/4 low, i/4 high, stream, 0) and key (seed low, seed
 * high). */
void prn_philox_words(uint64_t seed, uint32_t stream, uint64_t at, size_t n,
                      uint32_t *out);

#endif
