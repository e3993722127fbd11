/* Types, tensors and small fields. */
#include <string.h>

#include "backends/onnx/exporter.h"
#include "frontends/onnx/proto/onnx.pb-c.h"

enum {
  PIECE = 1 << 16, /* elements masked at a time */
  SPAN = 4 << 20,  /* bytes written at a time */
};

void export_text(exporter *x, unsigned field, const prn_attr *a) {
  if (a && a->kind == PRN_ATTR_STRING) prn_enc_str(&x->enc, field, a->s);
}

void export_unknown(exporter *x, const prn_attr *a) {
  if (a && a->kind == PRN_ATTR_BYTES)
    prn_enc_raw(&x->enc, a->s.data, a->s.size);
}

void export_props(exporter *x, unsigned field, const prn_attr *dict) {
  for (uint32_t i = 0; dict && dict->kind == PRN_ATTR_DICT && i < dict->size;
       i++) {
    size_t mark = prn_enc_begin(&x->enc, field);
    prn_enc_str(&x->enc, 1, dict->dict[i].name);
    export_text(x, 2, dict->dict[i].value);
    prn_enc_end(&x->enc, mark);
  }
}

/* ---- types ---- */

static void export_dim(exporter *x, prn_dim d) {
  size_t mark = prn_enc_begin(&x->enc, 1);
  int64_t value;
  if (prn_dim_is_const(d, &value)) {
    prn_enc_int(&x->enc, 1, value);
  } else if (d->kind == PRN_DIM_SYM) {
    prn_enc_str(&x->enc, 2, d->name);
  } else if (prn_dim_known(d)) {
    prn_strbuf text = {0};
    prn_dim_print(&text, d);
    prn_enc_str(&x->enc, 2, prn_strbuf_view(&text));
    prn_strbuf_destroy(&text);
  }
  prn_enc_end(&x->enc, mark);
}

/* TypeProto.Tensor and TypeProto.SparseTensor look the same. */
static void export_shaped(exporter *x, unsigned field, const prn_type *t) {
  size_t mark = prn_enc_begin(&x->enc, field);
  prn_enc_int(&x->enc, 1, t->dtype);
  if (t->rank >= 0) {
    size_t shape = prn_enc_begin(&x->enc, 2);
    for (int32_t i = 0; i < t->rank; i++)
      export_dim(x, t->dims[i]);
    prn_enc_end(&x->enc, shape);
  }
  prn_enc_end(&x->enc, mark);
}

static void export_container(exporter *x, unsigned field, const prn_type *t) {
  size_t mark = prn_enc_begin(&x->enc, field);
  if (t->kind == PRN_TYPE_MAP) prn_enc_int(&x->enc, 1, t->dtype);
  export_type(x, t->kind == PRN_TYPE_MAP ? 2 : 1, t->elem);
  prn_enc_end(&x->enc, mark);
}

void export_type(exporter *x, unsigned field, const prn_type *t) {
  if (t->kind == PRN_TYPE_ANY || t->kind == PRN_TYPE_NONE) return;
  size_t mark = prn_enc_begin(&x->enc, field);
  switch (t->kind) {
  case PRN_TYPE_SPARSE_TENSOR:
    export_shaped(x, 8, t);
    break;
  case PRN_TYPE_SEQUENCE:
    export_container(x, 4, t);
    break;
  case PRN_TYPE_OPTIONAL:
    export_container(x, 9, t);
    break;
  case PRN_TYPE_MAP:
    export_container(x, 5, t);
    break;
  default:
    export_shaped(x, 1, t);
    break;
  }
  prn_enc_end(&x->enc, mark);
}

/* ---- tensors ---- */

typedef void put_fn(void *user, const void *data, size_t size);

static void masked_bytes(const prn_tensor *t, put_fn *put, void *user) {
  size_t room;
  int64_t count = prn_tensor_count(t);
  if (!prn_dtype_bytes(t->type->dtype, PIECE, &room)) return;
  unsigned char *piece = prn_alloc(room);
  for (int64_t at = 0; at < count; at += PIECE) {
    int64_t n = count - at < PIECE ? count - at : PIECE;
    size_t size;
    if (!prn_dtype_bytes(t->type->dtype, n, &size)) break;
    prn_tensor_read_bytes(t, at, n, piece);
    put(user, piece, size);
  }
  prn_free(piece);
}

/* What was written is told to go, so that the weights never fill memory. */
void export_tensor_bytes(const prn_tensor *t, put_fn *put, void *user) {
  const prn_blob *b = t->data;
  if (!b || b->size == 0) return;
  if (t->mask) {
    masked_bytes(t, put, user);
    if (b->file) prn_file_done(b->file, b->offset, b->size);
    return;
  }
  for (size_t at = 0; at < b->size; at += SPAN) {
    size_t n = b->size - at < SPAN ? b->size - at : SPAN;
    put(user, (const char *)b->data + at, n);
    if (b->file) prn_file_done(b->file, b->offset + at, n);
  }
}

static void put_raw(void *user, const void *data, size_t size) {
  prn_enc_raw(user, data, size);
}

static void raw_bytes(exporter *x, unsigned field, const prn_tensor *t) {
  size_t size = t->data ? t->data->size : 0;
  prn_enc_header(&x->enc, field, size);
  if (x->enc.out)
    export_tensor_bytes(t, put_raw, &x->enc);
  else
    x->enc.pos += size;
}

/* Integers as varints of the typed fields; sub-byte types byte by byte. */
typedef struct varints {
  prn_encoder *enc;
  prn_dtype dtype;
  uint64_t total;
  bool measure;
} varints;

static uint64_t typed_entry(prn_dtype t, const unsigned char *p) {
  uint64_t v = 0;
  size_t bytes = prn_dtype_bits(t) < 8 ? 1 : prn_dtype_bits(t) / 8;
  memcpy(&v, p, bytes);
  switch (t) {
  case PRN_I8:
    return (uint64_t)(int64_t)(int8_t)v;
  case PRN_I16:
    return (uint64_t)(int64_t)(int16_t)v;
  case PRN_I32:
    return (uint64_t)(int64_t)(int32_t)v;
  default:
    return v;
  }
}

static void put_varints(void *user, const void *data, size_t size) {
  varints *w = user;
  const unsigned char *p = data;
  uint32_t bits = prn_dtype_bits(w->dtype);
  size_t bytes = bits < 8 ? 1 : bits / 8;
  for (size_t i = 0; i < size; i += bytes) {
    uint64_t v = typed_entry(w->dtype, p + i);
    if (w->measure)
      w->total += prn_enc_varint_size(v);
    else
      prn_enc_varint(w->enc, v);
  }
}

/* 6-bit types are packed in memory, but have an entry each here. */
static void typed_six(exporter *x, unsigned field, const prn_tensor *t) {
  int64_t n = prn_tensor_count(t);
  if (n == 0) return;
  prn_enc_header(&x->enc, field, (uint64_t)n);
  for (int64_t i = 0; i < n; i++) {
    bool keep = !t->mask || prn_mask_keeps(t->mask->data, i);
    prn_enc_varint(
        &x->enc, keep ? prn_element_bits(t->type->dtype, t->data->data, i) : 0);
  }
}

static void typed_ints(exporter *x, unsigned field, const prn_tensor *t) {
  if (prn_dtype_bits(t->type->dtype) == 6) {
    typed_six(x, field, t);
    return;
  }
  varints w = {&x->enc, t->type->dtype, 0, true};
  export_tensor_bytes(t, put_varints, &w);
  if (w.total == 0) return;
  prn_enc_header(&x->enc, field, w.total);
  w.measure = false;
  export_tensor_bytes(t, put_varints, &w);
}

/* The field of typed data that an element type uses. */
static unsigned typed_field(prn_dtype t) {
  switch (t) {
  case PRN_F32:
  case PRN_C64:
    return 4;
  case PRN_STRING:
    return 6;
  case PRN_I64:
    return 7;
  case PRN_F64:
  case PRN_C128:
    return 10;
  case PRN_U32:
  case PRN_U64:
    return 11;
  default:
    return 5;
  }
}

static void typed_data(exporter *x, const prn_tensor *t) {
  unsigned field = typed_field(t->type->dtype);
  if (field == 6) {
    int64_t n = prn_tensor_count(t);
    for (int64_t i = 0; i < n; i++)
      prn_enc_str(&x->enc, 6, t->strings[i]);
  } else if (field == 4 || field == 10) {
    if (t->data->size) raw_bytes(x, field, t);
  } else {
    typed_ints(x, field, t);
  }
}

static void external_entry(exporter *x, prn_str key, prn_str value) {
  size_t mark = prn_enc_begin(&x->enc, 13);
  prn_enc_str(&x->enc, 1, key);
  prn_enc_str(&x->enc, 2, value);
  prn_enc_end(&x->enc, mark);
}

static void external_number(exporter *x, const char *key, uint64_t v) {
  prn_strbuf b = {0};
  prn_strbuf_fmt(&b, "%llu", (unsigned long long)v);
  external_entry(x, prn_str_from(key), prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
}

/* The entries that were there, in order, with the numbers of today. A checksum
 * of other bytes than it was made of is left out. */
static void external_entries(exporter *x, const prn_tensor *t,
                             const placed *p) {
  const prn_attr *old = prn_dict_get(t->extra, "external_data");
  prn_str name = x->external.files[p->file].name;
  bool located = false, offset = false, length = false;
  for (uint32_t i = 0; old && i < old->size; i++) {
    prn_str key = old->dict[i].name;
    if (prn_str_is(key, "location")) {
      external_entry(x, key, name);
      located = true;
    } else if (prn_str_is(key, "offset")) {
      external_number(x, "offset", p->offset);
      offset = true;
    } else if (prn_str_is(key, "length")) {
      external_number(x, "length", p->size);
      length = true;
    } else if (!prn_str_is(key, "checksum") || (!t->mask && t->data->file)) {
      external_entry(x, key, old->dict[i].value->s);
    }
  }
  if (!located) external_entry(x, PRN_STR("location"), name);
  if (!offset && p->moved) external_number(x, "offset", p->offset);
  if (!length && p->moved) external_number(x, "length", p->size);
}

static void tensor_data(exporter *x, const prn_tensor *t, bool before_name) {
  unsigned field = typed_field(t->type->dtype);
  if (export_place(x, t)) return;
  switch (t->storage) {
  case PRN_STORE_TYPED:
    if (before_name == (field < 8)) typed_data(x, t);
    break;
  case PRN_STORE_EMPTY:
    if (prn_tensor_count(t) == 0) break; /* nothing was there */
    /* fall through */
  default:
    if (t->strings) {
      if (before_name) typed_data(x, t);
    } else if (!before_name) {
      raw_bytes(x, 9, t);
    }
    break;
  }
}

void export_tensor(exporter *x, unsigned field, const prn_tensor *t,
                   prn_str name) {
  const prn_attr *extra = t->extra;
  const placed *p = export_place(x, t);
  size_t mark = prn_enc_begin(&x->enc, field);
  for (int32_t i = 0; i < t->type->rank; i++) {
    int64_t dim = 0;
    (void)prn_dim_is_const(t->type->dims[i], &dim);
    prn_enc_int(&x->enc, 1, dim);
  }
  prn_enc_int(&x->enc, 2, t->type->dtype);
  tensor_data(x, t, true);
  if (!name.data) name = t->name;
  if (name.size || prn_dict_get(extra, "named")) prn_enc_str(&x->enc, 8, name);
  tensor_data(x, t, false);
  export_text(x, 12, prn_dict_get(extra, "doc_string"));
  const prn_attr *where = prn_dict_get(extra, "data_location");
  if (p)
    external_entries(x, t, p);
  else if (t->storage != PRN_STORE_EXTERNAL) /* entries without effect */
    export_props(x, 13, prn_dict_get(extra, "external_data"));
  if (p)
    prn_enc_int(&x->enc, 14, ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL);
  else if (where && where->kind == PRN_ATTR_INT)
    prn_enc_int(&x->enc, 14, where->i);
  export_props(x, 16, prn_dict_get(extra, "metadata_props"));
  export_unknown(x, prn_dict_get(extra, "unknown"));
  prn_enc_end(&x->enc, mark);
}

void export_sparse(exporter *x, unsigned field, const prn_attr *dict,
                   prn_str name) {
  const prn_attr *dims = prn_dict_get(dict, "dims");
  size_t mark = prn_enc_begin(&x->enc, field);
  export_tensor(x, 1, prn_dict_get(dict, "values")->tensor, name);
  export_tensor(x, 2, prn_dict_get(dict, "indices")->tensor,
                (prn_str){NULL, 0});
  for (uint32_t i = 0; dims && i < dims->size; i++)
    prn_enc_int(&x->enc, 3, dims->ints[i]);
  export_unknown(x, prn_dict_get(dict, "unknown"));
  prn_enc_end(&x->enc, mark);
}
