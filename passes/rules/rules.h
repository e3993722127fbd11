/* The rule sets, and the questions that conditions ask. */
#ifndef PRN_PASSES_RULES_RULES_H
#define PRN_PASSES_RULES_RULES_H

#include "ir/rewrite.h"

#define RULES(name, title) extern const prn_rule prn_rules_##name[];
#include "passes/rules.def"
#undef RULES

/* All sets, for prn_rewrite_config. */
extern const prn_rule *const prn_rule_sets[];
/* docs/rules.md. */
void prn_rules_docs(prn_strbuf *b);

enum { PRN_RULE_INTS = 64 };
typedef struct prn_rule_ints {
  int64_t v[PRN_RULE_INTS];
  size_t n;
} prn_rule_ints;

/* Integers that an operator takes from an attribute in old versions and from
 * a constant operand in new ones. False when they are absent or not known. */
bool prn_rule_ints_of(const prn_op *op, const char *attr, uint32_t operand,
                      prn_rule_ints *out);
/* Both are ranked with every size known, and equal. */
bool prn_rule_same_shape(const prn_value *a, const prn_value *b);
/* Every element of the constant is v; for zero also the sign is v's. */
bool prn_rule_all_equal(const prn_value *constant, double v);
/* Broadcasting c with x gives the shape of x. */
bool prn_rule_no_growth(const prn_value *x, const prn_value *c);
/* PRN_DTYPE_NONE when not known. */
prn_dtype prn_rule_dtype(const prn_value *v);

#endif
