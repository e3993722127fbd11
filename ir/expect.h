/* Tests inside inputs: several modules in one file, expected diagnostics.
 *
 * `// -----` on a line of its own separates modules. An expectation is a
 * comment on the line of the diagnostic, or near it:
 *   // expected-error {{part of the message}}
 *   // expected-error@+1 {{...}}   @-2  @above  @below
 *   // expected-warning, expected-remark, expected-note
 *   // expected-error@unknown {{...}}   a diagnostic without a line
 * Several may stand on one line. */
#ifndef PRN_IR_EXPECT_H
#define PRN_IR_EXPECT_H

#include "ir/support/diag.h"

/* Calls fn for every part of text, with the number of its first line; stops
 * early only when fn asks for it by returning false. */
typedef bool prn_split_fn(void *user, prn_str part, uint32_t first_line);
void prn_split_input(prn_str text, prn_split_fn *fn, void *user);

typedef struct prn_expect prn_expect;

/* Reads the expectations of text and takes the sink's messages from then on.
 * Malformed expectations are reported by prn_expect_finish. */
prn_expect *prn_expect_begin(prn_diag_sink *sink, const char *file,
                             prn_str text, uint32_t first_line);
/* Gives the sink back as it was (error counts too), reports what was expected
 * and did not come and what came unexpectedly, and frees e. */
PRN_NODISCARD prn_status prn_expect_finish(prn_expect *e);

#endif
