/* Sums of products of elements narrower than f32.
 *
 * A cell is 32 bits: two neighbours along the depth as bf16, or four as 8-bit
 * integers. One step adds, in every lane, the products of a cell of
 * activations and a cell of weights to a sum: in one instruction where the
 * target has it (vdpbf16ps, vpdpbusd, usdot), else exactly the same integers
 * by widening. Kernels that keep columns innermost, dense or sparse, differ
 * from f32 ones in the step alone. */
#ifndef PRN_BACKENDS_LLVM_DOT_H
#define PRN_BACKENDS_LLVM_DOT_H

#include "backends/llvm/cg.h"

typedef enum prn_dot_kind {
  PRN_DOT_F32,  /* a cell is one f32 */
  PRN_DOT_BF16, /* sum f32; needs target->dot16 */
  PRN_DOT_U8S8, /* activations u8, weights s8, sum i32 (wraps) */
} prn_dot_kind;

/* Elements of a cell. */
static inline unsigned prn_dot_depth(prn_dot_kind kind) {
  return kind == PRN_DOT_U8S8 ? 4 : kind == PRN_DOT_BF16 ? 2 : 1;
}
/* Type of a vector of sums. */
prn_t prn_dot_sum(prn_cg *g, prn_dot_kind kind);
/* sum + x . w, where x and w are vectors of target->lanes cells (i32), or, but
 * for bf16, single ones. */
prn_v prn_dot_step(prn_cg *g, prn_dot_kind kind, prn_v sum, prn_v x, prn_v w);

/* Emits the packing of depth x cols activations (f32, or u8 for U8S8; element
 * (i, j) at x[i * x_row + j]) as cells out[ceil(depth/cell)][width]; depth is
 * known, width a multiple of the vector. Columns from cols on, and what a
 * last cell has beyond the depth, are zeros. */
void prn_dot_pack(prn_cg *g, prn_dot_kind kind, prn_v x, prn_v x_row,
                  int64_t depth, prn_v cols, prn_v width, prn_v out);

#endif
