/* The data of prune-opt --calibration, for passes that observe the module as it
 * is between them: the prune-run that lies beside this tool runs on it, as a
 * child, and hands its profile back. */
#ifndef PRN_TOOLS_CALIBRATION_H
#define PRN_TOOLS_CALIBRATION_H

#include "passes/manager.h"
#include "tools/cli.h"

typedef struct prn_calibration {
  prn_observer base;
  prn_ctx *ctx;
  const prn_cli_list *data; /* as prune-run --inputs takes it */
  int64_t threads;
  prn_strbuf tool; /* path of prune-run */
  int reference;   /* the model that profiles are paired with, or -1 */
} prn_calibration;

/* Reports and fails when there is no prune-run. ctx is that of the modules. */
PRN_NODISCARD prn_status prn_calibration_init(prn_calibration *c, prn_ctx *ctx,
                                              const prn_cli_list *data,
                                              int64_t threads);
/* Zero bytes are allowed. */
void prn_calibration_destroy(prn_calibration *c);

#endif
