/* libcublasLt.so.13: see mock.h. Column-major products in double precision,
 * with the rules that the real one has for what it is given. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mock.h"

enum {
  OK = 0,
  NOT_INITIALIZED = 1,
  ALLOC_FAILED = 3,
  INVALID = 7,
  NOT_SUPPORTED = 15,
  ALGOS = 4,
  HANDLE = 0x4c54,
  DESC = 0x4c55,
  LAYOUT = 0x4c56,
  PREFERENCE = 0x4c57
};

typedef struct owner {
  int magic;
} owner;
typedef struct desc {
  int magic, transposed_a, transposed_b, epilogue;
  const void *bias;
} desc;
typedef struct layout {
  int magic, type;
  uint64_t rows, cols;
  int64_t ld;
} layout;
typedef struct preference {
  int magic;
  uint64_t space;
  uint32_t align[4];
  uint32_t reductions;
} preference;
typedef struct algo {
  uint64_t data[8];
} algo;
typedef struct result {
  algo algo;
  size_t space;
  int state;
  float waves;
  int reserved[4];
} result;
typedef struct product {
  desc d;
  layout a, b, c, d_layout;
  float beta;
  const void *x, *y, *add;
  void *out;
} product;

/* By an algorithm's number. What is proposed first is not the best, and all but
 * the first number split sums. */
static const double micros[ALGOS] = {10, 7, 4, 9};
static const uint64_t order[ALGOS] = {1, 0, 2, 3};
static size_t space_of(uint64_t id) { return id * 1024; }

static int create(void **out, int magic, size_t size) {
  int *p = calloc(1, size);
  if (!p) return ALLOC_FAILED;
  *p = magic;
  *out = p;
  mock_handles(1);
  return OK;
}
static int destroy(void *p, int magic) {
  if (!p || *(int *)p != magic) return INVALID;
  free(p);
  mock_handles(-1);
  return OK;
}

MOCK_API size_t cublasLtGetVersion(void) {
  const char *v = getenv("PRUNE_MOCK_CUBLASLT");
  return v ? (size_t)strtoul(v, NULL, 10) : 130100;
}
MOCK_API int cublasLtCreate(void **out) {
  if (mock_refuses("cublasLtCreate")) return NOT_INITIALIZED;
  return create(out, HANDLE, sizeof(owner));
}
MOCK_API int cublasLtDestroy(void *h) { return destroy(h, HANDLE); }
MOCK_API int cublasLtMatmulDescCreate(void **out, int compute, int scale) {
  int e = create(out, DESC, sizeof(desc));
  if (e) return e;
  ((desc *)*out)->epilogue = 1;
  return compute == 68 && scale == MOCK_F32 ? OK : NOT_SUPPORTED;
}
MOCK_API int cublasLtMatmulDescDestroy(void *d) { return destroy(d, DESC); }
MOCK_API int cublasLtMatmulDescSetAttribute(void *handle, int key,
                                            const void *data, size_t size) {
  desc *d = handle;
  if (d->magic != DESC || size != (key == 8 ? sizeof(void *) : 4))
    return INVALID;
  switch (key) {
  case 3:
    memcpy(&d->transposed_a, data, size);
    return OK;
  case 4:
    memcpy(&d->transposed_b, data, size);
    return OK;
  case 7:
    memcpy(&d->epilogue, data, size);
    return OK;
  case 8:
    memcpy(&d->bias, data, size);
    return OK;
  default:
    return INVALID;
  }
}
MOCK_API int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows,
                                        uint64_t cols, int64_t ld) {
  int e = create(out, LAYOUT, sizeof(layout));
  if (e) return e;
  layout *l = *out;
  *l = (layout){LAYOUT, type, rows, cols, ld};
  return rows == 0 || cols == 0 || ld < (int64_t)rows ? INVALID : OK;
}
MOCK_API int cublasLtMatrixLayoutDestroy(void *l) { return destroy(l, LAYOUT); }
MOCK_API int cublasLtMatmulPreferenceCreate(void **out) {
  int e = create(out, PREFERENCE, sizeof(preference));
  if (e) return e;
  preference *p = *out;
  for (int i = 0; i < 4; i++)
    p->align[i] = 256;
  p->reductions = 7;
  return OK;
}
MOCK_API int cublasLtMatmulPreferenceDestroy(void *p) {
  return destroy(p, PREFERENCE);
}
MOCK_API int cublasLtMatmulPreferenceSetAttribute(void *handle, int key,
                                                  const void *data,
                                                  size_t size) {
  preference *p = handle;
  if (p->magic != PREFERENCE || size != (key == 1 ? 8 : 4)) return INVALID;
  if (key == 1)
    memcpy(&p->space, data, size);
  else if (key == 3)
    memcpy(&p->reductions, data, size);
  else if (key >= 5 && key <= 8)
    memcpy(&p->align[key - 5], data, size);
  else
    return INVALID;
  return OK;
}

/* Whether the operands make a product that is known. */
static int check_product(const void *h, const desc *d, const layout *a,
                         const layout *b, const layout *add, const layout *c) {
  if (add->magic != LAYOUT || add->rows != c->rows || add->cols != c->cols ||
      add->type != c->type)
    return INVALID;
  if (!h || ((const owner *)h)->magic != HANDLE || d->magic != DESC ||
      a->magic != LAYOUT || b->magic != LAYOUT || c->magic != LAYOUT)
    return INVALID;
  if (!d->transposed_a || d->transposed_b) return NOT_SUPPORTED;
  if (a->rows != b->rows || a->cols != c->rows || b->cols != c->cols ||
      a->type != b->type || a->type != c->type)
    return INVALID;
  if ((d->epilogue & 4) && !d->bias) return INVALID;
  if (d->epilogue & ~(1 | 2 | 4 | 32)) return NOT_SUPPORTED;
  return OK;
}

MOCK_API int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b,
                                            void *c, void *out_layout,
                                            void *preferred, int wanted,
                                            result *results, int *found) {
  const preference *p = preferred;
  *found = 0;
  mock_asked();
  if (mock_refuses("cublasLtMatmulAlgoGetHeuristic")) return NOT_SUPPORTED;
  if (mock_is_capturing()) {
    mock_mistake("a heuristic is asked for while a stream is captured");
    return NOT_SUPPORTED;
  }
  int e = check_product(h, d, a, b, c, out_layout);
  if (e || p->magic != PREFERENCE) return e ? e : INVALID;
  for (int i = 0; i < ALGOS && *found < wanted; i++) {
    uint64_t id = order[i];
    if (space_of(id) > p->space || (id && p->reductions == 0)) continue;
    if (p->align[0] < 16 || p->align[1] < 16 || p->align[2] < 16 ||
        p->align[3] < 16)
      continue;
    results[(*found)++] =
        (result){.algo = {{id, 77}}, .space = space_of(id), .waves = 1};
  }
  return OK;
}
MOCK_API int cublasLtMatmulAlgoCheck(void *h, void *d, void *a, void *b,
                                     void *c, void *out_layout, const algo *g,
                                     result *r) {
  int e = check_product(h, d, a, b, c, out_layout);
  if (e) return e;
  if (g->data[0] >= ALGOS || g->data[1] != 77) return NOT_SUPPORTED;
  *r = (result){.algo = *g, .space = space_of(g->data[0]), .waves = 1};
  return OK;
}

static double activate(double v, int epilogue) {
  if (epilogue & 2) return v < 0 ? 0 : v;
  if (epilogue & 32)
    return 0.5 * v *
           (1 + tanh(0.7978845608028654 * (v + 0.044715 * v * v * v)));
  return v;
}

static void multiply(const void *data) {
  const product *p = data;
  size_t lda = (size_t)p->a.ld, ldb = (size_t)p->b.ld, ldc = (size_t)p->c.ld,
         ldd = (size_t)p->d_layout.ld;
  for (size_t j = 0; j < p->c.cols; j++)
    for (size_t i = 0; i < p->c.rows; i++) {
      double sum = p->d.epilogue & 4 ? mock_load(p->d.bias, i, p->c.type) : 0;
      for (size_t k = 0; k < p->a.rows; k++)
        sum += mock_load(p->x, i * lda + k, p->a.type) *
               mock_load(p->y, j * ldb + k, p->b.type);
      if (p->beta > 0) sum += mock_load(p->add, j * ldc + i, p->c.type);
      mock_store(p->out, j * ldd + i, p->c.type, activate(sum, p->d.epilogue));
    }
}

static bool inside(const layout *l, const void *p) {
  size_t n = ((size_t)(l->cols - 1) * (size_t)l->ld + l->rows);
  return mock_is_device(p, n * mock_size(l->type));
}

MOCK_API int cublasLtMatmul(void *h, void *d, const void *alpha, const void *a,
                            void *la, const void *b, void *lb, const void *beta,
                            const void *c, void *lc, void *out, void *lo,
                            const algo *g, void *space, size_t space_size,
                            void *stream) {
  float one, zero; /* what c is taken times */
  int e = check_product(h, d, la, lb, lc, lo);
  memcpy(&one, alpha, sizeof one);
  memcpy(&zero, beta, sizeof zero);
  /* In place, there is one layout. */
  if (e || g->data[0] >= ALGOS || one < 1 || (c == out && lc != lo) ||
      (c != out && zero < 1))
    return e ? e : INVALID;
  const product p = {.d = *(const desc *)d,
                     .a = *(const layout *)la,
                     .b = *(const layout *)lb,
                     .c = *(const layout *)lc,
                     .d_layout = *(const layout *)lo,
                     .beta = zero,
                     .add = c,
                     .x = a,
                     .y = b,
                     .out = out};
  if (space_size < space_of(g->data[0]) ||
      (space_size && !mock_is_device(space, space_size)) || !inside(&p.a, a) ||
      !inside(&p.b, b) || !inside(&p.c, c) || !inside(&p.d_layout, out) ||
      ((uintptr_t)b | (uintptr_t)out | (uintptr_t)a | (uintptr_t)c) % 16) {
    mock_mistake("cublasLtMatmul of memory that is not its own");
    return INVALID;
  }
  return mock_enqueue(stream, multiply, &p, sizeof p, micros[g->data[0]]);
}
