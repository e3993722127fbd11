/* Values in files of their own, as ONNX test data sets have them: a
 * TensorProto, SequenceProto or OptionalProto to tensors. */
#include "frontends/onnx/importer.h"

static prn_status refuse(importer *im) {
  return import_error(im, PRN_STR(""), "the value does not hold tensors");
}

static prn_status take_tensors(importer *im, Onnx__TensorProto *const *t,
                               size_t n, prn_onnx_value *out) {
  prn_status status = PRN_OK;
  out->at = PRN_ARENA_ARRAY(prn_ctx_arena(im->ctx), const prn_tensor *, n + 1);
  for (size_t i = 0; i < n; i++) {
    out->at[i] = import_tensor(im, t[i], PRN_STR("tensor"));
    if (!out->at[i]) status = PRN_FAIL;
  }
  out->size = n;
  return status;
}

static prn_status take_sequence(importer *im, const Onnx__SequenceProto *s,
                                prn_onnx_value *out) {
  if (s->n_sparse_tensor_values || s->n_sequence_values || s->n_map_values ||
      s->n_optional_values)
    return refuse(im);
  return take_tensors(im, s->tensor_values, s->n_tensor_values, out);
}

static prn_status take_optional(importer *im, const Onnx__OptionalProto *o,
                                bool sequence, prn_onnx_value *out) {
  if (o->sparse_tensor_value || o->map_value || o->optional_value ||
      (sequence ? (void *)o->tensor_value : (void *)o->sequence_value))
    return refuse(im);
  if (o->sequence_value) return take_sequence(im, o->sequence_value, out);
  out->absent = !o->tensor_value;
  return take_tensors(im, &o->tensor_value, out->absent ? 0 : 1, out);
}

static prn_status take(importer *im, const prn_type *type,
                       prn_onnx_value *out) {
  const ProtobufCMessage *root = im->wire.root;
  Onnx__TensorProto *t = (Onnx__TensorProto *)(uintptr_t)root;
  switch (type->kind) {
  case PRN_TYPE_SEQUENCE:
    return take_sequence(im, (const Onnx__SequenceProto *)root, out);
  case PRN_TYPE_OPTIONAL:
    return take_optional(im, (const Onnx__OptionalProto *)root,
                         type->elem->kind == PRN_TYPE_SEQUENCE, out);
  default:
    return take_tensors(im, &t, 1, out);
  }
}

static const ProtobufCMessageDescriptor *message_of(const prn_type *type) {
  switch (type->kind) {
  case PRN_TYPE_SEQUENCE:
    return &onnx__sequence_proto__descriptor;
  case PRN_TYPE_OPTIONAL:
    return &onnx__optional_proto__descriptor;
  default:
    return &onnx__tensor_proto__descriptor;
  }
}

prn_status prn_onnx_read_value(prn_ctx *ctx, const char *path,
                               const prn_type *type, prn_onnx_value *out) {
  prn_diag_sink *diags = prn_ctx_diags(ctx);
  importer im = {.ctx = ctx};
  *out = (prn_onnx_value){0};
  PRN_TRY(prn_file_open(diags, path, &im.file));
  im.loc.file = prn_intern_cstr(ctx, path).data;
  prn_status status = prn_onnx_wire_read(diags, path, prn_file_bytes(im.file),
                                         message_of(type), &im.wire);
  if (status == PRN_OK) {
    status = take(&im, type, out);
    import_close(&im);
  }
  prn_file_release(im.file);
  return status;
}

prn_status prn_onnx_read_tensor(prn_ctx *ctx, const char *path,
                                const prn_tensor **out) {
  prn_onnx_value v;
  *out = NULL;
  PRN_TRY(prn_onnx_read_value(ctx, path, prn_type_any(ctx), &v));
  *out = v.at[0];
  return PRN_OK;
}
