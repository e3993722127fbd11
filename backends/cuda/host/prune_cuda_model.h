/* What the compiler writes of a model for the CUDA runtime (prune_cuda.c):
 * tables, and two functions that compute sizes. A model that is compiled for
 * CUDA is a list of steps in the order of a stream; a step is one operation,
 * which may be done in several ways (variants), of which the runtime takes one
 * for the sizes, the device and the libraries that are there. */
#ifndef PRUNE_CUDA_MODEL_H
#define PRUNE_CUDA_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define PRUNE_CUDA_MODEL 1 /* version of these tables */

/* Where a kernel's operand begins: `offset` bytes (the place of the number in
 * the sizes) from the start of a space. */
enum {
  PRUNE_CUDA_NULL,
  PRUNE_CUDA_ARENA,    /* the workspace, behind its header */
  PRUNE_CUDA_WEIGHTS,  /* the blob's data on the device */
  PRUNE_CUDA_ARGUMENT, /* input or output `index`, inputs first */
};
typedef struct prune_cuda_pointer {
  uint8_t space;
  uint32_t index;
  uint32_t offset;
} prune_cuda_pointer;

/* A matrix product that libraries can do as well: out[m, n] = act(x[m, k]
 * w[n, k]' + bias[n] + residual[m, n]), all row-major with rows ld elements
 * apart. Operands are
 * numbers of the step's pointers; sizes are places in the sizes. */
enum {
  PRUNE_CUDA_NO_ACT,
  PRUNE_CUDA_RELU,
  PRUNE_CUDA_GELU,      /* by the error function */
  PRUNE_CUDA_GELU_TANH, /* the approximation, which is what libraries have */
};
typedef struct prune_cuda_product {
  int32_t type;   /* of x, w, bias and out: ONNX's numbers, 10 f16, 16 bf16,
                     1 f32 */
  int32_t format; /* of w: a record's kind, below */
  uint32_t m, n, k, ldx, ldo;
  uint32_t x, w, out;
  int32_t bias; /* -1: none */
  int32_t act;
  uint32_t record;   /* of w in the blob */
  uint32_t residual; /* 1 + its number among the pointers, 0: none */
  uint32_t ldr;
} prune_cuda_product;

/* A convolution that libraries can do as well: element [image, o, pixel...] of
 * out is the sum over [c, tap...] of w[o, c, tap...] times x[image, g * C + c,
 * pixel * strides + tap * dilations - pads...], with g the group of o and C the
 * channels of a group, which are w's. How many groups there are follows from
 * x's channels. Beside x are zeros. */
enum { PRUNE_CUDA_CONV_RANK = 5 };
typedef struct prune_cuda_conv {
  int32_t type;         /* of x, w and out: as of a product */
  int32_t rank;         /* of these: 3 to PRUNE_CUDA_CONV_RANK */
  uint32_t record;      /* of w in the blob */
  uint32_t operands[3]; /* x, w, out: numbers of the step's pointers */
  /* Of these three, places in the sizes; steps are in elements. */
  uint32_t dims[3][PRUNE_CUDA_CONV_RANK], steps[3][PRUNE_CUDA_CONV_RANK];
  /* Of each spatial dimension: in front of x (a place), and numbers. */
  uint32_t pads[PRUNE_CUDA_CONV_RANK - 2];
  int64_t strides[PRUNE_CUDA_CONV_RANK - 2];
  int64_t dilations[PRUNE_CUDA_CONV_RANK - 2];
} prune_cuda_conv;

/* Attention that libraries can do as well: row [lead..., i] of out is the mean
 * over j of the rows [lead..., j] of v, weighted by the softmax over j of
 * scale * sum over e of q[lead..., i, e] k[lead..., j, e] + mask[lead..., i,
 * j]. */
enum { PRUNE_CUDA_ATTENTION_RANK = 6 };
typedef struct prune_cuda_attention {
  int32_t type;         /* of q, k, v and out: 10 f16, 16 bf16 */
  int32_t mask_type;    /* of the mask: 1 f32 or as the others; 0: no mask */
  int32_t rank;         /* of all: 2 to PRUNE_CUDA_ATTENTION_RANK */
  float scale;          /* of the scores */
  uint32_t operands[5]; /* q, k, v, out, mask: numbers of the pointers */
  /* Of the rest, places in the sizes; steps are in elements, and zero where an
   * element is for many. */
  uint32_t lead[PRUNE_CUDA_ATTENTION_RANK - 2];
  uint32_t queries, keys, depth, width; /* of i, j, e and v's rows */
  uint32_t steps[5][PRUNE_CUDA_ATTENTION_RANK];
} prune_cuda_attention;

/* How libraries may do a step; KERNEL is our own code. */
enum {
  PRUNE_CUDA_KERNEL,
  PRUNE_CUDA_CUBLASLT,
  PRUNE_CUDA_CUSPARSELT,
  PRUNE_CUDA_CUSPARSE,
  PRUNE_CUDA_CUDNN,
};
typedef struct prune_cuda_variant {
  uint8_t how;
  uint32_t kernel;  /* place in the model's kernels; KERNEL and after */
  uint32_t grid[3]; /* places in the sizes; a grid without blocks is not
                       launched */
  int32_t arch;     /* compute capability it needs exactly (90), 0: any; a
                       negative number: at least that */
  uint32_t rows;    /* place of the number of rows that decides */
  int64_t min_rows, max_rows; /* where the planner takes it */
  const char *why;            /* in a few words, for explain */
  uint8_t after; /* of a library: then the kernel goes over what it gave */
} prune_cuda_variant;

typedef struct prune_cuda_step {
  const char *name; /* of the node that it comes from */
  const char *op;   /* mem.matmul ... */
  const prune_cuda_pointer *pointers;
  uint32_t num_pointers;
  const prune_cuda_variant *variants; /* in order of preference */
  uint32_t num_variants;
  const prune_cuda_product *product;     /* NULL: none */
  const prune_cuda_conv *conv;           /* NULL: none */
  const prune_cuda_attention *attention; /* NULL: none */
} prune_cuda_step;

typedef struct prune_cuda_kernel {
  const char *name;
  uint32_t threads; /* of a block */
  uint32_t shared;  /* dynamic shared memory, bytes */
} prune_cuda_kernel;

/* A constant in the blob. */
enum {
  PRUNE_CUDA_DENSE,  /* row-major */
  PRUNE_CUDA_NK,     /* rows of n, each k rounded up to 8 elements */
  PRUNE_CUDA_NM24,   /* 2:4, layout E64 */
  PRUNE_CUDA_BITMAP, /* tiles with a bit for each element */
  PRUNE_CUDA_BSR,    /* blocks of 32 by 32, those that hold anything */
};
typedef struct prune_cuda_record {
  const char *name;
  int32_t kind, type;
  int64_t k, n;          /* of a matrix; else 0 and the number of elements */
  uint64_t offset, size; /* bytes in the blob's data */
} prune_cuda_record;

typedef struct prune_cuda_value {
  const char *name;
  int32_t type, rank;
  const int64_t *dims;          /* -1: open */
  const char *const *dim_names; /* expressions of the open ones */
} prune_cuda_value;

/* One image of the kernels. */
typedef struct prune_cuda_image {
  const unsigned char *data; /* NULL ends a table of images */
  uint64_t size;
  int64_t arch; /* compute capability that it is for exactly (90), 0: a fatbin
                   or PTX, from which the driver takes what fits */
} prune_cuda_image;

typedef struct prune_cuda_model {
  uint32_t version; /* PRUNE_CUDA_MODEL */
  const char *name;
  uint32_t num_inputs, num_outputs, num_symbols, num_sizes;
  /* What a kernel is passed has so many pointers at most. */
  uint32_t num_pointers;
  const prune_cuda_value *inputs, *outputs;
  /* From the dims of the inputs (inputs[i] has its rank's many) to the symbols;
   * 0, or 1 + the number of the input whose dims contradict the model. */
  int (*bind)(const int64_t *const *inputs, int64_t *symbols);
  /* From the symbols to every size that a table names. False where one does
   * not fit in 64 bits or is negative. */
  int (*sizes)(const int64_t *symbols, int64_t *sizes);
  uint32_t arena; /* place of its bytes in the sizes */
  /* Places of the sizes of outputs, one output's after the other's. */
  const uint32_t *output_dims;
  const prune_cuda_kernel *kernels;
  uint32_t num_kernels;
  const prune_cuda_step *steps;
  uint32_t num_steps;
  const prune_cuda_record *records;
  uint32_t num_records;
  uint64_t weights_size, weights_hash; /* of the blob's data; XXH64, seed 0 */
  /* Defined beside the model by what builds its kernels. One for the very
   * device goes before one for any. */
  const prune_cuda_image *images;
} prune_cuda_model;

/* What every kernel gets, as one structure by value:
 *
 *   unsigned char *p[num_pointers];  operands, in the order of the step
 *   int64_t s[max(num_symbols, 1)];  symbols
 *   uint32_t *status;                set to PRUNE_CUDA_BAD_INDEX by kernels
 *                                    that meet an index out of range
 */
enum { PRUNE_CUDA_BAD_INDEX = 1 };

/* A kernel called MODEL_expand_nm24, if the model has one, unpacks 16-bit 2:4
 * weights for libraries that have a layout of their own. It is launched with
 * any grid, and
 *
 *   p[0]        the record's data
 *   p[1]        where elements go: [n up to 16][k up to 64], row-major
 *   p[2], p[3]  n and k of the record, as numbers
 *
 * so that num_pointers is at least 4. Without it such libraries are not
 * used. */
#define PRUNE_CUDA_EXPAND "_expand_nm24"

/* The blob, a file of constants, little endian:
 *
 *   prune_cuda_blob           the head
 *   prune_cuda_blob_record[]  num_records, in the order of the model's
 *   zeros up to data_offset
 *   the data                  data_size bytes to the end of the file
 *
 * Records lie in the data at multiples of PRUNE_CUDA_BLOB_ALIGN. */
#define PRUNE_CUDA_BLOB_MAGIC   "PRUNECU" /* with its NUL: 8 bytes */
#define PRUNE_CUDA_BLOB_VERSION 1
#define PRUNE_CUDA_BLOB_ALIGN   256
typedef struct prune_cuda_blob {
  char magic[8];
  uint32_t version, num_records;
  uint64_t data_offset; /* the end of the records, up to BLOB_ALIGN */
  uint64_t data_size;
  uint64_t hash; /* XXH64 of the data, seed 0 */
} prune_cuda_blob;
typedef struct prune_cuda_blob_record {
  uint64_t name; /* XXH64 of its bytes, seed 0 */
  int32_t kind, type;
  int64_t k, n;
  uint64_t offset, size;
} prune_cuda_blob_record;

#endif
