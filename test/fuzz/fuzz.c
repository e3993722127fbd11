/* prn-fuzz-kernels: random kernels against a reference; see fuzz.h.
 *
 *   prn-fuzz-kernels [--seed=N] [--count=N] [--seconds=S] [--march=CPU,...]
 *                    [--kind=NAME] [--save=FOLDER] [-v]
 *                    [--target=TRIPLE --caller=COMMAND]
 *
 * Cases are numbered from --seed on; each kind gets --count of them times its
 * weight. A report names kind, seed and CPU: run that one again with
 * --kind, --seed and --count=1. With --caller, libraries for --target are run
 * by that command, test/cross/call.c under an emulator. Stops early, saying so,
 * after --seconds. Each case runs in a process of its own, so that a crash is a
 * report. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "backends/llvm/compile.h"
#include "test/fuzz/fuzz.h"

const fuzz_kind fuzz_kinds[] = {
    {"matmul", 2, fuzz_matmul},   {"linear", 4, fuzz_linear},
    {"conv", 3, fuzz_conv},       {"norm", 1, fuzz_norm},
    {"softmax", 1, fuzz_softmax}, {"attention", 1, fuzz_attention},
    {"scatter", 1, fuzz_scatter}, {"gather", 1, fuzz_gather},
    {"sort", 1, fuzz_sort},       {NULL, 0, NULL},
};

enum { MAX_MARCH = 8 };

typedef struct options {
  uint64_t seed;
  long count;
  double seconds;
  const char *kind, *save, *target, *caller;
  const char *march[MAX_MARCH];
  prn_tile tile[MAX_MARCH];
  unsigned num_march;
  bool verbose;
} options;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Can code for it run here? */
static bool runs_here(const char *march) {
  if (strcmp(march, "native") == 0) return true;
#ifdef __x86_64__
  if (strcmp(march, "x86-64-v2") == 0) return true;
  if (strcmp(march, "x86-64-v3") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (strcmp(march, "x86-64-v4") == 0)
    return __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw");
#endif
  return false;
}

static void add_march(options *o, const char *march) {
  prn_diag_sink sink = {0};
  prn_target_spec spec = {.march = march, .triple = o->target};
  if (!o->caller && !runs_here(march)) {
    printf("%s: this machine cannot run it, skipped\n", march);
    return;
  }
  if (o->num_march == MAX_MARCH ||
      prn_compile_tile(&sink, &spec, &o->tile[o->num_march]) != PRN_OK)
    exit(2);
  o->march[o->num_march++] = march;
}

/* In a process of its own; 0 well, 1 not, 2 does not apply. */
static int one(const options *o, const fuzz_kind *kind, uint64_t seed,
               unsigned march) {
  (void)fflush(stdout);
  pid_t pid = fork();
  if (pid < 0) exit(2);
  if (pid > 0) {
    int status = 0;
    if (waitpid(pid, &status, 0) < 0) exit(2);
    if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
    printf("  %s: signal %d\n", o->march[march], WTERMSIG(status));
    return 1;
  }
  fuzz_case c = {.rng = seed,
                 .target = o->target,
                 .caller = o->caller,
                 .march = o->march[march],
                 .nr = o->tile[march].nr,
                 .limit = 1e-5};
  char path[512];
  snprintf(path, sizeof path, "%s/%s-%llu.prn", o->save ? o->save : "",
           kind->name, (unsigned long long)seed);
  for (const char *p = kind->name; *p; p++)
    c.rng = c.rng * 31 + (unsigned char)*p;
  kind->make(&c);
  if (c.num_arrays == 0) _exit(2);
  if (o->verbose)
    printf("%s %llu %s:%s\n", kind->name, (unsigned long long)seed, c.march,
           c.note.data ? c.note.data : "");
  (void)fflush(stdout);
  int bad = fuzz_run(&c, o->save ? path : NULL);
  if (bad && !o->verbose) printf("  %s\n", c.note.data ? c.note.data : "");
  fuzz_case_destroy(&c);
  (void)fflush(stdout);
  _exit(bad);
}

static void parse(options *o, int argc, char **argv) {
  char *list = NULL;
  for (int i = 1; i < argc; i++) {
    char *a = argv[i], *v = strchr(a, '=');
    size_t n = v ? (size_t)(v++ - a) : strlen(a);
    if (strcmp(a, "-v") == 0)
      o->verbose = true;
    else if (v && strncmp(a, "--seed", n) == 0)
      o->seed = strtoull(v, NULL, 10);
    else if (v && strncmp(a, "--count", n) == 0)
      o->count = strtol(v, NULL, 10);
    else if (v && strncmp(a, "--seconds", n) == 0)
      o->seconds = strtod(v, NULL);
    else if (v && strncmp(a, "--kind", n) == 0)
      o->kind = v;
    else if (v && strncmp(a, "--save", n) == 0)
      o->save = v;
    else if (v && strncmp(a, "--target", n) == 0)
      o->target = v;
    else if (v && strncmp(a, "--caller", n) == 0)
      o->caller = v;
    else if (v && strncmp(a, "--march", n) == 0)
      list = v;
    else {
      fprintf(stderr, "unknown option %s\n", a);
      exit(2);
    }
  }
  if (!list) add_march(o, o->target ? "generic" : "native");
  while (list) {
    char *comma = strchr(list, ',');
    if (comma) *comma = 0;
    add_march(o, list);
    list = comma ? comma + 1 : NULL;
  }
}

int main(int argc, char **argv) {
  options o = {.seed = 1, .count = 20, .seconds = 1e9};
  unsigned done = 0, skipped = 0, failed = 0;
  parse(&o, argc, argv);
  double stop = now() + o.seconds;
  long rounds = o.count;
  for (long i = 0; i < rounds && now() < stop; i++)
    for (const fuzz_kind *k = fuzz_kinds; k->name; k++) {
      if (o.kind && strcmp(k->name, o.kind) != 0) continue;
      unsigned weight = o.kind ? 1 : k->weight;
      for (unsigned w = 0; w < weight && now() < stop; w++)
        for (unsigned m = 0; m < o.num_march; m++) {
          uint64_t seed = o.seed + (uint64_t)i * weight + w;
          int r = one(&o, k, seed, m);
          done += r == 0;
          skipped += r == 2;
          if (r == 1)
            printf("FAILED --kind=%s --seed=%llu --count=1 --march=%s\n",
                   k->name, (unsigned long long)seed, o.march[m]);
          failed += r == 1;
        }
    }
  if (now() >= stop) printf("stopped after %g seconds\n", o.seconds);
  printf("%u passed, %u failed, %u did not apply\n", done, failed, skipped);
  return failed != 0;
}
