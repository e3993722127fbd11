/* What the attention operators of both domains share. */
#ifndef PRN_PASSES_LOWER_ONNX_TO_NN_HEADS_H
#define PRN_PASSES_LOWER_ONNX_TO_NN_HEADS_H

#include "passes/lower/onnx_to_nn.h"

typedef struct prn_o2n_heads {
  prn_value *q, *k, *v; /* [batch, heads, seq, size] */
  prn_dim num, kv, group;
  bool grouped;
} prn_o2n_heads;

/* Fills in the numbers of heads. */
void prn_o2n_count_heads(prn_o2n *e, prn_o2n_heads *h);
/* x[batch, seq, heads*size] as [batch, heads, seq, size]. */
prn_value *prn_o2n_split_heads(prn_o2n *e, prn_value *x, int64_t heads);
/* x after past, which may be NULL, along the sequence. */
prn_value *prn_o2n_cached(prn_o2n *e, prn_value *past, prn_value *x);

typedef struct prn_o2n_masking {
  prn_dim queries, keys, past;
  prn_dtype dtype;
  prn_value *lengths;       /* keys that count, [batch, 1, 1, 1], or NULL */
  bool causal, may_be_full; /* some query may see no key */
  int64_t left, right;      /* window sizes, -1 open */
} prn_o2n_masking;

/* What the fields allow, or NULL when that is everything. */
prn_value *prn_o2n_allowed(prn_o2n *e, const prn_o2n_masking *m);
/* 0 where allowed, -infinity elsewhere. */
prn_value *prn_o2n_as_bias(prn_o2n *e, const prn_o2n_masking *m,
                           prn_value *allowed);
/* [batch, heads, seq, size]; the scores are scaled, capped (0: not) and given
 * a bias (NULL: none). */
prn_value *prn_o2n_attend(prn_o2n *e, const prn_o2n_heads *h,
                          const prn_o2n_masking *m, double scale, double cap,
                          prn_value *bias);

/* A rotation of heads' first `turn` elements of `size`, 0: of all. */
typedef struct prn_o2n_turn {
  prn_value *cos, *sin; /* [batch or 1, seq, 1, half] */
  int64_t turn, size;
  bool interleaved;
} prn_o2n_turn;

/* A cache as the fields want it, by the positions `at`, which may be NULL. */
prn_value *prn_o2n_angles(prn_o2n *e, prn_value *cache, prn_value *at);
/* Completes the sizes for x[batch, seq, heads, size]. */
PRN_NODISCARD prn_status prn_o2n_check_turn(const prn_op *op, prn_o2n_turn *t,
                                            const prn_value *x);
prn_value *prn_o2n_rotated(prn_o2n *e, prn_value *x, const prn_o2n_turn *t);

#endif
