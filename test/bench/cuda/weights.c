/* Random weights of a given sparsity, packed by the compiler's own code. */
#include <stdlib.h>
#include <string.h>

#include "ir/support/parallel.h"
#include "test/bench/cuda/bench.h"
#include "test/cuda/kernels/pack.h"
#include "test/cuda/mock/mock.h"

enum { CHUNK_ROWS = 64, THREADS = 8 };

const char *bench_type_name(int type) { return type == F16 ? "f16" : "bf16"; }

static uint32_t next(uint32_t *state, uint32_t below) {
  *state = *state * 1664525u + 1013904223u;
  return (uint32_t)((uint64_t)*state * below >> 32);
}

/* Never 0, so that a weight that is there is there. */
static float value(uint32_t *state) {
  int v = (int)next(state, 254) - 127;
  return (float)(v < 0 ? v : v + 1) / 64;
}

void bench_values(float *out, size_t n, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (size_t i = 0; i < n; i++)
    out[i] = value(&state);
}

static int mock_type(int type) { return type == F16 ? MOCK_F16 : MOCK_BF16; }

double bench_load(int type, const void *p, size_t i) {
  return mock_load(p, i, mock_type(type));
}

typedef struct filling {
  bench_weights *w;
  bool odd;
  uint32_t seed;
} filling;

/* Whether the block of (row, i) is there. */
static bool block_there(const filling *f, int64_t row, int64_t i) {
  const bench_weights *w = f->w;
  uint32_t at = (uint32_t)(row / w->block * (w->k / w->block + 1));
  uint32_t state = (f->seed + at + (uint32_t)(i / w->block)) * 2654435761u + 7;
  (void)next(&state, 100);
  return next(&state, 100) >= (uint32_t)w->zeros;
}

static void fill_row(const filling *f, int64_t row) {
  const bench_weights *w = f->w;
  uint32_t state = (f->seed + (uint32_t)row) * 2654435761u + 1;
  bool pairs = strcmp(w->format, "nm24") == 0;
  uint32_t first = 0, second = 0;
  float *to = w->dense + row * w->k;
  for (int64_t i = 0; i < w->k; i++) {
    bool there = w->block ? block_there(f, row, i)
                          : next(&state, 100) >= (uint32_t)w->zeros;
    if (pairs && i % 4 == 0) {
      first = next(&state, 4);
      second = (first + 1 + next(&state, 3)) % 4;
    }
    if (pairs)
      there = (uint32_t)(i % 4) == first || (uint32_t)(i % 4) == second;
    if (f->odd && row % 7 == 5) there = false;
    to[i] = there ? value(&state) : f->odd && next(&state, 2) == 0 ? -0.0f : 0;
  }
}

static void fill_rows(void *user, size_t chunk, size_t begin, size_t end) {
  (void)chunk;
  for (size_t row = begin; row < end; row++)
    fill_row(user, (int64_t)row);
}

bench_weights bench_weights_make(const char *format, int type, int zeros,
                                 int block, int64_t n, int64_t k, bool odd,
                                 uint32_t seed) {
  bench_weights w = {.format = format,
                     .type = type,
                     .zeros = zeros,
                     .block = block,
                     .n = n,
                     .k = k};
  filling f = {&w, odd, seed};
  w.dense = malloc((size_t)(n * k) * sizeof *w.dense);
  if (!w.dense) bench_fail("no memory for weights");
  prn_parallel_for(THREADS, (size_t)n, CHUNK_ROWS, fill_rows, &f);
  w.packed = test_pack(format, type == F16 ? TEST_F16 : TEST_BF16, w.dense, k,
                       n, &w.size);
  if (!w.packed) bench_fail("weights are not what %s takes", format);
  return w;
}

void bench_weights_free(bench_weights *w) {
  free(w->dense);
  free(w->packed);
  *w = (bench_weights){0};
}

typedef struct storing {
  int type;
  const float *from;
  void *to;
} storing;

static void store_some(void *user, size_t chunk, size_t begin, size_t end) {
  const storing *s = user;
  (void)chunk;
  for (size_t i = begin; i < end; i++)
    mock_store(s->to, i, mock_type(s->type), (double)s->from[i]);
}

void bench_store(int type, const float *v, size_t n, void *out) {
  storing s = {type, v, out};
  prn_parallel_for(THREADS, n, 1 << 16, store_some, &s);
}
