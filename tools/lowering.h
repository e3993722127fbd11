/* From a model file to the mem dialect: what prunec and prune-run share. */
#ifndef PRN_TOOLS_LOWERING_H
#define PRN_TOOLS_LOWERING_H

#include "backends/llvm/compile.h"
#include "ir/op.h"
#include "ir/profile.h"
#include "tools/array.h"
#include "tools/cli.h"

typedef struct prn_lowering {
  const char *recipe;    /* passes to run first, as recipe.h has it, or NULL */
  prn_cli_list defines;  /* of its variables: "sparsity=0.7" */
  const char *pipeline;  /* their text, or NULL */
  const char *profile;   /* file for the passes that run first, or NULL */
  const char *precision; /* of weights: f32 (NULL), bf16 or f16 */
  const char *gpu; /* NULL, or whose table plans for the CUDA backend; then
                      precision is that of activations, too */
  prn_cli_list dims;     /* "batch=1" */
  prn_cli_list elements; /* of sequences and optionals: "images=3" */
  const prn_arrays *given; /* NULL, or what inputs are: they say how many
                              elements and dimensions there are, where the
                              model does not */
  prn_arrays *bound; /* NULL, or: inputs that decide sizes become constants, and
                        are added */
  bool *fitted;      /* NULL, or set when the model was fitted to `elements` or
                        to what is given */
  prn_target_spec target;
  prn_tile tile;     /* of the target */
  const char *table; /* file with rows of its cost table, or NULL */
  const char *tune;  /* file with what was tuned, or NULL: tune.h */
  unsigned threads;
  prn_profile *observe; /* NULL, or one that gets what to observe: below */
  bool observe_layers;  /* also how much residual layers change */
  prn_cli_list values;  /* names: these alone, and nothing else is computed */
  bool verbose; /* to stderr: what was planned, statistics of the passes */
} prn_lowering;

/* Reports and fails unless name can begin the names of symbols in C. */
PRN_NODISCARD prn_status prn_check_prefix(prn_diag_sink *sink,
                                          const char *name);

/* Reads the model at path and lowers it. With how->observe, what weights are
 * multiplied with become outputs after the passes that run first; *observe,
 * which keeps its `block`, is then the model's, with an observation for each of
 * these outputs. Models that are in the nn or mem
 * dialect already start from there. */
PRN_NODISCARD prn_status prn_lower_file(prn_ctx *ctx, const char *path,
                                        const prn_lowering *how,
                                        prn_module **out);
/* The same for n targets, which `how` differs in: a module for each. Passes
 * up to the nn dialect run once, as how[0] says. */
PRN_NODISCARD prn_status prn_lower_variants(prn_ctx *ctx, const char *path,
                                            const prn_lowering *how, size_t n,
                                            prn_module **out);

/* A copy of m that shares its weights. */
prn_module *prn_lower_copy(const prn_module *m);
/* Lowers m, in the nn dialect and with formats chosen, for a target. */
PRN_NODISCARD prn_status prn_lower_planned(prn_module *m, const prn_tile *tile);

#endif
