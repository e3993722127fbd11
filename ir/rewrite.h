/* Rewriting: declared rules and the greedy driver that applies them.
 *
 * A rule is a pattern over operations, a condition and a builder. It must
 * keep the type and the value of what it replaces, bit for bit, and leave
 * less work than it found, so that rewriting ends. Rules are static tables:
 *
 *   const prn_rule prn_rules_relu[] = {
 *       {"relu-relu", "Relu(Relu(x)) = Relu(x)",
 *        PRN_MATCH(onnx_Relu, PRN_MATCH_AS(R, onnx_Relu, PRN_VAR(X))), NULL,
 *        take_r},
 *       {.name = NULL}};
 *
 * The operands of a commutative operation match in either order; a slot that
 * occurs twice stands for the same value. Operands that a pattern does not
 * mention are left to the condition. */
#ifndef PRN_IR_REWRITE_H
#define PRN_IR_REWRITE_H

#include "ir/op.h"

enum { PRN_PAT_ARGS = 4, PRN_PAT_SLOTS = 8 };

typedef enum prn_pat_kind {
  PRN_PAT_NONE,  /* end of the arguments */
  PRN_PAT_VAR,   /* any value that is there */
  PRN_PAT_CONST, /* a constant that is the same in every run */
  PRN_PAT_OP     /* a result 0 of such an operation */
} prn_pat_kind;

typedef struct prn_pat prn_pat;
struct prn_pat {
  prn_pat_kind kind;
  prn_opcode op;
  uint8_t slot; /* binds the matched value; 0 binds nothing */
  const prn_pat *args[PRN_PAT_ARGS];
};

/* Pattern trees are static data: compound literals at file scope. */
#define PRN_VAR(s)           (&(const prn_pat){.kind = PRN_PAT_VAR, .slot = (s)})
#define PRN_CONST(s)         (&(const prn_pat){.kind = PRN_PAT_CONST, .slot = (s)})
#define PRN_MATCH(name, ...) PRN_MATCH_AS(0, name, __VA_ARGS__)
#define PRN_MATCH_AS(s, name, ...)       \
  (&(const prn_pat){.kind = PRN_PAT_OP,  \
                    .op = PRN_OP_##name, \
                    .slot = (s),         \
                    .args = {__VA_ARGS__}})

typedef struct prn_rewriter prn_rewriter;

typedef struct prn_match {
  prn_op *root;
  prn_value *at[PRN_PAT_SLOTS];
} prn_match;

typedef struct prn_rule {
  const char *name;     /* kebab-case; statistics, remarks and tests use it */
  const char *identity; /* the algebra, for docs/rules.md */
  const prn_pat *lhs;   /* its root is an operation */
  bool (*where)(const prn_match *m); /* NULL: always */
  /* The value that replaces result 0 of the root; NULL: not after all. */
  prn_value *(*build)(prn_rewriter *rw, const prn_match *m);
} prn_rule;

typedef struct prn_rewrite_config {
  const prn_rule *const *sets; /* ends with NULL; each set ends with no name */
  /* Called after a rule was applied; root is about to go. May be NULL. */
  void (*applied)(void *user, const prn_rule *rule, const prn_op *root);
  void *user;
} prn_rewrite_config;

/* Applies the rules until none fits; linear in operations plus rewrites.
 * Reports a set of rules that does not come to an end. */
PRN_NODISCARD prn_status prn_rewrite_greedy(prn_module *m,
                                            const prn_rewrite_config *config);

/* ---- for builders ---- */
prn_module *prn_rw_module(const prn_rewriter *rw);
/* A new operation before the root, with one result. */
prn_op *prn_rw_op(prn_rewriter *rw, prn_opcode code, prn_value *const *operands,
                  uint32_t num_operands, const prn_type *result);

/* ---- questions ---- */
/* Whether an attribute of op is one of the function's around it, so that its
 * value is not known here. */
bool prn_op_has_parameters(const prn_op *op);
/* The tensor of a constant that no run can change: an initializer that is a
 * graph input too is only a default since IR version 4. NULL otherwise. */
const prn_tensor *prn_value_fixed(const prn_value *v);

/* ---- replacing values that the outside world may know by name ---- */

/* Whether op may be erased: it has no effect, nothing uses its results, and it
 * is no default value of a graph input. */
bool prn_op_is_dead(const prn_op *op);
/* Whether v leaves its block: an operand of the block's terminator. */
bool prn_value_is_output(const prn_value *v);
/* Whether every use of `from` may become one of `to` such that the outputs of
 * graphs keep their names. `to` must be defined where `from` is used. */
bool prn_value_can_replace(const prn_value *from, const prn_value *to);
/* Does it; `to` takes over the name where outputs need it, or when it has
 * none. The operation of `from` is for the caller to erase. */
void prn_value_replace(prn_value *from, prn_value *to);

#endif
