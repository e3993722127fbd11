/* Recipes: pipelines in files, of the user's or shipped with the tools, which
 * are in ../share/prune/recipes beside the folder of the executable. */
#ifndef PRN_TOOLS_RECIPE_H
#define PRN_TOOLS_RECIPE_H

#include "passes/pipeline.h"
#include "tools/cli.h"

/* Takes the variables of -D. Reports and fails. */
PRN_NODISCARD prn_status prn_recipe_define(prn_diag_sink *sink,
                                           const prn_cli_list *defines,
                                           prn_variables *out);
/* Appends the passes of the recipe: a file, or the name of a shipped one. */
PRN_NODISCARD prn_status prn_recipe_add(prn_ctx *ctx, const prn_registry *r,
                                        const char *name,
                                        prn_variables *variables,
                                        prn_pipeline *out);
/* The names of the shipped recipes, each with the first line of the comment on
 * its top. Reports and fails where they cannot be read. */
PRN_NODISCARD prn_status prn_recipe_list(prn_diag_sink *sink, prn_strbuf *b);

#endif
