#include "ir/support/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define PRN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRN_ASAN 1
#endif
#endif
#ifdef PRN_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { FIRST_CHUNK = 16 << 10, LAST_CHUNK = 1 << 20, ALIGN = 16 };

struct prn_arena_chunk {
  prn_arena_chunk *next; /* older chunk */
  size_t size;
  char pad[ALIGN - (sizeof(void *) + sizeof(size_t)) % ALIGN];
};

static void (*handler)(size_t size); /* as malloc, one for the process */

void prn_on_out_of_memory(void (*fn)(size_t size)) { handler = fn; }

void prn_out_of_memory(size_t size) {
  if (handler) handler(size);
  (void)fprintf(stderr, "prune: out of memory allocating %zu bytes\n", size);
  abort();
}

size_t prn_array_size(size_t size, size_t n) {
  size_t total;
  if (!prn_mul_size(size, n, &total)) prn_out_of_memory(SIZE_MAX);
  return total;
}

void *prn_try_alloc(size_t size) { return malloc(size ? size : 1); }

void *prn_alloc(size_t size) {
  void *p = prn_try_alloc(size);
  if (!p) prn_out_of_memory(size);
  return p;
}

void *prn_realloc(void *p, size_t size) {
  void *q = realloc(p, size ? size : 1);
  if (!q) prn_out_of_memory(size);
  return q;
}

void prn_free(void *p) { free(p); }

static void grow(prn_arena *a, size_t size) {
  size_t want = a->head ? a->head->size * 2 : FIRST_CHUNK;
  if (want > LAST_CHUNK) want = LAST_CHUNK;
  if (want < size) want = size;
  prn_arena_chunk *c = prn_alloc(sizeof *c + want);
  c->next = a->head;
  c->size = want;
  a->head = c;
  a->at = (char *)(c + 1);
  a->end = a->at + want;
  ASAN_POISON_MEMORY_REGION(a->at, want);
}

void *prn_arena_alloc(prn_arena *a, size_t size) {
  size_t padded = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (padded < size) prn_out_of_memory(size);
  if (!a->head || (size_t)(a->end - a->at) < padded) grow(a, padded);
  char *p = a->at;
  a->at += padded;
  a->used += padded;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  if (size) memset(p, 0, size);
  return p;
}

void *prn_arena_copy(prn_arena *a, const void *data, size_t size) {
  void *p = prn_arena_alloc(a, size);
  if (size) memcpy(p, data, size);
  return p;
}

static void free_chunk(prn_arena_chunk *c) {
  ASAN_UNPOISON_MEMORY_REGION(c + 1, c->size);
  free(c);
}

void prn_arena_destroy(prn_arena *a) {
  while (a->head) {
    prn_arena_chunk *next = a->head->next;
    free_chunk(a->head);
    a->head = next;
  }
  *a = (prn_arena){0};
}

void prn_arena_reset(prn_arena *a) {
  while (a->head && a->head->next) {
    prn_arena_chunk *next = a->head->next;
    free_chunk(a->head);
    a->head = next;
  }
  a->used = 0;
  if (!a->head) return;
  a->at = (char *)(a->head + 1);
  a->end = a->at + a->head->size;
  ASAN_POISON_MEMORY_REGION(a->at, a->head->size);
}
