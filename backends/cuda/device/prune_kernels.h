/* Everything that a model's kernels are made of. */
#ifndef PRUNE_KERNELS_H
#define PRUNE_KERNELS_H

#include "prune_attention.h"
#include "prune_bitmap.h"
#include "prune_expand.h"
#include "prune_gemm.h"
#include "prune_index.h"
#include "prune_nk.h"
#include "prune_nm24.h"
#include "prune_nm24_sm90.h"

#endif
