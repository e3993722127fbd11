/* Products of a few rows with constant weights that have zeros, as in a
 * decoding step: c[m, n] = sum over k of a[m, k] w[k, n].
 *
 * There are too few rows to fill vectors with them, so vectors run along n,
 * and every weight is used once for each row: what counts is how few bytes
 * are read, and that they are asked for in time. A family of kernels is a row
 * of the table in few.c and serves the constants of one packing format, with
 * the sparsity as data. Dense weights go through gemm.h.
 *
 * An item is a range of results for all rows. Every element of c is summed in
 * an order that depends on the weights alone. */
#ifndef PRN_BACKENDS_LLVM_FEW_H
#define PRN_BACKENDS_LLVM_FEW_H

#include "backends/llvm/cg.h"
#include "ir/pack/pack.h"

enum { PRN_FEW_ROWS = 16 }; /* the most */

typedef struct prn_few {
  prn_packing pack;
  int64_t m;             /* rows */
  prn_v w;               /* address of the weights' bytes */
  prn_v a, a_row, a_col; /* f32, a[i * a_row + k * a_col] */
  prn_v c, c_row;        /* f32, c[i * c_row + j] */
} prn_few;

typedef struct prn_few_family {
  const char *pack;
  /* Whether it is worth its name on the target; it is right on all. */
  bool (*supported)(const prn_target *t, const prn_packing *p);
  /* Results of an item. */
  int64_t (*width)(const prn_target *t, const prn_packing *p);
  /* Emits one: results [n0, n0 + cols), n0 a multiple of width, of all rows,
   * into c[..., 0 .. cols). */
  void (*item)(prn_cg *g, const prn_few *d, prn_v n0, prn_v cols);
} prn_few_family;

/* NULL when the format is not one of these families'. */
const prn_few_family *prn_few_find(prn_str pack);

/* ---- what the families share (few.c) ---- */

/* How far ahead of its use the kernels ask for a weight, in bytes. */
enum { PRN_FEW_AHEAD = 16 << 10 };
/* Asks for `lines` cache lines, PRN_FEW_AHEAD after p. */
void prn_few_ask(prn_cg *g, prn_v p, int64_t lines);
/* start[i], as i64. */
prn_v prn_few_start(prn_cg *g, prn_v w, prn_v i);
/* a[row, k] of a row counted from a on. */
prn_v prn_few_element(prn_cg *g, const prn_few *d, int64_t row, prn_v k);
/* Rows that are computed together when each takes this many registers. */
int64_t prn_few_rows(const prn_target *t, int64_t m, int64_t vectors);
/* The product of rows [i, i + rows) alone. */
prn_few prn_few_from(prn_cg *g, const prn_few *d, int64_t i, int64_t rows);

extern const prn_few_family prn_few_bitmask, prn_few_columns, prn_few_gather;

#endif
