#include "ir/support/str.h"

#include <stdio.h>
#include <string.h>

#include "ir/support/arena.h"

prn_str prn_str_from(const char *s) {
  return (prn_str){s ? s : "", s ? strlen(s) : 0};
}

bool prn_str_eq(prn_str a, prn_str b) {
  return a.size == b.size &&
         (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool prn_str_is(prn_str a, const char *s) {
  return prn_str_eq(a, prn_str_from(s));
}

int prn_str_cmp(prn_str a, prn_str b) {
  size_t n = a.size < b.size ? a.size : b.size;
  int c = n ? memcmp(a.data, b.data, n) : 0;
  if (c) return c < 0 ? -1 : 1;
  return a.size < b.size ? -1 : a.size > b.size;
}

bool prn_str_starts(prn_str s, const char *prefix) {
  size_t n = strlen(prefix);
  return s.size >= n && memcmp(s.data, prefix, n) == 0;
}

bool prn_str_ends(prn_str s, const char *suffix) {
  size_t n = strlen(suffix);
  return s.size >= n && memcmp(s.data + s.size - n, suffix, n) == 0;
}

bool prn_str_number(prn_str s, int64_t *out) {
  *out = 0;
  if (s.size == 0) return false;
  for (size_t i = 0; i < s.size; i++) {
    int digit = s.data[i] - '0';
    if (digit < 0 || digit > 9) return false;
    if (!prn_mul_i64(*out, 10, out) || !prn_add_i64(*out, digit, out))
      return false;
  }
  return true;
}

/* 64-bit multiply-rotate over words: for hash tables only, never stored. */
uint64_t prn_hash_bytes(const void *data, size_t size, uint64_t seed) {
  const unsigned char *p = data;
  uint64_t h = seed ^ (size * UINT64_C(0x9e3779b97f4a7c15));
  while (size >= 8) {
    uint64_t w;
    memcpy(&w, p, 8);
    h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 32;
    p += 8;
    size -= 8;
  }
  uint64_t w = 0;
  if (size) memcpy(&w, p, size);
  h = (h ^ w) * UINT64_C(0xc4ceb9fe1a85ec53);
  h = (h ^ h >> 32) * UINT64_C(0xff51afd7ed558ccd);
  return h ^ (h >> 32);
}

/* Matches one '[...]' set at *pat against c; moves *pat past it. */
static bool match_set(prn_str pattern, size_t *pat, char c) {
  size_t i = *pat + 1;
  bool negate = i < pattern.size && pattern.data[i] == '!';
  bool hit = false;
  if (negate) i++;
  for (; i < pattern.size && pattern.data[i] != ']'; i++) {
    char lo = pattern.data[i], hi = lo;
    if (i + 2 < pattern.size && pattern.data[i + 1] == '-' &&
        pattern.data[i + 2] != ']') {
      hi = pattern.data[i + 2];
      i += 2;
    }
    if (c >= lo && c <= hi) hit = true;
  }
  *pat = i + 1;
  return hit != negate;
}

bool prn_str_glob(prn_str pattern, prn_str text) {
  size_t p = 0, t = 0, star = SIZE_MAX, mark = 0;
  while (t < text.size) {
    size_t next = p + 1;
    bool ok = false;
    if (p < pattern.size && pattern.data[p] == '*') {
      star = p++;
      mark = t;
      continue;
    }
    if (p < pattern.size) {
      char c = pattern.data[p];
      if (c == '[') {
        next = p;
        ok = match_set(pattern, &next, text.data[t]);
      } else {
        ok = c == '?' || c == text.data[t];
      }
    }
    if (ok) {
      p = next;
      t++;
    } else if (star != SIZE_MAX) { /* let the last star eat one more byte */
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size && pattern.data[p] == '*')
    p++;
  return p >= pattern.size;
}

void prn_strbuf_destroy(prn_strbuf *b) {
  prn_free(b->data);
  *b = (prn_strbuf){0};
}

static void reserve(prn_strbuf *b, size_t more) {
  size_t want = b->size + more + 1;
  if (want <= b->cap) return;
  size_t cap = b->cap ? b->cap * 2 : 64;
  if (cap < want) cap = want;
  b->data = prn_realloc(b->data, cap);
  b->cap = cap;
}

void prn_strbuf_bytes(prn_strbuf *b, const void *data, size_t size) {
  reserve(b, size);
  if (size) memcpy(b->data + b->size, data, size);
  b->size += size;
  b->data[b->size] = 0;
}

void prn_strbuf_str(prn_strbuf *b, prn_str s) {
  prn_strbuf_bytes(b, s.data, s.size);
}
void prn_strbuf_cstr(prn_strbuf *b, const char *s) {
  prn_strbuf_bytes(b, s, strlen(s));
}
void prn_strbuf_char(prn_strbuf *b, char c) { prn_strbuf_bytes(b, &c, 1); }

void prn_strbuf_vfmt(prn_strbuf *b, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n > 0) {
    reserve(b, (size_t)n);
    (void)vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
    b->size += (size_t)n;
  }
  va_end(again);
}

void prn_strbuf_fmt(prn_strbuf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_strbuf_vfmt(b, fmt, ap);
  va_end(ap);
}

size_t prn_utf8_length(const char *text, size_t n) {
  const unsigned char *s = (const unsigned char *)text;
  if (n == 0) return 0;
  size_t len = s[0] < 0x80   ? 1
               : s[0] < 0xc2 ? 0
               : s[0] < 0xe0 ? 2
               : s[0] < 0xf0 ? 3
               : s[0] < 0xf5 ? 4
                             : 0;
  if (len == 0 || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if (s[0] == 0xe0 && s[1] < 0xa0) return 0; /* overlong */
  if (s[0] == 0xed && s[1] > 0x9f) return 0; /* surrogate */
  if (s[0] == 0xf0 && s[1] < 0x90) return 0; /* overlong */
  if (s[0] == 0xf4 && s[1] > 0x8f) return 0; /* past U+10FFFF */
  return len;
}

void prn_strbuf_quoted(prn_strbuf *b, prn_str s) {
  const unsigned char *p = (const unsigned char *)s.data;
  prn_strbuf_char(b, '"');
  for (size_t i = 0; i < s.size;) {
    size_t len = prn_utf8_length(s.data + i, s.size - i);
    unsigned char c = p[i];
    if (c == '\n')
      prn_strbuf_cstr(b, "\\n");
    else if (c == '\t')
      prn_strbuf_cstr(b, "\\t");
    else if (c == '"' || c == '\\')
      prn_strbuf_fmt(b, "\\%c", c);
    else if (len == 0 || c < 0x20 || c == 0x7f)
      prn_strbuf_fmt(b, "\\%02x", c);
    else
      prn_strbuf_bytes(b, p + i, len);
    i += len ? len : 1;
  }
  prn_strbuf_char(b, '"');
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that the escape behind a backslash at s[*at] stands for, or -1. */
static int unescape(prn_str s, size_t *at) {
  size_t i = *at + 1;
  if (i >= s.size) return -1;
  char c = s.data[i];
  *at = i + 1;
  if (c == 'n') return '\n';
  if (c == 't') return '\t';
  if (c == '"' || c == '\\') return c;
  if (i + 1 >= s.size || hex_digit(c) < 0 || hex_digit(s.data[i + 1]) < 0)
    return -1;
  *at = i + 2;
  return hex_digit(c) * 16 + hex_digit(s.data[i + 1]);
}

bool prn_strbuf_unquote(prn_strbuf *b, prn_str s, size_t *at) {
  size_t i = *at + 1;
  while (i < s.size && s.data[i] != '"') {
    int c = (unsigned char)s.data[i];
    size_t here = i++;
    if (c == '\\') {
      i = here;
      c = unescape(s, &i);
    }
    if (c < 0) return *at = here, false;
    prn_strbuf_char(b, (char)c);
  }
  if (i >= s.size) return false;
  *at = i + 1;
  return true;
}

void prn_strbuf_json(prn_strbuf *b, prn_str s) {
  const unsigned char *p = (const unsigned char *)s.data;
  prn_strbuf_char(b, '"');
  for (size_t i = 0; i < s.size;) {
    size_t len = prn_utf8_length(s.data + i, s.size - i);
    if (p[i] == '"' || p[i] == '\\')
      prn_strbuf_fmt(b, "\\%c", p[i]);
    else if (p[i] < 0x20 || p[i] == 0x7f)
      prn_strbuf_fmt(b, "\\u%04x", p[i]);
    else if (len == 0)
      prn_strbuf_cstr(b, "\\ufffd");
    else
      prn_strbuf_bytes(b, p + i, len);
    i += len ? len : 1;
  }
  prn_strbuf_char(b, '"');
}

prn_str prn_strbuf_view(const prn_strbuf *b) {
  return (prn_str){b->data ? b->data : "", b->size};
}

enum { SUGGEST_MAX = 64 };

/* Optimal string alignment distance; SIZE_MAX when either is too long. */
static size_t edit_distance(prn_str a, prn_str b) {
  size_t row[3][SUGGEST_MAX + 1];
  if (a.size > SUGGEST_MAX || b.size > SUGGEST_MAX) return SIZE_MAX;
  for (size_t j = 0; j <= b.size; j++)
    row[0][j] = j;
  for (size_t i = 1; i <= a.size; i++) {
    size_t *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
    cur[0] = i;
    for (size_t j = 1; j <= b.size; j++) {
      size_t best = up[j - 1] + (a.data[i - 1] != b.data[j - 1]);
      if (up[j] + 1 < best) best = up[j] + 1;
      if (cur[j - 1] + 1 < best) best = cur[j - 1] + 1;
      if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] &&
          a.data[i - 2] == b.data[j - 1] && up2[j - 2] + 1 < best)
        best = up2[j - 2] + 1;
      cur[j] = best;
    }
  }
  return row[a.size % 3][b.size];
}

void prn_suggest(prn_strbuf *b, prn_str wanted, const prn_str *candidates,
                 size_t n) {
  size_t best = SIZE_MAX, at = 0, limit = 1 + wanted.size / 3;
  for (size_t i = 0; i < n; i++) {
    size_t size = candidates[i].size;
    size_t longer =
        size > wanted.size ? size - wanted.size : wanted.size - size;
    if (longer > limit) continue;
    size_t d = edit_distance(wanted, candidates[i]);
    if (d < best) {
      best = d;
      at = i;
    }
  }
  if (n && best <= limit)
    prn_strbuf_fmt(b, " (did you mean '%.*s'?)", PRN_STR_ARG(candidates[at]));
}
