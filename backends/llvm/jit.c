/* LLJIT wrapper; see jit.h. */
#include "backends/llvm/jit.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>

#include "ir/support/arena.h"

struct prn_jit {
  LLVMOrcLLJITRef lljit;
};

static prn_status failed(prn_diag_sink *sink, const char *what,
                         LLVMErrorRef error) {
  char *why = LLVMGetErrorMessage(error);
  prn_status s = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                               "%s: %s", what, why);
  LLVMDisposeErrorMessage(why);
  return s;
}

prn_status prn_jit_create(prn_diag_sink *sink, prn_jit **out) {
  LLVMOrcLLJITRef lljit;
  LLVMErrorRef error = LLVMOrcCreateLLJIT(&lljit, NULL);
  if (error) return failed(sink, "cannot start the JIT", error);
  prn_jit *j = prn_alloc(sizeof *j);
  j->lljit = lljit;
  *out = j;
  return PRN_OK;
}

prn_status prn_jit_add(prn_jit *j, prn_diag_sink *sink, prn_str object) {
  LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(
      object.data, object.size, "model.o");
  LLVMErrorRef error = LLVMOrcLLJITAddObjectFile(
      j->lljit, LLVMOrcLLJITGetMainJITDylib(j->lljit), buffer);
  return error ? failed(sink, "cannot load generated code", error) : PRN_OK;
}

prn_status prn_jit_find(prn_jit *j, prn_diag_sink *sink, const char *symbol,
                        uintptr_t *out) {
  LLVMOrcExecutorAddress address;
  LLVMErrorRef error = LLVMOrcLLJITLookup(j->lljit, &address, symbol);
  if (error) return failed(sink, "cannot link generated code", error);
  *out = (uintptr_t)address;
  return PRN_OK;
}

void prn_jit_destroy(prn_jit *j) {
  if (!j) return;
  LLVMConsumeError(LLVMOrcDisposeLLJIT(j->lljit));
  prn_free(j);
}
