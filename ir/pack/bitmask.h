/* What a kernel must know of the format in bitmask.c. */
#ifndef PRN_IR_PACK_BITMASK_H
#define PRN_IR_PACK_BITMASK_H

#include <stdint.h>

/* Results of a panel. */
int64_t prn_bitmask_width(int64_t nr);
/* Offsets of the masks and of the values. */
int64_t prn_bitmask_masks(int64_t n, int64_t width);
int64_t prn_bitmask_values(int64_t k, int64_t n, int64_t width);

#endif
