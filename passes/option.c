#include "passes/option.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NUMBER = 64, MAX_WORDS = 64 };

/* ---- names ---- */

static bool same_name(const char *field, prn_str name) {
  size_t n = strlen(field);
  if (n != name.size) return false;
  for (size_t i = 0; i < n; i++) {
    char c = name.data[i] == '-' ? '_' : name.data[i];
    if (c != field[i]) return false;
  }
  return true;
}

int prn_option_find(const prn_pass *p, prn_str name) {
  for (int i = 0; p->options[i].name; i++)
    if (same_name(p->options[i].name, name)) return i;
  return -1;
}

void prn_option_name(const prn_option_info *o, prn_strbuf *b) {
  for (const char *c = o->name; *c; c++)
    prn_strbuf_char(b, *c == '_' ? '-' : *c);
}

void prn_option_list(const prn_pass *p, prn_strbuf *b) {
  if (!p->options[0].name) {
    prn_strbuf_cstr(b, "it has no options");
    return;
  }
  prn_strbuf_cstr(b, "options are: ");
  for (const prn_option_info *o = p->options; o->name; o++) {
    if (o != p->options) prn_strbuf_cstr(b, ", ");
    prn_option_name(o, b);
  }
}

void prn_option_suggest(const prn_pass *p, prn_str name, prn_strbuf *b) {
  prn_str names[MAX_WORDS] = {{0}};
  prn_strbuf text[MAX_WORDS] = {{0}};
  size_t n = 0;
  for (; p->options[n].name && n < MAX_WORDS; n++) {
    prn_option_name(&p->options[n], &text[n]);
    names[n] = prn_strbuf_view(&text[n]);
  }
  prn_suggest(b, name, names, n);
  for (size_t i = 0; i < n; i++)
    prn_strbuf_destroy(&text[i]);
}

/* ---- the words of an enumeration ---- */

static size_t split_words(const char *range, prn_str *words) {
  size_t n = 0;
  for (const char *p = range; n < MAX_WORDS;) {
    size_t len = strcspn(p, "|");
    words[n++] = (prn_str){p, len};
    if (!p[len]) break;
    p += len + 1;
  }
  return n;
}

void prn_option_expected(const prn_option_info *o, prn_strbuf *b) {
  static const char *const kinds[] = {
      [PRN_OPTION_BOOL] = "true or false", [PRN_OPTION_INT] = "an integer",
      [PRN_OPTION_FLOAT] = "a number",     [PRN_OPTION_STRING] = "a string",
      [PRN_OPTION_STRINGS] = "strings",
  };
  if (o->kind == PRN_OPTION_ENUM) {
    prn_str words[MAX_WORDS];
    size_t n = split_words(o->range, words);
    prn_strbuf_cstr(b, "one of ");
    for (size_t i = 0; i < n; i++)
      prn_strbuf_fmt(b, "%s%.*s", i ? ", " : "", PRN_STR_ARG(words[i]));
    return;
  }
  prn_strbuf_cstr(b, kinds[o->kind]);
  if (*o->range) prn_strbuf_fmt(b, " in %s", o->range);
}

/* ---- numbers ---- */

/* Whether v lies in an interval such as "[0,1)" or "(0,inf)". */
static bool in_range(const char *range, double v) {
  if (!*range) return true;
  char *after = NULL;
  double low = strtod(range + 1, &after);
  double high = strtod(after + 1, &after);
  if (*range == '(' ? v <= low : v < low) return false;
  return *after == ')' ? v < high : v <= high;
}

/* Copies a word so that strtod and strtoll find its end. */
static bool number_text(prn_str word, char *buf) {
  if (word.size == 0 || word.size >= MAX_NUMBER) return false;
  if (memchr(word.data, 0, word.size)) return false;
  if (strchr(" \t\n\v\f\r", word.data[0])) return false;
  memcpy(buf, word.data, word.size);
  buf[word.size] = 0;
  return true;
}

static bool parse_int(const prn_option_info *o, prn_str word, int64_t *out) {
  char buf[MAX_NUMBER], *end;
  if (!number_text(word, buf)) return false;
  errno = 0;
  long long v = strtoll(buf, &end, 10);
  if (errno || *end) return false;
  *out = v;
  return in_range(o->range, (double)v);
}

static bool parse_float(const prn_option_info *o, prn_str word, double *out) {
  char buf[MAX_NUMBER], *end;
  if (!number_text(word, buf)) return false;
  double v = strtod(buf, &end);
  if (*end || isnan(v)) return false;
  *out = v;
  return in_range(o->range, v);
}

/* ---- storing ---- */

static bool parse_enum(const prn_option_info *o, prn_str word, int *out) {
  prn_str words[MAX_WORDS];
  size_t n = split_words(o->range, words);
  for (size_t i = 0; i < n; i++) {
    if (prn_str_eq(words[i], word)) {
      *out = (int)i;
      return true;
    }
  }
  return false;
}

static bool parse_bool(prn_str word, bool *out) {
  *out = prn_str_is(word, "true") || prn_str_is(word, "1");
  return *out || prn_str_is(word, "false") || prn_str_is(word, "0");
}

/* Adds the words to the list that field points to. */
static void append_strings(prn_ctx *ctx, const prn_option_text *t,
                           prn_strs *field) {
  prn_str *all =
      PRN_ARENA_ARRAY(prn_ctx_arena(ctx), prn_str, field->size + t->size);
  for (size_t i = 0; i < field->size; i++)
    all[i] = field->at[i];
  for (size_t i = 0; i < t->size; i++)
    all[field->size + i] = prn_intern(ctx, t->words[i]);
  *field = (prn_strs){all, field->size + t->size};
}

static bool store(prn_ctx *ctx, const prn_option_info *o,
                  const prn_option_text *t, void *opts) {
  void *field = (char *)opts + o->offset;
  if (o->kind == PRN_OPTION_STRINGS) {
    append_strings(ctx, t, field);
    return true;
  }
  if (t->is_list || t->size != 1) return false;
  prn_str word = t->words[0];
  switch (o->kind) {
  case PRN_OPTION_BOOL:
    return parse_bool(word, field);
  case PRN_OPTION_INT:
    return parse_int(o, word, field);
  case PRN_OPTION_FLOAT:
    return parse_float(o, word, field);
  case PRN_OPTION_ENUM:
    return parse_enum(o, word, field);
  case PRN_OPTION_STRING:
    *(prn_str *)field = prn_intern(ctx, word);
    return true;
  case PRN_OPTION_STRINGS:
    break;
  }
  return false;
}

void *prn_options_create(prn_ctx *ctx, const prn_pass *p) {
  void *opts = prn_arena_alloc(prn_ctx_arena(ctx), p->opts_size);
  for (const prn_option_info *o = p->options; o->name; o++) {
    prn_str word = prn_str_from(o->dflt);
    bool list = o->kind == PRN_OPTION_STRINGS;
    if (strcmp(o->dflt, "REQUIRED") == 0 || (list && word.size == 0)) continue;
    prn_option_text text = {.words = &word, .size = 1};
    bool ok = store(ctx, o, &text, opts);
    (void)ok; /* a default outside its range means "unless given" */
  }
  return opts;
}

prn_status prn_option_set(prn_ctx *ctx, const prn_pass *p, int row,
                          const prn_option_text *text, void *opts) {
  const prn_option_info *o = &p->options[row];
  if (store(ctx, o, text, opts)) return PRN_OK;
  prn_strbuf b = {0};
  prn_option_name(o, &b);
  prn_strbuf_cstr(&b, " must be ");
  prn_option_expected(o, &b);
  prn_strbuf_cstr(&b, ", not ");
  if (text->is_list)
    prn_strbuf_cstr(&b, "a list");
  else
    prn_strbuf_fmt(&b, "'%.*s'", PRN_STR_ARG(text->words[0]));
  if (o->kind == PRN_OPTION_ENUM && !text->is_list) {
    prn_str words[MAX_WORDS];
    size_t n = split_words(o->range, words);
    prn_suggest(&b, text->words[0], words, n);
  }
  (void)prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, text->loc,
                      (prn_str){"", 0}, "%s: option %s", p->name, b.data);
  prn_strbuf_destroy(&b);
  return PRN_FAIL;
}

/* ---- printing ---- */

/* Quoted unless it reads back as one word. */
static void print_word(prn_str s, prn_strbuf *b) {
  bool plain = s.size && s.data[0] != '#' && !prn_str_starts(s, "//");
  for (size_t i = 0; i < s.size && plain; i++) {
    unsigned char c = (unsigned char)s.data[i];
    plain = c > ' ' && c < 0x7f && !strchr(",{}()[]\"=\\", c);
  }
  if (plain)
    prn_strbuf_str(b, s);
  else
    prn_strbuf_quoted(b, s);
}

static void print_float(double v, prn_strbuf *b) {
  char text[MAX_NUMBER];
  for (int digits = 6; digits <= 17; digits++) {
    (void)snprintf(text, sizeof text, "%.*g", digits, v);
    if (strtod(text, NULL) == v) break;
  }
  prn_strbuf_cstr(b, text);
}

void prn_option_print(const prn_option_info *o, const void *opts,
                      prn_strbuf *b) {
  const void *field = (const char *)opts + o->offset;
  prn_str words[MAX_WORDS];
  switch (o->kind) {
  case PRN_OPTION_BOOL:
    prn_strbuf_cstr(b, *(const bool *)field ? "true" : "false");
    break;
  case PRN_OPTION_INT:
    prn_strbuf_fmt(b, "%lld", (long long)*(const int64_t *)field);
    break;
  case PRN_OPTION_FLOAT:
    print_float(*(const double *)field, b);
    break;
  case PRN_OPTION_ENUM:
    (void)split_words(o->range, words);
    prn_strbuf_str(b, words[*(const int *)field]);
    break;
  case PRN_OPTION_STRING:
    print_word(*(const prn_str *)field, b);
    break;
  case PRN_OPTION_STRINGS: {
    const prn_strs *list = field;
    prn_strbuf_char(b, '[');
    for (size_t i = 0; i < list->size; i++) {
      if (i) prn_strbuf_cstr(b, ", ");
      prn_strbuf_quoted(b, list->at[i]);
    }
    prn_strbuf_char(b, ']');
    break;
  }
  }
}
