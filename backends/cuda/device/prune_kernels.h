/* Everything that a model's kernels are made of. */
#ifndef PRUNE_KERNELS_H
#define PRUNE_KERNELS_H

#ifdef __CUDACC__
/* Positions that are taken apart further than a view needs. */
#pragma nv_diag_suppress 177
#endif

#include "prune_attention.h"
#include "prune_bitmap.h"
#include "prune_bsr.h"
#include "prune_cells.h"
#include "prune_expand.h"
#include "prune_gemm.h"
#include "prune_index.h"
#include "prune_nk.h"
#include "prune_nm24.h"
#include "prune_nm24_sm90.h"

#endif
