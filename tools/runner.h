/* Runs a compiled model on named arrays. */
#ifndef PRN_TOOLS_RUNNER_H
#define PRN_TOOLS_RUNNER_H

#include "backends/llvm/abi.h"
#include "backends/llvm/prune_pool.h"
#include "tools/array.h"

typedef struct prn_runner {
  prn_ctx *ctx;
  const char *file; /* for messages */
  const prune_model *model;
  const void *weights; /* of the model, or mapped by whoever loaded it */
  prn_arrays bound;    /* inputs whose values were compiled in */
  prune_pool *pool;    /* NULL: the calling thread alone */
  void *arena;
  size_t arena_size; /* bytes at arena */
  size_t arena_need; /* bytes the last call asked for */
} prn_runner;

/* Frees the arena and what is bound; model, weights and pool are the caller's.
 */
void prn_runner_destroy(prn_runner *r);

/* Checks inputs against the model (names, types, ranks), sizes the outputs and
 * appends them to out, named and zeroed. Everything wrong is reported. */
PRN_NODISCARD prn_status prn_runner_prepare(prn_runner *r,
                                            const prn_arrays *inputs,
                                            prn_arrays *out);
/* Runs once into outputs that prepare made for inputs of the same sizes; they
 * are the last of the list. */
PRN_NODISCARD prn_status prn_runner_run(prn_runner *r, const prn_arrays *inputs,
                                        const prn_arrays *outputs);

/* Arrays for every input, filled from a generator seeded with seed: floats
 * are standard normal, integers and bools 0 or 1 (an index that every table
 * has). Open dimensions take the value size(user, name) gives, which is 1
 * where it gives 0. */
PRN_NODISCARD prn_status prn_runner_random(prn_runner *r, uint64_t seed,
                                           int64_t (*size)(void *user,
                                                           prn_str name),
                                           void *user, prn_arrays *out);

#endif
