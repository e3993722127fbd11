/* The format bitmap, see bitmap.c: where its parts begin. */
#ifndef PRN_IR_PACK_BITMAP_H
#define PRN_IR_PACK_BITMAP_H

#include <stdint.h>

enum {
  PRN_BITMAP_ROWS = 16, /* of a tile, along n */
  PRN_BITMAP_DEPTH = 64,
  PRN_BITMAP_UNIT = 8, /* values that a tile's are rounded up to */
};

int64_t prn_bitmap_tiles(int64_t k, int64_t n);
/* Bytes before the masks, and before the values. */
int64_t prn_bitmap_masks(int64_t k, int64_t n);
int64_t prn_bitmap_values(int64_t k, int64_t n);

#endif
