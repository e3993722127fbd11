/* A thread pool for compiled models: the tools' parallel_for.
 *
 * Work is divided statically, so which worker computes what depends only on
 * the counts. Idle workers sleep. */
#ifndef PRN_TOOLS_POOL_H
#define PRN_TOOLS_POOL_H

#include "backends/llvm/abi.h"
#include "ir/support/base.h"

typedef struct prn_pool prn_pool;

/* A pool of `workers` including the calling thread; NULL when threads cannot
 * be had. */
prn_pool *prn_pool_create(int64_t workers);
void prn_pool_destroy(prn_pool *p); /* NULL is allowed */
int64_t prn_pool_workers(const prn_pool *p);
/* A prune_parallel_for; pool is the prn_pool. One call at a time. */
void prn_pool_for(void *pool, prune_task *fn, void *arg, int64_t count);

#endif
