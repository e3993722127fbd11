#include "ir/support/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ir/support/arena.h"

enum { STDIN_CHUNK = 1 << 16 };

struct prn_file {
  atomic_uint refs;
  char *data; /* mapping, heap (stdin), or NULL when empty */
  size_t size;
  bool mapped;
  prn_file *whole; /* what this is a part of, or NULL */
  char *path;
};

static char *copy_bytes(const char *s, size_t n) {
  char *p = prn_alloc(n + 1);
  memcpy(p, s, n);
  p[n] = 0;
  return p;
}

static prn_file *new_file(prn_str path) {
  prn_file *f = prn_alloc(sizeof *f);
  *f = (prn_file){.path = copy_bytes(path.data, path.size)};
  atomic_init(&f->refs, 1);
  return f;
}

/* Maps fd, which stays the caller's. Returns NULL or why it failed. */
static const char *map_fd(int fd, prn_file *f) {
  struct stat st;
  if (fstat(fd, &st) != 0) return strerror(errno);
  if (S_ISDIR(st.st_mode)) return "is a directory";
  if (!S_ISREG(st.st_mode)) return "is not a regular file";
  if (st.st_size == 0) return NULL;
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) return strerror(errno);
  f->data = p;
  f->size = (size_t)st.st_size;
  f->mapped = true;
  return NULL;
}

/* Reads fd to its end into memory. Returns NULL or why it failed. */
static const char *slurp(int fd, prn_file *f) {
  size_t cap = 0;
  for (;;) {
    if (f->size == cap) {
      size_t more = cap ? cap * 2 : STDIN_CHUNK;
      char *p = prn_try_alloc(more);
      if (!p) return "out of memory";
      if (f->size) memcpy(p, f->data, f->size);
      prn_free(f->data);
      f->data = p;
      cap = more;
    }
    ssize_t n = read(fd, f->data + f->size, cap - f->size);
    if (n == 0) return NULL;
    if (n > 0)
      f->size += (size_t)n;
    else if (errno != EINTR)
      return strerror(errno);
  }
}

/* Standard input redirected from a file is mapped like any other file. */
static const char *read_stdin(prn_file *f) {
  struct stat st;
  if (fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode) &&
      lseek(STDIN_FILENO, 0, SEEK_CUR) == 0)
    return map_fd(STDIN_FILENO, f);
  return slurp(STDIN_FILENO, f);
}

prn_status prn_file_open(prn_diag_sink *sink, const char *path,
                         prn_file **out) {
  prn_str name = prn_str_from(path);
  prn_file *f = new_file(name);
  const char *why;
  *out = NULL;
  if (strcmp(path, "-") == 0) {
    why = read_stdin(f);
  } else { /* O_NONBLOCK: opening a FIFO must not wait for a writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    why = fd < 0 ? strerror(errno) : map_fd(fd, f);
    if (fd >= 0) (void)close(fd);
  }
  if (!why) {
    *out = f;
    return PRN_OK;
  }
  prn_file_release(f);
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "cannot read '%s': %s", path, why);
}

/* What is wrong with the text of a location, NULL when nothing is. */
static const char *location_fault(prn_str s) {
  if (s.size == 0) return "is empty";
  if (memchr(s.data, 0, s.size)) return "holds a NUL byte";
  if (memchr(s.data, '\\', s.size)) return "holds a backslash";
  if (s.data[0] == '/') return "is an absolute path";
  if (s.size >= PATH_MAX) return "is too long";
  for (size_t i = 0; i < s.size;) {
    const char *slash = memchr(s.data + i, '/', s.size - i);
    size_t end = slash ? (size_t)(slash - s.data) : s.size;
    if (end - i == 2 && s.data[i] == '.' && s.data[i + 1] == '.')
      return "leaves the folder of the model with '..'";
    i = end + 1;
  }
  return NULL;
}

/* openat2 without the system call: one component at a time, no links. */
static int open_beneath_slowly(int dirfd, char *path) {
  int at = dup(dirfd);
  while (at >= 0) {
    char *slash = strchr(path, '/');
    if (slash) *slash = 0;
    int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    flags |= slash ? O_PATH | O_DIRECTORY : O_RDONLY;
    struct stat st;
    int next = openat(at, *path ? path : ".", flags);
    int saved = errno;
    if (next < 0 && fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
      saved = ELOOP; /* as openat2 says it */
    (void)close(at);
    errno = saved;
    at = next;
    if (!slash) break;
    path = slash + 1;
  }
  return at;
}

static int open_beneath(int dirfd, prn_str location) {
  char path[PATH_MAX];
  memcpy(path, location.data, location.size);
  path[location.size] = 0;
  struct open_how how = {
      .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
  };
  long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return (int)fd;
  return open_beneath_slowly(dirfd, path); /* old kernel, or filtered away */
}

/* Whether the file has other names: one of them may be where the model's author
 * could not write, only link to. */
static bool has_links(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink > 1;
}

static const char *open_error(void) {
  if (errno == ELOOP) return "a symbolic link is on the way";
  if (errno == EXDEV) return "leaves the folder of the model";
  return strerror(errno);
}

prn_status prn_file_open_beneath(prn_diag_sink *sink, const char *dir,
                                 prn_str location, prn_loc loc, prn_str subject,
                                 prn_file **out) {
  prn_strbuf shown = {0};
  *out = NULL;
  prn_strbuf_quoted(&shown, location);
  const char *why = location_fault(location);
  if (why) {
    (void)prn_diag_emit(sink, PRN_ERROR, loc, subject, "file location %s %s",
                        shown.data, why);
    prn_strbuf_destroy(&shown);
    return PRN_FAIL;
  }
  prn_strbuf path = {0};
  prn_strbuf_cstr(&path, dir);
  if (*dir && dir[strlen(dir) - 1] != '/') prn_strbuf_char(&path, '/');
  prn_strbuf_str(&path, location);
  prn_file *f = new_file(prn_strbuf_view(&path));
  prn_strbuf_destroy(&path);
  int at = open(*dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  int fd = at < 0 ? -1 : open_beneath(at, location);
  if (fd < 0)
    why = open_error();
  else
    why = has_links(fd) ? "has other names (hard links)" : map_fd(fd, f);
  if (fd >= 0) (void)close(fd);
  if (at >= 0) (void)close(at);
  if (why) {
    (void)prn_diag_emit(sink, PRN_ERROR, loc, subject, "cannot read %s: %s",
                        shown.data, why);
    prn_file_release(f);
    f = NULL;
  }
  prn_strbuf_destroy(&shown);
  *out = f;
  return f ? PRN_OK : PRN_FAIL;
}

prn_file *prn_file_part(prn_file *f, size_t offset, size_t size,
                        const char *path) {
  prn_file *part = new_file(prn_str_from(path));
  part->whole = prn_file_retain(f);
  part->data = size ? f->data + offset : NULL;
  part->size = size;
  return part;
}

prn_file *prn_file_retain(prn_file *f) {
  atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
  return f;
}

void prn_file_release(prn_file *f) {
  if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) > 1)
    return;
  if (f->whole)
    prn_file_release(f->whole);
  else if (f->mapped)
    (void)munmap(f->data, f->size);
  else
    prn_free(f->data);
  prn_free(f->path);
  prn_free(f);
}

prn_str prn_file_bytes(const prn_file *f) {
  return (prn_str){f->data ? f->data : "", f->size};
}

const char *prn_file_path(const prn_file *f) { return f->path; }

const char *prn_file_origin(const prn_file *f, uint64_t *offset) {
  if (!f->whole) return f->path;
  if (f->data) *offset += (uint64_t)(f->data - f->whole->data);
  return prn_file_origin(f->whole, offset);
}

void prn_file_done(const prn_file *f, size_t offset, size_t size) {
  if (!f->mapped || offset > f->size || size > f->size - offset) return;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t from = (offset + page - 1) / page * page;
  size_t to = (offset + size) / page * page;
  if (from < to) (void)madvise(f->data + from, to - from, MADV_DONTNEED);
}
