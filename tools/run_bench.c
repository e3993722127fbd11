/* prune-run --bench: how long one run takes. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tools/run.h"

enum { WARM_UP = 3, MAX_RUNS = 1 << 20 };

static double now_ms(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

prn_status prn_run_bench(prn_runner *r, const prn_arrays *inputs,
                         const prn_arrays *outputs, double seconds, bool json) {
  double *times = prn_alloc(prn_array_size(sizeof *times, MAX_RUNS));
  size_t n = 0;
  prn_status status = PRN_OK;
  for (int i = 0; status == PRN_OK && i < WARM_UP; i++)
    status = prn_runner_run(r, inputs, outputs);
  double stop = now_ms() + seconds * 1e3;
  do {
    double start = now_ms();
    if (status == PRN_OK) status = prn_runner_run(r, inputs, outputs);
    times[n++] = now_ms() - start;
  } while (status == PRN_OK && n < MAX_RUNS && now_ms() < stop);
  qsort(times, n, sizeof *times, by_value);
  double median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
  long long workers = r->pool ? (long long)r->pool->workers : 1;
  if (status == PRN_OK && json)
    printf("{\"min_ms\": %.6f, \"median_ms\": %.6f, \"runs\": %zu, "
           "\"arena_bytes\": %zu, \"threads\": %lld}\n",
           times[0], median, n, r->arena_need, workers);
  else if (status == PRN_OK)
    printf("min %.3f ms, median %.3f ms, %zu runs, arena %zu bytes, "
           "%lld thread%s\n",
           times[0], median, n, r->arena_need, workers,
           workers == 1 ? "" : "s");
  prn_free(times);
  return status;
}
