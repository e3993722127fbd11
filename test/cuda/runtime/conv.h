/* Models of one convolution, its tables made as the compiler makes them:
 *
 *   y = convolution of x by w, or relu of that and a half */
#ifndef PRN_TEST_CUDA_CONV_H
#define PRN_TEST_CUDA_CONV_H

#include <stdbool.h>

#include "backends/cuda/host/prune_cuda.h"
#include "backends/cuda/host/prune_cuda_model.h"

enum {
  CONV_F32 = 1,
  CONV_F16 = 10,
  CONV_BF16 = 16,
  CONV_RANK = PRUNE_CUDA_CONV_RANK,
  CONV_BLOB = 8192
};

typedef struct conv_case {
  int32_t type, rank;
  int64_t x[CONV_RANK], w[CONV_RANK], y[CONV_RANK];
  int64_t pads[3], strides[3], dilations[3]; /* zero strides: ones */
  int64_t gap;                               /* elements behind each row of x */
  int64_t shift;                             /* bytes in front of x */
} conv_case;

/* Filled by conv_make, to be changed before conv_open. One at a time: sizes
 * know no model. */
typedef struct conv_model {
  conv_case c;
  prune_cuda_conv conv;
  prune_cuda_pointer pointers[3];
  prune_cuda_variant variants[2];
  prune_cuda_step step;
  prune_cuda_record record;
  prune_cuda_value in, out;
  int64_t in_dims[CONV_RANK], out_dims[CONV_RANK];
  prune_cuda_model model;
  _Alignas(16) unsigned char blob[CONV_BLOB];
} conv_model;

/* The library alone; with `whole`, what is done to sums comes after it, and
 * our kernel is there as well: for conv_whole alone. */
void conv_make(conv_model *m, const conv_case *c, bool whole);
extern const conv_case conv_whole;
/* Where sizes have dimension i, or the stride, of x, w (1) or y (2). */
int64_t *conv_dim(int tensor, int i);
int64_t *conv_step(int tensor, int i);

typedef struct conv_context {
  prune_cuda_ctx *ctx;
  void *host, *weights;
} conv_context;
prune_cuda_status conv_open(const conv_model *m, const prune_cuda_options *o,
                            conv_context *out);
void conv_close(conv_context *c);

/* Tensors of so many images, x of random numbers, y of none. */
typedef struct conv_data {
  int64_t dims[2][CONV_RANK];
  prune_cuda_tensor in, out;
  unsigned char *workspace;
  size_t workspace_size;
} conv_data;
void conv_data_make(conv_data *d, const conv_model *m, int64_t images,
                    unsigned seed);
prune_cuda_status conv_data_prepare(conv_data *d, prune_cuda_ctx *ctx);
prune_cuda_status conv_data_run(const conv_data *d, prune_cuda_ctx *ctx,
                                void *stream);
/* Whether y is what doubles give. */
bool conv_data_right(const conv_data *d, const conv_model *m);
void conv_data_destroy(conv_data *d);

#endif
