/* ir/profile.h: statistics against plain sums, any split of the data, and files
 * that are broken in every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/profile.h"
#include "ir/support/xxh64.h"

enum { N = 5, T = 12, MAX = 8192 };

/* T vectors of N; the last channels have means far from 0. */
static void make(float *x) {
  uint32_t state = 7;
  for (int i = 0; i < T * N; i++) {
    state = state * 1664525u + 1013904223u;
    x[i] = (float)(state >> 8) * 0x1p-24f - 0.5f + (i % N == 4 ? 1000.0f : 0);
  }
}

static void observe(prn_profile *p, size_t i, const float *x, int64_t vectors) {
  prn_diag_sink sink = {0};
  const int64_t dims[] = {vectors, N};
  prn_sample s = {PRN_F32, 2, dims, x};
  assert_int_equal(prn_profile_observe(p, i, &s, 1, &sink), PRN_OK);
  prn_profile_settle(p);
}

/* Products are of differences from about the mean, in single precision: what
 * they lose is little beside the variances, whatever the means. */
static void assert_moment(double got, double want, double x, double y) {
  if (!(fabs(got - want) <= 1e-13 * (1 + fabs(want)) + 1e-6 * sqrt(x * y)))
    fail_msg("moment %.17g is not %.17g", got, want);
}

static void assert_near(double got, double want) {
  if (!(fabs(got - want) <= 1e-13 * (1 + fabs(want))))
    fail_msg("%.17g is not %.17g", got, want);
}

static void check(const prn_observation *o, const float *x) {
  assert_int_equal(o->channels, N);
  assert_int_equal(o->count, T);
  for (int c = 0; c < N; c++) {
    double mean = 0, absolute = 0, positive = 0, variance = 0;
    for (int t = 0; t < T; t++) {
      double v = (double)x[t * N + c];
      mean += v / T;
      absolute += fabs(v) / T;
      positive += (v > 0 ? 1.0 : 0.0) / T;
    }
    for (int t = 0; t < T; t++)
      variance += pow((double)x[t * N + c] - mean, 2) / T;
    assert_near(o->mean[c], mean);
    assert_near(o->absolute[c], absolute);
    assert_near(o->positive[c], positive);
    if (fabs(o->variance[c] - variance) > 1e-10 * variance)
      fail_msg("variance %.17g is not %.17g", o->variance[c], variance);
    assert_near(prn_observation_square(o, c), variance + mean * mean);
  }
  for (int i = 0; o->moments && i < N; i++)
    for (int j = 0; j < N; j++) {
      double sum = 0;
      for (int t = 0; t < T; t++)
        sum += (double)x[t * N + i] * (double)x[t * N + j] / T;
      assert_moment(o->moments[i * N + j], sum, o->variance[i], o->variance[j]);
    }
}

/* However the vectors are dealt out to runs and profiles. */
static void splits(void **state) {
  prn_diag_sink sink = {0};
  float x[T * N];
  (void)state;
  make(x);
  for (int full = 0; full < 2; full++)
    for (int first = 0; first <= T; first++) {
      prn_profile a = {.block = full ? PRN_PROFILE_FULL : 0},
                  b = {.block = full ? PRN_PROFILE_FULL : 0};
      size_t i = prn_profile_add(&a, PRN_STR("h"), -1);
      size_t k = prn_profile_add(&b, PRN_STR("h"), -1);
      assert_int_equal(prn_profile_add(&a, PRN_STR("h"), -1), i);
      observe(&a, i, x, first);
      observe(&b, k, x + first * N, T - first);
      assert_int_equal(prn_profile_merge(&a, &b, &sink), PRN_OK);
      check(&a.at[i], x);
      prn_profile_clear(&a);
      prn_profile_clear(&b);
    }
}

/* Channels in the middle of the shape, and the lookups. */
static void axes(void **state) {
  prn_diag_sink sink = {0};
  float x[T * N], turned[T * N];
  const int64_t dims[] = {2, N, T / 2};
  (void)state;
  make(x);
  for (int t = 0; t < T; t++)
    for (int c = 0; c < N; c++)
      turned[(t / (T / 2) * N + c) * (T / 2) + t % (T / 2)] = x[t * N + c];
  prn_profile p = {.model = 1};
  size_t i = prn_profile_add(&p, PRN_STR("image"), 1);
  prn_sample s = {PRN_F32, 3, dims, turned};
  assert_int_equal(prn_profile_observe(&p, i, &s, 2, &sink), PRN_OK);
  prn_profile_settle(&p);
  check(&p.at[i], x);
  double wide[T * N];
  for (int k = 0; k < T * N; k++)
    wide[k] = (double)x[k];
  const int64_t flat[] = {T, N};
  prn_sample doubles = {PRN_F64, 2, flat, wide};
  size_t j = prn_profile_add(&p, PRN_STR("doubles"), -1);
  assert_int_equal(prn_profile_observe(&p, j, &doubles, 2, &sink), PRN_OK);
  prn_profile_settle(&p);
  check(&p.at[j], x);
  assert_ptr_equal(prn_profile_find(&p, PRN_STR("image"), 1), &p.at[i]);
  assert_ptr_equal(prn_profile_find_any(&p, PRN_STR("image")), &p.at[i]);
  assert_null(prn_profile_find(&p, PRN_STR("image"), -1));
  assert_null(prn_profile_find_any(&p, PRN_STR("imag")));
  prn_profile_clear(&p);
}

/* ---- windows ---- */

enum { B = 2, C = 4, H = 5, W = 6, KH = 3, KW = 2, PLACES = C * KH * KW };

static const prn_profile_window window = {.axes = 2,
                                          .groups = 2,
                                          .kernel = {KH, KW},
                                          .strides = {2, 1},
                                          .dilations = {1, 2},
                                          .pads = {1, 0, 2, 3}};

/* What the window at output y, x sees as input number i. */
static double seen(const float *image, int b, int y, int x, int i) {
  int c = i / (KH * KW), ky = i / KW % KH, kx = i % KW;
  int iy = y * 2 + ky - 1, ix = x + kx * 2;
  if (iy < 0 || iy >= H || ix >= W) return 0;
  return (double)image[((b * C + c) * H + iy) * W + ix];
}

/* OH, OW: what numpy would say of the shapes above. */
enum { OH = (H + 1 + 2 - KH) / 2 + 1, OW = W + 0 + 3 - 3 + 1 };

static void check_window(const prn_observation *o, const float *image) {
  double moments[PLACES][PLACES] = {{0}}, mean[PLACES] = {0};
  double half[PLACES * PLACES / 4], total = B * OH * OW;
  assert_int_equal(o->channels, PLACES);
  assert_int_equal(o->count, B * OH * OW);
  for (int b = 0; b < B; b++)
    for (int y = 0; y < OH; y++)
      for (int x = 0; x < OW; x++)
        for (int i = 0; i < PLACES; i++) {
          double v = seen(image, b, y, x, i);
          mean[i] += v / total;
          for (int j = 0; j < PLACES; j++)
            moments[i][j] += v * seen(image, b, y, x, j) / total;
        }
  for (int i = 0; i < PLACES; i++)
    assert_near(o->mean[i], mean[i]);
  for (int g = 0; g < 2; g++) {
    prn_observation_moments(o, g, half);
    for (int i = 0; i < PLACES / 2; i++)
      for (int j = 0; j < PLACES / 2; j++) {
        int a = g * PLACES / 2 + i, b = g * PLACES / 2 + j;
        bool known = i / o->block == j / o->block;
        assert_moment(half[i * PLACES / 2 + j],
                      known ? moments[a][b] : mean[a] * mean[b], o->variance[a],
                      o->variance[b]);
      }
  }
}

/* All at once, or one image after the other; whatever moments are of. */
static void windows(void **state) {
  static const int64_t blocks[] = {PRN_PROFILE_FULL, 5, 16};
  prn_diag_sink sink = {0};
  float x[B * C * H * W];
  (void)state;
  uint32_t word = 3;
  for (int i = 0; i < B * C * H * W; i++) {
    word = word * 1664525u + 1013904223u;
    x[i] = (float)(word >> 8) * 0x1p-24f - 0.3f;
  }
  for (size_t k = 0; k < PRN_COUNT(blocks); k++) {
    prn_profile p = {.block = blocks[k]}, q = {.block = blocks[k]};
    size_t i = prn_profile_add_window(&p, PRN_STR("x"), 1, &window);
    size_t j = prn_profile_add_window(&q, PRN_STR("x"), 1, &window);
    assert_null(prn_profile_find(&p, PRN_STR("x"), 1));
    const int64_t both[] = {B, C, H, W}, one[] = {1, C, H, W};
    prn_sample all = {PRN_F32, 4, both, x}, first = {PRN_F32, 4, one, x};
    prn_sample second = {PRN_F32, 4, one, x + C * H * W};
    assert_int_equal(prn_profile_observe(&p, i, &all, 3, &sink), PRN_OK);
    prn_profile_settle(&p);
    check_window(&p.at[i], x);
    prn_profile_clear(&p);
    p = (prn_profile){.block = blocks[k]};
    i = prn_profile_add_window(&p, PRN_STR("x"), 1, &window);
    assert_int_equal(prn_profile_observe(&p, i, &first, 1, &sink), PRN_OK);
    prn_profile_settle(&p);
    assert_int_equal(prn_profile_observe(&q, j, &second, 1, &sink), PRN_OK);
    prn_profile_settle(&q);
    assert_int_equal(prn_profile_merge(&p, &q, &sink), PRN_OK);
    check_window(&p.at[i], x);
    prn_profile_clear(&p);
    prn_profile_clear(&q);
  }
}

static void swallow(void *user, const prn_diag *d) {
  int *count = user;
  assert_true(d->text.size > 0);
  ++*count;
}

/* Samples that cannot be; each is one message. */
static void refusals(void **state) {
  int count = 0;
  prn_diag_sink sink = {.handler = swallow, .user = &count};
  const float x[] = {1, NAN, 3, INFINITY};
  const int64_t two[] = {1, 2}, one[] = {4};
  prn_sample nan = {PRN_F32, 2, two, x}, flat = {PRN_F32, 1, one, x};
  prn_sample ints = {PRN_I32, 2, two, x};
  prn_profile p = {.model = 1}, q = {.model = 2}, f = {.model = 1};
  (void)state;
  f.block = PRN_PROFILE_FULL;
  size_t i = prn_profile_add(&p, PRN_STR("a"), 1);
  assert_int_equal(prn_profile_observe(&p, i, &ints, 1, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_observe(&p, i, &flat, 1, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_observe(&p, i, &nan, 1, &sink), PRN_FAIL);
  size_t k = prn_profile_add(&p, PRN_STR("b"), -1);
  const int64_t three[] = {1, 1};
  prn_sample narrow = {PRN_F32, 2, three, x};
  assert_int_equal(prn_profile_observe(&p, k, &narrow, 1, &sink), PRN_OK);
  prn_profile_settle(&p);
  assert_int_equal(prn_profile_observe(&p, k, &nan, 1, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_merge(&p, &q, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_merge(&p, &f, &sink), PRN_FAIL);
  assert_int_equal(count, 6);
  /* images of another rank, and channels that groups do not divide */
  size_t w = prn_profile_add_window(&p, PRN_STR("c"), 1, &window);
  const int64_t odd[] = {1, 1, 1, 1};
  prn_sample image = {PRN_F32, 4, odd, x};
  assert_int_equal(prn_profile_observe(&p, w, &narrow, 1, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_observe(&p, w, &image, 1, &sink), PRN_FAIL);
  assert_int_equal(count, 8);
  prn_profile_clear(&p);
}

/* ---- files ---- */

typedef struct image {
  char path[64];
  unsigned char bytes[MAX];
  size_t size;
} image;

static void save(const image *m, const unsigned char *bytes, size_t size) {
  FILE *f = fopen(m->path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  assert_int_equal(fclose(f), 0);
}

static void start(image *m, bool full) {
  prn_diag_sink sink = {0};
  float x[T * N];
  make(x);
  (void)snprintf(m->path, sizeof m->path, "test_profile.%ld.prof",
                 (long)getpid());
  prn_profile p = {.model = 0x0123456789abcdefu,
                   .block = full ? PRN_PROFILE_FULL : 0};
  observe(&p, prn_profile_add(&p, PRN_STR("first"), 1), x, T);
  (void)prn_profile_add(&p, PRN_STR("never seen"), 1);
  observe(&p, prn_profile_add(&p, PRN_STR("second value"), -1), x, T);
  const prn_profile_window line = {.axes = 1,
                                   .groups = N,
                                   .kernel = {2},
                                   .strides = {1},
                                   .dilations = {1},
                                   .pads = {1, 0}};
  const int64_t dims[] = {2, N, T / 2};
  prn_sample s = {PRN_F32, 3, dims, x};
  size_t w = prn_profile_add_window(&p, PRN_STR("window"), 1, &line);
  assert_int_equal(
      prn_profile_observe_pair(&p, w, &s, full ? &s : NULL, 1, &sink), PRN_OK);
  prn_profile_settle(&p);
  assert_int_equal(prn_profile_write(&sink, &p, m->path), PRN_OK);
  prn_profile_clear(&p);
  FILE *f = fopen(m->path, "rb");
  assert_non_null(f);
  m->size = fread(m->bytes, 1, MAX, f);
  assert_true(m->size > 0 && m->size < MAX);
  assert_int_equal(fclose(f), 0);
}

static prn_status try_read(const image *m, int *messages) {
  prn_profile p;
  prn_diag_sink sink = {.handler = swallow, .user = messages};
  *messages = 0;
  prn_status s = prn_profile_read(&sink, m->path, &p);
  if (s != PRN_OK) {
    assert_int_equal(*messages, 1);
    assert_int_equal(p.size, 0);
  }
  prn_profile_clear(&p);
  return s;
}

static void round_trip(void **state) {
  prn_diag_sink sink = {0};
  prn_profile p, q;
  image m;
  float x[T * N];
  (void)state;
  make(x);
  for (int full = 0; full < 2; full++) {
    start(&m, full);
    assert_int_equal(prn_profile_read(&sink, m.path, &p), PRN_OK);
    assert_int_equal(prn_profile_read(&sink, m.path, &q), PRN_OK);
    assert_true(p.model == 0x0123456789abcdefu);
    assert_int_equal(p.size, 3);
    assert_int_equal(p.at[2].paired, full);
    assert_true((p.block != 0) == full);
    check(&p.at[0], x);
    check(prn_profile_find(&p, PRN_STR("second value"), -1), x);
    /* with itself: the same statistics of twice as many vectors */
    assert_int_equal(prn_profile_merge(&p, &q, &sink), PRN_OK);
    assert_int_equal(p.at[1].count, 2 * T);
    p.at[1].count = T;
    check(&p.at[1], x);
    prn_profile_clear(&p);
    prn_profile_clear(&q);
  }
  (void)unlink(m.path);
}

static void truncated(void **state) {
  image m;
  int messages;
  (void)state;
  start(&m, true);
  for (size_t n = 0; n < m.size; n++) {
    save(&m, m.bytes, n);
    assert_int_equal(try_read(&m, &messages), PRN_FAIL);
  }
  m.bytes[m.size] = 0;
  save(&m, m.bytes, m.size + 1);
  assert_int_equal(try_read(&m, &messages), PRN_FAIL);
  (void)unlink(m.path);
}

/* Every changed byte is noticed; with a checksum that fits again, the reader
 * still either reads or says why not. */
static void flipped(void **state) {
  static const unsigned char flips[] = {1, 0x80};
  image m;
  int messages;
  (void)state;
  start(&m, true);
  for (size_t i = 0; i < m.size; i++)
    for (size_t k = 0; k < PRN_COUNT(flips); k++) {
      unsigned char broken[MAX];
      memcpy(broken, m.bytes, m.size);
      broken[i] ^= flips[k];
      save(&m, broken, m.size);
      assert_int_equal(try_read(&m, &messages), PRN_FAIL);
      uint64_t sum = prn_xxh64(broken, m.size - 8, 0);
      for (size_t b = 0; b < 8; b++)
        broken[m.size - 8 + b] = (unsigned char)(sum >> 8 * b);
      save(&m, broken, m.size);
      (void)!try_read(&m, &messages);
    }
  (void)unlink(m.path);
}

/* Where the record of the window begins. */
static size_t third(const image *m) {
  for (size_t at = 40; at + 48 < m->size; at += 8)
    if (m->bytes[at] == 6 && m->bytes[at + 32] == 1) return at;
  fail_msg("no window");
  return 0;
}

/* Numbers of a window that cannot be, one at a time. */
static void bad_windows(void **state) {
  static const struct {
    size_t at; /* behind the record's beginning */
    uint64_t v;
    size_t bytes;
  } cases[] = {
      {24, 3, 8},                 /* a block larger than a group */
      {24, UINT64_MAX, 8},        /* ... than anything */
      {32, 0, 4},                 /* no axes, but there are numbers */
      {32, 4, 4},                 /* too many axes */
      {32, UINT32_MAX, 4},        /* ... */
      {36, 3, 4},                 /* no such way to pad */
      {36, 1, 4},                 /* pads that follow, and are given */
      {40, 2, 4},                 /* an unknown flag */
      {44, 1, 4},                 /* what is not used */
      {48, 0, 8},                 /* no groups */
      {48, 3, 8},                 /* groups that do not divide */
      {48, UINT64_MAX, 8},        /* ... that are negative */
      {56, 0, 8},                 /* a kernel of nothing */
      {56, 4, 8},                 /* ... that does not divide a group */
      {56, UINT64_C(1) << 40, 8}, /* ... too large */
      {64, 0, 8},                 /* strides */
      {72, UINT64_MAX, 8},        /* dilations */
      {80, UINT64_C(1) << 63, 8}, /* pads */
      {8, UINT64_C(1) << 61, 8},  /* channels whose bytes overflow */
      {8, 11, 8},                 /* channels that groups do not divide */
  };
  image m;
  int messages;
  (void)state;
  start(&m, true);
  size_t record = third(&m);
  for (size_t i = 0; i < PRN_COUNT(cases); i++) {
    unsigned char broken[MAX];
    memcpy(broken, m.bytes, m.size);
    for (size_t b = 0; b < cases[i].bytes; b++)
      broken[record + cases[i].at + b] = (unsigned char)(cases[i].v >> 8 * b);
    uint64_t sum = prn_xxh64(broken, m.size - 8, 0);
    for (size_t b = 0; b < 8; b++)
      broken[m.size - 8 + b] = (unsigned char)(sum >> 8 * b);
    save(&m, broken, m.size);
    if (try_read(&m, &messages) == PRN_OK) fail_msg("case %zu was read", i);
  }
  (void)unlink(m.path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(splits),    cmocka_unit_test(axes),
      cmocka_unit_test(refusals),  cmocka_unit_test(round_trip),
      cmocka_unit_test(truncated), cmocka_unit_test(flipped),
      cmocka_unit_test(windows),   cmocka_unit_test(bad_windows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
