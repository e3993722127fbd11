/* Output files that appear whole or not at all.
 *
 * The bytes go to a nameless file (O_TMPFILE) in the target's folder, which
 * vanishes by itself when the process dies; commit links it under a temporary
 * name and renames that into place. File systems without nameless files get a
 * named temporary file. What is not a regular file (a pipe, /dev/null) is
 * written directly. No fsync: a failed write must not hurt the old file, but
 * surviving a power cut is the user's file system's business, as for cp. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ir/support/arena.h"
#include "ir/support/file.h"
#include "ir/support/signals.h"
#include "ir/support/writer.h"

enum {
  BUFFER = 1 << 18,
  LONG = 1 << 23,
  TRIES = 100,
  TEMP_MORE = 64, /* bytes that the name of a temporary file has more */
};

struct prn_out {
  prn_diag_sink *sink;
  char *path;   /* for messages, as given */
  char *target; /* where rename puts it, links resolved; NULL: direct */
  char *temp;   /* name of a temporary file, which may not exist yet */
  size_t room;  /* for it */
  bool named;   /* it exists */
  int fd;
  bool owns_fd;
  int error; /* first errno, 0 while all is well */
  uint64_t offset;
  size_t used;
  prn_writer *writer; /* takes over once the output is long */
  char buffer[BUFFER];
};

static char *copy_path(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = prn_alloc(n);
  memcpy(p, s, n);
  return p;
}

static void free_out(prn_out *o) {
  prn_free(o->path);
  prn_free(o->temp);
  free(o->target); /* realpath allocates it */
  prn_free(o);
}

static prn_status report(prn_diag_sink *sink, const char *path, int error) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "cannot write '%s': %s", path, strerror(error));
}

/* "FOLDER/.NAME.N.tmp" for the n-th try at a name nobody uses. The room for it
 * is there from the start: nothing may fail while such a file exists. */
static void name_temp(prn_out *o, unsigned n) {
  const char *slash = strrchr(o->target, '/');
  int folder = slash ? (int)(slash - o->target) + 1 : 0;
  (void)snprintf(o->temp, o->room, "%.*s.%.200s.%ld-%u.tmp", folder, o->target,
                 o->target + folder, (long)getpid(), n);
}

static int open_nameless(const char *target, mode_t mode) {
  if (access("/proc/self/fd", X_OK) != 0) { /* commit could not link it */
    errno = EOPNOTSUPP;
    return -1;
  }
  const char *slash = strrchr(target, '/');
  size_t n = slash ? (size_t)(slash - target) : 0;
  prn_strbuf folder = {0};
  prn_strbuf_str(&folder, (prn_str){target, n});
  if (slash && n == 0) prn_strbuf_char(&folder, '/');
  if (!slash) prn_strbuf_char(&folder, '.');
  int fd = open(folder.data, O_TMPFILE | O_WRONLY | O_CLOEXEC, mode);
  int saved = errno;
  prn_strbuf_destroy(&folder);
  errno = saved;
  return fd;
}

static int open_named(prn_out *o, mode_t mode) {
  for (unsigned n = 0; n < TRIES; n++) {
    name_temp(o, n);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    int fd = open(o->temp, flags, mode);
    o->named = fd >= 0;
    if (o->named || errno != EEXIST) return fd;
  }
  return -1;
}

/* Opens the temporary file for o->target; an existing target keeps its mode,
 * and is refused when it may not be written. */
static int open_temp(prn_out *o, const struct stat *existing) {
  mode_t mode = 0666;
  if (existing && faccessat(AT_FDCWD, o->target, W_OK, AT_EACCESS) != 0)
    return -1;
  int fd = open_nameless(o->target, mode);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT ||
                 errno == EINVAL))
    fd = open_named(o, mode);
  if (fd >= 0 && existing) (void)fchmod(fd, existing->st_mode & 07777);
  return fd;
}

static prn_out *create(prn_diag_sink *sink, const char *path) {
  prn_out *o = prn_alloc(sizeof *o);
  memset(o, 0, offsetof(prn_out, buffer));
  o->sink = sink;
  o->path = copy_path(path);
  return o;
}

/* Opens a temporary file for what is going to be at target, which is taken. */
static void open_for(prn_out *o, char *target, const struct stat *existing) {
  o->target = target;
  o->room = target ? strlen(target) + TEMP_MORE : 0;
  o->temp = prn_alloc(o->room);
  o->fd = target ? open_temp(o, existing) : -1;
  o->owns_fd = true;
}

static prn_status opened(prn_out *o, prn_out **out) {
  int error = errno;
  if (o->fd >= 0) return *out = o, PRN_OK;
  prn_status status = report(o->sink, o->path, error);
  free_out(o);
  return status;
}

prn_status prn_out_open(prn_diag_sink *sink, const char *path, prn_out **out) {
  *out = NULL;
  prn_out *o = create(sink, path);
  struct stat st;
  bool exists = strcmp(path, "-") != 0 && stat(path, &st) == 0;
  if (strcmp(path, "-") == 0) {
    o->fd = STDOUT_FILENO;
  } else if (exists && (!S_ISREG(st.st_mode) || st.st_nlink == 0)) {
    o->fd = open(path, O_WRONLY | O_CLOEXEC);
    o->owns_fd = true;
  } else {
    open_for(o, exists ? realpath(path, NULL) : strdup(path),
             exists ? &st : NULL);
  }
  return opened(o, out);
}

prn_status prn_out_open_beside(prn_diag_sink *sink, const char *path,
                               prn_out **out) {
  *out = NULL;
  prn_out *o = create(sink, path);
  struct stat st;
  bool exists = lstat(path, &st) == 0;
  bool file = exists && S_ISREG(st.st_mode);
  if (exists && !file && !S_ISLNK(st.st_mode)) {
    o->fd = -1;
    errno = EEXIST;
  } else {
    open_for(o, strdup(path), file ? &st : NULL);
  }
  return opened(o, out);
}

static void flush(prn_out *o) {
  if (o->writer) {
    prn_writer_put(o->writer, o->buffer, o->used);
  } else if (!o->error) {
    o->error = prn_write_all(o->fd, o->buffer, o->used);
  }
  o->used = 0;
}

/* Waits for what is written behind. */
static void settle(prn_out *o) {
  int error = o->writer ? prn_writer_finish(o->writer) : 0;
  o->writer = NULL;
  if (!o->error) o->error = error;
}

void prn_out_write(prn_out *o, const void *data, size_t size) {
  o->offset += size;
  if (size > BUFFER - o->used) flush(o);
  if (!o->writer && !o->error && o->offset > LONG)
    o->writer = prn_writer_start(o->fd);
  if (size >= BUFFER) {
    if (o->writer)
      prn_writer_put(o->writer, data, size);
    else if (!o->error)
      o->error = prn_write_all(o->fd, data, size);
  } else if (size) {
    memcpy(o->buffer + o->used, data, size);
    o->used += size;
  }
}

uint64_t prn_out_offset(const prn_out *o) { return o->offset; }

/* Gives a nameless file a temporary name. */
static void link_temp(prn_out *o) {
  char self[32];
  (void)snprintf(self, sizeof self, "/proc/self/fd/%d", o->fd);
  for (unsigned n = 0; n < TRIES && !o->named; n++) {
    name_temp(o, n);
    int flags = AT_SYMLINK_FOLLOW;
    o->named = linkat(AT_FDCWD, self, AT_FDCWD, o->temp, flags) == 0;
    o->error = o->named ? 0 : errno;
    if (o->error != EEXIST) break;
  }
}

/* All that can fail but renaming. */
static void finish(prn_out *o) {
  if (!o->error && o->target && !o->named) link_temp(o);
  if (o->owns_fd && close(o->fd) != 0 && !o->error) o->error = errno;
}

/* Puts the file in its place, or lets it vanish. */
static void place(prn_out *o, bool wanted) {
  if (!o->named) return;
  if (wanted && rename(o->temp, o->target) == 0) return;
  if (wanted) o->error = errno;
  (void)unlink(o->temp);
}

prn_status prn_out_commit_all(prn_out *const *outs, size_t n) {
  prn_status status = PRN_OK;
  bool well = true;
  for (size_t i = 0; i < n; i++) {
    flush(outs[i]);
    settle(outs[i]);
  }
  /* Between linking and renaming a temporary name exists. */
  const sigset_t old = prn_hold_signals();
  for (size_t i = 0; i < n; i++) {
    finish(outs[i]);
    well = well && !outs[i]->error;
  }
  for (size_t i = 0; i < n; i++) {
    place(outs[i], well);
    well = well && !outs[i]->error;
  }
  prn_release_signals(&old);
  for (size_t i = 0; i < n; i++) {
    if (outs[i]->error)
      status = report(outs[i]->sink, outs[i]->path, outs[i]->error);
    free_out(outs[i]);
  }
  return status;
}

prn_status prn_out_commit(prn_out *o) { return prn_out_commit_all(&o, 1); }

void prn_out_abandon(prn_out *o) {
  if (!o) return;
  settle(o);
  if (o->owns_fd) (void)close(o->fd);
  if (o->named) (void)unlink(o->temp);
  free_out(o);
}
