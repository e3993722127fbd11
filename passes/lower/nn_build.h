/* Building nn operations, with their result types.
 *
 * A builder is a place in a block and what new operations inherit from the
 * ONNX node they stand for: its location and its name ($name), so that later
 * messages can still name the node. */
#ifndef PRN_PASSES_LOWER_NN_BUILD_H
#define PRN_PASSES_LOWER_NN_BUILD_H

#include "ir/op.h"
#include "ir/scalar.h"

typedef struct prn_nn {
  prn_module *m;
  prn_ctx *ctx;
  prn_block *block; /* operations go to its end, or before `before` */
  prn_op *before;   /* may be NULL */
  prn_loc loc;
  prn_str name; /* may be empty */
} prn_nn;

enum { PRN_NN_MAX_RANK = 16 };

/* Any operation of one result. */
prn_value *prn_nn_make(prn_nn *b, prn_opcode code, prn_value *const *operands,
                       uint32_t n, const prn_type *type);
prn_op *prn_nn_make_op(prn_nn *b, prn_opcode code, prn_value *const *operands,
                       uint32_t num_operands, const prn_type *const *types,
                       uint32_t num_types);

/* ---- scalar functions; operands broadcast ---- */
prn_value *prn_nn_unary(prn_nn *b, prn_scalar f, prn_value *x);
prn_value *prn_nn_binary(prn_nn *b, prn_scalar f, prn_value *x, prn_value *y);
prn_value *prn_nn_select(prn_nn *b, prn_value *c, prn_value *x, prn_value *y);
/* x itself when it has the element type. */
prn_value *prn_nn_cast(prn_nn *b, prn_value *x, prn_dtype to);
/* The bits of x under a type of the same width. */
prn_value *prn_nn_bitcast(prn_nn *b, prn_value *x, prn_dtype to);
/* The type of an elementwise operation over n values with that element
 * type. Sizes that cannot be related are unknown. */
const prn_type *prn_nn_broadcast_type(prn_ctx *ctx, prn_dtype dtype,
                                      prn_value *const *v, uint32_t n);
/* ---- constants ---- */
prn_value *prn_nn_constant(prn_nn *b, const prn_tensor *t);
/* A rank-0 tensor; v is rounded to the element type. */
prn_value *prn_nn_scalar(prn_nn *b, prn_dtype dtype, double v);
/* x op v with a scalar of x's element type. */
prn_value *prn_nn_with(prn_nn *b, prn_scalar f, prn_value *x, double v);
/* i64 elements; nn.constant when all are constant, nn.dims otherwise. */
prn_value *prn_nn_dims(prn_nn *b, const prn_type *type, const prn_dim *elems,
                       size_t n);
/* One size as a rank-0 tensor of the element type. */
prn_value *prn_nn_size(prn_nn *b, prn_dim d, prn_dtype dtype);
/* Elements [at, ...) of t as a tensor of `type`: the bytes are shared. */
const prn_tensor *prn_nn_part(prn_ctx *ctx, const prn_tensor *t, int64_t at,
                              const prn_type *type);
/* A tensor from doubles, rounded to its element type. */
const prn_tensor *prn_nn_tensor(prn_ctx *ctx, const prn_type *type,
                                const double *values);

/* ---- moving; these return x where nothing changes, and other constants for
 * constants where the bytes stay as they are ---- */
prn_value *prn_nn_reshape(prn_nn *b, prn_value *x, const prn_type *type);
prn_value *prn_nn_reshape_dims(prn_nn *b, prn_value *x, int32_t rank,
                               const prn_dim *dims);
prn_value *prn_nn_transpose(prn_nn *b, prn_value *x, const int64_t *perm);
prn_value *prn_nn_broadcast(prn_nn *b, prn_value *x, const prn_type *type);
prn_value *prn_nn_slice(prn_nn *b, prn_value *x, const prn_type *type,
                        const prn_dim *starts, const int64_t *steps);
/* Elements [from, from + size) along an axis. */
prn_value *prn_nn_slice_axis(prn_nn *b, prn_value *x, int32_t axis,
                             prn_dim from, prn_dim size);
prn_value *prn_nn_concat(prn_nn *b, prn_value *const *x, uint32_t n,
                         int32_t axis, const prn_type *type);
prn_value *prn_nn_pad(prn_nn *b, prn_value *x, prn_value *fill,
                      const prn_type *type, const prn_dim *lows,
                      const char *mode);
prn_value *prn_nn_iota(prn_nn *b, const prn_type *type, int32_t axis,
                       prn_dim start, prn_dim step);

prn_value *prn_nn_gather(prn_nn *b, prn_value *x, prn_value *indices,
                         int32_t axis);
prn_value *prn_nn_gather_elements(prn_nn *b, prn_value *x, prn_value *indices,
                                  int32_t axis);
/* Rows x[n, w] with those at indices[j] joined with updates[j, w]: fn is set,
 * add, mul, max or min. */
prn_value *prn_nn_scatter(prn_nn *b, prn_value *x, prn_value *indices,
                          prn_value *updates, const char *fn);
/* Along the last dimension; *indices gets where elements were. */
prn_value *prn_nn_sort(prn_nn *b, prn_value *x, bool descending,
                       prn_value **indices);
prn_value *prn_nn_softmax(prn_nn *b, prn_value *x, int32_t axis, bool log);
/* Positions along `axis`, as i64, in the rank of x: [1, .., n, .., 1]. */
prn_value *prn_nn_positions(prn_nn *b, const prn_type *t, int32_t axis);

/* ---- with structure ---- */
prn_value *prn_nn_matmul(prn_nn *b, prn_value *x, prn_value *y,
                         prn_dtype dtype);
/* Keeps the axes with size 1. */
prn_value *prn_nn_reduce(prn_nn *b, const char *fn, prn_value *x,
                         const int64_t *axes, size_t n);
/* Sum over the axes divided by their size. */
prn_value *prn_nn_mean(prn_nn *b, prn_value *x, const int64_t *axes, size_t n);

/* ---- types and attributes ---- */
const prn_type *prn_nn_type(prn_ctx *ctx, const prn_type *like, int32_t rank,
                            const prn_dim *dims);
const prn_attr *prn_nn_dim_list(prn_ctx *ctx, const prn_dim *dims, size_t n);
/* Elements of a LIST of DIMs; NULL when it is something else. */
prn_dim prn_nn_list_dim(const prn_attr *list, uint32_t i);
/* Without the claim about zeros: what results have. */
const prn_type *prn_nn_plain(prn_ctx *ctx, const prn_type *t);
/* Ranked, and every size is known. */
bool prn_nn_is_sized(const prn_type *t);

#endif
