/* The section of resources at the end of a text. */
#include <string.h>

#include "ir/parse.h"

enum { HINTS = 20 /* unknown names that get a "did you mean" */ };

typedef struct resource {
  const prn_blob *blob;
  const prn_str *strings;
  int64_t num_strings;
} resource;

typedef struct section {
  prn_map entries; /* key -> resource */
  prn_map files;   /* path -> prn_file, NULL when it cannot be opened */
} section;

/* A relative path starts at the folder of the text. */
static const char *resolve(prn_parser *p, prn_str path) {
  const char *slash = strrchr(p->lexer.file, '/');
  prn_strbuf full = {0}, clean = {0};
  if (!slash || path.data[0] == '/') return path.data;
  prn_strbuf_bytes(&full, p->lexer.file, (size_t)(slash - p->lexer.file) + 1);
  prn_strbuf_str(&full, path);
  prn_path_clean(full.data, &clean);
  bool same = prn_path_same(full.data, clean.data);
  const char *result =
      prn_intern(p->ctx, prn_strbuf_view(same ? &clean : &full)).data;
  prn_strbuf_destroy(&full);
  prn_strbuf_destroy(&clean);
  return result;
}

static prn_status open_once(prn_parser *p, section *s, prn_str path,
                            prn_loc loc, prn_file **out) {
  if (prn_map_find(&s->files, path)) {
    *out = prn_map_get(&s->files, path);
    return *out ? PRN_OK : PRN_FAIL;
  }
  void **slot = prn_map_slot(&s->files, path);
  *out = NULL;
  if (path.size == 0 || prn_str_is(path, "-") ||
      memchr(path.data, 0, path.size))
    return prn_parse_error_at(p, loc, "a resource needs the path of a file");
  if (prn_file_open(prn_ctx_diags(p->ctx), resolve(p, path), out) == PRN_OK) {
    *slot = *out;
    return PRN_OK;
  }
  p->errors++;
  prn_diag_emit(prn_ctx_diags(p->ctx), PRN_NOTE, loc, PRN_STR(""),
                "the file is named here");
  return PRN_FAIL;
}

static prn_status parse_number(prn_parser *p, const char *word, uint64_t *out) {
  int64_t v;
  PRN_TRY(prn_parse_expect(p, ',', "','"));
  PRN_TRY(prn_parse_word(p, word));
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_int(p, &v));
  if (v < 0) return prn_parse_error_at(p, loc, "%s is negative", word);
  *out = (uint64_t)v;
  return PRN_OK;
}

static prn_status parse_file(prn_parser *p, section *s, resource *r) {
  prn_str path;
  prn_file *f;
  uint64_t offset, size;
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_string(p, &path));
  PRN_TRY(parse_number(p, "offset", &offset));
  PRN_TRY(parse_number(p, "size", &size));
  PRN_TRY(open_once(p, s, path, loc, &f));
  uint64_t have = prn_file_bytes(f).size;
  if (offset > have || size > have - offset)
    return prn_parse_error_at(p, loc,
                              "bytes %llu to %llu are past the end of '%.*s', "
                              "which has %llu",
                              (unsigned long long)offset,
                              (unsigned long long)(offset + size),
                              PRN_STR_ARG(path), (unsigned long long)have);
  r->blob = prn_blob_from_file(p->ctx, f, offset, (size_t)size);
  return PRN_OK;
}

/* A string here continues the bytes, unless it is the next entry's name. */
static bool more_hex(const prn_parser *p) {
  prn_lexer ahead = p->lexer;
  return prn_parse_is(p, PRN_TOK_STRING) && prn_lex_next(&ahead).kind != '=';
}

static prn_status parse_hex(prn_parser *p, resource *r) {
  prn_strbuf b = {0};
  prn_status s = PRN_OK;
  do
    s = prn_parser_hex(p, &b);
  while (s == PRN_OK && more_hex(p));
  if (b.data)
    r->blob = prn_blob_take(p->ctx, b.data, b.size);
  else
    r->blob = prn_blob_copy(p->ctx, NULL, 0);
  return s;
}

static prn_status parse_strings(prn_parser *p, resource *r) {
  prn_loc loc = prn_parse_loc(p);
  if (!prn_parse_is(p, '[')) return prn_parse_expected(p, "'['");
  const prn_attr *a = prn_parser_attr(p);
  if (!a) return PRN_FAIL;
  if (a->kind != PRN_ATTR_STRINGS)
    return prn_parse_error_at(p, loc, "expected a list of strings");
  r->strings = a->strings;
  r->num_strings = a->size;
  return PRN_OK;
}

static prn_status parse_entry(prn_parser *p, section *s) {
  prn_str key;
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_name(p, "the name of a resource", &key));
  void **slot = prn_map_slot(&s->entries, key);
  if (*slot)
    return prn_parse_error_at(p, loc, "resource '%.*s' is given twice",
                              PRN_STR_ARG(key));
  resource *r = PRN_ARENA_NEW(&p->arena, resource);
  *slot = r;
  PRN_TRY(prn_parse_expect(p, '=', "'='"));
  bool file = prn_parse_is_word(p, "file"), hex = prn_parse_is_word(p, "hex");
  if (!file && !hex && !prn_parse_is_word(p, "strings"))
    return prn_parse_expected(p, "file, hex or strings");
  prn_parse_advance(p);
  return file  ? parse_file(p, s, r)
         : hex ? parse_hex(p, r)
               : parse_strings(p, r);
}

/* To the next entry, which begins a line, or the end of the section. */
static void skip_entry(prn_parser *p, const char *start) {
  if (p->tok.text.data == start) prn_parse_advance(p);
  while (!prn_parse_is(p, PRN_TOK_EOF) && !prn_parse_is(p, PRN_TOK_RES_CLOSE) &&
         !(p->tok.first && prn_parse_is(p, PRN_TOK_IDENT)))
    prn_parse_advance(p);
}

static prn_status unknown_key(prn_parser *p, const section *s,
                              const prn_parse_fixup *f) {
  prn_strbuf b = {0};
  size_t n = s->entries.size;
  prn_str *all = prn_alloc(prn_array_size(sizeof *all, n + 1));
  for (size_t i = 0; i < n; i++)
    all[i] = s->entries.entries[i].key;
  prn_suggest(&b, f->key, all, p->num_hints++ < HINTS ? n : 0);
  (void)!prn_parse_error_at(p, f->loc, "no resource '%.*s' is listed%s",
                            PRN_STR_ARG(f->key), b.data ? b.data : "");
  prn_strbuf_destroy(&b);
  prn_free(all);
  return PRN_FAIL;
}

static prn_status apply(prn_parser *p, const section *s,
                        const prn_parse_fixup *f) {
  const resource *r = prn_map_get(&s->entries, f->key);
  int64_t count = 0;
  if (!r) return unknown_key(p, s, f);
  bool wants_strings = f->tensor->type->dtype == PRN_STRING && !f->mask;
  if (r->blob ? wants_strings : !wants_strings)
    return prn_parse_error_at(p, f->loc, "resource '%.*s' holds %s",
                              PRN_STR_ARG(f->key),
                              r->blob ? "bytes" : "strings");
  if (f->mask) {
    f->tensor->mask = r->blob;
  } else if (r->blob) {
    f->tensor->data = r->blob;
  } else {
    f->tensor->strings = r->strings;
    if (!prn_type_count(f->tensor->type, &count) || count != r->num_strings)
      return prn_parse_error_at(p, f->loc,
                                "resource '%.*s' holds %lld strings, the type "
                                "%s has %lld",
                                PRN_STR_ARG(f->key), (long long)r->num_strings,
                                prn_type_str(p->ctx, f->tensor->type),
                                (long long)count);
  }
  return PRN_OK;
}

static prn_status parse_section(prn_parser *p, section *s) {
  prn_status status = PRN_OK;
  prn_parse_advance(p);
  PRN_TRY(prn_parse_word(p, "resources"));
  while (!prn_parse_is(p, PRN_TOK_RES_CLOSE) && !prn_parse_is(p, PRN_TOK_EOF)) {
    const char *start = p->tok.text.data;
    if (parse_entry(p, s) == PRN_OK) continue;
    status = PRN_FAIL;
    skip_entry(p, start);
  }
  PRN_TRY(prn_parse_expect(p, PRN_TOK_RES_CLOSE, "'#-}'"));
  return status;
}

prn_status prn_parser_resources(prn_parser *p) {
  section s = {0};
  prn_status status = PRN_OK;
  if (prn_parse_is(p, PRN_TOK_RES_OPEN)) status = parse_section(p, &s);
  for (const prn_parse_fixup *f = p->fixups; f && status == PRN_OK; f = f->next)
    (void)!apply(p, &s, f); /* counted: all of them are reported */
  for (size_t i = 0; i < s.files.size; i++)
    prn_file_release(s.files.entries[i].value);
  prn_map_destroy(&s.files);
  prn_map_destroy(&s.entries);
  return status;
}
