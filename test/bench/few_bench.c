/* Products of few rows, weights from memory: backends/llvm/few.h, and gemm.h
 * for dense ones.
 *
 *   prn-bench-kernels few [ROWS [N K]]
 *
 * Weights rotate over more matrices than the caches hold. `of reads` is the
 * bytes of the weights over the time, as a share of what a plain reading loop
 * gets, measured in between. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/llvm/few.h"
#include "backends/llvm/gemm.h"
#include "kernel_bench.h"

enum { MEMORY = 160 << 20, READ = 96 << 20 };

typedef void product_fn(const float *a, const void *w, float *c);

typedef struct shape {
  int64_t m, n, k;
} shape;

/* ---- reading ---- */

typedef void read_fn(const char *p, int64_t bytes, float *out);

static read_fn *make_read(prn_bench *b) {
  enum { VECTORS = 8 };
  prn_cg *g = prn_cg_create(b->target, "read");
  prn_t params[3] = {g->ptr, g->i64, g->ptr};
  prn_cg_begin(g, "read", g->none, params, 3);
  int64_t size = (int64_t)b->target->lanes * (int64_t)sizeof(float);
  prn_v sum[VECTORS];
  for (unsigned i = 0; i < VECTORS; i++)
    sum[i] = LLVMConstNull(g->vf);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), LLVMGetParam(g->fn, 1), VECTORS * size,
                 sum, VECTORS);
  prn_v p = cg_at(g, g->i8, LLVMGetParam(g->fn, 0), l.iv);
  prn_few_ask(g, p, VECTORS * size / 64);
  for (unsigned i = 0; i < VECTORS; i++) {
    prn_v v = cg_at(g, g->i8, p, cg_i64(g, i * size));
    l.next[i] = cg_fadd(g, prn_cg_load(g, g->vf, v), l.cur[i]);
  }
  prn_loop_end(g, &l);
  for (unsigned i = 1; i < VECTORS; i++)
    l.out[0] = cg_fadd(g, l.out[0], l.out[i]);
  prn_cg_store(g, l.out[0], LLVMGetParam(g->fn, 2));
  LLVMBuildRetVoid(g->b);
  return (read_fn *)prn_bench_finish(b, g, "read");
}

static double bytes_a_second(prn_bench *b) {
  static read_fn *read;
  static char *memory;
  static double best;
  if (!read) {
    read = make_read(b);
    memory = (char *)prn_bench_floats(READ / sizeof(float));
  }
  float out[16];
  for (int i = 0; i < 2; i++) {
    double t0 = prn_bench_now();
    read(memory, READ, out);
    best = fmax(best, READ / (prn_bench_now() - t0));
  }
  return best;
}

/* ---- kernels ---- */

static void name_it(char name[32]) {
  static int made;
  snprintf(name, 32, "few%d", made++);
}

/* B is packed, or as it is: [k, n], or [n, k]. */
static product_fn *make_dense(prn_bench *b, const shape *s, const char *as) {
  char name[32];
  name_it(name);
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
  if (strcmp(as, "panels") != 0) {
    bool kn = strcmp(as, "k x n") == 0;
    d.b_row = kn ? d.n : cg_i64(g, 1);
    d.b_col = kn ? cg_i64(g, 1) : d.k;
  }
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), prn_gemm_items(g, &d), 1, NULL, 0);
  prn_gemm_item(g, &d, l.iv);
  prn_loop_end(g, &l);
  LLVMBuildRetVoid(g->b);
  return (product_fn *)prn_bench_finish(b, g, name);
}

static product_fn *make_few(prn_bench *b, const prn_few_family *f,
                            const prn_packing *p, const shape *s) {
  char name[32];
  name_it(name);
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[3] = {g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 3);
  prn_v n = cg_i64(g, s->n);
  prn_few d = {.pack = *p,
               .m = s->m,
               .a = LLVMGetParam(g->fn, 0),
               .a_row = cg_i64(g, s->k),
               .a_col = cg_i64(g, 1),
               .w = LLVMGetParam(g->fn, 1),
               .c_row = n};
  int64_t width = f->width(b->target, p);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), n, width, NULL, 0);
  d.c = cg_at(g, g->f32, LLVMGetParam(g->fn, 2), l.iv);
  f->item(g, &d, l.iv, prn_cg_min(g, prn_cg_sub(g, n, l.iv), cg_i64(g, width)));
  prn_loop_end(g, &l);
  LLVMBuildRetVoid(g->b);
  return (product_fn *)prn_bench_finish(b, g, name);
}

/* ---- weights ---- */

static void copy(void *user, const void *data, size_t size) {
  char **at = user;
  memcpy(*at, data, size);
  *at += size;
}

/* Weights stored [n, k] (or [k, n]), zero in whole blocks of `block` results.
 */
static const prn_tensor *weights(prn_ctx *ctx, const shape *s, double zeros,
                                 int64_t block) {
  float *w = prn_bench_floats((size_t)(s->n * s->k));
  for (int64_t j = 0; j < s->n; j += block)
    for (int64_t i = 0; i < s->k; i++)
      if (prn_bench_chance(zeros))
        for (int64_t r = j; r < j + block && r < s->n; r++)
          w[r * s->k + i] = 0;
  const int64_t dims[2] = {s->n, s->k};
  const prn_tensor *t =
      prn_tensor_from_data(ctx, prn_type_static(ctx, PRN_F32, 2, dims), w);
  free(w);
  return t;
}

static double error(const shape *s, const prn_packing *p, const float *a,
                    const float *c) {
  prn_bench_error e = {0};
  float *w = prn_bench_zeros((size_t)s->k);
  for (int64_t j = 0; j < s->n; j += 13) {
    prn_packing_rows(p, j, 1, w);
    for (int64_t i = 0; i < s->m; i++) {
      double sum = 0;
      for (int64_t k = 0; k < s->k; k++)
        sum += (double)a[i * s->k + k] * (double)w[k];
      prn_bench_compare(&e, c[i * s->n + j], sum);
    }
  }
  free(w);
  return prn_bench_relative(&e);
}

/* ---- a row of the table ---- */

typedef struct contender {
  const char *pack;
  double zeros;
  int64_t block, group;
} contender;

/* What has no zeros and is not packed counts as `dense`, the tensor as it is
 * stored. */
static const prn_pack_format *format_of(const contender *f) {
  bool bare = strstr(f->pack, " x ");
  return prn_pack_find(prn_str_from(bare ? "dense" : f->pack));
}

static void one(prn_bench *b, const shape *s, const contender *f,
                double *dense) {
  prn_ctx *ctx = prn_ctx_create();
  const prn_few_family *family = prn_few_find(prn_str_from(f->pack));
  const prn_pack_format *format = format_of(f);
  prn_packing p = {.t = weights(ctx, s, f->zeros, f->block),
                   .nk = strcmp(f->pack, "k x n") != 0,
                   .k = s->k,
                   .n = s->n,
                   .nr = prn_target_nr(b->target),
                   .group = f->group,
                   .dtype = PRN_F32};
  int64_t bytes;
  if (!format->size(&p, &bytes) ||
      (family && !family->supported(b->target, &p))) {
    prn_ctx_destroy(ctx);
    return;
  }
  int64_t copies = MEMORY / bytes + 1;
  float *a = prn_bench_floats((size_t)(s->m * s->k));
  float *c = prn_bench_zeros((size_t)(s->m * s->n));
  char *w = (char *)prn_bench_zeros((size_t)(bytes * copies) / 4), *at = w;
  format->write(&p, copy, &at);
  for (int64_t i = 1; i < copies; i++)
    memcpy(w + i * bytes, w, (size_t)bytes);
  product_fn *run =
      family ? make_few(b, family, &p, s) : make_dense(b, s, f->pack);
  double best = 1e9, reads = 0;
  for (int64_t r = 0; r < 8 + 2 * copies; r++) {
    if (r % copies == 0) reads = bytes_a_second(b);
    double t0 = prn_bench_now();
    run(a, w + r % copies * bytes, c);
    best = fmin(best, prn_bench_now() - t0);
  }
  if (strcmp(f->pack, "panels") == 0) *dense = best;
  char cells[6][24];
  snprintf(cells[0], 24, "%.0f %% %ldx1", 100 * f->zeros, (long)f->block);
  snprintf(cells[1], 24, "%.2f", (double)bytes / 1e6);
  snprintf(cells[2], 24, "%.0f", best * 1e6);
  snprintf(cells[3], 24, "%.2f", (double)bytes / best / reads);
  snprintf(cells[4], 24, "%.2f", *dense / best);
  snprintf(cells[5], 24, "%.1e", error(s, &p, a, c));
  const char *row[] = {f->pack,  cells[0], cells[1], cells[2],
                       cells[3], cells[4], cells[5]};
  prn_bench_row(row, 7);
  free(a);
  free(c);
  free(w);
  prn_ctx_destroy(ctx);
}

void prn_bench_few(prn_bench *b, int argc, char **argv) {
  static const contender all[] = {
      {"panels", 0, 1, 0},      {"n x k", 0, 1, 0},
      {"k x n", 0, 1, 0},       {"bitmask", 0.5, 1, 0},
      {"bitmask", 0.7, 1, 0},   {"bitmask", 0.8, 1, 0},
      {"bitmask", 0.9, 1, 0},   {"gather", 0.7, 1, 0},
      {"gather", 0.8, 1, 0},    {"gather", 0.9, 1, 0},
      {"gather", 0.95, 1, 0},   {"columns", 0.5, 16, 16},
      {"columns", 0.8, 16, 16}, {"columns", 0.9, 16, 16},
      {"columns", 0.9, 4, 4}};
  static const char *const head[] = {"format",   "zeros", "MB",   "us",
                                     "of reads", "gain",  "error"},
                           *const line[] = {"---", "---", "---", "---",
                                            "---", "---", "---"};
  shape s = {1, 4096, 4096};
  if (argc > 0) s.m = strtoll(argv[0], NULL, 10);
  if (argc > 2) {
    s.n = strtoll(argv[1], NULL, 10);
    s.k = strtoll(argv[2], NULL, 10);
  }
  b->quiet = true;
  double dense = 0;
  printf("%ld row(s), k x n %ldx%ld, reads %.1f GB/s\n", (long)s.m, (long)s.k,
         (long)s.n, 1e-9 * bytes_a_second(b));
  prn_bench_row(head, 7);
  prn_bench_row(line, 7);
  for (size_t i = 0; i < PRN_COUNT(all); i++)
    one(b, &s, &all[i], &dense);
}
