/* Loops over tensors on several threads, with the same bits on any number.
 *
 * The range is cut into chunks whose size does not depend on the number of
 * threads; each chunk is handled by one call. As long as a chunk's result
 * depends on the chunk alone, and results are combined in chunk order, nothing
 * shows how many threads there were. */
#ifndef PRN_IR_SUPPORT_PARALLEL_H
#define PRN_IR_SUPPORT_PARALLEL_H

#include "ir/support/base.h"

/* Handles [begin, end), which is chunk number `chunk`. */
typedef void prn_parallel_fn(void *user, size_t chunk, size_t begin,
                             size_t end);

/* Calls fn for every chunk of [0, n); returns when all are done. The calling
 * thread works too; with one thread, or one chunk, no other is started. fn may
 * run on several threads at once, and must not use a context. */
void prn_parallel_for(unsigned threads, size_t n, size_t chunk_size,
                      prn_parallel_fn *fn, void *user);
/* How many chunks that makes. */
static inline size_t prn_parallel_chunks(size_t n, size_t chunk_size) {
  return n / chunk_size + (n % chunk_size != 0);
}

#endif
