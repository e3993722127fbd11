/* libcusparse.so.12: see mock.h. Block compressed rows times a dense matrix.
 * What it refuses to describe is what 12.6.3 refuses, which needs no device for
 * that; what a product must be is what its messages say. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mock.h"

enum {
  OK = 0,
  NOT_INITIALIZED = 1,
  ALLOC_FAILED = 2,
  INVALID = 3,
  NOT_SUPPORTED = 10,
  HANDLE = 0x5350,
  BLOCKS = 0x5351,
  DENSE = 0x5352,
  INDEX_32 = 2,
  COL = 1,
  ROW = 2,
  BSR_ALG1 = 14,
  SPACE = 512
};

typedef struct handle {
  int magic;
  void *stream;
  pthread_t owner; /* who has set the stream */
} handle;
typedef struct blocks {
  int magic, type, order;
  int64_t rows, cols, count, side;
  const void *starts, *indices, *values;
} blocks;
typedef struct dense {
  int magic, type, order;
  int64_t rows, cols, ld;
  void *values;
  pthread_t owner; /* who has set the values */
} dense;
typedef struct product {
  blocks a;
  dense b, c;
} product;

static int bad(const char *what) {
  mock_mistake("cuSPARSE: %s", what);
  return INVALID;
}
static int make(void **out, const void *data, size_t size) {
  *out = malloc(size);
  if (!*out) return ALLOC_FAILED;
  memcpy(*out, data, size);
  mock_handles(1);
  return OK;
}
static bool is(const void *p, int magic) {
  return p && *(const int *)p == magic;
}
static int drop(void *p, int magic) {
  if (!is(p, magic)) return bad("giving back what is none");
  *(int *)p = 0;
  free(p);
  mock_handles(-1);
  return OK;
}

MOCK_API int cusparseGetProperty(int which, int *value) {
  const char *text = getenv("PRUNE_MOCK_CUSPARSE");
  char *at;
  long v[3];
  if (!text) text = "12.6.3";
  v[0] = strtol(text, &at, 10);
  v[1] = *at ? strtol(at + 1, &at, 10) : 0;
  v[2] = *at ? strtol(at + 1, &at, 10) : 0;
  if (which < 0 || which > 2) return INVALID;
  *value = (int)v[which];
  return OK;
}
MOCK_API int cusparseCreate(void **out) {
  const handle h = {HANDLE, NULL, pthread_self()};
  if (mock_refuses("cusparseCreate")) return NOT_INITIALIZED;
  return make(out, &h, sizeof h);
}
MOCK_API int cusparseDestroy(void *h) { return drop(h, HANDLE); }
MOCK_API int cusparseSetStream(void *h, void *stream) {
  if (!is(h, HANDLE)) return bad("a stream for what is no handle");
  /* Others get a turn, so that it shows where threads are not kept apart. */
  const struct timespec a_while = {.tv_nsec = 20000};
  ((handle *)h)->stream = stream;
  ((handle *)h)->owner = pthread_self();
  (void)nanosleep(&a_while, NULL);
  return OK;
}

static bool is_aligned(const void *p, int type) {
  return (uintptr_t)p % mock_size(type) == 0;
}

MOCK_API int cusparseCreateBsr(void **out, int64_t rows, int64_t cols,
                               int64_t count, int64_t side, int64_t width,
                               void *starts, void *indices, void *values,
                               int starts_type, int indices_type, int base,
                               int type, int order) {
  const blocks b = {BLOCKS, type, order,  rows,    cols,
                    count,  side, starts, indices, values};
  mock_asked();
  if (mock_is_capturing()) return bad("blocks while a stream is captured");
  if (side != width || side <= 0 || rows < 0 || cols < 0 || count < 0 ||
      count > rows * cols || base || !is_aligned(values, type) ||
      ((uintptr_t)starts | (uintptr_t)indices) % 4)
    return INVALID;
  if (starts_type != INDEX_32 || indices_type != INDEX_32 ||
      mock_refuses("cusparseCreateBsr"))
    return NOT_SUPPORTED;
  return make(out, &b, sizeof b);
}
MOCK_API int cusparseDestroySpMat(void *b) { return drop(b, BLOCKS); }
MOCK_API int cusparseCreateDnMat(void **out, int64_t rows, int64_t cols,
                                 int64_t ld, void *values, int type,
                                 int order) {
  const dense d = {DENSE, type, order, rows, cols, ld, values, pthread_self()};
  if (mock_is_capturing()) return bad("a matrix while a stream is captured");
  if (rows < 0 || cols < 0 || ld < (order == COL ? rows : cols) ||
      !is_aligned(values, type))
    return INVALID;
  return make(out, &d, sizeof d);
}
MOCK_API int cusparseDestroyDnMat(void *d) { return drop(d, DENSE); }
MOCK_API int cusparseDnMatSetValues(void *d, void *values) {
  if (!is(d, DENSE)) return bad("values for what is no matrix");
  if (!is_aligned(values, ((dense *)d)->type)) return INVALID;
  ((dense *)d)->values = values;
  ((dense *)d)->owner = pthread_self();
  return OK;
}

/* What a product must be; only what our weights need is known here. */
static int check(const void *h, int op_a, int op_b, const void *a,
                 const void *b, const void *c, int compute, int algorithm,
                 product *out) {
  if (!is(h, HANDLE) || !is(a, BLOCKS) || !is(b, DENSE) || !is(c, DENSE))
    return bad("a product of what is no matrix");
  memcpy(&out->a, a, sizeof out->a);
  memcpy(&out->b, b, sizeof out->b);
  memcpy(&out->c, c, sizeof out->c);
  if (op_a || op_b || out->a.order != ROW || algorithm != BSR_ALG1)
    return NOT_SUPPORTED;
  if (out->a.type != out->b.type || out->a.type != out->c.type ||
      (out->a.type != MOCK_F16 && out->a.type != MOCK_BF16) ||
      compute != MOCK_F32)
    return NOT_SUPPORTED;
  if (out->b.order != COL || out->c.order != COL) return NOT_SUPPORTED;
  return out->a.cols * out->a.side != out->b.rows ||
                 out->a.rows * out->a.side != out->c.rows ||
                 out->b.cols != out->c.cols
             ? INVALID
             : OK;
}

MOCK_API int cusparseSpMM_bufferSize(void *h, int op_a, int op_b,
                                     const void *alpha, void *a, void *b,
                                     const void *beta, void *c, int compute,
                                     int algorithm, size_t *size) {
  product p;
  int e = check(h, op_a, op_b, a, b, c, compute, algorithm, &p);
  *size = SPACE;
  if (!e && (!alpha || !beta)) e = INVALID;
  if (!e && mock_refuses("cusparseSpMM_bufferSize")) e = NOT_SUPPORTED;
  return e;
}

static int index_at(const void *p, int64_t i) {
  int v;
  memcpy(&v, (const unsigned char *)p + 4 * i, sizeof v);
  return v;
}

/* Row r of the blocks times column j. */
static double element(const product *p, int64_t r, int64_t j) {
  const blocks *a = &p->a;
  int64_t row = r / a->side, size = a->side * a->side;
  double sum = 0;
  for (int64_t i = index_at(a->starts, row); i < index_at(a->starts, row + 1);
       i++)
    for (int64_t e = 0; e < a->side; e++) {
      int64_t k = index_at(a->indices, i) * a->side + e;
      sum +=
          mock_load(a->values, (size_t)(i * size + r % a->side * a->side + e),
                    a->type) *
          mock_load(p->b.values, (size_t)(j * p->b.ld + k), p->b.type);
    }
  return sum;
}

static void multiply(const void *data) {
  const product *p = data;
  if (index_at(p->a.starts, 0) != 0 ||
      index_at(p->a.starts, p->a.rows) != p->a.count) {
    (void)bad("rows that have not as many blocks as was said");
    return;
  }
  for (int64_t j = 0; j < p->c.cols; j++)
    for (int64_t i = 0; i < p->c.rows; i++)
      mock_store(p->c.values, (size_t)(j * p->c.ld + i), p->c.type,
                 element(p, i, j));
}

static bool is_mine(pthread_t owner) {
  return pthread_equal(owner, pthread_self());
}

static bool inside(const dense *d) {
  size_t n = (size_t)((d->cols - 1) * d->ld + d->rows);
  return mock_is_device(d->values, n * mock_size(d->type));
}

MOCK_API int cusparseSpMM(void *h, int op_a, int op_b, const void *alpha,
                          void *a, void *b, const void *beta, void *c,
                          int compute, int algorithm, void *space) {
  product p;
  float one, zero;
  int e = check(h, op_a, op_b, a, b, c, compute, algorithm, &p);
  if (e) return e;
  if (!is_mine(((handle *)h)->owner) || !is_mine(p.b.owner) ||
      !is_mine(p.c.owner))
    return bad("what another thread has set");
  memcpy(&one, alpha, sizeof one);
  memcpy(&zero, beta, sizeof zero);
  size_t size = (size_t)(p.a.side * p.a.side * p.a.count);
  if (one < 1 || one > 1 || zero < 0 || zero > 0) return bad("factors");
  if (!mock_is_device(p.a.starts, 4 * ((size_t)p.a.rows + 1)) ||
      !mock_is_device(p.a.indices, 4 * (size_t)p.a.count) ||
      !mock_is_device(p.a.values, size * mock_size(p.a.type)) ||
      !inside(&p.b) || !inside(&p.c) || !mock_is_device(space, SPACE))
    return bad("memory that is not the device's");
  return mock_enqueue(((handle *)h)->stream, multiply, &p, sizeof p, 2);
}
