/* Profiles in files; the format is in ir/profile.h. */
#include <math.h>
#include <string.h>

#include "ir/profile_block.h"
#include "ir/support/xxh64.h"

enum {
  VERSION = 2,
  OLD = 1, /* version */
  HEADER = 32,
  OLD_HEADER = 24,
  RECORD = 48, /* before the window */
  OLD_RECORD = 32,
  CHECKSUM = 8,
  PAIRED = 1, /* flag */
};

static const char magic[] = "PRNPROF\n";

/* ---- reading ---- */

typedef struct reader {
  prn_diag_sink *sink;
  const char *path;
  const char *data;
  size_t at, size; /* without the checksum */
  uint64_t version;
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

/* A window of `axes` axes from its words; numbers too large for one are none
 * that a window has. */
static bool read_window(const char *p, uint64_t axes, uint64_t same,
                        prn_profile_window *w) {
  int64_t *lists[] = {w->kernel, w->strides, w->dilations, w->pads,
                      w->pads + axes};
  *w = (prn_profile_window){.axes = (int32_t)axes, .same = (int32_t)same};
  if (axes == 0) return same == 0;
  if (same > PRN_WINDOW_SAME_LOWER) return false;
  w->groups = (int64_t)get(p, 8);
  for (size_t l = 0; l < PRN_COUNT(lists); l++)
    for (size_t i = 0; i < axes; i++)
      lists[l][i] = (int64_t)get(p + 8 * (1 + l * axes + i), 8);
  return prn_window_valid(w);
}

/* What comes before the numbers, and how many bytes it takes; 0 when it is
 * malformed. */
static size_t read_head(const reader *r, prn_observation *o) {
  const char *p = r->data + r->at;
  size_t left = r->size - r->at, head = r->version == OLD ? OLD_RECORD : RECORD;
  uint64_t axes = 0, same = 0, block, name = get(p, 4),
           channels = get(p + 8, 8), count = get(p + 16, 8);
  *o = (prn_observation){.axis = (int32_t)(uint32_t)get(p + 4, 4)};
  if (r->version == OLD) {
    if (get(p + 24, 4) > 1 || get(p + 28, 4) != 0) return 0;
    block = get(p + 24, 4) ? channels : 0;
  } else {
    block = get(p + 24, 8);
    axes = get(p + 32, 4);
    same = get(p + 36, 4);
    if (get(p + 40, 4) > (block ? PAIRED : 0) || get(p + 44, 4) != 0) return 0;
    o->paired = get(p + 40, 4) & PAIRED;
  }
  if (axes > PRN_WINDOW_AXES) return 0;
  const char *window = p + head;
  if (axes) head += 8 * (1 + 5 * axes);
  if (head > left || !read_window(window, axes, same, &o->window)) return 0;
  left -= head;
  if (name == 0 || name > left || padded(name) > left ||
      channels > left / sizeof(double) || count == 0 || count > INT64_MAX ||
      block > channels)
    return 0;
  o->value = (prn_str){p + head, name};
  o->channels = (int64_t)channels;
  o->count = (int64_t)count;
  o->block = (int64_t)block;
  return head + padded(name);
}

/* One observation; the space behind r->at is checked before it is used. */
static prn_status read_record(reader *r, uint32_t number) {
  prn_observation head;
  size_t doubles, bytes = 0, least = r->version == OLD ? OLD_RECORD : RECORD;
  if (r->size - r->at < least)
    return fail(r, "the file ends in observation %u", (unsigned)number);
  bytes = read_head(r, &head);
  if (!bytes || !prn_profile_block_size(&head, &doubles) ||
      prn_observation_group(&head) < head.block ||
      (head.window.axes &&
       prn_observation_group(&head) % prn_window_places(&head.window) != 0) ||
      doubles > (r->size - r->at - bytes) / sizeof(double))
    return fail(r, "observation %u is malformed", (unsigned)number);
  if (r->version == OLD && r->out->size == 0)
    r->out->block = head.block ? PRN_PROFILE_FULL : 0;
  if (head.block > r->out->block ||
      (r->version == OLD && !head.block != !r->out->block) ||
      prn_profile_find_window(r->out, head.value, head.axis, &head.window))
    return fail(r, "observation %u contradicts another", (unsigned)number);
  size_t place =
      prn_profile_add_window(r->out, head.value, head.axis, &head.window);
  prn_observation *o = &r->out->at[place];
  o->channels = head.channels;
  o->count = head.count;
  o->block = head.block;
  o->paired = head.paired;
  r->at += bytes;
  prn_profile_place(o, (const double *)(const void *)(r->data + r->at));
  r->at += doubles * sizeof(double);
  if (!plausible(o, doubles))
    return fail(r, "'%.*s' has statistics that cannot be",
                PRN_STR_ARG(o->value));
  return PRN_OK;
}

static prn_status read_all(reader *r) {
  if (r->size < sizeof magic - 1 || memcmp(r->data, magic, sizeof magic - 1))
    return fail(r, "not a profile");
  if (r->size < OLD_HEADER + CHECKSUM)
    return fail(r, "the profile is cut short");
  r->version = get(r->data + 8, 4);
  uint32_t n = (uint32_t)get(r->data + 12, 4);
  if (r->version != VERSION && r->version != OLD)
    return fail(r,
                "the profile is of version %llu; this tool reads versions %d "
                "and %d",
                (unsigned long long)r->version, (int)OLD, (int)VERSION);
  r->size -= CHECKSUM;
  if (prn_xxh64(r->data, r->size, 0) != get(r->data + r->size, CHECKSUM))
    return fail(r, "the profile is damaged: its checksum does not match");
  r->out->model = get(r->data + 16, 8);
  r->at = r->version == OLD ? OLD_HEADER : HEADER;
  if (r->version == VERSION) {
    if (r->size < HEADER) return fail(r, "the profile is cut short");
    uint64_t block = get(r->data + OLD_HEADER, 8);
    if (block > INT64_MAX) return fail(r, "the profile's header is malformed");
    r->out->block = (int64_t)block;
  }
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

static void put_window(prn_strbuf *b, const prn_profile_window *w) {
  const int64_t *lists[] = {w->kernel, w->strides, w->dilations, w->pads,
                            w->pads + w->axes};
  if (w->axes == 0) return;
  put(b, (uint64_t)w->groups, 8);
  for (size_t l = 0; l < PRN_COUNT(lists); l++)
    for (int32_t i = 0; i < w->axes; i++)
      put(b, (uint64_t)lists[l][i], 8);
}

static void write_record(writer *w, const prn_observation *o) {
  prn_strbuf b = {0};
  size_t doubles;
  put(&b, o->value.size, 4);
  put(&b, (uint32_t)o->axis, 4);
  put(&b, (uint64_t)o->channels, 8);
  put(&b, (uint64_t)o->count, 8);
  put(&b, (uint64_t)prn_observation_block(o), 8);
  put(&b, (uint32_t)o->window.axes, 4);
  put(&b, (uint32_t)o->window.same, 4);
  put(&b, o->cross ? PAIRED : 0, 4);
  put(&b, 0, 4);
  put_window(&b, &o->window);
  prn_strbuf_str(&b, o->value);
  put(&b, 0, (int)(padded(o->value.size) - o->value.size));
  write_bytes(w, b.data, b.size);
  prn_strbuf_destroy(&b);
  if (prn_profile_block_size(o, &doubles))
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
  put(&head, (uint64_t)p->block, 8);
  write_bytes(&w, head.data, head.size);
  for (size_t i = 0; i < p->size; i++)
    if (p->at[i].count) write_record(&w, &p->at[i]);
  put(&tail, prn_xxh64_end(&w.sum), CHECKSUM);
  prn_out_write(w.out, tail.data, tail.size);
  prn_strbuf_destroy(&head);
  prn_strbuf_destroy(&tail);
  return prn_out_commit(w.out);
}
