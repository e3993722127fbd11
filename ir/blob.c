#include "ir/blob.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SCRATCH_FROM = 1 << 16 }; /* below this the heap is cheaper */

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

static void unmap(void *p) {
  const prn_blob *b = p;
  (void)munmap((void *)(uintptr_t)b->data, b->size);
}

static void *map_scratch(size_t size) {
  const char *dir = getenv("TMPDIR");
  prn_strbuf path = {0};
  prn_strbuf_fmt(&path, "%s/prune-XXXXXX", dir && *dir ? dir : "/tmp");
  int fd = mkstemp(path.data);
  void *p = MAP_FAILED;
  if (fd >= 0) {
    (void)unlink(path.data);
    if (posix_fallocate(fd, 0, (off_t)size) == 0)
      p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
  }
  prn_strbuf_destroy(&path);
  return p == MAP_FAILED ? NULL : p;
}

prn_status prn_blob_scratch(prn_ctx *ctx, size_t size, const prn_blob **out,
                            void **out_data) {
  bool small = size < SCRATCH_FROM;
  void *p = small ? prn_try_alloc(size ? size : 1) : map_scratch(size);
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
  prn_blob *b = make(ctx, (prn_blob){p, size, NULL, 0});
  prn_ctx_on_destroy(ctx, unmap, b);
  *out = b;
  return PRN_OK;
}
