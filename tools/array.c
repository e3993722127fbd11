/* Arrays and the NPY format. The ZIP container is in tools/npz.c. */
#include "tools/array.h"

#include <stdlib.h>
#include <string.h>

#include "ir/support/file.h"
#include "tools/npy.h"

enum { SHOWN = 200 /* bytes of a header in a message */ };

static const struct {
  const char *descr;
  prn_dtype dtype;
} descrs[] = {
    {"|b1", PRN_BOOL}, {"|i1", PRN_I8},    {"|u1", PRN_U8},  {"<i2", PRN_I16},
    {"<u2", PRN_U16},  {"<i4", PRN_I32},   {"<u4", PRN_U32}, {"<i8", PRN_I64},
    {"<u8", PRN_U64},  {"<f2", PRN_F16},   {"<f4", PRN_F32}, {"<f8", PRN_F64},
    {"<c8", PRN_C64},  {"<c16", PRN_C128},
};

bool prn_array_init(prn_array *a, prn_str name, prn_dtype dtype, int32_t rank,
                    const int64_t *dims) {
  *a = (prn_array){.name = name, .dtype = dtype, .rank = rank, .count = 1};
  if (rank < 0 || rank > PRN_ARRAY_MAX_RANK) return false;
  for (int32_t i = 0; i < rank; i++) {
    a->dims[i] = dims[i];
    if (dims[i] < 0 || !prn_mul_i64(a->count, dims[i], &a->count)) return false;
  }
  if (!prn_dtype_bytes(dtype, a->count, &a->bytes)) return false;
  a->data = prn_try_alloc(a->bytes);
  if (a->data) memset(a->data, 0, a->bytes ? a->bytes : 1);
  return a->data != NULL;
}

bool prn_array_copy(const prn_array *a, prn_array *out) {
  if (!prn_array_init(out, a->name, a->dtype, a->rank, a->dims)) return false;
  memcpy(out->data, a->data, a->bytes);
  return true;
}

void prn_array_destroy(prn_array *a) {
  prn_free(a->data);
  *a = (prn_array){0};
}

void prn_arrays_destroy(prn_arrays *list) {
  for (size_t i = 0; i < list->size; i++)
    prn_array_destroy(&list->items[i]);
  prn_free(list->items);
  *list = (prn_arrays){0};
}

void prn_arrays_add(prn_arrays *list, prn_array a) {
  size_t bytes = prn_array_size(sizeof a, list->size + 1);
  list->items = prn_realloc(list->items, bytes);
  list->items[list->size++] = a;
}

prn_array *prn_arrays_find(const prn_arrays *list, prn_str name) {
  for (size_t i = 0; i < list->size; i++)
    if (prn_str_eq(list->items[i].name, name)) return &list->items[i];
  return NULL;
}

/* ---- reading the header: a Python dictionary literal ---- */

typedef struct header {
  prn_dtype dtype;
  bool fortran;
  int32_t rank;
  int64_t dims[PRN_ARRAY_MAX_RANK];
} header;

/* The text after 'key': in the dictionary, or NULL. */
static const char *value_of(prn_str text, const char *key) {
  prn_strbuf quoted = {0};
  prn_strbuf_fmt(&quoted, "'%s':", key);
  const char *p = memmem(text.data, text.size, quoted.data, quoted.size);
  if (p) p += quoted.size;
  prn_strbuf_destroy(&quoted);
  while (p && p < text.data + text.size && *p == ' ')
    p++;
  return p && p < text.data + text.size ? p : NULL;
}

static bool read_shape(const char *p, const char *end, header *h) {
  if (*p++ != '(') return false;
  while (p < end && *p != ')') {
    int64_t v = 0;
    bool digit = false;
    for (; p < end && *p >= '0' && *p <= '9'; p++, digit = true)
      if (!prn_mul_i64(v, 10, &v) || !prn_add_i64(v, *p - '0', &v))
        return false;
    if (!digit || h->rank == PRN_ARRAY_MAX_RANK) return false;
    h->dims[h->rank++] = v;
    while (p < end && (*p == ',' || *p == ' '))
      p++;
  }
  return p < end;
}

static bool read_header(prn_str text, header *h) {
  const char *descr = value_of(text, "descr"), *end = text.data + text.size;
  const char *order = value_of(text, "fortran_order");
  const char *shape = value_of(text, "shape");
  if (!descr || !order || !shape || *descr != '\'') return false;
  descr++;
  for (size_t i = 0; i < PRN_COUNT(descrs); i++) {
    size_t n = strlen(descrs[i].descr);
    if ((size_t)(end - descr) > n && descr[n] == '\'' &&
        memcmp(descr, descrs[i].descr, n) == 0)
      h->dtype = descrs[i].dtype;
  }
  h->fortran = *order == 'T';
  return h->dtype != PRN_DTYPE_NONE && read_shape(shape, end, h);
}

/* Splits an NPY file into header text and data; false when it is not one. */
static bool split_npy(prn_str bytes, prn_str *text, prn_str *data) {
  const unsigned char *p = (const unsigned char *)bytes.data;
  size_t n, at;
  if (bytes.size < 10 || memcmp(p, "\x93NUMPY", 6) != 0) return false;
  if (p[6] == 1) {
    n = (size_t)p[8] | (size_t)p[9] << 8;
    at = 10;
  } else {
    if (bytes.size < 12 || p[6] > 3) return false;
    n = (size_t)p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 |
        (size_t)p[11] << 24;
    at = 12;
  }
  if (n > bytes.size - at) return false;
  *text = (prn_str){bytes.data + at, n};
  *data = (prn_str){bytes.data + at + n, bytes.size - at - n};
  return true;
}

prn_status prn_npy_decode(prn_diag_sink *sink, const char *path,
                          prn_str subject, prn_str bytes, prn_array *out) {
  header h = {0};
  prn_str text, data;
  prn_loc loc = {.file = path};
  *out = (prn_array){0};
  if (!split_npy(bytes, &text, &data))
    return prn_diag_emit(sink, PRN_ERROR, loc, subject,
                         "not a .npy array (no NUMPY header)");
  if (!read_header(text, &h))
    return prn_diag_emit(sink, PRN_ERROR, loc, subject,
                         "unsupported .npy header: %.*s%s",
                         (int)(text.size < SHOWN ? text.size : SHOWN),
                         text.data, text.size > SHOWN ? "..." : "");
  if (h.fortran && h.rank > 1)
    return prn_diag_emit(sink, PRN_ERROR, loc, subject,
                         "the array is in Fortran order; save it with "
                         "numpy.ascontiguousarray");
  prn_array probe = {.count = 1};
  bool fits = true;
  for (int32_t i = 0; i < h.rank; i++)
    fits = fits && prn_mul_i64(probe.count, h.dims[i], &probe.count);
  fits = fits && prn_dtype_bytes(h.dtype, probe.count, &probe.bytes);
  if (!fits || probe.bytes != data.size)
    return prn_diag_emit(sink, PRN_ERROR, loc, subject,
                         "the shape needs %s%zu bytes but the file has %zu",
                         fits ? "" : "more than ", probe.bytes, data.size);
  if (!prn_array_init(out, PRN_STR(""), h.dtype, h.rank, h.dims))
    return prn_diag_emit(sink, PRN_ERROR, loc, subject,
                         "no memory for %zu bytes", probe.bytes);
  if (data.size) memcpy(out->data, data.data, data.size);
  return PRN_OK;
}

void prn_npy_header(const prn_array *a, prn_strbuf *out) {
  const char *descr = "|u1"; /* bytes of a type NumPy does not have */
  prn_strbuf dict = {0};
  for (size_t i = 0; i < PRN_COUNT(descrs); i++)
    if (descrs[i].dtype == a->dtype) descr = descrs[i].descr;
  if (a->dtype == PRN_BF16) descr = "<u2";
  prn_strbuf_fmt(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                 descr);
  for (int32_t i = 0; i < a->rank; i++)
    prn_strbuf_fmt(&dict, "%lld,%s", (long long)a->dims[i],
                   i + 1 < a->rank ? " " : "");
  prn_strbuf_cstr(&dict, "), }");
  while ((10 + dict.size + 1) % 64)
    prn_strbuf_char(&dict, ' ');
  prn_strbuf_char(&dict, '\n');
  prn_strbuf_bytes(out, "\x93NUMPY\x01\x00", 8);
  prn_strbuf_char(out, (char)(dict.size & 255));
  prn_strbuf_char(out, (char)(dict.size >> 8));
  prn_strbuf_str(out, prn_strbuf_view(&dict));
  prn_strbuf_destroy(&dict);
}

prn_status prn_array_load_npy(prn_ctx *ctx, const char *path, prn_array *out) {
  prn_file *file = NULL;
  PRN_TRY(prn_file_open(prn_ctx_diags(ctx), path, &file));
  prn_status status =
      prn_npy_decode(prn_ctx_diags(ctx), prn_intern_cstr(ctx, path).data,
                     PRN_STR(""), prn_file_bytes(file), out);
  prn_file_release(file);
  return status;
}
