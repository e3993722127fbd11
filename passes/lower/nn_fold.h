/* What the files of nn-simplify share. */
#ifndef PRN_PASSES_LOWER_NN_FOLD_H
#define PRN_PASSES_LOWER_NN_FOLD_H

#include "passes/lower/nn_build.h"

/* The result of an operation whose operands are all constant, or NULL where it
 * is better computed at run time: weights are not copied to save a view. */
const prn_tensor *prn_nn_fold(prn_ctx *ctx, const prn_op *op);

/* What replaces result 0 of op, built before it, or NULL: normalisations
 * written as their formula. */
prn_value *prn_nn_match_norm(prn_nn *b, prn_op *op);

/* The same for activations written as their formula. */
prn_value *prn_nn_match_gelu(prn_nn *b, prn_op *op);

/* ---- matching ---- */
/* op's definition when it applies f, else NULL. */
prn_op *prn_nn_is(const prn_value *v, prn_scalar f);
/* v is a constant of one element. */
bool prn_nn_number(const prn_value *v, double *out);

#endif
