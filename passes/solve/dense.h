/* Factors of large symmetric matrices, on several threads.
 *
 * Matrices are row-major. Work is cut into tiles whose sizes do not depend on
 * the number of threads, so that results do not either. */
#ifndef PRN_PASSES_SOLVE_DENSE_H
#define PRN_PASSES_SOLVE_DENSE_H

#include "passes/solve/lapack.h"

typedef struct prn_dense {
  const prn_lapack *lapack;
  unsigned threads;
} prn_dense;

/* A = L L': the lower triangle of a, of order n, becomes L. What is above is
 * left as it is. False when A is not positive definite. */
PRN_NODISCARD bool prn_dense_cholesky(const prn_dense *d, int64_t n, double *a);
/* out becomes the inverse of the lower triangle l, with zeros above. */
void prn_dense_invert(const prn_dense *d, int64_t n, const double *l,
                      double *out);

/* ---- rows times a matrix: c = alpha x b + beta c ----
 * x is rows x k with steps of ldx from row to row, b is k x n, c rows x n. On
 * the calling thread. */
void prn_rows_gemm_f32(const prn_dense *d, int64_t rows, int64_t n, int64_t k,
                       float alpha, const float *x, int64_t ldx, const float *b,
                       int64_t ldb, float beta, float *c, int64_t ldc);
void prn_rows_gemm_f64(const prn_dense *d, int64_t rows, int64_t n, int64_t k,
                       double alpha, const double *x, int64_t ldx,
                       const double *b, int64_t ldb, double beta, double *c,
                       int64_t ldc);
/* Rows x of n elements become solutions of (L L') y = x, with a triangle
 * l. On the calling thread. */
void prn_rows_solve_f32(const prn_dense *d, int64_t rows, int64_t n,
                        const float *l, float *x);

#endif
