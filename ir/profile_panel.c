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

/* Sums of ROWS x (2 * WIDTH) products at a time, in registers. */
#define PRODUCT(name, attributes, WIDTH, ROWS)                             \
  attributes static void name(const double *a, const double *b, int64_t n, \
                              double(*out)[PRN_LANES]) {                   \
    typedef double vec __attribute__((vector_size(8 * (WIDTH))));          \
    for (int i = 0; i < PRN_LANES; i += (ROWS))                            \
      for (int j = 0; j < PRN_LANES; j += 2 * (WIDTH)) {                   \
        vec sums[ROWS][2] = {0};                                           \
        for (int64_t r = 0; r < n; r++) {                                  \
          const double *x = a + r * PRN_LANES + i;                         \
          vec y[2];                                                        \
          memcpy(y, b + r * PRN_LANES + j, sizeof y);                      \
          for (int k = 0; k < (ROWS); k++) {                               \
            sums[k][0] += x[k] * y[0];                                     \
            sums[k][1] += x[k] * y[1];                                     \
          }                                                                \
        }                                                                  \
        for (int k = 0; k < (ROWS); k++)                                   \
          for (int e = 0; e < 2 * (WIDTH); e++)                            \
            out[i + k][j + e] += sums[k][e / (WIDTH)][e % (WIDTH)];        \
      }                                                                    \
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

#define STATISTICS(name, attributes)                          \
  attributes static void name(const double *panel, int64_t n, \
                              double(*out)[PRN_LANES]) {      \
    statistics(panel, n, out);                                \
  }

typedef void product_fn(const double *a, const double *b, int64_t n,
                        double (*out)[PRN_LANES]);
typedef void statistics_fn(const double *panel, int64_t n,
                           double (*out)[PRN_LANES]);

PRODUCT(product_any, , 2, 4)
STATISTICS(statistics_any, )

#if defined __x86_64__
#define V3 __attribute__((target("avx2,fma")))
#define V4 __attribute__((target("avx512f,avx512dq,avx512vl,fma")))
PRODUCT(product_v3, V3, 4, 4)
PRODUCT(product_v4, V4, 8, 8)
STATISTICS(statistics_v3, V3)
STATISTICS(statistics_v4, V4)

/* 0, 3 or 4: of the levels x86-64-v3 and -v4. */
static int level(void) {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return 4;
  bool three = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return three ? 3 : 0;
}

static product_fn *product(void) {
  int l = level();
  return l == 4 ? product_v4 : l == 3 ? product_v3 : product_any;
}
static statistics_fn *any_statistics(void) {
  int l = level();
  return l == 4 ? statistics_v4 : l == 3 ? statistics_v3 : statistics_any;
}
#else
static product_fn *product(void) { return product_any; }
static statistics_fn *any_statistics(void) { return statistics_any; }
#endif

void prn_panel_statistics(const double *panel, int64_t n,
                          double out[PRN_PROFILE_VECTORS][PRN_LANES]) {
  any_statistics()(panel, n, out);
}

void prn_panel_product(const double *a, const double *b, int64_t n,
                       double out[PRN_LANES][PRN_LANES]) {
  product()(a, b, n, out);
}
