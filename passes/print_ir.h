/* The instrument behind --print-ir-*: the module around passes. */
#ifndef PRN_PASSES_PRINT_IR_H
#define PRN_PASSES_PRINT_IR_H

#include <stdio.h>

#include "passes/manager.h"

typedef struct prn_print_ir {
  prn_instrument base;
  const char *before, *after; /* "a,b" names of passes, "" all, NULL none */
  bool after_change;          /* after passes that changed something */
  bool diff;                  /* as a unified diff */
  FILE *out;
  prn_strbuf text, previous; /* the module now and before the pass */
} prn_print_ir;

/* Whether anything was asked for; then base is ready for the manager. */
bool prn_print_ir_init(prn_print_ir *p);
void prn_print_ir_destroy(prn_print_ir *p);
/* Reports names in lists that are no passes. */
PRN_NODISCARD prn_status prn_print_ir_check(const prn_print_ir *p,
                                            const prn_registry *r,
                                            prn_diag_sink *sink);

#endif
