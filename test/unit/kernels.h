/* What the tests of generated kernels share: code run in this process, memory
 * that ends at a page nobody may touch, and matrices with awkward zeros. */
#ifndef PRN_TEST_UNIT_KERNELS_H
#define PRN_TEST_UNIT_KERNELS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the four above first */
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/llvm/cg.h"
#include "backends/llvm/jit.h"
#include "ir/pack/pack.h"

/* ---- code ---- */

typedef struct prn_machine {
  prn_diag_sink sink;
  prn_target *target;
  prn_jit *jit;
  int made; /* for names */
} prn_machine;

static const char *const prn_levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};

static inline bool prn_level_runs_here(const char *level) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (strcmp(level, "x86-64-v2") == 0) return __builtin_cpu_supports("sse4.1");
  if (strcmp(level, "x86-64-v3") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  (void)level;
  return false;
#endif
}

static inline void prn_machine_open(prn_machine *m, const char *level) {
  memset(m, 0, sizeof *m);
  prn_target_spec spec = {.march = level};
  assert_int_equal(prn_target_create(&m->sink, &spec, &m->target), PRN_OK);
  assert_int_equal(prn_jit_create(&m->sink, &m->jit), PRN_OK);
}

static inline void prn_machine_close(prn_machine *m) {
  prn_jit_destroy(m->jit);
  prn_target_destroy(m->target);
  prn_diag_sink_destroy(&m->sink);
}

/* A void function of n pointers, being filled. */
static inline prn_cg *prn_machine_begin(prn_machine *m, char name[32],
                                        unsigned n) {
  snprintf(name, 32, "kernel%d", m->made++);
  prn_cg *g = prn_cg_create(m->target, name);
  prn_t params[8];
  assert_true(n <= PRN_COUNT(params));
  for (unsigned i = 0; i < n; i++)
    params[i] = g->ptr;
  prn_cg_begin(g, name, g->none, params, n);
  LLVMSetLinkage(g->fn, LLVMExternalLinkage);
  return g;
}

/* Ends that function; its address. Destroys g. */
static inline uintptr_t prn_machine_end(prn_machine *m, prn_cg *g,
                                        const char *name) {
  LLVMBuildRetVoid(g->b);
  prn_strbuf object = {0};
  assert_int_equal(
      prn_target_emit(&m->sink, m->target, g->mod, PRN_EMIT_OBJECT, &object),
      PRN_OK);
  assert_int_equal(prn_jit_add(m->jit, &m->sink, prn_strbuf_view(&object)),
                   PRN_OK);
  prn_strbuf_destroy(&object);
  prn_cg_destroy(g);
  uintptr_t address = 0;
  assert_int_equal(prn_jit_find(m->jit, &m->sink, name, &address), PRN_OK);
  return address;
}

/* ---- memory ---- */

typedef struct prn_guarded {
  char *pages;
  size_t size;
  void *p; /* `bytes` of it, then no more */
} prn_guarded;

static inline prn_guarded prn_guarded_alloc(size_t bytes) {
  size_t page = 4096, size = (bytes + page - 1) / page * page;
  prn_guarded m = {.size = size + page};
  m.pages = mmap(NULL, m.size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(m.pages != MAP_FAILED);
  assert_int_equal(mprotect(m.pages + size, page, PROT_NONE), 0);
  m.p = m.pages + size - bytes;
  return m;
}

static inline void prn_guarded_free(prn_guarded *m) {
  munmap(m->pages, m->size);
}

/* ---- matrices ---- */

static inline uint32_t prn_noise(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 8;
}

static inline float prn_noise_f32(uint32_t *state) {
  return (float)prn_noise(state) * 0x1p-24f - 0.5f;
}

typedef enum prn_zeros {
  PRN_ZEROS_NONE,
  PRN_ZEROS_HALF,
  PRN_ZEROS_MOST,  /* 9 of 10 */
  PRN_ZEROS_RUNS,  /* whole results and whole steps of the depth */
  PRN_ZEROS_BUT_1, /* one element is left */
  PRN_ZEROS_ALL,
  PRN_ZEROS_COUNT,
} prn_zeros;

static inline bool prn_keeps(prn_zeros z, int64_t i, int64_t j, int64_t k,
                             int64_t n, uint32_t *state) {
  uint32_t r = prn_noise(state);
  switch (z) {
  case PRN_ZEROS_NONE:
    return true;
  case PRN_ZEROS_HALF:
    return r % 2;
  case PRN_ZEROS_MOST:
    return r % 10 == 0;
  case PRN_ZEROS_RUNS:
    return j % 7 > 2 && i % 5 && r % 4;
  case PRN_ZEROS_BUT_1:
    return i == k - 1 && j == n / 2;
  default:
    return false;
  }
}

/* w[n][k]: what is kept, and its tensor, stored [n, k] or [k, n], whose data
 * has no zeros but whose mask has. */
static inline const prn_tensor *prn_matrix_make(prn_ctx *ctx, int64_t k,
                                                int64_t n, bool nk, prn_zeros z,
                                                float *w) {
  size_t count = (size_t)(k * n);
  float *data = malloc(count * sizeof *data + 1);
  unsigned char *mask = calloc(count / 8 + 1, 1);
  uint32_t state = (uint32_t)(z * 977 + k * 31 + n);
  assert_true(data && mask);
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < k; i++) {
      size_t at = (size_t)(nk ? j * k + i : i * n + j);
      bool keep = prn_keeps(z, i, j, k, n, &state);
      data[at] = prn_noise_f32(&state) + 0.001f;
      if (keep) mask[at / 8] |= (unsigned char)(1u << at % 8);
      w[j * k + i] = keep ? data[at] : 0;
    }
  const int64_t dims[2] = {nk ? n : k, nk ? k : n};
  prn_tensor *t = prn_tensor_clone(
      ctx,
      prn_tensor_from_data(ctx, prn_type_static(ctx, PRN_F32, 2, dims), data));
  t->mask = prn_blob_copy(ctx, mask, count / 8 + 1);
  free(mask);
  free(data);
  return t;
}

typedef struct prn_packed {
  prn_guarded memory;
  size_t at, size;
} prn_packed;

static inline void prn_packed_put(void *user, const void *data, size_t size) {
  prn_packed *p = user;
  assert_true(size <= p->size - p->at);
  memcpy((char *)p->memory.p + p->at, data, size);
  p->at += size;
}

/* The bytes of a packed matrix, exactly as many as its format says. */
static inline prn_packed prn_packed_make(const char *format,
                                         const prn_packing *p) {
  const prn_pack_format *f = prn_pack_find(prn_str_from(format));
  int64_t bytes = 0;
  assert_non_null(f);
  assert_true(f->size(p, &bytes));
  prn_packed out = {.memory = prn_guarded_alloc((size_t)bytes),
                    .size = (size_t)bytes};
  f->write(p, prn_packed_put, &out);
  assert_int_equal(out.at, bytes);
  return out;
}

/* sqrt(sum (got - want)^2 / sum want^2) */
typedef struct prn_error {
  double wrong, all;
} prn_error;

static inline void prn_error_add(prn_error *e, double got, double want) {
  e->wrong += (got - want) * (got - want);
  e->all += want * want;
}

static inline double prn_error_relative(const prn_error *e) {
  return sqrt(e->all > 0 ? e->wrong / e->all : e->wrong);
}

#endif
