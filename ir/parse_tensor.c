/* Tensors: dense<...>, resource<...>. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ir/parse.h"

typedef struct filler {
  const prn_type *type;
  int64_t count, at;
  void *data;       /* packed elements */
  prn_str *strings; /* instead, for strings */
} filler;

/* ---- elements ---- */

static prn_status hex_element(prn_parser *p, const filler *f) {
  prn_str t = p->tok.text;
  uint32_t bits = prn_dtype_bits(f->type->dtype);
  char text[24];
  if (t.size - 2 > 16 || bits > 64)
    return prn_parse_error(p, "too many hexadecimal digits");
  memcpy(text, t.data, t.size);
  text[t.size] = 0;
  uint64_t v = strtoull(text, NULL, 16);
  if (bits < 64 && v >> bits)
    return prn_parse_error(p, "%s does not fit %u bits", text, (unsigned)bits);
  prn_element_set_bits(f->type->dtype, f->data, f->at, v);
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status out_of_range(prn_parser *p, prn_dtype t) {
  return prn_parse_error(p, "%.*s does not fit %s", PRN_STR_ARG(p->tok.text),
                         prn_dtype_name(t));
}

static prn_status int_element(prn_parser *p, prn_dtype t, const filler *f) {
  char text[PRN_PARSE_NUMBER];
  uint32_t bits = prn_dtype_bits(t);
  prn_str s = p->tok.text;
  if (!prn_parse_is(p, PRN_TOK_INT)) return prn_parse_expected(p, "an integer");
  if (s.size >= sizeof text) return out_of_range(p, t);
  memcpy(text, s.data, s.size);
  text[s.size] = 0;
  bool negative = text[0] == '-';
  bool is_unsigned = prn_dtype_name(t)[0] == 'u';
  errno = 0;
  uint64_t v = strtoull(text + negative, NULL, 10);
  uint64_t limit = is_unsigned ? UINT64_MAX >> (64 - bits)
                               : (UINT64_C(1) << (bits - 1)) - !negative;
  if (errno || v > limit || (negative && is_unsigned && v))
    return out_of_range(p, t);
  prn_element_set_bits(t, f->data, f->at, negative ? 0 - v : v);
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status float_element(prn_parser *p, prn_dtype t, void *data,
                                int64_t at) {
  char text[PRN_PARSE_NUMBER], *end;
  prn_str s = p->tok.text;
  bool word = prn_parse_is_word(p, "inf") || prn_parse_is_word(p, "nan");
  if (!word && !prn_parse_is(p, PRN_TOK_INT) && !prn_parse_is(p, PRN_TOK_FLOAT))
    return prn_parse_expected(p, "a number");
  if (s.size >= sizeof text) return prn_parse_error(p, "number is too long");
  memcpy(text, s.data, s.size);
  text[s.size] = 0;
  bool special = strpbrk(text, "in") != NULL;
  double v = t == PRN_F32 ? (double)strtof(text, &end) : strtod(text, &end);
  if (*end) return prn_parse_expected(p, "a number");
  bool ok = prn_element_from_f64(t, v, data, at) &&
            (special || isfinite(prn_element_to_f64(t, data, at)));
  if (!ok) return out_of_range(p, t);
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status complex_element(prn_parser *p, const filler *f) {
  prn_dtype half = f->type->dtype == PRN_C64 ? PRN_F32 : PRN_F64;
  PRN_TRY(prn_parse_expect(p, '(', "'(' of a complex number"));
  PRN_TRY(float_element(p, half, f->data, f->at * 2));
  PRN_TRY(prn_parse_expect(p, ',', "','"));
  PRN_TRY(float_element(p, half, f->data, f->at * 2 + 1));
  return prn_parse_expect(p, ')', "')'");
}

static prn_status bool_element(prn_parser *p, const filler *f) {
  bool yes = prn_parse_is_word(p, "true");
  if (!yes && !prn_parse_is_word(p, "false"))
    return prn_parse_expected(p, "true or false");
  prn_element_set_bits(PRN_BOOL, f->data, f->at, yes);
  prn_parse_advance(p);
  return PRN_OK;
}

static prn_status element(prn_parser *p, filler *f) {
  prn_dtype t = f->type->dtype;
  prn_status s;
  if (t == PRN_STRING)
    s = prn_parse_string(p, &f->strings[f->at]);
  else if (t == PRN_C64 || t == PRN_C128)
    s = complex_element(p, f);
  else if (prn_parse_is(p, PRN_TOK_HEX))
    s = hex_element(p, f);
  else if (t == PRN_BOOL)
    s = bool_element(p, f);
  else if (prn_dtype_is_int(t))
    s = int_element(p, t, f);
  else
    s = float_element(p, t, f->data, f->at);
  f->at++;
  return s;
}

/* Nested lists of exactly the type's shape. */
static prn_status nested(prn_parser *p, filler *f, int32_t axis) {
  int64_t want = 0, have = 0;
  if (axis == f->type->rank) return element(p, f);
  (void)prn_dim_is_const(f->type->dims[axis], &want);
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_expect(p, '[', "'['"));
  PRN_TRY(prn_parse_enter(p));
  for (; !prn_parse_is(p, ']'); have++) {
    if (have == want)
      return prn_parse_error(p, "more than %lld elements along axis %d",
                             (long long)want, (int)axis);
    PRN_TRY(nested(p, f, axis + 1));
    if (!prn_parse_accept(p, ',')) {
      have++;
      break;
    }
  }
  prn_parse_leave(p);
  if (prn_parse_is(p, ']') && have != want)
    return prn_parse_error_at(p, loc,
                              "expected %lld elements along axis %d, found "
                              "%lld",
                              (long long)want, (int)axis, (long long)have);
  return prn_parse_expect(p, ']', "',' or ']'");
}

/* Copies element 0 to all others. */
static void repeat(filler *f) {
  prn_dtype t = f->type->dtype;
  uint32_t bits = prn_dtype_bits(t);
  char *data = f->data;
  size_t step = bits / 8, have = 1, count = (size_t)f->count;
  for (int64_t i = 1; f->strings && i < f->count; i++)
    f->strings[i] = f->strings[0];
  for (int64_t i = 1; data && bits < 8 && i < f->count; i++)
    prn_element_set_bits(t, data, i, prn_element_bits(t, data, 0));
  while (data && bits >= 8 && have < count) {
    size_t more = have < count - have ? have : count - have;
    memcpy(data + have * step, data, more * step);
    have += more;
  }
}

/* Memory for the elements, no more than the text can fill. */
static prn_status reserve(prn_parser *p, filler *f, size_t text_size) {
  size_t bytes = 0;
  bool is_list = prn_parse_is(p, '[');
  bool text = f->type->dtype == PRN_STRING;
  if (text && !prn_mul_size((size_t)f->count, sizeof(prn_str), &bytes))
    bytes = SIZE_MAX;
  if (!text && !prn_dtype_bytes(f->type->dtype, f->count, &bytes))
    return prn_parse_error(p, "tensor of type %s cannot be written out",
                           prn_type_str(p->ctx, f->type));
  if (is_list && (size_t)f->count > text_size)
    return prn_parse_error(p,
                           "type %s has %lld elements, but the list is "
                           "shorter",
                           prn_type_str(p->ctx, f->type), (long long)f->count);
  if (!is_list && bytes > PRN_TEXT_SPLAT_BYTES - p->splat_bytes)
    return prn_parse_error(p, "repeated values take more than %d bytes",
                           PRN_TEXT_SPLAT_BYTES);
  if (!is_list) p->splat_bytes += bytes;
  if (text)
    f->strings = PRN_ARENA_ARRAY(prn_ctx_arena(p->ctx), prn_str, f->count);
  else
    f->data = prn_try_alloc(bytes);
  if (!text && !f->data) return prn_parse_error(p, "out of memory");
  if (!text) memset(f->data, 0, bytes);
  return PRN_OK;
}

static prn_status fill(prn_parser *p, filler *f) {
  if (prn_parse_is(p, '>') || prn_parse_is(p, ',')) {
    if (f->count == 0) return PRN_OK;
    return prn_parse_error(p, "type %s has %lld elements, found none",
                           prn_type_str(p->ctx, f->type), (long long)f->count);
  }
  if (f->count == 0)
    return prn_parse_error(p, "type %s has no elements",
                           prn_type_str(p->ctx, f->type));
  if (prn_parse_is(p, '[')) return nested(p, f, 0);
  PRN_TRY(element(p, f));
  repeat(f);
  return PRN_OK;
}

static prn_status parse_dense(prn_parser *p, const prn_parse_late *late) {
  prn_tensor *t = late->tensor;
  filler f = {.type = t->type};
  if (!prn_type_count(t->type, &f.count))
    return prn_parse_error(p, "type %s has no known number of elements",
                           prn_type_str(p->ctx, t->type));
  PRN_TRY(reserve(p, &f, late->size));
  size_t bytes = 0;
  prn_status s = fill(p, &f);
  (void)!prn_dtype_bytes(t->type->dtype, f.count, &bytes);
  t->strings = f.strings;
  if (f.data) t->data = prn_blob_take(p->ctx, f.data, bytes);
  return s;
}

/* ---- the rest of a tensor ---- */

static void add_fixup(prn_parser *p, prn_tensor *t, prn_str key, bool mask,
                      prn_loc loc) {
  prn_parse_fixup *f = PRN_ARENA_NEW(&p->arena, prn_parse_fixup);
  *f = (prn_parse_fixup){NULL, t, key, mask, loc};
  *p->fixups_end = f;
  p->fixups_end = &f->next;
}

static prn_status parse_key(prn_parser *p, prn_tensor *t, bool mask) {
  prn_str key;
  prn_loc loc = prn_parse_loc(p);
  PRN_TRY(prn_parse_name(p, "the name of a resource", &key));
  add_fixup(p, t, key, mask, loc);
  return PRN_OK;
}

static prn_status parse_mask(prn_parser *p, prn_tensor *t, size_t text_size) {
  int64_t count = 0, at = 0, bit;
  if (!prn_parse_is(p, '[')) return parse_key(p, t, true);
  if (!prn_type_count(t->type, &count) || (size_t)count > text_size)
    return prn_parse_error(p, "the mask has not %lld bits", (long long)count);
  prn_parse_advance(p);
  size_t bytes = ((size_t)count + 7) / 8;
  unsigned char *bits = prn_alloc(bytes + !bytes);
  memset(bits, 0, bytes + !bytes);
  t->mask = prn_blob_take(p->ctx, bits, bytes);
  for (; !prn_parse_is(p, ']'); at++) {
    prn_loc loc = prn_parse_loc(p);
    PRN_TRY(prn_parse_int(p, &bit));
    if (at >= count || bit < 0 || bit > 1)
      return prn_parse_error_at(p, loc, "expected %lld bits, each 0 or 1",
                                (long long)count);
    bits[at >> 3] |= (unsigned char)(bit << (at & 7));
    if (!prn_parse_accept(p, ',')) {
      at++;
      break;
    }
  }
  if (at != count)
    return prn_parse_error(p, "expected %lld bits, found %lld",
                           (long long)count, (long long)at);
  return prn_parse_expect(p, ']', "',' or ']'");
}

static prn_status parse_storage(prn_parser *p, prn_tensor *t) {
  static const char *const names[] = {"raw", "typed", "external", "empty"};
  for (size_t i = 0; i < PRN_COUNT(names); i++)
    if (prn_parse_is_word(p, names[i])) {
      prn_parse_advance(p);
      t->storage = (prn_storage)i;
      return PRN_OK;
    }
  return prn_parse_expected(p, "raw, typed, external or empty");
}

static prn_status parse_field(prn_parser *p, const prn_parse_late *late) {
  prn_tensor *t = late->tensor;
  bool is_mask = prn_parse_is_word(p, "mask");
  bool is_name = prn_parse_is_word(p, "name");
  bool is_storage = prn_parse_is_word(p, "storage");
  bool is_extra = prn_parse_is_word(p, "extra");
  if (!is_mask && !is_name && !is_storage && !is_extra)
    return prn_parse_expected(p, "mask, name, storage or extra");
  prn_parse_advance(p);
  PRN_TRY(prn_parse_expect(p, '=', "'='"));
  if (is_mask) return parse_mask(p, t, late->size);
  if (is_name) return prn_parse_string(p, &t->name);
  if (is_storage) return parse_storage(p, t);
  if (!prn_parse_is(p, '{')) return prn_parse_expected(p, "a dictionary");
  p->late_ok = false;
  t->extra = prn_parser_attr(p);
  return t->extra ? PRN_OK : PRN_FAIL;
}

static prn_status parse_text(prn_parser *p, const prn_parse_late *late) {
  bool dense = prn_parse_is_word(p, "dense");
  prn_parse_advance(p);
  prn_parse_advance(p); /* < */
  if (dense)
    PRN_TRY(parse_dense(p, late));
  else if (prn_parse_is_word(p, "_"))
    prn_parse_advance(p);
  else
    PRN_TRY(parse_key(p, late->tensor, false));
  while (prn_parse_accept(p, ','))
    PRN_TRY(parse_field(p, late));
  return prn_parse_expect(p, '>', "',' or '>'");
}

prn_status prn_parser_late(prn_parser *p, const prn_parse_late *late,
                           const prn_type *type) {
  prn_lexer lexer = p->lexer;
  prn_tok tok = p->tok;
  int64_t braces = p->braces;
  prn_status s = PRN_FAIL;
  p->lexer = late->lexer;
  p->tok = late->tok;
  p->braces = late->braces;
  if (!type || type->kind != PRN_TYPE_TENSOR) {
    (void)!prn_parse_error(p,
                           "a tensor needs its type: %.*s<...> : "
                           "tensor<...>",
                           PRN_STR_ARG(p->tok.text));
  } else {
    late->tensor->type = type;
    s = parse_text(p, late);
  }
  p->lexer = lexer;
  p->tok = tok;
  p->braces = braces;
  return s;
}

/* Moves behind the '>' that closes the '<' at the current token. */
static prn_status skip_angles(prn_parser *p, size_t *size) {
  uint32_t errors = p->errors;
  int64_t open = 0;
  const char *start = p->tok.text.data;
  if (!prn_parse_is(p, '<')) return prn_parse_expected(p, "'<'");
  do {
    open += prn_parse_is(p, '<') ? 1 : prn_parse_is(p, '>') ? -1 : 0;
    if (prn_parse_is(p, PRN_TOK_EOF)) return prn_parse_expected(p, "'>'");
    prn_parse_advance(p);
  } while (open > 0);
  *size = (size_t)(p->tok.text.data - start);
  return p->errors == errors ? PRN_OK : PRN_FAIL;
}

const prn_attr *prn_parser_tensor(prn_parser *p) {
  prn_parse_late late = {.lexer = p->lexer, .tok = p->tok, .braces = p->braces};
  bool may_wait = p->late_ok;
  const prn_type *type = NULL;
  late.tensor = PRN_ARENA_NEW(prn_ctx_arena(p->ctx), prn_tensor);
  late.tensor->name = p->tensor_name;
  late.tensor->type = prn_type_any(p->ctx);
  prn_parse_advance(p);
  if (skip_angles(p, &late.size) != PRN_OK) return NULL;
  const prn_attr *a = prn_attr_tensor(p->ctx, late.tensor);
  bool typed = prn_parse_accept(p, ':');
  if (typed) {
    type = prn_parser_type(p);
    if (!type) return NULL;
  } else if (may_wait) {
    prn_parse_late *stored = PRN_ARENA_NEW(&p->arena, prn_parse_late);
    late.next = p->late;
    *stored = late;
    p->late = stored;
    return a;
  }
  return prn_parser_late(p, &late, type) == PRN_OK ? a : NULL;
}
