#include "tools/model_io.h"

#include <string.h>

#include "frontends/onnx/import.h"
#include "ir/text.h"

enum { SNIFF = 512 }; /* bytes looked at to tell text from ONNX */

prn_format prn_format_of_path(const char *path) {
  prn_str s = prn_str_from(path);
  if (prn_str_ends(s, ".onnx")) return PRN_FORMAT_ONNX;
  if (prn_str_ends(s, ".prn")) return PRN_FORMAT_TEXT;
  return PRN_FORMAT_AUTO;
}

/* Serialised models begin with small field tags and soon hold bytes that no
 * text has. */
prn_format prn_format_of_bytes(prn_str bytes) {
  size_t n = bytes.size < SNIFF ? bytes.size : SNIFF;
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)bytes.data[i];
    if (c < ' ' && c != '\t' && c != '\n' && c != '\r') return PRN_FORMAT_ONNX;
  }
  return PRN_FORMAT_TEXT;
}

prn_status prn_model_read_file(prn_ctx *ctx, prn_file *file, prn_module **out) {
  const char *path = prn_file_path(file);
  prn_str bytes = prn_file_bytes(file);
  prn_format format = prn_format_of_path(path);
  if (format == PRN_FORMAT_AUTO) format = prn_format_of_bytes(bytes);
  *out = NULL;
  if (format == PRN_FORMAT_ONNX) return prn_onnx_import_file(ctx, file, out);
  const char *name = strcmp(path, "-") == 0 ? "<stdin>" : path;
  prn_diag_add_source(prn_ctx_diags(ctx), name, bytes);
  *out = prn_parse_module(ctx, name, bytes);
  return *out ? PRN_OK : PRN_FAIL;
}

static void release(void *file) { prn_file_release(file); }

prn_status prn_model_read(prn_ctx *ctx, const char *path, prn_module **out) {
  prn_file *file;
  *out = NULL;
  PRN_TRY(prn_file_open(prn_ctx_diags(ctx), path, &file));
  prn_ctx_on_destroy(ctx, release, file);
  return prn_model_read_file(ctx, file, out);
}

/* ---- writing ---- */

static prn_status write_text(prn_module *m, const char *path, bool locations) {
  prn_print_options options = {.target = path, .locations = locations};
  prn_out *out;
  PRN_TRY(prn_out_open(prn_ctx_diags(m->ctx), path, &out));
  prn_print_module(m, &options, out);
  return prn_out_commit(out);
}

prn_status prn_model_write(prn_module *m, const char *path,
                           const prn_write_options *options) {
  prn_write_options o = {.format = PRN_FORMAT_AUTO};
  if (options) o = *options;
  if (o.format == PRN_FORMAT_AUTO) o.format = prn_format_of_path(path);
  if (o.format != PRN_FORMAT_ONNX) return write_text(m, path, o.locations);
  prn_onnx_export_options onnx = {.data = o.data};
  return prn_onnx_export_with(m, path, &onnx);
}

prn_onnx_data prn_onnx_data_of(const char *word) {
  if (word && strcmp(word, "embed") == 0) return PRN_ONNX_DATA_EMBED;
  if (word && strcmp(word, "external") == 0) return PRN_ONNX_DATA_EXTERNAL;
  return PRN_ONNX_DATA_KEEP;
}
