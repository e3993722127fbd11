/* State of the parser. Private to ir/parse*.c.
 *
 * Recursive descent with one token of lookahead. Functions that return
 * prn_status or a pointer have reported why when they fail; one message per
 * place in the text. Nesting is bounded, so that no input exhausts the
 * stack. */
#ifndef PRN_IR_PARSE_H
#define PRN_IR_PARSE_H

#include "ir/lex.h"
#include "ir/text.h"

enum {
  PRN_PARSE_DEPTH = 200,
  PRN_PARSE_NUMBER = 1200, /* bytes of a number; the exact digits of a double */
};

/* A name that was met as a definition. */
typedef struct prn_parse_def {
  prn_value *value; /* NULL: out of scope */
  prn_str spelling;
  prn_loc loc;
} prn_parse_def;

/* A use of a name that was not defined when it was met. */
typedef struct prn_parse_use {
  struct prn_parse_use *next;
  prn_str key, spelling, hint;
  prn_loc loc;
} prn_parse_use;

/* A tensor whose data is listed at the end of the text. */
typedef struct prn_parse_fixup {
  struct prn_parse_fixup *next;
  prn_tensor *tensor;
  prn_str key;
  bool mask;
  prn_loc loc;
} prn_parse_fixup;

/* A tensor in the text whose type comes behind it. */
typedef struct prn_parse_late {
  struct prn_parse_late *next;
  prn_tensor *tensor;
  prn_lexer lexer; /* the place of its first token */
  prn_tok tok;
  int64_t braces;
  size_t size; /* bytes of text between < and > */
} prn_parse_late;

typedef struct prn_parser {
  prn_ctx *ctx;
  prn_module *module;
  prn_arena arena; /* freed with the parser */
  prn_lexer lexer;
  prn_tok tok;
  prn_loc behind;        /* the end of the token before this one */
  uint32_t depth;        /* of nested constructs */
  int64_t braces;        /* open '{' behind us */
  uint32_t errors;       /* reported, or met in a place reported before */
  uint32_t reported;     /* in this text */
  bool stopped;          /* there were too many */
  const char *error_at;  /* where the last report pointed */
  prn_strbuf key;        /* of the value looked at last */
  prn_map names;         /* key -> prn_parse_def */
  prn_parse_def **scope; /* definitions, innermost last */
  size_t num_scope, cap_scope, num_hints;
  prn_parse_use *unresolved, **unresolved_end;
  prn_parse_fixup *fixups, **fixups_end;
  prn_parse_late *late; /* tensors of the operation being parsed */
  size_t splat_bytes;   /* memory of repeated values so far */
  bool late_ok;         /* the attribute being parsed may wait for the type */
  prn_str value_name;   /* of the tensor in the attribute `value` */
  prn_str tensor_name;  /* of the tensor about to be parsed */
} prn_parser;

/* ---- tokens (ir/parse.c) ---- */
prn_loc prn_parse_loc(const prn_parser *p);
/* Reports at the current token, or at loc. Always fails. */
PRN_PRINTF(2, 3)
prn_status prn_parse_error(prn_parser *p, const char *fmt, ...);
PRN_PRINTF(3, 4)
prn_status prn_parse_error_at(prn_parser *p, prn_loc loc, const char *fmt, ...);
/* "expected WHAT, found 'xyz'". */
prn_status prn_parse_expected(prn_parser *p, const char *what);
void prn_parse_advance(prn_parser *p);
bool prn_parse_is(const prn_parser *p, int kind);
bool prn_parse_is_word(const prn_parser *p, const char *word);
/* Consumes the token when it is of this kind. */
bool prn_parse_accept(prn_parser *p, int kind);
PRN_NODISCARD prn_status prn_parse_expect(prn_parser *p, int kind,
                                          const char *what);
PRN_NODISCARD prn_status prn_parse_word(prn_parser *p, const char *word);
/* The contents of a STRING token, interned; consumes it. */
PRN_NODISCARD prn_status prn_parse_string(prn_parser *p, prn_str *out);
/* An identifier or a string, interned. */
PRN_NODISCARD prn_status prn_parse_name(prn_parser *p, const char *what,
                                        prn_str *out);
PRN_NODISCARD prn_status prn_parse_int(prn_parser *p, int64_t *out);
/* Depth; leave only after enter succeeded. */
PRN_NODISCARD prn_status prn_parse_enter(prn_parser *p);
void prn_parse_leave(prn_parser *p);

/* ---- parts ---- */
const prn_type *prn_parser_type(prn_parser *p);
prn_dim prn_parser_dim(prn_parser *p);
const prn_attr *prn_parser_attr(prn_parser *p);
/* A name = value list in braces into *out (arena) . */
PRN_NODISCARD prn_status prn_parser_dict(prn_parser *p, bool of_op,
                                         prn_named_attr **out, uint32_t *num);
/* dense<...> or resource<...> with its type, or put on p->late. */
const prn_attr *prn_parser_tensor(prn_parser *p);
/* Gives a tensor its type (NULL: there is none) and parses its text. */
PRN_NODISCARD prn_status prn_parser_late(prn_parser *p,
                                         const prn_parse_late *late,
                                         const prn_type *type);
/* Appends the bytes of a string of hexadecimal digits. */
PRN_NODISCARD prn_status prn_parser_hex(prn_parser *p, prn_strbuf *out);
/* The section of resources, if the text has one; then gives tensors their
 * data. */
PRN_NODISCARD prn_status prn_parser_resources(prn_parser *p);
/* Operations up to '}', the resource section or the end of the text. */
void prn_parser_ops(prn_parser *p, prn_block *block);
/* Reports the uses that nothing defined. */
void prn_parser_undefined(prn_parser *p);

#endif
