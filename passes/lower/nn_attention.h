/* A part of nn-fuse: products around a softmax become nn.attention.
 *
 *   softmax(body(q k')) v
 *
 * in one block, when nothing else reads the scores or the probabilities and
 * the sizes of the heads are constant. A mask that is computed for every pair
 * of a query and a key, from positions and from values of one of the two, is
 * computed in the body, unless it is small. */
#ifndef PRN_PASSES_LOWER_NN_ATTENTION_H
#define PRN_PASSES_LOWER_NN_ATTENTION_H

#include "passes/lower/nn_build.h"

/* After elementwise operations became bodies. Adds to the counts. */
void prn_nn_fuse_attention(prn_module *m, prn_block *b, uint32_t *found,
                           uint32_t *masks);

#endif
