/* What prune-reduce takes away: edits of a module, and of a pipeline's text.
 *
 * An edit kind sees a module as a row of places, 0 to count - 1, in an order
 * that depends on the module alone, and changes those in [from, from + n).
 * Every change leaves less: fewer nodes, constants that are not zero,
 * attributes, inputs, outputs or functions; so that reducing ends. What an edit
 * leaves need not be valid. */
#ifndef PRN_TOOLS_REDUCE_H
#define PRN_TOOLS_REDUCE_H

#include "ir/op.h"

typedef struct prn_edit {
  const char *what; /* "nodes that become inputs" */
  size_t (*count)(prn_module *m);
  /* False when nothing has changed. */
  bool (*apply)(prn_module *m, size_t from, size_t n);
} prn_edit;

extern const prn_edit prn_edits[]; /* what takes most away first; ends with a
                                      NULL `what` */

/* The same for the text of a pipeline: passes, options, and nests of which the
 * inside stays. Appends what is left when place i goes; false past the end. */
PRN_NODISCARD bool prn_edit_pipeline(prn_str text, size_t i, prn_strbuf *out);

#endif
