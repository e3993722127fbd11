/* What tests of contexts share. */
#ifndef PRN_TEST_CUDA_CHECKS_H
#define PRN_TEST_CUDA_CHECKS_H

#include "backends/cuda/host/prune_cuda.h"

prune_cuda_options flags_alone(uint32_t flags);
/* explain's text has this in it. */
void assert_says(const prune_cuda_ctx *ctx, const char *what);
/* A teardown: nothing is left, and since the last one no rule was broken. */
int assert_clean(void **state);

#endif
