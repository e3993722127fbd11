/* Remarks: what passes did and did not do to each weight, with reasons.
 *
 * Written as the YAML that LLVM's opt-viewer and opt-stats read. */
#ifndef PRN_PASSES_REMARK_H
#define PRN_PASSES_REMARK_H

#include "passes/pass.h"

typedef struct prn_remark {
  prn_reason reason;
  const char *pass;
  prn_loc loc;
  prn_str function; /* the graph or function that holds the operation */
  prn_str subject;  /* "node 'x' (Conv)" */
  prn_str text;
} prn_remark;

typedef struct prn_remarks prn_remarks;
prn_remarks *prn_remarks_create(prn_ctx *ctx);
void prn_remarks_destroy(prn_remarks *r); /* NULL is allowed */
PRN_PRINTF(5, 0)
void prn_remarks_vadd(prn_remarks *r, const char *pass, const prn_op *op,
                      prn_reason reason, const char *fmt, va_list ap);
/* In the order in which they came. */
const prn_remark *prn_remarks_all(const prn_remarks *r, size_t *n);
void prn_remarks_yaml(const prn_remarks *r, prn_strbuf *b);

#endif
