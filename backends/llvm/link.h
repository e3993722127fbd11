/* A shared library from one object, by the system's linker. */
#ifndef PRN_BACKENDS_LLVM_LINK_H
#define PRN_BACKENDS_LLVM_LINK_H

#include "backends/llvm/target.h"

/* Links object (a path) into the shared library `path`, whole or not at
 * all. Reports what the linker says. */
PRN_NODISCARD prn_status prn_link_shared(prn_diag_sink *sink,
                                         const prn_target *target,
                                         const char *object, const char *path);

#endif
