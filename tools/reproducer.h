/* Crash reproducers: one file from which one command runs a failure again.
 *
 *   // prune reproducer 1
 *   // run: prune-opt --run-reproducer FILE
 *   // version: 0.1.0
 *   // pass: 3 select-nm{n=2 m=4}        what was running
 *   // plugin: "test.so"                 any number of them
 *   // profile: "calib.prof"             if there was one
 *   // pipeline: score-magnitude,select-nm{n=2 m=4}
 *   // input: "model.onnx" 1234          then that many bytes, or 0 and the
 *                                        file of that name is read
 *
 * The file is written by a signal handler, so everything but the number of the
 * running pass is prepared before passes run. */
#ifndef PRN_TOOLS_REPRODUCER_H
#define PRN_TOOLS_REPRODUCER_H

#include "passes/manager.h"
#include "tools/cli.h"

typedef struct prn_reproducer {
  prn_instrument base;
  const char *path;
  prn_strbuf temp, header, input_line, pass;
  const void *input;
  size_t input_size;
  bool written;
} prn_reproducer;

/* Prepares everything and takes over the signals of crashes. profile: the file
 * of --profile, or NULL. */
void prn_reproducer_begin(prn_reproducer *r, const char *path,
                          const prn_pipeline *pipeline,
                          const prn_cli_list *plugins, const char *profile,
                          prn_file *input);
/* Gives the signals back. */
void prn_reproducer_end(prn_reproducer *r);

typedef struct prn_reproduced {
  prn_str pipeline, profile; /* profile: empty when there was none */
  prn_cli_list plugins;      /* the list is the caller's to free */
  prn_file *input;           /* to be released */
} prn_reproduced;

/* Reads a reproducer; strings live in the context. */
PRN_NODISCARD prn_status prn_reproducer_read(prn_ctx *ctx, const char *path,
                                             prn_reproduced *out);

#endif
