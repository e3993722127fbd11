/* How long single products take on this machine.
 *
 * A module that holds one product is lowered by the ordinary passes, compiled
 * in process, and its kernels are timed in a surrounding like that of a large
 * model: before every run the branch predictor forgets what it learnt, and
 * weights may rotate over copies that no cache holds together. What counts is
 * thread CPU time.
 *
 * Products are measured together, in rounds: a time is the median of its
 * ratios to that of the first product in the same round, so that a machine
 * which runs now faster, now slower, does so for all of them. */
#ifndef PRN_TOOLS_MEASURE_H
#define PRN_TOOLS_MEASURE_H

#include "backends/llvm/compile.h"
#include "tools/runner.h"

typedef struct prn_measured {
  prn_program *program;
  prn_kernel_times profile;
  prn_runner runner;
  prn_arrays in, out;
  char *weights; /* copies, one after the other */
  size_t each, copies, turn;
  double product_ns; /* of products and convolutions */
  double all_ns;     /* of all kernels together */
} prn_measured;

/* Bytes of weights that come from memory when they take turns. */
enum { PRN_MEASURE_FAR = 96 << 20 };

/* Compiles m, in the nn dialect and with formats chosen, and makes random
 * inputs for it: all its sizes are constants. Copies of its weights take
 * `spread` bytes, or the weights are there once. m must outlive it. */
PRN_NODISCARD prn_status prn_measure_create(prn_module *m,
                                            const prn_target_spec *target,
                                            size_t spread, prn_measured *out);
/* Runs all of them in turns for so long, and at least a few times; sets their
 * times. */
PRN_NODISCARD prn_status prn_measure_run(prn_measured *all, size_t n,
                                         double seconds);
void prn_measure_destroy(prn_measured *p);

#endif
