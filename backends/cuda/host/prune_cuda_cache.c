/* Caches: what was decided, so that another process need not time it again.
 *
 *   the head, in which key says what model, device, driver and libraries it is
 *   for and hash is XXH64 of what follows
 *   for each set of sizes: its symbols, then an entry for each step
 *
 * A cache is never trusted: variants are in range, and libraries are asked
 * whether they know an algorithm. */
#include <string.h>

#include "prune_cuda_impl.h"

typedef struct cache_head {
  char magic[8];
  uint64_t key, hash, sets;
} cache_head;
typedef struct cache_entry {
  uint32_t variant;
  float micros;
  pcu_lt_algo algo;
} cache_entry;

static const char magic[8] = "PRUNECC";

static uint64_t key_of(const prune_cuda_ctx *c) {
  const prune_cuda_model *m = c->model;
  uint64_t words[16 + PCU_LIBRARIES] = {
      m->version,          m->weights_hash,
      m->weights_size,     pcu_xxh64(m->name, strlen(m->name), 0),
      m->num_steps,        m->num_symbols,
      m->num_kernels,      (uint64_t)c->arch,
      sizeof(cache_entry), c->options.flags};
  for (int i = 0; i < PCU_LIBRARIES; i++)
    words[16 + i] = c->versions[i];
  uint64_t key = pcu_xxh64(words, sizeof words, 0);
  for (uint32_t i = 0; i < m->num_steps; i++) {
    key = pcu_xxh64(m->steps[i].name, strlen(m->steps[i].name), key);
    key += m->steps[i].num_variants;
  }
  return key;
}

static uint32_t num_plans(const prune_cuda_ctx *c) {
  return c->options.plans ? c->options.plans : 4;
}

static size_t set_size(const prune_cuda_ctx *c) {
  return c->model->num_symbols * sizeof(int64_t) +
         c->model->num_steps * sizeof(cache_entry);
}

static void save_set(const prune_cuda_ctx *c, const pcu_slot *slot,
                     unsigned char *out) {
  size_t symbols = c->model->num_symbols * sizeof(int64_t);
  if (symbols) memcpy(out, slot->symbols, symbols);
  out += symbols;
  for (uint32_t i = 0; i < c->model->num_steps;
       i++, out += sizeof(cache_entry)) {
    const pcu_choice *choice = &slot->choices[i];
    cache_entry e = {.variant = choice->variant,
                     .micros = choice->micros,
                     .algo = choice->product && choice->product->how
                                 ? choice->product->algo
                                 : choice->algo};
    memcpy(out, &e, sizeof e);
  }
}

prune_cuda_status prune_cuda_cache_save(const prune_cuda_ctx *ctx, void *buffer,
                                        size_t *size) {
  if (!ctx || !size) return PRUNE_CUDA_E_ARG;
  cache_head head = {.key = key_of(ctx)};
  memcpy(head.magic, magic, sizeof magic);
  for (uint32_t i = 0; i < num_plans(ctx); i++)
    head.sets += ctx->slots[i].state == PCU_READY;
  size_t given = *size, body = (size_t)head.sets * set_size(ctx);
  *size = sizeof head + body;
  if (!buffer) return PRUNE_CUDA_OK;
  if (given < *size) return PRUNE_CUDA_E_SPACE;
  unsigned char *out = (unsigned char *)buffer + sizeof head;
  for (uint32_t i = 0; i < num_plans(ctx); i++)
    if (ctx->slots[i].state == PCU_READY) {
      save_set(ctx, &ctx->slots[i], out);
      out += set_size(ctx);
    }
  head.hash = pcu_xxh64((unsigned char *)buffer + sizeof head, body, 0);
  memcpy(buffer, &head, sizeof head);
  return PRUNE_CUDA_OK;
}

static bool is_known(const prune_cuda_ctx *c, const int64_t *symbols) {
  return pcu_find(c, symbols, PCU_READY) || pcu_find(c, symbols, PCU_CACHED);
}

static void load_set(prune_cuda_ctx *c, const unsigned char *in) {
  int64_t symbols[PCU_WORDS] = {0};
  const pcu_slot *empty = pcu_find(c, symbols, PCU_EMPTY);
  size_t size = c->model->num_symbols * sizeof *symbols;
  if (size) memcpy(symbols, in, size);
  if (!empty || is_known(c, symbols)) return;
  pcu_slot *slot = &c->slots[empty - c->slots];
  if (size) memcpy(slot->symbols, symbols, size);
  in += size;
  for (uint32_t i = 0; i < c->model->num_steps;
       i++, in += sizeof(cache_entry)) {
    pcu_choice *choice = &slot->choices[i];
    cache_entry e;
    memcpy(&e, in, sizeof e);
    choice->cached = e.variant < c->model->steps[i].num_variants;
    choice->variant = (uint8_t)(choice->cached ? e.variant : 0);
    choice->micros = e.micros;
    choice->algo = e.algo;
  }
  slot->state = PCU_CACHED;
}

prune_cuda_status prune_cuda_cache_load(prune_cuda_ctx *ctx, const void *buffer,
                                        size_t size) {
  cache_head head;
  if (!ctx || !buffer) return PRUNE_CUDA_E_ARG;
  if (size < sizeof head) return PRUNE_CUDA_E_CACHE_STALE;
  memcpy(&head, buffer, sizeof head);
  const unsigned char *in = (const unsigned char *)buffer + sizeof head;
  size_t body = size - sizeof head, set = set_size(ctx);
  if (memcmp(head.magic, magic, sizeof magic) != 0 || head.key != key_of(ctx) ||
      (set && head.sets != body / set) || head.sets * set != body ||
      head.hash != pcu_xxh64(in, body, 0))
    return PRUNE_CUDA_E_CACHE_STALE;
  for (uint64_t i = 0; i < head.sets && set; i++)
    load_set(ctx, in + i * set);
  return PRUNE_CUDA_OK;
}
