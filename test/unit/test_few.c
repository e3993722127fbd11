/* The families of few-row products against double precision.
 *
 * Every family runs over row counts, depths and result counts with tails and
 * over matrices with awkward zeros, on each CPU level this machine can run.
 * Operands end where memory ends. */
#include "backends/llvm/few.h"
#include "backends/llvm/gemm.h"
#include "kernels.h"

typedef struct shape {
  int64_t m, k, n;
} shape;

typedef struct format {
  const char *name;
  int64_t group, nr;
} format;

typedef void product_fn(const float *a, const void *w, float *c);

enum { GAP = 3 }; /* floats between rows */

static product_fn *make(prn_machine *m, const prn_few_family *f,
                        const prn_packing *p, const shape *s) {
  char name[32];
  prn_cg *g = prn_machine_begin(m, name, 3);
  prn_v n = cg_i64(g, s->n);
  prn_few d = {.pack = *p,
               .m = s->m,
               .a = LLVMGetParam(g->fn, 0),
               .a_row = cg_i64(g, s->k),
               .a_col = cg_i64(g, 1),
               .w = LLVMGetParam(g->fn, 1),
               .c_row = cg_i64(g, s->n + GAP)};
  int64_t width = f->width(m->target, p);
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), n, width, NULL, 0);
  d.c = cg_at(g, g->f32, LLVMGetParam(g->fn, 2), l.iv);
  f->item(g, &d, l.iv, prn_cg_min(g, prn_cg_sub(g, n, l.iv), cg_i64(g, width)));
  prn_loop_end(g, &l);
  return (product_fn *)prn_machine_end(m, g, name);
}

static double compare(const shape *s, const float *a, const float *w,
                      const float *c) {
  prn_error e = {0};
  int64_t pitch = s->n + GAP;
  for (int64_t i = 0; i < s->m; i++)
    for (int64_t j = 0; j < s->n; j++) {
      double sum = 0;
      for (int64_t k = 0; k < s->k; k++)
        sum += (double)a[i * s->k + k] * (double)w[j * s->k + k];
      prn_error_add(&e, c[i * pitch + j], sum);
    }
  for (int64_t i = 0; i < (s->m - 1) * pitch; i++)
    if (i % pitch >= s->n) assert_true(isnan(c[i]));
  return prn_error_relative(&e);
}

static void check_zeros(const prn_machine *m, const format *f, const shape *s,
                        prn_packing p, prn_zeros z, product_fn *run) {
  size_t size = sizeof(float);
  float *dense = malloc((size_t)(s->k * s->n) * size);
  assert_non_null(dense);
  prn_ctx *ctx = prn_ctx_create();
  p.t = prn_matrix_make(ctx, s->k, s->n, p.nk, z, dense);
  prn_packed w = prn_packed_make(f->name, &p);
  prn_guarded a = prn_guarded_alloc((size_t)(s->m * s->k) * size);
  int64_t floats = (s->m - 1) * (s->n + GAP) + s->n;
  prn_guarded c = prn_guarded_alloc((size_t)floats * size);
  uint32_t seed = 5;
  for (int64_t i = 0; i < s->m * s->k; i++)
    ((float *)a.p)[i] = prn_noise_f32(&seed);
  for (int64_t i = 0; i < floats; i++)
    ((float *)c.p)[i] = NAN;
  run(a.p, w.memory.p, c.p);
  double error = compare(s, a.p, dense, c.p);
  if (!(error <= 1e-5))
    fail_msg("%s, group %ld, %s: m %ld, k %ld, n %ld, zeros %d: error %g",
             f->name, (long)p.group, m->target->cpu, (long)s->m, (long)s->k,
             (long)s->n, (int)z, error);
  prn_guarded_free(&c);
  prn_guarded_free(&a);
  prn_guarded_free(&w.memory);
  prn_ctx_destroy(ctx);
  free(dense);
}

static void check_shape(prn_machine *m, const format *f, const shape *s) {
  const prn_few_family *family = prn_few_find(prn_str_from(f->name));
  assert_non_null(family);
  prn_packing p = {.nk = s->k % 2,
                   .k = s->k,
                   .n = s->n,
                   .nr = f->nr,
                   .group = f->group,
                   .dtype = PRN_F32};
  product_fn *run = make(m, family, &p, s);
  for (int z = 0; z < PRN_ZEROS_COUNT; z++)
    check_zeros(m, f, s, p, (prn_zeros)z, run);
}

static const format formats[] = {{"bitmask", 0, 64}, {"bitmask", 0, 8},
                                 {"gather", 0, 0},   {"columns", 16, 0},
                                 {"columns", 4, 0},  {"columns", 64, 0}};

static const shape shapes[] = {{1, 1, 1},    {1, 64, 128}, {1, 77, 197},
                               {2, 300, 64}, {3, 33, 50},  {5, 40, 17},
                               {8, 57, 100}, {16, 19, 70}};

static void levels(void **state) {
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(prn_levels); i++) {
    if (!prn_level_runs_here(prn_levels[i])) continue;
    prn_machine m;
    prn_machine_open(&m, prn_levels[i]);
    for (size_t f = 0; f < PRN_COUNT(formats); f++)
      for (size_t s = 0; s < PRN_COUNT(shapes); s++)
        check_shape(&m, &formats[f], &shapes[s]);
    prn_machine_close(&m);
  }
}

/* ---- B made at run time ---- */

/* B is [k, n], or [n, k] when turned. */
static product_fn *make_direct(prn_machine *m, const shape *s, bool turned) {
  char name[32];
  prn_cg *g = prn_machine_begin(m, name, 3);
  prn_v one = cg_i64(g, 1);
  prn_gemm d = {.m = cg_i64(g, s->m),
                .n = cg_i64(g, s->n),
                .k = cg_i64(g, s->k),
                .a = LLVMGetParam(g->fn, 0),
                .a_row = cg_i64(g, s->k),
                .a_col = one,
                .b = LLVMGetParam(g->fn, 1),
                .b_row = turned ? one : cg_i64(g, s->n),
                .b_col = turned ? cg_i64(g, s->k) : one,
                .c = LLVMGetParam(g->fn, 2),
                .c_row = cg_i64(g, s->n + GAP)};
  prn_v width = cg_i64(g, prn_target_nr(m->target));
  prn_loop l;
  prn_loop_begin(g, &l, cg_i64(g, 0), prn_gemm_items(g, &d), 1, NULL, 0);
  prn_v n0 = prn_cg_mul(g, l.iv, width);
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, d.n, n0), width);
  prn_v tile = cg_at(g, g->f32, d.c, n0);
  assert_true(prn_gemm_direct(g, &d, n0, cols, tile, d.c_row));
  prn_loop_end(g, &l);
  return (product_fn *)prn_machine_end(m, g, name);
}

static void check_direct(prn_machine *m, const shape *s, bool turned) {
  product_fn *run = make_direct(m, s, turned);
  size_t size = sizeof(float);
  int64_t floats = (s->m - 1) * (s->n + GAP) + s->n;
  prn_guarded a = prn_guarded_alloc((size_t)(s->m * s->k) * size);
  prn_guarded b = prn_guarded_alloc((size_t)(s->k * s->n) * size);
  prn_guarded c = prn_guarded_alloc((size_t)floats * size);
  float *w = malloc((size_t)(s->k * s->n) * size + 1);
  assert_non_null(w);
  uint32_t seed = 9;
  for (int64_t i = 0; i < s->m * s->k; i++)
    ((float *)a.p)[i] = prn_noise_f32(&seed);
  for (int64_t i = 0; i < floats; i++)
    ((float *)c.p)[i] = NAN;
  for (int64_t j = 0; j < s->n; j++)
    for (int64_t k = 0; k < s->k; k++) {
      float v = prn_noise_f32(&seed);
      w[j * s->k + k] = v;
      ((float *)b.p)[turned ? j * s->k + k : k * s->n + j] = v;
    }
  run(a.p, b.p, c.p);
  double error = compare(s, a.p, w, c.p);
  if (!(error <= 1e-5))
    fail_msg("%s: m %ld, k %ld, n %ld, turned %d: error %g", m->target->cpu,
             (long)s->m, (long)s->k, (long)s->n, turned, error);
  free(w);
  prn_guarded_free(&c);
  prn_guarded_free(&b);
  prn_guarded_free(&a);
}

static void directly(void **state) {
  static const shape all[] = {{1, 1, 1},   {1, 0, 5},    {1, 64, 128},
                              {1, 77, 59}, {2, 100, 67}, {3, 33, 150},
                              {5, 40, 17}, {7, 19, 3},   {8, 65, 100}};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(prn_levels); i++) {
    if (!prn_level_runs_here(prn_levels[i])) continue;
    prn_machine m;
    prn_machine_open(&m, prn_levels[i]);
    for (size_t s = 0; s < PRN_COUNT(all); s++) {
      check_direct(&m, &all[s], false);
      check_direct(&m, &all[s], true);
    }
    prn_machine_close(&m);
  }
}

/* What a format cannot hold it refuses, before anything is written. */
static void refused(void **state) {
  static const struct {
    const char *name;
    prn_packing p;
  } bad[] = {
      {"bitmask", {.k = 8, .n = 8, .nr = 129, .dtype = PRN_F32}},
      {"bitmask", {.k = 8, .n = 8, .nr = 0, .dtype = PRN_F32}},
      {"bitmask", {.k = 8, .n = 8, .nr = 64, .dtype = PRN_I8}},
      {"bitmask", {.k = INT64_MAX / 4, .n = 8, .nr = 64, .dtype = PRN_F32}},
      {"columns", {.k = 8, .n = 8, .group = 6, .dtype = PRN_F32}},
      {"columns", {.k = 8, .n = 8, .group = 0, .dtype = PRN_F32}},
      {"columns", {.k = 65537, .n = 8, .group = 16, .dtype = PRN_F32}},
      {"gather", {.k = 65537, .n = 8, .dtype = PRN_F32}},
      {"gather", {.k = 8, .n = INT64_MAX, .dtype = PRN_F32}},
      {"gather", {.k = 0, .n = 0, .dtype = PRN_F32}}};
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(bad); i++) {
    int64_t bytes;
    const prn_pack_format *f = prn_pack_find(prn_str_from(bad[i].name));
    assert_false(f->size(&bad[i].p, &bytes));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(levels),
                                     cmocka_unit_test(directly),
                                     cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
