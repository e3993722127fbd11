/* Linking; see link.h. The linker runs as a process of its own, without a
 * shell, and writes a temporary file that is renamed when it is complete. */
#include "backends/llvm/link.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/support/arena.h"

extern char **environ;

static prn_status fail(prn_diag_sink *sink, const char *path,
                       const char *what) {
  return prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0}, "%s: %s",
                       path, what);
}

/* 0 when argv ran and succeeded, ENOENT when there is no such program, -1
 * when it failed (having said why on standard error). */
static int run(char *const argv[]) {
  pid_t pid;
  int status, e = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
  if (e) return e == ENOENT ? ENOENT : -1;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return -1;
  /* A program that could not be started may show as status 127. */
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return ENOENT;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static char *text(const char *s) {
  size_t n = strlen(s) + 1;
  char *p = prn_alloc(n);
  memcpy(p, s, n);
  return p;
}

/* The linkers that may know the target, best first. */
static const char *const *linkers(const prn_target *t) {
  static const char *const host[] = {"ld.lld-19", "ld.lld", "ld", NULL};
  static const char *const x86[] = {"ld.lld-19", "ld.lld",
                                    "x86_64-linux-gnu-ld", NULL};
  static const char *const arm[] = {"ld.lld-19", "ld.lld",
                                    "aarch64-linux-gnu-ld", NULL};
  if (t->host) return host;
  return t->arch == PRN_ARCH_X86_64 ? x86 : arm;
}

static int link_with(const char *linker, const char *object, const char *output,
                     const char *soname) {
  const char *args[] = {linker,
                        "-shared",
                        "-o",
                        output,
                        "-soname",
                        soname,
                        "-z",
                        "noexecstack",
                        "-z",
                        "relro",
                        "--no-undefined",
                        "--build-id=none",
                        "--hash-style=gnu",
                        object};
  char *argv[PRN_COUNT(args) + 1] = {0};
  for (size_t i = 0; i < PRN_COUNT(args); i++)
    argv[i] = text(args[i]);
  int r = run(argv);
  for (size_t i = 0; i < PRN_COUNT(args); i++)
    prn_free(argv[i]);
  return r;
}

static prn_status link_to(prn_diag_sink *sink, const prn_target *target,
                          const char *object, const char *path,
                          const char *temporary) {
  const char *soname = strrchr(path, '/');
  int r = ENOENT;
  for (const char *const *l = linkers(target); *l && r == ENOENT; l++)
    r = link_with(*l, object, temporary, soname ? soname + 1 : path);
  if (r == ENOENT)
    return fail(sink, path,
                "a shared library needs a linker for the target (ld.lld, or "
                "ld of binutils), and none was found");
  if (r != 0) return fail(sink, path, "the linker failed");
  mode_t mask = umask(0);
  umask(mask);
  if (chmod(temporary, 0777 & ~mask) != 0 || rename(temporary, path) != 0)
    return fail(sink, path, strerror(errno));
  return PRN_OK;
}

prn_status prn_link_shared(prn_diag_sink *sink, const prn_target *target,
                           const char *object, const char *path) {
  prn_strbuf t = {0};
  prn_strbuf_fmt(&t, "%s.XXXXXX", path);
  int fd = mkstemp(t.data);
  if (fd < 0) {
    prn_strbuf_destroy(&t);
    return fail(sink, path, strerror(errno));
  }
  close(fd);
  prn_status s = link_to(sink, target, object, path, t.data);
  if (s != PRN_OK) unlink(t.data);
  prn_strbuf_destroy(&t);
  return s;
}
