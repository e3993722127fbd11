/* What a kernel must know of the formats in columns.c. */
#ifndef PRN_IR_PACK_COLUMNS_H
#define PRN_IR_PACK_COLUMNS_H

#include <stdint.h>

enum {
  PRN_COLUMNS_DEPTH = 1 << 16, /* the most: steps are numbered by u16 */
  PRN_GATHER_UNIT = 8,         /* entries of `gather` counted as one */
};

/* Offset of the values; the indices follow, aligned to 64 bytes. */
int64_t prn_columns_values(int64_t n, int64_t group);

#endif
