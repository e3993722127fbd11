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

enum { N = 5, T = 12, MAX = 4096 };

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
      assert_near(o->moments[i * N + j], sum);
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
  check(&p.at[i], x);
  double wide[T * N];
  for (int k = 0; k < T * N; k++)
    wide[k] = (double)x[k];
  const int64_t flat[] = {T, N};
  prn_sample doubles = {PRN_F64, 2, flat, wide};
  size_t j = prn_profile_add(&p, PRN_STR("doubles"), -1);
  assert_int_equal(prn_profile_observe(&p, j, &doubles, 2, &sink), PRN_OK);
  check(&p.at[j], x);
  assert_ptr_equal(prn_profile_find(&p, PRN_STR("image"), 1), &p.at[i]);
  assert_ptr_equal(prn_profile_find_any(&p, PRN_STR("image")), &p.at[i]);
  assert_null(prn_profile_find(&p, PRN_STR("image"), -1));
  assert_null(prn_profile_find_any(&p, PRN_STR("imag")));
  prn_profile_clear(&p);
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
  assert_int_equal(prn_profile_observe(&p, k, &nan, 1, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_merge(&p, &q, &sink), PRN_FAIL);
  assert_int_equal(prn_profile_merge(&p, &f, &sink), PRN_FAIL);
  assert_int_equal(count, 6);
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
    assert_int_equal(p.size, 2);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(splits),    cmocka_unit_test(axes),
      cmocka_unit_test(refusals),  cmocka_unit_test(round_trip),
      cmocka_unit_test(truncated), cmocka_unit_test(flipped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
