/* Types: uniqued and immutable, equal exactly when the pointers are.
 *
 *   tensor<1x(batch)x?x768xf32>               ranked, symbolic and unknown dims
 *   tensor<768x3072xf32, #sparse<2:4 axis=0>> with a claim about its zeros
 *   tensor<*xf32>                             unranked
 *   view<(batch)x64xf32, strides [64, 1], offset 0>   memory, mem dialect
 *   f32, i64, i1                              scalars
 *   seq<T> optional<T> map<i64, T> sparse_tensor<...> (ONNX containers)
 *   buffer                                    bytes, mem dialect
 *   any                                       not known yet
 *   none                                      an absent operand or result */
#ifndef PRN_IR_TYPE_H
#define PRN_IR_TYPE_H

#include "ir/dim.h"

/* Element types; the values are those of ONNX TensorProto.DataType. */
/* clang-format off */
#define PRN_DTYPES(X) \
  X(1, F32, "f32", 32) \
  X(2, U8, "ui8", 8) \
  X(3, I8, "i8", 8) \
  X(4, U16, "ui16", 16) \
  X(5, I16, "i16", 16) \
  X(6, I32, "i32", 32) \
  X(7, I64, "i64", 64) \
  X(8, STRING, "string", 0) \
  X(9, BOOL, "i1", 8) \
  X(10, F16, "f16", 16) \
  X(11, F64, "f64", 64) \
  X(12, U32, "ui32", 32) \
  X(13, U64, "ui64", 64) \
  X(14, C64, "complex64", 64) \
  X(15, C128, "complex128", 128) \
  X(16, BF16, "bf16", 16) \
  X(17, F8E4M3FN, "f8E4M3FN", 8) \
  X(18, F8E4M3FNUZ, "f8E4M3FNUZ", 8) \
  X(19, F8E5M2, "f8E5M2", 8) \
  X(20, F8E5M2FNUZ, "f8E5M2FNUZ", 8) \
  X(21, U4, "ui4", 4) \
  X(22, I4, "i4", 4) \
  X(23, F4E2M1, "f4E2M1", 4) \
  X(24, F8E8M0, "f8E8M0", 8) \
  X(25, U2, "ui2", 2) \
  X(26, I2, "i2", 2) \
  X(27, F6E2M3, "f6E2M3", 6) \
  X(28, F6E3M2, "f6E3M2", 6)
/* clang-format on */

typedef enum prn_dtype {
  PRN_DTYPE_NONE = 0,
#define X(code, id, name, bits) PRN_##id = (code),
  PRN_DTYPES(X)
#undef X
      PRN_DTYPE_COUNT
} prn_dtype;

const char *prn_dtype_name(prn_dtype t);
/* PRN_DTYPE_NONE when the name is not an element type. */
prn_dtype prn_dtype_from_name(prn_str name);
/* Bits one element takes in a packed buffer; 0 for strings. */
uint32_t prn_dtype_bits(prn_dtype t);
/* Bytes one element takes where each has bytes of its own, as in memory that
 * compiled code works on; 0 for strings. */
uint32_t prn_dtype_width(prn_dtype t);
bool prn_dtype_is_float(prn_dtype t); /* f16 f32 f64 bf16 and the float8s */
/* OFP8: f8E4M3FN and f8E5M2, which are multiplied as they are stored. */
static inline bool prn_dtype_is_ofp8(prn_dtype t) {
  return t == PRN_F8E4M3FN || t == PRN_F8E5M2;
}
bool prn_dtype_is_int(prn_dtype t); /* signed and unsigned, not bool */
/* Bytes of `count` packed elements; false on overflow or strings. */
PRN_NODISCARD bool prn_dtype_bytes(prn_dtype t, int64_t count, size_t *out);

typedef enum prn_sparsity_kind {
  PRN_SPARSE_NONE,
  PRN_SPARSE_UNSTRUCTURED,
  PRN_SPARSE_NM,    /* n of every m consecutive along axis may be non-zero */
  PRN_SPARSE_BLOCK, /* blocks of rows x cols (last two axes) are all zero */
} prn_sparsity_kind;

/* A claim about zeros that the verifier checks against the data. */
typedef struct prn_sparsity {
  prn_sparsity_kind kind;
  int32_t n, m, axis; /* NM; axis is non-negative */
  int32_t rows, cols; /* BLOCK */
} prn_sparsity;

typedef enum prn_type_kind {
  PRN_TYPE_NONE,
  PRN_TYPE_ANY,
  PRN_TYPE_SCALAR,
  PRN_TYPE_TENSOR,
  PRN_TYPE_SPARSE_TENSOR, /* ONNX sparse_tensor_type */
  PRN_TYPE_VIEW,
  PRN_TYPE_BUFFER,
  PRN_TYPE_SEQUENCE,
  PRN_TYPE_OPTIONAL,
  PRN_TYPE_MAP,
} prn_type_kind;

typedef struct prn_type prn_type;
struct prn_type {
  prn_type_kind kind;
  prn_dtype dtype; /* tensors, views, scalars; key of a map */
  int32_t rank;    /* tensors and views; -1 unranked */
  const prn_dim *dims;
  const prn_dim *strides; /* views: in elements */
  prn_dim offset;         /* views: in elements */
  prn_sparsity sparsity;
  const prn_type *elem; /* sequence, optional, map value; may be any */
};

const prn_type *prn_type_none(prn_ctx *ctx);
const prn_type *prn_type_any(prn_ctx *ctx);
const prn_type *prn_type_buffer(prn_ctx *ctx);
const prn_type *prn_type_scalar(prn_ctx *ctx, prn_dtype dtype);
const prn_type *prn_type_unranked(prn_ctx *ctx, prn_dtype dtype);
const prn_type *prn_type_tensor(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                const prn_dim *dims);
/* Static dims; a negative size is unknown. */
const prn_type *prn_type_static(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                const int64_t *dims);
const prn_type *prn_type_sparse_tensor(prn_ctx *ctx, prn_dtype dtype,
                                       int32_t rank, const prn_dim *dims);
const prn_type *prn_type_view(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                              const prn_dim *dims, const prn_dim *strides,
                              prn_dim offset);
/* A dense row-major view at offset 0. */
const prn_type *prn_type_view_dense(prn_ctx *ctx, prn_dtype dtype, int32_t rank,
                                    const prn_dim *dims);
/* Sequence, optional, or map (key dtype) of elem. */
const prn_type *prn_type_container(prn_ctx *ctx, prn_type_kind kind,
                                   prn_dtype key, const prn_type *elem);
/* The same type with another claim, element type, or dims. */
const prn_type *prn_type_with_sparsity(prn_ctx *ctx, const prn_type *t,
                                       prn_sparsity s);
const prn_type *prn_type_with_dtype(prn_ctx *ctx, const prn_type *t,
                                    prn_dtype dtype);

/* A sequence or an optional. */
static inline bool prn_type_is_container(const prn_type *t) {
  return t->kind == PRN_TYPE_SEQUENCE || t->kind == PRN_TYPE_OPTIONAL;
}
bool prn_type_is_ranked(const prn_type *t); /* tensor or view, rank known */
bool prn_type_is_static(const prn_type *t); /* ranked, all dims constant */
/* Whether a tensor of type `a`, whose rank is known, can be of type `b`:
 * constant dims of both are equal. Looks at shapes only. */
bool prn_type_fits(const prn_type *a, const prn_type *b);
/* Elements of a static type; false when not static or on overflow. */
PRN_NODISCARD bool prn_type_count(const prn_type *t, int64_t *out);
/* Product of the dims (unknown when any is). Ranked types only. */
prn_dim prn_type_size(prn_ctx *ctx, const prn_type *t);

void prn_type_print(prn_strbuf *b, const prn_type *t);
void prn_sparsity_print(prn_strbuf *b, prn_sparsity s);
/* The text of t, interned: for messages. */
const char *prn_type_str(prn_ctx *ctx, const prn_type *t);

#endif
