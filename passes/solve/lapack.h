/* The routines of BLAS and LAPACK that dense problems need, from the system's
 * library, which is opened when it is first needed: a tool that does not solve
 * anything starts as fast as ever. */
#ifndef PRN_PASSES_SOLVE_LAPACK_H
#define PRN_PASSES_SOLVE_LAPACK_H

#include "ir/support/diag.h"

typedef struct prn_lapack {
  /* A = L L' of order n in columns of lda; *info > 0: not positive definite. */
  void (*dpotrf)(const char *uplo, const int *n, double *a, const int *lda,
                 int *info);
  /* Solves A X = B by it: m columns of B of ldb become those of X. */
  void (*dpotrs)(const char *uplo, const int *n, const int *m, const double *a,
                 const int *lda, double *b, const int *ldb, int *info);
  /* The triangle of it becomes that of the inverse of A. */
  void (*dpotri)(const char *uplo, const int *n, double *a, const int *lda,
                 int *info);
  /* C = alpha op(A) op(B) + beta C, of m x n with k summed over, by columns. */
  void (*dgemm)(const char *op_a, const char *op_b, const int *m, const int *n,
                const int *k, const double *alpha, const double *a,
                const int *lda, const double *b, const int *ldb,
                const double *beta, double *c, const int *ldc);
  void (*sgemm)(const char *op_a, const char *op_b, const int *m, const int *n,
                const int *k, const float *alpha, const float *a,
                const int *lda, const float *b, const int *ldb,
                const float *beta, float *c, const int *ldc);
  /* y = alpha op(A) x + beta y and A += alpha x y', A of m x n by columns. */
  void (*dgemv)(const char *op, const int *m, const int *n, const double *alpha,
                const double *a, const int *lda, const double *x,
                const int *incx, const double *beta, double *y,
                const int *incy);
  void (*dger)(const int *m, const int *n, const double *alpha, const double *x,
               const int *incx, const double *y, const int *incy, double *a,
               const int *lda);
  /* Solves op(A) X = alpha B (side "L") or X op(A) = alpha B ("R") with a
   * triangle A: B, of m x n, becomes X. */
  void (*dtrsm)(const char *side, const char *uplo, const char *op,
                const char *diag, const int *m, const int *n,
                const double *alpha, const double *a, const int *lda, double *b,
                const int *ldb);
  void (*strsm)(const char *side, const char *uplo, const char *op,
                const char *diag, const int *m, const int *n,
                const float *alpha, const float *a, const int *lda, float *b,
                const int *ldb);
} prn_lapack;

/* NULL after a message that names the library that is missing. Lives as long as
 * the program. Each call computes on one thread, so that results are the same
 * everywhere; any number of threads may call. */
const prn_lapack *prn_lapack_open(prn_diag_sink *sink);

/* The lower factor of C[at, at] + damping * mean * I in a (size x size), where
 * C has n columns. Damping grows tenfold until there is one; false when there
 * is none. at: NULL: all. */
PRN_NODISCARD bool prn_lapack_factor(const prn_lapack *l, const double *c,
                                     int64_t n, const int64_t *at, int64_t size,
                                     double mean, double *damping, double *a);

#endif
