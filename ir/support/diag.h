/* Diagnostics: severities, locations, carets.
 *
 * Every message to the user goes through a sink. The default handler prints
 *   file:line:col: error: text          (text input; then the line and a caret)
 *   file: node 'name' (Op): error: text (ONNX input)
 *   error: text                         (no place to point at)
 * Messages are lower case, name the thing, and say expected and found. */
#ifndef PRN_IR_SUPPORT_DIAG_H
#define PRN_IR_SUPPORT_DIAG_H

#include <stdarg.h>
#include <stdio.h>

#include "ir/support/str.h"

typedef enum prn_severity {
  PRN_ERROR,
  PRN_WARNING,
  PRN_REMARK,
  PRN_NOTE,
} prn_severity;

/* A place in an input. file is interned or static, NULL when unknown;
 * line and col count from 1, line 0 means "no line" (binary input). */
typedef struct prn_loc {
  const char *file;
  uint32_t line, col;
} prn_loc;

typedef struct prn_diag {
  prn_severity severity;
  prn_loc loc;
  prn_str subject; /* "node 'x' (Conv)", may be empty */
  prn_str text;
} prn_diag;

typedef void prn_diag_fn(void *user, const prn_diag *d);

/* A text input that carets may quote. */
typedef struct prn_diag_source {
  const char *file;
  prn_str text;
} prn_diag_source;

/* Zero bytes are a valid sink that prints to stderr. */
typedef struct prn_diag_sink {
  prn_diag_fn *handler; /* NULL: print to stderr */
  void *user;
  size_t errors, warnings;
  size_t limit; /* errors printed before the rest is only counted; 0: 100 */
  prn_diag_source *sources;
  size_t num_sources;
} prn_diag_sink;

void prn_diag_sink_destroy(prn_diag_sink *s);
/* Makes text quotable under carets; borrowed until the sink is destroyed. */
void prn_diag_add_source(prn_diag_sink *s, const char *file, prn_str text);

/* Reports one message. Always returns PRN_FAIL for errors, PRN_OK otherwise. */
PRN_PRINTF(5, 6)
prn_status prn_diag_emit(prn_diag_sink *s, prn_severity severity, prn_loc loc,
                         prn_str subject, const char *fmt, ...);
PRN_PRINTF(5, 0)
prn_status prn_diag_vemit(prn_diag_sink *s, prn_severity severity, prn_loc loc,
                          prn_str subject, const char *fmt, va_list ap);

/* What the default handler prints, newline included. */
void prn_diag_format(const prn_diag_sink *s, const prn_diag *d,
                     prn_strbuf *out);

#endif
