/* XXH64, the 64-bit xxHash (Yann Collet): a checksum that is the same on every
 * machine, for what is stored. Not against forgery. */
#ifndef PRN_IR_SUPPORT_XXH64_H
#define PRN_IR_SUPPORT_XXH64_H

#include "ir/support/base.h"

/* Of size bytes; several GB/s. */
uint64_t prn_xxh64(const void *data, size_t size, uint64_t seed);

/* The same of bytes that come in pieces: begin, any number of adds, end. */
typedef struct prn_xxh64_state {
  uint64_t lanes[4], seed, size;
  unsigned char rest[32]; /* of an unfinished stripe: size % 32 bytes */
} prn_xxh64_state;
void prn_xxh64_begin(prn_xxh64_state *s, uint64_t seed);
void prn_xxh64_add(prn_xxh64_state *s, const void *data, size_t size);
uint64_t prn_xxh64_end(const prn_xxh64_state *s);

#endif
