/* Progress of long work, for people at a terminal only. */
#ifndef PRN_TOOLS_PROGRESS_H
#define PRN_TOOLS_PROGRESS_H

#include "passes/manager.h"

typedef struct prn_progress {
  prn_instrument base;
  size_t total, at;
  double start;
  bool watched, shown;
} prn_progress;

/* Of passes. False when standard error is no terminal: then nobody watches. */
bool prn_progress_init(prn_progress *p, const prn_pipeline *pipeline);

/* Of anything else: about `total` steps (0: nobody knows), each named as it
 * begins. Shows nothing where nobody watches. */
void prn_progress_begin(prn_progress *p, size_t total);
void prn_progress_step(prn_progress *p, const char *what);
void prn_progress_end(prn_progress *p);

#endif
