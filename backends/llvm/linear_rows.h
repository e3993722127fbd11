/* The register tiles of dense products, for who multiplies by matrices in
 * format `rows` that are parts of something else; see linear_rows.c. */
#ifndef PRN_BACKENDS_LLVM_LINEAR_ROWS_H
#define PRN_BACKENDS_LLVM_LINEAR_ROWS_H

#include "backends/llvm/cg.h"

typedef struct prn_rows_product {
  int64_t group;   /* of the format */
  int64_t columns; /* whole vectors */
  prn_v rows;      /* at most prn_rows_high */
  prn_v k;
  prn_v x, x_row; /* x[i * x_row + j] */
  prn_v w;        /* the first group; all groups have k * group weights */
  prn_v c, c_row; /* c[i * c_row + j] */
} prn_rows_product;

/* Rows that are multiplied at once, a multiple of the group. */
int64_t prn_rows_high(const prn_target *t, int64_t group);
/* Emits c = w x. */
void prn_rows_multiply(prn_cg *g, const prn_rows_product *p);

#endif
