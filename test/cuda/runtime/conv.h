/* Models of one convolution:
 *
 *   y = convolution of x by w, or relu of that and a half */
#ifndef PRN_TEST_CUDA_CONV_H
#define PRN_TEST_CUDA_CONV_H

#include "test/cuda/runtime/single.h"

enum { CONV_RANK = PRUNE_CUDA_CONV_RANK };

typedef struct conv_case {
  int32_t type, rank;
  int64_t x[CONV_RANK], w[CONV_RANK], y[CONV_RANK];
  int64_t pads[3], strides[3], dilations[3]; /* zero strides: ones */
  int64_t gap;                               /* elements behind each row of x */
  int64_t shift;                             /* bytes in front of x */
} conv_case;

/* Filled by conv_make, to be changed before single_open. */
typedef struct conv_model {
  conv_case c;
  prune_cuda_conv conv;
  single s;
} conv_model;

/* The library alone; with `whole`, what is done to sums comes after it, and
 * our kernel is there as well: for conv_whole alone. */
void conv_make(conv_model *m, const conv_case *c, bool whole);
extern const conv_case conv_whole;
/* Where sizes have dimension i, or the stride, of x, w (1) or y (2). */
int64_t *conv_dim(int tensor, int i);
int64_t *conv_step(int tensor, int i);

/* Whether y is what doubles give, of a conv_model. */
bool conv_right(const single_data *d, const void *model);

#endif
