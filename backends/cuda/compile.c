/* Compiling kernels by nvcc, which runs as a process of its own, without a
 * shell; what it says goes to the user. See compile.h. */
#include "backends/cuda/compile.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ir/support/arena.h"
#include "ir/support/signals.h"

extern char **environ;

const prn_cu_arch prn_cu_archs[PRN_CU_ARCHS] = {
    {"compute_80", "sm_80", 80},
    {"compute_90a", "sm_90a", 90},
    {"compute_100a", "sm_100a", 100}};

/* Arguments of a program: copies, as posix_spawn's are not const. */
enum { MAX_ARGS = 24 };
typedef struct args {
  char *at[MAX_ARGS + 1];
  size_t n;
} args;

PRN_PRINTF(2, 3) static void add(args *a, const char *fmt, ...) {
  va_list ap;
  prn_strbuf text = {0};
  va_start(ap, fmt);
  prn_strbuf_vfmt(&text, fmt, ap);
  va_end(ap);
  a->at[a->n++] = text.data;
}

static void free_args(args *a) {
  for (size_t i = 0; i < a->n; i++)
    prn_free(a->at[i]);
}

/* Waits for it, and ends it where a signal asks for that, which goes on
 * waiting. False: there is no status. */
static bool wait_for(pid_t pid, int *status) {
  const struct timespec pause = {.tv_nsec = 20000000};
  const sigset_t ending = prn_ending_signals();
  for (pid_t done; (done = waitpid(pid, status, WNOHANG)) != pid;) {
    if (done < 0 && errno != EINTR) return false;
    int sig = sigtimedwait(&ending, NULL, &pause);
    if (sig <= 0) continue;
    (void)kill(pid, sig);
    (void)raise(sig);
    while (waitpid(pid, status, 0) < 0)
      if (errno != EINTR) return false;
    return true;
  }
  return true;
}

/* Starts it with the signals as they were. */
static int start(const args *a, const sigset_t *signals, pid_t *pid) {
  posix_spawnattr_t attr;
  int e = posix_spawnattr_init(&attr);
  if (e) return e;
  e = posix_spawnattr_setsigmask(&attr, signals);
  if (!e) e = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
  if (!e) e = posix_spawnp(pid, a->at[0], NULL, &attr, a->at, environ);
  (void)posix_spawnattr_destroy(&attr);
  return e;
}

/* 0 when it ran and succeeded, ENOENT when there is no such program, -1 when
 * it failed (having said why on standard error). signals: for it. */
static int run(const args *a, const sigset_t *signals) {
  pid_t pid;
  int status, e = start(a, signals, &pid);
  if (e) return e == ENOENT || e == EACCES ? ENOENT : -1;
  if (!wait_for(pid, &status)) return -1;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return ENOENT;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static int run_nvcc(const char *nvcc, const char *dir, const char *name,
                    const char *output, const sigset_t *signals) {
  args a = {.n = 0};
  add(&a, "%s", nvcc);
  add(&a, "--fatbin");
  add(&a, "-std=c++17");
  add(&a, "-O3");
  add(&a, "--threads=0");
  for (int i = 0; i < PRN_CU_ARCHS; i++) {
    add(&a, "-gencode");
    add(&a, "arch=%s,code=%s", prn_cu_archs[i].virtual_arch,
        prn_cu_archs[i].real_arch);
  }
  /* What any later device can be served from. */
  add(&a, "-gencode");
  add(&a, "arch=%s,code=%s", prn_cu_archs[0].virtual_arch,
      prn_cu_archs[0].virtual_arch);
  add(&a, "-I%s", dir);
  add(&a, "%s/%s_kernels.cu", dir, name);
  add(&a, "-o");
  add(&a, "%s", output);
  int r = run(&a, signals);
  free_args(&a);
  return r;
}

/* nvcc of a toolkit that the environment names, or of PATH. */
static int run_first_nvcc(const char *dir, const char *name, const char *output,
                          const sigset_t *signals) {
  static const char *const variables[] = {"CUDA_HOME", "CUDA_PATH"};
  for (size_t i = 0; i < PRN_COUNT(variables); i++) {
    const char *home = getenv(variables[i]);
    if (!home || !*home) continue;
    prn_strbuf nvcc = {0};
    prn_strbuf_fmt(&nvcc, "%s/bin/nvcc", home);
    int r = run_nvcc(nvcc.data, dir, name, output, signals);
    prn_strbuf_destroy(&nvcc);
    if (r != ENOENT) return r;
  }
  return run_nvcc("nvcc", dir, name, output, signals);
}

void prn_cuda_discard(const char *dir, const char *name) {
  static const char *const endings[] = {"kernels.fatbin", "images.inc"};
  for (size_t i = 0; i < PRN_COUNT(endings); i++) {
    prn_strbuf path = {0};
    prn_strbuf_fmt(&path, "%s/%s_%s", dir, name, endings[i]);
    (void)unlink(path.data);
    prn_strbuf_destroy(&path);
  }
}

prn_status prn_cuda_compile(prn_diag_sink *sink, const char *dir,
                            const char *name, prn_strbuf *how) {
  prn_strbuf path = {0}, temporary = {0};
  prn_status s = PRN_OK;
  prn_strbuf_fmt(&path, "%s/%s_kernels.fatbin", dir, name);
  /* Not of a random name: nvcc goes by the ending. */
  prn_strbuf_fmt(&temporary, "%s/.%s_kernels.%ld.fatbin", dir, name,
                 (long)getpid());
  prn_cuda_discard(dir, name);
  /* What nvcc has written is not left behind. */
  const sigset_t signals = prn_hold_signals();
  int r = run_first_nvcc(dir, name, temporary.data, &signals);
  if (r == 0) {
    prn_strbuf_cstr(how, "compiled by nvcc");
    if (rename(temporary.data, path.data) != 0)
      s = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0}, "%s: %s",
                        path.data, strerror(errno));
  } else if (r != ENOENT) {
    s = prn_diag_emit(sink, PRN_ERROR, (prn_loc){0}, (prn_str){0},
                      "%s/%s_kernels.cu: nvcc failed", dir, name);
  } else if (!prn_cu_nvrtc(sink, dir, name, &s, how)) {
    prn_strbuf_cstr(how, "not compiled: there is no nvcc and no libnvrtc; the "
                         "CMakeLists.txt beside them does it where there is");
  }
  if (s != PRN_OK) (void)unlink(temporary.data);
  prn_release_signals(&signals);
  prn_strbuf_destroy(&temporary);
  prn_strbuf_destroy(&path);
  return s;
}
