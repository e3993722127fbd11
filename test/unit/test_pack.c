/* ir/pack: exact statistics, against counting by hand; transformed weights,
 * against what they are for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "ir/pack/stats.h"
#include "ir/pack/winograd.h"
#include "ir/support/arena.h"

/* Blocks of r results by d steps that are not all zero. */
static int64_t filled(const float *w, int64_t k, int64_t n, int64_t r,
                      int64_t d) {
  int64_t count = 0;
  for (int64_t n0 = 0; n0 < n; n0 += r)
    for (int64_t k0 = 0; k0 < k; k0 += d) {
      bool any = false;
      for (int64_t j = n0; j < n0 + r && j < n; j++)
        for (int64_t i = k0; i < k0 + d && i < k; i++)
          any |= !(w[j * k + i] == 0);
      count += any;
    }
  return count;
}

static void check_stats(prn_ctx *ctx, int64_t k, int64_t n, bool nk,
                        unsigned one_in) {
  size_t count = (size_t)(k * n);
  float *rows = prn_alloc(count * sizeof *rows);
  float *stored = prn_alloc(count * sizeof *stored);
  uint32_t state = 7;
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < k; i++) {
      state = state * 1664525u + 1013904223u;
      float v = one_in && (state >> 16) % one_in == 0 ? -1.5f : 0.0f;
      rows[j * k + i] = v;
      stored[nk ? j * k + i : i * n + j] = v;
    }
  const int64_t dims[2] = {nk ? n : k, nk ? k : n};
  prn_packing p = {.t = prn_tensor_from_data(
                       ctx, prn_type_static(ctx, PRN_F32, 2, dims), stored),
                   .nk = nk,
                   .k = k,
                   .n = n,
                   .dtype = PRN_F32};
  for (int64_t cell = 1; cell <= 4; cell *= 2) {
    prn_pack_stats s;
    prn_pack_stats_of(&p, cell, &s);
    assert_int_equal(s.nnz, filled(rows, k, n, 1, 1));
    for (int64_t r = 1; r <= PRN_PACK_STATS_ROWS; r++)
      if (r <= 4 || r == 6 || r == 8 || r == 16)
        assert_int_equal(s.filled[r], filled(rows, k, n, r, cell));
      else
        assert_int_equal(s.filled[r], 0);
    assert_int_equal(s.empty_rows, n - filled(rows, k, n, 1, k));
  }
  prn_free(rows);
  prn_free(stored);
}

static void stats(void **state) {
  prn_ctx *ctx = prn_ctx_create();
  (void)state;
  for (unsigned one_in = 0; one_in < 12; one_in += 3)
    for (int nk = 0; nk < 2; nk++) {
      check_stats(ctx, 1, 1, nk, one_in);
      check_stats(ctx, 37, 53, nk, one_in);
      check_stats(ctx, 515, 96, nk, one_in);
      check_stats(ctx, 1030, 7, nk, one_in);
    }
  prn_ctx_destroy(ctx);
}

/* ---- winograd ---- */

enum { SIDE = PRN_WINOGRAD_SIDE, TAPS = PRN_WINOGRAD_TAPS };

/* The matrices of winograd.h, from the definition of their rows. */
typedef struct matrices {
  int m, side;
  double b[SIDE][SIDE], g[SIDE][TAPS], a[SIDE][SIDE];
} matrices;

/* Coefficients of the product of (t - q) over all points q but number `but`. */
static void product(const double *points, int n, int but, double *out) {
  memset(out, 0, SIDE * sizeof *out);
  out[0] = 1;
  for (int i = 0; i < n; i++) {
    if (i == but) continue;
    for (int k = SIDE - 1; k > 0; k--)
      out[k] = out[k - 1] - points[i] * out[k];
    out[0] *= -points[i];
  }
}

static matrices matrices_of(const prn_winograd *f) {
  matrices r = {.m = (int)f->m, .side = (int)f->side};
  double points[SIDE] = {0};
  int n = r.side - 1;
  for (int i = 0; i < f->pairs; i++) {
    points[1 + 2 * i] = f->point[i];
    points[2 + 2 * i] = -f->point[i];
  }
  for (int i = 0; i < n; i++) {
    double d = 1;
    for (int k = 0; k < n; k++)
      if (k != i) d *= points[i] - points[k];
    product(points, n, i, r.b[i]);
    for (int k = 0; k < TAPS; k++)
      r.g[i][k] = pow(points[i], k) / d;
    for (int k = 0; k < r.m; k++)
      r.a[i][k] = pow(points[i], k);
  }
  product(points, n, -1, r.b[n]);
  r.g[n][TAPS - 1] = r.a[n][r.m - 1] = 1;
  return r;
}

/* Element (r, c) of G w G'. */
static double transformed(const matrices *t, const float *w, int r, int c) {
  double sum = 0;
  for (int i = 0; i < TAPS; i++)
    for (int j = 0; j < TAPS; j++)
      sum += t->g[r][i] * (double)w[i * TAPS + j] * t->g[c][j];
  return sum;
}

/* The results that follow from B' x B and G w G' are those of the taps. */
static void filtering(void **state) {
  (void)state;
  assert_null(prn_winograd_of(3));
  for (int m = 2; m <= 4; m += 2) {
    matrices t = matrices_of(prn_winograd_of(m));
    for (int tap = 0; tap < TAPS; tap++)
      for (int at = 0; at < t.side; at++)
        for (int y = 0; y < t.m; y++) {
          double sum = 0;
          for (int i = 0; i < t.side; i++)
            sum += t.a[i][y] * t.g[i][tap] * t.b[i][at];
          assert_true(fabs(sum - (at == y + tap)) < 1e-14);
        }
  }
}

typedef struct reader {
  float *next, *end;
} reader;

static void collect(void *user, const void *data, size_t size) {
  reader *r = user;
  assert_true(size <= (size_t)(r->end - r->next) * sizeof *r->next);
  memcpy(r->next, data, size);
  r->next += size / sizeof *r->next;
}

/* Every packed element: panels, elements of a tile, groups, k, rows. */
static void check_packed(const prn_packing *p, const float *w,
                         const float *got) {
  matrices t = matrices_of(prn_winograd_of(p->tile));
  int64_t channels = p->k / (TAPS * TAPS);
  for (int64_t n0 = 0; n0 < p->n; n0 += p->nr)
    for (int e = 0; e < t.side * t.side; e++)
      for (int64_t n = n0; n < n0 + p->nr && n < p->n; n += p->group)
        for (int64_t k = 0; k < channels; k++)
          for (int64_t r = n; r < n + p->group; r++) {
            const float *taps = w + r * p->k + k * TAPS * TAPS;
            double want =
                r < p->n ? transformed(&t, taps, e / t.side, e % t.side) : 0;
            assert_true(fabs((double)*got++ - want) <= 1e-7 * fabs(want));
          }
}

static void winograd(void **state) {
  static const int64_t shapes[][4] = {/* k, n, group, nr */
                                      {1, 1, 1, 1},
                                      {5, 13, 4, 8},
                                      {3, 20, 6, 12},
                                      {8, 16, 8, 64}};
  (void)state;
  for (size_t i = 0; i < 2 * PRN_COUNT(shapes); i++) {
    const int64_t *s = shapes[i / 2];
    prn_ctx *ctx = prn_ctx_create();
    const int64_t dims[4] = {s[1], s[0], TAPS, TAPS};
    int64_t count = s[1] * s[0] * TAPS * TAPS, bytes;
    float *w = prn_alloc((size_t)count * sizeof *w);
    for (int64_t k = 0; k < count; k++)
      w[k] = (float)(k * 7919 % 101) / 64 - 0.75f;
    prn_packing p = {.t = prn_tensor_from_data(
                         ctx, prn_type_static(ctx, PRN_F32, 4, dims), w),
                     .nk = true,
                     .k = s[0] * TAPS * TAPS,
                     .n = s[1],
                     .group = s[2],
                     .nr = s[3],
                     .tile = i % 2 ? 4 : 2,
                     .dtype = PRN_F32};
    const prn_pack_format *f = prn_pack_find(PRN_STR("winograd"));
    assert_true(f->size(&p, &bytes));
    float *out = prn_alloc((size_t)bytes);
    reader r = {out, out + (size_t)bytes / sizeof *out};
    f->write(&p, collect, &r);
    assert_ptr_equal(r.next, r.end);
    check_packed(&p, w, out);
    p.nr = p.group + 1;
    assert_int_equal(f->size(&p, &bytes), p.group == 1);
    prn_free(out);
    prn_free(w);
    prn_ctx_destroy(ctx);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stats),
      cmocka_unit_test(filtering),
      cmocka_unit_test(winograd),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
