#include "tools/translate_llvm.h"

#if PRN_HAVE_LLVM
#include "backends/cuda/cuda.h"
#include "backends/llvm/compile.h"
#include "tools/lowering.h"

prn_status prn_translate_to_llvm(prn_ctx *ctx, const char *input,
                                 const char *output,
                                 const prn_translate_llvm *how) {
  prn_compile_options o = {
      .target = {.triple = how->target, .march = how->march},
      .prefix = how->prefix ? how->prefix : "model",
  };
  prn_lowering lowering = {
      .dims = how->dims, .elements = how->elements, .threads = 1};
  prn_module *m;
  PRN_TRY(prn_check_prefix(prn_ctx_diags(ctx), o.prefix));
  PRN_TRY(prn_compile_tile(prn_ctx_diags(ctx), &o.target, &lowering.tile));
  PRN_TRY(prn_lower_file(ctx, input, &lowering, &m));
  return how->header ? prn_compile_header(m, &o, output)
                     : prn_compile_file(m, &o, PRN_ARTEFACT_LL, output);
}

prn_status prn_translate_to_cuda(prn_ctx *ctx, const char *input,
                                 const char *output,
                                 const prn_translate_llvm *how) {
  const char *prefix = how->prefix ? how->prefix : "model";
  prn_lowering lowering = {
      .dims = how->dims,
      .elements = how->elements,
      .gpu = how->march ? how->march : "h200",
      .precision = how->precision ? how->precision : "f16",
      .threads = 1,
  };
  prn_module *m;
  PRN_TRY(prn_check_prefix(prn_ctx_diags(ctx), prefix));
  PRN_TRY(prn_lower_file(ctx, input, &lowering, &m));
  return prn_cuda_write_kernels(m, prefix, output);
}

#else

static prn_status absent(prn_ctx *ctx) {
  return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                       (prn_str){"", 0},
                       "LLVM is not built into this tool (-DPRUNE_LLVM=ON)");
}

prn_status prn_translate_to_cuda(prn_ctx *ctx, const char *input,
                                 const char *output,
                                 const prn_translate_llvm *how) {
  (void)input;
  (void)output;
  (void)how;
  return absent(ctx);
}

prn_status prn_translate_to_llvm(prn_ctx *ctx, const char *input,
                                 const char *output,
                                 const prn_translate_llvm *how) {
  (void)input;
  (void)output;
  (void)how;
  return absent(ctx);
}

#endif
