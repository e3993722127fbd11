/* Dense products of weights narrower than f32 against those of f32:
 * backends/llvm/linear_dot.c, linear_rows.c.
 *
 *   prn-bench-kernels cells [M N K]...
 *
 * Fractions are of one product instruction in each of the machine's
 * multiply-add slots: twice the f32 peak for bf16, four times for 8 bits.
 * Weights rotate over many matrices, so that they come from memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/llvm/linear.h"
#include "kernel_bench.h"

typedef struct shape {
  int64_t m, n, k, pitch;
} shape;

typedef void product_fn(const void *x, const void *w, void *c, void *scratch);

typedef struct kind {
  const char *name, *family;
  prn_dtype dtype;
  double slots; /* products in a multiply-add slot, where there is one */
} kind;

static const kind kinds[] = {
    {"f32", "rows", PRN_F32, 1},
    {"bf16", "rows2", PRN_BF16, 2},
    {"f16", "rows2", PRN_F16, 1},
    {"int8", "rows4", PRN_I8, 4},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct job {
  shape s;
  int64_t bytes, copies;
  char *w; /* packed, copies of bytes each */
  product_fn *fn;
  void *scratch;
} job;

static int64_t pitch_of(int64_t m) { return 32 * ((m + 15) / 32) + 16; }

static prn_packing packing(const prn_bench *b, const kind *t, const shape *s) {
  return (prn_packing){
      .k = s->k, .n = s->n, .group = b->target->mr, .dtype = t->dtype};
}

static product_fn *make(prn_bench *b, const kind *t, const shape *s) {
  static int made;
  char name[32];
  snprintf(name, sizeof name, "%s%d", t->name, made++);
  prn_cg *g = prn_cg_create(b->target, name);
  prn_t params[4] = {g->ptr, g->ptr, g->ptr, g->ptr};
  prn_cg_begin(g, name, g->none, params, 4);
  const prn_linear_family *f = prn_linear_find(prn_str_from(t->family));
  prn_v pitch = cg_i64(g, s->pitch);
  prn_linear d = {.pack = packing(b, t, s),
                  .m = cg_i64(g, s->m),
                  .x = LLVMGetParam(g->fn, 0),
                  .w = LLVMGetParam(g->fn, 1),
                  .c = LLVMGetParam(g->fn, 2),
                  .scratch = LLVMGetParam(g->fn, 3),
                  .x_row = pitch,
                  .c_row = pitch};
  int64_t columns = f->columns(b->target, &d.pack, s->m);
  prn_bench_items(b, g, f, &d, columns);
  return (product_fn *)prn_bench_finish(b, g, name);
}

/* Packs the tensor [n, k] of these values. */
static void prepare(prn_bench *b, prn_ctx *ctx, const kind *t, job *j,
                    const float *w) {
  const shape *s = &j->s;
  prn_dim dims[2] = {prn_dim_const(ctx, s->n), prn_dim_const(ctx, s->k)};
  const prn_type *type = prn_type_tensor(ctx, PRN_F32, 2, dims);
  prn_packing p = packing(b, t, s);
  p.t = prn_tensor_from_data(ctx, type, w);
  p.nk = true;
  const prn_pack_format *f = prn_pack_find(prn_str_from(t->family));
  if (!f->size(&p, &j->bytes)) prn_bench_check(PRN_FAIL);
  j->copies = (40 << 20) / j->bytes + 2;
  if (j->copies > 36) j->copies = 36;
  j->w = aligned_alloc(64, (size_t)(j->bytes * j->copies + 127) / 64 * 64);
  char *at = j->w;
  f->write(&p, prn_bench_put, &at);
  for (int64_t i = 1; i < j->copies; i++)
    memcpy(j->w + i * j->bytes, j->w, (size_t)j->bytes);
  const prn_linear_family *l = prn_linear_find(prn_str_from(t->family));
  size_t scratch = l->scratch ? l->scratch(b->target, &p, false) : 0;
  j->scratch = aligned_alloc(64, (scratch + 127) / 64 * 64);
  j->fn = make(b, t, s);
}

typedef struct data {
  float *w, *x, *c;
  unsigned char *x8;
} data;

/* Sampled elements in double precision, for integers exactly. */
static double error(const shape *s, const kind *t, const data *d) {
  prn_bench_error e = {0};
  bool ints = t->dtype == PRN_I8;
  for (int64_t q = 0; q < 2000; q++) {
    int64_t j = q < 200 ? s->m - 1 - q % s->m : (q * 7919) % s->m;
    int64_t i = q < 200 ? s->n - 1 - q % s->n : (q * 104729) % s->n;
    double sum = 0, got;
    for (int64_t k = 0; k < s->k; k++)
      sum +=
          (double)d->w[i * s->k + k] * (ints ? (double)d->x8[k * s->pitch + j]
                                             : (double)d->x[k * s->pitch + j]);
    if (ints)
      got = (double)((const int32_t *)(const void *)d->c)[i * s->pitch + j];
    else
      got = (double)d->c[i * s->pitch + j];
    prn_bench_compare(&e, got, sum);
  }
  return prn_bench_relative(&e);
}

static void run(prn_bench *b, const kind *t, const job *j, const data *d,
                int64_t r, double *best) {
  const char *w = j->w + r % j->copies * j->bytes;
  const void *x = t->dtype == PRN_I8 ? (const void *)d->x8 : d->x;
  if (r % 6 == 0) prn_bench_peak(b);
  double t0 = prn_bench_now();
  j->fn(x, w, d->c, j->scratch);
  *best = fmin(*best, prn_bench_now() - t0);
}

static void one_shape(prn_bench *b, prn_ctx *ctx, shape s) {
  s.pitch = pitch_of(s.m);
  data d = {prn_bench_floats((size_t)(s.k * s.n)),
            prn_bench_floats((size_t)(s.k * s.pitch)),
            prn_bench_zeros((size_t)(s.n * s.pitch)), NULL};
  float *w8 = prn_bench_floats((size_t)(s.k * s.n)), *w = d.w;
  job jobs[KINDS] = {{.bytes = 0}};
  double best[KINDS], wrong[KINDS], work = (double)s.m * (double)(s.n * s.k);
  d.x8 = malloc((size_t)(s.k * s.pitch + 64));
  for (int64_t i = 0; i < s.k * s.n; i++)
    w8[i] = rintf(w8[i] * 255);
  for (int64_t i = 0; i < s.k * s.pitch; i++)
    d.x8[i] = (unsigned char)prn_bench_random();
  for (int i = 0; i < KINDS; i++) {
    jobs[i].s = s;
    best[i] = 1e9;
    prepare(b, ctx, &kinds[i], &jobs[i], kinds[i].dtype == PRN_I8 ? w8 : w);
  }
  for (int64_t r = 0; r < 72; r++)
    for (int i = 0; i < KINDS; i++)
      run(b, &kinds[i], &jobs[i], &d, r, &best[i]);
  for (int i = 0; i < KINDS; i++) {
    d.w = kinds[i].dtype == PRN_I8 ? w8 : w;
    jobs[i].fn(kinds[i].dtype == PRN_I8 ? (const void *)d.x8 : d.x, jobs[i].w,
               d.c, jobs[i].scratch);
    wrong[i] = error(&s, &kinds[i], &d);
    free(jobs[i].w);
    free(jobs[i].scratch);
  }
  char cells[2 + 3 * KINDS][24];
  const char *row[2 + 3 * KINDS];
  int n = 0;
  snprintf(cells[n++], 24, "%ld", (long)s.m);
  snprintf(cells[n++], 24, "%ldx%ld", (long)s.k, (long)s.n);
  for (int i = 0; i < KINDS; i++) {
    snprintf(cells[n++], 24, "%.3f", work / best[i] / b->peak / kinds[i].slots);
    snprintf(cells[n++], 24, "%.2f", best[0] / best[i]);
    snprintf(cells[n++], 24, "%.0e", wrong[i]);
  }
  for (int i = 0; i < n; i++)
    row[i] = cells[i];
  prn_bench_row(row, n);
  free(w);
  free(w8);
  free(d.x);
  free(d.x8);
  free(d.c);
}

void prn_bench_cells(prn_bench *b, int argc, char **argv) {
  static const shape shapes[] = {
      {.m = 128, .n = 768, .k = 768},  {.m = 128, .n = 3072, .k = 768},
      {.m = 128, .n = 768, .k = 3072}, {.m = 384, .n = 768, .k = 768},
      {.m = 100, .n = 768, .k = 768},  {.m = 16, .n = 768, .k = 768},
      {.m = 49, .n = 512, .k = 2048},  {.m = 37, .n = 50, .k = 41}};
  static const char *const head[] = {
      "columns", "k x n", "f32", "x",     "error", "bf16", "x",
      "error",   "f16",   "x",   "error", "int8",  "x",    "error"};
  static const char *const line[] = {"---", "---", "---", "---", "---",
                                     "---", "---", "---", "---", "---",
                                     "---", "---", "---", "---"};
  prn_ctx *ctx = prn_ctx_create();
  b->quiet = true;
  prn_bench_row(head, 14);
  prn_bench_row(line, 14);
  if (argc < 3)
    for (size_t i = 0; i < PRN_COUNT(shapes); i++)
      one_shape(b, ctx, shapes[i]);
  for (int i = 0; i + 3 <= argc; i += 3)
    one_shape(b, ctx,
              (shape){.m = strtoll(argv[i], NULL, 10),
                      .n = strtoll(argv[i + 1], NULL, 10),
                      .k = strtoll(argv[i + 2], NULL, 10)});
  prn_ctx_destroy(ctx);
}
