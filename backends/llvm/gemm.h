/* Dense matrix product: C[M,N] (+)= A[M,K] * B[K,N] in f32.
 *
 * One family of micro-kernels serves every shape: a register tile of mr rows
 * by nv vectors, A read by broadcast through any row and column stride, B
 * read from packed panels. Sizes are run-time values; what is specialised is
 * the tile. Reference: van Zee, van de Geijn, "BLIS" (2015), with A left
 * unpacked because broadcasts do not care how far apart rows lie.
 *
 * Packed B is a row of panels of NR = prn_target_nr() columns, each stored
 * [K][NR]; columns past N are zeros. Panel p starts at p * NR * K.
 *
 * Every element of C is summed over k in one fixed order, whatever the
 * blocking and however the blocks are spread over threads. */
#ifndef PRN_BACKENDS_LLVM_GEMM_H
#define PRN_BACKENDS_LLVM_GEMM_H

#include "backends/llvm/cg.h"

/* ---- packed panels ---- */

/* Elements of packed B. */
size_t prn_gemm_packed_size(const prn_target *t, int64_t k, int64_t n);
/* Packs a constant B, element (i, j) at b[i*row + j*col]. */
void prn_gemm_pack_const(const prn_target *t, const float *b, int64_t k,
                         int64_t n, int64_t row, int64_t col, float *out);
/* Emits the packing of one panel (cols <= NR) at run time. */
void prn_gemm_pack(prn_cg *g, prn_v b, prn_v k, prn_v cols, prn_v row,
                   prn_v col, prn_v out);

/* ---- one panel ---- */

typedef struct prn_gemm_panel_args {
  prn_v m, k;            /* i64; k may be 0 */
  prn_v a, a_row, a_col; /* strides in elements */
  prn_v b;               /* packed, [k][NR] */
  prn_v c, c_row;        /* unit column stride */
  prn_v cols;            /* 1..NR */
  prn_v acc;             /* i1: add to C instead of overwriting it */
  bool once;             /* b is far away, and not read again soon */
} prn_gemm_panel_args;
void prn_gemm_panel(prn_cg *g, const prn_gemm_panel_args *p);

/* ---- a whole product, in items that may run in any order ---- */

/* Called when a block of C is complete: rows x cols elements at tile, row
 * stride tile_row, being C[m0.., n0..]. */
typedef void prn_gemm_epilogue_fn(prn_cg *g, void *user, prn_v tile,
                                  prn_v tile_row, prn_v m0, prn_v rows,
                                  prn_v n0, prn_v cols);

typedef struct prn_gemm {
  prn_v m, n, k;
  prn_v a, a_row, a_col;
  prn_v b;            /* packed when b_row is NULL */
  prn_v b_row, b_col; /* else element strides of an unpacked B */
  prn_v c, c_row;     /* NULL: blocks live in scratch, the epilogue stores */
  prn_v scratch;      /* per worker, prn_gemm_scratch floats */
  prn_gemm_epilogue_fn *epilogue; /* may be NULL when c is given */
  void *user;
} prn_gemm;

/* Floats of scratch one worker needs; 0 when none. */
size_t prn_gemm_scratch(const prn_target *t, bool packed, bool direct);
prn_v prn_gemm_items(prn_cg *g, const prn_gemm *d);
/* Emits item number `item` into the current function. */
void prn_gemm_item(prn_cg *g, const prn_gemm *d, prn_v item);

/* Used by prn_gemm_item: all rows of columns [n0, n0 + cols) into tile, B read
 * where it lies. False, and nothing emitted, when the rows are not known to
 * be few, B is packed, or its neighbours lie along neither dimension. */
bool prn_gemm_direct(prn_cg *g, const prn_gemm *d, prn_v n0, prn_v cols,
                     prn_v tile, prn_v tile_row);

/* Rows of a block, depth of a block: what stays in L1 and L2. */
enum { PRN_GEMM_MB = 96, PRN_GEMM_KB = 768 };

#endif
