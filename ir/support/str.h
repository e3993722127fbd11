/* String views and a growing buffer.
 *
 * A prn_str is a borrowed span that may hold any byte. Strings that the IR
 * keeps are interned by the context (ir/context.h): two interned strings are
 * equal exactly when their data pointers are, and interned data is also
 * NUL-terminated. */
#ifndef PRN_IR_SUPPORT_STR_H
#define PRN_IR_SUPPORT_STR_H

#include <limits.h>
#include <stdarg.h>

#include "ir/support/base.h"

typedef struct prn_str {
  const char *data;
  size_t size;
} prn_str;

#define PRN_STR(literal) ((prn_str){(literal), sizeof(literal) - 1})
/* For printf: printf("%.*s", PRN_STR_ARG(s)). A negative precision would mean
 * none, and reading up to a NUL that is not there. */
#define PRN_STR_ARG(s) ((s).size < INT_MAX ? (int)(s).size : INT_MAX), (s).data

prn_str prn_str_from(const char *cstr); /* NULL gives the empty string */
bool prn_str_eq(prn_str a, prn_str b);
bool prn_str_is(prn_str a, const char *cstr);
/* -1, 0, 1; bytes as unsigned, shorter first. */
int prn_str_cmp(prn_str a, prn_str b);
bool prn_str_starts(prn_str s, const char *prefix);
bool prn_str_ends(prn_str s, const char *suffix);
/* Reads s, all of it decimal digits; false otherwise, or when it is too much.
 */
PRN_NODISCARD bool prn_str_number(prn_str s, int64_t *out);
uint64_t prn_hash_bytes(const void *data, size_t size, uint64_t seed);
/* Shell-like match: '*' any run (dots included), '?' one byte, '[a-z]'. */
bool prn_str_glob(prn_str pattern, prn_str text);

/* Length of the valid UTF-8 sequence that text[0..n) starts with, 0 when it
 * starts with none. */
size_t prn_utf8_length(const char *text, size_t n);

/* Heap buffer. Zero bytes are a valid empty buffer; data is NUL-terminated
 * once anything was appended. */
typedef struct prn_strbuf {
  char *data;
  size_t size, cap;
} prn_strbuf;

void prn_strbuf_destroy(prn_strbuf *b);
void prn_strbuf_bytes(prn_strbuf *b, const void *data, size_t size);
void prn_strbuf_str(prn_strbuf *b, prn_str s);
void prn_strbuf_cstr(prn_strbuf *b, const char *s);
void prn_strbuf_char(prn_strbuf *b, char c);
PRN_PRINTF(2, 3) void prn_strbuf_fmt(prn_strbuf *b, const char *fmt, ...);
PRN_PRINTF(2, 0)
void prn_strbuf_vfmt(prn_strbuf *b, const char *fmt, va_list ap);
/* Appends s between quotes; control bytes, quote, backslash and bytes that are
 * not valid UTF-8 come out as \n \t \" \\ or \xx (two hex digits). */
void prn_strbuf_quoted(prn_strbuf *b, prn_str s);
/* Reads what prn_strbuf_quoted wrote: s.data[*at] is the opening quote. Appends
 * the text and moves *at behind the closing quote; false when there is none
 * or an escape is unknown (then *at is the place). */
PRN_NODISCARD bool prn_strbuf_unquote(prn_strbuf *b, prn_str s, size_t *at);
/* Appends s as a JSON string; bytes that are not valid UTF-8 come out as
 * U+FFFD. */
void prn_strbuf_json(prn_strbuf *b, prn_str s);
prn_str prn_strbuf_view(const prn_strbuf *b);

/* Names closest to `wanted`: appends " (did you mean 'x'?)" to b when one of
 * the n candidates is near enough. */
void prn_suggest(prn_strbuf *b, prn_str wanted, const prn_str *candidates,
                 size_t n);

#endif
