/* AttributeProto to prn_attr, and the $ attributes of a node beside it. */
#include "frontends/onnx/importer.h"

#include <string.h>

enum { NUM_TYPES = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTOS + 1 };

static const char *const type_names[NUM_TYPES] = {
    "UNDEFINED",      "FLOAT",      "INT",         "STRING",
    "TENSOR",         "GRAPH",      "FLOATS",      "INTS",
    "STRINGS",        "TENSORS",    "GRAPHS",      "SPARSE_TENSOR",
    "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS",
};

/* What the attribute code works on. */
typedef struct attr_env {
  importer *im;
  scope *s;
  prn_op *op;
  dict infos;   /* $attr_info */
  dict regions; /* $regions, by index; names unused */
} attr_env;

static int presence(const Onnx__AttributeProto *a, int type) {
  switch (type) {
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
    return a->has_f;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
    return a->has_i;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
    return a->has_s;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
    return a->t != NULL;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
    return a->g != NULL;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
    return a->n_floats > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
    return a->n_ints > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
    return a->n_strings > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS:
    return a->n_tensors > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPHS:
    return a->n_graphs > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR:
    return a->sparse_tensor != NULL;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSORS:
    return a->n_sparse_tensors > 0;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO:
    return a->tp != NULL;
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTOS:
    return a->n_type_protos > 0;
  default:
    return 0;
  }
}

/* The type, from the type field or, where old exporters left it out, from the
 * one value there is. 0 after a report. */
static int type_of(attr_env *e, const Onnx__AttributeProto *a) {
  int found = 0, others = 0;
  for (int i = 1; i < NUM_TYPES; i++) {
    if (!presence(a, i)) continue;
    if (found)
      others = i;
    else
      found = i;
  }
  int type = a->has_type ? a->type : 0;
  if (others) {
    (void)prn_op_error(e->op, "attribute '%s' holds %s and %s values", a->name,
                       type_names[found], type_names[others]);
    return 0;
  }
  if (type < 0 || type >= NUM_TYPES) {
    (void)prn_op_error(e->op,
                       "attribute '%s' has type %d, which does not exist",
                       a->name, type);
    return 0;
  }
  if (type && found && type != found) {
    (void)prn_op_error(e->op, "attribute '%s' is %s, but its value is %s",
                       a->name, type_names[type], type_names[found]);
    return 0;
  }
  if (!type && !found)
    (void)prn_op_error(e->op, "attribute '%s' has no type and no value",
                       a->name);
  return type ? type : found;
}

static const prn_attr *string_attr(prn_ctx *ctx, ProtobufCBinaryData s) {
  return prn_attr_string(ctx,
                         (prn_str){s.len ? (const char *)s.data : "", s.len});
}

static prn_str attr_subject(attr_env *e, const char *name) {
  prn_strbuf b = {0};
  prn_str node = prn_op_subject(e->op);
  prn_strbuf_fmt(&b, "%.*s: attribute '%s'", PRN_STR_ARG(node), name);
  prn_str s = prn_intern(e->im->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}

static const prn_attr *tensor_attr(attr_env *e, const char *name,
                                   const Onnx__TensorProto *t) {
  const prn_tensor *x = import_tensor(e->im, t, attr_subject(e, name));
  return x ? prn_attr_tensor(e->im->ctx, x) : NULL;
}

static const prn_attr *graph_attr(attr_env *e, const Onnx__GraphProto *g) {
  dict meta = {0};
  uint32_t index = e->op->num_blocks;
  prn_status status = import_graph(e->im, e->s, e->op, g, false, &meta);
  const prn_attr *m = dict_done(e->im, &meta);
  dict_add(&e->regions, "", m ? m : prn_attr_dict(e->im->ctx, NULL, 0));
  return status == PRN_OK ? prn_attr_region(e->im->ctx, index) : NULL;
}

/* Types of attributes never change, so one that the IR cannot say in full is
 * kept as it was. */
static const prn_attr *type_attr(attr_env *e, const Onnx__AttributeProto *a,
                                 prn_strbuf *raw) {
  bool plain = true;
  const prn_type *type = import_type(e->im->ctx, a->tp, &plain);
  if (!plain) raw_field(raw, 14, &a->tp->base);
  return prn_attr_type(e->im->ctx, type);
}

static const prn_attr *types_attr(attr_env *e, const Onnx__AttributeProto *a,
                                  prn_strbuf *raw) {
  bool plain = true;
  size_t n = a->n_type_protos;
  const prn_attr **v = prn_alloc(prn_array_size(sizeof *v, n));
  for (size_t i = 0; i < n; i++)
    v[i] = prn_attr_type(e->im->ctx,
                         import_type(e->im->ctx, a->type_protos[i], &plain));
  for (size_t i = 0; i < n && !plain; i++)
    raw_field(raw, 15, &a->type_protos[i]->base);
  const prn_attr *attr = prn_attr_list(e->im->ctx, v, n);
  prn_free(v);
  return attr;
}

static const prn_attr *strings_attr(prn_ctx *ctx,
                                    const Onnx__AttributeProto *a) {
  size_t n = a->n_strings;
  prn_str *v = prn_alloc(prn_array_size(sizeof *v, n));
  for (size_t i = 0; i < n; i++)
    v[i] = (prn_str){a->strings[i].len ? (const char *)a->strings[i].data : "",
                     a->strings[i].len};
  const prn_attr *attr = prn_attr_strings(ctx, v, n);
  prn_free(v);
  return attr;
}

/* Lists of tensors, sparse tensors or graphs. */
static const prn_attr *list_attr(attr_env *e, const Onnx__AttributeProto *a,
                                 size_t n, int type) {
  const prn_attr **v = prn_alloc(prn_array_size(sizeof *v, n));
  bool ok = true;
  for (size_t i = 0; i < n; i++) {
    if (type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS)
      v[i] = tensor_attr(e, a->name, a->tensors[i]);
    else if (type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPHS)
      v[i] = graph_attr(e, a->graphs[i]);
    else
      v[i] =
          import_sparse(e->im, a->sparse_tensors[i], attr_subject(e, a->name));
    ok = ok && v[i];
  }
  const prn_attr *attr = ok ? prn_attr_list(e->im->ctx, v, n) : NULL;
  prn_free(v);
  return attr;
}

static const prn_attr *absent_message(attr_env *e, const char *name, int type) {
  (void)prn_op_error(e->op, "attribute '%s' is %s, but has no value", name,
                     type_names[type]);
  return NULL;
}

static const prn_attr *convert(attr_env *e, const Onnx__AttributeProto *a,
                               int type, prn_strbuf *raw) {
  prn_ctx *ctx = e->im->ctx;
  switch (type) {
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
    return prn_attr_float(ctx, a->f);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
    return prn_attr_int(ctx, a->i);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
    return string_attr(ctx, a->s);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
    return prn_attr_floats(ctx, a->floats, a->n_floats);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
    return prn_attr_ints(ctx, a->ints, a->n_ints);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
    return strings_attr(ctx, a);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
    return a->t ? tensor_attr(e, a->name, a->t)
                : absent_message(e, a->name, type);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
    return a->g ? graph_attr(e, a->g) : absent_message(e, a->name, type);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR:
    return a->sparse_tensor ? import_sparse(e->im, a->sparse_tensor,
                                            attr_subject(e, a->name))
                            : absent_message(e, a->name, type);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO:
    return a->tp ? type_attr(e, a, raw) : absent_message(e, a->name, type);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTOS:
    return types_attr(e, a, raw);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS:
    return list_attr(e, a, a->n_tensors, type);
  case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPHS:
    return list_attr(e, a, a->n_graphs, type);
  default:
    return list_attr(e, a, a->n_sparse_tensors, type);
  }
}

/* Can export tell the type from the value alone? */
static bool type_is_implied(const prn_attr *v, int type) {
  if (v->kind == PRN_ATTR_SYMBOL) return false;
  return v->kind != PRN_ATTR_LIST || v->size > 0 ||
         type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSORS;
}

/* What the value does not say, for $attr_info. */
static const prn_attr *attr_info(attr_env *e, const Onnx__AttributeProto *a,
                                 int type, const prn_attr *value,
                                 prn_strbuf *types) {
  prn_ctx *ctx = e->im->ctx;
  dict info = {0};
  prn_strbuf raw = {0};
  bool scalar = type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT ||
                type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT ||
                type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
  if (!a->has_type)
    dict_add(&info, "type", prn_attr_int(ctx, -1));
  else if (a->type != type || !type_is_implied(value, type))
    dict_add(&info, "type", prn_attr_int(ctx, a->type));
  if (scalar && !presence(a, type) && value->kind != PRN_ATTR_SYMBOL)
    dict_add(&info, "absent", prn_attr_unit(ctx));
  dict_add_text(e->im, &info, "doc_string", a->doc_string);
  dict_add_bytes(e->im, &info, "type_proto", types);
  if (a->ref_attr_name && !*a->ref_attr_name) /* there, but empty */
    prn_strbuf_bytes(&raw, "\xaa\x01\x00", 3);
  raw_unknown(&raw, &a->base);
  dict_add_bytes(e->im, &info, "unknown", &raw);
  return dict_done(e->im, &info);
}

/* A reference to an attribute of the enclosing function. */
static const prn_attr *reference(attr_env *e, const Onnx__AttributeProto *a) {
  for (int i = 1; i < NUM_TYPES; i++) {
    if (!presence(a, i)) continue;
    (void)prn_op_error(e->op, "attribute '%s' refers to '%s' and holds a value",
                       a->name, a->ref_attr_name);
    return NULL;
  }
  return prn_attr_symbol(e->im->ctx, prn_str_from(a->ref_attr_name));
}

/* The IR's name of an ONNX attribute: names with '$' are the compiler's. */
static prn_str escaped(importer *im, const char *name) {
  prn_strbuf b = {0};
  if (*name != '$') return prn_str_from(name);
  prn_strbuf_fmt(&b, "$%s", name);
  prn_str s = prn_intern(im->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}

/* One attribute; NULL after a report. */
static const prn_attr *import_one(attr_env *e, const Onnx__AttributeProto *a,
                                  prn_str name) {
  prn_strbuf types = {0};
  const prn_attr *value = NULL;
  int type = 0;
  bool is_ref = a->ref_attr_name && *a->ref_attr_name;
  if (is_ref) {
    value = reference(e, a);
    type = a->type;
  } else {
    type = type_of(e, a);
    value = type ? convert(e, a, type, &types) : NULL;
  }
  if (value)
    dict_add_str(&e->infos, name, attr_info(e, a, type, value, &types));
  prn_strbuf_destroy(&types);
  return value;
}

static const prn_attr *dict_values(importer *im, dict *d) {
  if (d->size == 0) return NULL;
  const prn_attr **v = prn_alloc(prn_array_size(sizeof *v, d->size));
  bool any = false;
  for (size_t i = 0; i < d->size; i++) {
    v[i] = d->items[i].value;
    any |= v[i]->size > 0;
  }
  const prn_attr *a = any ? prn_attr_list(im->ctx, v, d->size) : NULL;
  prn_free(v);
  return a;
}

/* Attributes in order into `into`, then $attr_info and $regions. */
static prn_status import_into(attr_env *e, Onnx__AttributeProto **attrs,
                              size_t n, dict *into) {
  prn_map seen = {0};
  prn_status status = PRN_OK;
  for (size_t i = 0; i < n; i++) {
    if (!attrs[i]->name || !*attrs[i]->name) {
      status = prn_op_error(e->op, "attribute %zu has no name", i);
      continue;
    }
    prn_str name = escaped(e->im, attrs[i]->name);
    void **slot = prn_map_slot(&seen, name);
    if (*slot)
      status =
          prn_op_error(e->op, "attribute '%s' is given twice", attrs[i]->name);
    *slot = attrs[i];
    const prn_attr *value = import_one(e, attrs[i], name);
    if (!value) status = PRN_FAIL;
    dict_add_str(into, name, value);
  }
  prn_map_destroy(&seen);
  return status;
}

prn_status import_attributes(importer *im, scope *s, prn_op *op,
                             Onnx__AttributeProto **attrs, size_t n) {
  attr_env e = {.im = im, .s = s, .op = op};
  dict values = {0};
  prn_status status = import_into(&e, attrs, n, &values);
  for (size_t i = 0; i < values.size; i++)
    prn_op_set_attr(op, values.items[i].name.data, values.items[i].value);
  prn_op_set_attr(op, "$regions", dict_values(im, &e.regions));
  prn_op_set_attr(op, "$attr_info", dict_done(im, &e.infos));
  prn_free(e.regions.items);
  prn_free(values.items);
  return status;
}

prn_status import_defaults(importer *im, scope *s, prn_op *op,
                           Onnx__AttributeProto **attrs, size_t n) {
  attr_env e = {.im = im, .s = s, .op = op};
  dict values = {0};
  for (uint32_t i = 0; i < op->num_blocks; i++) /* the body */
    dict_add(&e.regions, "", prn_attr_dict(im->ctx, NULL, 0));
  prn_status status = import_into(&e, attrs, n, &values);
  prn_op_set_attr(op, "attribute_proto", dict_done(im, &values));
  prn_op_set_attr(op, "$regions", dict_values(im, &e.regions));
  prn_op_set_attr(op, "$attr_info", dict_done(im, &e.infos));
  prn_free(e.regions.items);
  return status;
}
