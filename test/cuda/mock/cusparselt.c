/* libcusparseLt.so.0: see mock.h. Compressed weights have a layout that is the
 * mock's own: kept values of each row, then a byte for each group of four. */
#include <stdlib.h>
#include <string.h>

#include "mock.h"

enum {
  OK = 0,
  NOT_INITIALIZED = 1,
  INVALID = 3,
  NOT_SUPPORTED = 10,
  IDS = 3,
  HANDLE = 0x534c,
  MATRIX = 0x534d,
  PRODUCT = 0x534e,
  CHOICE = 0x534f,
  PLAN = 0x5350,
  ROW = 2,
  COL = 1,
  HEAD = 64
};

typedef struct opaque {
  _Alignas(16) unsigned char data[512];
} opaque;
typedef struct matrix {
  int magic, type, order, structured;
  int64_t rows, cols, ld;
} matrix;
typedef struct product {
  int magic, relu;
  matrix a, b, c;
  const void *bias, *sparse;
} product;
typedef struct choice {
  int magic, id;
} choice;
typedef struct plan {
  int magic, id;
  product p;
} plan;
typedef struct work {
  plan plan;
  float beta;
  const unsigned char *a;
  const void *b, *add;
  void *out;
} work;

static const double micros[IDS] = {8, 3, 6};

static int bad(const char *what) {
  mock_mistake("cuSPARSELt: %s", what);
  return INVALID;
}
/* Fills in a structure, which is given back by `drop`. */
static int make(opaque *out, const void *data, size_t size) {
  memset(out, 0, sizeof *out);
  memcpy(out->data, data, size);
  mock_handles(1);
  return OK;
}
static bool is(const opaque *p, int magic) {
  int found;
  memcpy(&found, p->data, sizeof found);
  return found == magic && (uintptr_t)p % 16 == 0;
}

static int drop(const opaque *p, int magic, const char *otherwise) {
  if (!is(p, magic)) return bad(otherwise);
  mock_handles(-1);
  return OK;
}

MOCK_API int cusparseLtGetProperty(int which, int *value) {
  const char *text = getenv("PRUNE_MOCK_CUSPARSELT");
  char *at;
  long v[3];
  if (!text) text = "0.8.1";
  v[0] = strtol(text, &at, 10);
  v[1] = *at ? strtol(at + 1, &at, 10) : 0;
  v[2] = *at ? strtol(at + 1, &at, 10) : 0;
  if (which < 0 || which > 2) return INVALID;
  *value = (int)v[which];
  return OK;
}
MOCK_API int cusparseLtInit(opaque *h) {
  int magic = HANDLE;
  if (mock_refuses("cusparseLtInit")) return NOT_INITIALIZED;
  return make(h, &magic, sizeof magic);
}
MOCK_API int cusparseLtDestroy(const opaque *h) {
  return drop(h, HANDLE, "a handle that is none");
}

static int describe(const opaque *h, opaque *out, matrix m, uint32_t align) {
  /* A structured operand's sizes are multiples of 16, a dense one's of 8. */
  int64_t unit = m.structured ? 16 : 8;
  if (!is(h, HANDLE)) return bad("a matrix before init");
  if (m.type == MOCK_F32) return NOT_SUPPORTED;
  if (m.rows <= 0 || m.cols <= 0 || m.rows % unit || m.cols % unit)
    return NOT_SUPPORTED;
  if (align % 16 || m.ld < (m.order == ROW ? m.cols : m.rows) || m.ld % 8)
    return bad("a matrix of wrong alignment");
  m.magic = MATRIX;
  return make(out, &m, sizeof m);
}
MOCK_API int cusparseLtDenseDescriptorInit(const opaque *h, opaque *out,
                                           int64_t rows, int64_t cols,
                                           int64_t ld, uint32_t align, int type,
                                           int order) {
  return describe(h, out, (matrix){0, type, order, 0, rows, cols, ld}, align);
}
MOCK_API int cusparseLtStructuredDescriptorInit(const opaque *h, opaque *out,
                                                int64_t rows, int64_t cols,
                                                int64_t ld, uint32_t align,
                                                int type, int order,
                                                int sparsity) {
  if (sparsity) return INVALID;
  return describe(h, out, (matrix){0, type, order, 1, rows, cols, ld}, align);
}
MOCK_API int cusparseLtMatDescriptorDestroy(const opaque *m) {
  return drop(m, MATRIX, "a matrix that is none");
}

MOCK_API int cusparseLtMatmulDescriptorInit(const opaque *h, opaque *out,
                                            int op_a, int op_b, const opaque *a,
                                            const opaque *b, const opaque *c,
                                            const opaque *d, int compute) {
  product p = {.magic = PRODUCT};
  if (!is(h, HANDLE) || !is(a, MATRIX) || !is(b, MATRIX) || !is(c, MATRIX) ||
      c != d)
    return bad("a product of what is no matrix");
  memcpy(&p.a, a->data, sizeof p.a);
  memcpy(&p.b, b->data, sizeof p.b);
  memcpy(&p.c, c->data, sizeof p.c);
  if (op_a || op_b || compute != 2) return NOT_SUPPORTED;
  if (!p.a.structured || p.b.structured || p.a.order != ROW ||
      p.b.order != COL || p.c.order != COL)
    return NOT_SUPPORTED;
  if (p.a.cols != p.b.rows || p.a.rows != p.c.rows || p.b.cols != p.c.cols ||
      p.a.type != p.b.type || p.a.type != p.c.type)
    return bad("sizes that do not fit");
  memset(out, 0, sizeof *out);
  memcpy(out->data, &p, sizeof p);
  return OK;
}
MOCK_API int cusparseLtMatmulDescSetAttribute(const opaque *h, opaque *out,
                                              int key, const void *data,
                                              size_t size) {
  product p;
  if (!is(h, HANDLE) || !is(out, PRODUCT) || size != (key < 8 ? 4 : 8))
    return bad("an attribute of what is no product");
  memcpy(&p, out->data, sizeof p);
  switch (key) {
  case 0:
    memcpy(&p.relu, data, size);
    break;
  case 8:
    memcpy(&p.bias, data, size);
    break;
  case 9:
    memcpy(&p.sparse, data, size);
    break;
  default:
    return NOT_SUPPORTED;
  }
  memcpy(out->data, &p, sizeof p);
  return OK;
}

MOCK_API int cusparseLtMatmulAlgSelectionInit(const opaque *h, opaque *out,
                                              const opaque *p, int algorithm) {
  const choice c = {CHOICE, 0};
  if (!is(h, HANDLE) || !is(p, PRODUCT) || algorithm) return bad("a choice");
  mock_asked();
  return make(out, &c, sizeof c);
}
MOCK_API int cusparseLtMatmulAlgSelectionDestroy(const opaque *c) {
  return drop(c, CHOICE, "a choice that is none");
}
MOCK_API int cusparseLtMatmulAlgSetAttribute(const opaque *h, opaque *out,
                                             int key, const void *data,
                                             size_t size) {
  choice c = {CHOICE, 0};
  if (!is(h, HANDLE) || !is(out, CHOICE) || key != 0 || size != 4)
    return bad("a choice");
  memcpy(&c.id, data, size);
  if (c.id < 0 || c.id >= IDS) return NOT_SUPPORTED;
  memcpy(out->data, &c, sizeof c);
  return OK;
}
MOCK_API int cusparseLtMatmulAlgGetAttribute(const opaque *h, const opaque *in,
                                             int key, void *data, size_t size) {
  int value = IDS;
  if (!is(h, HANDLE) || !is(in, CHOICE) || size != 4) return bad("a choice");
  if (key != 1) return NOT_SUPPORTED;
  memcpy(data, &value, size);
  return OK;
}
MOCK_API int cusparseLtMatmulPlanInit(const opaque *h, opaque *out,
                                      const opaque *p, const opaque *how) {
  plan n = {.magic = PLAN};
  choice c;
  if (!is(h, HANDLE) || !is(p, PRODUCT) || !is(how, CHOICE))
    return bad("a plan of what is no product");
  if (mock_is_capturing()) return bad("a plan while a stream is captured");
  if (mock_refuses("cusparseLtMatmulPlanInit")) return NOT_SUPPORTED;
  memcpy(&n.p, p->data, sizeof n.p);
  memcpy(&c, how->data, sizeof c);
  n.id = c.id;
  return make(out, &n, sizeof n);
}
MOCK_API int cusparseLtMatmulPlanDestroy(const opaque *p) {
  return drop(p, PLAN, "a plan that is none");
}
MOCK_API int cusparseLtMatmulGetWorkspace(const opaque *h, const opaque *p,
                                          size_t *size) {
  plan n;
  if (!is(h, HANDLE) || !is(p, PLAN)) return bad("a plan that is none");
  memcpy(&n, p->data, sizeof n);
  *size = (size_t)(IDS - n.id) * 1024;
  return OK;
}

static size_t compressed(const matrix *m) {
  size_t elements = (size_t)m->rows * (size_t)m->cols;
  return HEAD + elements / 2 * mock_size(m->type) + elements / 4;
}
MOCK_API int cusparseLtSpMMACompressedSize2(const opaque *h, const opaque *in,
                                            size_t *size, size_t *buffer) {
  matrix m;
  if (!is(h, HANDLE) || !is(in, MATRIX)) return bad("a matrix that is none");
  memcpy(&m, in->data, sizeof m);
  *size = compressed(&m);
  *buffer = 128;
  return OK;
}

typedef struct packing {
  matrix m;
  const void *dense;
  unsigned char *out;
} packing;

static void compress(const void *data) {
  const packing *p = data;
  size_t rows = (size_t)p->m.rows, cols = (size_t)p->m.cols;
  unsigned char *values = p->out + HEAD;
  unsigned char *places = values + rows * cols / 2 * mock_size(p->m.type);
  memset(p->out, 0, compressed(&p->m));
  memcpy(p->out, "SLTMOCK", 8);
  for (size_t r = 0; r < rows; r++)
    for (size_t g = 0; g < cols / 4; g++) {
      size_t kept = 0, group = r * (cols / 4) + g;
      for (size_t i = 0; i < 4; i++) {
        double v =
            mock_load(p->dense, r * (size_t)p->m.ld + 4 * g + i, p->m.type);
        if (v == 0) continue;
        if (kept == 2) {
          (void)bad("compressing what is not 2:4");
          return;
        }
        mock_store(values, 2 * group + kept, p->m.type, v);
        places[group] = (unsigned char)(places[group] | i << 2 * kept++);
      }
    }
}

MOCK_API int cusparseLtSpMMACompress2(const opaque *h, const opaque *in,
                                      int is_a, int op, const void *dense,
                                      void *out, void *buffer, void *stream) {
  packing p = {.dense = dense, .out = out};
  if (!is(h, HANDLE) || !is(in, MATRIX) || !is_a || op)
    return bad("compressing what is no matrix");
  memcpy(&p.m, in->data, sizeof p.m);
  if (!mock_is_device(dense,
                      (size_t)(p.m.rows * p.m.ld) * mock_size(p.m.type)) ||
      !mock_is_device(out, compressed(&p.m)) || !mock_is_device(buffer, 128) ||
      ((uintptr_t)dense | (uintptr_t)out) % 16)
    return bad("compressing in memory that is not the device's");
  return mock_enqueue(stream, compress, &p, sizeof p, 50);
}

static double element(const work *w, size_t r, size_t c) {
  const product *p = &w->plan.p;
  size_t rows = (size_t)p->a.rows, cols = (size_t)p->a.cols;
  const unsigned char *values = w->a + HEAD;
  const unsigned char *places = values + rows * cols / 2 * mock_size(p->a.type);
  double sum = p->bias ? mock_load(p->bias, r, p->c.type) : 0;
  for (size_t g = 0; g < cols / 4; g++)
    for (size_t i = 0; i < 2; i++) {
      size_t group = r * (cols / 4) + g;
      size_t k = 4 * g + (places[group] >> 2 * i & 3);
      sum += mock_load(values, 2 * group + i, p->a.type) *
             mock_load(w->b, c * (size_t)p->b.ld + k, p->b.type);
    }
  if (w->beta > 0) sum += mock_load(w->add, c * (size_t)p->c.ld + r, p->c.type);
  return p->relu && sum < 0 ? 0 : sum;
}

static void multiply(const void *data) {
  const work *w = data;
  const matrix *c = &w->plan.p.c;
  if (memcmp(w->a, "SLTMOCK", 8) != 0) {
    (void)bad("weights that were not compressed");
    return;
  }
  for (size_t j = 0; j < (size_t)c->cols; j++)
    for (size_t i = 0; i < (size_t)c->rows; i++)
      mock_store(w->out, j * (size_t)c->ld + i, c->type, element(w, i, j));
}

/* Column-major. */
static bool inside(const matrix *m, const void *p) {
  size_t n = (size_t)((m->cols - 1) * m->ld + m->rows);
  return mock_is_device(p, n * mock_size(m->type));
}

MOCK_API int cusparseLtMatmul(const opaque *h, const opaque *p,
                              const void *alpha, const void *a, const void *b,
                              const void *beta, const void *c, void *out,
                              void *space, void **streams, int32_t num) {
  work w = {.a = a, .b = b, .add = c, .out = out};
  float one, zero;
  if (!is(h, HANDLE) || !is(p, PLAN)) return bad("a plan that is none");
  memcpy(&w.plan, p->data, sizeof w.plan);
  memcpy(&one, alpha, sizeof one);
  memcpy(&zero, beta, sizeof zero);
  w.beta = zero;
  if (one < 1 || (c != out && zero < 1) || num != 1 || w.plan.p.sparse != a)
    return bad("arguments");
  const matrix *x = &w.plan.p.b, *y = &w.plan.p.c;
  if (!mock_is_device(a, compressed(&w.plan.p.a)) || !inside(x, b) ||
      !inside(y, c) || !inside(y, out) ||
      !mock_is_device(space, (size_t)(IDS - w.plan.id) * 1024) ||
      ((uintptr_t)b | (uintptr_t)c | (uintptr_t)out) % 16)
    return bad("memory that is not the device's");
  return mock_enqueue(streams[0], multiply, &w, sizeof w, micros[w.plan.id]);
}
