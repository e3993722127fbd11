/* Residual branches: what can be left out of a network whole.
 *
 * Where a graph adds to a value something that it computed from that value,
 *
 *   y = x + f(x)
 *
 * f is a branch: a block of a ResNet, the attention or the FFN of a
 * transformer. With f's last weights zero, y is x, and the addition can go; so
 * can all that only f needed. */
#ifndef PRN_PASSES_ANALYSIS_BRANCHES_H
#define PRN_PASSES_ANALYSIS_BRANCHES_H

#include "passes/pass.h"

typedef struct prn_branch {
  prn_op *add;          /* y = x + f(x) */
  prn_value *in, *part; /* x, f(x) */
  prn_value *after;     /* what the next branch is added to, if it is made from
                         * y and shaped as it, else y */
  prn_op **ends;        /* constants: with all of them zero, f(x) is zero */
  size_t num_ends;
  prn_op **products; /* those of f that multiply, each behind what it uses */
  size_t num_products;
  bool chained;    /* the branch before leads to this one */
  const char *why; /* nothing makes f(x) zero, because ...; or NULL */
  const prn_op *why_op;
} prn_branch;

typedef struct prn_branches {
  prn_branch *at; /* in program order */
  size_t size;
} prn_branches;

/* The branches of the module's graphs, in memory of the arena. Takes time with
 * their operations. */
prn_branches prn_branches_find(prn_module *m, prn_arena *arena);

/* Finds the constants that make v zero when they are. NULL, or why there are
 * none: static text about *at. Also constants that have other uses. */
const char *prn_zero_ends(prn_value *v, prn_arena *arena, prn_op ***ends,
                          size_t *n, const prn_op **at);

/* ---- how much a branch changes what it is added to ---- */

/* The value of the cosine between `in` of one branch and `after` of the same
 * or a later one is called in a graph (observe-layers) and in profiles: */
prn_str prn_branch_angle_name(prn_ctx *ctx, const prn_branch *first,
                              const prn_branch *last);
/* Whether there can be such a value for branches [first, first + span): they
 * follow each other, and have names and floats. */
bool prn_branch_has_angle(const prn_branches *b, size_t first, size_t span);
/* The axis of channels of a branch: 1 behind convolutions, else -1. */
int32_t prn_branch_axis(const prn_branch *b);
enum { PRN_BRANCH_SPANS = 4 }; /* branches from `first` to `last`, at most */

/* ---- branches that go together ---- */

/* Runs of `span` branches that follow each other and can all go, none of them
 * in two: the numbers of their first ones, *n of them. */
size_t *prn_branch_runs(const prn_branches *b, size_t span, prn_arena *arena,
                        size_t *n);
/* Whether branches [first, first + span) follow each other. */
bool prn_branches_chained(const prn_branches *b, size_t first, size_t span);

#endif
