/* Code and weights in one ELF object, and objects in an archive.
 *
 * LLVM writes the code; the weights never pass through it. They become one
 * more section of its object, and the symbol the code left undefined is
 * pointed there. Format: System V ABI, chapter 4 (ELF64, little-endian). */
#ifndef PRN_BACKENDS_LLVM_OBJECT_H
#define PRN_BACKENDS_LLVM_OBJECT_H

#include "ir/pack/weights.h"

/* Streams object, completed by the weights w as `symbol`. */
void prn_object_write(prn_str object, const char *symbol, const prn_weights *w,
                      prn_weights_fn *write, void *user);
/* Bytes that will be. */
uint64_t prn_object_size(prn_str object, const char *symbol,
                         const prn_weights *w);
/* Streams an archive with that object as its only member, exporting
 * `exported`. */
void prn_archive_write(prn_str object, const char *symbol, const char *exported,
                       const char *member, const prn_weights *w,
                       prn_weights_fn *write, void *user);

#endif
