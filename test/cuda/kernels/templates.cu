/* A kernel for every template and type: what kernels.cpp runs in the emulator,
 * and what is compiled for GPUs where there is nvcc. Their pointers: x, w, out;
 * their symbols: m, n, k, row length of x, batch. Results are float, so that
 * the sums themselves are seen. */
#define PMK_POINTERS 4
#define PMK_SYMBOLS  7
#include "pmk.h"
#include "prune_attention.h"
#include "prune_bitmap.h"
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
PRODUCTS(linear_nk)
PRODUCTS(linear_nk_small)
PRODUCTS(linear_nm24)
PRODUCTS(linear_nm24_small)
PRODUCTS(linear_nm24_sm90)
PRODUCTS(linear_bitmap)

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
template <int ORDER, class T>
PMK_DEV void gemm_mma(const pmk_args &a, const T *x, const T *w) {
  float *out = (float *)a.p[2];
  int64_t m = a.s[0], n = a.s[1], k = a.s[2], ld = a.s[3];
  pmk_gemm_mma<T, ORDER>(
      a.s[4], m, n, k,
      [&](int64_t b, int64_t i, int64_t kk) {
        return pmk_load(x + (b * m + i) * ld + kk);
      },
      [&](int64_t, int64_t kk, int64_t j) {
        return pmk_nk_at(w, n, k, j, kk);
      },
      [&](int64_t b, int64_t i, int64_t j, float v) {
        pmk_put(out + (b * m + i) * n + j, v);
      });
}

#define GEMM_F32(kernel, ORDER, at)                                            \
  PMK_KERNEL(kernel, LAUNCH(gemm_f32)) {                             \
    const float *w = (const float *)a.p[1];                                    \
    int64_t n = a.s[1], k = a.s[2];                                            \
    gemm_f32<ORDER>(a, [&](int64_t, int64_t kk, int64_t j) {                   \
      return at(w, n, k, j, kk);                                               \
    });                                                                        \
  }
#define GEMM_MMA(kernel, ORDER, T)                                             \
  PMK_KERNEL(kernel, LAUNCH(gemm_mma)) {                             \
    gemm_mma<ORDER>(a, (const T *)a.p[0], (const T *)a.p[1]);                  \
  }
GEMM_F32(gemm_f32_nk, 0, pmk_nk_at)
GEMM_F32(gemm_f32_nm24, PMK_B_ALONG_J, pmk_nm24_at)
GEMM_F32(gemm_f32_bitmap, PMK_A_ALONG_I, pmk_bitmap_at)
GEMM_MMA(gemm_mma_f16, PMK_A_ALONG_I, pmk_f16)
GEMM_MMA(gemm_mma_bf16, PMK_B_ALONG_J, pmk_bf16)

/* Attention: q, k, v, out; batch, queries, keys, columns of q, of v, zero_hidden.
 * Scores are scaled, and hidden where keys come after their query. */
#define ATTENTION(name, T, type)                                               \
  PMK_KERNEL(name, LAUNCH(attention_##type)) {                       \
    attention<T>(a);                                                           \
  }

template <class T> PMK_DEV void attention(const pmk_args &a) {
  const T *q = (const T *)a.p[0], *k = (const T *)a.p[1];
  const T *v = (const T *)a.p[2];
  float *out = (float *)a.p[3];
  int64_t mq = a.s[1], nk = a.s[2], d = a.s[3], dv = a.s[4], causal = a.s[6];
  pmk_attention<T>(
      a.s[0], mq, nk, d, dv, a.s[5] != 0,
      [&](int64_t b, int64_t i, int64_t e) {
        return pmk_load(q + (b * mq + i) * d + e);
      },
      [&](int64_t b, int64_t j, int64_t e) {
        return pmk_load(k + (b * nk + j) * d + e);
      },
      [&](int64_t b, int64_t j, int64_t e) {
        return pmk_load(v + (b * nk + j) * dv + e);
      },
      [&](int64_t, int64_t i, int64_t j, float s) {
        return causal && j >= i ? -PMK_INFINITY : s * 0.125f;
      },
      [&](int64_t b, int64_t i, int64_t e, float x) {
        pmk_put(out + (b * mq + i) * dv + e, x);
      });
}
ATTENTION(attention_float, float, f32)
ATTENTION(attention_f16, pmk_f16, mma)
ATTENTION(attention_bf16, pmk_bf16, mma)
