/* Symbolic dimensions: integer expressions over the sizes a model's inputs
 * leave open ("batch", "sequence").
 *
 * Expressions are uniqued and kept in a normal form (a sum of products with
 * sorted factors; everything that is not a polynomial is an opaque factor),
 * so two sizes that are equal as polynomials are equal as pointers. All values
 * are non-negative int64 in a well-formed model; constant arithmetic that
 * overflows gives the unknown dimension, and so do expressions of more than a
 * few hundred parts. */
#ifndef PRN_IR_DIM_H
#define PRN_IR_DIM_H

#include "ir/context.h"

typedef enum prn_dim_kind {
  PRN_DIM_UNKNOWN, /* '?': nothing is known */
  PRN_DIM_CONST,
  PRN_DIM_SYM,
  PRN_DIM_MUL, /* args: optional constant coefficient first, then factors */
  PRN_DIM_ADD, /* args: terms; a constant term comes last */
  PRN_DIM_FLOORDIV, /* args: a, b */
  PRN_DIM_MOD,
  PRN_DIM_MIN, /* two or more args, none of which is always the choice */
  PRN_DIM_MAX,
} prn_dim_kind;

typedef struct prn_dim_expr prn_dim_expr;
typedef const prn_dim_expr *prn_dim;
struct prn_dim_expr {
  prn_dim_kind kind;
  uint32_t num_args;
  uint32_t size; /* expressions in it, as printed; bounded */
  int64_t value; /* CONST */
  prn_str name;  /* SYM, interned */
  const prn_dim *args;
};

prn_dim prn_dim_unknown(prn_ctx *ctx);
prn_dim prn_dim_const(prn_ctx *ctx, int64_t value);
prn_dim prn_dim_sym(prn_ctx *ctx, prn_str name);
prn_dim prn_dim_add(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_sub(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_mul(prn_ctx *ctx, prn_dim a, prn_dim b);
/* Rounds towards minus infinity; exact polynomial division is simplified.
 * Division by the constant 0 is unknown. */
prn_dim prn_dim_floordiv(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_ceildiv(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_mod(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_min(prn_ctx *ctx, prn_dim a, prn_dim b);
prn_dim prn_dim_max(prn_ctx *ctx, prn_dim a, prn_dim b);

/* The size two dimensions broadcast to (numpy rule); false when they never do.
 * Of two that are not constants, one that is a minimum of the other is taken to
 * be equal to it; otherwise the answer is their maximum. */
PRN_NODISCARD bool prn_dim_broadcast(prn_ctx *ctx, prn_dim a, prn_dim b,
                                     prn_dim *out);

bool prn_dim_is_const(prn_dim d, int64_t *out_value);
/* Whether d is the constant `value`. */
static inline bool prn_dim_is(prn_dim d, int64_t value) {
  int64_t v;
  return prn_dim_is_const(d, &v) && v == value;
}
/* Whether d is a multiple of `by`, whatever its symbols are. */
bool prn_dim_is_multiple(prn_ctx *ctx, prn_dim d, int64_t by);
static inline bool prn_dim_known(prn_dim d) {
  return d->kind != PRN_DIM_UNKNOWN;
}
/* Replaces symbols: lookup returns NULL to keep one. */
prn_dim prn_dim_substitute(prn_ctx *ctx, prn_dim d,
                           prn_dim (*lookup)(void *user, prn_str name),
                           void *user);
/* The value under an assignment; false on an unknown part, a missing symbol
 * (lookup false), division by zero or overflow. */
PRN_NODISCARD bool
prn_dim_eval(prn_dim d, bool (*lookup)(void *user, prn_str name, int64_t *out),
             void *user, int64_t *out);
/* A total order that does not depend on addresses. */
int prn_dim_cmp(prn_dim a, prn_dim b);
/* Text form: 12, batch, 2*seq+1, floordiv(seq+3, 4), ?, "odd name". */
void prn_dim_print(prn_strbuf *b, prn_dim d);

#endif
