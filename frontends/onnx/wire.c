/* The wire scanner; see wire.h. Reference: the protocol buffers encoding.
 *
 * The scanner knows the schema from protobuf-c's own descriptors, so there is
 * one description of ONNX. It copies what it accepts into a skeleton, with
 * message lengths as varints of fixed width that are filled in afterwards, and
 * tensor payloads replaced by an index. Errors that leave the reader in step
 * (NUL in a name, a field given twice) do not stop it; the others do. */
#include "frontends/onnx/wire.h"

#include <string.h>

#include "frontends/onnx/pool.h"
#include "ir/support/arena.h"

enum {
  MAX_DEPTH = 100,
  MAX_ERRORS = 100, /* finding the path of each costs time */
  LENGTH_BYTES = 5, /* width of the lengths the scanner writes */
  MAX_VARINT = 10,
  TYPE_VARINT = 0,
  TYPE_64 = 1,
  TYPE_BYTES = 2,
  TYPE_START_GROUP = 3,
  TYPE_END_GROUP = 4,
  TYPE_32 = 5,
  MAX_FIELD = 536870911,
  FIRST_BUDGET = 64 << 20, /* bytes every file may unpack to, and ... */
  BUDGET_FACTOR = 32,      /* ... this much more for each skeleton byte */
};
/* protobuf-c reads messages below 2 GB; no graph comes near this. */
static const size_t max_skeleton = (size_t)1 << 30;

typedef const unsigned char *cursor;

/* A message that is being read; the chain of them is the path in errors. */
typedef struct frame {
  const struct frame *parent;
  const ProtobufCMessageDescriptor *desc;
  const ProtobufCFieldDescriptor *field; /* what is being read, or NULL */
  cursor start, at, end;
  uint64_t seen; /* fields by index */
  prn_onnx_payload *payload;
  prn_onnx_payload spans;
  int depth;
} frame;

typedef struct scan {
  prn_diag_sink *sink;
  const char *file;
  cursor base;
  bool failed, stopped;
  int errors;
  struct {
    char *data;
    size_t size, cap;
  } out;
  prn_onnx_payload *payloads;
  size_t num_payloads, cap_payloads;
  prn_strbuf training;
} scan;

/* ---- varints ---- */

/* Bytes of the varint at p, 0 when it is cut off, too long or too large. */
static size_t read_varint(cursor p, cursor end, uint64_t *out) {
  uint64_t v = 0;
  for (size_t i = 0; i < MAX_VARINT && p + i < end; i++) {
    v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
    if (p[i] & 0x80) continue;
    if (i == MAX_VARINT - 1 && p[i] > 1) return 0;
    *out = v;
    return i + 1;
  }
  return 0;
}

size_t prn_onnx_count_varints(prn_str span) {
  size_t n = 0;
  for (size_t i = 0; i < span.size; i++)
    n += !(span.data[i] & 0x80);
  return n;
}

bool prn_onnx_varints(prn_str span, uint64_t *out, size_t n) {
  cursor p = (cursor)span.data, end = p + span.size;
  for (size_t i = 0; i < n; i++) {
    size_t used = read_varint(p, end, &out[i]);
    if (used == 0) return false;
    p += used;
  }
  return p == end;
}

/* ---- errors ---- */

/* How many fields with this number precede f->at in its message. */
static size_t index_in(const frame *f) {
  size_t n = 0;
  for (cursor p = f->start; p < f->at;) {
    uint64_t tag = 0, v = 0;
    p += read_varint(p, f->at, &tag);
    if (tag >> 3 == f->field->id) n++;
    switch (tag & 7) {
    case TYPE_64:
      p += 8;
      break;
    case TYPE_32:
      p += 4;
      break;
    case TYPE_BYTES:
      p += read_varint(p, f->at, &v) + v;
      break;
    default:
      p += read_varint(p, f->at, &v);
      break;
    }
  }
  return n;
}

/* "graph.node[3].attribute[0].t", without the root message's own name. */
static void path_of(const frame *f, prn_strbuf *b) {
  if (!f || !f->field) return;
  path_of(f->parent, b);
  if (b->size) prn_strbuf_char(b, '.');
  prn_strbuf_cstr(b, f->field->name);
  if (f->field->label == PROTOBUF_C_LABEL_REPEATED)
    prn_strbuf_fmt(b, "[%zu]", index_in(f));
}

PRN_PRINTF(4, 5)
static void error(scan *s, const frame *f, cursor at, const char *fmt, ...) {
  prn_strbuf path = {0}, text = {0};
  va_list ap;
  path_of(f->field ? f : f->parent, &path);
  va_start(ap, fmt);
  prn_strbuf_vfmt(&text, fmt, ap);
  va_end(ap);
  s->failed = true;
  if (++s->errors == MAX_ERRORS) s->stopped = true;
  (void)prn_diag_emit(s->sink, PRN_ERROR, (prn_loc){.file = s->file},
                      PRN_STR(""), "byte %zu%s%s: %s", (size_t)(at - s->base),
                      path.size ? ", in " : "", path.size ? path.data : "",
                      text.data);
  prn_strbuf_destroy(&path);
  prn_strbuf_destroy(&text);
}

/* ---- the skeleton ---- */

static void put(scan *s, const frame *f, const void *data, size_t size) {
  if (s->stopped) return;
  if (s->out.cap - s->out.size < size) {
    size_t cap = s->out.cap ? s->out.cap * 2 : 4096;
    while (cap - s->out.size < size)
      cap *= 2;
    char *grown = cap <= max_skeleton ? prn_try_alloc(cap) : NULL;
    if (!grown) {
      error(s, f, f->at, "%s",
            cap <= max_skeleton ? "out of memory"
                                : "the model without its weights is too large");
      s->stopped = true;
      return;
    }
    if (s->out.size) memcpy(grown, s->out.data, s->out.size);
    prn_free(s->out.data);
    s->out.data = grown;
    s->out.cap = cap;
  }
  if (size) memcpy(s->out.data + s->out.size, data, size);
  s->out.size += size;
}

static void put_varint(scan *s, const frame *f, uint64_t v) {
  unsigned char buf[MAX_VARINT];
  size_t n = 0;
  for (; v >= 0x80; v >>= 7)
    buf[n++] = (unsigned char)(v | 0x80);
  buf[n++] = (unsigned char)v;
  put(s, f, buf, n);
}

static void put_tag(scan *s, const frame *f, uint32_t id, unsigned type) {
  put_varint(s, f, (uint64_t)id << 3 | type);
}

/* Fills in a length that LENGTH_BYTES were left for. */
static void patch_length(scan *s, size_t at) {
  if (s->stopped) return;
  size_t v = s->out.size - at - LENGTH_BYTES;
  for (size_t i = 0; i < LENGTH_BYTES; i++, v >>= 7)
    s->out.data[at + i] =
        (char)((v & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
}

/* ---- payloads ---- */

static int payload_field(const frame *f, uint32_t id) {
  if (f->desc != &onnx__tensor_proto__descriptor) return -1;
  switch (id) {
  case 9:
    return PRN_ONNX_RAW;
  case 4:
    return PRN_ONNX_FLOATS;
  case 10:
    return PRN_ONNX_DOUBLES;
  case 5:
    return PRN_ONNX_INT32S;
  case 7:
    return PRN_ONNX_INT64S;
  case 11:
    return PRN_ONNX_UINT64S;
  default:
    return -1;
  }
}

static void drop_in(scan *s, frame *f, const ProtobufCFieldDescriptor *field,
                    prn_str bytes) {
  put_tag(s, f, field->id, TYPE_BYTES);
  put_varint(s, f, bytes.size);
  put(s, f, bytes.data, bytes.size);
}

/* Takes the span out of the tensor. A repeated field in several pieces goes
 * back into the skeleton, where protobuf-c joins them in order. */
static bool lift(scan *s, frame *f, int which, bool again, prn_str bytes) {
  prn_str *slot = &f->spans.field[which];
  if (!again) {
    *slot = bytes;
    return true;
  }
  if (slot->data) drop_in(s, f, f->field, *slot);
  *slot = (prn_str){NULL, 0};
  return false;
}

/* At the end of a tensor: files what was lifted. */
static void file_payload(scan *s, frame *f) {
  bool any = false;
  for (int i = 0; i < PRN_ONNX_FIELDS; i++)
    any |= f->spans.field[i].data != NULL;
  if (!any) return;
  if (s->num_payloads == s->cap_payloads) {
    s->cap_payloads = s->cap_payloads ? s->cap_payloads * 2 : 64;
    s->payloads = prn_realloc(
        s->payloads, prn_array_size(sizeof *s->payloads, s->cap_payloads));
  }
  s->payloads[s->num_payloads] = f->spans;
  put_tag(s, f, MAX_FIELD, TYPE_VARINT);
  put_varint(s, f, s->num_payloads++);
}

/* ---- the walk ---- */

static void scan_message(scan *s, frame *f);

static const char *type_name(unsigned type) {
  static const char *const names[] = {"a varint", "8 bytes", "a length",
                                      "a group",  "a group", "4 bytes"};
  return type < PRN_COUNT(names) ? names[type] : "an unknown wire type";
}

static unsigned wire_type(const ProtobufCFieldDescriptor *field) {
  switch (field->type) {
  case PROTOBUF_C_TYPE_FLOAT:
    return TYPE_32;
  case PROTOBUF_C_TYPE_DOUBLE:
    return TYPE_64;
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_BYTES:
  case PROTOBUF_C_TYPE_MESSAGE:
    return TYPE_BYTES;
  default:
    return TYPE_VARINT;
  }
}

/* Reports a second value of a field or of a one-of that may have one. */
static bool is_repeat(scan *s, frame *f, cursor tag) {
  const ProtobufCFieldDescriptor *field = f->field, *fields = f->desc->fields;
  uint64_t bit = UINT64_C(1) << (field - fields);
  bool again = f->seen & bit;
  f->seen |= bit;
  if (field->label == PROTOBUF_C_LABEL_REPEATED) return again;
  if (again) error(s, f, tag, "the field is given twice");
  if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)) return again;
  for (unsigned i = 0; i < f->desc->n_fields; i++)
    if (&fields[i] != field && (f->seen >> i & 1) &&
        (fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
        fields[i].quantifier_offset == field->quantifier_offset)
      error(s, f, tag, "both %s and %s are given", fields[i].name, field->name);
  return again;
}

/* Is the content of a packed field whole elements? */
static bool packed_ok(const ProtobufCFieldDescriptor *field, prn_str bytes) {
  if (wire_type(field) == TYPE_32) return bytes.size % 4 == 0;
  if (wire_type(field) == TYPE_64) return bytes.size % 8 == 0;
  uint64_t v;
  cursor p = (cursor)bytes.data, end = p + bytes.size;
  while (p < end) {
    size_t used = read_varint(p, end, &v);
    if (used == 0) return false;
    p += used;
  }
  return true;
}

static void scan_submessage(scan *s, frame *f, prn_str bytes) {
  frame sub = {
      .parent = f,
      .desc = f->field->descriptor,
      .start = (cursor)bytes.data,
      .at = (cursor)bytes.data,
      .end = (cursor)bytes.data + bytes.size,
      .depth = f->depth + 1,
  };
  if (sub.depth > MAX_DEPTH) {
    error(s, f, sub.at, "messages are nested deeper than %d", MAX_DEPTH);
    s->stopped = true;
    return;
  }
  size_t before = s->out.size, payloads = s->num_payloads;
  put_tag(s, f, f->field->id, TYPE_BYTES);
  size_t length = s->out.size;
  put(s, f, "\0\0\0\0\0", LENGTH_BYTES);
  scan_message(s, &sub);
  if (sub.desc == &onnx__tensor_proto__descriptor) file_payload(s, &sub);
  patch_length(s, length);
  if (sub.desc != &onnx__training_info_proto__descriptor) return;
  s->out.size = before;
  s->num_payloads = payloads;
  prn_strbuf_bytes(&s->training, f->at, (size_t)(sub.end - f->at));
}

/* A field of the schema that has a length. f->at is its tag. */
static void scan_bytes(scan *s, frame *f, prn_str bytes) {
  const ProtobufCFieldDescriptor *field = f->field;
  bool again = is_repeat(s, f, f->at);
  int which = payload_field(f, field->id);
  if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
    scan_submessage(s, f, bytes);
    return;
  }
  if (field->type == PROTOBUF_C_TYPE_STRING && bytes.size &&
      memchr(bytes.data, 0, bytes.size))
    error(s, f, (cursor)bytes.data, "the string holds a NUL byte");
  if (wire_type(field) != TYPE_BYTES && !packed_ok(field, bytes)) {
    error(s, f, (cursor)bytes.data, "the packed values are malformed");
    s->stopped = true;
    return;
  }
  if (which >= 0 && lift(s, f, which, again, bytes)) return;
  drop_in(s, f, field, bytes);
}

/* Moves *p over the value of a field, false when it is cut off. A value with
 * a length is returned as a span. */
static bool read_value(unsigned type, cursor *p, cursor end, prn_str *bytes) {
  uint64_t v;
  size_t left = (size_t)(end - *p), used = type == TYPE_64 ? 8 : 4;
  if (type == TYPE_VARINT || type == TYPE_BYTES)
    used = read_varint(*p, end, &v);
  if (used == 0 || used > left) return false;
  *p += used;
  if (type != TYPE_BYTES) return true;
  *bytes = (prn_str){(const char *)*p, (size_t)v};
  if (v > left - used) return false;
  *p += v;
  return true;
}

static void value_error(scan *s, frame *f, unsigned type, cursor p) {
  uint64_t v = 0;
  size_t used = type == TYPE_BYTES ? read_varint(p, f->end, &v) : 0;
  s->stopped = true;
  if (type == TYPE_START_GROUP || type == TYPE_END_GROUP)
    error(s, f, f->at, "groups are not part of ONNX");
  else if (type > TYPE_32)
    error(s, f, f->at, "wire type %u does not exist", type);
  else if (used)
    error(s, f, p,
          "a length of %llu bytes runs past the end, %zu bytes are left",
          (unsigned long long)v, (size_t)(f->end - p) - used);
  else
    error(s, f, p, "%s is cut off or malformed", type_name(type));
}

/* Reads the field at f->at. */
static void scan_field(scan *s, frame *f) {
  uint64_t tag = 0;
  prn_str bytes = {NULL, 0};
  cursor p = f->at;
  size_t used = read_varint(p, f->end, &tag);
  unsigned type = tag & 7;
  f->field = NULL;
  if (used == 0 || tag >> 3 == 0 || tag >> 3 > MAX_FIELD) {
    error(s, f, p, "a field number is cut off or malformed");
    s->stopped = true;
    return;
  }
  p += used;
  f->field =
      protobuf_c_message_descriptor_get_field(f->desc, (unsigned)(tag >> 3));
  if (type == TYPE_START_GROUP || type == TYPE_END_GROUP || type > TYPE_32 ||
      !read_value(type, &p, f->end, &bytes)) {
    value_error(s, f, type, f->at + used);
    return;
  }
  if (f->field && (tag >> 3) == MAX_FIELD) {
    error(s, f, f->at, "field number %d is reserved", MAX_FIELD);
    s->stopped = true;
  } else if (!f->field) { /* unknown: kept as it is */
    put(s, f, f->at, (size_t)(p - f->at));
  } else if (type == TYPE_BYTES &&
             (wire_type(f->field) == TYPE_BYTES ||
              f->field->label == PROTOBUF_C_LABEL_REPEATED)) {
    scan_bytes(s, f, bytes);
  } else if (type != wire_type(f->field)) {
    error(s, f, f->at, "expected %s, found %s", type_name(wire_type(f->field)),
          type_name(type));
    s->stopped = true;
  } else {
    int which = payload_field(f, f->field->id);
    (void)is_repeat(s, f, f->at);
    if (which >= 0) (void)lift(s, f, which, true, bytes);
    put(s, f, f->at, (size_t)(p - f->at));
  }
  f->at = p;
}

static void scan_message(scan *s, frame *f) {
  while (f->at < f->end && !s->stopped)
    scan_field(s, f);
  f->field = NULL;
}

/* ---- the result ---- */

static prn_status unpack(scan *s, const ProtobufCMessageDescriptor *type,
                         prn_onnx_wire *w) {
  size_t budget = FIRST_BUDGET + BUDGET_FACTOR * s->out.size;
  w->pool = prn_onnx_pool_create(budget);
  ProtobufCAllocator allocator = prn_onnx_pool_allocator(w->pool);
  w->root = protobuf_c_message_unpack(type, &allocator, s->out.size,
                                      (const uint8_t *)s->out.data);
  if (w->root) return PRN_OK;
  const char *why = "the model is malformed";
  if (prn_onnx_pool_exhausted(w->pool))
    why = "the model without its weights is too large";
  if (prn_onnx_pool_starved(w->pool)) why = "out of memory";
  return prn_diag_emit(s->sink, PRN_ERROR, (prn_loc){.file = s->file},
                       PRN_STR(""), "%s", why);
}

prn_status prn_onnx_wire_read(prn_diag_sink *sink, const char *file,
                              prn_str bytes,
                              const ProtobufCMessageDescriptor *type,
                              prn_onnx_wire *out) {
  cursor base = (cursor)bytes.data;
  scan s = {.sink = sink, .file = file, .base = base};
  frame root = {.desc = type,
                .start = base,
                .at = base,
                .end = base + bytes.size,
                .depth = 1};
  *out = (prn_onnx_wire){0};
  scan_message(&s, &root);
  if (type == &onnx__tensor_proto__descriptor) file_payload(&s, &root);
  out->payloads = s.payloads;
  out->num_payloads = s.num_payloads;
  out->training = s.training;
  prn_status status = s.failed ? PRN_FAIL : unpack(&s, type, out);
  prn_free(s.out.data);
  if (status != PRN_OK) prn_onnx_wire_destroy(out);
  return status;
}

void prn_onnx_wire_destroy(prn_onnx_wire *w) {
  prn_free(w->payloads);
  prn_strbuf_destroy(&w->training);
  prn_onnx_pool_destroy(w->pool);
  *w = (prn_onnx_wire){0};
}

const prn_onnx_payload *prn_onnx_wire_payload(const prn_onnx_wire *w,
                                              const Onnx__TensorProto *t) {
  return t->has_lifted ? &w->payloads[t->lifted] : NULL;
}
