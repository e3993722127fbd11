/* Progress of long work, for people at a terminal only. */
#ifndef PRN_TOOLS_PROGRESS_H
#define PRN_TOOLS_PROGRESS_H

#include "passes/manager.h"

typedef struct prn_progress {
  prn_instrument base;
  size_t total;
  double start;
  bool shown;
} prn_progress;

/* False when standard error is no terminal: then nobody watches. */
bool prn_progress_init(prn_progress *p, const prn_pipeline *pipeline);

#endif
