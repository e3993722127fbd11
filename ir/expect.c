/* Splitting of inputs, and diagnostics that a test expects. */
#include "ir/expect.h"

#include <string.h>

#include "ir/support/arena.h"

typedef struct expectation {
  prn_severity severity;
  bool anywhere; /* @unknown: a message without a line */
  uint32_t line; /* of the message */
  uint32_t written_line, written_col;
  prn_str text;
  bool met;
} expectation;

struct prn_expect {
  prn_diag_sink *sink;
  prn_diag_sink saved;
  const char *file;
  expectation *list;
  size_t size, cap;
  prn_diag *troubles; /* what has to be reported at the end */
  size_t num_troubles, cap_troubles;
  prn_arena arena; /* their texts */
};

static const char *const severities[] = {"error", "warning", "remark", "note"};

/* ---- splitting ---- */

static bool is_separator(prn_str line) {
  while (line.size &&
         (line.data[line.size - 1] == ' ' || line.data[line.size - 1] == '\r'))
    line.size--;
  return prn_str_is(line, "// -----");
}

void prn_split_input(prn_str text, prn_split_fn *fn, void *user) {
  const char *at = text.data, *end = text.data + text.size, *start = at;
  uint32_t line = 1, first = 1;
  while (at < end) {
    const char *nl = memchr(at, '\n', (size_t)(end - at));
    const char *stop = nl ? nl : end;
    line++;
    if (is_separator((prn_str){at, (size_t)(stop - at)})) {
      if (!fn(user, (prn_str){start, (size_t)(at - start)}, first)) return;
      start = nl ? nl + 1 : end;
      first = line;
    }
    at = nl ? nl + 1 : end;
  }
  (void)fn(user, (prn_str){start, (size_t)(end - start)}, first);
}

/* ---- reading expectations ---- */

typedef struct cursor {
  const char *at, *end;
} cursor;

static bool take(cursor *c, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
  c->at += n;
  return true;
}

static bool take_number(cursor *c, uint32_t *out) {
  uint32_t v = 0;
  const char *from = c->at;
  for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
    if (v > 1000000) return false;
    v = v * 10 + (uint32_t)(*c->at - '0');
  }
  *out = v;
  return c->at > from;
}

/* "@+1", "@-2", "@above", "@below", "@unknown" or nothing. */
static bool take_place(cursor *c, expectation *e) {
  uint32_t n = 0;
  e->line = e->written_line;
  if (!take(c, "@")) return true;
  if (take(c, "unknown")) {
    e->anywhere = true;
  } else if (take(c, "above")) {
    e->line--;
  } else if (take(c, "below")) {
    e->line++;
  } else if (take(c, "+")) {
    if (!take_number(c, &n)) return false;
    e->line += n;
  } else if (take(c, "-")) {
    if (!take_number(c, &n)) return false;
    e->line = n < e->line ? e->line - n : 0;
  } else {
    return false;
  }
  return true;
}

static bool take_expectation(cursor *c, expectation *e) {
  for (size_t i = 0; i < PRN_COUNT(severities); i++) {
    if (!take(c, severities[i])) continue;
    e->severity = (prn_severity)i;
    if (!take_place(c, e)) return false;
    while (c->at < c->end && *c->at == ' ')
      c->at++;
    if (!take(c, "{{")) return false;
    const char *from = c->at;
    const char *to = memmem(from, (size_t)(c->end - from), "}}", 2);
    if (!to) return false;
    while (to + 2 < c->end && to[2] == '}') /* a message may end in a brace */
      to++;
    e->text = (prn_str){from, (size_t)(to - from)};
    c->at = to + 2;
    return true;
  }
  return false;
}

static void trouble(prn_expect *x, prn_loc loc, prn_str subject,
                    const prn_strbuf *text) {
  if (x->num_troubles == x->cap_troubles) {
    x->cap_troubles = x->cap_troubles ? x->cap_troubles * 2 : 8;
    x->troubles = prn_realloc(
        x->troubles, prn_array_size(sizeof *x->troubles, x->cap_troubles));
  }
  prn_str s = prn_strbuf_view(text);
  s.data = prn_arena_copy(&x->arena, s.data, s.size);
  subject.data = prn_arena_copy(&x->arena, subject.data, subject.size);
  x->troubles[x->num_troubles++] = (prn_diag){PRN_ERROR, loc, subject, s};
}

static void malformed(prn_expect *x, uint32_t line, uint32_t col) {
  prn_strbuf b = {0};
  prn_strbuf_cstr(&b, "malformed expectation: write expected-error@+1 "
                      "{{text}}");
  trouble(x, (prn_loc){x->file, line, col}, PRN_STR(""), &b);
  prn_strbuf_destroy(&b);
}

static void read_line(prn_expect *x, prn_str line, uint32_t number) {
  static const char word[] = "expected-";
  cursor c = {line.data, line.data + line.size};
  const char *comment = memmem(c.at, line.size, "//", 2);
  if (!comment) return;
  c.at = comment;
  for (;;) {
    const char *found =
        memmem(c.at, (size_t)(c.end - c.at), word, sizeof word - 1);
    if (!found) return;
    uint32_t col = (uint32_t)(found - line.data) + 1;
    expectation e = {.written_line = number, .written_col = col};
    c.at = found + sizeof word - 1;
    if (!take_expectation(&c, &e)) {
      malformed(x, number, col);
      continue;
    }
    if (x->size == x->cap) {
      x->cap = x->cap ? x->cap * 2 : 8;
      x->list = prn_realloc(x->list, prn_array_size(sizeof e, x->cap));
    }
    x->list[x->size++] = e;
  }
}

/* ---- matching ---- */

static bool contains(prn_str text, prn_str part) {
  return part.size == 0 ||
         memmem(text.data, text.size, part.data, part.size) != NULL;
}

static bool meets(const expectation *e, const prn_diag *d, const char *file) {
  prn_strbuf full = {0};
  bool same_file = d->loc.file && strcmp(d->loc.file, file) == 0;
  bool placed = d->loc.line != 0;
  if (e->met || e->severity != d->severity) return false;
  if (e->anywhere ? placed : !placed || !same_file || d->loc.line != e->line)
    return false;
  prn_strbuf_str(&full, d->subject);
  prn_strbuf_cstr(&full, d->subject.size ? ": " : "");
  prn_strbuf_str(&full, d->text);
  bool ok = contains(prn_strbuf_view(&full), e->text);
  prn_strbuf_destroy(&full);
  return ok;
}

static void handle(void *user, const prn_diag *d) {
  prn_expect *x = user;
  for (size_t i = 0; i < x->size; i++)
    if (meets(&x->list[i], d, x->file)) {
      x->list[i].met = true;
      return;
    }
  prn_strbuf text = {0};
  prn_strbuf_fmt(&text, "unexpected %s: ", severities[d->severity]);
  prn_strbuf_str(&text, d->text);
  trouble(x, d->loc, d->subject, &text);
  prn_strbuf_destroy(&text);
}

prn_expect *prn_expect_begin(prn_diag_sink *sink, const char *file,
                             prn_str text, uint32_t first_line) {
  prn_expect *x = prn_alloc(sizeof *x);
  *x = (prn_expect){.sink = sink, .saved = *sink, .file = file};
  const char *at = text.data, *end = text.data + text.size;
  for (uint32_t line = first_line; at < end; line++) {
    const char *nl = memchr(at, '\n', (size_t)(end - at));
    const char *stop = nl ? nl : end;
    read_line(x, (prn_str){at, (size_t)(stop - at)}, line);
    at = nl ? nl + 1 : end;
  }
  sink->handler = handle;
  sink->user = x;
  sink->limit = SIZE_MAX;
  return x;
}

static void unmet(prn_expect *x, const expectation *e) {
  prn_strbuf text = {0};
  prn_strbuf_fmt(&text, "expected %s \"%.*s\" did not come",
                 severities[e->severity], PRN_STR_ARG(e->text));
  trouble(x, (prn_loc){x->file, e->written_line, e->written_col}, PRN_STR(""),
          &text);
  prn_strbuf_destroy(&text);
}

prn_status prn_expect_finish(prn_expect *x) {
  prn_diag_sink *sink = x->sink;
  sink->handler = x->saved.handler;
  sink->user = x->saved.user;
  sink->limit = x->saved.limit;
  sink->errors = x->saved.errors;
  sink->warnings = x->saved.warnings;
  for (size_t i = 0; i < x->size; i++)
    if (!x->list[i].met) unmet(x, &x->list[i]);
  for (size_t i = 0; i < x->num_troubles; i++) {
    const prn_diag *d = &x->troubles[i];
    prn_diag_emit(sink, PRN_ERROR, d->loc, d->subject, "%.*s",
                  PRN_STR_ARG(d->text));
  }
  prn_status s = x->num_troubles ? PRN_FAIL : PRN_OK;
  prn_arena_destroy(&x->arena);
  prn_free(x->troubles);
  prn_free(x->list);
  prn_free(x);
  return s;
}
