/* The driver behind prune-opt, for other tools that bring their own passes. */
#ifndef PRN_TOOLS_OPT_MAIN_H
#define PRN_TOOLS_OPT_MAIN_H

#include "passes/pipeline.h"

/* Exit status of prune-opt: 0, or 1 after a diagnostic. */
int prn_opt_main(int argc, char **argv, prn_registry *registry);

#endif
