/* Command lines from a table: parsing, --help, --version, did-you-mean.
 *
 * A tool declares a struct of settings and a table of rows that fill it.
 * Long options take their value behind '=' or as the next argument; a flag is
 * also undone by --no-NAME. Everything wrong is reported, not the first only.
 * Strings are borrowed from argv. */
#ifndef PRN_TOOLS_CLI_H
#define PRN_TOOLS_CLI_H

#include "ir/support/diag.h"

typedef enum prn_cli_kind {
  PRN_CLI_END,     /* closes the table */
  PRN_CLI_HEADING, /* doc is the title of the rows that follow */
  PRN_CLI_FLAG,    /* bool */
  PRN_CLI_TEXT,    /* const char *, the last one counts */
  PRN_CLI_MAYBE,   /* const char *: "" when given without '=value' */
  PRN_CLI_INT,     /* int64_t in [min, max] */
  PRN_CLI_REAL,    /* double in [min, max] */
  PRN_CLI_CHOICE,  /* const char *, one of the words "a|b" of the metavar */
  PRN_CLI_LIST,    /* prn_cli_list, may be repeated */
  PRN_CLI_ITEM     /* in order with unknown options: see prn_cli_result */
} prn_cli_kind;

typedef struct prn_cli_option {
  prn_cli_kind kind;
  char letter;         /* 0: long form only */
  const char *name;    /* without dashes */
  const char *metavar; /* "FILE"; NULL for flags */
  const char *doc;
  size_t offset; /* of the field in the settings */
  double min, max;
} prn_cli_option;

typedef struct prn_cli_list {
  const char **at;
  size_t size, cap;
} prn_cli_list;

/* An option no row knows, or one of kind PRN_CLI_ITEM. */
typedef struct prn_cli_item {
  prn_str name;      /* without dashes */
  const char *value; /* NULL: none */
} prn_cli_item;

typedef struct prn_cli {
  const char *tool;  /* "prune-opt" */
  const char *usage; /* "IN [-o OUT] [--PASS[=k=v,...]]..." */
  const char *intro; /* what it does, a paragraph */
  const char *outro; /* examples, shown as they are; may be NULL */
  const prn_cli_option *options;
  size_t min_args, max_args; /* positional */
  const char *args;          /* what they are: "an input file" */
  bool collect_unknown;      /* unknown long options become items */
} prn_cli;

typedef struct prn_cli_result {
  prn_cli_list args;
  prn_cli_item *items;
  size_t num_items, cap_items;
  bool done; /* --help or --version was answered */
} prn_cli_result;

/* First in main: has the tool end with an error, not by a signal, when there is
 * no memory. */
void prn_cli_begin(void);

/* Fills settings (with the defaults already in it). With done set the tool
 * ends with success. */
PRN_NODISCARD prn_status prn_cli_parse(const prn_cli *cli, prn_diag_sink *sink,
                                       int argc, char **argv, void *settings,
                                       prn_cli_result *out);
/* Frees the lists of the settings and the result. */
void prn_cli_free(const prn_cli *cli, void *settings, prn_cli_result *r);
/* Flushes standard output; reports and fails when that could not be written.
 * The last thing a tool does with it. */
PRN_NODISCARD prn_status prn_cli_flush(prn_diag_sink *sink);
/* Reports an unknown option; candidates are further names to suggest. */
prn_status prn_cli_unknown(const prn_cli *cli, prn_diag_sink *sink,
                           prn_str name, const prn_str *candidates, size_t n);
/* What --help prints. */
void prn_cli_help(const prn_cli *cli, prn_strbuf *b);
/* Appends text broken into lines of at most width columns, indented from the
 * second line on. */
void prn_cli_wrap(prn_strbuf *b, const char *text, size_t column, size_t indent,
                  size_t width);

#define PRN_CLI_ROW(kind, letter, type, field, name, metavar, doc) \
  { PRN_CLI_##kind, letter, name, metavar, doc, offsetof(type, field), 0, 0 }

/* Appends the folder of the running executable; false when it is unknown. */
bool prn_cli_folder(prn_strbuf *out);

#endif
