/* prune-translate: one translation, without passes but the lowering that the
 * target needs. */
#include "frontends/onnx/import.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tools/model_io.h"
#include "tools/translate_llvm.h"

typedef struct settings {
  const char *output, *data;
  bool import_onnx, export_onnx, emit_llvm, emit_header, emit_cuda;
  prn_translate_llvm llvm;
} settings;

static const prn_cli_option options[] = {
    {PRN_CLI_HEADING, 0, NULL, NULL, "translations, of which one is given", 0,
     0, 0},
    PRN_CLI_ROW(FLAG, 0, settings, import_onnx, "import-onnx", NULL,
                "ONNX to text, whatever the names of the files say."),
    PRN_CLI_ROW(FLAG, 0, settings, export_onnx, "export-onnx", NULL,
                "Text to ONNX."),
    PRN_CLI_ROW(FLAG, 0, settings, emit_llvm, "emit-llvm", NULL,
                "ONNX or text to LLVM IR."),
    PRN_CLI_ROW(FLAG, 0, settings, emit_header, "emit-header", NULL,
                "ONNX or text to the C header of the compiled library."),
    PRN_CLI_ROW(FLAG, 0, settings, emit_cuda, "emit-cuda", NULL,
                "ONNX or text to the kernels in CUDA C."),
    {PRN_CLI_HEADING, 0, NULL, NULL, "options", 0, 0, 0},
    PRN_CLI_ROW(TEXT, 'o', settings, output, "output", "FILE",
                "Where the result goes; '-' is standard output, the default."),
    PRN_CLI_ROW(CHOICE, 0, settings, data, "data", "keep|embed|external",
                "--export-onnx: tensors where they came from (default), all "
                "in the model, or large ones in OUT.data beside it."),
    PRN_CLI_ROW(TEXT, 0, settings, llvm.prefix, "prefix", "NAME",
                "--emit-llvm, --emit-header, --emit-cuda: C name that symbols "
                "begin with; 'model' by default."),
    PRN_CLI_ROW(TEXT, 0, settings, llvm.march, "march", "CPU",
                "--emit-llvm: native (default), x86-64-v3, or a CPU name. "
                "--emit-cuda: the GPU to plan for: a100, h100, h200 (default), "
                "b200."),
    PRN_CLI_ROW(CHOICE, 0, settings, llvm.precision, "precision",
                "f16|bf16|f32",
                "--emit-cuda: type of weights and activations; f16 by "
                "default."),
    PRN_CLI_ROW(TEXT, 0, settings, llvm.target, "target", "TRIPLE",
                "--emit-llvm: another machine, e.g. aarch64-linux-gnu."),
    PRN_CLI_ROW(LIST, 0, settings, llvm.dims, "dim", "NAME=SIZE",
                "--emit-llvm, --emit-header: fix an open dimension."),
    PRN_CLI_ROW(LIST, 0, settings, llvm.elements, "elements", "NAME=COUNT",
                "--emit-llvm, --emit-header: how many tensors a sequence among "
                "the inputs holds, as prunec has it."),
    {PRN_CLI_END, 0, NULL, NULL, NULL, 0, 0, 0},
};

static const prn_cli cli = {
    .tool = "prune-translate",
    .usage = "--{import-onnx,export-onnx,emit-llvm,emit-header,emit-cuda} IN "
             "[-o OUT]",
    .intro = "Translates a model from one form to another. No passes run but "
             "the lowering that a target needs; prune-opt runs passes.",
    .outro = "examples:\n"
             "  prune-translate --import-onnx model.onnx -o model.prn\n"
             "  prune-translate --export-onnx model.prn -o model.onnx\n"
             "  prune-translate --emit-llvm model.onnx --dim batch=1 "
             "-o model.ll\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .args = "one input file",
};

static prn_status fail(prn_ctx *ctx, const char *what) {
  return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                       (prn_str){"", 0}, "%s", what);
}

static prn_status import_onnx(prn_ctx *ctx, const settings *s,
                              const char *input) {
  prn_module *m;
  PRN_TRY(prn_onnx_import(ctx, input, &m));
  PRN_TRY(prn_verify(m));
  prn_write_options o = {.format = PRN_FORMAT_TEXT};
  return prn_model_write(m, s->output, &o);
}

static prn_status export_onnx(prn_ctx *ctx, const settings *s,
                              const char *input) {
  prn_write_options o = {.format = PRN_FORMAT_ONNX,
                         .data = prn_onnx_data_of(s->data)};
  prn_module *m = prn_parse_file(ctx, input);
  if (!m) return PRN_FAIL;
  PRN_TRY(prn_verify(m));
  return prn_model_write(m, s->output, &o);
}

static prn_status translate(prn_ctx *ctx, settings *s, const char *input) {
  if (!s->output) s->output = "-";
  int chosen = s->import_onnx + s->export_onnx + s->emit_llvm + s->emit_header +
               s->emit_cuda;
  if (chosen != 1)
    return fail(ctx, "give one of --import-onnx, --export-onnx, --emit-llvm, "
                     "--emit-header, --emit-cuda");
  if (s->import_onnx) return import_onnx(ctx, s, input);
  if (s->export_onnx) return export_onnx(ctx, s, input);
  if (s->emit_cuda)
    return prn_translate_to_cuda(ctx, input, s->output, &s->llvm);
  s->llvm.header = s->emit_header;
  return prn_translate_to_llvm(ctx, input, s->output, &s->llvm);
}

int main(int argc, char **argv) {
  settings s = {.output = NULL};
  prn_cli_result r = {0};
  prn_cli_begin();
  prn_ctx *ctx = prn_ctx_create();
  prn_status status =
      prn_cli_parse(&cli, prn_ctx_diags(ctx), argc, argv, &s, &r);
  if (status == PRN_OK && !r.done) status = translate(ctx, &s, r.args.at[0]);
  if (prn_cli_flush(prn_ctx_diags(ctx)) != PRN_OK) status = PRN_FAIL;
  prn_cli_free(&cli, &s, &r);
  prn_ctx_destroy(ctx);
  return status == PRN_OK ? 0 : 1;
}
