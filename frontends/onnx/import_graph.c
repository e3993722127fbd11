/* GraphProto and FunctionProto to blocks.
 *
 * First every name is defined (inputs, initializers, node outputs), then nodes
 * are filled in, so that a node may name a value of a later one; such blocks
 * are sorted at the end, and cycles found. */
#include "frontends/onnx/importer.h"

#include <string.h>

/* One of the three lists of ValueInfoProtos: what their values' types lack. */
typedef struct info_list {
  dict infos;
  prn_map seen;
} info_list;

static const prn_type *vi_type(importer *im, const Onnx__ValueInfoProto *v,
                               bool *plain) {
  *plain = true;
  return import_type(im->ctx, v ? v->type : NULL, plain);
}

/* Records what `v` says beyond the type `of` that its value has; NULL: there
 * is no such value. */
static void add_info(importer *im, info_list *l, const Onnx__ValueInfoProto *v,
                     const prn_type *of) {
  dict info = {0};
  prn_strbuf raw = {0}, types = {0};
  bool plain;
  const prn_type *type = vi_type(im, v, &plain);
  prn_str name = prn_str_from(v->name);
  if (type != of) dict_add(&info, "type", prn_attr_type(im->ctx, type));
  if (!plain) {
    raw_field(&types, 2, &v->type->base);
    dict_add_bytes(im, &info, "type_proto", &types);
  }
  dict_add_text(im, &info, "doc_string", v->doc_string);
  dict_add(&info, "metadata_props",
           import_props(im, v->metadata_props, v->n_metadata_props, 4, &raw));
  raw_unknown(&raw, &v->base);
  dict_add_bytes(im, &info, "unknown", &raw);
  bool first = !prn_map_find(&l->seen, name);
  (void)prn_map_slot(&l->seen, name);
  const prn_attr *a = dict_done(im, &info);
  if (first) dict_add_str(&l->infos, name, a);
}

static void finish_infos(importer *im, dict *meta, const char *name,
                         info_list *l) {
  dict_add(meta, name, dict_done(im, &l->infos));
  prn_map_destroy(&l->seen);
}

/* ---- names ---- */

static prn_value *lookup(const scope *s, prn_str name) {
  for (; s; s = s->parent) {
    prn_value *v = prn_map_get(&s->names, name);
    if (v) return v;
  }
  return NULL;
}

static prn_str where_defined(importer *im, const prn_value *v) {
  if (!v->def) return import_subject(im, "input", v->name.data);
  if (prn_op_is(v->def, PRN_OP_onnx_initializer) ||
      prn_op_is(v->def, PRN_OP_onnx_sparse_initializer))
    return import_subject(im, "initializer", v->name.data);
  return prn_op_subject(v->def);
}

static prn_status define(importer *im, scope *s, prn_value *v) {
  void **slot = prn_map_slot(&s->names, v->name);
  if (!*slot) {
    *slot = v;
    return PRN_OK;
  }
  prn_str first = where_defined(im, *slot), second = where_defined(im, v);
  return import_error(im, second, "'%.*s' is already defined by %.*s",
                      PRN_STR_ARG(v->name), PRN_STR_ARG(first));
}

static prn_status define_input(importer *im, scope *s, const char *name,
                               const prn_type *type) {
  if (!name || !*name)
    return import_error(im, (prn_str){"graph", 5}, "an input has no name");
  prn_value *v = prn_block_add_arg(s->block, type, prn_str_from(name));
  return define(im, s, v);
}

/* The type a graph says that value has: as an output, or by value_info. */
static const prn_type *declared(importer *im, scope *s, prn_str name) {
  bool plain;
  return vi_type(im, prn_map_get(&s->types, name), &plain);
}

static void declare(scope *s, Onnx__ValueInfoProto **infos, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (!infos[i]->name) continue;
    void **slot = prn_map_slot(&s->types, prn_str_from(infos[i]->name));
    if (!*slot) *slot = infos[i];
  }
}

/* ---- initializers ---- */

static prn_op *add_constant(importer *im, scope *s, prn_opcode code,
                            const char *name, const prn_type *type) {
  prn_op *op = prn_op_create(im->module, prn_opname_code(im->ctx, code),
                             im->loc, NULL, 0, &type, 1);
  op->results[0].name = prn_intern(im->ctx, prn_str_from(name));
  prn_block_append(s->block, op);
  return op;
}

static prn_status add_initializer(importer *im, scope *s,
                                  const Onnx__TensorProto *t) {
  prn_str subject = import_subject(im, "initializer", t->name);
  if (!t->name || !*t->name) return import_error(im, subject, "it has no name");
  const prn_tensor *x = import_tensor(im, t, subject);
  const prn_type *type = x ? x->type : prn_type_any(im->ctx);
  prn_op *op = add_constant(im, s, PRN_OP_onnx_initializer, t->name, type);
  prn_status status = define(im, s, &op->results[0]);
  if (!x) return PRN_FAIL;
  prn_op_set_attr(op, "value", prn_attr_tensor(im->ctx, x));
  return status;
}

static prn_status add_sparse(importer *im, scope *s,
                             const Onnx__SparseTensorProto *t) {
  const char *name = t->values ? t->values->name : NULL;
  prn_str subject = import_subject(im, "sparse initializer", name);
  if (!name || !*name) return import_error(im, subject, "it has no name");
  const prn_attr *x = import_sparse(im, t, subject);
  const prn_type *type = prn_type_any(im->ctx);
  if (x)
    type =
        prn_type_static(im->ctx, prn_dict_get(x, "values")->tensor->type->dtype,
                        (int32_t)t->n_dims, t->dims);
  prn_op *op = add_constant(im, s, PRN_OP_onnx_sparse_initializer, name, type);
  prn_status status = define(im, s, &op->results[0]);
  for (uint32_t i = 0; x && i < x->size; i++)
    prn_op_set_attr(op, x->dict[i].name.data, x->dict[i].value);
  return x ? status : PRN_FAIL;
}

/* Inputs that no initializer has the name of become arguments; the others'
 * initializers remember the place. */
static prn_status add_inputs(importer *im, scope *s,
                             const Onnx__GraphProto *g) {
  prn_status status = PRN_OK;
  prn_map constants = {0};
  for (size_t i = 0; i < g->n_initializer; i++)
    if (g->initializer[i]->name)
      *prn_map_slot(&constants, prn_str_from(g->initializer[i]->name)) = s;
  for (size_t i = 0; i < g->n_sparse_initializer; i++)
    if (g->sparse_initializer[i]->values &&
        g->sparse_initializer[i]->values->name)
      *prn_map_slot(&constants,
                    prn_str_from(g->sparse_initializer[i]->values->name)) = s;
  for (size_t i = 0; i < g->n_input; i++) {
    bool plain;
    const char *name = g->input[i]->name;
    if (name && prn_map_find(&constants, prn_str_from(name))) continue;
    if (define_input(im, s, name, vi_type(im, g->input[i], &plain)) != PRN_OK)
      status = PRN_FAIL;
  }
  prn_map_destroy(&constants);
  return status;
}

static prn_status add_initializers(importer *im, scope *s,
                                   const Onnx__GraphProto *g) {
  prn_status status = PRN_OK;
  for (size_t i = 0; i < g->n_initializer; i++)
    if (add_initializer(im, s, g->initializer[i]) != PRN_OK) status = PRN_FAIL;
  for (size_t i = 0; i < g->n_sparse_initializer; i++)
    if (add_sparse(im, s, g->sparse_initializer[i]) != PRN_OK)
      status = PRN_FAIL;
  for (size_t i = 0; i < g->n_input; i++) {
    prn_value *v = prn_map_get(&s->names, prn_str_from(g->input[i]->name));
    if (!v || !v->def) continue;
    if (prn_op_attr(v->def, "input"))
      status = import_error(im, import_subject(im, "input", g->input[i]->name),
                            "it is given twice");
    prn_op_set_attr(v->def, "input", prn_attr_int(im->ctx, (int64_t)i));
  }
  return status;
}

/* ---- nodes ---- */

/* Foreign domains that look like dialects of ours are marked. */
static prn_str dialect_of(importer *im, const char *domain) {
  static const char *const ours[] = {"onnx", "nn", "mem"};
  bool mark = *domain == '$';
  if (!*domain || strcmp(domain, "ai.onnx") == 0) return PRN_STR("onnx");
  for (size_t i = 0; i < PRN_COUNT(ours); i++)
    mark |= strcmp(domain, ours[i]) == 0;
  if (!mark) return prn_str_from(domain);
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "$%s", domain);
  prn_str s = prn_intern(im->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}

static void set_text(importer *im, prn_op *op, const char *name,
                     const char *value) {
  if (value)
    prn_op_set_attr(op, name, prn_attr_string(im->ctx, prn_str_from(value)));
}

static void set_bytes(importer *im, prn_op *op, const char *name,
                      prn_strbuf *b) {
  if (b->size)
    prn_op_set_attr(op, name, prn_attr_bytes(im->ctx, prn_strbuf_view(b)));
  prn_strbuf_destroy(b);
}

static void node_fields(importer *im, prn_op *op, const Onnx__NodeProto *n) {
  prn_strbuf raw = {0}, devices = {0};
  set_text(im, op, "$name", n->name);
  set_text(im, op, "$doc_string", n->doc_string);
  if (n->domain && (!*n->domain || strcmp(n->domain, "ai.onnx") == 0))
    set_text(im, op, "$domain", n->domain);
  set_text(im, op, "$overload", n->overload);
  prn_op_set_attr(
      op, "$metadata_props",
      import_props(im, n->metadata_props, n->n_metadata_props, 9, &raw));
  for (size_t i = 0; i < n->n_device_configurations; i++)
    raw_field(&devices, 10, &n->device_configurations[i]->base);
  set_bytes(im, op, "$device_configurations", &devices);
  raw_unknown(&raw, &n->base);
  set_bytes(im, op, "$unknown", &raw);
}

/* An op for the node with its results, not yet its operands. */
static prn_op *add_node(importer *im, scope *s, const Onnx__NodeProto *n,
                        prn_status *status) {
  prn_str dialect = dialect_of(im, n->domain ? n->domain : "");
  const prn_opname *name =
      prn_opname_get(im->ctx, dialect, prn_str_from(n->op_type));
  uint32_t ins = (uint32_t)n->n_input, outs = (uint32_t)n->n_output;
  prn_value **none = PRN_ARENA_ARRAY(&im->module->arena, prn_value *, ins);
  const prn_type **types = prn_alloc(prn_array_size(sizeof *types, outs));
  for (uint32_t i = 0; i < outs; i++)
    types[i] = *n->output[i] ? declared(im, s, prn_str_from(n->output[i]))
                             : prn_type_none(im->ctx);
  prn_op *op = prn_op_create(im->module, name, im->loc, none, ins, types, outs);
  prn_free(types);
  prn_block_append(s->block, op);
  for (uint32_t i = 0; i < outs; i++)
    op->results[i].name = prn_intern(im->ctx, prn_str_from(n->output[i]));
  node_fields(im, op, n);
  if (!n->op_type || !*n->op_type)
    *status = prn_op_error(op, "the node has no op_type");
  for (uint32_t i = 0; i < outs; i++)
    if (*n->output[i] && define(im, s, &op->results[i]) != PRN_OK)
      *status = PRN_FAIL;
  return op;
}

/* Remembers when v comes from an op that is not before the user. */
static void note_order(scope *s, prn_op *op, const prn_value *v) {
  if (!v->def) return;
  for (; s; s = s->parent) {
    if (v->def->block == s->block) {
      if (v->def->order >= op->order) s->unsorted = true;
      return;
    }
    op = s->block->parent;
  }
}

static prn_status fill_node(importer *im, scope *s, prn_op *op,
                            const Onnx__NodeProto *n) {
  prn_status status = PRN_OK;
  for (uint32_t i = 0; i < op->num_operands; i++) {
    if (!*n->input[i]) continue;
    prn_value *v = lookup(s, prn_str_from(n->input[i]));
    if (v) {
      prn_op_set_operand(op, i, v);
      note_order(s, op, v);
      continue;
    }
    status = prn_op_error(op,
                          "input %u, '%s', is no graph input, initializer or "
                          "output of a node",
                          (unsigned)i, n->input[i]);
  }
  if (import_attributes(im, s, op, n->attribute, n->n_attribute) != PRN_OK)
    status = PRN_FAIL;
  return status;
}

static prn_status add_nodes(importer *im, scope *s, Onnx__NodeProto **nodes,
                            size_t n) {
  prn_status status = PRN_OK;
  prn_op **ops = prn_alloc(prn_array_size(sizeof *ops, n));
  for (size_t i = 0; i < n; i++)
    ops[i] = add_node(im, s, nodes[i], &status);
  for (size_t i = 0; i < n; i++)
    if (fill_node(im, s, ops[i], nodes[i]) != PRN_OK) status = PRN_FAIL;
  prn_free(ops);
  if (s->unsorted && import_sort(s->block) != PRN_OK) status = PRN_FAIL;
  return status;
}

static prn_status add_return(importer *im, scope *s, const prn_str *names,
                             size_t n) {
  prn_status status = PRN_OK;
  prn_op *op =
      prn_op_create(im->module, prn_opname_code(im->ctx, PRN_OP_onnx_return),
                    im->loc, NULL, 0, NULL, 0);
  for (size_t i = 0; i < n; i++) {
    prn_value *v = names[i].size ? lookup(s, names[i]) : NULL;
    prn_str subject = import_subject(im, "output", names[i].data);
    if (v)
      prn_op_add_operand(op, v);
    else if (names[i].size)
      status = import_error(im, subject,
                            "no node, input or initializer "
                            "defines it");
    else
      status = import_error(im, subject, "output %zu has no name", i);
  }
  prn_block_append(s->block, op);
  return status;
}

/* ---- graphs ---- */

static const prn_attr *annotations(importer *im, const Onnx__GraphProto *g,
                                   prn_strbuf *raw) {
  size_t n = g->n_quantization_annotation;
  prn_strbuf odd = {0};
  const prn_attr **v = prn_alloc(prn_array_size(sizeof *v, n));
  bool plain = true;
  for (size_t i = 0; i < n; i++) {
    const Onnx__TensorAnnotation *a = g->quantization_annotation[i];
    dict d = {0};
    dict_add_text(im, &d, "tensor_name", a->tensor_name);
    dict_add(&d, "quant_parameter_tensor_names",
             import_props(im, a->quant_parameter_tensor_names,
                          a->n_quant_parameter_tensor_names, 2, &odd));
    v[i] = dict_done(im, &d);
    plain = plain && v[i] && !a->base.n_unknown_fields;
  }
  plain = plain && odd.size == 0;
  for (size_t i = 0; i < n && !plain; i++)
    raw_field(raw, 14, &g->quantization_annotation[i]->base);
  const prn_attr *list = plain && n ? prn_attr_list(im->ctx, v, n) : NULL;
  prn_strbuf_destroy(&odd);
  prn_free(v);
  return list;
}

/* What the lists of ValueInfoProtos say beyond types; and their order. */
static void value_infos(importer *im, scope *s, Onnx__ValueInfoProto **infos,
                        size_t n, bool ordered, const char *key, dict *meta) {
  info_list list = {0};
  prn_str *names = prn_alloc(prn_array_size(sizeof *names, n));
  for (size_t i = 0; i < n; i++) {
    const prn_value *v = prn_map_get(&s->names, prn_str_from(infos[i]->name));
    names[i] = prn_str_from(infos[i]->name);
    add_info(im, &list, infos[i], v ? v->type : NULL);
  }
  if (ordered && n)
    dict_add(meta, "value_info", prn_attr_strings(im->ctx, names, n));
  finish_infos(im, meta, key, &list);
  prn_free(names);
}

static void graph_fields(importer *im, scope *s, const Onnx__GraphProto *g,
                         dict *meta) {
  prn_strbuf raw = {0};
  dict_add_text(im, meta, "name", g->name);
  dict_add_text(im, meta, "doc_string", g->doc_string);
  value_infos(im, s, g->input, g->n_input, false, "inputs_info", meta);
  value_infos(im, s, g->output, g->n_output, false, "outputs_info", meta);
  value_infos(im, s, g->value_info, g->n_value_info, true, "values_info", meta);
  dict_add(meta, "quantization_annotation", annotations(im, g, &raw));
  dict_add(meta, "metadata_props",
           import_props(im, g->metadata_props, g->n_metadata_props, 16, &raw));
  raw_unknown(&raw, &g->base);
  dict_add_bytes(im, meta, "unknown", &raw);
}

static void close_scope(scope *s) {
  prn_map_destroy(&s->names);
  prn_map_destroy(&s->types);
}

prn_status import_graph(importer *im, scope *parent, prn_op *op,
                        const Onnx__GraphProto *g, bool top, dict *meta) {
  scope s = {.parent = parent, .block = prn_block_create(im->module)};
  prn_status status = PRN_OK;
  prn_op_add_block(op, s.block);
  declare(&s, g->output, g->n_output);
  declare(&s, g->value_info, g->n_value_info);
  if (add_inputs(im, &s, g) != PRN_OK) status = PRN_FAIL;
  if (add_initializers(im, &s, g) != PRN_OK) status = PRN_FAIL;
  if (add_nodes(im, &s, g->node, g->n_node) != PRN_OK) status = PRN_FAIL;
  prn_str *outputs = prn_alloc(prn_array_size(sizeof *outputs, g->n_output));
  for (size_t i = 0; i < g->n_output; i++)
    outputs[i] = prn_str_from(g->output[i]->name);
  if (add_return(im, &s, outputs, g->n_output) != PRN_OK) status = PRN_FAIL;
  graph_fields(im, &s, g, meta);
  if (top)
    dict_add(meta, "outputs", prn_attr_strings(im->ctx, outputs, g->n_output));
  prn_free(outputs);
  close_scope(&s);
  return status;
}

/* ---- functions ---- */

static void set_strings(importer *im, prn_op *op, const char *name,
                        char **values, size_t n) {
  prn_str *v = prn_alloc(prn_array_size(sizeof *v, n));
  for (size_t i = 0; i < n; i++)
    v[i] = prn_str_from(values[i]);
  if (n) prn_op_set_attr(op, name, prn_attr_strings(im->ctx, v, n));
  prn_free(v);
}

static void function_fields(importer *im, scope *s, prn_op *op,
                            const Onnx__FunctionProto *f) {
  prn_strbuf raw = {0};
  dict meta = {0};
  prn_str subject = import_subject(im, "function", f->name);
  set_text(im, op, "domain", f->domain);
  set_text(im, op, "overload", f->overload);
  set_text(im, op, "doc_string", f->doc_string);
  set_strings(im, op, "attributes", f->attribute, f->n_attribute);
  prn_op_set_attr(
      op, "opset_import",
      import_opsets(im, subject, f->opset_import, f->n_opset_import));
  value_infos(im, s, f->value_info, f->n_value_info, true, "values_info",
              &meta);
  dict_add(&meta, "metadata_props",
           import_props(im, f->metadata_props, f->n_metadata_props, 14, &raw));
  raw_unknown(&raw, &f->base);
  dict_add_bytes(im, &meta, "unknown", &raw);
  for (size_t i = 0; i < meta.size; i++)
    prn_op_set_attr(op, meta.items[i].name.data, meta.items[i].value);
  prn_free(meta.items);
}

prn_status import_function(importer *im, const Onnx__FunctionProto *f) {
  prn_op *op =
      prn_op_create(im->module, prn_opname_code(im->ctx, PRN_OP_onnx_function),
                    im->loc, NULL, 0, NULL, 0);
  scope s = {.block = prn_block_create(im->module)};
  prn_status status = PRN_OK;
  prn_block_append(im->module->body, op);
  prn_op_add_block(op, s.block);
  set_text(im, op, "name", f->name);
  prn_op_set_attr(op, "body", prn_attr_region(im->ctx, 0));
  declare(&s, f->value_info, f->n_value_info);
  for (size_t i = 0; i < f->n_input; i++)
    if (define_input(im, &s, f->input[i],
                     declared(im, &s, prn_str_from(f->input[i]))) != PRN_OK)
      status = PRN_FAIL;
  if (add_nodes(im, &s, f->node, f->n_node) != PRN_OK) status = PRN_FAIL;
  prn_str *outputs = prn_alloc(prn_array_size(sizeof *outputs, f->n_output));
  for (size_t i = 0; i < f->n_output; i++)
    outputs[i] = prn_str_from(f->output[i]);
  if (add_return(im, &s, outputs, f->n_output) != PRN_OK) status = PRN_FAIL;
  prn_free(outputs);
  if (import_defaults(im, &s, op, f->attribute_proto, f->n_attribute_proto) !=
      PRN_OK)
    status = PRN_FAIL;
  function_fields(im, &s, op, f);
  close_scope(&s);
  return status;
}
