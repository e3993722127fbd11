/* Reference documentation from the operator tables. */
#ifndef PRN_IR_DOCS_H
#define PRN_IR_DOCS_H

#include "ir/support/str.h"

/* docs/ops.md: every operator of every dialect, as Markdown. */
void prn_ops_docs(prn_strbuf *b);

#endif
