/* The context: what outlives any one module.
 *
 * Owns the arena of uniqued types, attributes and strings, the blobs, and the
 * diagnostic sink. One context is used by one thread at a time; two contexts
 * share nothing. */
#ifndef PRN_IR_CONTEXT_H
#define PRN_IR_CONTEXT_H

#include "ir/support/arena.h"
#include "ir/support/diag.h"
#include "ir/support/map.h"

typedef struct prn_ctx prn_ctx;

prn_ctx *prn_ctx_create(void);
/* Frees everything made in the context, modules included. NULL is allowed. */
void prn_ctx_destroy(prn_ctx *ctx);

/* Lives as long as the context. */
prn_arena *prn_ctx_arena(prn_ctx *ctx);
prn_diag_sink *prn_ctx_diags(prn_ctx *ctx);

/* One copy per distinct string; the result is NUL-terminated and equal
 * interned strings have equal data pointers. */
prn_str prn_intern(prn_ctx *ctx, prn_str s);
prn_str prn_intern_cstr(prn_ctx *ctx, const char *s);

/* Where ir/blob.c keeps its scratch file. */
void **prn_ctx_scratch(prn_ctx *ctx);

/* Runs fn(p) when the context is destroyed, last registered first. */
void prn_ctx_on_destroy(prn_ctx *ctx, void (*fn)(void *p), void *p);

/* Uniquing for the IR's own immutable structures. Looks up a structure by
 * hash and eq(a, key); when absent, make(ctx, key) builds the stored one. */
const void *prn_ctx_unique(prn_ctx *ctx, uint64_t hash, const void *key,
                           bool (*eq)(const void *a, const void *key),
                           const void *(*make)(prn_ctx *ctx, const void *key));

#endif
