/* One program for several CPUs: the code of each in one module, and a choice
 * made where the program is loaded.
 *
 * Every function of a variant carries its CPU as attributes, so that LLVM
 * generates code for each in turn; PREFIX_model asks the CPU (cpuid, xgetbv)
 * and returns the description of the best variant that it can run, without a
 * library and without anything kept. Only x86-64 levels are chosen between:
 * of a CPU by name one cannot tell all that LLVM assumes. */
#ifndef PRN_BACKENDS_LLVM_VARIANTS_H
#define PRN_BACKENDS_LLVM_VARIANTS_H

#include "backends/llvm/cg.h"

/* Reports and fails unless the targets can be told apart. order gets their
 * numbers: what asks for least comes first, and runs where nothing better
 * can. */
PRN_NODISCARD prn_status prn_variants_order(prn_diag_sink *sink,
                                            prn_target *const *targets,
                                            size_t n, size_t *order);

/* Makes one program of several, in that order, for the symbol PREFIX_model.
 * Takes them all; the result is the first. */
PRN_NODISCARD prn_status prn_variants_join(prn_diag_sink *sink,
                                           prn_cg *const *programs, size_t n,
                                           const char *prefix, prn_cg **out);

#endif
