/* prn_attr to AttributeProto. */
#include <string.h>

#include "backends/onnx/exporter.h"
#include "frontends/onnx/proto/onnx.pb-c.h"

#define TYPE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name

static bool is_sparse(const prn_attr *a) {
  const prn_attr *values = prn_dict_get(a, "values");
  const prn_attr *indices = prn_dict_get(a, "indices");
  const prn_attr *dims = prn_dict_get(a, "dims");
  return values && values->kind == PRN_ATTR_TENSOR && indices &&
         indices->kind == PRN_ATTR_TENSOR && dims &&
         dims->kind == PRN_ATTR_INTS;
}

/* The type of a list from its first item. */
static int list_type(const prn_attr *a) {
  const prn_attr_kind first = a->size ? a->list[0]->kind : PRN_ATTR_TENSOR;
  for (uint32_t i = 0; i < a->size; i++)
    if (a->list[i]->kind != first) return 0;
  switch (first) {
  case PRN_ATTR_TENSOR:
    return TYPE(TENSORS);
  case PRN_ATTR_REGION:
    return TYPE(GRAPHS);
  case PRN_ATTR_TYPE:
    return TYPE(TYPE_PROTOS);
  case PRN_ATTR_DICT:
    for (uint32_t i = 0; i < a->size; i++)
      if (!is_sparse(a->list[i])) return 0;
    return TYPE(SPARSE_TENSORS);
  default:
    return 0;
  }
}

/* The AttributeProto.type of a value; 0 when ONNX has none for it. */
static int type_of(const prn_attr *a) {
  switch (a->kind) {
  case PRN_ATTR_BOOL:
  case PRN_ATTR_INT:
    return TYPE(INT);
  case PRN_ATTR_FLOAT:
    return TYPE(FLOAT);
  case PRN_ATTR_STRING:
    return TYPE(STRING);
  case PRN_ATTR_INTS:
    return TYPE(INTS);
  case PRN_ATTR_FLOATS:
    return TYPE(FLOATS);
  case PRN_ATTR_STRINGS:
    return TYPE(STRINGS);
  case PRN_ATTR_TENSOR:
    return TYPE(TENSOR);
  case PRN_ATTR_REGION:
    return TYPE(GRAPH);
  case PRN_ATTR_TYPE:
    return TYPE(TYPE_PROTO);
  case PRN_ATTR_DICT:
    return is_sparse(a) ? TYPE(SPARSE_TENSOR) : 0;
  case PRN_ATTR_LIST:
    return list_type(a);
  default:
    return 0;
  }
}

static void region(exporter *x, unsigned field, const prn_op *op,
                   const prn_attr *a) {
  if (a->i >= 0 && a->i < (int64_t)op->num_blocks)
    export_graph(x, field, op, (uint32_t)a->i);
}

/* Value fields below 13 and their lists, in order of their numbers. */
static void low_fields(exporter *x, const prn_op *op, const prn_attr *a,
                       int type) {
  for (uint32_t i = 0; type == TYPE(FLOATS) && i < a->size; i++)
    prn_enc_float(&x->enc, 7, a->floats[i]);
  for (uint32_t i = 0; type == TYPE(INTS) && i < a->size; i++)
    prn_enc_int(&x->enc, 8, a->ints[i]);
  for (uint32_t i = 0; type == TYPE(STRINGS) && i < a->size; i++)
    prn_enc_str(&x->enc, 9, a->strings[i]);
  for (uint32_t i = 0; type == TYPE(TENSORS) && i < a->size; i++)
    export_tensor(x, 10, a->list[i]->tensor, (prn_str){NULL, 0});
  for (uint32_t i = 0; type == TYPE(GRAPHS) && i < a->size; i++)
    region(x, 11, op, a->list[i]);
}

static void scalar_field(exporter *x, const prn_op *op, const prn_attr *a,
                         int type) {
  if (type == TYPE(FLOAT))
    prn_enc_float(&x->enc, 2, a->f);
  else if (type == TYPE(INT))
    prn_enc_int(&x->enc, 3, a->i);
  else if (type == TYPE(STRING))
    prn_enc_str(&x->enc, 4, a->s);
  else if (type == TYPE(TENSOR))
    export_tensor(x, 5, a->tensor, (prn_str){NULL, 0});
  else if (type == TYPE(GRAPH))
    region(x, 6, op, a);
}

static void types_fields(exporter *x, const prn_attr *a, int type,
                         const prn_attr *info) {
  const prn_attr *raw = prn_dict_get(info, "type_proto");
  if (raw) {
    export_unknown(x, raw);
  } else if (type == TYPE(TYPE_PROTO)) {
    export_type(x, 14, a->type);
  } else {
    for (uint32_t i = 0; type == TYPE(TYPE_PROTOS) && i < a->size; i++)
      export_type(x, 15, a->list[i]->type);
  }
}

/* Attributes that begin with '$' are the compiler's, unless escaped. */
static prn_str onnx_name(prn_str name) {
  if (!prn_str_starts(name, "$")) return name;
  return (prn_str){name.data + 1, name.size - 1};
}

static bool is_ours(prn_str name) {
  return prn_str_starts(name, "$") && !prn_str_starts(name, "$$");
}

void export_attribute(exporter *x, const prn_op *op, unsigned field,
                      prn_str name, const prn_attr *a, const prn_attr *info) {
  bool is_ref = a->kind == PRN_ATTR_SYMBOL;
  int type = is_ref ? 0 : type_of(a);
  const prn_attr *said = prn_dict_get(info, "type");
  if (!type && !is_ref && !(said && a->kind == PRN_ATTR_LIST)) {
    if (!x->enc.out) {
      x->failed = true;
      (void)prn_op_error(op, "attribute '%.*s' is a %s, which ONNX has not",
                         PRN_STR_ARG(name), prn_attr_kind_name(a->kind));
    }
    return;
  }
  size_t mark = prn_enc_begin(&x->enc, field);
  prn_enc_str(&x->enc, 1, onnx_name(name));
  if (!prn_dict_get(info, "absent")) scalar_field(x, op, a, type);
  low_fields(x, op, a, type);
  export_text(x, 13, prn_dict_get(info, "doc_string"));
  types_fields(x, a, type, info);
  if (said && said->kind == PRN_ATTR_INT) {
    if (said->i >= 0) prn_enc_int(&x->enc, 20, said->i);
  } else if (type) {
    prn_enc_int(&x->enc, 20, type);
  }
  if (is_ref) prn_enc_str(&x->enc, 21, a->s);
  if (type == TYPE(SPARSE_TENSOR)) export_sparse(x, 22, a, (prn_str){NULL, 0});
  for (uint32_t i = 0; type == TYPE(SPARSE_TENSORS) && i < a->size; i++)
    export_sparse(x, 23, a->list[i], (prn_str){NULL, 0});
  export_unknown(x, prn_dict_get(info, "unknown"));
  prn_enc_end(&x->enc, mark);
}

void export_attributes(exporter *x, const prn_op *op, unsigned field) {
  const prn_attr *infos = prn_op_attr(op, "$attr_info");
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    prn_str name = op->attrs[i].name;
    if (is_ours(name)) continue;
    const prn_attr *info = infos ? prn_dict_get(infos, name.data) : NULL;
    export_attribute(x, op, field, name, op->attrs[i].value, info);
  }
}
