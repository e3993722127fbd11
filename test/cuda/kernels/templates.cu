/* A kernel for every template and type: what kernels.cpp runs in the emulator,
 * and what is compiled for GPUs where there is nvcc. Their pointers: x, w, out;
 * their symbols: m, n, k, row length of x, batch. Results are float, so that
 * the sums themselves are seen. */
#define PMK_POINTERS 4
#define PMK_SYMBOLS  7
#include "pmk.h"
#include "prune_attention.h"
#include "prune_bitmap.h"
#include "prune_bsr.h"
#include "prune_gemm.h"
#include "prune_nk.h"
#include "prune_nm24.h"
#include "prune_nm24_sm90.h"

#define LAUNCH(tile) pmk_tile_##tile::THREADS, pmk_tile_##tile::BLOCKS
#define PRODUCT(name, T)                                                       \
  PMK_KERNEL(name##_##T, LAUNCH(name)) {                           \
    float *out = (float *)a.p[2];                                              \
    int64_t n = a.s[1];                                                        \
    pmk_##name((const pmk_##T *)a.p[0], a.s[3], (const pmk_##T *)a.p[1],       \
               a.s[0], n, a.s[2],                                              \
               [&](int64_t, int64_t i, int64_t j, float v) {                   \
                 pmk_put(out + i * n + j, v);                                  \
               });                                                             \
  }
#define PRODUCTS(name) PRODUCT(name, f16) PRODUCT(name, bf16)
PRODUCTS(few_nk)
PRODUCTS(few_nm24)
PRODUCTS(few_bitmap)
PRODUCTS(few_bsr)
PRODUCTS(linear_nk)
PRODUCTS(linear_nk_small)
PRODUCTS(linear_nm24)
PRODUCTS(linear_nm24_small)
PRODUCTS(linear_nm24_sm90)
PRODUCTS(linear_bitmap)
PRODUCTS(linear_bsr)
PRODUCTS(linear_bsr_small)

/* Weights of bytes: sums are integers. */
#define PRODUCT_I8(name)                                                       \
  PMK_KERNEL(name##_i8, LAUNCH(name)) {                                        \
    int32_t *out = (int32_t *)a.p[2];                                          \
    int64_t n = a.s[1];                                                        \
    pmk_##name((const uint8_t *)a.p[0], a.s[3], (const int8_t *)a.p[1],        \
               a.s[0], n, a.s[2],                                              \
               [&](int64_t, int64_t i, int64_t j, int32_t v) {                 \
                 pmk_put(out + i * n + j, v);                                  \
               });                                                             \
  }
PRODUCT_I8(few_nk)
PRODUCT_I8(few_nm24)
PRODUCT_I8(linear_nk)
PRODUCT_I8(linear_nk_small)
PRODUCT_I8(linear_nm24)
PRODUCT_I8(linear_nm24_small)

#define PRODUCT_F8(name) PRODUCT(name, e4m3) PRODUCT(name, e5m2)
PRODUCT_F8(few_nk)
PRODUCT_F8(linear_nk)
PRODUCT_F8(linear_nk_small)

/* As models have them: sizes of weights are constants, from which compilers make
 * other code. */
#define KNOWN(name)                                                            \
  PMK_KERNEL(name##_known, LAUNCH(name)) {                                     \
    pmk_f16 *out = (pmk_f16 *)a.p[2];                                          \
    pmk_##name((const pmk_f16 *)a.p[0], 384, (const pmk_f16 *)a.p[1], a.s[0],  \
               1536, 384, [&](int64_t, int64_t i, int64_t j, float v) {        \
                 pmk_put(out + i * 1536 + j, v);                               \
               });                                                             \
  }
KNOWN(few_nm24)
KNOWN(linear_nm24)
KNOWN(linear_nm24_sm90)
KNOWN(few_bsr)
KNOWN(linear_bsr)

/* Products of functions: x as it comes, w by its elements. */
template <int ORDER, class W>
PMK_DEV void gemm_f32(const pmk_args &a, W w) {
  const float *x = (const float *)a.p[0];
  float *out = (float *)a.p[2];
  int64_t m = a.s[0], n = a.s[1], ld = a.s[3];
  pmk_gemm_f32<ORDER>(
      a.s[4], m, n, a.s[2],
      [&](int64_t b, int64_t i, int64_t kk) {
        return pmk_get(x + (b * m + i) * ld + kk);
      },
      w,
      [&](int64_t b, int64_t i, int64_t j, float v) {
        pmk_put(out + (b * m + i) * n + j, v);
      });
}
/* X: which of the operands x is; weights of int8_t by the format nm24. */
enum { LEFT, RIGHT };
template <class T> PMK_DEV T weight(const T *w, int64_t n, int64_t k,
                                    int64_t j, int64_t kk) {
  return pmk_nk_at(w, n, k, j, kk);
}
PMK_DEV int8_t weight(const int8_t *w, int64_t n, int64_t k, int64_t j,
                      int64_t kk) {
  return pmk_nm24_at(w, n, k, j, kk);
}
template <int ORDER, int X, class TX, class TW>
PMK_DEV void gemm_mma(const pmk_args &a, const TX *x, const TW *w) {
  typedef typename pmk_dot<TX>::sum sum;
  sum *out = (sum *)a.p[2];
  int64_t m = a.s[0], n = a.s[1], k = a.s[2], ld = a.s[3];
  auto row = [&](int64_t b, int64_t i, int64_t kk) {
    return pmk_load(x + (b * m + i) * ld + kk);
  };
  auto column = [&](int64_t j, int64_t kk) { return weight(w, n, k, j, kk); };
  auto store = [&](int64_t b, int64_t i, int64_t j, sum v) {
    pmk_put(out + (b * m + i) * n + j, v);
  };
  if constexpr (X == LEFT)
    pmk_gemm_mma<TX, TW, ORDER>(
        a.s[4], m, n, k, row,
        [&](int64_t, int64_t kk, int64_t j) { return column(j, kk); }, store);
  else
    pmk_gemm_mma<TW, TX, ORDER>(
        a.s[4], n, m, k,
        [&](int64_t, int64_t j, int64_t kk) { return column(j, kk); },
        [&](int64_t b, int64_t kk, int64_t i) { return row(b, i, kk); },
        [&](int64_t b, int64_t j, int64_t i, sum v) { store(b, i, j, v); });
}

#define GEMM_F32(kernel, ORDER, at)                                            \
  PMK_KERNEL(kernel, LAUNCH(gemm_f32)) {                             \
    const float *w = (const float *)a.p[1];                                    \
    int64_t n = a.s[1], k = a.s[2];                                            \
    gemm_f32<ORDER>(a, [&](int64_t, int64_t kk, int64_t j) {                   \
      return at(w, n, k, j, kk);                                               \
    });                                                                        \
  }
#define GEMM_MMA(kernel, ORDER, X, TX, TW)                                     \
  PMK_KERNEL(kernel, LAUNCH(gemm_mma)) {                                       \
    gemm_mma<ORDER, X>(a, (const TX *)a.p[0], (const TW *)a.p[1]);             \
  }
GEMM_F32(gemm_f32_nk, 0, pmk_nk_at)
GEMM_F32(gemm_f32_nm24, PMK_B_ALONG_J, pmk_nm24_at)
GEMM_F32(gemm_f32_bitmap, PMK_A_ALONG_I, pmk_bitmap_at)
GEMM_F32(gemm_f32_bsr, 0, pmk_bsr_at)
GEMM_MMA(gemm_mma_f16, PMK_A_ALONG_I, LEFT, pmk_f16, pmk_f16)
GEMM_MMA(gemm_mma_bf16, PMK_B_ALONG_J, LEFT, pmk_bf16, pmk_bf16)
GEMM_MMA(gemm_mma_u8i8, PMK_A_ALONG_I, LEFT, uint8_t, int8_t)
GEMM_MMA(gemm_mma_i8u8, PMK_B_ALONG_J, RIGHT, uint8_t, int8_t)
GEMM_MMA(gemm_mma_i8i8, 0, LEFT, int8_t, int8_t)

/* Attention: q, k, v, out; batch, queries, keys, columns of q, of v, zero_hidden.
 * Scores are scaled, and hidden where keys come after their query. */
#define ATTENTION(name, T, type, GET)                                          \
  PMK_KERNEL(name, LAUNCH(attention_##type)) {                                 \
    attention<T>(a, [](const T *p) { return GET; });                           \
  }

template <class T, class G> PMK_DEV void attention(const pmk_args &a, G get) {
  const T *q = (const T *)a.p[0], *k = (const T *)a.p[1];
  const T *v = (const T *)a.p[2];
  float *out = (float *)a.p[3];
  int64_t mq = a.s[1], nk = a.s[2], d = a.s[3], dv = a.s[4], causal = a.s[6];
  pmk_attention<T>(
      a.s[0], mq, nk, d, dv, a.s[5] != 0,
      [&](int64_t b, int64_t i, int64_t e) {
        return get(q + (b * mq + i) * d + e);
      },
      [&](int64_t b, int64_t j, int64_t e) {
        return get(k + (b * nk + j) * d + e);
      },
      [&](int64_t b, int64_t j, int64_t e) {
        return get(v + (b * nk + j) * dv + e);
      },
      [&](int64_t, int64_t i, int64_t j, float s) {
        return causal && j >= i ? -PMK_INFINITY : s * 0.125f;
      },
      [&](int64_t b, int64_t i, int64_t e, float x) {
        pmk_put(out + (b * mq + i) * dv + e, x);
      });
}
ATTENTION(attention_float, float, f32, pmk_load(p))
ATTENTION(attention_f16, pmk_f16, mma, pmk_load(p))
ATTENTION(attention_bf16, pmk_bf16, mma, pmk_load(p))
/* d and dv are multiples of eight. */
ATTENTION(attention_runs_f16, pmk_f16, mma, pmk_address(p))
ATTENTION(attention_runs_bf16, pmk_bf16, mma, pmk_address(p))
