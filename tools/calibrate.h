/* What kernels cost on this machine, measured: a cost table for nn-plan
 * (passes/lower/machine.h). */
#ifndef PRN_TOOLS_CALIBRATE_H
#define PRN_TOOLS_CALIBRATE_H

#include "backends/llvm/spec.h"
#include "ir/support/diag.h"

/* Measures for about so many seconds, besides what compiling takes, and
 * appends the table as prn_machine_costs reads it. Reports and fails when the
 * target's code cannot run here. */
PRN_NODISCARD prn_status prn_calibrate(prn_diag_sink *sink,
                                       const prn_target_spec *target,
                                       double seconds, prn_strbuf *out);

#endif
