/* Speed of the generated kernels, family by family.
 *
 *   prn-bench-kernels [--march=CPU] [FAMILY [ARGUMENTS]]
 *
 * Without a family: dense products. See kernel_bench.h. */
#include <stdio.h>
#include <string.h>

#include "kernel_bench.h"

static const struct family {
  const char *name;
  prn_bench_fn *run;
} families[] = {
    {"gemm", prn_bench_gemm},     {"rows", prn_bench_rows},
    {"few", prn_bench_few},       {"cells", prn_bench_cells},
    {"sparse", prn_bench_sparse},
};

static const struct family *find(const char *name) {
  for (size_t i = 0; i < PRN_COUNT(families); i++)
    if (strcmp(families[i].name, name) == 0) return &families[i];
  return NULL;
}

static int usage(void) {
  fputs(
      "usage: prn-bench-kernels [--march=CPU] [FAMILY [ARGUMENTS]]\nfamilies:",
      stderr);
  for (size_t i = 0; i < PRN_COUNT(families); i++)
    fprintf(stderr, " %s", families[i].name);
  fputs("\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  prn_bench b = {0};
  prn_target_spec spec = {0};
  const struct family *family = &families[0];
  int arg = 1;
  if (arg < argc && strncmp(argv[arg], "--march=", 8) == 0)
    spec.march = argv[arg++] + 8;
  if (arg < argc) family = find(argv[arg++]);
  if (!family) return usage();
  prn_bench_check(prn_target_create(&b.sink, &spec, &b.target));
  prn_bench_check(prn_jit_create(&b.sink, &b.jit));
  prn_bench_peak(&b);
  printf("cpu %s, %u lanes, tile %ux%u, peak %.1f Gflop/s\n", b.target->cpu,
         b.target->lanes, b.target->mr, b.target->nv, 2e-9 * b.peak);
  family->run(&b, argc - arg, argv + arg);
  prn_jit_destroy(b.jit);
  prn_target_destroy(b.target);
  return 0;
}
