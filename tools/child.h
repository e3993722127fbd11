/* Other programs, run as children without a shell; what they print is kept. */
#ifndef PRN_TOOLS_CHILD_H
#define PRN_TOOLS_CHILD_H

#include "ir/support/diag.h"

typedef struct prn_child {
  int status; /* the exit code, or 128 + N when signal N ended it */
  prn_strbuf out, err;
} prn_child;

/* Runs the program at path argv[0] to its end; argv ends with NULL. Its
 * standard input is empty, and the descriptors in keep are open in it under
 * the same numbers. Reports and fails when it cannot be started. */
PRN_NODISCARD prn_status prn_child_run(prn_diag_sink *sink,
                                       const char *const *argv, const int *keep,
                                       size_t num_keep, prn_child *out);
void prn_child_destroy(prn_child *c);

#endif
