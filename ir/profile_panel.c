/* Sums over panels: the loops in which observing spends its time, for the
 * vectors of this processor.
 *
 * Every sum is taken vector by vector, so that widths make no difference; where
 * there is a fused multiply-add, products are not rounded. */
#include <math.h>
#include <string.h>

#include "ir/profile_vectors.h"

#define INLINE static inline __attribute__((always_inline))

/* Loops over registers, which have no index. */
#if defined __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Sums of ROWS x (VECTORS * WIDTH) products at a time, in registers. */
#define PRODUCT(name, attributes, WIDTH, VECTORS, ROWS)                  \
  attributes static void name(const float *a, const float *b, int64_t n, \
                              double(*out)[PRN_LANES]) {                 \
    typedef float vec __attribute__((vector_size(4 * (WIDTH))));         \
    float sums[(VECTORS) * (WIDTH)];                                     \
    for (int i = 0; i < PRN_LANES; i += (ROWS))                          \
      for (int j = 0; j < PRN_LANES; j += (VECTORS) * (WIDTH)) {         \
        vec sum[ROWS][VECTORS] = {{{0}}}, y[VECTORS];                    \
        for (int64_t r = 0; r < n; r++) {                                \
          const float *x = a + r * PRN_LANES + i;                        \
          memcpy(y, b + r * PRN_LANES + j, sizeof y);                    \
          UNROLL for (int k = 0; k < (ROWS); k++) {                      \
            UNROLL for (int v = 0; v < (VECTORS); v++) sum[k][v] +=      \
                x[k] * y[v];                                             \
          }                                                              \
        }                                                                \
        UNROLL for (int k = 0; k < (ROWS); k++) {                        \
          memcpy(sums, sum[k], sizeof sums);                             \
          for (int v = 0; v < (VECTORS) * (WIDTH); v++)                  \
            out[i + k][j + v] += (double)sums[v];                        \
        }                                                                \
      }                                                                  \
  }

/* Of whole panels, whose number of lanes is known, and of others. */
INLINE void combine(double (*sums)[PRN_LANES], const prn_shift *x,
                    const prn_shift *y, int64_t rows, int64_t columns,
                    double scale, double share, int64_t side, double *m) {
  for (int64_t i = 0; i < rows; i++) {
    double *row = m + i * side, mean = x->sum[i] * scale + x->by[i];
    for (int j = 0; j < PRN_LANES; j++)
      sums[i][j] =
          sums[i][j] * scale + mean * y->by[j] + x->by[i] * (y->sum[j] * scale);
    if (columns == PRN_LANES)
      for (int j = 0; j < PRN_LANES; j++)
        row[j] += share * (sums[i][j] - row[j]);
    else
      for (int64_t j = 0; j < columns; j++)
        row[j] += share * (sums[i][j] - row[j]);
  }
}

/* Squares of differences from the mean; with a shift also those from it. */
INLINE void differences(const double *panel, int64_t n, const double *mean,
                        const prn_shift *s, float *shifted, double *square) {
  for (int64_t r = 0; r < n; r++) {
    const double *x = panel + r * PRN_LANES;
    for (int l = 0; l < PRN_LANES; l++)
      square[l] += (x[l] - mean[l]) * (x[l] - mean[l]);
    for (int l = 0; s && l < PRN_LANES; l++)
      shifted[r * PRN_LANES + l] = (float)(x[l] - s->by[l]);
  }
}

INLINE void move(prn_shift *s, const double *mean, int64_t n) {
  if (!s->known) memcpy(s->by, mean, sizeof s->by);
  s->known = true;
  for (int l = 0; l < PRN_LANES; l++)
    s->sum[l] += (mean[l] - s->by[l]) * (double)n;
}

/* Two passes, since the variance is around the mean. */
INLINE void statistics(const double *panel, int64_t n, prn_shift *s,
                       float *shifted,
                       double out[PRN_PROFILE_VECTORS][PRN_LANES]) {
  double sum[PRN_LANES] = {0}, absolute[PRN_LANES] = {0},
         positive[PRN_LANES] = {0}, square[PRN_LANES] = {0},
         scale = 1 / (double)n;
  for (int64_t r = 0; r < n; r++) {
    const double *x = panel + r * PRN_LANES;
    for (int l = 0; l < PRN_LANES; l++) {
      sum[l] += x[l];
      absolute[l] += fabs(x[l]);
      positive[l] += x[l] > 0 ? 1 : 0;
    }
  }
  for (int l = 0; l < PRN_LANES; l++)
    sum[l] *= scale;
  if (s) {
    move(s, sum, n);
    differences(panel, n, sum, s, shifted, square);
  } else {
    differences(panel, n, sum, NULL, NULL, square);
  }
  for (int l = 0; l < PRN_LANES; l++) {
    out[0][l] = sum[l];
    out[1][l] = square[l] * scale;
    out[2][l] = absolute[l] * scale;
    out[3][l] = positive[l] * scale;
  }
}

#define SIMPLE(level, attributes)                                              \
  attributes static void statistics_##level(const double *panel, int64_t n,    \
                                            prn_shift *s, float *shifted,      \
                                            double(*out)[PRN_LANES]) {         \
    statistics(panel, n, s, shifted, out);                                     \
  }                                                                            \
  attributes static void combine_##level(                                      \
      double(*sums)[PRN_LANES], const prn_shift *x, const prn_shift *y,        \
      int64_t rows, int64_t columns, double scale, double share, int64_t side, \
      double *m) {                                                             \
    combine(sums, x, y, rows, columns, scale, share, side, m);                 \
  }

typedef struct loops {
  void (*product)(const float *a, const float *b, int64_t n,
                  double (*out)[PRN_LANES]);
  void (*statistics)(const double *panel, int64_t n, prn_shift *s,
                     float *shifted, double (*out)[PRN_LANES]);
  void (*combine)(double (*sums)[PRN_LANES], const prn_shift *x,
                  const prn_shift *y, int64_t rows, int64_t columns,
                  double scale, double share, int64_t side, double *m);
} loops;

PRODUCT(product_any, , 4, 2, 4)
SIMPLE(any, )
static const loops any = {product_any, statistics_any, combine_any};

#if defined __x86_64__
#define V3 __attribute__((target("avx2,fma")))
#define V4 __attribute__((target("avx512f,avx512dq,avx512vl,fma")))
PRODUCT(product_v3, V3, 8, 2, 4)
PRODUCT(product_v4, V4, 16, 1, 16)
SIMPLE(v3, V3)
SIMPLE(v4, V4)
static const loops v3 = {product_v3, statistics_v3, combine_v3};
static const loops v4 = {product_v4, statistics_v4, combine_v4};

/* Of the levels x86-64-v3 and -v4, as far as it matters here. */
static const loops *best(void) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return &v4;
  bool three = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return three ? &v3 : &any;
}
#else
static const loops *best(void) { return &any; }
#endif

void prn_panel_statistics(const double *panel, int64_t n, prn_shift *s,
                          float *shifted,
                          double out[PRN_PROFILE_VECTORS][PRN_LANES]) {
  best()->statistics(panel, n, s, shifted, out);
}

void prn_panel_product(const float *a, const float *b, int64_t n,
                       double out[PRN_LANES][PRN_LANES]) {
  best()->product(a, b, n, out);
}

void prn_panel_combine(double sums[PRN_LANES][PRN_LANES], const prn_shift *x,
                       const prn_shift *y, int64_t rows, int64_t columns,
                       int64_t n, double share, int64_t side, double *m) {
  best()->combine(sums, x, y, rows, columns, 1 / (double)n, share, side, m);
}
