/* External data: where a tensor's bytes lie in another file.
 *
 * The file must be beneath the model's folder, a regular file reached without
 * symbolic links, and hold the range that is asked for. */
#include "frontends/onnx/importer.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
  const char *location;
  uint64_t offset, length;
  bool has_length;
} place;

/* A decimal number without sign or spaces. */
static bool parse_number(const char *s, uint64_t *out) {
  uint64_t v = 0;
  if (!*s) return false;
  for (; *s; s++) {
    if (*s < '0' || *s > '9') return false;
    if (__builtin_mul_overflow(v, 10, &v) ||
        __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
      return false;
  }
  *out = v;
  return true;
}

static prn_status read_place(importer *im, const Onnx__TensorProto *t,
                             prn_str subject, place *p) {
  unsigned seen[3] = {0};
  for (size_t i = 0; i < t->n_external_data; i++) {
    const char *key = t->external_data[i]->key;
    const char *value = t->external_data[i]->value;
    uint64_t *number = NULL;
    unsigned *count = NULL;
    if (!key || !value) continue;
    if (strcmp(key, "location") == 0) {
      p->location = value;
      count = &seen[0];
    } else if (strcmp(key, "offset") == 0) {
      number = &p->offset;
      count = &seen[1];
    } else if (strcmp(key, "length") == 0) {
      number = &p->length;
      count = &seen[2];
      p->has_length = true;
    }
    if (count && ++*count > 1)
      return import_error(im, subject, "external data has two entries '%s'",
                          key);
    if (number && !parse_number(value, number))
      return import_error(im, subject,
                          "external data %s '%s' is not a number of bytes", key,
                          value);
  }
  if (!p->location)
    return import_error(im, subject, "external data has no location");
  return PRN_OK;
}

/* The folder of the model, "" for the current one. */
static char *folder_of(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t n = slash ? (size_t)(slash - path) : 0;
  if (slash == path) n = 1;
  char *dir = prn_alloc(n + 1);
  memcpy(dir, path, n);
  dir[n] = 0;
  return dir;
}

static prn_file *open_once(importer *im, prn_str subject,
                           const char *location) {
  void **slot = prn_map_find(&im->external, prn_str_from(location));
  if (slot) return *slot;
  prn_file *f;
  char *dir = folder_of(prn_file_path(im->file));
  prn_status status =
      prn_file_open_beneath(prn_ctx_diags(im->ctx), dir, prn_str_from(location),
                            im->loc, subject, &f);
  prn_free(dir);
  if (status != PRN_OK) return NULL;
  *prn_map_slot(&im->external, prn_str_from(location)) = f;
  return f;
}

prn_status import_external(importer *im, const Onnx__TensorProto *t,
                           prn_str subject, size_t size, const prn_blob **out) {
  place p = {0};
  PRN_TRY(read_place(im, t, subject, &p));
  prn_file *f = open_once(im, subject, p.location);
  if (!f) return PRN_FAIL;
  size_t total = prn_file_bytes(f).size;
  if (p.offset > total)
    return import_error(im, subject,
                        "external data starts at byte %llu, but '%s' has %zu",
                        (unsigned long long)p.offset, p.location, total);
  if (!p.has_length) p.length = total - p.offset;
  if (p.length != size)
    return import_error(im, subject,
                        "external data has %llu bytes, but the shape takes "
                        "%zu",
                        (unsigned long long)p.length, size);
  if (p.length > total - p.offset)
    return import_error(im, subject,
                        "external data of %llu bytes at byte %llu ends past "
                        "'%s', which has %zu",
                        (unsigned long long)p.length,
                        (unsigned long long)p.offset, p.location, total);
  *out = prn_blob_from_file(im->ctx, f, p.offset, size);
  return PRN_OK;
}
