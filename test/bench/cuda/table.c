/* The table: products of a transformer's linear layers in every format, by
 * every kernel and by the libraries. A row of JSON for each. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "test/bench/cuda/bench.h"

enum { FEW_ROWS = 64, LEAST_SETS = 4, TUNE_MS = 100 };

static double seconds(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double started;
static bool is_late(const bench_options *o) {
  return seconds() - started > o->seconds;
}

static void begin_row(const bench_product *p, const char *way) {
  const bench_weights *w = p->w;
  printf("{\"row\": \"product\", \"n\": %lld, \"k\": %lld, \"m\": %lld, "
         "\"type\": \"%s\", \"format\": \"%s\", \"zeros\": %d, \"block\": %d, "
         "\"way\": \"%s\", \"sets\": %lld, \"bytes\": %zu, ",
         (long long)w->n, (long long)w->k, (long long)p->m,
         bench_type_name(w->type), w->format, w->zeros, w->block, way,
         (long long)p->sets, w->size);
}

/* The relative L2 error of what the last set gave, in places spread over it:
 * what is fast because it is wrong is not to count. */
static double error_of(const bench_product *p, const float *x) {
  enum { PLACES = 256, STRIDE = 7919 };
  int64_t n = p->w->n, k = p->w->k;
  double off = 0, all = 1e-30;
  for (int64_t s = 0; s < PLACES; s++) {
    int64_t i = s * p->m / PLACES, j = s * STRIDE % n;
    double want = 0;
    unsigned char got[2];
    for (int64_t e = 0; e < k; e++)
      want += (double)x[i * k + e] * (double)p->w->dense[j * k + e];
    dev_get(got,
            (unsigned char *)p->y + 2 * (((p->sets - 1) * p->m + i) * n + j),
            sizeof got);
    double d = bench_load(p->w->type, got, 0) - want;
    off += d * d;
    all += want * want;
  }
  return isfinite(off) ? sqrt(off / all) : 1e30;
}

static void poison(const bench_product *p) {
  dev_fill(p->y, UINT32_MAX, p->y_size / 4);
}

/* Times are of one product. */
static void end_row(const bench_product *p, const float *x,
                    const dev_times *t) {
  double sets = (double)p->sets;
  printf("\"us\": %.3f, \"least\": %.3f, \"most\": %.3f, \"spread\": %.4f, "
         "\"error\": %.3g, \"mhz\": %d}\n",
         t->median / sets, t->least / sets, t->most / sets,
         (t->high - t->low) / t->median, error_of(p, x), t->mhz);
  (void)fflush(stdout);
}

static void measure_way(const bench_options *o, bench_product *p,
                        const float *x, int way) {
  int why, code;
  const char *name = bench_way_name(way);
  /* It would read weights again for every 16 rows. */
  if (strncmp(name, "few_", 4) == 0 && p->m > FEW_ROWS) return;
  if (!bench_wants(o, name)) return;
  begin_row(p, name);
  if (!bench_product_way(p, way, &why, &code)) {
    printf("\"skipped\": \"%s\", \"code\": %d}\n", bench_reason(why), code);
    return;
  }
  poison(p);
  dev_graph g = dev_capture(bench_product_run, p);
  dev_times t = dev_time(&g, o->warm, o->runs);
  dev_graph_free(&g);
  end_row(p, x, &t);
}

static void put_peer(const bench_product *p, const float *x, const char *name,
                     const peer_best *best) {
  begin_row(p, name);
  if (!best->found) {
    printf("\"skipped\": \"no algorithm\", \"code\": 0}\n");
    return;
  }
  printf("\"algorithm\": %d, \"tried\": %d, ", best->algorithm, best->tried);
  end_row(p, x, &best->times);
}

static void measure_peers(const bench_options *o, const bench_product *p,
                          const float *x) {
  peer_best best;
  poison(p);
  if (strcmp(p->w->format, "nk") == 0 && bench_wants(o, "cuBLASLt")) {
    best = peer_cublaslt(p, o->warm, o->runs);
    put_peer(p, x, "cuBLASLt", &best);
  } else if (strcmp(p->w->format, "nm24") == 0 &&
             bench_wants(o, "cuSPARSELt")) {
    best = peer_cusparselt(p, o->warm, o->runs);
    put_peer(p, x, "cuSPARSELt", &best);
  }
}

static int64_t sets_for(const bench_options *o, size_t size) {
  int64_t sets = o->working_set / (int64_t)size + 1;
  return sets < LEAST_SETS ? LEAST_SETS : sets > MAX_SETS ? MAX_SETS : sets;
}

/* The library that has no peer beside the runtime, or is tuned there. */
static int library_of(const bench_weights *w) {
  return strcmp(w->format, "nm24") == 0  ? WAY_CUSPARSELT
         : strcmp(w->format, "bsr") == 0 ? WAY_CUSPARSE
                                         : -1;
}

static void measure_weights(const bench_options *o, const bench_weights *w) {
  bench_product p;
  int library = library_of(w);
  bench_product_make(&p, w, sets_for(o, w->size), OWN_AND_LIBRARIES, NULL);
  for (const int64_t *m = o->rows; *m && !is_late(o); m++) {
    int why, code;
    float *x = bench_product_rows(&p, *m, (uint32_t)*m);
    /* Also where peers alone are asked for, there has to be a workspace. */
    (void)bench_product_way(&p, p.ways[0], &why, &code);
    for (uint32_t i = 0; i < p.num_ways; i++)
      if (p.ways[i] < OWN_WAYS) measure_way(o, &p, x, p.ways[i]);
    measure_peers(o, &p, x);
    free(x);
  }
  bench_product_free(&p);
  if (library < 0 || !bench_wants(o, bench_way_name(library))) return;
  /* What a model does that has tuned itself: nothing but the library. */
  bench_product_make(&p, w, sets_for(o, w->size), LIBRARIES, NULL);
  for (const int64_t *m = o->rows; *m && !is_late(o); m++) {
    int why, code;
    float *x = bench_product_rows(&p, *m, (uint32_t)*m);
    if (bench_product_way(&p, library, &why, &code))
      bench_product_tune(&p, TUNE_MS);
    measure_way(o, &p, x, library);
    free(x);
  }
  bench_product_free(&p);
}

int bench_table(const bench_options *o) {
  static const struct {
    const char *format;
    int zeros, block;
  } rows[] = {{"nk", 0, 0},      {"nm24", 50, 0},   {"bitmap", 50, 0},
              {"bitmap", 60, 0}, {"bitmap", 70, 0}, {"bitmap", 90, 0},
              {"bsr", 80, 64},   {"bsr", 90, 64},   {"bsr", 80, 32},
              {"bsr", 90, 32}};
  started = seconds();
  /* bf16 first: goals are set for it. */
  for (int type = BF16; type >= F16; type -= BF16 - F16)
    for (const int64_t(*s)[2] = o->shapes; (*s)[0]; s++)
      for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if ((o->type && o->type != type) ||
            (o->format && strcmp(o->format, rows[i].format) != 0))
          continue;
        if (is_late(o)) {
          printf("{\"row\": \"late\", \"n\": %lld, \"k\": %lld, \"type\": "
                 "\"%s\", \"format\": \"%s\", \"zeros\": %d}\n",
                 (long long)(*s)[0], (long long)(*s)[1], bench_type_name(type),
                 rows[i].format, rows[i].zeros);
          continue;
        }
        bench_weights w = bench_weights_make(
            rows[i].format, type, rows[i].zeros, rows[i].block, (*s)[0],
            (*s)[1], false, (uint32_t)(1 + i));
        measure_weights(o, &w);
        bench_weights_free(&w);
      }
  return 0;
}
