/* A whole model that was compiled for CUDA: whether it computes what another
 * runtime does, how long a run takes when it is replayed, with libraries and by
 * our kernels alone, and what its kernels take one by one.
 *
 *   NAME-bench NAME.blob EXPECTED.bin INPUT.bin… [-s]
 *
 * Inputs have all their sizes fixed; EXPECTED is the first output, floats. -s:
 * few runs, for an emulator. A line of JSON goes to standard output. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)
extern const prune_cuda_model BENCH_MODEL;

enum { MAX_ARRAYS = 8, ALIGN = 256 };

typedef struct job {
  prune_cuda_ctx *ctx;
  prune_cuda_tensor in[MAX_ARRAYS], out[MAX_ARRAYS];
  int64_t dims[2 * MAX_ARRAYS][16];
  void *workspace;
  size_t workspace_size;
  uint32_t step;
  int repeats; /* of a step in its graph */
} job;

static void *read_file(const char *path, size_t *size) {
  FILE *f = fopen(path, "rb");
  long n = -1;
  if (f && fseek(f, 0, SEEK_END) == 0) n = ftell(f);
  void *data = n < 0 ? NULL : malloc((size_t)n + 1);
  if (!data) bench_fail("%s cannot be read", path);
  rewind(f);
  if (fread(data, 1, (size_t)n, f) != (size_t)n)
    bench_fail("%s cannot be read", path);
  (void)fclose(f);
  *size = (size_t)n;
  return data;
}

static void note(void *user, int level, const char *line) {
  (void)user;
  (void)level;
  (void)fprintf(stderr, "%s\n", line);
}

static void load(job *j, const char *path, uint32_t flags) {
  prune_cuda_options o = {
      .size = sizeof o, .abi = PRUNE_CUDA_ABI, .flags = flags, .log = note};
  prune_cuda_sizes s;
  size_t size;
  void *blob = read_file(path, &size);
  bench_must("query", prune_cuda_query(&BENCH_MODEL, &o, &s));
  prune_cuda_memory m = {
      aligned_alloc(ALIGN, (s.context + ALIGN - 1) / ALIGN * ALIGN),
      s.context,
      dev_alloc(s.weights),
      s.weights,
      dev_alloc(s.scratch),
      s.scratch};
  if (!m.context) bench_fail("no memory");
  bench_must("init", prune_cuda_init(&BENCH_MODEL, &o, blob, size, &m,
                                     dev_stream(), &j->ctx));
  dev_wait();
  free(blob);
}

static void *on_device(const void *data, size_t size) {
  void *p = dev_alloc(size);
  dev_put(p, data, size);
  return p;
}

static void prepare(job *j, char **files) {
  const prune_cuda_model *m = &BENCH_MODEL;
  if (m->num_inputs > MAX_ARRAYS || m->num_outputs > MAX_ARRAYS)
    bench_fail("more arrays than this program takes");
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    size_t size;
    void *data = read_file(files[i], &size);
    memcpy(j->dims[i], m->inputs[i].dims,
           (size_t)m->inputs[i].rank * sizeof **j->dims);
    j->in[i] = (prune_cuda_tensor){on_device(data, size), size, j->dims[i]};
    free(data);
  }
  for (uint32_t i = 0; i < m->num_outputs; i++)
    j->out[i].dims = j->dims[MAX_ARRAYS + i];
  bench_must("prepare", prune_cuda_prepare(j->ctx, j->in, m->num_inputs, j->out,
                                           m->num_outputs, &j->workspace_size));
  for (uint32_t i = 0; i < m->num_outputs; i++) {
    size_t size = pcu_type_size(m->outputs[i].type);
    for (int32_t d = 0; d < m->outputs[i].rank; d++)
      size *= (size_t)j->out[i].dims[d];
    j->out[i].size = size;
    j->out[i].data = dev_alloc(size);
  }
  j->workspace = dev_alloc(j->workspace_size);
}

static void run(void *user) {
  job *j = user;
  bench_must("run",
             prune_cuda_run(j->ctx, j->in, BENCH_MODEL.num_inputs, j->out,
                            BENCH_MODEL.num_outputs, j->workspace,
                            j->workspace_size, dev_stream()));
}

static void run_step(void *user) {
  job *j = user;
  pcu_call call;
  bench_must("begin", pcu_begin(j->ctx, j->in, BENCH_MODEL.num_inputs, j->out,
                                BENCH_MODEL.num_outputs, j->workspace,
                                j->workspace_size, dev_stream(), &call));
  for (int i = 0; i < j->repeats; i++)
    bench_must("step", pcu_step(j->ctx, &call, j->step));
}

/* The relative L2 error of the first output. */
static double error_of(const job *j, const char *path) {
  const prune_cuda_value *v = &BENCH_MODEL.outputs[0];
  size_t size, n = j->out[0].size / sizeof(float);
  float *want = read_file(path, &size), *got = malloc(j->out[0].size);
  double off = 0, all = 0;
  if (v->type != 1 || size != j->out[0].size || !got)
    bench_fail("%s is not of the first output's size", path);
  dev_get(got, j->out[0].data, size);
  for (size_t i = 0; i < n; i++) {
    double d = (double)got[i] - (double)want[i];
    off += d * d;
    all += (double)want[i] * (double)want[i];
  }
  free(want);
  free(got);
  return sqrt(off / (all > 0 ? all : 1));
}

static dev_times time_of(dev_work *work, job *j, bool small) {
  dev_graph g = dev_capture(work, j);
  dev_times t = dev_time(&g, small ? 1 : 10, small ? 2 : 31);
  dev_graph_free(&g);
  return t;
}

/* Of all kernels, each by itself as often as hides what is around it. */
static double sum_of_steps(job *j, bool small) {
  double sum = 0;
  j->repeats = small ? 2 : 20;
  for (j->step = 0; j->step < BENCH_MODEL.num_steps; j->step++)
    sum += time_of(run_step, j, small).median / j->repeats;
  return sum;
}

static void explain(const job *j) {
  size_t size = 0;
  bench_must("explain", prune_cuda_explain(j->ctx, NULL, &size));
  char *text = malloc(size);
  if (!text) bench_fail("no memory");
  bench_must("explain", prune_cuda_explain(j->ctx, text, &size));
  (void)fputs(text, stderr);
  free(text);
}

/* What a context with these flags makes of it. */
typedef struct result {
  dev_times planned, tuned;
  double kernels, error, tuned_error;
} result;

static result measure(char **files, uint32_t flags, bool small) {
  enum { TUNE_MS = 2000, SMALL_TUNE_MS = 1 };
  job j = {0};
  result r;
  load(&j, files[0], flags);
  prepare(&j, files + 2);
  run(&j);
  bench_must("check", prune_cuda_check(j.ctx, j.workspace, dev_stream()));
  r.error = error_of(&j, files[1]);
  r.planned = time_of(run, &j, small);
  bench_must("tune", prune_cuda_tune(j.ctx, j.in, BENCH_MODEL.num_inputs, j.out,
                                     BENCH_MODEL.num_outputs, j.workspace,
                                     j.workspace_size, dev_stream(),
                                     small ? SMALL_TUNE_MS : TUNE_MS));
  r.tuned = time_of(run, &j, small);
  r.kernels = sum_of_steps(&j, small);
  run(&j);
  r.tuned_error = error_of(&j, files[1]);
  explain(&j);
  prune_cuda_destroy(j.ctx);
  return r;
}

int main(int argc, char **argv) {
  bool small = argc > 1 && strcmp(argv[argc - 1], "-s") == 0;
  if (argc - small != 3 + (int)BENCH_MODEL.num_inputs)
    bench_fail("usage: BLOB EXPECTED INPUT… [-s]");
  dev_open();
  result r = measure(argv + 1, 0, small);
  result own = measure(argv + 1, PRUNE_CUDA_OWN_ONLY, small);
  bool ok = r.error <= 1e-2 && r.tuned_error <= 1e-2 && own.error <= 1e-2 &&
            own.tuned_error <= 1e-2;
  printf("{\"row\": \"model\", \"model\": \"%s\", \"steps\": %u, \"us\": %.2f, "
         "\"spread\": %.4f, \"tuned_us\": %.2f, \"kernels_us\": %.2f, "
         "\"error\": %.3g, \"tuned_error\": %.3g, \"own_us\": %.2f, "
         "\"own_error\": %.3g, \"mhz\": %d, \"ok\": %s}\n",
         TEXT(BENCH_MODEL), (unsigned)BENCH_MODEL.num_steps, r.planned.median,
         (r.planned.high - r.planned.low) / r.planned.median, r.tuned.median,
         r.kernels, r.error, r.tuned_error, own.tuned.median, own.tuned_error,
         r.tuned.mhz, ok ? "true" : "false");
  return !ok;
}
