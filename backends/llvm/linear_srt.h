/* Sparse register tiling (ir/pack/srt.h): the kernel of a run, and the items
 * made of it. */
#ifndef PRN_BACKENDS_LLVM_LINEAR_SRT_H
#define PRN_BACKENDS_LLVM_LINEAR_SRT_H

#include "backends/llvm/linear_cells.h"
#include "ir/pack/srt.h"

/* A tile of accumulators: rows of a group by vectors of columns. */
typedef struct prn_srt_tile {
  const prn_packing *pack;
  bool blocks;
  prn_cells cells;
  unsigned vectors, lanes;
  bool masked;  /* the last vector has COLS % lanes columns, or all */
  bool whole_x; /* x has them all */
} prn_srt_tile;

/* What a run takes. X is the first cell of the panel, C the block's first row;
 * strides are in elements. */
enum {
  PRN_SRT_X,
  PRN_SRT_XROW,
  PRN_SRT_C,
  PRN_SRT_CROW,
  PRN_SRT_W,
  PRN_SRT_COLS,
  PRN_SRT_FIRST, /* c is written, not added to */
  PRN_SRT_PARAMS,
};
/* Emits what happens to the complete sums of a row of the block. */
typedef void prn_srt_finish_fn(prn_cg *g, void *user, prn_v row,
                               const prn_v *sums, unsigned vectors, prn_v mask);
/* Emits the addition of the run at W to c; returns the address behind the run.
 * With `finish` the sums go there instead: the code is then this kernel's own,
 * else a function that others share. */
prn_v prn_srt_run(prn_cg *g, const prn_srt_tile *t, const prn_v *args,
                  prn_srt_finish_fn *finish, void *user);

#endif
