#include "ir/context.h"

#include <string.h>

typedef struct cleanup {
  struct cleanup *next;
  void (*fn)(void *p);
  void *p;
} cleanup;

typedef struct unique_entry {
  uint64_t hash;
  const void *item;
} unique_entry;

struct prn_ctx {
  prn_arena arena;
  prn_diag_sink diags;
  prn_map strings;
  unique_entry *unique; /* open addressing, NULL item is free */
  size_t unique_size, unique_cap;
  cleanup *cleanups;
  void *scratch;
};

prn_ctx *prn_ctx_create(void) {
  prn_ctx *ctx = prn_alloc(sizeof *ctx);
  *ctx = (prn_ctx){0};
  return ctx;
}

void prn_ctx_destroy(prn_ctx *ctx) {
  if (!ctx) return;
  for (cleanup *c = ctx->cleanups; c; c = c->next)
    c->fn(c->p);
  prn_diag_sink_destroy(&ctx->diags);
  prn_map_destroy(&ctx->strings);
  prn_free(ctx->unique);
  prn_arena_destroy(&ctx->arena);
  prn_free(ctx);
}

prn_arena *prn_ctx_arena(prn_ctx *ctx) { return &ctx->arena; }
prn_diag_sink *prn_ctx_diags(prn_ctx *ctx) { return &ctx->diags; }

prn_str prn_intern(prn_ctx *ctx, prn_str s) {
  void **found = prn_map_find(&ctx->strings, s);
  if (found) return (prn_str){*found, s.size};
  char *copy = prn_arena_alloc(&ctx->arena, s.size + 1);
  if (s.size) memcpy(copy, s.data, s.size);
  copy[s.size] = 0;
  *prn_map_slot(&ctx->strings, (prn_str){copy, s.size}) = copy;
  return (prn_str){copy, s.size};
}

prn_str prn_intern_cstr(prn_ctx *ctx, const char *s) {
  return prn_intern(ctx, prn_str_from(s));
}

void **prn_ctx_scratch(prn_ctx *ctx) { return &ctx->scratch; }

void prn_ctx_on_destroy(prn_ctx *ctx, void (*fn)(void *p), void *p) {
  cleanup *c = PRN_ARENA_NEW(&ctx->arena, cleanup);
  *c = (cleanup){ctx->cleanups, fn, p};
  ctx->cleanups = c;
}

static void grow_unique(prn_ctx *ctx) {
  size_t cap = ctx->unique_cap ? ctx->unique_cap * 2 : 256;
  size_t bytes = prn_array_size(sizeof(unique_entry), cap);
  unique_entry *fresh = prn_alloc(bytes);
  memset(fresh, 0, bytes);
  for (size_t i = 0; i < ctx->unique_cap; i++) {
    unique_entry e = ctx->unique[i];
    size_t at = e.hash & (cap - 1);
    if (!e.item) continue;
    while (fresh[at].item)
      at = (at + 1) & (cap - 1);
    fresh[at] = e;
  }
  prn_free(ctx->unique);
  ctx->unique = fresh;
  ctx->unique_cap = cap;
}

const void *prn_ctx_unique(prn_ctx *ctx, uint64_t hash, const void *key,
                           bool (*eq)(const void *a, const void *key),
                           const void *(*make)(prn_ctx *ctx, const void *key)) {
  if (ctx->unique_size * 2 >= ctx->unique_cap) grow_unique(ctx);
  size_t at = hash & (ctx->unique_cap - 1);
  for (; ctx->unique[at].item; at = (at + 1) & (ctx->unique_cap - 1))
    if (ctx->unique[at].hash == hash && eq(ctx->unique[at].item, key))
      return ctx->unique[at].item;
  const void *item = make(ctx, key);
  /* make() may have uniqued something itself: find the free slot again. */
  if (ctx->unique_size * 2 >= ctx->unique_cap) grow_unique(ctx);
  at = hash & (ctx->unique_cap - 1);
  while (ctx->unique[at].item)
    at = (at + 1) & (ctx->unique_cap - 1);
  ctx->unique[at] = (unique_entry){hash, item};
  ctx->unique_size++;
  return item;
}
