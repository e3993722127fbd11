/* Runs generated code in this process: ORC's LLJIT over finished objects, so
 * that what runs is byte for byte what the ahead-of-time path would write. */
#ifndef PRN_BACKENDS_LLVM_JIT_H
#define PRN_BACKENDS_LLVM_JIT_H

#include "ir/support/diag.h"

typedef struct prn_jit prn_jit;

PRN_NODISCARD prn_status prn_jit_create(prn_diag_sink *sink, prn_jit **out);
/* Links an object file; its bytes are copied. */
PRN_NODISCARD prn_status prn_jit_add(prn_jit *j, prn_diag_sink *sink,
                                     prn_str object);
/* Address of a symbol, to be cast to the function's type. */
PRN_NODISCARD prn_status prn_jit_find(prn_jit *j, prn_diag_sink *sink,
                                      const char *symbol, uintptr_t *out);
/* The code is unmapped: no address from prn_jit_find may be used after. */
void prn_jit_destroy(prn_jit *j);

#endif
