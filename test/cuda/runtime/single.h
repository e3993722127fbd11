/* Models of one step that a library does, or else kernels of ours: their
 * tables as the compiler makes them, contexts, tensors. Input 0's first
 * dimension, and the output's, is open. */
#ifndef PRN_TEST_CUDA_SINGLE_H
#define PRN_TEST_CUDA_SINGLE_H

#include <stdbool.h>

#include "backends/cuda/host/prune_cuda.h"
#include "backends/cuda/host/prune_cuda_model.h"

enum {
  SINGLE_F32 = 1,
  SINGLE_F16 = 10,
  SINGLE_BF16 = 16,
  SINGLE_INPUTS = 4,
  SINGLE_RANK = 6,
  SINGLE_BLOB = 8192,
  /* Places in the sizes: 0, 1, what is open, where input 0 begins (bytes);
   * then the model's own. */
  SINGLE_ZERO = 0,
  SINGLE_ONE,
  SINGLE_OPEN,
  SINGLE_SHIFT,
  SINGLE_REST,
  SINGLE_SIZES = 64
};

/* A tensor's description: all of its elements, and those between them. */
typedef struct single_tensor {
  int32_t type, rank;
  int64_t dims[SINGLE_RANK], steps[SINGLE_RANK]; /* in elements */
} single_tensor;

/* Filled by single_make, to be changed before single_open. */
typedef struct single {
  uint32_t num_inputs;
  single_tensor in[SINGLE_INPUTS], out, weights;
  uint32_t out_places[SINGLE_RANK]; /* of out's dimensions in the sizes */
  prune_cuda_pointer pointers[SINGLE_INPUTS + 2];
  prune_cuda_variant variants[2];
  prune_cuda_step step;
  prune_cuda_record record;
  prune_cuda_value ins[SINGLE_INPUTS], outs;
  int64_t dims[SINGLE_INPUTS + 1][SINGLE_RANK];
  prune_cuda_model model;
  _Alignas(16) unsigned char blob[SINGLE_BLOB];
} single;

/* What tables refer to: of one model at a time, as sizes know none. Those for
 * which single_is_open says so are the open size. */
extern int64_t single_sizes[SINGLE_SIZES];
extern bool single_is_open[SINGLE_SIZES];
void single_forget_sizes(void);

int64_t single_count(const int64_t *dims, int32_t rank); /* of elements */
/* A row-major tensor. */
single_tensor single_rows(int32_t type, int32_t rank, const int64_t *dims);

/* The mocks' number of a type. */
int single_type(int32_t onnx);

/* Who does the step: a library; that or else the kernel NAME_own; the library
 * and then the kernel NAME_after, or else NAME_own: so many kernels. */
typedef enum single_ways {
  SINGLE_ALONE,
  SINGLE_OURS,
  SINGLE_AFTER
} single_ways;
/* The model of op, of which num_inputs, in, out, its places and weights (of
 * rank 0: none) are set. Pointers are inputs, weights if any, the output. */
void single_make(single *m, const char *name, const char *op, uint8_t how,
                 single_ways ways);

typedef struct single_context {
  prune_cuda_ctx *ctx;
  void *host, *weights;
} single_context;
prune_cuda_status single_open(const single *m, const prune_cuda_options *o,
                              single_context *out);
void single_close(single_context *c);

/* Tensors with so many of what is open; inputs of random numbers of a few bits,
 * so that sums are exact. */
typedef struct single_data {
  int64_t dims[SINGLE_INPUTS + 1][SINGLE_RANK];
  prune_cuda_tensor in[SINGLE_INPUTS], out;
  uint32_t num_inputs;
  unsigned char *workspace;
  size_t workspace_size;
} single_data;
void single_data_make(single_data *d, const single *m, int64_t open,
                      unsigned seed);
prune_cuda_status single_data_prepare(single_data *d, prune_cuda_ctx *ctx);
prune_cuda_status single_data_run(const single_data *d, prune_cuda_ctx *ctx,
                                  void *stream);
void single_data_destroy(single_data *d);

#endif
