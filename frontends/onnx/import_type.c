/* TypeProto to prn_type. */
#include "frontends/onnx/importer.h"

#include <string.h>

/* Some exporters write "?" for every unknown size; it names none. */
static bool names_a_size(const char *symbol) {
  return *symbol && strcmp(symbol, "?") != 0;
}

static prn_dim import_dim(prn_ctx *ctx,
                          const Onnx__TensorShapeProto__Dimension *d,
                          bool *plain) {
  if (d->denotation || d->base.n_unknown_fields) *plain = false;
  switch (d->value_case) {
  case ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE:
    if (d->dim_value >= 0) return prn_dim_const(ctx, d->dim_value);
    break;
  case ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM:
    if (names_a_size(d->dim_param))
      return prn_dim_sym(ctx, prn_str_from(d->dim_param));
    break;
  default:
    return prn_dim_unknown(ctx);
  }
  *plain = false; /* a negative size, or a symbol without a name */
  return prn_dim_unknown(ctx);
}

static const prn_type *import_shaped(prn_ctx *ctx, bool sparse, int32_t elem,
                                     const Onnx__TensorShapeProto *shape,
                                     bool *plain) {
  prn_dtype dtype = (prn_dtype)elem;
  if (elem <= PRN_DTYPE_NONE || elem >= PRN_DTYPE_COUNT ||
      (shape && shape->n_dim > PRN_ONNX_MAX_RANK)) {
    *plain = false;
    return prn_type_any(ctx);
  }
  if (!shape)
    return sparse ? prn_type_sparse_tensor(ctx, dtype, -1, NULL)
                  : prn_type_unranked(ctx, dtype);
  prn_dim dims[PRN_ONNX_MAX_RANK];
  for (size_t i = 0; i < shape->n_dim; i++)
    dims[i] = import_dim(ctx, shape->dim[i], plain);
  if (shape->base.n_unknown_fields) *plain = false;
  int32_t rank = (int32_t)shape->n_dim;
  return sparse ? prn_type_sparse_tensor(ctx, dtype, rank, dims)
                : prn_type_tensor(ctx, dtype, rank, dims);
}

static const prn_type *import_map(prn_ctx *ctx, const Onnx__TypeProto__Map *m,
                                  bool *plain) {
  const prn_type *value = import_type(ctx, m->value_type, plain);
  bool known = m->key_type > PRN_DTYPE_NONE && m->key_type < PRN_DTYPE_COUNT;
  if (m->base.n_unknown_fields || !known) *plain = false;
  if (!known) return prn_type_any(ctx);
  return prn_type_container(ctx, PRN_TYPE_MAP, (prn_dtype)m->key_type, value);
}

const prn_type *import_type(prn_ctx *ctx, const Onnx__TypeProto *t,
                            bool *plain) {
  if (!t) return prn_type_any(ctx);
  if (t->denotation || t->base.n_unknown_fields) *plain = false;
  switch (t->value_case) {
  case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE: {
    const Onnx__TypeProto__Tensor *x = t->tensor_type;
    if (x->base.n_unknown_fields) *plain = false;
    return import_shaped(ctx, false, x->elem_type, x->shape, plain);
  }
  case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE: {
    const Onnx__TypeProto__SparseTensor *x = t->sparse_tensor_type;
    if (x->base.n_unknown_fields) *plain = false;
    return import_shaped(ctx, true, x->elem_type, x->shape, plain);
  }
  case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE: {
    const Onnx__TypeProto__Sequence *x = t->sequence_type;
    if (x->base.n_unknown_fields) *plain = false;
    return prn_type_container(ctx, PRN_TYPE_SEQUENCE, PRN_DTYPE_NONE,
                              import_type(ctx, x->elem_type, plain));
  }
  case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE: {
    const Onnx__TypeProto__Optional *x = t->optional_type;
    if (x->base.n_unknown_fields) *plain = false;
    return prn_type_container(ctx, PRN_TYPE_OPTIONAL, PRN_DTYPE_NONE,
                              import_type(ctx, x->elem_type, plain));
  }
  case ONNX__TYPE_PROTO__VALUE_MAP_TYPE:
    return import_map(ctx, t->map_type, plain);
  default: /* opaque, or nothing at all */
    *plain = false;
    return prn_type_any(ctx);
  }
}

static void ignore(void *user, const prn_diag *d) {
  (void)user;
  (void)d;
}

const prn_type *prn_onnx_type_from_bytes(prn_ctx *ctx, prn_str bytes) {
  prn_diag_sink quiet = {.handler = ignore};
  prn_onnx_wire wire;
  const prn_type *type = NULL;
  bool plain = true;
  if (prn_onnx_wire_read(&quiet, "type_proto", bytes,
                         &onnx__type_proto__descriptor, &wire) == PRN_OK) {
    type = import_type(ctx, (const Onnx__TypeProto *)wire.root, &plain);
    prn_onnx_wire_destroy(&wire);
  }
  prn_diag_sink_destroy(&quiet);
  return type;
}
