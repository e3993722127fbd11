#include "tools/child.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/support/arena.h"

extern char **environ;

void prn_child_destroy(prn_child *c) {
  prn_strbuf_destroy(&c->out);
  prn_strbuf_destroy(&c->err);
}

/* argv of posix_spawn is not const; NULL ends it. */
static char **copy_args(const char *const *argv) {
  size_t n = 0;
  while (argv[n])
    n++;
  char **copy = prn_alloc(prn_array_size(sizeof *copy, n + 1));
  for (size_t i = 0; i < n; i++) {
    size_t size = strlen(argv[i]) + 1;
    copy[i] = prn_alloc(size);
    memcpy(copy[i], argv[i], size);
  }
  copy[n] = NULL;
  return copy;
}

static void free_args(char **argv) {
  for (size_t i = 0; argv[i]; i++)
    prn_free(argv[i]);
  prn_free(argv);
}

/* An errno. */
static int spawn(char **argv, const int *keep, size_t num_keep, int out,
                 int err, pid_t *pid) {
  posix_spawn_file_actions_t a;
  int e = posix_spawn_file_actions_init(&a);
  if (e) return e;
  e = posix_spawn_file_actions_addopen(&a, 0, "/dev/null", O_RDONLY, 0);
  if (!e) e = posix_spawn_file_actions_adddup2(&a, out, 1);
  if (!e) e = posix_spawn_file_actions_adddup2(&a, err, 2);
  /* From a descriptor to itself: it stays open in the child. */
  for (size_t i = 0; i < num_keep && !e; i++)
    e = posix_spawn_file_actions_adddup2(&a, keep[i], keep[i]);
  if (!e) e = posix_spawn(pid, argv[0], &a, NULL, argv, environ);
  (void)posix_spawn_file_actions_destroy(&a);
  return e;
}

/* An errno. */
static int wait_for(pid_t pid, int *out_status) {
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return errno;
  *out_status = WIFEXITED(status)     ? WEXITSTATUS(status)
                : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                      : 1;
  return 0;
}

static void read_all(int fd, prn_strbuf *b) {
  char buffer[4096];
  off_t at = 0;
  ssize_t n;
  while ((n = pread(fd, buffer, sizeof buffer, at)) > 0) {
    prn_strbuf_str(b, (prn_str){buffer, (size_t)n});
    at += n;
  }
}

prn_status prn_child_run(prn_diag_sink *sink, const char *const *argv,
                         const int *keep, size_t num_keep, prn_child *out) {
  *out = (prn_child){0};
  int files[2] = {memfd_create("out", MFD_CLOEXEC),
                  memfd_create("err", MFD_CLOEXEC)};
  int e = files[0] < 0 || files[1] < 0 ? errno : 0;
  pid_t pid;
  char **copy = copy_args(argv);
  if (!e) e = spawn(copy, keep, num_keep, files[0], files[1], &pid);
  if (!e) e = wait_for(pid, &out->status);
  if (!e) {
    read_all(files[0], &out->out);
    read_all(files[1], &out->err);
  }
  free_args(copy);
  for (size_t i = 0; i < PRN_COUNT(files); i++)
    if (files[i] >= 0) (void)close(files[i]);
  if (!e) return PRN_OK;
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, PRN_STR(""),
                       "cannot run '%s': %s", argv[0], strerror(e));
}
