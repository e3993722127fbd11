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

/* Emits what happens when the sums of rows n0 .. n0 + rows by columns m0 ..
 * m0 + cols are complete: sums[i * pitch + j], which may be where they go. */
typedef void prn_linear_done_fn(prn_cg *g, void *user, prn_v n0, prn_v rows,
                                prn_v m0, prn_v cols, prn_v sums, prn_v pitch);

/* Emits what happens to sums that are complete and in registers: `vectors`
 * vectors of columns m0, m0 + lanes, ... of row n; the last one's lanes are
 * those of mask, when there is one. It stores the result. */
typedef void prn_linear_finish_fn(prn_cg *g, void *user, prn_v n, prn_v m0,
                                  const prn_v *sums, unsigned vectors,
                                  prn_v mask);

/* Emits the making of rows k0 .. k0 + steps of x for the columns of the item,
 * whole vectors of them. */
typedef void prn_linear_panel_fn(prn_cg *g, void *user, prn_v k0, prn_v steps);

typedef struct prn_linear {
  prn_packing pack; /* sizes and parameters of the weights */
  prn_v w;          /* address of their bytes */
  prn_v m;          /* columns, i64 */
  /* f32 both, or u8 and i32 when the weights are i8. */
  prn_v x, x_row; /* x[i * x_row + j] */
  bool anywhere;  /* rows of x may begin within a cache line */
  /* NULL, or makes x panel by panel: x is then the panel, and its first column
   * the item's. srt and blocks only, with f32. */
  prn_linear_panel_fn *panel;
  prn_v c, c_row; /* c[i * c_row + j] */
  prn_v scratch;  /* this worker's; NULL when the family asks for none */
  /* Both or neither: then c is the result. A family calls one of them for
   * every element of out, once; families that are not `partial` leave c
   * alone then. */
  prn_linear_done_fn *done;
  prn_linear_finish_fn *finish;
  void *user;
} prn_linear;

typedef struct prn_linear_family {
  const char *pack;
  bool partial; /* sums lie in c between panels of the depth */
  /* Columns of an item (a multiple of the vector), from the parameters and m,
   * which is -1 when it is not a constant. */
  int64_t (*columns)(const prn_target *t, const prn_packing *p, int64_t m);
  /* Rows of an item: a multiple of the packing's group. */
  int64_t (*rows)(const prn_target *t, const prn_packing *p);
  /* Emits one item: rows [n0, n1) by columns [m0, m0 + cols), cols <= columns.
   * n0 is a multiple of rows(). Calls done for all of it. */
  void (*item)(prn_cg *g, const prn_linear *d, int64_t columns, prn_v n0,
               prn_v n1, prn_v m0, prn_v cols);
  /* Bytes of scratch a worker needs, by what d->anywhere will be; may be
   * NULL. */
  size_t (*scratch)(const prn_target *t, const prn_packing *p, bool anywhere);
} prn_linear_family;

/* NULL when the format is not one of these families'. */
const prn_linear_family *prn_linear_find(prn_str pack);

/* linear_rows.c */
extern const prn_linear_family prn_linear_rows;
/* linear_dot.c */
extern const prn_linear_family prn_linear_rows2, prn_linear_rows4;

/* linear_srt_item.c */
extern const prn_linear_family prn_linear_srt, prn_linear_blocks;

#endif
