#include "backends/onnx/export.h"

#include <limits.h>
#include <string.h>

#include "backends/onnx/exporter.h"

static prn_status check_module(exporter *x) {
  size_t graphs = 0;
  PRN_EACH_OP(op, x->module->body)
    graphs += prn_op_is(op, PRN_OP_onnx_graph);
  if (graphs != 1)
    return prn_module_error(
        x->module, "an ONNX model has one onnx.graph, this module %zu", graphs);
  if (!prn_dict_get(x->module->attrs, "opset_import"))
    return prn_module_error(x->module, "the module has no opset_import");
  return PRN_OK;
}

/* Constants must have their value. */
static prn_status check_op(void *user, prn_op *op) {
  exporter *x = user;
  const prn_attr *value = prn_op_attr(op, "value");
  const prn_attr *values = prn_op_attr(op, "values");
  const prn_attr *indices = prn_op_attr(op, "indices");
  bool ok = true;
  if (prn_op_is(op, PRN_OP_onnx_initializer))
    ok = value && value->kind == PRN_ATTR_TENSOR;
  else if (prn_op_is(op, PRN_OP_onnx_sparse_initializer))
    ok = values && values->kind == PRN_ATTR_TENSOR && indices &&
         indices->kind == PRN_ATTR_TENSOR;
  if (ok) return PRN_OK;
  x->failed = true;
  (void)prn_op_error(op, "it has no tensor");
  return PRN_OK;
}

static void measure(exporter *x) {
  export_plan_external(x);
  prn_enc_destroy(&x->enc);
  export_model(x);
}

/* Plans; false when the module cannot be an ONNX model. */
static prn_status plan(exporter *x) {
  PRN_TRY(check_module(x));
  (void)!prn_walk(x->module->body, true, check_op, x);
  if (!x->failed) export_plan_names(x);
  if (x->failed) return PRN_FAIL;
  measure(x);
  if (!x->failed && x->enc.pos > INT_MAX && strcmp(x->path, "-") != 0 &&
      x->data == PRN_ONNX_DATA_KEEP) {
    export_abandon_external(x);
    x->data = PRN_ONNX_DATA_EXTERNAL;
    measure(x);
    (void)prn_diag_emit(prn_ctx_diags(x->ctx), PRN_WARNING,
                        (prn_loc){.file = x->path}, PRN_STR(""),
                        "the model is larger than 2 GB, its tensors go to "
                        "'%.*s'",
                        PRN_STR_ARG(x->external.files[0].name));
  }
  return x->failed ? PRN_FAIL : PRN_OK;
}

static prn_status write_all(exporter *x) {
  prn_out *out;
  PRN_TRY(prn_out_open(prn_ctx_diags(x->ctx), x->path, &out));
  if (export_write_external(x) != PRN_OK) {
    prn_out_abandon(out);
    return PRN_FAIL;
  }
  prn_enc_rewind(&x->enc, out);
  export_model(x);
  return export_commit(x, out);
}

prn_status prn_onnx_export_with(prn_module *m, const char *path,
                                const prn_onnx_export_options *options) {
  exporter x = {.ctx = m->ctx, .module = m, .path = path};
  if (options) x.data = options->data;
  if (strcmp(path, "-") == 0) x.data = PRN_ONNX_DATA_EMBED;
  prn_status status = plan(&x);
  if (status == PRN_OK) status = write_all(&x);
  export_abandon_external(&x);
  prn_enc_destroy(&x.enc);
  prn_ptrmap_destroy(&x.names);
  prn_ptrmap_destroy(&x.returns);
  prn_map_destroy(&x.taken);
  return status;
}

prn_status prn_onnx_export(prn_module *m, const char *path) {
  return prn_onnx_export_with(m, path, NULL);
}
