/* How the columns of x and the weights of a linear product are multiplied when
 * weights are stored in cells of 32 bits (ir/pack): one f32, two 16-bit
 * floats, four signed bytes.
 *
 * f32 columns are read where they lie. For narrower weights an item first
 * packs its columns into cells, once for all rows:
 *
 *   bf16, with a product in the target: activations are rounded to bf16
 *         (nearest even), products of pairs are summed in f32
 *   16-bit floats otherwise: weights are widened to f32 before they are used,
 *         activations stay as they are: only memory is saved
 *   s8    by u8 activations, sums in i32 */
#ifndef PRN_BACKENDS_LLVM_LINEAR_CELLS_H
#define PRN_BACKENDS_LLVM_LINEAR_CELLS_H

#include "backends/llvm/dot.h"
#include "backends/llvm/linear.h"

typedef struct prn_cells {
  prn_dot_kind kind;
  int64_t cell;  /* elements along k */
  unsigned subs; /* rows of packed columns a cell, each a step */
  bool widen;    /* weights to f32 before use */
} prn_cells;

prn_cells prn_cells_of(const prn_target *t, const prn_packing *p);
/* Of the whole depth. */
int64_t prn_cells_count(const prn_cells *s, const prn_packing *p);
/* Bytes of `width` packed columns, a multiple of a cache line. */
int64_t prn_cells_bytes(const prn_cells *s, const prn_packing *p,
                        int64_t width);
/* Emits the packing of columns [m0, m0 + cols) of d as out[cell][sub][width];
 * width is a multiple of the vector. */
void prn_cells_pack(prn_cg *g, const prn_cells *s, const prn_linear *d,
                    prn_v m0, prn_v cols, prn_v width, prn_v out);

#endif
