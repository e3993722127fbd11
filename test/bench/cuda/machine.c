/* What the machine is, and what it can do at best: copies and a large dense
 * product. What the libraries say to a few products is written down, call by
 * call. */
#include <stdlib.h>

#include "test/bench/cuda/bench.h"

typedef struct copying {
  void *to, *from;
  size_t size;
  bool done;
} copying;

static void copy(void *user) {
  copying *c = user;
  c->done = dev_copy(c->to, c->from, c->size);
}

static void measure_copies(const bench_options *o) {
  copying c = {.size = (size_t)(o->working_set * 8)};
  c.to = dev_alloc(c.size);
  c.from = dev_alloc(c.size);
  dev_fill(c.from, 1, c.size / 4);
  dev_graph g = dev_capture(copy, &c);
  if (c.done) {
    dev_times t = dev_time(&g, o->warm, o->runs);
    printf("{\"row\": \"copy\", \"bytes\": %zu, \"us\": %.3f, \"gb_s\": %.1f, "
           "\"mhz\": %d}\n",
           c.size, t.median, 2 * (double)c.size / (t.median * 1e3), t.mhz);
  }
  dev_graph_free(&g);
  dev_free(c.to);
  dev_free(c.from);
}

static void measure_dense(const bench_options *o, int type) {
  int64_t n = o->ceiling;
  bench_weights w = bench_weights_make("nk", type, 0, 0, n, n, false, 3);
  bench_product p;
  bench_product_make(&p, &w, 1, LIBRARIES, NULL);
  free(bench_product_rows(&p, n, 4));
  int why, code;
  (void)bench_product_way(&p, WAY_CUBLASLT, &why, &code);
  peer_best best = peer_cublaslt(&p, o->warm, o->runs);
  double flops = 2 * (double)n * (double)n * (double)n;
  if (best.found)
    printf("{\"row\": \"dense\", \"type\": \"%s\", \"n\": %lld, \"us\": %.3f, "
           "\"tflops\": %.1f, \"tried\": %d, \"mhz\": %d}\n",
           bench_type_name(type), (long long)n, best.times.median,
           flops / (best.times.median * 1e6), best.tried, best.times.mhz);
  bench_product_free(&p);
  bench_weights_free(&w);
}

static void run_recorded(void *p) {
  record_capture(true);
  bench_product_run(p);
  record_capture(false);
}

/* One format by its library, through every function that the runtime calls. */
static void record_product(const bench_options *o, const char *format,
                           int way) {
  enum { N = 256, K = 192, BUDGET_MS = 1 };
  bench_weights w = bench_weights_make(format, BF16, 50, 0, N, K, false, 7);
  bench_product p;
  int why, code;
  bench_product_make(&p, &w, 2, LIBRARIES, record_symbol);
  for (const int64_t *m = o->rows; *m; m++) {
    free(bench_product_rows(&p, *m, 8));
    bool taken = bench_product_way(&p, way, &why, &code);
    printf("{\"row\": \"library\", \"way\": \"%s\", \"m\": %lld, "
           "\"is\": \"%s\", \"code\": %d}\n",
           bench_way_name(way), (long long)*m, bench_reason(why), code);
    if (!taken) continue;
    bench_product_run(&p);
    bench_product_tune(&p, BUDGET_MS);
    dev_graph g = dev_capture(run_recorded, &p);
    dev_replay(&g);
    dev_wait();
    dev_graph_free(&g);
  }
  bench_product_free(&p);
  bench_weights_free(&w);
}

static void print_versions(void) {
  bench_weights w = bench_weights_make("nm24", F16, 50, 0, 64, 64, false, 1);
  bench_weights v = bench_weights_make("nk", F16, 0, 0, 64, 64, false, 1);
  bench_product p, q;
  bench_product_make(&p, &w, 1, LIBRARIES, NULL);
  bench_product_make(&q, &v, 1, LIBRARIES, NULL);
  printf("{\"row\": \"machine\", ");
  dev_describe(stdout);
  printf(", \"cusparselt\": %llu, \"cusparselt_is\": \"%s\", "
         "\"cublaslt\": %llu, \"cublaslt_is\": \"%s\"}\n",
         (unsigned long long)p.ctx->versions[PCU_SLT],
         bench_reason(p.ctx->why[PCU_SLT]),
         (unsigned long long)q.ctx->versions[PCU_LT],
         bench_reason(q.ctx->why[PCU_LT]));
  bench_product_free(&p);
  bench_product_free(&q);
  bench_weights_free(&w);
  bench_weights_free(&v);
}

int bench_machine(const bench_options *o) {
  print_versions();
  measure_copies(o);
  for (int type = F16; type <= BF16; type += BF16 - F16)
    if (!o->type || o->type == type) measure_dense(o, type);
  if (!o->transcript) return 0;
  record_open(o->transcript);
  record_product(o, "nk", WAY_CUBLASLT);
  record_product(o, "nm24", WAY_CUSPARSELT);
  record_close();
  return 0;
}
