/* A mem.func as an LLVM module: the inside of backends/llvm/llvm.h. */
#ifndef PRN_BACKENDS_LLVM_BUILD_H
#define PRN_BACKENDS_LLVM_BUILD_H

#include "backends/llvm/cg.h"
#include "backends/llvm/compile.h"
#include "ir/op.h"

/* Checks func, reporting everything that cannot be compiled, and emits it.
 * The symbols are PREFIX_model and, when weights_symbol is set, an undefined
 * PREFIX_weights. With a profile (NULL: none) the code is for this process
 * only: it calls profile->clock and writes to profile->kernels, which get
 * their operations here. */
PRN_NODISCARD prn_status prn_build(const prn_target *target, prn_op *func,
                                   const char *prefix, bool weights_symbol,
                                   prn_kernel_times *profile, prn_cg **out);

#endif
