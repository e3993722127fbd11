/* ModelProto to a module; the entry points. */
#include "frontends/onnx/import.h"

#include <string.h>

#include "frontends/onnx/importer.h"

/* "ai.onnx" is another name of the standard domain. */
static prn_str domain_name(const char *domain) {
  prn_str s = prn_str_from(domain);
  return prn_str_is(s, "ai.onnx") ? (prn_str){"", 0} : s;
}

static prn_status check_opset(importer *im, prn_str subject, prn_map *seen,
                              const Onnx__OperatorSetIdProto *o) {
  prn_str domain = domain_name(o->domain);
  const Onnx__OperatorSetIdProto **slot =
      (const Onnx__OperatorSetIdProto **)(void *)prn_map_slot(seen, domain);
  const Onnx__OperatorSetIdProto *first = *slot;
  const char *name = domain.size ? domain.data : "ai.onnx";
  *slot = o;
  if (first && first->version != o->version)
    return import_error(im, subject,
                        "operator set '%s' is imported twice, as version %lld "
                        "and %lld",
                        name, (long long)first->version, (long long)o->version);
  if (o->version < 1)
    return import_error(im, subject, "operator set '%s' has version %lld", name,
                        (long long)o->version);
  if (domain.size == 0 && o->version > PRN_ONNX_NEWEST_OPSET)
    return import_error(im, subject,
                        "operator set '%s' has version %lld, the newest known "
                        "is %d",
                        name, (long long)o->version, PRN_ONNX_NEWEST_OPSET);
  return PRN_OK;
}

const prn_attr *import_opsets(importer *im, prn_str subject,
                              Onnx__OperatorSetIdProto **opsets, size_t n) {
  prn_map seen = {0};
  const prn_attr **v = prn_alloc(prn_array_size(sizeof *v, n));
  for (size_t i = 0; i < n; i++) {
    dict d = {0};
    prn_strbuf raw = {0};
    (void)check_opset(im, subject, &seen, opsets[i]);
    dict_add_text(im, &d, "domain", opsets[i]->domain);
    if (opsets[i]->has_version)
      dict_add(&d, "version", prn_attr_int(im->ctx, opsets[i]->version));
    raw_unknown(&raw, &opsets[i]->base);
    dict_add_bytes(im, &d, "unknown", &raw);
    v[i] = prn_attr_dict(im->ctx, d.items, d.size);
    prn_free(d.items);
  }
  prn_map_destroy(&seen);
  const prn_attr *list = prn_attr_list(im->ctx, v, n);
  prn_free(v);
  return list;
}

static void model_fields(importer *im, const Onnx__ModelProto *m) {
  dict d = {0};
  prn_strbuf raw = {0}, devices = {0};
  prn_ctx *ctx = im->ctx;
  if (m->has_ir_version)
    dict_add(&d, "ir_version", prn_attr_int(ctx, m->ir_version));
  dict_add(&d, "opset_import",
           import_opsets(im, PRN_STR(""), m->opset_import, m->n_opset_import));
  dict_add_text(im, &d, "producer_name", m->producer_name);
  dict_add_text(im, &d, "producer_version", m->producer_version);
  dict_add_text(im, &d, "domain", m->domain);
  if (m->has_model_version)
    dict_add(&d, "model_version", prn_attr_int(ctx, m->model_version));
  dict_add_text(im, &d, "doc_string", m->doc_string);
  dict_add(&d, "metadata_props",
           import_props(im, m->metadata_props, m->n_metadata_props, 14, &raw));
  if (im->wire.training.size)
    dict_add(&d, "training_info",
             prn_attr_bytes(ctx, prn_strbuf_view(&im->wire.training)));
  for (size_t i = 0; i < m->n_configuration; i++)
    raw_field(&devices, 26, &m->configuration[i]->base);
  dict_add_bytes(im, &d, "configuration", &devices);
  raw_unknown(&raw, &m->base);
  dict_add_bytes(im, &d, "unknown", &raw);
  im->module->attrs = prn_attr_dict(ctx, d.items, d.size);
  prn_free(d.items);
}

static void main_graph(importer *im, const Onnx__GraphProto *g) {
  prn_op *op =
      prn_op_create(im->module, prn_opname_code(im->ctx, PRN_OP_onnx_graph),
                    im->loc, NULL, 0, NULL, 0);
  dict meta = {0};
  prn_block_append(im->module->body, op);
  if (g->name)
    prn_op_set_attr(op, "name",
                    prn_attr_string(im->ctx, prn_str_from(g->name)));
  prn_op_set_attr(op, "body", prn_attr_region(im->ctx, 0));
  (void)!import_graph(im, NULL, op, g, true, &meta);
  for (size_t i = 0; i < meta.size; i++)
    prn_op_set_attr(op, meta.items[i].name.data, meta.items[i].value);
  prn_free(meta.items);
}

static void import_model(importer *im, const Onnx__ModelProto *m) {
  if (!m->has_ir_version || m->ir_version < 1)
    (void)import_error(im, PRN_STR(""), "the model has no valid ir_version");
  if (m->n_opset_import == 0)
    (void)import_error(im, PRN_STR(""), "the model imports no operator set");
  if (!m->graph) (void)import_error(im, PRN_STR(""), "the model has no graph");
  model_fields(im, m);
  for (size_t i = 0; i < m->n_functions; i++)
    (void)!import_function(im, m->functions[i]);
  if (m->graph) main_graph(im, m->graph);
  (void)!import_check(im);
}

void import_close(importer *im) {
  for (size_t i = 0; i < im->external.size; i++)
    prn_file_release(im->external.entries[i].value);
  prn_map_destroy(&im->external);
  prn_onnx_wire_destroy(&im->wire);
}

/* Memory of half-built modules goes with the context. */
prn_status prn_onnx_import_file(prn_ctx *ctx, prn_file *file,
                                prn_module **out) {
  const char *path = prn_intern_cstr(ctx, prn_file_path(file)).data;
  if (strcmp(path, "-") == 0) path = "<stdin>";
  importer im = {.ctx = ctx, .file = file, .loc = {.file = path}};
  prn_diag_sink *diags = prn_ctx_diags(ctx);
  size_t errors = diags->errors;
  *out = NULL;
  PRN_TRY(prn_onnx_wire_read(diags, path, prn_file_bytes(file),
                             &onnx__model_proto__descriptor, &im.wire));
  im.module = prn_module_create(ctx);
  im.module->file = path;
  import_model(&im, (const Onnx__ModelProto *)im.wire.root);
  import_close(&im);
  if (diags->errors != errors) return PRN_FAIL;
  *out = im.module;
  return PRN_OK;
}

prn_status prn_onnx_import(prn_ctx *ctx, const char *path, prn_module **out) {
  prn_file *file;
  *out = NULL;
  PRN_TRY(prn_file_open(prn_ctx_diags(ctx), path, &file));
  prn_status status = prn_onnx_import_file(ctx, file, out);
  prn_file_release(file);
  return status;
}
