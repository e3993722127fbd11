/* Lowering: onnx -> nn -> mem. One direction, one entry point per step.
 *
 * Each step reports everything it cannot do, naming the node, before it
 * fails. The module holds only the new dialect afterwards. */
#ifndef PRN_PASSES_LOWER_LOWER_H
#define PRN_PASSES_LOWER_LOWER_H

#include "ir/op.h"

/* What lowering to memory needs to know about the machine. */
typedef struct prn_lower_target {
  int nr; /* columns of a packed f32 weight panel (multiple of the vector) */
  int mr; /* rows of the dense register tile */
  /* Tokens in rows of features, as on a GPU; else side by side in the lanes of
   * vectors. */
  bool rows;
} prn_lower_target;

/* onnx.graph -> nn.func. Runs shape inference itself. float8: products of
 * dequantised float8 are computed on what is stored. */
PRN_NODISCARD prn_status prn_lower_onnx_to_nn(prn_module *m, bool float8);
/* Sets the mark of the graph's inputs whose values, not only sizes, must be
 * known for that, and clears that of the others. */
void prn_lower_mark_size_inputs(prn_module *m);
/* docs/operators.md, but for the column of node cases. */
void prn_operators_docs(prn_strbuf *b);
/* nn.func -> mem.func with unplaced memory. */
PRN_NODISCARD prn_status prn_lower_nn_to_mem(prn_module *m,
                                             const prn_lower_target *target);
/* Gives every mem.alloc and mem.constant its offset, the latter a multiple of
 * `align`; sets `arena` and `weights` of the mem.func. */
PRN_NODISCARD prn_status prn_plan_memory(prn_module *m, int64_t align);

#endif
