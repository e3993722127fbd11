/* Variables of recipes: ${NAME} or ${NAME:DEFAULT} in a recipe is what the
 * command line says NAME is (-D NAME=VALUE), or its default.
 *
 * A default holds for the mentions behind it too. It is any text without '}'
 * on one line. */
#ifndef PRN_PASSES_VARIABLES_H
#define PRN_PASSES_VARIABLES_H

#include "ir/support/arena.h"
#include "ir/support/diag.h"

typedef struct prn_variable {
  prn_str name, given, dflt;
  bool is_given, has_dflt;
  bool used; /* by a recipe */
} prn_variable;

/* Zero bytes are a valid empty set. Names and values are borrowed. */
typedef struct prn_variables {
  prn_variable *at;
  size_t size, cap;
} prn_variables;

void prn_variables_destroy(prn_variables *v);
/* Takes "NAME=VALUE"; of two, the last counts. Reports and fails. */
PRN_NODISCARD prn_status prn_variables_give(prn_variables *v,
                                            prn_diag_sink *sink,
                                            const char *text);
/* The value of what stands between "${" and "}"; or appends to why there is
 * none. */
PRN_NODISCARD bool prn_variables_find(prn_variables *v, prn_str mention,
                                      prn_str *out, prn_strbuf *why);
/* After all recipes: reports and fails when one was given that none uses. */
PRN_NODISCARD prn_status prn_variables_check(const prn_variables *v,
                                             prn_diag_sink *sink);

#endif
