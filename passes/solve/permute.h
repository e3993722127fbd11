/* Which columns of a matrix are neighbours: numbers only, no IR.
 *
 * Of every m neighbours in a row the n of largest score stay. The columns are
 * put in an order in which what stays is worth much, for all rows together. */
#ifndef PRN_PASSES_SOLVE_PERMUTE_H
#define PRN_PASSES_SOLVE_PERMUTE_H

#include "ir/support/base.h"

typedef struct prn_columns {
  int64_t rows, cols;  /* cols is a multiple of m */
  int64_t n, m;        /* 0 < n < m */
  const float *scores; /* [cols][rows], finite */
  int64_t sweeps;      /* rounds of improvement, at most */
  unsigned threads;
} prn_columns;

/* What stays is worth, with the columns in that order. */
double prn_columns_kept(const prn_columns *c, const int64_t *order);

/* Zhang et al., "Plug-and-play: an efficient post-training pruning method for
 * large language models", 2024, section 3.3. First the columns are dealt to the
 * groups by their sums, so that each gets large and small ones. Then one column
 * of each group is taken out, for each place in a group in turn, and all are
 * given to the groups in the way that is best for what stays, an assignment
 * problem; never is less kept than before. Between the rounds (`sweeps`) places
 * within groups are shifted, which changes nothing but who is taken out
 * together: any two columns of different groups may so be exchanged, as in
 * Pool and Yu, "Channel permutations for N:M sparsity", 2021.
 *
 * Groups beyond PRN_COLUMNS_TOGETHER are assigned in parts, which are others
 * in each round. A round takes time with rows * cols * PRN_COLUMNS_TOGETHER and
 * the cube of PRN_COLUMNS_TOGETHER for each part and place. The result does not
 * depend on the threads. False when there is no memory. */
enum { PRN_COLUMNS_TOGETHER = 512 };
PRN_NODISCARD bool prn_columns_order(const prn_columns *c, int64_t *out);

/* Gives n columns to n rows, to[row] = column, so that the sum of
 * gain[row * n + column] is largest. False when there is no memory. */
PRN_NODISCARD bool prn_assign(int64_t n, const double *gain, int64_t *to);

#endif
