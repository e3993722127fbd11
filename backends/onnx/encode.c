#include "backends/onnx/encode.h"

#include <assert.h>
#include <string.h>

#include "ir/support/arena.h"

enum { VARINT = 0, LENGTH = 2, FIXED32 = 5, MAX_VARINT = 10 };

void prn_enc_destroy(prn_encoder *e) {
  prn_free(e->lengths);
  *e = (prn_encoder){0};
}

void prn_enc_rewind(prn_encoder *e, prn_out *out) {
  e->out = out;
  e->pos = 0;
  e->next = 0;
}

void prn_enc_raw(prn_encoder *e, const void *data, size_t size) {
  e->pos += size;
  if (e->out) prn_out_write(e->out, data, size);
}

size_t prn_enc_varint_size(uint64_t v) {
  size_t n = 1;
  for (; v >= 0x80; v >>= 7)
    n++;
  return n;
}

void prn_enc_varint(prn_encoder *e, uint64_t v) {
  unsigned char buf[MAX_VARINT];
  size_t n = 0;
  if (!e->out) {
    e->pos += prn_enc_varint_size(v);
    return;
  }
  for (; v >= 0x80; v >>= 7)
    buf[n++] = (unsigned char)(v | 0x80);
  buf[n++] = (unsigned char)v;
  prn_enc_raw(e, buf, n);
}

static void tag(prn_encoder *e, unsigned field, unsigned type) {
  prn_enc_varint(e, (uint64_t)field << 3 | type);
}

void prn_enc_int(prn_encoder *e, unsigned field, int64_t v) {
  tag(e, field, VARINT);
  prn_enc_varint(e, (uint64_t)v);
}

void prn_enc_float(prn_encoder *e, unsigned field, float v) {
  tag(e, field, FIXED32);
  prn_enc_raw(e, &v, sizeof v); /* little-endian hosts only */
}

void prn_enc_header(prn_encoder *e, unsigned field, uint64_t size) {
  tag(e, field, LENGTH);
  prn_enc_varint(e, size);
}

void prn_enc_str(prn_encoder *e, unsigned field, prn_str s) {
  prn_enc_header(e, field, s.size);
  prn_enc_raw(e, s.data, s.size);
}

size_t prn_enc_begin(prn_encoder *e, unsigned field) {
  if (e->out) {
    assert(e->next < e->num);
    size_t mark = e->next++;
    prn_enc_header(e, field, e->lengths[mark]);
    return mark;
  }
  if (e->num == e->cap) {
    e->cap = e->cap ? e->cap * 2 : 256;
    e->lengths =
        prn_realloc(e->lengths, prn_array_size(sizeof *e->lengths, e->cap));
  }
  tag(e, field, LENGTH);
  e->lengths[e->num] = e->pos;
  return e->num++;
}

void prn_enc_end(prn_encoder *e, size_t mark) {
  if (e->out) return;
  e->lengths[mark] = e->pos - e->lengths[mark];
  e->pos += prn_enc_varint_size(e->lengths[mark]);
}
