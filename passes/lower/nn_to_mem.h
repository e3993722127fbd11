/* Shared by the files of lower-nn-to-mem. */
#ifndef PRN_PASSES_LOWER_NN_TO_MEM_H
#define PRN_PASSES_LOWER_NN_TO_MEM_H

#include "passes/lower/lower.h"
#include "passes/lower/views.h"

/* The state of one lowering. Views are made where `at` points: new operations
 * are appended to the block. */
typedef struct prn_to_mem {
  prn_module *m;
  prn_ctx *ctx;
  const prn_lower_target *target;
  prn_block *at;
  prn_ptrmap views;       /* nn value -> mem view holding it */
  prn_ptrmap targets;     /* nn value -> view it should be computed into */
  prn_loc loc;            /* of the operation being lowered */
  prn_str name;           /* of the node it comes from */
  const prn_attr **needs; /* DIM pairs for the func's `requires` */
  size_t num_needs, cap_needs;
  uint32_t depth; /* of nested blocks */
} prn_to_mem;

/* Appends an operation; results get the given type (NULL: no result). */
prn_op *prn_to_mem_op(prn_to_mem *s, prn_opcode code,
                      prn_value *const *operands, uint32_t n,
                      const prn_type *result);
/* The view of an nn value; constants are materialised dense. */
prn_value *prn_to_mem_get(prn_to_mem *s, prn_value *v);
/* The view of operand i of an nn op, NULL when it is absent. */
prn_value *prn_to_mem_operand(prn_to_mem *s, const prn_op *op, uint32_t i);
void prn_to_mem_set(prn_to_mem *s, const prn_value *v, prn_value *view);
/* Where result v is to be written: its target, or a new allocation. */
prn_value *prn_to_mem_result(prn_to_mem *s, const prn_value *v);
/* A new dense allocation. */
prn_value *prn_to_mem_alloc(prn_to_mem *s, prn_dtype dtype, int32_t rank,
                            const prn_dim *dims);
/* A new allocation whose dimensions in `rows` (a bit mask) are rows, outermost
 * first, and whose others lie innermost, a row apart by prn_to_mem_pitch: the
 * layout of linear products, whose vectors run along tokens or pixels. */
prn_value *prn_to_mem_alloc_rows(prn_to_mem *s, prn_dtype dtype, int32_t rank,
                                 const prn_dim *dims, uint32_t rows);
/* Elements from one row of `columns` to the next: an odd number of 64-byte
 * lines of f32, so that neighbouring rows fall into different cache sets. */
prn_dim prn_to_mem_pitch(prn_ctx *ctx, prn_dim columns);
/* As prn_to_mem_result, but a new allocation is laid out in rows. */
prn_value *prn_to_mem_result_rows(prn_to_mem *s, const prn_value *v,
                                  uint32_t rows);
/* As prn_to_mem_result, but in the memory order of the first of the views that
 * has v's shape and is not row-major (NumPy's 'K' order): what is computed
 * from tokens side by side keeps them so. */
prn_value *prn_to_mem_result_like(prn_to_mem *s, const prn_value *v,
                                  prn_value *const *views, uint32_t n);
/* x itself when its dimensions outside `rows` have unit stride and merge, else
 * a copy as prn_to_mem_alloc_rows lays it out. */
prn_value *prn_to_mem_as_rows(prn_to_mem *s, prn_value *x, uint32_t rows);
/* base under another type (base itself when the type is the same). */
prn_value *prn_to_mem_view(prn_to_mem *s, prn_value *base,
                           const prn_type *type);
/* x broadcast to dims; reports against op and returns NULL when it cannot. */
prn_value *prn_to_mem_broadcast(prn_to_mem *s, const prn_op *op, prn_value *x,
                                int32_t rank, const prn_dim *dims);
/* x under dims, copied when it must be. */
prn_value *prn_to_mem_reshape(prn_to_mem *s, prn_value *x, int32_t rank,
                              const prn_dim *dims);
/* x itself when it is dense, else a dense copy. */
prn_value *prn_to_mem_dense(prn_to_mem *s, prn_value *x);
/* out = in, element by element; both of one shape. */
void prn_to_mem_copy(prn_to_mem *s, prn_value *in, prn_value *out);
/* Copies attribute `name` of from to to, when present. */
void prn_to_mem_attr(const prn_op *from, prn_op *to, const char *name);
/* Clones the block of attribute `name` onto op. */
void prn_to_mem_body(prn_to_mem *s, const prn_op *from, prn_op *op,
                     const char *name);
/* Before op is lowered: results that only a concatenation reads are to be
 * computed where they belong in it, if op can. */
void prn_to_mem_place(prn_to_mem *s, const prn_op *op);
/* Lowers every op of an nn block up to its terminator. */
PRN_NODISCARD prn_status prn_to_mem_block(prn_to_mem *s, prn_block *nn);

/* One operation each. */
typedef prn_status prn_to_mem_fn(prn_to_mem *s, prn_op *op);
/* The constant matrix behind v, through a swap of the axes; NULL when it is
 * none that can be packed. */
const prn_tensor *prn_to_mem_matrix(const prn_value *v, bool *transposed);
/* The constant matrix that a product's activations meet, if there is a kernel
 * for their types; or NULL. */
const prn_tensor *prn_to_mem_weights(const prn_op *op, bool *transposed);
/* A packed constant [k, n] of tensor t, stored as said, in `format`; the other
 * parameters are taken from op's attributes. */
prn_op *prn_to_mem_packed(prn_to_mem *s, const prn_op *op, const prn_tensor *t,
                          bool nk, const char *format);
/* The type in which weights of type t are to be stored. */
prn_dtype prn_to_mem_storage(const prn_op *op, prn_dtype t);
/* The constant weights of a convolution that its activations can be multiplied
 * by, or NULL. */
const prn_tensor *prn_to_mem_filter(const prn_op *op);
/* The constant weights of a convolution by windows of one element, stride 1,
 * no padding, one group: a matrix [n, k]. Or NULL. */
const prn_tensor *prn_to_mem_pointwise(const prn_op *op);
/* The matrix product or 1x1 convolution op as a linear product. */
bool prn_to_mem_is_linear(const prn_to_mem *s, const prn_op *op);
prn_to_mem_fn prn_to_mem_linear, prn_to_mem_linear_conv;
/* A convolution whose plan is to transform its weights. */
prn_to_mem_fn prn_to_mem_winograd;
/* Whether a convolution can be computed by minimal filtering. */
bool prn_to_mem_takes_winograd(const prn_op *op);

prn_to_mem_fn prn_to_mem_scalar, prn_to_mem_map, prn_to_mem_reshape_op,
    prn_to_mem_transpose, prn_to_mem_broadcast_op, prn_to_mem_slice,
    prn_to_mem_concat, prn_to_mem_pad, prn_to_mem_gather, prn_to_mem_scatter,
    prn_to_mem_sort, prn_to_mem_dims, prn_to_mem_iota, prn_to_mem_matmul,
    prn_to_mem_conv, prn_to_mem_pool, prn_to_mem_reduce, prn_to_mem_arg_reduce,
    prn_to_mem_cumsum, prn_to_mem_softmax, prn_to_mem_layer_norm,
    prn_to_mem_lstm, prn_to_mem_gru, prn_to_mem_rnn, prn_to_mem_attention,
    prn_to_mem_if, prn_to_mem_fail;

#endif
