/* Loop nests: the common index space of the views of one kernel. */
#ifndef PRN_IR_NEST_H
#define PRN_IR_NEST_H

#include "ir/op.h"

enum { PRN_NEST_RANK = 16, PRN_NEST_VIEWS = 48 };

/* Dimensions that nn.index in a kernel's body asks for, as a bit mask; none for
 * NULL. */
uint32_t prn_nest_indices(const prn_block *body);

/* The dimensions that op's attribute `axes` lists, as one. */
uint32_t prn_nest_axes(const prn_op *op);

/* Dimensions of size 1 dropped, neighbours merged where every view allows, the
 * output's unit stride last. */
typedef struct prn_nest {
  unsigned rank, views;
  prn_dim dims[PRN_NEST_RANK];
  int axis[PRN_NEST_RANK]; /* the (first) original dimension */
  prn_dim strides[PRN_NEST_VIEWS][PRN_NEST_RANK];
} prn_nest;

/* types[n-1] is the output. Dimensions in `keep` (a bit mask) are neither
 * merged nor dropped; those in `last` are moved behind the others. */
void prn_nest_init(prn_ctx *ctx, prn_nest *nest, const prn_type *const *types,
                   unsigned n, uint32_t keep, uint32_t last);
/* Dimension `from` gets place `to`; those between move by one. */
void prn_nest_move(prn_nest *nest, unsigned from, unsigned to);

#endif
