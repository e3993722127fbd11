/* ONNX in: a model file becomes a module in the onnx dialect, and nothing of
 * it is lost.
 *
 * How ONNX maps to the IR (backends/onnx writes the same back):
 *
 * ModelProto      the module; its fields are module attributes ir_version,
 *                 producer_name, producer_version, domain, model_version,
 *                 doc_string, opset_import (list of {domain, version}),
 *                 metadata_props ({key = value}), training_info and
 *                 configuration (bytes), unknown (bytes).
 * GraphProto      onnx.graph. Inputs are block arguments, initializers are
 *                 onnx.initializer ops (`input` is the place of one that is a
 *                 graph input as well), the last op is onnx.return. What has
 *                 no place in the IR is kept in attributes, see below.
 * FunctionProto   onnx.function.
 * NodeProto       an op named after domain and op_type; the standard domain is
 *                 the dialect "onnx". Attributes keep their order. The node's
 *                 own fields follow them: $name, $doc_string, $domain (where
 *                 it is spelt "ai.onnx" or ""), $overload, $metadata_props,
 *                 $device_configurations, $attr_info, $regions, $unknown. An
 *                 ONNX attribute that begins with '$' gets a second one.
 * AttributeProto  the value. ref_attr_name becomes a SYMBOL. $attr_info has
 *                 {attribute = {type, doc_string, absent, ...}} where the value
 *                 alone does not say it.
 * Subgraphs       nested blocks, REGION attributes; $regions has the graph
 *                 attributes of each.
 * TensorProto     prn_tensor over spans of the file; `extra` keeps the rest.
 *
 * Graph attributes: name, doc_string, outputs (names; top-level graph only),
 * value_info (names, in order), inputs_info, outputs_info and values_info
 * ({name = {doc_string, metadata_props, type, type_proto, unknown}}, only
 * where there is something the value's type does not say),
 * quantization_annotation, metadata_props, unknown.
 *
 * Attributes called unknown, and training_info, configuration and
 * $device_configurations, hold protobuf fields as they were in the file. */
#ifndef PRN_FRONTENDS_ONNX_IMPORT_H
#define PRN_FRONTENDS_ONNX_IMPORT_H

#include "ir/op.h"

enum {
  PRN_ONNX_OLDEST_OPSET = 7,
  PRN_ONNX_NEWEST_OPSET = 28,
  PRN_ONNX_MAX_RANK = 255,
};

/* Reads the model at path ("-" is stdin). All errors are reported. */
PRN_NODISCARD prn_status prn_onnx_import(prn_ctx *ctx, const char *path,
                                         prn_module **out);
/* The same from an open file, which is retained. External data is looked for
 * in the folder of the file's path. */
PRN_NODISCARD prn_status prn_onnx_import_file(prn_ctx *ctx, prn_file *file,
                                              prn_module **out);

/* Reads a file with one serialised TensorProto, as ONNX test data sets have
 * them. */
PRN_NODISCARD prn_status prn_onnx_read_tensor(prn_ctx *ctx, const char *path,
                                              const prn_tensor **out);

/* The tensors in a value of some type, in the context's arena. */
typedef struct prn_onnx_value {
  const prn_tensor **at;
  size_t size;
  bool absent; /* an optional that holds nothing */
} prn_onnx_value;
/* The same for a value of this type: a TensorProto, SequenceProto or
 * OptionalProto. What holds other than tensors is refused. */
PRN_NODISCARD prn_status prn_onnx_read_value(prn_ctx *ctx, const char *path,
                                             const prn_type *type,
                                             prn_onnx_value *out);

/* The type that serialised TypeProto says; NULL (no report) when malformed. */
const prn_type *prn_onnx_type_from_bytes(prn_ctx *ctx, prn_str bytes);

#endif
