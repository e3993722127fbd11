#include "test/cuda/runtime/conv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/xxh64.h"
#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/model.h"

/* Places in the sizes. */
enum {
  Z_0,
  Z_1,
  Z_BLOCKS,
  Z_SHIFT,
  Z_PADS,
  Z_DIMS = Z_PADS + 3,
  Z_STEPS = Z_DIMS + 3 * CONV_RANK,
  NUM_SIZES = Z_STEPS + 3 * CONV_RANK
};
enum { DATA = 256 };

const conv_case conv_whole = {.type = CONV_F16,
                              .rank = 4,
                              .x = {3, 4, 6, 5},
                              .w = {6, 2, 3, 3},
                              .y = {3, 6, 6, 5},
                              .pads = {1, 1}};

static int64_t places[NUM_SIZES];

int64_t *conv_dim(int tensor, int i) {
  return &places[Z_DIMS + tensor * CONV_RANK + i];
}
int64_t *conv_step(int tensor, int i) {
  return &places[Z_STEPS + tensor * CONV_RANK + i];
}

static int bind(const int64_t *const *inputs, int64_t *symbols) {
  symbols[0] = inputs[0][0];
  return 0;
}

static int sizes(const int64_t *symbols, int64_t *out) {
  memcpy(out, places, sizeof places);
  if (symbols[0] < 0) return 0;
  out[Z_DIMS] = out[Z_DIMS + 2 * CONV_RANK] = symbols[0];
  out[Z_BLOCKS] = symbols[0];
  return 1;
}

static int mock_type(const conv_model *m) {
  return m->c.type == CONV_F16    ? MOCK_F16
         : m->c.type == CONV_BF16 ? MOCK_BF16
                                  : MOCK_F32;
}

static int64_t count(const int64_t *dims, int32_t rank) {
  int64_t n = 1;
  for (int32_t i = 0; i < rank; i++)
    n *= dims[i];
  return n;
}

static void make_places(const conv_case *c) {
  const int64_t *const dims[] = {c->x, c->w, c->y};
  memset(places, 0, sizeof places);
  places[Z_1] = 1;
  places[Z_SHIFT] = c->shift;
  for (int i = 0; i < 3; i++)
    places[Z_PADS + i] = c->pads[i];
  for (int t = 0; t < 3; t++) {
    int64_t step = 1;
    for (int32_t i = c->rank - 1; i >= 0; i--) {
      *conv_dim(t, i) = dims[t][i];
      *conv_step(t, i) = step;
      step *= dims[t][i] + (t == 0 && i == c->rank - 1 ? c->gap : 0);
    }
  }
}

/* Numbers of a few bits, so that sums are exact. */
static double number(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return ((double)(*seed >> 28) - 7.5) / 4;
}

static void make_blob(conv_model *m) {
  const prune_cuda_record *r = &m->record;
  unsigned seed = 9;
  for (int64_t i = 0; i < r->n; i++)
    mock_store(m->blob + DATA, (size_t)i, mock_type(m), number(&seed));
  m->model.weights_size = r->size;
  m->model.weights_hash = prn_xxh64(m->blob + DATA, r->size, 0);
  prune_cuda_blob head = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                          .version = PRUNE_CUDA_BLOB_VERSION,
                          .num_records = 1,
                          .data_offset = DATA,
                          .data_size = r->size,
                          .hash = m->model.weights_hash};
  prune_cuda_blob_record row = {
      prn_xxh64("w", 1, 0), r->kind, r->type, r->k, r->n, r->offset, r->size};
  memcpy(m->blob, &head, sizeof head);
  memcpy(m->blob + sizeof head, &row, sizeof row);
}

static void make_conv(conv_model *m) {
  const conv_case *c = &m->c;
  m->conv = (prune_cuda_conv){
      .type = c->type, .rank = c->rank, .operands = {0, 1, 2}};
  for (uint32_t t = 0; t < 3; t++)
    for (uint32_t i = 0; i < CONV_RANK; i++) {
      m->conv.dims[t][i] = Z_DIMS + t * CONV_RANK + i;
      m->conv.steps[t][i] = Z_STEPS + t * CONV_RANK + i;
    }
  for (uint32_t i = 0; i < 3; i++) {
    m->conv.pads[i] = Z_PADS + i;
    m->conv.strides[i] = c->strides[i] ? c->strides[i] : 1;
    m->conv.dilations[i] = c->dilations[i] ? c->dilations[i] : 1;
  }
  m->pointers[0] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, 0, Z_SHIFT};
  m->pointers[1] = (prune_cuda_pointer){PRUNE_CUDA_WEIGHTS, 0, Z_0};
  m->pointers[2] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, 1, Z_0};
}

static void make_model(conv_model *m) {
  static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};
  static const prune_cuda_image images[] = {{image, sizeof image, 0},
                                            {NULL, 0, 0}};
  static const prune_cuda_kernel kernels[] = {{"conv_own", 64, 0},
                                              {"conv_after", 64, 0}};
  static const uint32_t out_places[] = {
      Z_DIMS + 2 * CONV_RANK, Z_DIMS + 2 * CONV_RANK + 1,
      Z_DIMS + 2 * CONV_RANK + 2, Z_DIMS + 2 * CONV_RANK + 3,
      Z_DIMS + 2 * CONV_RANK + 4};
  static const char *const names[CONV_RANK] = {"images", "", "", "", ""};
  memcpy(m->in_dims, m->c.x, sizeof m->in_dims);
  memcpy(m->out_dims, m->c.y, sizeof m->out_dims);
  m->in_dims[0] = m->out_dims[0] = -1;
  m->in = (prune_cuda_value){"x", m->c.type, m->c.rank, m->in_dims, names};
  m->out = (prune_cuda_value){"y", m->c.type, m->c.rank, m->out_dims, names};
  m->model = (prune_cuda_model){.version = PRUNE_CUDA_MODEL,
                                .name = "conv",
                                .num_inputs = 1,
                                .num_outputs = 1,
                                .num_symbols = 1,
                                .num_sizes = NUM_SIZES,
                                .num_pointers = 6,
                                .inputs = &m->in,
                                .outputs = &m->out,
                                .bind = bind,
                                .sizes = sizes,
                                .arena = Z_0,
                                .output_dims = out_places,
                                .kernels = kernels,
                                .num_kernels = 2,
                                .steps = &m->step,
                                .num_steps = 1,
                                .records = &m->record,
                                .num_records = 1,
                                .images = images};
}

void conv_make(conv_model *m, const conv_case *c, bool whole) {
  memset(m, 0, sizeof *m);
  m->c = *c;
  make_places(c);
  make_conv(m);
  m->variants[0] = (prune_cuda_variant){.how = PRUNE_CUDA_CUDNN,
                                        .kernel = 1,
                                        .grid = {Z_BLOCKS, Z_1, Z_1},
                                        .rows = Z_1,
                                        .max_rows = INT64_MAX,
                                        .why = "cuDNN",
                                        .after = whole};
  m->variants[1] = m->variants[0];
  m->variants[1].how = PRUNE_CUDA_KERNEL;
  m->variants[1].kernel = 0;
  m->variants[1].why = "";
  m->variants[1].after = 0;
  m->step = (prune_cuda_step){.name = "it",
                              .op = "mem.conv",
                              .pointers = m->pointers,
                              .num_pointers = 3,
                              .variants = m->variants,
                              .num_variants = whole ? 2 : 1,
                              .conv = &m->conv};
  int64_t n = count(c->w, c->rank);
  m->record =
      (prune_cuda_record){.name = "w",
                          .kind = PRUNE_CUDA_DENSE,
                          .type = c->type,
                          .n = n,
                          .size = (uint64_t)n * mock_size(mock_type(m))};
  make_model(m);
  make_blob(m);
}

prune_cuda_status conv_open(const conv_model *m, const prune_cuda_options *o,
                            conv_context *out) {
  prune_cuda_sizes need;
  memset(out, 0, sizeof *out);
  prune_cuda_status s = prune_cuda_query(&m->model, o, &need);
  if (s) return s;
  out->host = aligned_alloc(256, (need.context + 255) / 256 * 256);
  out->weights = small_alloc(need.weights);
  const prune_cuda_memory mem = {out->host,    need.context, out->weights,
                                 need.weights, NULL,         0};
  s = prune_cuda_init(&m->model, o, m->blob, DATA + (size_t)m->record.size,
                      &mem, NULL, &out->ctx);
  if (s) conv_close(out);
  return s;
}

void conv_close(conv_context *c) {
  prune_cuda_destroy(c->ctx);
  small_free(c->weights);
  free(c->host);
  memset(c, 0, sizeof *c);
}

void conv_data_make(conv_data *d, const conv_model *m, int64_t images,
                    unsigned seed) {
  int32_t rank = m->c.rank;
  memset(d, 0, sizeof *d);
  memcpy(d->dims[0], m->c.x, sizeof d->dims[0]);
  memcpy(d->dims[1], m->c.y, sizeof d->dims[1]);
  d->dims[0][0] = d->dims[1][0] = images;
  size_t each = mock_size(mock_type(m));
  /* What lies behind rows, or in front of x, is within. */
  int64_t rows = count(d->dims[0], rank - 1);
  size_t n = (size_t)(rows * (m->c.x[rank - 1] + m->c.gap));
  size_t in = n * each + (size_t)m->c.shift;
  size_t out = (size_t)count(d->dims[1], rank) * each;
  d->in = (prune_cuda_tensor){in ? small_alloc(in) : NULL, in, d->dims[0]};
  d->out = (prune_cuda_tensor){out ? small_alloc(out) : NULL, out, d->dims[1]};
  for (size_t i = 0; i < n; i++)
    mock_store((unsigned char *)d->in.data + m->c.shift, i, mock_type(m),
               number(&seed));
}

prune_cuda_status conv_data_prepare(conv_data *d, prune_cuda_ctx *ctx) {
  size_t need = 0;
  prune_cuda_status s = prune_cuda_prepare(ctx, &d->in, 1, &d->out, 1, &need);
  if (s || need <= d->workspace_size) return s;
  small_free(d->workspace);
  d->workspace = small_alloc(need);
  d->workspace_size = need;
  return PRUNE_CUDA_OK;
}

prune_cuda_status conv_data_run(const conv_data *d, prune_cuda_ctx *ctx,
                                void *stream) {
  return prune_cuda_run(ctx, &d->in, 1, &d->out, 1, d->workspace,
                        d->workspace_size, stream);
}

static void take_apart(const int64_t *dims, int32_t rank, int64_t e,
                       int64_t *index) {
  for (int32_t i = rank - 1; i >= 0; i--) {
    index[i] = e % dims[i];
    e /= dims[i];
  }
}

/* Element `at` of y, as its definition has it. */
static double reference(const conv_data *d, const conv_model *m,
                        const int64_t *at) {
  const conv_case *c = &m->c;
  int64_t tap[CONV_RANK], all = count(c->w + 1, c->rank - 1);
  int64_t groups = c->x[1] / c->w[1], group = at[1] / (c->w[0] / groups);
  double sum = 0;
  for (int64_t k = 0; k < all; k++) {
    take_apart(c->w + 1, c->rank - 1, k, tap + 1);
    int64_t from = at[0] * c->x[1] + group * c->w[1] + tap[1];
    bool inside = true;
    for (int32_t i = 2; i < c->rank; i++) {
      int64_t y = at[i] * m->conv.strides[i - 2] +
                  tap[i] * m->conv.dilations[i - 2] - c->pads[i - 2];
      inside = inside && y >= 0 && y < c->x[i];
      from = from * (c->x[i] + (i == c->rank - 1 ? c->gap : 0)) + y;
    }
    if (inside)
      sum += mock_load((unsigned char *)d->in.data + c->shift, (size_t)from,
                       mock_type(m)) *
             mock_load(m->blob + DATA, (size_t)(at[1] * all + k), mock_type(m));
  }
  return sum;
}

bool conv_data_right(const conv_data *d, const conv_model *m) {
  int64_t at[CONV_RANK], n = count(d->dims[1], m->c.rank);
  for (int64_t e = 0; e < n; e++) {
    take_apart(d->dims[1], m->c.rank, e, at);
    double want = reference(d, m, at);
    if (m->step.num_variants > 1) want = want + 0.5 > 0 ? want + 0.5 : 0;
    double got = mock_load(d->out.data, (size_t)e, mock_type(m));
    double off = m->c.type == CONV_BF16 ? 8e-3 : 1e-3;
    if (!(fabs(got - want) <= off * (1 + fabs(want)))) return false;
  }
  return true;
}

void conv_data_destroy(conv_data *d) {
  small_free(d->in.data);
  small_free(d->out.data);
  small_free(d->workspace);
}
