/* What planning has to know of the machine that code is generated for: how
 * wide its vectors are, and what each family of kernels costs there. */
#ifndef PRN_PASSES_LOWER_MACHINE_H
#define PRN_PASSES_LOWER_MACHINE_H

#include "ir/support/diag.h"
#include "ir/support/str.h"

enum { PRN_COST_VALUES = 8 };

typedef enum prn_cost {
#define COST(name, values, doc) PRN_COST_##name,
#include "passes/lower/costs.def"
#undef COST
  PRN_COST_COUNT
} prn_cost;

typedef struct prn_cost_info {
  const char *name, *doc;
  int values;
} prn_cost_info;
extern const prn_cost_info prn_costs[PRN_COST_COUNT];

typedef struct prn_machine {
  const char *name;
  int64_t lanes, registers; /* f32 in a vector; vector registers */
  bool dot16, dot8;         /* sums of pairs, of four bytes: instructions */
  double cost[PRN_COST_COUNT][PRN_COST_VALUES];
} prn_machine;

/* x86-64-v2, -v3, -v4 or aarch64; false when it is none of them. */
bool prn_machine_find(prn_str name, prn_machine *out);
/* Replaces the rows of the table that text names:
 *
 *   # comments end with the line
 *   machine=x86-64-v4          the rows that follow are for this one alone
 *   rows=1.2/1.1/1.03/1.02     so many values as costs.def says
 *   byte=0.2, turn=0.3         a comma is as good as a line
 *
 * On a mistake *why gets static text and *at the part that is wrong. Rows for
 * other machines are checked, but not taken; it is a mistake when there are
 * no others. */
bool prn_machine_costs(prn_machine *m, prn_str text, const char **why,
                       prn_str *at);
/* Appends the whole table as such a text, rows separated by `between`. */
void prn_machine_print(const prn_machine *m, const char *between,
                       prn_strbuf *b);

#endif
