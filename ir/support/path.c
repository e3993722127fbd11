/* Paths as text. */
#include <string.h>
#include <sys/stat.h>

#include "ir/support/file.h"

bool prn_path_same(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
         x.st_ino == y.st_ino;
}

/* Where the last component of out[from..] starts, or from. */
static size_t last_part(const prn_strbuf *out, size_t from) {
  size_t at = out->size;
  while (at > from && out->data[at - 1] != '/')
    at--;
  return at;
}

static bool is_up(const prn_strbuf *out, size_t at) {
  return out->size - at == 2 && memcmp(out->data + at, "..", 2) == 0;
}

void prn_path_clean(const char *path, prn_strbuf *out) {
  size_t from = out->size;
  if (*path == '/') prn_strbuf_char(out, '/');
  size_t root = out->size;
  while (*path) {
    size_t n = strcspn(path, "/");
    bool up = n == 2 && memcmp(path, "..", 2) == 0;
    size_t last = last_part(out, root);
    bool top = up && root > from && out->size == root;
    if (n == 0 || (n == 1 && *path == '.') || top) {
      /* nothing */
    } else if (up && out->size > root && !is_up(out, last)) {
      out->size = last > root ? last - 1 : root;
      out->data[out->size] = 0;
    } else {
      if (out->size > root) prn_strbuf_char(out, '/');
      prn_strbuf_bytes(out, path, n);
    }
    path += n + (path[n] == '/');
  }
  if (out->size == from) prn_strbuf_char(out, '.');
}
