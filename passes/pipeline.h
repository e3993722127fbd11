/* Pipelines: passes in order, as text and as a tree, and the running of them.
 *
 *   pipeline := item { (',' | whitespace) item }
 *   item     := NAME [ '{' options '}' ]                 a pass
 *             | NAME [ '(' options ')' ] '{' pipeline '}' a pass that nests
 *   options  := option { (',' | whitespace) option }
 *   option   := NAME [ '=' value ] | value               positional: strings
 *   value    := WORD | '"' text '"' | '[' value { ',' value } ']'
 *
 * '#' and '//' begin a comment to the end of the line. In words and strings of
 * a recipe, ${NAME:DEFAULT} is a variable: variables.h. What prn_pipeline_print
 * writes parses back to the same pipeline. */
#ifndef PRN_PASSES_PIPELINE_H
#define PRN_PASSES_PIPELINE_H

#include "passes/pass.h"
#include "passes/variables.h"

/* ---- which passes there are ---- */

/* Zero bytes are a valid empty registry. */
typedef struct prn_registry {
  const prn_pass **passes;
  size_t size, cap;
} prn_registry;

/* Adds every pass of passes.def. */
void prn_registry_add_all(prn_registry *r);
/* False when the name is taken. */
PRN_NODISCARD bool prn_registry_add(prn_registry *r, const prn_pass *p);
void prn_registry_destroy(prn_registry *r);
const prn_pass *prn_registry_find(const prn_registry *r, prn_str name);
/* Appends " (did you mean 'x'?)" when a pass has a similar name. */
void prn_registry_suggest(const prn_registry *r, prn_str name, prn_strbuf *b);

/* ---- the tree ---- */

typedef struct prn_pipeline prn_pipeline;
typedef struct prn_pipeline_item {
  const prn_pass *pass;
  void *opts;
  void *stats;
  uint64_t given; /* bit i: option i was written by the user */
  prn_pipeline *body;
  prn_loc loc;
  double wall_s; /* set by running; nested passes included */
  uint64_t peak_rss, private_bytes;
  bool ran;
} prn_pipeline_item;

/* Lives in the context's arena. */
struct prn_pipeline {
  prn_pipeline_item **items;
  size_t size, cap;
};

prn_pipeline *prn_pipeline_create(prn_ctx *ctx);
/* Appends the passes of text; what names the place in messages (a recipe's
 * path, or NULL). All errors are reported before it fails. */
PRN_NODISCARD prn_status prn_pipeline_parse(prn_ctx *ctx, const prn_registry *r,
                                            const char *what, prn_str text,
                                            prn_pipeline *out);
/* The same with variables in the text, whose defaults point into interned
 * text. */
PRN_NODISCARD prn_status prn_recipe_parse(prn_ctx *ctx, const prn_registry *r,
                                          const char *what, prn_str text,
                                          prn_variables *variables,
                                          prn_pipeline *out);
/* Appends one pass with options in text ("k=v,k=v"), as --NAME=OPTIONS. */
PRN_NODISCARD prn_status prn_pipeline_add(prn_ctx *ctx, const prn_pass *p,
                                          prn_str options, prn_pipeline *out);
/* Text that parses back; options that the user did not write are left out. */
void prn_pipeline_print(const prn_pipeline *p, prn_strbuf *b);
/* One item, as above. */
void prn_pipeline_item_print(const prn_pipeline_item *item, prn_strbuf *b);

/* Whether the pass, with these options, says that outputs of the model stay
 * what they are. */
bool prn_pipeline_item_exact(const prn_pipeline_item *item);

/* The nesting pass at this depth around the running one, NULL when there are
 * fewer; 0 is the outermost. */
const prn_pipeline_item *prn_pass_group(const prn_pass_env *env,
                                        unsigned depth);

/* ---- documentation ---- */

/* --help-NAME. */
void prn_pass_help(const prn_pass *p, prn_strbuf *b);
/* docs/passes.md. */
void prn_passes_docs(const prn_registry *r, prn_strbuf *b);

#endif
