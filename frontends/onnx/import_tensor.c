/* TensorProto to prn_tensor.
 *
 * raw_data, float_data and double_data are used where they lie in the file.
 * Integers are varints there, and strings are strings; those are decoded. */
#include "frontends/onnx/importer.h"

#include <string.h>

typedef struct reading {
  importer *im;
  const Onnx__TensorProto *t;
  prn_str subject;
  prn_onnx_payload payload;
  prn_dtype dtype;
  int64_t count;
  size_t bytes;        /* 0 for strings */
  prn_onnx_field from; /* PRN_ONNX_FIELDS: none of them */
  prn_tensor out;
} reading;

static const char *const field_names[PRN_ONNX_FIELDS] = {
    "raw_data",   "float_data", "double_data",
    "int32_data", "int64_data", "uint64_data",
};

/* Which typed field holds elements of this type, and how many entries. */
static prn_onnx_field typed_field(prn_dtype t, int64_t count,
                                  int64_t *entries) {
  *entries = count;
  switch (t) {
  case PRN_F32:
    return PRN_ONNX_FLOATS;
  case PRN_C64:
    *entries = 2 * count;
    return PRN_ONNX_FLOATS;
  case PRN_F64:
    return PRN_ONNX_DOUBLES;
  case PRN_C128:
    *entries = 2 * count;
    return PRN_ONNX_DOUBLES;
  case PRN_I64:
    return PRN_ONNX_INT64S;
  case PRN_U32:
  case PRN_U64:
    return PRN_ONNX_UINT64S;
  case PRN_U4:
  case PRN_I4:
  case PRN_F4E2M1:
    *entries = (count + 1) / 2;
    return PRN_ONNX_INT32S;
  case PRN_U2:
  case PRN_I2:
    *entries = (count + 3) / 4;
    return PRN_ONNX_INT32S;
  default:
    return PRN_ONNX_INT32S;
  }
}

static size_t unpacked_entries(const Onnx__TensorProto *t, prn_onnx_field f) {
  switch (f) {
  case PRN_ONNX_FLOATS:
    return t->n_float_data;
  case PRN_ONNX_DOUBLES:
    return t->n_double_data;
  case PRN_ONNX_INT32S:
    return t->n_int32_data;
  case PRN_ONNX_INT64S:
    return t->n_int64_data;
  case PRN_ONNX_UINT64S:
    return t->n_uint64_data;
  default:
    return 0;
  }
}

static prn_status shape(reading *r) {
  const Onnx__TensorProto *t = r->t;
  prn_dim dims[PRN_ONNX_MAX_RANK];
  if (t->data_type <= PRN_DTYPE_NONE || t->data_type >= PRN_DTYPE_COUNT)
    return import_error(r->im, r->subject, "element type %d does not exist",
                        (int)t->data_type);
  if (t->n_dims > PRN_ONNX_MAX_RANK)
    return import_error(r->im, r->subject, "rank %zu is more than %d",
                        t->n_dims, PRN_ONNX_MAX_RANK);
  r->dtype = (prn_dtype)t->data_type;
  r->count = 1;
  bool fits = true, empty = false;
  for (size_t i = 0; i < t->n_dims; i++) {
    if (t->dims[i] < 0)
      return import_error(r->im, r->subject, "dimension %zu is %lld", i,
                          (long long)t->dims[i]);
    dims[i] = prn_dim_const(r->im->ctx, t->dims[i]);
    empty |= t->dims[i] == 0;
    fits = fits && prn_mul_i64(r->count, t->dims[i], &r->count);
  }
  if (empty) r->count = 0;
  if (!empty && (!fits || (r->dtype != PRN_STRING &&
                           !prn_dtype_bytes(r->dtype, r->count, &r->bytes))))
    return import_error(r->im, r->subject, "the shape overflows 64 bits");
  r->out.type = prn_type_tensor(r->im->ctx, r->dtype, (int32_t)t->n_dims, dims);
  return PRN_OK;
}

/* Finds the one field that has data. */
static prn_status find_data(reading *r) {
  const prn_onnx_payload *p = prn_onnx_wire_payload(&r->im->wire, r->t);
  if (p) r->payload = *p;
  r->from = PRN_ONNX_FIELDS;
  const char *first = r->t->n_string_data ? "string_data" : NULL;
  for (int i = 0; i < PRN_ONNX_FIELDS; i++) {
    prn_str span = r->payload.field[i];
    bool there = span.size || unpacked_entries(r->t, (prn_onnx_field)i) ||
                 (i == PRN_ONNX_RAW && span.data);
    if (!there) continue;
    if (first)
      return import_error(r->im, r->subject, "both %s and %s hold data", first,
                          field_names[i]);
    first = field_names[i];
    r->from = (prn_onnx_field)i;
  }
  if (r->t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL &&
      first)
    return import_error(r->im, r->subject,
                        "the data is external, but %s holds some", first);
  return PRN_OK;
}

/* A blob over a span of the file. */
static const prn_blob *in_place(reading *r, prn_str span) {
  prn_str file = prn_file_bytes(r->im->file);
  return prn_blob_from_file(r->im->ctx, r->im->file,
                            (uint64_t)(span.data - file.data), span.size);
}

static prn_status count_error(reading *r, const char *what, int64_t found,
                              int64_t expected) {
  return import_error(
      r->im, r->subject, "%s has %lld %s, but %s takes %lld", what,
      (long long)found, r->from == PRN_ONNX_RAW ? "bytes" : "values",
      prn_type_str(r->im->ctx, r->out.type), (long long)expected);
}

static prn_status take_raw(reading *r) {
  prn_str span = r->payload.field[PRN_ONNX_RAW];
  r->out.storage = PRN_STORE_RAW;
  if (r->dtype == PRN_STRING)
    return import_error(r->im, r->subject, "strings cannot be in raw_data");
  if (span.size != r->bytes)
    return count_error(r, "raw_data", (int64_t)span.size, (int64_t)r->bytes);
  r->out.data = in_place(r, span);
  return PRN_OK;
}

static prn_status take_strings(reading *r) {
  size_t n = r->t->n_string_data;
  prn_arena *a = prn_ctx_arena(r->im->ctx);
  r->out.storage = PRN_STORE_TYPED;
  if (r->dtype != PRN_STRING)
    return import_error(r->im, r->subject, "%s values are in string_data",
                        prn_dtype_name(r->dtype));
  if ((int64_t)n != r->count)
    return count_error(r, "string_data", (int64_t)n, r->count);
  prn_str *strings = PRN_ARENA_ARRAY(a, prn_str, n);
  for (size_t i = 0; i < n; i++) {
    const ProtobufCBinaryData *s = &r->t->string_data[i];
    strings[i] = prn_intern(
        r->im->ctx, (prn_str){s->len ? (const char *)s->data : "", s->len});
  }
  r->out.strings = strings;
  return PRN_OK;
}

/* Entry i of the typed integer field; the span advances. */
static uint64_t next_entry(reading *r, size_t i, prn_str *span) {
  const Onnx__TensorProto *t = r->t;
  uint64_t v = 0;
  if (span->data) {
    size_t n = 0;
    while (n < span->size && (span->data[n] & 0x80))
      n++;
    bool ok = prn_onnx_varints((prn_str){span->data, n + 1}, &v, 1);
    (void)ok; /* the scanner has seen to that */
    span->data += n + 1;
    span->size -= n + 1;
    return v;
  }
  switch (r->from) {
  case PRN_ONNX_INT32S:
    return (uint64_t)(int64_t)t->int32_data[i];
  case PRN_ONNX_INT64S:
    return (uint64_t)t->int64_data[i];
  default:
    return t->uint64_data[i];
  }
}

/* Does v, an entry of r->from, fit the low `bits` bits of the type? */
static bool entry_fits(const reading *r, uint64_t v, uint32_t bits) {
  bool is_signed =
      r->dtype == PRN_I8 || r->dtype == PRN_I16 || r->dtype == PRN_I32;
  int64_t s = (int64_t)(int32_t)(uint32_t)v;
  if (bits == 64) return true;
  if (r->from == PRN_ONNX_UINT64S) return v >> bits == 0;
  if (!is_signed) return s >= 0 && s >> bits == 0;
  return s >= -((int64_t)1 << (bits - 1)) && s < (int64_t)1 << (bits - 1);
}

static prn_status take_ints(reading *r, int64_t entries) {
  uint32_t bits = prn_dtype_bits(r->dtype) < 8 ? 8 : prn_dtype_bits(r->dtype);
  bool six = prn_dtype_bits(r->dtype) == 6; /* packed here, but not there */
  prn_str span = r->payload.field[r->from];
  unsigned char *data = prn_try_alloc(r->bytes);
  if (!data)
    return import_error(r->im, r->subject, "no memory for %zu bytes", r->bytes);
  memset(data, 0, r->bytes);
  r->out.data = prn_blob_take(r->im->ctx, data, r->bytes);
  for (int64_t i = 0; i < entries; i++) {
    uint64_t v = next_entry(r, (size_t)i, &span);
    if (!entry_fits(r, v, six ? 6 : bits))
      return import_error(r->im, r->subject, "%s[%lld] is %lld, not %s",
                          field_names[r->from], (long long)i, (long long)v,
                          prn_dtype_name(r->dtype));
    if (six)
      prn_element_set_bits(r->dtype, data, i, v);
    else
      memcpy(data + (size_t)i * (bits / 8), &v, bits / 8); /* little-endian */
  }
  return PRN_OK;
}

static prn_status take_typed(reading *r) {
  int64_t entries, found;
  prn_onnx_field want = typed_field(r->dtype, r->count, &entries);
  prn_str span = r->payload.field[r->from];
  size_t width = r->from == PRN_ONNX_DOUBLES ? 8 : 4;
  bool is_float = r->from == PRN_ONNX_FLOATS || r->from == PRN_ONNX_DOUBLES;
  r->out.storage = PRN_STORE_TYPED;
  if (r->dtype == PRN_STRING || want != r->from)
    return import_error(r->im, r->subject, "%s values are in %s",
                        prn_dtype_name(r->dtype), field_names[r->from]);
  if (!span.data)
    found = (int64_t)unpacked_entries(r->t, r->from);
  else if (is_float)
    found = (int64_t)(span.size / width);
  else
    found = (int64_t)prn_onnx_count_varints(span);
  if (found != entries)
    return count_error(r, field_names[r->from], found, entries);
  if (!is_float) return take_ints(r, entries);
  const void *array = r->from == PRN_ONNX_DOUBLES
                          ? (const void *)r->t->double_data
                          : (const void *)r->t->float_data;
  r->out.data = span.data ? in_place(r, span)
                          : prn_blob_copy(r->im->ctx, array, r->bytes);
  return PRN_OK;
}

static prn_status take_data(reading *r) {
  if (r->t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
    r->out.storage = PRN_STORE_EXTERNAL;
    if (r->dtype == PRN_STRING)
      return import_error(r->im, r->subject, "strings cannot be external");
    return import_external(r->im, r->t, r->subject, r->bytes, &r->out.data);
  }
  if (r->t->n_string_data) return take_strings(r);
  if (r->from == PRN_ONNX_RAW) return take_raw(r);
  if (r->from != PRN_ONNX_FIELDS) return take_typed(r);
  r->out.storage = PRN_STORE_EMPTY;
  if (r->count != 0)
    return import_error(r->im, r->subject, "%s has no data",
                        prn_type_str(r->im->ctx, r->out.type));
  if (r->dtype != PRN_STRING) r->out.data = prn_blob_copy(r->im->ctx, "", 0);
  return PRN_OK;
}

/* The external_data entries as a dictionary, in order. */
static void take_external_info(reading *r, dict *extra, prn_strbuf *raw) {
  const Onnx__TensorProto *t = r->t;
  dict_add(extra, "external_data",
           import_props(r->im, t->external_data, t->n_external_data, 13, raw));
}

static const prn_attr *extra_fields(reading *r) {
  const Onnx__TensorProto *t = r->t;
  prn_ctx *ctx = r->im->ctx;
  dict extra = {0};
  prn_strbuf raw = {0};
  if (t->name && !*t->name) dict_add(&extra, "named", prn_attr_unit(ctx));
  dict_add_text(r->im, &extra, "doc_string", t->doc_string);
  take_external_info(r, &extra, &raw);
  if (t->has_data_location &&
      t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
    dict_add(&extra, "data_location", prn_attr_int(ctx, t->data_location));
  if (t->segment) raw_field(&raw, 3, &t->segment->base);
  dict_add(
      &extra, "metadata_props",
      import_props(r->im, t->metadata_props, t->n_metadata_props, 16, &raw));
  raw_unknown(&raw, &t->base);
  dict_add_bytes(r->im, &extra, "unknown", &raw);
  return dict_done(r->im, &extra);
}

const prn_tensor *import_tensor(importer *im, const Onnx__TensorProto *t,
                                prn_str subject) {
  reading r = {.im = im, .t = t, .subject = subject};
  if (shape(&r) != PRN_OK || find_data(&r) != PRN_OK || take_data(&r) != PRN_OK)
    return NULL;
  r.out.name = prn_intern(im->ctx, prn_str_from(t->name));
  r.out.extra = extra_fields(&r);
  return prn_tensor_clone(im->ctx, &r.out);
}

/* ---- sparse tensors ---- */

/* Indices must lie in the dense shape and ascend. */
static prn_status check_indices(importer *im, prn_str subject,
                                const Onnx__SparseTensorProto *s,
                                const prn_tensor *indices, int64_t nnz) {
  const prn_type *t = indices->type;
  size_t rank = s->n_dims, width = t->rank == 2 ? rank : 1;
  int64_t last = -1, dense = 1, index[PRN_ONNX_MAX_RANK], cols = 1;
  for (size_t i = 0; i < rank; i++)
    if (s->dims[i] < 0 || !prn_mul_i64(dense, s->dims[i], &dense))
      return import_error(im, subject, "the dense shape is malformed");
  bool ok = t->dtype == PRN_I64 && (t->rank == 1 || t->rank == 2) &&
            prn_tensor_count(indices) == nnz * (int64_t)width;
  if (ok && t->rank == 2)
    ok = prn_dim_is_const(t->dims[1], &cols) && cols == (int64_t)rank;
  if (!ok)
    return import_error(im, subject,
                        "indices are %s, but %lld values of rank %zu need "
                        "tensor<%lldxi64> or tensor<%lldx%zuxi64>",
                        prn_type_str(im->ctx, t), (long long)nnz, rank,
                        (long long)nnz, (long long)nnz, rank);
  for (int64_t i = 0; i < nnz; i++) {
    int64_t at = 0;
    prn_tensor_read_i64(indices, i * (int64_t)width, (int64_t)width, index);
    for (size_t k = 0; k < width; k++) {
      int64_t limit = width == rank && t->rank == 2 ? s->dims[k] : dense;
      if (index[k] < 0 || index[k] >= limit)
        return import_error(
            im, subject, "index %lld of value %lld is outside of %lld",
            (long long)index[k], (long long)i, (long long)limit);
      at = at * limit + index[k];
    }
    if (at <= last)
      return import_error(im, subject, "indices do not ascend at value %lld",
                          (long long)i);
    last = at;
  }
  return PRN_OK;
}

const prn_attr *import_sparse(importer *im, const Onnx__SparseTensorProto *s,
                              prn_str subject) {
  if (!s->values || !s->indices) {
    (void)import_error(im, subject, "the sparse tensor has no %s",
                       s->values ? "indices" : "values");
    return NULL;
  }
  const prn_tensor *values = import_tensor(im, s->values, subject);
  const prn_tensor *indices = import_tensor(im, s->indices, subject);
  if (!values || !indices) return NULL;
  if (s->n_dims > PRN_ONNX_MAX_RANK || values->type->rank != 1) {
    (void)import_error(im, subject, "sparse values are %s of a dense rank %zu",
                       prn_type_str(im->ctx, values->type), s->n_dims);
    return NULL;
  }
  if (check_indices(im, subject, s, indices, prn_tensor_count(values)) !=
      PRN_OK)
    return NULL;
  dict d = {0};
  prn_strbuf raw = {0};
  dict_add(&d, "values", prn_attr_tensor(im->ctx, values));
  dict_add(&d, "indices", prn_attr_tensor(im->ctx, indices));
  dict_add(&d, "dims", prn_attr_ints(im->ctx, s->dims, s->n_dims));
  raw_unknown(&raw, &s->base);
  dict_add_bytes(im, &d, "unknown", &raw);
  return dict_done(im, &d);
}
