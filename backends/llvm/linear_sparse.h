/* What the sparse families of mem.linear share: a block of rows walked panel
 * by panel and group by group, with a tile of accumulators in registers.
 *
 * The weights of a block are one stream of records in the order in which they
 * are read; a record holds what one group of rows has in one panel. A family
 * says what a record looks like; loading, storing and tails are done here. */
#ifndef PRN_BACKENDS_LLVM_LINEAR_SPARSE_H
#define PRN_BACKENDS_LLVM_LINEAR_SPARSE_H

#include "backends/llvm/linear.h"

enum { PRN_SPARSE_ROWS = 16, PRN_SPARSE_VECTORS = 8 };

/* A tile being computed: acc[r * vectors + v]. */
typedef struct prn_sparse_tile {
  const prn_packing *pack;
  unsigned rows, vectors, lanes;
  prn_t type; /* of an accumulator */
  prn_v mask; /* of the last vector; NULL: all lanes */
  prn_v x;    /* first element of the panel, or with offsets of the matrix */
  prn_v x_row;
  prn_v acc[PRN_LOOP_MAX];
} prn_sparse_tile;

typedef struct prn_sparse_kind {
  const char *name;
  /* Rows of a tile, of the packing's group: a divisor of it. */
  unsigned (*rows)(const prn_target *t, const prn_packing *p);
  /* Vectors of a tile when there are columns enough. */
  unsigned (*vectors)(const prn_target *t, const prn_packing *p);
  /* Emits acc += record at w, for tile number `part` of the group; returns
   * where the next record lies. */
  prn_v (*record)(prn_cg *g, prn_sparse_tile *t, prn_v w, unsigned part);
} prn_sparse_kind;

/* Vectors of x at step `index` (i64, or an offset), into out. */
void prn_sparse_load_x(prn_cg *g, const prn_sparse_tile *t, prn_v index,
                       prn_v *out);

/* The three functions of prn_linear_family. */
int64_t prn_sparse_columns(const prn_sparse_kind *kind, const prn_target *t,
                           const prn_packing *p, int64_t m);
void prn_sparse_item(prn_cg *g, const prn_sparse_kind *kind,
                     const prn_linear *d, int64_t columns, prn_v n0, prn_v n1,
                     prn_v m0, prn_v cols);

#endif
