/* Products by weights with zeros, columns of the activations innermost,
 * against the dense product: backends/llvm/linear_srt.c, linear_rows.c.
 *
 *   prn-bench-kernels sparse [FORMAT GROUP VECTORS DEPTH ROWS M N K SHARE]...
 *
 * FORMAT is srt or blocks, SHARE the share of zeros: without structure for
 * srt, of blocks of GROUP rows for blocks. Matrices are all different and
 * rotate, so that they come from memory and no branch is learnt by heart. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/llvm/linear.h"
#include "kernel_bench.h"

typedef struct job {
  const char *format;
  int64_t group, vectors, depth, rows, m, n, k;
  double share;
} job;

typedef void product_fn(const float *x, const void *w, float *c);

enum { COPIES = 72, ROUNDS = 6 };

/* An odd number of cache lines, so that rows spread over cache sets. */
static int64_t pitch_of(int64_t m) { return 32 * ((m + 15) / 32) + 16; }

static prn_packing packing(const job *j) {
  return (prn_packing){.nk = true,
                       .k = j->k,
                       .n = j->n,
                       .nr = j->rows,
                       .group = j->group,
                       .depth = j->depth,
                       .dtype = PRN_F32};
}

static product_fn *make(prn_bench *b, const job *j) {
  static int made;
  char name[32];
  snprintf(name, sizeof name, "sparse%d", made++);
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[3] = {g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 3);
  const prn_linear_family *f = prn_linear_find(prn_str_from(j->format));
  prn_v pitch = cg_i64(g, pitch_of(j->m));
  prn_linear d = {.pack = packing(j),
                  .m = cg_i64(g, j->m),
                  .x = LLVMGetParam(g->fn, 0),
                  .w = LLVMGetParam(g->fn, 1),
                  .c = LLVMGetParam(g->fn, 2),
                  .x_row = pitch,
                  .c_row = pitch};
  int64_t columns = j->vectors * b->target->lanes;
  if (!columns) columns = f->columns(b->target, &d.pack, j->m);
  prn_bench_items(b, g, f, &d, columns);
  return (product_fn *)prn_bench_finish(b, g, name);
}

/* A matrix [n, k] of its own, packed; dense gets its values. */
static char *matrix(const job *j, float *dense, int64_t *bytes) {
  int64_t block = strcmp(j->format, "blocks") == 0 ? j->group : 1;
  for (int64_t i = 0; i < j->n; i += block)
    for (int64_t k = 0; k < j->k; k++) {
      bool keep = !prn_bench_chance(j->share);
      for (int64_t r = i; r < i + block && r < j->n; r++)
        dense[r * j->k + k] =
            keep ? (float)(prn_bench_random() >> 40) / 16777216.0f + 0.001f : 0;
    }
  prn_ctx *ctx = prn_ctx_create();
  prn_dim dims[2] = {prn_dim_const(ctx, j->n), prn_dim_const(ctx, j->k)};
  prn_packing p = packing(j);
  p.t =
      prn_tensor_from_data(ctx, prn_type_tensor(ctx, PRN_F32, 2, dims), dense);
  const prn_pack_format *f = prn_pack_find(prn_str_from(j->format));
  if (!f || !f->size(&p, bytes)) prn_bench_check(PRN_FAIL);
  char *packed = aligned_alloc(64, (size_t)(*bytes + 127) / 64 * 64), *at;
  at = packed;
  f->write(&p, prn_bench_put, &at);
  prn_ctx_destroy(ctx);
  return packed;
}

static double error(const job *j, const float *w, const float *x,
                    const float *c) {
  prn_bench_error e = {0};
  int64_t pitch = pitch_of(j->m);
  for (int64_t t = 0; t < 2000; t++) {
    int64_t m = t * 7919 % j->m, n = t * 104729 % j->n;
    double sum = 0;
    for (int64_t k = 0; k < j->k; k++)
      sum += (double)w[n * j->k + k] * (double)x[k * pitch + m];
    prn_bench_compare(&e, c[n * pitch + m], sum);
  }
  return prn_bench_relative(&e);
}

static double least(prn_bench *b, product_fn *fn, char *const *w,
                    const float *x, float *c) {
  double best = 1e9;
  for (int r = 0; r < ROUNDS; r++) {
    prn_bench_peak(b);
    double all = prn_bench_now();
    for (int i = 0; i < COPIES; i++)
      fn(x, w[i], c);
    best = fmin(best, (prn_bench_now() - all) / COPIES);
  }
  return best;
}

static void one(prn_bench *b, job j) {
  char *w[COPIES], cells[8][32];
  int64_t bytes = 0;
  float *dense = prn_bench_zeros((size_t)(j.n * j.k));
  float *x = prn_bench_floats((size_t)(j.k * pitch_of(j.m)));
  float *c = prn_bench_zeros((size_t)(j.n * pitch_of(j.m)));
  for (int i = 0; i < COPIES; i++)
    w[i] = matrix(&j, dense, &bytes);
  product_fn *fn = make(b, &j);
  double best = least(b, fn, w, x, c);
  double work = (double)j.m * (double)(j.n * j.k);
  fn(x, w[COPIES - 1], c);
  double wrong = error(&j, dense, x, c);
  snprintf(cells[0], 32, "%s %ldx%ld", j.format, (long)j.group,
           (long)j.vectors);
  snprintf(cells[1], 32, "%ld, %ld", (long)j.depth, (long)j.rows);
  snprintf(cells[2], 32, "%ldx%ldx%ld", (long)j.m, (long)j.n, (long)j.k);
  snprintf(cells[3], 32, "%.2f", j.share);
  snprintf(cells[4], 32, "%.2f", work / best / b->peak);
  snprintf(cells[5], 32, "%.3f", work * (1 - j.share) / best / b->peak);
  snprintf(cells[6], 32, "%.2f %.1fus", (double)bytes / 1e6, best * 1e6);
  snprintf(cells[7], 32, "%.0e", wrong);
  const char *row[8];
  for (int i = 0; i < 8; i++)
    row[i] = cells[i];
  prn_bench_row(row, 8);
  for (int i = 0; i < COPIES; i++)
    free(w[i]);
  free(dense);
  free(x);
  free(c);
}

void prn_bench_sparse(prn_bench *b, int argc, char **argv) {
  static const char *const head[] = {"kernel", "depth, rows", "m x n x k",
                                     "zeros",  "x peak",      "of peak",
                                     "MB",     "error"};
  static const char *const line[] = {"---", "---", "---", "---",
                                     "---", "---", "---", "---"};
  static const double shares[] = {0.5, 0.7, 0.8, 0.9, 0.95};
  b->quiet = true;
  prn_bench_row(head, 8);
  prn_bench_row(line, 8);
  if (argc < 9)
    for (size_t i = 0; i < PRN_COUNT(shares); i++)
      one(b, (job){"srt", 3, 0, 128, 384, 128, 768, 768, shares[i]});
  for (int i = 0; i + 9 <= argc; i += 9) {
    int64_t v[7];
    for (int j = 0; j < 7; j++)
      v[j] = strtoll(argv[i + 1 + j], NULL, 10);
    one(b, (job){argv[i], v[0], v[1], v[2], v[3], v[4], v[5], v[6],
                 strtod(argv[i + 8], NULL)});
  }
}
