#include "tools/lowering.h"

#include <ctype.h>
#include <string.h>

#include "passes/manager.h"
#include "tools/model_io.h"

/* Appends the passes that the module's dialect still needs. */
static void lowering_text(const prn_lowering *how, uint32_t dialects,
                          prn_strbuf *b) {
  if (how->dims.size) {
    prn_strbuf_cstr(b, "bind-dims{dims=[");
    for (size_t i = 0; i < how->dims.size; i++) {
      if (i) prn_strbuf_cstr(b, ", ");
      prn_strbuf_quoted(b, prn_str_from(how->dims.at[i]));
    }
    prn_strbuf_cstr(b, "]},");
  }
  if (dialects & PRN_DIALECT_ONNX)
    prn_strbuf_cstr(b, "infer-shapes,canonicalize,fold-constants,cse,dce,"
                       "lower-onnx-to-nn,");
  if (dialects & (PRN_DIALECT_ONNX | PRN_DIALECT_NN))
    prn_strbuf_fmt(b,
                   "nn-simplify,nn-precision{type=%s},nn-fuse,lower-nn-to-mem{"
                   "nr=%d,mr=%d},",
                   how->precision ? how->precision : "f32", how->nr, how->mr);
  prn_strbuf_cstr(b, "plan-memory");
}

static prn_status build(prn_ctx *ctx, const prn_registry *r,
                        const prn_lowering *how, uint32_t dialects,
                        prn_pipeline *p) {
  prn_strbuf text = {0};
  prn_status status = PRN_OK;
  if (how->recipe) {
    prn_file *file = NULL;
    PRN_TRY(prn_file_open(prn_ctx_diags(ctx), how->recipe, &file));
    status = prn_pipeline_parse(ctx, r, how->recipe, prn_file_bytes(file), p);
    prn_file_release(file);
  }
  if (how->pipeline && status == PRN_OK)
    status = prn_pipeline_parse(ctx, r, NULL, prn_str_from(how->pipeline), p);
  lowering_text(how, dialects, &text);
  if (status == PRN_OK)
    status = prn_pipeline_parse(ctx, r, NULL, prn_strbuf_view(&text), p);
  prn_strbuf_destroy(&text);
  return status;
}

prn_status prn_lower_file(prn_ctx *ctx, const char *path,
                          const prn_lowering *how, prn_module **out) {
  prn_registry registry = {0};
  prn_pipeline *pipeline = prn_pipeline_create(ctx);
  prn_run_config config = {.threads = how->threads};
  PRN_TRY(prn_model_read(ctx, path, out));
  prn_registry_add_all(&registry);
  prn_status status =
      build(ctx, &registry, how, prn_module_dialects(*out), pipeline);
  if (status == PRN_OK) status = prn_pipeline_run(pipeline, *out, &config);
  if (status == PRN_OK && how->verbose) {
    prn_strbuf b = {0};
    prn_timing_print(pipeline, NULL, 0, &b);
    prn_stats_print(pipeline, &b);
    (void)fwrite(b.data, 1, b.size, stderr);
    prn_strbuf_destroy(&b);
  }
  prn_registry_destroy(&registry);
  return status;
}

enum { MAX_PREFIX = 200 };

prn_status prn_check_prefix(prn_diag_sink *sink, const char *name) {
  size_t n = strlen(name);
  bool ok = n > 0 && n <= MAX_PREFIX && !isdigit((unsigned char)*name);
  for (const char *p = name; *p; p++)
    ok = ok && (isalnum((unsigned char)*p) || *p == '_');
  if (ok) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "--prefix='%s' is not a C identifier of at most %d "
                       "characters",
                       name, (int)MAX_PREFIX);
}
