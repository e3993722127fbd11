#include "ir/support/diag.h"

#include <string.h>

#include "ir/support/arena.h"

enum { DEFAULT_LIMIT = 100, CARET_COLUMNS = 160 };

static const char *const severity_names[] = {"error", "warning", "remark",
                                             "note"};

void prn_diag_sink_destroy(prn_diag_sink *s) {
  prn_free(s->sources);
  *s = (prn_diag_sink){0};
}

void prn_diag_add_source(prn_diag_sink *s, const char *file, prn_str text) {
  size_t bytes = prn_array_size(sizeof *s->sources, s->num_sources + 1);
  s->sources = prn_realloc(s->sources, bytes);
  s->sources[s->num_sources++] = (prn_diag_source){file, text};
}

/* The text of 1-based line `line`, without its newline. */
static prn_str line_of(prn_str text, uint32_t line) {
  const char *p = text.data, *end = text.data + text.size;
  for (uint32_t i = 1; i < line && p; i++) {
    p = memchr(p, '\n', (size_t)(end - p));
    if (p) p++;
  }
  if (!p || p >= end) return (prn_str){"", 0};
  const char *stop = memchr(p, '\n', (size_t)(end - p));
  return (prn_str){p, (size_t)((stop ? stop : end) - p)};
}

static void format_caret(const prn_diag_sink *s, prn_loc loc, prn_strbuf *out) {
  for (size_t i = 0; i < s->num_sources; i++) {
    if (!loc.file || strcmp(s->sources[i].file, loc.file) != 0) continue;
    prn_str line = line_of(s->sources[i].text, loc.line);
    size_t col = loc.col ? loc.col - 1 : 0, from = 0;
    if (line.size == 0 || col > line.size) return;
    if (col > CARET_COLUMNS / 2) from = col - CARET_COLUMNS / 2;
    size_t shown = line.size - from;
    if (shown > CARET_COLUMNS) shown = CARET_COLUMNS;
    prn_strbuf_str(out, (prn_str){line.data + from, shown});
    prn_strbuf_char(out, '\n');
    for (size_t k = from; k < col; k++)
      prn_strbuf_char(out, line.data[k] == '\t' ? '\t' : ' ');
    prn_strbuf_cstr(out, "^\n");
    return;
  }
}

void prn_diag_format(const prn_diag_sink *s, const prn_diag *d,
                     prn_strbuf *out) {
  if (d->loc.file) {
    prn_strbuf_cstr(out, d->loc.file);
    if (d->loc.line)
      prn_strbuf_fmt(out, ":%u:%u", (unsigned)d->loc.line,
                     (unsigned)d->loc.col);
    prn_strbuf_cstr(out, ": ");
  }
  if (d->subject.size && !d->loc.line) {
    prn_strbuf_str(out, d->subject);
    prn_strbuf_cstr(out, ": ");
  }
  prn_strbuf_fmt(out, "%s: ", severity_names[d->severity]);
  if (d->subject.size && d->loc.line) {
    prn_strbuf_str(out, d->subject);
    prn_strbuf_cstr(out, ": ");
  }
  prn_strbuf_str(out, d->text);
  prn_strbuf_char(out, '\n');
  if (d->loc.line) format_caret(s, d->loc, out);
}

prn_status prn_diag_vemit(prn_diag_sink *s, prn_severity severity, prn_loc loc,
                          prn_str subject, const char *fmt, va_list ap) {
  prn_strbuf text = {0}, line = {0};
  if (severity == PRN_ERROR) s->errors++;
  if (severity == PRN_WARNING) s->warnings++;
  prn_status status = severity == PRN_ERROR ? PRN_FAIL : PRN_OK;
  if (severity == PRN_ERROR &&
      s->errors > (s->limit ? s->limit : DEFAULT_LIMIT))
    return status;
  prn_strbuf_vfmt(&text, fmt, ap);
  prn_diag d = {severity, loc, subject, prn_strbuf_view(&text)};
  if (s->handler) {
    s->handler(s->user, &d);
  } else {
    prn_diag_format(s, &d, &line);
    (void)fwrite(line.data, 1, line.size, stderr);
  }
  prn_strbuf_destroy(&text);
  prn_strbuf_destroy(&line);
  return status;
}

prn_status prn_diag_emit(prn_diag_sink *s, prn_severity severity, prn_loc loc,
                         prn_str subject, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status status = prn_diag_vemit(s, severity, loc, subject, fmt, ap);
  va_end(ap);
  return status;
}
