/* Insertion-ordered hash map from byte strings to pointers.
 *
 * Iteration follows insertion, so nothing the compiler prints can depend on
 * hash order. Keys are borrowed and must outlive the map (interned strings,
 * or memory in the same arena). */
#ifndef PRN_IR_SUPPORT_MAP_H
#define PRN_IR_SUPPORT_MAP_H

#include "ir/support/str.h"

typedef struct prn_map_entry {
  prn_str key;
  uint64_t hash;
  void *value;
} prn_map_entry;

/* Zero bytes are a valid empty map. */
typedef struct prn_map {
  prn_map_entry *entries; /* in insertion order */
  uint32_t *slots;        /* entry index + 1, 0 free */
  size_t size, cap, mask;
} prn_map;

void prn_map_destroy(prn_map *m);
/* The value slot of key, or NULL when absent. Valid until the next insert. */
void **prn_map_find(const prn_map *m, prn_str key);
void *prn_map_get(const prn_map *m, prn_str key); /* NULL when absent */
/* The value slot of key, inserted as NULL when absent. */
void **prn_map_slot(prn_map *m, prn_str key);
/* Same with pointer keys: the key is the pointer's bits, stored by the map's
 * arena-free copy inside the entry. */
typedef struct prn_ptrmap_entry {
  const void *key;
  void *value;
} prn_ptrmap_entry;
typedef struct prn_ptrmap {
  prn_ptrmap_entry *entries;
  uint32_t *slots;
  size_t size, cap, mask;
} prn_ptrmap;
void prn_ptrmap_destroy(prn_ptrmap *m);
void *prn_ptrmap_get(const prn_ptrmap *m, const void *key);
bool prn_ptrmap_has(const prn_ptrmap *m, const void *key);
void **prn_ptrmap_slot(prn_ptrmap *m, const void *key);

#endif
