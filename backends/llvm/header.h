/* The C header of a compiled model. */
#ifndef PRN_BACKENDS_LLVM_HEADER_H
#define PRN_BACKENDS_LLVM_HEADER_H

#include "ir/op.h"

/* Self-contained: the text of abi.h, and for the model its names, types and
 * sizes as macros and the declaration of PREFIX_model. */
void prn_header_print(const prn_op *func, const char *prefix, prn_strbuf *out);

#endif
