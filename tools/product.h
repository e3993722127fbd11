/* Modules that hold one product, for measuring: one of a model, or one made
 * up. */
#ifndef PRN_TOOLS_PRODUCT_H
#define PRN_TOOLS_PRODUCT_H

#include "ir/op.h"

/* The product op, with its constants and body, as a function of its other
 * operands; *product is the copy of op. What it reads and writes lies as it
 * would between other products of a model. All sizes are constants. */
prn_module *prn_product_alone(const prn_op *op, prn_op **product);
/* Whether they are. */
bool prn_product_is_static(const prn_op *op);

/* Zeros: of blocks of `block` results by one step of the depth, each a zero
 * with probability `zeros`; or, with keep > 0, all but `keep` of every `of`
 * steps of a result. */
typedef struct prn_product_zeros {
  double zeros;
  int64_t block, keep, of;
} prn_product_zeros;

/* result[m, n] = x[m, k] w[n, k]'; with a window, a convolution of an image
 * of `height` by `width` pixels, stride 1, of the same size, k channels. */
typedef struct prn_product_spec {
  int64_t m, n, k;
  int64_t height, width, window; /* 0: a matrix product */
  prn_product_zeros zeros;
  prn_dtype dtype;       /* of the weights: f32, or i8 under u8 */
  const char *precision; /* as nn-precision sets it, or NULL */
} prn_product_spec;

/* The product, in a module of its own, with random weights. */
prn_op *prn_product_make(prn_ctx *ctx, const prn_product_spec *s);

#endif
