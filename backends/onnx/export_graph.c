/* Blocks to GraphProto and FunctionProto. */
#include <stdlib.h>
#include <string.h>

#include "backends/onnx/exporter.h"
#include "frontends/onnx/import.h"

enum { DEFAULT_IR_VERSION = 10 }; /* for modules that do not say */

bool export_is_node(const prn_op *op) {
  switch (prn_op_code(op)) {
  case PRN_OP_onnx_initializer:
  case PRN_OP_onnx_sparse_initializer:
  case PRN_OP_onnx_return:
    return false;
  default:
    return true;
  }
}

/* An attribute of a graph: on its op for the main graph and functions, in
 * $regions for subgraphs. */
typedef struct meta {
  const prn_op *op; /* NULL: subgraph */
  const prn_attr *dict;
} meta;

static const prn_attr *get(const meta *m, const char *key) {
  return m->op ? prn_op_attr(m->op, key) : prn_dict_get(m->dict, key);
}

static meta meta_of(const prn_op *op, uint32_t region) {
  const prn_attr *regions = prn_op_attr(op, "$regions");
  bool own = prn_op_has_trait(op, PRN_TOP_LEVEL) && region == 0;
  bool listed =
      regions && regions->kind == PRN_ATTR_LIST && region < regions->size;
  return (meta){own ? op : NULL, listed ? regions->list[region] : NULL};
}

/* ---- value infos ---- */

/* Without the claim about zeros, which ONNX cannot say. */
static const prn_type *plain(exporter *x, const prn_type *t) {
  if (t->sparsity.kind == PRN_SPARSE_NONE) return t;
  return prn_type_with_sparsity(x->ctx, t, (prn_sparsity){0});
}

/* May `said` stand for a value of type `now`: a pass that changed the value
 * makes what the file said about it void. */
static bool agrees(const prn_type *said, const prn_type *now) {
  if (said->kind != now->kind)
    return said->kind == PRN_TYPE_ANY || now->kind == PRN_TYPE_ANY;
  if (said->kind != PRN_TYPE_TENSOR) return true;
  if (said->dtype != now->dtype) return false;
  return now->rank < 0 || prn_type_fits(now, said);
}

/* The payload of a BYTES attribute that holds one field with a length. */
static prn_str inside(const prn_attr *bytes) {
  prn_str s = bytes->s;
  size_t i = 0;
  while (i < s.size && (s.data[i] & 0x80))
    i++;
  i++; /* the tag */
  while (i < s.size && (s.data[i] & 0x80))
    i++;
  i++; /* the length */
  if (i > s.size) return (prn_str){"", 0};
  return (prn_str){s.data + i, s.size - i};
}

/* now: the value's type, NULL when there is no such value any more. */
static void value_info(exporter *x, unsigned field, prn_str name,
                       const prn_type *now, const prn_attr *info) {
  const prn_attr *said = prn_dict_get(info, "type");
  const prn_attr *raw = prn_dict_get(info, "type_proto");
  const prn_type *type = now ? plain(x, now) : prn_type_any(x->ctx);
  if (said && said->kind == PRN_ATTR_TYPE && (!now || agrees(said->type, type)))
    type = said->type;
  size_t mark = prn_enc_begin(&x->enc, field);
  prn_enc_str(&x->enc, 1, name);
  if (raw && raw->kind == PRN_ATTR_BYTES &&
      prn_onnx_type_from_bytes(x->ctx, inside(raw)) == type)
    export_unknown(x, raw);
  else
    export_type(x, 2, type);
  export_text(x, 3, prn_dict_get(info, "doc_string"));
  export_props(x, 4, prn_dict_get(info, "metadata_props"));
  export_unknown(x, prn_dict_get(info, "unknown"));
  prn_enc_end(&x->enc, mark);
}

/* A dictionary of value infos, by name. */
static prn_map index_infos(const prn_attr *infos) {
  prn_map map = {0};
  for (uint32_t i = 0; infos && infos->kind == PRN_ATTR_DICT && i < infos->size;
       i++) {
    union {
      const prn_attr *in;
      void *out;
    } u = {.in = infos->dict[i].value};
    *prn_map_slot(&map, infos->dict[i].name) = u.out;
  }
  return map;
}

typedef struct default_input {
  int64_t place;
  size_t index;
  const prn_value *value;
} default_input;

static int by_place(const void *a, const void *b) {
  const default_input *p = a, *q = b;
  if (p->place != q->place) return p->place < q->place ? -1 : 1;
  return p->index < q->index ? -1 : p->index > q->index;
}

/* Initializers that are graph inputs as well, by their place there. */
static size_t collect_defaults(const prn_block *b, default_input **out) {
  size_t n = 0;
  PRN_EACH_OP(op, b)
    n += !export_is_node(op) && prn_op_attr(op, "input");
  *out = prn_alloc(prn_array_size(sizeof **out, n));
  n = 0;
  PRN_EACH_OP(op, b) {
    if (export_is_node(op) || !prn_op_attr(op, "input")) continue;
    (*out)[n] = (default_input){prn_op_int(op, "input", 0), n, &op->results[0]};
    n++;
  }
  if (n) qsort(*out, n, sizeof **out, by_place);
  return n;
}

/* Arguments, and between them the initializers that are inputs too. */
static void inputs(exporter *x, const prn_block *b, const meta *m) {
  prn_map infos = index_infos(get(m, "inputs_info"));
  default_input *defaults;
  size_t num = collect_defaults(b, &defaults), d = 0;
  uint32_t arg = 0;
  for (int64_t at = 0; arg < b->num_args || d < num; at++) {
    bool is_default =
        d < num && (defaults[d].place <= at || arg == b->num_args);
    const prn_value *v = is_default ? defaults[d++].value : b->args[arg++];
    prn_str name = export_name(x, v);
    value_info(x, 11, name, v->type, prn_map_get(&infos, name));
  }
  prn_free(defaults);
  prn_map_destroy(&infos);
}

static const returned *returned_of(exporter *x, const prn_op *ret) {
  return prn_ptrmap_get(&x->returns, ret);
}

static void outputs(exporter *x, const prn_op *ret, const meta *m) {
  prn_map infos = index_infos(get(m, "outputs_info"));
  const returned *r = returned_of(x, ret);
  for (uint32_t i = 0; i < ret->num_operands; i++) {
    const prn_value *v = ret->operands[i].value;
    value_info(x, 12, r[i].name, v ? v->type : NULL,
               prn_map_get(&infos, r[i].name));
  }
  prn_map_destroy(&infos);
}

static void index_value(exporter *x, prn_map *map, prn_value *v) {
  prn_str name = export_name(x, v);
  if (name.size) *prn_map_slot(map, name) = v;
}

/* The entries there were, for values that are still there. */
static void values(exporter *x, unsigned field, const prn_block *b,
                   const meta *m) {
  const prn_attr *order = get(m, "value_info");
  if (!order || order->kind != PRN_ATTR_STRINGS) return;
  prn_map infos = index_infos(get(m, "values_info")), map = {0};
  for (uint32_t i = 0; i < b->num_args; i++)
    index_value(x, &map, b->args[i]);
  PRN_EACH_OP(op, b)
    for (uint32_t i = 0; i < op->num_results; i++)
      index_value(x, &map, &op->results[i]);
  for (uint32_t i = 0; i < order->size; i++) {
    prn_str name = order->strings[i];
    const prn_value *v = prn_map_get(&map, name);
    const prn_attr *info = prn_map_get(&infos, name);
    if (v || prn_dict_get(info, "type"))
      value_info(x, field, name, v ? v->type : NULL, info);
  }
  prn_map_destroy(&infos);
  prn_map_destroy(&map);
}

/* ---- nodes ---- */

static prn_str domain_of(const prn_op *op) {
  prn_str d = op->opname->dialect;
  if (prn_str_is(d, "onnx")) return (prn_str){"", 0};
  if (prn_str_starts(d, "$")) return (prn_str){d.data + 1, d.size - 1};
  return d;
}

static void node(exporter *x, unsigned field, const prn_op *op) {
  prn_str domain = domain_of(op);
  size_t mark = prn_enc_begin(&x->enc, field);
  for (uint32_t i = 0; i < op->num_operands; i++) {
    const prn_value *v = op->operands[i].value;
    prn_enc_str(&x->enc, 1, v ? export_name(x, v) : (prn_str){"", 0});
  }
  for (uint32_t i = 0; i < op->num_results; i++)
    prn_enc_str(&x->enc, 2, export_name(x, &op->results[i]));
  export_text(x, 3, prn_op_attr(op, "$name"));
  prn_enc_str(&x->enc, 4, op->opname->name);
  export_attributes(x, op, 5);
  export_text(x, 6, prn_op_attr(op, "$doc_string"));
  if (domain.size)
    prn_enc_str(&x->enc, 7, domain);
  else
    export_text(x, 7, prn_op_attr(op, "$domain"));
  export_text(x, 8, prn_op_attr(op, "$overload"));
  export_props(x, 9, prn_op_attr(op, "$metadata_props"));
  export_unknown(x, prn_op_attr(op, "$device_configurations"));
  export_unknown(x, prn_op_attr(op, "$unknown"));
  prn_enc_end(&x->enc, mark);
}

static void identity(exporter *x, unsigned field, prn_str from, prn_str to) {
  size_t mark = prn_enc_begin(&x->enc, field);
  prn_enc_str(&x->enc, 1, from);
  prn_enc_str(&x->enc, 2, to);
  prn_enc_str(&x->enc, 4, PRN_STR("Identity"));
  prn_enc_end(&x->enc, mark);
}

/* All nodes of a block; what it returns under another name last. */
static void nodes(exporter *x, unsigned field, const prn_block *b) {
  PRN_EACH_OP(op, b)
    if (export_is_node(op)) node(x, field, op);
  const returned *r = returned_of(x, b->last);
  for (uint32_t i = 0; i < b->last->num_operands; i++)
    if (r[i].identity)
      identity(x, field, export_name(x, b->last->operands[i].value), r[i].name);
}

/* ---- graphs ---- */

static void annotations(exporter *x, const prn_attr *list) {
  for (uint32_t i = 0; list && list->kind == PRN_ATTR_LIST && i < list->size;
       i++) {
    size_t mark = prn_enc_begin(&x->enc, 14);
    export_text(x, 1, prn_dict_get(list->list[i], "tensor_name"));
    export_props(x, 2,
                 prn_dict_get(list->list[i], "quant_parameter_tensor_names"));
    prn_enc_end(&x->enc, mark);
  }
}

static void initializers(exporter *x, const prn_block *b) {
  PRN_EACH_OP(op, b)
    if (prn_op_is(op, PRN_OP_onnx_initializer))
      export_tensor(x, 5, prn_op_attr(op, "value")->tensor,
                    export_name(x, &op->results[0]));
}

/* The op's attributes are the SparseTensorProto. */
static void sparse_initializers(exporter *x, const prn_block *b) {
  PRN_EACH_OP(op, b) {
    if (!prn_op_is(op, PRN_OP_onnx_sparse_initializer)) continue;
    prn_attr dict = {
        .kind = PRN_ATTR_DICT, .size = op->num_attrs, .dict = op->attrs};
    export_sparse(x, 15, &dict, export_name(x, &op->results[0]));
  }
}

void export_graph(exporter *x, unsigned field, const prn_op *op,
                  uint32_t region) {
  const prn_block *b = op->blocks[region];
  meta m = meta_of(op, region);
  size_t mark = prn_enc_begin(&x->enc, field);
  nodes(x, 1, b);
  export_text(x, 2, get(&m, "name"));
  initializers(x, b);
  export_text(x, 10, get(&m, "doc_string"));
  inputs(x, b, &m);
  outputs(x, b->last, &m);
  values(x, 13, b, &m);
  annotations(x, get(&m, "quantization_annotation"));
  sparse_initializers(x, b);
  export_props(x, 16, get(&m, "metadata_props"));
  export_unknown(x, get(&m, "unknown"));
  prn_enc_end(&x->enc, mark);
}

static void export_opsets(exporter *x, unsigned field, const prn_attr *list) {
  for (uint32_t i = 0; list && list->kind == PRN_ATTR_LIST && i < list->size;
       i++) {
    const prn_attr *version = prn_dict_get(list->list[i], "version");
    size_t mark = prn_enc_begin(&x->enc, field);
    export_text(x, 1, prn_dict_get(list->list[i], "domain"));
    if (version && version->kind == PRN_ATTR_INT)
      prn_enc_int(&x->enc, 2, version->i);
    export_unknown(x, prn_dict_get(list->list[i], "unknown"));
    prn_enc_end(&x->enc, mark);
  }
}

void export_function(exporter *x, unsigned field, const prn_op *op) {
  const prn_block *b = op->blocks[0];
  const prn_attr *names = prn_op_attr(op, "attributes");
  const prn_attr *defaults = prn_op_attr(op, "attribute_proto");
  const prn_attr *infos = prn_op_attr(op, "$attr_info");
  const returned *r = returned_of(x, b->last);
  meta m = meta_of(op, 0);
  size_t mark = prn_enc_begin(&x->enc, field);
  export_text(x, 1, get(&m, "name"));
  for (uint32_t i = 0; i < b->num_args; i++)
    prn_enc_str(&x->enc, 4, export_name(x, b->args[i]));
  for (uint32_t i = 0; i < b->last->num_operands; i++)
    prn_enc_str(&x->enc, 5, r[i].name);
  for (uint32_t i = 0;
       names && names->kind == PRN_ATTR_STRINGS && i < names->size; i++)
    prn_enc_str(&x->enc, 6, names->strings[i]);
  nodes(x, 7, b);
  export_text(x, 8, get(&m, "doc_string"));
  export_opsets(x, 9, get(&m, "opset_import"));
  export_text(x, 10, get(&m, "domain"));
  for (uint32_t i = 0;
       defaults && defaults->kind == PRN_ATTR_DICT && i < defaults->size; i++)
    export_attribute(x, op, 11, defaults->dict[i].name, defaults->dict[i].value,
                     prn_dict_get(infos, defaults->dict[i].name.data));
  values(x, 12, b, &m);
  export_text(x, 13, get(&m, "overload"));
  export_props(x, 14, get(&m, "metadata_props"));
  export_unknown(x, get(&m, "unknown"));
  prn_enc_end(&x->enc, mark);
}

void export_model(exporter *x) {
  const prn_attr *attrs = x->module->attrs;
  const prn_attr *version = prn_dict_get(attrs, "ir_version");
  const prn_attr *model = prn_dict_get(attrs, "model_version");
  bool said = version && version->kind == PRN_ATTR_INT;
  prn_enc_int(&x->enc, 1, said ? version->i : DEFAULT_IR_VERSION);
  export_text(x, 2, prn_dict_get(attrs, "producer_name"));
  export_text(x, 3, prn_dict_get(attrs, "producer_version"));
  export_text(x, 4, prn_dict_get(attrs, "domain"));
  if (model && model->kind == PRN_ATTR_INT) prn_enc_int(&x->enc, 5, model->i);
  export_text(x, 6, prn_dict_get(attrs, "doc_string"));
  PRN_EACH_OP(op, x->module->body)
    if (prn_op_is(op, PRN_OP_onnx_graph)) export_graph(x, 7, op, 0);
  export_opsets(x, 8, prn_dict_get(attrs, "opset_import"));
  export_props(x, 14, prn_dict_get(attrs, "metadata_props"));
  export_unknown(x, prn_dict_get(attrs, "training_info"));
  PRN_EACH_OP(op, x->module->body)
    if (prn_op_is(op, PRN_OP_onnx_function)) export_function(x, 25, op);
  export_unknown(x, prn_dict_get(attrs, "configuration"));
  export_unknown(x, prn_dict_get(attrs, "unknown"));
}
