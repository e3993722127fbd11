/* Attributes and dictionaries. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/parse.h"

typedef struct list {
  void *items; /* heap */
  size_t size, cap, item;
} list;

static void *push(list *l) {
  if (l->size == l->cap) {
    l->cap = l->cap ? l->cap * 2 : 8;
    l->items = prn_realloc(l->items, prn_array_size(l->item, l->cap));
  }
  return (char *)l->items + l->size++ * l->item;
}

/* ---- numbers ---- */

static bool is_float(const prn_parser *p) {
  return prn_parse_is(p, PRN_TOK_FLOAT) || prn_parse_is(p, PRN_TOK_HEX) ||
         prn_parse_is_word(p, "inf") || prn_parse_is_word(p, "nan");
}

static prn_status parse_bits(prn_parser *p, float *out) {
  prn_str t = p->tok.text;
  char text[11];
  if (t.size != 10)
    return prn_parse_error(p, "the bits of a float are eight hexadecimal "
                              "digits: 0x7fc00000");
  memcpy(text, t.data, 10);
  text[10] = 0;
  uint32_t bits = (uint32_t)strtoul(text, NULL, 16);
  memcpy(out, &bits, sizeof bits);
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status parse_float(prn_parser *p, float *out) {
  prn_str t = p->tok.text;
  char text[PRN_PARSE_NUMBER], *end;
  if (prn_parse_is(p, PRN_TOK_HEX)) return parse_bits(p, out);
  if (!is_float(p) && !prn_parse_is(p, PRN_TOK_INT))
    return prn_parse_expected(p, "a float");
  if (t.size >= sizeof text) return prn_parse_error(p, "number is too long");
  memcpy(text, t.data, t.size);
  text[t.size] = 0;
  *out = strtof(text, &end);
  if (*end) return prn_parse_expected(p, "a float");
  if (isinf(*out) && !strchr(text, 'i'))
    return prn_parse_error(p, "number does not fit a float");
  prn_parse_advance(p);
  return PRN_OK;
}

/* ---- lists ---- */

/* [1, 2], [1.0, nan] or ["a"]; the first element decides. kind is set when a
 * word has said it already (for empty lists). */
static prn_status list_item(prn_parser *p, prn_attr_kind kind, list *l) {
  if (kind == PRN_ATTR_INTS) {
    if (is_float(p)) return prn_parse_error(p, "a float in a list of integers");
    return prn_parse_int(p, push(l));
  }
  if (kind == PRN_ATTR_FLOATS) return parse_float(p, push(l));
  return prn_parse_string(p, push(l));
}

static size_t item_size(prn_attr_kind kind) {
  return kind == PRN_ATTR_INTS     ? sizeof(int64_t)
         : kind == PRN_ATTR_FLOATS ? sizeof(float)
                                   : sizeof(prn_str);
}

static const prn_attr *finish_list(prn_ctx *ctx, prn_attr_kind kind,
                                   const list *l) {
  if (kind == PRN_ATTR_INTS) return prn_attr_ints(ctx, l->items, l->size);
  if (kind == PRN_ATTR_FLOATS) return prn_attr_floats(ctx, l->items, l->size);
  return prn_attr_strings(ctx, l->items, l->size);
}

static bool kind_of_first(const prn_parser *p, prn_attr_kind *kind) {
  if (prn_parse_is(p, PRN_TOK_INT))
    *kind = PRN_ATTR_INTS;
  else if (is_float(p))
    *kind = PRN_ATTR_FLOATS;
  else if (prn_parse_is(p, PRN_TOK_STRING))
    *kind = PRN_ATTR_STRINGS;
  else
    return false;
  return true;
}

/* The current token is behind '['. */
static const prn_attr *parse_plain_list(prn_parser *p, bool typed,
                                        prn_attr_kind kind) {
  const prn_attr *a = NULL;
  if (!typed && !kind_of_first(p, &kind)) {
    if (prn_parse_is(p, ']'))
      (void)!prn_parse_error(p, "an empty list needs its kind: ints[], "
                                "floats[], strings[] or list[]");
    else
      (void)!prn_parse_expected(p, "an integer, a float or a string (lists of "
                                   "other things are written list[...])");
    return NULL;
  }
  list l = {.item = item_size(kind)};
  while (!prn_parse_is(p, ']')) {
    if (list_item(p, kind, &l) != PRN_OK) goto done;
    if (!prn_parse_accept(p, ',')) break;
  }
  if (prn_parse_expect(p, ']', "',' or ']'") == PRN_OK)
    a = finish_list(p->ctx, kind, &l);
done:
  prn_free(l.items);
  return a;
}

static const prn_attr *parse_any_list(prn_parser *p) {
  list l = {.item = sizeof(const prn_attr *)};
  const prn_attr *a = NULL;
  while (!prn_parse_is(p, ']')) {
    const prn_attr *item = prn_parser_attr(p);
    if (!item) goto done;
    *(const prn_attr **)push(&l) = item;
    if (!prn_parse_accept(p, ',')) break;
  }
  if (prn_parse_expect(p, ']', "',' or ']'") == PRN_OK)
    a = prn_attr_list(p->ctx, l.items, l.size);
done:
  prn_free(l.items);
  return a;
}

/* ---- dictionaries ---- */

/* Where a name stands for the second time. */
static prn_status check_twice(prn_parser *p, prn_map *seen, prn_str name,
                              prn_loc loc) {
  void **slot = prn_map_slot(seen, name);
  if (*slot)
    return prn_parse_error_at(p, loc, "attribute '%.*s' is given twice",
                              PRN_STR_ARG(name));
  *slot = seen;
  return PRN_OK;
}

static prn_status dict_items(prn_parser *p, bool of_op, list *l,
                             prn_map *seen) {
  while (!prn_parse_is(p, '}')) {
    prn_str name;
    prn_loc loc = prn_parse_loc(p);
    if (of_op && l->size == 0 &&
        (prn_parse_is(p, '^') || prn_parse_is(p, PRN_TOK_VALUE)))
      return prn_parse_error(p, "expected attributes: an operation with "
                                "blocks has {...} before the first, and its "
                                "attributes name them: {body = region<0>}");
    PRN_TRY(prn_parse_name(p, "the name of an attribute", &name));
    (void)!check_twice(p, seen, name, loc); /* and go on */
    PRN_TRY(prn_parse_expect(p, '=', "'='"));
    prn_named_attr *a = push(l);
    *a = (prn_named_attr){name, NULL};
    p->late_ok = of_op;
    p->tensor_name =
        of_op && prn_str_is(name, "value") ? p->value_name : PRN_STR("");
    const prn_attr *value = prn_parser_attr(p);
    if (!value) return PRN_FAIL;
    ((prn_named_attr *)l->items)[l->size - 1].value = value;
    if (!prn_parse_accept(p, ',')) break;
  }
  return prn_parse_expect(p, '}', "',' or '}'");
}

prn_status prn_parser_dict(prn_parser *p, bool of_op, prn_named_attr **out,
                           uint32_t *num) {
  list l = {.item = sizeof(prn_named_attr)};
  prn_map seen = {0};
  PRN_TRY(prn_parse_expect(p, '{', "'{'"));
  prn_status s = dict_items(p, of_op, &l, &seen);
  *num = (uint32_t)l.size;
  *out = prn_arena_copy(of_op ? &p->module->arena : &p->arena, l.items,
                        l.size * l.item);
  prn_map_destroy(&seen);
  prn_free(l.items);
  return s;
}

static const prn_attr *parse_dict(prn_parser *p) {
  prn_named_attr *items;
  uint32_t n;
  if (prn_parser_dict(p, false, &items, &n) != PRN_OK) return NULL;
  return prn_attr_dict(p->ctx, items, n);
}

/* ---- words with something in <> ---- */

static int hex_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

prn_status prn_parser_hex(prn_parser *p, prn_strbuf *out) {
  prn_str t = p->tok.text;
  if (!prn_parse_is(p, PRN_TOK_STRING))
    return prn_parse_expected(p, "a string of hexadecimal digits");
  if (t.size % 2) return prn_parse_error(p, "odd number of hexadecimal digits");
  for (size_t i = 1; i + 2 < t.size; i += 2) {
    int hi = hex_value(t.data[i]), lo = hex_value(t.data[i + 1]);
    if (hi < 0 || lo < 0)
      return prn_parse_error(p, "expected hexadecimal digits only");
    prn_strbuf_char(out, (char)(hi * 16 + lo));
  }
  prn_parse_advance(p);
  return PRN_OK;
}

static const prn_attr *parse_bytes(prn_parser *p) {
  prn_strbuf b = {0};
  const prn_attr *a = NULL;
  if (prn_parser_hex(p, &b) == PRN_OK)
    a = prn_attr_bytes(p->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return a;
}

static const prn_attr *parse_region(prn_parser *p) {
  int64_t v;
  prn_loc loc = prn_parse_loc(p);
  if (prn_parse_int(p, &v) != PRN_OK) return NULL;
  if (v >= 0) return prn_attr_region(p->ctx, v);
  (void)!prn_parse_error_at(p, loc, "the number of a block is not negative");
  return NULL;
}

static const prn_attr *parse_dim_attr(prn_parser *p) {
  prn_dim d = prn_parser_dim(p);
  return d ? prn_attr_dim(p->ctx, d) : NULL;
}

static const prn_attr *parse_wrapped(prn_parser *p,
                                     const prn_attr *(*inner)(prn_parser *p)) {
  prn_parse_advance(p);
  if (prn_parse_expect(p, '<', "'<'") != PRN_OK) return NULL;
  const prn_attr *a = inner(p);
  return a && prn_parse_expect(p, '>', "'>'") == PRN_OK ? a : NULL;
}

static const prn_attr *parse_bracketed(prn_parser *p, prn_str word) {
  prn_attr_kind kind = prn_str_is(word, "ints")     ? PRN_ATTR_INTS
                       : prn_str_is(word, "floats") ? PRN_ATTR_FLOATS
                                                    : PRN_ATTR_STRINGS;
  prn_parse_advance(p);
  if (prn_parse_expect(p, '[', "'['") != PRN_OK) return NULL;
  if (prn_str_is(word, "list")) return parse_any_list(p);
  return parse_plain_list(p, true, kind);
}

static const prn_attr *parse_keyword(prn_parser *p) {
  prn_str w = p->tok.text;
  if (prn_str_is(w, "dense") || prn_str_is(w, "resource"))
    return prn_parser_tensor(p);
  if (prn_str_is(w, "bytes")) return parse_wrapped(p, parse_bytes);
  if (prn_str_is(w, "region")) return parse_wrapped(p, parse_region);
  if (prn_str_is(w, "dim")) return parse_wrapped(p, parse_dim_attr);
  if (prn_str_is(w, "ints") || prn_str_is(w, "floats") ||
      prn_str_is(w, "strings") || prn_str_is(w, "list"))
    return parse_bracketed(p, w);
  bool is_true = prn_str_is(w, "true");
  if (is_true || prn_str_is(w, "false")) {
    prn_parse_advance(p);
    return prn_attr_bool(p->ctx, is_true);
  }
  if (prn_str_is(w, "unit")) {
    prn_parse_advance(p);
    return prn_attr_unit(p->ctx);
  }
  const prn_type *t = prn_parser_type(p);
  return t ? prn_attr_type(p->ctx, t) : NULL;
}

static const prn_attr *parse_symbol(prn_parser *p) {
  prn_str name;
  prn_parse_advance(p);
  if (prn_parse_name(p, "a name after '@'", &name) != PRN_OK) return NULL;
  return prn_attr_symbol(p->ctx, name);
}

static const prn_attr *parse_attr(prn_parser *p) {
  int64_t i;
  float f;
  prn_str s;
  if (is_float(p))
    return parse_float(p, &f) == PRN_OK ? prn_attr_float(p->ctx, f) : NULL;
  switch (p->tok.kind) {
  case PRN_TOK_INT:
    return prn_parse_int(p, &i) == PRN_OK ? prn_attr_int(p->ctx, i) : NULL;
  case PRN_TOK_STRING:
    return prn_parse_string(p, &s) == PRN_OK ? prn_attr_string(p->ctx, s)
                                             : NULL;
  case '@':
    return parse_symbol(p);
  case '[':
    prn_parse_advance(p);
    return parse_plain_list(p, false, PRN_ATTR_INTS);
  case '{':
    return parse_dict(p);
  case PRN_TOK_IDENT:
  case '?':
    return parse_keyword(p);
  default:
    (void)!prn_parse_expected(p, "an attribute");
    return NULL;
  }
}

const prn_attr *prn_parser_attr(prn_parser *p) {
  if (prn_parse_enter(p) != PRN_OK) return NULL;
  bool tensor =
      prn_parse_is_word(p, "dense") || prn_parse_is_word(p, "resource");
  if (!tensor) { /* the parts of other attributes are on their own */
    p->late_ok = false;
    p->tensor_name = PRN_STR("");
  }
  const prn_attr *a = parse_attr(p);
  prn_parse_leave(p);
  return a;
}
