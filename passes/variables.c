#include "passes/variables.h"

#include <string.h>

void prn_variables_destroy(prn_variables *v) {
  prn_free(v->at);
  *v = (prn_variables){0};
}

static bool is_name(prn_str s) {
  for (size_t i = 0; i < s.size; i++) {
    char c = s.data[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    bool later = (c >= '0' && c <= '9') || c == '-';
    if (!letter && !(later && i)) return false;
  }
  return s.size > 0;
}

static prn_variable *slot(prn_variables *v, prn_str name) {
  for (size_t i = 0; i < v->size; i++)
    if (prn_str_eq(v->at[i].name, name)) return &v->at[i];
  if (v->size == v->cap) {
    v->cap = v->cap ? v->cap * 2 : 8;
    v->at = prn_realloc(v->at, prn_array_size(sizeof *v->at, v->cap));
  }
  v->at[v->size] = (prn_variable){.name = name};
  return &v->at[v->size++];
}

prn_status prn_variables_give(prn_variables *v, prn_diag_sink *sink,
                              const char *text) {
  const char *equals = strchr(text, '=');
  prn_str name = {text, equals ? (size_t)(equals - text) : 0};
  if (!is_name(name))
    return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                         "-D takes NAME=VALUE, not '%s'", text);
  prn_variable *one = slot(v, name);
  one->given = prn_str_from(equals + 1);
  one->is_given = true;
  return PRN_OK;
}

bool prn_variables_find(prn_variables *v, prn_str mention, prn_str *out,
                        prn_strbuf *why) {
  const char *colon =
      mention.size ? memchr(mention.data, ':', mention.size) : NULL;
  size_t n = colon ? (size_t)(colon - mention.data) : mention.size;
  prn_str name = {mention.data, n};
  if (!is_name(name)) {
    prn_strbuf_fmt(why,
                   "'%.*s' is no name of a variable: ${NAME} or "
                   "${NAME:DEFAULT}",
                   PRN_STR_ARG(name));
    return false;
  }
  prn_variable *one = slot(v, name);
  one->used = true;
  if (colon) {
    one->dflt = (prn_str){colon + 1, mention.size - n - 1};
    one->has_dflt = true;
  }
  *out = one->is_given ? one->given : one->dflt;
  if (one->is_given || one->has_dflt) return true;
  prn_strbuf_fmt(why,
                 "the variable '%.*s' has no default: give it with "
                 "-D %.*s=VALUE",
                 PRN_STR_ARG(name), PRN_STR_ARG(name));
  return false;
}

/* "; variables are: a (0.5), b", or that there are none. */
static void list(const prn_variables *v, prn_strbuf *b) {
  size_t n = 0;
  for (size_t i = 0; i < v->size; i++) {
    const prn_variable *one = &v->at[i];
    if (!one->used) continue;
    prn_strbuf_fmt(b, "%s%.*s",
                   n++ ? ", " : "; variables are: ", PRN_STR_ARG(one->name));
    if (one->has_dflt) prn_strbuf_fmt(b, " (%.*s)", PRN_STR_ARG(one->dflt));
  }
  if (!n) prn_strbuf_cstr(b, "; there are no variables");
}

static void suggest(const prn_variables *v, prn_str name, prn_strbuf *b) {
  prn_str *names = prn_alloc(prn_array_size(sizeof *names, v->size));
  size_t n = 0;
  for (size_t i = 0; i < v->size; i++)
    if (v->at[i].used) names[n++] = v->at[i].name;
  prn_suggest(b, name, names, n);
  prn_free(names);
}

prn_status prn_variables_check(const prn_variables *v, prn_diag_sink *sink) {
  prn_status status = PRN_OK;
  for (size_t i = 0; i < v->size; i++) {
    const prn_variable *one = &v->at[i];
    if (one->used) continue;
    prn_strbuf b = {0};
    suggest(v, one->name, &b);
    list(v, &b);
    status = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                           "-D %.*s=%.*s: no recipe has a variable '%.*s'%s",
                           PRN_STR_ARG(one->name), PRN_STR_ARG(one->given),
                           PRN_STR_ARG(one->name), b.data);
    prn_strbuf_destroy(&b);
  }
  return status;
}
