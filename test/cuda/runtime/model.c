#include "test/cuda/runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/xxh64.h"
#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/mocked.h"

enum { F16 = 10, I64 = 7 };

/* Sizes by their places. */
enum {
  Z_0,
  Z_1,
  Z_ROWS,
  Z_WIDTH,
  Z_HIDDEN,
  Z_OUT,
  Z_DEPTH,
  Z_ARENA,
  Z_HIDDEN_AT,
  Z_W1_AT,
  Z_B1_AT,
  Z_W2_AT,
  Z_B2_AT,
  Z_ADD_BLOCKS,
  Z_UNALIGNED_AT = SMALL_UNALIGNED_AT,
  NUM_SIZES
};

static int bind(const int64_t *const *inputs, int64_t *symbols) {
  symbols[0] = inputs[0][0];
  return inputs[1][0] == symbols[0] ? 0 : 2;
}

static int sizes(const int64_t *symbols, int64_t *out) {
  int64_t rows = symbols[0];
  if (rows < 0 || rows > INT64_C(1) << 40) return 0;
  out[Z_0] = 0;
  out[Z_1] = 1;
  out[Z_ROWS] = rows;
  out[Z_WIDTH] = SMALL_WIDTH;
  out[Z_HIDDEN] = SMALL_HIDDEN;
  out[Z_OUT] = SMALL_OUT;
  out[Z_DEPTH] = SMALL_DEPTH;
  out[Z_HIDDEN_AT] = (rows * SMALL_WIDTH * 2 + 255) / 256 * 256;
  out[Z_UNALIGNED_AT] = out[Z_HIDDEN_AT] + 8;
  out[Z_ARENA] = out[Z_UNALIGNED_AT] + rows * SMALL_HIDDEN * 2;
  out[Z_W1_AT] = 1280;
  out[Z_B1_AT] = 7424;
  out[Z_W2_AT] = 7680;
  out[Z_B2_AT] = 9984;
  out[Z_ADD_BLOCKS] = (rows * SMALL_WIDTH + 127) / 128;
  return 1;
}

static const prune_cuda_value inputs[] = {
    {"ids", I64, 1, (const int64_t[]){-1}, (const char *const[]){"rows"}},
    {"x", F16, 2, (const int64_t[]){-1, SMALL_WIDTH},
     (const char *const[]){"rows", "64"}}};
static const prune_cuda_value outputs[] = {
    {"y", F16, 2, (const int64_t[]){-1, SMALL_OUT},
     (const char *const[]){"rows", "32"}}};
static const uint32_t output_dims[] = {Z_ROWS, Z_OUT};

static const prune_cuda_kernel kernels[] = {
    {"small_gather", 64, 0},      {"small_add", 128, 0},
    {"small_dense", 64, 0},       {"small_sparse", 32, 0},
    {"small_sparse_sm90", 32, 0}, {"small_expand_nm24", 64, 0}};
#define KERNEL(k, x, arch, from, why) \
  { PRUNE_CUDA_KERNEL, k, {x, Z_1, Z_1}, arch, Z_ROWS, from, INT64_MAX, why, 0 }
#define LIBRARY(how, from, why) \
  { how, 0, {Z_1, Z_1, Z_1}, 0, Z_ROWS, from, INT64_MAX, why, 0 }
static const prune_cuda_variant gather_variants[] = {
    KERNEL(0, Z_ROWS, 0, 0, "a block for each row")};
static const prune_cuda_variant add_variants[] = {
    KERNEL(1, Z_ADD_BLOCKS, 0, 0, "a thread for each element")};
static const prune_cuda_variant dense_variants[] = {
    LIBRARY(PRUNE_CUDA_CUBLASLT, 8, "dense weights"),
    KERNEL(2, Z_ROWS, 0, 0, "a block for each row")};
static const prune_cuda_variant sparse_variants[] = {
    LIBRARY(PRUNE_CUDA_CUSPARSELT, 16, "2:4 weights, many rows"),
    KERNEL(4, Z_ROWS, 90, 8, "2:4 weights on Hopper"),
    KERNEL(3, Z_ROWS, -80, 0, "2:4 weights")};

#define ARENA(at) \
  { PRUNE_CUDA_ARENA, 0, at }
#define WEIGHTS(at) \
  { PRUNE_CUDA_WEIGHTS, 0, at }
#define ARGUMENT(i) \
  { PRUNE_CUDA_ARGUMENT, i, Z_0 }
static const prune_cuda_pointer gather_pointers[] = {WEIGHTS(Z_0), ARGUMENT(0),
                                                     ARENA(Z_0)};
static const prune_cuda_pointer add_pointers[] = {ARENA(Z_0), ARGUMENT(1),
                                                  ARENA(Z_0)};
static const prune_cuda_pointer dense_pointers[] = {
    ARENA(Z_0), WEIGHTS(Z_W1_AT), WEIGHTS(Z_B1_AT), ARENA(Z_HIDDEN_AT)};
static const prune_cuda_pointer sparse_pointers[] = {
    ARENA(Z_HIDDEN_AT), WEIGHTS(Z_W2_AT), WEIGHTS(Z_B2_AT), ARGUMENT(2)};
static const prune_cuda_product dense_product = {.type = F16,
                                                 .format = PRUNE_CUDA_NK,
                                                 .m = Z_ROWS,
                                                 .n = Z_HIDDEN,
                                                 .k = Z_DEPTH,
                                                 .ldx = Z_WIDTH,
                                                 .ldo = Z_HIDDEN,
                                                 .x = 0,
                                                 .w = 1,
                                                 .bias = 2,
                                                 .out = 3,
                                                 .act = PRUNE_CUDA_RELU,
                                                 .record = 1};
static const prune_cuda_product sparse_product = {.type = F16,
                                                  .format = PRUNE_CUDA_NM24,
                                                  .m = Z_ROWS,
                                                  .n = Z_OUT,
                                                  .k = Z_HIDDEN,
                                                  .ldx = Z_HIDDEN,
                                                  .ldo = Z_OUT,
                                                  .x = 0,
                                                  .w = 1,
                                                  .bias = 2,
                                                  .out = 3,
                                                  .act = PRUNE_CUDA_NO_ACT,
                                                  .record = 3};
#define STEP(name, op, what, product)                                         \
  {                                                                           \
    name, op, what##_pointers,                                                \
        sizeof what##_pointers / sizeof *what##_pointers, what##_variants,    \
        sizeof what##_variants / sizeof *what##_variants, product, NULL, NULL \
  }
static const prune_cuda_step steps[] = {
    STEP("embed", "mem.gather", gather, NULL),
    STEP("add", "mem.map", add, NULL),
    STEP("up", "mem.matmul", dense, &dense_product),
    STEP("down", "mem.matmul", sparse, &sparse_product)};

static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};
static const prune_cuda_image images[] = {{image, sizeof image, 0},
                                          {NULL, 0, 0}};

static const prune_cuda_record records[SMALL_RECORDS] = {
    {"table", PRUNE_CUDA_DENSE, F16, 0, SMALL_TABLE *SMALL_WIDTH, 0, 1280},
    {"w1", PRUNE_CUDA_NK, F16, SMALL_DEPTH, SMALL_HIDDEN, 1280, 6144},
    {"b1", PRUNE_CUDA_DENSE, F16, 0, SMALL_HIDDEN, 7424, 96},
    {"w2", PRUNE_CUDA_NM24, F16, SMALL_HIDDEN, SMALL_OUT, 7680, 2304},
    {"b2", PRUNE_CUDA_DENSE, F16, 0, SMALL_OUT, 9984, 64},
    {"spare", PRUNE_CUDA_BITMAP, F16, 64, 16, 10240, 304}};

/* Numbers of a few bits, so that f16 holds them and sums are short. */
static double number(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return ((double)(*seed >> 24) - 127.5) / 128;
}

static unsigned char *data_of(small_model *s) {
  return s->blob + SMALL_BLOB - s->model.weights_size;
}

/* Two of every four along k; places as docs of nm24 have it. */
static void make_sparse(unsigned char *w, unsigned *seed) {
  static const int kept[][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
  for (size_t r = 0; r < SMALL_OUT; r++)
    for (size_t g = 0; g < SMALL_WIDTH / 4; g++) {
      const int *at = kept[(r + g) % 6];
      uint32_t word;
      unsigned char *to =
          w + 2048 + (r / 16 * 32 + r % 8 * 4 + g / 4) * sizeof word;
      for (size_t i = 0; i < 2; i++)
        mock_store(w, r * SMALL_WIDTH / 2 + 2 * g + i, MOCK_F16,
                   g < SMALL_HIDDEN / 4 ? number(seed) : 0);
      memcpy(&word, to, sizeof word);
      word |= (uint32_t)(at[0] | at[1] << 2) << (r / 8 % 2 * 16 + g % 4 * 4);
      memcpy(to, &word, sizeof word);
    }
}

/* One tile with 20 values, which take three units of 8. */
static void make_bitmap(unsigned char *w) {
  const uint32_t starts[2] = {0, 3}, mask[2] = {0xffff, 0xf};
  memcpy(w, starts, sizeof starts);
  memcpy(w + 128, mask, sizeof mask);
  for (size_t i = 0; i < 20; i++)
    mock_store(w + 256, i, MOCK_F16, 1);
}

void small_seal(small_model *s) {
  const prune_cuda_model *m = &s->model;
  size_t at = SMALL_BLOB - m->weights_size;
  s->model.weights_hash = prn_xxh64(s->blob + at, m->weights_size, 0);
  prune_cuda_blob head = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                          .version = PRUNE_CUDA_BLOB_VERSION,
                          .num_records = m->num_records,
                          .data_offset = at,
                          .data_size = m->weights_size,
                          .hash = m->weights_hash};
  memcpy(s->blob, &head, sizeof head);
  for (uint32_t i = 0; i < m->num_records; i++) {
    const prune_cuda_record *r = &m->records[i];
    prune_cuda_blob_record row = {prn_xxh64(r->name, strlen(r->name), 0),
                                  r->kind,
                                  r->type,
                                  r->k,
                                  r->n,
                                  r->offset,
                                  r->size};
    memcpy(s->blob + sizeof head + i * sizeof row, &row, sizeof row);
  }
}

void small_make(small_model *s) {
  unsigned seed = 5;
  memset(s, 0, sizeof *s);
  memcpy(s->records, records, sizeof records);
  s->act = PRUNE_CUDA_RELU;
  s->model = (prune_cuda_model){.version = PRUNE_CUDA_MODEL,
                                .name = "small",
                                .num_inputs = 2,
                                .num_outputs = 1,
                                .num_symbols = 1,
                                .num_sizes = NUM_SIZES,
                                .num_pointers = 6,
                                .inputs = inputs,
                                .outputs = outputs,
                                .bind = bind,
                                .sizes = sizes,
                                .arena = Z_ARENA,
                                .output_dims = output_dims,
                                .kernels = kernels,
                                .num_kernels = 6,
                                .steps = steps,
                                .num_steps = 4,
                                .records = s->records,
                                .num_records = SMALL_RECORDS,
                                .weights_size = 10240 + 304,
                                .images = images};
  unsigned char *data = data_of(s);
  for (size_t i = 0; i < SMALL_TABLE * SMALL_WIDTH; i++)
    mock_store(data, i, MOCK_F16, number(&seed));
  for (size_t i = 0; i < SMALL_HIDDEN * SMALL_WIDTH; i++)
    mock_store(data + 1280, i, MOCK_F16,
               i % SMALL_WIDTH < SMALL_DEPTH ? number(&seed) : 0);
  for (size_t i = 0; i < SMALL_HIDDEN; i++)
    mock_store(data + 7424, i, MOCK_F16, number(&seed));
  make_sparse(data + 7680, &seed);
  for (size_t i = 0; i < SMALL_OUT; i++)
    mock_store(data + 9984, i, MOCK_F16, number(&seed));
  make_bitmap(data + 10240);
  small_seal(s);
}

void *small_alloc(size_t size) {
  unsigned long long p = 0;
  void *context;
  if (cuInit(0) || cuDevicePrimaryCtxRetain(&context, 0) ||
      cuCtxPushCurrent_v2(context) || cuMemAlloc_v2(&p, size) ||
      cuCtxPopCurrent_v2(&context) || cuDevicePrimaryCtxRelease_v2(0))
    abort();
  return (void *)(uintptr_t)p;
}

void small_free(void *p) {
  if (p) (void)cuMemFree_v2((unsigned long long)(uintptr_t)p);
}

prune_cuda_status small_init(const small_model *s,
                             const prune_cuda_options *options,
                             small_context *out) {
  prune_cuda_sizes need;
  memset(out, 0, sizeof *out);
  prune_cuda_status status = prune_cuda_query(&s->model, options, &need);
  if (status) return status;
  size_t host = (need.context + 255) / 256 * 256;
  void *weights = small_alloc(need.weights);
  void *scratch = need.scratch ? small_alloc(need.scratch) : NULL;
  out->host = aligned_alloc(256, host);
  out->weights = (unsigned long long)(uintptr_t)weights;
  out->scratch = (unsigned long long)(uintptr_t)scratch;
  const prune_cuda_memory mem = {out->host,    need.context, weights,
                                 need.weights, scratch,      need.scratch};
  status = prune_cuda_init(&s->model, options, s->blob, sizeof s->blob, &mem,
                           NULL, &out->ctx);
  if (status) small_destroy(out);
  return status;
}

void small_destroy(small_context *c) {
  prune_cuda_destroy(c->ctx);
  small_free((void *)(uintptr_t)c->weights);
  small_free((void *)(uintptr_t)c->scratch);
  free(c->host);
  memset(c, 0, sizeof *c);
}

void small_data_make(small_data *d, int64_t rows, unsigned seed) {
  size_t n = (size_t)rows;
  memset(d, 0, sizeof *d);
  d->rows = rows;
  for (int i = 0; i < 2; i++)
    d->dims[i][0] = rows;
  d->dims[1][1] = SMALL_WIDTH;
  const size_t bytes[] = {8 * n, 2 * n * SMALL_WIDTH, 2 * n * SMALL_OUT};
  for (int i = 0; i < 3; i++) {
    prune_cuda_tensor t = {n ? small_alloc(bytes[i]) : NULL, bytes[i],
                           d->dims[i]};
    *(i < 2 ? &d->in[i] : &d->out[0]) = t;
  }
  for (size_t i = 0; i < n; i++)
    ((int64_t *)d->in[0].data)[i] = (int64_t)((i * 7 + seed) % SMALL_TABLE);
  for (size_t i = 0; i < n * SMALL_WIDTH; i++)
    mock_store(d->in[1].data, i, MOCK_F16, number(&seed));
}

prune_cuda_status small_data_prepare(small_data *d, prune_cuda_ctx *ctx) {
  size_t need = 0;
  prune_cuda_status s = prune_cuda_prepare(ctx, d->in, 2, d->out, 1, &need);
  if (s || need <= d->workspace_size) return s;
  small_free(d->workspace);
  d->workspace = small_alloc(need);
  d->workspace_size = need;
  return PRUNE_CUDA_OK;
}

static double activate(double v, int act) {
  switch (act) {
  case PRUNE_CUDA_RELU:
    return v < 0 ? 0 : v;
  case PRUNE_CUDA_GELU_TANH:
    return v / (1 + exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
  default:
    return v;
  }
}

static double rounded(double v) {
  unsigned char half[2];
  mock_store(half, 0, MOCK_F16, v);
  return mock_load(half, 0, MOCK_F16);
}

/* Row r of y. */
static void reference(const small_data *d, const small_model *s, size_t r,
                      double *y) {
  const unsigned char *w = s->blob + SMALL_BLOB - s->model.weights_size;
  double h[SMALL_WIDTH], up[SMALL_HIDDEN];
  size_t id = (size_t)((const int64_t *)d->in[0].data)[r];
  for (size_t i = 0; i < SMALL_WIDTH; i++)
    h[i] = rounded(mock_load(w, id * SMALL_WIDTH + i, MOCK_F16) +
                   mock_load(d->in[1].data, r * SMALL_WIDTH + i, MOCK_F16));
  for (size_t j = 0; j < SMALL_HIDDEN; j++) {
    up[j] = s->no_bias ? 0 : mock_load(w + 7424, j, MOCK_F16);
    for (size_t k = 0; k < SMALL_DEPTH; k++)
      up[j] += h[k] * mock_load(w + 1280, j * SMALL_WIDTH + k, MOCK_F16);
    if (s->adds_up) up[j] += h[j];
    up[j] = rounded(activate(up[j], s->act));
  }
  for (size_t j = 0; j < SMALL_OUT; j++) {
    static const int kept[][2] = {{0, 1}, {0, 2}, {0, 3},
                                  {1, 2}, {1, 3}, {2, 3}};
    y[j] = mock_load(w + 9984, j, MOCK_F16);
    if (s->adds_down)
      y[j] += mock_load(d->in[1].data, r * SMALL_OUT + j, MOCK_F16);
    for (size_t g = 0; g < SMALL_HIDDEN / 4; g++)
      for (size_t i = 0; i < 2; i++)
        y[j] += up[4 * g + (size_t)kept[(j + g) % 6][i]] *
                mock_load(w + 7680, j * SMALL_WIDTH / 2 + 2 * g + i, MOCK_F16);
  }
}

int64_t small_data_wrong(const small_data *d, const small_model *s) {
  for (int64_t r = 0; r < d->rows; r++) {
    double y[SMALL_OUT];
    reference(d, s, (size_t)r, y);
    for (size_t j = 0; j < SMALL_OUT; j++) {
      double got =
          mock_load(d->out[0].data, (size_t)r * SMALL_OUT + j, MOCK_F16);
      /* Half a step of f16 here and one in `up` there. */
      if (!(fabs(got - y[j]) <= 4e-3 * (1 + fabs(y[j])))) return r;
    }
  }
  return -1;
}

void small_data_destroy(small_data *d) {
  for (int i = 0; i < 2; i++)
    small_free(d->in[i].data);
  small_free(d->out[0].data);
  small_free(d->workspace);
  memset(d, 0, sizeof *d);
}
