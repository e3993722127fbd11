#include "ir/scalar.h"

typedef struct row {
  const char *name, *doc;
  int arity;
} row;

static const row rows[PRN_SCALAR_COUNT] = {
#define SCALAR(name, arity, doc) [PRN_SCALAR_##name] = {#name, doc, arity},
#include "ir/scalar.def"
#undef SCALAR
};

prn_scalar prn_scalar_find(prn_str name) {
  for (int i = 0; i < PRN_SCALAR_COUNT; i++)
    if (prn_str_is(name, rows[i].name)) return (prn_scalar)i;
  return PRN_SCALAR_COUNT;
}

const char *prn_scalar_name(prn_scalar f) { return rows[f].name; }
const char *prn_scalar_doc(prn_scalar f) { return rows[f].doc; }
int prn_scalar_arity(prn_scalar f) { return rows[f].arity; }

bool prn_scalar_takes(prn_scalar f, prn_dtype t) {
  bool is_float = prn_dtype_is_float(t), is_bool = t == PRN_BOOL;
  switch (f) {
  case PRN_SCALAR_COUNT:
    return false;
  case PRN_SCALAR_and:
  case PRN_SCALAR_or:
  case PRN_SCALAR_xor:
  case PRN_SCALAR_not:
    return is_bool;
  case PRN_SCALAR_bitand:
  case PRN_SCALAR_bitor:
  case PRN_SCALAR_bitxor:
  case PRN_SCALAR_bitnot:
  case PRN_SCALAR_shl:
  case PRN_SCALAR_shr:
    return !is_float && !is_bool;
  case PRN_SCALAR_add:
  case PRN_SCALAR_mul:
  case PRN_SCALAR_max:
  case PRN_SCALAR_min:
    return true;
  case PRN_SCALAR_sub:
  case PRN_SCALAR_div:
  case PRN_SCALAR_pow:
  case PRN_SCALAR_mod:
  case PRN_SCALAR_fmod:
  case PRN_SCALAR_abs:
  case PRN_SCALAR_neg:
  case PRN_SCALAR_relu:
  case PRN_SCALAR_sign:
  case PRN_SCALAR_floor:
  case PRN_SCALAR_ceil:
  case PRN_SCALAR_round:
    return !is_bool;
  default:
    return is_float || prn_scalar_arity(f) == 2; /* comparisons */
  }
}

bool prn_scalar_is_predicate(prn_scalar f) {
  switch (f) {
  case PRN_SCALAR_not:
  case PRN_SCALAR_isnan:
  case PRN_SCALAR_isinf:
  case PRN_SCALAR_and:
  case PRN_SCALAR_or:
  case PRN_SCALAR_xor:
  case PRN_SCALAR_eq:
  case PRN_SCALAR_ne:
  case PRN_SCALAR_lt:
  case PRN_SCALAR_le:
  case PRN_SCALAR_gt:
  case PRN_SCALAR_ge:
    return true;
  default:
    return false;
  }
}
