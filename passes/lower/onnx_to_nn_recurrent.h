/* What the two ways to lower a recurrent cell share. */
#ifndef PRN_PASSES_LOWER_ONNX_TO_NN_RECURRENT_H
#define PRN_PASSES_LOWER_ONNX_TO_NN_RECURRENT_H

#include "passes/lower/onnx_to_nn.h"

/* Operand slots; RNN and GRU have the first six. */
enum {
  PRN_O2N_X,
  PRN_O2N_W,
  PRN_O2N_R,
  PRN_O2N_B,
  PRN_O2N_LENGTHS,
  PRN_O2N_H0,
  PRN_O2N_C0,
  PRN_O2N_PEEPHOLES,
  PRN_O2N_SLOTS
};

typedef struct prn_o2n_cell {
  bool lstm;
  bool steps; /* not what the kernels compute: step by step */
  int64_t gates;
  int32_t dirs;
  bool batch_first;
  prn_dim seq, batch, hidden;
} prn_o2n_cell;

/* Direction d of a cell written out, from operands of that direction: out gets
 * y[seq, batch, hidden], h and (LSTM) c. */
PRN_NODISCARD prn_status prn_o2n_walk_cell(prn_o2n *e, const prn_op *op,
                                           const prn_o2n_cell *c,
                                           prn_value *const *in, int32_t d,
                                           bool reverse, prn_value **out);

#endif
