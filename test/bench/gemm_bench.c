/* Dense products of row-major activations: backends/llvm/gemm.h.
 *
 *   prn-bench-kernels gemm [M N K]...
 *
 * Every result is checked against a double-precision reference at sampled
 * elements. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "backends/llvm/gemm.h"
#include "kernel_bench.h"

typedef void gemm_fn(int64_t m, int64_t n, int64_t k, const float *a,
                     const float *b, float *c, float *scratch);

/* packed: B is panels; else row-major B (k x n) or, transposed, (n x k). */
static uintptr_t make_gemm(prn_bench *b, const char *name, bool packed,
                           bool transposed) {
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[7] = {g->i64, g->i64, g->i64, g->ptr, g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 7);
  prn_v arg[7];
  for (unsigned i = 0; i < 7; i++)
    arg[i] = LLVMGetParam(g->fn, i);
  prn_v one = cg_i64(g, 1);
  prn_gemm d = {.m = arg[0],
                .n = arg[1],
                .k = arg[2],
                .a = arg[3],
                .a_row = arg[2],
                .a_col = one,
                .b = arg[4],
                .c = arg[5],
                .c_row = arg[1],
                .scratch = arg[6]};
  if (!packed) {
    d.b_row = transposed ? one : arg[1];
    d.b_col = transposed ? arg[2] : one;
  }
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), prn_gemm_items(g, &d), 1, NULL, 0);
  prn_gemm_item(g, &d, l.iv);
  prn_loop_end(g, &l);
  LLVMBuildRetVoid(g->b);
  return prn_bench_finish(b, g, name);
}

static double worst(const float *a, const float *b, const float *c, int64_t m,
                    int64_t n, int64_t k, bool transposed) {
  double most = 0;
  for (int64_t s = 0; s < 400; s++) {
    int64_t i = (s * 7919) % m, j = (s * 104729 + 1) % n;
    if (s < 40) i = m - 1 - s % (m < 4 ? m : 4);
    double sum = 0;
    for (int64_t t = 0; t < k; t++)
      sum += (double)a[i * k + t] *
             (double)(transposed ? b[j * k + t] : b[t * n + j]);
    most = fmax(most, fabs(sum - (double)c[i * n + j]));
  }
  return most;
}

static void one_shape(prn_bench *b, int64_t m, int64_t n, int64_t k) {
  static gemm_fn *fns[3];
  static const char *const names[3] = {"packed", "rowmajor", "transpose"};
  float *a = prn_bench_floats((size_t)(m * k)),
        *w = prn_bench_floats((size_t)(k * n));
  float *c = prn_bench_floats((size_t)(m * n));
  float *packed = prn_bench_floats(prn_gemm_packed_size(b->target, k, n));
  float *scratch = prn_bench_floats(prn_gemm_scratch(b->target, false, false));
  prn_gemm_pack_const(b->target, w, k, n, n, 1, packed);
  for (int kind = 0; kind < 3; kind++) {
    if (!fns[kind])
      fns[kind] = (gemm_fn *)make_gemm(b, names[kind], kind == 0, kind == 2);
    double best = 1e9, work = (double)m * (double)n * (double)k;
    int reps = work > 1e9 ? 5 : 30;
    for (int r = 0; r < reps; r++) {
      prn_bench_peak(b);
      double t0 = prn_bench_now();
      fns[kind](m, n, k, a, kind ? w : packed, c, scratch);
      best = fmin(best, prn_bench_now() - t0);
    }
    printf("gemm %-9s %5ld x %5ld x %5ld: %8.1f us, %.3f of peak, error %.1e\n",
           names[kind], (long)m, (long)n, (long)k, best * 1e6,
           work / best / b->peak, worst(a, w, c, m, n, k, kind == 2));
  }
  free(a);
  free(w);
  free(c);
  free(packed);
  free(scratch);
}

void prn_bench_gemm(prn_bench *b, int argc, char **argv) {
  static const int shapes[][3] = {
      {128, 1536, 384}, {128, 384, 1536}, {128, 3072, 768}, {128, 768, 3072},
      {128, 384, 384},  {128, 128, 32},   {128, 32, 128},   {1, 3072, 768},
      {37, 50, 41},     {512, 1000, 2048}};
  if (argc < 3)
    for (size_t i = 0; i < PRN_COUNT(shapes); i++)
      one_shape(b, shapes[i][0], shapes[i][1], shapes[i][2]);
  for (int i = 0; i + 3 <= argc; i += 3)
    one_shape(b, strtoll(argv[i], NULL, 10), strtoll(argv[i + 1], NULL, 10),
              strtoll(argv[i + 2], NULL, 10));
}
