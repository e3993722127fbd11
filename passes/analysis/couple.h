/* Internal to the coupling analysis: what operators do to spaces. */
#ifndef PRN_PASSES_ANALYSIS_COUPLE_H
#define PRN_PASSES_ANALYSIS_COUPLE_H

#include "ir/relation.h"
#include "passes/analysis/coupling.h"

typedef struct prn_couple {
  prn_ctx *ctx;
  prn_coupling *out;
  prn_relation *relations; /* by opcode */
  bool *parsed;
} prn_couple;

/* Spaces of v's axes, NULL where a size is not known; NULL when v is absent or
 * its rank is not known. */
prn_space **prn_couple_dims(prn_couple *c, const prn_value *v);
/* Equates two spaces, or freezes both because op needs them as they are, or the
 * one that is there because the other's size is not known (NULL). */
void prn_couple_tie(prn_couple *c, const prn_op *op, prn_space *a,
                    prn_space *b);
void prn_couple_freeze(prn_space *x, const prn_op *op, const char *text);
/* All axes of a value. */
void prn_couple_freeze_value(prn_couple *c, const prn_value *v,
                             const prn_op *op, const char *text);
/* All that op touches. */
void prn_couple_opaque(prn_couple *c, const prn_op *op);
/* The axes of operands and results that broadcast together, as far as they
 * have the result's size. */
void prn_couple_elementwise(prn_couple *c, const prn_op *op);
/* The same of operand 0 alone: the others say how. */
void prn_couple_broadcast(prn_couple *c, const prn_op *op);
/* Integers of a constant operand or of an attribute, whichever is there; -1
 * when they are not constant, else their number, at most `most`. */
int32_t prn_couple_ints(const prn_op *op, uint32_t operand, const char *attr,
                        int64_t *out, int32_t most);

/* Orders what op goes by the numbers of (couple_order.c); it is tied. */
void prn_couple_order(prn_couple *c, const prn_op *op);
/* Orders x if the operand v, which the row of op does not relate, may have it
 * in one of its dimensions: biases of attention heads, scales of columns. */
void prn_couple_order_beside(const prn_op *op, const prn_value *v,
                             prn_space *x);

/* Whether v is a constant that masks of its groups make zero. */
bool prn_couple_is_masked(const prn_value *v);
/* Bit set of the axes that op sums over, or takes a norm along. */
bool prn_couple_sums(const prn_op *op, uint32_t *axes);
/* Mixes what is summed over where masks leave something (couple_zero.c);
 * everything is tied. */
void prn_couple_zeros(prn_couple *c, const prn_op *graph);

/* Terms of what a graph costs, and what an index of each group does
 * (coupling_cost.c); groups are there. */
void prn_couple_costs(prn_couple *c, const prn_op *graph);

/* Operators that are known by name (couple_move.c, couple_known.c); false when
 * this is none of them. */
bool prn_couple_move(prn_couple *c, const prn_op *op);
bool prn_couple_known(prn_couple *c, const prn_op *op);

#endif
