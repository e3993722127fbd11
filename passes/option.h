/* Option values: text to typed fields and back. Private to the manager. */
#ifndef PRN_PASSES_OPTION_H
#define PRN_PASSES_OPTION_H

#include "passes/pass.h"

/* A value as the parser found it: one word, or the members of a list. */
typedef struct prn_option_text {
  const prn_str *words;
  size_t size;
  bool is_list, is_quoted;
  prn_loc loc;
} prn_option_text;

/* Fills the option struct with defaults; REQUIRED ones stay zero. */
void *prn_options_create(prn_ctx *ctx, const prn_pass *p);
/* Row of an option by the name users write, or -1. */
int prn_option_find(const prn_pass *p, prn_str name);
/* Parses, checks the range and stores; reports against pass p. */
PRN_NODISCARD prn_status prn_option_set(prn_ctx *ctx, const prn_pass *p,
                                        int row, const prn_option_text *text,
                                        void *opts);
/* The value as pipeline text. */
void prn_option_print(const prn_option_info *o, const void *opts,
                      prn_strbuf *b);
/* "max-iterations" for max_iterations. */
void prn_option_name(const prn_option_info *o, prn_strbuf *b);
/* "float in [0,1)", "one of l1, l2": what a value must be. */
void prn_option_expected(const prn_option_info *o, prn_strbuf *b);
/* "options are: a, b", or that there are none. */
void prn_option_list(const prn_pass *p, prn_strbuf *b);
/* Appends " (did you mean 'x'?)" for option names. */
void prn_option_suggest(const prn_pass *p, prn_str name, prn_strbuf *b);

#endif
