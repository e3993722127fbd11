/* What the benchmarks of generated kernels share; see kernel_bench.h. */
#include "kernel_bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double prn_bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void prn_bench_check(prn_status s) {
  if (s != PRN_OK) exit(1);
}

static void print_assembly(prn_bench *b, prn_cg *g) {
  prn_strbuf text = {0};
  prn_bench_check(
      prn_target_emit(&b->sink, b->target, g->mod, PRN_EMIT_ASSEMBLY, &text));
  fputs(text.data, stderr);
  prn_strbuf_destroy(&text);
}

uintptr_t prn_bench_finish(prn_bench *b, prn_cg *g, const char *name) {
  prn_strbuf object = {0};
  LLVMSetLinkage(LLVMGetNamedFunction(g->mod, name), LLVMExternalLinkage);
  if (getenv("PRN_BENCH_ASM")) print_assembly(b, g);
  double t0 = prn_bench_now();
  prn_bench_check(
      prn_target_emit(&b->sink, b->target, g->mod, PRN_EMIT_OBJECT, &object));
  double t1 = prn_bench_now();
  prn_bench_check(prn_jit_add(b->jit, &b->sink, prn_strbuf_view(&object)));
  uintptr_t address;
  prn_bench_check(prn_jit_find(b->jit, &b->sink, name, &address));
  if (!b->quiet)
    printf("%-10s code generation %.1f ms, %zu bytes\n", name, 1e3 * (t1 - t0),
           object.size);
  prn_strbuf_destroy(&object);
  prn_cg_destroy(g);
  return address;
}

/* ---- peak ---- */

enum { CHAINS = 12 };

static uintptr_t make_peak(prn_bench *b) {
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
  return prn_bench_finish(b, g, "peak");
}

void prn_bench_peak(prn_bench *b) {
  if (!b->peak_fn) b->peak_fn = make_peak(b);
  void (*peak)(float *, int64_t) = (void (*)(float *, int64_t))b->peak_fn;
  float buffer[16 * CHAINS] = {0};
  for (int i = 0; i < 20; i++) {
    double t0 = prn_bench_now();
    peak(buffer, 20000);
    double t = prn_bench_now() - t0;
    b->peak = fmax(b->peak, 20000.0 * CHAINS * b->target->lanes / t);
  }
}

/* ---- data ---- */

uint64_t prn_bench_random(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

bool prn_bench_chance(double probability) {
  return (double)(prn_bench_random() >> 40) / 16777216.0 < probability;
}

float *prn_bench_zeros(size_t n) {
  size_t bytes = (n * sizeof(float) + 127) / 64 * 64;
  float *p = aligned_alloc(64, bytes);
  if (!p) abort();
  memset(p, 0, bytes);
  return p;
}

float *prn_bench_floats(size_t n) {
  float *p = prn_bench_zeros(n);
  for (size_t i = 0; i < n; i++)
    p[i] = (float)(prn_bench_random() >> 40) / 16777216.0f - 0.5f;
  return p;
}

void prn_bench_flush(void) {
  enum { BYTES = 96 << 20 };
  static volatile char *memory;
  if (!memory) memory = malloc(BYTES);
  if (!memory) abort();
  for (size_t i = 0; i < BYTES; i += 64)
    memory[i]++;
}

double prn_bench_relative(const prn_bench_error *e) {
  return e->all > 0 ? sqrt(e->wrong / e->all) : sqrt(e->wrong);
}

void prn_bench_row(const char *const *cells, int n) {
  for (int i = 0; i < n; i++)
    printf("| %-10s ", cells[i]);
  puts("|");
  fflush(stdout);
}

void prn_bench_items(prn_bench *b, prn_cg *g, const prn_linear_family *f,
                     prn_linear *d, int64_t columns) {
  int64_t rows = f->rows(b->target, &d->pack);
  prn_loop ln, lm;
  prn_v n = cg_i64(g, d->pack.n);
  prn_loop_begin(g, &ln, cg_i64(g, 0), n, rows, NULL, 0);
  prn_v n1 = prn_cg_min(g, n, prn_cg_add(g, ln.iv, cg_i64(g, rows)));
  prn_loop_begin(g, &lm, cg_i64(g, 0), d->m, columns, NULL, 0);
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, d->m, lm.iv), cg_i64(g, columns));
  f->item(g, d, columns, ln.iv, n1, lm.iv, cols);
  prn_loop_end(g, &lm);
  prn_loop_end(g, &ln);
  LLVMBuildRetVoid(g->b);
}

void prn_bench_put(void *user, const void *data, size_t size) {
  char **at = user;
  memcpy(*at, data, size);
  *at += size;
}
