/* The formats themselves, for the table in pack.c. */
#ifndef PRN_IR_PACK_FORMATS_H
#define PRN_IR_PACK_FORMATS_H

#include "ir/pack/pack.h"

/* dense.c: the tensor as it is; panels [ceil(n/nr)][k][nr], zero padded. */
extern const prn_pack_format prn_pack_dense, prn_pack_panels;

/* rows.c: [ceil(n/group)][k][group], f32, zero padded. */
extern const prn_pack_format prn_pack_rows;

/* cells.c: [ceil(n/group)][ceil(k/2)][group][2] of 16-bit floats, and the
 * same with quadruples of signed bytes. */
extern const prn_pack_format prn_pack_rows2, prn_pack_rows4;

/* srt.c: sparse register tiling, see srt.h. */
extern const prn_pack_format prn_pack_srt, prn_pack_blocks;

/* columns.c, bitmask.c: what products of a few rows read, see there. */
extern const prn_pack_format prn_pack_columns, prn_pack_gather,
    prn_pack_bitmask;

/* nk.c, nm24.c, bitmap.c, bsr.c: what CUDA kernels read, see
 * docs/cuda-formats.md. */
extern const prn_pack_format prn_pack_nk, prn_pack_nm24, prn_pack_bitmap,
    prn_pack_bsr;

/* winograd.c: of 3x3 convolutions, transformed, see winograd.h. */
extern const prn_pack_format prn_pack_winograd;

#endif
