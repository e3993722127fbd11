/* NPZ: a ZIP archive (PKWARE APPNOTE) of .npy members, stored or deflated,
 * with ZIP64 sizes. Reading starts from the central directory at the end. */
#include <string.h>
#include <zlib.h>

#include "ir/support/file.h"
#include "tools/npy.h"

enum {
  LOCAL_SIZE = 30,
  CENTRAL_SIZE = 46,
  END_SIZE = 22,
  END64_SIZE = 56,
  LOCATOR64_SIZE = 20,
  ZIP64_EXTRA = 1,
  MAX_RATIO = 1100, /* deflate cannot do better than 1032:1 */
};

typedef struct member {
  prn_str name;
  uint32_t method, crc;
  uint64_t packed, size, header; /* offset of the local header */
} member;

typedef struct archive {
  prn_ctx *ctx;
  const char *path;
  prn_str bytes;
  uint64_t left; /* bytes that no member has taken */
} archive;

static uint64_t get(const char *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++)
    v |= (uint64_t)(unsigned char)p[i] << 8 * i;
  return v;
}

PRN_PRINTF(3, 4)
static prn_status fail(const archive *z, prn_str subject, const char *fmt,
                       ...) {
  va_list ap;
  va_start(ap, fmt);
  prn_status s = prn_diag_vemit(prn_ctx_diags(z->ctx), PRN_ERROR,
                                (prn_loc){.file = z->path}, subject, fmt, ap);
  va_end(ap);
  return s;
}

static bool in_file(const archive *z, uint64_t offset, uint64_t size) {
  return offset <= z->bytes.size && size <= z->bytes.size - offset;
}

/* Finds the central directory: its offset and number of members. */
static bool find_directory(const archive *z, uint64_t *offset,
                           uint64_t *count) {
  const char *p = z->bytes.data;
  if (z->bytes.size < END_SIZE) return false;
  size_t at = z->bytes.size - END_SIZE, stop = at > 65535 ? at - 65535 : 0;
  while (get(p + at, 4) != 0x06054b50) {
    if (at == stop) return false;
    at--;
  }
  *count = get(p + at + 10, 2);
  *offset = get(p + at + 16, 4);
  if (*offset != UINT32_MAX && *count != UINT16_MAX) return true;
  if (at < LOCATOR64_SIZE || get(p + at - LOCATOR64_SIZE, 4) != 0x07064b50)
    return false;
  uint64_t end64 = get(p + at - LOCATOR64_SIZE + 8, 8);
  if (!in_file(z, end64, END64_SIZE) || get(p + end64, 4) != 0x06064b50)
    return false;
  *count = get(p + end64 + 32, 8);
  *offset = get(p + end64 + 48, 8);
  return true;
}

/* ZIP64 sizes replace those that are all ones, in order. */
static void read_extra(const char *p, size_t n, member *m) {
  while (n >= 4) {
    size_t id = get(p, 2), size = get(p + 2, 2), at = 4;
    if (size > n - 4) return;
    uint64_t *fields[3] = {&m->size, &m->packed, &m->header};
    for (int i = 0; id == ZIP64_EXTRA && i < 3; i++)
      if (*fields[i] == UINT32_MAX && at + 8 <= size + 4) {
        *fields[i] = get(p + at, 8);
        at += 8;
      }
    p += size + 4;
    n -= size + 4;
  }
}

static bool read_central(const archive *z, uint64_t *at, member *m) {
  if (!in_file(z, *at, CENTRAL_SIZE)) return false;
  const char *p = z->bytes.data + *at;
  if (get(p, 4) != 0x02014b50) return false;
  size_t name = get(p + 28, 2), extra = get(p + 30, 2), note = get(p + 32, 2);
  *m = (member){.name = {p + CENTRAL_SIZE, name},
                .method = (uint32_t)get(p + 10, 2),
                .crc = (uint32_t)get(p + 16, 4),
                .packed = get(p + 20, 4),
                .size = get(p + 24, 4),
                .header = get(p + 42, 4)};
  uint64_t total = CENTRAL_SIZE + name + extra + note;
  if (!in_file(z, *at, total) || memchr(p + CENTRAL_SIZE, 0, name))
    return false;
  read_extra(p + CENTRAL_SIZE + name, extra, m);
  *at += total;
  return true;
}

static uint32_t crc_of(uint32_t crc, const char *p, size_t n) {
  while (n) {
    uInt part = n > (1u << 30) ? (1u << 30) : (uInt)n;
    crc = (uint32_t)crc32(crc, (const Bytef *)p, part);
    p += part;
    n -= part;
  }
  return crc;
}

static bool inflate_all(prn_str in, char *out, size_t size) {
  z_stream s = {0};
  if (inflateInit2(&s, -MAX_WBITS) != Z_OK) return false;
  size_t at = 0, done = 0;
  int rc = Z_OK;
  while (rc == Z_OK) { /* zlib counts in 32 bits */
    size_t give = in.size - at, room = size - done;
    if (give > UINT32_MAX / 2) give = UINT32_MAX / 2;
    if (room > UINT32_MAX / 2) room = UINT32_MAX / 2;
    s.next_in = (Bytef *)(uintptr_t)(in.data + at);
    s.avail_in = (uInt)give;
    s.next_out = (Bytef *)out + done;
    s.avail_out = (uInt)room;
    rc = inflate(&s, Z_NO_FLUSH);
    at += give - s.avail_in;
    done += room - s.avail_out;
    if (give == s.avail_in && room == s.avail_out) break;
  }
  (void)inflateEnd(&s);
  return rc == Z_STREAM_END && done == size;
}

static prn_status decode_bytes(const archive *z, const member *m, prn_str bytes,
                               prn_array *out) {
  if (crc_of(0, bytes.data, bytes.size) != m->crc)
    return fail(z, m->name, "damaged: its checksum does not match");
  return prn_npy_decode(prn_ctx_diags(z->ctx), z->path, m->name, bytes, out);
}

static prn_status decode_member(const archive *z, const member *m,
                                prn_str packed, prn_array *out) {
  if (m->method == 0) {
    if (m->size != m->packed)
      return fail(z, m->name, "a stored member has two sizes");
    return decode_bytes(z, m, packed, out);
  }
  if (m->method != Z_DEFLATED)
    return fail(z, m->name, "compression method %u is not supported",
                (unsigned)m->method);
  if (m->size / MAX_RATIO > m->packed)
    return fail(z, m->name, "claims to inflate %llu bytes to %llu",
                (unsigned long long)m->packed, (unsigned long long)m->size);
  char *buf = prn_try_alloc(m->size);
  if (!buf) return fail(z, m->name, "no memory to inflate it");
  prn_status status = PRN_OK;
  if (!inflate_all(packed, buf, m->size))
    status = fail(z, m->name, "broken compressed data");
  else
    status = decode_bytes(z, m, (prn_str){buf, m->size}, out);
  prn_free(buf);
  return status;
}

static prn_status read_member(archive *z, const member *m, prn_arrays *out) {
  prn_array a;
  if (!in_file(z, m->header, LOCAL_SIZE) ||
      get(z->bytes.data + m->header, 4) != 0x04034b50)
    return fail(z, m->name, "no member where the directory says");
  const char *p = z->bytes.data + m->header;
  uint64_t data = m->header + LOCAL_SIZE + get(p + 26, 2) + get(p + 28, 2);
  if (!in_file(z, data, m->packed))
    return fail(z, m->name, "the member does not fit into the file");
  /* The same bytes many times would inflate to any size. */
  if (m->packed > z->left) return fail(z, m->name, "members overlap");
  z->left -= m->packed;
  prn_str packed = {z->bytes.data + data, m->packed};
  PRN_TRY(decode_member(z, m, packed, &a));
  prn_str name = m->name;
  if (prn_str_ends(name, ".npy")) name.size -= 4;
  a.name = prn_intern(z->ctx, name);
  prn_arrays_add(out, a);
  return PRN_OK;
}

prn_status prn_arrays_load_npz(prn_ctx *ctx, const char *path,
                               prn_arrays *out) {
  prn_file *file = NULL;
  uint64_t at = 0, count = 0;
  PRN_TRY(prn_file_open(prn_ctx_diags(ctx), path, &file));
  archive z = {ctx, prn_intern_cstr(ctx, path).data, prn_file_bytes(file),
               prn_file_bytes(file).size};
  prn_status status = PRN_OK;
  if (!find_directory(&z, &at, &count))
    status = fail(&z, PRN_STR(""), "not an .npz archive");
  for (uint64_t i = 0; status == PRN_OK && i < count; i++) {
    member m;
    status = read_central(&z, &at, &m)
                 ? read_member(&z, &m, out)
                 : fail(&z, PRN_STR(""), "broken archive directory");
  }
  prn_file_release(file);
  return status;
}

/* ---- writing ---- */

static void put(prn_strbuf *b, uint64_t v, size_t n) {
  for (size_t i = 0; i < n; i++)
    prn_strbuf_char(b, (char)(v >> 8 * i));
}

/* Fields that local and central headers share, ZIP64 always. */
static void put_common(prn_strbuf *b, uint32_t crc, size_t name) {
  put(b, 45, 2); /* version needed: ZIP64 */
  put(b, 0, 2);
  put(b, 0, 2);    /* stored */
  put(b, 0, 2);    /* time: midnight */
  put(b, 0x21, 2); /* date: 1980-01-01, so that bytes do not depend on it */
  put(b, crc, 4);
  put(b, UINT32_MAX, 4);
  put(b, UINT32_MAX, 4);
  put(b, name, 2);
}

static void write_array(prn_out *o, const prn_array *a, prn_strbuf *central) {
  prn_strbuf npy = {0}, name = {0}, local = {0};
  uint64_t at = prn_out_offset(o);
  prn_npy_header(a, &npy);
  prn_strbuf_fmt(&name, "%.*s.npy", PRN_STR_ARG(a->name));
  uint32_t crc = crc_of(0, npy.data, npy.size);
  crc = crc_of(crc, a->data, a->bytes);
  uint64_t size = npy.size + a->bytes;
  put(&local, 0x04034b50, 4);
  put_common(&local, crc, name.size);
  put(&local, 20, 2);
  prn_strbuf_str(&local, prn_strbuf_view(&name));
  put(&local, ZIP64_EXTRA, 2);
  put(&local, 16, 2);
  put(&local, size, 8);
  put(&local, size, 8);
  prn_out_write(o, local.data, local.size);
  prn_out_write(o, npy.data, npy.size);
  prn_out_write(o, a->data, a->bytes);
  put(central, 0x02014b50, 4);
  put(central, 45, 2);
  put_common(central, crc, name.size);
  put(central, 28, 2);
  put(central, 0, 8); /* no note, disk 0, attributes */
  put(central, 0, 2);
  put(central, UINT32_MAX, 4);
  prn_strbuf_str(central, prn_strbuf_view(&name));
  put(central, ZIP64_EXTRA, 2);
  put(central, 24, 2);
  put(central, size, 8);
  put(central, size, 8);
  put(central, at, 8);
  prn_strbuf_destroy(&npy);
  prn_strbuf_destroy(&name);
  prn_strbuf_destroy(&local);
}

static void write_end(prn_out *o, const prn_strbuf *central, size_t count) {
  prn_strbuf end = {0};
  uint64_t at = prn_out_offset(o);
  prn_out_write(o, central->data, central->size);
  put(&end, 0x06064b50, 4);
  put(&end, END64_SIZE - 12, 8);
  put(&end, 45, 2);
  put(&end, 45, 2);
  put(&end, 0, 8); /* this disk, the directory's disk */
  put(&end, count, 8);
  put(&end, count, 8);
  put(&end, central->size, 8);
  put(&end, at, 8);
  put(&end, 0x07064b50, 4);
  put(&end, 0, 4);
  put(&end, at + central->size, 8);
  put(&end, 1, 4);
  put(&end, 0x06054b50, 4);
  put(&end, 0, 4);
  put(&end, UINT16_MAX, 2);
  put(&end, UINT16_MAX, 2);
  put(&end, UINT32_MAX, 4);
  put(&end, UINT32_MAX, 4);
  put(&end, 0, 2);
  prn_out_write(o, end.data, end.size);
  prn_strbuf_destroy(&end);
}

prn_status prn_arrays_save_npz(prn_ctx *ctx, const char *path,
                               const prn_arrays *arrays) {
  prn_out *o = NULL;
  prn_strbuf central = {0};
  PRN_TRY(prn_out_open(prn_ctx_diags(ctx), path, &o));
  for (size_t i = 0; i < arrays->size; i++)
    write_array(o, &arrays->items[i], &central);
  write_end(o, &central, arrays->size);
  prn_strbuf_destroy(&central);
  return prn_out_commit(o);
}
