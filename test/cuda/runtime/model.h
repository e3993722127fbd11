/* A small model, its tables written by hand as the compiler writes them, and
 * what a test needs around it:
 *
 *   y = sparse(relu(dense(table[ids] + x)))
 *
 * with ids of [rows], x of [rows, 64] and y of [rows, 32], in f16. */
#ifndef PRN_TEST_CUDA_MODEL_H
#define PRN_TEST_CUDA_MODEL_H

#include <stdbool.h>

#include "backends/cuda/host/prune_cuda.h"
#include "backends/cuda/host/prune_cuda_model.h"

enum {
  SMALL_TABLE = 10,
  SMALL_WIDTH = 64,
  SMALL_DEPTH = 60, /* of the width the dense product reads so many */
  SMALL_HIDDEN = 48,
  SMALL_OUT = 32,
  SMALL_RECORDS = 6,
  SMALL_UNALIGNED_AT = 14, /* a size: where `up` is, and 8 bytes more */
  SMALL_BLOB = 512 + 10240 + 304
};

/* Tables, and the blob that goes with them; they may be changed. */
typedef struct small_model {
  int act;        /* of the dense product, as the reference has it */
  bool no_bias;   /* likewise */
  bool adds_up;   /* its residual is the first SMALL_HIDDEN of what it reads */
  bool adds_down; /* the other product's is `x`, as rows of SMALL_OUT */
  prune_cuda_model model;
  prune_cuda_record records[SMALL_RECORDS];
  _Alignas(16) unsigned char blob[SMALL_BLOB];
} small_model;

void small_make(small_model *s);
/* Head and hash from the tables, after a change of the data. */
void small_seal(small_model *s);

/* Everything on the device that a context with its memory is. */
typedef struct small_context {
  prune_cuda_ctx *ctx;
  void *host;
  unsigned long long weights, scratch;
} small_context;

prune_cuda_status small_init(const small_model *s,
                             const prune_cuda_options *options,
                             small_context *out);
void small_destroy(small_context *c);

/* Tensors of so many rows, and the result that doubles give. */
typedef struct small_data {
  int64_t rows, dims[3][2];
  prune_cuda_tensor in[2], out[1];
  unsigned char *workspace;
  size_t workspace_size;
} small_data;

void small_data_make(small_data *d, int64_t rows, unsigned seed);
/* Prepares ctx for the rows and makes the workspace. */
prune_cuda_status small_data_prepare(small_data *d, prune_cuda_ctx *ctx);
/* The first row that differs from what it should be, -1: none. */
int64_t small_data_wrong(const small_data *d, const small_model *s);
void small_data_destroy(small_data *d);

/* Device memory, which the driver counts and holds accesses against. */
void *small_alloc(size_t size);
void small_free(void *p);

#endif
