/* Inside the importer: what its files share. */
#ifndef PRN_FRONTENDS_ONNX_IMPORTER_H
#define PRN_FRONTENDS_ONNX_IMPORTER_H

#include "frontends/onnx/import.h"
#include "frontends/onnx/wire.h"

typedef struct importer {
  prn_ctx *ctx;
  prn_module *module; /* NULL while reading a lone tensor */
  prn_file *file;
  prn_loc loc;
  prn_onnx_wire wire;
  prn_map external; /* location -> prn_file, opened once */
} importer;

/* Frees what reading took; what was read stays. */
void import_close(importer *im);

/* Names visible in a graph. */
typedef struct scope {
  struct scope *parent; /* NULL for graphs and functions */
  prn_block *block;
  prn_map names; /* -> prn_value */
  prn_map types; /* -> Onnx__ValueInfoProto, for values nodes produce */
  bool unsorted; /* some op uses a value of a later one */
} scope;

/* A dictionary that is being built; in the context's arena once done. */
typedef struct dict {
  prn_named_attr *items;
  size_t size, cap;
} dict;
void dict_add(dict *d, const char *name, const prn_attr *value);
void dict_add_str(dict *d, prn_str name, const prn_attr *value);
/* Adds a STRING unless value is NULL. */
void dict_add_text(importer *im, dict *d, const char *name, const char *value);
void dict_add_bytes(importer *im, dict *d, const char *name, prn_strbuf *bytes);
/* NULL when empty. Frees the items. */
const prn_attr *dict_done(importer *im, dict *d);

/* Appends the unknown fields of message. */
void raw_unknown(prn_strbuf *b, const ProtobufCMessage *message);
/* Appends message as field `number`. */
void raw_field(prn_strbuf *b, unsigned number, const ProtobufCMessage *message);
/* {key = value}; NULL when there are none, or when a dictionary cannot say it:
 * then they went to raw as field `number`. */
const prn_attr *import_props(importer *im, Onnx__StringStringEntryProto **props,
                             size_t n, unsigned number, prn_strbuf *raw);

/* Always PRN_FAIL. */
PRN_PRINTF(3, 4)
prn_status import_error(importer *im, prn_str subject, const char *fmt, ...);
/* "WHAT 'name'", interned. */
prn_str import_subject(importer *im, const char *what, const char *name);

/* NULL is an absent TypeProto. *out_plain: the type says all there was. */
const prn_type *import_type(prn_ctx *ctx, const Onnx__TypeProto *t,
                            bool *out_plain);
/* NULL after a report. */
const prn_tensor *import_tensor(importer *im, const Onnx__TensorProto *t,
                                prn_str subject);
/* {values, indices, dims, unknown}, or NULL after a report. */
const prn_attr *import_sparse(importer *im, const Onnx__SparseTensorProto *t,
                              prn_str subject);
/* Bytes of external data of t. */
PRN_NODISCARD prn_status import_external(importer *im,
                                         const Onnx__TensorProto *t,
                                         prn_str subject, size_t size,
                                         const prn_blob **out);
/* All attributes of a node into op; subgraphs see s. */
PRN_NODISCARD prn_status import_attributes(importer *im, scope *s, prn_op *op,
                                           Onnx__AttributeProto **attrs,
                                           size_t n);
/* Default values of a function's attributes, as one DICT. */
PRN_NODISCARD prn_status import_defaults(importer *im, scope *s, prn_op *op,
                                         Onnx__AttributeProto **attrs,
                                         size_t n);
/* A graph into a new block of op. Its attributes are added to meta. */
PRN_NODISCARD prn_status import_graph(importer *im, scope *parent, prn_op *op,
                                      const Onnx__GraphProto *g, bool top,
                                      dict *meta);
PRN_NODISCARD prn_status import_function(importer *im,
                                         const Onnx__FunctionProto *f);
/* List of {domain, version}; reports what cannot be, and returns it anyway. */
const prn_attr *import_opsets(importer *im, prn_str subject,
                              Onnx__OperatorSetIdProto **opsets, size_t n);
/* Puts the ops of a block into an order that defines before use. */
PRN_NODISCARD prn_status import_sort(prn_block *b);
/* Reports functions that call themselves, imports missing for a domain, and
 * opsets outside what this compiler reads. */
PRN_NODISCARD prn_status import_check(importer *im);

#endif
