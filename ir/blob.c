#include "ir/blob.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  SCRATCH_FROM = 1 << 16, /* below this the heap is cheaper */
  SCRATCH_ALIGN = 64,
  PIECE = 8 << 20, /* the file grows by this, or by what one blob needs */
};

static prn_blob *make(prn_ctx *ctx, prn_blob b) {
  return prn_arena_copy(prn_ctx_arena(ctx), &b, sizeof b);
}

static void release_file(void *p) { prn_file_release(p); }

const prn_blob *prn_blob_from_file(prn_ctx *ctx, prn_file *file,
                                   uint64_t offset, size_t size) {
  prn_ctx_on_destroy(ctx, release_file, prn_file_retain(file));
  return make(
      ctx, (prn_blob){prn_file_bytes(file).data + offset, size, file, offset});
}

const prn_blob *prn_blob_copy(prn_ctx *ctx, const void *data, size_t size) {
  void *p = prn_alloc(size);
  if (size) memcpy(p, data, size);
  return prn_blob_take(ctx, p, size);
}

const prn_blob *prn_blob_take(prn_ctx *ctx, void *data, size_t size) {
  prn_ctx_on_destroy(ctx, prn_free, data);
  return make(ctx, (prn_blob){data, size, NULL, 0});
}

/* ---- scratch ---- */

/* One nameless file for all scratch blobs of a context, mapped piece by piece:
 * making and removing a file takes longer than filling it. */
typedef struct piece {
  struct piece *next;
  char *data;
  size_t size;
} piece;

typedef struct scratch {
  int fd;
  size_t file_size;
  char *at, *end; /* what is left of the last piece */
  piece *pieces;
} scratch;

static void close_scratch(void *p) {
  scratch *s = p;
  for (piece *q = s->pieces; q; q = q->next)
    (void)munmap(q->data, q->size);
  (void)close(s->fd);
}

static int open_nameless(void) {
  const char *dir = getenv("TMPDIR");
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/prune-XXXXXX", dir && *dir ? dir : "/tmp");
  int fd = mkstemp(path.data);
  if (fd >= 0) (void)unlink(path.data);
  prn_strbuf_destroy(&path);
  return fd;
}

static scratch *scratch_of(prn_ctx *ctx) {
  void **slot = prn_ctx_scratch(ctx);
  if (*slot) return *slot;
  int fd = open_nameless();
  if (fd < 0) return NULL;
  scratch *s = PRN_ARENA_NEW(prn_ctx_arena(ctx), scratch);
  s->fd = fd;
  *slot = s;
  prn_ctx_on_destroy(ctx, close_scratch, s);
  return s;
}

/* Room in the file is taken before it is mapped: a full disk is an error here,
 * not a signal later. */
static bool add_piece(prn_ctx *ctx, scratch *s, size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), rounded;
  if (!prn_add_size(size, page - 1, &rounded)) return false;
  rounded = rounded / page * page;
  size_t want = rounded < PIECE ? PIECE : rounded;
  off_t from = (off_t)s->file_size;
  if (posix_fallocate(s->fd, from, (off_t)want) != 0) {
    want = rounded;
    if (posix_fallocate(s->fd, from, (off_t)want) != 0) return false;
  }
  void *p = mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, from);
  if (p == MAP_FAILED) return false;
  piece *q = PRN_ARENA_NEW(prn_ctx_arena(ctx), piece);
  *q = (piece){s->pieces, p, want};
  s->pieces = q;
  s->file_size += want;
  s->at = p;
  s->end = s->at + want;
  return true;
}

static void *map_scratch(prn_ctx *ctx, size_t size) {
  scratch *s = scratch_of(ctx);
  if (!s) return NULL;
  if ((size_t)(s->end - s->at) < size && !add_piece(ctx, s, size)) return NULL;
  char *p = s->at;
  size_t left = (size_t)(s->end - s->at);
  size_t padded = (size + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
  s->at += padded < left ? padded : left;
  return p;
}

prn_status prn_blob_scratch(prn_ctx *ctx, size_t size, const prn_blob **out,
                            void **out_data) {
  bool small = size < SCRATCH_FROM;
  void *p = small ? prn_try_alloc(size ? size : 1) : map_scratch(ctx, size);
  *out = NULL;
  *out_data = p;
  if (!p)
    return prn_diag_emit(prn_ctx_diags(ctx), PRN_ERROR, (prn_loc){0},
                         (prn_str){0},
                         "no room for a scratch file of %zu bytes", size);
  if (small) {
    memset(p, 0, size);
    *out = prn_blob_take(ctx, p, size);
    return PRN_OK;
  }
  *out = make(ctx, (prn_blob){p, size, NULL, 0});
  return PRN_OK;
}
