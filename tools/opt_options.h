/* Settings of prune-opt, as its command line gives them. */
#ifndef PRN_TOOLS_OPT_OPTIONS_H
#define PRN_TOOLS_OPT_OPTIONS_H

#include "tools/cli.h"

typedef struct prn_opt_settings {
  const char *output, *emit, *data, *profile;
  prn_cli_list plugins, calibration, defines;
  int64_t threads;
  bool list_passes, list_recipes, print_pipeline;
  const char *emit_docs;
  bool verify_each;
  const char *numerics; /* number of random inputs; NULL: no check */
  double tolerance;
  bool split_input, verify_diagnostics, verify_roundtrip;
  const char *print_before, *print_after;
  bool print_after_all, print_after_change, print_diff, print_locations;
  const char *stats;
  bool time_passes;
  const char *remarks, *report;
  const char *crash_reproducer, *run_reproducer;
} prn_opt_settings;

extern const prn_cli prn_opt_cli;

#endif
