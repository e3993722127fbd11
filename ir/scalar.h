/* The scalar functions of nn.unary and nn.binary, by name and number. */
#ifndef PRN_IR_SCALAR_H
#define PRN_IR_SCALAR_H

#include "ir/type.h"

#define SCALAR(name, arity, doc) PRN_SCALAR_##name,
typedef enum prn_scalar {
#include "ir/scalar.def"
  PRN_SCALAR_COUNT
} prn_scalar;
#undef SCALAR

/* PRN_SCALAR_COUNT when the name is none of them. */
prn_scalar prn_scalar_find(prn_str name);
const char *prn_scalar_name(prn_scalar f);
const char *prn_scalar_doc(prn_scalar f);
int prn_scalar_arity(prn_scalar f);
/* Whether it is defined on values of the element type; a backend may have
 * fewer. */
bool prn_scalar_takes(prn_scalar f, prn_dtype t);
/* The result is i1 whatever the operands are. */
bool prn_scalar_is_predicate(prn_scalar f);

#endif
