/* Sums over panels: the loops in which observing spends its time, for the
 * vectors of this processor.
 *
 * Every sum is taken vector by vector in double precision, so that widths make
 * no difference; where there is a fused multiply-add, products are not
 * rounded. */
#include <math.h>
#include <string.h>

#include "ir/profile_vectors.h"

#define INLINE static inline __attribute__((always_inline))

/* Loops over registers, which have no index. */
#if defined __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* Sums of ROWS x (2 * WIDTH) products at a time, in registers. */
#define PRODUCT(name, attributes, WIDTH, ROWS)                             \
  attributes static void name(const double *a, const double *b, int64_t n, \
                              double(*out)[PRN_LANES]) {                   \
    typedef double vec __attribute__((vector_size(8 * (WIDTH))));          \
    for (int i = 0; i < PRN_LANES; i += (ROWS))                            \
      for (int j = 0; j < PRN_LANES; j += 2 * (WIDTH)) {                   \
        vec left[ROWS] = {0}, right[ROWS] = {0}, old, y, z;                \
        for (int64_t r = 0; r < n; r++) {                                  \
          const double *x = a + r * PRN_LANES + i;                         \
          memcpy(&y, b + r * PRN_LANES + j, sizeof y);                     \
          memcpy(&z, b + r * PRN_LANES + j + (WIDTH), sizeof z);           \
          UNROLL for (int k = 0; k < (ROWS); k++) {                        \
            left[k] += x[k] * y;                                           \
            right[k] += x[k] * z;                                          \
          }                                                                \
        }                                                                  \
        UNROLL for (int k = 0; k < (ROWS); k++) {                          \
          memcpy(&old, &out[i + k][j], sizeof old);                        \
          y = old + left[k];                                               \
          memcpy(&out[i + k][j], &y, sizeof y);                            \
          memcpy(&old, &out[i + k][j + (WIDTH)], sizeof old);              \
          y = old + right[k];                                              \
          memcpy(&out[i + k][j + (WIDTH)], &y, sizeof y);                  \
        }                                                                  \
      }                                                                    \
  }

/* Of whole panels, whose number of lanes is known, and of others. */
INLINE void combine(double (*sums)[PRN_LANES], int64_t rows, int64_t columns,
                    double scale, double share, int64_t side, double *m) {
  for (int64_t i = 0; i < rows; i++) {
    double *row = m + i * side;
    if (columns == PRN_LANES)
      for (int j = 0; j < PRN_LANES; j++)
        row[j] += share * (sums[i][j] * scale - row[j]);
    else
      for (int64_t j = 0; j < columns; j++)
        row[j] += share * (sums[i][j] * scale - row[j]);
  }
}

/* Two passes, since the variance is around the mean. */
INLINE void statistics(const double *panel, int64_t n,
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
  for (int64_t r = 0; r < n; r++) {
    const double *x = panel + r * PRN_LANES;
    for (int l = 0; l < PRN_LANES; l++)
      square[l] += (x[l] - sum[l]) * (x[l] - sum[l]);
  }
  for (int l = 0; l < PRN_LANES; l++) {
    out[0][l] = sum[l];
    out[1][l] = square[l] * scale;
    out[2][l] = absolute[l] * scale;
    out[3][l] = positive[l] * scale;
  }
}

#define SIMPLE(level, attributes)                                            \
  attributes static void statistics_##level(const double *panel, int64_t n,  \
                                            double(*out)[PRN_LANES]) {       \
    statistics(panel, n, out);                                               \
  }                                                                          \
  attributes static void combine_##level(                                    \
      double(*sums)[PRN_LANES], int64_t rows, int64_t columns, double scale, \
      double share, int64_t side, double *m) {                               \
    combine(sums, rows, columns, scale, share, side, m);                     \
  }

typedef struct loops {
  void (*product)(const double *a, const double *b, int64_t n,
                  double (*out)[PRN_LANES]);
  void (*statistics)(const double *panel, int64_t n, double (*out)[PRN_LANES]);
  void (*combine)(double (*sums)[PRN_LANES], int64_t rows, int64_t columns,
                  double scale, double share, int64_t side, double *m);
} loops;

PRODUCT(product_any, , 2, 4)
SIMPLE(any, )
static const loops any = {product_any, statistics_any, combine_any};

#if defined __x86_64__
#define V3 __attribute__((target("avx2,fma")))
#define V4 __attribute__((target("avx512f,avx512dq,avx512vl,fma")))
PRODUCT(product_v3, V3, 4, 4)
PRODUCT(product_v4, V4, 8, 8)
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

void prn_panel_statistics(const double *panel, int64_t n,
                          double out[PRN_PROFILE_VECTORS][PRN_LANES]) {
  best()->statistics(panel, n, out);
}

void prn_panel_product(const double *a, const double *b, int64_t n,
                       double out[PRN_LANES][PRN_LANES]) {
  best()->product(a, b, n, out);
}

void prn_panel_combine(double sums[PRN_LANES][PRN_LANES], int64_t rows,
                       int64_t columns, int64_t n, double share, int64_t side,
                       double *m) {
  best()->combine(sums, rows, columns, 1 / (double)n, share, side, m);
}
