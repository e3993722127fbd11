/* Timing of products; see measure.h. */
#include "tools/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "passes/manager.h"
#include "tools/lowering.h"

enum {
  LINE = 64,
  MAX_COPIES = 256,
  MIN_ROUNDS = 5,
  MAX_ROUNDS = 1000,
  BRANCHES = 1 << 15, /* more than predictors keep */
};

static uint64_t cpu_clock(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What reading the clock adds to every kernel. */
static double clock_ns(void) {
  double least = INFINITY;
  for (int i = 0; i < 64; i++) {
    uint64_t from = cpu_clock();
    least = fmin(least, (double)(cpu_clock() - from));
  }
  return least;
}

/* Takes branches that nobody can foresee: what the kernels' branches did is
 * forgotten. Each way stores elsewhere, so that branches they remain. */
static void forget(uint32_t seed) {
  static volatile uint32_t ways[2];
  for (int i = 0; i < BRANCHES; i++) {
    seed = seed * 1664525u + 1013904223u;
    if (seed >> 31)
      ways[0] = seed;
    else
      ways[1] = ways[1] + 1;
  }
}

/* ---- making ---- */

static int64_t weight_bytes(const prn_module *m) {
  PRN_EACH_OP(op, m->body)
    if (prn_op_is(op, PRN_OP_mem_func)) return prn_op_int(op, "weights", 0);
  return 0;
}

static prn_status spread_weights(prn_measured *p, int64_t bytes,
                                 size_t spread) {
  p->copies = 1;
  if (!spread || !bytes) return PRN_OK;
  p->each = ((size_t)bytes + LINE - 1) / LINE * LINE;
  p->copies = spread / p->each + 1;
  if (p->copies > MAX_COPIES) p->copies = MAX_COPIES;
  p->weights = aligned_alloc(LINE, prn_array_size(p->each, p->copies));
  if (!p->weights)
    return prn_diag_emit(prn_ctx_diags(p->runner.ctx), PRN_ERROR, (prn_loc){0},
                         PRN_STR(""), "no memory for %zu copies of weights",
                         p->copies);
  for (size_t i = 0; i < p->copies; i++)
    memcpy(p->weights + i * p->each, p->runner.weights, (size_t)bytes);
  return PRN_OK;
}

/* Numbers of either sign, none of them special, and u8. */
static void fill(prn_array *a) {
  uint32_t x = 1;
  for (int64_t i = 0; i < a->count; i++) {
    x = x * 1664525u + 1013904223u;
    if (a->dtype == PRN_F32)
      ((float *)a->data)[i] = (float)(int32_t)x * 0x1p-31f;
    else if (a->dtype == PRN_U8)
      ((uint8_t *)a->data)[i] = (uint8_t)(x >> 24);
  }
}

static prn_status make_inputs(prn_measured *p) {
  const prune_model *m = p->runner.model;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prune_value *v = &m->inputs[i];
    prn_array a;
    if (!prn_array_init(&a, prn_intern_cstr(p->runner.ctx, v->name),
                        (prn_dtype)v->type, v->rank, v->dims))
      return prn_diag_emit(prn_ctx_diags(p->runner.ctx), PRN_ERROR,
                           (prn_loc){0}, PRN_STR(""), "no memory for inputs");
    fill(&a);
    prn_arrays_add(&p->in, a);
  }
  return PRN_OK;
}

static prn_status create(prn_module *m, const prn_target_spec *target,
                         size_t spread, prn_measured *p) {
  prn_tile tile;
  prn_compile_options o = {
      .target = *target, .prefix = "product", .profile = &p->profile};
  PRN_TRY(prn_compile_tile(prn_ctx_diags(m->ctx), target, &tile));
  PRN_TRY(prn_lower_planned(m, &tile));
  PRN_TRY(prn_compile_jit(m, &o, &p->program));
  p->runner = (prn_runner){.ctx = m->ctx,
                           .file = "product",
                           .model = prn_program_model(p->program),
                           .weights = prn_program_weights(p->program)};
  PRN_TRY(make_inputs(p));
  PRN_TRY(prn_runner_prepare(&p->runner, &p->in, &p->out));
  return spread_weights(p, weight_bytes(m), spread);
}

prn_status prn_measure_create(prn_module *m, const prn_target_spec *target,
                              size_t spread, prn_measured *out) {
  *out = (prn_measured){.profile = {.clock = cpu_clock}};
  prn_status s = create(m, target, spread, out);
  if (s != PRN_OK) prn_measure_destroy(out);
  return s;
}

void prn_measure_destroy(prn_measured *p) {
  prn_runner_destroy(&p->runner);
  prn_arrays_destroy(&p->in);
  prn_arrays_destroy(&p->out);
  prn_program_destroy(p->program);
  prn_free(p->profile.kernels);
  free(p->weights);
  *p = (prn_measured){0};
}

/* ---- running ---- */

static bool is_product(const prn_op *op) {
  return prn_op_is(op, PRN_OP_mem_linear) || prn_op_is(op, PRN_OP_mem_conv) ||
         prn_op_is(op, PRN_OP_mem_matmul);
}

/* Of one run. */
typedef struct sample {
  double product, all;
} sample;

static prn_status run_once(prn_measured *p, double clock, uint32_t seed,
                           sample *out) {
  if (p->weights) p->runner.weights = p->weights + p->turn * p->each;
  p->turn = (p->turn + 1) % p->copies;
  *out = (sample){0};
  forget(seed);
  PRN_TRY(prn_runner_run(&p->runner, &p->in, &p->out));
  for (uint32_t i = 0; i < p->profile.num_kernels; i++) {
    double ns = fmax((double)p->profile.kernels[i].time - clock, 0);
    out->all += ns;
    if (is_product(p->profile.kernels[i].op)) out->product += ns;
  }
  return PRN_OK;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *v, size_t n) {
  qsort(v, n, sizeof *v, by_value);
  return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Of samples[round][product]. */
static void set_times(prn_measured *all, size_t n, const sample *samples,
                      size_t rounds) {
  double *product = prn_alloc(prn_array_size(2 * sizeof *product, rounds));
  double *whole = product + rounds;
  for (size_t r = 0; r < rounds; r++)
    product[r] = fmax(samples[r * n].product, 1);
  double unit = median(product, rounds);
  for (size_t i = 0; i < n; i++) {
    for (size_t r = 0; r < rounds; r++) {
      double first = fmax(samples[r * n].product, 1);
      product[r] = samples[r * n + i].product / first;
      whole[r] = samples[r * n + i].all / first;
    }
    all[i].product_ns = unit * median(product, rounds);
    all[i].all_ns = unit * median(whole, rounds);
  }
  prn_free(product);
}

prn_status prn_measure_run(prn_measured *all, size_t n, double seconds) {
  double clock = clock_ns(), stop = prn_seconds() + seconds;
  sample *samples = prn_alloc(prn_array_size(sizeof *samples, n * MAX_ROUNDS));
  prn_status s = PRN_OK;
  size_t rounds = 0;
  while (s == PRN_OK && rounds < MAX_ROUNDS &&
         (rounds < MIN_ROUNDS || prn_seconds() < stop)) {
    sample *round = &samples[rounds++ * n];
    for (size_t i = 0; s == PRN_OK && i < n; i++)
      s = run_once(&all[i], clock, (uint32_t)(rounds * 7919 + i), &round[i]);
  }
  if (s == PRN_OK) set_times(all, n, samples, rounds);
  prn_free(samples);
  return s;
}
