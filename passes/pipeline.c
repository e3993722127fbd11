/* Pipelines as text: the registry, the parser and the printer. */
#include "passes/pipeline.h"

#include <assert.h>
#include <string.h>

#include "passes/option.h"

enum { MAX_NESTING = 64 };

/* ---- registry ---- */

bool prn_registry_add(prn_registry *r, const prn_pass *p) {
  if (prn_registry_find(r, prn_str_from(p->name))) return false;
  if (r->size == r->cap) {
    r->cap = r->cap ? r->cap * 2 : 64;
    r->passes = prn_realloc(r->passes, prn_array_size(sizeof(void *), r->cap));
  }
  r->passes[r->size++] = p;
  return true;
}

void prn_registry_add_all(prn_registry *r) {
#define PASS(name) (void)!prn_registry_add(r, &prn_pass_##name);
#include "passes/passes.def"
#undef PASS
}

void prn_registry_destroy(prn_registry *r) {
  prn_free(r->passes);
  *r = (prn_registry){0};
}

const prn_pass *prn_registry_find(const prn_registry *r, prn_str name) {
  for (size_t i = 0; i < r->size; i++)
    if (prn_str_is(name, r->passes[i]->name)) return r->passes[i];
  return NULL;
}

void prn_registry_suggest(const prn_registry *r, prn_str name, prn_strbuf *b) {
  size_t bytes = prn_array_size(sizeof(prn_str), r->size);
  prn_str *names = prn_alloc(bytes);
  for (size_t i = 0; i < r->size; i++)
    names[i] = prn_str_from(r->passes[i]->name);
  prn_suggest(b, name, names, r->size);
  prn_free(names);
}

/* ---- building ---- */

prn_pipeline *prn_pipeline_create(prn_ctx *ctx) {
  return PRN_ARENA_NEW(prn_ctx_arena(ctx), prn_pipeline);
}

static prn_pipeline_item *append(prn_ctx *ctx, prn_pipeline *p,
                                 const prn_pass *pass, prn_loc loc) {
  prn_arena *arena = prn_ctx_arena(ctx);
  if (p->size == p->cap) {
    p->cap = p->cap ? p->cap * 2 : 8;
    prn_pipeline_item **more =
        PRN_ARENA_ARRAY(arena, prn_pipeline_item *, p->cap);
    if (p->size) memcpy(more, p->items, p->size * sizeof *more);
    p->items = more;
  }
  prn_pipeline_item *item = PRN_ARENA_NEW(arena, prn_pipeline_item);
  item->pass = pass;
  item->loc = loc;
  item->opts = prn_options_create(ctx, pass);
  item->stats = prn_arena_alloc(arena, pass->stats_size);
  p->items[p->size++] = item;
  return item;
}

/* ---- lexing ---- */

typedef struct parser {
  prn_ctx *ctx;
  const prn_registry *registry;
  const char *what; /* NULL: the value of a --pass= flag, without a place */
  prn_str text;
  prn_variables *variables; /* NULL: '$' is a letter as any other */
  size_t at;
  unsigned depth;
  bool failed;
  bool missing; /* a variable of the last word has no value */
} parser;

static prn_loc loc_at(const parser *p, size_t at) {
  prn_loc loc = {.file = p->what, .line = 1, .col = 1};
  if (!p->what) return (prn_loc){0};
  for (size_t i = 0; i < at && i < p->text.size; i++) {
    loc.col++;
    if (p->text.data[i] == '\n') {
      loc.line++;
      loc.col = 1;
    }
  }
  return loc;
}

PRN_PRINTF(3, 4)
static void fail(parser *p, size_t at, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  (void)prn_diag_vemit(prn_ctx_diags(p->ctx), PRN_ERROR, loc_at(p, at),
                       (prn_str){"", 0}, fmt, ap);
  va_end(ap);
  p->failed = true;
}

static char peek(const parser *p) {
  return p->at < p->text.size ? p->text.data[p->at] : 0;
}

static bool at_end(const parser *p) { return p->at >= p->text.size; }

static bool at_comment(const parser *p) {
  prn_str rest = {p->text.data + p->at, p->text.size - p->at};
  return prn_str_starts(rest, "#") || prn_str_starts(rest, "//");
}

/* Skips blanks and comments; commas too when they only separate. */
static void skip(parser *p, bool commas) {
  while (!at_end(p)) {
    char c = peek(p);
    if (at_comment(p)) {
      while (!at_end(p) && peek(p) != '\n')
        p->at++;
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' ||
               (commas && c == ',')) {
      p->at++;
    } else {
      break;
    }
  }
}

static bool is_word_char(char c) {
  return (unsigned char)c > ' ' && !strchr(",{}()[]\"=", c);
}

static bool at_variable(const parser *p, prn_str text, size_t at) {
  prn_str rest = {text.data + at, text.size - at};
  return p->variables && prn_str_starts(rest, "${");
}

/* The end of the "${...}" that begins at `at`, or 0: it has none. */
static size_t variable_end(prn_str text, size_t at) {
  for (size_t i = at + 2; i < text.size && text.data[i] != '\n'; i++)
    if (text.data[i] == '}') return i + 1;
  return 0;
}

static void expand_one(parser *p, prn_str mention, size_t at, prn_strbuf *b) {
  prn_strbuf why = {0};
  prn_str value;
  if (prn_variables_find(p->variables, mention, &value, &why)) {
    prn_strbuf_str(b, value);
  } else {
    fail(p, at, "%s", why.data);
    p->missing = true;
  }
  prn_strbuf_destroy(&why);
}

/* text, which stands at `from`, with values in the place of variables. */
static prn_str expand(parser *p, prn_str text, size_t from) {
  prn_strbuf b = {0};
  bool any = false;
  p->missing = false;
  for (size_t i = 0, end; i < text.size; i = end) {
    end = at_variable(p, text, i) ? variable_end(text, i) : 0;
    if (end) {
      prn_str mention = {text.data + i + 2, end - i - 3};
      expand_one(p, mention, from + i, &b);
      any = true;
    } else {
      prn_strbuf_char(&b, text.data[i]);
      end = i + 1;
    }
  }
  if (any) text = prn_intern(p->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return text;
}

static prn_str take_word(parser *p) {
  size_t from = p->at;
  while (!at_end(p)) {
    size_t end = p->at + 1;
    if (at_variable(p, p->text, p->at))
      end = variable_end(p->text, p->at);
    else if (!is_word_char(peek(p)))
      break;
    if (!end) {
      fail(p, p->at, "the variable has no closing '}'");
      p->at = p->text.size;
      p->missing = true;
      return PRN_STR("");
    }
    p->at = end;
  }
  return expand(p, (prn_str){p->text.data + from, p->at - from}, from);
}

static prn_str take_quoted(parser *p) {
  size_t from = p->at;
  prn_strbuf b = {0};
  if (!prn_strbuf_unquote(&b, p->text, &p->at)) {
    if (p->at == from)
      fail(p, from, "the string has no closing '\"'");
    else
      fail(p, p->at, "unknown escape in a string");
    p->at = p->text.size;
  }
  prn_str s = prn_intern(p->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return expand(p, s, from + 1);
}

/* ---- options ---- */

/* Words up to ']'; the text is at '['. */
static bool take_list(parser *p, prn_option_text *out) {
  prn_arena *arena = prn_ctx_arena(p->ctx);
  size_t from = p->at++, cap = 0;
  prn_str *list = NULL;
  for (skip(p, true); !at_end(p) && peek(p) != ']'; skip(p, true)) {
    bool quoted = peek(p) == '"';
    prn_str word = quoted ? take_quoted(p) : take_word(p);
    if (p->missing) return false;
    if (word.size == 0 && !quoted) break;
    if (out->size == cap) {
      cap = cap ? 2 * cap : 8;
      prn_str *more = PRN_ARENA_ARRAY(arena, prn_str, cap);
      if (out->size) memcpy(more, list, out->size * sizeof *list);
      list = more;
    }
    list[out->size++] = word;
  }
  if (peek(p) != ']') {
    fail(p, from, "the list has no closing ']'");
    return false;
  }
  p->at++;
  out->words = list;
  return true;
}

static bool take_value(parser *p, prn_option_text *out) {
  static const char expected[] = "expected a value";
  prn_str *words = PRN_ARENA_ARRAY(prn_ctx_arena(p->ctx), prn_str, 1);
  *out = (prn_option_text){.words = words, .loc = loc_at(p, p->at)};
  if (peek(p) == '[') {
    out->is_list = true;
    return take_list(p, out);
  }
  out->is_quoted = peek(p) == '"';
  *words = out->is_quoted ? take_quoted(p) : take_word(p);
  out->size = 1;
  if (p->missing) return false;
  if (words->size || out->is_quoted) return true;
  fail(p, p->at, expected);
  return false;
}

static int first_strings(const prn_pass *pass) {
  for (int i = 0; pass->options[i].name; i++)
    if (pass->options[i].kind == PRN_OPTION_STRINGS) return i;
  return -1;
}

static void unknown_option(parser *p, const prn_pass *pass, prn_str name,
                           size_t at) {
  prn_strbuf b = {0};
  prn_option_suggest(pass, name, &b);
  prn_strbuf_cstr(&b, "; ");
  prn_option_list(pass, &b);
  fail(p, at, "%s: no option '%.*s'%s", pass->name, PRN_STR_ARG(name), b.data);
  prn_strbuf_destroy(&b);
}

static void set_option(parser *p, prn_pipeline_item *item, int row,
                       const prn_option_text *text) {
  const prn_option_info *o = &item->pass->options[row];
  uint64_t bit = 1ull << row;
  if ((item->given & bit) && o->kind != PRN_OPTION_STRINGS)
    fail(p, p->at, "%s: option '%s' is given twice", item->pass->name, o->name);
  item->given |= bit;
  if (prn_option_set(p->ctx, item->pass, row, text, item->opts) != PRN_OK)
    p->failed = true;
}

/* Leaves the rest of a broken option behind. */
static void skip_option(parser *p) {
  while (!at_end(p) && !strchr(", \n)}", peek(p))) {
    size_t end =
        at_variable(p, p->text, p->at) ? variable_end(p->text, p->at) : 0;
    p->at = end ? end : p->at + 1;
  }
}

static void take_named(parser *p, prn_pipeline_item *item) {
  size_t at = p->at;
  prn_str name = take_word(p);
  prn_option_text text;
  if (p->missing) return;
  if (name.size == 0) {
    fail(p, at, "%s: expected an option", item->pass->name);
    p->at++;
    return;
  }
  int row = prn_option_find(item->pass, name);
  if (row < 0) {
    unknown_option(p, item->pass, name, at);
    skip_option(p);
    return;
  }
  if (peek(p) == '=') {
    p->at++;
    if (take_value(p, &text)) set_option(p, item, row, &text);
  } else if (item->pass->options[row].kind == PRN_OPTION_BOOL) {
    prn_str yes = PRN_STR("true");
    text = (prn_option_text){.words = &yes, .size = 1};
    set_option(p, item, row, &text);
  } else {
    fail(p, at, "%s: option '%.*s' needs a value", item->pass->name,
         PRN_STR_ARG(name));
  }
}

/* Options up to the character close, 0 for the end of the text. */
static void take_options(parser *p, prn_pipeline_item *item, char close) {
  size_t from = p->at;
  for (skip(p, true); !at_end(p) && peek(p) != close; skip(p, true)) {
    int row = peek(p) == '"' ? first_strings(item->pass) : -1;
    prn_option_text text;
    if (row < 0)
      take_named(p, item);
    else if (take_value(p, &text))
      set_option(p, item, row, &text);
  }
  if (close && at_end(p))
    fail(p, from, "%s: the options have no closing '%c'", item->pass->name,
         close);
  else if (close)
    p->at++;
}

static void check_required(parser *p, const prn_pipeline_item *item,
                           size_t at) {
  for (int i = 0; item->pass->options[i].name; i++) {
    const prn_option_info *o = &item->pass->options[i];
    if (strcmp(o->dflt, "REQUIRED") != 0 || item->given >> i & 1) continue;
    prn_strbuf b = {0};
    prn_option_name(o, &b);
    prn_strbuf_cstr(&b, " must be given: ");
    prn_option_expected(o, &b);
    fail(p, at, "%s: option %s", item->pass->name, b.data);
    prn_strbuf_destroy(&b);
  }
}

/* ---- items ---- */

static void take_items(parser *p, prn_pipeline *out, char close);

/* Skips a balanced (...) or {...} behind a name that is no pass. */
static void skip_groups(parser *p) {
  int depth = 0;
  while (!at_end(p)) {
    char c = peek(p);
    if (c == '"') {
      (void)take_quoted(p);
      continue;
    }
    if (c == '(' || c == '{') depth++;
    if ((c == ')' || c == '}') && --depth < 0) return;
    if (depth == 0 && c != ')' && c != '}') return;
    p->at++;
  }
}

static void unknown_pass(parser *p, prn_str name, size_t at) {
  prn_strbuf b = {0};
  prn_registry_suggest(p->registry, name, &b);
  if (b.size == 0) prn_strbuf_cstr(&b, "; --list-passes lists them");
  fail(p, at, "no pass is called '%.*s'%s", PRN_STR_ARG(name), b.data);
  prn_strbuf_destroy(&b);
  skip_groups(p);
}

static void take_body(parser *p, prn_pipeline_item *item, size_t at) {
  item->body = prn_pipeline_create(p->ctx);
  if (peek(p) != '{') {
    fail(p, at, "%s: expected '{' and the passes it applies to",
         item->pass->name);
    return;
  }
  if (++p->depth > MAX_NESTING) {
    fail(p, at, "pipelines are nested too deeply (the limit is %d)",
         MAX_NESTING);
    p->at = p->text.size;
    return;
  }
  p->at++;
  take_items(p, item->body, '}');
  p->depth--;
  if (peek(p) == '}')
    p->at++;
  else
    fail(p, at, "%s: the group has no closing '}'", item->pass->name);
}

static void take_item(parser *p, prn_pipeline *out) {
  size_t at = p->at;
  prn_str name = take_word(p);
  if (p->missing) {
    skip_groups(p);
    return;
  }
  if (name.size == 0) {
    fail(p, at, "expected the name of a pass, not '%c'", peek(p));
    p->at++;
    return;
  }
  const prn_pass *pass = prn_registry_find(p->registry, name);
  if (!pass) {
    unknown_pass(p, name, at);
    return;
  }
  prn_pipeline_item *item = append(p->ctx, out, pass, loc_at(p, at));
  char open = pass->nests ? '(' : '{';
  skip(p, false); /* no item begins with a bracket */
  if (peek(p) == open) {
    p->at++;
    take_options(p, item, open == '(' ? ')' : '}');
  } else if (peek(p) == '(') {
    fail(p, p->at, "%s: options are written in braces: %s{...}", pass->name,
         pass->name);
    skip_groups(p);
  }
  check_required(p, item, at);
  if (!pass->nests) return;
  skip(p, false);
  take_body(p, item, at);
}

static void take_items(parser *p, prn_pipeline *out, char close) {
  for (skip(p, true); !at_end(p) && peek(p) != close; skip(p, true))
    take_item(p, out);
}

prn_status prn_pipeline_parse(prn_ctx *ctx, const prn_registry *r,
                              const char *what, prn_str text,
                              prn_pipeline *out) {
  return prn_recipe_parse(ctx, r, what, text, NULL, out);
}

prn_status prn_recipe_parse(prn_ctx *ctx, const prn_registry *r,
                            const char *what, prn_str text,
                            prn_variables *variables, prn_pipeline *out) {
  parser p = {.ctx = ctx, .registry = r, .variables = variables};
  p.what = prn_intern_cstr(ctx, what ? what : "<pipeline>").data;
  p.text = prn_intern(ctx, text);
  prn_diag_add_source(prn_ctx_diags(ctx), p.what, p.text);
  take_items(&p, out, 0);
  return p.failed ? PRN_FAIL : PRN_OK;
}

prn_status prn_pipeline_add(prn_ctx *ctx, const prn_pass *pass, prn_str options,
                            prn_pipeline *out) {
  parser p = {.ctx = ctx, .text = options};
  if (pass->nests) {
    fail(&p, 0, "%s: takes passes: write --pass-pipeline='%s(...){...}'",
         pass->name, pass->name);
    return PRN_FAIL;
  }
  prn_pipeline_item *item = append(ctx, out, pass, (prn_loc){0});
  take_options(&p, item, 0);
  check_required(&p, item, 0);
  return p.failed ? PRN_FAIL : PRN_OK;
}

bool prn_pipeline_item_exact(const prn_pipeline_item *item) {
  const prn_pass *p = item->pass;
  for (const prn_option_info *o = p->options; p->exact_unless && o->name; o++) {
    bool value;
    if (strcmp(o->name, p->exact_unless) != 0) continue;
    assert(o->kind == PRN_OPTION_BOOL);
    memcpy(&value, (const char *)item->opts + o->offset, sizeof value);
    if (value) return false;
  }
  return p->exact;
}

/* ---- printing ---- */

static void print_options(const prn_pipeline_item *item, const char *open,
                          const char *close, prn_strbuf *b) {
  bool any = false;
  for (int i = 0; item->pass->options[i].name; i++) {
    if (!(item->given >> i & 1)) continue;
    prn_strbuf_cstr(b, any ? " " : open);
    prn_option_name(&item->pass->options[i], b);
    prn_strbuf_char(b, '=');
    prn_option_print(&item->pass->options[i], item->opts, b);
    any = true;
  }
  if (any) prn_strbuf_cstr(b, close);
}

void prn_pipeline_item_print(const prn_pipeline_item *item, prn_strbuf *b) {
  prn_strbuf_cstr(b, item->pass->name);
  if (!item->pass->nests) {
    print_options(item, "{", "}", b);
    return;
  }
  print_options(item, "(", ")", b);
  prn_strbuf_char(b, '{');
  prn_pipeline_print(item->body, b);
  prn_strbuf_char(b, '}');
}

void prn_pipeline_print(const prn_pipeline *p, prn_strbuf *b) {
  for (size_t i = 0; i < p->size; i++) {
    if (i) prn_strbuf_char(b, ',');
    prn_pipeline_item_print(p->items[i], b);
  }
}
