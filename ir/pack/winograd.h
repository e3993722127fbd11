/* winograd: the weights of a 3x3 convolution, transformed for minimal
 * filtering F(m x m, 3 x 3), m = 2 or 4 (`tile`).
 *
 * A tile of m x m results follows from `side` x `side` elements of x with
 * side = m + 2: the transform of the elements (B' d B) meets that of the
 * weights (G g G') element by element, which for all channels at once is a
 * matrix product for each of the side^2 elements, and A' (...) A are the
 * results. Reference: Lavin, Gray, "Fast Algorithms for Convolutional Neural
 * Networks" (CVPR 2016); the matrices are Toom-Cook's for the points 0, p, -p
 * for each p, and infinity:
 *
 *   B'  row of a finite point p: coefficients of the product of (t - q) over
 *       all other finite points q; of infinity: over all finite points
 *   G   row of p: (1, p, p^2) / product of (p - q); of infinity: (0, 0, 1)
 *   A'  column of p: (1, p, ..., p^(m-1)); of infinity: (0, ..., 0, 1)
 *
 * The usual points of m = 4 are 1 and 2. Rounding hurts least when p and 1/p
 * are about as far from 1; with 5/8 and 3/2 the error is half as large, and
 * every coefficient of A' and B' is still exactly a float.
 *
 * With k the channels of x and n those of the result, in panels of nr results,
 * a multiple of the group:
 *
 *   f32 w[ceil(n / nr)][side * side][nr / group][k][group]
 *
 * so that a kernel which computes the products of a panel, and then its
 * results, reads on and on. The last panel has the groups it needs; what is
 * past n in them is zeros. The packed matrix is [9 k, n], stored nk: the tensor
 * is [n, k, 3, 3]. Transformed in double and rounded once. */
#ifndef PRN_IR_PACK_WINOGRAD_H
#define PRN_IR_PACK_WINOGRAD_H

#include <stdint.h>

enum { PRN_WINOGRAD_TAPS = 3, PRN_WINOGRAD_PAIRS = 2, PRN_WINOGRAD_SIDE = 6 };

typedef struct prn_winograd {
  int64_t m, side;
  int64_t pairs; /* of points p and -p */
  double point[PRN_WINOGRAD_PAIRS];
} prn_winograd;

/* NULL unless there is one for tiles of m x m results. */
const prn_winograd *prn_winograd_of(int64_t m);

/* Coefficients c of the product of (t^2 - p^2) over all pairs but number
 * `but` (-1: over all), c[i] of t^(2i); the last is 1. Their number. */
int64_t prn_winograd_even(const prn_winograd *f, int64_t but, double *c);

#endif
