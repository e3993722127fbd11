#include "ir/support/map.h"

#include <string.h>

#include "ir/support/arena.h"

void prn_map_destroy(prn_map *m) {
  prn_free(m->entries);
  prn_free(m->slots);
  *m = (prn_map){0};
}

static uint64_t hash_of(prn_str key) {
  return prn_hash_bytes(key.data, key.size, 0);
}

/* The slot where (hash, key) is or belongs; the table is never full. */
static uint32_t *probe(const prn_map *m, uint64_t hash, prn_str key) {
  for (size_t i = hash & m->mask;; i = (i + 1) & m->mask) {
    uint32_t at = m->slots[i];
    if (at == 0) return &m->slots[i];
    const prn_map_entry *e = &m->entries[at - 1];
    if (e->hash == hash && prn_str_eq(e->key, key)) return &m->slots[i];
  }
}

static void grow(prn_map *m) {
  m->cap = m->cap ? m->cap * 2 : 8;
  m->mask = m->cap * 2 - 1;
  m->entries =
      prn_realloc(m->entries, prn_array_size(sizeof *m->entries, m->cap));
  prn_free(m->slots);
  size_t bytes = prn_array_size(sizeof *m->slots, m->mask + 1);
  m->slots = prn_alloc(bytes);
  memset(m->slots, 0, bytes);
  for (size_t i = 0; i < m->size; i++)
    *probe(m, m->entries[i].hash, m->entries[i].key) = (uint32_t)i + 1;
}

void **prn_map_find(const prn_map *m, prn_str key) {
  if (m->size == 0) return NULL;
  uint32_t at = *probe(m, hash_of(key), key);
  return at ? &m->entries[at - 1].value : NULL;
}

void *prn_map_get(const prn_map *m, prn_str key) {
  void **v = prn_map_find(m, key);
  return v ? *v : NULL;
}

void **prn_map_slot(prn_map *m, prn_str key) {
  if (m->size == m->cap) grow(m);
  uint64_t hash = hash_of(key);
  uint32_t *slot = probe(m, hash, key);
  if (*slot == 0) {
    m->entries[m->size] = (prn_map_entry){key, hash, NULL};
    *slot = (uint32_t)++m->size;
  }
  return &m->entries[*slot - 1].value;
}

void prn_ptrmap_destroy(prn_ptrmap *m) {
  prn_free(m->entries);
  prn_free(m->slots);
  *m = (prn_ptrmap){0};
}

static uint32_t *probe_ptr(const prn_ptrmap *m, const void *key) {
  for (size_t i = prn_hash_bytes(&key, sizeof key, 1) & m->mask;;
       i = (i + 1) & m->mask) {
    uint32_t at = m->slots[i];
    if (at == 0 || m->entries[at - 1].key == key) return &m->slots[i];
  }
}

static void grow_ptr(prn_ptrmap *m) {
  m->cap = m->cap ? m->cap * 2 : 8;
  m->mask = m->cap * 2 - 1;
  m->entries =
      prn_realloc(m->entries, prn_array_size(sizeof *m->entries, m->cap));
  prn_free(m->slots);
  size_t bytes = prn_array_size(sizeof *m->slots, m->mask + 1);
  m->slots = prn_alloc(bytes);
  memset(m->slots, 0, bytes);
  for (size_t i = 0; i < m->size; i++)
    *probe_ptr(m, m->entries[i].key) = (uint32_t)i + 1;
}

bool prn_ptrmap_has(const prn_ptrmap *m, const void *key) {
  return m->size && *probe_ptr(m, key) != 0;
}

void *prn_ptrmap_get(const prn_ptrmap *m, const void *key) {
  if (m->size == 0) return NULL;
  uint32_t at = *probe_ptr(m, key);
  return at ? m->entries[at - 1].value : NULL;
}

void **prn_ptrmap_slot(prn_ptrmap *m, const void *key) {
  if (m->size == m->cap) grow_ptr(m);
  uint32_t *slot = probe_ptr(m, key);
  if (*slot == 0) {
    m->entries[m->size] = (prn_ptrmap_entry){key, NULL};
    *slot = (uint32_t)++m->size;
  }
  return &m->entries[*slot - 1].value;
}
