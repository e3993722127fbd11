/* What the benchmarks of generated kernels share.
 *
 * Every time is thread CPU time of one thread, the least of many runs, and is
 * told as a fraction of the machine's FMA peak or of another kernel, measured
 * in between: the machines it runs on are busy. A family of kernels has a file
 * of its own with an entry in the table of kernels.c:
 *
 *   prn-bench-kernels [--march=CPU] [FAMILY [ARGUMENTS]] */
#ifndef PRN_TEST_BENCH_KERNEL_BENCH_H
#define PRN_TEST_BENCH_KERNEL_BENCH_H

#include "backends/llvm/cg.h"
#include "backends/llvm/jit.h"
#include "backends/llvm/linear.h"

typedef struct prn_bench {
  prn_diag_sink sink;
  prn_target *target;
  prn_jit *jit;
  uintptr_t peak_fn;
  double peak; /* multiply-adds a second, the most seen so far */
  bool quiet;  /* do not tell of every kernel's code generation */
} prn_bench;

/* Entry of a family: what follows its name on the command line. */
typedef void prn_bench_fn(prn_bench *b, int argc, char **argv);

/* CPU seconds of this thread. */
double prn_bench_now(void);
/* Ends the program on a failure, whose text the sink has printed. */
void prn_bench_check(prn_status s);

/* Exports g's function `name`, compiles it, destroys g; its address. Prints
 * the assembly to stderr when PRN_BENCH_ASM is set. */
uintptr_t prn_bench_finish(prn_bench *b, prn_cg *g, const char *name);

/* All items of a linear product, one after the other, and the function's end:
 * d->pack.n rows by d->m columns, `columns` at a time. */
void prn_bench_items(prn_bench *b, prn_cg *g, const prn_linear_family *f,
                     prn_linear *d, int64_t columns);
/* Takes packed bytes: user is the place where the next go. */
void prn_bench_put(void *user, const void *data, size_t size);

/* Runs independent multiply-adds for a moment; raises b->peak. */
void prn_bench_peak(prn_bench *b);

/* The same numbers on every run, in [-0.5, 0.5); aligned to a cache line, and
 * readable for a line past the end. Released by free. */
float *prn_bench_floats(size_t n);
float *prn_bench_zeros(size_t n);
uint64_t prn_bench_random(void);
/* true with the given probability. */
bool prn_bench_chance(double probability);

/* Writes over more memory than the caches hold. */
void prn_bench_flush(void);

/* sqrt(sum (got - want)^2 / sum want^2). */
typedef struct prn_bench_error {
  double wrong, all;
} prn_bench_error;
static inline void prn_bench_compare(prn_bench_error *e, double got,
                                     double want) {
  e->wrong += (got - want) * (got - want);
  e->all += want * want;
}
double prn_bench_relative(const prn_bench_error *e);

/* Tables of columns of fixed width, in Markdown. */
void prn_bench_row(const char *const *cells, int n);

prn_bench_fn prn_bench_gemm, prn_bench_rows, prn_bench_few, prn_bench_cells,
    prn_bench_sparse;

#endif
