/* mem.softmax and mem.norm along a dimension that is not the one whose
 * neighbours lie side by side: the lanes of a vector are different rows, and
 * nothing goes across lanes. rows.c has the other case. */
#ifndef PRN_BACKENDS_LLVM_COLUMNS_H
#define PRN_BACKENDS_LLVM_COLUMNS_H

#include "backends/llvm/emit.h"

/* Operands of both kernels. */
enum { PRN_ROWS_X, PRN_ROWS_OUT, PRN_ROWS_SCALE, PRN_ROWS_BIAS };

/* Whether the rows of this kernel lie side by side. */
bool prn_columns_fit(const prn_kernel *k);
/* As prn_kernel_kind's functions; cost is that of an element. */
prn_v prn_columns_items(prn_kernel *k, prn_v *work, unsigned cost);
void prn_columns_softmax(prn_kernel *k);
void prn_columns_norm(prn_kernel *k);

#endif
