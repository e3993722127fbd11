/* Which format the weights of a product are worth: what each candidate would
 * cost, from the exact places of the zeros and the machine's cost table. */
#ifndef PRN_PASSES_LOWER_PLAN_H
#define PRN_PASSES_LOWER_PLAN_H

#include "ir/pack/stats.h"
#include "passes/lower/machine.h"

/* A product to be planned: out[n, m] = sum over k of w[k, n] x[k, m]. */
typedef struct prn_plan_product {
  int64_t m, n, k; /* m: columns of all batches */
  int64_t batches; /* that it is cut into */
  bool rows;       /* may be computed row by row: m is known, x a matrix */
  int64_t taps;    /* 0, or of a convolution's window: k = channels * taps, and
                    * x is unfolded */
  /* Sizes of the result's image where a 3x3 window moves by single pixels, so
   * that it can be computed tile by tile; else 0. */
  int64_t height, width;
  prn_dtype dtype; /* in which weights are to be stored */
  prn_pack_stats stats;
  prn_pack_stats wide; /* of 16-bit floats, if they were f32 */
  const prn_tensor *weights;
  bool nk; /* how they lie: as prn_packing */
} prn_plan_product;

typedef struct prn_plan_choice {
  const char *format;                /* "dense": as it is, of a convolution */
  int64_t group, depth, nr, vectors; /* of prn_packing; 0: its default */
  int64_t tile;                      /* of winograd */
  int64_t wide; /* 1: 16-bit floats are stored as f32, for speed */
  double cost;  /* in slots */
} prn_plan_choice;

enum {
  PRN_PLAN_MAX = 32,   /* choices */
  PRN_PLAN_FEW = 16,   /* rows that may be computed row by row, at most */
  PRN_PLAN_ROWS = 384, /* of a block of weights with zeros, about */
};

/* What one of them costs: a choice of prn_plan, or one like it (plan_cost.c).
 */
double prn_plan_cost(const prn_machine *mc, const prn_plan_product *p,
                     const prn_plan_choice *c);
/* The same of a convolution by minimal filtering (plan_winograd.c). */
double prn_plan_winograd(const prn_machine *mc, const prn_plan_product *p,
                         int64_t tile);
/* The product, if its 16-bit weights are stored as f32. */
prn_plan_product prn_plan_widened(const prn_plan_product *p);
/* Whether choices may have that format. */
bool prn_plan_is_format(const char *name);
/* Whether x is unfolded by panels of whole channels, as f32 is; else all at
 * once. */
bool prn_plan_by_panels(const prn_plan_product *p);
/* Vectors of columns of a block, when blocks of at most so many are made as
 * even as can be. */
int64_t prn_plan_width(const prn_machine *mc, const prn_plan_product *p,
                       int64_t most);
/* All formats that can hold the weights, cheapest first, but a dense one before
 * others that are hardly cheaper. Returns their number, at least 1. */
int prn_plan(const prn_machine *mc, const prn_plan_product *p,
             prn_plan_choice *out);
/* Choices beside one of them that differ in a parameter by one notch, as far
 * as they make sense; their number. */
enum { PRN_PLAN_NEIGHBOURS = 2 };
int prn_plan_neighbours(const prn_machine *mc, const prn_plan_product *p,
                        const prn_plan_choice *c, prn_plan_choice *out);
/* The cheapest dense one among them. */
const prn_plan_choice *prn_plan_dense(const prn_plan_choice *all, int n);

/* ---- on operations of the nn dialect (plan_op.c) ---- */

/* The product that op computes with constant weights; false when their format
 * is not open to choice. Where the number of columns is, `open` is taken. */
bool prn_plan_product_of(const prn_op *op, int64_t open, prn_plan_product *out);
/* Has op's weights stored as c says. */
void prn_plan_set(prn_op *op, const prn_plan_choice *c);

#endif
