/* What tests of contexts share. */
#ifndef PRN_TEST_CUDA_CHECKS_H
#define PRN_TEST_CUDA_CHECKS_H

#include "test/cuda/runtime/single.h"

prune_cuda_options flags_alone(uint32_t flags);
/* explain's text has this in it. */
void assert_says(const prune_cuda_ctx *ctx, const char *what);
/* Of a model of one step: whether results are what they should be. */
typedef bool single_right(const single_data *d, const void *model);
/* It runs as it should, and explain says so of it. */
void assert_runs(const single *s, const prune_cuda_options *o, int64_t open,
                 const char *says, single_right *right, const void *model);
/* Nothing can do it, which is said with `why` for the reader. */
void assert_not_done(const single *s, int64_t open, const char *why);
/* A run that is captured thinks and leaves nothing, and what was captured
 * computes the same of other inputs. */
void assert_replays(const single *s, int64_t open, single_right *right,
                    const void *model);
/* It is prepared and tuned, and then right. */
void assert_tunes(const single_context *c, single_data *d, single_right *right,
                  const void *model);
/* A teardown: nothing is left, and since the last one no rule was broken. */
int assert_clean(void **state);

#endif
