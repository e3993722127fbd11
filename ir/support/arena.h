/* Bump arenas: many small allocations, one free.
 *
 * Exhaustion ends the process: an arena holds the compiler's own structures,
 * whose size the importers bound. Memory that a user's file can ask for in bulk
 * comes from prn_try_alloc or from blobs instead, which can fail politely. */
#ifndef PRN_IR_SUPPORT_ARENA_H
#define PRN_IR_SUPPORT_ARENA_H

#include "ir/support/base.h"

typedef struct prn_arena_chunk prn_arena_chunk;
typedef struct prn_arena {
  prn_arena_chunk *head;
  char *at, *end;
  size_t used; /* bytes handed out, for statistics */
} prn_arena;

/* Zero bytes are a valid empty arena. */
void prn_arena_destroy(prn_arena *a);
/* Frees everything but the first chunk. */
void prn_arena_reset(prn_arena *a);

/* Zeroed memory, aligned to 16; lives until the arena is destroyed. */
void *prn_arena_alloc(prn_arena *a, size_t size);
void *prn_arena_copy(prn_arena *a, const void *data, size_t size);
#define PRN_ARENA_NEW(a, type) ((type *)prn_arena_alloc((a), sizeof(type)))
#define PRN_ARENA_ARRAY(a, type, n) \
  ((type *)prn_arena_alloc((a), prn_array_size(sizeof(type), (size_t)(n))))

/* size * n, aborting on overflow: for the compiler's own arrays. */
size_t prn_array_size(size_t size, size_t n);

/* What is called when there is no memory, with the size that was wanted; it
 * does not return, or the process aborts, as it does with NULL. Tools end with
 * an error. One for the process, to be set before other threads start. */
void prn_on_out_of_memory(void (*fn)(size_t size));
/* For who got NULL and has no way to say so. */
_Noreturn void prn_out_of_memory(size_t size);

/* malloc/realloc that never fail; free with prn_free. */
void *prn_alloc(size_t size);
void *prn_realloc(void *p, size_t size);
void prn_free(void *p);
/* malloc that may return NULL, for sizes that come from a file. */
void *prn_try_alloc(size_t size);

#endif
