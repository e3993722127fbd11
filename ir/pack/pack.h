/* How the bytes of a constant matrix lie among the weights.
 *
 * A mem.constant names its format (`pack`) and the format's parameters; the
 * kernel that reads it is chosen by the format. The sparsity of a matrix is
 * data: a format writes indices and values as streams, the code that walks
 * them is the same for every matrix of the same parameters.
 *
 * A matrix is seen as w[k, n]: k is the depth that a product sums over, n
 * numbers its results. Masks are applied when it is read. Formats are rows of
 * the table in pack.c, a file for each family. */
#ifndef PRN_IR_PACK_PACK_H
#define PRN_IR_PACK_PACK_H

#include "ir/op.h"

/* Rows of a group of a dense format, at most: what registers can sum. */
enum { PRN_PACK_GROUP_MAX = 32 };

typedef struct prn_packing {
  const prn_tensor *t;
  bool nk; /* the tensor is stored [n, k...], else [k, n] */
  int64_t k, n;
  int64_t nr;      /* width of a panel */
  int64_t group;   /* rows (along n) that share an index stream or a block */
  int64_t depth;   /* of a panel along k */
  int64_t vectors; /* of columns in a kernel's tile; 0: what fits */
  int64_t tile;    /* results of a convolution's tile along a side */
  prn_dtype dtype; /* in which values are stored: the view's */
} prn_packing;

/* Receives the bytes in order. */
typedef void prn_pack_put(void *user, const void *data, size_t size);

typedef struct prn_pack_format {
  const char *name;
  /* Exact number of bytes; may read the data. False when the parameters make
   * no sense for the matrix, and on overflow. */
  bool (*size)(const prn_packing *p, int64_t *bytes);
  /* Puts exactly that many. Keeps a strip of the matrix in memory at most. */
  void (*write)(const prn_packing *p, prn_pack_put *put, void *user);
  /* The vectors of its kernels run along the product's columns m (mem.linear)
   * rather than along n (mem.matmul). */
  bool along_m;
} prn_pack_format;

/* NULL when there is no such format. */
const prn_pack_format *prn_pack_find(prn_str name);
/* What a mem.constant asks for. k and n are 0 when it is not a matrix (or its
 * view is of another size than the tensor), which only `dense` can be. */
prn_packing prn_packing_of(const prn_op *constant);
static inline bool prn_packing_is_matrix(const prn_packing *p) {
  return p->k > 0 && p->n > 0;
}

/* Results n0 .. n0+rows of the matrix, each with all its depth, as f32:
 * out[rows][k]. Rows past n are zeros. */
void prn_packing_rows(const prn_packing *p, int64_t n0, int64_t rows,
                      float *out);
/* Rounds neighbours along k to elements of type t and puts them into 32 bits:
 * one f32, two 16-bit floats, or four signed bytes. */
void prn_pack_cell(prn_dtype t, const float *v, void *out);
/* The same for n of them; n is even, of i8 a multiple of four. */
void prn_pack_values(prn_dtype t, const float *v, int64_t n, void *out);
/* Whether t is one of these types: f32, f16, bf16, i8, f8E4M3FN, f8E5M2. */
bool prn_pack_has_values(prn_dtype t);

#endif
