/* From a model file to the mem dialect: what prunec and prune-run share. */
#ifndef PRN_TOOLS_LOWERING_H
#define PRN_TOOLS_LOWERING_H

#include "backends/llvm/compile.h"
#include "ir/op.h"
#include "tools/cli.h"

typedef struct prn_lowering {
  const char *recipe;    /* file with passes to run first, or NULL */
  const char *pipeline;  /* their text, or NULL */
  const char *precision; /* of weights: f32 (NULL), bf16 or f16 */
  prn_cli_list dims;     /* "batch=1" */
  prn_tile tile;         /* of the target */
  const char *costs;     /* rows of its cost table to replace, or NULL */
  unsigned threads;
  bool verbose; /* statistics of the passes to stderr */
} prn_lowering;

/* Reports and fails unless name can begin the names of symbols in C. */
PRN_NODISCARD prn_status prn_check_prefix(prn_diag_sink *sink,
                                          const char *name);

/* Reads the model at path and lowers it. Models that are in the nn or mem
 * dialect already start from there. */
PRN_NODISCARD prn_status prn_lower_file(prn_ctx *ctx, const char *path,
                                        const prn_lowering *how,
                                        prn_module **out);
/* The same for n targets, which `how` differs in: a module for each. Passes
 * up to the nn dialect run once, as how[0] says. */
PRN_NODISCARD prn_status prn_lower_variants(prn_ctx *ctx, const char *path,
                                            const prn_lowering *how, size_t n,
                                            prn_module **out);

#endif
