/* The runtime on the mocks: values, which way each step goes, capture, threads,
 * tuning and caches, and everything that is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/checks.h"
#include "test/cuda/runtime/mocked.h"
#include "test/cuda/runtime/model.h"

/* Counts what the runtime allocates: it is linked with --wrap. Nothing is
 * hidden, as a sanitizer's allocator serves shared libraries, too. */
#define SEEN __attribute__((visibility("default")))
static long allocations;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
SEEN void *__wrap_malloc(size_t n);
SEEN void *__wrap_calloc(size_t n, size_t size);
SEEN void *__wrap_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST);
  return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST);
  return __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n) {
  __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST);
  return __real_realloc(p, n);
}

static small_model model;
static char told[1024]; /* the last line of the log */

static void keep_line(void *user, int level, const char *line) {
  (void)user, (void)level;
  strncpy(told, line, sizeof told - 1);
}

static prune_cuda_options options(uint32_t flags) {
  told[0] = 0;
  return (prune_cuda_options){.size = sizeof(prune_cuda_options),
                              .abi = PRUNE_CUDA_ABI,
                              .flags = flags,
                              .log = keep_line};
}

static prune_cuda_status run(const small_context *c, const small_data *d,
                             void *stream) {
  return prune_cuda_run(c->ctx, d->in, 2, d->out, 1, d->workspace,
                        d->workspace_size, stream);
}

static const char *explain(const small_context *c) {
  static char text[8192];
  size_t need = 0, size = sizeof text;
  assert_int_equal(prune_cuda_explain(c->ctx, NULL, &need), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_explain(c->ctx, text, &size), PRUNE_CUDA_OK);
  assert_int_equal(size, need);
  assert_int_equal(size, strlen(text) + 1);
  size = 10;
  assert_int_equal(prune_cuda_explain(c->ctx, text, &size), PRUNE_CUDA_E_SPACE);
  assert_int_equal(size, need);
  assert_int_equal(prune_cuda_explain(c->ctx, text, &size), PRUNE_CUDA_OK);
  return text;
}

/* Rows run as they should, and explain says `what` of it. */
static void check_rows(uint32_t flags, int64_t rows, const char *what) {
  prune_cuda_options o = options(flags);
  small_context c;
  small_data d;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, rows, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  assert_int_equal(d.dims[2][0], rows);
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, NULL), PRUNE_CUDA_OK);
  assert_int_equal(small_data_wrong(&d, &model), -1);
  assert_says(c.ctx, what);
  small_data_destroy(&d);
  small_destroy(&c);
}

static void test_values(void **state) {
  (void)state;
  static const char *const dense[] = {"up (mem.matmul): small_dense, ",
                                      "up (mem.matmul): cuBLASLt, "};
  static const char *const sparse[] = {"down (mem.matmul): small_sparse, ",
                                       "down (mem.matmul): small_sparse_sm90, ",
                                       "down (mem.matmul): cuSPARSELt, "};
  for (int64_t rows = 0; rows <= 33; rows++) {
    /* The library takes multiples of 8. */
    const char *want = sparse[rows >= 16 && rows % 8 == 0 ? 2 : rows >= 8];
    check_rows(0, rows, want);
    check_rows(0, rows, dense[rows >= 8]);
    check_rows(PRUNE_CUDA_OWN_ONLY, rows, dense[0]);
  }
}

static void test_flags(void **state) {
  (void)state;
  check_rows(PRUNE_CUDA_NO_LIBS, 32,
             "; not cuBLASLt: the options leave it out");
  check_rows(PRUNE_CUDA_DENSE_ONLY, 32, "up (mem.matmul): cuBLASLt");
  check_rows(PRUNE_CUDA_DENSE_ONLY, 32,
             "; not cuSPARSELt: the options leave it out");
  check_rows(0, 32, "6144 bytes of weights, 1024 of workspace;");
  check_rows(PRUNE_CUDA_DETERMINISTIC, 32, "6144 bytes of weights;");
  check_rows(PRUNE_CUDA_DETERMINISTIC, 32, "down (mem.matmul): cuSPARSELt");
  check_rows(0, 4, "; not cuSPARSELt: for 16 rows and more");
}

/* Other products than the one of the model. */
static void test_products(void **state) {
  (void)state;
  prune_cuda_step steps[4];
  prune_cuda_product p = *model.model.steps[2].product;
  const prune_cuda_step *kept = model.model.steps;
  memcpy(steps, kept, sizeof steps);
  steps[2].product = &p;
  model.model.steps = steps;
  /* Not the approximation that the library has; the kernel does ReLU. */
  p.act = PRUNE_CUDA_GELU;
  check_rows(0, 16, "not cuBLASLt: it has not this bias or activation");
  p.act = model.act = PRUNE_CUDA_GELU_TANH;
  check_rows(0, 16, "up (mem.matmul): cuBLASLt");
  p.act = model.act = PRUNE_CUDA_NO_ACT;
  check_rows(0, 16, "up (mem.matmul): cuBLASLt");
  p.bias = -1;
  model.no_bias = true;
  check_rows(0, 16, "up (mem.matmul): cuBLASLt");
  p.act = model.act = PRUNE_CUDA_RELU;
  check_rows(0, 16, "up (mem.matmul): cuBLASLt");
  model.no_bias = false;
  p.bias = 2;
  p.type = 11;
  check_rows(0, 16, "not cuBLASLt: it has not these sizes, types or alignment");
  model.model.steps = kept;
}

/* out = act(x w' + bias + residual), with rows of other lengths than out's or
 * not, which only one of the libraries has. */
static void test_residuals(void **state) {
  (void)state;
  prune_cuda_step steps[4];
  prune_cuda_pointer down[5];
  const prune_cuda_step *kept = model.model.steps;
  prune_cuda_product up_product = *kept[2].product;
  prune_cuda_product down_product = *kept[3].product;
  memcpy(steps, kept, sizeof steps);
  memcpy(down, kept[3].pointers, 4 * sizeof *down);
  down[4] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, 1, 0};
  steps[2].product = &up_product;
  steps[3].product = &down_product;
  steps[3].pointers = down;
  steps[3].num_pointers = 5;
  up_product.residual = 1; /* what is multiplied, the pointer 0 */
  up_product.ldr = up_product.ldx;
  model.model.steps = steps;
  model.adds_up = true;
  check_rows(0, 16, "up (mem.matmul): cuBLASLt");
  down_product.residual = 5;
  down_product.ldr = down_product.ldo;
  model.adds_down = true;
  check_rows(0, 16, "down (mem.matmul): cuSPARSELt");
  model.adds_down = false; /* our kernel is not made for one */
  down_product.ldr = up_product.ldx;
  check_rows(0, 16,
             "not cuSPARSELt: it has not these sizes, types or alignment");
  model.adds_up = false;
  model.model.steps = kept;
}

static void test_unaligned_products(void **state) {
  (void)state;
  prune_cuda_step steps[4];
  prune_cuda_pointer dense[4], sparse[4];
  const prune_cuda_step *kept = model.model.steps;
  memcpy(steps, kept, sizeof steps);
  memcpy(dense, steps[2].pointers, sizeof dense);
  memcpy(sparse, steps[3].pointers, sizeof sparse);
  dense[3].offset = sparse[0].offset = SMALL_UNALIGNED_AT;
  steps[2].pointers = dense;
  steps[3].pointers = sparse;
  model.model.steps = steps;
  check_rows(0, 16, "not cuBLASLt: it has not these sizes, types or alignment");
  check_rows(0, 16,
             "not cuSPARSELt: it has not these sizes, types or alignment");
  model.model.steps = kept;
}

static void test_devices(void **state) {
  (void)state;
  setenv("PRUNE_MOCK_ARCH", "80", 1);
  check_rows(PRUNE_CUDA_NO_LIBS, 9,
             "small_sparse_sm90: for capability 90 alone");
  check_rows(PRUNE_CUDA_NO_LIBS, 9, "down (mem.matmul): small_sparse, ");
  setenv("PRUNE_MOCK_ARCH", "75", 1);
  prune_cuda_options o = options(PRUNE_CUDA_NO_LIBS);
  small_context c;
  small_data d;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 2, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_E_LIB_MISSING);
  assert_non_null(strstr(told, "nothing can do 'down'"));
  small_data_destroy(&d);
  small_destroy(&c);
  unsetenv("PRUNE_MOCK_ARCH");
}

/* A kernel that the device cannot have is left out, and steps are done without
 * it. */
static void test_kernel_for_larger_devices(void **state) {
  (void)state;
  enum { SPARSE_SM90 = 4 };
  prune_cuda_kernel kernels[6];
  const prune_cuda_kernel *kept = model.model.kernels;
  memcpy(kernels, kept, sizeof kernels);
  kernels[SPARSE_SM90].shared = 1 << 20;
  model.model.kernels = kernels;
  check_rows(PRUNE_CUDA_NO_LIBS, 9, "down (mem.matmul): small_sparse, ");
  check_rows(PRUNE_CUDA_NO_LIBS, 9,
             "not small_sparse_sm90: the device has too little shared memory");
  model.model.kernels = kept;
}

static void test_libraries_that_do_not_fit(void **state) {
  (void)state;
  setenv("PRUNE_MOCK_CUSPARSELT", "0.7.1", 1);
  check_rows(0, 16, "cuSPARSELt 0.7.1 (not known)");
  check_rows(0, 16, "not cuSPARSELt: the library's version is not known");
  unsetenv("PRUNE_MOCK_CUSPARSELT");
  setenv("PRUNE_MOCK_CUBLASLT", "140000", 1);
  check_rows(0, 16, "not cuBLASLt: the library's version is not known");
  unsetenv("PRUNE_MOCK_CUBLASLT");
  setenv("PRUNE_MOCK_REFUSE", "cublasLtCreate", 1);
  check_rows(0, 16, "not cuBLASLt: refused with 1");
  setenv("PRUNE_MOCK_REFUSE", "cublasLtMatmulAlgoGetHeuristic", 1);
  check_rows(0, 16, "not cuBLASLt: refused with 15");
  setenv("PRUNE_MOCK_REFUSE", "cusparseLtInit", 1);
  check_rows(0, 16, "not cuSPARSELt: refused with 1");
  setenv("PRUNE_MOCK_REFUSE", "cusparseLtMatmulPlanInit", 1);
  check_rows(0, 16, "not cuSPARSELt: refused with 10");
  unsetenv("PRUNE_MOCK_REFUSE");
}

/* A table of functions instead of dlopen, without the library that user
 * names. */
static void *symbol(void *user, const char *library, const char *name) {
  if (strcmp(library, user) == 0) return NULL;
  const char *file = strcmp(library, "cuda") == 0       ? "libcuda.so.1"
                     : strcmp(library, "cublasLt") == 0 ? "libcublasLt.so.13"
                                                        : "libcusparseLt.so.0";
  return dlsym(dlopen(file, RTLD_NOW | RTLD_LOCAL), name);
}

static void test_missing_libraries(void **state) {
  (void)state;
  static const struct {
    const char *library, *says;
  } rows[] = {{"", "up (mem.matmul): cuBLASLt"},
              {"cublasLt", "not cuBLASLt: there is no such library"},
              {"cusparseLt", "not cuSPARSELt: there is no such library"}};
  char names[3][16];
  for (int i = 0; i < 3; i++) {
    prune_cuda_options o = options(0);
    small_context c;
    small_data d;
    (void)snprintf(names[i], sizeof names[i], "%s", rows[i].library);
    o.symbol = symbol;
    o.symbol_user = names[i];
    assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
    small_data_make(&d, 16, 3);
    assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
    assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
    assert_int_equal(small_data_wrong(&d, &model), -1);
    assert_says(c.ctx, rows[i].says);
    small_data_destroy(&d);
    small_destroy(&c);
  }
}

static void test_no_driver(void **state) {
  (void)state;
  char name[] = "cuda";
  prune_cuda_options o = options(0);
  small_context c;
  o.symbol = symbol;
  o.symbol_user = name;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_E_NO_DRIVER);
  assert_non_null(strstr(told, "no driver"));
  setenv("PRUNE_MOCK_DRIVER", "11080", 1);
  o = options(0);
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_E_NO_DRIVER);
  assert_non_null(strstr(told, "CUDA 11.8"));
  unsetenv("PRUNE_MOCK_DRIVER");
  o.device = 3;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_E_NO_DEVICE);
  o.device = -1; /* nothing is current here */
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_E_NO_DEVICE);
}

static void test_capture(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  void *stream, *graph, *instance;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 24, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  void *context;
  cuDevicePrimaryCtxRetain(&context, 0);
  cuCtxPushCurrent_v2(context);
  assert_int_equal(cuStreamCreate(&stream, 1), 0);
  assert_int_equal(cuStreamBeginCapture_v2(stream, 1), 0);
  assert_int_equal(run(&c, &d, stream), PRUNE_CUDA_OK);
  assert_int_not_equal(small_data_wrong(&d, &model), -1); /* nothing ran */
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, stream),
                   PRUNE_CUDA_E_CAPTURING);
  assert_int_equal(prune_cuda_tune(c.ctx, d.in, 2, d.out, 1, d.workspace,
                                   d.workspace_size, stream, 10),
                   PRUNE_CUDA_E_CAPTURING);
  assert_int_equal(cuStreamEndCapture(stream, &graph), 0);
  assert_int_equal(cuGraphInstantiateWithFlags(&instance, graph, 0), 0);
  for (unsigned seed = 3; seed < 6; seed++) {
    small_data other;
    small_data_make(&other, 24, seed);
    memcpy(d.in[0].data, other.in[0].data, d.in[0].size);
    memcpy(d.in[1].data, other.in[1].data, d.in[1].size);
    small_data_destroy(&other);
    memset(d.out[0].data, 0xff, d.out[0].size);
    assert_int_equal(cuGraphLaunch(instance, stream), 0);
    assert_int_equal(small_data_wrong(&d, &model), -1);
  }
  assert_int_equal(cuGraphExecDestroy(instance), 0);
  assert_int_equal(cuGraphDestroy(graph), 0);
  assert_int_equal(cuStreamDestroy_v2(stream), 0);
  cuCtxPopCurrent_v2(&context);
  cuDevicePrimaryCtxRelease_v2(0);
  small_data_destroy(&d);
  small_destroy(&c);
}

/* What is not allowed while a stream is captured is refused, by the runtime
 * before it spoils the capture, or by the mocks. */
static void test_nothing_else_is_captured(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  prune_cuda_sizes need;
  prune_cuda_ctx *ctx;
  void *stream, *graph, *context;
  unsigned long long p;
  assert_int_equal(prune_cuda_query(&model.model, &o, &need), PRUNE_CUDA_OK);
  void *host = aligned_alloc(256, (need.context + 255) / 256 * 256);
  void *weights = small_alloc(need.weights), *scratch = small_alloc(8192);
  const prune_cuda_memory m = {host,         need.context, weights,
                               need.weights, scratch,      8192};
  cuDevicePrimaryCtxRetain(&context, 0);
  cuCtxPushCurrent_v2(context);
  assert_int_equal(cuStreamCreate(&stream, 1), 0);
  assert_int_equal(cuStreamBeginCapture_v2(stream, 1), 0);
  assert_int_equal(prune_cuda_init(&model.model, &o, model.blob,
                                   sizeof model.blob, &m, stream, &ctx),
                   PRUNE_CUDA_E_CAPTURING);
  assert_int_equal(mock_count().mistakes, 0);
  assert_int_equal(cuMemAlloc_v2(&p, 8), 900);
  assert_int_equal(cuStreamSynchronize(stream), 900);
  assert_int_equal(mock_count().mistakes, 2);
  assert_int_equal(cuStreamEndCapture(stream, &graph), 901);
  assert_null(graph);
  assert_int_equal(cuStreamDestroy_v2(stream), 0);
  cuCtxPopCurrent_v2(&context);
  cuDevicePrimaryCtxRelease_v2(0);
  assert_int_equal(mock_count().live, 0);
  small_free(weights);
  small_free(scratch);
  free(host);
}

static void test_run_only_launches(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 16, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  mock_counts before = mock_count();
  long malloced = __atomic_load_n(&allocations, __ATOMIC_SEQ_CST);
  for (int i = 0; i < 5; i++)
    assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(__atomic_load_n(&allocations, __ATOMIC_SEQ_CST), malloced);
  mock_counts after = mock_count();
  assert_int_equal(after.launches - before.launches, 5 * 2);
  assert_int_equal(after.fills - before.fills, 5);
  before.launches = after.launches;
  before.fills = after.fills;
  assert_memory_equal(&before, &after, sizeof after);
  small_data_destroy(&d);
  small_destroy(&c);
}

static void test_large_shared_memory(void **state) {
  (void)state;
  prune_cuda_kernel kernels[6];
  const prune_cuda_kernel *kept = model.model.kernels;
  memcpy(kernels, kept, sizeof kernels);
  kernels[1].shared = 100000;
  model.model.kernels = kernels;
  check_rows(0, 5, "add (mem.map): small_add");
  model.model.kernels = kept;
}

static void test_index_out_of_range(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 5, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  int64_t *ids = d.in[0].data, good = ids[3];
  ids[3] = SMALL_TABLE;
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, NULL),
                   PRUNE_CUDA_E_INDEX);
  ids[3] = good;
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, NULL), PRUNE_CUDA_OK);
  assert_int_equal(small_data_wrong(&d, &model), -1);
  small_data_destroy(&d);
  small_destroy(&c);
}

static void test_wrong_calls(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  size_t need;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 8, 3);
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_E_SHAPE); /* not prepared */
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
#define REFUSED(what, status)                           \
  do {                                                  \
    small_data kept = d;                                \
    what;                                               \
    assert_int_equal(run(&c, &d, NULL), status);        \
    d = kept;                                           \
    for (int i = 0; i < 2; i++)                         \
      d.in[i].dims = d.dims[i];                         \
    d.out[0].dims = d.dims[2];                          \
    assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK); \
  } while (0)
  REFUSED(d.dims[0][0] = 9, PRUNE_CUDA_E_SHAPE);
  REFUSED(d.dims[0][0] = d.dims[1][0] = 9, PRUNE_CUDA_E_SHAPE);
  REFUSED(d.dims[1][1] = 65, PRUNE_CUDA_E_SHAPE);
  REFUSED(d.dims[0][0] = d.dims[1][0] = -8, PRUNE_CUDA_E_SHAPE);
  REFUSED(d.in[0].dims = NULL, PRUNE_CUDA_E_ARG);
  REFUSED(d.in[0].data = NULL, PRUNE_CUDA_E_ARG);
  REFUSED(d.out[0].data = (char *)d.out[0].data + 2, PRUNE_CUDA_E_ARG);
  REFUSED(d.in[1].size--, PRUNE_CUDA_E_SPACE);
  REFUSED(d.out[0].size--, PRUNE_CUDA_E_SPACE);
  REFUSED(d.workspace = NULL, PRUNE_CUDA_E_ARG);
  REFUSED(d.workspace += 64, PRUNE_CUDA_E_ARG);
  REFUSED(d.workspace_size--, PRUNE_CUDA_E_SPACE);
#undef REFUSED
  assert_int_equal(prune_cuda_run(c.ctx, d.in, 1, d.out, 1, d.workspace,
                                  d.workspace_size, NULL),
                   PRUNE_CUDA_E_ARG);
  assert_int_equal(prune_cuda_run(c.ctx, d.in, 2, d.out, 2, d.workspace,
                                  d.workspace_size, NULL),
                   PRUNE_CUDA_E_ARG);
  assert_int_equal(prune_cuda_prepare(c.ctx, d.in, 2, NULL, 0, &need),
                   PRUNE_CUDA_OK);
  assert_int_equal(need, d.workspace_size);
  d.dims[0][0] = d.dims[1][0] = INT64_C(1) << 50;
  assert_int_equal(prune_cuda_prepare(c.ctx, d.in, 2, NULL, 0, &need),
                   PRUNE_CUDA_E_SHAPE);
  /* More blocks than a launch has. */
  d.dims[0][0] = d.dims[1][0] = INT64_C(1) << 32;
  assert_int_equal(prune_cuda_prepare(c.ctx, d.in, 2, NULL, 0, &need),
                   PRUNE_CUDA_E_SHAPE);
  small_data_destroy(&d);
  small_destroy(&c);
}

static void test_plans_are_limited(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d[3];
  o.plans = 2;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  for (int i = 0; i < 3; i++) {
    small_data_make(&d[i], 8 * (i + 1), 3);
    assert_int_equal(small_data_prepare(&d[i], c.ctx),
                     i < 2 ? PRUNE_CUDA_OK : PRUNE_CUDA_E_SPACE);
  }
  for (int i = 0; i < 2; i++) {
    assert_int_equal(run(&c, &d[i], NULL), PRUNE_CUDA_OK);
    assert_int_equal(small_data_wrong(&d[i], &model), -1);
  }
  for (int i = 0; i < 3; i++)
    small_data_destroy(&d[i]);
  small_destroy(&c);
}

typedef struct worker {
  const small_context *c;
  small_data d;
  int failed;
} worker;

static void *work(void *arg) {
  worker *w = arg;
  for (int i = 0; i < 30; i++) {
    memset(w->d.out[0].data, 0xff, w->d.out[0].size);
    w->failed |= run(w->c, &w->d, NULL) != PRUNE_CUDA_OK ||
                 small_data_wrong(&w->d, &model) != -1 ||
                 prune_cuda_check(w->c->ctx, w->d.workspace, NULL);
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  worker w[2];
  pthread_t threads[2];
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  for (int i = 0; i < 2; i++) {
    w[i] = (worker){.c = &c};
    small_data_make(&w[i].d, i ? 16 : 8, (unsigned)i);
    assert_int_equal(small_data_prepare(&w[i].d, c.ctx), PRUNE_CUDA_OK);
  }
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(w[i].failed, 0);
    small_data_destroy(&w[i].d);
  }
  small_destroy(&c);
}

static void tune(const small_context *c, small_data *d) {
  assert_int_equal(small_data_prepare(d, c->ctx), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_tune(c->ctx, d->in, 2, d->out, 1, d->workspace,
                                   d->workspace_size, NULL, 10),
                   PRUNE_CUDA_OK);
  assert_int_equal(run(c, d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(small_data_wrong(d, &model), -1);
}

static void test_tune_takes_the_fastest(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 16, 3);
  tune(&c, &d);
  /* The mocks' algorithms take so long, and so much workspace. */
  assert_says(c.ctx, "up (mem.matmul): cuBLASLt, dense weights, 16 rows, 6144 "
                     "bytes of weights, 2048 of workspace, 4.00 us; not "
                     "small_dense: was slower");
  assert_says(c.ctx,
              "down (mem.matmul): cuSPARSELt, 2:4 weights, many rows, 16 "
              "rows, 2304 bytes of weights, 2048 of workspace, 3.00 us");
  small_data_destroy(&d);
  small_destroy(&c);
  o = options(PRUNE_CUDA_DETERMINISTIC);
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 16, 3);
  tune(&c, &d);
  assert_null(strstr(explain(&c), " us"));
  small_data_destroy(&d);
  small_destroy(&c);
}

static void test_cache(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  static unsigned char cache[4096];
  size_t size = 0, small = 8;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 16, 3);
  tune(&c, &d);
  assert_int_equal(prune_cuda_cache_save(c.ctx, NULL, &size), PRUNE_CUDA_OK);
  assert_in_range(size, 1, sizeof cache);
  assert_int_equal(prune_cuda_cache_save(c.ctx, cache, &small),
                   PRUNE_CUDA_E_SPACE);
  assert_int_equal(prune_cuda_cache_save(c.ctx, cache, &size), PRUNE_CUDA_OK);
  small_destroy(&c);
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  for (size_t i = 0; i < size; i++) { /* every byte counts */
    cache[i] ^= 1;
    assert_int_equal(prune_cuda_cache_load(c.ctx, cache, size),
                     PRUNE_CUDA_E_CACHE_STALE);
    cache[i] ^= 1;
    assert_int_equal(prune_cuda_cache_load(c.ctx, cache, i),
                     PRUNE_CUDA_E_CACHE_STALE);
  }
  assert_int_equal(prune_cuda_cache_load(c.ctx, cache, size), PRUNE_CUDA_OK);
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_E_SHAPE);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  assert_says(c.ctx,
              "down (mem.matmul): cuSPARSELt, 2:4 weights, many rows, 16 "
              "rows, 2304 bytes of weights, 2048 of workspace, 3.00 us");
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(small_data_wrong(&d, &model), -1);
  small_destroy(&c);
  setenv("PRUNE_MOCK_CUSPARSELT", "0.8.2", 1);
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_cache_load(c.ctx, cache, size),
                   PRUNE_CUDA_E_CACHE_STALE);
  unsetenv("PRUNE_MOCK_CUSPARSELT");
  small_destroy(&c);
  small_data_destroy(&d);
}

static void test_failing_kernel(void **state) {
  (void)state;
  prune_cuda_options o = options(0);
  small_context c;
  small_data d;
  const char *library, *what;
  long mistakes = mock_count().mistakes;
  int code;
  assert_int_equal(small_init(&model, &o, &c), PRUNE_CUDA_OK);
  small_data_make(&d, 4, 3);
  assert_int_equal(small_data_prepare(&d, c.ctx), PRUNE_CUDA_OK);
  static _Alignas(16) char host[4 * SMALL_OUT * 2]; /* not the device's */
  void *device = d.out[0].data;
  d.out[0].data = host;
  assert_int_equal(run(&c, &d, NULL), PRUNE_CUDA_OK);
  assert_int_equal(prune_cuda_check(c.ctx, d.workspace, NULL),
                   PRUNE_CUDA_E_CUDA);
  prune_cuda_last_lib(&library, &code, &what);
  assert_string_equal(library, "CUDA");
  assert_string_equal(what, "cuMemcpyDtoHAsync_v2");
  assert_int_equal(code, 719);
  mock_forget_error();
  assert_int_equal(mock_count().mistakes, mistakes + 1);
  d.out[0].data = device;
  small_data_destroy(&d);
  small_destroy(&c);
}

static int make(void **state) {
  (void)state;
  small_make(&model);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_values, assert_clean),
      cmocka_unit_test_teardown(test_flags, assert_clean),
      cmocka_unit_test_teardown(test_products, assert_clean),
      cmocka_unit_test_teardown(test_residuals, assert_clean),
      cmocka_unit_test_teardown(test_unaligned_products, assert_clean),
      cmocka_unit_test_teardown(test_devices, assert_clean),
      cmocka_unit_test_teardown(test_kernel_for_larger_devices, assert_clean),
      cmocka_unit_test_teardown(test_libraries_that_do_not_fit, assert_clean),
      cmocka_unit_test_teardown(test_missing_libraries, assert_clean),
      cmocka_unit_test_teardown(test_no_driver, assert_clean),
      cmocka_unit_test_teardown(test_capture, assert_clean),
      cmocka_unit_test_teardown(test_run_only_launches, assert_clean),
      cmocka_unit_test_teardown(test_large_shared_memory, assert_clean),
      cmocka_unit_test_teardown(test_index_out_of_range, assert_clean),
      cmocka_unit_test_teardown(test_wrong_calls, assert_clean),
      cmocka_unit_test_teardown(test_plans_are_limited, assert_clean),
      cmocka_unit_test_teardown(test_threads, assert_clean),
      cmocka_unit_test_teardown(test_tune_takes_the_fastest, assert_clean),
      cmocka_unit_test_teardown(test_cache, assert_clean),
      cmocka_unit_test(test_nothing_else_is_captured),
      cmocka_unit_test(test_failing_kernel),
  };
  return cmocka_run_group_tests(tests, make, NULL);
}
