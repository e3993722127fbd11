#include "frontends/onnx/pool.h"

#include "ir/support/arena.h"

enum { FIRST_CHUNK = 16 << 10, LAST_CHUNK = 1 << 20, ALIGN = 16 };

typedef struct chunk {
  struct chunk *next;
  size_t size;
} chunk;

struct prn_onnx_pool {
  chunk *head;
  char *at, *end;
  size_t left; /* of the budget */
  bool exhausted, starved;
};

prn_onnx_pool *prn_onnx_pool_create(size_t budget) {
  prn_onnx_pool *p = prn_alloc(sizeof *p);
  *p = (prn_onnx_pool){.left = budget};
  return p;
}

void prn_onnx_pool_destroy(prn_onnx_pool *p) {
  if (!p) return;
  while (p->head) {
    chunk *next = p->head->next;
    prn_free(p->head);
    p->head = next;
  }
  prn_free(p);
}

static bool grow(prn_onnx_pool *p, size_t size) {
  size_t want = p->head ? p->head->size * 2 : FIRST_CHUNK;
  if (want > LAST_CHUNK) want = LAST_CHUNK;
  if (want < size) want = size;
  chunk *c = prn_try_alloc(sizeof *c + want);
  if (!c) return false;
  *c = (chunk){p->head, want};
  p->head = c;
  p->at = (char *)(c + 1);
  p->end = p->at + want;
  return true;
}

static void *pool_alloc(void *data, size_t size) {
  prn_onnx_pool *p = data;
  size_t padded = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  p->exhausted = p->exhausted || padded < size || padded > p->left;
  if (p->exhausted) return NULL;
  if ((size_t)(p->end - p->at) < padded && !grow(p, padded)) {
    p->starved = true;
    return NULL;
  }
  p->left -= padded;
  void *mem = p->at;
  p->at += padded;
  return mem;
}

static void pool_free(void *data, void *mem) {
  (void)data; /* all at once, in destroy */
  (void)mem;
}

ProtobufCAllocator prn_onnx_pool_allocator(prn_onnx_pool *p) {
  return (ProtobufCAllocator){pool_alloc, pool_free, p};
}

bool prn_onnx_pool_exhausted(const prn_onnx_pool *p) { return p->exhausted; }
bool prn_onnx_pool_starved(const prn_onnx_pool *p) { return p->starved; }
