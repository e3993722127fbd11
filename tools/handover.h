/* Handing the module to a prune-run that runs as a child: as a file without a
 * name, which is gone when the tool is, however it ends. */
#ifndef PRN_TOOLS_HANDOVER_H
#define PRN_TOOLS_HANDOVER_H

#include "ir/op.h"
#include "tools/child.h"

enum { PRN_HANDOVER_PATH = 32 };

/* The path of the prune-run in the folder of this program. Reports and fails,
 * in the name of the option that needs it, when there is none. */
PRN_NODISCARD prn_status prn_handover_tool(prn_diag_sink *sink,
                                           const char *option, prn_strbuf *out);
/* Writes the module as an ONNX model: a descriptor, or -1 and why. ctx is that
 * of the module. */
int prn_handover_write(prn_ctx *ctx, prn_module *m, prn_strbuf *why);
/* How a child, too, opens what descriptor fd holds. */
const char *prn_handover_path(int fd, char path[PRN_HANDOVER_PATH]);

/* The line at s.data[*at]; false at the end. */
PRN_NODISCARD bool prn_child_line(prn_str s, size_t *at, prn_str *line);
/* "node 'x' (Op): text" of the first error that a child printed, or how it
 * ended. */
void prn_child_error(const prn_child *c, prn_strbuf *b);

#endif
