/* Operations, blocks, and the scopes of value names. */
#include <string.h>

#include "ir/parse.h"

enum { HINTS = 20 /* undefined names that get a "did you mean" */ };

/* ---- names of values ---- */

/* What a VALUE token says: p->key identifies the value, *name is its name
 * (empty for %7). Does not consume the token. */
static prn_status read_value(prn_parser *p, prn_str *name) {
  prn_str t = p->tok.text;
  size_t end = t.size;
  int64_t number = 0;
  while (t.data[end - 1] >= '0' && t.data[end - 1] <= '9')
    end--;
  bool nameless = end == 1, numbered = nameless || t.data[end - 1] == '#';
  for (size_t i = end; numbered && i < t.size; i++)
    if (!prn_mul_i64(number, 10, &number) ||
        !prn_add_i64(number, t.data[i] - '0', &number))
      return prn_parse_error(p, "number of a value does not fit 64 bits");
  *name = PRN_STR("");
  p->key.size = 0;
  prn_strbuf_fmt(&p->key, "%lld%c", (long long)number, nameless ? '?' : ':');
  if (nameless) return PRN_OK;
  prn_str spelled = {t.data + 1, (numbered ? end - 1 : t.size) - 1};
  size_t at = p->key.size;
  if (spelled.data[0] == '"')
    prn_lex_unquote(spelled, &p->key);
  else
    prn_strbuf_str(&p->key, spelled);
  prn_str text = {p->key.data + at, p->key.size - at};
  if (text.size == 0)
    return prn_parse_error(p, "the name of a value is not empty: a value "
                              "without a name is written %%0");
  *name = prn_intern(p->ctx, text);
  return PRN_OK;
}

static prn_parse_def *find_def(const prn_parser *p, prn_str key) {
  prn_parse_def *d = prn_map_get(&p->names, key);
  return d && d->value ? d : NULL;
}

/* Makes p->key stand for v; a NULL v is an operation that failed. */
static prn_status define(prn_parser *p, prn_value *v, prn_str key,
                         prn_str spelling, prn_loc loc) {
  prn_parse_def *d = prn_map_get(&p->names, key);
  if (d && d->value) {
    (void)!prn_parse_error_at(p, loc, "%.*s is defined twice",
                              PRN_STR_ARG(spelling));
    prn_diag_emit(prn_ctx_diags(p->ctx), PRN_NOTE, d->loc, PRN_STR(""),
                  "the first definition");
    return PRN_FAIL;
  }
  if (!d) {
    const char *copy = prn_arena_copy(&p->arena, key.data, key.size);
    d = PRN_ARENA_NEW(&p->arena, prn_parse_def);
    *prn_map_slot(&p->names, (prn_str){copy, key.size}) = d;
  }
  *d = (prn_parse_def){v, spelling, loc};
  if (p->num_scope == p->cap_scope) {
    p->cap_scope = p->cap_scope ? p->cap_scope * 2 : 64;
    p->scope =
        prn_realloc(p->scope, prn_array_size(sizeof *p->scope, p->cap_scope));
  }
  p->scope[p->num_scope++] = d;
  return PRN_OK;
}

static void close_scope(prn_parser *p, size_t n) {
  while (p->num_scope > n)
    p->scope[--p->num_scope]->value = NULL;
}

/* " (did you mean '%x'?)" or nothing, in the arena. */
static prn_str hint_for(prn_parser *p, prn_str spelling) {
  prn_strbuf b = {0};
  if (p->num_hints++ >= HINTS) return PRN_STR("");
  prn_str *all =
      prn_alloc(prn_array_size(sizeof *all, p->num_scope ? p->num_scope : 1));
  for (size_t i = 0; i < p->num_scope; i++)
    all[i] = p->scope[i]->spelling;
  prn_suggest(&b, spelling, all, p->num_scope);
  prn_str hint = {prn_arena_copy(&p->arena, b.data, b.size), b.size};
  prn_strbuf_destroy(&b);
  prn_free(all);
  return hint;
}

/* The value of the token; NULL, to be reported later, when it has none yet. */
static prn_status use_value(prn_parser *p, prn_value **out) {
  prn_str name;
  *out = NULL;
  PRN_TRY(read_value(p, &name));
  prn_str key = prn_strbuf_view(&p->key);
  prn_parse_def *d = find_def(p, key);
  if (d) {
    *out = d->value;
  } else {
    prn_parse_use *u = PRN_ARENA_NEW(&p->arena, prn_parse_use);
    const char *copy = prn_arena_copy(&p->arena, key.data, key.size);
    *u = (prn_parse_use){NULL, (prn_str){copy, key.size}, p->tok.text,
                         hint_for(p, p->tok.text), prn_parse_loc(p)};
    *p->unresolved_end = u;
    p->unresolved_end = &u->next;
    p->errors++;
  }
  prn_parse_advance(p);
  return PRN_OK;
}

/* At the end of a block: uses since *from that the block defines later. */
static void resolve_uses(prn_parser *p, prn_parse_use **from) {
  while (*from) {
    prn_parse_use *u = *from;
    prn_parse_def *d = find_def(p, u->key);
    if (!d) {
      from = &u->next;
      continue;
    }
    (void)!prn_parse_error_at(p, u->loc, "%.*s is used before it is defined",
                              PRN_STR_ARG(u->spelling));
    prn_diag_emit(prn_ctx_diags(p->ctx), PRN_NOTE, d->loc, PRN_STR(""),
                  "defined here");
    *from = u->next;
  }
  p->unresolved_end = from;
}

void prn_parser_undefined(prn_parser *p) {
  prn_map seen = {0};
  resolve_uses(p, &p->unresolved);
  for (prn_parse_use *u = p->unresolved; u; u = u->next) {
    void **slot = prn_map_slot(&seen, u->key);
    if (!*slot)
      (void)!prn_parse_error_at(p, u->loc, "undefined value %.*s%.*s",
                                PRN_STR_ARG(u->spelling), PRN_STR_ARG(u->hint));
    *slot = u;
  }
  prn_map_destroy(&seen);
}

/* ---- one operation ---- */

typedef struct result {
  prn_str name, key, spelling; /* no spelling: absent */
  prn_loc loc;
} result;

/* The parts of an operation as they are read; arrays on the heap. */
typedef struct parts {
  result *results;
  prn_value **operands;
  const prn_type **types;
  prn_block **blocks;
  uint32_t num_results, num_operands, num_types, num_blocks;
  uint32_t cap_results, cap_operands, cap_types, cap_blocks;
  const prn_opname *name;
  prn_loc loc;
  prn_named_attr *attrs;
  uint32_t num_attrs;
} parts;

static void *grow(void *items, uint32_t size, uint32_t *cap, size_t item) {
  if (size < *cap) return items;
  *cap = *cap ? *cap * 2 : 4;
  return prn_realloc(items, prn_array_size(item, *cap));
}

#define PUSH(o, list, value)                                                   \
  do {                                                                         \
    (o)->list =                                                                \
        grow((o)->list, (o)->num_##list, &(o)->cap_##list, sizeof *(o)->list); \
    (o)->list[(o)->num_##list++] = (value);                                    \
  } while (0)

static void free_parts(parts *o) {
  prn_free(o->results);
  prn_free(o->operands);
  prn_free(o->types);
  prn_free(o->blocks);
}

static prn_status parse_results(prn_parser *p, parts *o) {
  if (!prn_parse_is(p, PRN_TOK_VALUE) && !prn_parse_is_word(p, "_"))
    return PRN_OK;
  do {
    result r = {.loc = prn_parse_loc(p)};
    if (prn_parse_is(p, PRN_TOK_VALUE)) {
      PRN_TRY(read_value(p, &r.name));
      r.key = (prn_str){prn_arena_copy(&p->arena, p->key.data, p->key.size),
                        p->key.size};
      r.spelling = p->tok.text;
    } else if (!prn_parse_is_word(p, "_")) {
      return prn_parse_expected(p, "a result");
    }
    PUSH(o, results, r);
    prn_parse_advance(p);
  } while (prn_parse_accept(p, ','));
  return prn_parse_expect(p, '=', "'='");
}

static prn_status parse_opname(prn_parser *p, parts *o) {
  prn_str dialect, name;
  prn_str t = p->tok.text;
  o->loc = prn_parse_loc(p);
  if (prn_parse_is(p, PRN_TOK_STRING)) {
    PRN_TRY(prn_parse_string(p, &dialect));
    PRN_TRY(prn_parse_expect(p, '.', "'.' and the operator's name"));
    PRN_TRY(prn_parse_string(p, &name));
  } else {
    const char *dot =
        prn_parse_is(p, PRN_TOK_IDENT) ? memrchr(t.data, '.', t.size) : NULL;
    if (!dot || dot == t.data || dot == t.data + t.size - 1)
      return prn_parse_expected(p, "an operation such as onnx.Relu");
    size_t at = (size_t)(dot - t.data);
    dialect = (prn_str){t.data, at};
    name = (prn_str){dot + 1, t.size - at - 1};
    prn_parse_advance(p);
  }
  o->name = prn_opname_get(p->ctx, dialect, name);
  return PRN_OK;
}

static prn_status parse_operands(prn_parser *p, parts *o) {
  if (!prn_parse_accept(p, '(')) return PRN_OK;
  while (!prn_parse_is(p, ')')) {
    prn_value *v = NULL;
    if (prn_parse_is_word(p, "_"))
      prn_parse_advance(p);
    else if (prn_parse_is(p, PRN_TOK_VALUE))
      PRN_TRY(use_value(p, &v));
    else
      return prn_parse_expected(p, "an operand (%name, or _ for none)");
    PUSH(o, operands, v);
    if (!prn_parse_accept(p, ',')) break;
  }
  return prn_parse_expect(p, ')', "',' or ')'");
}

static prn_status parse_args(prn_parser *p, prn_block *b) {
  PRN_TRY(prn_parse_expect(p, '(', "'('"));
  while (!prn_parse_is(p, ')')) {
    prn_str name = PRN_STR(""), spelling = p->tok.text;
    prn_loc loc = prn_parse_loc(p);
    bool absent = prn_parse_is_word(p, "_");
    const prn_type *type =
        absent ? prn_type_none(p->ctx) : prn_type_any(p->ctx);
    if (!absent && !prn_parse_is(p, PRN_TOK_VALUE))
      return prn_parse_expected(p, "an argument such as %x");
    if (!absent) PRN_TRY(read_value(p, &name));
    prn_str key = {prn_arena_copy(&p->arena, p->key.data, p->key.size),
                   p->key.size};
    prn_parse_advance(p);
    if (prn_parse_accept(p, ':')) type = prn_parser_type(p);
    prn_value *v =
        prn_block_add_arg(b, type ? type : prn_type_any(p->ctx), name);
    if (!absent) PRN_TRY(define(p, v, key, spelling, loc));
    if (!type) return PRN_FAIL;
    if (!prn_parse_accept(p, ',')) break;
  }
  PRN_TRY(prn_parse_expect(p, ')', "',' or ')'"));
  return prn_parse_expect(p, ':', "':'");
}

static void recover(prn_parser *p, int64_t braces, uint32_t col);

static prn_status parse_block(prn_parser *p, parts *o) {
  size_t scope = p->num_scope;
  prn_parse_use **uses = p->unresolved_end;
  prn_parse_late *late = p->late;
  prn_block *b = prn_block_create(p->module);
  prn_status s = PRN_OK;
  p->late = NULL;
  PUSH(o, blocks, b);
  prn_parse_advance(p); /* { */
  uint32_t col = p->tok.col;
  int64_t braces = p->braces;
  if (prn_parse_accept(p, '^')) s = parse_args(p, b);
  if (s != PRN_OK) recover(p, braces, col + 1);
  prn_parser_ops(p, b);
  if (prn_parse_expect(p, '}', "'}' at the end of a block")) s = PRN_FAIL;
  resolve_uses(p, uses);
  close_scope(p, scope);
  p->late = late;
  return s;
}

static prn_status parse_types(prn_parser *p, parts *o) {
  prn_loc loc = prn_parse_loc(p);
  if (!prn_parse_accept(p, ':')) {
    for (uint32_t i = 0; i < o->num_results; i++)
      PUSH(o, types,
           o->results[i].spelling.size ? prn_type_any(p->ctx)
                                       : prn_type_none(p->ctx));
    return PRN_OK;
  }
  do {
    const prn_type *t = prn_parser_type(p);
    if (!t) return PRN_FAIL;
    uint32_t i = o->num_types;
    if (i < o->num_results && !o->results[i].spelling.size &&
        t->kind != PRN_TYPE_NONE)
      return prn_parse_error_at(p, o->results[i].loc,
                                "an absent result has the type none");
    PUSH(o, types, t);
  } while (prn_parse_accept(p, ','));
  if (o->num_types == o->num_results) return PRN_OK;
  return prn_parse_error_at(p, loc, "expected %u types, found %u",
                            (unsigned)o->num_results, (unsigned)o->num_types);
}

static prn_status parse_op_loc(prn_parser *p, parts *o) {
  prn_str file;
  int64_t line, col;
  if (!prn_parse_is_word(p, "loc")) return PRN_OK;
  prn_parse_advance(p);
  PRN_TRY(prn_parse_expect(p, '(', "'('"));
  PRN_TRY(prn_parse_string(p, &file));
  PRN_TRY(prn_parse_expect(p, ':', "':'"));
  PRN_TRY(prn_parse_int(p, &line));
  PRN_TRY(prn_parse_expect(p, ':', "':'"));
  PRN_TRY(prn_parse_int(p, &col));
  if (line < 0 || line > UINT32_MAX || col < 0 || col > UINT32_MAX)
    return prn_parse_error(p, "line or column out of range");
  o->loc = (prn_loc){file.data, (uint32_t)line, (uint32_t)col};
  return prn_parse_expect(p, ')', "')'");
}

static prn_status parse_attrs(prn_parser *p, parts *o) {
  bool initializer =
      prn_opname_code(p->ctx, PRN_OP_onnx_initializer) == o->name;
  p->value_name =
      initializer && o->num_results ? o->results[0].name : PRN_STR("");
  if (!prn_parse_is(p, '{')) return PRN_OK;
  return prn_parser_dict(p, true, &o->attrs, &o->num_attrs);
}

static prn_status parse_parts(prn_parser *p, parts *o) {
  PRN_TRY(parse_results(p, o));
  PRN_TRY(parse_opname(p, o));
  PRN_TRY(parse_operands(p, o));
  PRN_TRY(parse_attrs(p, o));
  while (prn_parse_is(p, '{'))
    PRN_TRY(parse_block(p, o));
  PRN_TRY(parse_types(p, o));
  PRN_TRY(parse_op_loc(p, o));
  for (prn_parse_late *l = p->late; l; l = l->next)
    PRN_TRY(prn_parser_late(p, l, o->num_types ? o->types[0] : NULL));
  return PRN_OK;
}

/* Names of results exist even when the operation is broken: otherwise every
 * use would be an error, too. */
static void define_results(prn_parser *p, const parts *o, prn_op *op) {
  for (uint32_t i = 0; i < o->num_results; i++) {
    const result *r = &o->results[i];
    prn_value *v = op ? &op->results[i] : NULL;
    if (!r->spelling.size) continue;
    if (!op) {
      v = PRN_ARENA_NEW(&p->arena, prn_value);
      v->type = prn_type_any(p->ctx);
    }
    v->name = r->name;
    (void)!define(p, v, r->key, r->spelling, r->loc);
  }
}

static void build_op(prn_parser *p, const parts *o, prn_block *block) {
  prn_op *op = prn_op_create(p->module, o->name, o->loc, o->operands,
                             o->num_operands, o->types, o->num_results);
  for (uint32_t i = 0; i < o->num_blocks; i++)
    prn_op_add_block(op, o->blocks[i]);
  op->attrs = o->attrs;
  op->num_attrs = op->cap_attrs = o->num_attrs;
  prn_block_append(block, op);
  define_results(p, o, op);
}

static prn_status parse_op(prn_parser *p, prn_block *block) {
  parts o = {0};
  uint32_t depth = p->depth;
  p->late = NULL;
  prn_status s = prn_parse_enter(p);
  if (s == PRN_OK) s = parse_parts(p, &o);
  if (s == PRN_OK)
    build_op(p, &o, block);
  else
    define_results(p, &o, NULL);
  p->depth = depth; /* also after an error further in */
  free_parts(&o);
  return s;
}

/* ---- recovery ---- */

static bool starts_op(const prn_parser *p) {
  if (!p->tok.first) return false;
  if (prn_parse_is(p, PRN_TOK_VALUE) || prn_parse_is_word(p, "_")) return true;
  return prn_parse_is(p, PRN_TOK_IDENT) &&
         memchr(p->tok.text.data, '.', p->tok.text.size);
}

/* Skips what is left of something that began in column `col`, to the next
 * operation of a block whose operations see `braces` open braces, or to what
 * ends the block. Where braces do not match, indentation decides. */
static void recover(prn_parser *p, int64_t braces, uint32_t col) {
  while (!prn_parse_is(p, PRN_TOK_EOF) && p->braces >= braces) {
    bool end = prn_parse_is(p, '}') || prn_parse_is(p, PRN_TOK_RES_OPEN);
    if (p->braces == braces && (end || starts_op(p))) return;
    bool left = p->tok.first && p->tok.col <= col;
    if (left && (starts_op(p) || (end && p->tok.col < col))) {
      p->braces = braces;
      return;
    }
    prn_parse_advance(p);
  }
}

void prn_parser_ops(prn_parser *p, prn_block *block) {
  int64_t braces = p->braces;
  while (!prn_parse_is(p, PRN_TOK_EOF) && !prn_parse_is(p, '}') &&
         !prn_parse_is(p, PRN_TOK_RES_OPEN)) {
    prn_tok start = p->tok;
    if (parse_op(p, block) == PRN_OK) continue;
    if (p->tok.text.data == start.text.data) prn_parse_advance(p);
    recover(p, braces, start.col);
    if (p->braces < braces) return;
  }
}
