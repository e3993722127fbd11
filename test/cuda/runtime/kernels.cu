// Kernels of the models in model.c and test_bsr.c, as the compiler would write
// them: rows of a table, an addition, a dense product, a 2:4 product and one of
// blocks.
#define PMK_POINTERS 6
#define PMK_SYMBOLS 1
#include "prune_bsr.h"

static constexpr int TABLE = 10, WIDTH = 64, DEPTH = 60, HIDDEN = 48, OUT = 32;

PMK_KERNEL(small_gather, 64) {
  const pmk_f16 *table = (const pmk_f16 *)a.p[0];
  int64_t row = PMK_BX, at = pmk_get((const int64_t *)a.p[1] + row);
  if (at < 0 || at >= TABLE) {
    pmk_set_status(a, 1);
    return;
  }
  pmk_put((pmk_f16 *)a.p[2] + row * WIDTH + PMK_TID,
          pmk_get(table + at * WIDTH + PMK_TID));
}

PMK_KERNEL(small_add, 128) {
  int64_t i = (int64_t)PMK_BX * PMK_THREADS + PMK_TID;
  if (i >= a.s[0] * WIDTH) return;
  pmk_put((pmk_f16 *)a.p[2] + i, pmk_get((const pmk_f16 *)a.p[0] + i) +
                                     pmk_get((const pmk_f16 *)a.p[1] + i));
}

PMK_KERNEL(small_dense, 64) {
  const pmk_f16 *x = (const pmk_f16 *)a.p[0] + (int64_t)PMK_BX * WIDTH;
  const pmk_f16 *w = (const pmk_f16 *)a.p[1] + PMK_TID * WIDTH;
  if (PMK_TID >= HIDDEN) return;
  float sum = pmk_get((const pmk_f16 *)a.p[2] + PMK_TID);
  for (int k = 0; k < DEPTH; k++)
    sum += pmk_get(x + k) * pmk_get(w + k);
  pmk_put((pmk_f16 *)a.p[3] + (int64_t)PMK_BX * HIDDEN + PMK_TID,
          sum > 0 ? sum : 0);
}

// Where the element `kept` of a group of four stands, in the layout nm24 of n
// rows of k columns.
PMK_DEV int small_place(const unsigned char *w, int64_t n, int64_t k,
                        int64_t row, int64_t group, int kept) {
  const uint32_t *words = (const uint32_t *)(w + n * k);
  int64_t tile = row / 16 * (k / 64) + group / 16;
  uint32_t word = pmk_get(words + tile * 32 + row % 8 * 4 + group % 16 / 4);
  return word >> (row / 8 % 2 * 16 + group % 4 * 4 + 2 * kept) & 3;
}

PMK_DEV void small_sparse_row(const pmk_args &a) {
  const pmk_f16 *x = (const pmk_f16 *)a.p[0] + (int64_t)PMK_BX * HIDDEN;
  const pmk_f16 *w = (const pmk_f16 *)a.p[1] + PMK_TID * WIDTH / 2;
  float sum = pmk_get((const pmk_f16 *)a.p[2] + PMK_TID);
  for (int g = 0; g < HIDDEN / 4; g++)
    for (int i = 0; i < 2; i++)
      sum += pmk_get(x + 4 * g +
                     small_place(a.p[1], OUT, WIDTH, PMK_TID, g, i)) *
             pmk_get(w + 2 * g + i);
  pmk_put((pmk_f16 *)a.p[3] + (int64_t)PMK_BX * OUT + PMK_TID, sum);
}
PMK_KERNEL(small_sparse, 32) { small_sparse_row(a); }
PMK_KERNEL(small_sparse_sm90, 32) { small_sparse_row(a); }

PMK_KERNEL(small_expand_nm24, 64) {
  int64_t n = ((int64_t)a.p[2] + 15) / 16 * 16;
  int64_t k = ((int64_t)a.p[3] + 63) / 64 * 64;
  for (int64_t row = PMK_BX; row < n; row += PMK_GX)
    for (int64_t g = PMK_TID; g < k / 4; g += PMK_THREADS) {
      pmk_f16 *out = (pmk_f16 *)a.p[1] + row * k + 4 * g;
      const pmk_f16 *in = (const pmk_f16 *)a.p[0] + row * k / 2 + 2 * g;
      for (int i = 0; i < 4; i++)
        pmk_put(out + i, 0);
      for (int i = 0; i < 2; i++)
        pmk_put(out + small_place(a.p[0], n, k, row, g, i), pmk_get(in + i));
    }
}

// What test_conv.c convolves: 3x3 windows of [images, 4, 6, 5], padded by one,
// in two groups, to [images, 6, 6, 5]; then ReLU of that and a half.
static constexpr int IN = 4, UP = 6, TALL = 6, WIDE = 5, GROUPS = 2;

PMK_DEV float conv_finished(float sum) {
  return sum + 0.5f > 0 ? sum + 0.5f : 0;
}

PMK_KERNEL(conv_own, 64) {
  int64_t n = a.s[0] * UP * TALL * WIDE;
  for (int64_t e = (int64_t)PMK_BX * PMK_THREADS + PMK_TID; e < n;
       e += (int64_t)PMK_GX * PMK_THREADS) {
    int64_t x = e % WIDE, y = e / WIDE % TALL, o = e / WIDE / TALL % UP;
    int64_t image = e / WIDE / TALL / UP, group = o / (UP / GROUPS);
    float sum = 0;
    for (int c = 0; c < IN / GROUPS; c++)
      for (int t = 0; t < 9; t++) {
        int64_t at_y = y + t / 3 - 1, at_x = x + t % 3 - 1;
        if (at_y < 0 || at_y >= TALL || at_x < 0 || at_x >= WIDE) continue;
        int64_t from = (image * IN + group * (IN / GROUPS) + c) * TALL + at_y;
        sum += pmk_get((const pmk_f16 *)a.p[0] + from * WIDE + at_x) *
               pmk_get((const pmk_f16 *)a.p[1] + (o * (IN / GROUPS) + c) * 9 + t);
      }
    pmk_put((pmk_f16 *)a.p[2] + e, conv_finished(sum));
  }
}

PMK_KERNEL(conv_after, 64) {
  int64_t n = a.s[0] * UP * TALL * WIDE;
  for (int64_t e = (int64_t)PMK_BX * PMK_THREADS + PMK_TID; e < n;
       e += (int64_t)PMK_GX * PMK_THREADS) {
    pmk_f16 *at = (pmk_f16 *)a.p[2] + e;
    pmk_put(at, conv_finished(pmk_get(at)));
  }
}

// What test_attention.c has computed: of [batch, 3 heads, 5 queries, 16], 7 keys
// and values of 8, with a mask of the batch's keys; rows of a token lie together.
PMK_KERNEL(attention_own, 64) {
  enum { H = 3, S = 5, T = 7, D = 16, W = 8 };
  const pmk_f16 *q = (const pmk_f16 *)a.p[0], *k = (const pmk_f16 *)a.p[1];
  const pmk_f16 *v = (const pmk_f16 *)a.p[2];
  const float *mask = (const float *)a.p[3];
  int64_t n = a.s[0] * S * H;
  for (int64_t r = (int64_t)PMK_BX * PMK_THREADS + PMK_TID; r < n;
       r += (int64_t)PMK_GX * PMK_THREADS) {
    int64_t b = r / H / S, h = r % H;
    float s[T], max = -PMK_INFINITY, sum = 0;
    for (int j = 0; j < T; j++) {
      s[j] = 0;
      for (int e = 0; e < D; e++)
        s[j] += pmk_get(q + r * D + e) * pmk_get(k + ((b * T + j) * H + h) * D + e);
      s[j] = s[j] * 0.25f + mask[b * T + j];
      max = s[j] > max ? s[j] : max;
    }
    for (int j = 0; j < T; j++)
      sum += s[j] = pmk_exp(s[j] - max);
    for (int e = 0; e < W; e++) {
      float y = 0;
      for (int j = 0; j < T; j++)
        y += s[j] / sum * pmk_get(v + ((b * T + j) * H + h) * W + e);
      pmk_put((pmk_f16 *)a.p[4] + r * W + e, y);
    }
  }
}

// x[rows][96] by weights of 128 rows in blocks, doubled: at once, and of sums
// that a library has stored.
PMK_KERNEL(blocks_linear, 128) {
  pmk_f16 *out = (pmk_f16 *)a.p[2];
  pmk_linear_bsr_small((const pmk_f16 *)a.p[0], 96, (const pmk_f16 *)a.p[1],
                       a.s[0], 128, 96,
                       [&](int64_t, int64_t i, int64_t j, float v) {
                         pmk_put(out + i * 128 + j, 2 * v);
                       });
}
PMK_KERNEL(blocks_twice, 128) {
  pmk_f16 *out = (pmk_f16 *)a.p[2] + (int64_t)PMK_BX * PMK_THREADS + PMK_TID;
  pmk_put(out, 2 * pmk_get(out));
}
