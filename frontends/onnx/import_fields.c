/* Fields that the IR carries along: dictionaries, raw protobuf, messages. */
#include "frontends/onnx/importer.h"

#include <string.h>

#include "ir/fingerprint.h"

void dict_add_str(dict *d, prn_str name, const prn_attr *value) {
  if (!value) return;
  if (d->size == d->cap) {
    d->cap = d->cap ? d->cap * 2 : 8;
    d->items = prn_realloc(d->items, prn_array_size(sizeof *d->items, d->cap));
  }
  d->items[d->size++] = (prn_named_attr){name, value};
}

void dict_add(dict *d, const char *name, const prn_attr *value) {
  dict_add_str(d, prn_str_from(name), value);
}

void dict_add_text(importer *im, dict *d, const char *name, const char *value) {
  if (value) dict_add(d, name, prn_attr_string(im->ctx, prn_str_from(value)));
}

void dict_add_bytes(importer *im, dict *d, const char *name,
                    prn_strbuf *bytes) {
  if (bytes->size)
    dict_add(d, name, prn_attr_bytes(im->ctx, prn_strbuf_view(bytes)));
  prn_strbuf_destroy(bytes);
}

const prn_attr *dict_done(importer *im, dict *d) {
  const prn_attr *a =
      d->size ? prn_attr_dict(im->ctx, d->items, d->size) : NULL;
  prn_free(d->items);
  *d = (dict){0};
  return a;
}

static void raw_varint(prn_strbuf *b, uint64_t v) {
  for (; v >= 0x80; v >>= 7)
    prn_strbuf_char(b, (char)(v | 0x80));
  prn_strbuf_char(b, (char)v);
}

void raw_unknown(prn_strbuf *b, const ProtobufCMessage *message) {
  for (unsigned i = 0; i < message->n_unknown_fields; i++) {
    const ProtobufCMessageUnknownField *f = &message->unknown_fields[i];
    raw_varint(b, (uint64_t)f->tag << 3 | (uint64_t)f->wire_type);
    prn_strbuf_bytes(b, f->data, f->len);
  }
}

void raw_field(prn_strbuf *b, unsigned number,
               const ProtobufCMessage *message) {
  size_t size = protobuf_c_message_get_packed_size(message);
  uint8_t *bytes = prn_alloc(size);
  (void)protobuf_c_message_pack(message, bytes);
  raw_varint(b, (uint64_t)number << 3 | 2);
  raw_varint(b, size);
  prn_strbuf_bytes(b, bytes, size);
  prn_free(bytes);
}

/* Can a dictionary say it, behind what it has said? */
static bool can_be_said(const Onnx__StringStringEntryProto *p,
                        const prn_map *said) {
  return p->key && p->value && !p->base.n_unknown_fields &&
         !prn_map_find(said, prn_str_from(p->key));
}

/* From the first entry on that a dictionary cannot say, entries stay as they
 * are, in their order; but for a note that says what the model is. */
const prn_attr *import_props(importer *im, Onnx__StringStringEntryProto **props,
                             size_t n, unsigned number, prn_strbuf *raw) {
  dict d = {0};
  prn_map said = {0};
  bool plain = true;
  for (size_t i = 0; i < n; i++) {
    const Onnx__StringStringEntryProto *p = props[i];
    bool can = can_be_said(p, &said);
    plain = plain && can;
    if (can && (plain || strcmp(p->key, PRN_ORDER_KEY) == 0)) {
      (void)prn_map_slot(&said, prn_str_from(p->key));
      dict_add_text(im, &d, p->key, p->value);
    } else {
      raw_field(raw, number, &p->base);
    }
  }
  prn_map_destroy(&said);
  return dict_done(im, &d);
}

prn_status import_error(importer *im, prn_str subject, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(prn_ctx_diags(im->ctx), PRN_ERROR, im->loc,
                                subject, fmt, ap);
  va_end(ap);
  return s;
}

prn_str import_subject(importer *im, const char *what, const char *name) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%s '%s'", what, name ? name : "");
  prn_str s = prn_intern(im->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  return s;
}
