#include "test/cuda/runtime/single.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ir/support/xxh64.h"
#include "test/cuda/mock/mock.h"
#include "test/cuda/runtime/model.h"

enum { DATA = 256 };

int64_t single_sizes[SINGLE_SIZES];
bool single_is_open[SINGLE_SIZES];

int64_t single_count(const int64_t *dims, int32_t rank) {
  int64_t n = 1;
  for (int32_t i = 0; i < rank; i++)
    n *= dims[i];
  return n;
}

int single_type(int32_t onnx) {
  return onnx == SINGLE_F16    ? MOCK_F16
         : onnx == SINGLE_BF16 ? MOCK_BF16
                               : MOCK_F32;
}

single_tensor single_rows(int32_t type, int32_t rank, const int64_t *dims) {
  single_tensor t = {.type = type, .rank = rank};
  int64_t step = 1;
  for (int32_t i = rank - 1; i >= 0; i--) {
    t.dims[i] = dims[i];
    t.steps[i] = step;
    step *= dims[i];
  }
  return t;
}

void single_forget_sizes(void) {
  memset(single_sizes, 0, sizeof single_sizes);
  memset(single_is_open, 0, sizeof single_is_open);
  single_sizes[SINGLE_ONE] = 1;
  single_is_open[SINGLE_OPEN] = true;
}

static int bind(const int64_t *const *inputs, int64_t *symbols) {
  symbols[0] = inputs[0][0];
  return 0;
}

static int sizes(const int64_t *symbols, int64_t *out) {
  for (int i = 0; i < SINGLE_SIZES; i++)
    out[i] = single_is_open[i] ? symbols[0] : single_sizes[i];
  return symbols[0] >= 0;
}

/* Numbers of a few bits. */
static double number(unsigned *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return ((double)(*seed >> 28) - 7.5) / 4;
}

/* ---- tables ---- */

static void make_weights(single *m) {
  int type = single_type(m->weights.type);
  int64_t n =
      m->weights.rank ? single_count(m->weights.dims, m->weights.rank) : 0;
  unsigned seed = 9;
  m->record = (prune_cuda_record){.name = "w",
                                  .kind = PRUNE_CUDA_DENSE,
                                  .type = m->weights.type,
                                  .n = n,
                                  .size = (uint64_t)n * mock_size(type)};
  const prune_cuda_record *r = &m->record;
  for (int64_t i = 0; i < n; i++)
    mock_store(m->blob + DATA, (size_t)i, type, number(&seed));
  prune_cuda_blob head = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                          .version = PRUNE_CUDA_BLOB_VERSION,
                          .num_records = n > 0,
                          .data_offset = DATA,
                          .data_size = r->size,
                          .hash = prn_xxh64(m->blob + DATA, r->size, 0)};
  prune_cuda_blob_record row = {
      prn_xxh64("w", 1, 0), r->kind, r->type, r->k, r->n, r->offset, r->size};
  memcpy(m->blob, &head, sizeof head);
  if (n) memcpy(m->blob + sizeof head, &row, sizeof row);
}

static prune_cuda_value value(single *m, uint32_t i, const single_tensor *t) {
  static const char *const names[SINGLE_RANK] = {"n", "", "", "", "", ""};
  static const char *const inputs[] = {"x", "k", "v", "m", "y"};
  memcpy(m->dims[i], t->dims, sizeof m->dims[i]);
  if (i == 0 || i == m->num_inputs) m->dims[i][0] = -1;
  return (prune_cuda_value){inputs[i == m->num_inputs ? SINGLE_INPUTS : i],
                            t->type, t->rank, m->dims[i], names};
}

static void make_model(single *m, const char *name,
                       const prune_cuda_kernel *kernels, uint32_t num_kernels) {
  static const unsigned char image[] = {0x50, 0xed, 0x55, 0xba};
  static const prune_cuda_image images[] = {{image, sizeof image, 0},
                                            {NULL, 0, 0}};
  for (uint32_t i = 0; i < m->num_inputs; i++)
    m->ins[i] = value(m, i, &m->in[i]);
  m->outs = value(m, m->num_inputs, &m->out);
  m->model = (prune_cuda_model){.version = PRUNE_CUDA_MODEL,
                                .name = name,
                                .num_inputs = m->num_inputs,
                                .num_outputs = 1,
                                .num_symbols = 1,
                                .num_sizes = SINGLE_SIZES,
                                .num_pointers = SINGLE_INPUTS + 2,
                                .inputs = m->ins,
                                .outputs = &m->outs,
                                .bind = bind,
                                .sizes = sizes,
                                .arena = SINGLE_ZERO,
                                .output_dims = m->out_places,
                                .kernels = kernels,
                                .num_kernels = num_kernels,
                                .steps = &m->step,
                                .num_steps = 1,
                                .records = &m->record,
                                .num_records = m->weights.rank > 0,
                                .images = images};
  m->model.weights_size = m->record.size;
  m->model.weights_hash = prn_xxh64(m->blob + DATA, m->record.size, 0);
}

/* Pointers to inputs, weights, the output; how many. */
static uint32_t point(single *m) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->num_inputs; i++)
    m->pointers[n++] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, i,
                                            i ? SINGLE_ZERO : SINGLE_SHIFT};
  if (m->weights.rank)
    m->pointers[n++] = (prune_cuda_pointer){PRUNE_CUDA_WEIGHTS, 0, SINGLE_ZERO};
  m->pointers[n++] =
      (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, m->num_inputs, SINGLE_ZERO};
  return n;
}

void single_make(single *m, const char *name, const char *op, uint8_t how,
                 single_ways ways) {
  static char names[2][32];
  static const prune_cuda_kernel kernels[] = {{names[0], 64, 0},
                                              {names[1], 64, 0}};
  (void)snprintf(names[0], sizeof names[0], "%s_own", name);
  (void)snprintf(names[1], sizeof names[1], "%s_after", name);
  m->variants[0] =
      (prune_cuda_variant){.how = how,
                           .kernel = ways == SINGLE_AFTER,
                           .grid = {SINGLE_OPEN, SINGLE_ONE, SINGLE_ONE},
                           .rows = SINGLE_ONE,
                           .max_rows = INT64_MAX,
                           .why = "cuDNN",
                           .after = ways == SINGLE_AFTER};
  m->variants[1] = m->variants[0];
  m->variants[1].how = PRUNE_CUDA_KERNEL;
  m->variants[1].kernel = 0;
  m->variants[1].why = "";
  m->variants[1].after = 0;
  m->step = (prune_cuda_step){.name = "it",
                              .op = op,
                              .pointers = m->pointers,
                              .num_pointers = point(m),
                              .variants = m->variants,
                              .num_variants = ways == SINGLE_ALONE ? 1 : 2};
  make_weights(m);
  make_model(m, name, kernels, (uint32_t)ways);
}

/* ---- contexts ---- */

prune_cuda_status single_open(const single *m, const prune_cuda_options *o,
                              single_context *out) {
  prune_cuda_sizes need;
  memset(out, 0, sizeof *out);
  prune_cuda_status s = prune_cuda_query(&m->model, o, &need);
  if (s) return s;
  out->host = aligned_alloc(256, (need.context + 255) / 256 * 256);
  out->weights = need.weights ? small_alloc(need.weights) : NULL;
  const prune_cuda_memory mem = {out->host,    need.context, out->weights,
                                 need.weights, NULL,         0};
  s = prune_cuda_init(&m->model, o, m->blob, DATA + (size_t)m->record.size,
                      &mem, NULL, &out->ctx);
  if (s) single_close(out);
  return s;
}

void single_close(single_context *c) {
  prune_cuda_destroy(c->ctx);
  if (c->weights) small_free(c->weights);
  free(c->host);
  memset(c, 0, sizeof *c);
}

/* ---- tensors ---- */

/* Elements of memory with so many of the first dimension. */
static size_t extent(const single_tensor *t, int64_t first) {
  int64_t last = 0;
  for (int32_t i = 0; i < t->rank; i++) {
    int64_t n = i ? t->dims[i] : first;
    if (n == 0) return 0;
    last += (n - 1) * t->steps[i];
  }
  return (size_t)last + 1;
}

static prune_cuda_tensor tensor(const single_tensor *t, int64_t first,
                                size_t shift, int64_t *dims) {
  size_t size = extent(t, first) * mock_size(single_type(t->type));
  memcpy(dims, t->dims, sizeof t->dims);
  dims[0] = first;
  if (size) size += shift;
  return (prune_cuda_tensor){size ? small_alloc(size) : NULL, size, dims};
}

void single_data_make(single_data *d, const single *m, int64_t open,
                      unsigned seed) {
  memset(d, 0, sizeof *d);
  d->num_inputs = m->num_inputs;
  for (uint32_t i = 0; i < m->num_inputs; i++) {
    const single_tensor *t = &m->in[i];
    size_t shift = i ? 0 : (size_t)single_sizes[SINGLE_SHIFT];
    int64_t first = m->dims[i][0] < 0 ? open : t->dims[0];
    d->in[i] = tensor(t, first, shift, d->dims[i]);
    for (size_t e = 0; e < extent(t, first); e++)
      mock_store((unsigned char *)d->in[i].data + shift, e,
                 single_type(t->type), number(&seed));
  }
  d->out = tensor(&m->out, open, 0, d->dims[m->num_inputs]);
}

prune_cuda_status single_data_prepare(single_data *d, prune_cuda_ctx *ctx) {
  size_t need = 0;
  prune_cuda_status s =
      prune_cuda_prepare(ctx, d->in, d->num_inputs, NULL, 0, &need);
  if (s || need <= d->workspace_size) return s;
  small_free(d->workspace);
  d->workspace = small_alloc(need);
  d->workspace_size = need;
  return PRUNE_CUDA_OK;
}

prune_cuda_status single_data_run(const single_data *d, prune_cuda_ctx *ctx,
                                  void *stream) {
  return prune_cuda_run(ctx, d->in, d->num_inputs, &d->out, 1, d->workspace,
                        d->workspace_size, stream);
}

void single_data_destroy(single_data *d) {
  for (uint32_t i = 0; i < d->num_inputs; i++)
    small_free(d->in[i].data);
  small_free(d->out.data);
  small_free(d->workspace);
}
