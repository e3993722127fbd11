/* Index spaces: what the indices of a dimension are made of.
 *
 * A space is an atom, a product of spaces (a mixed-radix number, the first
 * digit varies slowest) or a sum of spaces (one after the other). Equating two
 * spaces refines both until they have the same parts: 768 = 12 * 64 on one
 * side splits the atom of 768 on the other, and a cut at 384 cuts it. What is
 * an atom in the end is what can shrink by itself: an index removed from an
 * atom goes from every dimension that it is a part of.
 *
 * Sizes are symbolic (ir/dim.h). Spaces of size 1 are products of nothing. A
 * frozen atom must not shrink, a mixed one not without changing results, and
 * the indices of an ordered one must not change places: all three are kept for
 * whichever atoms come out of it. */
#ifndef PRN_PASSES_ANALYSIS_SPACE_H
#define PRN_PASSES_ANALYSIS_SPACE_H

#include "ir/op.h"

typedef enum prn_space_kind {
  PRN_SPACE_ATOM,
  PRN_SPACE_PRODUCT,
  PRN_SPACE_SUM
} prn_space_kind;

/* Why an atom must stay as it is, or what is computed along it. */
typedef struct prn_space_why {
  const prn_op *op; /* NULL: the graph itself */
  const char *text; /* NULL: no reason */
} prn_space_why;

typedef struct prn_space prn_space;
struct prn_space {
  prn_space *same; /* what this one was equated with; NULL: it stands for all */
  prn_space_kind kind;
  prn_dim size;
  uint32_t n; /* parts */
  prn_space **parts;
  prn_space_why frozen, mixed, ordered; /* of atoms */
  uint32_t id; /* atoms: scratch for who enumerates them */
};

typedef struct prn_spaces {
  prn_ctx *ctx;
  prn_arena arena;
  uint32_t depth; /* of the work that is going on */
} prn_spaces;

void prn_spaces_destroy(prn_spaces *s);

prn_space *prn_space_atom(prn_spaces *s, prn_dim size);
prn_space *prn_space_product(prn_spaces *s, prn_space *const *parts,
                             uint32_t n);
prn_space *prn_space_sum(prn_spaces *s, prn_space *const *parts, uint32_t n);

/* The space that stands for all that x was equated with. */
prn_space *prn_space_find(prn_space *x);

/* Makes two spaces of one size the same. False when their parts do not fit;
 * then parts of both may have been refined, and some equated. */
bool prn_space_equate(prn_spaces *s, prn_space *a, prn_space *b);
/* The same of two products given by their factors: how Reshape reads one
 * list of dimensions as another. */
bool prn_space_regroup(prn_spaces *s, prn_space *const *a, uint32_t na,
                       prn_space *const *b, uint32_t nb);
/* Cuts x behind its first `size` indices. A cut within a product's outer index
 * cuts its inner factor, too: (4 3) behind 8 is (2 3)+2 and 1+(1 3), with 3 =
 * 2+1. */
bool prn_space_cut(prn_spaces *s, prn_space *x, prn_dim size, prn_space **left,
                   prn_space **right);

/* Calls f for every atom of x, in the order of the parts; an atom that is
 * there several times is visited as often. */
void prn_space_atoms(prn_space *x, void (*f)(void *user, prn_space *atom),
                     void *user);
/* All atoms of x; a reason that is there already is kept. */
void prn_space_freeze(prn_space *x, prn_space_why why);
void prn_space_mix(prn_space *x, prn_space_why why);
void prn_space_order(prn_space *x, prn_space_why why);

/* "(12 64)", "(4+8)", "(h:12 64)" by ids: for tests and messages. */
void prn_space_print(prn_space *x, prn_strbuf *out);

#endif
