/* --emit-llvm, --emit-header and --emit-cuda of prune-translate, where LLVM is
 * built in. */
#ifndef PRN_TOOLS_TRANSLATE_LLVM_H
#define PRN_TOOLS_TRANSLATE_LLVM_H

#include "ir/context.h"
#include "tools/cli.h"

typedef struct prn_translate_llvm {
  const char *prefix, *march, *target;
  const char *precision; /* --emit-cuda */
  prn_cli_list dims, elements;
  bool header; /* the C header instead of LLVM IR */
} prn_translate_llvm;

PRN_NODISCARD prn_status prn_translate_to_llvm(prn_ctx *ctx, const char *input,
                                               const char *output,
                                               const prn_translate_llvm *how);

/* The kernels' text, which is what a compiled folder has in NAME_kernels.cu. */
PRN_NODISCARD prn_status prn_translate_to_cuda(prn_ctx *ctx, const char *input,
                                               const char *output,
                                               const prn_translate_llvm *how);

#endif
