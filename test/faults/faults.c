/* A library to preload that has one call fail:
 *
 *   PRUNE_FAULT=alloc:N    the N-th allocation; alloc:N+ also all after it
 *   PRUNE_FAULT=io:N       the N-th open for writing, write, link, rename or
 *                          close of such a file (EIO)
 *   PRUNE_FAULT=space:N    what is written to files behind N bytes (ENOSPC),
 *                          short writes before it
 *
 * With PRUNE_FAULT_COUNT=FILE the number of such calls, or of bytes, is
 * written there at the end. Descriptors 0 to 2 are left alone. For glibc, whose
 * allocator it calls by its inner names. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ALLOC, IO, SPACE, KINDS, MOST_FILES = 1024 };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);

static int kind = KINDS;
static unsigned long at;
static bool persists;
static atomic_ulong seen[KINDS];
static atomic_bool written_to[MOST_FILES]; /* by descriptor */

__attribute__((constructor)) static void begin(void) {
  static const char *const names[] = {"alloc:", "io:", "space:"};
  const char *fault = getenv("PRUNE_FAULT");
  for (int i = 0; fault && i < KINDS; i++)
    if (strncmp(fault, names[i], strlen(names[i])) == 0) {
      char *end;
      at = strtoul(fault + strlen(names[i]), &end, 10);
      persists = *end == '+';
      kind = i;
    }
  for (int i = 0; i < KINDS; i++)
    atomic_store(&seen[i], 0);
}

static void put_count(int fd, unsigned long n) {
  char text[24];
  int size = snprintf(text, sizeof text, "%lu ", n);
  (void)!syscall(SYS_write, fd, text, (size_t)size);
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("PRUNE_FAULT_COUNT");
  long fd = path ? syscall(SYS_openat, AT_FDCWD, path,
                           O_WRONLY | O_CREAT | O_TRUNC, 0600)
                 : -1;
  for (int i = 0; fd >= 0 && i < KINDS; i++)
    put_count((int)fd, atomic_load(&seen[i]));
}

/* Whether this call of that kind is the one. */
static bool fails(int what) {
  unsigned long n = atomic_fetch_add(&seen[what], 1) + 1;
  return what == kind && (n == at || (persists && n > at));
}

/* ---- memory ---- */

void *malloc(size_t size) {
  if (!fails(ALLOC)) return __libc_malloc(size);
  errno = ENOMEM;
  return NULL;
}

void *calloc(size_t n, size_t size) {
  if (!fails(ALLOC)) return __libc_calloc(n, size);
  errno = ENOMEM;
  return NULL;
}

void *realloc(void *p, size_t size) {
  if (!fails(ALLOC)) return __libc_realloc(p, size);
  errno = ENOMEM;
  return NULL;
}

/* ---- files ---- */

static bool is_output(int fd) {
  return fd > 2 && fd < MOST_FILES && atomic_load(&written_to[fd]);
}

int open(const char *path, int flags, ...) {
  unsigned mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list ap;
    va_start(ap, flags);
    mode = va_arg(ap, unsigned);
    va_end(ap);
  }
  bool output = (flags & O_ACCMODE) != O_RDONLY;
  if (output && fails(IO)) {
    errno = EIO;
    return -1;
  }
  long fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
  if (fd > 2 && fd < MOST_FILES) atomic_store(&written_to[fd], output);
  return (int)fd;
}

ssize_t write(int fd, const void *data, size_t size) {
  if (is_output(fd)) {
    if (fails(IO)) {
      errno = EIO;
      return -1;
    }
    unsigned long before = atomic_fetch_add(&seen[SPACE], size);
    if (kind == SPACE && before + size > at) {
      if (before >= at) {
        errno = ENOSPC;
        return -1;
      }
      size = at - before;
    }
  }
  return syscall(SYS_write, fd, data, size);
}

int close(int fd) {
  bool bad = is_output(fd) && fails(IO);
  if (fd > 2 && fd < MOST_FILES) atomic_store(&written_to[fd], false);
  long rc = syscall(SYS_close, fd);
  if (!bad) return (int)rc;
  errno = EIO;
  return -1;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to,
           int flags) {
  if (!fails(IO))
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
  errno = EIO;
  return -1;
}

int rename(const char *from, const char *to) {
  if (!fails(IO))
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
  errno = EIO;
  return -1;
}
