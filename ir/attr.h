/* Attributes: compile-time data on operations.
 *
 * Immutable and arena-allocated in the context. Scalars, strings, types and
 * lists compare by value with prn_attr_eq; tensors by identity of their bytes.
 *
 *   7                   INT       (int64)
 *   1.5  1e-05  nan     FLOAT     (float32, printed so that it reads back)
 *   "text"              STRING    (any bytes)
 *   true  unit          BOOL, UNIT
 *   [1, 2]  ints[]      INTS
 *   [1.0, 2.0] floats[] FLOATS
 *   ["a"]  strings[]    STRINGS
 *   list[attr, ...]     LIST      (of anything)
 *   {name = attr, ...}  DICT      (ordered)
 *   tensor<...>         TYPE
 *   dense<...> : type   TENSOR    (resources when large)
 *   region<0>           REGION    (the op's nested block by index)
 *   @name               SYMBOL
 *   dim<2*seq>          DIM
 *   bytes<"0a0b">       BYTES     (serialised, opaque) */
#ifndef PRN_IR_ATTR_H
#define PRN_IR_ATTR_H

#include "ir/tensor.h"

typedef enum prn_attr_kind {
  PRN_ATTR_UNIT,
  PRN_ATTR_BOOL,
  PRN_ATTR_INT,
  PRN_ATTR_FLOAT,
  PRN_ATTR_STRING,
  PRN_ATTR_INTS,
  PRN_ATTR_FLOATS,
  PRN_ATTR_STRINGS,
  PRN_ATTR_LIST,
  PRN_ATTR_DICT,
  PRN_ATTR_TYPE,
  PRN_ATTR_TENSOR,
  PRN_ATTR_REGION,
  PRN_ATTR_SYMBOL,
  PRN_ATTR_DIM,
  PRN_ATTR_BYTES,
} prn_attr_kind;

typedef struct prn_named_attr {
  prn_str name; /* interned */
  const prn_attr *value;
} prn_named_attr;

struct prn_attr {
  prn_attr_kind kind;
  uint32_t size; /* of the list members below */
  union {
    int64_t i; /* INT, BOOL, REGION */
    float f;
    prn_str s; /* STRING, SYMBOL, BYTES; interned */
    const int64_t *ints;
    const float *floats;
    const prn_str *strings;
    const prn_attr *const *list;
    const prn_named_attr *dict;
    const prn_type *type;
    const prn_tensor *tensor;
    prn_dim dim;
  };
};

const prn_attr *prn_attr_unit(prn_ctx *ctx);
const prn_attr *prn_attr_bool(prn_ctx *ctx, bool v);
const prn_attr *prn_attr_int(prn_ctx *ctx, int64_t v);
const prn_attr *prn_attr_float(prn_ctx *ctx, float v);
const prn_attr *prn_attr_string(prn_ctx *ctx, prn_str v);
const prn_attr *prn_attr_symbol(prn_ctx *ctx, prn_str v);
const prn_attr *prn_attr_bytes(prn_ctx *ctx, prn_str v);
const prn_attr *prn_attr_ints(prn_ctx *ctx, const int64_t *v, size_t n);
const prn_attr *prn_attr_floats(prn_ctx *ctx, const float *v, size_t n);
const prn_attr *prn_attr_strings(prn_ctx *ctx, const prn_str *v, size_t n);
const prn_attr *prn_attr_list(prn_ctx *ctx, const prn_attr *const *v, size_t n);
const prn_attr *prn_attr_dict(prn_ctx *ctx, const prn_named_attr *v, size_t n);
const prn_attr *prn_attr_type(prn_ctx *ctx, const prn_type *v);
const prn_attr *prn_attr_tensor(prn_ctx *ctx, const prn_tensor *v);
const prn_attr *prn_attr_region(prn_ctx *ctx, int64_t index);
const prn_attr *prn_attr_dim(prn_ctx *ctx, prn_dim v);

bool prn_attr_eq(const prn_attr *a, const prn_attr *b);
uint64_t prn_attr_hash(const prn_attr *a);
/* "int", "list of ints", ...: for messages. */
const char *prn_attr_kind_name(prn_attr_kind k);
/* Member of a DICT, or NULL; dict may be NULL. */
const prn_attr *prn_dict_get(const prn_attr *dict, const char *name);

#endif
