/* Tensors: the value of a constant.
 *
 * A tensor is a type, the packed little-endian bytes of its elements, and an
 * optional mask of one bit per element (1 = keep). The mask is applied when
 * the data is read or written out; pruning therefore never copies weights.
 * Tensors are immutable once attached to an op: a pass that changes weights
 * makes a new tensor (cheap: the bytes are shared). */
#ifndef PRN_IR_TENSOR_H
#define PRN_IR_TENSOR_H

#include "ir/blob.h"
#include "ir/type.h"

typedef struct prn_attr prn_attr;

/* How an ONNX file held the data, so that export can do the same. */
typedef enum prn_storage {
  PRN_STORE_RAW,      /* raw_data */
  PRN_STORE_TYPED,    /* float_data, int32_data, ... */
  PRN_STORE_EXTERNAL, /* external_data; details in extra */
  PRN_STORE_EMPTY,    /* no data field at all (zero elements) */
} prn_storage;

typedef struct prn_tensor {
  const prn_type *type;   /* static TENSOR type; dtype may be STRING */
  const prn_blob *data;   /* NULL for strings */
  const prn_blob *mask;   /* (count+7)/8 bytes, LSB first, 1 = keep; or NULL */
  const prn_str *strings; /* STRING: one per element */
  prn_str name;           /* TensorProto.name or resource name; may be empty */
  prn_storage storage;
  const prn_attr *extra; /* dictionary of remaining TensorProto fields */
} prn_tensor;

/* Arena copy of t, to be changed before use. */
prn_tensor *prn_tensor_clone(prn_ctx *ctx, const prn_tensor *t);
/* A tensor over count*bits/8 bytes copied from data. */
const prn_tensor *prn_tensor_from_data(prn_ctx *ctx, const prn_type *type,
                                       const void *data);
/* The same from numbers, of a float type: each becomes the nearest element. */
const prn_tensor *prn_tensor_from_f32(prn_ctx *ctx, const prn_type *type,
                                      const float *v);
int64_t prn_tensor_count(const prn_tensor *t);

/* Elements [at, at+n) as float/double/int64, mask applied. Any numeric or bool
 * element type; 64-bit integers lose precision in the float forms. */
void prn_tensor_read_f32(const prn_tensor *t, int64_t at, int64_t n,
                         float *out);
void prn_tensor_read_f64(const prn_tensor *t, int64_t at, int64_t n,
                         double *out);
void prn_tensor_read_i64(const prn_tensor *t, int64_t at, int64_t n,
                         int64_t *out);
/* Packed bytes of elements [at, at+n), mask applied; at*bits must be a
 * multiple of 8. */
void prn_tensor_read_bytes(const prn_tensor *t, int64_t at, int64_t n,
                           void *out);
static inline bool prn_mask_keeps(const void *mask, int64_t i) {
  return ((const unsigned char *)mask)[i >> 3] >> (i & 7) & 1;
}
/* Number of elements that are not zero, mask applied. */
int64_t prn_tensor_nonzeros(const prn_tensor *t);
/* Index of the first NaN or infinity, -1 when all are finite. */
int64_t prn_tensor_find_nonfinite(const prn_tensor *t);

/* ---- single elements of packed data (ir/element.c) ---- */
/* Exact for every element type but 64-bit integers and complex numbers. */
double prn_element_to_f64(prn_dtype t, const void *data, int64_t index);
/* Integers and bool; unsigned 64-bit values wrap. */
int64_t prn_element_to_i64(prn_dtype t, const void *data, int64_t index);
/* Stores the nearest value (ties to even; overflow gives infinity, or NaN or
 * the largest value where there is none). False for what is no number, and
 * for integers out of range: then nothing is stored. */
PRN_NODISCARD bool prn_element_from_f64(prn_dtype t, double v, void *data,
                                        int64_t index);
/* Raw bits of elements of at most 64 bits. */
/* Small binary floats: e exponent bits, m mantissa bits. */
typedef struct prn_float_format {
  int e, m, bias;
  uint64_t largest; /* bits of the largest finite value */
  uint64_t beyond;  /* what overflow gives: infinity, NaN or the largest */
  uint64_t nan;     /* 0: there is none */
  bool unsigned_zero;
} prn_float_format;
/* False for types that are none: integers, f32, f64, f8E8M0. */
bool prn_element_format(prn_dtype t, prn_float_format *out);
uint64_t prn_element_bits(prn_dtype t, const void *data, int64_t index);
void prn_element_set_bits(prn_dtype t, void *data, int64_t index,
                          uint64_t bits);
/* Text that reads back as the same bits: 3, 0.1, -inf, nan, true, (0.0, 1.0),
 * or 0x7fc00001 for what has no decimal. */
void prn_element_print(prn_strbuf *b, prn_dtype t, const void *data,
                       int64_t index);

#endif
