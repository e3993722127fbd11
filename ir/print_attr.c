/* Printing of attributes and tensors. */
#include <string.h>

#include "ir/print.h"

enum {
  INLINE_MAX = 16,      /* elements printed one by one */
  INLINE_RANK = 8,      /* brackets nested at most this deep */
  SPLAT_FILE = 1 << 18, /* bytes of a file read to find one repeated value */
  INLINE_STRINGS = 256, /* bytes of all strings together */
};

void prn_float_print(prn_strbuf *b, float f) {
  prn_element_print(b, PRN_F32, &f, 0);
}

void prn_print_hex(prn_strbuf *b, const void *data, size_t size) {
  static const char digits[] = "0123456789abcdef";
  const unsigned char *p = data;
  prn_strbuf_char(b, '"');
  for (size_t i = 0; i < size; i++) {
    char pair[2] = {digits[p[i] >> 4], digits[p[i] & 15]};
    prn_strbuf_bytes(b, pair, 2);
  }
  prn_strbuf_char(b, '"');
}

void prn_print_strings(prn_strbuf *b, const prn_str *s, int64_t n) {
  prn_strbuf_char(b, '[');
  for (int64_t i = 0; i < n; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_strbuf_quoted(b, s[i]);
  }
  prn_strbuf_char(b, ']');
}

/* ---- tensors ---- */

/* The data is as long as the type says, so that elements can be read. */
static bool is_sound(const prn_tensor *t, int64_t *count) {
  size_t bytes = 0;
  if (t->type->kind != PRN_TYPE_TENSOR || !prn_type_count(t->type, count))
    return false;
  if (t->mask && t->mask->size < ((size_t)*count + 7) / 8) return false;
  if (t->type->dtype == PRN_STRING)
    return (t->strings || *count == 0) && !t->data;
  if (t->strings || !prn_dtype_bytes(t->type->dtype, *count, &bytes))
    return false;
  return t->data ? t->data->size == bytes : *count == 0;
}

/* Bits behind the last of elements of less than a byte, which elements as text
 * would lose. */
static bool is_padded(const prn_tensor *t, int64_t count) {
  uint32_t bits = prn_dtype_bits(t->type->dtype);
  if (!t->data || bits == 0 || bits >= 8 || count <= 0) return false;
  unsigned used = (unsigned)((uint64_t)count * bits % 8);
  const unsigned char *p = t->data->data;
  return used && p[t->data->size - 1] >> used;
}

/* One value, repeated. Files are only read a little for the beauty of it. */
static bool all_equal(const prn_tensor *t, int64_t count) {
  const char *p = t->data ? t->data->data : NULL;
  uint32_t bits = prn_dtype_bits(t->type->dtype);
  if (!p || count < 2) return false;
  if (t->data->size > (t->data->file ? SPLAT_FILE : PRN_TEXT_SPLAT_BYTES))
    return false;
  if (bits < 8) {
    for (int64_t i = 1; i < count; i++)
      if (prn_element_bits(t->type->dtype, p, i) !=
          prn_element_bits(t->type->dtype, p, 0))
        return false;
    return true;
  }
  size_t step = bits / 8;
  return memcmp(p, p + step, ((size_t)count - 1) * step) == 0;
}

static bool is_inline(const prn_tensor *t, int64_t *count) {
  size_t total = 0;
  if (!is_sound(t, count) || is_padded(t, *count)) return false;
  if (t->type->dtype == PRN_STRING)
    for (int64_t i = 0; i < *count && i <= INLINE_MAX; i++)
      total += t->strings[i].size;
  if (total > INLINE_STRINGS) return false;
  return *count <= 1 || (*count <= INLINE_MAX && t->type->rank <= INLINE_RANK);
}

/* What is written as one value for all: within what the parser gives out. */
static bool is_splat(prn_printer *p, const prn_tensor *t) {
  int64_t count = 0;
  if (!is_sound(t, &count) || is_padded(t, count) ||
      t->type->dtype == PRN_STRING || (t->mask && count > INLINE_MAX) ||
      !all_equal(t, count))
    return false;
  if (!p) return true;
  if (t->data->size > PRN_TEXT_SPLAT_BYTES - p->splat_bytes) return false;
  p->splat_bytes += t->data->size;
  return true;
}

static void print_element(prn_strbuf *b, const prn_tensor *t, int64_t i) {
  if (t->type->dtype == PRN_STRING)
    prn_strbuf_quoted(b, t->strings[i]);
  else
    prn_element_print(b, t->type->dtype, t->data->data, i);
}

/* Elements from *at on as nested lists, for the dimensions from axis on. */
static void print_nested(prn_strbuf *b, const prn_tensor *t, int32_t axis,
                         int64_t *at) {
  int64_t n = 0;
  if (axis == t->type->rank) {
    print_element(b, t, (*at)++);
    return;
  }
  (void)prn_dim_is_const(t->type->dims[axis], &n);
  prn_strbuf_char(b, '[');
  for (int64_t i = 0; i < n; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    print_nested(b, t, axis + 1, at);
  }
  prn_strbuf_char(b, ']');
}

static void print_key(prn_strbuf *b, prn_printer *p, const prn_resource *r,
                      prn_str base) {
  prn_str key = p ? prn_print_resource(p, r, base) : base;
  if (prn_str_is(key, "_")) /* bare, it stands for no data */
    prn_strbuf_quoted(b, key);
  else
    prn_name_print(b, key);
}

static prn_str key_base(const prn_tensor *t, const prn_print_hint *hint) {
  if (hint->key.size) return hint->key;
  return t->name.size ? t->name : PRN_STR("blob");
}

static void print_body(prn_strbuf *b, prn_printer *p, const prn_tensor *t,
                       const prn_print_hint *hint, bool in_line, bool splat) {
  int64_t at = 0, count = 0;
  bool counted = prn_type_is_static(t->type) && prn_type_count(t->type, &count);
  if (in_line) {
    prn_strbuf_cstr(b, "dense<");
    if (count == 1 || splat)
      print_element(b, t, 0);
    else if (count)
      print_nested(b, t, 0, &at);
    return;
  }
  prn_resource r = {.blob = t->data,
                    .strings = t->strings,
                    .num_strings = counted ? count : 0};
  prn_strbuf_cstr(b, "resource<");
  if (t->data || t->strings)
    print_key(b, p, &r, key_base(t, hint));
  else
    prn_strbuf_char(b, '_');
}

static void print_mask(prn_strbuf *b, prn_printer *p, const prn_tensor *t,
                       const prn_print_hint *hint, bool in_line) {
  prn_strbuf_cstr(b, ", mask = ");
  if (!in_line) {
    prn_strbuf base = {0};
    prn_resource r = {.blob = t->mask};
    prn_strbuf_str(&base, key_base(t, hint));
    prn_strbuf_cstr(&base, ".mask");
    print_key(b, p, &r, prn_strbuf_view(&base));
    prn_strbuf_destroy(&base);
    return;
  }
  int64_t count = prn_tensor_count(t);
  prn_strbuf_char(b, '[');
  for (int64_t i = 0; i < count; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_strbuf_char(b, prn_mask_keeps(t->mask->data, i) ? '1' : '0');
  }
  prn_strbuf_char(b, ']');
}

void prn_print_tensor(prn_strbuf *b, prn_printer *p, const prn_tensor *t,
                      const prn_print_hint *hint) {
  static const char *const storages[] = {
      [PRN_STORE_RAW] = "raw",
      [PRN_STORE_TYPED] = "typed",
      [PRN_STORE_EXTERNAL] = "external",
      [PRN_STORE_EMPTY] = "empty",
  };
  int64_t count = 0;
  bool splat = is_splat(p, t), in_line = splat || is_inline(t, &count);
  print_body(b, p, t, hint, in_line, splat);
  if (t->mask) print_mask(b, p, t, hint, in_line);
  if (!prn_str_eq(t->name, hint->name)) {
    prn_strbuf_cstr(b, ", name = ");
    prn_strbuf_quoted(b, t->name);
  }
  if (t->storage != PRN_STORE_RAW) {
    prn_strbuf_cstr(b, ", storage = ");
    prn_strbuf_cstr(b, storages[t->storage]);
  }
  if (t->extra) {
    prn_print_hint none = {0};
    prn_strbuf_cstr(b, ", extra = ");
    prn_print_attr(b, p, t->extra, &none);
  }
  prn_strbuf_char(b, '>');
  if (t->type == hint->type) return;
  prn_strbuf_cstr(b, " : ");
  prn_type_print(b, t->type);
}

/* ---- attributes ---- */

static void print_ints(prn_strbuf *b, const prn_attr *a) {
  prn_strbuf_cstr(b, a->size ? "[" : "ints[");
  for (uint32_t i = 0; i < a->size; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_print_int(b, a->ints[i]);
  }
  prn_strbuf_char(b, ']');
}

static void print_floats(prn_strbuf *b, const prn_attr *a) {
  prn_strbuf_cstr(b, a->size ? "[" : "floats[");
  for (uint32_t i = 0; i < a->size; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_float_print(b, a->floats[i]);
  }
  prn_strbuf_char(b, ']');
}

static void print_list(prn_strbuf *b, prn_printer *p, const prn_attr *a,
                       const prn_print_hint *hint) {
  prn_strbuf_cstr(b, "list[");
  for (uint32_t i = 0; i < a->size; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_print_attr(b, p, a->list[i], hint);
  }
  prn_strbuf_char(b, ']');
}

static void print_dict(prn_strbuf *b, prn_printer *p, const prn_attr *a,
                       const prn_print_hint *hint) {
  prn_strbuf_char(b, '{');
  for (uint32_t i = 0; i < a->size; i++) {
    if (i) prn_strbuf_cstr(b, ", ");
    prn_name_print(b, a->dict[i].name);
    prn_strbuf_cstr(b, " = ");
    prn_print_attr(b, p, a->dict[i].value, hint);
  }
  prn_strbuf_char(b, '}');
}

static void print_wrapped(prn_strbuf *b, const prn_attr *a) {
  switch (a->kind) {
  case PRN_ATTR_REGION:
    prn_strbuf_cstr(b, "region<");
    prn_print_int(b, a->i);
    break;
  case PRN_ATTR_DIM:
    prn_strbuf_cstr(b, "dim<");
    prn_dim_print(b, a->dim);
    break;
  default:
    prn_strbuf_cstr(b, "bytes<");
    prn_print_hex(b, a->s.data, a->s.size);
  }
  prn_strbuf_char(b, '>');
}

void prn_print_attr(prn_strbuf *b, prn_printer *p, const prn_attr *a,
                    const prn_print_hint *hint) {
  /* The shortcuts hold for the attribute itself, not for its parts. */
  prn_print_hint inner = {.key = hint->key};
  switch (a->kind) {
  case PRN_ATTR_UNIT:
    prn_strbuf_cstr(b, "unit");
    return;
  case PRN_ATTR_BOOL:
    prn_strbuf_cstr(b, a->i ? "true" : "false");
    return;
  case PRN_ATTR_INT:
    prn_print_int(b, a->i);
    return;
  case PRN_ATTR_FLOAT:
    prn_float_print(b, a->f);
    return;
  case PRN_ATTR_STRING:
    prn_strbuf_quoted(b, a->s);
    return;
  case PRN_ATTR_SYMBOL:
    prn_strbuf_char(b, '@');
    prn_name_print(b, a->s);
    return;
  case PRN_ATTR_INTS:
    print_ints(b, a);
    return;
  case PRN_ATTR_FLOATS:
    print_floats(b, a);
    return;
  case PRN_ATTR_STRINGS:
    if (a->size == 0) prn_strbuf_cstr(b, "strings");
    prn_print_strings(b, a->strings, (int64_t)a->size);
    return;
  case PRN_ATTR_LIST:
    print_list(b, p, a, &inner);
    return;
  case PRN_ATTR_DICT:
    print_dict(b, p, a, &inner);
    return;
  case PRN_ATTR_TYPE:
    prn_type_print(b, a->type);
    return;
  case PRN_ATTR_TENSOR:
    prn_print_tensor(b, p, a->tensor, hint);
    return;
  case PRN_ATTR_REGION:
  case PRN_ATTR_DIM:
  case PRN_ATTR_BYTES:
    print_wrapped(b, a);
    return;
  }
}

void prn_attr_print(prn_strbuf *b, const prn_attr *a) {
  prn_print_hint none = {0};
  prn_print_attr(b, NULL, a, &none);
}
