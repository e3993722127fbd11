/* Types and dimensions. */
#include <string.h>

#include "ir/parse.h"

/* ---- dimensions ---- */

/* dim    := term { ('+' | '-') term | negative term }
 * term   := factor { '*' factor }
 * factor := INT | NAME | STRING | '?' | '(' dim ')' | CALL '(' dim, dim ')' */
static prn_dim parse_dim(prn_parser *p);

typedef prn_dim dim_fn(prn_ctx *ctx, prn_dim a, prn_dim b);

static dim_fn *call_of(prn_str name) {
  if (prn_str_is(name, "floordiv")) return prn_dim_floordiv;
  if (prn_str_is(name, "mod")) return prn_dim_mod;
  if (prn_str_is(name, "min")) return prn_dim_min;
  if (prn_str_is(name, "max")) return prn_dim_max;
  return NULL;
}

static prn_dim parse_call(prn_parser *p, dim_fn *fn, prn_str name) {
  if (!fn) {
    (void)!prn_parse_error(p,
                           "unknown function '%.*s' of dimensions: there are "
                           "floordiv, mod, min and max",
                           PRN_STR_ARG(name));
    return NULL;
  }
  bool many = fn == prn_dim_min || fn == prn_dim_max;
  prn_parse_advance(p); /* ( */
  prn_dim d = parse_dim(p);
  if (!d || prn_parse_expect(p, ',', "','")) return NULL;
  do {
    prn_dim next = parse_dim(p);
    if (!next) return NULL;
    d = fn(p->ctx, d, next);
  } while (many && prn_parse_accept(p, ','));
  return prn_parse_expect(p, ')', "')'") == PRN_OK ? d : NULL;
}

static prn_dim parse_factor(prn_parser *p) {
  int64_t v;
  prn_str name;
  bool bare = prn_parse_is(p, PRN_TOK_IDENT);
  if (prn_parse_is(p, PRN_TOK_INT))
    return prn_parse_int(p, &v) == PRN_OK ? prn_dim_const(p->ctx, v) : NULL;
  if (prn_parse_accept(p, '?')) return prn_dim_unknown(p->ctx);
  if (prn_parse_accept(p, '(')) {
    prn_dim d = parse_dim(p);
    return d && prn_parse_expect(p, ')', "')'") == PRN_OK ? d : NULL;
  }
  if (prn_parse_name(p, "a dimension", &name) != PRN_OK) return NULL;
  if (bare && prn_parse_is(p, '(')) return parse_call(p, call_of(name), name);
  return prn_dim_sym(p->ctx, name);
}

static prn_dim parse_term(prn_parser *p) {
  prn_dim d = parse_factor(p);
  while (d && prn_parse_accept(p, '*')) {
    prn_dim f = parse_factor(p);
    d = f ? prn_dim_mul(p->ctx, d, f) : NULL;
  }
  return d;
}

static prn_dim parse_sum(prn_parser *p) {
  prn_dim d = parse_term(p);
  for (;;) {
    bool minus = prn_parse_is(p, '-');
    bool negative = prn_parse_is(p, PRN_TOK_INT) && p->tok.text.data[0] == '-';
    if (!d || (!minus && !negative && !prn_parse_is(p, '+'))) return d;
    if (!negative) prn_parse_advance(p);
    prn_dim t = parse_term(p);
    if (!t) return NULL;
    d = minus ? prn_dim_sub(p->ctx, d, t) : prn_dim_add(p->ctx, d, t);
  }
}

static prn_dim parse_dim(prn_parser *p) {
  if (prn_parse_enter(p) != PRN_OK) return NULL;
  prn_dim d = parse_sum(p);
  prn_parse_leave(p);
  return d;
}

prn_dim prn_parser_dim(prn_parser *p) { return parse_dim(p); }

/* ---- shapes: read by character, because 2x3xf32 is no run of tokens ---- */

typedef struct shape {
  prn_dim *dims; /* heap */
  size_t rank, cap;
  bool unranked;
  prn_dtype dtype;
} shape;

static void push_dim(shape *s, prn_dim d) {
  if (s->rank == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 8;
    s->dims = prn_realloc(s->dims, prn_array_size(sizeof *s->dims, s->cap));
  }
  s->dims[s->rank++] = d;
}

static char peek(const prn_parser *p, size_t n) {
  size_t left = (size_t)(p->lexer.end - p->lexer.at);
  return n < left ? p->lexer.at[n] : '\0';
}

/* Reports at the lexer's place. */
static prn_status shape_error(prn_parser *p, const char *what) {
  uint32_t col = (uint32_t)(p->lexer.at - p->lexer.line_start) + 1;
  prn_loc loc = {p->lexer.file, p->lexer.line, col};
  return prn_parse_error_at(p, loc, "%s", what);
}

static prn_status digits(prn_parser *p, prn_dim *out) {
  int64_t v = 0;
  for (; peek(p, 0) >= '0' && peek(p, 0) <= '9'; p->lexer.at++)
    if (!prn_mul_i64(v, 10, &v) || !prn_add_i64(v, peek(p, 0) - '0', &v))
      return shape_error(p, "dimension does not fit 64 bits");
  *out = prn_dim_const(p->ctx, v);
  return PRN_OK;
}

/* One dimension and its 'x'; *done when the element type is next. */
static prn_status one_dim(prn_parser *p, shape *s, bool *done) {
  char c = peek(p, 0);
  prn_dim d = NULL;
  if (c >= '0' && c <= '9') {
    PRN_TRY(digits(p, &d));
  } else if (c == '?' && peek(p, 1) == 'x') {
    p->lexer.at++;
    d = prn_dim_unknown(p->ctx);
  } else if (c == '(') {
    prn_parse_advance(p); /* to the parenthesis */
    prn_parse_advance(p);
    d = parse_dim(p);
    if (!d) return PRN_FAIL;
    /* The 'x' behind the parenthesis must not become part of a word. */
    if (!prn_parse_is(p, ')')) return prn_parse_expected(p, "')'");
  } else if (c == '*' && s->rank == 0) {
    p->lexer.at++;
    s->unranked = true;
  } else {
    *done = true;
    return PRN_OK;
  }
  if (d) push_dim(s, d);
  if (peek(p, 0) != 'x') return shape_error(p, "expected 'x' in a shape");
  p->lexer.at++;
  *done = s->unranked;
  return PRN_OK;
}

/* The current token is '<'; afterwards it is the one behind the element
 * type. */
static prn_status parse_shape(prn_parser *p, shape *s) {
  bool done = false;
  if (!prn_parse_is(p, '<')) return prn_parse_expected(p, "'<'");
  while (!done) {
    while (peek(p, 0) == ' ')
      p->lexer.at++;
    PRN_TRY(one_dim(p, s, &done));
  }
  if (s->rank > INT32_MAX) return shape_error(p, "too many dimensions");
  prn_parse_advance(p);
  if (prn_parse_accept(p, '?')) return PRN_OK; /* no element type */
  s->dtype = prn_dtype_from_name(p->tok.text);
  if (!prn_parse_is(p, PRN_TOK_IDENT) || s->dtype == PRN_DTYPE_NONE)
    return prn_parse_expected(p, "a dimension or an element type");
  prn_parse_advance(p);
  return PRN_OK;
}

/* ---- #sparse<...> ---- */

static prn_status small_int(prn_parser *p, int32_t *out) {
  int64_t v;
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_int(p, &v));
  if (v < 0 || v > INT32_MAX)
    return prn_parse_error_at(p, loc, "number out of range");
  *out = (int32_t)v;
  return PRN_OK;
}

/* "4x8" is an integer and the word "x8". */
static prn_status parse_block(prn_parser *p, prn_sparsity *s) {
  int64_t v = 0;
  s->kind = PRN_SPARSE_BLOCK;
  PRN_TRY(small_int(p, &s->rows));
  prn_str t = p->tok.text;
  bool ok = prn_parse_is(p, PRN_TOK_IDENT) && t.data[0] == 'x' && t.size > 1 &&
            t.size < 11;
  for (size_t i = 1; ok && i < t.size; i++) {
    ok = t.data[i] >= '0' && t.data[i] <= '9';
    v = v * 10 + (t.data[i] - '0');
  }
  if (!ok || v > INT32_MAX)
    return prn_parse_expected(p, "'x' and the columns of a block");
  s->cols = (int32_t)v;
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status parse_sparsity(prn_parser *p, prn_sparsity *s) {
  *s = (prn_sparsity){0};
  PRN_TRY(prn_parse_expect(p, '#', "'#sparse<...>'"));
  PRN_TRY(prn_parse_word(p, "sparse"));
  PRN_TRY(prn_parse_expect(p, '<', "'<'"));
  if (prn_parse_is_word(p, "unstructured")) {
    prn_parse_advance(p);
    s->kind = PRN_SPARSE_UNSTRUCTURED;
  } else if (prn_parse_is_word(p, "block")) {
    prn_parse_advance(p);
    PRN_TRY(parse_block(p, s));
  } else if (prn_parse_is(p, PRN_TOK_INT)) {
    s->kind = PRN_SPARSE_NM;
    PRN_TRY(small_int(p, &s->n));
    PRN_TRY(prn_parse_expect(p, ':', "':'"));
    PRN_TRY(small_int(p, &s->m));
    PRN_TRY(prn_parse_word(p, "axis"));
    PRN_TRY(prn_parse_expect(p, '=', "'='"));
    PRN_TRY(small_int(p, &s->axis));
  } else {
    return prn_parse_expected(p, "'unstructured', 'block RxC' or 'N:M axis=A'");
  }
  return prn_parse_expect(p, '>', "'>'");
}

/* ---- types ---- */

static const prn_type *finish_tensor(prn_parser *p, bool sparse_tensor,
                                     const shape *s) {
  prn_sparsity claim;
  int32_t rank = s->unranked ? -1 : (int32_t)s->rank;
  const prn_type *t =
      sparse_tensor ? prn_type_sparse_tensor(p->ctx, s->dtype, rank, s->dims)
                    : prn_type_tensor(p->ctx, s->dtype, rank, s->dims);
  if (prn_parse_accept(p, ',')) {
    if (parse_sparsity(p, &claim) != PRN_OK) return NULL;
    t = prn_type_with_sparsity(p->ctx, t, claim);
  }
  return prn_parse_expect(p, '>', "'>'") == PRN_OK ? t : NULL;
}

static const prn_type *finish_view(prn_parser *p, const shape *s) {
  shape strides = {0};
  const prn_type *t = NULL;
  if (s->unranked) {
    (void)!prn_parse_error(p, "a view needs a rank");
    return NULL;
  }
  if (prn_parse_expect(p, ',', "','") || prn_parse_word(p, "strides") ||
      prn_parse_expect(p, '[', "'['"))
    return NULL;
  while (!prn_parse_is(p, ']')) {
    prn_dim d = parse_dim(p);
    if (!d) goto done;
    push_dim(&strides, d);
    if (!prn_parse_accept(p, ',')) break;
  }
  if (strides.rank != s->rank) {
    (void)!prn_parse_error(p, "expected %zu strides, found %zu", s->rank,
                           strides.rank);
    goto done;
  }
  if (prn_parse_expect(p, ']', "']'") || prn_parse_expect(p, ',', "','") ||
      prn_parse_word(p, "offset"))
    goto done;
  prn_dim offset = parse_dim(p);
  if (offset && prn_parse_expect(p, '>', "'>'") == PRN_OK)
    t = prn_type_view(p->ctx, s->dtype, (int32_t)s->rank, s->dims, strides.dims,
                      offset);
done:
  prn_free(strides.dims);
  return t;
}

static const prn_type *parse_shaped(prn_parser *p, prn_str head) {
  shape s = {0};
  const prn_type *t = NULL;
  if (parse_shape(p, &s) == PRN_OK) {
    if (prn_str_is(head, "view"))
      t = finish_view(p, &s);
    else
      t = finish_tensor(p, prn_str_is(head, "sparse_tensor"), &s);
  }
  prn_free(s.dims);
  return t;
}

static const prn_type *parse_container(prn_parser *p, prn_type_kind kind) {
  prn_dtype key = PRN_DTYPE_NONE;
  const prn_type *elem = NULL;
  if (prn_parse_expect(p, '<', "'<'") != PRN_OK) return NULL;
  if (kind == PRN_TYPE_MAP) {
    if (!prn_parse_accept(p, '?')) {
      key = prn_dtype_from_name(p->tok.text);
      if (key == PRN_DTYPE_NONE) {
        (void)!prn_parse_expected(p, "the element type of the keys");
        return NULL;
      }
      prn_parse_advance(p);
    }
    if (prn_parse_expect(p, ',', "','") != PRN_OK) return NULL;
  }
  elem = prn_parser_type(p);
  if (!elem || prn_parse_expect(p, '>', "'>'") != PRN_OK) return NULL;
  return prn_type_container(p->ctx, kind, key, elem);
}

static const prn_type *unknown_type(prn_parser *p) {
  static const char *const words[] = {"tensor", "sparse_tensor", "view",
                                      "buffer", "seq",           "optional",
                                      "map",    "any",           "none"};
  prn_str all[PRN_COUNT(words) + PRN_DTYPE_COUNT];
  size_t n = 0;
  prn_strbuf b = {0};
  if (!prn_parse_is(p, PRN_TOK_IDENT)) {
    (void)!prn_parse_expected(p, "a type");
    return NULL;
  }
  for (; n < PRN_COUNT(words); n++)
    all[n] = prn_str_from(words[n]);
  for (int i = 1; i < PRN_DTYPE_COUNT; i++)
    all[n++] = prn_str_from(prn_dtype_name((prn_dtype)i));
  prn_suggest(&b, p->tok.text, all, n);
  (void)!prn_parse_error(p, "unknown type '%.*s'%s", PRN_STR_ARG(p->tok.text),
                         b.data ? b.data : "");
  prn_strbuf_destroy(&b);
  return NULL;
}

static const prn_type *parse_type(prn_parser *p) {
  prn_str word = p->tok.text;
  if (prn_parse_accept(p, '?')) return prn_type_scalar(p->ctx, PRN_DTYPE_NONE);
  prn_dtype dtype = prn_dtype_from_name(word);
  bool is_word = prn_parse_is(p, PRN_TOK_IDENT);
  if (!is_word) return unknown_type(p);
  if (dtype != PRN_DTYPE_NONE) {
    prn_parse_advance(p);
    return prn_type_scalar(p->ctx, dtype);
  }
  bool shaped = prn_str_is(word, "tensor") || prn_str_is(word, "view") ||
                prn_str_is(word, "sparse_tensor");
  prn_type_kind kind = prn_str_is(word, "seq")        ? PRN_TYPE_SEQUENCE
                       : prn_str_is(word, "optional") ? PRN_TYPE_OPTIONAL
                       : prn_str_is(word, "map")      ? PRN_TYPE_MAP
                       : prn_str_is(word, "none")     ? PRN_TYPE_NONE
                       : prn_str_is(word, "buffer")   ? PRN_TYPE_BUFFER
                                                      : PRN_TYPE_ANY;
  if (!shaped && kind == PRN_TYPE_ANY && !prn_str_is(word, "any"))
    return unknown_type(p);
  prn_parse_advance(p);
  if (shaped) return parse_shaped(p, word);
  if (kind == PRN_TYPE_NONE) return prn_type_none(p->ctx);
  if (kind == PRN_TYPE_ANY) return prn_type_any(p->ctx);
  if (kind == PRN_TYPE_BUFFER) return prn_type_buffer(p->ctx);
  return parse_container(p, kind);
}

const prn_type *prn_parser_type(prn_parser *p) {
  if (prn_parse_enter(p) != PRN_OK) return NULL;
  const prn_type *t = parse_type(p);
  prn_parse_leave(p);
  return t;
}
