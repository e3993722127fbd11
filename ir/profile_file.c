/* Profiles in files; the format is in ir/profile.h. */
#include <math.h>
#include <string.h>

#include "ir/profile_block.h"
#include "ir/support/xxh64.h"

enum {
  VERSION = 1,
  HEADER = 24,
  RECORD = 32, /* before the name */
  CHECKSUM = 8,
  MOMENTS = 1, /* flag */
};

static const char magic[] = "PRNPROF\n";

/* ---- reading ---- */

typedef struct reader {
  prn_diag_sink *sink;
  const char *path;
  const char *data;
  size_t at, size; /* without the checksum */
  prn_profile *out;
} reader;

static uint64_t get(const char *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++)
    v |= (uint64_t)(unsigned char)p[i] << 8 * i;
  return v;
}

PRN_PRINTF(2, 3)
static prn_status fail(const reader *r, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(r->sink, PRN_ERROR, (prn_loc){.file = r->path},
                                PRN_STR(""), fmt, ap);
  va_end(ap);
  return s;
}

static size_t padded(size_t n) { return (n + 7) & ~(size_t)7; }

/* Finite numbers, variances and absolutes not below 0, shares in [0, 1]. */
static bool plausible(const prn_observation *o, size_t doubles) {
  for (size_t i = 0; i < doubles; i++)
    if (!isfinite(o->mean[i])) return false;
  for (int64_t i = 0; i < o->channels; i++)
    if (o->variance[i] < 0 || o->absolute[i] < 0 || o->positive[i] < 0 ||
        o->positive[i] > 1)
      return false;
  return true;
}

/* One observation; the space behind r->at is checked before it is used. */
static prn_status read_record(reader *r, uint32_t number) {
  const char *p = r->data + r->at;
  size_t left = r->size - r->at, doubles;
  if (left < RECORD)
    return fail(r, "the file ends in observation %u", (unsigned)number);
  size_t name = get(p, 4), flags = get(p + 24, 4);
  int32_t axis = (int32_t)(uint32_t)get(p + 4, 4);
  uint64_t channels = get(p + 8, 8), count = get(p + 16, 8);
  left -= RECORD;
  if (name == 0 || name > left || padded(name) > left || flags > MOMENTS ||
      get(p + 28, 4) != 0 || channels > left / sizeof(double) || count == 0 ||
      count > INT64_MAX ||
      !prn_profile_block_size((int64_t)channels, flags & MOMENTS, &doubles) ||
      doubles > (left - padded(name)) / sizeof(double))
    return fail(r, "observation %u is malformed", (unsigned)number);
  prn_str value = {p + RECORD, name};
  if (r->out->size == 0) r->out->full = flags & MOMENTS;
  if (r->out->full != (bool)(flags & MOMENTS) ||
      prn_profile_find(r->out, value, axis))
    return fail(r, "observation %u contradicts another", (unsigned)number);
  size_t place = prn_profile_add(r->out, value, axis);
  prn_observation *o = &r->out->at[place];
  o->channels = (int64_t)channels;
  o->count = (int64_t)count;
  r->at += RECORD + padded(name);
  prn_profile_place(o, (const double *)(const void *)(r->data + r->at),
                    r->out->full);
  r->at += doubles * sizeof(double);
  if (!plausible(o, doubles))
    return fail(r, "'%.*s' has statistics that cannot be", PRN_STR_ARG(value));
  return PRN_OK;
}

static prn_status read_all(reader *r) {
  if (r->size < sizeof magic - 1 || memcmp(r->data, magic, sizeof magic - 1))
    return fail(r, "not a profile");
  if (r->size < HEADER + CHECKSUM) return fail(r, "the profile is cut short");
  uint64_t version = get(r->data + 8, 4);
  uint32_t n = (uint32_t)get(r->data + 12, 4);
  if (version != VERSION)
    return fail(r, "the profile is of version %llu; this tool reads version %d",
                (unsigned long long)version, (int)VERSION);
  r->size -= CHECKSUM;
  if (prn_xxh64(r->data, r->size, 0) != get(r->data + r->size, CHECKSUM))
    return fail(r, "the profile is damaged: its checksum does not match");
  r->out->model = get(r->data + 16, 8);
  r->at = HEADER;
  for (uint32_t i = 0; i < n; i++)
    PRN_TRY(read_record(r, i));
  if (r->at != r->size)
    return fail(r, "%zu bytes follow the last observation", r->size - r->at);
  return PRN_OK;
}

prn_status prn_profile_read_file(prn_diag_sink *sink, prn_file *file,
                                 prn_profile *out) {
  prn_str bytes = prn_file_bytes(file);
  *out =
      (prn_profile){.path = prn_file_path(file), .file = prn_file_retain(file)};
  reader r = {.sink = sink,
              .path = prn_file_path(file),
              .data = bytes.data,
              .size = bytes.size,
              .out = out};
  prn_status status = read_all(&r);
  if (status != PRN_OK) prn_profile_clear(out);
  return status;
}

prn_status prn_profile_read(prn_diag_sink *sink, const char *path,
                            prn_profile *out) {
  prn_file *file;
  *out = (prn_profile){0};
  PRN_TRY(prn_file_open(sink, path, &file));
  prn_status status = prn_profile_read_file(sink, file, out);
  prn_file_release(file);
  return status;
}

/* ---- writing ---- */

static void put(prn_strbuf *b, uint64_t v, int n) {
  for (int i = 0; i < n; i++)
    prn_strbuf_char(b, (char)(v >> 8 * i));
}

typedef struct writer {
  prn_out *out;
  prn_xxh64_state sum;
} writer;

static void write_bytes(writer *w, const void *data, size_t size) {
  prn_xxh64_add(&w->sum, data, size);
  prn_out_write(w->out, data, size);
}

static void write_record(writer *w, const prn_observation *o, bool full) {
  prn_strbuf b = {0};
  size_t doubles;
  put(&b, o->value.size, 4);
  put(&b, (uint32_t)o->axis, 4);
  put(&b, (uint64_t)o->channels, 8);
  put(&b, (uint64_t)o->count, 8);
  put(&b, full ? MOMENTS : 0, 4);
  put(&b, 0, 4);
  prn_strbuf_str(&b, o->value);
  put(&b, 0, (int)(padded(o->value.size) - o->value.size));
  write_bytes(w, b.data, b.size);
  prn_strbuf_destroy(&b);
  if (prn_profile_block_size(o->channels, full, &doubles))
    write_bytes(w, o->mean, doubles * sizeof(double));
}

prn_status prn_profile_write(prn_diag_sink *sink, const prn_profile *p,
                             const char *path) {
  writer w;
  prn_strbuf head = {0}, tail = {0};
  uint32_t n = 0;
  PRN_TRY(prn_out_open(sink, path, &w.out));
  prn_xxh64_begin(&w.sum, 0);
  for (size_t i = 0; i < p->size; i++)
    n += p->at[i].count > 0;
  prn_strbuf_cstr(&head, magic);
  put(&head, VERSION, 4);
  put(&head, n, 4);
  put(&head, p->model, 8);
  write_bytes(&w, head.data, head.size);
  for (size_t i = 0; i < p->size; i++)
    if (p->at[i].count) write_record(&w, &p->at[i], p->full);
  put(&tail, prn_xxh64_end(&w.sum), CHECKSUM);
  prn_out_write(w.out, tail.data, tail.size);
  prn_strbuf_destroy(&head);
  prn_strbuf_destroy(&tail);
  return prn_out_commit(w.out);
}
