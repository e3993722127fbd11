/* Models of attention: y = softmax(q k' scale + mask) v */
#ifndef PRN_TEST_CUDA_ATTENTION_H
#define PRN_TEST_CUDA_ATTENTION_H

#include "test/cuda/runtime/single.h"

enum { ATTENTION_LEAD = PRUNE_CUDA_ATTENTION_RANK - 2 };

/* Queries are [lead..., queries, depth], keys [lead..., keys, depth], values
 * [lead..., keys, width], a mask [lead..., queries, keys]. */
typedef struct attention_case {
  int32_t type, mask; /* mask: its type, 0: none */
  int32_t num_lead;
  int64_t lead[ATTENTION_LEAD], queries, keys, depth, width;
  bool tokens; /* rows of a token lie together: [lead 0, tokens, lead 1...] */
  bool shared[ATTENTION_LEAD]; /* one element of keys and values for all */
  bool mask_lead[ATTENTION_LEAD], mask_rows; /* else one of the mask for all */
  float scale;
  int64_t gap, shift; /* elements behind rows of queries, bytes in front */
} attention_case;

/* Filled by attention_make, to be changed before single_open. */
typedef struct attention_model {
  attention_case c;
  prune_cuda_attention attention;
  single s;
} attention_model;

/* The library alone, or also our kernel, which is for attention_whole. */
void attention_make(attention_model *m, const attention_case *c, bool own);
extern const attention_case attention_whole;
/* Where sizes have the step i of q, k (1), v (2), y (3) or the mask (4). */
int64_t *attention_step(int tensor, int i);

/* Whether y is what doubles give, of a attention_model. */
bool attention_right(const single_data *d, const void *model);

#endif
