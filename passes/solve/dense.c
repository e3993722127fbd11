#include "passes/solve/dense.h"

#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"

/* A row-major matrix is, to BLAS, its transpose by columns: the lower triangle
 * L of ours is an upper triangle U = L' of theirs. */

enum { TILE = 256 };

typedef struct step {
  const prn_dense *d;
  int64_t n, from, width; /* columns that are eliminated */
  double *a;
  const double *l;
} step;

static int64_t tile_size(int64_t n, int64_t at) {
  return n - at < TILE ? n - at : TILE;
}

/* Rows below the diagonal tile: L_ik = A_ik L_kk'^-1. */
static void panel(void *user, size_t chunk, size_t begin, size_t end) {
  const step *s = user;
  const double one = 1;
  int width = (int)s->width, rows = (int)(end - begin), ld = (int)s->n;
  double *diagonal = s->a + s->from * s->n + s->from;
  double *below = s->a + (s->from + s->width + (int64_t)begin) * s->n + s->from;
  (void)chunk;
  s->d->lapack->dtrsm("L", "U", "T", "N", &width, &rows, &one, diagonal, &ld,
                      below, &ld);
}

/* What is left: A_ij -= L_ik L_jk', a row of tiles up to the diagonal. */
static void trail(void *user, size_t chunk, size_t begin, size_t end) {
  const step *s = user;
  const double one = 1, minus = -1;
  int64_t first = s->from + s->width, i = first + (int64_t)begin;
  int rows = (int)(end - begin), width = (int)s->width, ld = (int)s->n;
  int cols = (int)(i + rows - first);
  (void)chunk;
  s->d->lapack->dgemm(
      "T", "N", &cols, &rows, &width, &minus, s->a + first * s->n + s->from,
      &ld, s->a + i * s->n + s->from, &ld, &one, s->a + i * s->n + first, &ld);
}

bool prn_dense_cholesky(const prn_dense *d, int64_t n, double *a) {
  bool ok = true;
  for (int64_t k = 0; k < n && ok; k += TILE) {
    step s = {.d = d, .n = n, .from = k, .width = tile_size(n, k), .a = a};
    int width = (int)s.width, ld = (int)n, info = 0;
    size_t left = (size_t)(n - k - s.width);

    d->lapack->dpotrf("U", &width, a + k * n + k, &ld, &info);
    ok = info == 0;
    if (!ok || !left) continue;
    prn_parallel_for(d->threads, left, TILE, panel, &s);
    prn_parallel_for(d->threads, left, TILE, trail, &s);
  }
  return ok;
}

/* Columns [begin, end) of the inverse: L X = E. */
static void invert(void *user, size_t chunk, size_t begin, size_t end) {
  const step *s = user;
  const double one = 1;
  int64_t at = (int64_t)begin, n = s->n;
  int cols = (int)(end - begin), rows = (int)(n - at), ld = (int)n;
  (void)chunk;
  for (int64_t r = 0; r < n; r++)
    memset(s->a + r * n + at, 0, (size_t)cols * sizeof *s->a);
  for (int64_t c = 0; c < cols; c++)
    s->a[(at + c) * n + at + c] = 1;
  s->d->lapack->dtrsm("R", "U", "N", "N", &cols, &rows, &one,
                      s->l + at * n + at, &ld, s->a + at * n + at, &ld);
}

void prn_dense_invert(const prn_dense *d, int64_t n, const double *l,
                      double *out) {
  step s = {.d = d, .n = n, .a = out, .l = l};
  prn_parallel_for(d->threads, (size_t)n, TILE / 2, invert, &s);
}

void prn_rows_gemm_f32(const prn_dense *d, int64_t rows, int64_t n, int64_t k,
                       float alpha, const float *x, int64_t ldx, const float *b,
                       int64_t ldb, float beta, float *c, int64_t ldc) {
  int m_ = (int)n, n_ = (int)rows, k_ = (int)k, a_ = (int)ldb, b_ = (int)ldx,
      c_ = (int)ldc;
  d->lapack->sgemm("N", "N", &m_, &n_, &k_, &alpha, b, &a_, x, &b_, &beta, c,
                   &c_);
}

void prn_rows_gemm_f64(const prn_dense *d, int64_t rows, int64_t n, int64_t k,
                       double alpha, const double *x, int64_t ldx,
                       const double *b, int64_t ldb, double beta, double *c,
                       int64_t ldc) {
  int m_ = (int)n, n_ = (int)rows, k_ = (int)k, a_ = (int)ldb, b_ = (int)ldx,
      c_ = (int)ldc;
  d->lapack->dgemm("N", "N", &m_, &n_, &k_, &alpha, b, &a_, x, &b_, &beta, c,
                   &c_);
}

void prn_rows_solve_f32(const prn_dense *d, int64_t rows, int64_t n,
                        const float *l, float *x) {
  const float one = 1;
  int m_ = (int)n, n_ = (int)rows;
  d->lapack->strsm("L", "U", "T", "N", &m_, &n_, &one, l, &m_, x, &m_);
  d->lapack->strsm("L", "U", "N", "N", &m_, &n_, &one, l, &m_, x, &m_);
}
