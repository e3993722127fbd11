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
  prn_dtype dtype; /* in which weights are stored */
  prn_pack_stats stats;
} prn_plan_product;

typedef struct prn_plan_choice {
  const char *format;                /* "dense": as it is, of a convolution */
  int64_t group, depth, nr, vectors; /* of prn_packing; 0: its default */
  int64_t tile;                      /* of winograd */
  double cost;                       /* in slots */
} prn_plan_choice;

enum { PRN_PLAN_MAX = 16 };

/* A convolution by minimal filtering with tiles of that size. */
prn_plan_choice prn_plan_winograd(const prn_machine *mc,
                                  const prn_plan_product *p, int64_t tile);

/* All formats that can hold the weights, cheapest first; the first of equals
 * is the plainer one. Returns their number, at least 1; the last row of `out`
 * that is dense is the dense format. */
int prn_plan(const prn_machine *mc, const prn_plan_product *p,
             prn_plan_choice *out);
/* The cheapest dense one among them. */
const prn_plan_choice *prn_plan_dense(const prn_plan_choice *all, int n);

#endif
