#include "tools/cli.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/support/arena.h"

enum { DOC_COLUMN = 30, WIDTH = 79, MAX_NAMES = 512 };

typedef struct parser {
  const prn_cli *cli;
  prn_diag_sink *sink;
  int argc, at;
  char **argv;
  char *settings;
  prn_cli_result *out;
  bool failed;
} parser;

PRN_PRINTF(2, 3) static void fail(parser *p, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  (void)prn_diag_vemit(p->sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0}, fmt,
                       ap);
  va_end(ap);
  p->failed = true;
}

static void list_add(prn_cli_list *l, const char *s) {
  if (l->size == l->cap) {
    l->cap = l->cap ? l->cap * 2 : 8;
    l->at = prn_realloc(l->at, prn_array_size(sizeof *l->at, l->cap));
  }
  l->at[l->size++] = s;
}

static void item_add(prn_cli_result *r, prn_str name, const char *value) {
  if (r->num_items == r->cap_items) {
    r->cap_items = r->cap_items ? r->cap_items * 2 : 8;
    size_t bytes = prn_array_size(sizeof *r->items, r->cap_items);
    r->items = prn_realloc(r->items, bytes);
  }
  r->items[r->num_items++] = (prn_cli_item){name, value};
}

/* ---- values ---- */

static bool is_row(const prn_cli_option *o) {
  return o->kind != PRN_CLI_HEADING;
}

static const prn_cli_option *find(const prn_cli *cli, prn_str name) {
  for (const prn_cli_option *o = cli->options; o->kind; o++)
    if (is_row(o) && prn_str_is(name, o->name)) return o;
  return NULL;
}

static const prn_cli_option *find_letter(const prn_cli *cli, char letter) {
  for (const prn_cli_option *o = cli->options; o->kind; o++)
    if (is_row(o) && o->letter == letter) return o;
  return NULL;
}

static void set_int(parser *p, const prn_cli_option *o, const char *value) {
  char *end;
  errno = 0;
  long long v = strtoll(value, &end, 10);
  bool bounded = o->min < o->max;
  if (errno || end == value || *end)
    fail(p, "--%s must be an integer, not '%s'", o->name, value);
  else if (bounded && ((double)v < o->min || (double)v > o->max))
    fail(p, "--%s must be from %.0f to %.0f, not %lld", o->name, o->min, o->max,
         v);
  else
    *(int64_t *)(void *)(p->settings + o->offset) = v;
}

static void set_real(parser *p, const prn_cli_option *o, const char *value) {
  char *end;
  double v = strtod(value, &end);
  bool bounded = o->min < o->max;
  if (end == value || *end || v != v)
    fail(p, "--%s must be a number, not '%s'", o->name, value);
  else if (bounded && (v < o->min || v > o->max))
    fail(p, "--%s must be from %g to %g, not %g", o->name, o->min, o->max, v);
  else
    *(double *)(void *)(p->settings + o->offset) = v;
}

static size_t split_words(const char *text, prn_str *words) {
  size_t n = 0;
  while (n < MAX_NAMES) {
    size_t len = strcspn(text, "|");
    words[n++] = (prn_str){text, len};
    if (!text[len]) break;
    text += len + 1;
  }
  return n;
}

static void set_choice(parser *p, const prn_cli_option *o, const char *value) {
  prn_str words[MAX_NAMES];
  size_t n = split_words(o->metavar, words);
  for (size_t i = 0; i < n; i++) {
    if (!prn_str_is(words[i], value)) continue;
    *(const char **)(void *)(p->settings + o->offset) = value;
    return;
  }
  prn_strbuf b = {0};
  for (size_t i = 0; i < n; i++)
    prn_strbuf_fmt(&b, "%s%.*s", i ? ", " : "", PRN_STR_ARG(words[i]));
  prn_strbuf_fmt(&b, ", not '%s'", value);
  prn_suggest(&b, prn_str_from(value), words, n);
  fail(p, "--%s must be one of %s", o->name, b.data);
  prn_strbuf_destroy(&b);
}

static void set_flag(parser *p, const prn_cli_option *o, const char *value) {
  bool on = !value || strcmp(value, "true") == 0;
  if (!on && strcmp(value, "false") != 0)
    fail(p, "--%s takes true or false, not '%s'", o->name, value);
  else
    *(bool *)(void *)(p->settings + o->offset) = on;
}

static void set_value(parser *p, const prn_cli_option *o, const char *value) {
  void *field = p->settings + o->offset;
  switch (o->kind) {
  case PRN_CLI_INT:
    set_int(p, o, value);
    break;
  case PRN_CLI_REAL:
    set_real(p, o, value);
    break;
  case PRN_CLI_CHOICE:
    set_choice(p, o, value);
    break;
  case PRN_CLI_LIST:
    list_add(field, value);
    break;
  case PRN_CLI_ITEM:
    item_add(p->out, prn_str_from(o->name), value);
    break;
  case PRN_CLI_TEXT:
  case PRN_CLI_MAYBE:
    *(const char **)field = value;
    break;
  case PRN_CLI_FLAG:
  case PRN_CLI_HEADING:
  case PRN_CLI_END:
    break;
  }
}

/* The next argument as the value of o, or NULL with a report. */
static const char *next_value(parser *p, const prn_cli_option *o) {
  const char *next = p->at + 1 < p->argc ? p->argv[p->at + 1] : NULL;
  if (next && strncmp(next, "--", 2) != 0) {
    p->at++;
    return next;
  }
  fail(p, "--%s needs a value: --%s=%s", o->name, o->name,
       o->metavar ? o->metavar : "VALUE");
  return NULL;
}

/* ---- arguments ---- */

static void take_option(parser *p, const prn_cli_option *o, const char *value) {
  if (o->kind == PRN_CLI_FLAG) {
    set_flag(p, o, value);
    return;
  }
  if (!value) value = o->kind == PRN_CLI_MAYBE ? "" : next_value(p, o);
  if (value) set_value(p, o, value);
}

static void take_unknown(parser *p, prn_str name, const char *value) {
  if (p->cli->collect_unknown) {
    item_add(p->out, name, value);
  } else {
    (void)prn_cli_unknown(p->cli, p->sink, name, NULL, 0);
    p->failed = true;
  }
}

static void take_long(parser *p, const char *arg) {
  const char *equals = strchr(arg, '=');
  size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
  prn_str name = {arg, n};
  const char *value = equals ? equals + 1 : NULL;
  const prn_cli_option *o = find(p->cli, name);
  if (o) {
    take_option(p, o, value);
    return;
  }
  if (prn_str_starts(name, "no-") && !value) {
    prn_str positive = {name.data + 3, name.size - 3};
    o = find(p->cli, positive);
    if (o && o->kind == PRN_CLI_FLAG) {
      set_flag(p, o, "false");
      return;
    }
  }
  take_unknown(p, name, value);
}

static void take_short(parser *p, const char *arg) {
  const prn_cli_option *o = find_letter(p->cli, arg[0]);
  if (!o) {
    prn_strbuf b = {0};
    if (arg[1] && find(p->cli, prn_str_from(arg)))
      prn_strbuf_fmt(&b, " (did you mean '--%s'?)", arg);
    fail(p, "unknown option '-%s'%s", arg, b.data ? b.data : "");
    prn_strbuf_destroy(&b);
  } else if (o->kind == PRN_CLI_FLAG && arg[1]) {
    fail(p, "-%c takes no value, found '-%s'", arg[0], arg);
  } else {
    take_option(p, o, arg[1] ? arg + 1 : NULL);
  }
}

static void write_stdout(const prn_strbuf *b) {
  (void)fwrite(b->data, 1, b->size, stdout);
}

/* Whether arg asks for --help or --version, which is answered at once. */
static bool answered(const prn_cli *cli, const char *arg) {
  prn_strbuf b = {0};
  if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
    prn_cli_help(cli, &b);
  else if (strcmp(arg, "--version") == 0)
    prn_strbuf_fmt(&b, "%s %s\n", cli->tool, PRN_VERSION);
  else
    return false;
  write_stdout(&b);
  prn_strbuf_destroy(&b);
  return true;
}

/* Nothing is flushed or written: outputs that are not whole do not exist. */
static void out_of_memory(size_t size) {
  (void)fprintf(stderr, "error: out of memory");
  if (size) (void)fprintf(stderr, ": %zu bytes are not to be had", size);
  (void)fprintf(stderr, "\n");
  _exit(1);
}

static void no_new(void) { out_of_memory(0); }

static void no_malloc(void *user, const char *why, bool diagnose) {
  (void)user;
  (void)why;
  (void)diagnose;
  out_of_memory(0);
}

/* LLVM, in the tools that have it, throws what nobody catches or aborts; what
 * it asks before that has no C name. */
static void tell_llvm(void) {
  void (*set_new)(void (*fn)(void));
  void (*set_malloc)(void (*fn)(void *, const char *, bool), void *user);
  void *found = dlsym(RTLD_DEFAULT, "_ZSt15set_new_handlerPFvvE");
  memcpy(&set_new, &found, sizeof found);
  if (found) set_new(no_new);
  found = dlsym(RTLD_DEFAULT,
                "_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_");
  memcpy(&set_malloc, &found, sizeof found);
  if (found) set_malloc(no_malloc, NULL);
}

void prn_cli_begin(void) {
  prn_on_out_of_memory(out_of_memory);
  tell_llvm();
}

prn_status prn_cli_parse(const prn_cli *cli, prn_diag_sink *sink, int argc,
                         char **argv, void *settings, prn_cli_result *out) {
  parser p = {cli, sink, argc, 1, argv, settings, out, false};
  bool only_args = false;
  *out = (prn_cli_result){0};
  for (; p.at < argc; p.at++) {
    const char *arg = argv[p.at];
    if (only_args || arg[0] != '-' || arg[1] == 0)
      list_add(&out->args, arg);
    else if (strcmp(arg, "--") == 0)
      only_args = true;
    else if (answered(cli, arg))
      return out->done = true, PRN_OK;
    else if (arg[1] == '-')
      take_long(&p, arg + 2);
    else
      take_short(&p, arg + 1);
  }
  if (out->args.size > cli->max_args)
    fail(&p, "expected %s, found one more: '%s'", cli->args,
         out->args.at[cli->max_args]);
  if (out->args.size < cli->min_args && !p.failed)
    fail(&p, "expected %s (see %s --help)", cli->args, cli->tool);
  return p.failed ? PRN_FAIL : PRN_OK;
}

void prn_cli_free(const prn_cli *cli, void *settings, prn_cli_result *r) {
  for (const prn_cli_option *o = cli->options; o->kind; o++) {
    if (o->kind != PRN_CLI_LIST) continue;
    prn_cli_list *l = (void *)((char *)settings + o->offset);
    prn_free(l->at);
    *l = (prn_cli_list){0};
  }
  prn_free(r->args.at);
  prn_free(r->items);
  *r = (prn_cli_result){0};
}

prn_status prn_cli_flush(prn_diag_sink *sink) {
  int failed = fflush(stdout) != 0 || ferror(stdout);
  if (!failed) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0},
                       "cannot write to standard output");
}

static prn_str dashed(prn_arena *arena, prn_str name) {
  char *s = prn_arena_alloc(arena, name.size + 2);
  s[0] = s[1] = '-';
  if (name.size) memcpy(s + 2, name.data, name.size);
  return (prn_str){s, name.size + 2};
}

prn_status prn_cli_unknown(const prn_cli *cli, prn_diag_sink *sink,
                           prn_str name, const prn_str *candidates, size_t n) {
  size_t rows = 2, used = 0;
  for (const prn_cli_option *o = cli->options; o->kind; o++)
    rows++;
  prn_arena arena = {0};
  prn_str *all = PRN_ARENA_ARRAY(&arena, prn_str, rows + n);
  for (const prn_cli_option *o = cli->options; o->kind; o++)
    if (is_row(o)) all[used++] = dashed(&arena, prn_str_from(o->name));
  for (size_t i = 0; i < n; i++)
    all[used++] = dashed(&arena, candidates[i]);
  all[used++] = PRN_STR("--help");
  all[used++] = PRN_STR("--version");
  prn_strbuf b = {0};
  prn_suggest(&b, dashed(&arena, name), all, used);
  prn_arena_destroy(&arena);
  if (b.size == 0) prn_strbuf_fmt(&b, " (see %s --help)", cli->tool);
  prn_status s =
      prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){"", 0},
                    "unknown option '--%.*s'%s", PRN_STR_ARG(name), b.data);
  prn_strbuf_destroy(&b);
  return s;
}

/* ---- help ---- */

void prn_cli_wrap(prn_strbuf *b, const char *text, size_t column, size_t indent,
                  size_t width) {
  bool first = true;
  while (*text) {
    size_t len = strcspn(text, " \n");
    if (!first && column + 1 + len > width) {
      prn_strbuf_fmt(b, "\n%*s", (int)indent, "");
      column = indent;
    } else if (!first) {
      prn_strbuf_char(b, ' ');
      column++;
    }
    prn_strbuf_bytes(b, text, len);
    column += len;
    text += len;
    first = false;
    while (*text == ' ' || *text == '\n')
      text++;
  }
}

static void help_row(const prn_cli_option *o, prn_strbuf *b) {
  size_t from = b->size;
  if (o->letter && !o->name[1])
    prn_strbuf_fmt(b, "  -%c", o->letter);
  else if (o->letter)
    prn_strbuf_fmt(b, "  -%c, --%s", o->letter, o->name);
  else
    prn_strbuf_fmt(b, "  --%s", o->name);
  if (o->metavar && o->kind == PRN_CLI_MAYBE)
    prn_strbuf_fmt(b, "[=%s]", o->metavar);
  else if (o->metavar)
    prn_strbuf_fmt(b, "%c%s", o->letter && !o->name[1] ? ' ' : '=', o->metavar);
  size_t used = b->size - from;
  if (used + 2 > DOC_COLUMN) {
    prn_strbuf_char(b, '\n');
    used = 0;
  }
  prn_strbuf_fmt(b, "%*s", (int)(DOC_COLUMN - used), "");
  prn_cli_wrap(b, o->doc, DOC_COLUMN, DOC_COLUMN, WIDTH);
  prn_strbuf_char(b, '\n');
}

void prn_cli_help(const prn_cli *cli, prn_strbuf *b) {
  static const prn_cli_option common[] = {
      {PRN_CLI_FLAG, 'h', "help", NULL, "This text.", 0, 0, 0},
      {PRN_CLI_FLAG, 0, "version", NULL, "The version.", 0, 0, 0},
  };
  prn_strbuf_fmt(b, "usage: %s ", cli->tool);
  prn_cli_wrap(b, cli->usage, 8 + strlen(cli->tool), 9, WIDTH);
  prn_strbuf_cstr(b, "\n\n");
  prn_cli_wrap(b, cli->intro, 0, 0, WIDTH);
  prn_strbuf_char(b, '\n');
  for (const prn_cli_option *o = cli->options; o->kind; o++) {
    if (o->kind == PRN_CLI_HEADING)
      prn_strbuf_fmt(b, "\n%s:\n", o->doc);
    else
      help_row(o, b);
  }
  for (size_t i = 0; i < PRN_COUNT(common); i++)
    help_row(&common[i], b);
  if (cli->outro) prn_strbuf_fmt(b, "\n%s", cli->outro);
}

bool prn_cli_folder(prn_strbuf *out) {
  char *self = realpath("/proc/self/exe", NULL);
  const char *slash = self ? strrchr(self, '/') : NULL;
  if (slash) prn_strbuf_str(out, (prn_str){self, (size_t)(slash - self)});
  free(self);
  return slash != NULL;
}
