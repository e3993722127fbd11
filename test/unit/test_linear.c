/* The families of mem.linear against double precision.
 *
 * Every family runs over column counts with tails, known and unknown while
 * compiling, over depths and row counts with tails, and over matrices with
 * awkward zeros, on each CPU level this machine can run. Operands end where
 * memory ends, unused columns are NaN, and every element must be finished
 * exactly once. */
#include "backends/llvm/linear.h"
#include "kernels.h"

typedef struct shape {
  int64_t k, n, m;
  bool known; /* m, while compiling */
} shape;

typedef void product_fn(const float *x, const void *w, float *c,
                        const int64_t *m, void *scratch);

typedef struct user {
  prn_v c;
  int64_t row;
} user;

/* c = 2 sum + 1 */
static void finish(prn_cg *g, void *data, prn_v n0, prn_v rows, prn_v m0,
                   prn_v cols, prn_v sums, prn_v pitch) {
  user *u = data;
  prn_loop l, lj;
  prn_loop_begin(g, &l, cg_i64(g, 0), rows, 1, NULL, 0);
  prn_v n = prn_cg_add(g, n0, l.iv);
  prn_v at = prn_cg_add(g, prn_cg_mul(g, n, cg_i64(g, u->row)), m0);
  prn_v row = cg_at(g, g->f32, u->c, at);
  prn_v from = cg_at(g, g->f32, sums, prn_cg_mul(g, l.iv, pitch));
  prn_loop_begin(g, &lj, cg_i64(g, 0), cols, 1, NULL, 0);
  prn_v v = prn_cg_load(g, g->f32, cg_at(g, g->f32, from, lj.iv));
  prn_cg_store(g, cg_fadd(g, cg_fadd(g, v, v), prn_cg_fconst(g->f32, 1)),
               cg_at(g, g->f32, row, lj.iv));
  prn_loop_end(g, &lj);
  prn_loop_end(g, &l);
}

static void finish_vectors(prn_cg *g, void *data, prn_v n, prn_v m0,
                           const prn_v *sums, unsigned vectors, prn_v mask) {
  user *u = data;
  prn_v at = prn_cg_add(g, prn_cg_mul(g, n, cg_i64(g, u->row)), m0);
  unsigned lanes = prn_cg_lanes(LLVMTypeOf(sums[0]));
  for (unsigned v = 0; v < vectors; v++) {
    prn_v one = prn_cg_fconst(LLVMTypeOf(sums[v]), 1);
    prn_v p = cg_at(g, g->f32, cg_at(g, g->f32, u->c, at),
                    cg_i64(g, (int64_t)v * lanes));
    prn_cg_store_masked(g, cg_fadd(g, cg_fadd(g, sums[v], sums[v]), one), p,
                        v + 1 == vectors ? mask : NULL);
  }
}

static int64_t pitch_of(const shape *s) { return s->m + 3; }

/* Kernels are told where x may begin; they must be right either way. */
static bool anywhere(const prn_packing *p) { return p->k % 2; }

static product_fn *make(prn_machine *m, const prn_linear_family *f,
                        const prn_packing *p, const shape *s, bool done) {
  char name[32];
  prn_cg *g = prn_machine_begin(m, name, 5);
  prn_v pitch = cg_i64(g, pitch_of(s)), n = cg_i64(g, p->n);
  user u = {LLVMGetParam(g->fn, 2), pitch_of(s)};
  prn_linear d = {.pack = *p,
                  .x = LLVMGetParam(g->fn, 0),
                  .w = LLVMGetParam(g->fn, 1),
                  .c = u.c,
                  .x_row = pitch,
                  .anywhere = anywhere(p),
                  .c_row = pitch,
                  .scratch = f->scratch ? LLVMGetParam(g->fn, 4) : NULL,
                  .done = done ? finish : NULL,
                  .finish = done ? finish_vectors : NULL,
                  .user = &u};
  d.m = s->known ? cg_i64(g, s->m)
                 : prn_cg_load(g, g->i64, LLVMGetParam(g->fn, 3));
  int64_t columns = f->columns(m->target, p, s->known ? s->m : -1);
  int64_t rows = f->rows(m->target, p);
  prn_loop ln, lm;
  prn_loop_begin(g, &ln, cg_i64(g, 0), n, rows, NULL, 0);
  prn_v n1 = prn_cg_min(g, n, prn_cg_add(g, ln.iv, cg_i64(g, rows)));
  prn_loop_begin(g, &lm, cg_i64(g, 0), d.m, columns, NULL, 0);
  prn_v cols = prn_cg_min(g, prn_cg_sub(g, d.m, lm.iv), cg_i64(g, columns));
  f->item(g, &d, columns, ln.iv, n1, lm.iv, cols);
  prn_loop_end(g, &lm);
  prn_loop_end(g, &ln);
  return (product_fn *)prn_machine_end(m, g, name);
}

/* The columns of a matrix whose rows are a pitch apart; what lies between is
 * NaN. */
static prn_guarded matrix(int64_t rows, int64_t cols, int64_t pitch,
                          uint32_t seed) {
  int64_t floats = rows ? (rows - 1) * pitch + cols : 0;
  prn_guarded g = prn_guarded_alloc((size_t)floats * sizeof(float));
  float *p = g.p;
  for (int64_t i = 0; i < floats; i++)
    p[i] = i % pitch < cols ? prn_noise_f32(&seed) : NAN;
  return g;
}

static double compare(const shape *s, const float *w, const float *x,
                      const float *c, bool done) {
  prn_error e = {0};
  int64_t pitch = pitch_of(s);
  for (int64_t j = 0; j < s->n; j++)
    for (int64_t i = 0; i < s->m; i++) {
      double sum = 0;
      for (int64_t k = 0; k < s->k; k++)
        sum += (double)w[j * s->k + k] * (double)x[k * pitch + i];
      prn_error_add(&e, c[j * pitch + i], done ? 2 * sum + 1 : sum);
    }
  for (int64_t i = 0; i < (s->n - 1) * pitch; i++)
    if (i % pitch >= s->m) assert_true(isnan(c[i]));
  return prn_error_relative(&e);
}

typedef struct format {
  const char *name;
  int64_t group, depth, nr; /* group 0: the target's */
} format;

static void check_zeros(const prn_linear_family *f, const format *t,
                        const shape *s, prn_packing p, bool done, prn_zeros z,
                        product_fn *run, const prn_target *target) {
  float *dense = malloc((size_t)(s->k * s->n) * sizeof *dense);
  assert_non_null(dense);
  prn_ctx *ctx = prn_ctx_create();
  p.t = prn_matrix_make(ctx, s->k, s->n, p.nk, z, dense);
  prn_packed w = prn_packed_make(t->name, &p);
  prn_guarded x = matrix(s->k, s->m, pitch_of(s), 1);
  prn_guarded c = matrix(s->n, s->m, pitch_of(s), 2);
  prn_guarded scratch =
      prn_guarded_alloc(f->scratch ? f->scratch(target, &p, anywhere(&p)) : 0);
  run(x.p, w.memory.p, c.p, &s->m, scratch.p);
  double error = compare(s, dense, x.p, c.p, done);
  if (!(error <= 1e-5))
    fail_msg("%s, group %ld, %s: k %ld, n %ld, m %ld, zeros %d: error %g",
             t->name, (long)p.group, target->cpu, (long)s->k, (long)s->n,
             (long)s->m, (int)z, error);
  prn_guarded_free(&scratch);
  prn_guarded_free(&c);
  prn_guarded_free(&x);
  prn_guarded_free(&w.memory);
  prn_ctx_destroy(ctx);
  free(dense);
}

static void check_shape(prn_machine *m, const format *t, const shape *s,
                        bool done) {
  const prn_linear_family *f = prn_linear_find(prn_str_from(t->name));
  assert_non_null(f);
  prn_packing p = {.nk = s->m % 2,
                   .k = s->k,
                   .n = s->n,
                   .group = t->group ? t->group : m->target->mr,
                   .depth = t->depth,
                   .nr = t->nr,
                   .dtype = PRN_F32};
  product_fn *run = make(m, f, &p, s, done);
  for (int z = 0; z < PRN_ZEROS_COUNT; z++)
    check_zeros(f, t, s, p, done, (prn_zeros)z, run, m->target);
}

static const format formats[] = {
    {"rows", 0, 0, 0},       {"rows", 4, 0, 0},     {"rows", 1, 0, 0},
    {"srt", 1, 64, 16},      {"srt", 2, 16, 8},     {"srt", 3, 96, 24},
    {"srt", 4, 256, 384},    {"blocks", 2, 64, 16}, {"blocks", 4, 128, 384},
    {"blocks", 16, 700, 48}, {"blocks", 8, 33, 8}};

static const shape shapes[] = {
    {1, 1, 1, true},     {41, 50, 37, true},   {41, 50, 37, false},
    {7, 97, 64, true},   {300, 13, 128, true}, {33, 24, 1, false},
    {5, 7, 15, true},    {64, 6, 16, false},   {19, 25, 49, true},
    {8, 100, 100, true}, {6, 5, 196, false},   {1300, 30, 65, true},
    {1100, 7, 66, false}};

static void levels(void **state) {
  (void)state;
  for (size_t i = 0; i < PRN_COUNT(prn_levels); i++) {
    if (!prn_level_runs_here(prn_levels[i])) continue;
    prn_machine m;
    prn_machine_open(&m, prn_levels[i]);
    for (size_t t = 0; t < PRN_COUNT(formats); t++)
      for (size_t s = 0; s < PRN_COUNT(shapes); s++)
        check_shape(&m, &formats[t], &shapes[s], s % 2);
    prn_machine_close(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(levels)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
