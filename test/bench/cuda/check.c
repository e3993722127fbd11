/* Every kernel, and every library through the runtime, against sums in double
 * precision; and that what was captured computes the same bits when it is
 * replayed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/parallel.h"
#include "test/bench/cuda/bench.h"

enum { THREADS = 16 };

/* Sums and the sums of their sizes, [m, n]. */
typedef struct expected {
  const float *x, *w;
  int64_t m, n, k;
  double *sum, *size;
} expected;

static void expect_rows(void *user, size_t chunk, size_t begin, size_t end) {
  const expected *e = user;
  (void)chunk;
  for (size_t i = begin; i < end; i++)
    for (int64_t j = 0; j < e->n; j++) {
      const float *x = e->x + (int64_t)i * e->k, *w = e->w + j * e->k;
      double sum = 0, size = 0;
      for (int64_t k = 0; k < e->k; k++) {
        double v = (double)x[k] * (double)w[k];
        sum += v;
        size += fabs(v);
      }
      e->sum[(int64_t)i * e->n + j] = sum;
      e->size[(int64_t)i * e->n + j] = size;
    }
}

static expected expect(const bench_weights *w, const float *x, int64_t m) {
  size_t n = (size_t)(m * w->n);
  expected e = {x,
                w->dense,
                m,
                w->n,
                w->k,
                malloc(n * sizeof *e.sum),
                malloc(n * sizeof *e.size)};
  if (!e.sum || !e.size) bench_fail("no memory");
  prn_parallel_for(THREADS, (size_t)m, 1, expect_rows, &e);
  return e;
}

static void forget(expected *e) {
  free(e->sum);
  free(e->size);
}

/* The largest error in units of what is allowed: half a step of the type, and
 * what adding in f32 in any order may lose. NaN is infinitely wrong. */
static double worst_of(const expected *e, int type, const void *got) {
  double half = type == F16 ? 0x1p-11 : 0x1p-8, worst = 0;
  for (int64_t i = 0; i < e->m * e->n; i++) {
    double slack = e->size[i] * 0x1p-22 + fabs(e->sum[i]) * half * 1.001;
    double off = fabs(bench_load(type, got, (size_t)i) - e->sum[i]);
    if (!(off <= worst * (slack + 1e-30))) worst = off / (slack + 1e-30);
    if (isnan(worst)) return INFINITY;
  }
  return worst;
}

static void poison(const bench_product *p) {
  dev_fill(p->y, UINT32_MAX, p->y_size / 4);
}

/* Whether a replay gives the bits that a run gave. */
static bool same_replayed(bench_product *p, const void *want, void *room) {
  size_t size = p->out[0].size;
  dev_graph g = dev_capture(bench_product_run, p);
  poison(p);
  dev_replay(&g);
  dev_get(room, p->y, size);
  dev_graph_free(&g);
  return memcmp(want, room, size) == 0;
}

static int num_checked;

static int check_way(bench_product *p, const expected *e, int way) {
  int why, code;
  size_t size;
  const char *name = bench_way_name(way);
  num_checked++;
  printf("{\"row\": \"check\", \"way\": \"%s\", \"type\": \"%s\", \"m\": %lld, "
         "\"n\": %lld, \"k\": %lld, ",
         name, bench_type_name(p->w->type), (long long)p->m, (long long)p->w->n,
         (long long)p->w->k);
  if (!bench_product_way(p, way, &why, &code)) {
    printf("\"skipped\": \"%s\", \"code\": %d}\n", bench_reason(why), code);
    return 0;
  }
  size = p->out[0].size;
  void *got = malloc(size), *again = malloc(size);
  if (!got || !again) bench_fail("no memory");
  poison(p);
  bench_product_run(p);
  dev_get(got, p->y, size);
  double worst = worst_of(e, p->w->type, got);
  bool same = same_replayed(p, got, again), ok = worst <= 1 && same;
  printf("\"worst\": %.4g, \"replayed\": %s, \"ok\": %s}\n",
         isinf(worst) ? 1e30 : worst, same ? "true" : "false",
         ok ? "true" : "false");
  free(got);
  free(again);
  return !ok;
}

static int check_format(const bench_options *o, const char *format, int type,
                        int64_t n, int64_t k) {
  bench_weights w = bench_weights_make(
      format, type, 50, strcmp(format, "bsr") == 0 ? 32 : 0, n, k, true, 11);
  bench_product p;
  int wrong = 0;
  bench_product_make(&p, &w, 1, OWN_AND_LIBRARIES, NULL);
  for (const int64_t *m = o->rows; *m; m++) {
    float *x = bench_product_rows(&p, *m, (uint32_t)*m);
    /* Not only odd weights: every 16th element is a negative zero. */
    for (int64_t i = 0; i < *m * k; i += 16)
      x[i] = -0.0f;
    unsigned char *stored = malloc((size_t)(2 * *m * k));
    if (!stored) bench_fail("no memory");
    bench_store(type, x, (size_t)(*m * k), stored);
    dev_put(p.x, stored, (size_t)(2 * *m * k));
    free(stored);
    expected e = expect(&w, x, *m);
    if (o->wrong) e.sum[(*m * n) / 2] += 1 + e.size[(*m * n) / 2];
    for (uint32_t i = 0; i < p.num_ways; i++)
      if (bench_wants(o, bench_way_name(p.ways[i])))
        wrong |= check_way(&p, &e, p.ways[i]);
    forget(&e);
    free(x);
    (void)fflush(stdout);
  }
  bench_product_free(&p);
  bench_weights_free(&w);
  return wrong;
}

int bench_check(const bench_options *o) {
  static const char *const formats[] = {"nk", "nm24", "bitmap", "bsr"};
  int wrong = 0;
  for (const int64_t(*s)[2] = o->shapes; (*s)[0]; s++)
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
      for (int type = F16; type <= BF16; type += BF16 - F16)
        if ((!o->type || o->type == type) &&
            (!o->format || strcmp(o->format, formats[f]) == 0))
          wrong |= check_format(o, formats[f], type, (*s)[0], (*s)[1]);
  if (num_checked == 0) bench_fail("nothing was checked");
  return wrong;
}
