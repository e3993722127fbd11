/* Attention heads: which slices of which weights make up each head.
 *
 * Found by dataflow and shapes, not by names: from every Softmax over the last
 * axis forward to the product with the values and on to the output projection,
 * back to the value projection, and back to the product of queries and keys and
 * their projections; through Reshape, Transpose, Split, Slice, Expand,
 * rotary embeddings and biases. The fused operators Attention,
 * MultiHeadAttention and GroupQueryAttention are read off directly.
 *
 * A head contributes nothing when its rows of the output projection are zero:
 * that slice is always there. */
#ifndef PRN_PASSES_ANALYSIS_HEADS_H
#define PRN_PASSES_ANALYSIS_HEADS_H

#include "passes/analysis/sites.h"
#include "passes/analysis/track.h"

typedef enum prn_head_role {
  PRN_HEAD_Q,
  PRN_HEAD_K,
  PRN_HEAD_V,
  PRN_HEAD_O
} prn_head_role;

/* A weight or bias that heads have slices of. */
typedef struct prn_head_part {
  prn_op *constant;
  prn_head_role role;
  bool bias;
  prn_layout layout; /* of the operand, whose axes the track names */
  prn_track track;
} prn_head_part;

typedef struct prn_attention {
  prn_op *op; /* the Softmax or the fused operator */
  int64_t heads;
  int64_t groups; /* sets of heads that share keys and values; <= heads */
  prn_head_part *parts;
  size_t num_parts;
  /* Queries, keys and values feed this attention alone: their slices may be
   * zeroed. Otherwise only those of the output projection may. */
  bool exclusive;
} prn_attention;

/* A Softmax that looks like attention, and why its heads are not separable. */
typedef struct prn_no_heads {
  prn_op *op;
  const char *why;
} prn_no_heads;

typedef struct prn_heads {
  prn_attention *at; /* program order; layers that share weights once */
  size_t size;
  prn_no_heads *rejected;
  size_t num_rejected;
  prn_arena arena;
} prn_heads;

static inline const prn_heads *prn_pass_heads(const prn_pass_env *env) {
  return prn_analyses_get(env->analyses, PRN_ANALYSIS_HEADS);
}

/* Which of the groups head h belongs to. */
int64_t prn_head_group(const prn_attention *a, int64_t h);
/* Flat indices into the constant of head h's slice, in no set order; the caller
 * frees with prn_free. NULL when there is no room. */
int64_t *prn_head_entries(const prn_head_part *p, int64_t h, int64_t *n);

#endif
