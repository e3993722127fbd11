/* Dense products, columns of the activations innermost, against the row-major
 * product: backends/llvm/linear_rows.c, gemm.h.
 *
 *   prn-bench-kernels rows [M N K]...
 *
 * Weights rotate over many matrices, so that they come from memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/llvm/gemm.h"
#include "backends/llvm/linear.h"
#include "kernel_bench.h"

typedef struct shape {
  int64_t m, n, k, pitch;
} shape;

typedef void product_fn(const float *x, const float *w, float *c);

/* An odd number of cache lines, so that rows spread over cache sets. */
static int64_t pitch_of(int64_t m) { return 32 * ((m + 15) / 32) + 16; }

static product_fn *make_rows(prn_bench *b, const shape *s) {
  static int made;
  char name[32];
  snprintf(name, sizeof name, "rows%d", made++);
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[3] = {g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 3);
  const prn_linear_family *f = &prn_linear_rows;
  prn_v pitch = cg_i64(g, s->pitch);
  prn_linear d = {.pack = {.k = s->k, .n = s->n, .group = b->target->mr},
                  .m = cg_i64(g, s->m),
                  .x = LLVMGetParam(g->fn, 0),
                  .w = LLVMGetParam(g->fn, 1),
                  .c = LLVMGetParam(g->fn, 2),
                  .x_row = pitch,
                  .c_row = pitch};
  int64_t columns = f->columns(b->target, &d.pack, s->m);
  prn_bench_items(b, g, f, &d, columns);
  return (product_fn *)prn_bench_finish(b, g, name);
}

static product_fn *make_gemm(prn_bench *b, const shape *s) {
  static int made;
  char name[32];
  snprintf(name, sizeof name, "panels%d", made++);
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[3] = {g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 3);
  prn_gemm d = {.m = cg_i64(g, s->m),
                .n = cg_i64(g, s->n),
                .k = cg_i64(g, s->k),
                .a = LLVMGetParam(g->fn, 0),
                .a_row = cg_i64(g, s->k),
                .a_col = cg_i64(g, 1),
                .b = LLVMGetParam(g->fn, 1),
                .c = LLVMGetParam(g->fn, 2),
                .c_row = cg_i64(g, s->n)};
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), prn_gemm_items(g, &d), 1, NULL, 0);
  prn_gemm_item(g, &d, l.iv);
  prn_loop_end(g, &l);
  LLVMBuildRetVoid(g->b);
  return (product_fn *)prn_bench_finish(b, g, name);
}

/* Sampled elements, in double precision. */
static double error(const shape *s, int64_t group, const float *x,
                    const float *w, const float *c) {
  prn_bench_error e = {0};
  for (int64_t t = 0; t < 2000; t++) {
    int64_t j = t < 200 ? s->m - 1 - t % s->m : (t * 7919) % s->m;
    int64_t i = t < 200 ? s->n - 1 - t % s->n : (t * 104729) % s->n;
    double sum = 0;
    const float *at = w + i / group * group * s->k + i % group;
    for (int64_t k = 0; k < s->k; k++)
      sum += (double)at[k * group] * (double)x[k * s->pitch + j];
    prn_bench_compare(&e, c[i * s->pitch + j], sum);
  }
  return prn_bench_relative(&e);
}

static void one_shape(prn_bench *b, shape s) {
  s.pitch = pitch_of(s.m);
  int64_t group = b->target->mr, padded = (s.n + group - 1) / group * group;
  int64_t nr = (int64_t)prn_target_nr(b->target);
  int64_t panels = (s.n + nr - 1) / nr * nr;
  int64_t size = s.k * (padded > panels ? padded : panels);
  int64_t copies = (40 << 20) / size + 2;
  if (copies > 36) copies = 36;
  float *x = prn_bench_floats((size_t)(s.k * s.pitch));
  float *c = prn_bench_zeros((size_t)((s.n > s.k ? s.n : s.k) * s.pitch));
  float *w = prn_bench_floats((size_t)(size * copies));
  product_fn *rows = make_rows(b, &s), *gemm = make_gemm(b, &s);
  double best[2] = {1e9, 1e9}, work = (double)s.m * (double)(s.n * s.k);
  for (int64_t r = 0; r < 72; r++) {
    const float *at = w + r % copies * size;
    if (r % 6 == 0) prn_bench_peak(b);
    double t0 = prn_bench_now();
    rows(x, at, c);
    best[0] = fmin(best[0], prn_bench_now() - t0);
    at = w + (r + copies / 2) % copies * size;
    t0 = prn_bench_now();
    gemm(x, at, c);
    best[1] = fmin(best[1], prn_bench_now() - t0);
  }
  rows(x, w, c);
  char cells[6][24];
  snprintf(cells[0], 24, "%ld", (long)s.m);
  snprintf(cells[1], 24, "%ldx%ld", (long)s.k, (long)s.n);
  snprintf(cells[2], 24, "%.3f", work / best[0] / b->peak);
  snprintf(cells[3], 24, "%.3f", work / best[1] / b->peak);
  snprintf(cells[4], 24, "%.1e", error(&s, group, x, w, c));
  const char *row[] = {cells[0], cells[1], cells[2], cells[3], cells[4]};
  prn_bench_row(row, 5);
  free(x);
  free(w);
  free(c);
}

void prn_bench_rows(prn_bench *b, int argc, char **argv) {
  static const shape shapes[] = {
      {.m = 128, .n = 768, .k = 768},  {.m = 128, .n = 3072, .k = 768},
      {.m = 128, .n = 768, .k = 3072}, {.m = 384, .n = 768, .k = 768},
      {.m = 128, .n = 384, .k = 384},  {.m = 100, .n = 768, .k = 768},
      {.m = 80, .n = 768, .k = 768},   {.m = 64, .n = 768, .k = 768},
      {.m = 48, .n = 768, .k = 768},   {.m = 32, .n = 768, .k = 768},
      {.m = 16, .n = 768, .k = 768},   {.m = 7, .n = 768, .k = 768},
      {.m = 196, .n = 256, .k = 1024}, {.m = 49, .n = 512, .k = 2048},
      {.m = 37, .n = 50, .k = 41}};
  static const char *const head[] = {"columns", "k x n", "rows", "gemm",
                                     "error"},
                           *const line[] = {"---", "---", "---", "---", "---"};
  b->quiet = true;
  prn_bench_row(head, 5);
  prn_bench_row(line, 5);
  if (argc < 3)
    for (size_t i = 0; i < PRN_COUNT(shapes); i++)
      one_shape(b, shapes[i]);
  for (int i = 0; i + 3 <= argc; i += 3)
    one_shape(b, (shape){.m = strtoll(argv[i], NULL, 10),
                         .n = strtoll(argv[i + 1], NULL, 10),
                         .k = strtoll(argv[i + 2], NULL, 10)});
}
