/* Mutations of protocol buffers that keep lengths right, so that most inputs
 * get past the scanner. Walks down a random path of messages (whatever parses
 * as one is taken for one) and changes a field there: gone, twice, somewhere
 * else, another number, other content. */
#include <stdint.h>
#include <string.h>

#include "ir/support/arena.h"
#include "ir/support/str.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed);

enum { FIELDS = 256, DEPTH = 12, CONTENT = 4096, BYTES = 2 };

typedef struct field {
  uint64_t number;
  unsigned type;
  prn_str whole, content; /* content: without tag and length */
} field;

static uint32_t state;
static uint32_t draw(uint32_t n) { /* xorshift32, below n */
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state % n;
}

static bool varint(prn_str *s, uint64_t *out) {
  *out = 0;
  for (unsigned shift = 0; s->size && shift < 64; shift += 7) {
    uint8_t byte = (uint8_t)*s->data;
    *s = (prn_str){s->data + 1, s->size - 1};
    *out |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return true;
  }
  return false;
}

static void put_varint(prn_strbuf *b, uint64_t v) {
  for (; v >= 0x80; v >>= 7)
    prn_strbuf_char(b, (char)(v | 0x80));
  prn_strbuf_char(b, (char)v);
}

/* Takes the field that s begins with; false when it begins with none. */
static bool take(prn_str *s, field *f) {
  prn_str from = *s;
  uint64_t tag, n;
  if (!varint(s, &tag) || tag >> 3 == 0) return false;
  f->number = tag >> 3;
  f->type = tag & 7;
  const char *content = s->data;
  if (f->type == 0) {
    if (!varint(s, &n)) return false;
    n = 0;
  } else if (f->type == BYTES) {
    if (!varint(s, &n)) return false;
    content = s->data;
  } else if (f->type == 1 || f->type == 5) {
    n = f->type == 1 ? 8 : 4;
  } else {
    return false;
  }
  if (n > s->size) return false;
  *s = (prn_str){s->data + n, s->size - n};
  f->content = (prn_str){content, (size_t)(s->data - content)};
  f->whole = (prn_str){from.data, (size_t)(s->data - from.data)};
  return true;
}

/* Number of fields, 0 when s is no message. */
static size_t split(prn_str s, field *out) {
  size_t n = 0;
  while (s.size && n < FIELDS)
    if (!take(&s, &out[n++])) return 0;
  return s.size ? 0 : n;
}

static void put_field(prn_strbuf *b, uint64_t number, unsigned type,
                      prn_str content) {
  put_varint(b, number << 3 | type);
  if (type == BYTES) put_varint(b, content.size);
  prn_strbuf_str(b, content);
}

static uint64_t odd_number(void) {
  static const uint64_t odd[] = {
      0,          1,         2,          3,
      7,          8,         11,         16,
      64,         255,       1 << 16,    INT32_MAX,
      UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_C(1) << 62};
  uint64_t v = odd[draw(PRN_COUNT(odd))];
  return draw(4) ? v : ~v;
}

static void other_content(prn_strbuf *b, const field *f) {
  uint8_t buffer[CONTENT];
  if (f->type == 0) {
    put_varint(b, f->number << 3);
    put_varint(b, draw(3) ? draw(12) : odd_number());
    return;
  }
  size_t n = f->content.size < CONTENT ? f->content.size : CONTENT;
  if (n) memcpy(buffer, f->content.data, n);
  n = LLVMFuzzerMutate(buffer, n, f->type == BYTES ? CONTENT : n);
  put_field(b, f->number, f->type, (prn_str){(const char *)buffer, n});
}

static void change(prn_strbuf *b, const field *f, const field *other) {
  switch (draw(7)) {
  case 0: /* gone */
    return;
  case 1:
    prn_strbuf_str(b, f->whole);
    prn_strbuf_str(b, f->whole);
    return;
  case 2:
    prn_strbuf_str(b, other->whole);
    prn_strbuf_str(b, f->whole);
    return;
  case 3: /* another's content */
    if (other->type != f->type) break;
    put_field(b, f->number, f->type, other->content);
    return;
  case 4:
    put_field(b, 1 + draw(28), f->type, f->content);
    return;
  default:
    break;
  }
  other_content(b, f);
}

static bool mutate(prn_str message, unsigned depth, prn_strbuf *b) {
  field *all = prn_alloc(FIELDS * sizeof *all);
  size_t n = split(message, all);
  for (size_t i = 0, at = n ? draw((uint32_t)n) : 0; i < n; i++) {
    prn_strbuf inner = {0};
    if (i != at) {
      prn_strbuf_str(b, all[i].whole);
    } else if (all[i].type == BYTES && depth < DEPTH && draw(6) &&
               mutate(all[i].content, depth + 1, &inner)) {
      put_field(b, all[i].number, BYTES, prn_strbuf_view(&inner));
    } else {
      change(b, &all[i], &all[draw((uint32_t)n)]);
    }
    prn_strbuf_destroy(&inner);
  }
  prn_free(all);
  return n > 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
                               unsigned seed) {
  prn_strbuf b = {0};
  state = seed * 2654435761u | 1;
  if (draw(16) == 0) return LLVMFuzzerMutate(data, size, max);
  bool ok = mutate((prn_str){(const char *)data, size}, 0, &b);
  if (ok && b.size && b.size <= max) {
    memcpy(data, b.data, b.size);
    size = b.size;
  } else {
    size = LLVMFuzzerMutate(data, size, max);
  }
  prn_strbuf_destroy(&b);
  return size;
}
