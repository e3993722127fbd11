/* Inside the exporter: what its files share. */
#ifndef PRN_BACKENDS_ONNX_EXPORTER_H
#define PRN_BACKENDS_ONNX_EXPORTER_H

#include "backends/onnx/encode.h"
#include "backends/onnx/export.h"

/* One tensor's place in an external file. */
typedef struct placed {
  const prn_tensor *tensor;
  size_t file; /* index into external.files */
  uint64_t offset, size;
  bool moved; /* not where the model that was read had it */
  bool alias; /* the same bytes as an earlier one */
} placed;

typedef struct external_file {
  prn_str name; /* beside the model */
  prn_out *out;
} external_file;

typedef struct external {
  placed *items;
  size_t num, cap;
  prn_ptrmap index; /* tensor -> item number + 1 */
  external_file *files;
  size_t num_files, cap_files;
} external;

/* What an onnx.return gives; parallel to its operands. */
typedef struct returned {
  prn_str name;
  bool identity; /* name is not the operand's: an Identity node makes it */
} returned;

typedef struct exporter {
  prn_ctx *ctx;
  prn_module *module;
  const char *path;
  prn_onnx_data data;
  bool failed;
  prn_encoder enc;
  /* export_names.c */
  prn_ptrmap names;   /* value -> prn_str *, where it is not value->name */
  prn_ptrmap returns; /* onnx.return op -> returned * */
  prn_map taken;      /* every name of the module, once one must be made up */
  external external;
} exporter;

prn_str export_name(const exporter *x, const prn_value *v);
/* Settles the name of every value. */
void export_plan_names(exporter *x);

/* Settles which tensors go where outside. */
void export_plan_external(exporter *x);
/* Opens, writes and closes the external files; commit renames them. */
PRN_NODISCARD prn_status export_write_external(exporter *x);
/* External files and then the model: it never lacks its data, and what fails
 * before the last of them is written leaves the old ones. */
PRN_NODISCARD prn_status export_commit(exporter *x, prn_out *model);
void export_abandon_external(exporter *x);
/* Where t is outside, or NULL. */
const placed *export_place(const exporter *x, const prn_tensor *t);

/* The elements' bytes, mask applied, in pieces. */
void export_tensor_bytes(const prn_tensor *t,
                         void (*put)(void *user, const void *data, size_t size),
                         void *user);
/* TensorProto as field; name replaces the tensor's own unless data is NULL. */
void export_tensor(exporter *x, unsigned field, const prn_tensor *t,
                   prn_str name);
/* SparseTensorProto of the members values, indices, dims, unknown. */
void export_sparse(exporter *x, unsigned field, const prn_attr *dict,
                   prn_str name);
/* TypeProto as field; nothing for `any`. */
void export_type(exporter *x, unsigned field, const prn_type *t);
/* StringStringEntryProtos; NULL is none. */
void export_props(exporter *x, unsigned field, const prn_attr *dict);
/* A string member of dict as field, when it is there. */
void export_text(exporter *x, unsigned field, const prn_attr *attr);
/* A BYTES attribute as it is. */
void export_unknown(exporter *x, const prn_attr *bytes);
void export_attributes(exporter *x, const prn_op *op, unsigned field);
void export_attribute(exporter *x, const prn_op *op, unsigned field,
                      prn_str name, const prn_attr *value,
                      const prn_attr *info);
/* GraphProto of a block; meta finds its attributes. */
void export_graph(exporter *x, unsigned field, const prn_op *op,
                  uint32_t region);
void export_function(exporter *x, unsigned field, const prn_op *op);
/* All of ModelProto; the outermost message has no length of its own. */
void export_model(exporter *x);
/* Is op written as a node? */
bool export_is_node(const prn_op *op);

#endif
