/* What a kernel must know of the format in bitmask.c. */
#ifndef PRN_IR_PACK_BITMASK_H
#define PRN_IR_PACK_BITMASK_H

#include <stdint.h>

/* Offsets of the masks and of the values. */
int64_t prn_bitmask_masks(int64_t n, int64_t nr);
int64_t prn_bitmask_values(int64_t k, int64_t n, int64_t nr);

#endif
