/* Looking into a shared library before it is loaded. */
#ifndef PRN_BACKENDS_LLVM_LIBRARY_H
#define PRN_BACKENDS_LLVM_LIBRARY_H

#include "ir/support/diag.h"

/* The one exported function whose name ends in "_model". Reports and fails
 * when path is not an ELF library with exactly one. Nothing of it runs. */
PRN_NODISCARD prn_status prn_library_symbol(prn_diag_sink *sink,
                                            const char *path, prn_strbuf *out);

#endif
