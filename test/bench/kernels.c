/* Speed of the generated kernels as a fraction of the machine's FMA peak.
 *
 *   prn-bench-kernels [--march=CPU] [M N K]...
 *
 * Everything is one thread, minimum of many runs, with the peak measured in
 * between by a generated loop of independent multiply-adds; and every result
 * is checked against a double-precision reference at sampled elements. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/llvm/gemm.h"
#include "backends/llvm/jit.h"

typedef struct bench {
  prn_diag_sink sink;
  prn_target *target;
  prn_jit *jit;
  double peak; /* multiply-adds a second */
} bench;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(prn_status s) {
  if (s != PRN_OK) exit(1);
}

/* Exports g's current function and returns its address. */
static uintptr_t finish(bench *b, prn_cg *g, const char *name) {
  prn_strbuf object = {0};
  LLVMSetLinkage(LLVMGetNamedFunction(g->mod, name), LLVMExternalLinkage);
  if (getenv("PRN_BENCH_ASM")) {
    prn_strbuf text = {0};
    check(
        prn_target_emit(&b->sink, b->target, g->mod, PRN_EMIT_ASSEMBLY, &text));
    fputs(text.data, stderr);
    prn_strbuf_destroy(&text);
  }
  double t0 = now();
  check(prn_target_emit(&b->sink, b->target, g->mod, PRN_EMIT_OBJECT, &object));
  double t1 = now();
  check(prn_jit_add(b->jit, &b->sink, prn_strbuf_view(&object)));
  uintptr_t address;
  check(prn_jit_find(b->jit, &b->sink, name, &address));
  printf("%-10s code generation %.1f ms, %zu bytes\n", name, 1e3 * (t1 - t0),
         object.size);
  prn_strbuf_destroy(&object);
  prn_cg_destroy(g);
  return address;
}

/* ---- peak ---- */

enum { CHAINS = 12 };

static uintptr_t make_peak(bench *b) {
  prn_cg *g = prn_cg_create(b->target, "peak");
  prn_t params[2] = {g->ptr, g->i64};
  prn_cg_begin(g, "peak", g->none, params, 2);
  prn_v p = LLVMGetParam(g->fn, 0), init[CHAINS];
  prn_v x = prn_cg_load(g, g->vf, p);
  for (int i = 0; i < CHAINS; i++)
    init[i] = prn_cg_load(g, g->vf, cg_at(g, g->vf, p, cg_i64(g, i)));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), LLVMGetParam(g->fn, 1), 1, init, CHAINS);
  for (int i = 0; i < CHAINS; i++)
    l.next[i] = prn_cg_fma(g, l.cur[i], x, x);
  prn_loop_end(g, &l);
  for (int i = 0; i < CHAINS; i++)
    prn_cg_store(g, l.out[i], cg_at(g, g->vf, p, cg_i64(g, i)));
  LLVMBuildRetVoid(g->b);
  return finish(b, g, "peak");
}

static void measure_peak(bench *b) {
  static void (*peak)(float *, int64_t);
  if (!peak) peak = (void (*)(float *, int64_t))make_peak(b);
  float buffer[16 * CHAINS] = {0};
  for (int i = 0; i < 20; i++) {
    double t0 = now();
    peak(buffer, 20000);
    double t = now() - t0;
    double rate = 20000.0 * CHAINS * b->target->lanes / t;
    if (rate > b->peak) b->peak = rate;
  }
}

/* ---- matrix product ---- */

typedef void gemm_fn(int64_t m, int64_t n, int64_t k, const float *a,
                     const float *b, float *c, float *scratch);

/* packed: B is panels; else row-major B (k x n) or, transposed, (n x k). */
static uintptr_t make_gemm(bench *b, const char *name, bool packed,
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
  return finish(b, g, name);
}

static float *random_floats(size_t n) {
  static uint64_t state = 88172645463325252u;
  float *p = aligned_alloc(64, (n * sizeof(float) + 127) / 64 * 64);
  for (size_t i = 0; i < n; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    p[i] = (float)(state >> 40) / 16777216.0f - 0.5f;
  }
  return p;
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

static void bench_gemm(bench *b, int64_t m, int64_t n, int64_t k) {
  static gemm_fn *fns[3];
  static const char *const names[3] = {"packed", "rowmajor", "transpose"};
  float *a = random_floats((size_t)(m * k)),
        *w = random_floats((size_t)(k * n));
  float *c = random_floats((size_t)(m * n));
  float *packed = random_floats(prn_gemm_packed_size(b->target, k, n));
  float *scratch = random_floats(prn_gemm_scratch(b->target, false, false));
  prn_gemm_pack_const(b->target, w, k, n, n, 1, packed);
  for (int kind = 0; kind < 3; kind++) {
    if (!fns[kind])
      fns[kind] = (gemm_fn *)make_gemm(b, names[kind], kind == 0, kind == 2);
    double best = 1e9, work = (double)m * (double)n * (double)k;
    int reps = work > 1e9 ? 5 : 30;
    for (int r = 0; r < reps; r++) {
      measure_peak(b);
      double t0 = now();
      fns[kind](m, n, k, a, kind ? w : packed, c, scratch);
      best = fmin(best, now() - t0);
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

int main(int argc, char **argv) {
  bench b = {0};
  prn_target_spec spec = {0};
  int arg = 1;
  if (arg < argc && strncmp(argv[arg], "--march=", 8) == 0)
    spec.march = argv[arg++] + 8;
  check(prn_target_create(&b.sink, &spec, &b.target));
  check(prn_jit_create(&b.sink, &b.jit));
  measure_peak(&b);
  printf("cpu %s, %u lanes, tile %ux%u, peak %.1f Gflop/s\n", b.target->cpu,
         b.target->lanes, b.target->mr, b.target->nv, 2e-9 * b.peak);
  if (arg + 3 > argc) {
    static const int shapes[][3] = {
        {128, 1536, 384}, {128, 384, 1536}, {128, 3072, 768}, {128, 768, 3072},
        {128, 384, 384},  {128, 128, 32},   {128, 32, 128},   {1, 3072, 768},
        {37, 50, 41},     {512, 1000, 2048}};
    for (size_t i = 0; i < PRN_COUNT(shapes); i++)
      bench_gemm(&b, shapes[i][0], shapes[i][1], shapes[i][2]);
  }
  for (; arg + 3 <= argc; arg += 3)
    bench_gemm(&b, strtoll(argv[arg], NULL, 10), strtoll(argv[arg + 1], NULL, 10),
               strtoll(argv[arg + 2], NULL, 10));
  prn_jit_destroy(b.jit);
  prn_target_destroy(b.target);
  return 0;
}
