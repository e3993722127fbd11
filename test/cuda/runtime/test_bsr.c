/* Weights in blocks: a product by our kernel and by cuSPARSE, what decides
 * between them, threads and capture, and blobs whose blocks are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cuda/host/prune_cuda_impl.h"
#include "test/cuda/kernels/pack.h"
#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/checks.h"
#include "test/cuda/runtime/mocked.h"
#include "test/cuda/runtime/model.h"

/* y[rows, N] = 2 (x[rows, K] w'), f16; two pairs of rows of blocks. */
enum { N = 128, K = 96, F16 = 10, STARTS = 128, INDICES = 128 };
enum { OURS, THEIRS, NUM_VARIANTS };
enum { Z_0, Z_1, Z_ROWS, Z_N, Z_K, Z_ACROSS, Z_DOWN, Z_EACH, NUM_SIZES };

static int bind(const int64_t *const *inputs, int64_t *symbols) {
  symbols[0] = inputs[0][0];
  return inputs[0][1] == K ? 0 : 1;
}
static int sizes(const int64_t *symbols, int64_t *out) {
  const int64_t all[NUM_SIZES] = {0,
                                  1,
                                  symbols[0],
                                  N,
                                  K,
                                  (N + 63) / 64,
                                  (symbols[0] + 63) / 64,
                                  (symbols[0] * N + 127) / 128};
  memcpy(out, all, sizeof all);
  return 1;
}

static const prune_cuda_value input = {"x", F16, 2, (const int64_t[]){-1, K},
                                       (const char *const[]){"rows", "96"}};
static const prune_cuda_value output = {"y", F16, 2, (const int64_t[]){-1, N},
                                        (const char *const[]){"rows", "128"}};
static const uint32_t output_dims[] = {Z_ROWS, Z_N};
static const prune_cuda_kernel kernels[] = {{"blocks_linear", 128, 32768},
                                            {"blocks_twice", 128, 0}};
static const prune_cuda_variant ours = {
    PRUNE_CUDA_KERNEL,  0, {Z_ACROSS, Z_DOWN, Z_1}, 0, Z_ROWS, 0, INT64_MAX,
    "linear_bsr_small", 0};
static const prune_cuda_variant theirs = {
    PRUNE_CUDA_CUSPARSE, 1, {Z_EACH, Z_1, Z_1}, 0, Z_ROWS, 0, INT64_MAX,
    "cuSPARSE",          1};
static const prune_cuda_pointer pointers[] = {{PRUNE_CUDA_ARGUMENT, 0, Z_0},
                                              {PRUNE_CUDA_WEIGHTS, 0, Z_0},
                                              {PRUNE_CUDA_ARGUMENT, 1, Z_0}};
static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};
static const prune_cuda_image images[] = {{image, sizeof image, 0},
                                          {NULL, 0, 0}};

static struct {
  prune_cuda_model model;
  prune_cuda_variant variants[NUM_VARIANTS];
  prune_cuda_product product;
  prune_cuda_step step;
  prune_cuda_record record;
  float w[N * K];
  unsigned char *blob, *data;
  size_t blob_size;
} m;
static char told[1024];

static void keep_line(void *user, int level, const char *line) {
  (void)user, (void)level;
  strncpy(told, line, sizeof told - 1);
}

/* Head and hash from the tables and the data. */
static void seal(void) {
  m.model.weights_size = m.record.size;
  m.model.weights_hash = pcu_xxh64(m.data, m.record.size, 0);
  const prune_cuda_blob head = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                                .version = PRUNE_CUDA_BLOB_VERSION,
                                .num_records = 1,
                                .data_offset = PRUNE_CUDA_BLOB_ALIGN,
                                .data_size = m.record.size,
                                .hash = m.model.weights_hash};
  const prune_cuda_blob_record row = {pcu_xxh64("w", 1, 0), m.record.kind,
                                      m.record.type,        m.record.k,
                                      m.record.n,           0,
                                      m.record.size};
  memcpy(m.blob, &head, sizeof head);
  memcpy(m.blob + sizeof head, &row, sizeof row);
}

/* Of six blocks of a pair two are there, and two of the other pair's. */
static void fill_weights(void) {
  for (int j = 0; j < N; j++)
    for (int i = 0; i < K; i++) {
      bool there = j < 64 ? i / 32 == 1 : i / 32 == 2 && j >= 96;
      m.w[j * K + i] = there   ? (float)((j * 7 + i * 3) % 41 - 20) / 64
                       : i % 2 ? -0.0f
                               : 0;
    }
}

static void make(void) {
  size_t size;
  fill_weights();
  void *packed = test_pack("bsr", TEST_F16, m.w, K, N, &size);
  assert_non_null(packed);
  assert_int_equal(size, STARTS + INDICES + 4 * 1024 * 2);
  m.blob_size = PRUNE_CUDA_BLOB_ALIGN + size;
  m.blob = aligned_alloc(256, (m.blob_size + 255) / 256 * 256);
  assert_non_null(m.blob);
  memset(m.blob, 0, m.blob_size);
  m.data = m.blob + PRUNE_CUDA_BLOB_ALIGN;
  memcpy(m.data, packed, size);
  free(packed);
  m.variants[OURS] = ours;
  m.variants[THEIRS] = theirs;
  m.record = (prune_cuda_record){"w", PRUNE_CUDA_BSR, F16, K, N, 0, size};
  m.product = (prune_cuda_product){.type = F16,
                                   .format = PRUNE_CUDA_BSR,
                                   .m = Z_ROWS,
                                   .n = Z_N,
                                   .k = Z_K,
                                   .ldx = Z_K,
                                   .ldo = Z_N,
                                   .x = 0,
                                   .w = 1,
                                   .out = 2,
                                   .bias = -1};
  m.step =
      (prune_cuda_step){"product",    "mem.matmul", pointers, 3,   m.variants,
                        NUM_VARIANTS, &m.product,   NULL,     NULL};
  m.model = (prune_cuda_model){.version = PRUNE_CUDA_MODEL,
                               .name = "blocks",
                               .num_inputs = 1,
                               .num_outputs = 1,
                               .num_symbols = 1,
                               .num_sizes = NUM_SIZES,
                               .num_pointers = 6,
                               .inputs = &input,
                               .outputs = &output,
                               .bind = bind,
                               .sizes = sizes,
                               .arena = Z_0,
                               .output_dims = output_dims,
                               .kernels = kernels,
                               .num_kernels = 2,
                               .steps = &m.step,
                               .num_steps = 1,
                               .records = &m.record,
                               .num_records = 1,
                               .images = images};
  seal();
}

typedef struct context {
  prune_cuda_ctx *ctx;
  void *host, *weights;
} context;

static prune_cuda_status init(uint32_t flags, context *c) {
  const prune_cuda_options o = {.size = sizeof o,
                                .abi = PRUNE_CUDA_ABI,
                                .flags = flags,
                                .log = keep_line};
  prune_cuda_sizes need;
  told[0] = 0;
  *c = (context){.ctx = NULL};
  prune_cuda_status s = prune_cuda_query(&m.model, &o, &need);
  if (s) return s;
  c->host = aligned_alloc(256, (need.context + 255) / 256 * 256);
  c->weights = small_alloc(need.weights);
  const prune_cuda_memory mem = {c->host,      need.context, c->weights,
                                 need.weights, NULL,         0};
  return prune_cuda_init(&m.model, &o, m.blob, m.blob_size, &mem, NULL,
                         &c->ctx);
}
static void destroy(context *c) {
  prune_cuda_destroy(c->ctx);
  small_free(c->weights);
  free(c->host);
}

typedef struct tensors {
  int64_t rows, dims[2][2];
  prune_cuda_tensor in, out;
  void *workspace;
  size_t size;
} tensors;

static void tensors_make(tensors *t, int64_t rows, int seed) {
  *t = (tensors){.rows = rows, .dims = {{rows, K}}};
  size_t x = (size_t)rows * K * 2, y = (size_t)rows * N * 2;
  t->in = (prune_cuda_tensor){small_alloc(x), x, t->dims[0]};
  t->out = (prune_cuda_tensor){small_alloc(y), y, t->dims[1]};
  for (int64_t i = 0; i < rows * K; i++)
    mock_store(t->in.data, (size_t)i, MOCK_F16,
               (double)((i * 5 + seed * 11) % 29 - 14) / 16);
}
static void tensors_prepare(tensors *t, const context *c) {
  assert_int_equal(prune_cuda_prepare(c->ctx, &t->in, 1, &t->out, 1, &t->size),
                   PRUNE_CUDA_OK);
  t->workspace = small_alloc(t->size);
}
static void tensors_free(tensors *t) {
  small_free(t->in.data);
  small_free(t->out.data);
  small_free(t->workspace);
}
static prune_cuda_status run(const context *c, const tensors *t, void *stream) {
  return prune_cuda_run(c->ctx, &t->in, 1, &t->out, 1, t->workspace, t->size,
                        stream);
}

static void assert_right(const tensors *t) {
  for (int64_t i = 0; i < t->rows; i++)
    for (int64_t j = 0; j < N; j++) {
      double want = 0;
      for (int64_t k = 0; k < K; k++)
        want += mock_load(t->in.data, (size_t)(i * K + k), MOCK_F16) *
                (double)m.w[j * K + k];
      double got = mock_load(t->out.data, (size_t)(i * N + j), MOCK_F16);
      assert_true(fabs(got - 2 * want) <= 4e-3 * (1 + fabs(want)));
    }
}

/* It runs as it should, and explain says `what` of it. */
static void check(uint32_t flags, const char *what) {
  context c;
  tensors t;
  assert_int_equal(init(flags, &c), PRUNE_CUDA_OK);
  tensors_make(&t, 70, 1);
  tensors_prepare(&t, &c);
  assert_int_equal(run(&c, &t, NULL), PRUNE_CUDA_OK);
  assert_right(&t);
  assert_says(c.ctx, what);
  tensors_free(&t);
  destroy(&c);
  assert_int_equal(mock_count().live, 0);
  assert_int_equal(mock_count().mistakes, 0);
}

static void theirs_first(bool yes) {
  m.variants[yes ? 0 : 1] = theirs;
  m.variants[yes ? 1 : 0] = ours;
}

static void test_ours_first(void **state) {
  (void)state;
  check(0, "cuSPARSE 12.6.3");
  check(0, "product (mem.matmul): blocks_linear, linear_bsr_small");
  check(0, "not cuSPARSE: comes after it");
}

static void test_theirs(void **state) {
  (void)state;
  theirs_first(true);
  check(0, "product (mem.matmul): cuSPARSE, then blocks_twice, 8448 bytes of "
           "weights, 512 of workspace; not blocks_linear: comes after it");
  check(PRUNE_CUDA_OWN_ONLY, "not cuSPARSE: the options leave it out");
  check(PRUNE_CUDA_DENSE_ONLY, "not cuSPARSE: the options leave it out");
  check(PRUNE_CUDA_DETERMINISTIC, "cuSPARSE left out");
  theirs_first(false);
}

static void test_versions(void **state) {
  static const char *const unknown[] = {"11.7.5", "12.5.0", "12.4.9", "13.0.0"};
  char says[64];
  (void)state;
  theirs_first(true);
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    setenv("PRUNE_MOCK_CUSPARSE", unknown[i], 1);
    (void)snprintf(says, sizeof says, "cuSPARSE %s (not known)", unknown[i]);
    check(0, says);
  }
  check(0, "not cuSPARSE: the library's version is not known to fit");
  setenv("PRUNE_MOCK_CUSPARSE", "12.5.1", 1);
  check(0, "product (mem.matmul): cuSPARSE, ");
  setenv("PRUNE_MOCK_CUSPARSE", "12.10.0", 1);
  check(0, "product (mem.matmul): cuSPARSE, ");
  unsetenv("PRUNE_MOCK_CUSPARSE");
  theirs_first(false);
}

static void test_refusals(void **state) {
  static const struct {
    const char *function, *says;
  } rows[] = {{"cusparseCreate", "not cuSPARSE: refused with 1"},
              {"cusparseCreateBsr", "not cuSPARSE: refused with 10"},
              {"cusparseSpMM_bufferSize", "not cuSPARSE: refused with 10"}};
  (void)state;
  theirs_first(true);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    setenv("PRUNE_MOCK_REFUSE", rows[i].function, 1);
    check(0, rows[i].says);
  }
  unsetenv("PRUNE_MOCK_REFUSE");
  /* What the library cannot do to sums, and types that it does not have. */
  m.product.act = PRUNE_CUDA_RELU;
  check(0, "not cuSPARSE: it has not this bias or activation");
  m.product.act = PRUNE_CUDA_NO_ACT;
  m.product.format = PRUNE_CUDA_NK;
  check(0, "not cuSPARSE: it has not these sizes, types or alignments");
  m.product.format = PRUNE_CUDA_BSR;
  theirs_first(false);
}

/* The library comes after our kernel, and is found to be faster by the clock of
 * the mock: its workspace was set aside. */
static void test_tuning(void **state) {
  context c;
  tensors t;
  (void)state;
  assert_int_equal(init(0, &c), PRUNE_CUDA_OK);
  tensors_make(&t, 70, 1);
  tensors_prepare(&t, &c);
  assert_int_equal(t.size, PCU_HEAD + 512);
  assert_says(c.ctx, "linear_bsr_small, 8448 bytes of weights; not cuSPARSE");
  m.variants[THEIRS].after = 0; /* a launch less */
  assert_int_equal(prune_cuda_tune(c.ctx, &t.in, 1, &t.out, 1, t.workspace,
                                   t.size, NULL, 10),
                   PRUNE_CUDA_OK);
  assert_says(c.ctx, "product (mem.matmul): cuSPARSE, ");
  assert_says(c.ctx, "not blocks_linear: was slower");
  m.variants[THEIRS].after = 1;
  assert_int_equal(run(&c, &t, NULL), PRUNE_CUDA_OK);
  assert_right(&t);
  tensors_free(&t);
  destroy(&c);
}

static void test_capture(void **state) {
  void *stream, *graph, *made, *context_of;
  context c;
  tensors t;
  (void)state;
  theirs_first(true);
  assert_int_equal(init(0, &c), PRUNE_CUDA_OK);
  tensors_make(&t, 33, 4);
  tensors_prepare(&t, &c);
  assert_int_equal(cuDevicePrimaryCtxRetain(&context_of, 0), 0);
  assert_int_equal(cuCtxPushCurrent_v2(context_of), 0);
  assert_int_equal(cuStreamCreate(&stream, 0), 0);
  assert_int_equal(cuStreamBeginCapture_v2(stream, 0), 0);
  assert_int_equal(run(&c, &t, stream), PRUNE_CUDA_OK);
  assert_int_equal(cuStreamEndCapture(stream, &graph), 0);
  assert_int_equal(cuGraphInstantiateWithFlags(&made, graph, 0), 0);
  for (int i = 0; i < 2; i++) {
    memset(t.out.data, 0xff, t.out.size);
    assert_int_equal(cuGraphLaunch(made, stream), 0);
    assert_right(&t);
  }
  cuGraphExecDestroy(made);
  cuGraphDestroy(graph);
  cuStreamDestroy_v2(stream);
  cuCtxPopCurrent_v2(&context_of);
  cuDevicePrimaryCtxRelease_v2(0);
  tensors_free(&t);
  destroy(&c);
  theirs_first(false);
}

typedef struct worker {
  const context *c;
  tensors t;
  prune_cuda_status status;
} worker;

static void *work(void *user) {
  worker *w = user;
  for (int i = 0; i < 20 && !w->status; i++)
    w->status = run(w->c, &w->t, NULL);
  return NULL;
}

/* Addresses are the descriptors', which the threads share. */
static void test_threads(void **state) {
  enum { THREADS = 4 };
  worker w[THREADS] = {{0}};
  pthread_t threads[THREADS];
  context c;
  (void)state;
  theirs_first(true);
  assert_int_equal(init(0, &c), PRUNE_CUDA_OK);
  for (int i = 0; i < THREADS; i++) {
    w[i].c = &c;
    tensors_make(&w[i].t, 9, i);
    tensors_prepare(&w[i].t, &c);
  }
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, work, &w[i]), 0);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(w[i].status, PRUNE_CUDA_OK);
    assert_right(&w[i].t);
    tensors_free(&w[i].t);
  }
  destroy(&c);
  theirs_first(false);
}

static void assert_refused(const char *why) {
  context c;
  assert_int_equal(init(0, &c), PRUNE_CUDA_E_WEIGHTS);
  if (!strstr(told, why)) print_error("'%s' is not in '%s'\n", why, told);
  assert_non_null(strstr(told, why));
  destroy(&c);
}

/* A word of the data is another: tables and hash agree, and it is wrong. */
static void break_word(size_t at, uint32_t with, const char *why) {
  uint32_t kept;
  memcpy(&kept, m.data + at, sizeof kept);
  memcpy(m.data + at, &with, sizeof with);
  seal();
  assert_refused(why);
  memcpy(m.data + at, &kept, sizeof kept);
  seal();
}

static void test_blobs(void **state) {
  static const char rows[] = "its rows of blocks are no pairs";
  static const char places[] = "the places of its blocks do not ascend";
  (void)state;
  /* Starts are 0, 1, 2, 3, 4; places 1, 1, 2, 2. */
  break_word(0, 1, rows);
  break_word(4, 0, rows);
  break_word(4, 2, rows);
  break_word(4, UINT32_MAX, rows);
  break_word(8, 3, rows);
  break_word(12, 2, rows);
  break_word(16, 3, rows);
  break_word(16, 5, rows);
  break_word(STARTS, 2, places);
  break_word(STARTS, 3, places);
  break_word(STARTS + 4, 0, places);
  break_word(STARTS + 12, UINT32_MAX, places);
  const prune_cuda_record kept = m.record;
#define BREAK(field, with, why) \
  m.record.field = with;        \
  seal();                       \
  assert_refused(why);          \
  m.record = kept
  BREAK(n, INT64_MAX, "its dims are too large");
  BREAK(n, 1 << 20, "it is too small for its rows");
  BREAK(n, 64, "its size is not that of its blocks");
  BREAK(k, 64, places);
  BREAK(type, 1, "its size is not that of its blocks");
#undef BREAK
  seal();
  context c;
  assert_int_equal(init(0, &c), PRUNE_CUDA_OK);
  destroy(&c);
}

static int set_up(void **state) {
  (void)state;
  make();
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  free(m.blob);
  return mock_count().mistakes ? -1 : 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ours_first), cmocka_unit_test(test_theirs),
      cmocka_unit_test(test_versions),   cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_tuning),     cmocka_unit_test(test_capture),
      cmocka_unit_test(test_threads),    cmocka_unit_test(test_blobs),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
