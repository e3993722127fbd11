/* Lexer of the text form. Reports what no token can be (control bytes, broken
 * UTF-8, strings without an end) and goes on behind it. */
#include "ir/lex.h"

#include <string.h>

void prn_lex_init(prn_lexer *lx, prn_diag_sink *sink, const char *file,
                  prn_str text, uint32_t first_line) {
  *lx = (prn_lexer){.sink = sink,
                    .file = file,
                    .at = text.data,
                    .end = text.data + text.size,
                    .line_start = text.data,
                    .line = first_line,
                    .fresh = true};
}

static bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         c == '$';
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return is_alpha(c) || is_digit(c) || c == '.'; }
static int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool prn_is_ident(prn_str s) {
  if (s.size == 0 || !is_alpha(s.data[0])) return false;
  for (size_t i = 1; i < s.size; i++)
    if (!is_word(s.data[i])) return false;
  return true;
}

bool prn_is_last_part(prn_str s) {
  for (size_t i = 0; i < s.size; i++)
    if (!is_word(s.data[i]) || s.data[i] == '.') return false;
  return s.size > 0;
}

static prn_loc here(const prn_lexer *lx, const char *p) {
  return (prn_loc){lx->file, lx->line, (uint32_t)(p - lx->line_start) + 1};
}

static void error_at(prn_lexer *lx, const char *p, const char *text) {
  prn_diag_emit(lx->sink, PRN_ERROR, here(lx, p), PRN_STR(""), "%s", text);
}

/* Skips blanks and comments; reports bytes that a comment may not hold. */
static void skip_blanks(prn_lexer *lx) {
  while (lx->at < lx->end) {
    char c = *lx->at;
    if (c == '\n') {
      lx->at++;
      lx->line++;
      lx->line_start = lx->at;
      lx->fresh = true;
    } else if (c == ' ' || c == '\t' || c == '\r') {
      lx->at++;
    } else if (c == '/' && lx->end - lx->at > 1 && lx->at[1] == '/') {
      const char *nl = memchr(lx->at, '\n', (size_t)(lx->end - lx->at));
      lx->at = nl ? nl : lx->end;
    } else {
      return;
    }
  }
}

/* Length of an escape at p (which is a backslash), 0 when it is none. */
static size_t escape_length(const char *p, const char *end) {
  if (end - p < 2) return 0;
  if (p[1] == 'n' || p[1] == 't' || p[1] == '"' || p[1] == '\\') return 2;
  if (end - p < 3 || hex_value(p[1]) < 0 || hex_value(p[2]) < 0) return 0;
  return 3;
}

/* Moves over a string whose opening quote is at lx->at; false after a report.
 * Broken bytes do not end the string, so that one mistake is one message. */
static bool scan_string(prn_lexer *lx) {
  const char *open = lx->at++;
  bool ok = true;
  while (lx->at < lx->end && *lx->at != '\n') {
    size_t left = (size_t)(lx->end - lx->at), n = 1;
    unsigned char c = (unsigned char)*lx->at;
    const char *why = NULL;
    if (c == '"') {
      lx->at++;
      return ok;
    }
    if (c == '\\') {
      n = escape_length(lx->at, lx->end);
      if (n == 0)
        why = "unknown escape: expected \\n, \\t, \\\", \\\\ or \\ and "
              "two hexadecimal digits";
    } else if (c < 0x20 && c != '\t') {
      why = "control byte in a string: write \\ and two hexadecimal digits";
      n = 0;
    } else if (c >= 0x80) {
      n = prn_utf8_length(lx->at, left);
      if (n == 0)
        why = "string is not UTF-8: write other bytes as \\ and two "
              "hexadecimal digits";
    }
    if (why && ok) error_at(lx, lx->at, why);
    ok = ok && !why;
    lx->at += n ? n : 1;
  }
  if (ok) error_at(lx, open, "string does not end on its line");
  return false;
}

void prn_lex_unquote(prn_str s, prn_strbuf *out) {
  const char *p = s.data + 1, *end = s.data + s.size - 1;
  while (p < end) {
    const char *slash = memchr(p, '\\', (size_t)(end - p));
    const char *stop = slash ? slash : end;
    prn_strbuf_bytes(out, p, (size_t)(stop - p));
    p = stop;
    if (p == end) return;
    if (escape_length(p, end) == 2) {
      char c = p[1] == 'n' ? '\n' : p[1] == 't' ? '\t' : p[1];
      prn_strbuf_char(out, c);
      p += 2;
    } else {
      prn_strbuf_char(out, (char)(hex_value(p[1]) * 16 + hex_value(p[2])));
      p += 3;
    }
  }
}

static void scan_word(prn_lexer *lx) {
  while (lx->at < lx->end && is_word(*lx->at))
    lx->at++;
}

static bool scan_digits(prn_lexer *lx) {
  const char *from = lx->at;
  while (lx->at < lx->end && is_digit(*lx->at))
    lx->at++;
  return lx->at > from;
}

static char peek(const prn_lexer *lx, size_t n) {
  return (size_t)(lx->end - lx->at) > n ? lx->at[n] : '\0';
}

/* lx->at is at a digit, or at a '-' before a digit, inf or nan. */
static int scan_number(prn_lexer *lx) {
  int kind = PRN_TOK_INT;
  if (peek(lx, 0) == '0' && peek(lx, 1) == 'x' && hex_value(peek(lx, 2)) >= 0) {
    lx->at += 2;
    while (lx->at < lx->end && hex_value(*lx->at) >= 0)
      lx->at++;
    return PRN_TOK_HEX;
  }
  if (*lx->at == '-') lx->at++;
  if (is_alpha(*lx->at)) {
    scan_word(lx);
    return PRN_TOK_FLOAT;
  }
  (void)scan_digits(lx);
  if (peek(lx, 0) == '.' && is_digit(peek(lx, 1))) {
    kind = PRN_TOK_FLOAT;
    lx->at++;
    (void)scan_digits(lx);
  }
  size_t sign = peek(lx, 1) == '+' || peek(lx, 1) == '-' ? 2 : 1;
  if ((peek(lx, 0) == 'e' || peek(lx, 0) == 'E') && is_digit(peek(lx, sign))) {
    kind = PRN_TOK_FLOAT;
    lx->at += sign;
    (void)scan_digits(lx);
  }
  return kind;
}

/* The rest of a value after '%'. */
static int scan_value(prn_lexer *lx) {
  const char *start = lx->at++;
  if (peek(lx, 0) == '"') {
    if (!scan_string(lx)) return PRN_TOK_ERROR;
  } else if (is_alpha(peek(lx, 0))) {
    scan_word(lx);
  } else if (!scan_digits(lx)) {
    error_at(lx, start, "expected a name, a number or a string after '%'");
    return PRN_TOK_ERROR;
  }
  if (peek(lx, 0) == '#' && is_digit(peek(lx, 1))) {
    lx->at++;
    (void)scan_digits(lx);
  }
  return PRN_TOK_VALUE;
}

static bool is_punct(char c) { return c && strchr("(){}[]<>,:=+*-?^#@.!", c); }

/* Bytes that start no token: one message for a whole run. */
static int skip_garbage(prn_lexer *lx) {
  const char *start = lx->at;
  unsigned char c = (unsigned char)*start;
  while (lx->at < lx->end && *lx->at != '\n' && *lx->at != ' ' &&
         *lx->at != '"' && *lx->at != '%' && !is_word(*lx->at) &&
         !is_punct(*lx->at) && !(*lx->at == '/' && peek(lx, 1) == '/'))
    lx->at++;
  if (lx->at == start) lx->at++;
  if (c >= 0x21 && c < 0x7f)
    prn_diag_emit(lx->sink, PRN_ERROR, here(lx, start), PRN_STR(""),
                  "unexpected character '%c'", c);
  else
    prn_diag_emit(lx->sink, PRN_ERROR, here(lx, start), PRN_STR(""),
                  "unexpected byte 0x%02x", c);
  return PRN_TOK_ERROR;
}

static int scan(prn_lexer *lx) {
  char c = *lx->at, next = peek(lx, 1);
  if (is_alpha(c)) {
    scan_word(lx);
    return PRN_TOK_IDENT;
  }
  if (is_digit(c)) return scan_number(lx);
  if (c == '-' && (is_digit(next) || next == 'i' || next == 'n'))
    return scan_number(lx);
  if (c == '%') return scan_value(lx);
  if (c == '"') return scan_string(lx) ? PRN_TOK_STRING : PRN_TOK_ERROR;
  if (c == '{' && next == '-' && peek(lx, 2) == '#') {
    lx->at += 3;
    return PRN_TOK_RES_OPEN;
  }
  if (c == '#' && next == '-' && peek(lx, 2) == '}') {
    lx->at += 3;
    return PRN_TOK_RES_CLOSE;
  }
  if (is_punct(c)) {
    lx->at++;
    return c;
  }
  return skip_garbage(lx);
}

prn_tok prn_lex_next(prn_lexer *lx) {
  prn_tok t = {.kind = PRN_TOK_EOF};
  skip_blanks(lx);
  prn_loc loc = here(lx, lx->at);
  const char *start = lx->at;
  t.first = lx->fresh;
  t.line = loc.line;
  t.col = loc.col;
  lx->fresh = false;
  if (lx->at < lx->end) t.kind = scan(lx);
  t.text = (prn_str){start, (size_t)(lx->at - start)};
  return t;
}
