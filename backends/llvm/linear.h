/* Products with constant weights whose vectors run along the columns of the
 * activations: out[n, m] = sum over k of w[k, n] x[k, m].
 *
 * x and out keep neighbouring m (tokens, pixels) side by side, so that a
 * weight is one broadcast whatever pattern of zeros it stands in. A family of
 * kernels is a row of the table in linear.c: it serves the constants of one
 * packing format (ir/pack), with the sparsity as data.
 *
 * An item is a block of columns by a range of rows of out. Every element of
 * out is summed in an order that depends on the weights alone, never on how
 * items are spread over threads. */
#ifndef PRN_BACKENDS_LLVM_LINEAR_H
#define PRN_BACKENDS_LLVM_LINEAR_H

#include "backends/llvm/cg.h"
#include "ir/pack/pack.h"

/* Emits what happens when c[n0 .. n0+rows, m0 .. m0+cols) is complete. */
typedef void prn_linear_done_fn(prn_cg *g, void *user, prn_v n0, prn_v rows,
                                prn_v m0, prn_v cols);

typedef struct prn_linear {
  prn_packing pack; /* sizes and parameters of the weights */
  prn_v w;          /* address of their bytes */
  prn_v m;          /* columns, i64 */
  /* f32 both, or u8 and i32 when the weights are i8. */
  prn_v x, x_row; /* x[i * x_row + j] */
  prn_v c, c_row; /* c[i * c_row + j] */
  prn_v scratch;  /* this worker's; NULL when the family asks for none */
  prn_linear_done_fn *done; /* NULL: c is the result */
  void *user;
} prn_linear;

typedef struct prn_linear_family {
  const char *pack;
  /* Columns of an item (a multiple of the vector), from the parameters and m,
   * which is -1 when it is not a constant. */
  int64_t (*columns)(const prn_target *t, const prn_packing *p, int64_t m);
  /* Rows of an item: a multiple of the packing's group. */
  int64_t (*rows)(const prn_target *t, const prn_packing *p);
  /* Emits one item: rows [n0, n1) by columns [m0, m0 + cols), cols <= columns.
   * n0 is a multiple of rows(). Calls done for all of it. */
  void (*item)(prn_cg *g, const prn_linear *d, int64_t columns, prn_v n0,
               prn_v n1, prn_v m0, prn_v cols);
  /* Bytes of scratch a worker needs; may be NULL. */
  size_t (*scratch)(const prn_target *t, const prn_packing *p);
} prn_linear_family;

/* NULL when the format is not one of these families'. */
const prn_linear_family *prn_linear_find(prn_str pack);

/* linear_rows.c */
extern const prn_linear_family prn_linear_rows;
/* linear_dot.c */
extern const prn_linear_family prn_linear_rows2, prn_linear_rows4;

/* linear_srt.c */
extern const prn_linear_family prn_linear_srt;

#endif
