/* Reading and writing what was tuned; see tune_cache.h. */
#include "tools/tune_cache.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ir/support/file.h"

/* ---- the cache ---- */

const prn_tuned *prn_tune_cache_find(const prn_tune_cache *c, uint64_t key) {
  for (size_t i = 0; i < c->size; i++)
    if (c->all[i].key == key) return &c->all[i];
  return NULL;
}

static void append(prn_tune_cache *c, prn_tuned t) {
  if (c->size == c->cap) {
    c->cap = c->cap ? 2 * c->cap : 64;
    c->all = prn_realloc(c->all, prn_array_size(sizeof *c->all, c->cap));
  }
  c->all[c->size++] = t;
}

void prn_tune_cache_add(prn_tune_cache *c, prn_tuned t) {
  append(c, t);
  c->changed = true;
}

void prn_tune_cache_destroy(prn_tune_cache *c) {
  prn_free(c->all);
  *c = (prn_tune_cache){0};
}

/* ---- numbers of a choice ---- */

static const struct field {
  const char *name;
  size_t offset;
} fields[] = {{"group", offsetof(prn_plan_choice, group)},
              {"depth", offsetof(prn_plan_choice, depth)},
              {"nr", offsetof(prn_plan_choice, nr)},
              {"vectors", offsetof(prn_plan_choice, vectors)},
              {"tile", offsetof(prn_plan_choice, tile)},
              {"wide", offsetof(prn_plan_choice, wide)}};

static int64_t *field_of(prn_plan_choice *c, size_t i) {
  return (int64_t *)(void *)((char *)c + fields[i].offset);
}

/* ---- reading ---- */

typedef struct reader {
  prn_tune_cache *cache;
  uint32_t line;
} reader;

PRN_PRINTF(2, 3) static prn_status fail(const reader *r, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_loc loc = {.file = r->cache->path, .line = r->line, .col = 1};
  prn_status s = prn_diag_vemit(prn_ctx_diags(r->cache->ctx), PRN_ERROR, loc,
                                PRN_STR(""), fmt, ap);
  va_end(ap);
  return s;
}

/* The next word; empty at the end. */
static prn_str next_word(prn_str *line) {
  size_t n = 0;
  while (line->size && (*line->data == ' ' || *line->data == '\t'))
    *line = (prn_str){line->data + 1, line->size - 1};
  while (n < line->size && line->data[n] != ' ' && line->data[n] != '\t')
    n++;
  prn_str word = {line->data, n};
  *line = (prn_str){line->data + n, line->size - n};
  return word;
}

static bool parse_key(prn_str s, uint64_t *out) {
  *out = 0;
  for (size_t i = 0; i < s.size; i++) {
    char c = s.data[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
    *out = *out << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  return s.size == 16;
}

static bool parse_number(prn_str s, double *out) {
  char text[32], *end;
  if (s.size == 0 || s.size >= sizeof text) return false;
  memcpy(text, s.data, s.size);
  text[s.size] = 0;
  *out = strtod(text, &end);
  return !*end && isfinite(*out) && *out >= 0 && *out < 1e15;
}

/* "NAME=NUMBER" */
static prn_status parse_field(const reader *r, prn_str word, prn_tuned *t) {
  const char *equals = memchr(word.data, '=', word.size);
  size_t n = equals ? (size_t)(equals - word.data) : word.size;
  prn_str name = {word.data, n};
  double v = 0;
  if (!equals || !parse_number((prn_str){equals + 1, word.size - n - 1}, &v))
    return fail(r, "expected NAME=NUMBER, found '%.*s'", PRN_STR_ARG(word));
  for (size_t i = 0; i < PRN_COUNT(fields); i++)
    if (prn_str_is(name, fields[i].name)) {
      *field_of(&t->choice, i) = (int64_t)v;
      return PRN_OK;
    }
  if (prn_str_is(name, "ns"))
    t->ns = v;
  else if (prn_str_is(name, "dense"))
    t->dense_ns = v;
  else
    return fail(r, "unknown number '%.*s'", PRN_STR_ARG(name));
  return PRN_OK;
}

static prn_status parse_line(const reader *r, prn_str line) {
  const char *hash = memchr(line.data, '#', line.size);
  prn_tuned t = {0};
  if (hash) {
    size_t n = (size_t)(hash - line.data);
    t.about = (prn_str){hash + 1, line.size - n - 1};
    line.size = n;
  }
  prn_str key = next_word(&line), format = next_word(&line);
  if (!key.size) return PRN_OK;
  if (!parse_key(key, &t.key))
    return fail(r, "expected a key of 16 hexadecimal digits, found '%.*s'",
                PRN_STR_ARG(key));
  t.choice.format = prn_intern(r->cache->ctx, format).data;
  if (!prn_plan_is_format(t.choice.format))
    return fail(r, "'%.*s' is no format of weights", PRN_STR_ARG(format));
  for (prn_str word; (word = next_word(&line)).size;)
    PRN_TRY(parse_field(r, word, &t));
  if (prn_tune_cache_find(r->cache, t.key))
    return fail(r, "key %.*s is there twice", PRN_STR_ARG(key));
  t.about = prn_intern(r->cache->ctx, t.about);
  append(r->cache, t);
  return PRN_OK;
}

static prn_status parse(prn_tune_cache *c, prn_str text) {
  reader r = {.cache = c};
  prn_status s = PRN_OK;
  while (text.size) {
    const char *end = memchr(text.data, '\n', text.size);
    size_t n = end ? (size_t)(end - text.data) : text.size;
    r.line++;
    if (parse_line(&r, (prn_str){text.data, n}) != PRN_OK) s = PRN_FAIL;
    n += n < text.size;
    text = (prn_str){text.data + n, text.size - n};
  }
  return s;
}

prn_status prn_tune_cache_open(prn_ctx *ctx, const char *path,
                               prn_tune_cache *out) {
  prn_file *file;
  *out = (prn_tune_cache){.ctx = ctx, .path = prn_intern_cstr(ctx, path).data};
  if (access(path, F_OK) != 0) return PRN_OK;
  PRN_TRY(prn_file_open(prn_ctx_diags(ctx), path, &file));
  prn_status s = parse(out, prn_file_bytes(file));
  prn_file_release(file);
  if (s != PRN_OK) prn_tune_cache_destroy(out);
  return s;
}

/* ---- writing ---- */

static void print(const prn_tuned *t, prn_strbuf *b) {
  prn_plan_choice choice = t->choice;
  prn_strbuf_fmt(b, "%016llx %s", (unsigned long long)t->key, choice.format);
  for (size_t i = 0; i < PRN_COUNT(fields); i++)
    if (*field_of(&choice, i))
      prn_strbuf_fmt(b, " %s=%lld", fields[i].name,
                     (long long)*field_of(&choice, i));
  prn_strbuf_fmt(b, " ns=%.0f dense=%.0f", t->ns, t->dense_ns);
  if (t->about.size) prn_strbuf_fmt(b, " #%.*s", PRN_STR_ARG(t->about));
  prn_strbuf_char(b, '\n');
}

prn_status prn_tune_cache_save(const prn_tune_cache *c) {
  prn_strbuf b = {0};
  prn_out *out;
  if (!c->changed) return PRN_OK;
  PRN_TRY(prn_out_open(prn_ctx_diags(c->ctx), c->path, &out));
  prn_strbuf_cstr(&b, "# What --tune found; times are of this machine.\n");
  for (size_t i = 0; i < c->size; i++)
    print(&c->all[i], &b);
  prn_out_write(out, b.data, b.size);
  prn_strbuf_destroy(&b);
  return prn_out_commit(out);
}
