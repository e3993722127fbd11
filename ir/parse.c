/* Parser of the text form: tokens, messages, entry points. */
#include "ir/parse.h"

#include <string.h>

enum {
  SHOWN = 40,      /* bytes of a token in a message */
  MAX_ERRORS = 20, /* then the text is something else, or the rest follows */
};

prn_loc prn_parse_loc(const prn_parser *p) {
  if (p->tok.kind == PRN_TOK_EOF) return p->behind; /* not the blank end */
  return (prn_loc){p->lexer.file, p->tok.line, p->tok.col};
}

static prn_status report(prn_parser *p, prn_loc loc, const char *fmt,
                         va_list ap) {
  p->errors++;
  if (p->stopped) return PRN_FAIL; /* at an end that is not the text's */
  p->reported++;
  return prn_diag_vemit(prn_ctx_diags(p->ctx), PRN_ERROR, loc, PRN_STR(""), fmt,
                        ap);
}

prn_status prn_parse_error(prn_parser *p, const char *fmt, ...) {
  va_list ap;
  p->errors++;
  /* The lexer has spoken, or somebody at this very token. */
  if (p->tok.kind == PRN_TOK_ERROR || p->error_at == p->tok.text.data)
    return PRN_FAIL;
  p->error_at = p->tok.text.data;
  va_start(ap, fmt);
  prn_status s = report(p, prn_parse_loc(p), fmt, ap);
  va_end(ap);
  return s;
}

prn_status prn_parse_error_at(prn_parser *p, prn_loc loc, const char *fmt,
                              ...) {
  va_list ap;
  p->error_at = p->tok.text.data; /* what follows is a consequence */
  va_start(ap, fmt);
  prn_status s = report(p, loc, fmt, ap);
  va_end(ap);
  return s;
}

prn_status prn_parse_expected(prn_parser *p, const char *what) {
  prn_str t = p->tok.text;
  if (p->tok.kind == PRN_TOK_EOF)
    return prn_parse_error(p, "expected %s, found the end of the text", what);
  const char *more = t.size > SHOWN ? "..." : "";
  if (t.size > SHOWN) t.size = SHOWN;
  return prn_parse_error(p, "expected %s, found '%.*s%s'", what, PRN_STR_ARG(t),
                         more);
}

/* Leaves the rest of the text unread. */
static void stop(prn_parser *p) {
  (void)prn_diag_emit(prn_ctx_diags(p->ctx), PRN_NOTE, prn_parse_loc(p),
                      PRN_STR(""), "%d errors: the rest is not read",
                      MAX_ERRORS);
  p->lexer.at = p->lexer.end;
  p->stopped = true;
}

void prn_parse_advance(prn_parser *p) {
  if (p->reported >= MAX_ERRORS && !p->stopped) stop(p);
  if (p->tok.kind == '{' || p->tok.kind == PRN_TOK_RES_OPEN) p->braces++;
  if (p->tok.kind == '}' || p->tok.kind == PRN_TOK_RES_CLOSE) p->braces--;
  prn_lexer *lx = &p->lexer;
  p->behind =
      (prn_loc){lx->file, lx->line, (uint32_t)(lx->at - lx->line_start) + 1};
  p->tok = prn_lex_next(lx);
  if (p->tok.kind != PRN_TOK_ERROR) return;
  p->errors++;
  p->reported++;
}

bool prn_parse_is(const prn_parser *p, int kind) { return p->tok.kind == kind; }

bool prn_parse_is_word(const prn_parser *p, const char *word) {
  return p->tok.kind == PRN_TOK_IDENT && prn_str_is(p->tok.text, word);
}

bool prn_parse_accept(prn_parser *p, int kind) {
  if (p->tok.kind != kind) return false;
  prn_parse_advance(p);
  return true;
}

prn_status prn_parse_expect(prn_parser *p, int kind, const char *what) {
  if (prn_parse_accept(p, kind)) return PRN_OK;
  return prn_parse_expected(p, what);
}

prn_status prn_parse_word(prn_parser *p, const char *word) {
  prn_strbuf quoted = {0};
  if (prn_parse_is_word(p, word)) {
    prn_parse_advance(p);
    return PRN_OK;
  }
  prn_strbuf_fmt(&quoted, "'%s'", word);
  prn_status s = prn_parse_expected(p, quoted.data);
  prn_strbuf_destroy(&quoted);
  return s;
}

prn_status prn_parse_string(prn_parser *p, prn_str *out) {
  prn_strbuf b = {0};
  if (p->tok.kind != PRN_TOK_STRING) return prn_parse_expected(p, "a string");
  prn_lex_unquote(p->tok.text, &b);
  *out = prn_intern(p->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  prn_parse_advance(p);
  return PRN_OK;
}

prn_status prn_parse_name(prn_parser *p, const char *what, prn_str *out) {
  if (p->tok.kind == PRN_TOK_STRING) return prn_parse_string(p, out);
  if (p->tok.kind != PRN_TOK_IDENT) return prn_parse_expected(p, what);
  *out = prn_intern(p->ctx, p->tok.text);
  prn_parse_advance(p);
  return PRN_OK;
}

prn_status prn_parse_int(prn_parser *p, int64_t *out) {
  prn_str t = p->tok.text;
  if (p->tok.kind != PRN_TOK_INT) return prn_parse_expected(p, "an integer");
  bool negative = t.data[0] == '-';
  int64_t v = 0;
  for (size_t i = negative; i < t.size; i++) {
    int64_t digit = t.data[i] - '0';
    if (!prn_mul_i64(v, 10, &v) ||
        !prn_add_i64(v, negative ? -digit : digit, &v))
      return prn_parse_error(p, "integer does not fit 64 bits");
  }
  *out = v;
  prn_parse_advance(p);
  return PRN_OK;
}

prn_status prn_parse_enter(prn_parser *p) {
  if (p->depth >= PRN_PARSE_DEPTH)
    return prn_parse_error(p, "nested too deeply (the limit is %d levels)",
                           PRN_PARSE_DEPTH);
  p->depth++;
  return PRN_OK;
}

void prn_parse_leave(prn_parser *p) { p->depth--; }

/* ---- modules ---- */

static prn_status module_head(prn_parser *p) {
  prn_named_attr *attrs;
  uint32_t n;
  prn_parse_advance(p);
  if (prn_parse_is_word(p, "attributes")) {
    prn_parse_advance(p);
    PRN_TRY(prn_parser_dict(p, false, &attrs, &n));
    p->module->attrs = prn_attr_dict(p->ctx, attrs, n);
  }
  return prn_parse_expect(p, '{', "'{'");
}

static void parse_module(prn_parser *p) {
  bool wrapped = prn_parse_is_word(p, "module");
  if (wrapped && module_head(p) != PRN_OK) return;
  for (;;) {
    prn_parser_ops(p, p->module->body);
    if (wrapped || !prn_parse_is(p, '}')) break;
    (void)!prn_parse_error(p, "'}' closes nothing");
    prn_parse_advance(p);
  }
  if (wrapped && prn_parse_expect(p, '}', "'}' at the end of the module"))
    return;
  if (!p->stopped) prn_parser_undefined(p);
  if (prn_parser_resources(p) != PRN_OK) return;
  if (!prn_parse_is(p, PRN_TOK_EOF))
    (void)!prn_parse_expected(p, "the end of the text");
}

static void start(prn_parser *p, prn_ctx *ctx, const char *file, prn_str text,
                  uint32_t first_line) {
  *p = (prn_parser){.ctx = ctx};
  p->unresolved_end = &p->unresolved;
  p->fixups_end = &p->fixups;
  file = prn_intern_cstr(ctx, file ? file : "<text>").data;
  prn_lex_init(&p->lexer, prn_ctx_diags(ctx), file, text, first_line);
  prn_parse_advance(p);
}

static void finish(prn_parser *p) {
  prn_strbuf_destroy(&p->key);
  prn_map_destroy(&p->names);
  prn_free(p->scope);
  prn_arena_destroy(&p->arena);
}

prn_module *prn_parse_module_at(prn_ctx *ctx, const char *file, prn_str text,
                                uint32_t first_line) {
  prn_parser p;
  start(&p, ctx, file, text, first_line);
  p.module = prn_module_create(ctx);
  p.module->file = p.lexer.file;
  parse_module(&p);
  finish(&p);
  if (p.errors == 0) return p.module;
  prn_module_destroy(p.module);
  return NULL;
}

prn_module *prn_parse_module(prn_ctx *ctx, const char *file, prn_str text) {
  return prn_parse_module_at(ctx, file, text, 1);
}

static void release_file(void *file) { prn_file_release(file); }

prn_module *prn_parse_file(prn_ctx *ctx, const char *path) {
  prn_file *f;
  if (prn_file_open(prn_ctx_diags(ctx), path, &f) != PRN_OK) return NULL;
  prn_ctx_on_destroy(ctx, release_file, f);
  const char *name = prn_intern_cstr(ctx, path).data;
  prn_diag_add_source(prn_ctx_diags(ctx), name, prn_file_bytes(f));
  return prn_parse_module(ctx, name, prn_file_bytes(f));
}

/* Nothing may follow the one thing that was parsed. */
static bool whole(prn_parser *p) {
  if (p->errors == 0 && !prn_parse_is(p, PRN_TOK_EOF))
    (void)!prn_parse_expected(p, "the end of the text");
  bool ok = p->errors == 0;
  finish(p);
  return ok;
}

const prn_type *prn_parse_type(prn_ctx *ctx, const char *file, prn_str text) {
  prn_parser p;
  start(&p, ctx, file, text, 1);
  const prn_type *t = prn_parser_type(&p);
  return whole(&p) ? t : NULL;
}

const prn_attr *prn_parse_attr(prn_ctx *ctx, const char *file, prn_str text) {
  prn_parser p;
  start(&p, ctx, file, text, 1);
  const prn_attr *a = prn_parser_attr(&p);
  if (p.fixups)
    (void)!prn_parse_error_at(&p, p.fixups->loc,
                              "a resource can only be named in a module");
  return whole(&p) ? a : NULL;
}

prn_dim prn_parse_dim(prn_ctx *ctx, const char *file, prn_str text) {
  prn_parser p;
  start(&p, ctx, file, text, 1);
  prn_dim d = prn_parser_dim(&p);
  return whole(&p) ? d : NULL;
}
