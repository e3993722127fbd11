/* How much of a model runs on several threads, also on a busy machine.
 *
 *   prn-bench-threads LIBRARY.so WORKERS [NAME=SIZE]...
 *
 * Runs a library made by prunec with a parallel_for that deals the items of
 * each kernel out as evenly as it can and runs the shares one after another,
 * timed by the thread's own clock. What is printed is the time of one worker,
 * what remains serial, the time of the largest shares, and the speed-up that
 * follows: a bound, for waking threads and sharing memory cost nothing here.
 * Open sizes are 1 unless given. Inputs are zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/llvm/compile.h"

enum { MAX = 64, RANK = 16, RUNS = 15, CALLS = 4096, WORKERS = 64, LINE = 64 };

typedef struct dealer {
  int64_t workers, calls;
  double inside, serial;                /* of this run; the least of all */
  double shared[CALLS], largest[CALLS]; /* minima over runs */
  int64_t items[CALLS];
} dealer;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static double smaller(double a, double b) { return a == 0 || b < a ? b : a; }

static void deal(void *pool, prune_task *fn, void *arg, int64_t count) {
  dealer *d = pool;
  double all = 0, most = 0;
  int64_t part = count / d->workers, rest = count % d->workers, at = 0;
  for (int64_t w = 0; w < d->workers; w++) {
    int64_t end = at + part + (w < rest);
    double t = now();
    if (end > at) fn(arg, at, end, w);
    t = now() - t;
    all += t;
    most = t > most ? t : most;
    at = end;
  }
  d->inside += all;
  if (d->calls == CALLS) exit(1);
  d->shared[d->calls] = smaller(d->shared[d->calls], all);
  d->largest[d->calls] = smaller(d->largest[d->calls], most);
  d->items[d->calls++] = count;
}

static int64_t size_of(int argc, char **argv, const char *name) {
  size_t n = strlen(name);
  for (int i = 3; i < argc; i++)
    if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
      return strtoll(argv[i] + n + 1, NULL, 10);
  return 1;
}

static void make_tensor(prune_tensor *t, const prune_value *v, int64_t *dims) {
  static const unsigned char widths[] = {0, 4, 1, 1, 2, 2, 4,  8, 0,
                                         1, 2, 8, 4, 8, 8, 16, 2};
  t->dims = dims;
  t->size = widths[v->type];
  for (int32_t k = 0; k < v->rank; k++)
    t->size *= (size_t)dims[k];
  t->data = calloc(1, t->size + LINE);
}

static double run(const prune_model *m, prune_call *call) {
  double t = now();
  if (m->run(call) != PRUNE_OK) exit(1);
  return now() - t;
}

static void report(const dealer *d, double alone) {
  double shared = 0, largest = 0;
  for (int64_t i = 0; i < d->calls; i++) {
    shared += d->shared[i];
    largest += d->largest[i];
    if (d->largest[i] * (double)d->workers > 1.1 * d->shared[i] &&
        d->shared[i] > 0.005 * alone)
      printf("uneven: kernel %lld, %lld items, %.3f ms, largest %.3f ms\n",
             (long long)i, (long long)d->items[i], d->shared[i], d->largest[i]);
  }
  printf("one worker %.3f ms: serial %.3f ms, %lld kernels %.3f ms, largest "
         "shares %.3f ms; bound %.2fx\n",
         alone, d->serial, (long long)d->calls, shared, largest,
         (d->serial + shared) / (d->serial + largest));
}

int main(int argc, char **argv) {
  prn_diag_sink sink = {0};
  prn_program *p;
  prune_tensor in[MAX], out[MAX];
  static int64_t dims[2 * MAX][RANK];
  static dealer d;
  if (argc < 3 || prn_program_open(&sink, argv[1], &p) != PRN_OK) return 1;
  const prune_model *m = prn_program_model(p);
  if (m->num_inputs > MAX || m->num_outputs > MAX) return 1;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const prune_value *v = &m->inputs[i];
    for (int32_t k = 0; k < v->rank; k++)
      dims[i][k] =
          v->dims[k] >= 0 ? v->dims[k] : size_of(argc, argv, v->dim_names[k]);
    make_tensor(&in[i], v, dims[i]);
  }
  d.workers = strtoll(argv[2], NULL, 10);
  prune_call call = {.inputs = in,
                     .outputs = out,
                     .weights = prn_program_weights(p),
                     .workers = d.workers,
                     .pool = &d};
  for (uint32_t i = 0; i < m->num_outputs; i++)
    out[i].dims = dims[MAX + i];
  if (m->plan(&call, &call.arena_size) != PRUNE_OK) return 1;
  for (uint32_t i = 0; i < m->num_outputs; i++)
    make_tensor(&out[i], &m->outputs[i], dims[MAX + i]);
  call.arena = aligned_alloc(LINE, (call.arena_size + LINE) / LINE * LINE);
  double alone = 0;
  for (int i = 0; i < RUNS; i++) {
    call.parallel_for = NULL;
    alone = smaller(alone, run(m, &call));
    call.parallel_for = deal;
    d.calls = 0;
    d.inside = 0;
    double all = run(m, &call);
    d.serial = smaller(d.serial, all - d.inside);
  }
  report(&d, alone);
  free(call.arena);
  prn_program_destroy(p);
  return 0;
}
