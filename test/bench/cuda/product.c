/* Products as models of the runtime. A model has one step for each set of
 * operands; how it is done is an input's size, so that one context has all. */
#include <stdlib.h>
#include <string.h>

#include "test/bench/cuda/bench.h"

typedef struct tile {
  int64_t m, n;
  uint32_t threads, shared;
} tile;
enum {
#define TILE(name, m, n, threads, shared, blocks) TILE_##name,
#include "backends/cuda/device/tiles.def"
#undef TILE
};
static const tile tiles[] = {
#define TILE(name, m, n, threads, shared, blocks) {m, n, threads, shared},
#include "backends/cuda/device/tiles.def"
#undef TILE
};

typedef struct kernel_way {
  const char *name, *format;
  int tile, arch;
} kernel_way;
static const kernel_way ways[OWN_WAYS] = {
#define WAY(name, format, arch) {#name, #format, TILE_##name, arch},
#include "test/bench/cuda/ways.def"
#undef WAY
};

const char *bench_way_name(int w) {
  return w == WAY_CUBLASLT     ? "cuBLASLt by the runtime"
         : w == WAY_CUSPARSELT ? "cuSPARSELt by the runtime"
         : w == WAY_CUSPARSE   ? "cuSPARSE by the runtime"
                               : ways[w].name;
}

const char *bench_reason(int why) {
  static const char *const words[] = {
      [PCU_TAKEN] = "taken",       [PCU_ROWS] = "rows",
      [PCU_NEXT] = "another",      [PCU_SLOWER] = "slower",
      [PCU_ARCH] = "architecture", [PCU_SMALL] = "shared memory",
      [PCU_FLAGS] = "flags",       [PCU_MISSING] = "no library",
      [PCU_OLD] = "version",       [PCU_EPILOGUE] = "epilogue",
      [PCU_LAYOUT] = "layout",     [PCU_EXPAND] = "no kernel expands",
      [PCU_ROOM] = "workspace",    [PCU_GRID] = "grid",
      [PCU_UNASKED] = "unasked",   [PCU_REFUSED] = "refused"};
  bool known = why >= 0 && (size_t)why < sizeof words / sizeof *words;
  return known && words[why] ? words[why] : "unknown";
}

/* Symbols, and the sizes by their places. */
enum { S_M, S_N, S_K, S_SETS, S_STRIDE, S_WAY, NUM_SYMBOLS };
enum {
  Z_0,
  Z_1,
  Z_M,
  Z_N,
  Z_K,
  Z_SETS,
  Z_WAY,
  Z_GRID,
  Z_X_AT = Z_GRID + 2 * OWN_WAYS,
  Z_W_AT = Z_X_AT + MAX_SETS,
  Z_Y_AT = Z_W_AT + MAX_SETS,
  NUM_SIZES = Z_Y_AT + MAX_SETS
};
enum { ALIGN = PRUNE_CUDA_BLOB_ALIGN };

/* x[sets, m, k], and an array of no element whose sizes say the rest: n, the
 * stride of weights, the way, 0. */
static int bind(const int64_t *const *inputs, int64_t *s) {
  s[S_SETS] = inputs[0][0];
  s[S_M] = inputs[0][1];
  s[S_K] = inputs[0][2];
  s[S_N] = inputs[1][0];
  s[S_STRIDE] = inputs[1][1] * ALIGN;
  s[S_WAY] = inputs[1][2];
  return 0;
}

static int sizes(const int64_t *s, int64_t *out) {
  if (s[S_SETS] > MAX_SETS) return 0;
  memset(out, 0, NUM_SIZES * sizeof *out);
  out[Z_1] = 1;
  out[Z_M] = s[S_M];
  out[Z_N] = s[S_N];
  out[Z_K] = s[S_K];
  out[Z_SETS] = s[S_SETS];
  out[Z_WAY] = s[S_WAY];
  for (int w = 0; w < OWN_WAYS; w++) {
    const tile *t = &tiles[ways[w].tile];
    out[Z_GRID + 2 * w] = (s[S_N] + t->n - 1) / t->n;
    out[Z_GRID + 2 * w + 1] = (s[S_M] + t->m - 1) / t->m;
  }
  for (int64_t i = 0; i < s[S_SETS]; i++) {
    out[Z_X_AT + i] = i * s[S_M] * s[S_K] * 2;
    out[Z_W_AT + i] = i * s[S_STRIDE];
    out[Z_Y_AT + i] = i * s[S_M] * s[S_N] * 2;
  }
  return 1;
}

/* What the image that is linked is called. */
extern const prune_cuda_image bench_images[];

typedef struct tables {
  prune_cuda_kernel kernels[MAX_PRODUCT_WAYS];
  char names[MAX_PRODUCT_WAYS][64];
  prune_cuda_variant variants[MAX_PRODUCT_WAYS];
  prune_cuda_pointer pointers[MAX_SETS][3];
  prune_cuda_product products[MAX_SETS];
  prune_cuda_step steps[MAX_SETS];
  prune_cuda_record records[MAX_SETS];
  prune_cuda_value inputs[2], outputs[1];
} tables;

static const int64_t open_dims[] = {-1, -1, -1, -1};
static const char *const no_names[] = {"sets", "m", "n", "k"};
static const uint32_t output_dims[] = {Z_SETS, Z_M, Z_N};

static void add_kernel(bench_product *p, int w) {
  tables *t = p->tables;
  uint32_t i = p->num_ways, k = p->model.num_kernels++;
  const tile *of = &tiles[ways[w].tile];
  (void)snprintf(t->names[k], sizeof t->names[k], "bench_%s_%s", ways[w].name,
                 bench_type_name(p->w->type));
  t->kernels[k] = (prune_cuda_kernel){t->names[k], of->threads, of->shared};
  t->variants[i] = (prune_cuda_variant){
      .how = PRUNE_CUDA_KERNEL,
      .kernel = k,
      .grid = {(uint32_t)(Z_GRID + 2 * w), (uint32_t)(Z_GRID + 2 * w + 1), Z_1},
      .arch = ways[w].arch,
      .rows = Z_WAY,
      .min_rows = w,
      .max_rows = w,
      .why = ways[w].name};
  p->ways[p->num_ways++] = w;
}

static void add_library(bench_product *p, int w) {
  p->tables->variants[p->num_ways] =
      (prune_cuda_variant){.how = w == WAY_CUBLASLT     ? PRUNE_CUDA_CUBLASLT
                                  : w == WAY_CUSPARSELT ? PRUNE_CUDA_CUSPARSELT
                                                        : PRUNE_CUDA_CUSPARSE,
                           .grid = {Z_1, Z_1, Z_1},
                           .rows = Z_WAY,
                           .min_rows = w,
                           .max_rows = w,
                           .why = bench_way_name(w)};
  p->ways[p->num_ways++] = w;
}

static int format_of(const bench_weights *w) {
  return strcmp(w->format, "nk") == 0     ? PRUNE_CUDA_NK
         : strcmp(w->format, "nm24") == 0 ? PRUNE_CUDA_NM24
         : strcmp(w->format, "bsr") == 0  ? PRUNE_CUDA_BSR
                                          : PRUNE_CUDA_BITMAP;
}

static void add_ways(bench_product *p, int which) {
  int format = format_of(p->w);
  for (int w = 0; w < OWN_WAYS && which != LIBRARIES; w++)
    if (strcmp(ways[w].format, p->w->format) == 0) add_kernel(p, w);
  if (format == PRUNE_CUDA_NK) add_library(p, WAY_CUBLASLT);
  if (format == PRUNE_CUDA_BSR) add_library(p, WAY_CUSPARSE);
  if (format != PRUNE_CUDA_NM24) return;
  add_library(p, WAY_CUSPARSELT);
  p->tables->kernels[p->model.num_kernels++] =
      (prune_cuda_kernel){"bench" PRUNE_CUDA_EXPAND, 256, 0};
}

static void add_set(bench_product *p, int64_t set) {
  tables *t = p->tables;
  uint32_t i = (uint32_t)set;
  t->records[i] = (prune_cuda_record){.name = "w",
                                      .kind = format_of(p->w),
                                      .type = p->w->type,
                                      .k = p->w->k,
                                      .n = p->w->n,
                                      .offset = (uint64_t)(set * p->stride),
                                      .size = p->w->size};
  t->pointers[i][0] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, 0, Z_X_AT + i};
  t->pointers[i][1] = (prune_cuda_pointer){PRUNE_CUDA_WEIGHTS, 0, Z_W_AT + i};
  t->pointers[i][2] = (prune_cuda_pointer){PRUNE_CUDA_ARGUMENT, 2, Z_Y_AT + i};
  t->products[i] = (prune_cuda_product){.type = p->w->type,
                                        .format = format_of(p->w),
                                        .m = Z_M,
                                        .n = Z_N,
                                        .k = Z_K,
                                        .ldx = Z_K,
                                        .ldo = Z_N,
                                        .x = 0,
                                        .w = 1,
                                        .out = 2,
                                        .bias = -1,
                                        .act = PRUNE_CUDA_NO_ACT,
                                        .record = i};
  t->steps[i] = (prune_cuda_step){.name = "product",
                                  .op = "mem.matmul",
                                  .pointers = t->pointers[i],
                                  .num_pointers = 3,
                                  .variants = t->variants,
                                  .num_variants = p->num_ways,
                                  .product = &t->products[i]};
}

static void make_tables(bench_product *p, int which) {
  tables *t = p->tables = calloc(1, sizeof *t);
  if (!t) bench_fail("no memory");
  t->inputs[0] = (prune_cuda_value){"x", p->w->type, 3, open_dims, no_names};
  t->inputs[1] = (prune_cuda_value){"sizes", 3, 4, open_dims, no_names};
  t->outputs[0] = (prune_cuda_value){"y", p->w->type, 3, open_dims, no_names};
  p->model = (prune_cuda_model){.version = PRUNE_CUDA_MODEL,
                                .name = "bench",
                                .num_inputs = 2,
                                .num_outputs = 1,
                                .num_symbols = NUM_SYMBOLS,
                                .num_sizes = NUM_SIZES,
                                .num_pointers = 4,
                                .inputs = t->inputs,
                                .outputs = t->outputs,
                                .bind = bind,
                                .sizes = sizes,
                                .arena = Z_0,
                                .output_dims = output_dims,
                                .kernels = t->kernels,
                                .steps = t->steps,
                                .num_steps = (uint32_t)p->sets,
                                .records = t->records,
                                .num_records = (uint32_t)p->sets,
                                .images = bench_images};
  add_ways(p, which);
  for (int64_t i = 0; i < p->sets; i++)
    add_set(p, i);
}

/* The same weights `sets` times, each a record. */
static unsigned char *make_blob(bench_product *p, size_t *size) {
  size_t head = sizeof(prune_cuda_blob) +
                (size_t)p->sets * sizeof(prune_cuda_blob_record);
  size_t at = (head + ALIGN - 1) / ALIGN * ALIGN;
  size_t data = (size_t)(p->sets * p->stride);
  unsigned char *blob = aligned_alloc(ALIGN, at + data);
  if (!blob) bench_fail("no memory for %zu bytes of weights", data);
  memset(blob, 0, at);
  for (int64_t i = 0; i < p->sets; i++) {
    unsigned char *to = blob + at + i * p->stride;
    memcpy(to, p->w->packed, p->w->size);
    memset(to + p->w->size, 0, (size_t)p->stride - p->w->size);
    const prune_cuda_record *r = &p->tables->records[i];
    prune_cuda_blob_record row = {pcu_xxh64(r->name, strlen(r->name), 0),
                                  r->kind,
                                  r->type,
                                  r->k,
                                  r->n,
                                  r->offset,
                                  r->size};
    memcpy(blob + sizeof(prune_cuda_blob) + (size_t)i * sizeof row, &row,
           sizeof row);
  }
  p->model.weights_size = data;
  p->model.weights_hash = pcu_xxh64(blob + at, data, 0);
  prune_cuda_blob b = {.magic = PRUNE_CUDA_BLOB_MAGIC,
                       .version = PRUNE_CUDA_BLOB_VERSION,
                       .num_records = (uint32_t)p->sets,
                       .data_offset = at,
                       .data_size = data,
                       .hash = p->model.weights_hash};
  memcpy(blob, &b, sizeof b);
  *size = at + data;
  return blob;
}

static void note(void *user, int level, const char *line) {
  (void)user;
  (void)fprintf(stderr, "%s%s\n", level ? "" : "error: ", line);
}

void bench_product_make(bench_product *p, const bench_weights *w, int64_t sets,
                        int which, bench_symbol *symbol) {
  enum { PLANS = 64 };
  prune_cuda_options o = {.size = sizeof o,
                          .abi = PRUNE_CUDA_ABI,
                          .plans = PLANS,
                          .symbol = symbol,
                          .log = note};
  prune_cuda_sizes need;
  size_t size;
  *p = (bench_product){.w = w, .sets = sets};
  if (sets < 1 || sets > MAX_SETS) bench_fail("%lld sets", (long long)sets);
  p->stride = (int64_t)((w->size + ALIGN - 1) / ALIGN * ALIGN);
  make_tables(p, which);
  unsigned char *blob = make_blob(p, &size);
  bench_must("query", prune_cuda_query(&p->model, &o, &need));
  p->host = aligned_alloc(ALIGN, (need.context + ALIGN - 1) / ALIGN * ALIGN);
  if (!p->host) bench_fail("no memory");
  p->device = dev_alloc(need.weights);
  p->scratch = need.scratch ? dev_alloc(need.scratch) : NULL;
  const prune_cuda_memory mem = {p->host,      need.context, p->device,
                                 need.weights, p->scratch,   need.scratch};
  bench_must("init", prune_cuda_init(&p->model, &o, blob, size, &mem,
                                     dev_stream(), &p->ctx));
  dev_wait();
  free(blob);
}

/* Tensors for so many rows; what there was is kept if it is large enough. */
static void make_room(bench_product *p, int64_t m) {
  size_t x = (size_t)(p->sets * m * p->w->k * 2);
  size_t y = (size_t)(p->sets * m * p->w->n * 2);
  p->m = m;
  if (x > p->x_size) {
    dev_free(p->x);
    p->x = dev_alloc(p->x_size = x);
  }
  if (y > p->y_size) {
    dev_free(p->y);
    p->y = dev_alloc(p->y_size = y);
  }
  const int64_t dims[2][4] = {{p->sets, m, p->w->k},
                              {p->w->n, p->stride / ALIGN}};
  memcpy(p->dims, dims, sizeof dims);
  p->in[0] = (prune_cuda_tensor){p->x, x, p->dims[0]};
  p->in[1] = (prune_cuda_tensor){NULL, 0, p->dims[1]};
  p->out[0] = (prune_cuda_tensor){p->y, y, p->dims[2]};
}

float *bench_product_rows(bench_product *p, int64_t m, uint32_t seed) {
  make_room(p, m);
  size_t n = (size_t)(m * p->w->k);
  float *x = malloc(n * sizeof *x);
  unsigned char *stored = malloc(2 * n);
  if (!x || !stored) bench_fail("no memory");
  bench_values(x, n, seed);
  bench_store(p->w->type, x, n, stored);
  for (int64_t i = 0; i < p->sets; i++)
    dev_put((unsigned char *)p->x + 2 * n * (size_t)i, stored, 2 * n);
  free(stored);
  return x;
}

bool bench_product_way(bench_product *p, int way, int *why, int *code) {
  int64_t symbols[NUM_SYMBOLS];
  size_t need;
  *why = PCU_REFUSED;
  *code = 0;
  p->dims[1][2] = way;
  /* Where nothing else is left that could do it, this fails. */
  if (prune_cuda_prepare(p->ctx, p->in, 2, p->out, 1, &need)) return false;
  if (need > p->workspace_size) {
    dev_free(p->workspace);
    p->workspace = dev_alloc(need);
    p->workspace_size = need;
  }
  bench_must("bind", pcu_bind(p->ctx, p->in, 2, symbols));
  const pcu_slot *slot = pcu_find(p->ctx, symbols, PCU_READY);
  for (uint32_t i = 0; i < p->num_ways; i++) {
    if (p->ways[i] != way) continue;
    *why = slot->choices[0].reasons[i];
    *code = slot->choices[0].codes[i];
    return slot->choices[0].variant == i;
  }
  return false;
}

void bench_product_tune(bench_product *p, uint32_t budget_ms) {
  bench_must("tune",
             prune_cuda_tune(p->ctx, p->in, 2, p->out, 1, p->workspace,
                             p->workspace_size, dev_stream(), budget_ms));
}

void bench_product_run(void *user) {
  bench_product *p = user;
  bench_must("run", prune_cuda_run(p->ctx, p->in, 2, p->out, 1, p->workspace,
                                   p->workspace_size, dev_stream()));
}

const unsigned char *bench_product_weights(const bench_product *p,
                                           int64_t set) {
  return p->ctx->weights + set * p->stride;
}

void bench_product_free(bench_product *p) {
  dev_wait();
  prune_cuda_destroy(p->ctx);
  free(p->host);
  dev_free(p->device);
  dev_free(p->scratch);
  dev_free(p->x);
  dev_free(p->y);
  dev_free(p->workspace);
  free(p->tables);
  *p = (bench_product){0};
}
