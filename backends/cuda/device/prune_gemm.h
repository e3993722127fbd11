/* out[b][i][j] = sum over kk of A(b, i, kk) B(b, kk, j), whatever the operands
 * are: A and B are functions that give an element, E(b, i, j, sum) stores one.
 * A convolution is such a product, too.
 *
 * A block computes a tile of 64 by 64. Strips of both operands go through
 * shared memory, two in turn: while one is multiplied, elements of the next
 * are on their way to registers. */
#ifndef PRUNE_GEMM_H
#define PRUNE_GEMM_H

#include "pmk.h"

/* Which elements lie side by side in memory, so that neighbouring threads
 * read neighbours: of A along i, else along kk; of B along j, else along kk. */
enum { PMK_A_ALONG_I = 1, PMK_B_ALONG_J = 2 };

/* A strip of W lines (rows of A, columns of B) by K steps, of which each of
 * TH threads has W * K / TH elements; ALONG: lines lie side by side. */
template <class T, int W, int K, int TH, bool ALONG> struct pmk_strip {
  enum { N = W * K / TH };
  T v[N];
  static_assert(N * TH == W * K, "every thread has as many");

  PMK_DEV_MEMBER int line(int r) {
    return ALONG ? (r * TH + PMK_TID) % W : (r * TH + PMK_TID) / K;
  }
  PMK_DEV_MEMBER int step(int r) {
    return ALONG ? (r * TH + PMK_TID) / W : (r * TH + PMK_TID) % K;
  }
};

/* Elements outside of the operand are zeros. */
template <class T, int W, int K, int TH, bool ALONG, class G>
PMK_DEV void pmk_strip_load(pmk_strip<T, W, K, TH, ALONG> &s, int64_t lines,
                            int64_t k, int64_t line0, int64_t k0, G get) {
  PMK_UNROLL
  for (int r = 0; r < s.N; r++) {
    int64_t line = line0 + s.line(r), kk = k0 + s.step(r);
    s.v[r] = line < lines && kk < k ? get(line, kk) : T{};
  }
}

/* ---- float, without tensor cores ---- */

/* A strip in shared memory: [step][line]; four more keep lines of threads that
 * store one after the other in different banks. */
enum { PMK_F32_K = 16, PMK_F32_LD = 64 + 4 };

template <bool ALONG>
PMK_DEV void pmk_f32_put(float *to,
                         const pmk_strip<float, 64, PMK_F32_K, 256, ALONG> &s) {
  PMK_UNROLL
  for (int r = 0; r < s.N; r++)
    to[s.step(r) * PMK_F32_LD + s.line(r)] = s.v[r];
}

/* Thread (y, x) has rows 4y.. and the columns x, x+16, x+32, x+48, so that
 * neighbours store neighbours. */
PMK_DEV void pmk_f32_multiply(float acc[4][4], const float *a, const float *b) {
  int y = PMK_TID / 16, x = PMK_TID % 16;
  PMK_UNROLL
  for (int kk = 0; kk < PMK_F32_K; kk++) {
    float u[4], v[4];
    PMK_UNROLL
    for (int r = 0; r < 4; r++)
      u[r] = a[kk * PMK_F32_LD + y * 4 + r];
    PMK_UNROLL
    for (int c = 0; c < 4; c++)
      v[c] = b[kk * PMK_F32_LD + x + c * 16];
    PMK_UNROLL
    for (int r = 0; r < 4; r++) {
      PMK_UNROLL
      for (int c = 0; c < 4; c++)
        acc[r][c] += u[r] * v[c];
    }
  }
}

template <int ORDER, class A, class B>
PMK_DEV void pmk_f32_tile(float acc[4][4], int64_t batch, int64_t m, int64_t n,
                          int64_t k, int64_t i0, int64_t j0, A a, B b) {
  enum { K = PMK_F32_K, SIZE = K * PMK_F32_LD };
  float *smem = (float *)pmk_smem();
  pmk_strip<float, 64, K, 256, (ORDER & PMK_A_ALONG_I) != 0> sa;
  pmk_strip<float, 64, K, 256, (ORDER & PMK_B_ALONG_J) != 0> sb;
  auto load = [&](int64_t k0) {
    pmk_strip_load(sa, m, k, i0, k0,
                   [&](int64_t i, int64_t kk) { return a(batch, i, kk); });
    pmk_strip_load(sb, n, k, j0, k0,
                   [&](int64_t j, int64_t kk) { return b(batch, kk, j); });
  };
  load(0);
  int turn = 0;
  for (int64_t k0 = 0; k0 < k; k0 += K, turn ^= 1) {
    float *to = smem + turn * 2 * SIZE;
    pmk_f32_put(to, sa);
    pmk_f32_put(to + SIZE, sb);
    pmk_sync(); /* also: nobody reads the other pair any more */
    if (k0 + K < k) load(k0 + K);
    pmk_f32_multiply(acc, to, to + SIZE);
  }
}

template <int ORDER = PMK_B_ALONG_J, class A, class B, class E>
PMK_DEV void pmk_gemm_f32(int64_t batch, int64_t m, int64_t n, int64_t k, A a,
                          B b, E e) {
  typedef pmk_tile_gemm_f32 tile;
  static_assert(tile::SHARED == 4 * PMK_F32_K * PMK_F32_LD * 4, "tiles.def");
  int64_t j0 = (int64_t)PMK_BX * tile::N;
  for (int64_t z = PMK_BZ; z < batch; z += PMK_GZ)
    for (int64_t i0 = (int64_t)PMK_BY * tile::M; i0 < m;
         i0 += (int64_t)PMK_GY * tile::M) {
      float acc[4][4] = {};
      pmk_f32_tile<ORDER>(acc, z, m, n, k, i0, j0, a, b);
      PMK_UNROLL
      for (int r = 0; r < 4; r++) {
        PMK_UNROLL
        for (int c = 0; c < 4; c++) {
          int64_t i = i0 + PMK_TID / 16 * 4 + r;
          int64_t j = j0 + PMK_TID % 16 + c * 16;
          if (i < m && j < n) e(z, i, j, acc[r][c]);
        }
      }
      pmk_sync(); /* the next tile writes where this one was read */
    }
}

/* ---- 16-bit floats and bytes, with tensor cores ---- */

/* A strip in shared memory: [line][step]. Rows of 80 bytes, or of 48: the eight
 * that ldmatrix reads together begin in different banks. */
template <class T> struct pmk_gemm_strip {
  enum { K = 32, RUN = 16 / sizeof(T), LD = K + RUN };
};

template <class T, class S> PMK_DEV void pmk_mma_put(T *to, const S &s) {
  PMK_UNROLL
  for (int r = 0; r < s.N; r++)
    to[s.line(r) * pmk_gemm_strip<T>::LD + s.step(r)] = s.v[r];
}

/* Warp (y, x) of 2 by 4 has 32 rows and 16 columns: 2 by 2 products. */
template <class TA, class TB, class S>
PMK_DEV void pmk_mma_multiply(S acc[2][2][4], const TA *a, const TB *b) {
  typedef pmk_gemm_strip<TA> strip;
  int lane = PMK_TID % 32, y = PMK_TID / 128, x = PMK_TID / 32 % 4;
  PMK_UNROLL
  for (int kk = 0; kk < strip::K; kk += 2 * strip::RUN) {
    uint32_t fa[4], fb[4];
    pmk_ldsm4(fb,
              pmk_saddr(b + (x * 16 + lane / 16 * 8 + lane % 8) * strip::LD +
                        kk + lane / 8 % 2 * strip::RUN));
    PMK_UNROLL
    for (int r = 0; r < 2; r++) {
      pmk_ldsm4(fa, pmk_saddr(a + (y * 32 + r * 16 + lane % 16) * strip::LD +
                              kk + lane / 16 * strip::RUN));
      pmk_mma<TA, TB>(acc[r][0], fa, fb);
      pmk_mma<TA, TB>(acc[r][1], fa, fb + 2);
    }
  }
}

template <class TA, class TB, int ORDER, class S, class A, class B>
PMK_DEV void pmk_mma_tile(S acc[2][2][4], int64_t batch, int64_t m, int64_t n,
                          int64_t k, int64_t i0, int64_t j0, A a, B b) {
  static_assert(sizeof(TA) == sizeof(TB), "as many in a strip");
  typedef pmk_gemm_strip<TA> strip;
  enum { K = strip::K, SIZE = 64 * strip::LD * sizeof(TA) };
  pmk_strip<TA, 64, K, 256, (ORDER & PMK_A_ALONG_I) != 0> sa;
  pmk_strip<TB, 64, K, 256, (ORDER & PMK_B_ALONG_J) != 0> sb;
  auto load = [&](int64_t k0) {
    pmk_strip_load(sa, m, k, i0, k0,
                   [&](int64_t i, int64_t kk) { return a(batch, i, kk); });
    pmk_strip_load(sb, n, k, j0, k0,
                   [&](int64_t j, int64_t kk) { return b(batch, kk, j); });
  };
  load(0);
  int turn = 0;
  for (int64_t k0 = 0; k0 < k; k0 += K, turn ^= 1) {
    TA *left = (TA *)(pmk_smem() + turn * 2 * SIZE);
    TB *right = (TB *)(pmk_smem() + turn * 2 * SIZE + SIZE);
    pmk_mma_put(left, sa);
    pmk_mma_put(right, sb);
    pmk_sync(); /* also: nobody reads the other pair any more */
    if (k0 + K < k) load(k0 + K);
    pmk_mma_multiply(acc, left, right);
  }
}

/* Elements of A are of type TA, those of B of TB. */
template <class TA, class TB, int ORDER = PMK_B_ALONG_J, class A, class B,
          class E>
PMK_DEV void pmk_gemm_mma(int64_t batch, int64_t m, int64_t n, int64_t k, A a,
                          B b, E e) {
  typedef pmk_tile_gemm_mma tile;
  static_assert(4 * 64 * pmk_gemm_strip<TA>::LD * sizeof(TA) <= tile::SHARED,
                "tiles.def");
  int lane = PMK_TID % 32, y = PMK_TID / 128, x = PMK_TID / 32 % 4;
  int64_t j0 = (int64_t)PMK_BX * tile::N;
  for (int64_t z = PMK_BZ; z < batch; z += PMK_GZ)
    for (int64_t i0 = (int64_t)PMK_BY * tile::M; i0 < m;
         i0 += (int64_t)PMK_GY * tile::M) {
      typename pmk_dot<TA>::sum acc[2][2][4] = {};
      pmk_mma_tile<TA, TB, ORDER>(acc, z, m, n, k, i0, j0, a, b);
      PMK_UNROLL
      for (int r = 0; r < 2; r++) {
        PMK_UNROLL
        for (int c = 0; c < 2; c++) {
          PMK_UNROLL
          for (int q = 0; q < 4; q++) {
            int64_t i = i0 + y * 32 + r * 16 + lane / 4 + q / 2 * 8;
            int64_t j = j0 + x * 16 + c * 8 + lane % 4 * 2 + q % 2;
            if (i < m && j < n) e(z, i, j, acc[r][c][q]);
          }
        }
      }
      pmk_sync(); /* the next tile writes where this one was read */
    }
}

#endif
