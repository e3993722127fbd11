/* State of the verifier. Private to ir/verify*.c. Checks report and count
 * themselves as failed; they do not stop each other. */
#ifndef PRN_IR_VERIFIER_H
#define PRN_IR_VERIFIER_H

#include "ir/verify.h"

typedef struct prn_verifier {
  prn_module *module;
  prn_ctx *ctx;
  bool failed;
  int64_t operands;  /* met in operations */
  int64_t uses;      /* met in lists of uses */
  prn_map functions; /* domain, name, overload -> prn_verify_fn */
  prn_arena arena;
  /* of the top-level operation at hand */
  prn_op *top;
  const prn_op *graph;     /* the one met so far */
  const prn_attr *imports; /* operator sets; NULL: not said, all is allowed */
  int64_t opset;           /* version of the standard domain */
} prn_verifier;

typedef struct prn_verify_fn {
  prn_op *op;
  struct prn_verify_fn **calls;
  size_t num_calls, cap_calls, next;
  int state;
  bool reported;
} prn_verify_fn;

PRN_PRINTF(3, 4)
void prn_verify_fail(prn_verifier *v, const prn_op *op, const char *fmt, ...);

/* ir/verify_table.c: operands, results and attributes against the row. True
 * when nothing was found, so that the operator's hook may rely on it. */
bool prn_verify_table(prn_verifier *v, prn_op *op);
/* ir/verify_data.c */
void prn_verify_type(prn_verifier *v, prn_op *op, const prn_value *value);
void prn_verify_attrs(prn_verifier *v, prn_op *op);
void prn_verify_constant(prn_verifier *v, prn_op *op);

/* ir/verify_module.c */
/* Version of the domain in force: INT64_MAX when nothing is said about
 * operator sets, 0 when this one is not imported. */
int64_t prn_verify_version(const prn_verifier *v, prn_str domain);
void prn_verify_imports(prn_verifier *v, prn_op *op, const prn_attr *imports);
void prn_verify_find_functions(prn_verifier *v);
/* True when op calls a model-local function; checks the call. */
bool prn_verify_call(prn_verifier *v, prn_op *op);
void prn_verify_recursion(prn_verifier *v);

#endif
