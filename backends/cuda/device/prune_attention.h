/* Attention: row i of the result is the mean of the rows of V, weighted by the
 * softmax over j of S(b, i, j, sum over e of Q(b, i, e) K(b, j, e)).
 *
 * Scores are never stored: a block goes over the keys, 64 at a time, and keeps
 * for each of its 64 queries the largest score so far, the sum of exp(score -
 * largest) and the sum of V's rows weighted with it. When a larger score turns
 * up, both sums are scaled. Results of more columns than a block keeps are
 * computed in parts, each with its own scores.
 *
 * Q, K and V are accessors: they give elements, or (of 16-bit floats) the
 * addresses of the first of eight that lie side by side.
 *
 * A score of -infinity hides a key. A row whose keys are all hidden gives NaN,
 * or 0 where zero_hidden says so. NaNs come through. */
#ifndef PRUNE_ATTENTION_H
#define PRUNE_ATTENTION_H

#include "prune_gemm.h"

/* ---- the running softmax of a row ---- */

struct pmk_softmax {
  float max, sum;
};

/* Takes a larger maximum; returns what the sums so far shrink by. */
PMK_DEV float pmk_softmax_raise(pmk_softmax &s, float max) {
  float before = s.max;
  s.max = before > max ? before : max;
  if (before == s.max) return 1; /* also: nothing seen but what is hidden */
  float shrink = pmk_exp(before - s.max);
  s.sum *= shrink;
  return shrink;
}
PMK_DEV float pmk_softmax_weight(const pmk_softmax &s, float score) {
  if (score == -PMK_INFINITY) return 0;
  return pmk_exp(s.max == -PMK_INFINITY ? score : score - s.max);
}
PMK_DEV float pmk_softmax_scale(float sum, bool zero_hidden) {
  return sum == 0 && zero_hidden ? 0 : 1 / sum;
}

/* ---- float, without tensor cores ---- */

/* Thread (y, x) has rows 4y.. and the columns x, x+16, x+32, x+48 of scores and
 * of results; sixteen lanes share rows. The weights are in shared memory behind
 * the strips of pmk_f32_tile, as left operand of the second product. */
enum {
  PMK_WEIGHTS_AT = 4 * PMK_F32_K * PMK_F32_LD,
  PMK_WEIGHTS_LD = 64 + 1,
};
static_assert((PMK_WEIGHTS_AT + 64 * PMK_WEIGHTS_LD) * 4 ==
                  (int)pmk_tile_attention_f32::SHARED,
              "tiles.def");

/* Scores become weights, in shared memory; sums of results shrink. */
template <class S>
PMK_DEV void pmk_f32_weigh(float scores[4][4], float sums[4][4],
                           pmk_softmax *rows, int64_t b, int64_t mq, int64_t nk,
                           int64_t i0, int64_t j0, S score) {
  float *to = (float *)pmk_smem() + PMK_WEIGHTS_AT;
  int y = PMK_TID / 16 * 4, x = PMK_TID % 16;
  PMK_UNROLL
  for (int r = 0; r < 4; r++) {
    float max = -PMK_INFINITY;
    PMK_UNROLL
    for (int c = 0; c < 4; c++) {
      int64_t i = i0 + y + r, j = j0 + x + c * 16;
      float &s = scores[r][c];
      s = i < mq && j < nk ? score(b, i, j, s) : -PMK_INFINITY;
      max = s > max ? s : max;
    }
    PMK_UNROLL
    for (int by = 1; by < 16; by *= 2) {
      float other = pmk_shfl_xor(max, by);
      max = other > max ? other : max;
    }
    float shrink = pmk_softmax_raise(rows[r], max);
    PMK_UNROLL
    for (int c = 0; c < 4; c++) {
      float weight = pmk_softmax_weight(rows[r], scores[r][c]);
      rows[r].sum += weight; /* of this lane's columns only */
      sums[r][c] *= shrink;
      to[(y + r) * PMK_WEIGHTS_LD + x + c * 16] = weight;
    }
  }
}

template <class E>
PMK_DEV void pmk_f32_store(float sums[4][4], const pmk_softmax *rows, int64_t b,
                           int64_t mq, int64_t dv, int64_t i0, int64_t e0,
                           bool zero_hidden, E e) {
  int y = PMK_TID / 16 * 4, x = PMK_TID % 16;
  PMK_UNROLL
  for (int r = 0; r < 4; r++) {
    float sum = rows[r].sum;
    PMK_UNROLL
    for (int by = 1; by < 16; by *= 2)
      sum += pmk_shfl_xor(sum, by);
    float scale = pmk_softmax_scale(sum, zero_hidden);
    PMK_UNROLL
    for (int c = 0; c < 4; c++) {
      int64_t i = i0 + y + r, column = e0 + x + c * 16;
      if (i < mq && column < dv) e(b, i, column, sums[r][c] * scale);
    }
  }
}

/* 64 queries, 64 columns of results. */
template <class Q, class K, class V, class S, class E>
PMK_DEV void pmk_attention_f32(int64_t b, int64_t mq, int64_t nk, int64_t d,
                               int64_t dv, int64_t i0, int64_t e0,
                               bool zero_hidden, Q q, K k, V v, S score, E e) {
  const float *weights = (const float *)pmk_smem() + PMK_WEIGHTS_AT;
  float sums[4][4] = {};
  pmk_softmax rows[4];
  for (int r = 0; r < 4; r++)
    rows[r] = {-PMK_INFINITY, 0};
  for (int64_t j0 = 0; j0 < nk; j0 += 64) {
    float scores[4][4] = {};
    pmk_f32_tile<0>(
        scores, b, mq, nk, d, i0, j0, q,
        [&](int64_t z, int64_t kk, int64_t j) { return k(z, j, kk); });
    pmk_f32_weigh(scores, sums, rows, b, mq, nk, i0, j0, score);
    pmk_sync(); /* weights are there, strips are free */
    int64_t keys = nk - j0 < 64 ? nk - j0 : 64;
    pmk_f32_tile<PMK_B_ALONG_J>(
        sums, b, 64, dv, keys, 0, e0,
        [&](int64_t, int64_t i, int64_t j) {
          return weights[i * PMK_WEIGHTS_LD + j];
        },
        [&](int64_t z, int64_t j, int64_t column) {
          return v(z, j0 + j, column);
        });
    pmk_sync(); /* weights and strips are free */
  }
  pmk_f32_store(sums, rows, b, mq, dv, i0, e0, zero_hidden, e);
}

/* ---- 16-bit floats, with tensor cores ---- */

/* Tiles in shared memory have rows of 64 elements and 8 more: the eight that
 * ldmatrix reads together begin in different banks. Queries: [2][64 i][e] for
 * two parts of e, so that up to 128 stay there; keys: [64 j][e]; values:
 * [2][64 j][e] for two parts of e. */
enum {
  PMK_ATT_LD = 64 + 8,
  PMK_ATT_TILE = 64 * PMK_ATT_LD,
  PMK_ATT_K = 2 * PMK_ATT_TILE,
  PMK_ATT_V = 3 * PMK_ATT_TILE,
};
static_assert(5 * PMK_ATT_TILE * 2 == (int)pmk_tile_attention_mma::SHARED,
              "tiles.def");

/* A tile of 64 lines by 64 steps, zeros outside of lines and steps: get(line,
 * step) from line0 and step0 on. An accessor that gives elements is asked for
 * two steps side by side, which are stored at once; one that gives addresses
 * for the first of eight, which are copied in the background: there eight
 * divides the steps, and they lie side by side at a multiple of 16 bytes. */
template <class T> struct pmk_att_tile {
  T *to;
  int64_t lines, steps, line0, step0;

  template <class G> PMK_DEV_INSIDE void load(G get) const {
    fill(get, (decltype(get(0, 0)) *)nullptr);
  }

private:
  template <class G> PMK_DEV_INSIDE void fill(G get, T *) const {
    PMK_UNROLL_4
    for (int r = 0; r < 64 * 32 / 128; r++) {
      int at = r * 128 + PMK_TID, line = at / 32, step = at % 32 * 2;
      int64_t i = line0 + line, e = step0 + step;
      T low = {}, high = {};
      if (i < lines && e < steps) low = get(i, e);
      if (i < lines && e + 1 < steps) high = get(i, e + 1);
      *(uint32_t *)(to + line * PMK_ATT_LD + step) = pmk_pair(low, high);
    }
  }
  template <class G> PMK_DEV_INSIDE void fill(G get, const T **) const {
    PMK_UNROLL
    for (int r = 0; r < 64 * 8 / 128; r++) {
      int at = r * 128 + PMK_TID, line = at / 8, step = at % 8 * 8;
      int64_t i = line0 + line, e = step0 + step;
      pmk_cp16_common(pmk_saddr(to + line * PMK_ATT_LD + step), get(i, e),
                      i < lines && e < steps ? 16 : 0);
    }
  }
};

/* What a warp has: 16 queries. Lane 4g + t: of rows g and g + 8. */
struct pmk_att {
  float sums[16][4];
  pmk_softmax rows[2];
};

/* scores[16][64] += q[16][64] k[64][64]'. */
template <class T>
PMK_DEV void pmk_att_scores(float scores[8][4], const T *q, const T *k) {
  int lane = PMK_TID % 32, warp = PMK_TID / 32;
  PMK_UNROLL
  for (int kk = 0; kk < 64; kk += 16) {
    uint32_t a[4], b[4];
    pmk_ldsm4(a, pmk_saddr(q + (warp * 16 + lane % 16) * PMK_ATT_LD + kk +
                           lane / 16 * 8));
    PMK_UNROLL
    for (int j = 0; j < 8; j += 2) {
      pmk_ldsm4(b,
                pmk_saddr(k + (j * 8 + lane / 16 * 8 + lane % 8) * PMK_ATT_LD +
                          kk + lane / 8 % 2 * 8));
      pmk_mma<T>(scores[j], a, b);
      pmk_mma<T>(scores[j + 1], a, b + 2);
    }
  }
}

/* Scores become weights; sums of results shrink. */
template <class S>
PMK_DEV void pmk_att_weigh(float scores[8][4], pmk_att &t, int64_t b,
                           int64_t mq, int64_t nk, int64_t i0, int64_t j0,
                           S score) {
  int lane = PMK_TID % 32;
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    int64_t i = i0 + PMK_TID / 32 * 16 + lane / 4 + r * 8;
    float max = -PMK_INFINITY;
    PMK_UNROLL
    for (int c = 0; c < 16; c++) {
      int64_t j = j0 + c / 2 * 8 + lane % 4 * 2 + c % 2;
      float &s = scores[c / 2][r * 2 + c % 2];
      s = i < mq && j < nk ? score(b, i, j, s) : -PMK_INFINITY;
      max = s > max ? s : max;
    }
    PMK_UNROLL
    for (int by = 1; by < 4; by *= 2) {
      float other = pmk_shfl_xor(max, by);
      max = other > max ? other : max;
    }
    float shrink = pmk_softmax_raise(t.rows[r], max);
    PMK_UNROLL
    for (int c = 0; c < 16; c++) {
      float &s = scores[c / 2][r * 2 + c % 2];
      s = pmk_softmax_weight(t.rows[r], s);
      t.rows[r].sum += s; /* of this lane's columns only */
    }
    PMK_UNROLL
    for (int n = 0; n < 32; n++)
      t.sums[n / 2][r * 2 + n % 2] *= shrink;
  }
}

/* sums[16][128] += weights[16][64] v[64][128]: fragments of sums of scores are
 * fragments of the left operand, those of the values are turned as they are
 * read. */
template <class T>
PMK_DEV void pmk_att_mean(pmk_att &t, float weights[8][4], const T *v,
                          bool two) {
  int lane = PMK_TID % 32;
  typedef pmk_storage<T> to;
  PMK_UNROLL
  for (int j = 0; j < 8; j += 2) {
    const T *rows = v + (j * 8 + lane % 16) * PMK_ATT_LD + lane / 16 * 8;
    uint32_t a[4], b[4];
    PMK_UNROLL
    for (int q = 0; q < 4; q++) {
      const float *w = weights[j + q / 2] + q % 2 * 2;
      a[q] = pmk_pair(to::of(w[0]), to::of(w[1]));
    }
    PMK_UNROLL
    for (int n = 0; n < 16; n += 2) {
      if (n >= 8 && !two) continue;
      pmk_ldsm4_turned(b,
                       pmk_saddr(rows + n / 8 * PMK_ATT_TILE + n % 8 * 8));
      pmk_mma<T>(t.sums[n], a, b);
      pmk_mma<T>(t.sums[n + 1], a, b + 2);
    }
  }
}

template <class E>
PMK_DEV void pmk_att_store(const pmk_att &t, int64_t b, int64_t mq, int64_t dv,
                           int64_t i0, int64_t e0, bool zero_hidden, E e) {
  int lane = PMK_TID % 32;
  PMK_UNROLL
  for (int r = 0; r < 2; r++) {
    int64_t i = i0 + PMK_TID / 32 * 16 + lane / 4 + r * 8;
    float sum = t.rows[r].sum;
    sum += pmk_shfl_xor(sum, 1);
    sum += pmk_shfl_xor(sum, 2);
    float scale = pmk_softmax_scale(sum, zero_hidden);
    PMK_UNROLL
    for (int n = 0; n < 32; n++) {
      int64_t column = e0 + n / 2 * 8 + lane % 4 * 2 + n % 2;
      if (i < mq && column < dv)
        e(b, i, column, t.sums[n / 2][r * 2 + n % 2] * scale);
    }
  }
}

/* 64 queries, 128 columns of results. */
template <class T, class Q, class K, class V, class S, class E>
PMK_DEV void pmk_attention_mma(int64_t b, int64_t mq, int64_t nk, int64_t d,
                               int64_t dv, int64_t i0, int64_t e0,
                               bool zero_hidden, Q q, K k, V v, S score, E e) {
  T *smem = (T *)pmk_smem();
  pmk_att t = {};
  t.rows[0].max = t.rows[1].max = -PMK_INFINITY;
  bool stay = d <= 128, two = dv - e0 > 64;
  for (int64_t j0 = 0; j0 < nk; j0 += 64) {
    float scores[8][4] = {};
    for (int64_t d0 = 0; d0 == 0 || d0 < d; d0 += 64) {
      T *queries = smem + d0 / 64 % 2 * PMK_ATT_TILE;
      if (j0 == 0 || !stay)
        pmk_att_tile<T>{queries, mq, d, i0, d0}.load(
            [&](int64_t i, int64_t x) { return q(b, i, x); });
      pmk_att_tile<T>{smem + PMK_ATT_K, nk, d, j0, d0}.load(
          [&](int64_t j, int64_t x) { return k(b, j, x); });
      pmk_cp_commit();
      for (int h = 0; h < 1 + two && d0 == 0; h++)
        pmk_att_tile<T>{smem + PMK_ATT_V + h * PMK_ATT_TILE, nk, dv, j0,
                        e0 + h * 64}
            .load([&](int64_t j, int64_t x) { return v(b, j, x); });
      pmk_cp_commit();
      pmk_cp_wait<1>(); /* values come while scores are made */
      pmk_sync();
      pmk_att_scores(scores, queries, smem + PMK_ATT_K);
      pmk_cp_wait<0>();
      pmk_sync(); /* the next part of the keys comes there */
    }
    pmk_att_weigh(scores, t, b, mq, nk, i0, j0, score);
    pmk_att_mean(t, scores, smem + PMK_ATT_V, two);
    pmk_sync(); /* the next values come there */
  }
  pmk_att_store(t, b, mq, dv, i0, e0, zero_hidden, e);
}

/* ---- both ---- */

template <class T> struct pmk_attention_of {
  enum { N = 128, M = pmk_tile_attention_mma::M };
  template <class... A> PMK_DEV_MEMBER void tile(A... a) {
    pmk_attention_mma<T>(a...);
  }
};
template <> struct pmk_attention_of<float> {
  enum { N = 64, M = pmk_tile_attention_f32::M };
  template <class... A> PMK_DEV_MEMBER void tile(A... a) {
    pmk_attention_f32(a...);
  }
};

/* Launched with a block for 64 queries (x) of each batch (y, cut at 65535). */
template <class T, class Q, class K, class V, class S, class E>
PMK_DEV void pmk_attention(int64_t batch, int64_t mq, int64_t nk, int64_t d,
                           int64_t dv, bool zero_hidden, Q q, K k, V v, S score,
                           E e) {
  typedef pmk_attention_of<T> kind;
  int64_t i0 = (int64_t)PMK_BX * kind::M;
  for (int64_t b = PMK_BY; b < batch; b += PMK_GY)
    for (int64_t e0 = 0; e0 < dv; e0 += kind::N)
      kind::tile(b, mq, nk, d, dv, i0, e0, zero_hidden, q, k, v, score, e);
}

#endif
