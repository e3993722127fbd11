/* Unified differences of two texts, line by line.
 *
 * E. W. Myers, "An O(ND) difference algorithm and its variations", 1986. */
#ifndef PRN_PASSES_DIFF_H
#define PRN_PASSES_DIFF_H

#include "ir/support/str.h"

/* Appends "--- a_name", "+++ b_name" and hunks with three lines of context;
 * nothing when the texts are equal. Texts that differ in more than some
 * thousand lines come out as one replaced block. */
void prn_diff_unified(const char *a_name, const char *b_name, prn_str a,
                      prn_str b, prn_strbuf *out);

#endif
