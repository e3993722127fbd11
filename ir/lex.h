/* Tokens of the text form. Private to the parser. */
#ifndef PRN_IR_LEX_H
#define PRN_IR_LEX_H

#include "ir/context.h"

/* Punctuation tokens are their own character. */
typedef enum prn_tok_kind {
  PRN_TOK_EOF = 256,
  PRN_TOK_ERROR, /* already reported */
  PRN_TOK_IDENT, /* onnx.Conv  group  $name */
  PRN_TOK_VALUE, /* %x  %"a/b"  %12  %x#1 */
  PRN_TOK_STRING,
  PRN_TOK_INT,       /* 12  -3 */
  PRN_TOK_FLOAT,     /* 1.5  1e-05  -inf  -nan */
  PRN_TOK_HEX,       /* 0x7fc00001 */
  PRN_TOK_RES_OPEN,  /* {-# */
  PRN_TOK_RES_CLOSE, /* #-} */
} prn_tok_kind;

typedef struct prn_tok {
  int kind;   /* prn_tok_kind or a character */
  bool first; /* on its line */
  uint32_t line, col;
  prn_str text; /* as written */
} prn_tok;

typedef struct prn_lexer {
  prn_diag_sink *sink;
  const char *file;
  const char *at, *end, *line_start;
  uint32_t line;
  bool fresh; /* nothing but blanks on this line so far */
} prn_lexer;

void prn_lex_init(prn_lexer *lx, prn_diag_sink *sink, const char *file,
                  prn_str text, uint32_t first_line);
prn_tok prn_lex_next(prn_lexer *lx);
/* The bytes between the quotes of a string token whose spelling is s,
 * escapes resolved, appended to out. */
void prn_lex_unquote(prn_str s, prn_strbuf *out);
bool prn_is_ident(prn_str s); /* needs no quotes */
/* May follow the last dot of a bare operator name. */
bool prn_is_last_part(prn_str s);

#endif
