/* How long pruning one layer takes, and what it loses.
 *
 *   prn-bench-solve ROWS COLS THREADS [SPARSITY | N:M [EFFORTS]]
 *
 * Weights are normal; inputs are mixtures of half as many sources, of scales
 * that fall off, and noise of their own. Prints, for the factor of SparseGPT
 * and the products of its updates alone, for SparseGPT, and for each effort of
 * prune-admm (default 234): seconds, seconds of processor time, and the damped
 * loss as a share of SparseGPT's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "ir/support/arena.h"
#include "ir/support/parallel.h"
#include "passes/solve/solve.h"

enum { BLOCK = 128 };

static double seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct watch {
  double wall, cpu;
} watch;

static watch begin(void) {
  return (watch){seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID)};
}

static void end(const char *what, watch w, double loss) {
  printf("%-22s %8.2f s %8.2f s cpu", what, seconds(CLOCK_MONOTONIC) - w.wall,
         seconds(CLOCK_PROCESS_CPUTIME_ID) - w.cpu);
  if (loss > 0) printf("  %.4f", loss);
  printf("\n");
  fflush(stdout);
}

/* Splitmix64, and a normal number of twelve uniform ones. */
static double uniform(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static float normal(uint64_t *state) {
  double sum = -6;
  for (int i = 0; i < 12; i++)
    sum += uniform(state);
  return (float)sum;
}

static void make_moments(const prn_dense *d, int64_t n, double *g) {
  int64_t sources = n / 2;
  uint64_t state = 7;
  float *f = prn_alloc((size_t)(n * sources) * sizeof *f);
  float *t = prn_alloc((size_t)(n * sources) * sizeof *t);
  float *out = prn_alloc((size_t)(n * n) * sizeof *out);
  for (int64_t i = 0; i < n; i++)
    for (int64_t k = 0; k < sources; k++) {
      f[i * sources + k] = normal(&state) / sqrtf(1 + (float)k);
      t[k * n + i] = f[i * sources + k];
    }
  prn_rows_gemm_f32(d, n, n, sources, 1, f, sources, t, n, 0, out, n);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t k = 0; k <= i; k++)
      g[i * n + k] = g[k * n + i] = (double)out[i * n + k];
    g[i * n + i] += 0.1 + 0.4 * uniform(&state);
  }
  prn_free(f);
  prn_free(t);
  prn_free(out);
}

typedef struct update {
  const prn_solve *s;
  float *error, *weights;
  int64_t to;
} update;

static void update_rows(void *user, size_t chunk, size_t first, size_t last) {
  const update *u = user;
  int64_t n = u->s->cols, at = (int64_t)first;
  (void)chunk;
  prn_rows_gemm_f32(&u->s->dense, (int64_t)(last - first), n - u->to, BLOCK, -1,
                    u->error + at * BLOCK, BLOCK, u->s->g32 + u->to, n, 1,
                    u->weights + at * n + u->to, n);
}

/* What SparseGPT leaves to the library: a factor, its inverse, products. */
static void library_alone(const prn_solve *s, prn_solution *x) {
  int64_t n = s->cols;
  double *a = prn_alloc((size_t)(n * n) * sizeof *a);
  double *b = prn_alloc((size_t)(n * n) * sizeof *b);
  update u = {s, prn_alloc((size_t)s->rows * BLOCK * sizeof(float)), x->weights,
              0};
  memset(u.error, 0, (size_t)s->rows * BLOCK * sizeof(float));
  memset(u.weights, 0, (size_t)(s->rows * n) * sizeof(float));
  memcpy(a, s->g, (size_t)(n * n) * sizeof *a);
  watch w = begin();
  if (!prn_dense_cholesky(&s->dense, n, a)) exit(1);
  end("factor", w, 0);
  w = begin();
  prn_dense_invert(&s->dense, n, a, b);
  end("inverse", w, 0);
  w = begin();
  for (u.to = BLOCK; u.to < n; u.to += BLOCK)
    prn_parallel_for(s->dense.threads, (size_t)s->rows,
                     (size_t)prn_solve_chunk(s), update_rows, &u);
  end("updates", w, 0);
  prn_free(a);
  prn_free(b);
  prn_free(u.error);
}

static void fail(const char *why) {
  if (!why) return;
  fprintf(stderr, "%s\n", why);
  exit(1);
}

static double loss_of(const prn_solve *s, const prn_solution *x) {
  double sum = 0;
  for (int64_t r = 0; r < s->rows; r++)
    sum += x->loss[r];
  return sum;
}

static void run(prn_solve *s, const char *efforts) {
  const prn_obs_options plain = {.block = BLOCK};
  prn_solution x;
  watch w = begin();
  fail(prn_solve_open(s));
  fail(prn_solution_create(s, &x));
  fail(prn_solve_obs(s, &plain, &x));
  end("SparseGPT", w, 1);
  double obs = loss_of(s, &x);
  fail(prn_solve_loss(s, &x));
  if (!(fabs(loss_of(s, &x) / obs - 1) < 1e-3)) fail("the loss is wrong");
  library_alone(s, &x);
  prn_solve_close(s);
  for (; *efforts; efforts++) {
    prn_best b = {.effort = *efforts - '0'};
    char name[64];
    w = begin();
    fail(prn_solve_open(s));
    fail(prn_solve_best(s, &b, &x));
    snprintf(name, sizeof name, "effort %c (%lld rows, %llu)", *efforts,
             (long long)b.obs, (unsigned long long)s->swaps);
    end(name, w, b.loss / obs);
    prn_solve_close(s);
  }
  prn_solution_destroy(&x);
}

int main(int argc, char **argv) {
  prn_diag_sink sink = {0};
  struct rusage usage;
  if (argc < 4) return 1;
  prn_solve s = {.rows = strtoll(argv[1], NULL, 10),
                 .cols = strtoll(argv[2], NULL, 10),
                 .damping = 0.01,
                 .steps = 8};
  const char *what = argc > 4 ? argv[4] : "0.5", *colon = strchr(what, ':');
  s.dense =
      (prn_dense){prn_lapack_open(&sink), (unsigned)strtoul(argv[3], NULL, 10)};
  if (!s.dense.lapack) return 1;
  s.budget = (prn_budget){
      .kind = PRN_BUDGET_LAYER,
      .prune = (int64_t)(strtod(what, NULL) * (double)(s.rows * s.cols))};
  if (colon)
    s.budget = (prn_budget){.kind = PRN_BUDGET_NM,
                            .n = strtoll(what, NULL, 10),
                            .m = strtoll(colon + 1, NULL, 10)};
  size_t cells = (size_t)(s.rows * s.cols);
  double *g = prn_alloc((size_t)(s.cols * s.cols) * sizeof *g);
  uint64_t state = 1;
  s.target = prn_alloc(cells * sizeof *s.target);
  for (size_t i = 0; i < cells; i++)
    s.target[i] = normal(&state);
  make_moments(&s.dense, s.cols, g);
  s.moments = g;
  run(&s, argc > 5 ? argv[5] : "234");
  getrusage(RUSAGE_SELF, &usage);
  printf("at most %ld MB\n", usage.ru_maxrss / 1024);
  prn_free(g);
  prn_free(s.target);
  return 0;
}
