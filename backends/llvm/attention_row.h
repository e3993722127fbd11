/* mem.attention of one query: a step of decoding. The lanes run along keys or
 * features, whichever lie side by side, so that keys and values are read once
 * and whole. attention.c has the general case. */
#ifndef PRN_BACKENDS_LLVM_ATTENTION_ROW_H
#define PRN_BACKENDS_LLVM_ATTENTION_ROW_H

#include "backends/llvm/emit.h"

enum {
  PRN_ATTENTION_Q,
  PRN_ATTENTION_K,
  PRN_ATTENTION_V,
  PRN_ATTENTION_OUT,
  PRN_ATTENTION_EXTRAS
};

bool prn_attention_row_fit(const prn_op *op);
/* Floats of scratch. */
int64_t prn_attention_row_scratch(const prn_target *t, const prn_op *op);
/* Emits the head whose operands are at base and whose position is lead. */
void prn_attention_row(prn_kernel *k, const prn_v *base, const prn_v *lead,
                       prn_v scratch);

#endif
